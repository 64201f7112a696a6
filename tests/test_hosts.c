/* Groups that span hosts: which of them are composed of parts, and that faults in a part are the
 * group's. test_oracle has the values, test_faults the deaths and disagreements, hosts.sh the bytes
 * on a wire. HOCKET_HOST makes the hosts. */
#include "group/group.h"
#include "harness.h"
#include <signal.h>

#define COUNT ((size_t)100003)

static void on_hosts(const char *placement, member_body body, double timeout_s)
{
    harness_placement = placement;
    harness_run(&(struct harness_run){.backend = &harness_hosts,
                                      .size = (int)strlen(placement),
                                      .body = body,
                                      .processes = true,
                                      .timeout_s = timeout_s * harness_slowness()});
}

static bool is_native(const hocket_group *group)
{
    return group->team.native != NULL && group->team.hosts == NULL;
}

static bool has_parts(const hocket_group *group)
{
    return group->team.hosts != NULL && group->team.native == NULL;
}

/* Adds up and checks. */
static void add(hocket_group *group, size_t count)
{
    float *data = malloc(count * sizeof *data);
    const int rank = hocket_rank(group), n = hocket_world_size(group);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(rank + (int)(i % 5));
    CHECK_OK(hocket_all_sum(group, data, count));
    for (size_t i = 0; i < count; i++)
        CHECK_THAT(data[i] == (float)(n * (n - 1) / 2 + n * (int)(i % 5)), "element %zu", i);
    free(data);
}

/* === Groups =================================================================================== */

static void split(struct member *me)
{
    const char here = harness_placement[me->rank];
    hocket_group *same, *across, *back;
    CHECK(has_parts(me->world));
    CHECK_OK(hocket_split(me->world, here, me->rank, &same));
    CHECK(is_native(same));
    CHECK_OK(hocket_split(me->world, me->rank / 2, 0, &across)); /* one rank a host */
    CHECK(!is_native(across) && !has_parts(across));
    CHECK_OK(hocket_split(me->world, 0, -me->rank, &back)); /* all, backwards */
    CHECK(has_parts(back));
    CHECK_INT(me->size - 1 - me->rank, hocket_rank(back));
    for (size_t count = 1; count <= COUNT; count = count * 17 + 1) {
        add(same, count);
        add(across, count);
        add(back, count);
    }
    hocket_free(me->world); /* before its children */
    me->world = NULL;
    add(back, COUNT);
    hocket_free(same);
    hocket_free(across);
    hocket_free(back);
}

static void subgroups_have_parts_where_they_span_hosts(void **state)
{
    (void)state;
    on_hosts("ABABAB", split, 20);
}

static void look_at_parts(struct member *me)
{
    CHECK(has_parts(me->world));
    CHECK_OK(hocket_barrier(me->world));
    add(me->world, COUNT);
}

static void look_for_none(struct member *me)
{
    CHECK(is_native(me->world));
    add(me->world, COUNT);
}

static void the_world_has_parts_when_hosts_are_shared(void **state)
{
    (void)state;
    on_hosts("AAB", look_at_parts, 20);
    on_hosts("ABCB", look_at_parts, 20);
    on_hosts("AAA", look_for_none, 20);
}

static void no_host_is_shared(struct member *me)
{
    const char name[] = {(char)('a' + me->rank), '\0'};
    setenv("HOCKET_HOST", name, 1);
    hocket_config config = member_config(me);
    config.backend = "any";
    CHECK_OK(hocket_init(&config, &me->world));
    CHECK_TEXT("tcp", hocket_backend(me->world));
    add(me->world, COUNT);
    hocket_free(me->world);
    config.backend = "shm";
    CHECK_STATUS(HOCKET_ERR_UNAVAILABLE, hocket_init(&config, &me->world));
    CHECK_HAS(hocket_last_error(), "no two ranks share a host");
}

static void ranks_that_share_no_host_take_tcp(void **state)
{
    (void)state;
    harness_run(&(struct harness_run){.backend = &harness_hosts,
                                      .size = 2,
                                      .body = no_host_is_shared,
                                      .processes = true,
                                      .without_world = true});
}

/* === Calls ==================================================================================== */

static void requests(struct member *me)
{
    enum { REQUESTS = 8, EACH = 5000 };
    hocket_request *request[REQUESTS];
    float *data = malloc(REQUESTS * EACH * sizeof *data);
    for (int i = 0; i < REQUESTS; i++) {
        for (int j = 0; j < EACH; j++)
            data[i * EACH + j] = (float)(me->rank + i);
        CHECK_OK(hocket_all_sum_async(me->world, data + i * EACH, EACH, &request[i]));
    }
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_OK(hocket_wait(request[i]));
        float sum = (float)(me->size * (me->size - 1) / 2 + me->size * i);
        for (int j = 0; j < EACH; j++)
            CHECK(data[i * EACH + j] == sum);
    }
    free(data);
}

static void requests_run_in_order(void **state)
{
    (void)state;
    on_hosts("ABBA", requests, 20);
}

/* The memory of hocket_alloc is the host's team's. */
static void allocate(struct member *me)
{
    void *memory;
    CHECK_OK(hocket_alloc(me->world, COUNT * sizeof(float), &memory));
    float *data = memory;
    for (int i = 0; i < 3; i++) {
        for (size_t j = 0; j < COUNT; j++)
            data[j] = (float)me->rank;
        CHECK_OK(hocket_all_sum(me->world, data, COUNT));
        for (size_t j = 0; j < COUNT; j++)
            CHECK(data[j] == (float)(me->size * (me->size - 1) / 2));
    }
    hocket_dealloc(me->world, memory);
}

static void allocated_memory_is_added_up(void **state)
{
    (void)state;
    on_hosts("AABB", allocate, 20);
}

/* === Faults =================================================================================== */

static void check_named(int culprit, const char *words)
{
    CHECK_INT(1, hocket_last_error_ranks(NULL, 0));
    CHECK_INT(culprit, hocket_last_error_rank());
    CHECK_HAS(hocket_last_error(), words);
    CHECK_HAS(hocket_last_error(), "all_reduce #1");
}

static void abort_elsewhere(struct member *me)
{
    float data[100] = {0};
    if (me->rank == 3) {
        sleep_seconds(0.2);
        CHECK_OK(hocket_abort(me->world, "enough"));
        return;
    }
    CHECK_STATUS(HOCKET_ERR_ABORTED, hocket_all_sum(me->world, data, 100));
    check_named(3, "rank 3 called hocket_abort: enough");
}

static void leave_early(struct member *me)
{
    float data[100] = {0};
    if (me->rank == 3)
        return; /* frees the world */
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_all_sum(me->world, data, 100));
    check_named(3, "rank 3 has left the group");
}

/* It answers nothing, so all find out by their deadlines. */
static void come_late(struct member *me)
{
    float data[100] = {0};
    if (me->rank == 3) {
        sleep_seconds(3 * harness_slowness());
        return;
    }
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_all_sum(me->world, data, 100));
    /* A machine so busy that another rank's answer comes too late has that one named as well. */
    CHECK_THAT(hk_error_names(hk_error_last(), 3), "rank 3 is not named: %s", hocket_last_error());
    CHECK_HAS(hocket_last_error(), "all_reduce #1");
}

static void the_culprit_is_named_in_the_groups_numbers(void **state)
{
    (void)state;
    const char *const placements[] = {"AABB", "ABAB", "AAAB"};
    for (size_t i = 0; i < LENGTH(placements); i++) {
        on_hosts(placements[i], abort_elsewhere, 20);
        on_hosts(placements[i], leave_early, 20);
        on_hosts(placements[i], come_late, 1);
    }
}

/* Rank 2 is first on its host: what is left of the world has other lanes. */
static void die_and_go_on(struct member *me)
{
    add(me->world, COUNT);
    member_wait_for_all(me);
    if (me->rank == 2)
        member_end_by(me, SIGKILL);
    float *data = calloc(COUNT, sizeof *data);
    hocket_status status = HOCKET_OK;
    while (status == HOCKET_OK)
        status = hocket_all_sum(me->world, data, COUNT);
    free(data);
    CHECK_INT(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(2, hocket_last_error_rank());
    hocket_group *left;
    CHECK_OK(hocket_shrink(me->world, &left));
    CHECK_INT(me->size - 1, hocket_world_size(left));
    CHECK(has_parts(left));
    add(left, COUNT);
    hocket_free(left);
}

static void survivors_have_parts_again(void **state)
{
    (void)state;
    on_hosts("AABBB", die_and_go_on, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_world_has_parts_when_hosts_are_shared),
        cmocka_unit_test(subgroups_have_parts_where_they_span_hosts),
        cmocka_unit_test(ranks_that_share_no_host_take_tcp),
        cmocka_unit_test(requests_run_in_order),
        cmocka_unit_test(allocated_memory_is_added_up),
        cmocka_unit_test(the_culprit_is_named_in_the_groups_numbers),
        cmocka_unit_test(survivors_have_parts_again),
    };
    harness_clear_environment();
    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
