/* What a peer sends into a stream over queue pairs: frames with any head over any queue, in any
 * order, twice or never, answers and anything else on the control connection, while this rank
 * writes, reads and repeats. The stream may fail. It may not mix up bytes, post a slot that is
 * posted, or lose one. */
#include "device.h"
#include "transport/verbs/stream.h"
#include "wire/bytes.h"
#include "wire/socket.h"

#include <sys/socket.h>
#include <unistd.h>

enum { WIRES = 2, BULK_BYTES = 2 * HK_VERBS_FRAME, WRITE_MAX = 1 << 16, READ_MAX = 8192 };

enum { AT_MAGIC = 0, AT_KEY = 4, AT_SEQUENCE = 12, AT_NUMBER = 16, AT_HEARD = 20, AT_LENGTH = 24 };
enum { AT_BITS = 28, STALE = 0xEE };

#define MAGIC_DATA 0x64766b68u
#define MAGIC_HEARD 0x68766b68u
#define KEY_IN UINT64_C(0x1122334455667788)
#define QUESTION '?'
#define ANSWER '!'

typedef struct world {
    fuzz_input *input;
    hk_rail rail;
    hk_stream stream;
    int end;  /* the peer's, of the control connection; -1: it has hung up */
    int late; /* ms by which the clock of timers is ahead */
    bool broken;
} world;

static void deliver_something(world *w);

/* What a frame of that sequence has at that place. Nothing else is below STALE's bit. */
static uint8_t pattern(uint32_t sequence, size_t at)
{
    return (uint8_t)((sequence * 31 + sequence / HK_STREAM_WINDOW * 17 + at * 7) & 0x7f);
}

/* === The stream =============================================================================== */

static void poll_for_stream(void *self)
{
    deliver_something(self);
}

static void broke(void *self, hocket_status status)
{
    world *w = self;
    FUZZ_CHECK(status != HOCKET_OK && status == hk_error_last()->status && w->stream.failed);
    w->broken = true;
}

static int lanes(const world *w)
{
    return w->stream.bulk ? HK_STREAM_LANES : 1;
}

static hk_queue_shape shape_of(int lane, bool reliable, int depth)
{
    bool small = lane == HK_STREAM_SMALL;
    int spare = small ? HK_STREAM_SPARE : reliable ? 0 : HK_STREAM_REPEATS;
    return (hk_queue_shape){.reliable = reliable,
                            .slot_bytes = small ? HK_VERBS_FRAME : BULK_BYTES,
                            .receives = depth + spare,
                            .spare = spare,
                            .sends = depth + (small ? HK_STREAM_KEPT_BACK : 0)};
}

static void open_queues(world *w, bool reliable, int depth)
{
    hk_stream *s = &w->stream;
    hk_queue_shape shapes[HK_STREAM_LANES];
    size_t bytes = 0;
    for (int lane = 0; lane < lanes(w); lane++) {
        shapes[lane] = shape_of(lane, reliable, depth);
        bytes += (size_t)s->wires * hk_queue_bytes(&shapes[lane]);
    }
    FUZZ_CHECK(hk_rail_furnish(&w->rail, bytes, 1, s->wires * lanes(w)) == HOCKET_OK);
    for (int i = 0; i < s->wires * lanes(w); i++) {
        hk_queue *queue = &s->queues[i / lanes(w)][i % lanes(w)];
        const hk_queue_end peer = {.number = 1};
        const hk_queue_path path = {.mtu = FUZZ_MTU_MOST};
        FUZZ_CHECK(hk_queue_open(queue, &w->rail, 1, &shapes[i % lanes(w)], s) == HOCKET_OK);
        FUZZ_CHECK(hk_queue_connect(queue, &peer, &path) == HOCKET_OK);
    }
}

static void open_world(world *w, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input);
    int pair[2];
    const hk_stream_owner owner = {.self = w, .hung_up = poll_for_stream, .broke = broke};
    *w = (world){.input = input};
    fuzz_device_begin();
    fuzz_open_rail(&w->rail, "memory");
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    w->end = pair[1];
    bool reliable = how & 1;
    FUZZ_CHECK(hk_stream_open(&w->stream, 1, pair[0], reliable, &owner) == HOCKET_OK);
    w->stream.key_in = KEY_IN;
    w->stream.wires = how & 2 ? WIRES : 1;
    w->stream.bulk = how & 4;
    /* Sequences and numbers come round. */
    w->stream.taken = how & 8 ? UINT32_MAX - 1 : 0;
    w->stream.sent = w->stream.heard = how & 16 ? UINT32_MAX - 1 : 0;
    open_queues(w, reliable, 4 + (how >> 5) * 4);
}

/* === What must be so ========================================================================== */

/* Each receive is posted or has a frame that waits. */
static void check_receives(const world *w, const hk_queue *queue)
{
    int held = 0;
    for (int i = 0; i < HK_STREAM_WINDOW; i++) {
        const hk_stream_held *one = &w->stream.in[i];
        if (one->queue != queue)
            continue;
        held++;
        FUZZ_CHECK(one->length > 0 && one->length <= queue->shape.slot_bytes - HK_STREAM_HEAD);
    }
    FUZZ_CHECK(held + fuzz_pair_of(queue)->receives.count == queue->shape.receives);
}

/* Each slot for a send is free, at the device, or under way. */
static void check_sends(const world *w, const hk_queue *queue)
{
    int busy = 0, kept = 0, under_way = 0;
    for (int i = 0; i < queue->shape.sends; i++) {
        busy += queue->slots[i].posted || queue->slots[i].kept;
        kept += queue->slots[i].kept;
    }
    for (uint32_t i = w->stream.heard; i != w->stream.sent; i++)
        under_way += w->stream.out[i % HK_STREAM_WINDOW].queue == queue;
    FUZZ_CHECK(queue->free_count + busy == queue->shape.sends);
    FUZZ_CHECK(queue->kept_count == kept && kept == under_way);
    FUZZ_CHECK(queue->posted == fuzz_pair_of(queue)->sends.count);
}

static void check_queues(const world *w)
{
    FUZZ_CHECK(!w->broken || w->stream.failed);
    for (int i = 0; i < w->stream.wires * lanes(w) && !w->stream.failed; i++) {
        const hk_queue *queue = &w->stream.queues[i / lanes(w)][i % lanes(w)];
        check_receives(w, queue);
        check_sends(w, queue);
    }
}

/* === The peer ================================================================================= */

static hk_queue *choose_queue(world *w, uint8_t how)
{
    return &w->stream.queues[how % w->stream.wires][(how >> 1) % lanes(w)];
}

static void complete(world *w, uint64_t id, uint32_t status, uint32_t bytes)
{
    const hk_ibv_wc completion = {.wr_id = id, .status = status, .byte_len = bytes};
    hk_queue_work work;
    int slot;
    hk_queue *queue = hk_queue_of(&w->rail, id, &work, &slot);
    FUZZ_CHECK(queue != NULL);
    hk_stream_completed(&w->stream, queue, &completion, work, slot);
}

/* Where no receive is posted the frame is lost, as over UC. Behind its bytes lies what is stale. */
static void deliver(world *w, const hk_queue *queue, const uint8_t head[HK_STREAM_HEAD],
                    uint32_t bytes)
{
    uint64_t id;
    hk_queue_work work;
    int slot;
    if (!fuzz_take_post(&fuzz_pair_of(queue)->receives, &id))
        return;
    hk_queue_of(&w->rail, id, &work, &slot);
    uint8_t *frame = hk_queue_receive_slot(queue, slot);
    memset(frame, STALE, queue->shape.slot_bytes);
    memcpy(frame, head, bytes < HK_STREAM_HEAD ? bytes : HK_STREAM_HEAD);
    for (uint32_t i = HK_STREAM_HEAD; i < bytes; i++)
        frame[i] = pattern(hk_get_u32(head + AT_SEQUENCE), i - HK_STREAM_HEAD);
    complete(w, id, HK_IBV_WC_SUCCESS, bytes);
}

/* One that goes on where this rank is, but for what the input adds to it. */
static void deliver_frame(world *w)
{
    const hk_stream *s = &w->stream;
    uint8_t how = fuzz_byte(w->input), head[HK_STREAM_HEAD] = {0};
    const hk_queue *queue = choose_queue(w, how);
    uint32_t most = (uint32_t)queue->shape.slot_bytes - HK_STREAM_HEAD;
    uint32_t length = (uint32_t)fuzz_number(w->input, how & 128 ? 2 : 1) % (most + 1);
    uint32_t ahead = how & 4 ? (uint32_t)(int32_t)(int8_t)fuzz_byte(w->input) : 0;
    uint32_t skipped = how & 8 ? fuzz_byte(w->input) : 0;
    uint32_t heard = how & 16 ? (uint32_t)(int32_t)(int8_t)fuzz_byte(w->input) : 0;
    bool data = !(how & 32);
    hk_put_u32(head + AT_MAGIC, data ? MAGIC_DATA : MAGIC_HEARD);
    hk_put_u64(head + AT_KEY, KEY_IN);
    hk_put_u32(head + AT_SEQUENCE, s->taken + ahead);
    hk_put_u32(head + AT_NUMBER, queue->numbers_in + skipped);
    hk_put_u32(head + AT_HEARD, s->heard + heard);
    hk_put_u32(head + AT_LENGTH, length);
    if (!data)
        hk_put_u64(head + AT_BITS, fuzz_number(w->input, 8));
    if (how & 64) {
        uint8_t at = fuzz_byte(w->input) % HK_STREAM_HEAD;
        head[at] ^= fuzz_byte(w->input);
    }
    deliver(w, queue, head, HK_STREAM_HEAD + (data ? length : 0));
}

static void deliver_raw(world *w)
{
    uint8_t how = fuzz_byte(w->input), head[HK_STREAM_HEAD] = {0};
    const hk_queue *queue = choose_queue(w, how);
    uint32_t bytes = (uint32_t)fuzz_number(w->input, 2) % ((uint32_t)queue->shape.slot_bytes + 1);
    if (how & 4)
        bytes %= HK_STREAM_HEAD + 2;
    hk_put_u32(head + AT_MAGIC, how & 8 ? MAGIC_DATA : MAGIC_HEARD);
    hk_put_u64(head + AT_KEY, KEY_IN);
    uint32_t from = how & 16 ? 0 : AT_SEQUENCE;
    fuzz_take(w->input, head + from, HK_STREAM_HEAD - from);
    deliver(w, queue, head, bytes);
}

static void deliver_something(world *w)
{
    for (int i = fuzz_byte(w->input) % 4; i >= 0; i--)
        deliver_frame(w);
}

static void speak(world *w)
{
    uint8_t how = fuzz_byte(w->input), bytes[64] = {how & 1 ? ANSWER : QUESTION};
    size_t count = HK_STREAM_CONTROL;
    uint32_t taken = w->stream.heard + (uint32_t)(int32_t)(int8_t)fuzz_byte(w->input);
    hk_put_u32(bytes + 4, taken);
    if (how & 2)
        count = fuzz_take(w->input, bytes, fuzz_byte(w->input) % sizeof bytes);
    if (w->end < 0)
        return;
    ssize_t sent = send(w->end, bytes, count, HK_SEND_FLAGS | MSG_DONTWAIT);
    (void)sent;
    if (how >= 0xf0) {
        close(w->end);
        w->end = -1;
    }
}

/* === The device, and this rank ================================================================ */

static void complete_sends(world *w, uint8_t how, int count)
{
    fuzz_pair *pair = fuzz_pair_of(choose_queue(w, how));
    uint64_t id;
    for (int i = 0; i < count && fuzz_take_post(&pair->sends, &id); i++)
        complete(w, id, HK_IBV_WC_SUCCESS, 0);
}

static void break_something(world *w)
{
    uint8_t how = fuzz_byte(w->input);
    fuzz_pair *pair = fuzz_pair_of(choose_queue(w, how));
    uint64_t id;
    fuzz_device.down = how & 4;
    if (how & 8)
        fuzz_device.calls_left = 1 + (how >> 4);
    else if (fuzz_take_post(how & 16 ? &pair->sends : &pair->receives, &id))
        complete(w, id, 1 + (how >> 5) * 3, 0);
}

static void write_some(world *w)
{
    static const uint8_t zeros[WRITE_MAX];
    size_t first = fuzz_byte(w->input), second = fuzz_number(w->input, 2);
    const struct iovec parts[] = {{.iov_base = (void *)(uintptr_t)zeros, .iov_len = first},
                                  {.iov_base = (void *)(uintptr_t)zeros, .iov_len = second}};
    ssize_t sent = hk_stream_carrier.write(&w->stream, parts, 2);
    FUZZ_CHECK(sent != 0 && sent <= (ssize_t)(first + second));
}

/* The bytes that lie there in order. */
static size_t expect(const hk_stream *s, uint8_t *to, size_t room)
{
    size_t count = 0, at = s->offset;
    for (uint32_t i = s->taken; s->in[i % HK_STREAM_WINDOW].queue != NULL && count < room; i++) {
        for (; at < s->in[i % HK_STREAM_WINDOW].length && count < room; at++)
            to[count++] = pattern(i, at);
        at = 0;
    }
    return count;
}

static void read_some(world *w)
{
    uint8_t wanted[READ_MAX], got[READ_MAX];
    size_t room = 1 + fuzz_number(w->input, 2) % READ_MAX, split = fuzz_byte(w->input) % room;
    size_t there = expect(&w->stream, wanted, room);
    const struct iovec parts[] = {{.iov_base = got, .iov_len = split},
                                  {.iov_base = got + split, .iov_len = room - split}};
    FUZZ_CHECK(there == 0 || hk_stream_has_news(&w->stream));
    ssize_t count = hk_stream_carrier.read(&w->stream, parts, 2);
    FUZZ_CHECK(count <= (ssize_t)room && (there == 0 || count > 0));
    FUZZ_CHECK((size_t)(count > 0 ? count : 0) >= there || w->stream.failed);
    for (ssize_t i = 0; i < count; i++)
        FUZZ_CHECK((size_t)i < there ? got[i] == wanted[i] : got[i] < 0x80);
}

/* Who is told to come again at once must have a reason. */
static void tick(world *w)
{
    uint8_t how = fuzz_byte(w->input);
    w->late += how >> 1;
    hk_time now = hk_now() + w->late * HK_MILLISECOND;
    hk_time next = hk_stream_tick(&w->stream, now, how & 1);
    FUZZ_CHECK(next > now || w->stream.pressing || w->stream.failed);
}

static void step(world *w)
{
    uint8_t what = fuzz_byte(w->input);
    switch (what % 10) {
    case 0:
    case 1:
    case 2: deliver_frame(w); break;
    case 3: deliver_raw(w); break;
    case 4: complete_sends(w, what >> 4, fuzz_byte(w->input)); break;
    case 5: write_some(w); break;
    case 6: read_some(w); break;
    case 7: tick(w); break;
    case 8: speak(w); break;
    case 9:
        if (what >= 0xe0)
            break_something(w);
        break;
    }
}

/* After all of it: a stream that has not failed takes the next frame, where the peer has left it
 * room, and hears that all is well. */
static void check_end(world *w)
{
    hk_stream *s = &w->stream;
    uint8_t head[HK_STREAM_HEAD] = {0};
    for (uint8_t i = 0; i < 4; i++)
        complete_sends(w, i, FUZZ_POSTS_MAX);
    const hk_queue *queue = &s->queues[0][HK_STREAM_SMALL];
    if (s->failed || s->ended || fuzz_pair_of(queue)->receives.count == 0)
        return;
    hk_put_u32(head + AT_MAGIC, MAGIC_DATA);
    hk_put_u64(head + AT_KEY, KEY_IN);
    hk_put_u32(head + AT_SEQUENCE, s->taken);
    hk_put_u32(head + AT_NUMBER, queue->numbers_in);
    hk_put_u32(head + AT_HEARD, s->sent);
    hk_put_u32(head + AT_LENGTH, 1);
    fuzz_device.calls_left = -1;
    deliver(w, queue, head, HK_STREAM_HEAD + 1);
    FUZZ_CHECK(!s->failed && s->heard == s->sent && hk_stream_has_news(s));
    for (uint8_t i = 0; i < 4; i++)
        complete_sends(w, i, FUZZ_POSTS_MAX);
    FUZZ_CHECK(!hk_stream_carrier.unsent(s) && !hk_stream_posted(s));
    check_queues(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input input = {data, size};
    open_world(&w, &input);
    while (input.left > 0) {
        step(&w);
        check_queues(&w);
    }
    check_end(&w);
    hk_stream_carrier.close(&w.stream);
    hk_rail_close(&w.rail);
    FUZZ_CHECK(fuzz_device.pairs == 0 && fuzz_device.regions == 0);
    close(w.stream.control);
    if (w.end >= 0)
        close(w.end);
    return 0;
}
