/* Operations that are under way together. */
#ifndef HK_COLLECTIVE_BATCH_H
#define HK_COLLECTIVE_BATCH_H

#include "collective/block.h"
#include "transport/call.h"

typedef struct hk_batch {
    hk_call *call;
    hk_op *ops; /* scratch of the call */
    int used;
} hk_batch;

/* At most capacity operations at a time. */
hocket_status hk_batch_open(hk_batch *batch, hk_call *call, int capacity);

/* Start one. Nothing is sent, and nothing expected, for 0 bytes: both sides know the length. */
hocket_status hk_batch_send(hk_batch *batch, int to, const void *data, size_t bytes);
hocket_status hk_batch_recv(hk_batch *batch, int from, void *data, size_t bytes);

/* The same for a run of blocks (hk_blocks_run) of the vector at base: at most two operations. */
hocket_status hk_batch_send_run(hk_batch *batch, int to, const void *base, const hk_blocks *blocks,
                                int first, int length);
hocket_status hk_batch_recv_run(hk_batch *batch, int from, void *base, const hk_blocks *blocks,
                                int first, int length);

/* Waits for all of them; the batch is empty again. */
hocket_status hk_batch_finish(hk_batch *batch);

/* base + bytes, and NULL for a buffer of nothing that the caller gave as NULL. */
static inline void *hk_at(const void *base, size_t bytes)
{
    return base ? (char *)base + bytes : NULL;
}

/* memmove that allows NULL where there is nothing to move. */
void hk_copy(void *to, const void *from, size_t bytes);

/* Scratch for count pieces of `bytes` (0 allowed), NULL with the error set, on overflow too. */
void *hk_scratch(hk_call *call, size_t count, size_t bytes);

#endif
