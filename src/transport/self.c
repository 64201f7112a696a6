/* Messages to oneself never reach the transport. */
#include "transport/state.h"

#include <stdlib.h>
#include <string.h>

/* A message above the window waits in its sender's memory until a receive has claimed it. */
static void claimed(void *owner, hk_message *message)
{
    (void)owner;
    hocket_op *send = message->source;
    if (message->length > 0)
        memcpy(hk_message_space(message), send->buffer, message->length);
    send->scratch[0] = NULL;
    hk_mailbox_arrived(message, message->length);
    hocket_op_complete(send, HOCKET_OK, 0);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    hk_endpoint *endpoint = owner;
    hk_window_subtract(&endpoint->unread, from, context, bytes);
}

void hk_self_init(hk_endpoint *endpoint)
{
    endpoint->own.owner = endpoint;
    endpoint->own.claimed = claimed;
    endpoint->own.read = was_read;
}

void hk_self_fini(hk_endpoint *endpoint)
{
    hk_mailbox_fini(&endpoint->own);
    hk_window_fini(&endpoint->unread);
}

void hk_self_forget(hk_endpoint *endpoint, uint64_t context)
{
    hk_mailbox_forget(&endpoint->own, context);
    hk_window_forget(&endpoint->unread, endpoint->rank, context);
}

static hocket_status post_send(hk_endpoint *endpoint, hocket_op *op)
{
    size_t cost = hk_mailbox_cost(op->length);
    bool done;
    if (hk_window_count(&endpoint->unread, op->peer, op->context) + cost > HK_WINDOW_BYTES) {
        op->scratch[0] = op;
        if (hk_mailbox_arrive(&endpoint->own, op->peer, op->context, op->tag, op->length,
                              (uint64_t)(uintptr_t)op, op, &done) == NULL)
            return hk_fail_memory(op->length, "a message to oneself");
        return HOCKET_OK;
    }
    void *copy = malloc(op->length > 0 ? op->length : 1);
    if (copy == NULL || !hk_window_add(&endpoint->unread, op->peer, op->context, cost)) {
        free(copy);
        return hk_fail_memory(op->length, "a message to oneself");
    }
    if (op->length > 0)
        memcpy(copy, op->buffer, op->length);
    if (hk_mailbox_arrive(&endpoint->own, op->peer, op->context, op->tag, op->length, 0, copy,
                          &done) == NULL) {
        hk_window_subtract(&endpoint->unread, op->peer, op->context, cost);
        free(copy);
        return hk_fail_memory(op->length, "a message to oneself");
    }
    hocket_op_complete(op, HOCKET_OK, 0);
    return HOCKET_OK;
}

hocket_status hk_self_post(hk_endpoint *endpoint, hocket_op *op)
{
    if (op->kind == HOCKET_OP_SEND)
        return post_send(endpoint, op);
    hocket_status status = hk_mailbox_post(&endpoint->own, op);
    return status == HOCKET_OK ? status : hk_fail_memory(op->length, "a receive");
}

void hk_self_cancel(hk_endpoint *endpoint, hocket_op *op)
{
    if (op->kind == HOCKET_OP_RECV) {
        hk_mailbox_cancel(&endpoint->own, op);
        return;
    }
    hk_message *message = hk_mailbox_announced(&endpoint->own, op->peer, (uint64_t)(uintptr_t)op);
    if (message != NULL)
        hk_mailbox_withdraw(&endpoint->own, message);
}
