/* A sealed connection whose bytes somebody changes on the way. What comes out is what went in, up
 * to the first byte that was changed, and then an error: never other data. */
#include "input.h"
#include "wire/pipe.h"
#include "wire/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/socket.h>

enum { PLAIN_MAX = 40000, SEALED_MAX = 2 * PLAIN_MAX, CHANGES = 4 };

typedef struct travel {
    uint8_t plain[PLAIN_MAX], sealed[SEALED_MAX], out[PLAIN_MAX + SEALED_MAX];
    size_t plain_bytes, sealed_bytes, out_bytes;
    uint8_t key[HK_KEY_BYTES]; /* of this input alone, or a record of another would be genuine */
} travel;

static const uint8_t other_way[HK_KEY_BYTES]; /* nothing goes that way */

static void open_pair(hk_pipe *pipe, int *end, const uint8_t *send_key, const uint8_t *recv_key)
{
    int pair[2];
    hk_peer peer;
    memset(&peer, 0, sizeof peer);
    memcpy(peer.send_key, send_key, sizeof peer.send_key);
    memcpy(peer.recv_key, recv_key, sizeof peer.recv_key);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    for (int i = 0; i < 2; i++)
        fcntl(pair[i], F_SETFL, O_NONBLOCK);
    *end = pair[1];
    FUZZ_CHECK(hk_pipe_open(pipe, pair[0], &peer) == HOCKET_OK);
}

/* Writes pieces and collects the records that come out of the other end. */
static void seal(travel *t, fuzz_input *input)
{
    hk_pipe pipe;
    int end;
    open_pair(&pipe, &end, t->key, other_way);
    for (int pieces = fuzz_byte(input) % 6; pieces > 0; pieces--) {
        size_t bytes = 1 + fuzz_number(input, 2) % (PLAIN_MAX / 6);
        struct iovec parts[2] = {{t->plain + t->plain_bytes, bytes / 2},
                                 {t->plain + t->plain_bytes + bytes / 2, bytes - bytes / 2}};
        if (bytes > PLAIN_MAX - t->plain_bytes)
            break;
        randombytes_buf_deterministic(t->plain + t->plain_bytes, bytes,
                                      (const unsigned char *)"what a rank says to another rank");
        FUZZ_CHECK(hk_pipe_write(&pipe, parts, 2) == (ssize_t)bytes);
        FUZZ_CHECK(!hk_pipe_holds(&pipe));
        t->plain_bytes += bytes;
        ssize_t got;
        while ((got = recv(end, t->sealed + t->sealed_bytes, SEALED_MAX - t->sealed_bytes, 0)) > 0)
            t->sealed_bytes += (size_t)got;
    }
    hk_pipe_close(&pipe);
    hk_socket_close(end);
}

static void change(travel *t, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input) % 4;
    size_t at = fuzz_number(input, 3) % (t->sealed_bytes + 1);
    uint8_t bytes[64];
    size_t count = 1 + fuzz_byte(input) % (sizeof bytes - 1);
    if (how == 0 && at < t->sealed_bytes) {
        t->sealed[at] ^= (uint8_t)count;
    } else if (how == 1 && at + count <= t->sealed_bytes) { /* cut out */
        memmove(t->sealed + at, t->sealed + at + count, t->sealed_bytes - at - count);
        t->sealed_bytes -= count;
    } else if (how == 2 && t->sealed_bytes + count <= SEALED_MAX) { /* put in */
        memset(bytes, 0, sizeof bytes);
        fuzz_take(input, bytes, count);
        memmove(t->sealed + at + count, t->sealed + at, t->sealed_bytes - at);
        memcpy(t->sealed + at, bytes, count);
        t->sealed_bytes += count;
    } else if (how == 3) {
        t->sealed_bytes = at;
    }
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t length)
{
    size_t at = 0;
    while (at < length && a[at] == b[at])
        at++;
    return at;
}

/* Feeds the records in pieces of the input's choice. True: they have been called forged. */
static bool unseal(travel *t, fuzz_input *input)
{
    hk_pipe pipe;
    int end;
    bool forged = false;
    size_t room = 1 + fuzz_number(input, 2) % PLAIN_MAX;
    open_pair(&pipe, &end, other_way, t->key);
    for (size_t fed = 0; fed < t->sealed_bytes && !forged;) {
        size_t bytes = 1 + fuzz_number(input, 2) % 30000;
        if (bytes == 1 && input->left == 0)
            bytes = t->sealed_bytes;
        bytes = bytes < t->sealed_bytes - fed ? bytes : t->sealed_bytes - fed;
        ssize_t sent = send(end, t->sealed + fed, bytes, HK_SEND_FLAGS);
        fed += sent > 0 ? (size_t)sent : 0;
        ssize_t got;
        do {
            FUZZ_CHECK(t->out_bytes + room <= sizeof t->out);
            struct iovec part = {t->out + t->out_bytes, room};
            got = hk_pipe_read(&pipe, &part, 1);
            t->out_bytes += got > 0 ? (size_t)got : 0;
        } while (got > 0);
        FUZZ_CHECK(got < 0 && (errno == EAGAIN || errno == HK_PIPE_FORGED));
        forged = errno == HK_PIPE_FORGED;
    }
    hk_pipe_close(&pipe);
    hk_socket_close(end);
    return forged;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static travel t;
    static uint8_t before[SEALED_MAX];
    fuzz_input input = {data, size};
    FUZZ_CHECK(sodium_init() >= 0);
    crypto_generichash(t.key, sizeof t.key, data, size, NULL, 0);
    t.plain_bytes = t.sealed_bytes = t.out_bytes = 0;
    seal(&t, &input);
    size_t whole = t.sealed_bytes;
    memcpy(before, t.sealed, whole);
    for (int changes = fuzz_byte(&input) % CHANGES; changes > 0; changes--)
        change(&t, &input);
    bool same = t.sealed_bytes == whole && memcmp(before, t.sealed, whole) == 0;
    bool forged = unseal(&t, &input);
    FUZZ_CHECK(t.out_bytes <= t.plain_bytes && memcmp(t.out, t.plain, t.out_bytes) == 0);
    FUZZ_CHECK(!same || (!forged && t.out_bytes == t.plain_bytes));
    FUZZ_CHECK(same || t.out_bytes <= first_difference(before, t.sealed, whole));
    return 0;
}
