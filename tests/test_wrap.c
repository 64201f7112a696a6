/* The wrapping transports: fault and trace. The first half puts them around a transport of the
 * test's, in which nothing moves by itself; the second asks hocket_init for them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
#include <cjson/cJSON.h>
// clang-format on
#include "core/deadline.h"
#include "transport/state.h"
#include "transport/wrap.h"
#include "wire_help.h"

enum { RANK = 0, PEERS = 4, SEEN_MAX = 256, RANKS = 4 };

/* === A transport that only remembers ========================================================= */

typedef struct desk {
    hocket_op *posted[SEEN_MAX];
    int count, cancelled, progressed, closed;
    int64_t wait_ns;
    bool unread; /* a message is there, whatever is asked for */
} desk;

static hk_endpoint owner; /* of the operations: counts what is completed */

static int desk_rank(void *self)
{
    (void)self;
    return RANK;
}

static int desk_size(void *self)
{
    (void)self;
    return PEERS;
}

static hocket_status desk_post(void *self, hocket_op *op)
{
    desk *d = self;
    d->posted[d->count++ % SEEN_MAX] = op;
    if (op->kind == HOCKET_OP_RECV && d->unread)
        hocket_op_complete(op, HOCKET_OK, 5);
    return HOCKET_OK;
}

static void desk_cancel(void *self, hocket_op *op)
{
    (void)op;
    ((desk *)self)->cancelled++;
}

static hocket_status desk_progress(void *self, int64_t wait_ns)
{
    desk *d = self;
    d->progressed++;
    d->wait_ns = wait_ns;
    return HOCKET_OK;
}

static bool desk_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    (void)from, (void)context, (void)tag;
    *length = 5;
    return ((desk *)self)->unread;
}

static void desk_close(void *self, bool orderly)
{
    (void)orderly;
    ((desk *)self)->closed++;
}

static const hocket_collectives natives = {.size = sizeof natives};
static const hocket_transport desk_transport = {.size = sizeof(hocket_transport),
                                                .name = "desk",
                                                .rank = desk_rank,
                                                .world_size = desk_size,
                                                .post = desk_post,
                                                .cancel = desk_cancel,
                                                .progress = desk_progress,
                                                .probe = desk_probe,
                                                .close = desk_close,
                                                .collectives = &natives};

typedef struct wrapped {
    desk desk;
    const hocket_transport *outer;
    void *self;
} wrapped;

static void wrap_fault(wrapped *w, const char *spec)
{
    *w = (wrapped){.outer = NULL};
    if (hk_fault_wrap(&desk_transport, &w->desk, spec, &w->outer, &w->self) != HOCKET_OK)
        fail_msg("%s: %s", spec, hocket_last_error());
}

static void unwrap(wrapped *w)
{
    w->outer->close(w->self, true);
    assert_int_equal(w->desk.closed, 1);
}

static hocket_op make_op(int kind, int peer, uint64_t context)
{
    return (hocket_op){.kind = kind, .peer = peer, .context = context, .tag = 7, .owner = &owner};
}

static void post(wrapped *w, hocket_op *op)
{
    assert_int_equal(w->outer->post(w->self, op), HOCKET_OK);
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* === fault, alone ============================================================================ */

static void bad_specs_are_told(void **state)
{
    (void)state;
    static const char *const good[] = {"seed=7,delay_us=500,hold=0.1,lose=2@100,skip=1,on=0",
                                       "hold=0",
                                       "hold=1.0",
                                       "lose=0@0",
                                       "short=0.3",
                                       "short=1,on=2"};
    static const char *const bad[][2] = {
        {"sed=7", "\"sed=7\""},       {"hold", "\"hold\""},         {"hold=", "\"hold=\""},
        {"hold=1.1", "\"hold=1.1\""}, {"hold=.5", "\"hold=.5\""},   {"hold=0.", "\"hold=0.\""},
        {"seed=7,", "\"\" is"},       {",seed=7", "\"\" is"},       {"seed=7x", "\"seed=7x\""},
        {"seed=-1", "\"seed=-1\""},   {"lose=2", "\"lose=2\""},     {"lose=2@", "\"lose=2@\""},
        {"lose=@5", "\"lose=@5\""},   {"hold=0.1,x", "\"x\" is"},   {"on=99999", "\"on=99999\""},
        {"seed 7", "\"seed 7\""},     {"hold=0.1234567", "0.1234"}, {"seed=99999999999", "9999"},
        {"short", "\"short\""},       {"short=2", "\"short=2\""},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(hk_fault_check(good[i]), HOCKET_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (hk_fault_check(bad[i][0]) != HOCKET_ERR_INVALID)
            fail_msg("\"%s\" is taken for a spec", bad[i][0]);
        assert_non_null(strstr(hocket_last_error(), bad[i][1]));
    }
    wrapped w = {.outer = NULL};
    assert_int_equal(hk_fault_wrap(&desk_transport, &w.desk, "lose=4@1", &w.outer, &w.self),
                     HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "no rank 4 in a world of 4"));
    assert_int_equal(w.desk.closed, 0);
}

static hk_stutter stutter(const char *spec, int rank, int peer)
{
    hk_stutter asked = {.chance = 7};
    assert_int_equal(hk_fault_stutter(spec, rank, peer, &asked), HOCKET_OK);
    return asked;
}

static void each_connection_stutters_in_its_own_way(void **state)
{
    (void)state;
    hk_stutter none;
    const char *spec = "seed=3,short=0.25";
    assert_int_equal(stutter(spec, 0, 1).chance, 250000);
    assert_int_equal(stutter("seed=3", 0, 1).chance, 0);
    assert_int_equal(stutter("short=0.25,on=2", 2, 1).chance, 250000);
    assert_int_equal(stutter("short=0.25,on=2", 1, 2).chance, 0);
    assert_int_equal(stutter(spec, 0, 1).random, stutter(spec, 0, 1).random);
    assert_true(stutter(spec, 0, 1).random != stutter(spec, 0, 2).random);
    assert_true(stutter(spec, 0, 1).random != stutter(spec, 1, 0).random);
    assert_true(stutter(spec, 0, 1).random != stutter("seed=4,short=0.25", 0, 1).random);
    assert_int_equal(hk_fault_stutter("short=9", 0, 1, &none), HOCKET_ERR_INVALID);
}

static void slots_are_those_of_the_inner_transport(void **state)
{
    (void)state;
    wrapped w;
    wrap_fault(&w, "seed=1");
    assert_string_equal(w.outer->name, "fault(desk)");
    assert_int_equal(w.outer->rank(w.self), RANK);
    assert_int_equal(w.outer->world_size(w.self), PEERS);
    assert_null(w.outer->wake);
    assert_null(w.outer->host_of);
    assert_null(w.outer->alloc);
    assert_null(w.outer->collectives);
    unwrap(&w);
    hocket_transport delegate = desk_transport;
    delegate.flags = HOCKET_TRANSPORT_DELEGATE;
    assert_int_equal(hk_fault_wrap(&delegate, &w.desk, "seed=1", &w.outer, &w.self),
                     HOCKET_ERR_UNSUPPORTED);
    assert_int_equal(hk_trace_wrap(&delegate, &w.desk, "/tmp/x", &w.outer, &w.self),
                     HOCKET_ERR_UNSUPPORTED);
}

/* Which of a hundred operations go in at once. */
static void pattern(const char *spec, char text[101])
{
    wrapped w;
    hocket_op ops[100];
    wrap_fault(&w, spec);
    for (int i = 0; i < 100; i++) {
        int before = w.desk.count;
        ops[i] = make_op(HOCKET_OP_SEND, 1, 5);
        post(&w, &ops[i]);
        text[i] = w.desk.count > before ? '.' : 'h';
        w.outer->cancel(w.self, &ops[i]);
        ((hk_wrap *)w.self)->free_at[2 + HOCKET_OP_SEND] = 0;
    }
    text[100] = '\0';
    unwrap(&w);
}

static void the_seed_decides(void **state)
{
    (void)state;
    char first[101], again[101], other[101], none[101];
    pattern("seed=7,hold=0.5,delay_us=1000000000", first);
    pattern("seed=7,hold=0.5,delay_us=1000000000", again);
    pattern("seed=8,hold=0.5,delay_us=1000000000", other);
    pattern("seed=7,hold=0.5,delay_us=1000000000,on=1", none);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    assert_null(strchr(none, 'h'));
    int held = 0;
    for (int i = 0; i < 100; i++)
        held += first[i] == 'h';
    assert_in_range(held, 25, 75);
}

static void kept_back_operations_stay_in_order(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    wrapped w;
    hocket_op ops[COUNT];
    char bytes[COUNT];
    wrap_fault(&w, "seed=3,hold=0.5,delay_us=3000");
    for (int i = 0; i < COUNT; i++) {
        ops[i] = make_op(HOCKET_OP_SEND, 1 + i % 2, 5);
        ops[i].buffer = &bytes[i];
        post(&w, &ops[i]);
        if (i % 20 == 0)
            sleep_ms(1);
    }
    assert_in_range(w.desk.count, 1, COUNT - 1);
    for (int i = 0; i < 100 && w.desk.count < COUNT; i++) {
        w.outer->progress(w.self, 1000 * HK_SECOND);
        if (w.desk.count < COUNT)
            assert_in_range(w.desk.wait_ns, 0, 3 * HK_MILLISECOND);
        sleep_ms(1);
    }
    assert_int_equal(w.desk.count, COUNT);
    char *last[3] = {NULL, NULL, NULL};
    for (int i = 0; i < COUNT; i++) {
        hocket_op *op = w.desk.posted[i];
        assert_true((char *)op->buffer > last[op->peer]);
        last[op->peer] = op->buffer;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_false(ops[i].done);
        hocket_op_complete(w.desk.posted[i], HOCKET_OK, 0);
    }
    w.outer->progress(w.self, 0);
    for (int i = 0; i < COUNT; i++)
        assert_true(ops[i].done);
    unwrap(&w);
}

#define HELD "hold=1,delay_us=1000000000"

static void news_overtakes_nothing(void **state)
{
    (void)state;
    wrapped w;
    wrap_fault(&w, HELD);
    hocket_op send = make_op(HOCKET_OP_SEND, 1, 5), other = make_op(HOCKET_OP_SEND, 2, 5);
    hocket_op out = make_op(HOCKET_OP_SEND, 1, HK_CONTEXT_NEWS);
    post(&w, &send);
    post(&w, &other);
    assert_int_equal(w.desk.count, 0);
    post(&w, &out);
    assert_int_equal(w.desk.count, 2);
    assert_true(w.desk.posted[0]->context == 5 && w.desk.posted[0]->peer == 1);
    assert_true(w.desk.posted[1]->context == HK_CONTEXT_NEWS);
    hocket_op in = make_op(HOCKET_OP_RECV, 1, HK_CONTEXT_NEWS);
    hocket_op recv = make_op(HOCKET_OP_RECV, 1, 5), far = make_op(HOCKET_OP_RECV, 2, 5);
    post(&w, &in);
    post(&w, &recv);
    post(&w, &far);
    assert_int_equal(w.desk.count, 3);
    w.desk.unread = true; /* the message before the news */
    hocket_op_complete(w.desk.posted[2], HOCKET_OK, 0);
    w.outer->progress(w.self, 0);
    assert_true(in.done && recv.done && !far.done);
    unwrap(&w);
}

static void what_is_there_is_not_kept_back(void **state)
{
    (void)state;
    wrapped w;
    size_t length;
    wrap_fault(&w, HELD);
    hocket_op first = make_op(HOCKET_OP_RECV, 1, 5), second = first, third = first;
    third.tag = 8;
    post(&w, &first);
    assert_int_equal(w.desk.count, 0);
    w.desk.unread = true;
    assert_false(w.outer->probe(w.self, 1, 5, 7, &length)); /* the first one's */
    assert_true(w.outer->probe(w.self, 1, 5, 8, &length));
    post(&w, &second);
    post(&w, &third);
    assert_true(!first.done && !second.done && third.done);
    w.outer->cancel(w.self, &first);
    w.outer->cancel(w.self, &second);
    assert_int_equal(w.desk.cancelled, 0); /* it never had them */
    assert_true(w.outer->probe(w.self, 1, 5, 7, &length));
    unwrap(&w);
}

static void a_lost_peer_ends_its_operations(void **state)
{
    (void)state;
    wrapped w;
    wrap_fault(&w, "lose=2@2");
    hocket_op news = make_op(HOCKET_OP_RECV, 2, HK_CONTEXT_NEWS);
    hocket_op first = make_op(HOCKET_OP_SEND, 2, 5), second = make_op(HOCKET_OP_RECV, 2, 5);
    hocket_op other = make_op(HOCKET_OP_SEND, 1, 5), third = first;
    post(&w, &news);
    post(&w, &first);
    post(&w, &second);
    post(&w, &other);
    assert_int_equal(owner.completed, 0);
    post(&w, &third);
    hocket_op *const all[] = {&news, &first, &second, &third};
    for (int i = 0; i < 4; i++) {
        assert_true(all[i]->done);
        assert_int_equal(all[i]->status, HOCKET_ERR_PEER_LOST);
    }
    assert_false(other.done);
    w.desk.unread = true;
    hocket_op legacy = make_op(HOCKET_OP_RECV, 2, 5);
    post(&w, &legacy);
    assert_true(legacy.done && legacy.status == HOCKET_OK);
    unwrap(&w);
    wrap_fault(&w, "lose=0@1"); /* this rank: from everybody */
    first = make_op(HOCKET_OP_SEND, 1, 5);
    third = make_op(HOCKET_OP_SEND, 3, 5);
    post(&w, &first);
    assert_false(first.done);
    post(&w, &third);
    assert_true(first.status == HOCKET_ERR_PEER_LOST && third.status == HOCKET_ERR_PEER_LOST);
    unwrap(&w);
}

static void progress_is_skipped(void **state)
{
    (void)state;
    wrapped w;
    wrap_fault(&w, "skip=0.5");
    for (int i = 0; i < 100; i++)
        assert_int_equal(w.outer->progress(w.self, 0), HOCKET_OK);
    assert_in_range(w.desk.progressed, 25, 75);
    unwrap(&w);
}

/* === trace, alone ============================================================================ */

static char folder[] = "/tmp/hocket-wrap-XXXXXX";

static void path_of(const char *name, char path[64])
{
    snprintf(path, 64, "%s/%s", folder, name);
}

static cJSON *read_trace(const char *path, int rank)
{
    char name[80];
    snprintf(name, sizeof name, "%s.%d.json", path, rank);
    FILE *file = fopen(name, "r");
    if (file == NULL)
        fail_msg("there is no %s", name);
    fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *text = calloc(1, length + 1);
    assert_int_equal(fread(text, 1, length, file), length);
    fclose(file);
    unlink(name);
    cJSON *trace = cJSON_Parse(text);
    if (trace == NULL)
        fail_msg("%s is no JSON: %.80s", name, cJSON_GetErrorPtr());
    free(text);
    return trace;
}

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    if (!cJSON_IsNumber(item))
        fail_msg("no number %s", name);
    return item->valuedouble;
}

static const cJSON *peer_of(const cJSON *trace, int peer)
{
    const cJSON *one,
        *peers = cJSON_GetObjectItem(cJSON_GetObjectItem(trace, "otherData"), "peers");
    cJSON_ArrayForEach(one, peers)
    {
        if (number_of(one, "peer") == peer)
            return one;
    }
    fail_msg("nothing about rank %d", peer);
    return NULL;
}

/* Each recorded operation begins and ends once; with the forgotten ones they are what the sums say.
 */
static void check_counts(const cJSON *trace)
{
    const cJSON *event, *peer, *other = cJSON_GetObjectItem(trace, "otherData");
    int begun = 0, ended = 0, named = 0, sums = 0;
    double since = 0;
    cJSON_ArrayForEach(event, cJSON_GetObjectItem(trace, "traceEvents"))
    {
        const char *phase = cJSON_GetObjectItem(event, "ph")->valuestring;
        begun += phase[0] == 'b';
        ended += phase[0] == 'e';
        named += phase[0] == 'M';
        if (phase[0] == 'b')
            since = number_of(event, "ts");
        else if (phase[0] == 'e')
            assert_true(number_of(event, "ts") >= since);
    }
    cJSON_ArrayForEach(peer, cJSON_GetObjectItem(other, "peers")) sums +=
        (int)(number_of(peer, "sends") + number_of(peer, "receives") + number_of(peer, "news"));
    assert_int_equal(named, 1);
    assert_int_equal(begun, ended);
    assert_int_equal(begun, (int)(number_of(other, "operations") - number_of(other, "forgotten")));
    assert_int_equal(sums, (int)number_of(other, "operations"));
}

static void the_ring_keeps_the_last_operations(void **state)
{
    (void)state;
    enum { MORE = 10 };
    char path[64];
    wrapped w = {.desk = {.unread = true}};
    path_of("ring", path);
    assert_int_equal(hk_trace_wrap(&desk_transport, &w.desk, path, &w.outer, &w.self), HOCKET_OK);
    assert_string_equal(w.outer->name, "trace(desk)");
    for (int i = 0; i < HK_TRACE_EVENTS + MORE; i++) {
        hocket_op op = make_op(HOCKET_OP_RECV, 3, 5);
        post(&w, &op);
        assert_true(op.done && op.received == 5);
    }
    unwrap(&w);
    cJSON *trace = read_trace(path, RANK);
    check_counts(trace);
    assert_int_equal((int)number_of(cJSON_GetObjectItem(trace, "otherData"), "forgotten"), MORE);
    assert_int_equal((int)number_of(peer_of(trace, 3), "bytes_received"),
                     5 * (HK_TRACE_EVENTS + MORE));
    cJSON_Delete(trace);
}

/* === Worlds ================================================================================== */

typedef struct member {
    const char *backend, *where;
    int rank;
    void (*body)(struct member *me);
    hocket_group *world;
    char failure[256];
    hocket_status status; /* of the body's last call */
    int culprit;
} member;

/* cmocka's asserts work in the main thread only. */
#define NEED(me, condition)                                                                        \
    do {                                                                                           \
        if (!(condition) && (me)->failure[0] == '\0')                                              \
            snprintf((me)->failure, sizeof(me)->failure, "rank %d, line %d: %s (%s)", (me)->rank,  \
                     __LINE__, #condition, hocket_last_error());                                   \
    } while (0)

static void *run_member(void *argument)
{
    member *me = argument;
    hocket_config config = {.size = sizeof config,
                            .backend = me->backend,
                            .rank = me->rank,
                            .world_size = RANKS,
                            .coordinator = me->where,
                            .secret = WIRE_SECRET,
                            .timeout_s = 20,
                            .init_timeout_s = 20};
    NEED(me, hocket_init(&config, &me->world) == HOCKET_OK);
    if (me->world != NULL)
        me->body(me);
    hocket_free(me->world);
    return NULL;
}

static void run_world(const char *backend, void (*body)(member *me), member members[RANKS])
{
    char where[HK_COORDINATOR_MAX];
    pthread_t threads[RANKS];
    wire_free_port("127.0.0.1", where);
    for (int i = 0; i < RANKS; i++) {
        members[i] = (member){.backend = backend, .where = where, .rank = i, .body = body};
        assert_int_equal(pthread_create(&threads[i], NULL, run_member, &members[i]), 0);
    }
    for (int i = 0; i < RANKS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RANKS; i++)
        if (members[i].failure[0] != '\0')
            fail_msg("%s", members[i].failure);
}

static void set(const char *fault, const char *trace)
{
    setenv("HOCKET_FAULT", fault, 1);
    setenv("HOCKET_TRACE", trace, 1);
}

static int clear(void **state)
{
    (void)state;
    unsetenv("HOCKET_FAULT");
    unsetenv("HOCKET_TRACE");
    owner.completed = 0;
    return 0;
}

/* Sums, and messages from all to all that must come in order. */
static void talk(member *me)
{
    enum { ROUNDS = 25 };
    char name[32];
    snprintf(name, sizeof name, "fault(%s)", me->backend);
    NEED(me, strcmp(hocket_backend(me->world), name) == 0);
    for (int i = 0; i < ROUNDS && me->failure[0] == '\0'; i++) {
        float data[100] = {(float)(me->rank + i)};
        int got = -1;
        size_t length = 0;
        NEED(me, hocket_all_sum(me->world, data, 100) == HOCKET_OK);
        NEED(me, data[0] == (float)(RANKS * i + 6));
        for (int to = 0; to < RANKS; to++)
            for (int n = 0; n < 3; n++) {
                int number = 3 * i + n;
                NEED(me, hocket_send_bytes(me->world, to, 1, &number, sizeof number) == HOCKET_OK);
            }
        for (int n = 0; n < 3; n++)
            for (int from = 0; from < RANKS; from++) {
                NEED(me, hocket_probe(me->world, from, 1, NULL, &length) == HOCKET_OK);
                NEED(me,
                     hocket_recv_into(me->world, from, 1, &got, sizeof got, &length) == HOCKET_OK);
                NEED(me, got == 3 * i + n);
            }
    }
}

static void delays_change_no_result(void **state)
{
    (void)state;
    member members[RANKS];
    set("seed=11,hold=0.3,delay_us=400,skip=0.2", "");
    run_world("local", talk, members);
    run_world("tcp", talk, members);
    run_world("shm", talk, members);
}

static void short_reads_and_writes_change_no_result(void **state)
{
    (void)state;
    member members[RANKS];
    set("seed=12,short=0.7", "");
    run_world("tcp", talk, members);
    run_world("shm", talk, members);
    set("seed=13,short=1,hold=0.2,skip=0.2,delay_us=200", "");
    run_world("tcp", talk, members);
}

static void until_it_fails(member *me)
{
    for (int i = 0; i < 1000 && me->status == HOCKET_OK; i++) {
        float one = 1;
        me->status = hocket_all_sum(me->world, &one, 1);
    }
    me->culprit = hocket_last_error_rank();
}

/* Cut off on rank 0 alone, the others have it by news; cut off on all. */
static void a_lost_rank_is_named_by_all(void **state)
{
    (void)state;
    const char *const specs[] = {"lose=2@20,on=0", "lose=2@20", "lose=2@0"};
    for (int i = 0; i < 6; i++) {
        member members[RANKS];
        set(specs[i / 2], "");
        run_world(i % 2 == 0 ? "local" : "tcp", until_it_fails, members);
        for (int rank = 0; rank < RANKS; rank++) {
            assert_int_equal(members[rank].status, HOCKET_ERR_PEER_LOST);
            if (rank != 2)
                assert_int_equal(members[rank].culprit, 2);
            else
                assert_int_not_equal(members[rank].culprit, 2);
        }
    }
}

#define LATE_MS 1500

/* All wait for rank 1. */
static void wait_for_one(member *me)
{
    char text[1000] = "";
    size_t length;
    NEED(me, hocket_barrier(me->world) == HOCKET_OK);
    if (me->rank == 1) {
        sleep_ms(LATE_MS / 2);
        sleep_ms(LATE_MS / 2);
        for (int to = 0; to < RANKS; to++)
            if (to != 1)
                NEED(me, hocket_send_bytes(me->world, to, 1, text, sizeof text) == HOCKET_OK);
    } else {
        NEED(me, hocket_recv_into(me->world, 1, 1, text, sizeof text, &length) == HOCKET_OK);
    }
}

static void a_trace_says_who_waited_for_whom(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        member members[RANKS];
        char path[64];
        path_of("waits", path);
        set("", path);
        run_world(i == 0 ? "local" : "tcp", wait_for_one, members);
        for (int rank = 0; rank < RANKS; rank++) {
            cJSON *trace = read_trace(path, rank);
            check_counts(trace);
            for (int peer = 0; peer < RANKS && rank != 1; peer++) {
                if (peer == rank)
                    continue;
                double waited = number_of(peer_of(trace, peer), "longest_wait_us");
                assert_true(peer == 1 ? waited > LATE_MS * 500 : waited < LATE_MS * 500);
                if (peer == 1)
                    assert_true(number_of(peer_of(trace, peer), "bytes_received") >= 1000);
            }
            cJSON_Delete(trace);
        }
    }
}

static hocket_status init_alone(char name[32])
{
    hocket_group *group = NULL;
    hocket_status status = hocket_init(&(hocket_config){.size = sizeof(hocket_config)}, &group);
    snprintf(name, 32, "%s", hocket_backend(group));
    hocket_free(group);
    return status;
}

static void variables_ask_for_them(void **state)
{
    (void)state;
    char path[64], name[32];
    path_of("alone", path);
    set("hold=0.1", path);
    assert_int_equal(init_alone(name), HOCKET_OK);
    assert_string_equal(name, "trace(fault(local))");
    cJSON_Delete(read_trace(path, 0));
    set("holt=0.1", "");
    assert_int_equal(init_alone(name), HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "holt=0.1"));
    set("lose=1@1", "");
    assert_int_equal(init_alone(name), HOCKET_ERR_INVALID);
    set("", "/nowhere/at/all"); /* a warning */
    assert_int_equal(init_alone(name), HOCKET_OK);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bad_specs_are_told, clear),
        cmocka_unit_test_setup(slots_are_those_of_the_inner_transport, clear),
        cmocka_unit_test_setup(each_connection_stutters_in_its_own_way, clear),
        cmocka_unit_test_setup(the_seed_decides, clear),
        cmocka_unit_test_setup(kept_back_operations_stay_in_order, clear),
        cmocka_unit_test_setup(news_overtakes_nothing, clear),
        cmocka_unit_test_setup(what_is_there_is_not_kept_back, clear),
        cmocka_unit_test_setup(a_lost_peer_ends_its_operations, clear),
        cmocka_unit_test_setup(progress_is_skipped, clear),
        cmocka_unit_test_setup(the_ring_keeps_the_last_operations, clear),
        cmocka_unit_test_setup(delays_change_no_result, clear),
        cmocka_unit_test_setup(short_reads_and_writes_change_no_result, clear),
        cmocka_unit_test_setup(a_lost_rank_is_named_by_all, clear),
        cmocka_unit_test_setup(a_trace_says_who_waited_for_whom, clear),
        cmocka_unit_test_setup(variables_ask_for_them, clear),
    };
    return cmocka_run_group_tests_name("wrapping transports", tests, make_folder, remove_folder);
}
