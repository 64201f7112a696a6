/* A sealed pipe: what goes in comes out; what was touched on its way does not. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(sealed_bytes_cannot_be_read_on_the_wire),
        cmocka_unit_test(any_flipped_bit_is_noticed),
        cmocka_unit_test(repeated_records_do_not_open),
        cmocka_unit_test(reflected_records_do_not_open),
        cmocka_unit_test(a_full_socket_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
