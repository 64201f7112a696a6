/* A pipe is a connected, nonblocking socket and, when the job is encrypted, the cipher on it. Its
 * bytes may go another way than its socket, by a carrier: then the socket's end is still the
 * pipe's.
 *
 * Sealed, what travels are records: a length (4 bytes), that many bytes of ciphertext, and a tag
 * of 16. Each direction has a key from the handshake and counts its records; the count is the nonce
 * and the length is authenticated too, so a record that is changed, repeated, left out or moved
 * does not open. ChaCha20-Poly1305 (RFC 8439), by libsodium.
 *
 * A pipe can be made to stutter, for finding faults: by chance, a read or write of what lies below
 * moves only the first bytes, or none, as sockets may at any time but on a quiet machine seldom do.
 */
#ifndef HK_WIRE_PIPE_H
#define HK_WIRE_PIPE_H

#include "wire/handshake.h"
#include <sys/uio.h>

typedef struct hk_cipher hk_cipher;

typedef struct hk_stutter {
    uint64_t chance; /* in millionths, of each call of the socket; 0: never */
    uint64_t random; /* the state of its random numbers */
} hk_stutter;

/* Bytes both ways in order, without waiting: as sendmsg and readv on a nonblocking socket. */
typedef struct hk_pipe_carrier {
    ssize_t (*write)(void *self, const struct iovec *parts, int count);
    ssize_t (*read)(void *self, const struct iovec *parts, int count);
    bool (*unsent)(void *self); /* of what was written, something may not have reached the peer */
    void (*close)(void *self);  /* the pipe is closed: nothing more will be asked */
} hk_pipe_carrier;

typedef struct hk_pipe {
    int fd;                         /* -1: closed */
    hk_cipher *cipher;              /* NULL: plain */
    const hk_pipe_carrier *carrier; /* NULL: the socket itself */
    void *carried;                  /* the carrier's */
    hk_stutter stutter;             /* whoever opens the pipe may set it */
} hk_pipe;

#define HK_PIPE_PARTS 4        /* of one call, at most */
#define HK_PIPE_FORGED EBADMSG /* errno of a record that does not open */

/* Takes over the socket. peer: whose keys to use; NULL: plain. It does not stutter. NO_MEMORY: the
 * socket stays the caller's. */
hocket_status hk_pipe_open(hk_pipe *pipe, int fd, const hk_peer *peer);

/* From now on this carries the pipe's bytes. */
void hk_pipe_carry(hk_pipe *pipe, const hk_pipe_carrier *carrier, void *self);

/* Closes and wipes. A closed pipe is fine. */
void hk_pipe_close(hk_pipe *pipe);

/* As sendmsg and readv on a nonblocking socket: bytes moved, 0 at the end (read), -1 with errno.
 *
 * Sealed, a write that returns -1 with EAGAIN may have sealed the first bytes of parts already: the
 * next write must offer the same bytes first (hk_pipe_holds), and counts them when they have gone.
 */
ssize_t hk_pipe_write(hk_pipe *pipe, const struct iovec *parts, int count);
ssize_t hk_pipe_read(hk_pipe *pipe, const struct iovec *parts, int count);

bool hk_pipe_holds(const hk_pipe *pipe);

/* Sealed: something has been opened and not been read, which no look below would show. */
bool hk_pipe_has_opened(const hk_pipe *pipe);

/* Of what was written, something has not reached the peer's kernel yet, as far as can be known. */
bool hk_pipe_unsent(const hk_pipe *pipe);

/* The same as hk_socket_send_some and its kin, which wait no longer than the deadline. AUTH: what
 * came was changed on its way. */
hocket_status hk_pipe_send_some(hk_pipe *pipe, const void *data, size_t bytes, size_t *done);
hocket_status hk_pipe_recv_some(hk_pipe *pipe, void *data, size_t bytes, size_t *done);
hocket_status hk_pipe_send_all(hk_pipe *pipe, const void *data, size_t bytes, hk_time deadline);
hocket_status hk_pipe_recv_all(hk_pipe *pipe, void *data, size_t bytes, hk_time deadline);

#endif
