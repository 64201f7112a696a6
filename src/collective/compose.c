#include "collective/compose.h"
#include "collective/batch.h"
#include "core/reduce.h"
#include <string.h>

/* Bytes that a refused reduction gathers from each rank at a time. */
#define FOLD_BYTES ((size_t)1 << 20)

hocket_status hk_compose_all_reduce(hk_team *team, hk_call *call, const void *send, void *recv,
                                    size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = team->comm->size;
    const size_t size = hocket_dtype_size(dtype);
    const size_t piece = count < FOLD_BYTES / size ? count : FOLD_BYTES / size;
    char *rows = hk_scratch(call, (size_t)n, piece * size);
    const void **inputs = hk_scratch(call, (size_t)n, sizeof *inputs);
    if (!rows || !inputs)
        return HOCKET_ERR_NO_MEMORY;
    hocket_status status = HOCKET_OK;
    for (size_t start = 0; start < count && status == HOCKET_OK; start += piece) {
        size_t part = count - start < piece ? count - start : piece;
        for (int r = 0; r < n; r++)
            inputs[r] = rows + (size_t)r * part * size;
        status = hk_all_gather(team, call, hk_at(send, start * size), rows, part, dtype);
        if (status == HOCKET_OK)
            status = hk_reduce_fold(hk_at(recv, start * size), inputs, n, part, dtype, reduce);
    }
    return status;
}

/* All blocks as long as the longest. */
hocket_status hk_compose_all_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                                    const hk_blocks *blocks, hocket_dtype dtype)
{
    const int n = blocks->n, rank = team->comm->rank;
    const size_t longest = hk_block_longest(blocks), stride = longest * blocks->size;
    char *rows = hk_scratch(call, (size_t)n, stride);
    char *own = hk_scratch(call, 1, stride);
    if (!rows || !own)
        return HOCKET_ERR_NO_MEMORY;
    size_t bytes = hk_block_bytes(blocks, rank);
    hk_copy(own, send, bytes);
    memset(own + bytes, 0, stride - bytes);
    hocket_status status = hk_all_gather(team, call, own, rows, longest, dtype);
    for (int r = 0; r < n && status == HOCKET_OK; r++)
        hk_copy(hk_at(recv, hk_block_start(blocks, r)), rows + (size_t)r * stride,
                hk_block_bytes(blocks, r));
    return status;
}

hocket_status hk_compose_reduce_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                        const hk_blocks *blocks, hocket_dtype dtype,
                                        hocket_reduce reduce)
{
    const int rank = team->comm->rank;
    char *whole = hk_scratch(call, blocks->count, blocks->size);
    if (!whole)
        return HOCKET_ERR_NO_MEMORY;
    hocket_status status = hk_all_reduce(team, call, send, whole, blocks->count, dtype, reduce);
    if (status == HOCKET_OK)
        hk_copy(recv, whole + hk_block_start(blocks, rank), hk_block_bytes(blocks, rank));
    return status;
}

/* A sum of bytes to which all but the root give zeros: twice the vector a rank and no scratch,
 * where an all_gather would move and hold n of them. */
hocket_status hk_compose_broadcast(hk_team *team, hk_call *call, void *data, size_t bytes, int root)
{
    if (team->comm->rank != root)
        memset(data, 0, bytes);
    return hk_all_reduce(team, call, data, data, bytes, HOCKET_UINT8, HOCKET_SUM);
}

hocket_status hk_compose_reduce_to(hk_team *team, hk_call *call, const void *send, void *recv,
                                   size_t count, hocket_dtype dtype, hocket_reduce reduce, int root)
{
    if (team->comm->rank != root)
        recv = hk_scratch(call, count, hocket_dtype_size(dtype));
    if (!recv)
        return HOCKET_ERR_NO_MEMORY;
    return hk_all_reduce(team, call, send, recv, count, dtype, reduce);
}

hocket_status hk_compose_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                                size_t send_count, hocket_dtype dtype, int root)
{
    if (team->comm->rank != root)
        recv = hk_scratch(call, (size_t)team->comm->size, send_count * hocket_dtype_size(dtype));
    if (!recv)
        return HOCKET_ERR_NO_MEMORY;
    return hk_all_gather(team, call, send, recv, send_count, dtype);
}

hocket_status hk_compose_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                 const hk_blocks *blocks, hocket_dtype dtype, int root)
{
    const int rank = team->comm->rank;
    char *whole = hk_scratch(call, blocks->count, blocks->size);
    if (!whole)
        return HOCKET_ERR_NO_MEMORY;
    if (rank == root)
        hk_copy(whole, send, blocks->count * blocks->size);
    hocket_status status = hk_broadcast(team, call, whole, blocks->count, dtype, root);
    if (status == HOCKET_OK)
        hk_copy(recv, whole + hk_block_start(blocks, rank), hk_block_bytes(blocks, rank));
    return status;
}

/* Everyone learns how much each rank has for each other (table[i * n + j]: from i to j), then
 * everything that anyone sends, and keeps what is its own. */
hocket_status hk_compose_all_to_all(hk_team *team, hk_call *call, const void *send,
                                    const hk_blocks *send_blocks, void *recv,
                                    const hk_blocks *recv_blocks, hocket_dtype dtype)
{
    const int n = team->comm->size, rank = team->comm->rank;
    const size_t ranks = (size_t)n, size = send_blocks->size;
    uint64_t *mine = hk_scratch(call, ranks, sizeof *mine);
    uint64_t *table = hk_scratch(call, ranks * ranks, sizeof *table);
    if (!mine || !table)
        return HOCKET_ERR_NO_MEMORY;
    for (int r = 0; r < n; r++)
        mine[r] = hk_block_count(send_blocks, r);
    hocket_status status = hk_all_gather(team, call, mine, table, ranks, HOCKET_UINT64);
    if (status != HOCKET_OK)
        return status;

    size_t most = 0;
    for (size_t i = 0; i < ranks; i++) {
        size_t total = 0, expected = hk_block_count(recv_blocks, (int)i);
        for (size_t j = 0; j < ranks; j++)
            total += (size_t)table[i * ranks + j];
        most = total > most ? total : most;
        if (table[i * ranks + (size_t)rank] != expected)
            return hk_fail_rank(HOCKET_ERR_MISMATCH, (int)i,
                                "rank %zu sends %llu elements, %zu are expected", i,
                                (unsigned long long)table[i * ranks + (size_t)rank], expected);
    }
    if (most == 0)
        return HOCKET_OK;
    char *own = hk_scratch(call, most, size);
    char *rows = own ? hk_scratch(call, ranks, most * size) : NULL;
    if (!rows)
        return HOCKET_ERR_NO_MEMORY;
    size_t bytes = send_blocks->count * size;
    hk_copy(own, send, bytes);
    memset(own + bytes, 0, most * size - bytes);
    status = hk_all_gather(team, call, own, rows, most, dtype);
    for (size_t i = 0; i < ranks && status == HOCKET_OK; i++) {
        const char *row = rows + i * most * size;
        for (int j = 0; j < rank; j++)
            row += (size_t)table[i * ranks + (size_t)j] * size;
        hk_copy(hk_at(recv, hk_block_start(recv_blocks, (int)i)), row,
                hk_block_bytes(recv_blocks, (int)i));
    }
    return status;
}

hocket_status hk_compose_permute(hk_team *team, hk_call *call, const void *send, void *recv,
                                 size_t count, hocket_dtype dtype, const int *to)
{
    const int n = team->comm->size, rank = team->comm->rank;
    const size_t bytes = count * hocket_dtype_size(dtype);
    char *rows = hk_scratch(call, (size_t)n, bytes);
    if (!rows)
        return HOCKET_ERR_NO_MEMORY;
    if (to[rank] < 0) /* send may be NULL, but all gather */
        send = memset(rows + (size_t)rank * bytes, 0, bytes);
    hocket_status status = hk_all_gather(team, call, send, rows, count, dtype);
    if (status != HOCKET_OK)
        return status;
    memset(recv, 0, bytes);
    for (int r = 0; r < n; r++) {
        if (to[r] == rank)
            hk_copy(recv, rows + (size_t)r * bytes, bytes);
    }
    return HOCKET_OK;
}

hocket_status hk_compose_barrier(hk_team *team, hk_call *call)
{
    uint8_t here = 1, *all = hk_scratch(call, (size_t)team->comm->size, sizeof here);
    return all ? hk_all_gather(team, call, &here, all, 1, HOCKET_UINT8) : HOCKET_ERR_NO_MEMORY;
}
