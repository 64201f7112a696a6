/* The mailbox, driven as a transport drives it: arrivals, announcements, receives, and taking all
 * of them back, in any order. */
#include "input.h"
#include "transport/mailbox.h"
#include "transport/state.h"

enum { PEERS = 2, OPS = 12, ASKED = 16, LENGTH_MAX = 300 };

static hk_endpoint endpoint; /* the owner of the operations: hocket_op_complete counts there */

typedef struct slot {
    bool used;
    hocket_op op;
} slot;

typedef struct world {
    hk_mailbox box;
    bool gone[PEERS];
    hk_message *incoming[PEERS];
    hk_message *asked[ASKED];
    int asked_count;
    uint64_t tickets;
    size_t unread; /* arrived unasked and not yet reported as read */
    slot slots[OPS];
} world;

static void claimed(void *owner, hk_message *message)
{
    world *w = owner;
    FUZZ_CHECK(w->asked_count < ASKED);
    w->asked[w->asked_count++] = message;
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    world *w = owner;
    FUZZ_CHECK(from >= 0 && from < PEERS && context < 2);
    FUZZ_CHECK(bytes <= w->unread);
    w->unread -= bytes;
}

/* === Receives ================================================================================= */

/* A message's bytes count up from anywhere. */
static void check_bytes(const hocket_op *op)
{
    const uint8_t *bytes = op->buffer;
    for (size_t i = 1; i < op->received; i++)
        FUZZ_CHECK((uint8_t)(bytes[i] - bytes[i - 1]) == 1);
}

static void free_slot(slot *s)
{
    free(s->op.buffer);
    memset(s, 0, sizeof *s);
}

static void end_slot(slot *s)
{
    if (s->op.status == HOCKET_OK)
        check_bytes(&s->op);
    else
        FUZZ_CHECK(!s->op.take || s->op.buffer == NULL);
    if (s->op.status == HOCKET_ERR_INVALID)
        FUZZ_CHECK(s->op.received > s->op.length);
    free_slot(s);
}

static void post(world *w, fuzz_input *input)
{
    slot *s = &w->slots[fuzz_byte(input) % OPS];
    uint8_t how = fuzz_byte(input);
    if (s->used || w->asked_count == ASKED) /* it may ask for one more */
        return;
    s->used = true;
    s->op = (hocket_op){.kind = HOCKET_OP_RECV,
                        .peer = how & 1,
                        .context = how >> 1 & 1,
                        .tag = how >> 2 & 1,
                        .take = how >> 3 & 1,
                        .owner = &endpoint};
    if (!s->op.take) {
        s->op.length = fuzz_byte(input);
        s->op.buffer = malloc(s->op.length + 1);
    }
    FUZZ_CHECK(hk_mailbox_post(&w->box, &s->op) == HOCKET_OK);
}

static void cancel(world *w, fuzz_input *input)
{
    slot *s = &w->slots[fuzz_byte(input) % OPS];
    if (!s->used || s->op.done)
        return;
    hk_mailbox_cancel(&w->box, &s->op);
    FUZZ_CHECK(!s->op.done && (!s->op.take || s->op.buffer == NULL));
    free_slot(s);
}

/* === Messages ================================================================================= */

static void arrive(world *w, fuzz_input *input, bool announced)
{
    uint8_t how = fuzz_byte(input);
    int from = how & 1;
    size_t length = (size_t)fuzz_byte(input) * 2 % LENGTH_MAX;
    if (w->gone[from] || w->incoming[from] != NULL || (announced && w->asked_count > ASKED / 2))
        return;
    if (!announced)
        w->unread += hk_mailbox_cost(length);
    uint8_t *whole = !announced && (how & 8) ? malloc(length + 1) : NULL;
    for (size_t i = 0; whole != NULL && i < length; i++)
        whole[i] = (uint8_t)(how + i);
    bool done;
    hk_message *message = hk_mailbox_arrive(&w->box, from, how >> 1 & 1, how >> 2 & 1, length,
                                            announced ? ++w->tickets : 0, whole, &done);
    FUZZ_CHECK(message != NULL);
    FUZZ_CHECK(done || (!announced && whole == NULL && length > 0));
    if (!done)
        w->incoming[from] = message;
}

static void bytes(world *w, fuzz_input *input)
{
    int from = fuzz_byte(input) & 1;
    size_t count = fuzz_byte(input);
    hk_message *message = w->incoming[from];
    if (message == NULL)
        return;
    size_t left = message->length - message->arrived;
    count = count < left ? count : left;
    uint8_t *space = hk_message_space(message);
    for (size_t i = 0; i < count; i++)
        space[i] = (uint8_t)(message->arrived + i);
    if (count == left)
        w->incoming[from] = NULL;
    hk_mailbox_arrived(message, count);
}

static hk_message *take_asked(world *w, int at)
{
    hk_message *message = w->asked[at];
    w->asked[at] = w->asked[--w->asked_count];
    return message;
}

/* The sender sends what was asked for. */
static void answer(world *w, fuzz_input *input)
{
    int at = fuzz_byte(input);
    if (w->asked_count == 0 || w->incoming[w->asked[at % w->asked_count]->from] != NULL)
        return;
    hk_message *message = take_asked(w, at % w->asked_count);
    if (message->length == 0)
        hk_mailbox_arrived(message, 0);
    else
        w->incoming[message->from] = message;
}

static void withdraw(world *w, fuzz_input *input)
{
    int from = fuzz_byte(input) & 1;
    uint64_t ticket = 1 + fuzz_byte(input) % (w->tickets + 1);
    hk_message *message = NULL;
    for (int i = 0; i < w->asked_count && message == NULL; i++)
        if (w->asked[i]->ticket == ticket && w->asked[i]->from == from)
            message = take_asked(w, i);
    if (message == NULL)
        message = hk_mailbox_announced(&w->box, from, ticket);
    if (message != NULL && message != w->incoming[from])
        hk_mailbox_withdraw(&w->box, message);
}

static void lose(world *w, int peer)
{
    w->gone[peer] = true;
    if (w->incoming[peer] != NULL)
        hk_mailbox_drop(&w->box, w->incoming[peer]);
    w->incoming[peer] = NULL;
    for (int i = w->asked_count - 1; i >= 0; i--)
        if (w->asked[i]->from == peer)
            hk_mailbox_drop(&w->box, take_asked(w, i));
    hk_mailbox_peer_gone(&w->box, peer);
}

/* ============================================================================================== */

/* Whoever waits has nothing to read: a receive that waits beside a message would wait for ever. */
static void check_waiting(world *w)
{
    for (int i = 0; i < OPS; i++) {
        slot *s = &w->slots[i];
        size_t length;
        if (!s->used)
            continue;
        if (s->op.done)
            end_slot(s);
        else if (s->op.scratch[0] == NULL)
            FUZZ_CHECK(!w->gone[s->op.peer] &&
                       !hk_mailbox_probe(&w->box, s->op.peer, s->op.context, s->op.tag, &length));
    }
}

static void step(world *w, fuzz_input *input)
{
    switch (fuzz_byte(input) % 10) {
    case 0:
    case 1: post(w, input); break;
    case 2: cancel(w, input); break;
    case 3:
    case 4: arrive(w, input, false); break;
    case 5: bytes(w, input); break;
    case 6: arrive(w, input, true); break;
    case 7: answer(w, input); break;
    case 8: withdraw(w, input); break;
    case 9: lose(w, fuzz_byte(input) & 1); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input input = {data, size};
    memset(&w, 0, sizeof w);
    w.box = (hk_mailbox){.owner = &w, .gone = w.gone, .claimed = claimed, .read = was_read};
    while (input.left > 0) {
        step(&w, &input);
        check_waiting(&w);
    }
    for (int peer = 0; peer < PEERS; peer++)
        lose(&w, peer);
    for (int i = 0; i < OPS; i++)
        FUZZ_CHECK(!w.slots[i].used || w.slots[i].op.done);
    check_waiting(&w);
    hk_mailbox_fini(&w.box);
    return 0;
}
