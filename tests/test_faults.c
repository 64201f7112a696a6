/* What the others see when a rank dies, leaves without a word, freezes, is late, or calls something
 * else. Ranks are processes, so that they can be killed. Over tcp and inside hosts; `test_faults
 * uc`: over that variant of verbs_help.h. */
#include <signal.h>
#include <unistd.h>
#include "core/status.h"
#include "harness.h"
#include "verbs_help.h"

#define NOTICE_SECONDS 1.0 /* a death is known to all after this */
#define AT_ONCE_SECONDS                                                                            \
    0.9 /* for calls on a group known to be broken, and for leaving: no deadline is that short,    \
           and a busy machine may take a while */
#define LARGE_COUNT ((size_t)2 << 20)

static int right_of(const struct member *me)
{
    return (me->rank + 1) % me->size;
}

/* Slots of the numbers that ranks share. */
enum { DIED_AT = 0 };

/* === What ranks wait in ======================================================================= */

static hocket_status in_all_reduce(struct member *me, int victim)
{
    float data[100] = {0};
    (void)victim;
    return hocket_all_sum(me->world, data, 100);
}

static hocket_status in_barrier(struct member *me, int victim)
{
    (void)victim;
    return hocket_barrier(me->world);
}

static hocket_status in_receive_from_it(struct member *me, int victim)
{
    char byte;
    size_t length;
    return hocket_recv_into(me->world, victim, 1, &byte, 1, &length);
}

/* From a rank that lives and waits too: the news goes along the chain. */
static hocket_status in_receive_from_the_next(struct member *me, int victim)
{
    char byte;
    size_t length;
    (void)victim;
    return hocket_recv_into(me->world, right_of(me), 1, &byte, 1, &length);
}

static hocket_status in_probe_of_any(struct member *me, int victim)
{
    (void)victim;
    return hocket_probe(me->world, HOCKET_ANY_RANK, 1, NULL, NULL);
}

static hocket_status in_broadcast_from_it(struct member *me, int victim)
{
    int data[1000];
    return hocket_broadcast(me->world, data, 1000, HOCKET_INT32, victim);
}

static hocket_status in_request(struct member *me, int victim)
{
    float data[100] = {0};
    hocket_request *request = NULL;
    hocket_status status = hocket_all_sum_async(me->world, data, 100, &request);
    (void)victim;
    return request == NULL ? status : hocket_wait(request);
}

static const struct wait {
    const char *name;
    hocket_status (*call)(struct member *me, int victim);
} waits[] = {
    {"all_reduce", in_all_reduce},
    {"barrier", in_barrier},
    {"receive from it", in_receive_from_it},
    {"receive from the next rank", in_receive_from_the_next},
    {"probe of any rank", in_probe_of_any},
    {"broadcast from it", in_broadcast_from_it},
    {"request", in_request},
};

struct fault {
    int victim, how; /* a signal or HARNESS_BY_EXIT */
    const struct wait *wait;
    hocket_status expected;
    double notice_s; /* beyond it the survivors waited too long */
};

/* Each later call returns the same at once, and leaving does not linger. */
static void check_broken(struct member *me, hocket_status expected, int culprit)
{
    double begin = seconds_now();
    for (size_t i = 0; i < LENGTH(waits); i++) {
        harness_note("later %s", waits[i].name);
        CHECK_STATUS(expected, waits[i].call(me, culprit));
        CHECK_INT(culprit, hocket_last_error_rank());
    }
    CHECK_THAT(seconds_now() - begin < AT_ONCE_SECONDS * harness_slowness(),
               "%d calls on a broken group took %g s", (int)LENGTH(waits), seconds_now() - begin);
    begin = seconds_now();
    hocket_free(me->world);
    me->world = NULL;
    CHECK_THAT(seconds_now() - begin < AT_ONCE_SECONDS * harness_slowness(),
               "hocket_free took %g s", seconds_now() - begin);
}

static void survive(struct member *me, const struct fault *fault)
{
    hocket_status status = fault->wait->call(me, fault->victim);
    double noticed = seconds_now();
    char named[32];
    CHECK_STATUS(fault->expected, status);
    CHECK_THAT(hocket_last_error_rank() == fault->victim && hocket_last_error_ranks(NULL, 0) == 1,
               "not rank %d alone is named: %s", fault->victim, hocket_last_error());
    snprintf(named, sizeof(named), "rank %d", fault->victim);
    CHECK_HAS(hocket_last_error(), named);
    double took = noticed - me->shared[DIED_AT];
    CHECK_THAT(me->shared[DIED_AT] > 0 && took < fault->notice_s * harness_slowness(),
               "noticed after %g s", took);
    check_broken(me, fault->expected, fault->victim);
}

static void one_fails(struct member *me)
{
    const struct fault *fault = me->context;
    harness_note("rank %d ends by %d while others are in %s", fault->victim, fault->how,
                 fault->wait->name);
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    if (me->rank != fault->victim) {
        survive(me, fault);
        return;
    }
    sleep_seconds(0.1);
    me->shared[DIED_AT] = seconds_now();
    member_end_by(me, fault->how);
}

/* Over connections alone, and with memory inside hosts. */
static const struct harness_backend *carriers[] = {&harness_tcp, &harness_hosts};
static size_t carrier_count = LENGTH(carriers);

static void over_carriers(int size, member_body body)
{
    for (size_t i = 0; i < carrier_count; i++)
        PROCESSES(carriers[i], size, body, NULL);
}

static void run_fault(struct fault fault, int size, double timeout_s)
{
    for (size_t i = 0; i < carrier_count; i++)
        harness_run(&(struct harness_run){.backend = carriers[i],
                                          .size = size,
                                          .body = one_fails,
                                          .context = &fault,
                                          .processes = true,
                                          .timeout_s = timeout_s * harness_slowness()});
}

/* === Deaths =================================================================================== */

static void a_killed_rank_is_named_by_all(void **state)
{
    (void)state;
    const int victims[] = {0, 2, 3};
    for (size_t i = 0; i < LENGTH(waits); i++)
        for (size_t v = 0; v < LENGTH(victims); v++)
            run_fault((struct fault){.victim = victims[v],
                                     .how = SIGKILL,
                                     .wait = &waits[i],
                                     .expected = HOCKET_ERR_PEER_LOST,
                                     .notice_s = NOTICE_SECONDS},
                      4, 20);
}

static void a_rank_that_exits_without_free_is_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        run_fault((struct fault){.victim = 1,
                                 .how = HARNESS_BY_EXIT,
                                 .wait = &waits[i],
                                 .expected = HOCKET_ERR_PEER_LOST,
                                 .notice_s = NOTICE_SECONDS},
                  3, 20);
}

static void kill_me_soon(void *argument)
{
    struct member *me = argument;
    sleep_seconds(0.15);
    me->shared[DIED_AT] = seconds_now();
    member_end_by(me, SIGKILL);
}

/* Somewhere in the middle of large sums: nobody gets a wrong one. */
static void dies_within_large_sums(struct member *me)
{
    const int victim = 1;
    struct side side;
    float *data = malloc(LARGE_COUNT * sizeof(float));
    if (me->rank == victim)
        side_start(&side, kill_me_soon, me);
    hocket_status status = HOCKET_OK;
    while (status == HOCKET_OK) {
        for (size_t i = 0; i < LARGE_COUNT; i++)
            data[i] = 1;
        status = hocket_all_sum(me->world, data, LARGE_COUNT);
        for (size_t i = 0; status == HOCKET_OK && i < LARGE_COUNT; i += 97)
            CHECK_INT(me->size, data[i]);
    }
    double took = seconds_now() - me->shared[DIED_AT];
    CHECK_INT(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(victim, hocket_last_error_rank());
    CHECK_THAT(took < NOTICE_SECONDS * harness_slowness(), "noticed after %g s", took);
    free(data);
    check_broken(me, HOCKET_ERR_PEER_LOST, victim);
}

static void a_rank_killed_within_a_large_sum(void **state)
{
    (void)state;
    PROCESSES(carriers[0], 2, dies_within_large_sums, NULL);
    over_carriers(4, dies_within_large_sums);
}

/* What it had sent before is received whole, or the death is known first. */
static void sends_and_dies(struct member *me)
{
    const int victim = 0;
    const size_t length = 1000000;
    unsigned char *bytes = malloc(length);
    size_t received = 0;
    fill_bytes(bytes, length, 1);
    member_wait_for_all(me);
    if (me->rank == victim) {
        CHECK_OK(hocket_send_bytes(me->world, 1, 1, bytes, length));
        member_end_by(me, SIGKILL);
    }
    memset(bytes, 0, length);
    hocket_status status = hocket_recv_into(me->world, victim, 1, bytes, length, &received);
    if (status == HOCKET_OK) {
        CHECK_INT(length, received);
        CHECK_FILLED(bytes, length, 1);
        status = hocket_recv_into(me->world, victim, 1, bytes, length, &received);
    }
    CHECK_INT(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(victim, hocket_last_error_rank());
    free(bytes);
}

static void what_the_dead_have_sent_comes_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        PROCESSES(carriers[0], 2, sends_and_dies, NULL);
}

/* Odd ranks make a group; rank 0 dies; the odd ones go on. */
static void an_outsider_dies(struct member *me)
{
    hocket_group *odd = NULL;
    CHECK_OK(hocket_split(me->world, me->rank % 2 == 1 ? 1 : HOCKET_NO_COLOR, 0, &odd));
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    if (me->rank == 0)
        member_end_by(me, SIGKILL);
    for (int i = 0; odd != NULL && i < 20; i++) {
        float one = 1;
        sleep_seconds(0.01);
        CHECK_OK(hocket_all_sum(odd, &one, 1));
        CHECK_INT(2, one);
    }
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_barrier(me->world));
    CHECK_INT(0, hocket_last_error_rank());
    hocket_free(odd);
}

static void an_outsiders_death_does_not_break_a_subgroup(void **state)
{
    (void)state;
    over_carriers(4, an_outsider_dies);
}

/* === Late, frozen ============================================================================= */

static void comes_late(struct member *me)
{
    hocket_config config = member_config(me);
    if (me->rank == me->size - 1)
        sleep_seconds(0.5);
    CHECK_OK(hocket_init(&config, &me->world));
    float one = 1;
    if (me->rank == 0)
        sleep_seconds(0.5);
    CHECK_OK(hocket_all_sum(me->world, &one, 1));
    CHECK_INT(me->size, one);
}

static void a_late_rank_is_waited_for(void **state)
{
    (void)state;
    harness_run(&(struct harness_run){.backend = carriers[0],
                                      .size = 3,
                                      .body = comes_late,
                                      .processes = true,
                                      .without_world = true});
}

static void a_frozen_rank_is_a_timeout_that_names_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) /* of a collective: receives break nothing */
        run_fault((struct fault){.victim = 1,
                                 .how = SIGSTOP,
                                 .wait = &waits[i],
                                 .expected = HOCKET_ERR_TIMEOUT,
                                 .notice_s = 4},
                  4, 2);
}

enum { DEADLINES = 3 }; /* the machine may be late for one or two */
#define DEADLINE_S 0.6
#define LATE_S 0.2 /* less than the others get to answer in */

static void misses_its_deadlines(struct member *me)
{
    hocket_group *groups[DEADLINES];
    int right = 0; /* a rank that the machine stops may be named too */
    double best = DEADLINE_S + 100;
    for (int i = 0; i < DEADLINES; i++) {
        CHECK_OK(hocket_split(me->world, 0, 0, &groups[i]));
        CHECK_OK(hocket_set_timeout(groups[i], DEADLINE_S));
    }
    CHECK_OK(hocket_barrier(me->world));
    for (int i = 0; i < DEADLINES && me->rank != 1; i++) {
        double begin = seconds_now(), took;
        CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_barrier(groups[i]));
        took = seconds_now() - begin;
        CHECK(hk_error_names(hk_error_last(), 1));
        right += strstr(hocket_last_error(), "for rank 1; ranks 0 and 2 are in it") != NULL;
        best = took < best ? took : best;
    }
    CHECK_THAT(me->rank == 1 || right > 0, "the last says: %s", hocket_last_error());
    CHECK_THAT(me->rank == 1 || best < DEADLINE_S + LATE_S, "it took %g s", best);
    if (me->rank == 1)
        sleep_seconds(DEADLINES * DEADLINE_S + 1);
    for (int i = 0; i < DEADLINES; i++)
        hocket_free(groups[i]);
}

static void a_deadline_is_kept(void **state)
{
    (void)state;
    PROCESSES(carriers[0], 3, misses_its_deadlines, NULL);
    if (carrier_count > 1)
        PROCESSES(&harness_shm, 3, misses_its_deadlines, NULL);
}

/* A rank that dies while ranks meet must not leave the others waiting for all of their time. */
static void dies_in_init(struct member *me)
{
    hocket_config config = member_config(me);
    if (me->rank == 1)
        member_end_by(me, HARNESS_BY_EXIT);
    config.init_timeout_s = 1.0 * harness_slowness();
    double begin = seconds_now();
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_init(&config, &me->world));
    CHECK(me->world == NULL);
    CHECK(seconds_now() - begin < 3 * harness_slowness());
}

static void init_gives_up_on_a_rank_that_never_comes(void **state)
{
    (void)state;
    harness_run(&(struct harness_run){.backend = carriers[0],
                                      .size = 3,
                                      .body = dies_in_init,
                                      .processes = true,
                                      .without_world = true});
}

/* === Disagreement ============================================================================= */

struct call {
    enum { ALL_REDUCE, BROADCAST, GATHER, BARRIER, ALL_GATHER, GATHER_V, PERMUTE } operation;
    size_t count;
    hocket_dtype dtype;
    hocket_reduce reduce;
    int root; /* of a permutation, how far it turns */
};

/* Rank 0's part is the longer one, or the shorter one. */
static hocket_status gather_uneven(hocket_group *group, const struct call *call, const void *send,
                                   void *recv)
{
    size_t counts[HARNESS_RANKS_MAX] = {call->count};
    for (int i = 1; i < hocket_world_size(group); i++)
        counts[i] = 5;
    return hocket_all_gather_v(group, send, recv, counts, call->dtype);
}

static hocket_status turn(hocket_group *group, const struct call *call, const void *send,
                          void *recv)
{
    int to[HARNESS_RANKS_MAX], n = hocket_world_size(group);
    for (int i = 0; i < n; i++)
        to[i] = (i + call->root) % n;
    return hocket_permute(group, send, recv, call->count, call->dtype, to);
}

static hocket_status make_call(hocket_group *group, const struct call *call)
{
    static _Thread_local char send[1 << 16], recv[1 << 18];
    switch (call->operation) {
    case ALL_REDUCE:
        return hocket_all_reduce(group, send, recv, call->count, call->dtype, call->reduce);
    case BROADCAST: return hocket_broadcast(group, recv, call->count, call->dtype, call->root);
    case GATHER: return hocket_gather(group, send, recv, call->count, call->dtype, call->root);
    case ALL_GATHER: return hocket_all_gather(group, send, recv, call->count, call->dtype);
    case GATHER_V: return gather_uneven(group, call, send, recv);
    case PERMUTE: return turn(group, call, send, recv);
    default: return hocket_barrier(group);
    }
}

/* One rank, the last, calls the second where the others call the first. */
static const struct disagreement {
    const char *about;
    struct call first, second;
} disagreements[] = {
    {"operation", {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0}, {.operation = BARRIER}},
    {"operation of the same shape",
     {ALL_GATHER, 10, HOCKET_FLOAT32, 0, 0},
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0}},
    {"count",
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0},
     {ALL_REDUCE, 11, HOCKET_FLOAT32, HOCKET_SUM, 0}},
    {"count by far",
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0},
     {ALL_REDUCE, 16000, HOCKET_FLOAT32, HOCKET_SUM, 0}},
    {"count of none",
     {ALL_GATHER, 0, HOCKET_FLOAT32, HOCKET_SUM, 0},
     {ALL_GATHER, 3, HOCKET_FLOAT32, HOCKET_SUM, 0}},
    {"dtype",
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0},
     {ALL_REDUCE, 10, HOCKET_INT32, HOCKET_SUM, 0}},
    {"reduction",
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_SUM, 0},
     {ALL_REDUCE, 10, HOCKET_FLOAT32, HOCKET_MAX, 0}},
    {"root", {BROADCAST, 10, HOCKET_FLOAT32, 0, 0}, {BROADCAST, 10, HOCKET_FLOAT32, 0, 1}},
    {"root of a gather", {GATHER, 10, HOCKET_FLOAT32, 0, 0}, {GATHER, 10, HOCKET_FLOAT32, 0, 1}},
    {"counts of a gather",
     {GATHER_V, 5, HOCKET_FLOAT32, 0, 0},
     {GATHER_V, 6, HOCKET_FLOAT32, 0, 0}},
    {"targets", {PERMUTE, 10, HOCKET_FLOAT32, 0, 0}, {PERMUTE, 10, HOCKET_FLOAT32, 0, 1}},
};

/* "...: rank 1 gather #2 (float32, 10 elements, root 0), rank 0 gather #2 (...)": it must show what
 * differs. */
static void check_says_who_called_what(void)
{
    int one, other, at = 0, then = 0;
    const char *text = strstr(hocket_last_error(), "different things: ");
    CHECK(text != NULL && sscanf(text, "different things: rank %d %n", &one, &at) == 1);
    const char *first = text + at, *second = strstr(first, ", rank ");
    CHECK(second != NULL && sscanf(second, ", rank %d %n", &other, &then) == 1 && one != other);
    size_t length = (size_t)(second - first);
    CHECK_THAT(strlen(second + then) != length || memcmp(first, second + then, length) != 0,
               "both called %s", second + then);
}

/* The mismatch comes in that call or in the next one. */
static void disagree(struct member *me)
{
    const struct disagreement *its = me->context;
    const struct call barrier = {.operation = BARRIER};
    harness_note("%s", its->about);
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    double begin = seconds_now();
    hocket_status status =
        make_call(me->world, me->rank == me->size - 1 ? &its->second : &its->first);
    if (status == HOCKET_OK)
        status = make_call(me->world, &barrier);
    CHECK_THAT(status == HOCKET_ERR_MISMATCH, "%s (%s)", hocket_status_name(status),
               status == HOCKET_OK ? "" : hocket_last_error());
    CHECK_THAT(seconds_now() - begin < 5 * harness_slowness(), "it took %g s",
               seconds_now() - begin);
    CHECK(hocket_last_error_ranks(NULL, 0) > 0);
    check_says_who_called_what();
    CHECK_STATUS(HOCKET_ERR_MISMATCH, hocket_barrier(me->world));
}

static void ranks_that_disagree_are_told(void **state)
{
    (void)state;
    if (carrier_count == 1) {
        for (size_t i = 0; i < LENGTH(disagreements); i++)
            RANKS(carriers[0], 3, disagree, (void *)&disagreements[i]);
        return;
    }
    for (int b = 0; harness_backends[b] != NULL; b++)
        for (size_t i = 0; i < LENGTH(disagreements); i++)
            for (int size = 2; size <= 4; size += 2)
                RANKS(harness_backends[b], size, disagree, (void *)&disagreements[i]);
    for (size_t i = 0; i < LENGTH(disagreements); i++)
        PROCESSES(&harness_hosts, 4, disagree, (void *)&disagreements[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_rank_is_named_by_all),
        cmocka_unit_test(a_rank_that_exits_without_free_is_lost),
        cmocka_unit_test(a_rank_killed_within_a_large_sum),
        cmocka_unit_test(what_the_dead_have_sent_comes_whole_or_not_at_all),
        cmocka_unit_test(an_outsiders_death_does_not_break_a_subgroup),
        cmocka_unit_test(a_late_rank_is_waited_for),
        cmocka_unit_test(a_frozen_rank_is_a_timeout_that_names_it),
        cmocka_unit_test(a_deadline_is_kept),
        cmocka_unit_test(init_gives_up_on_a_rank_that_never_comes),
        cmocka_unit_test(ranks_that_disagree_are_told),
    };
    harness_clear_environment();
    harness_placement = "AABAB";
    if (argc > 1) {
        carriers[0] = verbs_variant(argv[1]);
        carrier_count = 1;
    }
    if (carriers[0] == NULL) {
        fprintf(stderr, "there is no variant %s\n", argv[1]);
        return 1;
    }
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
