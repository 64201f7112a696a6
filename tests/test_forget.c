/* Groups that come and go leave nothing behind, not even what nobody has read in them. First of all
 * tests of its program, since it looks at how much memory the process has ever had. */
#include "group/group.h"
#include "harness.h"
#include "transport/state.h"
#include <sys/resource.h>

/* What all messages take together if none is freed, and what may be there at a time: sanitizers
 * keep freed memory for a while. */
#define GROUPS 1000
#define MESSAGE_BYTES ((size_t)256 << 10)
#define LEFT_BEHIND_BYTES ((size_t)2 * 2 * GROUPS * MESSAGE_BYTES)
#define BOUND_BYTES (LEFT_BEHIND_BYTES / 2)

static size_t most_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (size_t)usage.ru_maxrss;
#else
    return (size_t)usage.ru_maxrss * 1024;
#endif
}

static int entries(const hk_window *window)
{
    int count = 0;
    for (int i = 0; i < HK_WINDOW_BUCKETS; i++)
        count += window->buckets[i] != NULL;
    return count;
}

static bool is_waiting_for_members(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    hk_endpoint_turn(endpoint, HK_MILLISECOND);
    bool waiting = endpoint->formers != NULL;
    hk_endpoint_unlock(endpoint);
    return waiting;
}

static void come_and_go(struct member *me)
{
    hk_endpoint *endpoint = me->world->comm->endpoint;
    char *bytes = calloc(1, MESSAGE_BYTES);
    CHECK(bytes != NULL);
    size_t before = most_memory();
    for (int i = 0; i < GROUPS; i++) {
        hocket_group *group;
        CHECK_OK(hocket_split(me->world, 0, me->rank, &group));
        CHECK_OK(hocket_send_bytes(group, me->rank, 1, bytes, MESSAGE_BYTES));
        hocket_status status = hocket_send_bytes(group, 1 - me->rank, 1, bytes, MESSAGE_BYTES);
        CHECK(status == HOCKET_OK || status == HOCKET_ERR_PEER_LOST); /* it has left before */
        hocket_free(group);
    }
    CHECK_OK(hocket_barrier(me->world));
    size_t grown = most_memory() - before;
    CHECK_THAT(grown < BOUND_BYTES, "%d groups have left %zu MiB", GROUPS, grown >> 20);
    double start = seconds_now();
    while (is_waiting_for_members(endpoint))
        CHECK_THAT(seconds_now() - start < 20, "the other has left all groups unheard");
    CHECK_INT(0, endpoint->early_count);
    CHECK_INT(0, entries(&endpoint->unread));
    CHECK_OK(hocket_barrier(me->world));
    free(bytes);
}

static void groups_that_come_and_go_leave_no_memory(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 2, come_and_go, NULL);
}

/* Rank 1 leaves at once; rank 0 hears of it and stays for a while. */
static void one_stays(struct member *me)
{
    hk_endpoint *endpoint = me->world->comm->endpoint;
    hocket_group *group;
    CHECK_OK(hocket_split(me->world, 0, me->rank, &group));
    if (me->rank == 1)
        hocket_free(group);
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0) {
        double start = seconds_now();
        hocket_status status = HOCKET_OK;
        while ((status = hocket_send_bytes(group, 1, 1, "late", 4)) == HOCKET_OK)
            CHECK_THAT(seconds_now() - start < 20, "it sends to who has left");
        CHECK_INT(HOCKET_ERR_PEER_LOST, status);
        CHECK_INT(1, hocket_last_error_rank());
        CHECK_HAS(hocket_last_error(), "has left the group");
        CHECK_OK(hocket_send_bytes(group, 0, 1, "to myself", 9));
    } else {
        CHECK(is_waiting_for_members(endpoint));
    }
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0)
        hocket_free(group);
    double start = seconds_now();
    while (is_waiting_for_members(endpoint))
        CHECK_THAT(seconds_now() - start < 20, "rank 0 has left unheard");
    CHECK_OK(hocket_barrier(me->world));
}

static void late_messages_go_with_the_last_member(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 2, one_stays, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_that_come_and_go_leave_no_memory),
        cmocka_unit_test(late_messages_go_with_the_last_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
