#include "collective/block.h"

hk_blocks hk_blocks_even(size_t count, int n, size_t size)
{
    return (hk_blocks){.n = n, .size = size, .count = count};
}

hk_blocks hk_blocks_uneven(const size_t *counts, int n, size_t size, size_t *offsets)
{
    offsets[0] = 0;
    for (int r = 0; r < n; r++)
        offsets[r + 1] = offsets[r] + counts[r];
    return (hk_blocks){.n = n, .size = size, .count = offsets[n], .offsets = offsets};
}

size_t hk_block_offset(const hk_blocks *blocks, int rank)
{
    if (blocks->offsets)
        return blocks->offsets[rank];
    size_t ranks = (size_t)blocks->n, before = (size_t)rank;
    size_t longer = blocks->count % ranks;
    return before * (blocks->count / ranks) + (before < longer ? before : longer);
}

size_t hk_block_count(const hk_blocks *blocks, int rank)
{
    return hk_block_offset(blocks, rank + 1) - hk_block_offset(blocks, rank);
}

size_t hk_block_longest(const hk_blocks *blocks)
{
    if (!blocks->offsets)
        return hk_block_count(blocks, 0);
    size_t longest = 0;
    for (int r = 0; r < blocks->n; r++) {
        size_t count = hk_block_count(blocks, r);
        if (count > longest)
            longest = count;
    }
    return longest;
}

size_t hk_block_start(const hk_blocks *blocks, int rank)
{
    return hk_block_offset(blocks, rank) * blocks->size;
}

size_t hk_block_bytes(const hk_blocks *blocks, int rank)
{
    return hk_block_count(blocks, rank) * blocks->size;
}

int hk_blocks_run(const hk_blocks *blocks, int first, int length, hk_span spans[2])
{
    int end = first + length;
    int ends[2] = {end < blocks->n ? end : blocks->n, end - blocks->n};
    int starts[2] = {first, 0};
    int used = 0;
    for (int i = 0; i < 2; i++) {
        if (ends[i] <= starts[i])
            continue;
        size_t start = hk_block_start(blocks, starts[i]);
        size_t bytes = hk_block_start(blocks, ends[i]) - start;
        if (bytes > 0)
            spans[used++] = (hk_span){start, bytes};
    }
    return used;
}

int hk_rank_at(int rank, int distance, int n)
{
    return (rank + n + distance % n) % n;
}

static int lowest_bit(int place)
{
    return place & -place;
}

int hk_tree_parent(int place)
{
    return place - lowest_bit(place);
}

int hk_tree_size(int place, int n)
{
    int size = place == 0 ? n : lowest_bit(place);
    return size < n - place ? size : n - place;
}

int hk_tree_first_child(int place, int n)
{
    int size = hk_tree_size(place, n);
    int distance = 1;
    while (distance < size)
        distance *= 2;
    return distance / 2;
}
