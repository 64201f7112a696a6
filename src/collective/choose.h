/* Which algorithm: one table, one look-up. */
#ifndef HK_COLLECTIVE_CHOOSE_H
#define HK_COLLECTIVE_CHOOSE_H

#include "transport/what.h"

typedef enum hk_algorithm {
    HK_FLAT,   /* whole vectors, at once, and everyone (or the root) folds: one step */
    HK_TREE,   /* whole vectors or growing runs of blocks: log n steps */
    HK_DIRECT, /* blocks straight to where they belong: one step, n - 1 messages */
    HK_RING    /* blocks from neighbour to neighbour: n - 1 steps */
} hk_algorithm;

typedef struct hk_choice {
    hk_operation operation;
    int ranks_from, ranks_to;
    size_t bytes_from, bytes_to; /* both included */
    hk_algorithm algorithm;
} hk_choice;

/* bytes: of the vector (all_reduce, broadcast, reduce_to), or of all ranks' blocks together.
 * ordered: a reduction that one rank must do from first to last, for which a ring is never chosen.
 * Depends on nothing else, so all ranks choose alike. */
hk_algorithm hk_choose(hk_operation operation, int ranks, size_t bytes, bool ordered);

#endif
