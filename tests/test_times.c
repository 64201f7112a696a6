/* Where a group's time goes. Rank 1 comes late on purpose; what is compared are sums over enough
 * rounds that a slow machine cannot turn them round. */

#include "harness.h"

#define LATE_SECONDS 0.05
#define ROUNDS_MAX 200
#define ENOUGH_SECONDS 0.5

static void over_each(int size, member_body body, void *context)
{
    for (int b = 0; harness_backends[b] != NULL; b++)
        harness_run(&(struct harness_run){.backend = harness_backends[b],
                                          .size = size,
                                          .body = body,
                                          .context = context,
                                          .seconds = 60});
}

static hocket_times times_of(hocket_group *group)
{
    hocket_times times = {.size = sizeof times};
    CHECK_OK(hocket_group_times(group, &times));
    CHECK(times.inside_s >= 0);
    CHECK(!(times.waited_s > times.inside_s));
    return times;
}

/* === Counts =================================================================================== */

static void counts(struct member *me)
{
    float data[100] = {0}, gathered[400];
    char byte = 0;
    size_t length;
    hocket_request *request;
    CHECK_OK(hocket_barrier(me->world));
    hocket_times t = times_of(me->world);
    CHECK(t.calls == 0 && t.bytes == 0 && t.inside_s == 0 && t.waited_s == 0);
    CHECK_OK(hocket_all_sum(me->world, data, 100));
    CHECK_INT(400, times_of(me->world).bytes);
    CHECK_OK(hocket_all_gather(me->world, data, gathered, 100, HOCKET_FLOAT32));
    CHECK_INT(400 + 400 * me->size, times_of(me->world).bytes);
    CHECK_OK(hocket_all_sum_async(me->world, data, 100, &request));
    CHECK_OK(hocket_wait(request));
    t = times_of(me->world);
    CHECK_INT(3, t.calls);
    CHECK_INT(800 + 400 * me->size, t.bytes);
    CHECK_OK(hocket_send_bytes(me->world, me->rank, 1, "ab", 2));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_recv_into(me->world, me->rank, 1, &byte, 1, &length));
    CHECK_OK(hocket_recv_into(me->world, me->rank, 1, data, 4, &length));
    CHECK_INT(6, times_of(me->world).calls);
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_all_sum(me->world, NULL, 100));
    CHECK_INT(6, times_of(me->world).calls);
}

static void calls_and_bytes_are_counted_from_the_first_look_on(void **state)
{
    (void)state;
    over_each(1, counts, NULL);
    over_each(3, counts, NULL);
}

static void asks_wrong(struct member *me)
{
    hocket_times small = {.size = sizeof small - 1};
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_group_times(NULL, &small));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_group_times(me->world, NULL));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_group_times(me->world, &small));
    CHECK_HAS(hocket_last_error(), "times->size is");
    CHECK_OK(hocket_barrier(me->world));
}

static void wrong_arguments_break_nothing(void **state)
{
    (void)state;
    over_each(2, asks_wrong, NULL);
}

/* === Waiting ================================================================================== */

struct collective {
    const char *name;
    size_t count;
    hocket_status (*call)(struct member *me, size_t count);
};

static hocket_status sums(struct member *me, size_t count)
{
    float *data = calloc(count, sizeof *data);
    hocket_status status = hocket_all_sum(me->world, data, count);
    free(data);
    return status;
}

static hocket_status gathers(struct member *me, size_t count)
{
    float *data = calloc(count * (size_t)me->size, sizeof *data);
    hocket_status status =
        hocket_all_gather(me->world, data + count * (size_t)me->rank, data, count, HOCKET_FLOAT32);
    free(data);
    return status;
}

static hocket_status meets(struct member *me, size_t count)
{
    (void)count;
    return hocket_barrier(me->world);
}

static hocket_status passes(struct member *me, size_t count)
{
    char bytes[64] = {0};
    size_t length;
    if (me->rank == 1)
        return hocket_send_bytes(me->world, 0, 1, bytes, count);
    return hocket_recv_into(me->world, 1, 1, bytes, sizeof bytes, &length);
}

static const struct collective collectives[] = {
    {"all_sum of a few bytes", 8, sums},
    {"all_sum of some bytes", 800, sums},
    {"all_sum of many bytes", 100000, sums},
    {"all_gather", 5000, gathers},
    {"barrier", 0, meets},
    {"message", 64, passes},
};

enum { WAITED }; /* slots of the shared numbers: what each rank has waited */

static void rank_1_is_late(struct member *me)
{
    const struct collective *its = me->context;
    bool enough = false;
    harness_note("%s", its->name);
    hocket_times before = times_of(me->world), after = before;
    for (int i = 0; i < ROUNDS_MAX && !enough; i++) {
        if (me->rank == 1)
            sleep_seconds(LATE_SECONDS);
        CHECK_OK(its->call(me, its->count));
        after = times_of(me->world);
        me->shared[WAITED + me->rank] = after.waited_s - before.waited_s;
        CHECK_OK(hocket_barrier(me->world));
        enough =
            me->shared[WAITED] > ENOUGH_SECONDS && me->shared[WAITED] > 2 * me->shared[WAITED + 1];
        CHECK_OK(hocket_barrier(me->world));
        before.waited_s += times_of(me->world).waited_s - after.waited_s; /* of the barriers */
    }
    CHECK_THAT(enough, "rank 0 has waited %g s, and rank 1, which is late, %g s",
               me->shared[WAITED], me->shared[WAITED + 1]);
}

static void waiting_for_a_late_rank_is_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(collectives); i++)
        over_each(2, rank_1_is_late, (void *)&collectives[i]);
}

/* What is moved between ranks that are there is no waiting. */
static void moves_much(struct member *me)
{
    const size_t count = 2000000;
    double moved = 0;
    times_of(me->world);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(hocket_barrier(me->world));
        hocket_times before = times_of(me->world);
        CHECK_OK(sums(me, count));
        hocket_times after = times_of(me->world);
        moved += after.inside_s - before.inside_s - (after.waited_s - before.waited_s);
    }
    CHECK_THAT(moved > 0, "80 MB have moved in %g s", moved);
}

static void moving_is_not_waiting(void **state)
{
    (void)state;
    over_each(2, moves_much, NULL);
}

/* === The relay ================================================================================ */

static hocket_status sleep_in_stage(void *context, int batch, const hocket_piece *in,
                                    hocket_piece *out)
{
    const struct member *me = context;
    (void)batch, (void)in;
    if (me->rank == 0)
        sleep_seconds(LATE_SECONDS);
    *out = (hocket_piece){calloc(10, 1), 10};
    return HOCKET_OK;
}

static void relays(struct member *me)
{
    enum { BATCHES = 20 };
    hocket_piece inputs[BATCHES] = {{NULL, 0}}, results[BATCHES];
    times_of(me->world);
    CHECK_OK(hocket_barrier(me->world));
    hocket_times before = times_of(me->world);
    double began = seconds_now();
    CHECK_OK(hocket_relay(me->world, sleep_in_stage, me, inputs, BATCHES, results));
    double took = seconds_now() - began;
    hocket_times after = times_of(me->world);
    double inside = after.inside_s - before.inside_s, waited = after.waited_s - before.waited_s;
    CHECK_INT(1, after.calls - before.calls);
    CHECK(after.bytes - before.bytes >= BATCHES * 10);
    if (me->rank == 0)
        CHECK_THAT(inside < took - BATCHES * LATE_SECONDS + 0.001,
                   "inside %g s of %g s: the stage's time is counted", inside, took);
    else
        CHECK_THAT(waited > LATE_SECONDS, "rank 1 has waited %g s of %g s", waited, took);
    for (int i = 0; i < BATCHES; i++)
        free(results[i].bytes);
}

static void a_stage_is_not_communication(void **state)
{
    (void)state;
    over_each(2, relays, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_and_bytes_are_counted_from_the_first_look_on),
        cmocka_unit_test(wrong_arguments_break_nothing),
        cmocka_unit_test(waiting_for_a_late_rank_is_told_apart),
        cmocka_unit_test(moving_is_not_waiting),
        cmocka_unit_test(a_stage_is_not_communication),
    };
    harness_clear_environment();
    return cmocka_run_group_tests_name("times", tests, NULL, NULL);
}
