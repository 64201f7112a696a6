#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "wire/bytes.h"
#include "wire/proof.h"
#include "wire/socket.h"
#include "wire_help.h"

#define SILENT 30

static hk_key make_key(const char *secret)
{
    hk_settings settings;
    hk_key key;
    wire_settings(&settings, 0, 1, "", secret);
    assert_int_equal(hk_key_make(&settings, &key), HOCKET_OK);
    return key;
}

static hk_hello dialer_hello(void)
{
    return (hk_hello){.purpose = HK_PURPOSE_MESH,
                      .rank = 2,
                      .peer = 1,
                      .world_size = 4,
                      .channel = 7,
                      .job = 4711};
}

static hk_hello acceptor_hello(void)
{
    return (hk_hello){
        .purpose = HK_PURPOSE_MESH, .rank = 1, .world_size = 4, .job = 4711, .seal = true};
}

/* === The proof alone ========================================================================== */

typedef struct pair {
    hk_key dialer_key, acceptor_key;
    hk_proof dialer, acceptor;
} pair;

static void begin(pair *two, const char *dialer_secret, const char *acceptor_secret)
{
    hk_hello first = dialer_hello(), second = acceptor_hello();
    two->dialer_key = make_key(dialer_secret);
    two->acceptor_key = make_key(acceptor_secret);
    hk_proof_begin(&two->dialer, &two->dialer_key, &first, true);
    hk_proof_begin(&two->acceptor, &two->acceptor_key, &second, false);
}

/* Both take each other's hello. */
static hocket_status greet(pair *two)
{
    bool answer;
    hocket_status status = hk_proof_take_hello(&two->acceptor, two->dialer.hello, &answer);
    hocket_status other = hk_proof_take_hello(&two->dialer, two->acceptor.hello, &answer);
    return status != HOCKET_OK ? status : other;
}

static void both_prove_and_share_keys(void **state)
{
    (void)state;
    static const char *const secrets[] = {WIRE_SECRET, NULL};
    for (int i = 0; i < 2; i++) {
        pair two;
        unsigned char proof[HK_PROOF_BYTES], verdict_bytes[HK_VERDICT_BYTES];
        hk_verdict verdict;
        begin(&two, secrets[i], secrets[i]);
        assert_int_equal(greet(&two), HOCKET_OK);
        hk_proof_make(&two.dialer, proof);
        assert_true(hk_proof_check(&two.acceptor, proof));
        assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_WELCOME);
        hk_proof_make_verdict(&two.acceptor, HK_VERDICT_WELCOME, verdict_bytes);
        assert_int_equal(hk_proof_check_verdict(&two.dialer, verdict_bytes, &verdict), HOCKET_OK);
        assert_int_equal(verdict, HK_VERDICT_WELCOME);
        hk_peer acceptor, dialer;
        hk_address nowhere = {.length = 0};
        hk_proof_peer(&two.dialer, &nowhere, &acceptor);
        hk_proof_peer(&two.acceptor, &nowhere, &dialer);
        assert_memory_equal(acceptor.send_key, dialer.recv_key, HK_KEY_BYTES);
        assert_memory_equal(acceptor.recv_key, dialer.send_key, HK_KEY_BYTES);
        assert_memory_not_equal(acceptor.recv_key, acceptor.send_key, HK_KEY_BYTES);
        assert_int_equal(dialer.hello.rank, 2);
        assert_int_equal(dialer.hello.channel, 7);
        assert_true(acceptor.hello.seal && !dialer.hello.seal);
        assert_int_equal(acceptor.hello.rank, 1);
    }
}

static void each_bit_of_a_hello_is_bound(void **state)
{
    (void)state;
    int taken = 0;
    for (int i = 0; i < 8 * HK_HELLO_BYTES; i++) {
        pair two;
        bool answer;
        unsigned char changed[HK_HELLO_BYTES], proof[HK_PROOF_BYTES];
        begin(&two, WIRE_SECRET, WIRE_SECRET);
        memcpy(changed, two.dialer.hello, sizeof changed);
        changed[i / 8] ^= (unsigned char)(1 << i % 8);
        if (hk_proof_take_hello(&two.acceptor, changed, &answer) != HOCKET_OK)
            continue;
        assert_int_equal(hk_proof_take_hello(&two.dialer, two.acceptor.hello, &answer), HOCKET_OK);
        hk_proof_make(&two.dialer, proof);
        assert_false(hk_proof_check(&two.acceptor, proof));
        taken += two.acceptor.other.seal;
    }
    assert_int_equal(taken, 1); /* the wish to seal is one of these bits */
}

static void each_bit_of_a_proof_counts(void **state)
{
    (void)state;
    pair two;
    unsigned char proof[HK_PROOF_BYTES], bytes[HK_VERDICT_BYTES];
    hk_verdict verdict;
    begin(&two, WIRE_SECRET, WIRE_SECRET);
    assert_int_equal(greet(&two), HOCKET_OK);
    hk_proof_make(&two.dialer, proof);
    for (int i = 0; i < 8 * HK_PROOF_BYTES; i++) {
        proof[i / 8] ^= (unsigned char)(1 << i % 8);
        assert_false(hk_proof_check(&two.acceptor, proof));
        proof[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    hk_proof_make_verdict(&two.acceptor, HK_VERDICT_WELCOME, bytes);
    for (int i = 0; i < 8 * HK_VERDICT_BYTES; i++) {
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        assert_int_equal(hk_proof_check_verdict(&two.dialer, bytes, &verdict), HOCKET_ERR_AUTH);
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
}

static void another_secret_proves_nothing(void **state)
{
    (void)state;
    pair two;
    unsigned char proof[HK_PROOF_BYTES], bytes[HK_VERDICT_BYTES], zeros[HK_PROOF_BYTES] = {0};
    hk_verdict verdict;
    begin(&two, WIRE_SECRET, "another secret of 16");
    assert_int_equal(greet(&two), HOCKET_OK);
    hk_proof_make(&two.dialer, proof);
    assert_false(hk_proof_check(&two.acceptor, proof));
    hk_proof_make_verdict(&two.acceptor, HK_VERDICT_WELCOME, bytes);
    assert_int_equal(hk_proof_check_verdict(&two.dialer, bytes, &verdict), HOCKET_ERR_AUTH);
    hk_proof_make_verdict(&two.acceptor, HK_VERDICT_STRANGER, bytes);
    assert_memory_equal(bytes + 4, zeros, HK_PROOF_BYTES); /* nothing to guess against */
    begin(&two, WIRE_SECRET, NULL);
    assert_int_equal(greet(&two), HOCKET_ERR_AUTH);
    begin(&two, NULL, WIRE_SECRET);
    assert_int_equal(greet(&two), HOCKET_ERR_AUTH);
}

static void replayed_bytes_prove_nothing(void **state)
{
    (void)state;
    pair first, second;
    bool answer;
    unsigned char proof[HK_PROOF_BYTES], verdict_bytes[HK_VERDICT_BYTES];
    hk_verdict verdict;
    begin(&first, WIRE_SECRET, WIRE_SECRET);
    assert_int_equal(greet(&first), HOCKET_OK);
    hk_proof_make(&first.dialer, proof);
    hk_proof_make_verdict(&first.acceptor, HK_VERDICT_WELCOME, verdict_bytes);
    /* The dialer's half to a fresh acceptor, the acceptor's half to a fresh dialer. */
    begin(&second, WIRE_SECRET, WIRE_SECRET);
    assert_int_equal(hk_proof_take_hello(&second.acceptor, first.dialer.hello, &answer), HOCKET_OK);
    assert_false(hk_proof_check(&second.acceptor, proof));
    assert_int_equal(hk_proof_take_hello(&second.dialer, first.acceptor.hello, &answer), HOCKET_OK);
    assert_int_equal(hk_proof_check_verdict(&second.dialer, verdict_bytes, &verdict),
                     HOCKET_ERR_AUTH);
}

static void reflected_bytes_prove_nothing(void **state)
{
    (void)state;
    pair two;
    bool answer;
    unsigned char reflected[HK_HELLO_BYTES], bytes[HK_VERDICT_BYTES] = {0};
    hk_verdict verdict;
    begin(&two, WIRE_SECRET, WIRE_SECRET);
    assert_int_equal(hk_proof_take_hello(&two.dialer, two.dialer.hello, &answer),
                     HOCKET_ERR_PROTOCOL);
    assert_false(answer);
    /* With the role and the peer changed to an acceptor's, the nonce still tells. */
    memcpy(reflected, two.dialer.hello, sizeof reflected);
    hk_put_u32(reflected + 12, 2);
    hk_put_u32(reflected + 28, UINT32_MAX);
    assert_int_equal(hk_proof_take_hello(&two.dialer, reflected, &answer), HOCKET_ERR_PROTOCOL);
    assert_non_null(strstr(hocket_last_error(), "nonce"));
    /* The dialer's own proof is no acceptor's. */
    assert_int_equal(greet(&two), HOCKET_OK);
    hk_proof_make(&two.dialer, bytes + 4);
    assert_int_equal(hk_proof_check_verdict(&two.dialer, bytes, &verdict), HOCKET_ERR_AUTH);
    hk_proof_make_verdict(&two.acceptor, HK_VERDICT_WELCOME, bytes);
    assert_false(hk_proof_check(&two.acceptor, bytes + 4));
}

static void bad_hellos_are_refused(void **state)
{
    (void)state;
    static const struct {
        int at;
        uint32_t value;
        bool answer;
    } cases[] = {
        {0, 0, false},           {8, 2, true},      {8, UINT32_MAX, true},   {12, 0, false},
        {12, 2, false},          {16, 4, false},    {20, 0, false},          {20, 99, false},
        {24, 4, false},          {28, 4, false},    {28, UINT32_MAX, false}, {32, 0, false},
        {32, UINT32_MAX, false}, {32, 4097, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pair two;
        bool answer;
        unsigned char bytes[HK_HELLO_BYTES];
        begin(&two, WIRE_SECRET, WIRE_SECRET);
        memcpy(bytes, two.dialer.hello, sizeof bytes);
        hk_put_u32(bytes + cases[i].at, cases[i].value);
        assert_int_equal(hk_proof_take_hello(&two.acceptor, bytes, &answer), HOCKET_ERR_PROTOCOL);
        assert_int_equal(answer, cases[i].answer);
    }
}

static void the_acceptor_judges_who_is_wanted(void **state)
{
    (void)state;
    pair two;
    begin(&two, WIRE_SECRET, WIRE_SECRET);
    assert_int_equal(greet(&two), HOCKET_OK);
    hk_hello right = two.acceptor.other;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_WELCOME);
    two.acceptor.other.world_size = 5;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_WORLD);
    two.acceptor.other = right;
    two.acceptor.other.peer = 3;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_ASTRAY);
    two.acceptor.other = right;
    two.acceptor.other.rank = 1;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_ASTRAY);
    two.acceptor.other = right;
    two.acceptor.other.job++;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_ASTRAY);
    two.acceptor.other = right;
    two.acceptor.other.purpose = HK_PURPOSE_MEETING;
    assert_int_equal(hk_proof_judge(&two.acceptor), HK_VERDICT_ASTRAY);
}

/* === Over sockets ============================================================================= */

typedef struct caller { /* dials in a thread of its own */
    char where[HK_ADDRESS_TEXT_MAX];
    hk_hello hello;
    hk_key key;
    hk_time deadline;
    int fd;
    hk_peer peer;
    hk_error error;
    hocket_status status;
    pthread_t thread;
} caller;

static void *call(void *argument)
{
    caller *one = argument;
    one->status =
        hk_dial(one->where, &one->hello, &one->key, 0, one->deadline, NULL, &one->fd, &one->peer);
    one->error = *hk_error_last();
    return NULL;
}

static void start_call(caller *one, const char *where, const char *secret, double seconds)
{
    memset(one, 0, sizeof *one);
    snprintf(one->where, sizeof one->where, "%s", where);
    one->hello = dialer_hello();
    one->key = make_key(secret);
    one->deadline = hk_deadline_after(seconds);
    assert_int_equal(pthread_create(&one->thread, NULL, call, one), 0);
}

static hk_reception *open_reception(char where[HK_ADDRESS_TEXT_MAX])
{
    hk_address addresses[HK_ADDRESSES_MAX], bound;
    int count, listener;
    hk_key key = make_key(WIRE_SECRET);
    hk_hello self = acceptor_hello();
    hk_reception *reception;
    assert_int_equal(hk_address_resolve("127.0.0.1:0", addresses, &count), HOCKET_OK);
    assert_int_equal(hk_socket_listen(&addresses[0], 0, 0, &listener, &bound), HOCKET_OK);
    hk_address_format(&bound, where);
    assert_int_equal(hk_reception_open(listener, &self, &key, &reception), HOCKET_OK);
    return reception;
}

/* The connection that the reception hands over is the one that was dialed. */
static void expect_connection(hk_reception *reception, caller *one)
{
    int fd;
    hk_peer peer;
    char text[6] = "";
    if (hk_reception_next(reception, hk_deadline_after(WIRE_SECONDS), &fd, &peer) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
    pthread_join(one->thread, NULL);
    if (one->status != HOCKET_OK)
        fail_msg("%s", one->error.text);
    assert_int_equal(peer.hello.rank, one->hello.rank);
    assert_int_equal(peer.hello.channel, one->hello.channel);
    assert_memory_equal(peer.recv_key, one->peer.send_key, HK_KEY_BYTES);
    assert_int_equal(hk_socket_send_all(one->fd, "hello", 6, hk_deadline_after(5)), HOCKET_OK);
    assert_int_equal(hk_socket_recv_all(fd, text, 6, hk_deadline_after(5)), HOCKET_OK);
    assert_string_equal(text, "hello");
    hk_socket_close(fd);
    hk_socket_close(one->fd);
}

static void a_dialer_and_a_reception_find_each_other(void **state)
{
    (void)state;
    char where[HK_ADDRESS_TEXT_MAX];
    hk_reception *reception = open_reception(where);
    for (int i = 0; i < 3; i++) {
        caller one;
        start_call(&one, where, WIRE_SECRET, WIRE_SECONDS);
        expect_connection(reception, &one);
    }
    hk_reception_close(reception);
}

static void silent_and_slow_strangers_delay_nobody(void **state)
{
    (void)state;
    char where[HK_ADDRESS_TEXT_MAX];
    int strangers[SILENT];
    hk_reception *reception = open_reception(where);
    for (int i = 0; i < SILENT; i++) {
        strangers[i] = wire_stranger(where);
        assert_true(strangers[i] >= 0);
        if (i % 2 == 0)
            assert_int_equal(hk_socket_send_all(strangers[i], "hock", 4, hk_deadline_after(1)),
                             HOCKET_OK);
    }
    caller one;
    hk_time start = hk_now();
    start_call(&one, where, WIRE_SECRET, WIRE_SECONDS);
    expect_connection(reception, &one);
    assert_true(hk_now() - start < 3 * HK_SECOND);
    for (int i = 0; i < SILENT; i++)
        hk_socket_close(strangers[i]);
    hk_reception_close(reception);
}

/* Whether the other end has hung up; false after a moment of silence. */
static bool hung_up(int fd, double seconds)
{
    char byte;
    return hk_socket_recv_all(fd, &byte, 1, hk_deadline_after(seconds)) == HOCKET_ERR_PEER_LOST;
}

static void expect_nobody(hk_reception *reception, double seconds)
{
    int fd;
    hk_peer peer;
    assert_int_equal(hk_reception_next(reception, hk_deadline_after(seconds), &fd, &peer),
                     HOCKET_ERR_TIMEOUT);
    assert_int_equal(fd, -1);
}

static void a_full_hall_drops_the_oldest(void **state)
{
    (void)state;
    enum { DROPPED = 10, MANY = HK_RECEPTION_PENDING + 4 + DROPPED };
    char where[HK_ADDRESS_TEXT_MAX];
    int strangers[MANY];
    hk_reception *reception = open_reception(where);
    for (int i = 0; i < MANY; i++) {
        strangers[i] = wire_stranger(where);
        assert_true(strangers[i] >= 0);
    }
    for (int tries = 0; tries < 50 && !hung_up(strangers[DROPPED - 1], 0); tries++)
        expect_nobody(reception, 0.2); /* who comes is let in meanwhile */
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(hung_up(strangers[i], i < DROPPED ? 2 : 0), i < DROPPED);
        hk_socket_close(strangers[i]);
    }
    caller one;
    start_call(&one, where, WIRE_SECRET, WIRE_SECONDS);
    expect_connection(reception, &one);
    hk_reception_close(reception);
}

static void a_silent_stranger_is_dropped_in_time(void **state)
{
    (void)state;
    char where[HK_ADDRESS_TEXT_MAX];
    hk_reception *reception = open_reception(where);
    int stranger = wire_stranger(where);
    expect_nobody(reception, hk_to_seconds(HK_HANDSHAKE_PATIENCE) + 0.3);
    expect_nobody(reception, 0); /* a call that returns late at its deadline looks no more */
    assert_true(hung_up(stranger, 1));
    hk_socket_close(stranger);
    hk_reception_close(reception);
}

/* A whole handshake is recorded on the wire and said again to the same acceptor. */
static void a_recorded_dialer_is_turned_away(void **state)
{
    (void)state;
    char where[HK_ADDRESS_TEXT_MAX];
    hk_reception *reception = open_reception(where);
    hk_key key = make_key(WIRE_SECRET);
    hk_hello self = dialer_hello();
    hk_proof proof;
    unsigned char theirs[HK_HELLO_BYTES], mine[HK_PROOF_BYTES];
    hk_proof_begin(&proof, &key, &self, true);
    for (int round = 0; round < 2; round++) {
        int fd = wire_stranger(where), accepted;
        bool answer;
        hk_peer peer;
        hk_time soon = hk_deadline_after(2);
        assert_int_equal(hk_socket_send_all(fd, proof.hello, HK_HELLO_BYTES, soon), HOCKET_OK);
        expect_nobody(reception, 0.05);
        assert_int_equal(hk_socket_recv_all(fd, theirs, sizeof theirs, soon), HOCKET_OK);
        if (round == 0) {
            assert_int_equal(hk_proof_take_hello(&proof, theirs, &answer), HOCKET_OK);
            hk_proof_make(&proof, mine);
        }
        assert_int_equal(hk_socket_send_all(fd, mine, sizeof mine, soon), HOCKET_OK);
        hocket_status status =
            hk_reception_next(reception, hk_deadline_after(0.2), &accepted, &peer);
        assert_int_equal(status, round == 0 ? HOCKET_OK : HOCKET_ERR_TIMEOUT);
        hk_socket_close(accepted);
        hk_socket_close(fd);
    }
    int leaves = wire_stranger(where); /* as that rank, and tells less */
    assert_int_equal(hk_socket_send_all(leaves, proof.hello, HK_HELLO_BYTES, hk_deadline_after(2)),
                     HOCKET_OK);
    expect_nobody(reception, 0.3);
    hk_socket_close(leaves);
    expect_nobody(reception, 0.3);
    char why[200];
    assert_int_equal(hk_reception_rejected(reception, 2, why, sizeof why), HOCKET_ERR_AUTH);
    assert_non_null(strstr(why, "does not know this job's secret"));
    assert_int_equal(hk_reception_rejected(reception, 3, why, sizeof why), HOCKET_OK);
    assert_int_equal(hk_reception_rejected(reception, -1, why, sizeof why), HOCKET_OK);
    hk_reception_close(reception);
}

static void a_dialer_names_what_is_wrong(void **state)
{
    (void)state;
    char where[HK_ADDRESS_TEXT_MAX];
    hk_reception *reception = open_reception(where);
    caller wrong_secret, astray;
    start_call(&wrong_secret, where, "another secret of 16", 1.5);
    memset(&astray, 0, sizeof astray);
    astray.hello = dialer_hello();
    astray.hello.job++;
    astray.key = make_key(WIRE_SECRET);
    astray.deadline = hk_deadline_after(1.5);
    snprintf(astray.where, sizeof astray.where, "%s", where);
    assert_int_equal(pthread_create(&astray.thread, NULL, call, &astray), 0);
    expect_nobody(reception, 2);
    pthread_join(wrong_secret.thread, NULL);
    pthread_join(astray.thread, NULL);
    assert_int_equal(wrong_secret.status, HOCKET_ERR_AUTH);
    assert_non_null(strstr(wrong_secret.error.text, "rank 1 at 127.0.0.1:"));
    assert_non_null(strstr(wrong_secret.error.text, "secret"));
    assert_int_equal(wrong_secret.error.ranks[0], 1);
    assert_int_equal(astray.status, HOCKET_ERR_PROTOCOL);
    assert_non_null(strstr(astray.error.text, "of another job"));
    /* Neither gives up before its deadline: the right one may still come. */
    assert_null(strstr(wrong_secret.error.text, "waited 0."));
    assert_null(strstr(astray.error.text, "waited 0."));
    assert_non_null(strstr(wrong_secret.error.text, "waited "));
    assert_non_null(strstr(astray.error.text, "waited "));
    hk_reception_close(reception);
}

static void without_a_secret_only_loopback_is_served(void **state)
{
    (void)state;
    hk_key open = make_key(NULL), closed = make_key(WIRE_SECRET);
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    assert_int_equal(hk_address_resolve("192.0.2.1:1", addresses, &count), HOCKET_OK);
    assert_int_equal(hk_key_allows(&open, &addresses[0], 0), HOCKET_ERR_AUTH);
    assert_int_equal(hk_key_allows(&closed, &addresses[0], 0), HOCKET_OK);
    open.insecure = true;
    assert_int_equal(hk_key_allows(&open, &addresses[0], 0), HOCKET_OK);
    open.insecure = false;
    hk_hello hello = dialer_hello();
    int fd;
    hk_time start = hk_now(); /* nothing is sent, so the deadline need not pass */
    assert_int_equal(hk_dial("192.0.2.1:1", &hello, &open, 0, hk_deadline_after(5), NULL, &fd,
                             NULL),
                     HOCKET_ERR_AUTH);
    assert_true(hk_now() - start < 3 * HK_SECOND);
    assert_int_equal(hk_address_resolve("[::1]:1", addresses, &count), HOCKET_OK);
    assert_int_equal(hk_key_allows(&open, &addresses[0], 0), HOCKET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_prove_and_share_keys),
        cmocka_unit_test(each_bit_of_a_hello_is_bound),
        cmocka_unit_test(each_bit_of_a_proof_counts),
        cmocka_unit_test(another_secret_proves_nothing),
        cmocka_unit_test(replayed_bytes_prove_nothing),
        cmocka_unit_test(reflected_bytes_prove_nothing),
        cmocka_unit_test(bad_hellos_are_refused),
        cmocka_unit_test(the_acceptor_judges_who_is_wanted),
        cmocka_unit_test(a_dialer_and_a_reception_find_each_other),
        cmocka_unit_test(silent_and_slow_strangers_delay_nobody),
        cmocka_unit_test(a_full_hall_drops_the_oldest),
        cmocka_unit_test(a_silent_stranger_is_dropped_in_time),
        cmocka_unit_test(a_recorded_dialer_is_turned_away),
        cmocka_unit_test(a_dialer_names_what_is_wrong),
        cmocka_unit_test(without_a_secret_only_loopback_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
