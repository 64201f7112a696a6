/* Agreeing on who is left with members that say something once and then no more. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "transport/local.h"
#include "transport/state.h"

enum { RANKS = 3 };

#define SECONDS_AT_MOST 5.0

typedef struct rank {
    int rank;
    const hocket_transport *transport;
    void *self;
    hocket_status status;
    hk_endpoint *endpoint;
    hk_comm *comm;
} rank;

static void *open_transport(void *argument)
{
    rank *r = argument;
    r->status = hk_local_open("test_shrink", r->rank, RANKS, hk_deadline_after(10), &r->transport,
                              &r->self);
    return NULL;
}

static void open_world(rank *ranks)
{
    static const int members[RANKS] = {0, 1, 2};
    pthread_t threads[RANKS];
    memset(ranks, 0, RANKS * sizeof *ranks);
    for (int i = 0; i < RANKS; i++) {
        ranks[i].rank = i;
        assert_int_equal(pthread_create(&threads[i], NULL, open_transport, &ranks[i]), 0);
    }
    for (int i = 0; i < RANKS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RANKS; i++) {
        rank *r = &ranks[i];
        assert_int_equal(r->status, HOCKET_OK);
        assert_int_equal(hk_endpoint_open(r->transport, r->self, &r->endpoint), HOCKET_OK);
        assert_int_equal(hk_comm_open(r->endpoint, HK_CONTEXT_WORLD, members, RANKS, &r->comm),
                         HOCKET_OK);
    }
}

/* Rank 1 never speaks; rank 2 says that all are there, and then no more. */
static void who_stops_speaking_is_out(void **state)
{
    (void)state;
    rank ranks[RANKS];
    bool out[RANKS];
    open_world(ranks);
    hk_endpoint_lock(ranks[2].endpoint);
    hk_news_shrink(ranks[2].comm, NULL, 0, false);
    hk_endpoint_unlock(ranks[2].endpoint);
    hk_time start = hk_now();
    assert_int_equal(hk_comm_shrink(ranks[0].comm, hk_now() + 50 * HK_MILLISECOND, out), HOCKET_OK);
    assert_true(hk_to_seconds(hk_now() - start) < SECONDS_AT_MOST);
    assert_false(out[0]);
    assert_true(out[1] && out[2]);
    /* When it wakes up, it is told. */
    assert_int_equal(hk_comm_shrink(ranks[2].comm, hk_now() + 50 * HK_MILLISECOND, out),
                     HOCKET_ERR_PEER_LOST);
    for (int i = 0; i < RANKS; i++)
        hk_comm_close(ranks[i].comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(who_stops_speaking_is_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
