/* MPI's own collectives, of the dtypes and reductions that MPI means as hocket does, by their
 * nonblocking forms, so that a call keeps its deadline.
 *
 * Not here, for hocket's algorithms: sums of small integers, which need not wrap; sums of halves,
 * which MPI would round at each step, also by an operation of ours; max and min of floats, in which
 * MPI may lose a NaN; bool; the user's own.
 *
 * All goes through scratch memory in pieces, which stays MPI's when a call fails. */
#include "transport/mpi/world.h"

#include <stdlib.h>
#include <string.h>

#ifndef HK_MPI_PIECE_BYTES /* a test makes them short */
#define HK_MPI_PIECE_BYTES ((size_t)4 << 20)
#endif
#define PIECE_BYTES HK_MPI_PIECE_BYTES /* of the scratch memory, over all ranks */

typedef struct team {
    world *world;
    MPI_Comm comm;
    int n;
    bool stuck; /* MPI still works on the scratch memory */
    unsigned char *scratch;
    size_t capacity;
} team;

typedef struct kind {
    MPI_Datatype type;
    MPI_Op op;
    hocket_dtype mean; /* divided afterwards; HOCKET_BOOL: not */
} kind;

/* === Waiting ================================================================================== */

/* code: of the call that has made the request. */
static hocket_status run(team *t, int code, MPI_Request *request, const char *what,
                         hocket_patience *patience)
{
    hocket_status status = world_check(code, what);
    world_leave(t->world);
    while (status == HOCKET_OK) {
        int done = 0;
        status = world_enter(t->world);
        if (status != HOCKET_OK)
            break;
        status = world_check(MPI_Test(request, &done, MPI_STATUS_IGNORE), what);
        world_leave(t->world);
        if (done || status != HOCKET_OK)
            break;
        status = hocket_patience_wait(patience);
    }
    t->stuck = t->stuck || status != HOCKET_OK;
    return status;
}

static hocket_status get_scratch(team *t, size_t bytes)
{
    if (bytes <= t->capacity)
        return HOCKET_OK;
    unsigned char *more = realloc(t->scratch, bytes);
    if (more == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a collective over MPI");
    t->scratch = more;
    t->capacity = bytes;
    return HOCKET_OK;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* === Reductions =============================================================================== */

/* Integers wrap, which C promises of the unsigned ones alone; the bits are the same. Those of 8 and
 * 16 bits Open MPI adds up with instructions that stop at the largest. */
static MPI_Datatype wrapping(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_INT32:
    case HOCKET_UINT32: return MPI_UINT32_T;
    case HOCKET_INT64:
    case HOCKET_UINT64: return MPI_UINT64_T;
    case HOCKET_FLOAT32: return MPI_FLOAT;
    case HOCKET_FLOAT64: return MPI_DOUBLE;
    default: return MPI_DATATYPE_NULL;
    }
}

static MPI_Datatype comparing(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_INT8: return MPI_INT8_T;
    case HOCKET_INT16: return MPI_INT16_T;
    case HOCKET_UINT8: return MPI_UINT8_T;
    case HOCKET_UINT16: return MPI_UINT16_T;
    case HOCKET_INT32: return MPI_INT32_T;
    case HOCKET_INT64: return MPI_INT64_T;
    case HOCKET_FLOAT32:
    case HOCKET_FLOAT64: return MPI_DATATYPE_NULL;
    default: return wrapping(dtype);
    }
}

static hocket_status find_kind(hocket_dtype dtype, hocket_reduce reduce, kind *found)
{
    bool real = dtype == HOCKET_FLOAT32 || dtype == HOCKET_FLOAT64;
    *found = (kind){MPI_DATATYPE_NULL, MPI_SUM, HOCKET_BOOL};
    if (reduce == HOCKET_SUM && dtype == HOCKET_COMPLEX64)
        *found = (kind){MPI_C_FLOAT_COMPLEX, MPI_SUM, HOCKET_BOOL};
    else if (reduce == HOCKET_SUM)
        *found = (kind){wrapping(dtype), MPI_SUM, HOCKET_BOOL};
    else if (reduce == HOCKET_MEAN && real)
        *found = (kind){wrapping(dtype), MPI_SUM, dtype};
    else if (reduce == HOCKET_PROD)
        *found = (kind){wrapping(dtype), MPI_PROD, HOCKET_BOOL};
    else if (reduce == HOCKET_MAX || reduce == HOCKET_MIN)
        *found = (kind){comparing(dtype), reduce == HOCKET_MAX ? MPI_MAX : MPI_MIN, HOCKET_BOOL};
    if (found->type == MPI_DATATYPE_NULL)
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED,
                                      "MPI does not reduce %s as hocket does",
                                      hocket_dtype_name(dtype));
    return HOCKET_OK;
}

static void divide(const kind *k, void *data, size_t count, int n)
{
    if (k->mean == HOCKET_FLOAT32)
        for (size_t i = 0; i < count; i++)
            ((float *)data)[i] /= (float)n;
    else if (k->mean == HOCKET_FLOAT64)
        for (size_t i = 0; i < count; i++)
            ((double *)data)[i] /= (double)n;
}

static hocket_status all_reduce(void *handle, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce, hocket_patience *patience)
{
    team *t = handle;
    kind k;
    const size_t item = hocket_dtype_size(dtype), step = PIECE_BYTES / item;
    hocket_status status = find_kind(dtype, reduce, &k);
    if (status == HOCKET_OK)
        status = get_scratch(t, least(count, step) * item);
    for (size_t at = 0; at < count && status == HOCKET_OK; at += step) {
        size_t some = least(step, count - at);
        MPI_Request request;
        memcpy(t->scratch, (const char *)send + at * item, some * item);
        if ((status = world_enter(t->world)) != HOCKET_OK)
            break;
        int code =
            MPI_Iallreduce(MPI_IN_PLACE, t->scratch, (int)some, k.type, k.op, t->comm, &request);
        status = run(t, code, &request, "MPI_Iallreduce", patience);
        if (status == HOCKET_OK) {
            divide(&k, t->scratch, some, t->n);
            memcpy((char *)recv + at * item, t->scratch, some * item);
        }
    }
    return status;
}

/* In pieces: part of each rank's block at a time. */
static hocket_status reduce_scatter(void *handle, const void *send, void *recv, size_t recv_count,
                                    hocket_dtype dtype, hocket_reduce reduce,
                                    hocket_patience *patience)
{
    team *t = handle;
    kind k;
    const size_t item = hocket_dtype_size(dtype), n = (size_t)t->n;
    size_t step = PIECE_BYTES / item / n;
    step = step > 0 ? step : 1;
    hocket_status status = find_kind(dtype, reduce, &k);
    if (status == HOCKET_OK)
        status = get_scratch(t, (n + 1) * least(recv_count, step) * item);
    for (size_t at = 0; at < recv_count && status == HOCKET_OK; at += step) {
        size_t some = least(step, recv_count - at);
        unsigned char *own = t->scratch + n * some * item;
        MPI_Request request;
        for (size_t r = 0; r < n; r++)
            memcpy(t->scratch + r * some * item, (const char *)send + (r * recv_count + at) * item,
                   some * item);
        if ((status = world_enter(t->world)) != HOCKET_OK)
            break;
        int code =
            MPI_Ireduce_scatter_block(t->scratch, own, (int)some, k.type, k.op, t->comm, &request);
        status = run(t, code, &request, "MPI_Ireduce_scatter_block", patience);
        if (status == HOCKET_OK) {
            divide(&k, own, some, t->n);
            memcpy((char *)recv + at * item, own, some * item);
        }
    }
    return status;
}

/* === Bytes ==================================================================================== */

static hocket_status all_gather(void *handle, const void *send, void *recv, size_t send_count,
                                hocket_dtype dtype, hocket_patience *patience)
{
    team *t = handle;
    const size_t bytes = send_count * hocket_dtype_size(dtype), n = (size_t)t->n;
    size_t step = PIECE_BYTES / n;
    step = step > 0 ? step : 1;
    hocket_status status = get_scratch(t, (n + 1) * least(bytes, step));
    for (size_t at = 0; at < bytes && status == HOCKET_OK; at += step) {
        size_t some = least(step, bytes - at);
        unsigned char *own = t->scratch + n * some;
        MPI_Request request;
        memcpy(own, (const char *)send + at, some);
        if ((status = world_enter(t->world)) != HOCKET_OK)
            break;
        int code = MPI_Iallgather(own, (int)some, MPI_BYTE, t->scratch, (int)some, MPI_BYTE,
                                  t->comm, &request);
        status = run(t, code, &request, "MPI_Iallgather", patience);
        for (size_t r = 0; r < n && status == HOCKET_OK; r++)
            memcpy((char *)recv + r * bytes + at, t->scratch + r * some, some);
    }
    return status;
}

static hocket_status broadcast(void *handle, void *data, size_t count, hocket_dtype dtype, int root,
                               hocket_patience *patience)
{
    team *t = handle;
    const size_t bytes = count * hocket_dtype_size(dtype);
    hocket_status status = get_scratch(t, least(bytes, PIECE_BYTES));
    for (size_t at = 0; at < bytes && status == HOCKET_OK; at += PIECE_BYTES) {
        size_t some = least(PIECE_BYTES, bytes - at);
        MPI_Request request;
        memcpy(t->scratch, (const char *)data + at, some);
        if ((status = world_enter(t->world)) != HOCKET_OK)
            break;
        int code = MPI_Ibcast(t->scratch, (int)some, MPI_BYTE, root, t->comm, &request);
        status = run(t, code, &request, "MPI_Ibcast", patience);
        if (status == HOCKET_OK)
            memcpy((char *)data + at, t->scratch, some);
    }
    return status;
}

static hocket_status barrier(void *handle, hocket_patience *patience)
{
    team *t = handle;
    MPI_Request request;
    hocket_status status = world_enter(t->world);
    if (status != HOCKET_OK)
        return status;
    int code = MPI_Ibarrier(t->comm, &request);
    return run(t, code, &request, "MPI_Ibarrier", patience);
}

/* === Teams ==================================================================================== */

/* MPI makes a communicator without looking at a deadline; all members are known to be here. */
static hocket_status make_comm(world *w, const int *ranks, int count, uint64_t context,
                               MPI_Comm *comm)
{
    MPI_Group all, members;
    hocket_status status = world_enter(w);
    if (status != HOCKET_OK)
        return status;
    MPI_Comm_group(w->comm, &all);
    status = world_check(MPI_Group_incl(all, count, ranks, &members), "MPI_Group_incl");
    if (status == HOCKET_OK) {
        int tag = (int)(context % (uint64_t)w->tag_max);
        status = world_check(MPI_Comm_create_group(w->comm, members, tag, comm),
                             "MPI_Comm_create_group");
        MPI_Group_free(&members);
    }
    MPI_Group_free(&all);
    if (status == HOCKET_OK)
        MPI_Comm_set_errhandler(*comm, MPI_ERRORS_RETURN);
    world_leave(w);
    return status;
}

static hocket_status team_open(void *self, const int *ranks, int count, uint64_t context,
                               hocket_patience *patience, void **handle)
{
    (void)patience;
    team *t = calloc(1, sizeof *t);
    if (t == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a group over MPI");
    t->world = self;
    t->n = count;
    hocket_status status = make_comm(self, ranks, count, context, &t->comm);
    if (status != HOCKET_OK) {
        free(t);
        return status;
    }
    *handle = t;
    return HOCKET_OK;
}

static void team_close(void *handle)
{
    team *t = handle;
    int over = 0;
    if (t->stuck) /* what MPI still works on must stay */
        return;
    if (MPI_Finalized(&over) == MPI_SUCCESS && !over && world_enter(t->world) == HOCKET_OK) {
        MPI_Comm_free(&t->comm);
        world_leave(t->world);
    }
    free(t->scratch);
    free(t);
}

const hocket_collectives mpi_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = team_open,
    .team_close = team_close,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .broadcast = broadcast,
    .barrier = barrier,
};
