#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/table.h"
#include "wire/socket.h"
#include "wire_help.h"
#include <cmocka.h>

/* === All is well ============================================================================== */

typedef struct seen { /* by one rank */
    uint64_t job;
    int wrong; /* blocks that are not what they must be */
    bool loopback, same_hosts;
} seen;

static int check_gather(hk_meeting *meeting, size_t bytes)
{
    int rank = hk_meeting_rank(meeting), world = hk_meeting_world_size(meeting), wrong = 0;
    unsigned char *mine = malloc(bytes + 1), *all = calloc((size_t)world, bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        mine[i] = (unsigned char)(rank * 31 + (int)i);
    if (hk_meeting_all_gather(meeting, mine, bytes, all) != HOCKET_OK)
        wrong++;
    for (int r = 0; r < world; r++)
        for (size_t i = 0; i < bytes; i++)
            wrong += all[(size_t)r * bytes + i] != (unsigned char)(r * 31 + (int)i);
    free(mine);
    free(all);
    return wrong;
}

static hocket_status meet_and_exchange(wire_rank *rank)
{
    seen *mine = (seen *)rank->context + rank->index;
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    int world = hk_meeting_world_size(meeting);
    mine->job = hk_meeting_job(meeting);
    mine->loopback = hk_address_is_loopback(hk_meeting_address(meeting)) &&
                     hk_address_port(hk_meeting_address(meeting)) == 0;
    const unsigned char *hosts = hk_meeting_hosts(meeting);
    mine->same_hosts = true;
    for (int r = 1; r < world; r++)
        mine->same_hosts =
            mine->same_hosts && memcmp(hosts, hosts + r * HK_HOST_ID_BYTES, HK_HOST_ID_BYTES) == 0;
    static const size_t sizes[] = {8, 0, 1, 1000, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        mine->wrong += check_gather(meeting, sizes[i]);
    char word[32] = "";
    if (rank->settings.rank == 0)
        strcpy(word, "from rank 0");
    status = hk_meeting_broadcast(meeting, word, sizeof word);
    mine->wrong += strcmp(word, "from rank 0") != 0;
    if (status == HOCKET_OK)
        status = hk_meeting_barrier(meeting);
    hk_meeting_close(meeting);
    return status;
}

static void check_world(const char *host, int world, const char *secret, bool insecure)
{
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[WIRE_RANKS_MAX];
    seen all[WIRE_RANKS_MAX] = {{0}};
    wire_free_port(host, where);
    wire_make_ranks(ranks, world, where, secret, WIRE_SECONDS, all);
    for (int i = 0; i < world; i++)
        ranks[i].settings.insecure = insecure;
    wire_run(ranks, world, meet_and_exchange);
    for (int i = 0; i < world; i++) {
        if (ranks[i].status != HOCKET_OK)
            fail_msg("rank %d of %d at %s: %s", i, world, where, ranks[i].error.text);
        assert_int_equal(all[i].wrong, 0);
        assert_true(all[i].job != 0 && all[i].job == all[0].job);
        assert_true(all[i].loopback);
        assert_true(all[i].same_hosts);
        assert_true(ranks[i].seconds < 5);
    }
}

static void ranks_meet_and_exchange(void **state)
{
    (void)state;
    static const int worlds[] = {1, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        check_world("127.0.0.1", worlds[i], WIRE_SECRET, false);
        check_world("[::1]", worlds[i], WIRE_SECRET, false);
    }
}

static void ranks_meet_without_a_secret_on_loopback(void **state)
{
    (void)state;
    check_world("127.0.0.1", 3, NULL, false);
    check_world("[::1]", 3, NULL, false);
}

static void ranks_meet_at_any_address_and_at_a_name(void **state)
{
    (void)state;
    check_world("0.0.0.0", 3, WIRE_SECRET, false);
    check_world("[::]", 3, WIRE_SECRET, false);
    check_world("localhost", 3, WIRE_SECRET, false);
    check_world("0.0.0.0", 2, NULL, true);
}

/* The host's own name may mean any of its addresses, so only the meeting itself is looked at. */
static void ranks_meet_at_the_name_of_the_host(void **state)
{
    (void)state;
    char name[HK_HOST_MAX] = "", where[HK_COORDINATOR_MAX];
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    assert_int_equal(gethostname(name, sizeof name - 1), 0);
    wire_free_port("127.0.0.1", where);
    char text[HK_COORDINATOR_MAX];
    snprintf(text, sizeof text, "%.200s%.20s", name, strrchr(where, ':'));
    if (hk_address_resolve(text, addresses, &count) != HOCKET_OK) {
        print_message("skipped: %s\n", hocket_last_error());
        skip();
    }
    wire_rank ranks[3];
    seen all[3] = {{0}};
    wire_make_ranks(ranks, 3, text, WIRE_SECRET, WIRE_SECONDS, all);
    wire_run(ranks, 3, meet_and_exchange);
    for (int i = 0; i < 3; i++) {
        if (ranks[i].status != HOCKET_OK)
            fail_msg("%s", ranks[i].error.text);
        assert_int_equal(all[i].wrong, 0);
    }
}

/* === Something is wrong ======================================================================= */

static hocket_status meet_only(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    hk_meeting_close(meeting);
    return status;
}

static void expect(const wire_rank *rank, hocket_status status, int culprit, const char *words)
{
    if (rank->status != status || strstr(rank->error.text, words) == NULL)
        fail_msg("rank %d: got %s, \"%s\"; expected %s and \"%s\"", rank->settings.rank,
                 hocket_status_name(rank->status), rank->error.text, hocket_status_name(status),
                 words);
    assert_int_equal(rank->error.rank_count > 0 ? rank->error.ranks[0] : -1, culprit);
}

static void missing_ranks_are_named_on_all(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[4];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 4, where, WIRE_SECRET, 1.5, NULL);
    ranks[1].deadline -= 200 * HK_MILLISECOND; /* rank 0's word is waited for */
    wire_run(ranks, 2, meet_only);
    for (int i = 0; i < 2; i++) {
        expect(&ranks[i], HOCKET_ERR_TIMEOUT, 2, "for ranks 2 and 3 of 4 to arrive");
        assert_non_null(strstr(ranks[i].error.text, where));
        assert_int_equal(ranks[i].error.rank_count, 2);
        assert_int_equal(ranks[i].error.ranks[1], 3);
        assert_true(ranks[i].seconds < 3);
    }
}

static void sleep_until(hk_time moment)
{
    while (hk_deadline_left(moment) > 0)
        usleep(1000);
}

/* Rank 0 comes too late itself, rank 1 has said in time what it had to, rank 2 does not. */
static hocket_status gather_late(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    char mine[8] = "", all[3 * sizeof mine];
    if (status != HOCKET_OK)
        return status;
    if (rank->settings.rank == 0)
        sleep_until(rank->deadline + 200 * HK_MILLISECOND);
    if (rank->settings.rank == 2)
        sleep_until(rank->deadline + HK_SECOND);
    else
        status = hk_meeting_all_gather(meeting, mine, sizeof mine, all);
    hk_meeting_close(meeting);
    return status;
}

static void a_late_rank_0_blames_who_is_missing_alone(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, 2, NULL);
    wire_run(ranks, 3, gather_late);
    for (int i = 0; i < 2; i++) {
        expect(&ranks[i], HOCKET_ERR_TIMEOUT, 2, "for rank 2 of 3 in the meeting");
        assert_int_equal(ranks[i].error.rank_count, 1);
    }
}

/* Rank 1 answers to the choice of a backend what is no status. */
static hocket_status say_nonsense(wire_rank *rank)
{
    char decision[HK_BACKEND_MAX + sizeof(uint64_t)];
    int32_t code = 1000, codes[2];
    hk_choices choices;
    hk_meeting *meeting;
    const hocket_transport *transport;
    void *self;
    strcpy(rank->settings.backend, "tcp");
    if (rank->settings.rank == 0)
        return hk_backend_open(&rank->settings, rank->deadline, &transport, &self, &choices);
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status == HOCKET_OK)
        status = hk_meeting_broadcast(meeting, decision, sizeof decision);
    if (status == HOCKET_OK)
        status = hk_meeting_all_gather(meeting, &code, sizeof code, codes);
    hk_meeting_close(meeting);
    return status;
}

static void a_status_that_is_none_is_told(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[2];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 2, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    wire_run(ranks, 2, say_nonsense);
    expect(&ranks[0], HOCKET_ERR_PROTOCOL, 1, "rank 1 says status 1000");
}

static void without_rank_0_the_others_say_so(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[2];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 2, where, WIRE_SECRET, 0.3, NULL);
    wire_run(ranks + 1, 1, meet_only);
    expect(&ranks[1], HOCKET_ERR_TIMEOUT, 0, "for rank 0 at ");
    assert_true(ranks[1].seconds < 3);
}

static hocket_status leave_or_gather(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    char mine[8] = "", all[4 * sizeof mine];
    const int *who = rank->context;
    if (status == HOCKET_OK && rank->settings.rank != *who)
        status = hk_meeting_all_gather(meeting, mine, sizeof mine, all);
    /* A broken meeting says the same again. */
    if (status != HOCKET_OK && hk_meeting_barrier(meeting) != status)
        status = HOCKET_ERR_BACKEND;
    hk_meeting_close(meeting);
    return status;
}

static void a_rank_that_leaves_is_named_on_all(void **state)
{
    (void)state;
    for (int who = 0; who < 4; who += 2) {
        char where[HK_COORDINATOR_MAX];
        wire_rank ranks[4];
        wire_free_port("127.0.0.1", where);
        wire_make_ranks(ranks, 4, where, WIRE_SECRET, WIRE_SECONDS, &who);
        wire_run(ranks, 4, leave_or_gather);
        for (int i = 0; i < 4; i++) {
            if (i == who)
                continue;
            expect(&ranks[i], HOCKET_ERR_PEER_LOST, who, "left during the meeting");
            assert_true(ranks[i].seconds < 2);
        }
    }
}

static void a_rank_that_dies_before_all_have_arrived_is_named(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    /* Rank 1 comes within its deadline and gives up a second later; rank 2 never comes. */
    ranks[1].deadline = hk_deadline_after(1);
    wire_run(ranks, 2, meet_only);
    expect(&ranks[0], HOCKET_ERR_PEER_LOST, 1, "left during the meeting");
    expect(&ranks[1], HOCKET_ERR_TIMEOUT, 0, "rank 0");
    assert_true(ranks[0].seconds < 3.5);
}

static void two_with_the_same_rank_are_an_error_on_all(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[4];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 4, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    ranks[3].settings.rank = 2;
    wire_run(ranks, 4, meet_only);
    for (int i = 0; i < 4; i++)
        expect(&ranks[i], HOCKET_ERR_MISMATCH, 2, "two processes say that they are rank 2");
}

static void another_world_size_is_an_error_on_all(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    ranks[2].settings.world_size = 5;
    wire_run(ranks, 3, meet_only);
    expect(&ranks[0], HOCKET_ERR_MISMATCH, 2, "says that there are 5 ranks");
    expect(&ranks[1], HOCKET_ERR_MISMATCH, 2, "says that there are 5 ranks");
    expect(&ranks[2], HOCKET_ERR_MISMATCH, 0, "says that there are 3 ranks");
}

static hocket_status meet_late(wire_rank *rank)
{
    if (rank->settings.rank == 1)
        usleep(50 * 1000); /* rank 0 tells who comes within half a second */
    return meet_only(rank);
}

static void a_late_rank_is_told_of_the_failure_too(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, 4, NULL);
    ranks[2].settings.world_size = 5;
    wire_run(ranks, 3, meet_late);
    for (int i = 0; i < 2; i++) {
        expect(&ranks[i], HOCKET_ERR_MISMATCH, 2, "says that there are 5 ranks");
        assert_true(ranks[i].seconds < 2);
    }
}

static void another_secret_is_not_let_in(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    static const char *const others[] = {"another secret of 16", NULL};
    for (int i = 0; i < 2; i++) {
        wire_rank ranks[3];
        wire_free_port("127.0.0.1", where);
        wire_make_ranks(ranks, 3, where, WIRE_SECRET, 0.6, NULL);
        wire_settings(&ranks[2].settings, 2, 3, where, others[i]);
        wire_run(ranks, 3, meet_only);
        const char *words = i == 0 ? "does not know this job's secret" : "has no secret";
        expect(&ranks[0], HOCKET_ERR_AUTH, 2, words);
        expect(&ranks[1], HOCKET_ERR_AUTH, 2, words);
        assert_non_null(strstr(ranks[0].error.text, "rank 2 at 127.0.0.1:"));
        expect(&ranks[2], HOCKET_ERR_AUTH, 0, "secret");
    }
}

static hocket_status gather_unequal(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    char mine[16] = "", all[3 * sizeof mine];
    if (status == HOCKET_OK)
        status = hk_meeting_all_gather(meeting, mine, rank->settings.rank == 1 ? 16 : 8, all);
    hk_meeting_close(meeting);
    return status;
}

static void disagreeing_ranks_are_told(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    wire_run(ranks, 3, gather_unequal);
    for (int i = 0; i < 3; i++)
        expect(&ranks[i], HOCKET_ERR_MISMATCH, 1, "all_gather of 16 bytes");
}

static void a_taken_port_is_an_error_of_rank_0(void **state)
{
    (void)state;
    hk_address addresses[HK_ADDRESSES_MAX], bound;
    int count, fd;
    assert_int_equal(hk_address_resolve("127.0.0.1:0", addresses, &count), HOCKET_OK);
    assert_int_equal(hk_socket_listen(&addresses[0], 0, 0, &fd, &bound), HOCKET_OK);
    char where[HK_ADDRESS_TEXT_MAX];
    hk_address_format(&bound, where);
    wire_rank ranks[2];
    wire_make_ranks(ranks, 2, where, WIRE_SECRET, 4, NULL);
    wire_run(ranks, 1, meet_only);
    hk_socket_close(fd);
    expect(&ranks[0], HOCKET_ERR_SYSTEM, -1, where);
    assert_true(ranks[0].seconds > 1 && ranks[0].seconds < 3.5);
}

static void bad_coordinators_are_invalid(void **state)
{
    (void)state;
    static const char *const wheres[] = {"", "nothing", "127.0.0.1:0", "::1:4711", "a:b"};
    for (size_t i = 0; i < sizeof wheres / sizeof wheres[0]; i++) {
        hk_settings settings;
        hk_meeting *meeting;
        wire_settings(&settings, 0, 2, wheres[i], WIRE_SECRET);
        assert_int_equal(hk_meeting_open(&settings, hk_deadline_after(1), &meeting),
                         HOCKET_ERR_INVALID);
        assert_null(meeting);
    }
}

static void without_a_secret_nobody_listens_beyond_loopback(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    hk_settings settings;
    hk_meeting *meeting;
    wire_free_port("0.0.0.0", where);
    for (int rank = 0; rank < 2; rank++) {
        wire_settings(&settings, rank, 2, where, NULL);
        assert_int_equal(hk_meeting_open(&settings, hk_deadline_after(5), &meeting),
                         HOCKET_ERR_AUTH);
        assert_non_null(strstr(hocket_last_error(), "HOCKET_SECRET"));
    }
}

/* === Strangers ================================================================================ */

typedef struct crowd {
    const char *where;
    int count, connected;
    seen all[WIRE_RANKS_MAX];
} crowd;

/* The last thread is the strangers': garbage, silence, half a hello, at once gone. */
static hocket_status meet_among_strangers(wire_rank *rank)
{
    crowd *people = rank->context;
    if (rank->index < 3) {
        if (rank->index == 2)
            usleep(300 * 1000); /* so that the strangers come while others wait */
        rank->context = people->all;
        return meet_and_exchange(rank);
    }
    int fds[512];
    char garbage[200];
    memset(garbage, 'x', sizeof garbage);
    for (int i = 0; i < people->count; i++) {
        fds[i] = wire_stranger(people->where);
        people->connected += fds[i] >= 0;
        size_t done;
        if (i % 4 == 1)
            hk_socket_send_some(fds[i], garbage, sizeof garbage, &done);
        else if (i % 4 == 2)
            hk_socket_send_some(fds[i], "hocket\r\n", 8, &done);
        else if (i % 4 == 3)
            hk_socket_close(fds[i]);
    }
    usleep(500 * 1000);
    for (int i = 0; i < people->count; i++)
        if (i % 4 != 3)
            hk_socket_close(fds[i]);
    return HOCKET_OK;
}

static void strangers_disturb_nobody(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[4];
    crowd people = {.where = where, .count = 200};
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 4, where, WIRE_SECRET, WIRE_SECONDS, &people);
    for (int i = 0; i < 3; i++)
        ranks[i].settings.world_size = 3;
    wire_run(ranks, 4, meet_among_strangers);
    for (int i = 0; i < 3; i++) {
        if (ranks[i].status != HOCKET_OK)
            fail_msg("rank %d: %s", i, ranks[i].error.text);
        assert_int_equal(people.all[i].wrong, 0);
        assert_true(ranks[i].seconds < 3);
    }
    assert_true(people.connected > 20); /* some come when the meeting is over */
}

typedef struct squat {
    const char *where;
    seen all[WIRE_RANKS_MAX];
} squat;

/* Thread 2 has the port first, answers with garbage, hangs up, and goes. */
static hocket_status squat_or_meet(wire_rank *rank)
{
    squat *one = rank->context;
    if (rank->index < 2) {
        if (rank->index == 0)
            usleep(900 * 1000);
        rank->context = one->all;
        return meet_and_exchange(rank);
    }
    hk_address addresses[HK_ADDRESSES_MAX], peer;
    int count, listener, fd;
    hk_address_resolve(one->where, addresses, &count);
    hocket_status status = hk_socket_listen(&addresses[0], 0, 0, &listener, NULL);
    if (status != HOCKET_OK)
        return status;
    hk_time until = hk_now() + 300 * HK_MILLISECOND;
    for (int i = 0; hk_now() < until; i++) {
        size_t done;
        char garbage[120] = "HTTP/1.1 400 Bad Request\r\n\r\n";
        if (hk_socket_accept(listener, &fd, &peer) == HOCKET_OK && fd >= 0) {
            if (i % 2 == 0)
                hk_socket_send_some(fd, garbage, sizeof garbage, &done);
            hk_socket_close(fd);
        }
        usleep(2000);
    }
    hk_socket_close(listener);
    return HOCKET_OK;
}

static void a_squatter_delays_but_does_not_break(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[3];
    squat one = {.where = where};
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 3, where, WIRE_SECRET, WIRE_SECONDS, &one);
    ranks[0].settings.world_size = ranks[1].settings.world_size = 2;
    wire_run(ranks, 3, squat_or_meet);
    for (int i = 0; i < 3; i++)
        if (ranks[i].status != HOCKET_OK)
            fail_msg("%d: %s", i, ranks[i].error.text);
    assert_int_equal(one.all[0].wrong + one.all[1].wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_meet_and_exchange),
        cmocka_unit_test(a_status_that_is_none_is_told),
        cmocka_unit_test(ranks_meet_without_a_secret_on_loopback),
        cmocka_unit_test(ranks_meet_at_any_address_and_at_a_name),
        cmocka_unit_test(ranks_meet_at_the_name_of_the_host),
        cmocka_unit_test(missing_ranks_are_named_on_all),
        cmocka_unit_test(a_late_rank_0_blames_who_is_missing_alone),
        cmocka_unit_test(without_rank_0_the_others_say_so),
        cmocka_unit_test(a_rank_that_leaves_is_named_on_all),
        cmocka_unit_test(a_rank_that_dies_before_all_have_arrived_is_named),
        cmocka_unit_test(two_with_the_same_rank_are_an_error_on_all),
        cmocka_unit_test(another_world_size_is_an_error_on_all),
        cmocka_unit_test(a_late_rank_is_told_of_the_failure_too),
        cmocka_unit_test(another_secret_is_not_let_in),
        cmocka_unit_test(disagreeing_ranks_are_told),
        cmocka_unit_test(a_taken_port_is_an_error_of_rank_0),
        cmocka_unit_test(bad_coordinators_are_invalid),
        cmocka_unit_test(without_a_secret_nobody_listens_beyond_loopback),
        cmocka_unit_test(strangers_disturb_nobody),
        cmocka_unit_test(a_squatter_delays_but_does_not_break),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
