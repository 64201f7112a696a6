#include "transport/verbs/writes.h"

#include <stdlib.h>

struct hk_write {
    hk_write *next;
    hk_write_task task; /* what is left of it */
    size_t piece_bytes;
    int flying; /* pieces, on all wires */
};

void hk_writes_init(hk_writes *w)
{
    *w = (hk_writes){.wire_count = 0};
    w->last = &w->first;
}

void hk_writes_add_wire(hk_writes *w, hk_queue *queue)
{
    w->wires[w->wire_count++] = (hk_writes_wire){.queue = queue};
}

void hk_writes_fini(hk_writes *w)
{
    while (w->first != NULL) {
        hk_write *write = w->first;
        w->first = write->next;
        free(write);
    }
    *w = (hk_writes){.wire_count = 0};
}

/* So that each wire has a part of what is small, too, and none of it many. */
static size_t piece_of(const hk_writes *w, size_t bytes)
{
    size_t frames = (bytes + HK_VERBS_FRAME - 1) / HK_VERBS_FRAME, wires = (size_t)w->wire_count;
    size_t piece = (frames + wires - 1) / wires * HK_VERBS_FRAME;
    return piece < HK_QUEUE_WRITE_BYTES ? piece : HK_QUEUE_WRITE_BYTES;
}

/* The wire with the fewest pieces under way; -1: all are full. */
static int choose_wire(const hk_writes *w)
{
    int best = 0;
    for (int i = 1; i < w->wire_count; i++)
        if (w->wires[i].count < w->wires[best].count)
            best = i;
    return w->wires[best].count < HK_QUEUE_WRITES ? best : -1;
}

static int find_free(const hk_writes_wire *wire)
{
    int number = 0;
    while (wire->flying[number] != NULL)
        number++;
    return number;
}

static hocket_status post_piece(hk_writes *w, hk_write *write, int at)
{
    hk_write_task *task = &write->task;
    hk_writes_wire *wire = &w->wires[at];
    size_t bytes = task->bytes < write->piece_bytes ? task->bytes : write->piece_bytes;
    const hk_ibv_sge piece = {.addr = (uintptr_t)task->from,
                              .length = (uint32_t)bytes,
                              .lkey = task->local_keys[at]};
    int number = find_free(wire);
    hocket_status status =
        hk_queue_write(wire->queue, number, &piece, task->to, task->remote_keys[at]);
    if (status != HOCKET_OK)
        return status;
    wire->flying[number] = write;
    wire->count++;
    write->flying++;
    task->from += bytes;
    task->to += bytes;
    task->bytes -= bytes;
    return HOCKET_OK;
}

/* In order: pieces of the first that has some left. */
static hocket_status post_more(hk_writes *w)
{
    hocket_status status = HOCKET_OK;
    for (hk_write *write = w->first; write != NULL && status == HOCKET_OK; write = write->next) {
        while (write->task.bytes > 0 && status == HOCKET_OK) {
            int wire = choose_wire(w);
            if (wire < 0)
                return HOCKET_OK;
            status = post_piece(w, write, wire);
        }
    }
    return status;
}

hocket_status hk_writes_begin(hk_writes *w, const hk_write_task *task)
{
    hk_write *write = calloc(1, sizeof *write);
    if (write == NULL)
        return hk_fail_memory(sizeof *write, "a write");
    write->task = *task;
    write->piece_bytes = piece_of(w, task->bytes);
    *w->last = write;
    w->last = &write->next;
    return post_more(w);
}

static void remove_write(hk_writes *w, hk_write *write)
{
    hk_write **at = &w->first;
    while (*at != write)
        at = &(*at)->next;
    *at = write->next;
    if (w->last == &write->next)
        w->last = at;
    free(write);
}

/* The write whose piece it was; NULL: none's. */
static hk_write *land(hk_writes *w, const hk_queue *queue, int number)
{
    for (int i = 0; i < w->wire_count && number < HK_QUEUE_WRITES; i++) {
        hk_writes_wire *wire = &w->wires[i];
        hk_write *write = wire->queue == queue ? wire->flying[number] : NULL;
        if (write == NULL)
            continue;
        wire->flying[number] = NULL;
        wire->count--;
        write->flying--;
        return write;
    }
    return NULL;
}

hocket_status hk_writes_completed(hk_writes *w, const hk_queue *queue, int number)
{
    hk_write *write = land(w, queue, number);
    if (write == NULL)
        return HOCKET_OK;
    uint64_t ticket = write->task.ticket;
    bool whole = write->flying == 0 && write->task.bytes == 0;
    if (whole)
        remove_write(w, write);
    hocket_status status = post_more(w);
    if (whole)
        w->written(w->self, ticket);
    return status;
}
