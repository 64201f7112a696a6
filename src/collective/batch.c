#include "collective/batch.h"
#include <string.h>

hocket_status hk_batch_open(hk_batch *batch, hk_call *call, int capacity)
{
    *batch = (hk_batch){.call = call};
    batch->ops = hk_scratch(call, (size_t)capacity, sizeof *batch->ops);
    return batch->ops ? HOCKET_OK : HOCKET_ERR_NO_MEMORY;
}

hocket_status hk_batch_send(hk_batch *batch, int to, const void *data, size_t bytes)
{
    if (bytes == 0)
        return HOCKET_OK;
    return hk_start_send(batch->call, &batch->ops[batch->used++], to, data, bytes);
}

hocket_status hk_batch_recv(hk_batch *batch, int from, void *data, size_t bytes)
{
    if (bytes == 0)
        return HOCKET_OK;
    return hk_start_recv(batch->call, &batch->ops[batch->used++], from, data, bytes);
}

hocket_status hk_batch_send_run(hk_batch *batch, int to, const void *base, const hk_blocks *blocks,
                                int first, int length)
{
    hk_span spans[2];
    int count = hk_blocks_run(blocks, first, length, spans);
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < count && status == HOCKET_OK; i++)
        status = hk_batch_send(batch, to, hk_at(base, spans[i].start), spans[i].bytes);
    return status;
}

hocket_status hk_batch_recv_run(hk_batch *batch, int from, void *base, const hk_blocks *blocks,
                                int first, int length)
{
    hk_span spans[2];
    int count = hk_blocks_run(blocks, first, length, spans);
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < count && status == HOCKET_OK; i++)
        status = hk_batch_recv(batch, from, hk_at(base, spans[i].start), spans[i].bytes);
    return status;
}

hocket_status hk_batch_finish(hk_batch *batch)
{
    int count = batch->used;
    batch->used = 0;
    return hk_finish_all(batch->call, batch->ops, count);
}

void hk_copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0 && to != from)
        memmove(to, from, bytes);
}

void *hk_scratch(hk_call *call, size_t count, size_t bytes)
{
    size_t total = count * bytes;
    if (bytes != 0 && total / bytes != count) {
        hk_fail(HOCKET_ERR_NO_MEMORY, "%zu times %zu bytes for a while are more than any memory",
                count, bytes);
        return NULL;
    }
    return hk_call_scratch(call, total > 0 ? total : 1);
}
