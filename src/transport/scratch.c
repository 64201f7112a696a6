#include "transport/scratch.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define WASTE_MAX 4 /* a kept piece serves for no less than this part of it */
#define SMALL_BYTES ((size_t)4 << 10)

struct hk_piece {
    hk_piece *next;
    size_t bytes; /* that follow, from the next alignment on */
};

_Static_assert(sizeof(hk_piece) <= HK_SCRATCH_ALIGNMENT, "a piece's head comes before its bytes");

static void free_pieces(hk_piece *first)
{
    while (first != NULL) {
        hk_piece *piece = first;
        first = piece->next;
        free(piece);
    }
}

static hk_piece *new_piece(size_t bytes)
{
    size_t whole = bytes + 2 * HK_SCRATCH_ALIGNMENT - 1;
    whole -= whole % HK_SCRATCH_ALIGNMENT;
    hk_piece *piece = whole > bytes ? aligned_alloc(HK_SCRATCH_ALIGNMENT, whole) : NULL;
    if (piece != NULL)
        piece->bytes = whole - HK_SCRATCH_ALIGNMENT;
    return piece;
}

static bool serves(const hk_piece *piece, size_t bytes)
{
    return piece->bytes >= bytes &&
           (piece->bytes <= SMALL_BYTES || piece->bytes / WASTE_MAX <= bytes);
}

/* The first that serves: a call asks for the same as the one before it, in the same order. */
static hk_piece *take_unused(hk_scratch_list *list, size_t bytes)
{
    for (hk_piece **link = &list->unused; *link != NULL; link = &(*link)->next) {
        hk_piece *piece = *link;
        if (!serves(piece, bytes))
            continue;
        *link = piece->next;
        return piece;
    }
    return NULL;
}

void *hk_scratch_piece(hk_scratch_list *list, hk_scratch_shelf *shelf, size_t bytes)
{
    if (list->used == NULL && list->unused == NULL)
        list->unused = atomic_exchange(shelf, NULL);
    hk_piece *piece = take_unused(list, bytes);
    if (piece == NULL && (piece = new_piece(bytes)) == NULL)
        return NULL;
    piece->next = list->used;
    list->used = piece;
    return (uint8_t *)piece + HK_SCRATCH_ALIGNMENT;
}

void hk_scratch_release(hk_scratch_list *list, const void *mark)
{
    while (list->used != mark) {
        hk_piece *piece = list->used;
        list->used = piece->next;
        piece->next = list->unused;
        list->unused = piece;
    }
}

void hk_scratch_end(hk_scratch_list *list, hk_scratch_shelf *shelf)
{
    hk_piece *kept = NULL;
    size_t bytes = 0;
    int count = 0;
    hk_piece *lists[2] = {list->used, list->unused};
    *list = (hk_scratch_list){0};
    for (int i = 0; i < 2; i++) {
        while (lists[i] != NULL) {
            hk_piece *piece = lists[i];
            lists[i] = piece->next;
            if (count == HK_SCRATCH_KEPT_PIECES || piece->bytes > HK_SCRATCH_KEPT - bytes) {
                free(piece);
                continue;
            }
            bytes += piece->bytes;
            count++;
            piece->next = kept;
            kept = piece;
        }
    }
    if (kept != NULL) /* what a call of another thread has put there meanwhile is too much */
        free_pieces(atomic_exchange(shelf, kept));
}

void hk_scratch_fini(hk_scratch_shelf *shelf)
{
    free_pieces(atomic_exchange(shelf, NULL));
}
