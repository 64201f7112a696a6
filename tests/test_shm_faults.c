/* Reading the others' memory by the kernel, where it does not go as it should: a buffer that is not
 * there, a rank that dies while it is read, ranks that may not be read. Ranks are processes. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include "group/group.h"
#include "shm_help.h"
#include "transport/peer_memory.h"
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
        cmocka_unit_test(what_may_not_be_read_is_staged),
        cmocka_unit_test(what_may_not_be_mapped_goes_by_sockets),
    };
    return cmocka_run_group_tests_name("shm_faults", tests, NULL, NULL);
}
