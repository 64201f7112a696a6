/* Pipes, sealed, plain and stuttering: what goes in comes out; what was touched on its way does
 * not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "core/random.h"
#include "wire/pipe.h"

#define MESSAGE "a melody shared between voices"
#define RECORD_OVERHEAD 20

typedef struct wire { /* two pipes with a man in the middle */
    hk_pipe left, right;
    int left_end, right_end;
} wire;

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
}

static void open_wire(wire *w, bool sealed)
{
    hk_peer left = {0}, right = {0};
    memset(left.send_key, 1, HK_KEY_BYTES);
    memset(left.recv_key, 2, HK_KEY_BYTES);
    memcpy(right.send_key, left.recv_key, HK_KEY_BYTES);
    memcpy(right.recv_key, left.send_key, HK_KEY_BYTES);
    int a[2], b[2];
    pair(a);
    pair(b);
    w->left_end = a[1];
    w->right_end = b[1];
    assert_int_equal(hk_pipe_open(&w->left, a[0], sealed ? &left : NULL), HOCKET_OK);
    assert_int_equal(hk_pipe_open(&w->right, b[0], sealed ? &right : NULL), HOCKET_OK);
}

static void close_wire(wire *w)
{
    hk_pipe_close(&w->left);
    hk_pipe_close(&w->right);
    close(w->left_end);
    close(w->right_end);
}

/* What the left pipe put on the wire for `bytes`. */
static size_t put(wire *w, const void *bytes, size_t length, unsigned char *raw, size_t room)
{
    struct iovec part = {(void *)bytes, length};
    assert_int_equal(hk_pipe_write(&w->left, &part, 1), length);
    ssize_t got = read(w->left_end, raw, room);
    assert_true(got > 0);
    return (size_t)got;
}

static ssize_t deliver(wire *w, const unsigned char *raw, size_t length, void *out, size_t room)
{
    assert_int_equal(write(w->right_end, raw, length), length);
    struct iovec part = {out, room};
    return hk_pipe_read(&w->right, &part, 1);
}

static void bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        wire w;
        open_wire(&w, sealed);
        for (int i = 0; i < 3; i++) {
            unsigned char raw[256];
            char out[256];
            size_t length = put(&w, MESSAGE, sizeof MESSAGE, raw, sizeof raw);
            assert_int_equal(length, sizeof MESSAGE + (sealed ? RECORD_OVERHEAD : 0));
            assert_int_equal(deliver(&w, raw, length, out, sizeof out), sizeof MESSAGE);
            assert_string_equal(out, MESSAGE);
        }
        close_wire(&w);
    }
}

static void sealed_bytes_cannot_be_read_on_the_wire(void **state)
{
    (void)state;
    wire w;
    unsigned char first[256], second[256];
    open_wire(&w, true);
    size_t length = put(&w, MESSAGE, sizeof MESSAGE, first, sizeof first);
    put(&w, MESSAGE, sizeof MESSAGE, second, sizeof second);
    for (size_t i = 0; i + 8 <= length; i++)
        assert_memory_not_equal(first + i, MESSAGE, 8);
    assert_memory_not_equal(first + 4, second + 4, sizeof MESSAGE);
    close_wire(&w);
}

static void any_flipped_bit_is_noticed(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * (sizeof MESSAGE + RECORD_OVERHEAD); bit++) {
        wire w;
        unsigned char raw[256];
        char out[256];
        open_wire(&w, true);
        size_t length = put(&w, MESSAGE, sizeof MESSAGE, raw, sizeof raw);
        raw[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ssize_t got = deliver(&w, raw, length, out, sizeof out);
        /* A length that grew waits for bytes that do not come; all else does not open. */
        assert_int_equal(got, -1);
        assert_true(errno == HK_PIPE_FORGED || (bit < 32 && errno == EAGAIN));
        close_wire(&w);
    }
}

static void repeated_records_do_not_open(void **state)
{
    (void)state;
    wire w;
    unsigned char raw[256];
    char out[256];
    open_wire(&w, true);
    size_t length = put(&w, MESSAGE, sizeof MESSAGE, raw, sizeof raw);
    assert_int_equal(deliver(&w, raw, length, out, sizeof out), sizeof MESSAGE);
    assert_int_equal(deliver(&w, raw, length, out, sizeof out), -1);
    assert_int_equal(errno, HK_PIPE_FORGED);
    close_wire(&w);
}

static void reflected_records_do_not_open(void **state)
{
    (void)state;
    wire w;
    unsigned char raw[256];
    char out[256];
    open_wire(&w, true);
    size_t length = put(&w, MESSAGE, sizeof MESSAGE, raw, sizeof raw);
    assert_int_equal(write(w.left_end, raw, length), length);
    struct iovec part = {out, sizeof out};
    assert_int_equal(hk_pipe_read(&w.left, &part, 1), -1);
    assert_int_equal(errno, HK_PIPE_FORGED);
    close_wire(&w);
}

/* More than the socket takes: what was sealed is offered again and counted once. */
static void a_full_socket_loses_nothing(void **state)
{
    (void)state;
    enum { BYTES = 4 << 20 };
    unsigned char *in = malloc(BYTES), *out = malloc(BYTES);
    assert_non_null(in);
    assert_non_null(out);
    for (size_t i = 0; i < BYTES; i++)
        in[i] = (unsigned char)(i * 7 + i / 4099);
    hk_peer left = {0}, right = {0};
    int fds[2];
    pair(fds);
    hk_pipe a, b;
    assert_int_equal(hk_pipe_open(&a, fds[0], &left), HOCKET_OK);
    assert_int_equal(hk_pipe_open(&b, fds[1], &right), HOCKET_OK);
    size_t sent = 0, received = 0;
    bool was_full = false;
    while (received < BYTES) {
        struct iovec rest = {in + sent, BYTES - sent}, room = {out + received, BYTES - received};
        ssize_t moved = sent < BYTES ? hk_pipe_write(&a, &rest, 1) : 0;
        assert_true(moved >= 0 || errno == EAGAIN);
        was_full |= moved < 0 && hk_pipe_holds(&a);
        sent += moved > 0 ? (size_t)moved : 0;
        if (moved > 0)
            continue;
        moved = hk_pipe_read(&b, &room, 1);
        assert_true(moved > 0 || errno == EAGAIN);
        received += moved > 0 ? (size_t)moved : 0;
    }
    assert_true(was_full);
    assert_memory_equal(in, out, BYTES);
    hk_pipe_close(&a);
    hk_pipe_close(&b);
    free(in);
    free(out);
}

/* === Stuttering ============================================================================== */

enum { STUTTERED = 300000, HEAD = 32 };

typedef struct stuttered { /* what moved in one call at a time, of writes and of reads */
    hk_pipe from, to;
    unsigned char in[STUTTERED], out[STUTTERED];
    size_t sent, received, ones, crossed, nothing;
} stuttered;

static void open_stuttered(stuttered *s, bool sealed, uint64_t chance, uint64_t seed)
{
    int fds[2];
    hk_peer left = {0}, right = {0};
    pair(fds);
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < STUTTERED; i++)
        s->in[i] = (unsigned char)(i * 7 + i / 4099);
    assert_int_equal(hk_pipe_open(&s->from, fds[0], sealed ? &left : NULL), HOCKET_OK);
    assert_int_equal(hk_pipe_open(&s->to, fds[1], sealed ? &right : NULL), HOCKET_OK);
    assert_int_equal(s->from.stutter.chance, 0);
    s->from.stutter = (hk_stutter){.chance = chance, .random = seed};
    s->to.stutter = (hk_stutter){.chance = chance, .random = seed + 1};
}

static void close_stuttered(stuttered *s)
{
    hk_pipe_close(&s->from);
    hk_pipe_close(&s->to);
}

/* A head and a body, as links have them: the first part may be empty. */
static int split(struct iovec parts[2], unsigned char *bytes, size_t at, size_t end)
{
    size_t head = at % 1000 < HEAD ? HEAD - at % 1000 : 0;
    head = head < end - at ? head : end - at;
    parts[0] = (struct iovec){bytes + at, head};
    parts[1] = (struct iovec){bytes + at + head, end - at - head};
    return parts[1].iov_len > 0 ? 2 : 1;
}

static void count(stuttered *s, ssize_t moved, size_t head)
{
    assert_true(moved > 0 || (moved < 0 && errno == EAGAIN));
    s->ones += moved == 1;
    s->nothing += moved < 0;
    s->crossed += moved > 0 && head > 0 && (size_t)moved > head && (size_t)moved < 500;
}

/* What is on its way is read before more is written, so that a socket is never full. */
static void carry(stuttered *s)
{
    struct iovec parts[2];
    while (s->received < STUTTERED) {
        size_t end = s->sent + 1000 < STUTTERED ? s->sent + 1000 : STUTTERED;
        if (s->sent < STUTTERED && (s->sent == s->received || hk_pipe_holds(&s->from))) {
            int used = split(parts, s->in, s->sent, end);
            ssize_t moved = hk_pipe_write(&s->from, parts, used);
            count(s, moved, parts[0].iov_len);
            s->sent += moved > 0 ? (size_t)moved : 0;
        } else {
            int used = split(parts, s->out, s->received, STUTTERED);
            ssize_t moved = hk_pipe_read(&s->to, parts, used);
            count(s, moved, parts[0].iov_len);
            s->received += moved > 0 ? (size_t)moved : 0;
        }
    }
    assert_memory_equal(s->in, s->out, STUTTERED);
}

static void stuttering_loses_nothing(void **state)
{
    (void)state;
    static stuttered s, again;
    for (int sealed = 0; sealed < 2; sealed++)
        for (uint64_t seed = 1; seed <= 5; seed++) {
            open_stuttered(&s, sealed, HK_MILLION, seed);
            carry(&s);
            assert_true(s.nothing > 20);
            assert_true(sealed || (s.ones > 20 && s.crossed > 5));
            close_stuttered(&s);
            open_stuttered(&again, sealed, HK_MILLION, seed); /* the seed decides */
            carry(&again);
            assert_int_equal(again.nothing, s.nothing);
            assert_int_equal(again.ones, s.ones);
            close_stuttered(&again);
        }
}

/* Half of the calls move all, and without a chance all do. */
static void a_chance_is_as_often_as_it_says(void **state)
{
    (void)state;
    enum { CALLS = 4000, BYTES = 100 };
    static stuttered s;
    for (uint64_t chance = 0; chance <= HK_MILLION; chance += HK_MILLION / 2) {
        size_t whole = 0;
        open_stuttered(&s, false, chance, 3);
        s.to.stutter.chance = 0;
        for (int i = 0; i < CALLS; i++) {
            struct iovec part = {s.in, BYTES}, room = {s.out, BYTES};
            ssize_t moved = hk_pipe_write(&s.from, &part, 1);
            whole += moved == BYTES;
            assert_true(moved < 0 || hk_pipe_read(&s.to, &room, 1) == moved);
        }
        /* Some lengths that chance chooses are above 100 bytes. */
        double share = (double)whole / CALLS, cut = (double)chance / HK_MILLION;
        assert_true(share >= 1 - cut - 0.05 && share <= 1 - cut / 2 + 0.05);
        assert_true(chance > 0 || whole == CALLS);
        close_stuttered(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(sealed_bytes_cannot_be_read_on_the_wire),
        cmocka_unit_test(any_flipped_bit_is_noticed),
        cmocka_unit_test(repeated_records_do_not_open),
        cmocka_unit_test(reflected_records_do_not_open),
        cmocka_unit_test(a_full_socket_loses_nothing),
        cmocka_unit_test(stuttering_loses_nothing),
        cmocka_unit_test(a_chance_is_as_often_as_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
