#include "collective/hosts.h"
#include "collective/algorithms.h"
#include "collective/batch.h"
#include "core/reduce.h"

#include <stdlib.h>

/* What gathers and scatters, and sums of halves, hold in scratch at a time. */
#define PIECE_BYTES ((size_t)4 << 20)

/* Up to here a share of halves is reduced whole by all hosts: the number of steps counts. */
#define SHORT_SHARE_BYTES ((size_t)32 << 10)

struct hk_hosts {
    hk_comm *comm;
    int count;     /* hosts, numbered in the order of their first members */
    int host;      /* this rank's */
    int local;     /* its number among the members there */
    int lanes;     /* members of the smallest host */
    bool even;     /* all hosts have as many */
    bool in_order; /* no member of a host comes before all those of the host before it */
    int *host_of;  /* by member of the group */
    int *local_of;
    hk_team inside; /* my host's members */
    hk_team across; /* the members with my local number, one a host; comm NULL: no lane is mine */
};

/* === Opening ================================================================================== */

/* Hosts as the transport numbers them become 0, 1, ... in the order of the group's members. */
static bool place(hk_hosts *h)
{
    const hk_comm *comm = h->comm;
    const hocket_transport *transport = hk_endpoint_transport(comm->endpoint);
    void *self = hk_endpoint_self(comm->endpoint);
    int *sizes = calloc((size_t)comm->size, sizeof *sizes);
    if (!sizes)
        return false;
    h->in_order = true;
    for (int i = 0; i < comm->size; i++) {
        int first = 0;
        while (transport->host_of(self, comm->ranks[first]) !=
               transport->host_of(self, comm->ranks[i]))
            first++;
        h->host_of[i] = first < i ? h->host_of[first] : h->count++;
        h->local_of[i] = sizes[h->host_of[i]]++;
        h->in_order = h->in_order && (i == 0 || h->host_of[i] >= h->host_of[i - 1]);
    }
    h->lanes = sizes[0];
    h->even = true;
    for (int i = 1; i < h->count; i++) {
        h->even = h->even && sizes[i] == sizes[0];
        h->lanes = sizes[i] < h->lanes ? sizes[i] : h->lanes;
    }
    h->host = h->host_of[comm->rank];
    h->local = h->local_of[comm->rank];
    free(sizes);
    return true;
}

/* The members whose number in key_of is mine, as a part, in the order of their numbers in order_of.
 */
static hocket_status open_part(hk_hosts *h, const int *key_of, const int *order_of, uint64_t color,
                               hk_team *team)
{
    hk_comm *comm = h->comm;
    int mine = key_of[comm->rank], count = 0;
    int *members = calloc((size_t)comm->size, sizeof *members);
    if (!members)
        return hk_fail_memory((size_t)comm->size * sizeof *members, "members of a host");
    for (int i = 0; i < comm->size; i++) {
        if (key_of[i] != mine)
            continue;
        members[order_of[i]] = i;
        count++;
    }
    uint64_t context = hk_context_child(comm->context, color, (uint64_t)mine);
    hocket_status status = hk_comm_part(comm, context, members, count, &team->comm);
    free(members);
    return status;
}

enum { COLOR_INSIDE = -3, COLOR_ACROSS = -4 }; /* no split has such a number */

static hocket_status open_teams(hk_hosts *h, hk_call *call)
{
    hk_comm *part;
    hocket_status status = HOCKET_OK;
    if (h->local < h->lanes)
        status = open_part(h, h->local_of, h->host_of, (uint64_t)COLOR_ACROSS, &h->across);
    if (status == HOCKET_OK)
        status = open_part(h, h->host_of, h->local_of, (uint64_t)COLOR_INSIDE, &h->inside);
    if (status != HOCKET_OK || h->inside.comm->size == 1)
        return status;
    call->comm = part = h->inside.comm;
    status = hk_team_open(part, call, &h->inside);
    call->comm = h->comm;
    return status;
}

hocket_status hk_hosts_open(hk_comm *comm, hk_call *call, hk_hosts **hosts)
{
    *hosts = NULL;
    const hocket_transport *transport = hk_endpoint_transport(comm->endpoint);
    if (!transport->host_of || !transport->collectives || comm->whole != comm)
        return HOCKET_OK;
    const size_t n = (size_t)comm->size;
    hk_hosts *h = calloc(1, sizeof *h);
    if (!h)
        return hk_fail_memory(sizeof *h, "the hosts of a group");
    h->comm = comm;
    h->host_of = calloc(n, sizeof *h->host_of);
    h->local_of = calloc(n, sizeof *h->local_of);
    hocket_status status = HOCKET_OK;
    if (!h->host_of || !h->local_of || !place(h))
        status = hk_fail_memory(2 * n * sizeof(int), "the hosts of a group");
    bool gains = h->count > 1 && h->count < comm->size;
    if (status == HOCKET_OK && gains)
        status = open_teams(h, call);
    /* All are open, or none: no host goes on while another waits for one of its own. */
    if (status == HOCKET_OK && gains)
        status = hk_barrier_dissemination(call);
    if (status == HOCKET_OK && gains)
        *hosts = h;
    else
        hk_hosts_close(h);
    return status;
}

void hk_hosts_close(hk_hosts *hosts)
{
    if (!hosts)
        return;
    hk_team_close(&hosts->inside);
    hk_comm_part_free(hosts->inside.comm);
    hk_comm_part_free(hosts->across.comm);
    free(hosts->host_of);
    free(hosts->local_of);
    free(hosts);
}

const hk_team *hk_hosts_inside(const hk_hosts *hosts)
{
    return &hosts->inside;
}

/* === Steps ==================================================================================== */

/* The call's operations go to the members of this team until it goes elsewhere or home. */
static hk_team *on(hk_call *call, hk_team *team)
{
    call->comm = team->comm;
    return team;
}

static hocket_status home(const hk_hosts *h, hk_call *call, hocket_status status)
{
    call->comm = h->comm;
    return status;
}

static hk_algorithm choose(const hk_hosts *h, hk_operation operation, size_t bytes)
{
    return hk_choose(hk_endpoint_choices(h->comm->endpoint), HK_BY_HOSTS, operation, h->count,
                     bytes, false);
}

/* A vector in as many shares as lanes: the last takes what the division leaves. */
typedef struct shares {
    int lanes;
    size_t each, rest, size;
} shares;

static shares cut(const hk_hosts *h, size_t count, size_t size, hk_algorithm algorithm)
{
    int lanes = algorithm == HK_LEADERS ? 1 : h->lanes;
    return (shares){lanes, count / (size_t)lanes, count % (size_t)lanes, size};
}

static size_t share_count(const shares *s, int lane)
{
    return s->each + (lane == s->lanes - 1 ? s->rest : 0);
}

static void *share_at(const shares *s, const void *data, int lane)
{
    return hk_at(data, (size_t)lane * s->each * s->size);
}

/* Whether each member of my host has a share, so that shares can be scattered and gathered. */
static bool one_each(const hk_hosts *h, const shares *s)
{
    return s->lanes == h->inside.comm->size && s->each > 0;
}

/* Reduces inside the host: afterwards a rank with a share has the host's sum of it in recv. */
static hocket_status reduce_inside(hk_hosts *h, hk_call *call, const shares *s, const void *send,
                                   void *recv, hocket_dtype dtype, hocket_reduce reduce)
{
    hk_team *inside = on(call, &h->inside);
    const size_t even = (size_t)s->lanes * s->each;
    if (!one_each(h, s))
        return hk_all_reduce(inside, call, send, recv, even + s->rest, dtype, reduce);
    hocket_status status =
        hk_reduce_scatter(inside, call, send, share_at(s, recv, h->local), s->each, dtype, reduce);
    if (status == HOCKET_OK)
        status = hk_all_reduce(inside, call, hk_at(send, even * s->size),
                               hk_at(recv, even * s->size), s->rest, dtype, reduce);
    return status;
}

/* Hands the shares round inside the host. */
static hocket_status share_inside(hk_hosts *h, hk_call *call, const shares *s, void *data,
                                  hocket_dtype dtype)
{
    hk_team *inside = on(call, &h->inside);
    hocket_status status = HOCKET_OK;
    if (one_each(h, s)) {
        status = hk_all_gather(inside, call, share_at(s, data, h->local), data, s->each, dtype);
        if (status == HOCKET_OK)
            status = hk_broadcast(inside, call, share_at(s, data, s->lanes), s->rest, dtype,
                                  s->lanes - 1);
        return status;
    }
    for (int i = 0; i < s->lanes && status == HOCKET_OK; i++)
        status = hk_broadcast(inside, call, share_at(s, data, i), share_count(s, i), dtype, i);
    return status;
}

/* === All-reduce =============================================================================== */

/* Sums and products of halves travel as float32 until they are done: rounded once. Other
 * reductions pick one of their operands, or are a user's. */
static bool is_wide(hocket_dtype dtype, hocket_reduce reduce)
{
    return (dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16) &&
           (reduce == HOCKET_SUM || reduce == HOCKET_MEAN || reduce == HOCKET_PROD);
}

/* A mean is a sum on its way. */
static hocket_reduce on_the_way(hocket_reduce reduce)
{
    return reduce == HOCKET_MEAN ? HOCKET_SUM : reduce;
}

static hocket_status reduce_across(hk_hosts *h, hk_call *call, void *share, size_t count,
                                   hocket_dtype dtype, hocket_reduce reduce)
{
    hocket_status status =
        hk_all_reduce(on(call, &h->across), call, share, share, count, dtype, on_the_way(reduce));
    if (status == HOCKET_OK)
        hk_reduce_finish(share, count, dtype, reduce, h->comm->size);
    return status;
}

/* Sums in float32, from which each host rounds its part of the share: what comes back is half as
 * long. wide is overwritten. */
static hocket_status reduce_across_wide(hk_hosts *h, hk_call *call, float *wide, void *share,
                                        size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    hk_team *across = on(call, &h->across);
    const hk_blocks blocks = hk_blocks_even(count, h->count, hocket_dtype_size(dtype));
    if (count * sizeof *wide <= SHORT_SHARE_BYTES) {
        hocket_status status = reduce_across(h, call, wide, count, HOCKET_FLOAT32, reduce);
        hk_reduce_narrow(share, wide, count, dtype);
        return status;
    }
    size_t *counts = hk_scratch(call, (size_t)h->count, sizeof *counts);
    if (!counts)
        return HOCKET_ERR_NO_MEMORY;
    for (int i = 0; i < h->count; i++)
        counts[i] = hk_block_count(&blocks, i);
    float *own = wide + hk_block_offset(&blocks, h->host);
    hocket_status status =
        hk_reduce_scatter_v(across, call, wide, own, counts, HOCKET_FLOAT32, on_the_way(reduce));
    if (status != HOCKET_OK)
        return status;
    void *rounded = hk_at(share, hk_block_start(&blocks, h->host));
    hk_reduce_finish(own, counts[h->host], HOCKET_FLOAT32, reduce, h->comm->size);
    hk_reduce_narrow(rounded, own, counts[h->host], dtype);
    return hk_all_gather_v(across, call, rounded, share, counts, dtype);
}

static hocket_status all_reduce(hk_hosts *h, hk_call *call, const shares *s, const void *send,
                                void *recv, hocket_dtype dtype, hocket_reduce reduce)
{
    hocket_status status = reduce_inside(h, call, s, send, recv, dtype, on_the_way(reduce));
    if (status == HOCKET_OK && h->local < s->lanes)
        status = reduce_across(h, call, share_at(s, recv, h->local), share_count(s, h->local),
                               dtype, reduce);
    return status == HOCKET_OK ? share_inside(h, call, s, recv, dtype) : status;
}

static hocket_status all_reduce_wide(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                     size_t count, hk_algorithm algorithm, hocket_dtype dtype,
                                     hocket_reduce reduce)
{
    const size_t size = hocket_dtype_size(dtype), most = PIECE_BYTES / sizeof(float);
    const size_t piece = count < most ? count : most;
    float *wide = hk_scratch(call, piece, sizeof *wide);
    void *mark = hk_call_scratch_mark(call);
    hocket_status status = wide ? HOCKET_OK : HOCKET_ERR_NO_MEMORY;
    for (size_t at = 0; at < count && status == HOCKET_OK; at += piece) {
        const size_t part = count - at < piece ? count - at : piece;
        const shares sums = cut(h, part, sizeof *wide, algorithm);
        const shares rounded = cut(h, part, size, algorithm);
        void *out = hk_at(recv, at * size);
        hk_reduce_widen(wide, hk_at(send, at * size), part, dtype);
        status = reduce_inside(h, call, &sums, wide, wide, HOCKET_FLOAT32, on_the_way(reduce));
        if (status == HOCKET_OK && h->local < sums.lanes)
            status = reduce_across_wide(h, call, share_at(&sums, wide, h->local),
                                        share_at(&rounded, out, h->local),
                                        share_count(&sums, h->local), dtype, reduce);
        if (status == HOCKET_OK)
            status = share_inside(h, call, &rounded, out, dtype);
        hk_call_scratch_release(call, mark);
    }
    return status;
}

static bool may_reduce(const hk_hosts *h, hocket_reduce reduce)
{
    return h->in_order || hk_reduce_commutes(reduce);
}

hocket_status hk_hosts_all_reduce(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                  size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    const size_t size = hocket_dtype_size(dtype);
    const hk_algorithm algorithm = choose(h, HK_ALL_REDUCE, count * size);
    if (algorithm == HK_FLAT || !may_reduce(h, reduce))
        return HOCKET_ERR_UNSUPPORTED;
    const shares s = cut(h, count, size, algorithm);
    return home(h, call,
                is_wide(dtype, reduce)
                    ? all_reduce_wide(h, call, send, recv, count, algorithm, dtype, reduce)
                    : all_reduce(h, call, &s, send, recv, dtype, reduce));
}

/* === Gather and scatter =======================================================================
 *
 * Piece by piece, through a table in scratch of the pieces of all ranks' blocks: a row a local
 * number, in it a piece a host. A row is what a lane moves, the table is what a host moves, and in
 * the vector the pieces may lie in any order. */

typedef struct table {
    hk_hosts *h;
    hk_call *call;
    char *pieces;
    size_t piece, part; /* elements: at most, and of the piece under way */
    size_t size;        /* bytes of an element in the table */
} table;

static hocket_status table_open(table *t, hk_hosts *h, hk_call *call, size_t count, size_t size)
{
    const size_t n = (size_t)h->comm->size, most = PIECE_BYTES / (n * size);
    *t = (table){.h = h, .call = call, .size = size};
    t->piece = most == 0 ? 1 : count < most ? count : most;
    t->pieces = hk_scratch(call, n * t->piece, size);
    return t->pieces ? HOCKET_OK : HOCKET_ERR_NO_MEMORY;
}

static char *row_at(const table *t, int local)
{
    return t->pieces + (size_t)local * (size_t)t->h->count * t->part * t->size;
}

static char *piece_at(const table *t, int host, int local)
{
    return row_at(t, local) + (size_t)host * t->part * t->size;
}

static char *piece_of(const table *t, int member)
{
    return piece_at(t, t->h->host_of[member], t->h->local_of[member]);
}

static hocket_status gather_piece(const table *t, hocket_dtype dtype)
{
    hk_hosts *h = t->h;
    char *row = row_at(t, h->local);
    hocket_status status = hk_all_gather(on(t->call, &h->across), t->call,
                                         piece_at(t, h->host, h->local), row, t->part, dtype);
    if (status != HOCKET_OK)
        return status;
    return hk_all_gather(on(t->call, &h->inside), t->call, row, t->pieces,
                         (size_t)h->count * t->part, dtype);
}

static hocket_status all_gather(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                size_t count, hocket_dtype dtype)
{
    table t;
    const size_t size = hocket_dtype_size(dtype);
    hocket_status status = table_open(&t, h, call, count, size);
    void *mark = hk_call_scratch_mark(call);
    for (size_t at = 0; at < count && status == HOCKET_OK; at += t.piece) {
        t.part = count - at < t.piece ? count - at : t.piece;
        hk_copy(piece_of(&t, h->comm->rank), hk_at(send, at * size), t.part * size);
        status = gather_piece(&t, dtype);
        for (int i = 0; i < h->comm->size && status == HOCKET_OK; i++)
            hk_copy(hk_at(recv, ((size_t)i * count + at) * size), piece_of(&t, i), t.part * size);
        hk_call_scratch_release(call, mark);
    }
    return status;
}

hocket_status hk_hosts_all_gather(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                  size_t send_count, hocket_dtype dtype)
{
    const size_t bytes = (size_t)h->comm->size * send_count * hocket_dtype_size(dtype);
    if (!h->even || choose(h, HK_ALL_GATHER, bytes) == HK_FLAT)
        return HOCKET_ERR_UNSUPPORTED;
    return home(h, call, all_gather(h, call, send, recv, send_count, dtype));
}

/* Leaves the sum of this rank's piece in the table, in its place. */
static hocket_status scatter_piece(const table *t, hocket_dtype dtype, hocket_reduce reduce)
{
    hk_hosts *h = t->h;
    char *row = row_at(t, h->local);
    hocket_status status = hk_reduce_scatter(on(t->call, &h->inside), t->call, t->pieces, row,
                                             (size_t)h->count * t->part, dtype, reduce);
    if (status != HOCKET_OK)
        return status;
    return hk_reduce_scatter(on(t->call, &h->across), t->call, row, piece_at(t, h->host, h->local),
                             t->part, dtype, reduce);
}

static hocket_status reduce_scatter(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                    size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    table t;
    const bool wide = is_wide(dtype, reduce);
    const hocket_dtype way = wide ? HOCKET_FLOAT32 : dtype;
    const size_t size = hocket_dtype_size(dtype);
    hocket_status status = table_open(&t, h, call, count, hocket_dtype_size(way));
    void *mark = hk_call_scratch_mark(call);
    for (size_t at = 0; at < count && status == HOCKET_OK; at += t.piece) {
        t.part = count - at < t.piece ? count - at : t.piece;
        for (int i = 0; i < h->comm->size; i++) {
            const void *from = hk_at(send, ((size_t)i * count + at) * size);
            if (wide)
                hk_reduce_widen((float *)(void *)piece_of(&t, i), from, t.part, dtype);
            else
                hk_copy(piece_of(&t, i), from, t.part * size);
        }
        status = scatter_piece(&t, way, on_the_way(reduce));
        if (status != HOCKET_OK)
            break;
        void *sum = piece_of(&t, h->comm->rank), *to = hk_at(recv, at * size);
        hk_reduce_finish(sum, t.part, way, reduce, h->comm->size);
        if (wide)
            hk_reduce_narrow(to, sum, t.part, dtype);
        else
            hk_copy(to, sum, t.part * size);
        hk_call_scratch_release(call, mark);
    }
    return status;
}

hocket_status hk_hosts_reduce_scatter(hk_hosts *h, hk_call *call, const void *send, void *recv,
                                      size_t recv_count, hocket_dtype dtype, hocket_reduce reduce)
{
    const size_t bytes = (size_t)h->comm->size * recv_count * hocket_dtype_size(dtype);
    if (!h->even || !may_reduce(h, reduce) || choose(h, HK_REDUCE_SCATTER, bytes) == HK_FLAT)
        return HOCKET_ERR_UNSUPPORTED;
    return home(h, call, reduce_scatter(h, call, send, recv, recv_count, dtype, reduce));
}

/* === Broadcast and barrier ==================================================================== */

/* The root's host has it first, and each of its lanes brings a share to the other hosts. */
static hocket_status broadcast(hk_hosts *h, hk_call *call, const shares *s, void *data,
                               hocket_dtype dtype, int root)
{
    const int from = h->host_of[root];
    const size_t count = (size_t)s->lanes * s->each + s->rest;
    hocket_status status = HOCKET_OK;
    if (h->host == from)
        status = hk_broadcast(on(call, &h->inside), call, data, count, dtype, h->local_of[root]);
    if (status == HOCKET_OK && h->local < s->lanes)
        status = hk_broadcast(on(call, &h->across), call, share_at(s, data, h->local),
                              share_count(s, h->local), dtype, from);
    if (status == HOCKET_OK && h->host != from)
        status = share_inside(h, call, s, data, dtype);
    return status;
}

hocket_status hk_hosts_broadcast(hk_hosts *h, hk_call *call, void *data, size_t count,
                                 hocket_dtype dtype, int root)
{
    const size_t size = hocket_dtype_size(dtype);
    const hk_algorithm algorithm = choose(h, HK_BROADCAST, count * size);
    if (algorithm == HK_FLAT)
        return HOCKET_ERR_UNSUPPORTED;
    const shares s = cut(h, count, size, algorithm);
    return home(h, call, broadcast(h, call, &s, data, dtype, root));
}

/* All of a host are there; all hosts are there; so says the first of each host to its own. */
hocket_status hk_hosts_barrier(hk_hosts *h, hk_call *call)
{
    if (choose(h, HK_BARRIER, 0) == HK_FLAT)
        return HOCKET_ERR_UNSUPPORTED;
    hocket_status status = hk_barrier(on(call, &h->inside), call);
    if (status == HOCKET_OK && h->local == 0)
        status = hk_barrier(on(call, &h->across), call);
    if (status == HOCKET_OK)
        status = hk_barrier(on(call, &h->inside), call);
    return home(h, call, status);
}
