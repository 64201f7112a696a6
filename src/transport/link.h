/* A link is one connection to one peer: frames in, frames out.
 *
 * Out: a queue of parcels, each a frame's header and perhaps the bytes of a send. A send completes
 * when its last byte is in the kernel. Sends above the window are offers until the peer asks for
 * them.
 *
 * In: a buffer for headers and small messages; the rest of a large message goes straight to where
 * the mailbox wants it.
 *
 * Under the endpoint's lock, like all of a transport.
 */
#ifndef HK_TRANSPORT_LINK_H
#define HK_TRANSPORT_LINK_H

#include "transport/mailbox.h"
#include "transport/straight.h"
#include "transport/window.h"
#include "wire/frame.h"
#include "wire/pipe.h"

typedef struct hk_parcel hk_parcel;

struct hk_link {
    hk_pipe pipe; /* closed: the connection has ended */
    int peer;
    hk_mailbox *box;
    bool *gone;       /* set when the connection has ended: the mailbox looks at it */
    hk_window sent;   /* unasked and not known to be read */
    hk_window read;   /* read and not yet reported */
    hk_window unread; /* come unasked and not read */
    uint64_t tickets; /* given so far */

    hk_parcel *first, **last; /* out */
    hk_parcel *offers;        /* announced, not asked for */
    hk_parcel *spare;

    uint8_t *buffer; /* in: HK_LINK_BUFFER bytes */
    size_t begin, end;
    hk_message *incoming; /* whose bytes come now */
    hk_message *asked;    /* claimed after an announcement; linked by source */

    hk_straight straight; /* whoever opens the link may set its ops */
};

#define HK_LINK_BUFFER (4 * 1024)
#define HK_LINK_CREDIT_BYTES (UINT64_C(4) << 20) /* read, not reported: the window's tolerance */
#define HK_LINK_UNASKED_MAX (HK_WINDOW_BYTES + HK_LINK_CREDIT_BYTES) /* unread in one context */

/* Takes over the pipe. NO_MEMORY: it stays the caller's. */
hocket_status hk_link_open(hk_link *link, hk_pipe pipe, int peer, hk_mailbox *box, bool *gone);

/* Closes what is open; nothing is completed any more. A zeroed link with a closed pipe is fine. */
void hk_link_close(hk_link *link);

hocket_status hk_link_send(hk_link *link, hocket_op *op);
void hk_link_cancel_send(hk_link *link, hocket_op *op);

/* Takes a receive from this peer back, out of the mailbox too. */
void hk_link_cancel_receive(hk_link *link, hocket_op *op);

/* The mailbox's hooks, for messages of this link. */
void hk_link_claimed(hk_link *link, hk_message *message);
void hk_link_was_read(hk_link *link, uint64_t context, size_t bytes);

/* Nothing is sent or received under this context any more: drops what is counted there. */
void hk_link_forget(hk_link *link, uint64_t context);

bool hk_link_wants_to_write(const hk_link *link);

/* Move what can be moved; true if anything was. A connection that breaks, or breaks the rules, is
 * gone afterwards: all operations with the peer have ended with HOCKET_ERR_PEER_LOST. *status is
 * set where there is more to tell: AUTH, a record was changed; PROTOCOL, the peer sends unasked
 * beyond HK_LINK_UNASKED_MAX; NO_MEMORY. */
bool hk_link_write(hk_link *link);
bool hk_link_read(hk_link *link, hocket_status *status);

/* === For straight.c =========================================================================== */

void hk_link_say(hk_link *link, const hk_frame *frame);
/* BYTES_OF. op, or else owned, which is freed: whose the bytes are. */
void hk_link_send_bytes(hk_link *link, uint64_t ticket, const void *bytes, size_t length,
                        hocket_op *op, void *owned);

#endif
