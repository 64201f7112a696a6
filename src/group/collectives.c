/* The collectives of the public API: each fills a job (job.c), which runs now or as a request. */
#include "group/group.h"

static hocket_status start(hocket_group *group, hk_job job, hocket_request **request)
{
    if (request != NULL)
        *request = NULL;
    hocket_status status = hk_job_check(group, &job);
    return status == HOCKET_OK ? hk_submit(group, &job, request) : status;
}

/* The asynchronous forms differ by having somewhere to put a request. */
static hocket_status start_async(hocket_group *group, hk_job job, hocket_request **request)
{
    if (request == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s_async: request is NULL",
                       hk_operation_name(job.operation));
    return start(group, job, request);
}

/* === Jobs ==================================================================================== */

static hk_job moves(hk_operation operation, const void *send, void *recv, size_t count,
                    hocket_dtype dtype, int root)
{
    return (hk_job){.operation = operation,
                    .send = send,
                    .recv = recv,
                    .count = count,
                    .dtype = dtype,
                    .root = root};
}

static hk_job reduces(hk_operation operation, const void *send, void *recv, size_t count,
                      hocket_dtype dtype, hocket_reduce reduce, int root)
{
    hk_job job = moves(operation, send, recv, count, dtype, root);
    job.reduce = reduce;
    return job;
}

static hk_job counted(hk_operation operation, const void *send, const size_t *send_counts,
                      void *recv, const size_t *recv_counts, hocket_dtype dtype,
                      hocket_reduce reduce)
{
    hk_job job = reduces(operation, send, recv, 0, dtype, reduce, 0);
    job.send_counts = send_counts;
    job.recv_counts = recv_counts;
    return job;
}

static hk_job permutes(const void *send, void *recv, size_t count, hocket_dtype dtype,
                       const int *to)
{
    hk_job job = moves(HK_PERMUTE, send, recv, count, dtype, 0);
    job.to = to;
    return job;
}

/* === The functions =========================================================================== */

hocket_status hocket_all_reduce(hocket_group *group, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce)
{
    return start(group, reduces(HK_ALL_REDUCE, send, recv, count, dtype, reduce, 0), NULL);
}

hocket_status hocket_all_reduce_async(hocket_group *group, const void *send, void *recv,
                                      size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                      hocket_request **request)
{
    return start_async(group, reduces(HK_ALL_REDUCE, send, recv, count, dtype, reduce, 0), request);
}

hocket_status hocket_all_sum(hocket_group *group, float *data, size_t count)
{
    return start(group, reduces(HK_ALL_REDUCE, data, data, count, HOCKET_FLOAT32, HOCKET_SUM, 0),
                 NULL);
}

hocket_status hocket_all_sum_async(hocket_group *group, float *data, size_t count,
                                   hocket_request **request)
{
    return start_async(group,
                       reduces(HK_ALL_REDUCE, data, data, count, HOCKET_FLOAT32, HOCKET_SUM, 0),
                       request);
}

hocket_status hocket_all_gather(hocket_group *group, const void *send, void *recv,
                                size_t send_count, hocket_dtype dtype)
{
    return start(group, moves(HK_ALL_GATHER, send, recv, send_count, dtype, 0), NULL);
}

hocket_status hocket_all_gather_async(hocket_group *group, const void *send, void *recv,
                                      size_t send_count, hocket_dtype dtype,
                                      hocket_request **request)
{
    return start_async(group, moves(HK_ALL_GATHER, send, recv, send_count, dtype, 0), request);
}

hocket_status hocket_all_gather_v(hocket_group *group, const void *send, void *recv,
                                  const size_t *counts, hocket_dtype dtype)
{
    return start(group, counted(HK_ALL_GATHER_V, send, NULL, recv, counts, dtype, HOCKET_SUM),
                 NULL);
}

hocket_status hocket_all_gather_v_async(hocket_group *group, const void *send, void *recv,
                                        const size_t *counts, hocket_dtype dtype,
                                        hocket_request **request)
{
    return start_async(group, counted(HK_ALL_GATHER_V, send, NULL, recv, counts, dtype, HOCKET_SUM),
                       request);
}

hocket_status hocket_reduce_scatter(hocket_group *group, const void *send, void *recv,
                                    size_t recv_count, hocket_dtype dtype, hocket_reduce reduce)
{
    return start(group, reduces(HK_REDUCE_SCATTER, send, recv, recv_count, dtype, reduce, 0), NULL);
}

hocket_status hocket_reduce_scatter_async(hocket_group *group, const void *send, void *recv,
                                          size_t recv_count, hocket_dtype dtype,
                                          hocket_reduce reduce, hocket_request **request)
{
    return start_async(group, reduces(HK_REDUCE_SCATTER, send, recv, recv_count, dtype, reduce, 0),
                       request);
}

hocket_status hocket_reduce_scatter_v(hocket_group *group, const void *send, void *recv,
                                      const size_t *counts, hocket_dtype dtype,
                                      hocket_reduce reduce)
{
    return start(group, counted(HK_REDUCE_SCATTER_V, send, counts, recv, NULL, dtype, reduce),
                 NULL);
}

hocket_status hocket_reduce_scatter_v_async(hocket_group *group, const void *send, void *recv,
                                            const size_t *counts, hocket_dtype dtype,
                                            hocket_reduce reduce, hocket_request **request)
{
    return start_async(group, counted(HK_REDUCE_SCATTER_V, send, counts, recv, NULL, dtype, reduce),
                       request);
}

hocket_status hocket_broadcast(hocket_group *group, void *data, size_t count, hocket_dtype dtype,
                               int root)
{
    return start(group, moves(HK_BROADCAST, NULL, data, count, dtype, root), NULL);
}

hocket_status hocket_broadcast_async(hocket_group *group, void *data, size_t count,
                                     hocket_dtype dtype, int root, hocket_request **request)
{
    return start_async(group, moves(HK_BROADCAST, NULL, data, count, dtype, root), request);
}

hocket_status hocket_reduce_to(hocket_group *group, const void *send, void *recv, size_t count,
                               hocket_dtype dtype, hocket_reduce reduce, int root)
{
    return start(group, reduces(HK_REDUCE_TO, send, recv, count, dtype, reduce, root), NULL);
}

hocket_status hocket_reduce_to_async(hocket_group *group, const void *send, void *recv,
                                     size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                     int root, hocket_request **request)
{
    return start_async(group, reduces(HK_REDUCE_TO, send, recv, count, dtype, reduce, root),
                       request);
}

hocket_status hocket_gather(hocket_group *group, const void *send, void *recv, size_t send_count,
                            hocket_dtype dtype, int root)
{
    return start(group, moves(HK_GATHER, send, recv, send_count, dtype, root), NULL);
}

hocket_status hocket_gather_async(hocket_group *group, const void *send, void *recv,
                                  size_t send_count, hocket_dtype dtype, int root,
                                  hocket_request **request)
{
    return start_async(group, moves(HK_GATHER, send, recv, send_count, dtype, root), request);
}

hocket_status hocket_scatter(hocket_group *group, const void *send, void *recv, size_t recv_count,
                             hocket_dtype dtype, int root)
{
    return start(group, moves(HK_SCATTER, send, recv, recv_count, dtype, root), NULL);
}

hocket_status hocket_scatter_async(hocket_group *group, const void *send, void *recv,
                                   size_t recv_count, hocket_dtype dtype, int root,
                                   hocket_request **request)
{
    return start_async(group, moves(HK_SCATTER, send, recv, recv_count, dtype, root), request);
}

hocket_status hocket_all_to_all(hocket_group *group, const void *send, void *recv,
                                size_t count_per_rank, hocket_dtype dtype)
{
    return start(group, moves(HK_ALL_TO_ALL, send, recv, count_per_rank, dtype, 0), NULL);
}

hocket_status hocket_all_to_all_async(hocket_group *group, const void *send, void *recv,
                                      size_t count_per_rank, hocket_dtype dtype,
                                      hocket_request **request)
{
    return start_async(group, moves(HK_ALL_TO_ALL, send, recv, count_per_rank, dtype, 0), request);
}

hocket_status hocket_all_to_all_v(hocket_group *group, const void *send, const size_t *send_counts,
                                  void *recv, const size_t *recv_counts, hocket_dtype dtype)
{
    return start(group,
                 counted(HK_ALL_TO_ALL_V, send, send_counts, recv, recv_counts, dtype, HOCKET_SUM),
                 NULL);
}

hocket_status hocket_all_to_all_v_async(hocket_group *group, const void *send,
                                        const size_t *send_counts, void *recv,
                                        const size_t *recv_counts, hocket_dtype dtype,
                                        hocket_request **request)
{
    return start_async(group,
                       counted(HK_ALL_TO_ALL_V, send, send_counts, recv, recv_counts, dtype,
                               HOCKET_SUM),
                       request);
}

hocket_status hocket_permute(hocket_group *group, const void *send, void *recv, size_t count,
                             hocket_dtype dtype, const int *to)
{
    return start(group, permutes(send, recv, count, dtype, to), NULL);
}

hocket_status hocket_permute_async(hocket_group *group, const void *send, void *recv, size_t count,
                                   hocket_dtype dtype, const int *to, hocket_request **request)
{
    return start_async(group, permutes(send, recv, count, dtype, to), request);
}

hocket_status hocket_barrier(hocket_group *group)
{
    return start(group, (hk_job){.operation = HK_BARRIER}, NULL);
}

hocket_status hocket_barrier_async(hocket_group *group, hocket_request **request)
{
    return start_async(group, (hk_job){.operation = HK_BARRIER}, request);
}
