#include "transport/link.h"

#include "core/log.h"
#include "core/status.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BUDGET (UINT64_C(4) << 20)  /* from one peer, before the others get a look */
#define WRITE_BUDGET ((size_t)256 << 10) /* to one peer, before what comes gets a look */

struct hk_parcel {
    hk_parcel *next;
    uint8_t head[HK_FRAME_BYTES];
    size_t head_sent;
    const uint8_t *data;
    size_t left;
    uint64_t context, ticket;
    size_t cost;   /* in the window; 0: asked for */
    hocket_op *op; /* completed when all has gone */
    void *owned;   /* the rest of a cancelled send, or NULL */
};

/* === Life ==================================================================================== */

hocket_status hk_link_open(hk_link *link, hk_pipe pipe, int peer, hk_mailbox *box, bool *gone)
{
    *link = (hk_link){.pipe = pipe, .peer = peer, .box = box, .gone = gone};
    link->last = &link->first;
    link->buffer = malloc(HK_LINK_BUFFER);
    if (link->buffer != NULL)
        return HOCKET_OK;
    link->pipe = (hk_pipe){.fd = -1};
    return hk_fail_memory(HK_LINK_BUFFER, "a connection's buffer");
}

static void free_parcels(hk_parcel **first)
{
    while (*first != NULL) {
        hk_parcel *parcel = *first;
        *first = parcel->next;
        free(parcel->owned);
        free(parcel);
    }
}

/* Messages that are still to come, and that no receive has. Nobody else may know them: their group
 * may be gone. */
static void drop_unclaimed(hk_link *link)
{
    if (link->incoming != NULL && link->incoming->op == NULL)
        hk_mailbox_drop(link->box, link->incoming);
    link->incoming = NULL;
    while (link->asked != NULL) {
        hk_message *message = link->asked;
        link->asked = message->source;
        if (message->op == NULL)
            hk_mailbox_drop(link->box, message);
    }
}

void hk_link_close(hk_link *link)
{
    hk_pipe_close(&link->pipe);
    drop_unclaimed(link);
    hk_straight_end(link, false);
    free_parcels(&link->first);
    free_parcels(&link->offers);
    free_parcels(&link->spare);
    hk_window_fini(&link->sent);
    hk_window_fini(&link->read);
    hk_window_fini(&link->unread);
    free(link->buffer);
    link->buffer = NULL;
}

static void complete_lost(hk_parcel *list)
{
    for (hk_parcel *p = list; p != NULL; p = p->next) {
        if (p->op != NULL)
            hocket_op_complete(p->op, HOCKET_ERR_PEER_LOST, 0);
        p->op = NULL;
    }
}

/* The connection has ended: everything that waits for this peer ends too. */
static void gone(hk_link *link, const char *why)
{
    *link->gone = true;
    hk_log(HK_LOG_DEBUG, -1, "the connection to rank %d ended: %s", link->peer, why);
    hk_pipe_close(&link->pipe);
    complete_lost(link->first);
    complete_lost(link->offers);
    free_parcels(&link->first);
    free_parcels(&link->offers);
    link->last = &link->first;
    hk_straight_end(link, true);
    if (link->incoming != NULL)
        hk_mailbox_drop(link->box, link->incoming);
    link->incoming = NULL;
    while (link->asked != NULL) {
        hk_message *message = link->asked;
        link->asked = message->source;
        hk_mailbox_drop(link->box, message);
    }
    hk_mailbox_peer_gone(link->box, link->peer);
}

/* === Out ===================================================================================== */

static hk_parcel *new_parcel(hk_link *link, const hk_frame *frame)
{
    hk_parcel *parcel = link->spare;
    if (parcel != NULL)
        link->spare = parcel->next;
    else if ((parcel = malloc(sizeof *parcel)) == NULL)
        return NULL;
    *parcel = (hk_parcel){.context = frame->context, .ticket = frame->ticket};
    hk_frame_pack(frame, parcel->head);
    return parcel;
}

static void free_parcel(hk_link *link, hk_parcel *parcel)
{
    free(parcel->owned);
    parcel->owned = NULL;
    parcel->next = link->spare;
    link->spare = parcel;
}

static void enqueue(hk_link *link, hk_parcel *parcel)
{
    parcel->next = NULL;
    *link->last = parcel;
    link->last = &parcel->next;
    if (link->first == parcel)
        hk_link_write(link);
}

/* Without memory for 100 bytes the connection is given up: a lost control frame would be a hang.
 * The mailbox may be in the middle of something that `gone` would pull from under it, so reading
 * finds the end. */
void hk_link_say(hk_link *link, const hk_frame *frame)
{
    if (link->pipe.fd < 0)
        return;
    hk_parcel *parcel = new_parcel(link, frame);
    if (parcel != NULL)
        enqueue(link, parcel);
    else
        shutdown(link->pipe.fd, SHUT_RDWR);
}

/* Above the window the peer is told, and asks when it has room. */
static hocket_status announce(hk_link *link, hocket_op *op)
{
    hk_frame frame = {.kind = HK_FRAME_ANNOUNCE,
                      .tag = op->tag,
                      .context = op->context,
                      .length = op->length,
                      .ticket = ++link->tickets};
    hk_parcel *offer = new_parcel(link, &(hk_frame){.kind = HK_FRAME_BYTES_OF,
                                                    .length = op->length,
                                                    .ticket = link->tickets});
    if (offer == NULL)
        return hk_fail_memory(sizeof *offer, "an announcement");
    offer->data = op->buffer;
    offer->left = op->length;
    offer->op = op;
    op->scratch[0] = offer;
    offer->next = link->offers;
    link->offers = offer;
    hk_link_say(link, &frame);
    return HOCKET_OK;
}

hocket_status hk_link_send(hk_link *link, hocket_op *op)
{
    if (link->pipe.fd < 0) {
        hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
        return HOCKET_OK;
    }
    size_t cost = hk_mailbox_cost(op->length);
    size_t unread = hk_window_count(&link->sent, link->peer, op->context);
    if (cost > HK_WINDOW_BYTES || unread + cost > HK_LINK_UNASKED_MAX)
        return announce(link, op);
    hocket_status status;
    if (hk_straight_send(link, op, &status)) {
        if (status == HOCKET_OK && !hk_window_add(&link->sent, link->peer, op->context, cost))
            link->straight.ops->cut(link->straight.self); /* the peer counts what was said */
        return status;
    }
    hk_frame frame = {.kind = HK_FRAME_MESSAGE,
                      .tag = op->tag,
                      .context = op->context,
                      .length = op->length};
    hk_parcel *parcel = new_parcel(link, &frame);
    if (parcel == NULL || !hk_window_add(&link->sent, link->peer, op->context, cost)) {
        free(parcel);
        return hk_fail_memory(sizeof *parcel, "a message's header");
    }
    parcel->data = op->buffer;
    parcel->left = op->length;
    parcel->cost = cost;
    parcel->op = op;
    op->scratch[0] = parcel;
    enqueue(link, parcel);
    return HOCKET_OK;
}

void hk_link_send_bytes(hk_link *link, uint64_t ticket, const void *bytes, size_t length,
                        hocket_op *op, void *owned)
{
    hk_parcel *parcel =
        new_parcel(link,
                   &(hk_frame){.kind = HK_FRAME_BYTES_OF, .length = length, .ticket = ticket});
    if (parcel == NULL) { /* as in hk_link_say, and reading finds the end */
        free(owned);
        if (op != NULL)
            hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
        shutdown(link->pipe.fd, SHUT_RDWR);
        return;
    }
    parcel->data = bytes;
    parcel->left = length;
    parcel->op = op;
    parcel->owned = owned;
    if (op != NULL)
        op->scratch[0] = parcel;
    enqueue(link, parcel);
}

static void remove_parcel(hk_parcel **first, hk_parcel ***last, hk_parcel *parcel)
{
    hk_parcel **link = first;
    while (*link != parcel)
        link = &(*link)->next;
    *link = parcel->next;
    if (last != NULL && *last == &parcel->next)
        *last = link;
}

static bool is_offer(const hk_link *link, const hk_parcel *parcel)
{
    for (const hk_parcel *p = link->offers; p != NULL; p = p->next)
        if (p == parcel)
            return true;
    return false;
}

/* A frame that has begun must be finished: from a copy, since the buffer is the caller's again. */
static void finish_from_copy(hk_link *link, hk_parcel *parcel)
{
    parcel->op = NULL;
    parcel->owned = malloc(parcel->left > 0 ? parcel->left : 1);
    if (parcel->owned == NULL) {
        gone(link, "out of memory");
        return;
    }
    if (parcel->left > 0)
        memcpy(parcel->owned, parcel->data, parcel->left);
    parcel->data = parcel->owned;
}

static bool has_begun(const hk_link *link, const hk_parcel *parcel)
{
    return parcel->head_sent > 0 || (parcel == link->first && hk_pipe_holds(&link->pipe));
}

void hk_link_cancel_send(hk_link *link, hocket_op *op)
{
    hk_parcel *parcel = op->scratch[0];
    if (parcel == NULL) {
        hk_straight_cancel_send(link, op);
    } else if (is_offer(link, parcel)) {
        hk_frame frame = {.kind = HK_FRAME_WITHDRAW, .ticket = parcel->ticket};
        remove_parcel(&link->offers, NULL, parcel);
        free_parcel(link, parcel);
        hk_link_say(link, &frame);
    } else if (!has_begun(link, parcel) && parcel->ticket == 0) {
        hk_window_subtract(&link->sent, link->peer, parcel->context, parcel->cost);
        remove_parcel(&link->first, &link->last, parcel);
        free_parcel(link, parcel);
    } else {
        finish_from_copy(link, parcel);
    }
}

void hk_link_cancel_receive(hk_link *link, hocket_op *op)
{
    if (!hk_straight_cancel_receive(link, op))
        hk_mailbox_cancel(link->box, op);
}

void hk_link_forget(hk_link *link, uint64_t context)
{
    hk_window_forget(&link->sent, link->peer, context);
    hk_window_forget(&link->read, link->peer, context);
    hk_window_forget(&link->unread, link->peer, context);
}

bool hk_link_wants_to_write(const hk_link *link)
{
    return link->first != NULL;
}

/* Marks what the kernel took. True: all of the parcel has gone. */
static bool advance(hk_parcel *parcel, size_t taken)
{
    size_t head = HK_FRAME_BYTES - parcel->head_sent;
    if (head > taken)
        head = taken;
    parcel->head_sent += head;
    if (parcel->left > 0) {
        parcel->data += taken - head;
        parcel->left -= taken - head;
    }
    return parcel->head_sent == HK_FRAME_BYTES && parcel->left == 0;
}

bool hk_link_write(hk_link *link)
{
    bool moved = false;
    for (size_t total = 0; link->first != NULL && total < WRITE_BUDGET;) {
        hk_parcel *parcel = link->first;
        size_t most = WRITE_BUDGET - total;
        struct iovec parts[2] = {{parcel->head + parcel->head_sent,
                                  HK_FRAME_BYTES - parcel->head_sent},
                                 {(void *)parcel->data, parcel->left < most ? parcel->left : most}};
        ssize_t taken = hk_pipe_write(&link->pipe, parts, parcel->left > 0 ? 2 : 1);
        if (taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return moved;
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0) {
            /* What the peer sent before it went is still to be read: reading finds the end. */
            return moved;
        }
        moved = true;
        total += (size_t)taken;
        if (!advance(parcel, (size_t)taken))
            continue;
        if ((link->first = parcel->next) == NULL)
            link->last = &link->first;
        if (parcel->op != NULL)
            hocket_op_complete(parcel->op, HOCKET_OK, 0);
        free_parcel(link, parcel);
    }
    return moved;
}

/* === In: frames ============================================================================== */

void hk_link_claimed(hk_link *link, hk_message *message)
{
    message->source = link->asked;
    link->asked = message;
    hk_link_say(link, &(hk_frame){.kind = HK_FRAME_ASK, .ticket = message->ticket});
}

void hk_link_was_read(hk_link *link, uint64_t context, size_t bytes)
{
    hk_window_subtract(&link->unread, link->peer, context, bytes);
    if (link->pipe.fd < 0 || !hk_window_add(&link->read, link->peer, context, bytes))
        return;
    size_t read = hk_window_count(&link->read, link->peer, context);
    if (read < HK_LINK_CREDIT_BYTES)
        return;
    hk_window_subtract(&link->read, link->peer, context, read);
    hk_link_say(link, &(hk_frame){.kind = HK_FRAME_READ, .context = context, .length = read});
}

static hk_message *take_asked(hk_link *link, uint64_t ticket)
{
    hk_message *before = NULL, *message = link->asked;
    while (message != NULL && message->ticket != ticket) {
        before = message;
        message = message->source;
    }
    if (message == NULL)
        return NULL;
    if (before != NULL)
        before->source = message->source;
    else
        link->asked = message->source;
    return message;
}

static void was_asked(hk_link *link, uint64_t ticket)
{
    hk_parcel *offer = link->offers;
    while (offer != NULL && offer->ticket != ticket)
        offer = offer->next;
    if (offer == NULL) {
        hk_straight_asked(link, ticket); /* or withdrawn meanwhile */
        return;
    }
    remove_parcel(&link->offers, NULL, offer);
    enqueue(link, offer);
}

static void withdrawn(hk_link *link, uint64_t ticket)
{
    hk_message *message = take_asked(link, ticket);
    if (message == NULL)
        message = hk_mailbox_announced(link->box, link->peer, ticket);
    if (message != NULL)
        hk_mailbox_withdraw(link->box, message);
}

static hocket_status begin_message(hk_link *link, const hk_frame *frame)
{
    bool done;
    bool announced = frame->kind == HK_FRAME_ANNOUNCE;
    hk_message *message =
        hk_mailbox_arrive(link->box, link->peer, frame->context, frame->tag, frame->length,
                          announced ? frame->ticket : 0, NULL, &done);
    if (message == NULL)
        return hk_fail_memory(frame->length, "a message that arrived");
    if (!done)
        link->incoming = message;
    return HOCKET_OK;
}

/* The sender holds itself to this too, and what it knows to be read is never more than is. */
static hocket_status count_unasked(hk_link *link, const hk_frame *frame)
{
    size_t cost = hk_mailbox_cost(frame->length);
    size_t unread = hk_window_count(&link->unread, link->peer, frame->context);
    if (unread + cost > HK_LINK_UNASKED_MAX)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, link->peer,
                            "rank %d sends %" PRIu64 " bytes unasked while %zu are unread; above "
                            "%" PRIu64 " it has to announce them",
                            link->peer, frame->length, unread, HK_LINK_UNASKED_MAX);
    if (!hk_window_add(&link->unread, link->peer, frame->context, cost))
        return hk_fail_memory(cost, "a message that arrived");
    return HOCKET_OK;
}

static void arrived(hk_link *link, size_t bytes)
{
    hk_message *message = link->incoming;
    bool whole = message->arrived + bytes == message->length;
    hk_mailbox_arrived(message, bytes);
    if (whole)
        link->incoming = NULL;
}

static bool begin_asked(hk_link *link, const hk_frame *frame)
{
    link->incoming = take_asked(link, frame->ticket);
    if (link->incoming == NULL)
        link->incoming = hk_straight_take(link, frame->ticket);
    if (link->incoming == NULL || link->incoming->length != frame->length)
        return false;
    if (frame->length == 0) /* nothing follows that would end it */
        arrived(link, 0);
    return true;
}

/* What a frame means. False: it breaks the rules. */
static bool handle(hk_link *link, const hk_frame *frame, hocket_status *status)
{
    switch (frame->kind) {
    case HK_FRAME_MESSAGE:
        if (frame->length > HK_WINDOW_BYTES)
            return false;
        *status = count_unasked(link, frame);
        if (*status == HOCKET_OK)
            *status = begin_message(link, frame);
        return *status != HOCKET_ERR_PROTOCOL;
    case HK_FRAME_ANNOUNCE:
        if (frame->ticket == 0)
            return false;
        *status = begin_message(link, frame);
        return true;
    case HK_FRAME_OFFER:
        if (frame->length > HK_WINDOW_BYTES)
            return false;
        *status = count_unasked(link, frame);
        return *status == HOCKET_OK ? hk_straight_offered(link, frame, status)
                                    : *status != HOCKET_ERR_PROTOCOL;
    case HK_FRAME_HERE: return hk_straight_here(link, frame);
    case HK_FRAME_WRITTEN: return hk_straight_was_written(link, frame->ticket);
    case HK_FRAME_ASK: was_asked(link, frame->ticket); return true;
    case HK_FRAME_BYTES_OF: return begin_asked(link, frame);
    case HK_FRAME_READ:
        hk_window_subtract(&link->sent, link->peer, frame->context, frame->length);
        return true;
    case HK_FRAME_WITHDRAW:
        /* 0 is no announcement's, but that of all that comes unasked. */
        if (frame->ticket != 0)
            withdrawn(link, frame->ticket);
        return true;
    default: return false;
    }
}

/* === In: bytes =============================================================================== */

static size_t buffered(const hk_link *link)
{
    return link->end - link->begin;
}

static void copy_from_buffer(hk_link *link)
{
    hk_message *message = link->incoming;
    size_t bytes = message->length - message->arrived;
    if (bytes > buffered(link))
        bytes = buffered(link);
    uint8_t *space = hk_message_space(message);
    if (space != NULL)
        memcpy(space, link->buffer + link->begin, bytes);
    link->begin += bytes;
    arrived(link, bytes);
}

/* Consumes what is buffered. False: the peer breaks the rules. */
static bool digest(hk_link *link, hocket_status *status)
{
    while (link->pipe.fd >= 0 && *status == HOCKET_OK) {
        if (link->incoming != NULL && buffered(link) > 0) {
            copy_from_buffer(link);
            continue;
        }
        if (link->incoming != NULL || buffered(link) < HK_FRAME_BYTES)
            return true;
        hk_frame frame;
        bool ours = hk_frame_unpack(link->buffer + link->begin, &frame);
        link->begin += HK_FRAME_BYTES;
        if (!ours || !handle(link, &frame, status))
            return false;
    }
    return true;
}

/* One read: the rest of a message to its place, what follows it into the buffer. */
static ssize_t receive(hk_link *link, size_t *direct, size_t *asked)
{
    if (link->begin > 0) {
        memmove(link->buffer, link->buffer + link->begin, buffered(link));
        link->end -= link->begin;
        link->begin = 0;
    }
    struct iovec parts[2];
    int count = 0;
    *direct = 0;
    uint8_t *space = link->incoming != NULL ? hk_message_space(link->incoming) : NULL;
    if (space != NULL) {
        *direct = link->incoming->length - link->incoming->arrived;
        parts[count++] = (struct iovec){space, *direct};
    }
    parts[count++] = (struct iovec){link->buffer + link->end, HK_LINK_BUFFER - link->end};
    *asked = *direct + HK_LINK_BUFFER - link->end;
    return hk_pipe_read(&link->pipe, parts, count);
}

bool hk_link_read(hk_link *link, hocket_status *status)
{
    bool moved = false;
    /* What the pipe has opened is read in any case: its owner may wait for more to come. */
    for (size_t total = 0;
         link->pipe.fd >= 0 && (total < READ_BUDGET || hk_pipe_has_opened(&link->pipe));) {
        size_t direct, asked;
        ssize_t got = receive(link, &direct, &asked);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (got < 0 && errno == HK_PIPE_FORGED)
            *status = hk_fail_rank(HOCKET_ERR_AUTH, link->peer,
                                   "what came from rank %d was changed on its way: a record does "
                                   "not open with the connection's key",
                                   link->peer);
        if (got <= 0) {
            gone(link, got == 0 ? "it was closed" : strerror(errno));
            return true;
        }
        moved = true;
        total += (size_t)got;
        if (direct > (size_t)got)
            direct = (size_t)got;
        link->end += (size_t)got - direct;
        if (direct > 0)
            arrived(link, direct);
        if (!digest(link, status))
            gone(link, "it does not speak hocket's language");
        /* A short read has emptied the socket. */
        if (*status != HOCKET_OK || (size_t)got < asked)
            break;
    }
    return moved;
}
