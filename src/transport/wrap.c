#include "transport/wrap.h"

#include "core/status.h"
#include "transport/endpoint.h"
#include <stdio.h>
#include <stdlib.h>

/* === Shadows ================================================================================= */

static hk_shadow *new_shadow(hk_wrap *wrap, hocket_op *op, hk_time now)
{
    hk_shadow *shadow = wrap->spare;
    if (shadow != NULL)
        wrap->spare = shadow->next;
    else if ((shadow = malloc(sizeof *shadow)) == NULL)
        return NULL;
    *shadow = (hk_shadow){.outer = op, .link = wrap->last, .posted = now};
    shadow->op = (hocket_op){.kind = op->kind,
                             .peer = op->peer,
                             .context = op->context,
                             .tag = op->tag,
                             .take = op->take,
                             .buffer = op->buffer,
                             .length = op->length,
                             .owner = op->owner};
    op->scratch[0] = shadow;
    *wrap->last = shadow;
    wrap->last = &shadow->next;
    return shadow;
}

static void free_shadow(hk_wrap *wrap, hk_shadow *shadow)
{
    *shadow->link = shadow->next;
    if (shadow->next != NULL)
        shadow->next->link = shadow->link;
    else
        wrap->last = shadow->link;
    shadow->next = wrap->spare;
    wrap->spare = shadow;
}

/* === Going in ================================================================================ */

/* What a lost peer has sent before may be there already. */
static hocket_status post_to_lost(hk_wrap *wrap, hk_shadow *shadow)
{
    if (shadow->op.kind == HOCKET_OP_RECV) {
        hocket_status status = wrap->inner->post(wrap->inner_self, &shadow->op);
        if (status != HOCKET_OK || shadow->op.done)
            return status;
        wrap->inner->cancel(wrap->inner_self, &shadow->op);
    }
    hocket_op_complete(&shadow->op, HOCKET_ERR_PEER_LOST, 0);
    return HOCKET_OK;
}

static hocket_status hand_over(hk_wrap *wrap, hk_shadow *shadow)
{
    shadow->held = false;
    if (wrap->lost[shadow->op.peer])
        return post_to_lost(wrap, shadow);
    return wrap->inner->post(wrap->inner_self, &shadow->op);
}

/* Too late for post to fail: the operation does. */
static void release(hk_wrap *wrap, hk_shadow *shadow)
{
    hocket_status status = hand_over(wrap, shadow);
    if (status != HOCKET_OK)
        hocket_op_complete(&shadow->op, status, 0);
}

/* Hands over what has been kept back for long enough, oldest first; returns when the next one is
 * due. */
static hk_time release_due(hk_wrap *wrap, hk_time now)
{
    hk_time next = HK_FOREVER;
    for (hk_shadow *shadow = wrap->first; shadow != NULL; shadow = shadow->next) {
        if (shadow->held && shadow->until <= now)
            release(wrap, shadow);
        else if (shadow->held && shadow->until < next)
            next = shadow->until;
    }
    return next;
}

static bool is_news(const hocket_op *op, int kind)
{
    return op->context == HK_CONTEXT_NEWS && op->kind == kind;
}

/* Hands over all of one kind with one peer, in order. */
static void hurry(hk_wrap *wrap, int peer, int kind)
{
    for (hk_shadow *shadow = wrap->first; shadow != NULL; shadow = shadow->next)
        if (shadow->held && shadow->op.peer == peer && shadow->op.kind == kind)
            release(wrap, shadow);
    wrap->free_at[2 * peer + kind] = 0;
}

/* === Coming back ============================================================================= */

/* The outer operations end whose shadows are done. After each call of the inner transport, which
 * may end any. News that came must not overtake messages that came before. */
static bool sweep(hk_wrap *wrap)
{
    bool any = false;
    for (const hk_shadow *shadow = wrap->first; shadow != NULL; shadow = shadow->next)
        if (is_news(&shadow->op, HOCKET_OP_RECV) && shadow->op.done)
            hurry(wrap, shadow->op.peer, HOCKET_OP_RECV);
    for (hk_shadow *shadow = wrap->first, *next; shadow != NULL; shadow = next) {
        next = shadow->next;
        if (!shadow->op.done)
            continue;
        any = true;
        if (shadow->op.take)
            shadow->outer->buffer = shadow->op.buffer;
        hocket_op_complete(shadow->outer, shadow->op.status, shadow->op.received);
        if (wrap->wrapper->end != NULL)
            wrap->wrapper->end(wrap, shadow, false);
        free_shadow(wrap, shadow);
    }
    return any;
}

/* === Posting ================================================================================= */

/* When this operation may go in without overtaking another. */
static hk_time reserve(hk_wrap *wrap, const hocket_op *op, hk_time at)
{
    hk_time *free_at = &wrap->free_at[2 * op->peer + op->kind];
    if (*free_at < at)
        *free_at = at;
    return *free_at;
}

/* A message is spoken for when a receive that is kept back will take it. */
static bool wrap_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    hk_wrap *wrap = self;
    for (const hk_shadow *shadow = wrap->first; shadow != NULL; shadow = shadow->next) {
        const hocket_op *op = &shadow->op;
        if (shadow->held && op->kind == HOCKET_OP_RECV && op->peer == from &&
            op->context == context && op->tag == tag)
            return false;
    }
    return wrap->inner->probe(wrap->inner_self, from, context, tag, length);
}

/* What is there already is taken at once: its sender may have left, and hocket does not wait for
 * who has left. */
static bool is_there(hk_wrap *wrap, const hocket_op *op)
{
    size_t length;
    return op->kind == HOCKET_OP_RECV && wrap_probe(wrap, op->peer, op->context, op->tag, &length);
}

static hocket_status wrap_post(void *self, hocket_op *op)
{
    hk_wrap *wrap = self;
    hk_time hold = wrap->wrapper->post != NULL ? wrap->wrapper->post(wrap, op) : 0;
    hk_time now = hk_now();
    release_due(wrap, now);
    if (is_news(op, HOCKET_OP_SEND))
        hurry(wrap, op->peer, HOCKET_OP_SEND);
    bool at_once = op->context == HK_CONTEXT_NEWS || is_there(wrap, op);
    hk_shadow *shadow = new_shadow(wrap, op, now);
    if (shadow == NULL)
        return hk_fail_memory(sizeof *shadow, "an operation's shadow");
    hocket_status status = HOCKET_OK;
    if (!at_once)
        shadow->until = reserve(wrap, op, now + hold);
    shadow->held = shadow->until > now;
    if (!shadow->held && (status = hand_over(wrap, shadow)) != HOCKET_OK)
        free_shadow(wrap, shadow);
    sweep(wrap);
    return status;
}

void hk_wrap_lose(hk_wrap *wrap, int peer)
{
    if (peer == wrap->rank || wrap->lost[peer])
        return;
    wrap->lost[peer] = true;
    for (hk_shadow *shadow = wrap->first; shadow != NULL; shadow = shadow->next) {
        if (shadow->op.peer != peer || shadow->op.done)
            continue;
        if (shadow->held) {
            release(wrap, shadow);
            continue;
        }
        wrap->inner->cancel(wrap->inner_self, &shadow->op);
        hocket_op_complete(&shadow->op, HOCKET_ERR_PEER_LOST, 0);
    }
    sweep(wrap);
}

/* === Moving ================================================================================== */

static hocket_status wrap_progress(void *self, int64_t wait_ns)
{
    hk_wrap *wrap = self;
    if (wrap->wrapper->progress != NULL && !wrap->wrapper->progress(wrap))
        return HOCKET_OK;
    hk_time now = hk_now(), next = release_due(wrap, now);
    if (sweep(wrap))
        wait_ns = 0;
    if (next != HK_FOREVER && next - now < wait_ns)
        wait_ns = next - now;
    hocket_status status = wrap->inner->progress(wrap->inner_self, wait_ns);
    sweep(wrap);
    return status;
}

static void wrap_cancel(void *self, hocket_op *op)
{
    hk_wrap *wrap = self;
    hk_shadow *shadow = op->scratch[0];
    if (!shadow->held)
        wrap->inner->cancel(wrap->inner_self, &shadow->op);
    if (op->take)
        op->buffer = shadow->op.buffer;
    if (wrap->wrapper->end != NULL)
        wrap->wrapper->end(wrap, shadow, true);
    free_shadow(wrap, shadow);
    sweep(wrap);
}

static void wrap_wake(void *self)
{
    hk_wrap *wrap = self;
    wrap->inner->wake(wrap->inner_self);
}

/* === What is only handed on ================================================================== */

static bool wrap_unsettled(void *self)
{
    hk_wrap *wrap = self;
    return wrap->inner->unsettled(wrap->inner_self);
}

static void wrap_forget(void *self, uint64_t context)
{
    hk_wrap *wrap = self;
    wrap->inner->forget(wrap->inner_self, context);
}

static int wrap_rank(void *self)
{
    return ((hk_wrap *)self)->rank;
}

static int wrap_world_size(void *self)
{
    return ((hk_wrap *)self)->size;
}

static int wrap_host_of(void *self, int rank)
{
    hk_wrap *wrap = self;
    return wrap->inner->host_of(wrap->inner_self, rank);
}

static hocket_status wrap_alloc(void *self, size_t bytes, void **memory)
{
    hk_wrap *wrap = self;
    return wrap->inner->alloc(wrap->inner_self, bytes, memory);
}

static void wrap_dealloc(void *self, void *memory)
{
    hk_wrap *wrap = self;
    wrap->inner->dealloc(wrap->inner_self, memory);
}

static hocket_status wrap_register(void *self, void *memory, size_t bytes)
{
    hk_wrap *wrap = self;
    return wrap->inner->register_memory(wrap->inner_self, memory, bytes);
}

static hocket_status wrap_unregister(void *self, void *memory)
{
    hk_wrap *wrap = self;
    return wrap->inner->unregister_memory(wrap->inner_self, memory);
}

/* === Life ==================================================================================== */

static void free_wrap(hk_wrap *wrap)
{
    while (wrap->spare != NULL) {
        hk_shadow *shadow = wrap->spare;
        wrap->spare = shadow->next;
        free(shadow);
    }
    free(wrap->free_at);
    free(wrap->lost);
    free(wrap);
}

static void wrap_close(void *self, bool orderly)
{
    hk_wrap *wrap = self;
    while (wrap->first != NULL)
        wrap_cancel(wrap, wrap->first->outer);
    if (wrap->inner->close != NULL)
        wrap->inner->close(wrap->inner_self, orderly);
    if (wrap->wrapper->close != NULL)
        wrap->wrapper->close(wrap);
    free_wrap(wrap);
}

/* Optional slots that the inner transport leaves empty stay so: NULL means something. */
static void fill_slots(hk_wrap *wrap)
{
    const hocket_transport *inner = wrap->inner;
    wrap->outer = (hocket_transport){
        .size = sizeof(hocket_transport),
        .name = wrap->name,
        .flags = inner->flags,
        .rank = wrap_rank,
        .world_size = wrap_world_size,
        .post = wrap_post,
        .cancel = wrap_cancel,
        .progress = wrap_progress,
        .probe = wrap_probe,
        .close = wrap_close,
        .wake = inner->wake != NULL ? wrap_wake : NULL,
        .unsettled = inner->unsettled != NULL ? wrap_unsettled : NULL,
        .forget = inner->forget != NULL ? wrap_forget : NULL,
        .host_of = inner->host_of != NULL ? wrap_host_of : NULL,
        .alloc = inner->alloc != NULL ? wrap_alloc : NULL,
        .dealloc = inner->dealloc != NULL ? wrap_dealloc : NULL,
        .register_memory = inner->register_memory != NULL ? wrap_register : NULL,
        .unregister_memory = inner->unregister_memory != NULL ? wrap_unregister : NULL,
    };
}

hocket_status hk_wrap_open(const hk_wrapper *wrapper, void *state, const hocket_transport *inner,
                           void *inner_self, const hocket_transport **outer, void **outer_self)
{
    int size = inner->world_size(inner_self);
    hk_wrap *wrap = calloc(1, sizeof *wrap);
    if (wrap == NULL)
        return hk_fail_memory(sizeof *wrap, "a wrapped transport");
    wrap->inner = inner;
    wrap->inner_self = inner_self;
    wrap->wrapper = wrapper;
    wrap->state = state;
    wrap->rank = inner->rank(inner_self);
    wrap->size = size;
    wrap->last = &wrap->first;
    snprintf(wrap->name, sizeof wrap->name, "%s(%s)", wrapper->name, inner->name);
    wrap->free_at = calloc((size_t)size * 2, sizeof *wrap->free_at);
    wrap->lost = calloc((size_t)size, sizeof *wrap->lost);
    hocket_status status = HOCKET_OK;
    if (wrap->free_at == NULL || wrap->lost == NULL)
        status = hk_fail_memory((size_t)size * 2 * sizeof *wrap->free_at, "a wrapped transport");
    else if (inner->flags & HOCKET_TRANSPORT_DELEGATE)
        status =
            hk_fail(HOCKET_ERR_UNSUPPORTED,
                    "%s cannot wrap %s: its collectives are the engine's own and would go past "
                    "it; choose a backend of hocket's",
                    wrapper->name, inner->name);
    if (status != HOCKET_OK) {
        free_wrap(wrap);
        return status;
    }
    fill_slots(wrap);
    *outer = &wrap->outer;
    *outer_self = wrap;
    return HOCKET_OK;
}
