/* Nonblocking forms, threads side by side on one group, memory of the group. */
#include "conformance.h"

static int right_of(const struct member *me) { return (me->rank + 1) % me->size; }
static int left_of(const struct member *me) { return (me->rank + me->size - 1) % me->size; }

/* The sum over the ranks of rank * 1000 + number. */
static float expected_sum(int size, int number)
{
    return (float)(1000 * (size * (size - 1) / 2) + size * number);
}

/* === Requests ================================================================================= */

static void several_in_flight(struct member *me)
{
    enum { FLIGHTS = 24, LENGTH_EACH = 501 };
    static const int order[] = {1, 5, 7, 11}; /* prime to FLIGHTS: each wait order visits all */
    for (size_t round = 0; round < LENGTH(order); round++) {
        float *data = guard_alloc(sizeof(float) * FLIGHTS * LENGTH_EACH);
        hocket_request *requests[FLIGHTS];
        for (int i = 0; i < FLIGHTS; i++) {
            float *mine = data + i * LENGTH_EACH;
            for (int k = 0; k < LENGTH_EACH; k++)
                mine[k] = (float)(1000 * me->rank + i + k);
            CHECK_OK(hocket_all_sum_async(me->world, mine, LENGTH_EACH, &requests[i]));
        }
        for (int i = 0, at = 0; i < FLIGHTS; i++, at = (at + order[round]) % FLIGHTS) {
            CHECK_OK(hocket_wait(requests[at]));
            for (int k = 0; k < LENGTH_EACH; k++)
                CHECK_INT(expected_sum(me->size, at + k), data[at * LENGTH_EACH + k]);
        }
        GUARD_FREE(data);
    }
}

static void mixed_with_blocking(struct member *me)
{
    int gathered[HARNESS_RANKS_MAX] = {0}, number = me->rank == 0 ? 31 : 0, mine = me->rank + 1;
    float sum[3] = {(float)(1000 * me->rank), 1, 2}, second[1] = {(float)(1000 * me->rank + 4)};
    hocket_request *gather, *reduce, *broadcast, *barrier;
    CHECK_OK(hocket_all_gather_async(me->world, &mine, gathered, 1, HOCKET_INT32, &gather));
    CHECK_OK(hocket_all_sum_async(me->world, second, 1, &reduce));
    CHECK_OK(hocket_all_sum(me->world, sum, 3)); /* after the two above, in the order of calls */
    CHECK_INT(expected_sum(me->size, 0), sum[0]);
    CHECK_OK(hocket_broadcast_async(me->world, &number, 1, HOCKET_INT32, 0, &broadcast));
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_barrier_async(me->world, &barrier));
    CHECK_OK(hocket_wait(barrier));
    CHECK_OK(hocket_wait(reduce));
    CHECK_INT(expected_sum(me->size, 4), second[0]);
    CHECK_OK(hocket_wait(broadcast));
    CHECK_INT(31, number);
    CHECK_OK(hocket_wait(gather));
    for (int i = 0; i < me->size; i++)
        CHECK_INT(i + 1, gathered[i]);
}

static void test_until_done(struct member *me)
{
    int number = -1;
    size_t length = 0;
    bool done = true;
    hocket_request *request;
    CHECK_OK(hocket_recv_into_async(me->world, left_of(me), 1, &number, sizeof(number), &length,
                                    &request));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(hocket_test(request, &done));
        CHECK(!done);
    }
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_send_bytes(me->world, right_of(me), 1, &me->rank, sizeof(me->rank)));
    double limit = seconds_now() + 5 * harness_slowness();
    while (!done && seconds_now() < limit)
        CHECK_OK(hocket_test(request, &done));
    CHECK_THAT(done, "hocket_test alone makes no progress");
    CHECK_INT(left_of(me), number);
}

static void collectives_are_tested_too(struct member *me)
{
    float sum[1000];
    bool done = false;
    hocket_request *request;
    for (int i = 0; i < 1000; i++)
        sum[i] = (float)(1000 * me->rank + i);
    CHECK_OK(hocket_all_sum_async(me->world, sum, 1000, &request));
    double limit = seconds_now() + 5 * harness_slowness();
    while (!done && seconds_now() < limit)
        CHECK_OK(hocket_test(request, &done));
    CHECK(done);
    for (int i = 0; i < 1000; i++)
        CHECK_INT(expected_sum(me->size, i), sum[i]);
}

static void probe_is_nonblocking_too(struct member *me)
{
    int source = -1;
    size_t length = 0;
    hocket_request *request;
    CHECK_OK(hocket_probe_async(me->world, HOCKET_ANY_RANK, 2, &source, &length, &request));
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_send_bytes(me->world, right_of(me), 2, "abc", 3));
    CHECK_OK(hocket_wait(request));
    CHECK_INT(left_of(me), source);
    CHECK_INT(3, length);
    char text[4] = "";
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 2, text, 3, &length));
    CHECK_HAS(text, "abc");
}

static void receives_take_in_the_order_of_the_calls(struct member *me)
{
    enum { COUNT = 50 };
    hocket_request *receives[COUNT], *sends[COUNT];
    int values[COUNT], numbers[COUNT];
    size_t lengths[COUNT];
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(hocket_recv_into_async(me->world, left_of(me), 3, &values[i], sizeof(int),
                                        &lengths[i], &receives[i]));
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = i;
        CHECK_OK(hocket_send_bytes_async(me->world, right_of(me), 3, &numbers[i], sizeof(int),
                                         &sends[i]));
    }
    for (int i = COUNT - 1; i >= 0; i--) {
        CHECK_OK(hocket_wait(receives[i]));
        CHECK_INT(i, values[i]);
        CHECK_OK(hocket_wait(sends[i]));
    }
}

static void errors_at_the_call_make_no_request(struct member *me)
{
    char byte = 0;
    size_t length;
    hocket_request *none = (hocket_request *)&byte, *request = none;
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_all_sum_async(me->world, NULL, 5, &request));
    CHECK(request == NULL);
    request = none;
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_broadcast_async(me->world, &byte, 1, HOCKET_INT8,
                                                            me->size, &request));
    CHECK(request == NULL);
    request = none;
    CHECK_STATUS(HOCKET_ERR_INVALID,
                 hocket_recv_into_async(me->world, me->size, 1, &byte, 1, &length, &request));
    CHECK(request == NULL);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_wait(NULL));
    CHECK_OK(hocket_barrier(me->world));
}

static void a_request_has_its_own_deadline(struct member *me)
{
    char byte;
    size_t length;
    hocket_request *request;
    CHECK_OK(hocket_set_timeout(me->world, 0.05));
    CHECK_OK(hocket_recv_into_async(me->world, left_of(me), 1, &byte, 1, &length, &request));
    CHECK_OK(hocket_set_timeout(me->world, 10 * harness_slowness()));
    double begin = seconds_now();
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_wait(request));
    CHECK(seconds_now() - begin < 1.0 * harness_slowness());
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_send_bytes(me->world, right_of(me), 1, "x", 1));
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 1, &byte, 1, &length));
    CHECK_INT('x', byte);
}

/* === Threads ================================================================================== */

enum { ROUNDS = 100 };

static void exchange_in_the_side(void *argument)
{
    struct member *me = argument;
    for (int i = 0; i < ROUNDS; i++) {
        int got = -1;
        size_t length = 0;
        CHECK_OK(hocket_send_bytes(me->world, right_of(me), 7, &i, sizeof(i)));
        CHECK_OK(hocket_recv_into(me->world, left_of(me), 7, &got, sizeof(got), &length));
        CHECK_INT(i, got);
    }
}

static void collectives_beside_messages(struct member *me)
{
    struct side side;
    side_start(&side, exchange_in_the_side, me);
    for (int i = 0; i < ROUNDS; i++) {
        float sum[300];
        for (int k = 0; k < 300; k++)
            sum[k] = (float)(1000 * me->rank + i + k);
        CHECK_OK(hocket_all_sum(me->world, sum, 300));
        for (int k = 0; k < 300; k++)
            CHECK_INT(expected_sum(me->size, i + k), sum[k]);
    }
    side_join(&side);
}

struct lane {
    struct member *me;
    hocket_group *group;
    int number;
};

static void sum_in_a_lane(void *argument)
{
    struct lane *lane = argument;
    for (int i = 0; i < ROUNDS; i++) {
        float sum = (float)(1000 * lane->me->rank + lane->number + i);
        CHECK_OK(hocket_all_sum(lane->group, &sum, 1));
        CHECK_INT(expected_sum(lane->me->size, lane->number + i), sum);
    }
}

/* Groups are independent: their collectives may meet in any order. */
static void groups_side_by_side(struct member *me)
{
    enum { LANES = 3 };
    struct lane lanes[LANES];
    struct side sides[LANES];
    for (int i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){.me = me, .number = 100 * i};
        CHECK_OK(hocket_split(me->world, 0, me->rank, &lanes[i].group));
    }
    for (int i = 0; i < LANES; i++) /* each rank starts its threads in another order */
        side_start(&sides[i], sum_in_a_lane, &lanes[(i + me->rank) % LANES]);
    for (int i = 0; i < LANES; i++)
        side_join(&sides[i]);
    for (int i = 0; i < LANES; i++)
        hocket_free(lanes[i].group);
}

/* Two threads that wait for messages while a third sends them. */
static void wait_on_tag_8(void *argument)
{
    struct member *me = argument;
    char byte = 0;
    size_t length = 0;
    CHECK_OK(hocket_recv_into(me->world, left_of(me), 8, &byte, 1, &length));
    CHECK_INT('e', byte);
}

static void several_threads_wait(struct member *me)
{
    struct side sides[4];
    for (size_t i = 0; i < LENGTH(sides); i++)
        side_start(&sides[i], wait_on_tag_8, me);
    sleep_seconds(0.02);
    for (size_t i = 0; i < LENGTH(sides); i++)
        CHECK_OK(hocket_send_bytes(me->world, right_of(me), 8, "e", 1));
    for (size_t i = 0; i < LENGTH(sides); i++)
        side_join(&sides[i]);
}

/* === Memory =================================================================================== */

/* Large enough for a device that writes straight into it, which wants a receive that waits. */
static void memory_of_the_group(struct member *me)
{
    const size_t count = 50000;
    hocket_request *receive = NULL;
    void *memory = NULL;
    float *own = malloc(count * sizeof(float));
    CHECK_OK(hocket_alloc(me->world, count * sizeof(float), &memory));
    float *sum = memory;
    CHECK((uintptr_t)sum % 64 == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(sum[i] == 0);
        own[i] = (float)(1000 * me->rank + (int)i);
    }
    CHECK_OK(hocket_register(me->world, own, count * sizeof(float)));
    CHECK_OK(hocket_all_reduce(me->world, own, sum, count, HOCKET_FLOAT32, HOCKET_SUM));
    for (size_t i = 0; i < count; i++)
        CHECK_INT(expected_sum(me->size, (int)i), sum[i]);
    size_t length = 0;
    CHECK_OK(hocket_recv_into_async(me->world, left_of(me), 1, sum, count * sizeof(float), &length,
                                    &receive));
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_send_bytes(me->world, right_of(me), 1, own, count * sizeof(float)));
    CHECK_OK(hocket_wait(receive));
    CHECK_INT(count * sizeof(float), length);
    for (size_t i = 0; i < count; i++)
        CHECK_INT(1000 * left_of(me) + (int)i, sum[i]);
    CHECK_OK(hocket_unregister(me->world, own));
    hocket_dealloc(me->world, memory);
    hocket_dealloc(me->world, NULL);
    free(own);
}

const struct conformance_case conformance_requests[] = {
    {.name = "several collectives in flight", .body = several_in_flight},
    {.name = "nonblocking and blocking collectives run in the order of the calls",
     .body = mixed_with_blocking},
    {.name = "test says when a receive is done", .body = test_until_done},
    {.name = "test says when a collective is done", .body = collectives_are_tested_too},
    {.name = "probe as a request", .body = probe_is_nonblocking_too},
    {.name = "receives take messages in the order of the calls",
     .body = receives_take_in_the_order_of_the_calls},
    {.name = "errors at the call make no request", .body = errors_at_the_call_make_no_request},
    {.name = "a request keeps the deadline of its call", .body = a_request_has_its_own_deadline},
    {.name = "collectives beside messages of another thread", .body = collectives_beside_messages},
    {.name = "collectives of several groups in several threads", .body = groups_side_by_side},
    {.name = "several threads wait on one group", .body = several_threads_wait},
    {.name = "memory from the group and memory made known to it", .body = memory_of_the_group},
    {.name = NULL},
};
