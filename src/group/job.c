/* A job is a collective that was asked for: hk_job_check knows what must hold for any of them,
 * hk_job_run runs one. */
#include "core/dtype.h"
#include "core/reduce.h"
#include "group/group.h"

#include <string.h>

/* === Checks ================================================================================== */

hocket_status hk_check_group(const hocket_group *group, const char *function)
{
    if (group != NULL)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_INVALID, "%s: group is NULL", function);
}

static hocket_status invalid(const hocket_group *group, const hk_job *job, const char *what,
                             long long value)
{
    return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: %s is %lld",
                   hk_operation_name(job->operation), group->comm->rank, group->comm->size, what,
                   value);
}

static bool has_dtype(hk_operation operation)
{
    return operation != HK_BARRIER && operation != HK_SPLIT && operation != HK_RELAY;
}

static bool has_reduce(hk_operation operation)
{
    return operation == HK_ALL_REDUCE || operation == HK_REDUCE_SCATTER ||
           operation == HK_REDUCE_SCATTER_V || operation == HK_REDUCE_TO;
}

static bool has_root(hk_operation operation)
{
    return operation == HK_BROADCAST || operation == HK_REDUCE_TO || operation == HK_GATHER ||
           operation == HK_SCATTER;
}

static hocket_status undefined(const hocket_group *group, const hk_job *job)
{
    return hk_fail(HOCKET_ERR_INVALID,
                   "%s on rank %d of %d: the reduction %s (%d) is not defined for %s",
                   hk_operation_name(job->operation), group->comm->rank, group->comm->size,
                   hk_reduce_name(job->reduce), (int)job->reduce, hk_dtype_name(job->dtype));
}

static hocket_status check_types(const hocket_group *group, const hk_job *job)
{
    if (has_dtype(job->operation) && !hk_dtype_valid((int)job->dtype))
        return invalid(group, job, "dtype", (int)job->dtype);
    if (has_root(job->operation) && (job->root < 0 || job->root >= group->comm->size))
        return invalid(group, job, "root", job->root);
    if (has_reduce(job->operation) && !hk_reduce_defined(job->dtype, job->reduce))
        return undefined(group, job);
    return HOCKET_OK;
}

/* The elements on each side of a job: counts summed, products checked. False: more than a size_t
 * holds. */
static bool sum_counts(const hocket_group *group, const size_t *counts, size_t *sum)
{
    *sum = 0;
    for (int i = 0; i < group->comm->size; i++) {
        if (counts[i] > SIZE_MAX - *sum)
            return false;
        *sum += counts[i];
    }
    return true;
}

typedef struct extent {
    size_t send, recv; /* elements that this rank reads and writes */
} extent;

/* Where each operation's buffers are as long as what: per rank, for all, or not there. */
static bool measure(const hocket_group *group, const hk_job *job, extent *e)
{
    size_t count = job->count, all;
    bool fits = hk_product(count, (size_t)group->comm->size, &all);
    bool root = group->comm->rank == job->root;
    switch (job->operation) {
    case HK_ALL_REDUCE: *e = (extent){count, count}; return true;
    case HK_PERMUTE: *e = (extent){job->to[group->comm->rank] >= 0 ? count : 0, count}; return true;
    case HK_BROADCAST: *e = (extent){0, count}; return true;
    case HK_ALL_GATHER: *e = (extent){count, all}; return fits;
    case HK_REDUCE_SCATTER: *e = (extent){all, count}; return fits;
    case HK_ALL_TO_ALL: *e = (extent){all, all}; return fits;
    case HK_REDUCE_TO: *e = (extent){count, root ? count : 0}; return true;
    case HK_GATHER: *e = (extent){count, root ? all : 0}; return fits;
    case HK_SCATTER: *e = (extent){root ? all : 0, count}; return fits;
    case HK_ALL_GATHER_V:
        e->send = job->recv_counts[group->comm->rank];
        return sum_counts(group, job->recv_counts, &e->recv);
    case HK_REDUCE_SCATTER_V:
        e->recv = job->send_counts[group->comm->rank];
        return sum_counts(group, job->send_counts, &e->send);
    case HK_ALL_TO_ALL_V:
        return sum_counts(group, job->send_counts, &e->send) &&
               sum_counts(group, job->recv_counts, &e->recv);
    default: *e = (extent){0, 0}; return true;
    }
}

/* The longer side of a checked job. */
static uint64_t data_bytes(const hocket_group *group, const hk_job *job)
{
    extent e = {0, 0};
    if (has_dtype(job->operation))
        measure(group, job, &e);
    return (e.send > e.recv ? e.send : e.recv) * hocket_dtype_size(job->dtype);
}

/* Names the count that is to blame, of several the largest. */
static hocket_status too_many(const hocket_group *group, const hk_job *job)
{
    const size_t *counts[] = {job->send_counts, job->recv_counts};
    const size_t *largest = &job->count;
    for (int k = 0; k < 2; k++)
        for (int i = 0; counts[k] != NULL && i < group->comm->size; i++)
            if (counts[k][i] > *largest)
                largest = &counts[k][i];
    return hk_fail(HOCKET_ERR_INVALID,
                   "%s on rank %d of %d: %s is %zu: all ranks' elements of %s together are more "
                   "than memory can hold",
                   hk_operation_name(job->operation), group->comm->rank, group->comm->size,
                   largest == &job->count ? "count" : "one of the counts", *largest,
                   hk_dtype_name(job->dtype));
}

static hocket_status check_buffers(const hocket_group *group, const hk_job *job)
{
    extent e;
    size_t send_bytes, recv_bytes;
    if (!measure(group, job, &e) || !hk_bytes(e.send, job->dtype, &send_bytes) ||
        !hk_bytes(e.recv, job->dtype, &recv_bytes))
        return too_many(group, job);
    if ((send_bytes > 0 && job->send == NULL) || (recv_bytes > 0 && job->recv == NULL))
        return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: %s is NULL",
                       hk_operation_name(job->operation), group->comm->rank, group->comm->size,
                       send_bytes > 0 && job->send == NULL ? "send"
                       : job->operation == HK_BROADCAST    ? "data"
                                                           : "recv");
    return HOCKET_OK;
}

/* Targets are ranks or -1, none twice. */
static hocket_status check_targets(const hocket_group *group, const hk_job *job)
{
    int size = group->comm->size;
    bool taken[size];
    memset(taken, 0, sizeof taken);
    for (int i = 0; i < size; i++) {
        int to = job->to[i];
        if (to < -1 || to >= size || (to >= 0 && taken[to]))
            return hk_fail(HOCKET_ERR_INVALID, "permute on rank %d of %d: to[%d] is %d%s",
                           group->comm->rank, size, i, to,
                           to >= -1 && to < size ? ", a target twice" : "");
        if (to >= 0)
            taken[to] = true;
    }
    return HOCKET_OK;
}

static hocket_status check_arrays(const hocket_group *group, const hk_job *job)
{
    bool needs_send = job->operation == HK_REDUCE_SCATTER_V || job->operation == HK_ALL_TO_ALL_V;
    bool needs_recv = job->operation == HK_ALL_GATHER_V || job->operation == HK_ALL_TO_ALL_V;
    if ((needs_send && job->send_counts == NULL) || (needs_recv && job->recv_counts == NULL) ||
        (job->operation == HK_PERMUTE && job->to == NULL))
        return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: %s is NULL",
                       hk_operation_name(job->operation), group->comm->rank, group->comm->size,
                       job->operation == HK_PERMUTE ? "to" : "an array of counts");
    return job->operation == HK_PERMUTE ? check_targets(group, job) : HOCKET_OK;
}

/* The own block has one length on both sides: no other rank would notice that it has two. */
static hocket_status check_exchange(const hocket_group *group, const hk_job *job)
{
    int rank = group->comm->rank, size = group->comm->size;
    if (job->send == job->recv && job->send != NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "all_to_all_v on rank %d of %d: send and recv are the same", rank, size);
    size_t sent = job->send_counts[rank], received = job->recv_counts[rank];
    if (sent != received)
        return hk_fail(HOCKET_ERR_INVALID,
                       "all_to_all_v on rank %d of %d: to itself it sends %zu elements and "
                       "receives %zu",
                       rank, size, sent, received);
    return HOCKET_OK;
}

hocket_status hk_job_check(const hocket_group *group, const hk_job *job)
{
    if (group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: group is NULL", hk_operation_name(job->operation));
    hocket_status status = check_types(group, job);
    if (status == HOCKET_OK)
        status = check_arrays(group, job);
    if (status == HOCKET_OK && has_dtype(job->operation))
        status = check_buffers(group, job);
    if (status == HOCKET_OK && job->operation == HK_ALL_TO_ALL_V)
        status = check_exchange(group, job);
    return status;
}

/* === Running ================================================================================= */

/* Counts, or targets, of each of n ranks. */
static void list(hk_what *what, const size_t *counts, const int *to, int n,
                 int64_t shown[HK_WHAT_SHOWN])
{
    what->listed = n;
    what->shown = shown;
    what->more = (uint64_t)n;
    for (int i = 0; i < n; i++) {
        int64_t word = counts != NULL ? (int64_t)counts[i] : to[i];
        what->more = hk_mix(what->more, (uint64_t)word);
        if (i < HK_WHAT_SHOWN)
            shown[i] = word;
    }
    what->more |= 1;
}

/* What must be equal on all ranks. */
static void describe(hk_what *what, const hocket_group *group, const hk_job *job, uint64_t number,
                     int64_t shown[HK_WHAT_SHOWN])
{
    int n = group->comm->size;
    *what =
        (hk_what){.kind = hk_kind(job->operation, has_dtype(job->operation) ? (int)job->dtype : -1,
                                  has_root(job->operation) ? job->root : -1,
                                  has_reduce(job->operation) ? (int)job->reduce : -1),
                  .number = number,
                  .count = job->count};
    if (job->operation == HK_ALL_GATHER_V)
        list(what, job->recv_counts, NULL, n, shown);
    else if (job->operation == HK_REDUCE_SCATTER_V)
        list(what, job->send_counts, NULL, n, shown);
    else if (job->operation == HK_PERMUTE)
        list(what, NULL, job->to, n, shown);
    else if (job->operation == HK_ALL_TO_ALL_V)
        what->more = 1;
}

static hocket_status run_algorithm(hk_team *team, hk_call *call, const hk_job *j)
{
    switch (j->operation) {
    case HK_ALL_REDUCE:
        return hk_all_reduce(team, call, j->send, j->recv, j->count, j->dtype, j->reduce);
    case HK_ALL_GATHER: return hk_all_gather(team, call, j->send, j->recv, j->count, j->dtype);
    case HK_ALL_GATHER_V:
        return hk_all_gather_v(team, call, j->send, j->recv, j->recv_counts, j->dtype);
    case HK_REDUCE_SCATTER:
        return hk_reduce_scatter(team, call, j->send, j->recv, j->count, j->dtype, j->reduce);
    case HK_REDUCE_SCATTER_V:
        return hk_reduce_scatter_v(team, call, j->send, j->recv, j->send_counts, j->dtype,
                                   j->reduce);
    case HK_BROADCAST: return hk_broadcast(team, call, j->recv, j->count, j->dtype, j->root);
    case HK_REDUCE_TO:
        return hk_reduce_to(team, call, j->send, j->recv, j->count, j->dtype, j->reduce, j->root);
    case HK_GATHER: return hk_gather(team, call, j->send, j->recv, j->count, j->dtype, j->root);
    case HK_SCATTER: return hk_scatter(team, call, j->send, j->recv, j->count, j->dtype, j->root);
    case HK_ALL_TO_ALL: return hk_all_to_all(team, call, j->send, j->recv, j->count, j->dtype);
    case HK_ALL_TO_ALL_V:
        return hk_all_to_all_v(team, call, j->send, j->send_counts, j->recv, j->recv_counts,
                               j->dtype);
    case HK_PERMUTE: return hk_permute(team, call, j->send, j->recv, j->count, j->dtype, j->to);
    case HK_RELAY: return hk_relay(team, call, j);
    case HK_SPLIT: return hk_all_gather(team, call, j->send, j->recv, j->count, HOCKET_INT32);
    default: return hk_barrier(team, call);
    }
}

static hocket_status run_with_user(hocket_group *group, hk_call *call, const hk_job *job)
{
    struct hk_user_meaning before =
        hk_user_reduce_mean((struct hk_user_meaning){job->reduce, &job->user});
    hocket_status status = run_algorithm(&group->team, call, job);
    hk_user_reduce_mean(before);
    return status;
}

hocket_status hk_job_run(hocket_group *group, const hk_job *job, hk_time now)
{
    int64_t shown[HK_WHAT_SHOWN] = {0};
    hk_call call;
    describe(&call.what, group, job, ++group->number, shown);
    if (job->number != NULL)
        *job->number = group->number;
    hocket_status status = hk_call_begin(&call, group->comm, &call.what, 0, now, job->deadline);
    if (status == HOCKET_OK)
        status = job->user.fn != NULL ? run_with_user(group, &call, job)
                                      : run_algorithm(&group->team, &call, job);
    status = hk_call_end(&call, status);
    hk_times_add(group, &call, now, data_bytes(group, job));
    return status;
}

static bool is_user(const hk_job *job)
{
    return has_reduce(job->operation) && job->reduce >= HOCKET_REDUCE_USER;
}

hocket_status hk_submit(hocket_group *group, hk_job *job, hocket_request **request)
{
    if (is_user(job) && !hk_user_reduce_find(job->reduce, &job->user))
        return undefined(group, job); /* another thread has freed it */
    hk_time now = hk_times_now(group);
    job->deadline = hk_deadline_from(now + HK_COARSE,
                                     atomic_load_explicit(&group->timeout_s, memory_order_relaxed));
    if (request != NULL)
        return hk_queue(group, job, request);
    hk_turn_take(group);
    hocket_status status = hk_job_run(group, job, now);
    hk_turn_give(group);
    return status;
}
