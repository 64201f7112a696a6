/* The collectives of shared memory, for shm_team.c's vtable. docs/shm.md has the table of ways. */
#ifndef HK_TRANSPORT_SHM_WAYS_H
#define HK_TRANSPORT_SHM_WAYS_H

#include "transport/shm_seats.h"

hocket_status hk_shm_all_reduce(void *team, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce,
                                hocket_patience *patience);
hocket_status hk_shm_all_gather(void *team, const void *send, void *recv, size_t send_count,
                                hocket_dtype dtype, hocket_patience *patience);
hocket_status hk_shm_reduce_scatter(void *team, const void *send, void *recv, size_t recv_count,
                                    hocket_dtype dtype, hocket_reduce reduce,
                                    hocket_patience *patience);
hocket_status hk_shm_broadcast(void *team, void *data, size_t count, hocket_dtype dtype, int root,
                               hocket_patience *patience);
hocket_status hk_shm_barrier(void *team, hocket_patience *patience);

/* === Pieces, for shm_ways.c and shm_reach.c =================================================== */

static inline size_t hk_smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A vector in n blocks that begin on cache lines. */
typedef struct hk_cut {
    size_t count, each, size; /* elements, of a block, bytes of an element */
} hk_cut;

hk_cut hk_cut_even(size_t count, int n, size_t size);
size_t hk_cut_start(const hk_cut *cut, int block); /* elements */
size_t hk_cut_count(const hk_cut *cut, int block);

/* What one collective does with its results: those too large for the caches go past them. */
typedef struct hk_folding {
    hk_shm *shm;
    hocket_dtype dtype;
    hocket_reduce reduce;
    bool past_caches;
} hk_folding;

bool hk_shm_past_caches(size_t bytes);
/* Folds shm->inputs, in the members' order. */
hocket_status hk_shm_fold(const hk_folding *folding, void *out, size_t count);
/* Does nothing where the two are the same. */
void hk_shm_copy(void *to, const void *from, size_t bytes, bool past_caches);

#endif
