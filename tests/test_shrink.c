/* Agreeing on who is left: with members that say something once and then no more, and in groups
 * of hundreds. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "transport/local.h"
#include "transport/state.h"

enum { RANKS_MAX = HK_ERROR_RANKS_MAX + 14 };

#define SECONDS_AT_MOST 5.0

typedef struct rank {
    int rank, size;
    const hocket_transport *transport;
    void *self;
    hocket_status status;
    hk_endpoint *endpoint;
    hk_comm *comm;
    bool out[RANKS_MAX];
} rank;

static rank ranks[RANKS_MAX];

static void *open_transport(void *argument)
{
    rank *r = argument;
    r->status = hk_local_open("test_shrink", r->rank, r->size, hk_deadline_after(30), &r->transport,
                              &r->self);
    return NULL;
}

static void open_world(int size)
{
    static int members[RANKS_MAX];
    pthread_t threads[RANKS_MAX];
    memset(ranks, 0, sizeof ranks);
    for (int i = 0; i < size; i++) {
        members[i] = i;
        ranks[i].rank = i;
        ranks[i].size = size;
        assert_int_equal(pthread_create(&threads[i], NULL, open_transport, &ranks[i]), 0);
    }
    for (int i = 0; i < size; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < size; i++) {
        rank *r = &ranks[i];
        assert_int_equal(r->status, HOCKET_OK);
        assert_int_equal(hk_endpoint_open(r->transport, r->self, &r->endpoint), HOCKET_OK);
        assert_int_equal(hk_comm_open(r->endpoint, HK_CONTEXT_WORLD, members, size, &r->comm),
                         HOCKET_OK);
    }
}

/* Rank 1 never speaks; rank 2 says that all are there, and then no more. */
static void who_stops_speaking_is_out(void **state)
{
    (void)state;
    bool out[3];
    open_world(3);
    hk_endpoint_lock(ranks[2].endpoint);
    hk_news_shrink(ranks[2].comm, (bool[3]){false}, false);
    hk_endpoint_unlock(ranks[2].endpoint);
    hk_time start = hk_now();
    assert_int_equal(hk_comm_shrink(ranks[0].comm, hk_now() + 50 * HK_MILLISECOND, out), HOCKET_OK);
    assert_true(hk_to_seconds(hk_now() - start) < SECONDS_AT_MOST);
    assert_false(out[0]);
    assert_true(out[1] && out[2]);
    /* When it wakes up, it is told. */
    assert_int_equal(hk_comm_shrink(ranks[2].comm, hk_now() + 50 * HK_MILLISECOND, out),
                     HOCKET_ERR_PEER_LOST);
    for (int i = 0; i < 3; i++)
        hk_comm_close(ranks[i].comm);
}

static void *shrink(void *argument)
{
    rank *r = argument;
    r->status = hk_comm_shrink(r->comm, hk_now() + 30 * HK_SECOND, r->out);
    return NULL;
}

/* More are out than an error lists. */
static void the_last_of_hundreds_find_each_other(void **state)
{
    (void)state;
    rank *pair[2] = {&ranks[0], &ranks[RANKS_MAX - 1]};
    pthread_t threads[2];
    open_world(RANKS_MAX);
    hk_error error;
    hk_error_set(&error, HOCKET_ERR_ABORTED, "a test");
    hk_comm_break(pair[0]->comm, &error);
    for (int i = 1; i < RANKS_MAX - 1; i++)
        hk_comm_close(ranks[i].comm);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shrink, pair[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair[i]->status, HOCKET_OK);
        for (int k = 0; k < RANKS_MAX; k++)
            assert_int_equal(pair[i]->out[k], k > 0 && k < RANKS_MAX - 1);
    }
    for (int i = 0; i < 2; i++)
        hk_comm_close(pair[i]->comm);
}

/* A sentence has no room for all their numbers. */
static void many_that_are_missing_are_counted(void **state)
{
    (void)state;
    enum { MANY = 60 };
    open_world(MANY);
    hk_what what = {.kind = hk_kind(HK_BARRIER, -1, -1, -1), .number = 1};
    hk_time now = hk_now();
    hk_call call;
    char byte;
    hocket_status status = hk_call_begin(&call, ranks[0].comm, &what, 0, now, now + HK_MILLISECOND);
    assert_int_equal(status, HOCKET_OK);
    status = hk_recv(&call, 1, &byte, 1);
    assert_int_equal(hk_call_end(&call, status), HOCKET_ERR_TIMEOUT);
    assert_non_null(strstr(hocket_last_error(), " for ranks 1, 2, 3, "));
    assert_non_null(strstr(hocket_last_error(), ", 15, 16 and 43 more; rank 0 is in it"));
    assert_int_equal(hocket_last_error_ranks(NULL, 0), MANY - 1);
    for (int i = 0; i < MANY; i++)
        hk_comm_close(ranks[i].comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_stops_speaking_is_out),
        cmocka_unit_test(the_last_of_hundreds_find_each_other),
        cmocka_unit_test(many_that_are_missing_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
