#include "transport/mailbox.h"

#include <stdlib.h>
#include <string.h>

struct hk_lane {
    hk_lane *next; /* in its bucket */
    int from;
    uint32_t tag;
    uint64_t context;
    hk_message *first, *last;      /* unread, oldest first */
    hocket_op *first_op, *last_op; /* waiting, oldest first */
};

/* A receive that has claimed a message remembers it here. */
static hk_message *claim_of(const hocket_op *op)
{
    return op->scratch[0];
}

size_t hk_mailbox_cost(size_t length)
{
    return length + HK_MESSAGE_COST;
}

static hk_lane **bucket_of(hk_mailbox *box, int from, uint64_t context, uint32_t tag)
{
    uint64_t hash =
        (context ^ ((uint64_t)tag << 20) ^ (uint64_t)(unsigned)from) * UINT64_C(0x9E3779B97F4A7C15);
    return &box->buckets[(hash >> 32) % HK_MAILBOX_BUCKETS];
}

static hk_lane *find_lane(hk_mailbox *box, int from, uint64_t context, uint32_t tag)
{
    hk_lane *lane = *bucket_of(box, from, context, tag);
    while (lane != NULL && (lane->tag != tag || lane->from != from || lane->context != context))
        lane = lane->next;
    return lane;
}

static hk_lane *need_lane(hk_mailbox *box, int from, uint64_t context, uint32_t tag)
{
    hk_lane *lane = find_lane(box, from, context, tag);
    if (lane != NULL)
        return lane;
    if (box->spare != NULL) {
        lane = box->spare;
        box->spare = lane->next;
    } else if ((lane = malloc(sizeof *lane)) == NULL) {
        return NULL;
    }
    hk_lane **bucket = bucket_of(box, from, context, tag);
    *lane = (hk_lane){.next = *bucket, .from = from, .tag = tag, .context = context};
    *bucket = lane;
    return lane;
}

/* Lanes come and go with each tag; an empty one is kept for the next. A hook of the mailbox may
 * have come here first, and the lane be gone already. */
static void release_lane(hk_mailbox *box, hk_lane *lane)
{
    if (lane->first != NULL || lane->first_op != NULL)
        return;
    hk_lane **link = bucket_of(box, lane->from, lane->context, lane->tag);
    while (*link != lane && *link != NULL)
        link = &(*link)->next;
    if (*link == NULL)
        return;
    *link = lane->next;
    lane->next = box->spare;
    box->spare = lane;
}

static void append_message(hk_lane *lane, hk_message *message)
{
    message->lane = lane;
    message->next = NULL;
    if (lane->last != NULL)
        lane->last->next = message;
    else
        lane->first = message;
    lane->last = message;
}

static void prepend_message(hk_lane *lane, hk_message *message)
{
    message->lane = lane;
    message->next = lane->first;
    lane->first = message;
    if (lane->last == NULL)
        lane->last = message;
}

static void unlink_message(hk_message *message)
{
    hk_lane *lane = message->lane;
    hk_message *before = NULL;
    for (hk_message *m = lane->first; m != message; m = m->next)
        before = m;
    if (before != NULL)
        before->next = message->next;
    else
        lane->first = message->next;
    if (lane->last == message)
        lane->last = before;
    message->lane = NULL;
}

static void append_op(hk_lane *lane, hocket_op *op)
{
    op->next = NULL;
    op->previous = lane->last_op;
    if (lane->last_op != NULL)
        lane->last_op->next = op;
    else
        lane->first_op = op;
    lane->last_op = op;
}

static void prepend_op(hk_lane *lane, hocket_op *op)
{
    op->previous = NULL;
    op->next = lane->first_op;
    if (lane->first_op != NULL)
        lane->first_op->previous = op;
    else
        lane->last_op = op;
    lane->first_op = op;
}

static void unlink_op(hk_lane *lane, hocket_op *op)
{
    if (op->previous != NULL)
        op->previous->next = op->next;
    else
        lane->first_op = op->next;
    if (op->next != NULL)
        op->next->previous = op->previous;
    else
        lane->last_op = op->previous;
    op->next = op->previous = NULL;
}

static void free_message(hk_message *message)
{
    free(message->bytes);
    free(message);
}

static bool is_announced(const hk_message *message)
{
    return message->ticket != 0 && !message->told;
}

/* For messages that nobody has taken. */
static void free_unread(const hk_mailbox *box, hk_message *message)
{
    if (is_announced(message) && box->dropped != NULL)
        box->dropped(box->owner, message);
    free_message(message);
}

/* A zero-length message still has an address, so that "take" never yields NULL on success. */
static uint8_t *allocate_bytes(size_t length)
{
    return malloc(length > 0 ? length : 1);
}

/* Its bytes found no memory, whoever wanted it knows, and only the rest has still to pass by. */
static bool is_orphan(const hk_message *message)
{
    return message->op == NULL && message->lane == NULL;
}

/* A complete message ends the receive that has claimed it. One that was announced is not complete
 * before its bytes come, be they none. */
static bool settle(hk_message *message)
{
    if (message->arrived < message->length || message->ticket != 0 || message->lane != NULL)
        return false;
    hocket_op *op = message->op;
    size_t length = message->length;
    free_message(message);
    if (op == NULL)
        return false;
    op->scratch[0] = NULL;
    hocket_op_complete(op, HOCKET_OK, length);
    return true;
}

/* Binds a message that is in no lane to a receive that has room. False: no memory, op is completed,
 * message untouched. */
static bool claim(hk_mailbox *box, hk_message *message, hocket_op *op)
{
    bool unread = message->bytes != NULL;
    if (message->lost) {
        hocket_op_complete(op, HOCKET_ERR_NO_MEMORY, message->length);
        return false;
    }
    if (op->take && unread) {
        op->buffer = message->bytes;
        message->bytes = NULL;
    } else if (op->take && (op->buffer = allocate_bytes(message->length)) == NULL) {
        hocket_op_complete(op, HOCKET_ERR_NO_MEMORY, message->length);
        return false;
    } else if (unread) {
        if (message->arrived > 0) /* the buffer of an empty message may be NULL */
            memcpy(op->buffer, message->bytes, message->arrived);
        free(message->bytes);
        message->bytes = NULL;
    }
    message->op = op;
    op->scratch[0] = message;
    bool told = message->told;
    message->told = true;
    if (message->ticket == 0 && !told)
        box->read(box->owner, message->from, message->context, hk_mailbox_cost(message->length));
    else if (message->ticket != 0 && !unread)
        box->claimed(box->owner, message);
    return true;
}

static bool fits(const hocket_op *op, size_t length)
{
    return op->take || length <= op->length;
}

/* The oldest waiting receive that the message fits into; those it does not fit into end with the
 * length they need. */
static hocket_op *next_waiting(hk_lane *lane, size_t length)
{
    while (lane->first_op != NULL) {
        hocket_op *op = lane->first_op;
        unlink_op(lane, op);
        if (fits(op, length))
            return op;
        hocket_op_complete(op, HOCKET_ERR_INVALID, length);
    }
    return NULL;
}

/* A message in no lane goes to whoever waits for it; if it is lost, that receive has been told so.
 * False: nobody waits. */
static bool hand_out(hk_mailbox *box, hk_lane *lane, hk_message *message)
{
    hocket_op *op;
    while ((op = next_waiting(lane, message->length)) != NULL)
        if (claim(box, message, op) || message->lost)
            return true;
    return false;
}

hk_message *hk_mailbox_arrive(hk_mailbox *box, int from, uint64_t context, uint32_t tag,
                              size_t length, uint64_t ticket, void *data, bool *done)
{
    hk_lane *lane = need_lane(box, from, context, tag);
    hk_message *message = malloc(sizeof *message);
    if (lane == NULL || message == NULL)
        goto no_memory;
    *message = (hk_message){
        .from = from, .context = context, .tag = tag, .length = length, .ticket = ticket};
    if (ticket != 0) {
        message->source = data;
    } else if (data != NULL) {
        message->bytes = data;
        message->arrived = length;
    }
    *done = ticket != 0 || data != NULL;
    if (hand_out(box, lane, message)) {
        release_lane(box, lane);
        if (ticket == 0 && settle(message))
            *done = true;
        return message;
    }
    if (ticket == 0 && data == NULL && (message->bytes = allocate_bytes(length)) == NULL)
        goto no_memory;
    if (length == 0)
        *done = true;
    append_message(lane, message);
    return message;

no_memory:
    free(message);
    if (lane != NULL)
        release_lane(box, lane);
    return NULL;
}

hk_message *hk_mailbox_announced(hk_mailbox *box, int from, uint64_t ticket)
{
    for (int i = 0; i < HK_MAILBOX_BUCKETS; i++)
        for (hk_lane *lane = box->buckets[i]; lane != NULL; lane = lane->next)
            for (hk_message *m = lane->first; lane->from == from && m != NULL; m = m->next)
                if (m->ticket == ticket)
                    return m;
    return NULL;
}

uint8_t *hk_message_space(const hk_message *message)
{
    uint8_t *start = message->op != NULL ? message->op->buffer : message->bytes;
    return start != NULL ? start + message->arrived : NULL;
}

bool hk_mailbox_arrived(hk_message *message, size_t bytes)
{
    message->ticket = 0; /* from now on like any other */
    message->arrived += bytes;
    return settle(message);
}

static void end_lost(hocket_op *op)
{
    if (op->take) {
        free(op->buffer);
        op->buffer = NULL;
    }
    op->scratch[0] = NULL;
    hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
}

void hk_mailbox_drop(hk_mailbox *box, hk_message *message)
{
    if (message->op != NULL) {
        end_lost(message->op);
    } else if (!is_orphan(message)) {
        hk_lane *lane = message->lane;
        unlink_message(message);
        release_lane(box, lane);
    }
    free_unread(box, message);
}

void hk_mailbox_withdraw(hk_mailbox *box, hk_message *message)
{
    hocket_op *op = message->op;
    if (op == NULL) {
        hk_mailbox_drop(box, message);
        return;
    }
    if (op->take) {
        free(op->buffer);
        op->buffer = NULL;
    }
    op->scratch[0] = NULL;
    hk_lane *lane = need_lane(box, op->peer, op->context, op->tag);
    free_message(message);
    if (lane == NULL)
        hocket_op_complete(op, HOCKET_ERR_NO_MEMORY, 0);
    else if (lane->first != NULL)
        hk_mailbox_post(box, op);
    else
        prepend_op(lane, op);
}

hocket_status hk_mailbox_post(hk_mailbox *box, hocket_op *op)
{
    hk_lane *lane = need_lane(box, op->peer, op->context, op->tag);
    if (lane == NULL)
        return HOCKET_ERR_NO_MEMORY;
    hk_message *message = lane->first;
    if (message == NULL) {
        if (box->gone != NULL && box->gone[op->peer])
            hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
        else
            append_op(lane, op);
        release_lane(box, lane);
        return HOCKET_OK;
    }
    if (!fits(op, message->length)) {
        hocket_op_complete(op, HOCKET_ERR_INVALID, message->length);
        return HOCKET_OK;
    }
    unlink_message(message);
    bool asked =
        message->ticket != 0 && message->bytes == NULL; /* then `claimed` may have ended it */
    if (!claim(box, message, op)) {
        if (!message->lost)
            prepend_message(lane, message);
        else
            settle(message);
        release_lane(box, lane);
        return HOCKET_OK;
    }
    release_lane(box, lane);
    if (!asked)
        settle(message);
    return HOCKET_OK;
}

/* The bytes that have arrived so far move back into the mailbox. Who has waited behind that receive
 * has the message next. */
static void unclaim(hk_mailbox *box, hk_message *message, hocket_op *op)
{
    message->op = NULL;
    op->scratch[0] = NULL;
    if (op->take) {
        message->bytes = op->buffer;
        op->buffer = NULL;
    } else if ((message->bytes = allocate_bytes(message->length)) != NULL) {
        if (message->arrived > 0)
            memcpy(message->bytes, op->buffer, message->arrived);
    } else {
        message->lost = true;
    }
    hk_lane *lane = need_lane(box, message->from, message->context, message->tag);
    if (lane == NULL) {
        message->lost = true;
    } else if (hand_out(box, lane, message)) {
        release_lane(box, lane);
        settle(message);
    } else {
        prepend_message(lane, message);
    }
}

void hk_mailbox_cancel(hk_mailbox *box, hocket_op *op)
{
    if (claim_of(op) != NULL) {
        unclaim(box, claim_of(op), op);
        return;
    }
    hk_lane *lane = find_lane(box, op->peer, op->context, op->tag);
    if (lane == NULL)
        return;
    unlink_op(lane, op);
    release_lane(box, lane);
}

bool hk_mailbox_probe(hk_mailbox *box, int from, uint64_t context, uint32_t tag, size_t *length)
{
    const hk_lane *lane = find_lane(box, from, context, tag);
    if (lane == NULL || lane->first == NULL)
        return false;
    *length = lane->first->length;
    return true;
}

static void drop_announced(const hk_mailbox *box, hk_lane *lane)
{
    for (hk_message *m = lane->first, *next; m != NULL; m = next) {
        next = m->next;
        if (!is_announced(m))
            continue;
        unlink_message(m);
        free_unread(box, m);
    }
}

void hk_mailbox_peer_gone(hk_mailbox *box, int from)
{
    for (int i = 0; i < HK_MAILBOX_BUCKETS; i++) {
        for (hk_lane *lane = box->buckets[i], *next; lane != NULL; lane = next) {
            next = lane->next;
            while (lane->from == from && lane->first_op != NULL) {
                hocket_op *op = lane->first_op;
                unlink_op(lane, op);
                end_lost(op);
            }
            if (lane->from == from)
                drop_announced(box, lane);
            release_lane(box, lane);
        }
    }
}

/* What has not come whole is still its owner's, who reads past the rest. */
static void forget_message(const hk_mailbox *box, hk_message *message)
{
    bool whole = message->ticket == 0 && message->arrived == message->length;
    if (whole || is_announced(message)) {
        free_unread(box, message);
        return;
    }
    free(message->bytes);
    message->bytes = NULL;
}

void hk_mailbox_forget(hk_mailbox *box, uint64_t context)
{
    for (int i = 0; i < HK_MAILBOX_BUCKETS; i++) {
        for (hk_lane *lane = box->buckets[i], *next; lane != NULL; lane = next) {
            next = lane->next;
            if (lane->context != context)
                continue;
            while (lane->first != NULL) {
                hk_message *message = lane->first;
                unlink_message(message);
                forget_message(box, message);
            }
            release_lane(box, lane);
        }
    }
}

static void free_lanes(const hk_mailbox *box, hk_lane *lane)
{
    while (lane != NULL) {
        hk_lane *next = lane->next;
        for (hk_message *m = lane->first, *after; m != NULL; m = after) {
            after = m->next;
            free_unread(box, m);
        }
        free(lane);
        lane = next;
    }
}

void hk_mailbox_fini(hk_mailbox *box)
{
    for (int i = 0; i < HK_MAILBOX_BUCKETS; i++)
        free_lanes(box, box->buckets[i]);
    free_lanes(box, box->spare);
    memset(box->buckets, 0, sizeof box->buckets);
    box->spare = NULL;
}
