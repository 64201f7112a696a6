/* A link whose peer breaks the rules: its operations end, those with others do not notice. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "transport/link.h"
#include "transport/state.h"

enum { BAD, GOOD, PEERS, CONTEXT = 1, FULL = 2, TAG = 3 };

static hk_endpoint endpoint; /* the owner of the operations */

typedef struct fixture {
    hk_mailbox box;
    bool gone[PEERS];
    hk_link links[PEERS];
    int ends[PEERS]; /* the peers' */
    char buffers[PEERS][64];
    hocket_op receives[PEERS];
    hocket_op offer; /* to BAD, announced and not asked for: its ticket is 1 */
} fixture;

static void claimed(void *owner, hk_message *message)
{
    fixture *f = owner;
    hk_link_claimed(&f->links[message->from], message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    fixture *f = owner;
    hk_link_was_read(&f->links[from], context, bytes);
}

static hocket_op make_op(int kind, int peer, uint64_t context, void *buffer, size_t length)
{
    return (hocket_op){.kind = kind,
                       .peer = peer,
                       .context = context,
                       .tag = TAG,
                       .buffer = buffer,
                       .length = length,
                       .owner = &endpoint};
}

static int set_up(void **state)
{
    static fixture f;
    memset(&f, 0, sizeof f);
    f.box = (hk_mailbox){.owner = &f, .gone = f.gone, .claimed = claimed, .read = was_read};
    for (int i = 0; i < PEERS; i++) {
        int pair[2];
        hk_pipe pipe;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        for (int end = 0; end < 2; end++)
            fcntl(pair[end], F_SETFL, O_NONBLOCK);
        assert_int_equal(hk_pipe_open(&pipe, pair[0], NULL), HOCKET_OK);
        assert_int_equal(hk_link_open(&f.links[i], pipe, i, &f.box, &f.gone[i]), HOCKET_OK);
        f.ends[i] = pair[1];
        f.receives[i] = make_op(HOCKET_OP_RECV, i, CONTEXT, f.buffers[i], sizeof f.buffers[i]);
        assert_int_equal(hk_mailbox_post(&f.box, &f.receives[i]), HOCKET_OK);
    }
    /* As after many messages that nobody has read. */
    hk_window_add(&f.links[BAD].sent, BAD, FULL, 2 * HK_WINDOW_BYTES);
    f.offer = make_op(HOCKET_OP_SEND, BAD, FULL, "offered", 7);
    assert_int_equal(hk_link_send(&f.links[BAD], &f.offer), HOCKET_OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < PEERS; i++) {
        hk_link_close(&f->links[i]);
        if (f->ends[i] >= 0)
            close(f->ends[i]);
    }
    hk_mailbox_fini(&f->box);
    return 0;
}

/* === Shorthands =============================================================================== */

static void say(fixture *f, int peer, hk_frame frame, const char *body)
{
    uint8_t bytes[HK_FRAME_BYTES];
    hk_frame_pack(&frame, bytes);
    assert_int_equal(write(f->ends[peer], bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(write(f->ends[peer], body, strlen(body)), strlen(body));
}

static void say_message(fixture *f, int peer, const char *text)
{
    hk_frame frame = {.kind = HK_FRAME_MESSAGE,
                      .context = CONTEXT,
                      .tag = TAG,
                      .length = strlen(text)};
    say(f, peer, frame, text);
}

static void hang_up(fixture *f)
{
    close(f->ends[BAD]);
    f->ends[BAD] = -1;
}

static void hear(fixture *f, int peer)
{
    hocket_status status = HOCKET_OK;
    while (f->links[peer].pipe.fd >= 0 && hk_link_read(&f->links[peer], &status))
        ;
    assert_int_equal(status, HOCKET_OK);
}

/* What the peer gets to hear next. */
static hk_frame heard(fixture *f, int peer)
{
    uint8_t bytes[HK_FRAME_BYTES];
    hk_frame frame;
    assert_int_equal(read(f->ends[peer], bytes, sizeof bytes), sizeof bytes);
    assert_true(hk_frame_unpack(bytes, &frame));
    return frame;
}

static void assert_alive(fixture *f, int peer)
{
    assert_false(f->gone[peer] || f->receives[peer].done);
    say_message(f, peer, "still here");
    hear(f, peer);
    assert_true(f->receives[peer].done);
    assert_int_equal(f->receives[peer].status, HOCKET_OK);
    assert_memory_equal(f->buffers[peer], "still here", 10);
}

static void assert_lost(fixture *f)
{
    assert_true(f->gone[BAD] && f->links[BAD].pipe.fd < 0);
    assert_true(f->receives[BAD].done && f->offer.done);
    assert_int_equal(f->receives[BAD].status, HOCKET_ERR_PEER_LOST);
    assert_int_equal(f->offer.status, HOCKET_ERR_PEER_LOST);
    hocket_op late = make_op(HOCKET_OP_SEND, BAD, CONTEXT, "late", 4);
    assert_int_equal(hk_link_send(&f->links[BAD], &late), HOCKET_OK);
    assert_true(late.done);
    assert_int_equal(late.status, HOCKET_ERR_PEER_LOST);
    late = make_op(HOCKET_OP_RECV, BAD, CONTEXT, f->buffers[BAD], 4);
    assert_int_equal(hk_mailbox_post(&f->box, &late), HOCKET_OK);
    assert_true(late.done);
    assert_int_equal(late.status, HOCKET_ERR_PEER_LOST);
    assert_alive(f, GOOD);
}

/* === Streams that break the rules ============================================================= */

static void rule_breakers_are_lost(void **state)
{
    static const hk_frame wrong[] = {
        {.kind = 0},
        {.kind = HK_FRAME_KINDS},
        {.kind = HK_FRAME_MESSAGE, .length = HK_WINDOW_BYTES + 1},
        {.kind = HK_FRAME_MESSAGE, .length = HK_FRAME_LENGTH_MAX},
        {.kind = HK_FRAME_ANNOUNCE, .length = HK_FRAME_LENGTH_MAX + 1, .ticket = 1},
        {.kind = HK_FRAME_ANNOUNCE, .length = 5},
        {.kind = HK_FRAME_BYTES_OF, .length = 5, .ticket = 1},
        {.kind = HK_FRAME_BYTES_OF},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *fixture_of_one;
        set_up(&fixture_of_one);
        fixture *f = fixture_of_one;
        say(f, BAD, wrong[i], "");
        hear(f, BAD);
        assert_lost(f);
        tear_down(&fixture_of_one);
    }
}

/* Messages of some bytes in a context where nobody receives. */
static void fill(fixture *f, hk_frame frame)
{
    char body[600] = "";
    memset(body, 'f', frame.length);
    say(f, BAD, frame, body);
}

/* As after messages that nobody has read, up to 1000 bytes below the limit. */
static void what_nobody_reads_has_a_limit(void **state)
{
    fixture *f = *state;
    hocket_status status = HOCKET_OK;
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .context = FULL, .tag = TAG, .length = 500};
    char buffer[600];
    hk_window_add(&f->links[BAD].unread, BAD, FULL, HK_LINK_UNASKED_MAX - 1000);
    for (int i = 0; i < 3; i++) { /* what is read makes room, and other contexts have their own */
        fill(f, frame);
        hear(f, BAD);
        hocket_op op = make_op(HOCKET_OP_RECV, BAD, FULL, buffer, sizeof buffer);
        assert_int_equal(hk_mailbox_post(&f->box, &op), HOCKET_OK);
        assert_true(op.done && op.received == 500);
    }
    fill(f, frame);
    hear(f, BAD);
    assert_false(f->gone[BAD]);
    frame.length = 1000 - 500 - 2 * HK_MESSAGE_COST; /* to the last byte */
    fill(f, frame);
    hear(f, BAD);
    assert_int_equal(hk_window_count(&f->links[BAD].unread, BAD, FULL), HK_LINK_UNASKED_MAX);
    assert_false(f->gone[BAD]);
    frame.length = 0;
    fill(f, frame);
    assert_true(hk_link_read(&f->links[BAD], &status));
    assert_int_equal(status, HOCKET_ERR_PROTOCOL);
    assert_int_equal(hocket_last_error_rank(), BAD);
    assert_non_null(
        strstr(hocket_last_error(), "rank 0 sends 0 bytes unasked while 272629760 are"));
    assert_lost(f);
}

/* The other side of it: to the last byte unasked, and no further. */
static void a_link_keeps_to_the_limit(void **state)
{
    fixture *f = *state;
    char bytes[100] = "";
    hocket_op last = make_op(HOCKET_OP_SEND, BAD, CONTEXT, bytes, sizeof bytes);
    hocket_op next = make_op(HOCKET_OP_SEND, BAD, CONTEXT, bytes, 0);
    size_t cost = hk_mailbox_cost(sizeof bytes);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE); /* the offer */
    hk_window_add(&f->links[BAD].sent, BAD, CONTEXT, HK_LINK_UNASKED_MAX - cost);
    assert_int_equal(hk_link_send(&f->links[BAD], &last), HOCKET_OK);
    assert_int_equal(hk_link_send(&f->links[BAD], &next), HOCKET_OK);
    assert_true(last.done && !next.done);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_MESSAGE);
    assert_int_equal(read(f->ends[BAD], bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE);
    hk_link_cancel_send(&f->links[BAD], &next);
}

static void another_length_than_announced_is_wrong(void **state)
{
    fixture *f = *state;
    hk_frame announce = {
        .kind = HK_FRAME_ANNOUNCE, .context = CONTEXT, .tag = TAG, .length = 5, .ticket = 4};
    say(f, BAD, announce, "");
    hear(f, BAD);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE); /* the offer */
    hk_frame ask = heard(f, BAD);
    assert_int_equal(ask.kind, HK_FRAME_ASK);
    assert_int_equal(ask.ticket, 4);
    say(f, BAD, (hk_frame){.kind = HK_FRAME_BYTES_OF, .length = 500, .ticket = 4}, "");
    hear(f, BAD);
    assert_lost(f);
}

static void streams_may_end_anywhere(void **state)
{
    fixture *f = *state;
    uint8_t bytes[HK_FRAME_BYTES];
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .context = CONTEXT, .tag = TAG, .length = 9};
    hk_frame_pack(&frame, bytes);
    assert_int_equal(write(f->ends[BAD], bytes, 31), 31); /* in the middle of a header */
    hear(f, BAD);
    assert_false(f->gone[BAD]);
    hang_up(f);
    hear(f, BAD);
    assert_lost(f);
}

static void messages_may_end_anywhere(void **state)
{
    fixture *f = *state;
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .context = CONTEXT, .tag = TAG, .length = 9};
    say(f, BAD, frame, "half");
    hear(f, BAD);
    assert_false(f->receives[BAD].done);
    hang_up(f);
    hear(f, BAD);
    assert_lost(f);
}

static void what_came_whole_can_be_received_later(void **state)
{
    fixture *f = *state;
    char buffer[8];
    say_message(f, BAD, "first");
    say_message(f, BAD, "second");
    say(f, BAD, (hk_frame){.kind = 99}, "");
    hear(f, BAD);
    assert_int_equal(f->receives[BAD].status, HOCKET_OK);
    assert_memory_equal(f->buffers[BAD], "first", 5);
    hocket_op op = make_op(HOCKET_OP_RECV, BAD, CONTEXT, buffer, sizeof buffer);
    assert_int_equal(hk_mailbox_post(&f->box, &op), HOCKET_OK);
    assert_true(op.done && op.status == HOCKET_OK && op.received == 6);
    assert_alive(f, GOOD);
}

/* === Frames that come too late or mean nothing ================================================ */

static void frames_about_nothing_are_passed_over(void **state)
{
    static const hk_frame idle[] = {
        {.kind = HK_FRAME_ASK, .ticket = 77},
        {.kind = HK_FRAME_WITHDRAW, .ticket = 77},
        {.kind = HK_FRAME_WITHDRAW},
        {.kind = HK_FRAME_READ, .context = 12345, .length = HK_FRAME_LENGTH_MAX},
        {.kind = HK_FRAME_READ, .context = FULL, .length = HK_FRAME_LENGTH_MAX},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++)
        say(f, BAD, idle[i], "");
    hear(f, BAD);
    assert_alive(f, BAD);
    assert_alive(f, GOOD);
}

static void announced_and_withdrawn(void **state)
{
    fixture *f = *state;
    hk_frame announce = {
        .kind = HK_FRAME_ANNOUNCE, .context = CONTEXT, .tag = TAG, .length = 5, .ticket = 4};
    say(f, BAD, announce, ""); /* twice with the same ticket: the first is claimed */
    say(f, BAD, announce, "");
    say(f, BAD, (hk_frame){.kind = HK_FRAME_WITHDRAW, .ticket = 4}, "");
    say(f, BAD, (hk_frame){.kind = HK_FRAME_WITHDRAW, .ticket = 4}, "");
    hear(f, BAD);
    assert_alive(f, BAD);
}

/* Nothing had to follow it, and so it never ended. */
static void an_empty_announced_message_ends_at_once(void **state)
{
    fixture *f = *state;
    hk_frame announce = {.kind = HK_FRAME_ANNOUNCE, .context = CONTEXT, .tag = TAG, .ticket = 4};
    say(f, BAD, announce, "");
    say(f, BAD, (hk_frame){.kind = HK_FRAME_BYTES_OF, .ticket = 4}, "");
    hear(f, BAD);
    assert_true(f->receives[BAD].done);
    assert_int_equal(f->receives[BAD].status, HOCKET_OK);
    assert_int_equal(f->receives[BAD].received, 0);
}

static void an_offer_goes_when_asked_for(void **state)
{
    fixture *f = *state;
    char body[8] = "";
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE);
    say(f, BAD, (hk_frame){.kind = HK_FRAME_ASK, .ticket = 1}, "");
    hear(f, BAD);
    assert_true(f->offer.done && f->offer.status == HOCKET_OK);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_BYTES_OF);
    assert_int_equal(read(f->ends[BAD], body, sizeof body), 7);
    assert_string_equal(body, "offered");
    say(f, BAD, (hk_frame){.kind = HK_FRAME_ASK, .ticket = 1}, ""); /* once is enough */
    hear(f, BAD);
    assert_alive(f, BAD);
}

/* === Straight into memory ===================================================================== */

enum { WIRES = 2, WHERE = 0x1234 };

/* The keys that the device was given; 0: it has not begun. */
static uint32_t given[HK_WIRES_MAX];

static int knows(void *self, const void *memory, size_t bytes, uint32_t keys[HK_WIRES_MAX])
{
    (void)self;
    (void)memory;
    (void)bytes;
    keys[0] = 7;
    keys[1] = 8;
    return WIRES;
}

static bool begins(void *self, const void *from, size_t bytes, uint64_t to,
                   const uint32_t keys[HK_WIRES_MAX], uint64_t ticket)
{
    (void)self;
    (void)from;
    assert_int_equal(bytes, HK_STRAIGHT_LEAST);
    assert_int_equal(to, WHERE);
    assert_int_equal(ticket, 2);
    assert_int_equal(given[0], 0);
    memcpy(given, keys, sizeof given);
    return true;
}

static const hk_straight_ops device = {.knows = knows, .write = begins};

/* A device of two wires, and a send that has been offered over it; its ticket is 2. */
static void offer_straight(fixture *f, hocket_op *send)
{
    static char bytes[HK_STRAIGHT_LEAST];
    memset(given, 0, sizeof given);
    f->links[BAD].straight.ops = &device;
    *send = make_op(HOCKET_OP_SEND, BAD, CONTEXT, bytes, sizeof bytes);
    assert_int_equal(hk_link_send(&f->links[BAD], send), HOCKET_OK);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_OFFER);
}

static hk_frame here(uint64_t wire, uint64_t where)
{
    return (hk_frame){.kind = HK_FRAME_HERE,
                      .tag = 100 + (uint32_t)wire,
                      .context = where,
                      .length = wire,
                      .ticket = 2};
}

static void the_device_begins_with_the_last_wires_key(void **state)
{
    fixture *f = *state;
    hocket_op send;
    offer_straight(f, &send);
    say(f, BAD, here(0, WHERE), "");
    hear(f, BAD);
    assert_int_equal(given[0], 0);
    say(f, BAD, here(1, WHERE), "");
    hear(f, BAD);
    assert_int_equal(given[0], 100);
    assert_int_equal(given[1], 101);
    assert_false(send.done);
    hk_straight_written(&f->links[BAD], 2);
    assert_true(send.done && send.status == HOCKET_OK);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_WRITTEN);
    assert_alive(f, BAD);
}

static void a_receiver_says_each_wires_key(void **state)
{
    fixture *f = *state;
    static char bytes[HK_STRAIGHT_LEAST];
    hocket_op receive = make_op(HOCKET_OP_RECV, BAD, 5, bytes, sizeof bytes);
    f->links[BAD].straight.ops = &device;
    assert_int_equal(hk_mailbox_post(&f->box, &receive), HOCKET_OK);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE);
    hk_frame offer = {
        .kind = HK_FRAME_OFFER, .context = 5, .tag = TAG, .length = sizeof bytes, .ticket = 1};
    say(f, BAD, offer, "");
    hear(f, BAD);
    for (int wire = 0; wire < WIRES; wire++) {
        hk_frame answer = heard(f, BAD);
        assert_int_equal(answer.kind, HK_FRAME_HERE);
        assert_int_equal(answer.tag, 7 + wire);
        assert_int_equal(answer.length, wire);
        assert_int_equal(answer.context, (uintptr_t)bytes);
        assert_int_equal(answer.ticket, 1);
    }
    assert_false(receive.done);
    say(f, BAD, (hk_frame){.kind = HK_FRAME_WRITTEN, .ticket = 1}, "");
    hear(f, BAD);
    assert_true(receive.done && receive.status == HOCKET_OK);
    assert_alive(f, BAD);
}

/* Of another order, for one wire too many, or of two places. */
static void keys_that_make_no_sense_end_the_link(void **state)
{
    const hk_frame wrong[][3] = {
        {here(1, WHERE)},
        {here(0, WHERE), here(0, WHERE)},
        {here(0, WHERE), here(2, WHERE)},
        {here(0, WHERE), here(HK_FRAME_LENGTH_MAX, WHERE)},
        {here(0, WHERE), here(1, WHERE + 1)},
        {here(0, WHERE), here(1, WHERE), here(1, WHERE)},
        {here(0, WHERE), here(1, WHERE), here(2, WHERE)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *fixture_of_one;
        hocket_op send;
        set_up(&fixture_of_one);
        fixture *f = fixture_of_one;
        offer_straight(f, &send);
        for (int k = 0; k < 3 && wrong[i][k].kind != 0; k++) {
            assert_false(f->gone[BAD]);
            say(f, BAD, wrong[i][k], "");
            hear(f, BAD);
        }
        assert_true(send.done && send.status == HOCKET_ERR_PEER_LOST);
        assert_lost(f);
        tear_down(&fixture_of_one);
    }
}

/* === Sends taken back ========================================================================= */

/* The rest goes from a copy, which had been freed twice: once sent, and when the link closed. */
static void a_send_that_has_begun_is_finished_from_a_copy(void **state)
{
    enum { LONG = 4 << 20 };
    fixture *f = *state;
    char *bytes = malloc(LONG), *got = malloc(LONG);
    memset(bytes, 'x', LONG);
    hocket_op op = make_op(HOCKET_OP_SEND, BAD, CONTEXT, bytes, LONG);
    assert_int_equal(heard(f, BAD).kind, HK_FRAME_ANNOUNCE);
    assert_int_equal(hk_link_send(&f->links[BAD], &op), HOCKET_OK);
    assert_false(op.done); /* a socket does not take as much */
    hk_link_cancel_send(&f->links[BAD], &op);
    memset(bytes, 'y', LONG);
    assert_int_equal(heard(f, BAD).length, LONG);
    for (size_t have = 0; have < LONG;) {
        ssize_t more = read(f->ends[BAD], got + have, LONG - have);
        assert_true(more > 0);
        have += (size_t)more;
        hk_link_write(&f->links[BAD]);
    }
    assert_null(memchr(got, 'y', LONG));
    assert_false(op.done || hk_link_wants_to_write(&f->links[BAD]));
    free(bytes);
    free(got);
}

/* === Forgotten contexts ======================================================================= */

static int entries(const hk_window *window)
{
    int count = 0;
    for (int i = 0; i < HK_WINDOW_BUCKETS; i++)
        count += window->buckets[i] != NULL;
    return count;
}

static void a_forgotten_context_is_not_counted(void **state)
{
    fixture *f = *state;
    hk_link *link = &f->links[BAD];
    say_message(f, BAD, "read");
    hear(f, BAD);
    assert_int_equal(entries(&link->sent), 1);
    assert_int_equal(entries(&link->read), 1);
    hk_link_forget(link, FULL);
    assert_int_equal(entries(&link->sent), 0);
    assert_int_equal(entries(&link->read), 1);
    hk_link_forget(link, CONTEXT);
    assert_int_equal(entries(&link->read), 0);
    hk_link_forget(link, CONTEXT);
}

/* Its group was freed between its first bytes and its last. */
static void the_rest_of_a_forgotten_message_is_read_past(void **state)
{
    fixture *f = *state;
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .context = 5, .tag = TAG, .length = 6};
    hk_frame announce = {
        .kind = HK_FRAME_ANNOUNCE, .context = 5, .tag = TAG + 1, .length = 4, .ticket = 4};
    char buffer[8];
    hocket_op op = make_op(HOCKET_OP_RECV, BAD, 5, buffer, sizeof buffer);
    op.tag = TAG + 1;
    assert_int_equal(hk_mailbox_post(&f->box, &op), HOCKET_OK);
    say(f, BAD, announce, "");
    say(f, BAD, frame, "abc");
    hear(f, BAD);
    hk_mailbox_cancel(&f->box, &op); /* the message is asked for, and nobody wants it */
    hk_mailbox_forget(&f->box, 5);
    assert_int_equal(write(f->ends[BAD], "def", 3), 3);
    say(f, BAD, (hk_frame){.kind = HK_FRAME_BYTES_OF, .ticket = 4, .length = 4}, "long");
    hear(f, BAD);
    assert_alive(f, BAD);
    size_t length;
    assert_false(hk_mailbox_probe(&f->box, BAD, 5, TAG, &length));
    say(f, BAD, frame, "abc"); /* a late one, of which the end never comes */
    hear(f, BAD);
    hk_mailbox_forget(&f->box, 5);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_breakers_are_lost),
        CASE(what_nobody_reads_has_a_limit),
        CASE(a_link_keeps_to_the_limit),
        CASE(another_length_than_announced_is_wrong),
        CASE(streams_may_end_anywhere),
        CASE(messages_may_end_anywhere),
        CASE(what_came_whole_can_be_received_later),
        CASE(frames_about_nothing_are_passed_over),
        CASE(announced_and_withdrawn),
        CASE(an_empty_announced_message_ends_at_once),
        CASE(an_offer_goes_when_asked_for),
        CASE(the_device_begins_with_the_last_wires_key),
        CASE(a_receiver_says_each_wires_key),
        cmocka_unit_test(keys_that_make_no_sense_end_the_link),
        CASE(a_send_that_has_begun_is_finished_from_a_copy),
        CASE(a_forgotten_context_is_not_counted),
        CASE(the_rest_of_a_forgotten_message_is_read_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
