/* Straight into memory: what a link does with large messages where its carrier's device can write
 * into the peer's memory, and knows both buffers (hocket_alloc, hocket_register).
 *
 *     sender                               receiver
 *     OFFER, in place of MESSAGE    ->     a receive waits and its memory is known?
 *                                   <-     HERE, one a wire: its address and key; else ASK
 *     writes into it, then WRITTEN  ->     it is all there
 *     or BYTES_OF, by the stream    ->     as ever
 *
 * A device knows memory by a key of its own, so each wire has one, and both ends count the same
 * wires. An offer is answered at once, so a send waits for no receive that it did not wait for
 * before, and it counts in the window like the message that it stands for. Whoever takes an
 * operation back while the device may still be at its memory waits until it is not: the other end
 * answers at once when it looks; when it does not for CUT_NS, the wire is cut and the peer is lost.
 *
 * A part of link.c in a file of its own.
 */
#ifndef HK_TRANSPORT_STRAIGHT_H
#define HK_TRANSPORT_STRAIGHT_H

#include "core/hostfile.h"
#include "transport/mailbox.h"
#include "wire/frame.h"

#define HK_STRAIGHT_LEAST ((size_t)64 << 10) /* below, asking takes longer than copying */

typedef struct hk_link hk_link;

/* What the carrier's device does. */
typedef struct hk_straight_ops {
    /* The keys that the peer needs to write there, one a wire; returns how many, 0: not all of that
     * memory is known. */
    int (*knows)(void *self, const void *memory, size_t bytes, uint32_t keys[HK_WIRES_MAX]);
    /* Begins to write there, with as many keys; hk_straight_written says when all is. False: it
     * cannot, nothing is. */
    bool (*write)(void *self, const void *from, size_t bytes, uint64_t to,
                  const uint32_t keys[HK_WIRES_MAX], uint64_t ticket);
    /* One round of progress of this link, without sleeping. */
    void (*turn)(void *self);
    /* Ends the wire: from now on nothing is written or read by the device, and the link will find
     * its peer gone. */
    void (*cut)(void *self);
} hk_straight_ops;

typedef struct hk_straight_offer hk_straight_offer;
typedef struct hk_straight_wait hk_straight_wait;

typedef struct hk_straight {
    const hk_straight_ops *ops; /* NULL: the link has no such device */
    void *self;
    hk_straight_offer *offers; /* out: answers or writes are to come */
    hk_straight_wait *waits;   /* in: bytes are to come */
} hk_straight;

/* === For link.c =============================================================================== */

/* A send that is offered: true, and *status as of hk_link_send. */
bool hk_straight_send(hk_link *link, hocket_op *op, hocket_status *status);
void hk_straight_cancel_send(hk_link *link, hocket_op *op);
/* Before the mailbox takes a receive back. True: it has. */
bool hk_straight_cancel_receive(hk_link *link, hocket_op *op);

/* What came. False: it breaks the rules. */
bool hk_straight_offered(hk_link *link, const hk_frame *frame, hocket_status *status);
bool hk_straight_here(hk_link *link, const hk_frame *frame);
bool hk_straight_was_written(hk_link *link, uint64_t ticket);
/* True: that ticket is an offer's, and its bytes go by the stream now. */
bool hk_straight_asked(hk_link *link, uint64_t ticket);
/* The message of that ticket, whose bytes come by the stream; NULL: there is none. */
hk_message *hk_straight_take(hk_link *link, uint64_t ticket);

/* The link's pipe is closed. lost: operations end with HOCKET_ERR_PEER_LOST, else in silence. */
void hk_straight_end(hk_link *link, bool lost);

/* === For the carrier ========================================================================== */

void hk_straight_written(hk_link *link, uint64_t ticket);

#endif
