/* What RDMA alone has: failures that say device, port, step and cure, devices that vanish, wires
 * that lose, and how a rank's wires are told. Over the tests' own libibverbs. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"
#include "transport/verbs/matrix.h"
#include "transport/verbs/rail.h"
#include "verbs_help.h"

static hocket_status open_jaccl(struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    return hocket_init(&config, world);
}

static const struct harness_backend jaccl = {.name = "jaccl", .open = open_jaccl};

/* === Opening ================================================================================== */

struct refusal {
    const char *name, *settings; /* of the library */
    const char *variable, *value;
    bool own_devices;
    int size;
    hocket_status status;
    const char *says[5]; /* all of them */
    bool together; /* ranks are threads and share a device's queue pairs; the last one, since the
                      library keeps the settings of whoever opens it first */
};

static const struct refusal refusals[] = {
    {.name = "errno 22 at RTR",
     .settings = "rtr=22",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_SYSTEM,
     .says = {"device fake", "port 1", "GID index", "moving the queue pair to RTR", "(errno 22)"}},
    {.name = "more queue pairs than a device has",
     .settings = "apple,count=12",
     .own_devices = true,
     .size = 12,
     .status = HOCKET_ERR_UNAVAILABLE,
     .says = {"has 10 queue pairs at most", "needs 11"}},
    {.name = "no active port",
     .settings = "down",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_UNAVAILABLE,
     .says = {"device fake", "no port is active", "cable"}},
    {.name = "no GID",
     .settings = "nogid",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_UNAVAILABLE,
     .says = {"device fake", "no valid GID", "address"}},
    {.name = "a device that does not open",
     .settings = "broken",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_SYSTEM,
     .says = {"device fake", "opening it"}},
    {.name = "no such device",
     .settings = "",
     .variable = "HOCKET_VERBS_DEVICES",
     .value = "fake0,mlx5_9",
     .size = 2,
     .status = HOCKET_ERR_UNAVAILABLE,
     .says = {"no RDMA device \"mlx5_9\"", "it has: fake0 fake1"}},
    {.name = "no kind in common",
     .settings = "apple",
     .variable = "HOCKET_VERBS_KIND",
     .value = "rc",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_UNAVAILABLE,
     .says = {"no kind of queue pair in common", "HOCKET_VERBS_KIND"}},
    {.name = "no kind at all",
     .settings = "",
     .variable = "HOCKET_VERBS_KIND",
     .value = "ud",
     .own_devices = true,
     .size = 2,
     .status = HOCKET_ERR_INVALID,
     .says = {"HOCKET_VERBS_KIND is \"ud\"", "rc or uc"}},
    {.name = "the eleventh queue pair",
     .settings = "apple",
     .variable = "HOCKET_VERBS_DEVICES",
     .value = "fake0",
     .size = 4,
     .status = HOCKET_ERR_SYSTEM,
     .says = {"device fake0", "making a queue pair", "(errno 16)", "Apple's have 10"},
     .together = true},
};

/* All ranks get the status; what is wrong is said by the rank that it is wrong on, and handed on.
 */
static void is_refused(struct member *me)
{
    const struct refusal *r = me->context;
    hocket_config config = member_config(me);
    harness_note("%s", r->name);
    CHECK_STATUS(r->status, hocket_init(&config, &me->world));
    for (size_t i = 0; i < LENGTH(r->says) && r->says[i] != NULL; i++)
        CHECK_HAS(hocket_last_error(), r->says[i]);
}

static void refusals_say_what_to_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(refusals); i++) {
        const struct refusal *r = &refusals[i];
        verbs_begin(r->settings);
        if (r->own_devices)
            verbs_own_devices(r->size);
        if (r->variable != NULL)
            setenv(r->variable, r->value, 1);
        harness_run(&(struct harness_run){.backend = &jaccl,
                                          .size = r->size,
                                          .body = is_refused,
                                          .context = (void *)r,
                                          .processes = !r->together,
                                          .without_world = true});
        if (r->variable != NULL)
            unsetenv(r->variable);
        verbs_end();
    }
}

/* Rank 0 says why, the others that rank 0 has none. */
static void is_not_there(struct member *me)
{
    hocket_config config = member_config(me);
    CHECK(!hocket_is_available("jaccl"));
    CHECK_STATUS(HOCKET_ERR_UNAVAILABLE, hocket_init(&config, &me->world));
    CHECK_HAS(hocket_last_error(), me->rank == 0 ? me->context : "rank 0 has no backend jaccl");
}

static void without_a_device_or_a_library_it_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *library, *says;
    } cases[] = {{"count=0", NULL, "this host has no RDMA device"},
                 {"", "/nowhere/libibverbs.so.1", "/nowhere/libibverbs.so.1 does not load"}};
    for (size_t i = 0; i < LENGTH(cases); i++) {
        verbs_begin(cases[i].settings);
        if (cases[i].library != NULL)
            setenv("HOCKET_VERBS_LIBRARY", cases[i].library, 1);
        harness_run(&(struct harness_run){.backend = &jaccl,
                                          .size = 2,
                                          .body = is_not_there,
                                          .context = (void *)cases[i].says,
                                          .processes = true,
                                          .without_world = true});
        verbs_end();
    }
}

/* === The matrix =============================================================================== */

static const char *write_matrix(const char *text)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/own", verbs_folder());
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
    return path;
}

static void expect_matrix(const char *text, int size, const char *says)
{
    hk_wires row[4];
    setenv("MLX_IBV_DEVICES", write_matrix(text), 1);
    CHECK_STATUS(HOCKET_ERR_INVALID, hk_matrix_read(0, size, row));
    CHECK_HAS(hocket_last_error(), says);
    unsetenv("MLX_IBV_DEVICES");
}

static void a_matrix_is_checked(void **state)
{
    (void)state;
    hk_wires row[4];
    verbs_begin("");
    expect_matrix("[[null, \"a\"], [\"b\"]]", 2, "no JSON list");
    expect_matrix("[[null, \"a\"], [\"b\", null]]", 3, "is for 2 ranks, and there are 3");
    expect_matrix("[[\"c\", \"a\"], [\"b\", null]]", 2, "rank 0 faces itself");
    expect_matrix("[[null, [\"a\", \"b\"]], [\"b\", null]]", 2, "2 wires to rank 1, which has 1");
    expect_matrix("[[null, 7], [\"b\", null]]", 2, "neither null nor the name");
    expect_matrix("[[null, [\"a\",\"b\",\"c\",\"d\",\"e\"]], [\"b\", null]]", 2,
                  "more than 4 wires");
    setenv("MLX_IBV_DEVICES",
           write_matrix("[[null, [\"a\", \"b\"], null], [[\"c\", \"d\"], null, \"e\"], "
                        "[null, \"f\", null]]"),
           1);
    CHECK_OK(hk_matrix_read(1, 3, row));
    CHECK_INT(2, row[0].count);
    CHECK_TEXT("d", row[0].names[1]);
    CHECK_INT(0, row[1].count);
    CHECK_TEXT("e", row[2].names[0]);
    setenv("MLX_JACCL_RING", "1", 1);
    CHECK_OK(hk_matrix_read(0, 3, row)); /* of three, all are neighbours */
    CHECK_INT(2, row[1].count);
    unsetenv("MLX_JACCL_RING");
    unsetenv("MLX_IBV_DEVICES");
    setenv("HOCKET_VERBS_RING", "1", 1);
    setenv("HOCKET_VERBS_DEVICES", "fake0,fake1", 1);
    CHECK_OK(hk_matrix_read(0, 4, row));
    CHECK_INT(2, row[1].count);
    CHECK_INT(0, row[2].count);
    CHECK_INT(2, row[3].count);
    unsetenv("HOCKET_VERBS_RING");
    verbs_end();
}

/* === What gets lost =========================================================================== */

static void sums_are_right(struct member *me)
{
    static const size_t counts[] = {1, 100, 5000, 300007};
    for (size_t c = 0; c < LENGTH(counts); c++) {
        float *data = malloc(counts[c] * sizeof *data);
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < counts[c]; i++)
                data[i] = (float)(me->rank + (int)(i % 1000));
            CHECK_OK(hocket_all_sum(me->world, data, counts[c]));
            for (size_t i = 0; i < counts[c]; i++)
                CHECK_THAT(data[i] ==
                               (float)(me->size * (me->size - 1) / 2 + me->size * (int)(i % 1000)),
                           "element %zu of %zu is %g", i, counts[c], (double)data[i]);
        }
        free(data);
    }
}

static void uc_that_loses_much_is_right(void **state)
{
    (void)state;
    verbs_begin_uc(3, "loss=20,seed=4");
    RANKS(&jaccl, 3, sums_are_right, NULL);
    verbs_end();
}

static void frames_that_come_late_are_put_in_order(void **state)
{
    (void)state;
    verbs_begin("delay_us=2000");
    setenv("HOCKET_VERBS_DEVICES", "fake0,fake1,fake2,fake3", 1);
    RANKS(&jaccl, 2, sums_are_right, NULL);
    verbs_end();
}

/* The control connection is fine, and both look, but nothing comes through: no deadline is near. */
static void finds_the_wire_dead(struct member *me)
{
    CHECK_STATUS(HOCKET_ERR_PEER_LOST, hocket_barrier(me->world));
    CHECK_INT(1 - me->rank, hocket_last_error_rank());
}

static void a_wire_that_loses_all_is_given_up(void **state)
{
    (void)state;
    verbs_begin_uc(2, "loss=100,seed=4");
    harness_run(&(struct harness_run){.backend = &jaccl,
                                      .size = 2,
                                      .body = finds_the_wire_dead,
                                      .processes = true,
                                      .timeout_s = 200});
    verbs_end();
}

/* Some of so many are lost, also of the last ones, and again of the repeats. Ranks 0 and
 * 2 are in no call until rank 1 has all of theirs. */
static void says_much_and_computes(struct member *me)
{
    enum { MESSAGES = 30 };
    int number = 0;
    size_t got;
    CHECK_OK(hocket_barrier(me->world));
    for (int i = 0; i < MESSAGES && me->rank != 1; i++)
        CHECK_OK(hocket_send_bytes(me->world, 1, 3, &i, sizeof i));
    for (int i = 0; i < MESSAGES && me->rank == 1; i++) {
        CHECK_OK(hocket_recv_into(me->world, 0, 3, &number, sizeof number, &got));
        CHECK_INT(i, number);
        CHECK_OK(hocket_recv_into(me->world, 2, 3, &number, sizeof number, &got));
        CHECK_INT(i, number);
    }
    member_wait_for_all(me);
}

static void what_is_lost_comes_while_its_sender_computes(void **state)
{
    (void)state;
    verbs_begin_uc(3, "loss=30,seed=4");
    harness_run(&(struct harness_run){
        .backend = &jaccl, .size = 3, .body = says_much_and_computes, .timeout_s = 5});
    verbs_end();
}

/* Longer than the repeats that would be counted against a peer that looks. */
#define STOPPED_SECONDS 6

static void stop_for_a_while(void)
{
    pid_t self = getpid(), waker = fork();
    if (waker == 0) {
        sleep_seconds(STOPPED_SECONDS);
        kill(self, SIGCONT);
        _exit(0);
    }
    CHECK(waker > 0);
    raise(SIGSTOP);
    waitpid(waker, NULL, 0);
}

static void is_stopped(struct member *me)
{
    float one = 1;
    CHECK_OK(hocket_barrier(me->world));
    if (me->rank == 0)
        stop_for_a_while();
    CHECK_OK(hocket_all_sum(me->world, &one, 1));
    CHECK_INT(me->size, one);
}

static void a_peer_that_is_stopped_is_waited_for(void **state)
{
    (void)state;
    verbs_begin_uc(3, "");
    harness_run(&(struct harness_run){
        .backend = &jaccl, .size = 3, .body = is_stopped, .processes = true, .timeout_s = 60});
    verbs_end();
}

/* What it has sent still comes, though it may have to repeat it when it has nothing else to do. */
static void leaves_a_stopped_peer(struct member *me)
{
    enum { MESSAGES = 20, BYTES = 1000 };
    unsigned char message[BYTES];
    CHECK_OK(hocket_barrier(me->world));
    sleep_seconds(me->rank == 0 ? 0.5 : 1); /* both are out of the barrier, and one is stopped */
    if (me->rank == 0)
        stop_for_a_while();
    for (int i = 0; i < MESSAGES; i++) {
        if (me->rank == 1) {
            fill_bytes(message, BYTES, (uint64_t)i);
            CHECK_OK(hocket_send_bytes(me->world, 0, 5, message, BYTES));
        } else {
            CHECK_OK(hocket_recv_into(me->world, 1, 5, message, BYTES, NULL));
            CHECK_FILLED(message, BYTES, (uint64_t)i);
        }
    }
}

static void who_leaves_a_stopped_peer_waits_for_it(void **state)
{
    (void)state;
    verbs_begin_uc(2, "loss=20,seed=6");
    PROCESSES(&jaccl, 2, leaves_a_stopped_peer, NULL);
    verbs_end();
}

/* === Straight into memory ===================================================================== */

#define LARGE ((size_t)3 << 20)

/* Each end's memory is known or not; lengths about where straight begins, and in many pieces. */
static void large_messages_arrive(struct member *me)
{
    static const size_t lengths[] = {65535, 65536, 65537, 300000, LARGE};
    const int next = (me->rank + 1) % me->size, previous = (me->rank + me->size - 1) % me->size;
    void *known[2], *plain[2] = {malloc(LARGE), malloc(LARGE)};
    CHECK_OK(hocket_alloc(me->world, LARGE, &known[0]));
    known[1] = guard_alloc(LARGE);
    CHECK_OK(hocket_register(me->world, known[1], LARGE));
    for (size_t l = 0; l < LENGTH(lengths); l++)
        for (int how = 0; how < 4; how++) {
            unsigned char *out = how & 1 ? known[0] : plain[0];
            unsigned char *in = how & 2 ? known[1] : plain[1];
            hocket_request *send;
            size_t got, length = lengths[l];
            harness_note("%zu bytes, %d", length, how);
            fill_bytes(out, length, (uint64_t)(me->rank * 100 + how) + length);
            memset(in, 0, length);
            CHECK_OK(hocket_send_bytes_async(me->world, next, 7, out, length, &send));
            CHECK_OK(hocket_recv_into(me->world, previous, 7, in, LARGE, &got));
            CHECK_INT(length, got);
            CHECK_FILLED(in, length, (uint64_t)(previous * 100 + how) + length);
            CHECK_OK(hocket_wait(send));
            GUARD_CHECK(known[1]);
        }
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_unregister(me->world, known[1]));
    GUARD_FREE(known[1]);
    hocket_dealloc(me->world, known[0]);
    free(plain[0]);
    free(plain[1]);
}

/* Many at once, each way, from pieces of one region. */
static void many_large_at_once(struct member *me)
{
    enum { COUNT = 12, BYTES = 100000 };
    unsigned char *memory;
    void *allocated;
    const int other = 1 - me->rank;
    hocket_request *sends[COUNT], *receives[COUNT];
    size_t got[COUNT];
    CHECK_OK(hocket_alloc(me->world, (size_t)2 * COUNT * BYTES, &allocated));
    memory = allocated;
    for (int i = 0; i < COUNT; i++) {
        fill_bytes(memory + i * BYTES, BYTES, (uint64_t)(me->rank * COUNT + i));
        CHECK_OK(hocket_recv_into_async(me->world, other, (uint32_t)i, memory + (COUNT + i) * BYTES,
                                        BYTES, &got[i], &receives[i]));
    }
    CHECK_OK(hocket_barrier(me->world));
    for (int i = COUNT - 1; i >= 0; i--)
        CHECK_OK(hocket_send_bytes_async(me->world, other, (uint32_t)i, memory + i * BYTES, BYTES,
                                         &sends[i]));
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(hocket_wait(receives[i]));
        CHECK_FILLED(memory + (COUNT + i) * BYTES, BYTES, (uint64_t)(other * COUNT + i));
        CHECK_OK(hocket_wait(sends[i]));
    }
    CHECK_OK(hocket_barrier(me->world));
    hocket_dealloc(me->world, allocated);
}

/* Both send before either receives: an offer waits for no receive. */
static void both_send_first(struct member *me)
{
    void *out, *in;
    size_t got;
    CHECK_OK(hocket_alloc(me->world, LARGE, &out));
    CHECK_OK(hocket_alloc(me->world, LARGE, &in));
    fill_bytes(out, LARGE, (uint64_t)me->rank);
    CHECK_OK(hocket_send_bytes(me->world, 1 - me->rank, 1, out, LARGE));
    CHECK_OK(hocket_recv_into(me->world, 1 - me->rank, 1, in, LARGE, &got));
    CHECK_FILLED(in, LARGE, (uint64_t)(1 - me->rank));
    hocket_dealloc(me->world, out);
    hocket_dealloc(me->world, in);
}

static void large_messages_go_straight(void **state)
{
    (void)state;
    static const char *const ways[] = {"rc", "wires", "uc", "apple", "sealed"};
    for (size_t i = 0; i < LENGTH(ways); i++) {
        RANKS(verbs_variant(ways[i]), 3, large_messages_arrive, NULL);
        RANKS(verbs_variant(ways[i]), 2, many_large_at_once, NULL);
        RANKS(verbs_variant(ways[i]), 2, both_send_first, NULL);
    }
}

/* The sender stops when it has offered and before it can write: the receive's deadline comes, and
 * the memory is the caller's again. */
static void a_receive_is_taken_back(struct member *me)
{
    enum { ROUNDS = 40 };
    void *memory;
    hocket_request *request;
    size_t got;
    CHECK_OK(hocket_alloc(me->world, LARGE, &memory));
    CHECK_OK(hocket_barrier(me->world));
    for (int i = 0; i < ROUNDS; i++) {
        if (me->rank == 0) {
            sleep_seconds(0.0005 * (i % 20));
            fill_bytes(memory, LARGE, (uint64_t)i);
            CHECK_OK(hocket_send_bytes(me->world, 1, 3, memory, LARGE));
        } else {
            CHECK_OK(hocket_set_timeout(me->world, 0.002 + 0.0005 * (i % 30)));
            hocket_status status = hocket_recv_into(me->world, 0, 3, memory, LARGE, &got);
            if (status == HOCKET_ERR_TIMEOUT)
                fill_bytes(memory, LARGE, 1000); /* it is this rank's */
            CHECK_OK(hocket_set_timeout(me->world, 20));
            if (status == HOCKET_ERR_TIMEOUT) {
                CHECK_FILLED(memory, LARGE, 1000);
                CHECK_OK(hocket_recv_into_async(me->world, 0, 3, memory, LARGE, &got, &request));
                CHECK_OK(hocket_wait(request));
            }
            CHECK_FILLED(memory, LARGE, (uint64_t)i);
        }
    }
    CHECK_OK(hocket_barrier(me->world));
    hocket_dealloc(me->world, memory);
}

static void receives_are_taken_back_from_the_device(void **state)
{
    (void)state;
    verbs_begin("delay_us=4000");
    verbs_own_devices(2);
    RANKS(&jaccl, 2, a_receive_is_taken_back, NULL);
    verbs_end();
}

/* RDMA writes that device i of this process was given. */
static unsigned long writes_of(int i)
{
    unsigned long counts[FAKE_COUNTS];
    verbs_counts_of(i, counts);
    return counts[FAKE_WRITES];
}

/* Sizes that give each wire a piece, or many, and that do not divide. */
static void each_wire_writes(struct member *me)
{
    const int wires = *(const int *)me->context;
    static const size_t lengths[] = {65536, 65537, 100003, 300001, 524289, LARGE + 4097};
    const int next = (me->rank + 1) % me->size, previous = (me->rank + me->size - 1) % me->size;
    unsigned char *out = guard_alloc(LARGE + 4097), *in = guard_alloc(LARGE + 4097);
    CHECK_OK(hocket_register(me->world, out, LARGE + 4097));
    CHECK_OK(hocket_register(me->world, in, LARGE + 4097));
    for (size_t l = 0; l < LENGTH(lengths); l++) {
        unsigned long before[4] = {0};
        size_t got, length = lengths[l];
        hocket_request *receive;
        harness_note("%zu bytes over %d wires", length, wires);
        fill_bytes(out, length, (uint64_t)me->rank + length);
        memset(in, 0, length);
        for (int i = 0; i < wires; i++)
            before[i] = writes_of(me->rank * wires + i);
        CHECK_OK(hocket_recv_into_async(me->world, previous, 7, in, length, &got, &receive));
        CHECK_OK(hocket_barrier(me->world)); /* it waits when the offer comes */
        CHECK_OK(hocket_send_bytes(me->world, next, 7, out, length));
        memset(out, 0xee, length); /* it is this rank's again */
        CHECK_OK(hocket_wait(receive));
        CHECK_INT(length, got);
        CHECK_FILLED(in, length, (uint64_t)previous + length);
        for (int i = 0; i < wires; i++)
            CHECK_THAT(writes_of(me->rank * wires + i) > before[i],
                       "wire %d of %d had none of %zu bytes", i, wires, length);
        GUARD_CHECK(in);
        GUARD_CHECK(out);
    }
    CHECK_OK(hocket_barrier(me->world));
    CHECK_OK(hocket_unregister(me->world, in));
    CHECK_OK(hocket_unregister(me->world, out));
    GUARD_FREE(in);
    GUARD_FREE(out);
}

/* Also when a wire is slower than the others: who is told that the bytes are there looks at once.
 */
static void writes_go_over_all_wires(void **state)
{
    (void)state;
    static const struct {
        const char *settings;
        int size, wires;
    } cases[] = {{"", 3, 1},
                 {"", 3, 2},
                 {"", 2, 4},
                 {"slow=fake2:20", 2, 2},
                 {"slow=fake3:20", 2, 2},
                 {"delay_us=2000", 2, 3},
                 /* What one device has taken is in memory later than what the other brings. */
                 {"landing=fake2:200", 2, 2},
                 {"landing=fake3:200", 2, 2}};
    for (size_t i = 0; i < LENGTH(cases); i++) {
        verbs_begin(cases[i].settings);
        verbs_own_wires(cases[i].size, cases[i].wires);
        RANKS(&jaccl, cases[i].size, each_wire_writes, (void *)&cases[i].wires);
        verbs_end();
    }
}

/* Nobody could say when the bytes are there: they go by the stream. */
static void none_is_written(struct member *me)
{
    unsigned long before = writes_of(me->rank);
    large_messages_arrive(me);
    CHECK_INT(before, writes_of(me->rank));
}

static void devices_that_do_not_read_do_not_write(void **state)
{
    (void)state;
    verbs_begin("reads=0");
    verbs_own_devices(2);
    RANKS(&jaccl, 2, none_is_written, NULL);
    verbs_end();
}

/* The deadline of the send comes before it is offered, while it is written and afterwards: the
 * memory is the caller's again, and the receiver has what was there before. */
static void a_send_is_taken_back(struct member *me)
{
    enum { ROUNDS = 30, BYTES = LARGE - 5 };
    void *memory;
    size_t got;
    atomic_int *late = me->context;
    CHECK_OK(hocket_alloc(me->world, BYTES, &memory));
    CHECK_OK(hocket_barrier(me->world));
    for (int i = 0; i < ROUNDS; i++) {
        if (me->rank == 0) {
            fill_bytes(memory, BYTES, (uint64_t)i);
            CHECK_OK(hocket_set_timeout(me->world, 0.0002 * (1 + i)));
            hocket_status status = hocket_send_bytes(me->world, 1, 3, memory, BYTES);
            memset(memory, 0xee, BYTES);
            CHECK(status == HOCKET_OK || status == HOCKET_ERR_TIMEOUT);
            atomic_fetch_add(late, status == HOCKET_ERR_TIMEOUT);
            CHECK_OK(hocket_set_timeout(me->world, 20 * harness_slowness()));
        } else {
            CHECK_OK(hocket_recv_into(me->world, 0, 3, memory, BYTES, &got));
            CHECK_INT(BYTES, got);
            CHECK_FILLED(memory, BYTES, (uint64_t)i);
        }
        CHECK_OK(hocket_barrier(me->world));
    }
    hocket_dealloc(me->world, memory);
}

static void operations_are_taken_back_from_all_wires(void **state)
{
    (void)state;
    static const char *const settings[] = {"slow=fake3:4", "slow=fake2:4", "landing=fake3:20"};
    atomic_int late = 0; /* sends that were taken back */
    for (size_t i = 0; i < LENGTH(settings); i++) {
        verbs_begin(settings[i]);
        verbs_own_wires(2, 2);
        RANKS(&jaccl, 2, a_send_is_taken_back, &late);
        RANKS(&jaccl, 2, a_receive_is_taken_back, NULL);
        verbs_end();
    }
    assert_true(late > 0);
}

/* === The budget of regions ==================================================================== */

static void one_region_too_many_is_an_error(void **state)
{
    (void)state;
    enum { REGIONS = 100 };
    static char bytes[REGIONS][64];
    hk_ibv_mr *regions[REGIONS];
    hk_rail rail;
    verbs_begin("apple");
    setenv("HOCKET_VERBS_PROFILE", "apple", 1);
    CHECK_OK(hk_rail_open(&rail, "fake0", NULL));
    CHECK_OK(hk_rail_furnish(&rail, 4096, 16, 1));
    for (int i = 0; i < REGIONS - 1; i++)
        CHECK_OK(hk_arena_register(&rail.arena, bytes[i], sizeof bytes[i], &regions[i]));
    CHECK_STATUS(HOCKET_ERR_UNAVAILABLE,
                 hk_arena_register(&rail.arena, bytes[REGIONS - 1], 64, &regions[REGIONS - 1]));
    CHECK_HAS(hocket_last_error(), "device fake0 has no memory region left: all 100 are in use");
    hk_arena_unregister(&rail.arena, regions[0]);
    CHECK_OK(hk_arena_register(&rail.arena, bytes[0], sizeof bytes[0], &regions[0]));
    for (int i = 0; i < REGIONS - 1; i++)
        hk_arena_unregister(&rail.arena, regions[i]);
    hk_rail_close(&rail);
    unsetenv("HOCKET_VERBS_PROFILE");
    verbs_end();
}

/* === A device that vanishes =================================================================== */

enum { VICTIM = 1 };

static void the_device_of_one_goes(struct member *me)
{
    hocket_status status = HOCKET_OK;
    float data[2000] = {0};
    while (status == HOCKET_OK)
        status = hocket_all_sum(me->world, data, LENGTH(data));
    if (me->rank == VICTIM) {
        me->shared[0] = seconds_now();
        CHECK_INT(HOCKET_ERR_SYSTEM, status);
        CHECK_HAS(hocket_last_error(), "device fake1");
        sleep_seconds(2 * harness_slowness()); /* its process lives on */
        return;
    }
    CHECK_INT(HOCKET_ERR_PEER_LOST, status);
    CHECK_INT(VICTIM, hocket_last_error_rank());
    CHECK_THAT(me->shared[0] == 0 || seconds_now() - me->shared[0] < harness_slowness(),
               "noticed after %g s", seconds_now() - me->shared[0]);
}

static void a_device_that_vanishes_is_named(void **state)
{
    (void)state;
    static const char *const kinds[] = {"rc", "uc"};
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (int at = 1; at < 200; at += 90) {
            char settings[32];
            snprintf(settings, sizeof settings, "gone=fake1:%d", at);
            verbs_begin(settings);
            verbs_own_devices(3);
            setenv("HOCKET_VERBS_KIND", kinds[i], 1);
            PROCESSES(&jaccl, 3, the_device_of_one_goes, NULL);
            verbs_end();
        }
}

/* It is the second wire of its rank, and may go while pieces are on both. */
static void a_wire_of_one_goes(struct member *me)
{
    void *memory = NULL;
    size_t got;
    hocket_status status = hocket_alloc(me->world, LARGE, &memory);
    for (int i = 0; status == HOCKET_OK; i++) {
        memset(memory, me->rank == VICTIM ? 0 : i & 0xff, LARGE);
        status = me->rank != VICTIM ? hocket_send_bytes(me->world, VICTIM, 3, memory, LARGE)
                                    : hocket_recv_into(me->world, 0, 3, memory, LARGE, &got);
        for (size_t k = 0; status == HOCKET_OK && k < LARGE; k++)
            CHECK_INT(i & 0xff, ((unsigned char *)memory)[k]);
        if (status == HOCKET_OK)
            status = hocket_barrier(me->world);
    }
    if (me->rank == VICTIM) {
        CHECK_STATUS(HOCKET_ERR_SYSTEM, status);
        CHECK_HAS(hocket_last_error(), "device fake3");
    } else {
        CHECK_STATUS(HOCKET_ERR_PEER_LOST, status);
        CHECK_INT(VICTIM, hocket_last_error_rank());
    }
    hocket_dealloc(me->world, memory);
}

static void a_wire_that_vanishes_ends_the_peer(void **state)
{
    (void)state;
    for (int at = 1; at < 40; at += 7) {
        char settings[32];
        snprintf(settings, sizeof settings, "gone=fake3:%d", at);
        verbs_begin(settings);
        verbs_own_wires(2, 2);
        PROCESSES(&jaccl, 2, a_wire_of_one_goes, NULL);
        verbs_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_device_or_a_library_it_is_not_there),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(a_matrix_is_checked),
        cmocka_unit_test(uc_that_loses_much_is_right),
        cmocka_unit_test(frames_that_come_late_are_put_in_order),
        cmocka_unit_test(a_wire_that_loses_all_is_given_up),
        cmocka_unit_test(what_is_lost_comes_while_its_sender_computes),
        cmocka_unit_test(a_peer_that_is_stopped_is_waited_for),
        cmocka_unit_test(who_leaves_a_stopped_peer_waits_for_it),
        cmocka_unit_test(large_messages_go_straight),
        cmocka_unit_test(receives_are_taken_back_from_the_device),
        cmocka_unit_test(writes_go_over_all_wires),
        cmocka_unit_test(devices_that_do_not_read_do_not_write),
        cmocka_unit_test(operations_are_taken_back_from_all_wires),
        cmocka_unit_test(one_region_too_many_is_an_error),
        cmocka_unit_test(a_device_that_vanishes_is_named),
        cmocka_unit_test(a_wire_that_vanishes_ends_the_peer),
    };
    harness_clear_environment();
    return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
