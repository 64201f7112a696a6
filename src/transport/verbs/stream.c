#include "transport/verbs/stream.h"

#include "core/log.h"
#include "wire/bytes.h"
#include "wire/socket.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The head. What lies between its end and HK_STREAM_HEAD is zero. */
#define AT_MAGIC 0
#define AT_KEY 4
#define AT_SEQUENCE 12
#define AT_NUMBER 16
#define AT_HEARD 20
#define AT_LENGTH 24
#define AT_BITS 28
#define GAP_BITS 64

#define MAGIC_DATA 0x64766b68u  /* "hkvd" */
#define MAGIC_HEARD 0x68766b68u /* "hkvh" */

#define BULK_LEAST ((size_t)12 << 10) /* bytes left: below, small frames are as good */
#define UNANSWERED_MAX (HK_STREAM_SPARE / 2)

#define REPEAT_NS (10 * HK_MILLISECOND) /* the first time, then twice as long each time */
#define REPEAT_MAX_NS (500 * HK_MILLISECOND)
#define REPEAT_AGAIN_NS HK_MILLISECOND /* not the same frame sooner, whoever asks */
#define TELL_NS                                                                                    \
    (200 * HK_MICROSECOND) /* what was taken, when nothing goes that way that could say it */
#define ASK_AFTER HK_STREAM_REPEATS /* repeats in a row without an answer */
#define STRIKES_MAX 8               /* answers in a row that brought nothing */

#define LINGER_NS (10 * HK_MILLISECOND) /* the end may come by a faster way than the last words */
#define LOOK_READS 64 /* of the control connection, before the others get a look */
#define QUESTION '?'
#define ANSWER '!'

static int distance(uint32_t from, uint32_t to)
{
    return (int)(int32_t)(to - from);
}

static hk_stream_sent *sent_at(const hk_stream *s, uint32_t sequence)
{
    return &s->out[sequence % HK_STREAM_WINDOW];
}

static hk_stream_held *held_at(const hk_stream *s, uint32_t sequence)
{
    return &s->in[sequence % HK_STREAM_WINDOW];
}

/* === Life ===================================================================================== */

hocket_status hk_stream_open(hk_stream *s, int peer, int control, bool reliable,
                             const hk_stream_owner *owner)
{
    *s = (hk_stream){
        .peer = peer, .control = control, .reliable = reliable, .owner = *owner, .due = HK_FOREVER};
    s->out = calloc(HK_STREAM_WINDOW, sizeof *s->out);
    s->in = calloc(HK_STREAM_WINDOW, sizeof *s->in);
    if (s->out != NULL && s->in != NULL)
        return HOCKET_OK;
    hk_stream_close(s);
    return hk_fail_memory(HK_STREAM_WINDOW * (sizeof *s->out + sizeof *s->in), "a stream");
}

void hk_stream_close(hk_stream *s)
{
    for (int wire = 0; wire < HK_WIRES_MAX; wire++)
        for (int lane = 0; lane < HK_STREAM_LANES; lane++)
            hk_queue_close(&s->queues[wire][lane]);
    hk_writes_fini(&s->writes);
    free(s->out);
    free(s->in);
    s->out = NULL;
    s->in = NULL;
    s->failed = true;
}

/* The wire, or what came over it, is no good: the link ends, and the peer with it. */
static void fail(hk_stream *s, const char *why)
{
    if (!s->failed)
        hk_log(HK_LOG_INFO, -1, "the wire to rank %d: %s", s->peer, why);
    s->failed = true;
}

/* A call of this rank's own device failed: posting does not depend on the peer. */
static void broke(hk_stream *s, hocket_status status)
{
    s->failed = true;
    s->owner.broke(s->owner.self, status);
}

bool hk_stream_has_news(const hk_stream *s)
{
    return s->failed || s->ended || held_at(s, s->taken)->queue != NULL;
}

bool hk_stream_posted(const hk_stream *s)
{
    for (int wire = 0; wire < s->wires; wire++)
        for (int lane = 0; lane < HK_STREAM_LANES; lane++)
            if (s->queues[wire][lane].posted > 0)
                return true;
    return false;
}

/* === Out ====================================================================================== */

/* All that the peer is to know goes with any frame. */
static void told(hk_stream *s)
{
    s->owes = s->pressing = false;
    for (int wire = 0; wire < s->wires; wire++)
        for (int lane = 0; lane < HK_STREAM_LANES; lane++)
            s->queues[wire][lane].untold = 0;
}

static bool post(hk_stream *s, hk_queue *queue, int slot, size_t bytes)
{
    uint8_t *head = hk_queue_send_slot(queue, slot);
    hk_put_u32(head + AT_NUMBER, queue->numbers_out++);
    hk_put_u32(head + AT_HEARD, s->taken);
    hocket_status status = hk_queue_send(queue, slot, bytes);
    if (status != HOCKET_OK) {
        broke(s, status);
        return false;
    }
    told(s);
    return true;
}

static bool has_room(const hk_queue *queue)
{
    int kept_back = queue->shape.slot_bytes == HK_VERBS_FRAME ? HK_STREAM_KEPT_BACK : 0;
    int most = queue->shape.sends - kept_back;
    return queue->kept_count < most && queue->free_count > kept_back;
}

/* The queue of that lane with the fewest frames under way; NULL: all are full. */
static hk_queue *choose_queue(hk_stream *s, hk_stream_lane lane)
{
    hk_queue *best = NULL;
    for (int wire = 0; wire < s->wires; wire++) {
        hk_queue *queue = &s->queues[wire][lane];
        if (has_room(queue) && (best == NULL || queue->kept_count < best->kept_count))
            best = queue;
    }
    return best;
}

static void fill_head(const hk_stream *s, uint8_t *head, uint32_t magic, uint32_t length)
{
    memset(head, 0, HK_STREAM_HEAD);
    hk_put_u32(head + AT_MAGIC, magic);
    hk_put_u64(head + AT_KEY, s->key_out);
    hk_put_u32(head + AT_LENGTH, length);
}

/* Where the bytes of a write come from. */
typedef struct source {
    const struct iovec *parts;
    int count, at;
    size_t offset;
} source;

static size_t left_in(const source *from)
{
    size_t left = 0;
    for (int i = from->at; i < from->count; i++)
        left += from->parts[i].iov_len;
    return left - (from->at < from->count ? from->offset : 0);
}

static size_t take_bytes(source *from, uint8_t *to, size_t room)
{
    size_t moved = 0;
    while (from->at < from->count && moved < room) {
        const struct iovec *part = &from->parts[from->at];
        size_t bytes = part->iov_len - from->offset;
        if (bytes > room - moved)
            bytes = room - moved;
        if (bytes > 0)
            memcpy(to + moved, (const uint8_t *)part->iov_base + from->offset, bytes);
        moved += bytes;
        from->offset += bytes;
        if (from->offset == part->iov_len) {
            from->at++;
            from->offset = 0;
        }
    }
    return moved;
}

static bool send_frame(hk_stream *s, hk_queue *queue, source *from, size_t *moved)
{
    int slot = hk_queue_take(queue);
    uint8_t *frame = hk_queue_send_slot(queue, slot);
    *moved = take_bytes(from, frame + HK_STREAM_HEAD, queue->shape.slot_bytes - HK_STREAM_HEAD);
    fill_head(s, frame, MAGIC_DATA, (uint32_t)*moved);
    hk_put_u32(frame + AT_SEQUENCE, s->sent);
    size_t bytes = HK_STREAM_HEAD + *moved;
    queue->slots[slot].kept = true;
    queue->kept_count++;
    if (!s->reliable && s->sent == s->heard) {
        s->patience = REPEAT_NS;
        s->due = hk_now() + s->patience;
    }
    *sent_at(s, s->sent++) = (hk_stream_sent){.queue = queue,
                                              .slot = slot,
                                              .bytes = bytes,
                                              .number = queue->numbers_out};
    return post(s, queue, slot, bytes);
}

static ssize_t stream_write(void *self, const struct iovec *parts, int count)
{
    hk_stream *s = self;
    source from = {.parts = parts, .count = count};
    size_t total = 0;
    for (size_t left = left_in(&from); left > 0 && !s->failed && !s->ended;) {
        bool bulk = s->bulk && left >= BULK_LEAST;
        hk_queue *queue = choose_queue(s, bulk ? HK_STREAM_BULK : HK_STREAM_SMALL);
        size_t moved;
        if (queue == NULL || distance(s->heard, s->sent) >= HK_STREAM_WINDOW ||
            !send_frame(s, queue, &from, &moved))
            break;
        total += moved;
        left -= moved;
    }
    if (total > 0)
        return (ssize_t)total;
    errno = s->failed || s->ended ? EPIPE : EAGAIN;
    return -1;
}

/* === Telling what was taken =================================================================== */

static void put_gap(const hk_stream *s, uint8_t *head)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < GAP_BITS; i++)
        if (held_at(s, s->taken + i)->queue != NULL)
            bits |= UINT64_C(1) << i;
    hk_put_u64(head + AT_BITS, bits);
}

/* Without a free slot it is for the next tick. */
static void tell(hk_stream *s)
{
    s->pressing = true;
    for (int wire = 0; wire < s->wires && !s->failed; wire++) {
        hk_queue *queue = &s->queues[wire][HK_STREAM_SMALL];
        int slot = hk_queue_take(queue);
        if (slot < 0)
            continue;
        uint8_t *head = hk_queue_send_slot(queue, slot);
        fill_head(s, head, MAGIC_HEARD, 0);
        put_gap(s, head);
        s->unanswered++;
        s->gap = false;
        post(s, queue, slot, HK_STREAM_HEAD);
        return;
    }
}

static void owe(hk_stream *s)
{
    if (!s->owes && !s->reliable)
        s->owed_since = hk_now();
    s->owes = true;
}

/* Half of what a queue takes: the peer must not run dry. */
static bool must_tell(const hk_queue *queue)
{
    return queue->untold >= (queue->shape.receives - queue->shape.spare + 1) / 2;
}

/* === In ======================================================================================= */

static bool repost(hk_stream *s, hk_queue *queue, int slot)
{
    if (s->failed)
        return false;
    hocket_status status = hk_queue_receive(queue, slot);
    if (status != HOCKET_OK)
        broke(s, status);
    return status == HOCKET_OK;
}

static void take_frame(hk_stream *s, hk_stream_held *held)
{
    hk_queue *queue = held->queue;
    int slot = held->slot;
    *held = (hk_stream_held){.queue = NULL};
    s->offset = 0;
    s->taken++;
    queue->untold++;
    if (!repost(s, queue, slot))
        return;
    owe(s);
    if (must_tell(queue))
        tell(s);
}

static size_t put_bytes(const uint8_t *from, size_t bytes, const struct iovec *parts, int count,
                        size_t skip)
{
    size_t moved = 0;
    for (int i = 0; i < count && moved < bytes; i++) {
        if (skip >= parts[i].iov_len) {
            skip -= parts[i].iov_len;
            continue;
        }
        size_t room = parts[i].iov_len - skip;
        if (room > bytes - moved)
            room = bytes - moved;
        memcpy((uint8_t *)parts[i].iov_base + skip, from + moved, room);
        moved += room;
        skip = 0;
    }
    return moved;
}

static size_t read_frames(hk_stream *s, const struct iovec *parts, int count)
{
    size_t total = 0;
    for (;;) {
        hk_stream_held *held = held_at(s, s->taken);
        if (held->queue == NULL)
            return total;
        const uint8_t *frame = hk_queue_receive_slot(held->queue, held->slot);
        size_t moved = put_bytes(frame + HK_STREAM_HEAD + s->offset, held->length - s->offset,
                                 parts, count, total);
        if (moved == 0)
            return total;
        total += moved;
        s->offset += moved;
        if (s->offset == held->length)
            take_frame(s, held);
        if (s->failed)
            return total;
    }
}

static void heard_all_before(hk_stream *s, uint32_t sequence);

static void answer(hk_stream *s)
{
    uint8_t bytes[HK_STREAM_CONTROL] = {ANSWER};
    hk_put_u32(bytes + 4, s->taken);
    ssize_t sent = send(s->control, bytes, sizeof bytes, HK_SEND_FLAGS);
    (void)sent; /* a full connection has answers enough on it */
}

/* It looks and it answers, so it lives: does anything arrive? */
static void answered(hk_stream *s, uint32_t taken)
{
    uint32_t before = s->heard;
    s->asking = false;
    heard_all_before(s, taken);
    if (s->heard != before || s->heard == s->sent)
        return;
    if (++s->strikes >= STRIKES_MAX)
        fail(s, "the peer answers over its other connection, but what is repeated here does not "
                "arrive there: is the cable out?");
}

/* The control connection: questions, answers, and its end. */
static void look_at_control(hk_stream *s)
{
    for (int i = 0; i < LOOK_READS && !s->ended && !s->failed; i++) {
        ssize_t got = recv(s->control, s->question + s->question_bytes,
                           HK_STREAM_CONTROL - s->question_bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (got <= 0) {
            s->ended = true;
            s->ends = hk_now() + LINGER_NS;
            return;
        }
        s->question_bytes += (size_t)got;
        if (s->question_bytes < HK_STREAM_CONTROL)
            continue;
        s->question_bytes = 0;
        if (s->question[0] == QUESTION)
            answer(s);
        else if (s->question[0] == ANSWER)
            answered(s, hk_get_u32(s->question + 4));
        else
            fail(s, "something strange came over the control connection");
    }
}

void hk_stream_look(hk_stream *s)
{
    if (!s->failed && !s->ended)
        look_at_control(s);
}

static ssize_t stream_read(void *self, const struct iovec *parts, int count)
{
    hk_stream *s = self;
    size_t got = s->out != NULL ? read_frames(s, parts, count) : 0;
    if (got > 0)
        return (ssize_t)got;
    hk_stream_look(s);
    if (s->ended && !s->failed) { /* what came before its end still counts */
        s->owner.hung_up(s->owner.self);
        got = read_frames(s, parts, count);
        if (got > 0 || hk_now() >= s->ends)
            return (ssize_t)got;
    }
    errno = s->failed ? ECONNRESET : EAGAIN;
    return -1;
}

/* === Completions ============================================================================== */

static void release(hk_queue *queue, int slot)
{
    queue->slots[slot].kept = false;
    queue->kept_count--;
    hk_queue_settle(queue, slot);
}

static void heard_all_before(hk_stream *s, uint32_t sequence)
{
    int more = distance(s->heard, sequence);
    if (more > distance(s->heard, s->sent)) {
        fail(s, "the peer has heard what was not said");
        return;
    }
    if (more <= 0)
        return;
    for (; s->heard != sequence; s->heard++) {
        const hk_stream_sent *one = sent_at(s, s->heard);
        release(one->queue, one->slot);
    }
    s->repeats = 0;
    s->strikes = 0;
    s->patience = REPEAT_NS;
    if (!s->reliable)
        s->due = s->heard != s->sent ? hk_now() + s->patience : HK_FOREVER;
}

/* Not while it is still to go the time before. */
static void repeat(hk_stream *s, uint32_t sequence, hk_time now)
{
    hk_stream_sent *one = sent_at(s, sequence);
    if (one->queue->slots[one->slot].posted || now - one->repeated < REPEAT_AGAIN_NS)
        return;
    one->repeated = now;
    one->number = one->queue->numbers_out;
    post(s, one->queue, one->slot, one->bytes);
}

/* A queue keeps its order: what has come behind it there shows that it is lost. What came by other
 * queues shows nothing. */
static bool is_overtaken(const hk_stream *s, uint32_t sequence, uint64_t bits)
{
    const hk_stream_sent *one = sent_at(s, sequence);
    for (uint32_t i = 0; i < GAP_BITS && distance(s->heard + i, s->sent) > 0; i++) {
        const hk_stream_sent *other = sent_at(s, s->heard + i);
        if ((bits >> i & 1) && other->queue == one->queue &&
            distance(one->number, other->number) > 0)
            return true;
    }
    return false;
}

/* The peer lacks the frame that it waits for, and those of the bits that are 0: some are lost, the
 * others may be under way. */
static void fill_gap(hk_stream *s, uint64_t bits)
{
    if (s->reliable || bits == 0)
        return;
    hk_time now = hk_now();
    for (uint32_t i = 0; bits >> i != 0 && !s->failed; i++) {
        if (distance(s->heard + i, s->sent) <= 0)
            return;
        if ((bits >> i & 1) == 0 && is_overtaken(s, s->heard + i, bits))
            repeat(s, s->heard + i, now);
        if (i == GAP_BITS - 1)
            return;
    }
}

static void hear(hk_stream *s, const uint8_t *head, hk_queue *queue, int slot)
{
    uint32_t heard = hk_get_u32(head + AT_HEARD);
    uint64_t bits = hk_get_u64(head + AT_BITS);
    if (!repost(s, queue, slot))
        return;
    if (heard == s->heard) /* else the bits are those of an older one */
        fill_gap(s, bits);
}

static void hold(hk_stream *s, const uint8_t *head, hk_queue *queue, int slot)
{
    uint32_t sequence = hk_get_u32(head + AT_SEQUENCE);
    int ahead = distance(s->taken, sequence);
    if (ahead >= HK_STREAM_WINDOW) {
        fail(s, "a frame came that is far ahead");
        return;
    }
    hk_stream_held *held = held_at(s, sequence);
    if (ahead < 0 || held->queue != NULL) { /* twice: the peer does not know that it is here */
        if (repost(s, queue, slot))
            owe(s);
        return;
    }
    *held = (hk_stream_held){.queue = queue, .slot = slot, .length = hk_get_u32(head + AT_LENGTH)};
    if (s->gap)
        owe(s);
}

/* A number that was skipped is a frame that was lost, and so is all that its queue brings before it
 * is repeated; frames of other queues may simply come later. */
static void count_number(hk_stream *s, hk_queue *queue, uint32_t number)
{
    if (number != queue->numbers_in && !s->reliable)
        s->gap = true;
    queue->numbers_in = number + 1;
}

static void arrived(hk_stream *s, hk_queue *queue, int slot, uint32_t bytes)
{
    const uint8_t *head = hk_queue_receive_slot(queue, slot);
    uint32_t magic = bytes >= HK_STREAM_HEAD ? hk_get_u32(head + AT_MAGIC) : 0;
    uint32_t length = bytes >= HK_STREAM_HEAD ? hk_get_u32(head + AT_LENGTH) : 0;
    bool data = magic == MAGIC_DATA && length > 0 && length <= bytes - HK_STREAM_HEAD;
    if ((!data && magic != MAGIC_HEARD) || hk_get_u64(head + AT_KEY) != s->key_in) {
        fail(s, "a frame came that is none of hocket's, or of another job");
        return;
    }
    s->unanswered = 0;
    count_number(s, queue, hk_get_u32(head + AT_NUMBER));
    heard_all_before(s, hk_get_u32(head + AT_HEARD));
    if (s->failed)
        return;
    if (data)
        hold(s, head, queue, slot);
    else
        hear(s, head, queue, slot);
    if (s->gap && !s->failed && s->unanswered < UNANSWERED_MAX)
        tell(s);
}

/* Whose fault it is: the own device's, or the peer's. Sends fail before a port says that it is
 * down. */
static void judge(hk_stream *s, hk_queue *queue, const hk_ibv_wc *completion)
{
    char why[160];
    snprintf(why, sizeof why, "device %s, port %d: %s (status %" PRIu32 ", vendor's %#" PRIx32 ")",
             queue->rail->device.name, queue->rail->port.number,
             hk_verbs_wc_text(completion->status), completion->status, completion->vendor_err);
    hocket_status status = hk_rail_check(queue->rail);
    if (status == HOCKET_OK && hk_verbs_wc_is_own(completion->status))
        status = hk_fail(HOCKET_ERR_SYSTEM, "%s", why);
    fail(s, why);
    if (status != HOCKET_OK)
        broke(s, status);
}

void hk_stream_completed(hk_stream *s, hk_queue *queue, const hk_ibv_wc *completion,
                         hk_queue_work work, int slot)
{
    if (s->failed)
        return;
    if (completion->status != HK_IBV_WC_SUCCESS) {
        judge(s, queue, completion);
    } else if (work == HK_QUEUE_RECEIVE) {
        arrived(s, queue, slot, completion->byte_len);
    } else if (work == HK_QUEUE_WRITE || work == HK_QUEUE_READ) {
        hocket_status status = hk_writes_completed(&s->writes, queue, work, slot);
        if (status != HOCKET_OK)
            broke(s, status);
    } else {
        queue->slots[slot].posted = false;
        queue->posted--;
        hk_queue_settle(queue, slot);
    }
}

/* === Timers =================================================================================== */

/* One question at a time: a peer that was stopped would answer many at once, before it has taken
 * what came meanwhile. */
static void ask(hk_stream *s)
{
    uint8_t bytes[HK_STREAM_CONTROL] = {QUESTION};
    if (s->asking)
        return;
    ssize_t sent = send(s->control, bytes, sizeof bytes, HK_SEND_FLAGS);
    s->asking = sent > 0; /* else the next time */
}

static void repeat_first(hk_stream *s, hk_time now)
{
    repeat(s, s->heard, now);
    s->repeats++;
    s->patience = 2 * s->patience < REPEAT_MAX_NS ? 2 * s->patience : REPEAT_MAX_NS;
    s->due = now + s->patience;
    if (s->repeats >= ASK_AFTER)
        ask(s);
}

hk_time hk_stream_tick(hk_stream *s, hk_time now, bool naps)
{
    if (s->failed || s->ended)
        return HK_FOREVER;
    if (s->pressing)
        tell(s);
    if (s->reliable)
        return HK_FOREVER;
    bool may_tell = s->owes && s->unanswered < UNANSWERED_MAX;
    if (may_tell && (naps || now - s->owed_since >= TELL_NS))
        tell(s);
    if (now >= s->due && !s->failed)
        repeat_first(s, now);
    if (s->owes && s->unanswered < UNANSWERED_MAX && s->owed_since + TELL_NS < s->due)
        return s->owed_since + TELL_NS;
    return s->due;
}

bool hk_stream_unsettled(const hk_stream *s)
{
    return !s->reliable && !s->failed && !s->ended && (s->owes || s->heard != s->sent);
}

/* === The pipe's =============================================================================== */

/* What RC has completed is in the peer's memory; what UC has completed may be nowhere. */
static bool stream_unsent(void *self)
{
    hk_stream *s = self;
    if (s->failed || s->ended)
        return false;
    return s->reliable ? hk_stream_posted(s) : s->heard != s->sent;
}

static void stream_close(void *self)
{
    hk_stream_close(self);
}

const hk_pipe_carrier hk_stream_carrier = {.write = stream_write,
                                           .read = stream_read,
                                           .unsent = stream_unsent,
                                           .close = stream_close};
