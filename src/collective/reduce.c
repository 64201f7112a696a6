#include "core/reduce.h"
#include "collective/algorithms.h"
#include "collective/batch.h"

/* Long blocks go in pieces: while one piece is folded the next ones travel, and scratch stays
 * small however long the vector is. */
#define PIECE_BYTES ((size_t)256 << 10)
enum { LANES = 2 }; /* stripes of a ring under way at a time */

static size_t piece_count(size_t size)
{
    return PIECE_BYTES / size;
}

/* Elements index * piece .. of a block of count elements: where they start and how many. */
static size_t piece_at(size_t count, size_t piece, size_t index, size_t *start)
{
    *start = index > count / piece ? count : index * piece;
    return count - *start < piece ? count - *start : piece;
}

bool hk_reduce_stays(hocket_dtype dtype, hocket_reduce reduce)
{
    return !hk_reduce_commutes(reduce) || dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16;
}

/* === Direct ====================================================================================
 *
 * Every rank sends each block straight to its owner, who folds what it gets in rank order. Each
 * rank sends and receives (n - 1) / n of the vector, the least possible, in one step.
 *
 *     rank 0:  a0 b0 c0         a0+a1+a2              (letters: blocks, a is rank 0's)
 *     rank 1:  a1 b1 c1   ->             b0+b1+b2
 *     rank 2:  a2 b2 c2                           c0+c1+c2
 *
 * For an all-reduce the owner sends what it has folded to all. Blocks go in pieces, piece k of all
 * of them in round k, and folded pieces one round behind:
 *
 *     round 0   a[0] b[0] c[0] to their owners
 *     round 1   a[1] b[1] c[1] to their owners, the folded a[0] b[0] c[0] to all
 *     round 2   a[2] b[2] c[2] to their owners, the folded a[1] b[1] c[1] to all
 *
 * So both directions are busy until the end, and a piece is folded and sent on while it is in the
 * cache. Who is in a round has had all pieces of the round before: ranks keep step, and between two
 * of them there is never more on its way than a round's pieces, which on one host is what the
 * kernel's buffers hold and the cache too. Where the way is long, AHEAD_FAR rounds of unfolded
 * pieces are under way to fill it. Receives are posted before the sends of the round that makes
 * others answer, so that all arrives where it belongs.
 *
 * In place, a folded piece of another's block comes after its owner has had this rank's. */

enum { AHEAD_NEAR = 1, AHEAD_FAR = 3 };

typedef struct lane {
    hk_batch batch;      /* of one round: all that it sends and receives */
    char *arrived;       /* n - 1 pieces, from the successor on */
    const void **inputs; /* of the fold, by rank */
} lane;

typedef struct direct {
    hk_call *call;
    const hk_blocks *blocks;
    const char *send;
    char *own;     /* where this rank's block is folded */
    char *whole;   /* the vector that `own` is in and all get, or NULL: no all-reduce */
    size_t rounds; /* with unfolded pieces */
    size_t piece;  /* elements */
    size_t stride; /* bytes from one arrived piece to the next */
    size_t ahead;  /* rounds */
    lane lanes[AHEAD_FAR + 1];
} direct;

static lane *lane_of(direct *d, size_t round)
{
    return &d->lanes[round % (d->ahead + 1)];
}

static hocket_status direct_open(direct *d)
{
    const int n = d->blocks->n;
    const size_t longest = hk_block_longest(d->blocks);
    size_t own = hk_block_count(d->blocks, d->call->comm->rank);
    d->ahead = d->call->comm->one_host ? AHEAD_NEAR : AHEAD_FAR;
    d->piece = piece_count(d->blocks->size);
    d->rounds = longest / d->piece + (longest % d->piece != 0);
    d->stride = (own < d->piece ? own : d->piece) * d->blocks->size;
    for (size_t i = 0; i <= d->ahead && i <= d->rounds; i++) {
        lane *lane = &d->lanes[i];
        if (hk_batch_open(&lane->batch, d->call, 4 * (n - 1)) != HOCKET_OK)
            return HOCKET_ERR_NO_MEMORY;
        if (i < d->rounds &&
            (!(lane->inputs = hk_scratch(d->call, (size_t)n, sizeof *lane->inputs)) ||
             !(lane->arrived = hk_scratch(d->call, (size_t)n - 1, d->stride))))
            return HOCKET_ERR_NO_MEMORY;
    }
    return HOCKET_OK;
}

/* Of round k's pieces, the one of that block: where it is in the vector, and its bytes. */
static size_t direct_piece(const direct *d, int block, size_t k, size_t *start)
{
    size_t count = piece_at(hk_block_count(d->blocks, block), d->piece, k, start);
    *start = hk_block_start(d->blocks, block) + *start * d->blocks->size;
    return count * d->blocks->size;
}

/* Unfolded pieces of the own block, as part of round k. */
static hocket_status expect_pieces(direct *d, size_t k)
{
    if (k >= d->rounds)
        return HOCKET_OK;
    const int n = d->blocks->n, rank = d->call->comm->rank;
    lane *lane = lane_of(d, k);
    size_t start, bytes = direct_piece(d, rank, k, &start);
    lane->inputs[rank] = hk_at(d->send, start);
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < n && status == HOCKET_OK; i++) {
        int from = hk_rank_at(rank, -i, n);
        char *piece = lane->arrived + (size_t)(n - 1 - i) * d->stride;
        lane->inputs[from] = piece;
        status = hk_batch_recv(&lane->batch, from, piece, bytes);
    }
    return status;
}

static hocket_status send_pieces(direct *d, size_t k)
{
    if (k >= d->rounds)
        return HOCKET_OK;
    const int n = d->blocks->n, rank = d->call->comm->rank;
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < n && status == HOCKET_OK; i++) {
        int to = hk_rank_at(rank, i, n);
        size_t start, bytes = direct_piece(d, to, k, &start);
        status = hk_batch_send(&lane_of(d, k)->batch, to, hk_at(d->send, start), bytes);
    }
    return status;
}

/* Folded pieces k of the others' blocks, as part of the round after. */
static hocket_status expect_folded(direct *d, size_t k)
{
    const int n = d->blocks->n, rank = d->call->comm->rank;
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < n && d->whole && status == HOCKET_OK; i++) {
        int from = hk_rank_at(rank, -i, n);
        size_t start, bytes = direct_piece(d, from, k, &start);
        status = hk_batch_recv(&lane_of(d, k + 1)->batch, from, hk_at(d->whole, start), bytes);
    }
    return status;
}

static hocket_status send_folded(direct *d, size_t k)
{
    const int n = d->blocks->n, rank = d->call->comm->rank;
    size_t start, bytes = direct_piece(d, rank, k, &start);
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < n && d->whole && status == HOCKET_OK; i++)
        status = hk_batch_send(&lane_of(d, k + 1)->batch, hk_rank_at(rank, i, n),
                               hk_at(d->whole, start), bytes);
    return status;
}

static hocket_status direct_fold(direct *d, size_t k, hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = d->blocks->n;
    size_t start, count = hk_block_count(d->blocks, d->call->comm->rank);
    count = piece_at(count, d->piece, k, &start);
    if (count == 0)
        return HOCKET_OK;
    return hk_reduce_fold(hk_at(d->own, start * d->blocks->size), lane_of(d, k)->inputs, n, count,
                          dtype, reduce);
}

/* Between two ranks what one sends is what the other expects, in the same order: pieces 0 to
 * ahead - 1, then for each k piece k + ahead and the folded piece k. */
static hocket_status run_direct(direct *d, hocket_dtype dtype, hocket_reduce reduce)
{
    hocket_status status = direct_open(d);
    for (size_t k = 0; k < d->ahead && status == HOCKET_OK; k++)
        status = expect_pieces(d, k);
    for (size_t k = 0; k < d->ahead && status == HOCKET_OK; k++)
        status = send_pieces(d, k);
    for (size_t k = 0; k < d->rounds && status == HOCKET_OK; k++) {
        status = expect_pieces(d, k + d->ahead);
        if (status == HOCKET_OK)
            status = expect_folded(d, k);
        if (status == HOCKET_OK)
            status = hk_batch_finish(&lane_of(d, k)->batch);
        if (status == HOCKET_OK)
            status = direct_fold(d, k, dtype, reduce);
        if (status == HOCKET_OK)
            status = send_pieces(d, k + d->ahead);
        if (status == HOCKET_OK)
            status = send_folded(d, k);
    }
    return status == HOCKET_OK ? hk_batch_finish(&lane_of(d, d->rounds)->batch) : status;
}

static hocket_status reduce_scatter_direct(hk_call *call, const void *send, void *own,
                                           const hk_blocks *blocks, hocket_dtype dtype,
                                           hocket_reduce reduce)
{
    direct d = {.call = call, .blocks = blocks, .send = send, .own = own};
    return run_direct(&d, dtype, reduce);
}

/* === Reduce-scatter, ring ======================================================================
 *
 * Block b starts at rank b + 1 and goes once around the circle to its owner b; each rank on the way
 * adds its own values. As many bytes as direct, but everyone listens to one neighbour only, which
 * many ranks on one switch stand better. n - 1 steps:
 *
 *     step 0: 0 -2-> 1 -0-> 2 -1-> 0        (n = 3; -b->: partial sum of block b)
 *     step 1: 0 -1-> 1 -2-> 2 -0-> 0
 *
 * Every block is cut into the same number of stripes. A stripe's journey is a ring of its own, and
 * LANES stripes are under way, so that the adding of one overlaps with the travel of another. */

typedef struct stripe {
    size_t index;     /* of the stripe within each block */
    hk_op recv, send; /* of the step under way */
    bool sending, receiving;
    char *partial[2]; /* one arrives while the other leaves */
} stripe;

typedef struct ring {
    hk_call *call;
    const hk_blocks *blocks;
    const char *send;
    char *own;
    size_t stripes;
    hocket_dtype dtype;
    hocket_reduce reduce;
} ring;

/* The stripe's part of a block, in bytes from the start of the vector; returns its elements. */
static size_t stripe_part(const ring *r, const stripe *s, int block, size_t *start)
{
    size_t count = hk_block_count(r->blocks, block), piece = count / r->stripes;
    size_t longer = count % r->stripes;
    size_t before = s->index * piece + (s->index < longer ? s->index : longer);
    *start = hk_block_start(r->blocks, block) + before * r->blocks->size;
    return piece + (s->index < longer);
}

/* Step t hands block rank - 1 - t on, and takes block rank - 2 - t. */
static hocket_status ring_post(const ring *r, stripe *s, int t)
{
    const int n = r->blocks->n, rank = r->call->comm->rank;
    size_t start;
    size_t bytes = stripe_part(r, s, hk_rank_at(rank, -2 - t, n), &start) * r->blocks->size;
    hocket_status status = HOCKET_OK;
    s->receiving = bytes > 0;
    if (s->receiving)
        status =
            hk_start_recv(r->call, &s->recv, hk_rank_at(rank, -1, n), s->partial[t % 2], bytes);
    bytes = stripe_part(r, s, hk_rank_at(rank, -1 - t, n), &start) * r->blocks->size;
    s->sending = bytes > 0;
    if (status == HOCKET_OK && s->sending)
        status = hk_start_send(r->call, &s->send, hk_rank_at(rank, 1, n),
                               t == 0 ? r->send + start : s->partial[(t + 1) % 2], bytes);
    return status;
}

static hocket_status ring_finish(const ring *r, stripe *s, int t)
{
    const int n = r->blocks->n, rank = r->call->comm->rank;
    hocket_status status = HOCKET_OK;
    if (s->receiving)
        status = hk_finish(r->call, &s->recv);
    if (status == HOCKET_OK && s->sending)
        status = hk_finish(r->call, &s->send);
    if (status != HOCKET_OK || !s->receiving)
        return status;
    size_t start, count = stripe_part(r, s, hk_rank_at(rank, -2 - t, n), &start);
    char *partial = s->partial[t % 2];
    status = hk_reduce_pair(partial, r->send + start, false, count, r->dtype, r->reduce);
    if (status != HOCKET_OK || t < n - 2)
        return status;
    hk_reduce_finish(partial, count, r->dtype, r->reduce, n);
    hk_copy(r->own + (start - hk_block_start(r->blocks, rank)), partial, count * r->blocks->size);
    return HOCKET_OK;
}

static hocket_status reduce_scatter_ring(hk_call *call, const void *send, void *own,
                                         const hk_blocks *blocks, hocket_dtype dtype,
                                         hocket_reduce reduce)
{
    const size_t longest = hk_block_longest(blocks), piece = piece_count(blocks->size);
    const ring r = {.call = call,
                    .blocks = blocks,
                    .send = send,
                    .own = own,
                    .stripes = longest / piece + (longest % piece != 0),
                    .dtype = dtype,
                    .reduce = reduce};
    stripe *lanes = hk_scratch(call, LANES, sizeof *lanes);
    if (!lanes)
        return HOCKET_ERR_NO_MEMORY;
    for (int i = 0; i < 2 * LANES; i++) {
        size_t most = longest < piece ? longest : piece;
        if (!(lanes[i / 2].partial[i % 2] = hk_scratch(call, most, blocks->size)))
            return HOCKET_ERR_NO_MEMORY;
    }
    hocket_status status = HOCKET_OK;
    for (size_t first = 0; first < r.stripes && status == HOCKET_OK; first += LANES) {
        size_t active = r.stripes - first < LANES ? r.stripes - first : LANES;
        for (size_t i = 0; i < active && status == HOCKET_OK; i++) {
            lanes[i].index = first + i;
            status = ring_post(&r, &lanes[i], 0);
        }
        for (int t = 0; t < blocks->n - 1; t++) {
            for (size_t i = 0; i < active && status == HOCKET_OK; i++) {
                status = ring_finish(&r, &lanes[i], t);
                if (status == HOCKET_OK && t + 1 < blocks->n - 1)
                    status = ring_post(&r, &lanes[i], t + 1);
            }
        }
    }
    return status;
}

hocket_status hk_reduce_scatter_blocks(hk_call *call, const void *send, void *own,
                                       const hk_blocks *blocks, hocket_dtype dtype,
                                       hocket_reduce reduce, hk_algorithm algorithm)
{
    /* What is still to be sent must not be overwritten: own may be the own block, no other. */
    const size_t start = hk_block_start(blocks, call->comm->rank);
    const size_t bytes = hk_block_bytes(blocks, call->comm->rank);
    void *out = own;
    if (own == send && start > 0 && !(out = hk_scratch(call, bytes, 1)))
        return HOCKET_ERR_NO_MEMORY;
    hocket_status status = algorithm == HK_RING
                               ? reduce_scatter_ring(call, send, out, blocks, dtype, reduce)
                               : reduce_scatter_direct(call, send, out, blocks, dtype, reduce);
    if (status == HOCKET_OK)
        hk_copy(own, out, bytes);
    return status;
}

/* === All-reduce and reduce to a root ========================================================== */

static hocket_status fold_rows(hk_call *call, void *out, const char *rows, size_t count,
                               hocket_dtype dtype, hocket_reduce reduce)
{
    const int n = call->comm->size;
    const size_t bytes = count * hocket_dtype_size(dtype);
    const void **inputs = hk_scratch(call, (size_t)n, sizeof *inputs);
    if (!inputs)
        return HOCKET_ERR_NO_MEMORY;
    for (int r = 0; r < n; r++)
        inputs[r] = rows + (size_t)r * bytes;
    return hk_reduce_fold(out, inputs, n, count, dtype, reduce);
}

/* Short vectors: everyone gets all of them whole, HK_FLAT in one step, HK_TREE in log2 n steps, and
 * everyone makes the same fold. More bytes than a sum needs, but half the steps of the other way.
 *
 * Long vectors (Rabenseifner): reduce-scatter, then all-gather; HK_DIRECT makes both at once. Each
 * rank sends and receives 2 (n - 1) / n of the vector, the least possible, and adds its share of
 * it. In place, the reduced block takes the place of the own one. */
hocket_status hk_all_reduce_vector(hk_call *call, const void *send, void *recv, size_t count,
                                   hocket_dtype dtype, hocket_reduce reduce, hk_algorithm algorithm)
{
    const int n = call->comm->size, rank = call->comm->rank;
    const size_t size = hocket_dtype_size(dtype);
    if (algorithm == HK_FLAT || algorithm == HK_TREE) {
        char *rows = hk_scratch(call, (size_t)n, count * size);
        if (!rows)
            return HOCKET_ERR_NO_MEMORY;
        hk_blocks blocks = hk_blocks_even((size_t)n * count, n, size);
        hk_copy(rows + hk_block_start(&blocks, rank), send, count * size);
        hocket_status status = hk_all_gather_blocks(call, rows, &blocks, algorithm);
        return status == HOCKET_OK ? fold_rows(call, recv, rows, count, dtype, reduce) : status;
    }
    hk_blocks blocks = hk_blocks_even(count, n, size);
    void *own = hk_at(recv, hk_block_start(&blocks, rank));
    if (algorithm == HK_DIRECT) {
        direct d = {.call = call, .blocks = &blocks, .send = send, .own = own, .whole = recv};
        return run_direct(&d, dtype, reduce);
    }
    hocket_status status =
        hk_reduce_scatter_blocks(call, send, own, &blocks, dtype, reduce, algorithm);
    return status == HOCKET_OK ? hk_all_gather_blocks(call, recv, &blocks, algorithm) : status;
}

/* The same two ways, with a gather to the root in place of the all-gather. */
hocket_status hk_reduce_to_root(hk_call *call, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce, int root,
                                hk_algorithm algorithm)
{
    const int n = call->comm->size, rank = call->comm->rank;
    const size_t size = hocket_dtype_size(dtype);
    if (algorithm == HK_FLAT || algorithm == HK_TREE) {
        char *rows = NULL;
        if (rank == root && !(rows = hk_scratch(call, (size_t)n, count * size)))
            return HOCKET_ERR_NO_MEMORY;
        hk_blocks blocks = hk_blocks_even((size_t)n * count, n, size);
        hocket_status status = hk_gather_blocks(call, send, rows, &blocks, root, algorithm);
        if (status != HOCKET_OK || rank != root)
            return status;
        return fold_rows(call, recv, rows, count, dtype, reduce);
    }
    hk_blocks blocks = hk_blocks_even(count, n, size);
    void *own = rank == root ? hk_at(recv, hk_block_start(&blocks, rank))
                             : hk_scratch(call, hk_block_count(&blocks, rank), size);
    if (!own)
        return HOCKET_ERR_NO_MEMORY;
    hocket_status status =
        hk_reduce_scatter_blocks(call, send, own, &blocks, dtype, reduce,
                                 hk_comm_choose(call->comm, HK_BY_MESSAGES, HK_REDUCE_SCATTER,
                                                count * size, hk_reduce_stays(dtype, reduce)));
    return status == HOCKET_OK ? hk_gather_blocks(call, own, recv, &blocks, root, HK_DIRECT)
                               : status;
}
