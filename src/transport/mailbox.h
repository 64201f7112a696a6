/* A mailbox pairs what arrives with what is waited for. Each transport without a matching of its
 * own has one, and each endpoint has one for messages to itself.
 *
 * Messages wait in lanes, one for each (from, context, tag); a lane holds unread messages or
 * waiting receives, never both. A message is
 *
 *     unexpected   no receive was waiting; its bytes gather in memory of the mailbox
 *     claimed      a receive has it; its bytes go straight into the receive's buffer
 *     announced    too long to be sent unasked: the sender waits until it is claimed
 *
 * It can be claimed while it is still arriving, and a claim can be taken back (cancel).
 *
 * Not thread-safe: the owner's lock protects it.
 */
#ifndef HK_TRANSPORT_MAILBOX_H
#define HK_TRANSPORT_MAILBOX_H

#include <hocket/transport.h>

#define HK_WINDOW_BYTES                                                                            \
    (UINT64_C(256) << 20)   /* unread from one sender in one context: above, announce */
#define HK_MESSAGE_COST 128 /* what an unread message counts beside its bytes */
#define HK_MAILBOX_BUCKETS 256

typedef struct hk_lane hk_lane;

typedef struct hk_message {
    struct hk_message *next; /* in its lane, while unclaimed */
    hk_lane *lane;
    int from;
    uint64_t context;
    uint32_t tag;
    size_t length, arrived;
    uint8_t *bytes;  /* of an unexpected message */
    hocket_op *op;   /* the receive that claimed it */
    uint64_t ticket; /* announced, no bytes yet: the sender's number for it; else 0 */
    void *source;    /* announced: the owner's */
    bool lost;       /* its bytes found no memory */
    bool told;       /* it has been claimed before, and its sender knows */
} hk_message;

typedef struct hk_mailbox {
    hk_lane *buckets[HK_MAILBOX_BUCKETS];
    hk_lane *spare;
    void *owner;
    const bool
        *gone; /* by peer, the owner's, or NULL: what has not arrived from these never will */
    /* An announced message was claimed: ask for its bytes. Called from hk_mailbox_post and
     * hk_mailbox_arrive. */
    void (*claimed)(void *owner, hk_message *message);
    /* An unannounced message was read: the sender may send that much more (bytes with
     * HK_MESSAGE_COST). */
    void (*read)(void *owner, int from, uint64_t context, size_t bytes);
    /* Optional: an announced message goes that was never claimed; what its source holds is let go
     * of. Called from whatever takes a message away. */
    void (*dropped)(void *owner, hk_message *message);
} hk_mailbox;

/* What a message of that length counts in the window. */
size_t hk_mailbox_cost(size_t length);

/* A zeroed mailbox with owner, claimed and read set is ready. */
void hk_mailbox_fini(hk_mailbox *box);

/* A message begins to arrive.
 * ticket 0: its bytes follow, to be written to hk_message_space and reported to hk_mailbox_arrived.
 * data may be malloc()ed memory that holds all of them, which the mailbox takes over. ticket not 0:
 * it is announced; data becomes its source. The owner gets it when `claimed` is called, which may
 * be now. Returns NULL when there is no memory (data stays the caller's). *done: the message is not
 * the caller's any more: it is whole, or only announced. */
hk_message *hk_mailbox_arrive(hk_mailbox *box, int from, uint64_t context, uint32_t tag,
                              size_t length, uint64_t ticket, void *data, bool *done);

/* An announced message that nobody has claimed yet, or NULL. */
hk_message *hk_mailbox_announced(hk_mailbox *box, int from, uint64_t ticket);

/* Where the next bytes of the message go: room for length - arrived. NULL: nowhere (they are lost),
 * read past them. */
uint8_t *hk_message_space(const hk_message *message);

/* bytes more are in place. True: the message was complete and claimed, its receive is completed,
 * and it is gone. Unclaimed, it waits. */
bool hk_mailbox_arrived(hk_message *message, size_t bytes);

/* The sender took an announced message back. */
void hk_mailbox_withdraw(hk_mailbox *box, hk_message *message);

/* The rest of a message will never come: its receive is completed with HOCKET_ERR_PEER_LOST. */
void hk_mailbox_drop(hk_mailbox *box, hk_message *message);

/* A receive: claims the oldest message of its lane or waits. */
hocket_status hk_mailbox_post(hk_mailbox *box, hocket_op *op);

/* Takes a receive back. What it had claimed is unread again and comes first in its lane. */
void hk_mailbox_cancel(hk_mailbox *box, hocket_op *op);

bool hk_mailbox_probe(hk_mailbox *box, int from, uint64_t context, uint32_t tag, size_t *length);

/* The peer is gone: waiting receives from it are completed with HOCKET_ERR_PEER_LOST, unclaimed
 * announcements vanish. Whole messages stay; the owner drops those that were arriving. */
void hk_mailbox_peer_gone(hk_mailbox *box, int from);

/* Nobody will ask for this context any more, and no receive waits there: its unread messages go.
 * Those that are still arriving pass by. */
void hk_mailbox_forget(hk_mailbox *box, uint64_t context);

#endif
