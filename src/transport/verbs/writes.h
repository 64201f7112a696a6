/* RDMA writes into a peer's memory, over the bulk queues of all wires to it: in pieces, a few of
 * them under way on each.
 *
 * That a write has completed means that the peer's device has it, not that it is in the peer's
 * memory. What comes to the peer by the same device afterwards comes after it there, but what comes
 * by another may overtake it, and the word that all is written goes by any. So after its last piece
 * on a wire a task reads a byte of it back on the same queue: a read passes no write before it,
 * neither on the wire nor on the peer's bus. The task is done when all its writes and reads are.
 */
#ifndef HK_TRANSPORT_VERBS_WRITES_H
#define HK_TRANSPORT_VERBS_WRITES_H

#include "core/hostfile.h"
#include "transport/verbs/queue.h"

typedef struct hk_write hk_write;

typedef struct hk_writes_flying {
    hk_write *of[HK_QUEUE_WRITES]; /* by the number of the request; NULL: free */
    int count;
} hk_writes_flying;

typedef struct hk_writes_wire {
    hk_queue *queue;
    hk_writes_flying pieces, reads;
} hk_writes_wire;

typedef struct hk_writes {
    hk_writes_wire wires[HK_WIRES_MAX];
    int wire_count; /* 0: there are no writes */
    hk_write *first, **last;
    void (*written)(void *self, uint64_t ticket);
    void *self;
} hk_writes;

void hk_writes_init(hk_writes *writes);
void hk_writes_add_wire(hk_writes *writes, hk_queue *queue);
void hk_writes_fini(hk_writes *writes);

typedef struct hk_write_task {
    const uint8_t *from;
    uint64_t to;
    uint32_t local_keys[HK_WIRES_MAX], remote_keys[HK_WIRES_MAX];
    size_t bytes;
    uint64_t ticket; /* for written, when all of it is there */
} hk_write_task;

/* NO_MEMORY: it was not taken. SYSTEM: the device has failed. */
hocket_status hk_writes_begin(hk_writes *writes, const hk_write_task *task);

/* The write or read of that number is done on the queue. SYSTEM: the next one failed to be posted.
 */
hocket_status hk_writes_completed(hk_writes *writes, const hk_queue *queue, hk_queue_work work,
                                  int number);

#endif
