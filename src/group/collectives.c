/* The collectives of the public API: each fills a job (job.c), which runs now or as a request. */
#include "group/group.h"

/* Jobs are filled where they lie and handed on by address: to copy one would wait for its pieces to
 * reach the cache, a third of a short call. */
static hocket_status start(hocket_group *group, hk_job *job, hocket_request **request)
{
    if (request != NULL)
        *request = NULL;
    hocket_status status = hk_job_check(group, job);
    return status == HOCKET_OK ? hk_submit(group, job, request) : status;
}

/* The asynchronous forms differ by having somewhere to put a request. */
static hocket_status start_async(hocket_group *group, hk_job *job, hocket_request **request)
{
    if (request == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s_async: request is NULL",
                       hk_operation_name(job->operation));
    return start(group, job, request);
}

/* === Jobs ==================================================================================== */

#define REDUCES(which, from, to, elements, type, how, at)                                          \
    (&(hk_job){.operation = (which),                                                               \
               .send = (from),                                                                     \
               .recv = (to),                                                                       \
               .count = (elements),                                                                \
               .dtype = (type),                                                                    \
               .reduce = (how),                                                                    \
               .root = (at)})

#define MOVES(which, from, to, elements, type, at)                                                 \
    REDUCES(which, from, to, elements, type, HOCKET_SUM, at)

#define COUNTED(which, from, from_counts, to, to_counts, type, how)                                \
    (&(hk_job){.operation = (which),                                                               \
               .send = (from),                                                                     \
               .send_counts = (from_counts),                                                       \
               .recv = (to),                                                                       \
               .recv_counts = (to_counts),                                                         \
               .dtype = (type),                                                                    \
               .reduce = (how)})

#define PERMUTES(from, into, elements, type, targets)                                              \
    (&(hk_job){.operation = HK_PERMUTE,                                                            \
               .send = (from),                                                                     \
               .recv = (into),                                                                     \
               .count = (elements),                                                                \
               .dtype = (type),                                                                    \
               .to = (targets)})

/* === The functions =========================================================================== */

hocket_status hocket_all_reduce(hocket_group *group, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce)
{
    return start(group, REDUCES(HK_ALL_REDUCE, send, recv, count, dtype, reduce, 0), NULL);
}

hocket_status hocket_all_reduce_async(hocket_group *group, const void *send, void *recv,
                                      size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                      hocket_request **request)
{
    return start_async(group, REDUCES(HK_ALL_REDUCE, send, recv, count, dtype, reduce, 0), request);
}

hocket_status hocket_all_sum(hocket_group *group, float *data, size_t count)
{
    return start(group, REDUCES(HK_ALL_REDUCE, data, data, count, HOCKET_FLOAT32, HOCKET_SUM, 0),
                 NULL);
}

hocket_status hocket_all_sum_async(hocket_group *group, float *data, size_t count,
                                   hocket_request **request)
{
    return start_async(group,
                       REDUCES(HK_ALL_REDUCE, data, data, count, HOCKET_FLOAT32, HOCKET_SUM, 0),
                       request);
}

hocket_status hocket_all_gather(hocket_group *group, const void *send, void *recv,
                                size_t send_count, hocket_dtype dtype)
{
    return start(group, MOVES(HK_ALL_GATHER, send, recv, send_count, dtype, 0), NULL);
}

hocket_status hocket_all_gather_async(hocket_group *group, const void *send, void *recv,
                                      size_t send_count, hocket_dtype dtype,
                                      hocket_request **request)
{
    return start_async(group, MOVES(HK_ALL_GATHER, send, recv, send_count, dtype, 0), request);
}

hocket_status hocket_all_gather_v(hocket_group *group, const void *send, void *recv,
                                  const size_t *counts, hocket_dtype dtype)
{
    return start(group, COUNTED(HK_ALL_GATHER_V, send, NULL, recv, counts, dtype, HOCKET_SUM),
                 NULL);
}

hocket_status hocket_all_gather_v_async(hocket_group *group, const void *send, void *recv,
                                        const size_t *counts, hocket_dtype dtype,
                                        hocket_request **request)
{
    return start_async(group, COUNTED(HK_ALL_GATHER_V, send, NULL, recv, counts, dtype, HOCKET_SUM),
                       request);
}

hocket_status hocket_reduce_scatter(hocket_group *group, const void *send, void *recv,
                                    size_t recv_count, hocket_dtype dtype, hocket_reduce reduce)
{
    return start(group, REDUCES(HK_REDUCE_SCATTER, send, recv, recv_count, dtype, reduce, 0), NULL);
}

hocket_status hocket_reduce_scatter_async(hocket_group *group, const void *send, void *recv,
                                          size_t recv_count, hocket_dtype dtype,
                                          hocket_reduce reduce, hocket_request **request)
{
    return start_async(group, REDUCES(HK_REDUCE_SCATTER, send, recv, recv_count, dtype, reduce, 0),
                       request);
}

hocket_status hocket_reduce_scatter_v(hocket_group *group, const void *send, void *recv,
                                      const size_t *counts, hocket_dtype dtype,
                                      hocket_reduce reduce)
{
    return start(group, COUNTED(HK_REDUCE_SCATTER_V, send, counts, recv, NULL, dtype, reduce),
                 NULL);
}

hocket_status hocket_reduce_scatter_v_async(hocket_group *group, const void *send, void *recv,
                                            const size_t *counts, hocket_dtype dtype,
                                            hocket_reduce reduce, hocket_request **request)
{
    return start_async(group, COUNTED(HK_REDUCE_SCATTER_V, send, counts, recv, NULL, dtype, reduce),
                       request);
}

hocket_status hocket_broadcast(hocket_group *group, void *data, size_t count, hocket_dtype dtype,
                               int root)
{
    return start(group, MOVES(HK_BROADCAST, NULL, data, count, dtype, root), NULL);
}

hocket_status hocket_broadcast_async(hocket_group *group, void *data, size_t count,
                                     hocket_dtype dtype, int root, hocket_request **request)
{
    return start_async(group, MOVES(HK_BROADCAST, NULL, data, count, dtype, root), request);
}

hocket_status hocket_reduce_to(hocket_group *group, const void *send, void *recv, size_t count,
                               hocket_dtype dtype, hocket_reduce reduce, int root)
{
    return start(group, REDUCES(HK_REDUCE_TO, send, recv, count, dtype, reduce, root), NULL);
}

hocket_status hocket_reduce_to_async(hocket_group *group, const void *send, void *recv,
                                     size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                     int root, hocket_request **request)
{
    return start_async(group, REDUCES(HK_REDUCE_TO, send, recv, count, dtype, reduce, root),
                       request);
}

hocket_status hocket_gather(hocket_group *group, const void *send, void *recv, size_t send_count,
                            hocket_dtype dtype, int root)
{
    return start(group, MOVES(HK_GATHER, send, recv, send_count, dtype, root), NULL);
}

hocket_status hocket_gather_async(hocket_group *group, const void *send, void *recv,
                                  size_t send_count, hocket_dtype dtype, int root,
                                  hocket_request **request)
{
    return start_async(group, MOVES(HK_GATHER, send, recv, send_count, dtype, root), request);
}

hocket_status hocket_scatter(hocket_group *group, const void *send, void *recv, size_t recv_count,
                             hocket_dtype dtype, int root)
{
    return start(group, MOVES(HK_SCATTER, send, recv, recv_count, dtype, root), NULL);
}

hocket_status hocket_scatter_async(hocket_group *group, const void *send, void *recv,
                                   size_t recv_count, hocket_dtype dtype, int root,
                                   hocket_request **request)
{
    return start_async(group, MOVES(HK_SCATTER, send, recv, recv_count, dtype, root), request);
}

hocket_status hocket_all_to_all(hocket_group *group, const void *send, void *recv,
                                size_t count_per_rank, hocket_dtype dtype)
{
    return start(group, MOVES(HK_ALL_TO_ALL, send, recv, count_per_rank, dtype, 0), NULL);
}

hocket_status hocket_all_to_all_async(hocket_group *group, const void *send, void *recv,
                                      size_t count_per_rank, hocket_dtype dtype,
                                      hocket_request **request)
{
    return start_async(group, MOVES(HK_ALL_TO_ALL, send, recv, count_per_rank, dtype, 0), request);
}

hocket_status hocket_all_to_all_v(hocket_group *group, const void *send, const size_t *send_counts,
                                  void *recv, const size_t *recv_counts, hocket_dtype dtype)
{
    return start(group,
                 COUNTED(HK_ALL_TO_ALL_V, send, send_counts, recv, recv_counts, dtype, HOCKET_SUM),
                 NULL);
}

hocket_status hocket_all_to_all_v_async(hocket_group *group, const void *send,
                                        const size_t *send_counts, void *recv,
                                        const size_t *recv_counts, hocket_dtype dtype,
                                        hocket_request **request)
{
    return start_async(group,
                       COUNTED(HK_ALL_TO_ALL_V, send, send_counts, recv, recv_counts, dtype,
                               HOCKET_SUM),
                       request);
}

hocket_status hocket_permute(hocket_group *group, const void *send, void *recv, size_t count,
                             hocket_dtype dtype, const int *to)
{
    return start(group, PERMUTES(send, recv, count, dtype, to), NULL);
}

hocket_status hocket_permute_async(hocket_group *group, const void *send, void *recv, size_t count,
                                   hocket_dtype dtype, const int *to, hocket_request **request)
{
    return start_async(group, PERMUTES(send, recv, count, dtype, to), request);
}

hocket_status hocket_barrier(hocket_group *group)
{
    return start(group, &(hk_job){.operation = HK_BARRIER}, NULL);
}

hocket_status hocket_barrier_async(hocket_group *group, hocket_request **request)
{
    return start_async(group, &(hk_job){.operation = HK_BARRIER}, request);
}
