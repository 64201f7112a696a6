/* Ranks and steps, as plain arithmetic: nothing here sends anything.
 *
 * Blocks: a vector in memory cut into n consecutive blocks, block r being rank r's. Runs: blocks
 * that follow each other around the circle of ranks (after the last comes the first), which in
 * memory are one span, or two when the run passes the end. Trees: over *places*, a rank's distance
 * from the root, so that every tree has its root at 0.
 */
#ifndef HK_COLLECTIVE_BLOCK_H
#define HK_COLLECTIVE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hk_blocks {
    int n;
    size_t size;           /* bytes of an element */
    size_t count;          /* elements of all blocks */
    const size_t *offsets; /* n + 1, in elements; NULL: near-equal blocks */
} hk_blocks;

/* Near-equal blocks: the first count mod n are one element longer. */
hk_blocks hk_blocks_even(size_t count, int n, size_t size);

/* Blocks of counts[r] elements. offsets: room for n + 1, must live as long as the blocks. */
hk_blocks hk_blocks_uneven(const size_t *counts, int n, size_t size, size_t *offsets);

/* In elements. hk_block_offset takes n too: the end. */
size_t hk_block_offset(const hk_blocks *blocks, int rank);
size_t hk_block_count(const hk_blocks *blocks, int rank);
size_t hk_block_longest(const hk_blocks *blocks);

/* Where a block starts, in bytes, and how many it has. */
size_t hk_block_start(const hk_blocks *blocks, int rank);
size_t hk_block_bytes(const hk_blocks *blocks, int rank);

/* A stretch of memory, in bytes. */
typedef struct hk_span {
    size_t start, bytes;
} hk_span;

/* The memory of blocks first, first + 1, ... first + length - 1 (mod n), length at most n. Writes
 * the spans that are not empty and returns how many these are, 0 to 2. */
int hk_blocks_run(const hk_blocks *blocks, int first, int length, hk_span spans[2]);

/* (rank + distance) mod n, for distance > -n. */
int hk_rank_at(int rank, int distance, int n);

/* The binomial tree over places 0 .. n - 1. A place's parent is the place without its lowest set
 * bit; its children are the place plus each lower power of two; the subtree of place p is the run
 * p .. p + hk_tree_size(p, n) - 1. n = 8:
 *
 *     0 --+-- 1
 *         +-- 2 ----- 3
 *         +-- 4 --+-- 5
 *                 +-- 6 ----- 7
 */
int hk_tree_parent(int place);
int hk_tree_size(int place, int n);

/* The distance of the largest child (a power of two), 0 for a leaf; halve it for the next one. */
int hk_tree_first_child(int place, int n);

#endif
