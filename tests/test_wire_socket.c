#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "wire/socket.h"
#include "wire_help.h"

#define LARGE (8 << 20)

/* === Addresses ================================================================================ */

static void good_addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port;
    } good[] = {{"127.0.0.1:4711", "127.0.0.1", 4711},
                {"[::1]:0", "::1", 0},
                {"[fe80::1%lo]:65535", "fe80::1%lo", 65535},
                {"node-1.example:1", "node-1.example", 1},
                {"a:00080", "a", 80}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        hk_host_port name;
        assert_int_equal(hk_address_parse(good[i].text, &name), HOCKET_OK);
        assert_string_equal(name.host, good[i].host);
        assert_int_equal(name.port, good[i].port);
    }
}

static void bad_addresses_are_invalid(void **state)
{
    (void)state;
    char long_host[400];
    memset(long_host, 'a', sizeof long_host);
    strcpy(long_host + HK_HOST_MAX, ":1");
    const char *const bad[] = {"",        "a",      ":1",
                               "a:",      "a:x",    "a:-1",
                               "a:65536", "a: 1",   "::1:1",
                               "[::1]",   "[::1]1", "[]:1",
                               "[::1",    "[::1]:", "[",
                               "]:1:",    "a:1x",   "a:99999999999999999999",
                               long_host};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hk_host_port name;
        if (hk_address_parse(bad[i], &name) != HOCKET_ERR_INVALID)
            fail_msg("taken: %s", bad[i]);
    }
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    assert_int_equal(hk_address_resolve("no.such.host.invalid:1", addresses, &count),
                     HOCKET_ERR_UNAVAILABLE);
    assert_int_equal(count, 0);
}

static hk_address resolve(const char *text)
{
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    if (hk_address_resolve(text, addresses, &count) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
    return addresses[0];
}

static void addresses_are_printed_and_known(void **state)
{
    (void)state;
    static const struct {
        const char *text, *plain;
        bool loopback, any;
    } cases[] = {{"127.0.0.1:1", "127.0.0.1:1", true, false},
                 {"127.9.8.7:1", "127.9.8.7:1", true, false},
                 {"[::1]:2", "[::1]:2", true, false},
                 {"[::ffff:127.0.0.1]:3", "127.0.0.1:3", true, false},
                 {"[::ffff:10.0.0.1]:3", "10.0.0.1:3", false, false},
                 {"128.0.0.1:4", "128.0.0.1:4", false, false},
                 {"0.0.0.0:5", "0.0.0.0:5", false, true},
                 {"[::]:6", "[::]:6", false, true},
                 {"[2001:db8::7]:65535", "[2001:db8::7]:65535", false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hk_address address = resolve(cases[i].text);
        char text[HK_ADDRESS_TEXT_MAX];
        assert_int_equal(hk_address_is_loopback(&address), cases[i].loopback);
        assert_int_equal(hk_address_is_any(&address), cases[i].any);
        hk_address_unmap(&address);
        hk_address_format(&address, text);
        assert_string_equal(text, cases[i].plain);
        assert_int_equal(hk_address_is_loopback(&address), cases[i].loopback);
        hk_address_any_to_loopback(&address);
        assert_int_equal(hk_address_is_loopback(&address), cases[i].loopback || cases[i].any);
        hk_address_set_port(&address, 99);
        assert_int_equal(hk_address_port(&address), 99);
    }
}

/* === Sockets ================================================================================== */

typedef struct link {
    int listener, near, far;
    hk_address bound, from;
} link_pair;

static void connect_pair(link_pair *two, const char *host, size_t buffer_bytes)
{
    char text[64];
    snprintf(text, sizeof text, "%s:0", host);
    hk_address address = resolve(text);
    if (hk_socket_listen(&address, buffer_bytes, 0, &two->listener, &two->bound) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
    hk_address target = two->bound;
    hk_address_any_to_loopback(&target);
    assert_int_equal(hk_socket_connect(&target, buffer_bytes, hk_deadline_after(5), &two->near),
                     HOCKET_OK);
    two->far = -1;
    for (int i = 0; i < 500 && two->far < 0; i++) {
        assert_int_equal(hk_socket_accept(two->listener, &two->far, &two->from), HOCKET_OK);
        usleep(1000);
    }
    assert_true(two->far >= 0);
}

static void close_pair(link_pair *two)
{
    hk_socket_close(two->near);
    hk_socket_close(two->far);
    hk_socket_close(two->listener);
    hk_socket_close(-1);
}

static void sockets_are_set_up_alike(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "[::1]", "0.0.0.0", "[::]"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        link_pair two;
        connect_pair(&two, hosts[i], i % 2 == 0 ? 0 : 65536);
        int fds[] = {two.listener, two.near, two.far};
        for (int j = 0; j < 3; j++) {
            assert_true(fcntl(fds[j], F_GETFL) & O_NONBLOCK);
            assert_true(fcntl(fds[j], F_GETFD) & FD_CLOEXEC);
        }
        hk_address near, seen;
        assert_int_equal(hk_address_local(two.near, &near), HOCKET_OK);
        assert_int_equal(hk_address_peer(two.far, &seen), HOCKET_OK);
        assert_int_equal(hk_address_port(&near), hk_address_port(&two.from));
        assert_int_equal(hk_address_port(&seen), hk_address_port(&two.from));
        assert_true(hk_address_is_loopback(&two.from));
        close_pair(&two);
    }
}

static void both_families_reach_any(void **state)
{
    (void)state;
    hk_address any = resolve("[::]:0"), bound, from;
    int listener, fd, accepted = -1;
    assert_int_equal(hk_socket_listen(&any, 0, 0, &listener, &bound), HOCKET_OK);
    hk_address v4 = resolve("127.0.0.1:1");
    hk_address_set_port(&v4, hk_address_port(&bound));
    assert_int_equal(hk_socket_connect(&v4, 0, hk_deadline_after(5), &fd), HOCKET_OK);
    for (int i = 0; i < 500 && accepted < 0; i++) {
        assert_int_equal(hk_socket_accept(listener, &accepted, &from), HOCKET_OK);
        usleep(1000);
    }
    assert_int_equal(from.storage.ss_family, AF_INET); /* unmapped */
    hk_socket_close(accepted);
    hk_socket_close(fd);
    hk_socket_close(listener);
}

static void *drain_all(void *argument)
{
    link_pair *two = argument;
    char *bytes = malloc(LARGE);
    memset(bytes, 0, LARGE);
    hocket_status status = hk_socket_recv_all(two->far, bytes, LARGE, hk_deadline_after(20));
    for (int i = 0; i < LARGE && status == HOCKET_OK; i++)
        if (bytes[i] != (char)(i * 7))
            status = HOCKET_ERR_PROTOCOL;
    free(bytes);
    return (void *)(intptr_t)status;
}

static void all_bytes_arrive(void **state)
{
    (void)state;
    link_pair two;
    pthread_t thread;
    void *status;
    connect_pair(&two, "127.0.0.1", 4096);
    char *bytes = malloc(LARGE);
    for (int i = 0; i < LARGE; i++)
        bytes[i] = (char)(i * 7);
    assert_int_equal(pthread_create(&thread, NULL, drain_all, &two), 0);
    assert_int_equal(hk_socket_send_all(two.near, bytes, LARGE, hk_deadline_after(20)), HOCKET_OK);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, HOCKET_OK);
    free(bytes);
    close_pair(&two);
}

static void deadlines_end_waits(void **state)
{
    (void)state;
    link_pair two;
    char byte, *bytes = calloc(1, LARGE);
    connect_pair(&two, "127.0.0.1", 4096);
    hk_time start = hk_now();
    assert_int_equal(hk_socket_recv_all(two.near, &byte, 1, hk_deadline_after(0.1)),
                     HOCKET_ERR_TIMEOUT);
    assert_non_null(strstr(hocket_last_error(), "0 of 1 bytes received from 127.0.0.1:"));
    assert_int_equal(hk_socket_send_all(two.near, bytes, LARGE, hk_deadline_after(0.1)),
                     HOCKET_ERR_TIMEOUT);
    hk_time span = hk_now() - start;
    assert_true(span > 190 * HK_MILLISECOND && span < 2 * HK_SECOND);
    free(bytes);
    close_pair(&two);
}

static void a_closed_peer_is_lost(void **state)
{
    (void)state;
    link_pair two;
    char byte = 0;
    size_t done = 1;
    connect_pair(&two, "127.0.0.1", 0);
    assert_int_equal(hk_socket_recv_some(two.near, &byte, 1, &done), HOCKET_OK);
    assert_int_equal(done, 0);
    hk_socket_close(two.far);
    two.far = -1;
    assert_int_equal(hk_socket_recv_all(two.near, &byte, 1, hk_deadline_after(5)),
                     HOCKET_ERR_PEER_LOST);
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < 100 && status == HOCKET_OK; i++) { /* no SIGPIPE ends the test */
        status = hk_socket_send_all(two.near, &byte, 1, hk_deadline_after(5));
        usleep(1000);
    }
    assert_int_equal(status, HOCKET_ERR_PEER_LOST);
    close_pair(&two);
}

static void nobody_there_is_tried_until_the_deadline(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    int fd;
    wire_free_port("127.0.0.1", where);
    hk_address address = resolve(where);
    assert_int_equal(hk_socket_connect_once(&address, 0, hk_deadline_after(5), &fd),
                     HOCKET_ERR_UNAVAILABLE);
    assert_int_equal(fd, -1);
    hk_time start = hk_now();
    assert_int_equal(hk_socket_connect(&address, 0, hk_deadline_after(0.2), &fd),
                     HOCKET_ERR_TIMEOUT);
    assert_non_null(strstr(hocket_last_error(), where));
    hk_time span = hk_now() - start;
    assert_true(span > 190 * HK_MILLISECOND && span < 3 * HK_SECOND);
}

static void *listen_late(void *argument)
{
    link_pair *two = argument;
    usleep(150 * 1000);
    return (void *)(intptr_t)hk_socket_listen(&two->bound, 0, 0, &two->listener, NULL);
}

static void a_late_listener_is_found(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    link_pair two;
    pthread_t thread;
    void *status;
    int fd;
    wire_free_port("[::1]", where);
    two.bound = resolve(where);
    assert_int_equal(pthread_create(&thread, NULL, listen_late, &two), 0);
    hocket_status connected = hk_socket_connect(&two.bound, 0, hk_deadline_after(5), &fd);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, HOCKET_OK);
    assert_int_equal(connected, HOCKET_OK);
    hk_socket_close(fd);
    hk_socket_close(two.listener);
}

/* Whoever knocks at a free port of the range from which the system picks is given that very port in
 * the end, and meets itself. Linux picks ports of one parity for bind() and of the other for
 * connect(), and goes through all of them: 28 thousand by default. */
static void nobody_meets_itself(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_free_port("127.0.0.1", where);
    hk_address address = resolve(where);
    hk_address_set_port(&address, hk_address_port(&address) ^ 1);
    for (int i = 0; i < 40000; i++) {
        int fd;
        hocket_status status = hk_socket_connect_once(&address, 0, hk_deadline_after(5), &fd);
        hk_socket_close(fd);
        assert_int_equal(status, HOCKET_ERR_UNAVAILABLE);
    }
}

static void a_taken_port_is_waited_for(void **state)
{
    (void)state;
    link_pair two;
    int fd;
    connect_pair(&two, "127.0.0.1", 0);
    hk_time start = hk_now();
    assert_int_equal(hk_socket_listen(&two.bound, 0, hk_deadline_after(0.2), &fd, NULL),
                     HOCKET_ERR_SYSTEM);
    assert_true(hk_now() - start > 190 * HK_MILLISECOND);
    assert_non_null(strstr(hocket_last_error(), strerror(EADDRINUSE)));
    /* Closed by the listener's side first, connections linger in TIME_WAIT at this port. */
    hk_socket_close(two.far);
    hk_socket_close(two.listener);
    usleep(10000);
    hk_socket_close(two.near);
    assert_int_equal(hk_socket_listen(&two.bound, 0, 0, &fd, NULL), HOCKET_OK);
    hk_socket_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses_are_taken_apart),
        cmocka_unit_test(bad_addresses_are_invalid),
        cmocka_unit_test(addresses_are_printed_and_known),
        cmocka_unit_test(sockets_are_set_up_alike),
        cmocka_unit_test(both_families_reach_any),
        cmocka_unit_test(all_bytes_arrive),
        cmocka_unit_test(deadlines_end_waits),
        cmocka_unit_test(a_closed_peer_is_lost),
        cmocka_unit_test(nobody_there_is_tried_until_the_deadline),
        cmocka_unit_test(a_late_listener_is_found),
        cmocka_unit_test(nobody_meets_itself),
        cmocka_unit_test(a_taken_port_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
