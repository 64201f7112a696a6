/* Every algorithm by name, also where the table would choose another one: ranks are threads over
 * the local transport, or over a delegate that has all_gather and all_reduce and nothing else. */
#include "collective/algorithms.h"
#include "collective/collective.h"
#include "core/reduce.h"
#include "transport/local.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { WORLD_MAX = 9, LIMIT_SECONDS = 60 };

static const int worlds[] = {2, 3, 4, 5, 8, 9};

/* === Ranks as threads ========================================================================= */

typedef struct voice {
    int rank, n;
    hk_comm *comm;
    hk_team team;
    uint64_t number;
    char failure[2048]; /* the first one, "" when all is well */
} voice;

typedef void (*part_fn)(voice *voice);

static part_fn part;
static voice voices[WORLD_MAX];
static bool over_delegate;
static bool far_apart;        /* the ranks pretend to be on several hosts */
static hocket_reduce ordered; /* does not commute */

static void wrong(voice *v, const char *what)
{
    if (v->failure[0] == '\0')
        snprintf(v->failure, sizeof v->failure, "rank %d of %d, %s: %s", v->rank, v->n, what,
                 hocket_last_error());
}

/* One collective: `status` is what `call`, which sees the variable c, returned. */
#define COLLECTIVE(v, call)                                                                        \
    do {                                                                                           \
        hk_call c;                                                                                 \
        hk_what what = {.kind = hk_kind(HK_BARRIER, -1, -1, -1), .number = ++(v)->number};         \
        hk_time deadline = hk_deadline_after(LIMIT_SECONDS);                                       \
        hocket_status status = hk_call_begin(&c, (v)->comm, &what, 0, hk_now(), deadline);         \
        if (status == HOCKET_OK)                                                                   \
            status = (call);                                                                       \
        if (hk_call_end(&c, status) != HOCKET_OK)                                                  \
            wrong(v, #call);                                                                       \
    } while (0)

/* What rank r has at index i. */
static uint64_t value(int r, size_t i)
{
    uint64_t x = (uint64_t)(r + 1) * 0x9E3779B97F4A7C15u + i * 0xD1B54A32D192ED03u;
    return (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
}

static void fill(uint64_t *data, int r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        data[i] = value(r, i);
}

/* A value stands for the map x -> a x + b over 32-bit integers; the lower rank's goes first. */
static uint64_t then(uint64_t low, uint64_t high)
{
    uint32_t a = (uint32_t)(high >> 32) * (uint32_t)(low >> 32);
    uint32_t b = (uint32_t)(high >> 32) * (uint32_t)low + (uint32_t)high;
    return (uint64_t)a << 32 | b;
}

static void compose(const void *in, void *inout, size_t count, void *context)
{
    (void)context;
    const uint64_t *low = in;
    uint64_t *high = inout;
    for (size_t i = 0; i < count; i++)
        high[i] = then(low[i], high[i]);
}

static uint64_t reduced(int n, size_t i, hocket_reduce reduce)
{
    uint64_t x = value(0, i);
    for (int r = 1; r < n; r++)
        x = reduce == HOCKET_SUM ? x + value(r, i) : then(x, value(r, i));
    return x;
}

static void check_reduced(voice *v, const uint64_t *data, size_t start, size_t count,
                          hocket_reduce reduce, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (data[i] != reduced(v->n, start + i, reduce)) {
            wrong(v, what);
            return;
        }
    }
}

static void check_values(voice *v, const uint64_t *data, int r, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (data[i] != value(r, i)) {
            wrong(v, what);
            return;
        }
    }
}

/* === A delegate =============================================================================== */

static const void *given[WORLD_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static unsigned long arrivals;

/* A barrier of n threads (macOS has none): waits for the end of the round that it arrives in. */
static void meet(int n)
{
    pthread_mutex_lock(&lock);
    unsigned long end = (arrivals / (unsigned)n + 1) * (unsigned)n;
    arrivals++;
    while (arrivals < end)
        pthread_cond_wait(&arrived, &lock);
    pthread_cond_broadcast(&arrived);
    pthread_mutex_unlock(&lock);
}

static int delegate_rank(void *self)
{
    return ((voice *)self)->rank;
}

static int delegate_size(void *self)
{
    return ((voice *)self)->n;
}

static hocket_status delegate_post(void *self, hocket_op *op)
{
    (void)self;
    (void)op;
    return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "a delegate sends nothing");
}

static void delegate_cancel(void *self, hocket_op *op)
{
    (void)self;
    (void)op;
}

static hocket_status delegate_progress(void *self, int64_t wait_ns)
{
    (void)self;
    (void)wait_ns;
    return HOCKET_OK;
}

static bool delegate_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    (void)self;
    (void)from;
    (void)context;
    (void)tag;
    (void)length;
    return false;
}

static hocket_status delegate_team(void *self, const int *ranks, int count, uint64_t context,
                                   hocket_patience *patience, void **team)
{
    (void)ranks;
    (void)count;
    (void)context;
    (void)patience;
    *team = self;
    return HOCKET_OK;
}

static hocket_status delegate_all_gather(void *team, const void *send, void *recv, size_t count,
                                         hocket_dtype dtype, hocket_patience *patience)
{
    (void)patience;
    voice *v = team;
    size_t bytes = count * hocket_dtype_size(dtype);
    given[v->rank] = send;
    meet(v->n);
    for (int r = 0; r < v->n; r++)
        if ((char *)recv + (size_t)r * bytes != given[r])
            memcpy((char *)recv + (size_t)r * bytes, given[r], bytes);
    meet(v->n);
    return HOCKET_OK;
}

static hocket_status delegate_all_reduce(void *team, const void *send, void *recv, size_t count,
                                         hocket_dtype dtype, hocket_reduce reduce,
                                         hocket_patience *patience)
{
    voice *v = team;
    size_t bytes = count * hocket_dtype_size(dtype);
    if (reduce != HOCKET_SUM)
        return hocket_transport_error(HOCKET_ERR_UNSUPPORTED, "sums only");
    char *rows = malloc((size_t)v->n * bytes);
    const void *inputs[WORLD_MAX];
    for (int r = 0; r < v->n; r++)
        inputs[r] = rows + (size_t)r * bytes;
    hocket_status status = delegate_all_gather(team, send, rows, count, dtype, patience);
    if (status == HOCKET_OK)
        status = hk_reduce_fold(recv, inputs, v->n, count, dtype, reduce);
    free(rows);
    return status;
}

static const hocket_collectives delegate_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = delegate_team,
    .all_gather = delegate_all_gather,
    .all_reduce = delegate_all_reduce,
};

static const hocket_transport delegate = {
    .size = sizeof(hocket_transport),
    .name = "delegate",
    .flags = HOCKET_TRANSPORT_DELEGATE,
    .rank = delegate_rank,
    .world_size = delegate_size,
    .post = delegate_post,
    .cancel = delegate_cancel,
    .progress = delegate_progress,
    .probe = delegate_probe,
    .collectives = &delegate_collectives,
};

/* === Running a part =========================================================================== */

static void *sing(void *argument)
{
    voice *v = argument;
    const hocket_transport *transport = &delegate;
    void *self = v;
    hk_endpoint *endpoint;
    int ranks[WORLD_MAX];
    for (int r = 0; r < v->n; r++)
        ranks[r] = r;
    hk_time deadline = hk_deadline_after(LIMIT_SECONDS);
    if ((!over_delegate &&
         hk_local_open("algorithms", v->rank, v->n, deadline, &transport, &self) != HOCKET_OK) ||
        hk_endpoint_open(transport, self, &endpoint) != HOCKET_OK ||
        hk_comm_open(endpoint, HK_CONTEXT_WORLD, ranks, v->n, &v->comm) != HOCKET_OK) {
        wrong(v, "opening");
        return NULL;
    }
    v->comm->one_host = !far_apart;
    COLLECTIVE(v, hk_team_open(v->comm, &c, &v->team));
    part(v);
    hk_team_close(&v->team);
    hk_comm_close(v->comm);
    return NULL;
}

static void play(part_fn what, bool delegated)
{
    part = what;
    over_delegate = delegated;
    for (size_t w = 0; w < sizeof worlds / sizeof worlds[0]; w++) {
        const int n = worlds[w];
        pthread_t threads[WORLD_MAX];
        arrivals = 0;
        for (int r = 0; r < n; r++) {
            voices[r] = (voice){.rank = r, .n = n};
            assert_int_equal(pthread_create(&threads[r], NULL, sing, &voices[r]), 0);
        }
        for (int r = 0; r < n; r++)
            pthread_join(threads[r], NULL);
        for (int r = 0; r < n; r++)
            assert_string_equal(voices[r].failure, "");
    }
}

/* === Parts ==================================================================================== */

/* The longest gives each of a few ranks blocks of several pieces. */
static const size_t counts[] = {1, 7, 1003, 200003};
enum { COUNTS = sizeof counts / sizeof counts[0] };

static hocket_reduce reduction_for(hk_algorithm algorithm)
{
    return algorithm == HK_RING ? HOCKET_SUM : ordered;
}

static void all_reduce_part(voice *v)
{
    for (int algorithm = HK_FLAT; algorithm <= HK_RING; algorithm++) {
        for (int k = 0; k < 2 * COUNTS; k++) {
            const size_t count = counts[k / 2];
            const bool in_place = k % 2;
            uint64_t *send = malloc(count * 8), *recv = malloc(count * 8);
            uint64_t *out = in_place ? send : recv;
            hocket_reduce reduce = reduction_for(algorithm);
            fill(send, v->rank, count);
            COLLECTIVE(v, hk_all_reduce_vector(&c, send, out, count, HOCKET_UINT64, reduce,
                                               algorithm));
            check_reduced(v, out, 0, count, reduce, "all_reduce");
            if (!in_place)
                check_values(v, send, v->rank, count, "all_reduce has changed its input");
            free(send);
            free(recv);
        }
    }
}

static void reduce_to_part(voice *v)
{
    for (int algorithm = HK_FLAT; algorithm <= HK_DIRECT; algorithm++) {
        for (int k = 0; k < COUNTS; k++) {
            const int root = (k * 5 + 1) % v->n;
            const size_t count = counts[k];
            uint64_t *data = malloc(count * 8);
            fill(data, v->rank, count);
            COLLECTIVE(v, hk_reduce_to_root(&c, data, v->rank == root ? data : NULL, count,
                                            HOCKET_UINT64, ordered, root, algorithm));
            if (v->rank == root)
                check_reduced(v, data, 0, count, ordered, "reduce_to");
            else
                check_values(v, data, v->rank, count, "reduce_to has changed its input");
            free(data);
        }
    }
}

/* Blocks of all kinds: most of the vector, nothing, a little; less than 100 * scale together. */
static hk_blocks uneven(int n, size_t scale, size_t *offsets)
{
    size_t lengths[WORLD_MAX];
    for (int r = 0; r < n; r++)
        lengths[r] = r % 3 == 1 ? 0 : r == 2 ? 40 * scale : (size_t)(r + 1) * scale;
    return hk_blocks_uneven(lengths, n, 8, offsets);
}

static void blocks_part(voice *v)
{
    for (size_t scale = 1; scale <= 2000; scale += 1999) {
        size_t offsets[WORLD_MAX + 1];
        hk_blocks blocks = uneven(v->n, scale, offsets);
        size_t own = hk_block_count(&blocks, v->rank), start = offsets[v->rank];
        uint64_t *data = malloc(blocks.count * 8), *other = malloc(blocks.count * 8);
        for (int algorithm = HK_TREE; algorithm <= HK_RING; algorithm++) {
            memset(data, 0, blocks.count * 8);
            fill(data + start, v->rank, own);
            COLLECTIVE(v, hk_all_gather_blocks(&c, data, &blocks, algorithm));
            for (int r = 0; r < v->n; r++)
                check_values(v, data + offsets[r], r, hk_block_count(&blocks, r), "all_gather");
        }
        for (int algorithm = HK_DIRECT; algorithm <= HK_RING; algorithm++) {
            uint64_t *outs[] = {data + start, data, own > 0 ? other : NULL};
            for (int o = 0; o < 3; o++) { /* in place twice, then not */
                hocket_reduce reduce = reduction_for(algorithm);
                fill(data, v->rank, blocks.count);
                COLLECTIVE(v, hk_reduce_scatter_blocks(&c, data, outs[o], &blocks, HOCKET_UINT64,
                                                       reduce, algorithm));
                check_reduced(v, outs[o], start, own, reduce, "reduce_scatter");
            }
        }
        free(data);
        free(other);
    }
}

static void root_part(voice *v)
{
    size_t offsets[WORLD_MAX + 1];
    hk_blocks blocks = uneven(v->n, 3, offsets);
    size_t own = hk_block_count(&blocks, v->rank);
    uint64_t *mine = malloc((own + 1) * 8), *data = malloc((blocks.count + 1) * 8);
    for (int root = 0; root < v->n; root++) {
        void *whole = v->rank == root ? data : NULL;
        for (int algorithm = HK_TREE; algorithm <= HK_DIRECT; algorithm++) {
            fill(mine, v->rank, own);
            COLLECTIVE(v, hk_gather_blocks(&c, mine, whole, &blocks, root, algorithm));
            for (int r = 0; r < v->n && v->rank == root; r++)
                check_values(v, data + offsets[r], r, hk_block_count(&blocks, r), "gather");

            memset(mine, 0, own * 8);
            COLLECTIVE(v, hk_scatter_blocks(&c, whole, mine, &blocks, root, algorithm));
            check_values(v, mine, v->rank, own, "scatter");

            fill(data, v->rank, blocks.count);
            COLLECTIVE(v, hk_broadcast_bytes(&c, data, blocks.count * 8, root, algorithm));
            check_values(v, data, root, blocks.count, "broadcast");
        }
    }
    free(mine);
    free(data);
}

/* Exchanges in place and with more than one window of rounds. */
static void exchange_part(voice *v)
{
    for (size_t count = 5; count <= 300005; count += 300000) {
        hk_blocks blocks = hk_blocks_even((size_t)v->n * count, v->n, 8);
        uint64_t *data = malloc(blocks.count * 8);
        for (int r = 0; r < v->n; r++)
            fill(data + (size_t)r * count, v->rank * WORLD_MAX + r, count);
        COLLECTIVE(v, hk_all_to_all_blocks(&c, data, &blocks, data, &blocks));
        for (int r = 0; r < v->n; r++)
            check_values(v, data + (size_t)r * count, r * WORLD_MAX + v->rank, count,
                         "all_to_all in place");
        free(data);
    }
}

/* === The whole of collective.h, on a delegate too ============================================= */

static void sums_part(voice *v)
{
    const size_t count = 1003, all = (size_t)v->n * count;
    size_t offsets[WORLD_MAX + 1], lengths[WORLD_MAX];
    hk_blocks blocks = uneven(v->n, 11, offsets);
    for (int r = 0; r < v->n; r++)
        lengths[r] = hk_block_count(&blocks, r);
    uint64_t *a = malloc(all * 8), *b = malloc(all * 8);
    for (int k = 0; k < 2; k++) { /* one that the delegate knows, one that it refuses */
        const hocket_reduce reduce = k == 0 ? HOCKET_SUM : ordered;
        fill(a, v->rank, all);
        COLLECTIVE(v, hk_all_reduce(&v->team, &c, a, b, count, HOCKET_UINT64, reduce));
        check_reduced(v, b, 0, count, reduce, "all_reduce");
        COLLECTIVE(v, hk_reduce_scatter(&v->team, &c, a, b, count, HOCKET_UINT64, reduce));
        check_reduced(v, b, (size_t)v->rank * count, count, reduce, "reduce_scatter");
        fill(a, v->rank, blocks.count);
        COLLECTIVE(v, hk_reduce_scatter_v(&v->team, &c, a, b, lengths, HOCKET_UINT64, reduce));
        check_reduced(v, b, offsets[v->rank], lengths[v->rank], reduce, "reduce_scatter_v");
        COLLECTIVE(v, hk_reduce_to(&v->team, &c, a, b, blocks.count, HOCKET_UINT64, reduce, 1));
        if (v->rank == 1)
            check_reduced(v, b, 0, blocks.count, reduce, "reduce_to");
    }
    COLLECTIVE(v, hk_barrier(&v->team, &c));
    free(a);
    free(b);
}

static void moves_part(voice *v)
{
    const size_t count = 1003, all = (size_t)v->n * count;
    const int root = v->n - 1;
    size_t offsets[WORLD_MAX + 1], lengths[WORLD_MAX];
    hk_blocks blocks = uneven(v->n, 11, offsets);
    for (int r = 0; r < v->n; r++)
        lengths[r] = hk_block_count(&blocks, r);
    uint64_t *a = malloc(all * 8), *b = malloc(all * 8);
    void *whole = v->rank == root ? b : NULL;
    fill(a, v->rank, count);
    COLLECTIVE(v, hk_gather(&v->team, &c, a, whole, count, HOCKET_UINT64, root));
    COLLECTIVE(v, hk_scatter(&v->team, &c, whole, a, count, HOCKET_UINT64, root));
    check_values(v, a, v->rank, count, "gather, then scatter");
    COLLECTIVE(v, hk_broadcast(&v->team, &c, a, count, HOCKET_UINT64, root));
    check_values(v, a, root, count, "broadcast");

    int to[WORLD_MAX]; /* to the next one, but nothing from the last one */
    for (int r = 0; r < v->n; r++)
        to[r] = r + 1 < v->n ? r + 1 : -1;
    fill(a, v->rank, count);
    COLLECTIVE(v, hk_permute(&v->team, &c, a, a, count, HOCKET_UINT64, to));
    if (v->rank > 0)
        check_values(v, a, v->rank - 1, count, "permute");
    else if (a[0] != 0 || memcmp(a, a + 1, (count - 1) * 8) != 0)
        wrong(v, "permute leaves no zeros");

    fill(a, v->rank, lengths[v->rank]);
    COLLECTIVE(v, hk_all_gather_v(&v->team, &c, a, b, lengths, HOCKET_UINT64));
    for (int r = 0; r < v->n; r++)
        check_values(v, b + offsets[r], r, lengths[r], "all_gather_v");

    free(a);
    free(b);
}

static void all_to_all_part(voice *v)
{
    uint64_t *a = malloc(WORLD_MAX * 600 * 8), *b = malloc(WORLD_MAX * 600 * 8);
    size_t out[WORLD_MAX], in[WORLD_MAX], at = 0;
    for (int r = 0; r < v->n; r++) {
        out[r] = (size_t)((v->rank * 3 + r * 5) % 4) * 200;
        in[r] = (size_t)((r * 3 + v->rank * 5) % 4) * 200;
        fill(a + at, v->rank * WORLD_MAX + r, out[r]);
        at += out[r];
    }
    COLLECTIVE(v, hk_all_to_all_v(&v->team, &c, a, out, b, in, HOCKET_UINT64));
    at = 0;
    for (int r = 0; r < v->n; r++) {
        check_values(v, b + at, r * WORLD_MAX + v->rank, in[r], "all_to_all_v");
        at += in[r];
    }
    free(a);
    free(b);
}

static void all_reduce_by_each_algorithm(void **state)
{
    (void)state;
    play(all_reduce_part, false);
}

static void ranks_on_several_hosts_send_ahead(void **state)
{
    (void)state;
    far_apart = true;
    play(all_reduce_part, false);
    play(blocks_part, false);
    far_apart = false;
}

static void reduce_to_by_each_algorithm(void **state)
{
    (void)state;
    play(reduce_to_part, false);
}

static void uneven_blocks_by_each_algorithm(void **state)
{
    (void)state;
    play(blocks_part, false);
}

static void gather_scatter_broadcast_from_each_root(void **state)
{
    (void)state;
    play(root_part, false);
}

static void all_to_all_in_place(void **state)
{
    (void)state;
    play(exchange_part, false);
}

static void everything_over_a_transport(void **state)
{
    (void)state;
    play(sums_part, false);
    play(moves_part, false);
    play(all_to_all_part, false);
}

static void everything_composed_on_a_delegate(void **state)
{
    (void)state;
    play(sums_part, true);
    play(moves_part, true);
    play(all_to_all_part, true);
}

int main(void)
{
    if (hocket_reduce_create(compose, NULL, false, &ordered) != HOCKET_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_reduce_by_each_algorithm),
        cmocka_unit_test(ranks_on_several_hosts_send_ahead),
        cmocka_unit_test(reduce_to_by_each_algorithm),
        cmocka_unit_test(uneven_blocks_by_each_algorithm),
        cmocka_unit_test(gather_scatter_broadcast_from_each_root),
        cmocka_unit_test(all_to_all_in_place),
        cmocka_unit_test(everything_over_a_transport),
        cmocka_unit_test(everything_composed_on_a_delegate),
    };
    return cmocka_run_group_tests_name("algorithms", tests, NULL, NULL);
}
