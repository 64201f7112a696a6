/* A stream over UC repeats what its peer lacks and nothing else, and answers in turns: on a device
 * in memory. */
#include "fuzz/device.h"
#include "harness.h"
#include "transport/verbs/stream.h"
#include "wire/bytes.h"

#include <sys/socket.h>
#include <unistd.h>

enum { AT_KEY = 4, AT_NUMBER = 16, AT_BITS = 28, DEPTH = 8, BULK_BYTES = 2 * HK_VERBS_FRAME };
enum { BULK_FRAMES = 4, SMALL_FRAMES = 3 }; /* of what is written */

#define MAGIC_HEARD 0x68766b68u
#define AGAIN_SECONDS 0.002 /* before that no frame is repeated again */

typedef struct world {
    hk_rail rail;
    hk_stream stream;
    int ends[2];
} world;

static void poll_nothing(void *self)
{
    (void)self;
}

static void broke(void *self, hocket_status status)
{
    (void)self;
    CHECK_OK(status);
}

static void open_world(world *w)
{
    const hk_stream_owner owner = {.self = w, .hung_up = poll_nothing, .broke = broke};
    const hk_queue_shape shapes[] = {{.slot_bytes = HK_VERBS_FRAME,
                                      .receives = DEPTH + HK_STREAM_SPARE,
                                      .spare = HK_STREAM_SPARE,
                                      .sends = DEPTH + HK_STREAM_KEPT_BACK},
                                     {.slot_bytes = BULK_BYTES,
                                      .receives = DEPTH + HK_STREAM_REPEATS,
                                      .spare = HK_STREAM_REPEATS,
                                      .sends = DEPTH}};
    fuzz_device_begin();
    fuzz_open_rail(&w->rail, "memory");
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, w->ends) == 0);
    CHECK_OK(hk_stream_open(&w->stream, 1, w->ends[0], false, &owner));
    w->stream.wires = 1;
    w->stream.bulk = true;
    CHECK_OK(hk_rail_furnish(&w->rail, hk_queue_bytes(&shapes[0]) + hk_queue_bytes(&shapes[1]), 1,
                             HK_STREAM_LANES));
    for (int lane = 0; lane < HK_STREAM_LANES; lane++) {
        hk_queue *queue = &w->stream.queues[0][lane];
        const hk_queue_end peer = {.number = 1};
        const hk_queue_path path = {.mtu = FUZZ_MTU_MOST};
        CHECK_OK(hk_queue_open(queue, &w->rail, 1, &shapes[lane], &w->stream));
        CHECK_OK(hk_queue_connect(queue, &peer, &path));
    }
}

static void close_world(world *w)
{
    hk_stream_carrier.close(&w->stream);
    hk_rail_close(&w->rail);
    for (int i = 0; i < 2; i++)
        close(w->ends[i]);
}

static void complete(world *w, uint64_t id, uint32_t bytes)
{
    const hk_ibv_wc completion = {.wr_id = id, .byte_len = bytes};
    hk_queue_work work;
    int slot;
    hk_queue *queue = hk_queue_of(&w->rail, id, &work, &slot);
    hk_stream_completed(&w->stream, queue, &completion, work, slot);
}

/* The device has sent all. Returns how many that were. */
static int complete_sends(world *w, hk_stream_lane lane)
{
    uint64_t id;
    int count = 0;
    for (; fuzz_take_post(&fuzz_pair_of(&w->stream.queues[0][lane])->sends, &id); count++)
        complete(w, id, 0);
    return count;
}

/* The peer has taken nothing, and has the frames of the bits. */
static void hear(world *w, uint64_t bits)
{
    hk_queue *queue = &w->stream.queues[0][HK_STREAM_SMALL];
    hk_queue_work work;
    int slot;
    uint64_t id;
    sleep_seconds(AGAIN_SECONDS);
    CHECK(fuzz_take_post(&fuzz_pair_of(queue)->receives, &id));
    hk_queue_of(&w->rail, id, &work, &slot);
    uint8_t *head = hk_queue_receive_slot(queue, slot);
    memset(head, 0, HK_STREAM_HEAD);
    hk_put_u32(head, MAGIC_HEARD);
    hk_put_u64(head + AT_KEY, w->stream.key_in);
    hk_put_u32(head + AT_NUMBER, queue->numbers_in);
    hk_put_u64(head + AT_BITS, bits);
    complete(w, id, HK_STREAM_HEAD);
    CHECK(!w->stream.failed);
}

static void what_is_late_is_not_repeated(void **state)
{
    (void)state;
    static const uint8_t zeros[BULK_FRAMES * (BULK_BYTES - HK_STREAM_HEAD) + 8244];
    static world w;
    open_world(&w);
    const struct iovec part = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = sizeof zeros};
    CHECK_INT(sizeof zeros, hk_stream_carrier.write(&w.stream, &part, 1));
    CHECK_INT(BULK_FRAMES, complete_sends(&w, HK_STREAM_BULK));
    CHECK_INT(SMALL_FRAMES, complete_sends(&w, HK_STREAM_SMALL));

    hear(&w, 0x70); /* the small ones have overtaken the others on their own queue */
    CHECK_INT(0, complete_sends(&w, HK_STREAM_BULK));
    hear(&w, 0x72); /* the first one is lost, as the second is there */
    CHECK_INT(1, complete_sends(&w, HK_STREAM_BULK));
    hear(&w, 0x72); /* it has been sent again, behind all */
    CHECK_INT(0, complete_sends(&w, HK_STREAM_BULK));
    hear(&w, 0x7a); /* the third */
    CHECK_INT(1, complete_sends(&w, HK_STREAM_BULK));
    hear(&w, 0x7e); /* the third is there, so the first is lost again */
    CHECK_INT(1, complete_sends(&w, HK_STREAM_BULK));
    CHECK_INT(0, complete_sends(&w, HK_STREAM_SMALL));
    close_world(&w);
}

/* The peer is stopped: its device takes what is repeated, itself nothing. When it goes on it
 * answers what it was asked before it has taken anything, and is no less alive for that. */
static void a_peer_is_asked_once(void **state)
{
    (void)state;
    static world w;
    uint8_t bytes[2 * HK_STREAM_CONTROL] = {0};
    const struct iovec part = {.iov_base = bytes, .iov_len = 1};
    open_world(&w);
    CHECK_INT(1, hk_stream_carrier.write(&w.stream, &part, 1));
    hk_time now = hk_now();
    for (int i = 0; i < 40; i++) {
        complete_sends(&w, HK_STREAM_SMALL);
        now += HK_SECOND;
        hk_stream_tick(&w.stream, now, false);
    }
    CHECK_INT(HK_STREAM_CONTROL, recv(w.ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    CHECK_INT('?', bytes[0]);
    const uint8_t none_taken[HK_STREAM_CONTROL] = {'!'};
    CHECK_INT(HK_STREAM_CONTROL, send(w.ends[1], none_taken, sizeof none_taken, 0));
    hk_stream_look(&w.stream);
    CHECK(!w.stream.failed);
    complete_sends(&w, HK_STREAM_SMALL);
    hk_stream_tick(&w.stream, now + HK_SECOND, false); /* asks again */
    CHECK_INT(HK_STREAM_CONTROL, recv(w.ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    close_world(&w);
}

static int count_answers(const world *w)
{
    uint8_t bytes[HK_STREAM_CONTROL];
    int count = 0;
    for (; recv(w->ends[1], bytes, sizeof bytes, MSG_DONTWAIT) == (ssize_t)sizeof bytes; count++)
        CHECK_INT('!', bytes[0]);
    return count;
}

/* Who asks without end does not keep a rank from its other peers. */
static void questions_are_answered_in_turns(void **state)
{
    (void)state;
    enum { QUESTIONS = 200, MOST_AT_ONCE = 100 };
    static uint8_t questions[QUESTIONS * HK_STREAM_CONTROL], bytes[1];
    static world w;
    int answers = 0;
    open_world(&w);
    for (int i = 0; i < QUESTIONS; i++)
        questions[i * HK_STREAM_CONTROL] = '?';
    CHECK_INT(sizeof questions, send(w.ends[1], questions, sizeof questions, 0));
    for (int turns = 0; turns < QUESTIONS && answers < QUESTIONS; turns++) {
        const struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
        CHECK_INT(-1, hk_stream_carrier.read(&w.stream, &part, 1));
        int more = count_answers(&w);
        CHECK_THAT(more > 0 && more <= MOST_AT_ONCE, "%d answers at once", more);
        answers += more;
    }
    CHECK_INT(QUESTIONS, answers);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_late_is_not_repeated),
        cmocka_unit_test(a_peer_is_asked_once),
        cmocka_unit_test(questions_are_answered_in_turns),
    };
    return cmocka_run_group_tests_name("verbs stream", tests, NULL, NULL);
}
