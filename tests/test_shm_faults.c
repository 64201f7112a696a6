/* Reading the others' memory by the kernel, where it does not go as it should: a buffer that is not
 * there, a rank that dies while it is read, ranks that may not be read. Ranks are processes. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include "group/group.h"
#include "shm_help.h"
#include "transport/peer_memory.h"
#include "transport/shm_reach.h"
#ifdef __linux__
#include <grp.h>
#include <sys/prctl.h>
#endif

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define NOBODY 65534

static const char read_all[] = "all_reduce memory 2- 57- read\n"
                               "all_gather memory 2- 57- read\n"
                               "reduce_scatter memory 2- 57- read\n"
                               "broadcast memory 2- 57- read\n";

/* === A buffer that is not there =============================================================== */

enum { BAD = 1, BYTES = 3 << 20 }; /* the rank that hands it over, and its length */

/* Pages that nobody may read; where `mine` is so many bytes that this rank reads by itself. */
static uint8_t *nobodys(size_t bytes, size_t mine_at, size_t mine)
{
    uint8_t *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    if (mine > 0)
        CHECK(mprotect(at + mine_at, mine, PROT_READ | PROT_WRITE) == 0);
    return at;
}

static hocket_status call_with_bad(struct member *me, enum shm_way way)
{
    size_t n = (size_t)me->size, block = BYTES / n, own = block * (size_t)me->rank;
    bool bad = me->rank == BAD;
    float *good = calloc(BYTES, 1), *recv = calloc(BYTES, 1);
    CHECK(good != NULL && recv != NULL);
    if (way == SHM_BROADCAST) {
        void *data = bad ? (void *)nobodys(BYTES, 0, 0) : good;
        return hocket_broadcast(me->world, data, BYTES, HOCKET_UINT8, BAD);
    }
    if (way == SHM_ALL_GATHER) {
        uint8_t *all = bad ? nobodys(BYTES, 0, BYTES) : (uint8_t *)recv;
        if (bad)
            CHECK(mprotect(all + own, block, PROT_NONE) == 0);
        return hocket_all_gather(me->world, all + own, all, block, HOCKET_UINT8);
    }
    const void *send = bad ? (void *)nobodys(BYTES, own, block) : good;
    if (way == SHM_ALL_REDUCE)
        return hocket_all_reduce(me->world, send, recv, BYTES / sizeof *recv, HOCKET_FLOAT32,
                                 HOCKET_SUM);
    return hocket_reduce_scatter(me->world, send, recv, block / sizeof *recv, HOCKET_FLOAT32,
                                 HOCKET_SUM);
}

static void hand_over_a_bad_buffer(struct member *me)
{
    enum shm_way way = *(const enum shm_way *)me->context;
    CHECK_OK(hocket_tune(me->world, read_all));
    if (!shm_team(me)->can_read) {
        if (me->rank == 0)
            printf("skipped: ranks cannot read each other's memory here\n");
        fflush(stdout);
        return;
    }
    hocket_status status = call_with_bad(me, way);
    harness_note("way %d: %s", (int)way, hocket_last_error());
    CHECK(status != HOCKET_OK);
    CHECK_HAS(hocket_last_error(), "the buffer of rank 1");
    CHECK(hocket_barrier(me->world) != HOCKET_OK); /* the group is broken for all */
}

static void a_bad_buffer_is_an_error_on_all_ranks(void **state)
{
    (void)state;
    for (enum shm_way way = 0; way < SHM_WAYS; way++)
        for (int size = 2; size <= 3; size++)
            PROCESSES(&harness_shm, size, hand_over_a_bad_buffer, &way);
}

/* === A rank that dies while it is read ======================================================== */

enum { VICTIM = 1, LATEST_US = 4000 };

static void die_soon(void *argument)
{
    struct side *side = argument;
    sleep_seconds(*(const double *)side->me->context);
    member_end_by(side->me, SIGKILL);
}

static void read_until_it_dies(struct member *me)
{
    struct side side;
    size_t count = 4 * MIB / sizeof(float);
    float *send = calloc(count, sizeof *send), *recv = malloc(count * sizeof *recv);
    CHECK(send != NULL && recv != NULL);
    CHECK_OK(hocket_tune(me->world, read_all));
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == VICTIM)
        side_start(&side, die_soon, &side);
    hocket_status status;
    do
        status = hocket_all_reduce(me->world, send, recv, count, HOCKET_FLOAT32, HOCKET_SUM);
    while (status == HOCKET_OK);
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(VICTIM, hocket_last_error_rank());
    CHECK_HAS(hocket_last_error(), "rank 1");
    free(send);
    free(recv);
}

static void a_death_is_told_though_it_is_read(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        double after = LATEST_US * 1e-6 * i / 8;
        PROCESSES(&harness_shm, 2 + i % 2, read_until_it_dies, &after);
    }
}

/* === A rank whose call has failed has its buffers back ======================================== */

enum { READS, FAILS, DIES, THREE }; /* ranks */
enum { HAS_BEGUN, HAS_IT_BACK };    /* slots of the numbers that ranks share */
enum { SUMMED = 1 << 18 };          /* floats of a block, some pieces long */
#define BEFORE_IT_DIES_S 0.05
#define PATIENCE_S 10.0

static struct member *slow_one; /* of a process */

static void wait_for_slot(struct member *me, int slot)
{
    for (double until = seconds_now() + PATIENCE_S; me->shared[slot] == 0;) {
        CHECK(seconds_now() < until);
        sleep_seconds(0.001);
    }
}

/* The rank that reads has not looked at anything yet when the others' buffers are theirs again. */
static void add_late(const void *in, void *inout, size_t count, void *context)
{
    (void)context;
    const float *from = in;
    float *to = inout;
    double until = seconds_now() + PATIENCE_S;
    while (slow_one != NULL && slow_one->shared[HAS_IT_BACK] == 0 && seconds_now() < until)
        sleep_seconds(0.001);
    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

static void die_in_the_call(void *argument)
{
    struct side *side = argument;
    sleep_seconds(BEFORE_IT_DIES_S);
    member_end_by(side->me, SIGKILL);
}

static void fill(float *data, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        data[i] = value;
}

static float *get(struct member *me, size_t count)
{
    void *memory;
    CHECK_OK(hocket_alloc(me->world, count * sizeof(float), &memory));
    return memory;
}

static void reuse_buffers_after_a_failure(struct member *me)
{
    struct side side;
    hocket_reduce late;
    float *send = get(me, SUMMED * THREE), *recv = get(me, SUMMED);
    fill(send, SUMMED * THREE, 1);
    CHECK_OK(hocket_reduce_create(add_late, NULL, true, &late));
    for (int i = 0; i < 2; i++) /* the first maps what the second reads */
        CHECK_OK(hocket_reduce_scatter(me->world, send, recv, SUMMED, HOCKET_FLOAT32, late));
    slow_one = me->rank == READS ? me : NULL;
    if (me->rank == DIES)
        side_start(&side, die_in_the_call, &side);
    hocket_status status =
        hocket_reduce_scatter(me->world, send, recv, SUMMED, HOCKET_FLOAT32, late);
    fill(send, SUMMED * THREE, 1000);
    me->shared[HAS_IT_BACK] = 1;
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(DIES, hocket_last_error_rank());
    hocket_reduce_free(late);
}

static void what_is_used_again_is_no_result(void **state)
{
    (void)state;
    PROCESSES(&harness_shm, THREE, reuse_buffers_after_a_failure, NULL);
}

/* Posts where its buffer is and waits until the deadline; false: not all came. */
static bool reach_others(struct member *me, const float *data, double seconds, hk_reach *reach)
{
    hk_call call = {.comm = me->world->comm, .deadline = hk_deadline_after(seconds), .tag = 7};
    hocket_patience patience = {.call = &call, .member = -1};
    bool in_place;
    return hk_reach_begin(shm_team(me), data, SUMMED * sizeof *data, data, SUMMED * sizeof *data,
                          false, &patience, reach, &in_place) == HOCKET_OK;
}

/* One gives its buffer back when the others have not come in time, and then they come. */
static void give_back_what_is_to_be_read(struct member *me)
{
    hk_reach reach;
    float *data = get(me, SUMMED);
    for (int i = 0; i < 2; i++)
        CHECK_OK(hocket_all_sum(me->world, data, SUMMED));
    fill(data, SUMMED, 5);
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == FAILS) {
        CHECK(!reach_others(me, data, 0.01, &reach));
        hocket_dealloc(me->world, data);
        me->shared[HAS_BEGUN] = 1;
    } else if (me->rank == DIES) {
        wait_for_slot(me, HAS_BEGUN);
        CHECK(!reach_others(me, data, 0.01, &reach));
        me->shared[HAS_IT_BACK] = 1;
    } else {
        wait_for_slot(me, HAS_IT_BACK);
        CHECK(reach_others(me, data, PATIENCE_S, &reach));
        CHECK_INT(hk_segment_is_nameless() ? HK_REACH_BOTH : HK_REACH_NONE, reach);
        const uint8_t *there = hk_regions_at(&shm_team(me)->regions, FAILS, 0, 0);
        CHECK(reach == HK_REACH_NONE || there != NULL);
        if (reach != HK_REACH_NONE)
            CHECK(memcmp(there + HK_SEGMENT_HEAD, data, SUMMED * sizeof *data) == 0);
    }
}

static void what_is_given_back_can_still_be_read(void **state)
{
    (void)state;
    PROCESSES(&harness_shm, THREE, give_back_what_is_to_be_read, NULL);
}

/* === Ranks that may not be read =============================================================== */

/* Nobody reads a process that may not be dumped, but the superuser. */
static void become_unreadable(bool really)
{
#ifdef __linux__
    if (geteuid() == 0)
        CHECK(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, really ? 0 : 1, 0, 0, 0) == 0);
#else
    (void)really;
#endif
}

static void check_ways(struct member *me)
{
    struct shm_memory memory;
    CHECK_OK(hocket_tune(me->world, read_all));
    shm_memory_open(me, &memory, MIB, false);
    for (int turn = 0; turn < 3; turn++)
        for (enum shm_way way = 0; way < SHM_WAYS; way++) {
            struct shm_case c = {.way = way,
                                 .bytes = 300 * KIB,
                                 .dtype = HOCKET_FLOAT32,
                                 .seed = (uint64_t)turn,
                                 .root = turn % me->size};
            for (int r = 0; r < me->size; r++)
                c.buffers[r] = (struct shm_buffers){turn > 0, turn > 0, false};
            shm_run_case(me, &memory, &c);
        }
    shm_memory_close(me, &memory);
}

enum { PID, READABLE }; /* slots of the numbers that ranks share */

/* Whether rank 0 reads the last rank in spite of all, by the plain call: then there is nothing to
 * try. All ranks were one process, so their variables have the same addresses. */
static bool is_readable(struct member *me)
{
    static uint64_t word = 1;
    uint64_t copy;
    if (me->rank == me->size - 1)
        me->shared[PID] = (double)getpid();
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0)
        me->shared[READABLE] =
            hk_peer_memory_read((int64_t)me->shared[PID], &word, &copy, sizeof word) == HOCKET_OK;
    CHECK_OK(hocket_barrier(me->world));
    if (me->shared[READABLE] != 0 && me->rank == 0)
        printf("skipped: ranks read each other in spite of PR_SET_DUMPABLE\n");
    fflush(stdout);
    return me->shared[READABLE] != 0;
}

/* Rank 0, whose segment it is, lets itself be read; the last rank does not. */
static void one_is_unreadable(struct member *me)
{
    become_unreadable(me->rank == me->size - 1);
    CHECK_OK(me->run->backend->open(me, &me->world));
    if (is_readable(me))
        return;
    CHECK(!shm_team(me)->can_read);
    check_ways(me);
}

/* Then not even the segment can be mapped: the group goes over its sockets. */
static void all_are_unreachable(struct member *me)
{
    become_unreadable(true);
    CHECK_OK(me->run->backend->open(me, &me->world));
    if (is_readable(me))
        return;
    CHECK(me->world->team.native == NULL);
    check_ways(me);
}

static void run_unreadable(member_body body, int size)
{
    harness_run(&(struct harness_run){.backend = &harness_shm,
                                      .size = size,
                                      .body = body,
                                      .processes = true,
                                      .without_world = true});
}

static void what_may_not_be_read_is_staged(void **state)
{
    (void)state;
    run_unreadable(one_is_unreadable, 2);
    run_unreadable(one_is_unreadable, 3);
}

static void what_may_not_be_mapped_goes_by_sockets(void **state)
{
    (void)state;
    run_unreadable(all_are_unreachable, 2);
    run_unreadable(all_are_unreachable, 3);
}

int main(void)
{
    harness_clear_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_buffer_is_an_error_on_all_ranks),
        cmocka_unit_test(a_death_is_told_though_it_is_read),
        cmocka_unit_test(what_is_used_again_is_no_result),
        cmocka_unit_test(what_is_given_back_can_still_be_read),
        cmocka_unit_test(what_may_not_be_read_is_staged),
        cmocka_unit_test(what_may_not_be_mapped_goes_by_sockets),
    };
    return cmocka_run_group_tests_name("shm_faults", tests, NULL, NULL);
}
