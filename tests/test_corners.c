/* What seldom happens: transports that fail without a word, members that leave in the middle,
 * claims that come to nothing. */
#include "group/group.h"
#include "harness.h"
#include "transport/segment.h"
#include "transport/state.h"
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static hocket_status open_shm(struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    return hocket_init(&config, world);
}

static const struct harness_backend shm = {.name = "shm", .open = open_shm};

/* === Members that leave ======================================================================= */

static void one_leaves_a_subgroup(struct member *me)
{
    hocket_group *all;
    CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
    if (me->rank == 1) {
        hocket_free(all);
        CHECK_OK(hocket_barrier(me->world)); /* until the other has seen it */
        return;
    }
    float data[4] = {0};
    double start = seconds_now();
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_all_sum(all, data, 4));
    CHECK_INT(1, hocket_last_error_rank());
    CHECK_HAS(hocket_last_error(), "left the group");
    CHECK_THAT(seconds_now() - start < 5, "it took %g s", seconds_now() - start);
    hocket_free(all);
    CHECK_OK(hocket_barrier(me->world));
}

static void who_leaves_does_not_keep_the_others_waiting(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 2, one_leaves_a_subgroup, NULL);
    RANKS(&shm, 2, one_leaves_a_subgroup, NULL);
}

/* Rank 0 waits for rank 1 alone, which is not late: it has not begun, nor need it. */
static void wait_for_another(struct member *me)
{
    hocket_group *all;
    int number = 7;
    CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
    if (me->rank == 0) {
        double start = seconds_now();
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_scatter(all, NULL, &number, 1, HOCKET_INT32, 1));
        CHECK_INT(2, hocket_last_error_rank());
        CHECK_HAS(hocket_last_error(), "rank 2 has left the group");
        CHECK_THAT(seconds_now() - start < 5, "it took %g s", seconds_now() - start);
    }
    if (me->rank == 2)
        hocket_free(all);
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank != 2)
        hocket_free(all);
}

static void who_waits_for_another_sees_who_has_left(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 3, wait_for_another, NULL);
    RANKS(&shm, 3, wait_for_another, NULL);
}

static void look_until(hk_comm *comm, const bool *flag, const uint64_t *count)
{
    bool seen = false;
    for (double start = seconds_now(); !seen;) {
        CHECK_OK(hk_comm_check(comm));
        CHECK_THAT(seconds_now() - start < 10, "it took %g s", seconds_now() - start);
        hk_endpoint_lock(comm->endpoint);
        hk_endpoint_turn(comm->endpoint, HK_MILLISECOND);
        seen = flag != NULL ? *flag : *count != 0;
        hk_endpoint_unlock(comm->endpoint);
    }
}

/* Rank 0 knows that rank 2 has left and goes its own way; rank 1 does not know it yet and asks. */
static void ask_who_knows_better(struct member *me)
{
    hocket_group *all;
    hk_what barrier = {.kind = hk_kind(HK_BARRIER, -1, -1, -1), .number = 1};
    hk_what split = barrier;
    split.kind = hk_kind(HK_SPLIT, -1, -1, -1);
    CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
    if (me->rank == 2)
        hocket_free(all);
    else if (me->rank == 0) {
        hk_call call;
        look_until(all->comm, &all->comm->left[2], NULL);
        CHECK_OK(hk_call_begin(&call, all->comm, &barrier, 0, hk_now(), HK_FOREVER));
        me->shared[0] = 1;
        CHECK_OK(hocket_barrier(me->world));
        CHECK_OK(hk_call_end(&call, hk_comm_check(all->comm)));
    } else {
        while (me->shared[0] == 0)
            sleep_seconds(0.001);
        hk_endpoint_lock(all->comm->endpoint);
        hk_news_roll_call(all->comm, &split);
        hk_endpoint_unlock(all->comm->endpoint);
        look_until(all->comm, NULL, &all->comm->answers[0]);
    }
    if (me->rank != 0)
        CHECK_OK(hocket_barrier(me->world));
    if (me->rank != 2)
        hocket_free(all);
}

static void a_departure_is_no_mismatch(void **state)
{
    (void)state;
    RANKS(&harness_tcp, 3, ask_who_knows_better, NULL);
    RANKS(&harness_local, 3, ask_who_knows_better, NULL);
}

/* What waits in hocket_init has its deadline, not that of the calls to come, which may be none. */
static void duplicate_alone(struct member *me)
{
    hocket_group *duplicate;
    hocket_config config = member_config(me);
    config.timeout_s = INFINITY;
    config.init_timeout_s = 0.3;
    if (me->rank == 1) {
        double start = seconds_now();
        CHECK_OK(hocket_init(&config, &duplicate)); /* the first call says what is wrong */
        CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_barrier(duplicate));
        CHECK_INT(0, hocket_last_error_rank());
        CHECK_THAT(seconds_now() - start < 10, "it took %g s", seconds_now() - start);
        hocket_free(duplicate);
    }
    CHECK_OK(hocket_barrier(me->world));
}

static void hocket_init_keeps_its_own_deadline(void **state)
{
    (void)state;
    RANKS(&shm, 2, duplicate_alone, NULL);
}

/* Rank 0 hears nothing from rank 2 itself: its connection may be slow. */
static void abort_within_earshot_of_one(struct member *me)
{
    hocket_group *all;
    CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
    hk_comm *comm = all->comm;
    if (me->rank == 2) {
        hk_endpoint_lock(comm->endpoint);
        comm->left[0] = true;
        hk_endpoint_unlock(comm->endpoint);
        hocket_abort(all, "test");
    }
    double start = seconds_now();
    hocket_status status = HOCKET_OK;
    while ((status = hk_comm_check(comm)) == HOCKET_OK && seconds_now() - start < 10)
        sleep_seconds(0.002);
    CHECK_INT(HOCKET_ERR_ABORTED, status);
    CHECK_INT(2, hocket_last_error_rank());
    CHECK_OK(hocket_barrier(me->world));
    hocket_free(all);
}

static void who_hears_of_a_fault_passes_it_on(void **state)
{
    (void)state;
    RANKS(&harness_local, 3, abort_within_earshot_of_one, NULL);
    RANKS(&harness_tcp, 3, abort_within_earshot_of_one, NULL);
}

/* What a member has said before it leaves is heard. */
static void leave_after_each_sum(struct member *me)
{
    for (int i = 0; i < 50; i++) {
        hocket_group *all;
        CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
        float one = 1;
        CHECK_OK(hocket_all_sum(all, &one, 1));
        CHECK_INT(me->size, (int)one);
        hocket_free(all);
    }
}

static void the_last_word_of_who_leaves_counts(void **state)
{
    (void)state;
    RANKS(&shm, 2, leave_after_each_sum, NULL);
    RANKS(&shm, 3, leave_after_each_sum, NULL);
}

/* Rank 1 leaves; rank 2 speaks once and then falls silent. */
static void agree_without_the_silent(struct member *me)
{
    hk_comm *comm = me->world->comm;
    CHECK_OK(hocket_barrier(me->world));
    member_wait_for_all(me);
    if (me->rank == 2) {
        hocket_abort(me->world, "test");
        hk_endpoint_lock(comm->endpoint);
        hk_news_shrink(comm, (bool[3]){false}, false);
        hk_endpoint_turn(comm->endpoint, 0);
        hk_endpoint_unlock(comm->endpoint);
    }
    if (me->rank != 0) {
        sleep_seconds(me->rank == 1 ? 0.2 : 10);
        return;
    }
    while (hk_comm_check(comm) == HOCKET_OK)
        sleep_seconds(0.01);
    sleep_seconds(0.5);
    hocket_group *survivors;
    CHECK_OK(hocket_set_timeout(me->world, 0.2));
    double start = seconds_now();
    CHECK_OK(hocket_shrink(me->world, &survivors));
    CHECK_THAT(seconds_now() - start < 5, "it took %g s", seconds_now() - start);
    CHECK_INT(1, hocket_world_size(survivors));
    hocket_free(survivors);
}

static void who_falls_silent_is_counted_out(void **state)
{
    (void)state;
    RANKS(&harness_local, 3, agree_without_the_silent, NULL);
}

static void shrink_twice(struct member *me)
{
    hocket_group *survivors = NULL, *again = NULL;
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0)
        CHECK_OK(hocket_abort(me->world, "test"));
    while (hk_comm_check(me->world->comm) == HOCKET_OK)
        sleep_seconds(0.01);
    CHECK_OK(hocket_shrink(me->world, &survivors));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_shrink(me->world, &again));
    CHECK(again == NULL);
    CHECK_OK(hocket_barrier(survivors));
    hocket_free(survivors);
}

static void a_group_is_shrunk_once(void **state)
{
    (void)state;
    RANKS(&harness_local, 2, shrink_twice, NULL);
    RANKS(&shm, 2, shrink_twice, NULL);
}

/* Rank 2 leaves a word behind. */
static void probe_who_has_left(struct member *me)
{
    hocket_group *all;
    CHECK_OK(hocket_split(me->world, 0, me->rank, &all));
    if (me->rank == 2)
        CHECK_OK(hocket_send_bytes(all, 0, 1, "word", 4));
    if (me->rank == 0) {
        hocket_request *request;
        int from, left[2];
        char word[4];
        double start = seconds_now();
        CHECK_OK(hocket_probe(all, HOCKET_ANY_RANK, 1, &from, NULL));
        CHECK_INT(2, from);
        CHECK_OK(hocket_recv_into(all, 2, 1, word, sizeof word, NULL));
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_probe(all, HOCKET_ANY_RANK, 1, &from, NULL));
        CHECK_HAS(hocket_last_error(), "all others have left the group");
        CHECK_INT(2, hocket_last_error_ranks(left, 2));
        CHECK(left[0] == 1 && left[1] == 2);
        CHECK_OK(hocket_probe_async(all, HOCKET_ANY_RANK, 1, &from, NULL, &request));
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_wait(request));
        CHECK_THAT(seconds_now() - start < 10, "it took %g s", seconds_now() - start);
        CHECK_OK(hocket_send_bytes(all, 0, 1, "mine", 4)); /* to oneself is always possible */
        CHECK_OK(hocket_probe(all, HOCKET_ANY_RANK, 1, &from, NULL));
    }
    hocket_free(all);
    CHECK_OK(hocket_barrier(me->world));
}

static void a_probe_of_any_rank_sees_that_all_have_left(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 3, probe_who_has_left, NULL);
}

static void probe_nobody(struct member *me)
{
    CHECK_OK(hocket_set_timeout(me->world, 0.05));
    CHECK_STATUS(HOCKET_ERR_TIMEOUT, hocket_probe(me->world, HOCKET_ANY_RANK, 1, NULL, NULL));
    CHECK_HAS(hocket_last_error(), "for any rank");
    CHECK_INT(-1, hocket_last_error_rank());
    CHECK_OK(hocket_set_timeout(me->world, 20));
    CHECK_OK(hocket_barrier(me->world));
}

static void a_probe_of_any_rank_says_so(void **state)
{
    (void)state;
    RANKS(&harness_local, 2, probe_nobody, NULL);
}

/* Rank 1 sends nothing and rank 0 gets nothing but zeros. */
static void shift_down(struct member *me)
{
    const int to[2] = {1, -1};
    int send = 7, recv = -1;
    CHECK_OK(hocket_permute(me->world, me->rank == 0 ? &send : NULL, &recv, 1, HOCKET_INT32, to));
    CHECK_INT(me->rank == 0 ? 0 : 7, recv);
}

static void who_sends_nothing_in_a_permute_needs_no_buffer(void **state)
{
    (void)state;
    RANKS(&harness_local, 2, shift_down, NULL);
}

/* === Reductions that are freed ================================================================ */

enum { NUMBER, GO, STARTED };

static void add_when_told(const void *in, void *inout, size_t count, void *context)
{
    _Atomic double *shared = context;
    for (int i = 0; i < 20000 && shared[GO] == 0; i++)
        sleep_seconds(0.001);
    for (size_t i = 0; i < count; i++)
        ((int *)inout)[i] += ((const int *)in)[i];
}

/* The first sum waits in the reduction, the second for its turn. */
static void free_while_in_use(struct member *me)
{
    hocket_reduce reduce;
    hocket_request *requests[2];
    int sums[2] = {1 + me->rank, 10};
    if (me->rank == 0) {
        CHECK_OK(hocket_reduce_create(add_when_told, (void *)me->shared, true, &reduce));
        me->shared[NUMBER] = reduce;
    }
    CHECK_OK(hocket_barrier(me->world));
    reduce = (hocket_reduce)me->shared[NUMBER];
    for (int i = 0; i < 2; i++)
        CHECK_OK(hocket_all_reduce_async(me->world, &sums[i], &sums[i], 1, HOCKET_INT32, reduce,
                                         &requests[i]));
    me->shared[STARTED + me->rank] = 1;
    if (me->rank == 0) {
        for (int i = 0; i < 20000 && me->shared[STARTED + 1] == 0; i++)
            sleep_seconds(0.001);
        hocket_reduce_free(reduce);
        me->shared[GO] = 1;
    }
    for (int i = 0; i < 2; i++)
        CHECK_OK(hocket_wait(requests[i]));
    CHECK_INT(3, sums[0]);
    CHECK_INT(20, sums[1]);
    CHECK_STATUS(HOCKET_ERR_INVALID,
                 hocket_all_reduce(me->world, sums, sums, 1, HOCKET_INT32, reduce));
    CHECK_OK(hocket_barrier(me->world));
}

static void a_call_keeps_the_reduction_it_was_given(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        RANKS(harness_backends[i], 2, free_while_in_use, NULL);
}

/* === A transport that fails without a word ==================================================== */

static hocket_status of_post, of_progress;

static int lame_rank(void *self)
{
    (void)self;
    return 0;
}

static int lame_size(void *self)
{
    (void)self;
    return 2;
}

static hocket_status lame_post(void *self, hocket_op *op)
{
    (void)self;
    return op->context == HK_CONTEXT_NEWS ? HOCKET_OK : of_post;
}

static void lame_cancel(void *self, hocket_op *op)
{
    (void)self;
    (void)op;
}

static hocket_status lame_progress(void *self, int64_t wait_ns)
{
    (void)self;
    (void)wait_ns;
    return of_progress;
}

static bool lame_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    (void)self, (void)from, (void)context, (void)tag, (void)length;
    return false;
}

static const hocket_transport lame = {
    .size = sizeof(hocket_transport),
    .name = "lame",
    .rank = lame_rank,
    .world_size = lame_size,
    .post = lame_post,
    .cancel = lame_cancel,
    .progress = lame_progress,
    .probe = lame_probe,
};

static void expect_of_lame(hocket_status expected)
{
    hocket_group *group;
    float data[2] = {0};
    assert_int_equal(hocket_init_with(&lame, NULL, &group), HOCKET_OK);
    assert_int_equal(hocket_set_timeout(group, 2), HOCKET_OK);
    assert_int_equal(hocket_barrier(group), expected);
    assert_non_null(strstr(hocket_last_error(), "lame"));
    assert_int_equal(hocket_all_sum(group, data, 2), expected);
    hocket_free(group);
}

static void a_failure_without_words_is_a_failure(void **state)
{
    (void)state;
    of_post = HOCKET_ERR_NO_MEMORY;
    expect_of_lame(HOCKET_ERR_NO_MEMORY);
    of_post = HOCKET_OK;
    of_progress = HOCKET_ERR_SYSTEM;
    expect_of_lame(HOCKET_ERR_SYSTEM);
    of_progress = HOCKET_OK;
}

/* === Claims that come to nothing ============================================================== */

static hk_mailbox box;

static void withdraw_it(void *owner, hk_message *message)
{
    (void)owner;
    hk_mailbox_withdraw(&box, message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    (void)owner, (void)from, (void)context, (void)bytes;
}

/* The sender took the first message back, and only the claim finds out. */
static void a_claim_that_fails_goes_to_the_next_message(void **state)
{
    (void)state;
    static hk_endpoint endpoint;
    box = (hk_mailbox){.claimed = withdraw_it, .read = was_read};
    bool done;
    char *data = malloc(4);
    assert_non_null(hk_mailbox_arrive(&box, 0, 2, 1, 100, 7, &box, &done));
    assert_non_null(hk_mailbox_arrive(&box, 0, 2, 1, 4, 0, data, &done));
    hocket_op op = {
        .kind = HOCKET_OP_RECV, .context = 2, .tag = 1, .take = true, .owner = &endpoint};
    assert_int_equal(hk_mailbox_post(&box, &op), HOCKET_OK);
    assert_true(op.done);
    assert_int_equal(op.received, 4);
    free(op.buffer);
    hk_mailbox_fini(&box);
}

static void a_segment_that_never_was_closes_no_file(void **state)
{
    (void)state;
    int input = dup(0);
    hk_segment none = {0};
    hk_segment_settle(&none);
    hk_segment_detach(&none);
    bool open = fcntl(0, F_GETFD) != -1 || input < 0;
    if (input >= 0) {
        dup2(input, 0);
        close(input);
    }
    assert_true(open);
}

/* === Worlds that come and go ================================================================== */

static void *come_and_go(void *failures)
{
    hocket_config config = {.size = sizeof config, .backend = "local", .world_size = 1};
    for (int i = 0; i < 3000; i++) {
        hocket_group *group;
        float one = 1;
        if (hocket_init(&config, &group) != HOCKET_OK ||
            hocket_all_sum(group, &one, 1) != HOCKET_OK)
            atomic_fetch_add((atomic_int *)failures, 1);
        hocket_free(group);
    }
    return NULL;
}

/* One thread's duplicate must not be of a world that another thread is closing. */
static void a_world_is_duplicated_while_it_is_freed(void **state)
{
    (void)state;
    atomic_int failures = 0;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &failures), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_without_words_is_a_failure),
        cmocka_unit_test(a_claim_that_fails_goes_to_the_next_message),
        cmocka_unit_test(a_segment_that_never_was_closes_no_file),
        cmocka_unit_test(who_sends_nothing_in_a_permute_needs_no_buffer),
        cmocka_unit_test(a_call_keeps_the_reduction_it_was_given),
        cmocka_unit_test(a_probe_of_any_rank_says_so),
        cmocka_unit_test(a_probe_of_any_rank_sees_that_all_have_left),
        cmocka_unit_test(the_last_word_of_who_leaves_counts),
        cmocka_unit_test(who_leaves_does_not_keep_the_others_waiting),
        cmocka_unit_test(who_waits_for_another_sees_who_has_left),
        cmocka_unit_test(a_departure_is_no_mismatch),
        cmocka_unit_test(hocket_init_keeps_its_own_deadline),
        cmocka_unit_test(who_hears_of_a_fault_passes_it_on),
        cmocka_unit_test(a_world_is_duplicated_while_it_is_freed),
        cmocka_unit_test(a_group_is_shrunk_once),
        cmocka_unit_test(who_falls_silent_is_counted_out),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
