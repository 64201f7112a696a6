/* The bytes of the handshake, without sockets: what each end says, and how it is checked. */
#ifndef HK_WIRE_PROOF_H
#define HK_WIRE_PROOF_H

#include "wire/handshake.h"

#define HK_HELLO_BYTES 80
#define HK_PROOF_BYTES 32
#define HK_VERDICT_BYTES (4 + HK_PROOF_BYTES)

typedef enum hk_verdict { /* the acceptor's; only ever appended */
                          HK_VERDICT_WELCOME = 0,
                          HK_VERDICT_STRANGER = 1, /* the proof is wrong; comes without a MAC */
                          HK_VERDICT_WORLD = 2,    /* another world size */
                          HK_VERDICT_ASTRAY =
                              3 /* another rank, job or purpose was wanted than is here */
} hk_verdict;

typedef struct hk_proof { /* one end's side of one handshake */
    bool dialer;
    const hk_key *key;
    hk_hello self, other; /* other: after hk_proof_take_hello */
    uint32_t other_version;
    unsigned char hello[HK_HELLO_BYTES]; /* to send */
    unsigned char transcript[64];
} hk_proof;

/* Fills the hello with a fresh nonce. key must outlive the proof. */
void hk_proof_begin(hk_proof *proof, const hk_key *key, const hk_hello *self, bool dialer);

/* Reads the other's hello. PROTOCOL: garbage, the own role or nonce, numbers out of range, another
 * version; AUTH: one has a secret and the other none. The text is part of a sentence about the
 * other end ("speaks ..."). *answer: whether it is worth an answer, which tells it the same. */
hocket_status hk_proof_take_hello(hk_proof *proof, const unsigned char bytes[HK_HELLO_BYTES],
                                  bool *answer);

/* The dialer's proof, made and checked. */
void hk_proof_make(const hk_proof *proof, unsigned char bytes[HK_PROOF_BYTES]);
bool hk_proof_check(const hk_proof *proof, const unsigned char bytes[HK_PROOF_BYTES]);

/* What the acceptor makes of a dialer that has proven itself. */
hk_verdict hk_proof_judge(const hk_proof *proof);

/* The acceptor's verdict, which is its proof too, made and checked. AUTH: the MAC is wrong. */
void hk_proof_make_verdict(const hk_proof *proof, hk_verdict verdict,
                           unsigned char bytes[HK_VERDICT_BYTES]);
hocket_status hk_proof_check_verdict(const hk_proof *proof,
                                     const unsigned char bytes[HK_VERDICT_BYTES],
                                     hk_verdict *verdict);

/* Who is there, with the keys of this connection; after both proofs. */
void hk_proof_peer(const hk_proof *proof, const hk_address *address, hk_peer *peer);

void hk_proof_wipe(hk_proof *proof);

/* Whether a handshake failed because the other end answered and was wrong, and so whether the
 * failure is worth keeping instead of one before: it tells more than that nobody was there. */
bool hk_proof_is_answer(hocket_status failed);
bool hk_proof_tells(hocket_status before, hocket_status now);

#endif
