/* Groups: collectives at all, barriers, splits, duplicates, leaving, aborting, being late. */
#include "conformance.h"

static int right_of(const struct member *me)
{
    return (me->rank + 1) % me->size;
}
static int left_of(const struct member *me)
{
    return (me->rank + me->size - 1) % me->size;
}

/* Sums 1 over a group, which thereby shows that it works and how large it is. */
static void check_works(hocket_group *group, int size)
{
    float ones[70];
    for (int i = 0; i < 70; i++)
        ones[i] = 1;
    CHECK_INT(size, hocket_world_size(group));
    CHECK_OK(hocket_all_sum(group, ones, 70));
    for (int i = 0; i < 70; i++)
        CHECK_INT(size, ones[i]);
}

static void sums_of_any_size(struct member *me)
{
    static const size_t counts[] = {0, 1, 2, 7, 1000, 16411, 300007};
    for (size_t c = 0; c < LENGTH(counts); c++) {
        float *data = guard_alloc(counts[c] * sizeof(float));
        for (size_t i = 0; i < counts[c]; i++)
            data[i] = (float)(me->rank + (int)(i % 1013));
        CHECK_OK(hocket_all_sum(me->world, data, counts[c]));
        for (size_t i = 0; i < counts[c]; i++)
            CHECK_INT(me->size * (me->size - 1) / 2 + me->size * (int)(i % 1013), data[i]);
        GUARD_FREE(data);
    }
}

static void barriers_wait(struct member *me)
{
    for (int round = 1; round <= 2 * me->size; round++) {
        if (round % me->size == me->rank)
            sleep_seconds(0.01);
        me->shared[me->rank] = round;
        CHECK_OK(hocket_barrier(me->world));
        for (int rank = 0; rank < me->size; rank++)
            CHECK_THAT(me->shared[rank] >= round, "barrier %d came back before rank %d arrived",
                       round, rank);
    }
}

static void timeouts_are_checked(struct member *me)
{
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_set_timeout(me->world, 0));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_set_timeout(me->world, -1.5));
    CHECK_HAS(hocket_last_error(), "-1.5");
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_set_timeout(me->world, __builtin_nan("")));
    CHECK_OK(hocket_set_timeout(me->world, __builtin_inf()));
    CHECK_OK(hocket_barrier(me->world));
}

/* === Splits =================================================================================== */

static void split_by_parity(struct member *me)
{
    hocket_group *half = NULL;
    CHECK_OK(hocket_split(me->world, me->rank % 2, me->rank, &half));
    CHECK(half != NULL);
    CHECK_INT(me->rank / 2, hocket_rank(half));
    CHECK_TEXT(hocket_backend(me->world), hocket_backend(half));
    check_works(half, (me->size + 1 - me->rank % 2) / 2);
    check_works(me->world, me->size);
    hocket_free(half);
    check_works(me->world, me->size);
}

static void split_orders_by_key(struct member *me)
{
    hocket_group *turned = NULL, *tied = NULL, *mixed = NULL;
    int ranks[HARNESS_RANKS_MAX];
    CHECK_OK(hocket_split(me->world, 7, -me->rank, &turned));
    CHECK_INT(me->size - 1 - me->rank, hocket_rank(turned));
    CHECK_OK(hocket_all_gather(turned, &me->rank, ranks, 1, HOCKET_INT32));
    for (int i = 0; i < me->size; i++)
        CHECK_INT(me->size - 1 - i, ranks[i]);
    CHECK_OK(hocket_split(me->world, INT32_MAX, 5, &tied));
    CHECK_INT(me->rank, hocket_rank(tied));
    int key = me->rank % 2 == 0 ? INT32_MAX : INT32_MIN; /* odd ranks first */
    CHECK_OK(hocket_split(me->world, 0, key, &mixed));
    CHECK_INT(me->rank % 2 == 0 ? me->size / 2 + me->rank / 2 : me->rank / 2, hocket_rank(mixed));
    check_works(mixed, me->size);
    hocket_free(turned);
    hocket_free(tied);
    hocket_free(mixed);
}

static void split_without_color(struct member *me)
{
    hocket_group *group = (hocket_group *)me;
    CHECK_OK(hocket_split(me->world, me->rank == 0 ? HOCKET_NO_COLOR : 3, 0, &group));
    CHECK((group == NULL) == (me->rank == 0));
    if (group != NULL) {
        CHECK_INT(me->rank - 1, hocket_rank(group));
        check_works(group, me->size - 1);
    }
    hocket_free(group);
    CHECK_OK(hocket_split(me->world, HOCKET_NO_COLOR, 0, &group));
    CHECK(group == NULL);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_split(me->world, -2, 0, &group));
    CHECK_HAS(hocket_last_error(), "-2");
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_split(me->world, 0, 0, NULL));
    check_works(me->world, me->size);
}

/* Halves of halves; then the world goes first, the largest next: the smallest still works. */
static void subgroups_outlive_their_parents(struct member *me)
{
    hocket_group *half, *quarter;
    CHECK_OK(hocket_split(me->world, me->rank % 2, 0, &half));
    int half_size = hocket_world_size(half);
    CHECK_OK(hocket_split(half, hocket_rank(half) % 2, 0, &quarter));
    int quarter_size = hocket_world_size(quarter);
    check_works(quarter, quarter_size);
    check_works(half, half_size);
    hocket_free(me->world);
    me->world = half; /* so that a failure still tells the others */
    check_works(half, half_size);
    check_works(quarter, quarter_size);
    me->world = quarter;
    hocket_free(half);
    check_works(quarter, quarter_size);
}

/* Each rank frees its groups in another order, and none waits for the others. */
static void groups_are_freed_in_any_order(struct member *me)
{
    enum { COUNT = 4 };
    hocket_group *groups[COUNT];
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(hocket_split(me->world, i % 2 == 0 ? 0 : me->rank / 2, 0, &groups[i]));
    for (int i = 0; i < COUNT; i++)
        check_works(groups[i], hocket_world_size(groups[i]));
    for (int i = 0; i < COUNT; i++)
        hocket_free(groups[(i * 3 + me->rank) % COUNT]);
    check_works(me->world, me->size);
}

static void groups_do_not_mix(struct member *me)
{
    hocket_group *groups[3] = {me->world, NULL, NULL};
    CHECK_OK(hocket_split(me->world, 0, me->rank, &groups[1]));
    CHECK_OK(hocket_split(groups[1], 0, me->rank, &groups[2]));
    for (int i = 0; i < 3; i++)
        CHECK_OK(hocket_send_bytes(groups[i], right_of(me), 5, &i, sizeof(i)));
    for (int i = 2; i >= 0; i--) {
        int got = -1;
        size_t length = 0;
        CHECK_OK(hocket_recv_into(groups[i], left_of(me), 5, &got, sizeof(got), &length));
        CHECK_INT(i, got);
    }
    hocket_free(groups[1]);
    hocket_free(groups[2]);
}

static void many_splits(struct member *me)
{
    for (int i = 0; i < 50; i++) {
        hocket_group *group = NULL;
        CHECK_OK(hocket_split(me->world, (me->rank + i) % 2, i % 3 - me->rank, &group));
        CHECK_OK(hocket_barrier(group));
        hocket_free(group);
    }
}

static void a_second_init_is_a_duplicate(struct member *me)
{
    hocket_config config = member_config(me);
    hocket_group *twin = NULL;
    CHECK_OK(hocket_init(&config, &twin));
    CHECK(twin != me->world);
    CHECK_INT(me->rank, hocket_rank(twin));
    check_works(twin, me->size);
    int number = 1, got = 0;
    size_t length = 0;
    CHECK_OK(hocket_send_bytes(me->world, right_of(me), 1, &number, sizeof(number)));
    number = 2;
    CHECK_OK(hocket_send_bytes(twin, right_of(me), 1, &number, sizeof(number)));
    CHECK_OK(hocket_recv_into(twin, left_of(me), 1, &got, sizeof(got), &length));
    CHECK_INT(2, got);
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 1, &got, sizeof(got), &length));
    CHECK_INT(1, got);
    hocket_free(me->world);
    me->world = twin;
    check_works(twin, me->size);
}

/* === What breaks a group ====================================================================== */

static void abort_soon(void *argument)
{
    struct member *me = argument;
    sleep_seconds(0.1);
    CHECK_OK(hocket_abort(me->world, "enough of this"));
}

static void check_aborted(struct member *me, hocket_status status)
{
    CHECK_INT(HOCKET_ERR_ABORTED, status);
    CHECK_HAS(hocket_last_error(), "enough of this");
    CHECK_INT(me->size - 1, hocket_last_error_rank());
}

static void abort_ends_all_waiting(struct member *me)
{
    struct side side;
    char byte;
    size_t length;
    bool aborts = me->rank == me->size - 1;
    if (aborts)
        side_start(&side, abort_soon, me);
    double begin = seconds_now();
    check_aborted(me, hocket_recv_into(me->world, left_of(me), 1, &byte, 1, &length));
    CHECK_THAT(seconds_now() - begin < 2 * harness_slowness(), "the abort came late");
    check_aborted(me, hocket_barrier(me->world));
    check_aborted(me, hocket_send_bytes(me->world, right_of(me), 1, "", 0));
    hocket_group *group;
    check_aborted(me, hocket_split(me->world, 0, 0, &group));
    if (aborts)
        side_join(&side);
}

/* The last rank never comes to the collective: it aborts instead. */
static void abort_ends_a_collective(struct member *me)
{
    float data[100] = {0};
    CHECK_OK(hocket_barrier(me->world));
    me->shared[me->rank] = 1;
    if (me->rank == me->size - 1) {
        for (int i = 0; i < me->size; i++) /* until all have left the barrier */
            while (me->shared[i] == 0)
                sleep_seconds(0.001);
        sleep_seconds(0.05);
        CHECK_OK(hocket_abort(me->world, "enough of this"));
    }
    check_aborted(me, hocket_all_sum(me->world, data, 100));
}

static void abort_leaves_other_groups_alone(struct member *me)
{
    hocket_group *doomed = NULL;
    CHECK_OK(hocket_split(me->world, 0, 0, &doomed));
    if (me->rank == me->size - 1)
        CHECK_OK(hocket_abort(doomed, "enough of this"));
    char byte;
    size_t length;
    check_aborted(me, hocket_recv_into(doomed, left_of(me), 1, &byte, 1, &length));
    hocket_free(doomed);
    check_works(me->world, me->size);
}

/* The last rank sends something to all and leaves. What it sent can be had, then it is lost. */
static void who_has_left_is_lost(struct member *me)
{
    const int last = me->size - 1;
    char byte = 0;
    size_t length = 0;
    for (int to = 0; me->rank == last && to < last; to++)
        CHECK_OK(hocket_send_bytes(me->world, to, 1, "g", 1));
    if (me->rank == last)
        return; /* and the harness frees the group */
    sleep_seconds(0.05);
    CHECK_OK(hocket_recv_into(me->world, last, 1, &byte, 1, &length));
    CHECK_INT('g', byte);
    me->shared[me->rank] = 1;
    for (int rank = 0; rank < last; rank++) /* a failed barrier would end the others' receives */
        while (me->shared[rank] == 0)
            sleep_seconds(0.001);
    double begin = seconds_now();
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_recv_into(me->world, last, 1, &byte, 1, &length));
    CHECK_INT(last, hocket_last_error_rank());
    CHECK_THAT(seconds_now() - begin < 1 * harness_slowness(), "the loss was noticed late");
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_barrier(me->world));
    CHECK_INT(last, hocket_last_error_rank());
}

/* The same of a subgroup, while the connections live on in the world. */
static void who_has_left_a_subgroup_is_lost_there(struct member *me)
{
    hocket_group *group = NULL;
    const int last = me->size - 1;
    char byte = 0;
    size_t length = 0;
    CHECK_OK(hocket_split(me->world, 0, 0, &group));
    if (me->rank == last)
        hocket_free(group);
    if (me->rank != last) {
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_recv_into(group, last, 1, &byte, 1, &length));
        CHECK_INT(last, hocket_last_error_rank());
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_barrier(group));
        CHECK_INT(last, hocket_last_error_rank());
        hocket_free(group);
    }
    check_works(me->world, me->size);
}

/* A rank that is through with a collective may leave while others are still in it. */
static void leaving_early_harms_nobody(struct member *me)
{
    hocket_group *group = NULL;
    for (int i = 0; i < 10; i++) {
        int number = me->rank, all[HARNESS_RANKS_MAX];
        CHECK_OK(hocket_split(me->world, 0, 0, &group));
        if (me->rank % 2 == 1)
            sleep_seconds(0.002);
        CHECK_OK(hocket_all_gather(group, &number, all, 1, HOCKET_INT32));
        CHECK_OK(hocket_broadcast(group, &number, 1, HOCKET_INT32, i % me->size));
        CHECK_INT(i % me->size, number);
        hocket_free(group);
    }
}

/* Rank 0 comes when all others have given up: they name it, and it hears that the group is broken.
 */
static void who_is_late_is_named(struct member *me)
{
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    if (me->rank > 0)
        CHECK_OK(hocket_set_timeout(me->world, 0.3 * harness_slowness()));
    for (int rank = 1; me->rank == 0 && rank < me->size; rank++)
        while (me->shared[rank] == 0)
            sleep_seconds(0.001);
    /* The late rank finds what the others had sent before they gave up: where the news comes behind
     * that, its own call is through, and its next one says so. */
    if (me->rank == 0 && hocket_barrier(me->world) == HOCKET_OK)
        harness_note("the late rank got through");
    for (int again = 0; again < 2; again++) {
        CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_barrier(me->world));
        CHECK_INT(0, hocket_last_error_rank()); /* of all that gave no answer the lowest */
        me->shared[me->rank] = 1;
    }
}

const struct conformance_case conformance_groups[] = {
    {.name = "sums of any size", .body = sums_of_any_size},
    {.name = "a barrier waits for all", .body = barriers_wait},
    {.name = "timeouts are checked", .body = timeouts_are_checked},
    {.name = "split into halves", .body = split_by_parity},
    {.name = "split orders by key, ties by rank", .body = split_orders_by_key},
    {.name = "split without a color gives no group", .body = split_without_color},
    {.name = "subgroups outlive their parents", .body = subgroups_outlive_their_parents},
    {.name = "groups are freed in any order", .body = groups_are_freed_in_any_order},
    {.name = "messages of groups do not mix", .body = groups_do_not_mix},
    {.name = "many splits", .body = many_splits},
    {.name = "a second init is a duplicate",
     .body = a_second_init_is_a_duplicate,
     .duplicates = true},
    {.name = "abort ends all waiting", .body = abort_ends_all_waiting},
    {.name = "abort ends a collective", .body = abort_ends_a_collective},
    {.name = "abort leaves other groups alone", .body = abort_leaves_other_groups_alone},
    {.name = "who has left is lost to who waits",
     .body = who_has_left_is_lost,
     .size_min = 2,
     .size_max = 8},
    {.name = "who has left a subgroup is lost there",
     .body = who_has_left_a_subgroup_is_lost_there,
     .size_min = 2,
     .size_max = 8},
    {.name = "leaving early harms nobody", .body = leaving_early_harms_nobody},
    {.name = "who is late is named", .body = who_is_late_is_named, .size_min = 2, .size_max = 8},
    {.name = NULL},
};
