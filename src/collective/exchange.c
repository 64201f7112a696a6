#include "collective/algorithms.h"
#include "collective/batch.h"
#include <string.h>

/* === All to all ===============================================================================
 *
 * n rounds; in round r rank i exchanges blocks with rank (r - i) mod n, who has the same partner in
 * mind, so each round is a set of pairs (and of ranks that copy their own block). n = 4:
 *
 *     round 0: 1-3, 0 and 2 with themselves      round 2: 0-2, 1 and 3 with themselves
 *     round 1: 0-1, 2-3                          round 3: 0-3, 1-2
 *
 * As pairs swap, a rank in place has to keep one block a round aside and no more. Small rounds are
 * under way together: as many as have WINDOW_BYTES to send or receive. Ranks may differ in that. */

#define WINDOW_BYTES ((size_t)4 << 20)
enum { WINDOW_LEAST = 2 };

typedef struct swap {
    hk_batch batch;
    const void *send;
    void *recv;
    const hk_blocks *send_blocks, *recv_blocks;
    char *aside; /* in place: room for a block per round under way */
    size_t longest;
} swap;

static hocket_status swap_round(swap *s, int rank, int partner, int slot)
{
    size_t send_bytes = hk_block_bytes(s->send_blocks, partner);
    size_t recv_bytes = hk_block_bytes(s->recv_blocks, partner);
    const void *send = hk_at(s->send, hk_block_start(s->send_blocks, partner));
    void *recv = hk_at(s->recv, hk_block_start(s->recv_blocks, partner));
    if (partner == rank) {
        hk_copy(recv, send, recv_bytes);
        return HOCKET_OK;
    }
    if (s->aside) {
        char *copy = s->aside + (size_t)slot * s->longest;
        hk_copy(copy, send, send_bytes);
        send = copy;
    }
    hocket_status status = hk_batch_recv(&s->batch, partner, recv, recv_bytes);
    return status == HOCKET_OK ? hk_batch_send(&s->batch, partner, send, send_bytes) : status;
}

hocket_status hk_all_to_all_blocks(hk_call *call, const void *send, const hk_blocks *send_blocks,
                                   void *recv, const hk_blocks *recv_blocks)
{
    const int n = call->comm->size, rank = call->comm->rank;
    size_t longest = hk_block_longest(send_blocks) * send_blocks->size;
    size_t longest_recv = hk_block_longest(recv_blocks) * recv_blocks->size;
    size_t most = longest > longest_recv ? longest : longest_recv;
    size_t fit = most > 0 ? WINDOW_BYTES / most : WINDOW_LEAST;
    int window = fit > (size_t)n ? n : fit < WINDOW_LEAST ? WINDOW_LEAST : (int)fit;

    swap s = {.send = send,
              .recv = recv,
              .send_blocks = send_blocks,
              .recv_blocks = recv_blocks,
              .longest = longest};
    if (send == recv && !(s.aside = hk_scratch(call, (size_t)window, longest)))
        return HOCKET_ERR_NO_MEMORY;
    hocket_status status = hk_batch_open(&s.batch, call, 2 * window);
    for (int first = 0; first < n && status == HOCKET_OK; first += window) {
        for (int i = 0; i < window && first + i < n && status == HOCKET_OK; i++)
            status = swap_round(&s, rank, hk_rank_at(first + i, -rank, n), i);
        if (status == HOCKET_OK)
            status = hk_batch_finish(&s.batch);
    }
    return status;
}

/* === Permute ================================================================================== */

/* At most one message each way. */
hocket_status hk_permute_bytes(hk_call *call, const void *send, void *recv, size_t bytes,
                               const int *to)
{
    const int n = call->comm->size, rank = call->comm->rank, target = to[rank];
    int source = -1;
    for (int r = 0; r < n; r++) {
        if (to[r] == rank)
            source = r;
    }
    if (source == rank) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    if (send == recv && source >= 0 && target >= 0) {
        void *copy = hk_scratch(call, bytes, 1);
        if (!copy)
            return HOCKET_ERR_NO_MEMORY;
        hk_copy(copy, send, bytes);
        send = copy;
    }
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, 2);
    if (status == HOCKET_OK && source >= 0)
        status = hk_batch_recv(&batch, source, recv, bytes);
    if (status == HOCKET_OK && target >= 0)
        status = hk_batch_send(&batch, target, send, bytes);
    if (status == HOCKET_OK)
        status = hk_batch_finish(&batch);
    if (status == HOCKET_OK && source < 0)
        memset(recv, 0, bytes);
    return status;
}

/* === Barrier ================================================================================== */

/* Dissemination (Hensgen, Finkel & Manber 1988, "Two Algorithms for Barrier Synchronization"): in
 * step k rank i tells rank i + 2^k and hears from rank i - 2^k. After ceil(log2 n) steps each rank
 * has heard, through others, from all. Nobody is special, and n need not be a power of two. */
hocket_status hk_barrier_dissemination(hk_call *call)
{
    const int n = call->comm->size, rank = call->comm->rank;
    hocket_status status = HOCKET_OK;
    for (int distance = 1; distance < n && status == HOCKET_OK; distance *= 2)
        status = hk_exchange(call, hk_rank_at(rank, distance, n), NULL, 0,
                             hk_rank_at(rank, -distance, n), NULL, 0);
    return status;
}
