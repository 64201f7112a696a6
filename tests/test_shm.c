/* The ways of shared memory: on any mixture of buffers, at the sizes where ways and chunks change,
 * all give the bits of a fold in rank order; and each is taken where it should be. */
#include "shm_help.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define MANY_LINES 4096 /* bytes of which every rank has a share */

static const hocket_dtype dtypes[] = {HOCKET_FLOAT32, HOCKET_INT8, HOCKET_BFLOAT16,
                                      HOCKET_COMPLEX64, HOCKET_INT64};

static const char read_all[] = "all_reduce memory 2- 57- read\n"
                               "all_gather memory 2- 57- read\n"
                               "reduce_scatter memory 2- 57- read\n"
                               "broadcast memory 2- 57- read\n";
static const char stage_all[] = "all_reduce memory 2- 57- staged\n"
                                "all_gather memory 2- 57- staged\n"
                                "reduce_scatter memory 2- 57- staged\n"
                                "broadcast memory 2- 57- staged\n";
static const char flat_all[] = "all_reduce memory 2- 0- flat\n"
                               "all_gather memory 2- 0- flat\n"
                               "reduce_scatter memory 2- 0- flat\n"
                               "broadcast memory 2- 0- flat\n";

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Maps what the others have made: what comes next can go directly. */
static void get_to_know(struct member *me)
{
    float *data = calloc(5 * KIB, sizeof *data);
    CHECK(data != NULL);
    CHECK_OK(hocket_all_sum(me->world, data, 5 * KIB));
    free(data);
}

/* === Mixtures ================================================================================= */

enum { KINDS = 5 };
static const struct shm_buffers kinds[KINDS] = {
    {false, false, false}, {true, true, false}, {true, false, false},
    {false, false, true},  {true, true, true},
};

/* Everyone alike, then one who differs, then any. */
static void mix_buffers(struct shm_case *c, int size, int number, uint64_t *seed)
{
    for (int r = 0; r < size; r++) {
        int kind = number % KINDS;
        if (number >= KINDS && number < KINDS * KINDS && r == size - 1)
            kind = number / KINDS;
        else if (number >= KINDS * KINDS)
            kind = (int)(next(seed) % KINDS);
        c->buffers[r] = kinds[kind];
    }
}

struct plan {
    const size_t *sizes;
    int size_count, mixtures;
    size_t room;
    const char *rows;
};

/* What reads by the kernel folds from pieces that it keeps in its stages, and copies past them. */
static bool must_touch(const struct member *me, const struct shm_case *c)
{
    if (!shm_goes_by_steps(me, c) || shm_goes_directly(me, c))
        return false;
    if (shm_reads(me, c))
        return c->way == SHM_ALL_REDUCE || c->way == SHM_REDUCE_SCATTER;
    return c->way != SHM_BROADCAST || c->root == me->rank;
}

static void run_one(struct member *me, const struct shm_memory *memory, const struct shm_case *c)
{
    shm_mark_stages(me);
    shm_run_case(me, memory, c);
    bool expected = must_touch(me, c), touched = shm_stages_touched(me);
    if (shm_learns(me, c) || (shm_reads(me, c) && c->bytes < MANY_LINES))
        return; /* it may go either way; some have no share to fold */
    CHECK_THAT(touched == expected, "it %s through the stages", touched ? "went" : "did not go");
}

/* A sanitizer that looks at each element leaves time for some mixtures only. */
static int stride_of(size_t bytes)
{
    if (harness_slowness() <= 1)
        return 1;
    return bytes < 256 * KIB ? 2 : 6;
}

static void every_mixture(struct member *me)
{
    const struct plan *plan = me->context;
    struct shm_memory memory;
    CHECK_OK(hocket_tune(me->world, plan->rows));
    shm_memory_open(me, &memory, plan->room, plan->mixtures % 2 == 0);
    get_to_know(me);
    uint64_t seed = 7; /* the same on all ranks */
    for (int i = 0; i < plan->size_count; i++) {
        int stride = stride_of(plan->sizes[i]);
        for (int number = i % stride; number < plan->mixtures; number += stride) {
            enum shm_way way = (enum shm_way)((number + i) % SHM_WAYS);
            for (int k = 0; k < (number < KINDS && stride == 1 ? SHM_WAYS : 1); k++) {
                struct shm_case c = {.way = (enum shm_way)((way + k) % SHM_WAYS),
                                     .bytes = plan->sizes[i],
                                     .dtype = dtypes[(unsigned)(number + k) % LENGTH(dtypes)],
                                     .seed = next(&seed)};
                c.root = (int)(next(&seed) % (uint64_t)me->size);
                mix_buffers(&c, me->size, number, &seed);
                run_one(me, &memory, &c);
            }
        }
    }
    shm_memory_close(me, &memory);
}

/* Around what rides in a line, the slots, the pieces of a read and the chunks of a stage. */
static const size_t sizes[] = {56,
                               64,
                               1000,
                               16 * KIB - 8,
                               16 * KIB,
                               16 * KIB + 8,
                               32 * KIB,
                               32 * KIB + 8,
                               48 * KIB + 8,
                               256 * KIB,
                               256 * KIB + 8,
                               512 * KIB - 8,
                               512 * KIB,
                               512 * KIB + 8,
                               MIB + 8};

static void run_everywhere(const struct plan *plan)
{
    for (int size = 2; size <= 4; size++)
        harness_run(&(struct harness_run){.backend = &harness_shm,
                                          .size = size,
                                          .body = every_mixture,
                                          .context = (void *)plan,
                                          .processes = size == 3,
                                          .seconds = 90});
}

static void mixtures_by_the_built_in_table(void **state)
{
    (void)state;
    run_everywhere(&(struct plan){sizes, LENGTH(sizes), 30, MIB + 64, NULL});
}

static void mixtures_staged(void **state)
{
    (void)state;
    run_everywhere(&(struct plan){sizes, LENGTH(sizes), 10, MIB + 64, stage_all});
}

static void mixtures_read(void **state)
{
    (void)state;
    run_everywhere(&(struct plan){sizes, LENGTH(sizes), 25, MIB + 64, read_all});
}

/* What does not fit into a slot is staged though the table says flat. */
static void mixtures_flat(void **state)
{
    (void)state;
    run_everywhere(&(struct plan){sizes, LENGTH(sizes), 9, MIB + 64, flat_all});
}

static void results_beyond_the_caches(void **state)
{
    (void)state;
    static const size_t large[] = {16 * MIB + 8, 20 * MIB + 40};
    const struct plan plans[] = {
        {large, LENGTH(large), 4, 21 * MIB, NULL},
        {large, 1, 3, 21 * MIB, read_all},
    };
    for (size_t i = 0; i < LENGTH(plans); i++)
        harness_run(&(struct harness_run){.backend = &harness_shm,
                                          .size = 2 + (int)i,
                                          .body = every_mixture,
                                          .context = (void *)&plans[i],
                                          .seconds = 90});
}

/* === Small ones =============================================================================== */

enum { SMALL_CALLS = 4000, SMALL_MOST = 4 * 1024 };

enum { NAPS_MAX = 20000, TINY = HK_TICK_BYTES / sizeof(int32_t), SHORT = SMALL_MOST / 4 };

static int32_t value(uint64_t call, int rank, size_t at)
{
    return (int32_t)(call * 31 + (uint64_t)rank * 7 + at);
}

/* What this rank must hold at position `at` after the call. */
static int32_t small_wanted(const struct member *me, enum shm_way way, uint64_t call, size_t count,
                            int root, size_t at)
{
    int n = me->size;
    if (way == SHM_BROADCAST)
        return value(call, root, at);
    if (way == SHM_ALL_GATHER)
        return value(call, (int)(at / count), at % count);
    size_t offset = way == SHM_REDUCE_SCATTER ? (size_t)me->rank * count + at : at;
    return value(call, 0, offset) * n + n * (n - 1) / 2 * 7;
}

static hocket_status small_call(struct member *me, enum shm_way way, int32_t *send, int32_t *recv,
                                size_t count, int root)
{
    switch (way) {
    case SHM_ALL_REDUCE:
        return hocket_all_reduce(me->world, send, recv, count, HOCKET_INT32, HOCKET_SUM);
    case SHM_ALL_GATHER: return hocket_all_gather(me->world, send, recv, count, HOCKET_INT32);
    case SHM_REDUCE_SCATTER:
        return hocket_reduce_scatter(me->world, send, recv, count, HOCKET_INT32, HOCKET_SUM);
    default:
        memcpy(recv, send, count * sizeof *recv);
        return hocket_broadcast(me->world, recv, count, HOCKET_INT32, root);
    }
}

/* One call after the other, of any kind; now and then somebody is late, and the others run ahead as
 * far as they can. */
static void small_calls(struct member *me)
{
    static const size_t limits[] = {TINY, 14, 64, 1024, SMALL_MOST};
    int32_t *send = malloc(SMALL_MOST * sizeof *send), *recv = malloc(SMALL_MOST * sizeof *recv);
    CHECK(send != NULL && recv != NULL);
    uint64_t seed = 3, own = (uint64_t)me->rank + 1;
    uint64_t calls = SMALL_CALLS / (uint64_t)harness_slowness();
    for (uint64_t i = 0; i < calls; i++) {
        enum shm_way way = (enum shm_way)(next(&seed) % SHM_WAYS);
        size_t all = 1 + next(&seed) % limits[next(&seed) % LENGTH(limits)];
        bool blocks = way == SHM_ALL_GATHER || way == SHM_REDUCE_SCATTER;
        size_t count = blocks ? 1 + all / ((size_t)me->size + 1) : all;
        int root = (int)(next(&seed) % (uint64_t)me->size);
        size_t sent = way == SHM_REDUCE_SCATTER ? count * (size_t)me->size : count;
        size_t got = way == SHM_ALL_GATHER ? count * (size_t)me->size : count;
        for (size_t at = 0; at < sent; at++)
            send[at] = value(i, me->rank, at);
        if (next(&own) % 200 == 0)
            sleep_seconds((double)(next(&own) % 300) * 1e-6);
        CHECK_OK(small_call(me, way, send, recv, count, root));
        for (size_t at = 0; at < got; at++)
            if (recv[at] != small_wanted(me, way, i, count, root, at))
                harness_fail(__FILE__, __LINE__, "call %d, way %d, %zu elements: %zu is wrong",
                             (int)i, (int)way, count, at);
    }
    free(send);
    free(recv);
}

static void ranks_run_ahead(void **state)
{
    (void)state;
    for (int size = 2; size <= 4; size++)
        harness_run(&(struct harness_run){.backend = &harness_shm,
                                          .size = size,
                                          .body = small_calls,
                                          .processes = size % 2 == 0,
                                          .seconds = 90});
}

/* The root of broadcasts of that many numbers, which may be so many ahead. */
struct ahead {
    size_t count;
    int calls;
    atomic_bool left;
};

/* The others come to the first of these broadcasts when the root has left the last. */
static void wait_behind_the_root(struct member *me)
{
    struct ahead *ahead = me->context;
    atomic_bool *left = &ahead->left;
    for (int i = 0; i < ahead->calls; i++) {
        int32_t numbers[SHORT];
        for (size_t at = 0; at < ahead->count; at++)
            numbers[at] = me->rank == 0 ? value((uint64_t)i, 0, at) : 0;
        for (int naps = 0; me->rank != 0 && !atomic_load(left) && naps < NAPS_MAX; naps++)
            sleep_seconds(1e-3);
        CHECK(me->rank == 0 || atomic_load(left));
        CHECK_OK(hocket_broadcast(me->world, numbers, ahead->count, HOCKET_INT32, 0));
        for (size_t at = 0; at < ahead->count; at++)
            CHECK(numbers[at] == value((uint64_t)i, 0, at));
    }
    if (me->rank == 0)
        atomic_store(left, true);
}

static void a_root_need_not_wait_for_who_reads(void **state)
{
    (void)state;
    struct ahead cases[] = {{.count = TINY, .calls = HK_TICKS - 1},
                            {.count = SHORT, .calls = HK_POSTS - 1}};
    for (size_t i = 0; i < LENGTH(cases); i++)
        harness_run(&(struct harness_run){.backend = &harness_shm,
                                          .size = 3,
                                          .body = wait_behind_the_root,
                                          .context = &cases[i],
                                          .seconds = 60});
}

/* The others dawdle, and the root must not write over what they have not read. */
static void dawdle_behind_the_root(struct member *me)
{
    const struct ahead *ahead = me->context;
    for (int i = 0; i < ahead->calls; i++) {
        int32_t numbers[SHORT];
        for (size_t at = 0; at < ahead->count; at++)
            numbers[at] = me->rank == 0 ? value((uint64_t)i, 0, at) : 0;
        if (me->rank != 0 && i % (ahead->calls / 4) == 0)
            sleep_seconds(5e-3 * me->rank);
        CHECK_OK(hocket_broadcast(me->world, numbers, ahead->count, HOCKET_INT32, 0));
        for (size_t at = 0; at < ahead->count; at++)
            CHECK(numbers[at] == value((uint64_t)i, 0, at));
    }
}

static void a_root_waits_where_it_would_overwrite(void **state)
{
    (void)state;
    struct ahead cases[] = {{.count = TINY, .calls = 16 * HK_TICKS},
                            {.count = SHORT, .calls = 16 * HK_POSTS}};
    for (size_t i = 0; i < LENGTH(cases); i++)
        harness_run(&(struct harness_run){.backend = &harness_shm,
                                          .size = 3,
                                          .body = dawdle_behind_the_root,
                                          .context = &cases[i],
                                          .seconds = 60});
}

int main(void)
{
    harness_clear_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixtures_by_the_built_in_table),
        cmocka_unit_test(mixtures_staged),
        cmocka_unit_test(mixtures_read),
        cmocka_unit_test(mixtures_flat),
        cmocka_unit_test(results_beyond_the_caches),
        cmocka_unit_test(ranks_run_ahead),
        cmocka_unit_test(a_root_need_not_wait_for_who_reads),
        cmocka_unit_test(a_root_waits_where_it_would_overwrite),
    };
    return cmocka_run_group_tests_name("shm", tests, NULL, NULL);
}
