#include "transport/verbs/writes.h"

#include <stdlib.h>

struct hk_write {
    hk_write *next;
    hk_write_task task; /* what is left of it */
    int flying;
};

void hk_writes_init(hk_writes *w, hk_queue *queue)
{
    *w = (hk_writes){.queue = queue};
    w->last = &w->first;
}

void hk_writes_fini(hk_writes *w)
{
    while (w->first != NULL) {
        hk_write *write = w->first;
        w->first = write->next;
        free(write);
    }
    *w = (hk_writes){.queue = NULL};
}

static int find_free(const hk_writes *w)
{
    for (int i = 0; i < HK_QUEUE_WRITES; i++)
        if (w->flying[i] == NULL)
            return i;
    return -1;
}

static hocket_status post_piece(hk_writes *w, hk_write *write, int number)
{
    hk_write_task *task = &write->task;
    size_t bytes = task->bytes < HK_QUEUE_WRITE_BYTES ? task->bytes : HK_QUEUE_WRITE_BYTES;
    const hk_ibv_sge piece = {.addr = (uintptr_t)task->from,
                              .length = (uint32_t)bytes,
                              .lkey = task->local_key};
    hocket_status status = hk_queue_write(w->queue, number, &piece, task->to, task->remote_key);
    if (status != HOCKET_OK)
        return status;
    w->flying[number] = write;
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
            int number = find_free(w);
            if (number < 0)
                return HOCKET_OK;
            status = post_piece(w, write, number);
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

hocket_status hk_writes_completed(hk_writes *w, int number)
{
    hk_write *write = number < HK_QUEUE_WRITES ? w->flying[number] : NULL;
    if (write == NULL)
        return HOCKET_OK;
    w->flying[number] = NULL;
    uint64_t ticket = write->task.ticket;
    bool whole = --write->flying == 0 && write->task.bytes == 0;
    if (whole)
        remove_write(w, write);
    hocket_status status = post_more(w);
    if (whole)
        w->written(w->self, ticket);
    return status;
}
