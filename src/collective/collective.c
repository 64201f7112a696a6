#include "collective/collective.h"
#include "collective/algorithms.h"
#include "collective/batch.h"
#include "collective/compose.h"
#include "collective/hosts.h"
#include "core/reduce.h"

/* Each function goes down the same steps: nothing to do; a group of one copies; the transport's
 * native form; the hosts' composition; a composition of native ones on a delegate; an algorithm
 * from the table. */

hocket_status hk_team_open(hk_comm *comm, hk_call *call, hk_team *team)
{
    *team = (hk_team){.comm = comm};
    hk_endpoint *endpoint = comm->endpoint;
    const hocket_transport *transport = hk_endpoint_transport(endpoint);
    const hocket_collectives *native = transport->collectives;
    if (!native || !native->team_open)
        return HOCKET_OK;
    if (native->size < sizeof *native)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the collectives of backend %s have %zu bytes, at least %zu are needed: "
                       "set size to sizeof(hocket_collectives)",
                       transport->name, native->size, sizeof *native);
    hocket_patience patience = {.call = call, .member = -1};
    hocket_status status = native->team_open(hk_endpoint_self(endpoint), comm->ranks, comm->size,
                                             comm->context, &patience, &team->handle);
    if (status == HOCKET_ERR_UNSUPPORTED && !hk_endpoint_is_delegate(endpoint))
        return hk_hosts_open(comm, call, &team->hosts);
    if (status == HOCKET_OK)
        team->native = native;
    return status;
}

void hk_team_close(hk_team *team)
{
    if (team->native && team->native->team_close)
        team->native->team_close(team->handle);
    team->native = NULL;
    hk_hosts_close(team->hosts);
    team->hosts = NULL;
}

const hk_team *hk_team_nearest(const hk_team *team)
{
    return team->hosts ? hk_hosts_inside(team->hosts) : team;
}

static bool is_delegate(const hk_team *team)
{
    return hk_endpoint_is_delegate(team->comm->endpoint);
}

static hk_algorithm by_messages(const hk_call *call, hk_operation operation, size_t bytes,
                                bool ordered)
{
    return hk_comm_choose(call->comm, HK_BY_MESSAGES, operation, bytes, ordered);
}

/* === Reductions =============================================================================== */

hocket_status hk_all_reduce(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = team->comm->size;
    const size_t bytes = count * hocket_dtype_size(dtype);
    if (n == 1 || count == 0) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    if (team->native && team->native->all_reduce) {
        hocket_patience patience = {.call = call, .member = -1};
        hocket_status status =
            team->native->all_reduce(team->handle, send, recv, count, dtype, reduce, &patience);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (team->hosts) {
        hocket_status status =
            hk_hosts_all_reduce(team->hosts, call, send, recv, count, dtype, reduce);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (is_delegate(team))
        return hk_compose_all_reduce(team, call, send, recv, count, dtype, reduce);
    return hk_all_reduce_vector(call, send, recv, count, dtype, reduce,
                                by_messages(call, HK_ALL_REDUCE, bytes,
                                            hk_reduce_stays(dtype, reduce)));
}

static hocket_status reduce_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                    const hk_blocks *blocks, hocket_dtype dtype,
                                    hocket_reduce reduce)
{
    const size_t bytes = blocks->count * blocks->size;
    if (blocks->n == 1 || blocks->count == 0) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    if (is_delegate(team))
        return hk_compose_reduce_scatter(team, call, send, recv, blocks, dtype, reduce);
    return hk_reduce_scatter_blocks(call, send, recv, blocks, dtype, reduce,
                                    by_messages(call, HK_REDUCE_SCATTER, bytes,
                                                hk_reduce_stays(dtype, reduce)));
}

hocket_status hk_reduce_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                size_t recv_count, hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = team->comm->size;
    if (team->native && team->native->reduce_scatter && n > 1 && recv_count > 0) {
        hocket_patience patience = {.call = call, .member = -1};
        hocket_status status = team->native->reduce_scatter(team->handle, send, recv, recv_count,
                                                            dtype, reduce, &patience);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (team->hosts && recv_count > 0) {
        hocket_status status =
            hk_hosts_reduce_scatter(team->hosts, call, send, recv, recv_count, dtype, reduce);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    hk_blocks blocks = hk_blocks_even((size_t)n * recv_count, n, hocket_dtype_size(dtype));
    return reduce_scatter(team, call, send, recv, &blocks, dtype, reduce);
}

hocket_status hk_reduce_scatter_v(hk_team *team, hk_call *call, const void *send, void *recv,
                                  const size_t *counts, hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = team->comm->size;
    size_t *offsets = hk_scratch(call, (size_t)n + 1, sizeof *offsets);
    if (!offsets)
        return HOCKET_ERR_NO_MEMORY;
    hk_blocks blocks = hk_blocks_uneven(counts, n, hocket_dtype_size(dtype), offsets);
    return reduce_scatter(team, call, send, recv, &blocks, dtype, reduce);
}

hocket_status hk_reduce_to(hk_team *team, hk_call *call, const void *send, void *recv, size_t count,
                           hocket_dtype dtype, hocket_reduce reduce, int root)
{
    const int n = team->comm->size;
    const size_t bytes = count * hocket_dtype_size(dtype);
    if (n == 1 || count == 0) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    if (is_delegate(team))
        return hk_compose_reduce_to(team, call, send, recv, count, dtype, reduce, root);
    return hk_reduce_to_root(call, send, recv, count, dtype, reduce, root,
                             by_messages(call, HK_REDUCE_TO, bytes, false));
}

/* === Blocks =================================================================================== */

static hocket_status all_gather(hk_call *call, const void *send, void *recv,
                                const hk_blocks *blocks)
{
    const int rank = call->comm->rank;
    hk_copy(hk_at(recv, hk_block_start(blocks, rank)), send, hk_block_bytes(blocks, rank));
    return hk_all_gather_blocks(call, recv, blocks,
                                by_messages(call, HK_ALL_GATHER, blocks->count * blocks->size,
                                            false));
}

hocket_status hk_all_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t send_count, hocket_dtype dtype)
{
    const int n = team->comm->size;
    const size_t size = hocket_dtype_size(dtype);
    if (n == 1 || send_count == 0) {
        hk_copy(recv, send, send_count * size);
        return HOCKET_OK;
    }
    if (team->native && team->native->all_gather) {
        hocket_patience patience = {.call = call, .member = -1};
        hocket_status status =
            team->native->all_gather(team->handle, send, recv, send_count, dtype, &patience);
        if (status != HOCKET_ERR_UNSUPPORTED || is_delegate(team))
            return status;
    }
    if (team->hosts) {
        hocket_status status =
            hk_hosts_all_gather(team->hosts, call, send, recv, send_count, dtype);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (is_delegate(team))
        return hk_fail(HOCKET_ERR_UNSUPPORTED, "backend %s has no all_gather to make it from",
                       hk_endpoint_transport(team->comm->endpoint)->name);
    hk_blocks blocks = hk_blocks_even((size_t)n * send_count, n, size);
    return all_gather(call, send, recv, &blocks);
}

hocket_status hk_all_gather_v(hk_team *team, hk_call *call, const void *send, void *recv,
                              const size_t *counts, hocket_dtype dtype)
{
    const int n = team->comm->size;
    size_t *offsets = hk_scratch(call, (size_t)n + 1, sizeof *offsets);
    if (!offsets)
        return HOCKET_ERR_NO_MEMORY;
    hk_blocks blocks = hk_blocks_uneven(counts, n, hocket_dtype_size(dtype), offsets);
    if (n == 1 || blocks.count == 0) {
        hk_copy(recv, send, blocks.count * blocks.size);
        return HOCKET_OK;
    }
    if (is_delegate(team))
        return hk_compose_all_gather(team, call, send, recv, &blocks, dtype);
    return all_gather(call, send, recv, &blocks);
}

hocket_status hk_broadcast(hk_team *team, hk_call *call, void *data, size_t count,
                           hocket_dtype dtype, int root)
{
    const int n = team->comm->size;
    const size_t bytes = count * hocket_dtype_size(dtype);
    if (n == 1 || count == 0)
        return HOCKET_OK;
    if (team->native && team->native->broadcast) {
        hocket_patience patience = {.call = call, .member = -1};
        hocket_status status =
            team->native->broadcast(team->handle, data, count, dtype, root, &patience);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (team->hosts) {
        hocket_status status = hk_hosts_broadcast(team->hosts, call, data, count, dtype, root);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (is_delegate(team))
        return hk_compose_broadcast(team, call, data, bytes, root);
    return hk_broadcast_bytes(call, data, bytes, root,
                              by_messages(call, HK_BROADCAST, bytes, false));
}

hocket_status hk_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                        size_t send_count, hocket_dtype dtype, int root)
{
    const int n = team->comm->size;
    const size_t size = hocket_dtype_size(dtype), bytes = send_count * size;
    if (n == 1 || send_count == 0) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    if (is_delegate(team))
        return hk_compose_gather(team, call, send, recv, send_count, dtype, root);
    hk_blocks blocks = hk_blocks_even((size_t)n * send_count, n, size);
    return hk_gather_blocks(call, send, recv, &blocks, root,
                            by_messages(call, HK_GATHER, (size_t)n * bytes, false));
}

hocket_status hk_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                         size_t recv_count, hocket_dtype dtype, int root)
{
    const int n = team->comm->size;
    const size_t size = hocket_dtype_size(dtype), bytes = recv_count * size;
    if (n == 1 || recv_count == 0) {
        hk_copy(recv, send, bytes);
        return HOCKET_OK;
    }
    hk_blocks blocks = hk_blocks_even((size_t)n * recv_count, n, size);
    if (is_delegate(team))
        return hk_compose_scatter(team, call, send, recv, &blocks, dtype, root);
    return hk_scatter_blocks(call, send, recv, &blocks, root,
                             by_messages(call, HK_SCATTER, (size_t)n * bytes, false));
}

/* === Exchanges ================================================================================ */

static hocket_status all_to_all(hk_team *team, hk_call *call, const void *send,
                                const hk_blocks *send_blocks, void *recv,
                                const hk_blocks *recv_blocks, hocket_dtype dtype)
{
    if (team->comm->size == 1) {
        hk_copy(recv, send, send_blocks->count * send_blocks->size);
        return HOCKET_OK;
    }
    if (is_delegate(team))
        return hk_compose_all_to_all(team, call, send, send_blocks, recv, recv_blocks, dtype);
    return hk_all_to_all_blocks(call, send, send_blocks, recv, recv_blocks);
}

hocket_status hk_all_to_all(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t count_per_rank, hocket_dtype dtype)
{
    const int n = team->comm->size;
    if (count_per_rank == 0)
        return HOCKET_OK;
    hk_blocks blocks = hk_blocks_even((size_t)n * count_per_rank, n, hocket_dtype_size(dtype));
    return all_to_all(team, call, send, &blocks, recv, &blocks, dtype);
}

hocket_status hk_all_to_all_v(hk_team *team, hk_call *call, const void *send,
                              const size_t *send_counts, void *recv, const size_t *recv_counts,
                              hocket_dtype dtype)
{
    const int n = team->comm->size;
    const size_t size = hocket_dtype_size(dtype);
    size_t *offsets = hk_scratch(call, 2 * ((size_t)n + 1), sizeof *offsets);
    if (!offsets)
        return HOCKET_ERR_NO_MEMORY;
    hk_blocks send_blocks = hk_blocks_uneven(send_counts, n, size, offsets);
    hk_blocks recv_blocks = hk_blocks_uneven(recv_counts, n, size, offsets + n + 1);
    return all_to_all(team, call, send, &send_blocks, recv, &recv_blocks, dtype);
}

hocket_status hk_permute(hk_team *team, hk_call *call, const void *send, void *recv, size_t count,
                         hocket_dtype dtype, const int *to)
{
    if (count == 0)
        return HOCKET_OK;
    if (team->comm->size > 1 && is_delegate(team))
        return hk_compose_permute(team, call, send, recv, count, dtype, to);
    return hk_permute_bytes(call, send, recv, count * hocket_dtype_size(dtype), to);
}

hocket_status hk_barrier(hk_team *team, hk_call *call)
{
    if (team->comm->size == 1)
        return HOCKET_OK;
    if (team->native && team->native->barrier) {
        hocket_patience patience = {.call = call, .member = -1};
        hocket_status status = team->native->barrier(team->handle, &patience);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (team->hosts) {
        hocket_status status = hk_hosts_barrier(team->hosts, call);
        if (status != HOCKET_ERR_UNSUPPORTED)
            return status;
    }
    if (is_delegate(team))
        return hk_compose_barrier(team, call);
    return hk_barrier_dissemination(call);
}
