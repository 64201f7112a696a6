/* A call is what one function of the public API has under way on a group: its deadline, its tag,
 * and the operations it has posted.
 *
 *     hk_call call;
 *     status = hk_call_begin(&call, comm, &what, 0, hk_now(), deadline);
 *     if (status == HOCKET_OK)
 *         status = hk_all_gather_ring(&call, ...);
 *     status = hk_call_end(&call, status);
 *
 * Whatever fails in a function of this file takes back all that the call has posted before it
 * returns, so operations live on the stack of who starts them and an early `return status` is safe.
 * Who returns HOCKET_OK has finished what it started.
 *
 * One thread works on one call. Failures are this thread's last error already.
 */
#ifndef HK_TRANSPORT_CALL_H
#define HK_TRANSPORT_CALL_H

#include "transport/endpoint.h"
#include "transport/scratch.h"
#include "transport/what.h"

typedef struct hk_op {
    hocket_op base;
    int member; /* of the group: base.peer there */
    struct hk_call *call;
    struct hk_op *next, **link; /* in the call's list while it is not finished */
} hk_op;

typedef struct hk_call {
    hk_comm *comm; /* where its operations go: the call's group, or for a while a part of it */
    uint64_t context;
    uint32_t tag;
    hk_time deadline;
    hk_op *posted;
    hk_scratch_list scratch; /* given back by hk_call_end */
    hk_time began;           /* waiting, 0: has not waited */
    bool asked;              /* the others what they are in */
    bool despite_fault;      /* the wait is about who is left */
    unsigned long round;     /* of progress, in which the last operation was posted */
    hk_time idle;            /* spent in hk_await */
    hk_time waited;          /* spent until members had come to this call */
    hk_time away;            /* spent in the caller's functions */
    uint64_t moved;          /* bytes that the call itself had to count */
    hk_time grace;           /* until when their answers are awaited, 0: not yet asked */
    hk_what what;            /* from here on not cleared */
    hk_op own[2];            /* of hk_exchange, hk_send and hk_recv */
} hk_call;

/* what may be the call's own, to spare a copy. what->number > 0: a collective, whose tag is its
 * fingerprint; else messages with this tag. Fails when the group is broken; the call needs its
 * hk_call_end all the same. */
hocket_status hk_call_begin(hk_call *call, hk_comm *comm, const hk_what *what, uint32_t tag,
                            hk_time now, hk_time deadline);

/* Takes back what is still posted, frees the scratch, and returns status. A failed collective
 * breaks its group here. */
hocket_status hk_call_end(hk_call *call, hocket_status status);

/* Memory for the length of the call, 64-byte aligned; NULL with the error set. Any number of
 * pieces a call. */
void *hk_call_scratch(hk_call *call, size_t bytes);

/* What is allocated after the mark was taken goes. For loops over pieces, with nothing posted. */
void *hk_call_scratch_mark(const hk_call *call);
void hk_call_scratch_release(hk_call *call, void *mark);

/* Start a send or a receive; op is the caller's and must stay until hk_finish or hk_call_end. Ranks
 * are those of call->comm; a rank may send to itself. Between two ranks, operations of one call
 * match in the order they are started. Any length, 0 too. data of a send must not change before it
 * is finished. */
hocket_status hk_start_send(hk_call *call, hk_op *op, int to, const void *data, size_t bytes);
hocket_status hk_start_recv(hk_call *call, hk_op *op, int from, void *data, size_t bytes);

/* A receive of any length into memory that the transport allocates: op->base.buffer, to free(). */
hocket_status hk_start_take(hk_call *call, hk_op *op, int from);

/* Wait for one, or for all of an array. A receive that brought another length than asked for is
 * HOCKET_ERR_MISMATCH. */
hocket_status hk_finish(hk_call *call, hk_op *op);
hocket_status hk_finish_all(hk_call *call, hk_op *ops, int count);

/* Whether a message from this member (or HOCKET_ANY_RANK: from any) is there. Only from a ready
 * function. */
bool hk_probe(hk_call *call, int from, int *source, size_t *length);

/* Takes back one operation, zeroed or started. False: it is done by now, and still to be concluded.
 */
bool hk_take_back(hk_op *op);

/* Of an operation that is done: what became of it. */
hocket_status hk_conclude(hk_call *call, hk_op *op);

/* One look, without waiting: *is_ready, or a failure when a wait would have to end. */
hocket_status hk_look(hk_call *call, bool (*ready)(void *), void *argument, int peer,
                      bool *is_ready);

/* While nonblocking messages are under way a thread of the endpoint makes progress. */
hocket_status hk_background_begin(hk_endpoint *endpoint);
void hk_background_end(hk_endpoint *endpoint);

/* Waits until ready(argument), called with the endpoint's lock held, or until the wait must end:
 * deadline, fault, where peer (of the whole group) is not -1 that member has left, or any has left
 * that had not begun this collective. The only loop that waits for a peer. */
hocket_status hk_await(hk_call *call, bool (*ready)(void *), void *argument, int peer);

/* Both at once: the usual step of a ring or a pairwise exchange. */
hocket_status hk_exchange(hk_call *call, int to, const void *send, size_t send_bytes, int from,
                          void *recv, size_t recv_bytes);
hocket_status hk_send(hk_call *call, int to, const void *data, size_t bytes);
hocket_status hk_recv(hk_call *call, int from, void *data, size_t bytes);

/* For native collectives that wait by themselves (hocket_patience_wait). Belongs to the call. */
struct hocket_patience {
    hk_call *call;
    int member;      /* that this wait is for, or -1; once it has left the group ... */
    bool left;       /* ... its last word is looked for once more */
    unsigned rounds; /* of this wait */
    hk_time since;   /* when it stopped being short, 0: not yet */
    hk_time looked;  /* for news and the deadline, 0: not yet */
};

/* A new wait begins, for this member. */
void hk_patience_begin(hocket_patience *patience, int member);

/* It has ended, and was until the member had come to the call. */
void hk_patience_arrived(hocket_patience *patience);

#endif
