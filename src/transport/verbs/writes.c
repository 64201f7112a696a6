#include "transport/verbs/writes.h"

#include <stdlib.h>

struct hk_write {
    hk_write *next;
    hk_write_task task; /* what is left of it */
    size_t piece_bytes;
    uint64_t last[HK_WIRES_MAX]; /* there, of what went by the wire; 0: nothing has */
    int flying;                  /* pieces and reads, on all wires */
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

/* For a piece, and for the read that follows it: only one task at a time has pieces on a wire and
 * not yet its read. */
static bool has_room(const hk_writes_wire *wire)
{
    return wire->pieces.count < HK_QUEUE_WRITES && wire->reads.count < HK_QUEUE_WRITES;
}

/* The wire with the fewest pieces under way; -1: all are full. */
static int choose_wire(const hk_writes *w)
{
    int best = -1;
    for (int i = 0; i < w->wire_count; i++)
        if (has_room(&w->wires[i]) &&
            (best < 0 || w->wires[i].pieces.count < w->wires[best].pieces.count))
            best = i;
    return best;
}

static int find_free(const hk_writes_flying *flying)
{
    int number = 0;
    while (flying->of[number] != NULL)
        number++;
    return number;
}

static void take_off(hk_writes_flying *flying, int number, hk_write *write)
{
    flying->of[number] = write;
    flying->count++;
    write->flying++;
}

static hocket_status post_piece(hk_writes *w, hk_write *write, int at)
{
    hk_write_task *task = &write->task;
    hk_writes_wire *wire = &w->wires[at];
    size_t bytes = task->bytes < write->piece_bytes ? task->bytes : write->piece_bytes;
    const hk_ibv_sge piece = {.addr = (uintptr_t)task->from,
                              .length = (uint32_t)bytes,
                              .lkey = task->local_keys[at]};
    int number = find_free(&wire->pieces);
    hocket_status status =
        hk_queue_write(wire->queue, number, &piece, task->to, task->remote_keys[at]);
    if (status != HOCKET_OK)
        return status;
    take_off(&wire->pieces, number, write);
    write->last[at] = task->to + bytes - 1;
    task->from += bytes;
    task->to += bytes;
    task->bytes -= bytes;
    return HOCKET_OK;
}

/* One a wire that it has used, behind its pieces there. */
static hocket_status post_reads(hk_writes *w, hk_write *write)
{
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < w->wire_count && status == HOCKET_OK; i++) {
        hk_writes_wire *wire = &w->wires[i];
        if (write->last[i] == 0)
            continue;
        int number = find_free(&wire->reads);
        status = hk_queue_read(wire->queue, number, write->last[i], write->task.remote_keys[i]);
        if (status == HOCKET_OK)
            take_off(&wire->reads, number, write);
    }
    return status;
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
            if (status == HOCKET_OK && write->task.bytes == 0)
                status = post_reads(w, write);
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

/* The write whose piece or read it was; NULL: none's. */
static hk_write *land(hk_writes *w, const hk_queue *queue, hk_queue_work work, int number)
{
    for (int i = 0; i < w->wire_count && number < HK_QUEUE_WRITES; i++) {
        hk_writes_wire *wire = &w->wires[i];
        hk_writes_flying *flying = work == HK_QUEUE_WRITE ? &wire->pieces : &wire->reads;
        hk_write *write = wire->queue == queue ? flying->of[number] : NULL;
        if (write == NULL)
            continue;
        flying->of[number] = NULL;
        flying->count--;
        write->flying--;
        return write;
    }
    return NULL;
}

hocket_status hk_writes_completed(hk_writes *w, const hk_queue *queue, hk_queue_work work,
                                  int number)
{
    hk_write *write = land(w, queue, work, number);
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
