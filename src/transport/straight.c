#include "transport/straight.h"

#include "core/deadline.h"
#include "core/status.h"
#include "transport/link.h"
#include <stdlib.h>
#include <string.h>

#define CUT_NS HK_SECOND /* for who looks to answer, and for the device to finish */

struct hk_straight_offer {
    hk_straight_offer *next;
    uint64_t ticket;
    const void *bytes;
    size_t length;
    hocket_op *op; /* NULL: cancelled, the bytes are owned */
    void *owned;
    bool writing;
    uint64_t to; /* what the peer has said so far: where, and the keys of some of the wires */
    uint32_t keys[HK_WIRES_MAX];
    int wires, told;
};

typedef struct revocation {
    hocket_op *op;
    bool done;
} revocation;

struct hk_straight_wait {
    hk_straight_wait *next;
    uint64_t ticket;
    hk_message *message;
    bool here;        /* the peer may write into its receive */
    revocation *back; /* the receive is being taken back, and not to be completed */
};

/* === Out ====================================================================================== */

static hk_straight_offer **find_offer(hk_link *link, uint64_t ticket)
{
    hk_straight_offer **at = &link->straight.offers;
    while (*at != NULL && (*at)->ticket != ticket)
        at = &(*at)->next;
    return at;
}

static void free_offer(hk_straight_offer **at)
{
    hk_straight_offer *offer = *at;
    *at = offer->next;
    free(offer->owned);
    free(offer);
}

bool hk_straight_send(hk_link *link, hocket_op *op, hocket_status *status)
{
    const hk_straight *straight = &link->straight;
    uint32_t own[HK_WIRES_MAX];
    int wires = straight->ops != NULL && op->length >= HK_STRAIGHT_LEAST
                    ? straight->ops->knows(straight->self, op->buffer, op->length, own)
                    : 0;
    if (wires == 0)
        return false;
    hk_straight_offer *offer = calloc(1, sizeof *offer);
    *status = offer != NULL ? HOCKET_OK : hk_fail_memory(sizeof *offer, "an offer");
    if (offer == NULL)
        return true;
    *offer = (hk_straight_offer){.next = straight->offers,
                                 .ticket = ++link->tickets,
                                 .bytes = op->buffer,
                                 .length = op->length,
                                 .op = op,
                                 .wires = wires};
    link->straight.offers = offer;
    op->scratch[0] = NULL;
    op->scratch[1] = offer;
    hk_link_say(link, &(hk_frame){.kind = HK_FRAME_OFFER,
                                  .tag = op->tag,
                                  .context = op->context,
                                  .length = op->length,
                                  .ticket = offer->ticket});
    return true;
}

/* The link's now, with the operation or its copy. */
static void send_by_stream(hk_link *link, hk_straight_offer **at)
{
    hk_straight_offer *offer = *at;
    if (offer->op != NULL)
        offer->op->scratch[1] = NULL;
    hk_link_send_bytes(link, offer->ticket, offer->bytes, offer->length, offer->op, offer->owned);
    offer->owned = NULL;
    free_offer(at);
}

bool hk_straight_asked(hk_link *link, uint64_t ticket)
{
    hk_straight_offer **at = find_offer(link, ticket);
    if (*at == NULL || (*at)->writing)
        return false;
    send_by_stream(link, at);
    return true;
}

/* The wires in their order. */
static bool note_key(hk_straight_offer *offer, const hk_frame *frame)
{
    if (offer->told == offer->wires || frame->length != (uint64_t)offer->told ||
        (offer->told > 0 && frame->context != offer->to))
        return false;
    offer->to = frame->context;
    offer->keys[offer->told++] = frame->tag;
    return true;
}

bool hk_straight_here(hk_link *link, const hk_frame *frame)
{
    hk_straight_offer **at = find_offer(link, frame->ticket), *offer = *at;
    if (offer == NULL || !note_key(offer, frame))
        return false;
    if (offer->told < offer->wires)
        return true;
    offer->writing = offer->op != NULL &&
                     link->straight.ops->write(link->straight.self, offer->bytes, offer->length,
                                               offer->to, offer->keys, offer->ticket);
    if (!offer->writing)
        send_by_stream(link, at);
    return true;
}

void hk_straight_written(hk_link *link, uint64_t ticket)
{
    hk_straight_offer **at = find_offer(link, ticket);
    if (*at == NULL || !(*at)->writing)
        return;
    hocket_op *op = (*at)->op;
    free_offer(at);
    hk_link_say(link, &(hk_frame){.kind = HK_FRAME_WRITTEN, .ticket = ticket});
    if (op != NULL)
        hocket_op_complete(op, HOCKET_OK, 0);
}

static bool is_being_written(hk_link *link, uint64_t ticket)
{
    const hk_straight_offer *offer = *find_offer(link, ticket);
    return offer != NULL && offer->writing;
}

static void wait_until_written(hk_link *link, uint64_t ticket)
{
    hk_time until = hk_now() + CUT_NS;
    while (is_being_written(link, ticket) && link->pipe.fd >= 0 && hk_now() < until)
        link->straight.ops->turn(link->straight.self);
    if (is_being_written(link, ticket) && link->pipe.fd >= 0)
        link->straight.ops->cut(link->straight.self);
}

/* Not begun, it goes on from a copy. */
void hk_straight_cancel_send(hk_link *link, hocket_op *op)
{
    hk_straight_offer *offer = op->scratch[1];
    offer->op = NULL;
    if (offer->writing) {
        wait_until_written(link, offer->ticket);
        return;
    }
    offer->owned = malloc(offer->length);
    if (offer->owned == NULL) {
        link->straight.ops->cut(link->straight.self);
        return;
    }
    memcpy(offer->owned, offer->bytes, offer->length);
    offer->bytes = offer->owned;
}

/* === In ======================================================================================= */

static hk_straight_wait **find_wait(hk_link *link, uint64_t ticket)
{
    hk_straight_wait **at = &link->straight.waits;
    while (*at != NULL && (*at)->ticket != ticket)
        at = &(*at)->next;
    return at;
}

static void free_wait(hk_straight_wait **at)
{
    hk_straight_wait *wait = *at;
    *at = wait->next;
    free(wait);
}

static void answer(hk_link *link, hk_straight_wait *wait)
{
    const hk_straight *straight = &link->straight;
    const hocket_op *op = wait->message->op;
    uint32_t keys[HK_WIRES_MAX];
    int wires = op != NULL && !op->take
                    ? straight->ops->knows(straight->self, op->buffer, wait->message->length, keys)
                    : 0;
    wait->here = wires > 0;
    if (!wait->here)
        hk_link_say(link, &(hk_frame){.kind = HK_FRAME_ASK, .ticket = wait->ticket});
    for (int i = 0; i < wires; i++)
        hk_link_say(link, &(hk_frame){.kind = HK_FRAME_HERE,
                                      .tag = keys[i],
                                      .context = (uintptr_t)op->buffer,
                                      .length = (uint64_t)i,
                                      .ticket = wait->ticket});
}

bool hk_straight_offered(hk_link *link, const hk_frame *frame, hocket_status *status)
{
    bool done;
    if (link->straight.ops == NULL || frame->length < HK_STRAIGHT_LEAST || frame->ticket == 0 ||
        *find_wait(link, frame->ticket) != NULL)
        return false;
    hk_straight_wait *wait = calloc(1, sizeof *wait);
    hk_message *message = wait == NULL
                              ? NULL
                              : hk_mailbox_arrive(link->box, link->peer, frame->context, frame->tag,
                                                  frame->length, 0, NULL, &done);
    if (message == NULL) {
        free(wait);
        *status = hk_fail_memory(frame->length, "a message that arrived");
        return true;
    }
    *wait = (hk_straight_wait){.next = link->straight.waits,
                               .ticket = frame->ticket,
                               .message = message};
    link->straight.waits = wait;
    answer(link, wait);
    return true;
}

static void take_back(hk_link *link, revocation *back)
{
    hk_mailbox_cancel(link->box, back->op);
    back->done = true;
}

hk_message *hk_straight_take(hk_link *link, uint64_t ticket)
{
    hk_straight_wait **at = find_wait(link, ticket);
    if (*at == NULL)
        return NULL;
    hk_message *message = (*at)->message;
    revocation *back = (*at)->back;
    free_wait(at);
    if (back != NULL)
        take_back(link, back);
    return message;
}

bool hk_straight_was_written(hk_link *link, uint64_t ticket)
{
    hk_straight_wait **at = find_wait(link, ticket);
    if (*at == NULL || !(*at)->here)
        return false;
    hk_message *message = (*at)->message;
    revocation *back = (*at)->back;
    free_wait(at);
    if (back == NULL) {
        hk_mailbox_arrived(message, message->length);
        return true;
    }
    message->arrived = message->length; /* whole, for whoever receives it next */
    take_back(link, back);
    return true;
}

static hk_straight_wait *wait_of(hk_link *link, const hocket_op *op)
{
    hk_straight_wait *wait = link->straight.waits;
    while (wait != NULL && !(wait->here && wait->message->op == op))
        wait = wait->next;
    return wait;
}

/* The sender was told where: it has written, or will as soon as it looks. */
bool hk_straight_cancel_receive(hk_link *link, hocket_op *op)
{
    hk_straight_wait *wait = link->pipe.fd >= 0 ? wait_of(link, op) : NULL;
    if (wait == NULL)
        return false;
    revocation back = {.op = op};
    wait->back = &back;
    hk_time until = hk_now() + CUT_NS;
    while (!back.done && hk_now() < until)
        link->straight.ops->turn(link->straight.self);
    if (!back.done) {
        wait->back = NULL;
        link->straight.ops->cut(link->straight.self);
    }
    return back.done;
}

/* === The end ================================================================================== */

void hk_straight_end(hk_link *link, bool lost)
{
    while (link->straight.offers != NULL) {
        hocket_op *op = link->straight.offers->op;
        free_offer(&link->straight.offers);
        if (lost && op != NULL)
            hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
    }
    while (link->straight.waits != NULL) {
        hk_message *message = link->straight.waits->message;
        revocation *back = link->straight.waits->back;
        free_wait(&link->straight.waits);
        if (back != NULL)
            take_back(link, back);
        if (lost || message->op == NULL)
            hk_mailbox_drop(link->box, message);
    }
}
