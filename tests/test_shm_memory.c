/* hocket_alloc in shared memory: regions come and go, on any thread, while others have them mapped.
 * What is said of mappings and descriptors is Linux's, where it is asked for in /proc. */
#include <unistd.h>
#include "shm_help.h"

#define KIB ((size_t)1 << 10)
#define COUNT (10 * KIB) /* floats, of vectors that do not go flat */

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static float *get(struct member *me, size_t count)
{
    void *memory;
    CHECK_OK(hocket_alloc(me->world, count * sizeof(float), &memory));
    CHECK((uintptr_t)memory % 64 == 0);
    return memory;
}

/* Sums, checks, and says whether it went through the stages. */
static bool sum(struct member *me, float *data, size_t count, float more)
{
    int n = me->size;
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(i % 1000) + (float)me->rank + more;
    shm_mark_stages(me);
    CHECK_OK(hocket_all_sum(me->world, data, count));
    for (size_t i = 0; i < count; i++)
        if (data[i] != ((float)(i % 1000) + more) * (float)n + (float)(n * (n - 1) / 2))
            harness_fail(__FILE__, __LINE__, "element %zu of %zu is wrong", i, count);
    return shm_stages_touched(me);
}

static bool is_shared(void)
{
    return hk_segment_is_nameless();
}

/* === Which operations see a region ============================================================ */

static void check_known(struct member *me, bool expected)
{
    hk_shm *shm = shm_team(me);
    for (int i = 0; i < me->size && is_shared(); i++) {
        uint64_t version = atomic_load(&shm->seats[i].directory.version);
        if (i != me->rank)
            CHECK_INT(expected, shm->regions.seen[i] == version);
    }
}

static void the_first_is_staged_the_next_direct(struct member *me)
{
    for (int turn = 0; turn < 3; turn++) {
        float *data = get(me, COUNT);
        CHECK_OK(hocket_barrier(me->world));
        check_known(me, false);
        CHECK(sum(me, data, COUNT, 1));
        check_known(me, true);
        CHECK_INT(!is_shared(), sum(me, data, COUNT, 2));
        CHECK_INT(!is_shared(), sum(me, data + 100, COUNT - 100, 3));
        CHECK_OK(hocket_barrier(me->world));
        /* One that changes keeps all from going directly, once. */
        void *other = NULL;
        if (me->rank == turn % me->size)
            other = get(me, 100);
        CHECK(sum(me, data, COUNT, 4));
        CHECK_INT(!is_shared(), sum(me, data, COUNT, 5));
        hocket_dealloc(me->world, other);
        CHECK(sum(me, data, COUNT, 6) || !is_shared());
        CHECK_INT(!is_shared(), sum(me, data, COUNT, 7));
        hocket_dealloc(me->world, data);
    }
}

/* The others still map what is gone; what is made in its place is not taken for it. */
static void a_region_takes_the_place_of_another(struct member *me)
{
    for (int turn = 0; turn < 20; turn++) {
        float *data = get(me, COUNT + (size_t)turn * KIB);
        for (int i = 0; i < 3; i++)
            CHECK_INT(i == 0 || !is_shared(), sum(me, data, COUNT, (float)(turn * 3 + i)));
        hocket_dealloc(me->world, data);
    }
}

/* From the middle of one region to what lies beside it; and up to its very end. */
static void parts_of_one_region(struct member *me)
{
    enum { PARTS = 4 };
    float *region = get(me, PARTS * COUNT), *end = region + PARTS * COUNT;
    for (size_t i = 0; i < PARTS * COUNT; i++)
        region[i] = (float)me->rank;
    CHECK_OK(
        hocket_all_reduce(me->world, region, region + COUNT, COUNT, HOCKET_FLOAT32, HOCKET_MAX));
    for (size_t part = 0; part + 1 < PARTS; part++) {
        shm_mark_stages(me);
        CHECK_OK(hocket_all_reduce(me->world, region + part * COUNT + 3, end - COUNT, COUNT - 3,
                                   HOCKET_FLOAT32, HOCKET_MAX));
        CHECK_INT(!is_shared(), shm_stages_touched(me));
        for (size_t i = 0; i < COUNT - 3; i++)
            CHECK(end[(ptrdiff_t)i - (ptrdiff_t)COUNT] == (float)(me->size - 1));
        CHECK(end[-1] == (float)me->rank);
    }
    CHECK(region[0] == (float)me->rank);
    hocket_dealloc(me->world, region);
}

/* === Comings and goings ======================================================================= */

enum { HELD = 40, TURNS = 3000, OFTEN = 30 }; /* HELD: more than there are regions */

static void churn(struct member *me)
{
    _Static_assert(HELD > HK_REGIONS_MAX, "so that some are plain memory");
    float *held[HELD] = {NULL};
    uint64_t seed = (uint64_t)me->rank + 11;
    int descriptors = count_descriptors(), segments = count_segments();
    float *spare = malloc(COUNT * sizeof *spare);
    CHECK(spare != NULL);
    for (int turn = 0; turn < TURNS / (int)harness_slowness(); turn++) {
        float **place = &held[next(&seed) % HELD];
        if (*place != NULL) {
            hocket_dealloc(me->world, *place);
            *place = NULL;
        } else {
            *place = get(me, COUNT + next(&seed) % COUNT);
            (*place)[COUNT - 1] = 1;
        }
        if (turn % OFTEN != 0)
            continue;
        /* Some are shared, some plain: whatever each rank has there. */
        float *data = held[next(&seed) % HELD];
        sum(me, data != NULL ? data : spare, COUNT, (float)(turn % 100));
    }
    for (int i = 0; i < HELD; i++)
        hocket_dealloc(me->world, held[i]);
    CHECK_OK(hocket_barrier(me->world));
    sum(me, spare, COUNT, 0);
    CHECK_INT(descriptors, count_descriptors());
    CHECK_INT(segments, count_segments());
    free(spare);
}

/* A group that is freed gives back what its rank has not. */
static void groups_give_back(struct member *me)
{
    int descriptors = count_descriptors(), segments = count_segments();
    for (int turn = 0; turn < 20; turn++) {
        hocket_group *group;
        float data[5000] = {0};
        CHECK_OK(hocket_split(me->world, 0, 0, &group));
        for (int i = 0; i < 3; i++) {
            void *memory;
            CHECK_OK(hocket_alloc(group, 100000, &memory));
            CHECK_OK(hocket_all_sum(group, data, LENGTH(data)));
        }
        hocket_free(group);
    }
    CHECK_OK(hocket_barrier(me->world));
    CHECK_INT(descriptors, count_descriptors());
    CHECK_INT(segments, count_segments());
}

/* Memory is returned, not only its addresses: all that is made here would not fit. */
static void large_regions_come_and_go(struct member *me)
{
    enum { TIMES = 100 };
    size_t count = 4 * KIB * KIB;
    for (int turn = 0; turn < TIMES; turn++) {
        float *data = get(me, count);
        CHECK(data[0] == 0 && data[count - 1] == 0);
        memset(data, 1, count * sizeof *data);
        if (turn % 10 == 0)
            sum(me, data, COUNT, 1);
        hocket_dealloc(me->world, data);
    }
}

/* === Another thread =========================================================================== */

struct maker {
    struct member *me;
    atomic_bool enough;
    long made;
};

static void make_regions(void *argument)
{
    struct maker *maker = argument;
    uint64_t seed = 5;
    void *held[8] = {NULL};
    while (!maker->enough) {
        void **place = &held[next(&seed) % LENGTH(held)];
        hocket_dealloc(maker->me->world, *place);
        CHECK_OK(hocket_alloc(maker->me->world, 1 + next(&seed) % 100000, place));
        maker->made++;
        if (next(&seed) % 8 == 0)
            sleep_seconds(1e-5);
    }
    for (size_t i = 0; i < LENGTH(held); i++)
        hocket_dealloc(maker->me->world, held[i]);
}

/* The directory changes while others read it and while operations are under way. */
static void makers_beside_collectives(struct member *me)
{
    struct side side;
    struct maker maker = {.me = me};
    float *data = get(me, COUNT), *plain = malloc(COUNT * sizeof *plain);
    CHECK(plain != NULL);
    sum(me, data, COUNT, 0);
    side_start(&side, make_regions, &maker);
    int direct = 0;
    for (int turn = 0; turn < 300 / (int)harness_slowness(); turn++)
        direct += !sum(me, turn % 10 == 9 ? plain : data, COUNT, (float)turn);
    maker.enough = true;
    side_join(&side);
    CHECK(maker.made > 0);
    sum(me, data, COUNT, 1);
    CHECK_INT(!is_shared(), sum(me, data, COUNT, 2));
    hocket_dealloc(me->world, data);
    free(plain);
}

/* === As tests ================================================================================= */

static void run(void (*body)(struct member *me), int size, bool processes)
{
    harness_run(&(struct harness_run){.backend = &harness_shm,
                                      .size = size,
                                      .body = body,
                                      .processes = processes,
                                      .seconds = 60});
}

static void regions_are_known_after_one_operation(void **state)
{
    (void)state;
    for (int size = 2; size <= 4; size++)
        run(the_first_is_staged_the_next_direct, size, size != 3);
}

static void old_regions_are_not_taken_for_new_ones(void **state)
{
    (void)state;
    run(a_region_takes_the_place_of_another, 2, true);
    run(a_region_takes_the_place_of_another, 3, false);
}

static void any_part_of_a_region_will_do(void **state)
{
    (void)state;
    run(parts_of_one_region, 2, true);
    run(parts_of_one_region, 3, false);
}

static void thousands_come_and_go(void **state)
{
    (void)state;
    run(churn, 2, true);
    run(churn, 3, true);
}

static void nothing_is_left_of_a_group(void **state)
{
    (void)state;
    run(groups_give_back, 3, true);
}

static void memory_is_returned(void **state)
{
    (void)state;
    run(large_regions_come_and_go, 2, true);
}

static void any_thread_may_make_regions(void **state)
{
    (void)state;
    run(makers_beside_collectives, 2, false);
    run(makers_beside_collectives, 3, true);
}

int main(void)
{
    harness_clear_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_known_after_one_operation),
        cmocka_unit_test(old_regions_are_not_taken_for_new_ones),
        cmocka_unit_test(any_part_of_a_region_will_do),
        cmocka_unit_test(thousands_come_and_go),
        cmocka_unit_test(nothing_is_left_of_a_group),
        cmocka_unit_test(memory_is_returned),
        cmocka_unit_test(any_thread_may_make_regions),
    };
    return cmocka_run_group_tests_name("shm_memory", tests, NULL, NULL);
}
