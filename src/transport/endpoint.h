/* An endpoint is one opened transport: it makes progress, waits, and knows what has failed.
 *
 *     group A    group B    group C            hk_comm: members, context, fault
 *         \         |         /
 *          hk_endpoint                         one lock, one leader, health of each rank, news
 *               |
 *          hocket_transport                    post, cancel, progress, probe
 *
 * Lock: every slot of the transport is called with the endpoint's lock held, so slots never run
 * twice at a time.
 *
 * Leader: of the threads that wait, one at a time calls progress; it may sleep there, holding the
 * lock. A thread that wants the lock meanwhile counts itself in `wanting`, calls the transport's
 * wake, and the leader steps aside.
 *
 * News: context 0 carries small messages between endpoints (a rank died, a group is broken, a rank
 * left a group). For each peer one receive is always posted there, so that a peer's death is seen
 * even by a rank that waits for nobody in particular.
 */
#ifndef HK_TRANSPORT_ENDPOINT_H
#define HK_TRANSPORT_ENDPOINT_H

#include "core/deadline.h"
#include "core/status.h"
#include "transport/choices.h"
#include "transport/history.h"
#include <hocket/transport.h>

typedef struct hk_endpoint hk_endpoint;

/* A group as its endpoint sees it. Fields are constant after hk_comm_open unless they say
 * otherwise.
 *
 * A *part* is some of a group's members under numbers of their own, for algorithms that work on
 * them. It has no life of its own: calls on it are the group's, and so are its faults, news and
 * deadlines, in the group's numbers. Below `members` everything is the group's alone. */
typedef struct hk_comm {
    hk_endpoint *endpoint;
    struct hk_comm *whole; /* the group that this is a part of; of a group itself */
    uint64_t context;      /* collectives; messages go under hk_comm_messages(comm) */
    int rank, size;        /* in the group */
    int *ranks;            /* world rank of each member */
    int *members;          /* of a part: each one's number in the whole; else NULL */
    bool one_host;         /* that of all members */
    uint64_t *arrived; /* of a group: the last collective in which each was heard; of its call */

    /* Without a lock. */
    atomic_bool broken;  /* by the fault below */
    uint32_t previous;   /* fingerprint of the collective before; of its call */
    hk_history *history; /* of its call, which writes it */

    /* Under the endpoint's lock. */
    hk_error fault; /* why the group is broken (status HOCKET_OK: it is not); ranks of the group */
    hk_time heard_until;      /* the news of the fault has this time to leave, 0: not begun */
    bool *left;               /* members that have left the group */
    uint64_t *stayed;         /* the last collective that each of them had begun */
    uint64_t *answers;        /* the collective each member last said it is in, + 1 */
    struct hk_shrink *shrink; /* what members say of who is left, shrink.c */
    struct hk_comm *next;     /* the endpoint's list */
} hk_comm;

/* Wraps an opened transport. Owned by the comms on it and by who holds it: the last hk_comm_close
 * or hk_endpoint_release closes the transport. On failure the transport is not closed. */
hocket_status hk_endpoint_open(const hocket_transport *transport, void *self,
                               hk_endpoint **endpoint);

/* For an endpoint without any comm or hold. */
void hk_endpoint_close(hk_endpoint *endpoint);

/* Keeps it open while there may be no comm. Each hold needs its release. */
void hk_endpoint_hold(hk_endpoint *endpoint);
void hk_endpoint_release(hk_endpoint *endpoint);

const hocket_transport *hk_endpoint_transport(const hk_endpoint *endpoint);
void *hk_endpoint_self(const hk_endpoint *endpoint);
int hk_endpoint_rank(const hk_endpoint *endpoint);
int hk_endpoint_size(const hk_endpoint *endpoint);
const hk_choices *hk_endpoint_choices(const hk_endpoint *endpoint);
bool hk_endpoint_is_delegate(const hk_endpoint *endpoint);

/* The program's own rows of the table of choices, copied. The same on all ranks, and while no
 * collective is under way. */
void hk_endpoint_tune(hk_endpoint *endpoint, const hk_choices *own);

/* For who calls a slot of the transport. Wakes a leader that sleeps with the lock held. */
void hk_endpoint_lock(hk_endpoint *endpoint);
void hk_endpoint_unlock(hk_endpoint *endpoint);

/* Opens a group over members ranks[0..size-1] (copied), which contain this rank. The context is the
 * same on all members and nobody else's. */
hocket_status hk_comm_open(hk_endpoint *endpoint, uint64_t context, const int *ranks, int size,
                           hk_comm **comm);

/* Leaves: tells the members, without waiting for them. NULL is fine. */
void hk_comm_close(hk_comm *comm);

/* The members members[0..size-1] of a group, this rank among them, as a part. The context is for
 * native collectives; messages go under the group's, which is enough: between two ranks operations
 * match in their order. */
hocket_status hk_comm_part(hk_comm *whole, uint64_t context, const int *members, int size,
                           hk_comm **part);

/* Before its group is closed. NULL is fine. */
void hk_comm_part_free(hk_comm *part);

/* A context for messages beside the one for collectives, and contexts of children. */
uint64_t hk_comm_messages(const hk_comm *comm);
uint64_t hk_context_child(uint64_t parent, uint64_t number, uint64_t color);
#define HK_CONTEXT_NEWS UINT64_C(0)
#define HK_CONTEXT_WORLD UINT64_C(1)

/* Which way a collective of this group goes. */
hk_algorithm hk_comm_choose(const hk_comm *comm, hk_medium medium, hk_operation operation,
                            size_t bytes, bool ordered);

/* Breaks the group for good with this error (the first one stays) and tells the members. Returns
 * the group's fault as this thread's error. */
hocket_status hk_comm_break(hk_comm *comm, const hk_error *error);

/* Where the group is broken, gives what this rank has told the others of it the time to leave. */
void hk_comm_pass_on(hk_comm *comm);

/* Of a broken group: agrees with the survivors on who is out (out[i], size of the group). Every
 * survivor calls it; who does not until the deadline is out. PEER_LOST on a rank that the others
 * count out. */
hocket_status hk_comm_shrink(hk_comm *comm, hk_time deadline, bool *out);

/* Of a broken group whose split failed here: members that got through it learn that this rank is
 * not in the child of that context, which breaks. */
void hk_comm_abandon(hk_comm *comm, uint64_t child);

/* HOCKET_OK, or the group's fault as this thread's error. Looks at the news first. */
hocket_status hk_comm_check(hk_comm *comm);

#endif
