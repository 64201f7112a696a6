/* Write your own transport.
 *
 * A transport moves messages between the ranks of one world. It has to post sends and receives and
 * make progress on them; groups, collectives, deadlines, faults, requests and graphs are hocket's
 * and work over any transport:
 *
 *     static const hocket_transport mine = {
 *         .size = sizeof(hocket_transport), .name = "mine",
 *         .rank = mine_rank, .world_size = mine_world_size,
 *         .post = mine_post, .cancel = mine_cancel, .progress = mine_progress, .probe = mine_probe,
 *     };
 *     hocket_init_with(&mine, my_state, &group);
 *
 * tests/test_public_own_transport.c is a whole one.
 *
 * Threads: hocket calls the slots of one transport from any thread, but never two at a time. Only
 * wake and the native collectives come from other threads meanwhile. No slot may call a function of
 * the group.
 */
#ifndef HOCKET_TRANSPORT_H
#define HOCKET_TRANSPORT_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* === Operations =============================================================================== */

enum { HOCKET_OP_SEND = 0, HOCKET_OP_RECV = 1 };

/* One send or one receive. The memory is hocket's and stays until the operation is completed or
 * cancelled.
 *
 * A message goes from one rank to another under (context, tag). A receive takes the oldest message
 * from its peer with the same context and tag; messages with the same four arrive in the order of
 * their sends. A message with context 0 does not overtake one sent earlier to the same peer,
 * whatever its context. */
typedef struct hocket_op hocket_op;
struct hocket_op {
    /* Set before post. */
    int kind;         /* HOCKET_OP_SEND or HOCKET_OP_RECV */
    int peer;         /* 0 .. world_size - 1, never this rank */
    uint64_t context; /* keeps groups apart */
    uint32_t tag;
    bool take;     /* receive: buffer is NULL and the transport sets it to memory to free() */
    void *buffer;  /* send: the bytes; receive: where they go */
    size_t length; /* send: bytes; receive: bytes that fit */
    void *owner;   /* hocket's */

    /* Set by hocket_op_complete. */
    bool done;
    hocket_status status;
    size_t received; /* receive: the message's length, also where it did not fit */

    /* The transport's, from post to completion; zero at post. */
    hocket_op *next, *previous;
    size_t progress;
    void *scratch[2];
};

/* Ends an operation: from within post, progress or cancel, once each.
 * - HOCKET_OK: a send's bytes need no more help from this rank; a receive's bytes are in the
 * buffer.
 * - HOCKET_ERR_INVALID: the message does not fit into the receive; received says its length, the
 * message stays.
 * - HOCKET_ERR_PEER_LOST: the peer is gone, this cannot complete. Every posted and every later
 * operation with a peer that has died or hung up must end so; what arrived before can still be
 * received.
 * - any other status: it failed, with the reason in hocket_transport_error. */
HOCKET_API void hocket_op_complete(hocket_op *op, hocket_status status, size_t received);

/* Sets the sentence of this thread's last error and returns status: `return
 * hocket_transport_error(...)`. */
HOCKET_API hocket_status hocket_transport_error(hocket_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* The same, naming the ranks at fault: the world's ranks from a transport's slots, the group's
 * elsewhere. */
HOCKET_API hocket_status hocket_transport_error_ranks(hocket_status status, const int *ranks,
                                                      int count, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 4, 5)))
#endif
    ;

/* === Native collectives (optional) ============================================================ */

/* Handed to a native collective that waits by itself. */
typedef struct hocket_patience hocket_patience;

/* To be called after each look that found nothing: spins, yields or naps, takes in what arrives for
 * this rank meanwhile, and returns anything but HOCKET_OK when the wait must end: the deadline has
 * passed, a member has died, the group was aborted. The collective then returns that status at
 * once. */
HOCKET_API hocket_status hocket_patience_wait(hocket_patience *patience);

/* Collectives that an engine has itself. A NULL slot, and a slot that returns
 * HOCKET_ERR_UNSUPPORTED on every rank alike before it has sent anything, is replaced: by the
 * algorithms over post and progress where the transport joins all pairs, else composed from
 * all_gather and all_reduce. Arguments are checked and counts are not 0. In place means what it
 * does in hocket.h: send == recv, or the own block of the longer buffer. At most one runs at a time
 * on one team. */
typedef struct hocket_collectives {
    size_t size; /* sizeof(hocket_collectives) */

    /* Makes what a group needs. Collective over ranks[0..count-1] (of the world, in the group's
     * order). context is unique to the group. HOCKET_ERR_UNSUPPORTED: this group uses the
     * algorithms; in a delegate it cannot be made. */
    hocket_status (*team_open)(void *self, const int *ranks, int count, uint64_t context,
                               hocket_patience *patience, void **team);
    void (*team_close)(void *team);

    hocket_status (*all_reduce)(void *team, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce,
                                hocket_patience *patience);
    hocket_status (*all_gather)(void *team, const void *send, void *recv, size_t send_count,
                                hocket_dtype dtype, hocket_patience *patience);
    hocket_status (*reduce_scatter)(void *team, const void *send, void *recv, size_t recv_count,
                                    hocket_dtype dtype, hocket_reduce reduce,
                                    hocket_patience *patience);
    hocket_status (*broadcast)(void *team, void *data, size_t count, hocket_dtype dtype, int root,
                               hocket_patience *patience);
    hocket_status (*barrier)(void *team, hocket_patience *patience);

    /* Optional: memory for hocket_alloc that the group's members reach without a copy, 64-byte
     * aligned and zeroed. Not collective; from any thread, also beside a collective.
     * HOCKET_ERR_UNSUPPORTED: take the transport's, or plain memory. dealloc is false for memory
     * that is not of this alloc. */
    hocket_status (*alloc)(void *team, size_t bytes, void **memory);
    bool (*dealloc)(void *team, void *memory);
} hocket_collectives;

/* === The transport ============================================================================ */

enum {
    /* A delegate: not every rank can send to every rank, or nothing arrives unless the peer is in
     * the same call. hocket then sends no news of its own, so faults are what the engine makes of
     * them, and all collectives come from the native ones. */
    HOCKET_TRANSPORT_DELEGATE = 1 << 0
};

typedef struct hocket_transport {
    size_t size;      /* sizeof(hocket_transport) */
    const char *name; /* what hocket_backend says */
    unsigned flags;

    /* Mandatory. Constant while the transport lives. */
    int (*rank)(void *self);
    int (*world_size)(void *self);

    /* Mandatory. Takes an operation. Must not wait; may complete it at once. A failure here means
     * that the operation was not taken: HOCKET_ERR_UNSUPPORTED (a delegate that cannot reach this
     * peer), NO_MEMORY. */
    hocket_status (*post)(void *self, hocket_op *op);

    /* Mandatory. Takes an operation back: afterwards the transport never touches it or its buffer
     * again. A receive that was filling goes back to being an unread message, whole; a send that
     * has begun is finished from a copy. Does not complete it. */
    void (*cancel)(void *self, hocket_op *op);

    /* Mandatory. Moves whatever can be moved now and completes what that ends. When nothing could
     * be moved it may sleep up to wait_ns nanoseconds (0: not at all) until something can, or until
     * wake. A failure breaks the transport. */
    hocket_status (*progress)(void *self, int64_t wait_ns);

    /* Ends the sleep of a running progress, or of the next one. From any thread. NULL: progress
     * never sleeps longer than HOCKET_NAP_NS, whatever it is given. */
    void (*wake)(void *self);

    /* Optional, of a transport over a medium that loses: whether something that was said may have
     * to be said again, or something heard is still to be acknowledged. While no call is under way
     * hocket asks from a thread of its own, at least every HOCKET_TEND_NS, and calls progress where
     * it is so. NULL: what was completed needs no more help, and there is no such thread. */
    bool (*unsettled)(void *self);

    /* Mandatory. Whether the oldest unread message from this peer under (context, tag) is known,
     * and its length. */
    bool (*probe)(void *self, int from, uint64_t context, uint32_t tag, size_t *length);

    /* Optional. A group is no more: no operation is posted under this context, none will be, and
     * what lies unread or is counted there can go. Must not wait. Messages may still come from
     * members that do not know yet; when all have left, it is called once more. NULL: unread
     * messages stay until close. */
    void (*forget)(void *self, uint64_t context);

    /* Optional. The last call: sends whatever was completed but not yet gone, then lets go. orderly
     * is false when something has failed: then it must not wait for anything. */
    void (*close)(void *self, bool orderly);

    /* Optional. Number of the host that a rank runs on (0, 1, ...). NULL: all on one host. */
    int (*host_of)(void *self, int rank);

    /* Optional: memory that this transport reaches without a copy. */
    hocket_status (*alloc)(void *self, size_t bytes, void **memory);
    void (*dealloc)(void *self, void *memory);
    hocket_status (*register_memory)(void *self, void *memory, size_t bytes);
    hocket_status (*unregister_memory)(void *self, void *memory);

    /* Optional. */
    const hocket_collectives *collectives;
} hocket_transport;

#define HOCKET_NAP_NS INT64_C(1000000)
#define HOCKET_TEND_NS INT64_C(160000000)

/* Makes the world group of a transport of the caller's; self is handed to its slots. Collective
 * over its ranks. transport and self must live until the last group over them is freed, which calls
 * close. */
HOCKET_API hocket_status hocket_init_with(const hocket_transport *transport, void *self,
                                          hocket_group **group);

/* The team behind a group that runs over these native collectives; NULL over others and over none.
 * For a library that hands a group on to the engine which carries it. */
HOCKET_API void *hocket_group_team(const hocket_group *group,
                                   const hocket_collectives *collectives);

#ifdef __cplusplus
}
#endif

#endif
