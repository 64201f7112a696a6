/* What one peer sends over its connection: any bytes, and frames that are nearly right, while this
 * rank receives, sends and takes both back. Another peer's connection must not notice. */
#include "input.h"
#include "transport/link.h"
#include "transport/state.h"
#include "wire/socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BAD = 0, GOOD = 1, PEERS = 2, OPS = 8, CHUNK = 512, FULL_CONTEXT = 3, CONTEXTS = 4 };

static hk_endpoint endpoint; /* the owner of the operations: hocket_op_complete counts there */

typedef struct slot {
    bool used;
    hocket_op op;
} slot;

typedef struct world {
    hk_mailbox box;
    bool gone[PEERS];
    hk_link links[PEERS];
    int ends[PEERS]; /* the peers' ends of the connections */
    slot slots[OPS];
    slot innocent;
    uint64_t writing; /* the ticket of what a device would be writing now; 0: nothing */
} world;

static void hang_up(world *w);

/* === The two ends ============================================================================= */

static void claimed(void *owner, hk_message *message)
{
    world *w = owner;
    hk_link_claimed(&w->links[message->from], message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    world *w = owner;
    hk_link_was_read(&w->links[from], context, bytes);
}

/* A device with a wire or two that knows all memory, does one write at a time, and ends it when it
 * is waited for. A peer that is waited for hangs up. */
static int knows(void *self, const void *memory, size_t bytes, uint32_t keys[HK_WIRES_MAX])
{
    (void)self;
    (void)memory;
    keys[0] = keys[1] = 1;
    return bytes % 2 == 0 ? 1 + (int)(bytes % 4) / 2 : 0;
}

static bool write_there(void *self, const void *from, size_t bytes, uint64_t to,
                        const uint32_t keys[HK_WIRES_MAX], uint64_t ticket)
{
    world *w = self;
    (void)from;
    (void)bytes;
    (void)to;
    if (w->writing != 0 || keys[0] == 0)
        return false;
    w->writing = ticket;
    return true;
}

static void end_write(world *w)
{
    uint64_t ticket = w->writing;
    w->writing = 0;
    if (ticket != 0)
        hk_straight_written(&w->links[BAD], ticket);
}

static void turn(void *self)
{
    world *w = self;
    hocket_status status = HOCKET_OK;
    if (w->writing != 0)
        end_write(w);
    else if (!hk_link_read(&w->links[BAD], &status))
        hang_up(w);
}

static void cut(void *self)
{
    world *w = self;
    w->writing = 0;
    hang_up(w);
}

static const hk_straight_ops device = {.knows = knows,
                                       .write = write_there,
                                       .turn = turn,
                                       .cut = cut};

static void open_world(world *w)
{
    memset(w, 0, sizeof *w);
    w->box = (hk_mailbox){.owner = w, .gone = w->gone, .claimed = claimed, .read = was_read};
    for (int i = 0; i < PEERS; i++) {
        int pair[2];
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        for (int end = 0; end < 2; end++)
            fcntl(pair[end], F_SETFL, O_NONBLOCK);
        w->ends[i] = pair[1];
        hk_pipe pipe;
        FUZZ_CHECK(hk_pipe_open(&pipe, pair[0], NULL) == HOCKET_OK);
        FUZZ_CHECK(hk_link_open(&w->links[i], pipe, i, &w->box, &w->gone[i]) == HOCKET_OK);
    }
    /* As after many messages that nobody has read: what is sent there is announced. */
    hk_window_add(&w->links[BAD].sent, BAD, FULL_CONTEXT, 2 * HK_WINDOW_BYTES);
    /* As after many that this rank has not read: little more may come. */
    hk_window_add(&w->links[BAD].unread, BAD, FULL_CONTEXT, HK_LINK_UNASKED_MAX - 1000);
}

static void hang_up(world *w)
{
    if (w->ends[BAD] >= 0)
        close(w->ends[BAD]);
    w->ends[BAD] = -1;
}

/* What does not fit is lost: the peer may send anything. */
static void deliver(world *w, const uint8_t *bytes, size_t count)
{
    if (w->ends[BAD] >= 0 && count > 0) {
        ssize_t sent = send(w->ends[BAD], bytes, count, HK_SEND_FLAGS);
        (void)sent;
    }
}

static void deliver_frame(world *w, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input), bytes[HK_FRAME_BYTES + CHUNK];
    bool straight = w->links[BAD].straight.ops != NULL;
    hk_frame frame = {.kind = (hk_frame_kind)(1 + how % (straight ? 9 : 6)),
                      .tag = how >> 3 & 1,
                      .context = (how >> 4) % CONTEXTS,
                      .length = fuzz_byte(input),
                      .ticket = fuzz_byte(input)};
    if (frame.kind == HK_FRAME_OFFER)
        frame.length <<= 10;
    size_t body = how & 128 ? fuzz_byte(input) : frame.length;
    bool follows = frame.kind == HK_FRAME_MESSAGE || frame.kind == HK_FRAME_BYTES_OF;
    memset(bytes, 0x5A, sizeof bytes);
    hk_frame_pack(&frame, bytes);
    deliver(w, bytes, HK_FRAME_BYTES + (follows ? body : 0));
}

static void deliver_raw(world *w, fuzz_input *input)
{
    uint8_t bytes[CHUNK];
    deliver(w, bytes, fuzz_take(input, bytes, fuzz_byte(input)));
}

static void drain(world *w)
{
    uint8_t bytes[8192];
    while (w->ends[BAD] >= 0 && recv(w->ends[BAD], bytes, sizeof bytes, 0) > 0)
        ;
}

/* === Operations =============================================================================== */

static void free_slot(slot *s)
{
    free(s->op.buffer);
    memset(s, 0, sizeof *s);
}

static void post(world *w, fuzz_input *input, int kind)
{
    slot *s = &w->slots[fuzz_byte(input) % OPS];
    uint8_t how = fuzz_byte(input);
    if (s->used)
        return;
    s->used = true;
    s->op = (hocket_op){.kind = kind,
                        .peer = BAD,
                        .context = (how >> 1) % CONTEXTS,
                        .tag = how & 1,
                        .take = kind == HOCKET_OP_RECV && (how & 8),
                        .owner = &endpoint};
    if (!s->op.take) {
        s->op.length = (size_t)fuzz_byte(input) * (how & 16 ? 4099 : 1);
        s->op.buffer = calloc(1, s->op.length + 1);
    }
    hocket_status status = kind == HOCKET_OP_SEND ? hk_link_send(&w->links[BAD], &s->op)
                                                  : hk_mailbox_post(&w->box, &s->op);
    FUZZ_CHECK(status == HOCKET_OK);
}

static void cancel(world *w, fuzz_input *input)
{
    slot *s = &w->slots[fuzz_byte(input) % OPS];
    if (!s->used || s->op.done)
        return;
    if (s->op.kind == HOCKET_OP_SEND)
        hk_link_cancel_send(&w->links[BAD], &s->op);
    else
        hk_link_cancel_receive(&w->links[BAD], &s->op);
    free_slot(s);
}

static void free_done(world *w)
{
    for (int i = 0; i < OPS; i++) {
        slot *s = &w->slots[i];
        if (!s->used || !s->op.done)
            continue;
        if (s->op.take && s->op.status != HOCKET_OK)
            FUZZ_CHECK(s->op.buffer == NULL);
        free_slot(s);
    }
}

/* ============================================================================================== */

static void read_all(world *w)
{
    hk_link *link = &w->links[BAD];
    hocket_status status = HOCKET_OK;
    for (bool moved = true; moved && link->pipe.fd >= 0 && status == HOCKET_OK;)
        moved = hk_link_read(link, &status);
    /* A message that is whole has left: nothing may have to follow it. */
    FUZZ_CHECK(link->incoming == NULL || link->incoming->arrived < link->incoming->length);
    FUZZ_CHECK((link->pipe.fd < 0) == w->gone[BAD]);
    FUZZ_CHECK(status != HOCKET_ERR_PROTOCOL || w->gone[BAD]);
    FUZZ_CHECK(hk_window_count(&link->unread, BAD, FULL_CONTEXT) <= HK_LINK_UNASKED_MAX);
    if (status != HOCKET_OK) /* the endpoint breaks and reads no further */
        hang_up(w);
}

static void step(world *w, fuzz_input *input)
{
    hk_link *link = &w->links[BAD];
    switch (fuzz_byte(input) % 10) {
    case 0:
    case 1: post(w, input, HOCKET_OP_RECV); break;
    case 2: post(w, input, HOCKET_OP_SEND); break;
    case 3: cancel(w, input); break;
    case 4:
    case 5: deliver_frame(w, input); break;
    case 6: deliver_raw(w, input); break;
    case 7: read_all(w); break;
    case 8:
        if (link->pipe.fd >= 0)
            hk_link_write(link);
        break;
    case 9:
        drain(w);
        end_write(w);
        break;
    }
}

/* The bad peer's operations have ended, the good peer's goes on and gets its message. */
static void check_end(world *w)
{
    hocket_status status = HOCKET_OK;
    uint8_t bytes[HK_FRAME_BYTES + 4] = {0};
    for (int i = 0; i < OPS; i++)
        FUZZ_CHECK(!w->slots[i].used || w->slots[i].op.done);
    FUZZ_CHECK(!w->gone[GOOD] && !w->innocent.op.done);
    hk_frame frame = {.kind = HK_FRAME_MESSAGE, .context = 1, .tag = 1, .length = 4};
    hk_frame_pack(&frame, bytes);
    FUZZ_CHECK(send(w->ends[GOOD], bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    hk_link_read(&w->links[GOOD], &status);
    FUZZ_CHECK(status == HOCKET_OK && w->innocent.op.done);
    FUZZ_CHECK(w->innocent.op.status == HOCKET_OK && w->innocent.op.received == 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input input = {data, size};
    open_world(&w);
    if (size > 0 && (data[size - 1] & 1)) {
        w.links[BAD].straight.ops = &device;
        w.links[BAD].straight.self = &w;
    }
    w.innocent.op = (hocket_op){.kind = HOCKET_OP_RECV,
                                .peer = GOOD,
                                .context = 1,
                                .tag = 1,
                                .take = true,
                                .owner = &endpoint};
    FUZZ_CHECK(hk_mailbox_post(&w.box, &w.innocent.op) == HOCKET_OK);
    while (input.left > 0) {
        step(&w, &input);
        free_done(&w);
    }
    hang_up(&w);
    for (int i = 0; i < 8 && w.links[BAD].pipe.fd >= 0; i++)
        read_all(&w);
    FUZZ_CHECK(w.links[BAD].pipe.fd < 0);
    check_end(&w);
    free_done(&w);
    free_slot(&w.innocent);
    for (int i = 0; i < PEERS; i++)
        hk_link_close(&w.links[i]);
    hk_mailbox_fini(&w.box);
    hang_up(&w);
    close(w.ends[GOOD]);
    return 0;
}
