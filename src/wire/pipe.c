#include "wire/pipe.h"

#include "core/random.h"
#include "wire/bytes.h"
#include "wire/socket.h"
#include "wire/unsent.h"
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES (32 * 1024) /* of plaintext, at most */
#define LENGTH_BYTES 4
#define TAG_BYTES crypto_aead_chacha20poly1305_ietf_ABYTES
#define NONCE_BYTES crypto_aead_chacha20poly1305_ietf_NPUBBYTES
#define SEALED_BYTES (LENGTH_BYTES + RECORD_BYTES + TAG_BYTES)

typedef struct direction {
    unsigned char key[HK_KEY_BYTES];
    uint64_t records;
    unsigned char plain[RECORD_BYTES];
    size_t plain_begin, plain_end;
    unsigned char sealed[SEALED_BYTES];
    size_t sealed_begin, sealed_end;
} direction;

struct hk_cipher {
    direction out, in;
};

hocket_status hk_pipe_open(hk_pipe *pipe, int fd, const hk_peer *peer)
{
    *pipe = (hk_pipe){.fd = fd};
    if (peer == NULL)
        return HOCKET_OK;
    pipe->cipher = calloc(1, sizeof *pipe->cipher);
    if (pipe->cipher == NULL) {
        pipe->fd = -1;
        return hk_fail_memory(sizeof *pipe->cipher, "a connection's cipher");
    }
    memcpy(pipe->cipher->out.key, peer->send_key, HK_KEY_BYTES);
    memcpy(pipe->cipher->in.key, peer->recv_key, HK_KEY_BYTES);
    return HOCKET_OK;
}

void hk_pipe_carry(hk_pipe *pipe, const hk_pipe_carrier *carrier, void *self)
{
    pipe->carrier = carrier;
    pipe->carried = self;
}

void hk_pipe_close(hk_pipe *pipe)
{
    if (pipe->carrier != NULL)
        pipe->carrier->close(pipe->carried);
    pipe->carrier = NULL;
    hk_socket_close(pipe->fd);
    pipe->fd = -1;
    if (pipe->cipher == NULL)
        return;
    sodium_memzero(pipe->cipher, sizeof *pipe->cipher);
    free(pipe->cipher);
    pipe->cipher = NULL;
}

bool hk_pipe_holds(const hk_pipe *pipe)
{
    return pipe->cipher != NULL && pipe->cipher->out.sealed_end > 0;
}

bool hk_pipe_has_opened(const hk_pipe *pipe)
{
    return pipe->cipher != NULL && pipe->cipher->in.plain_begin < pipe->cipher->in.plain_end;
}

bool hk_pipe_unsent(const hk_pipe *pipe)
{
    return pipe->carrier != NULL ? pipe->carrier->unsent(pipe->carried)
                                 : hk_socket_unsent(pipe->fd) > 0;
}

/* === Records ================================================================================= */

static void make_nonce(direction *d, unsigned char nonce[NONCE_BYTES])
{
    memset(nonce, 0, NONCE_BYTES);
    hk_put_u64(nonce, d->records++);
}

static void seal(direction *out)
{
    unsigned char nonce[NONCE_BYTES];
    make_nonce(out, nonce);
    hk_put_u32(out->sealed, (uint32_t)out->plain_end);
    crypto_aead_chacha20poly1305_ietf_encrypt(out->sealed + LENGTH_BYTES, NULL, out->plain,
                                              out->plain_end, out->sealed, LENGTH_BYTES, NULL,
                                              nonce, out->key);
    out->sealed_begin = 0;
    out->sealed_end = LENGTH_BYTES + out->plain_end + TAG_BYTES;
}

/* False: not what the peer sealed. */
static bool unseal(direction *in)
{
    unsigned char nonce[NONCE_BYTES];
    make_nonce(in, nonce);
    size_t length = in->sealed_end - LENGTH_BYTES;
    if (crypto_aead_chacha20poly1305_ietf_decrypt(in->plain, NULL, NULL, in->sealed + LENGTH_BYTES,
                                                  length, in->sealed, LENGTH_BYTES, nonce,
                                                  in->key) != 0)
        return false;
    in->plain_begin = 0;
    in->plain_end = length - TAG_BYTES;
    in->sealed_end = 0;
    return true;
}

/* === Below: the socket, or what carries in its place ========================================== */

#define NOTHING_SHARE 4 /* one stutter of so many moves nothing */
#define CUT_BITS 16     /* the others up to 2 to this power, small ones as often as large ones */

/* The bytes that chance lets through now. */
static size_t choose_length(hk_stutter *stutter)
{
    if (!hk_random_happens(&stutter->random, stutter->chance))
        return SIZE_MAX;
    if (hk_random(&stutter->random) % NOTHING_SHARE == 0)
        return 0;
    size_t most = (size_t)1 << (hk_random(&stutter->random) % (CUT_BITS + 1));
    return 1 + (size_t)hk_random(&stutter->random) % most;
}

/* What goes now: *parts as they are or, by chance, their first bytes. False, with errno: nothing.
 */
static bool falter(hk_stutter *stutter, struct iovec first[HK_PIPE_PARTS],
                   const struct iovec **parts, int *count)
{
    size_t bytes = choose_length(stutter);
    int used = 0;
    for (; used < *count && used < HK_PIPE_PARTS && bytes > 0; used++) {
        first[used] = (*parts)[used];
        if (first[used].iov_len > bytes)
            first[used].iov_len = bytes;
        bytes -= first[used].iov_len;
    }
    *parts = first;
    *count = used;
    errno = EAGAIN;
    return used > 0;
}

static ssize_t write_below(hk_pipe *pipe, const struct iovec *parts, int count)
{
    struct iovec first[HK_PIPE_PARTS];
    if (pipe->stutter.chance > 0 && !falter(&pipe->stutter, first, &parts, &count))
        return -1;
    if (pipe->carrier != NULL)
        return pipe->carrier->write(pipe->carried, parts, count);
    struct msghdr message = {.msg_iov = (struct iovec *)parts};
    message.msg_iovlen = (__typeof__(message.msg_iovlen))count;
    return sendmsg(pipe->fd, &message, HK_SEND_FLAGS);
}

static ssize_t read_below(hk_pipe *pipe, const struct iovec *parts, int count)
{
    struct iovec first[HK_PIPE_PARTS];
    if (pipe->stutter.chance > 0 && !falter(&pipe->stutter, first, &parts, &count))
        return -1;
    if (pipe->carrier != NULL)
        return pipe->carrier->read(pipe->carried, parts, count);
    if (count == 1) /* the kernel's shorter way */
        return recv(pipe->fd, parts->iov_base, parts->iov_len, 0);
    return readv(pipe->fd, parts, count);
}

/* === Writing ================================================================================= */

static void gather(direction *out, const struct iovec *parts, int count)
{
    out->plain_end = 0;
    for (int i = 0; i < count && out->plain_end < RECORD_BYTES; i++) {
        size_t bytes = RECORD_BYTES - out->plain_end;
        if (bytes > parts[i].iov_len)
            bytes = parts[i].iov_len;
        memcpy(out->plain + out->plain_end, parts[i].iov_base, bytes);
        out->plain_end += bytes;
    }
}

ssize_t hk_pipe_write(hk_pipe *pipe, const struct iovec *parts, int count)
{
    if (pipe->cipher == NULL)
        return write_below(pipe, parts, count);
    direction *out = &pipe->cipher->out;
    if (out->sealed_end == 0) {
        gather(out, parts, count);
        seal(out);
    }
    while (out->sealed_begin < out->sealed_end) {
        struct iovec rest = {out->sealed + out->sealed_begin, out->sealed_end - out->sealed_begin};
        ssize_t sent = write_below(pipe, &rest, 1);
        if (sent < 0)
            return -1;
        out->sealed_begin += (size_t)sent;
    }
    out->sealed_end = 0;
    return (ssize_t)out->plain_end;
}

/* === Reading ================================================================================= */

static size_t scatter(direction *in, const struct iovec *parts, int count)
{
    size_t moved = 0;
    for (int i = 0; i < count && in->plain_begin < in->plain_end; i++) {
        size_t bytes = in->plain_end - in->plain_begin;
        if (bytes > parts[i].iov_len)
            bytes = parts[i].iov_len;
        memcpy(parts[i].iov_base, in->plain + in->plain_begin, bytes);
        in->plain_begin += bytes;
        moved += bytes;
    }
    return moved;
}

/* How long the record will be, as far as is known. 0: no record is as long as this one says. */
static size_t record_length(const direction *in)
{
    if (in->sealed_end < LENGTH_BYTES)
        return LENGTH_BYTES;
    size_t plain = hk_get_u32(in->sealed);
    return plain == 0 || plain > RECORD_BYTES ? 0 : LENGTH_BYTES + plain + TAG_BYTES;
}

/* Reads up to one whole record: as recv. */
static ssize_t read_record(hk_pipe *pipe)
{
    direction *in = &pipe->cipher->in;
    for (;;) {
        size_t length = record_length(in);
        if (length == 0) {
            errno = HK_PIPE_FORGED;
            return -1;
        }
        if (length > LENGTH_BYTES && in->sealed_end == length)
            return (ssize_t)length;
        struct iovec rest = {in->sealed + in->sealed_end, length - in->sealed_end};
        ssize_t got = read_below(pipe, &rest, 1);
        if (got <= 0)
            return got;
        in->sealed_end += (size_t)got;
    }
}

ssize_t hk_pipe_read(hk_pipe *pipe, const struct iovec *parts, int count)
{
    if (pipe->cipher == NULL)
        return read_below(pipe, parts, count);
    direction *in = &pipe->cipher->in;
    if (in->plain_begin == in->plain_end) {
        ssize_t got = read_record(pipe);
        if (got <= 0)
            return got;
        if (!unseal(in)) {
            errno = HK_PIPE_FORGED;
            return -1;
        }
    }
    return (ssize_t)scatter(in, parts, count);
}

/* === With statuses =========================================================================== */

hocket_status hk_pipe_send_some(hk_pipe *pipe, const void *data, size_t bytes, size_t *done)
{
    struct iovec part = {(void *)data, bytes};
    ssize_t sent = bytes > 0 ? hk_pipe_write(pipe, &part, 1) : 0;
    return hk_socket_settle(pipe->fd, "send to", sent, done);
}

hocket_status hk_pipe_recv_some(hk_pipe *pipe, void *data, size_t bytes, size_t *done)
{
    struct iovec part = {data, bytes};
    *done = 0;
    if (bytes == 0)
        return HOCKET_OK;
    ssize_t got = hk_pipe_read(pipe, &part, 1);
    if (got < 0 && errno == HK_PIPE_FORGED)
        return hk_fail(HOCKET_ERR_AUTH, "what came was changed on its way: a record does not open "
                                        "with the connection's key");
    return got == 0 ? hk_socket_fail(pipe->fd, "receive from", 0)
                    : hk_socket_settle(pipe->fd, "receive from", got, done);
}

static hocket_status fail_late(int fd, const char *what, size_t done, size_t bytes)
{
    hk_address address;
    char text[HK_ADDRESS_TEXT_MAX] = "the other end";
    if (hk_address_peer(fd, &address) == HOCKET_OK)
        hk_address_format(&address, text);
    return hk_fail(HOCKET_ERR_TIMEOUT, "the deadline passed with %zu of %zu bytes %s %s", done,
                   bytes, what, text);
}

hocket_status hk_pipe_send_all(hk_pipe *pipe, const void *data, size_t bytes, hk_time deadline)
{
    const char *at = data;
    for (size_t sent = 0; sent < bytes;) {
        size_t done;
        hocket_status status = hk_pipe_send_some(pipe, at + sent, bytes - sent, &done);
        if (status != HOCKET_OK)
            return status;
        sent += done;
        if (done == 0 && !hk_socket_wait(pipe->fd, POLLOUT, deadline))
            return fail_late(pipe->fd, "sent to", sent, bytes);
    }
    return HOCKET_OK;
}

/* Nothing is left to read when the pipe has nothing, so what it has opened already is never waited
 * for at the socket. */
hocket_status hk_pipe_recv_all(hk_pipe *pipe, void *data, size_t bytes, hk_time deadline)
{
    char *at = data;
    for (size_t got = 0; got < bytes;) {
        size_t done;
        hocket_status status = hk_pipe_recv_some(pipe, at + got, bytes - got, &done);
        if (status != HOCKET_OK)
            return status;
        got += done;
        if (done == 0 && !hk_socket_wait(pipe->fd, POLLIN, deadline))
            return fail_late(pipe->fd, "received from", got, bytes);
    }
    return HOCKET_OK;
}
