/* A call is what one function of the public API has under way on a group: its deadline, its tag,
 * and the operations it has posted. When it ends, every operation is completed or taken back, so
 * operations can live on the stack and an early `return status` is always safe:
 *
 *     hk_call call;
 *     hk_call_begin(&call, comm, context, tag, deadline, &what);
 *     status = hk_all_gather_ring(&call, ...);      posts, waits, returns early where it likes
 *     status = hk_call_end(&call, status);
 *
 * Functions of this file are used by one thread on one call. They return HOCKET_OK or a failure
 * that is already this thread's last error.
 */
#ifndef HK_TRANSPORT_CALL_H
#define HK_TRANSPORT_CALL_H

#include "transport/endpoint.h"

/* What is being called, for error texts and fingerprints. */
typedef struct hk_what {
    const char *name; /* "all_reduce" */
    uint64_t number;  /* of the collective in its group, from 1; 0 for messages */
    int dtype;        /* hocket_dtype, or -1 */
    int reduce;       /* hocket_reduce, or -1 */
    int root;         /* or -1 */
    size_t count;     /* elements, the same on all ranks */
    uint64_t more;    /* hash of whatever else must agree (arrays of counts) */
} hk_what;

/* "all_reduce #17 (float32 sum, 262144 elements)" */
void hk_what_print(const hk_what *what, char *text, size_t size);
uint32_t hk_what_fingerprint(const hk_what *what);

typedef struct hk_op {
    hocket_op base;
    struct hk_call *call;
    struct hk_op *next, **link; /* in the call's list while it is not finished */
} hk_op;

typedef struct hk_call {
    hk_comm *comm;
    uint64_t context;
    uint32_t tag;
    hk_time deadline;
    const hk_what *what;
    hk_op *posted;
    void *scratch; /* the pieces, a list freed by hk_call_end */
} hk_call;

void hk_call_begin(hk_call *call, hk_comm *comm, uint64_t context, uint32_t tag, hk_time deadline,
                   const hk_what *what);

/* Takes back what is still posted, frees the scratch, and returns status. A failed collective
 * breaks its group here. */
hocket_status hk_call_end(hk_call *call, hocket_status status);

/* Memory for the length of the call, 64-byte aligned; NULL with the error set. Any number of
 * pieces a call. */
void *hk_call_scratch(hk_call *call, size_t bytes);

/* Start a send or a receive; op is the caller's and must stay until hk_finish or hk_call_end. Ranks
 * are the group's; a rank may send to itself. Between two ranks, operations of one call match in
 * the order they are started. Any length, 0 too. data of a send must not change before it is
 * finished. */
hocket_status hk_start_send(hk_call *call, hk_op *op, int to, const void *data, size_t bytes);
hocket_status hk_start_recv(hk_call *call, hk_op *op, int from, void *data, size_t bytes);

/* Wait for one, or for all of an array. A receive that brought another length than asked for is
 * HOCKET_ERR_MISMATCH. */
hocket_status hk_finish(hk_call *call, hk_op *op);
hocket_status hk_finish_all(hk_call *call, hk_op *ops, int count);

/* Both at once: the usual step of a ring or a pairwise exchange. */
hocket_status hk_exchange(hk_call *call, int to, const void *send, size_t send_bytes, int from,
                          void *recv, size_t recv_bytes);
hocket_status hk_send(hk_call *call, int to, const void *data, size_t bytes);
hocket_status hk_recv(hk_call *call, int from, void *data, size_t bytes);

/* For native collectives that wait by themselves (hocket_patience_wait). Belongs to the call. */
struct hocket_patience {
    hk_call *call;
    hk_time since; /* when this wait began, 0: not yet */
    unsigned rounds;
};

#endif
