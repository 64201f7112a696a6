/* A queue pair to one peer, with the slots of its receives and its sends. All its slots are of one
 * size, a whole number of frames, since a SEND may have to span as many frames as the RECV that it
 * meets.
 *
 *     hk_queue_open       made and moved to INIT; number and first packet number for the peer
 *     hk_queue_connect    RTR, RTS, receives posted
 */
#ifndef HK_TRANSPORT_VERBS_QUEUE_H
#define HK_TRANSPORT_VERBS_QUEUE_H

#include "transport/verbs/rail.h"

#define HK_QUEUE_WRITES 4 /* under way on a queue that has them, and as many reads */
#define HK_QUEUE_WRITE_BYTES ((size_t)256 << 10)

/* What the peer must know of it. */
typedef struct hk_queue_end {
    uint32_t number, first_packet;
} hk_queue_end;

/* What is known of the peer's port. */
typedef struct hk_queue_path {
    hk_ibv_gid gid;
    bool has_gid;
    uint16_t lid;
    uint32_t mtu; /* the smaller of the two */
} hk_queue_path;

typedef struct hk_queue_shape {
    bool reliable;     /* RC, else UC */
    size_t slot_bytes; /* a multiple of HK_VERBS_FRAME */
    int receives, sends;
    int spare;   /* of the receives: the owner's, see stream.c */
    bool writes; /* there is room for HK_QUEUE_WRITES and as many reads, too */
} hk_queue_shape;

typedef struct hk_queue_slot {
    bool posted; /* its completion is to come */
    bool kept;   /* it may have to be sent again */
} hk_queue_slot;

struct hk_queue {
    hk_rail *rail;
    hk_ibv_qp *qp; /* NULL: closed */
    int peer, index;
    void *owner;
    hk_queue_shape shape;
    uint32_t first_packet;
    uint32_t inline_max;
    uint8_t *receives, *sends; /* the slots */
    uint8_t *scratch;          /* where reads go; NULL: it has none */
    hk_queue_slot *slots;      /* of the sends */
    uint16_t *free;
    int free_count;
    int posted; /* sends whose completion is to come */

    /* The owner's: see stream.c. */
    uint32_t numbers_out, numbers_in; /* of frames on this queue, that have gone and come */
    int kept_count;                   /* frames under way */
    int untold;                       /* frames taken, that the peer does not know of */
};

/* Bytes that hk_queue_open carves of the rail's arena. */
size_t hk_queue_bytes(const hk_queue_shape *shape);

/* SYSTEM, NO_MEMORY. A zeroed or closed queue is fine to close. */
hocket_status hk_queue_open(hk_queue *queue, hk_rail *rail, int peer, const hk_queue_shape *shape,
                            void *owner);
void hk_queue_close(hk_queue *queue);

hk_queue_end hk_queue_get_end(const hk_queue *queue);
hocket_status hk_queue_connect(hk_queue *queue, const hk_queue_end *peer,
                               const hk_queue_path *path);

/* A free slot for a send, or -1; given back once it is neither posted nor kept. */
int hk_queue_take(hk_queue *queue);
uint8_t *hk_queue_send_slot(const hk_queue *queue, int slot);
void hk_queue_settle(hk_queue *queue, int slot);

/* The first bytes of the slot, in one SEND. */
hocket_status hk_queue_send(hk_queue *queue, int slot, size_t bytes);

/* An RDMA write; number: below HK_QUEUE_WRITES, comes back with the completion. */
hocket_status hk_queue_write(hk_queue *queue, int number, const hk_ibv_sge *piece, uint64_t to,
                             uint32_t key);

/* An RDMA read of one byte, which nobody looks at: it comes back when all that was written before
 * it on this queue is in the peer's memory. number: as of a write, counted apart. */
hocket_status hk_queue_read(hk_queue *queue, int number, uint64_t from, uint32_t key);

uint8_t *hk_queue_receive_slot(const hk_queue *queue, int slot);
hocket_status hk_queue_receive(hk_queue *queue, int slot);

typedef enum hk_queue_work {
    HK_QUEUE_SEND,
    HK_QUEUE_RECEIVE,
    HK_QUEUE_WRITE,
    HK_QUEUE_READ
} hk_queue_work;

/* What a completion's wr_id says. NULL: the queue has been closed. */
hk_queue *hk_queue_of(const hk_rail *rail, uint64_t wr_id, hk_queue_work *work, int *slot);

/* Frames of its two queues, sends first. */
void hk_queue_depths(const hk_queue_shape *shape, int *sends, int *receives);

#endif
