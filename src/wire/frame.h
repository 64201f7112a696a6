/* What travels on a connection once the handshake is done: frames, each a header and `length`
 * bytes.
 *
 *     MESSAGE   a message, its bytes follow
 *     ANNOUNCE  a message above the window, named `ticket`: nothing follows
 *     ASK       the receiver has room for `ticket`
 *     BYTES_OF  the bytes of `ticket` follow
 *     READ      `length` bytes of `context` have been read: that much more may be sent unasked
 *     WITHDRAW  the sender takes `ticket` back
 *     OFFER     a message like MESSAGE whose bytes may go straight into memory: nothing follows
 *     HERE      the answer: into that memory (context: address, tag: key on wire `length`; one for
 *               each wire, in order). The other answer is ASK
 *     WRITTEN   the bytes of `ticket` are there
 */
#ifndef HK_WIRE_FRAME_H
#define HK_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_FRAME_BYTES 32
#define HK_FRAME_LENGTH_MAX (UINT64_C(1) << 46) /* of any message */

typedef enum hk_frame_kind {
    HK_FRAME_MESSAGE = 1,
    HK_FRAME_ANNOUNCE,
    HK_FRAME_ASK,
    HK_FRAME_BYTES_OF,
    HK_FRAME_READ,
    HK_FRAME_WITHDRAW,
    HK_FRAME_OFFER,
    HK_FRAME_HERE,
    HK_FRAME_WRITTEN,
    HK_FRAME_KINDS
} hk_frame_kind;

typedef struct hk_frame {
    hk_frame_kind kind;
    uint32_t tag;
    uint64_t context, length, ticket;
} hk_frame;

/* Little-endian: kind, tag (4 bytes each), context, length, ticket (8 each). */
void hk_frame_pack(const hk_frame *frame, uint8_t bytes[HK_FRAME_BYTES]);

/* False: no frame of ours. */
bool hk_frame_unpack(const uint8_t bytes[HK_FRAME_BYTES], hk_frame *frame);

#endif
