/* The handshake: both ends of a fresh connection prove that they know the job's secret, before
 * anything else is read and before any memory is sized by the peer.
 *
 *     dialer                                  acceptor
 *       | -- hello: who I am, whom I want, nonce --> |
 *       | <-- hello: who I am, nonce --------------- |
 *       | -- proof = MAC(K, "dialer", both hellos)-> |      checked, else closed
 *       | <-- verdict, MAC(K, "acceptor", ...) ----- |      checked, else closed
 *
 * K is a hash of the secret; MACs are keyed BLAKE2b over both hellos, so that nonces, roles, ranks,
 * world size, purpose, job and the wish to seal are all bound: nothing of it can be replayed,
 * reflected or taken out. The
 * dialer proves first: whoever merely connects to a rank gets nothing to try secrets against.
 * Without a secret K is zero, or a hash of the number that the launcher has given the job, both
 * say so, and only loopback addresses are served, unless the job is insecure.
 *
 * All messages have fixed sizes. Whatever fails before the MACs may come from a stranger, so it is
 * dropped and logged and never ends anything; it is told as the reason when the deadline passes.
 */
#ifndef HK_WIRE_HANDSHAKE_H
#define HK_WIRE_HANDSHAKE_H

#include "core/deadline.h"
#include "core/settings.h"
#include "wire/address.h"

#define HK_WIRE_VERSION 1
#define HK_KEY_BYTES 32
#define HK_HANDSHAKE_PATIENCE (5 * HK_SECOND) /* for one stranger, and for one attempt to dial */
#define HK_RECEPTION_PENDING 64               /* strangers at once, plus one for each rank */

typedef struct hk_key { /* what the secret becomes */
    unsigned char bytes[HK_KEY_BYTES];
    bool open;          /* there is no secret */
    bool insecure;      /* without a secret, beyond loopback too */
    const char *advice; /* how this launcher's ranks are given one; or NULL */
} hk_key;

/* UNAVAILABLE: libsodium does not start. */
hocket_status hk_key_make(const hk_settings *settings, hk_key *key);
void hk_key_wipe(hk_key *key);

/* Without a secret, beyond loopback: AUTH saying what to set, or one warning in the life of the
 * process when the job is insecure. */
hocket_status hk_key_allows(const hk_key *key, const hk_address *address, int rank);

typedef enum hk_purpose {
    HK_PURPOSE_MEETING = 1, /* with the coordinator */
    HK_PURPOSE_MESH = 2     /* rank to rank, of a transport */
} hk_purpose;

typedef struct hk_hello { /* what one end says of itself */
    hk_purpose purpose;
    int rank;
    int peer;         /* the rank it wants to talk to; of an acceptor: -1 */
    int world_size;   /* must be the same */
    uint32_t channel; /* the dialer's choice, for transports with several connections a pair */
    uint64_t job;     /* must be the same; hk_meeting_job, or 0 before there is one */
    bool seal;        /* this end wants what follows sealed; the other end need not */
} hk_hello;

typedef struct hk_peer { /* who is at the other end, proven */
    hk_hello hello;
    hk_address address;
    unsigned char send_key[HK_KEY_BYTES], recv_key[HK_KEY_BYTES]; /* fresh; ours to them, back */
} hk_peer;

/* What else is to be looked at between attempts: a failure ends the dialling with it. */
typedef struct hk_lookout {
    hocket_status (*look)(void *owner);
    void *owner;
} hk_lookout;

/* Connects to "host:port" and shakes hands: hello->peer must be there. Tries again until the
 * deadline when nobody listens, the connection closes, or whoever answers fails the handshake, and
 * keeps the lookout (may be NULL) meanwhile. peer (may be NULL) is who answered. The connection is
 * the caller's. MISMATCH: a proven rank has another world size; after the deadline the status of
 * the last attempt: TIMEOUT when nobody was there, AUTH when the other does not know the secret,
 * PROTOCOL when it speaks something else. The rank at fault is hello->peer. */
hocket_status hk_dial(const char *where, const hk_hello *hello, const hk_key *key,
                      size_t buffer_bytes, hk_time deadline, const hk_lookout *lookout, int *fd,
                      hk_peer *peer);

/* A reception: a listener and the strangers in its hall, all served at once. */
typedef struct hk_reception hk_reception;

/* Takes over the listener, also on failure. self: purpose, rank, world_size and job of this rank.
 */
hocket_status hk_reception_open(int listener, const hk_hello *self, const hk_key *key,
                                hk_reception **reception);

/* The next connection that has proven itself, *fd, the caller's from then on. TIMEOUT: none until
 * the deadline, just call again. MISMATCH: a proven rank has another world size; it was told so.
 * SYSTEM. Strangers are dropped when they say anything wrong, after HK_HANDSHAKE_PATIENCE, or, the
 * oldest first, when the hall is full. */
hocket_status hk_reception_next(hk_reception *reception, hk_time deadline, int *fd, hk_peer *peer);

/* Why the last one that called itself `rank` was turned away, for the text of a timeout: status and
 * sentence part; HOCKET_OK and "" when none was. */
hocket_status hk_reception_rejected(const hk_reception *reception, int rank, char *why,
                                    size_t why_size);

/* Closes the listener and turns all strangers away. NULL is fine. */
void hk_reception_close(hk_reception *reception);

#endif
