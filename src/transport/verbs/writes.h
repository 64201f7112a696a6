/* RDMA writes into a peer's memory, over the bulk queue of the first wire: large ones in pieces, a
 * few of them under way. */
#ifndef HK_TRANSPORT_VERBS_WRITES_H
#define HK_TRANSPORT_VERBS_WRITES_H

#include "transport/verbs/queue.h"

typedef struct hk_write hk_write;

typedef struct hk_writes {
    hk_queue *queue; /* NULL: there are none */
    hk_write *first, **last;
    hk_write *flying[HK_QUEUE_WRITES]; /* by the number of the request; NULL: free */
    void (*written)(void *self, uint64_t ticket);
    void *self;
} hk_writes;

void hk_writes_init(hk_writes *writes, hk_queue *queue);
void hk_writes_fini(hk_writes *writes);

typedef struct hk_write_task {
    const uint8_t *from;
    uint32_t local_key;
    uint64_t to;
    uint32_t remote_key;
    size_t bytes;
    uint64_t ticket; /* for written, when all of it is there */
} hk_write_task;

/* NO_MEMORY: it was not taken. SYSTEM: the device has failed. */
hocket_status hk_writes_begin(hk_writes *writes, const hk_write_task *task);

/* The request of that number is done. SYSTEM: the next one failed to be posted. */
hocket_status hk_writes_completed(hk_writes *writes, int number);

#endif
