/* Messages. A note is a message call under way: a call with one operation, or a probe. Blocking
 * forms keep it on the stack, nonblocking ones in their request. */
#include "group/group.h"

#include <stdlib.h>

typedef struct hk_note {
    hk_call call;
    hk_op op;
    int peer; /* or HOCKET_ANY_RANK, of a probe */
    void **bytes;
    size_t *length;
    int *source;
    int found_source;
    size_t found_length;
} hk_note;

/* === Checks ================================================================================== */

static hocket_status check(const hocket_group *group, hk_operation operation, int peer,
                           uint32_t tag, bool pointers)
{
    const char *name = hk_operation_name(operation);
    if (group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: group is NULL", name);
    int rank = group->comm->rank, size = group->comm->size;
    bool any = operation == HK_PROBE && peer == HOCKET_ANY_RANK;
    if (!any && (peer < 0 || peer >= size))
        return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: there is no rank %d", name, rank,
                       size, peer);
    if (tag >= HOCKET_TAG_RESERVED)
        return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: tag %#x is reserved", name, rank,
                       size, (unsigned)tag);
    if (!pointers)
        return hk_fail(HOCKET_ERR_INVALID, "%s on rank %d of %d: a pointer is NULL", name, rank,
                       size);
    return HOCKET_OK;
}

/* === A note ================================================================================== */

static hocket_status begin(hocket_group *group, hk_note *note, hk_operation operation, int peer,
                           uint32_t tag, hk_time now)
{
    hk_what what = {.kind = hk_kind(operation, -1, -1, -1), .count = tag};
    double timeout = atomic_load_explicit(&group->timeout_s, memory_order_relaxed);
    note->peer = peer;
    hocket_status status =
        hk_call_begin(&note->call, group->comm, &what, tag, now, hk_deadline_from(now, timeout));
    /* What the dead had sent can still be received: it needs no help from anybody. */
    bool takes = operation != HK_SEND_BYTES;
    return takes && status == HOCKET_ERR_PEER_LOST ? HOCKET_OK : status;
}

/* Posts what the note is for; a probe posts nothing. */
static hocket_status post(hk_note *note, const void *data, void *buffer, size_t length)
{
    switch (hk_what_operation(&note->call.what)) {
    case HK_SEND_BYTES: return hk_start_send(&note->call, &note->op, note->peer, data, length);
    case HK_RECV_BYTES: return hk_start_take(&note->call, &note->op, note->peer);
    case HK_RECV_INTO: return hk_start_recv(&note->call, &note->op, note->peer, buffer, length);
    default: return HOCKET_OK;
    }
}

static bool is_ready(void *argument)
{
    hk_note *note = argument;
    if (hk_what_operation(&note->call.what) != HK_PROBE)
        return note->op.base.done;
    return hk_probe(&note->call, note->peer, &note->found_source, &note->found_length);
}

/* The caller's outputs, from an operation that is done. */
static hocket_status deliver(hk_note *note)
{
    const hocket_op *op = &note->op.base;
    switch (hk_what_operation(&note->call.what)) {
    case HK_PROBE:
        if (note->source != NULL)
            *note->source = note->found_source;
        if (note->length != NULL)
            *note->length = note->found_length;
        return HOCKET_OK;
    case HK_RECV_INTO:
        if (note->length != NULL)
            *note->length = op->received;
        if (op->status == HOCKET_ERR_INVALID)
            return hk_fail(HOCKET_ERR_INVALID,
                           "the message from rank %d has %zu bytes, the buffer %zu; it stays",
                           note->peer, op->received, op->length);
        return hk_conclude(&note->call, &note->op);
    case HK_RECV_BYTES: {
        hocket_status status = hk_conclude(&note->call, &note->op);
        *note->bytes = status == HOCKET_OK ? op->buffer : NULL;
        *note->length = status == HOCKET_OK ? op->received : 0;
        return status;
    }
    default: return hk_conclude(&note->call, &note->op);
    }
}

/* Another thread may have brought the message after the wait gave up: it is not lost. */
static hocket_status end(hk_note *note, hocket_status status)
{
    if (status == HOCKET_OK || !hk_take_back(&note->op))
        status = deliver(note);
    return hk_call_end(&note->call, status);
}

/* Of a message that came, whoever sent it was waited for. */
static void count(hocket_group *group, hk_note *note, hk_time began)
{
    const hocket_op *op = &note->op.base;
    bool sends = hk_what_operation(&note->call.what) == HK_SEND_BYTES;
    note->call.waited = sends ? 0 : note->call.idle;
    hk_times_add(group, &note->call, began, sends ? op->length : op->received);
}

/* === Blocking ================================================================================ */

static hocket_status run(hocket_group *group, hk_note *note, hk_operation operation, int peer,
                         uint32_t tag, const void *data, void *buffer, size_t length)
{
    hk_time now = hk_now();
    hocket_status status = begin(group, note, operation, peer, tag, now);
    if (status == HOCKET_OK)
        status = post(note, data, buffer, length);
    if (status == HOCKET_OK)
        status = hk_await(&note->call, is_ready, note, peer);
    status = end(note, status);
    count(group, note, now);
    return status;
}

hocket_status hocket_send_bytes(hocket_group *group, int to, uint32_t tag, const void *bytes,
                                size_t length)
{
    hocket_status status = check(group, HK_SEND_BYTES, to, tag, bytes != NULL || length == 0);
    hk_note note = {0};
    return status == HOCKET_OK ? run(group, &note, HK_SEND_BYTES, to, tag, bytes, NULL, length)
                               : status;
}

hocket_status hocket_recv_bytes(hocket_group *group, int from, uint32_t tag, void **bytes,
                                size_t *length)
{
    if (bytes != NULL)
        *bytes = NULL;
    hocket_status status = check(group, HK_RECV_BYTES, from, tag, bytes != NULL && length != NULL);
    hk_note note = {.bytes = bytes, .length = length};
    return status == HOCKET_OK ? run(group, &note, HK_RECV_BYTES, from, tag, NULL, NULL, 0)
                               : status;
}

hocket_status hocket_recv_into(hocket_group *group, int from, uint32_t tag, void *buffer,
                               size_t capacity, size_t *length)
{
    hocket_status status = check(group, HK_RECV_INTO, from, tag, buffer != NULL || capacity == 0);
    hk_note note = {.length = length};
    return status == HOCKET_OK ? run(group, &note, HK_RECV_INTO, from, tag, NULL, buffer, capacity)
                               : status;
}

hocket_status hocket_probe(hocket_group *group, int from, uint32_t tag, int *source, size_t *length)
{
    hocket_status status = check(group, HK_PROBE, from, tag, true);
    hk_note note = {.source = source, .length = length};
    return status == HOCKET_OK ? run(group, &note, HK_PROBE, from, tag, NULL, NULL, 0) : status;
}

/* === Nonblocking ============================================================================= */

static hocket_status start(hocket_group *group, const hk_note *filled, hk_operation operation,
                           int peer, uint32_t tag, const void *data, void *buffer, size_t length,
                           hocket_request **request)
{
    hocket_request *new = calloc(1, sizeof *new);
    hk_note *note = malloc(sizeof *note);
    if (new == NULL || note == NULL) {
        free(new);
        free(note);
        return hk_fail_memory(sizeof *new, "a request");
    }
    *note = *filled;
    new->group = group;
    new->note = note;
    hocket_status status = begin(group, note, operation, peer, tag, hk_now());
    if (status == HOCKET_OK)
        status = post(note, data, buffer, length);
    if (status == HOCKET_OK)
        status = hk_background_begin(group->comm->endpoint);
    if (status != HOCKET_OK) {
        hk_call_end(&note->call, status);
        free(note);
        free(new);
        return status;
    }
    *request = new;
    return HOCKET_OK;
}

static hocket_status finish(hocket_request *request, hocket_status status, hk_time began)
{
    hk_background_end(request->group->comm->endpoint);
    status = end(request->note, status);
    count(request->group, request->note, began);
    free(request->note);
    free(request);
    return status;
}

hocket_status hk_note_wait(hocket_request *request)
{
    hk_note *note = request->note;
    hk_time now = hk_now();
    return finish(request, hk_await(&note->call, is_ready, note, note->peer), now);
}

hocket_status hk_note_test(hocket_request *request, bool *done)
{
    hk_note *note = request->note;
    hk_time now = hk_now();
    hocket_status status = hk_look(&note->call, is_ready, note, note->peer, done);
    *done = *done || status != HOCKET_OK;
    return *done ? finish(request, status, now) : HOCKET_OK;
}

static hocket_status check_async(hocket_group *group, hk_operation operation, int peer,
                                 uint32_t tag, bool pointers, hocket_request **request)
{
    if (request != NULL)
        *request = NULL;
    return check(group, operation, peer, tag, pointers && request != NULL);
}

hocket_status hocket_send_bytes_async(hocket_group *group, int to, uint32_t tag, const void *bytes,
                                      size_t length, hocket_request **request)
{
    hocket_status status =
        check_async(group, HK_SEND_BYTES, to, tag, bytes != NULL || length == 0, request);
    return status == HOCKET_OK
               ? start(group, &(hk_note){0}, HK_SEND_BYTES, to, tag, bytes, NULL, length, request)
               : status;
}

hocket_status hocket_recv_bytes_async(hocket_group *group, int from, uint32_t tag, void **bytes,
                                      size_t *length, hocket_request **request)
{
    if (bytes != NULL)
        *bytes = NULL;
    hocket_status status =
        check_async(group, HK_RECV_BYTES, from, tag, bytes != NULL && length != NULL, request);
    hk_note note = {.bytes = bytes, .length = length};
    return status == HOCKET_OK
               ? start(group, &note, HK_RECV_BYTES, from, tag, NULL, NULL, 0, request)
               : status;
}

hocket_status hocket_recv_into_async(hocket_group *group, int from, uint32_t tag, void *buffer,
                                     size_t capacity, size_t *length, hocket_request **request)
{
    hocket_status status =
        check_async(group, HK_RECV_INTO, from, tag, buffer != NULL || capacity == 0, request);
    hk_note note = {.length = length};
    return status == HOCKET_OK
               ? start(group, &note, HK_RECV_INTO, from, tag, NULL, buffer, capacity, request)
               : status;
}

hocket_status hocket_probe_async(hocket_group *group, int from, uint32_t tag, int *source,
                                 size_t *length, hocket_request **request)
{
    hocket_status status = check_async(group, HK_PROBE, from, tag, true, request);
    hk_note note = {.source = source, .length = length};
    return status == HOCKET_OK ? start(group, &note, HK_PROBE, from, tag, NULL, NULL, 0, request)
                               : status;
}
