/* The meeting when some of its ranks want to be sealed, seen and touched by a man in the middle of
 * rank 1's connection. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/proof.h"
#include "wire/socket.h"
#include "wire/star.h"
#include "wire_help.h"
#include <cmocka.h>

#define NAME "a name that rank 1 tells"
#define ADDRESS "127.0.0.1:0" /* rank 0's, in its welcome */
#define BLOCK 100000          /* of a gather: more than a record */
#define SEALED_MORE 20        /* a record's length and tag */

enum { UP, DOWN, LOG_MAX = 1 << 20, TICK_MS = 10 };

/* === The man in the middle ==================================================================== */

typedef struct middle {
    char there[HK_COORDINATOR_MAX], here[HK_COORDINATOR_MAX];
    int listener, fds[2]; /* of the dialer and of the coordinator */
    size_t flip_at[2];    /* the byte whose bit changes on its way, once; 0: none */
    unsigned char flip[2];
    unsigned char log[2][LOG_MAX];
    size_t moved[2];
    atomic_bool over;
    pthread_t thread;
} middle;

static void touch(middle *m, int way, unsigned char *bytes, size_t count)
{
    size_t from = m->moved[way], room = from < LOG_MAX ? LOG_MAX - from : 0;
    memcpy(m->log[way] + (room > 0 ? from : 0), bytes, count < room ? count : room);
    if (m->flip_at[way] > 0 && m->flip_at[way] >= from && m->flip_at[way] < from + count) {
        bytes[m->flip_at[way] - from] ^= m->flip[way];
        m->flip_at[way] = 0;
    }
    m->moved[way] += count;
}

/* False: nothing more comes this way. */
static bool carry(middle *m, int way)
{
    unsigned char bytes[4096];
    size_t done;
    hk_time limit = hk_deadline_after(WIRE_SECONDS);
    if (hk_socket_recv_some(m->fds[way], bytes, sizeof bytes, &done) == HOCKET_OK) {
        touch(m, way, bytes, done);
        if (hk_socket_send_all(m->fds[!way], bytes, done, limit) == HOCKET_OK)
            return true;
    }
    shutdown(m->fds[!way], SHUT_WR);
    return false;
}

static void carry_all(middle *m)
{
    bool open[2] = {true, true};
    while (!m->over && (open[UP] || open[DOWN])) {
        struct pollfd both[2];
        for (int way = 0; way < 2; way++)
            both[way] = (struct pollfd){.fd = open[way] ? m->fds[way] : -1, .events = POLLIN};
        poll(both, 2, TICK_MS);
        for (int way = 0; way < 2; way++)
            if (open[way] && both[way].revents != 0)
                open[way] = carry(m, way);
    }
}

static void *stand_between(void *argument)
{
    middle *m = argument;
    while (!m->over) {
        struct pollfd door = {.fd = m->listener, .events = POLLIN};
        hk_address address;
        poll(&door, 1, TICK_MS);
        if (hk_socket_accept(m->listener, &m->fds[UP], &address) != HOCKET_OK || m->fds[UP] < 0)
            continue;
        m->fds[DOWN] = wire_stranger(m->there);
        m->moved[UP] = m->moved[DOWN] = 0;
        if (m->fds[DOWN] >= 0)
            carry_all(m);
        hk_socket_close(m->fds[UP]);
        hk_socket_close(m->fds[DOWN]);
    }
    return NULL;
}

static void stand_up(middle *m)
{
    hk_address addresses[HK_ADDRESSES_MAX], bound;
    int count;
    wire_free_port("127.0.0.1", m->there);
    assert_int_equal(hk_address_resolve("127.0.0.1:0", addresses, &count), HOCKET_OK);
    assert_int_equal(hk_socket_listen(&addresses[0], 0, 0, &m->listener, &bound), HOCKET_OK);
    hk_address_format(&bound, m->here);
    m->over = false;
    assert_int_equal(pthread_create(&m->thread, NULL, stand_between, m), 0);
}

static void sit_down(middle *m)
{
    m->over = true;
    pthread_join(m->thread, NULL);
    hk_socket_close(m->listener);
}

static bool has_seen(const middle *m, int way, const char *text)
{
    size_t count = m->moved[way] < LOG_MAX ? m->moved[way] : LOG_MAX;
    return memmem(m->log[way], count, text, strlen(text)) != NULL;
}

/* === Ranks ==================================================================================== */

static hocket_status meet(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    int world = hk_meeting_world_size(meeting);
    char *mine = calloc(1, BLOCK), *all = calloc((size_t)world, BLOCK);
    snprintf(mine, BLOCK, "%s", rank->settings.rank == 1 ? NAME : "another");
    mine[BLOCK - 1] = (char)rank->settings.rank;
    for (int i = 0; i < 2 && status == HOCKET_OK; i++)
        status = hk_meeting_all_gather(meeting, mine, BLOCK, all);
    for (int r = 0; r < world && status == HOCKET_OK; r++)
        if (all[(size_t)r * BLOCK + BLOCK - 1] != r ||
            strcmp(all + (size_t)r * BLOCK, r == 1 ? NAME : "another") != 0)
            status = hk_fail(HOCKET_ERR_PROTOCOL, "rank %d's block is another", r);
    if (status == HOCKET_OK)
        status = hk_meeting_look(meeting);
    for (int i = 0; i < 3 && status == HOCKET_OK; i++)
        status = hk_meeting_barrier(meeting);
    hk_meeting_close(meeting);
    free(mine);
    free(all);
    return status;
}

/* encrypt: a bit a rank. */
static void run(middle *m, wire_rank *ranks, int world, unsigned encrypt, double seconds)
{
    stand_up(m);
    wire_make_ranks(ranks, world, m->there, WIRE_SECRET, seconds, NULL);
    memcpy(ranks[1].settings.coordinator, m->here, sizeof m->here);
    for (int i = 0; i < world; i++)
        ranks[i].settings.encrypt = (encrypt >> i & 1) != 0;
    wire_run(ranks, world, meet);
    sit_down(m);
}

static void who_asks_is_sealed_and_who_talks_to_it(void **state)
{
    (void)state;
    static middle m;
    for (unsigned encrypt = 0; encrypt < 8; encrypt++) {
        wire_rank ranks[3];
        memset(&m, 0, sizeof m);
        run(&m, ranks, 3, encrypt, WIRE_SECONDS);
        for (int i = 0; i < 3; i++)
            if (ranks[i].status != HOCKET_OK)
                fail_msg("%u, rank %d: %s", encrypt, i, ranks[i].error.text);
        bool plain = (encrypt & 3) == 0; /* neither rank 0 nor rank 1 asks */
        assert_int_equal(has_seen(&m, UP, NAME), plain);
        assert_int_equal(has_seen(&m, DOWN, NAME), plain);
        assert_int_equal(has_seen(&m, DOWN, ADDRESS), plain);
        assert_true(has_seen(&m, UP, "hocket\r\n")); /* the handshake itself */
    }
}

/* === A changed bit ============================================================================ */

/* Where the records of the first gather begin: after the handshake and the arrival, of which head
 * and block, or welcome, are two records. */
static size_t gather_begins(int way, size_t world)
{
    size_t arrival = HK_STAR_HEAD_BYTES + 2 * SEALED_MORE;
    size_t welcome = 8 + HK_ADDRESS_TEXT_MAX + world * HK_HOST_ID_BYTES;
    return way == UP ? HK_HELLO_BYTES + HK_PROOF_BYTES + arrival + HK_HOST_ID_BYTES
                     : HK_HELLO_BYTES + HK_VERDICT_BYTES + arrival + welcome;
}

static void expect_forged(const wire_rank *rank, int culprit)
{
    if (rank->status != HOCKET_ERR_AUTH)
        fail_msg("rank %d: %d, %s", rank->index, rank->status, rank->error.text);
    assert_non_null(strstr(rank->error.text, "changed on its way"));
    assert_true(rank->error.rank_count == 1 && rank->error.ranks[0] == culprit);
}

/* In a length (too long for any record), in a head, in its tag, and far into the block. */
static const size_t places[] = {2, 4 + 5, 4 + HK_STAR_HEAD_BYTES + 3, 70000};

static void a_bit_changed_towards_rank_0_ends_all(void **state)
{
    (void)state;
    static middle m;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        wire_rank ranks[3];
        memset(&m, 0, sizeof m);
        m.flip_at[UP] = gather_begins(UP, 3) + places[i];
        m.flip[UP] = 0x40;
        run(&m, ranks, 3, 2, WIRE_SECONDS);
        for (int r = 0; r < 3; r++)
            expect_forged(&ranks[r], 1);
    }
}

static void a_bit_changed_towards_rank_1_ends_all(void **state)
{
    (void)state;
    static middle m;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        wire_rank ranks[3];
        memset(&m, 0, sizeof m);
        m.flip_at[DOWN] = gather_begins(DOWN, 3) + places[i];
        m.flip[DOWN] = 0x40;
        run(&m, ranks, 3, 1, WIRE_SECONDS);
        expect_forged(&ranks[1], 0);
        for (int r = 0; r < 3; r += 2) {
            assert_int_equal(ranks[r].status, HOCKET_ERR_PEER_LOST);
            assert_int_equal(ranks[r].error.ranks[0], 1);
        }
    }
}

static void a_bit_changed_at_arrival_is_found(void **state)
{
    (void)state;
    static middle m;
    wire_rank ranks[2];
    memset(&m, 0, sizeof m);
    m.flip_at[UP] = HK_HELLO_BYTES + HK_PROOF_BYTES + 4;
    m.flip[UP] = 1;
    run(&m, ranks, 2, 3, WIRE_SECONDS);
    expect_forged(&ranks[0], 1);
    expect_forged(&ranks[1], 1);
}

/* A record that claims to be longer than it is, is waited for: until the deadline. */
static void a_length_that_is_never_filled_ends_in_time(void **state)
{
    (void)state;
    static middle m;
    wire_rank ranks[2];
    memset(&m, 0, sizeof m);
    m.flip_at[UP] = HK_HELLO_BYTES + HK_PROOF_BYTES + 1;
    m.flip[UP] = 0x40;
    run(&m, ranks, 2, 3, 1);
    for (int r = 0; r < 2; r++) {
        assert_int_not_equal(ranks[r].status, HOCKET_OK);
        assert_true(ranks[r].seconds < WIRE_SECONDS);
    }
}

/* A wish that is taken out of a hello on its way is missed by the proof: that connection is given
 * up, and the next is sealed. */
static void the_wish_cannot_be_taken_out(void **state)
{
    (void)state;
    static middle m;
    wire_rank ranks[2];
    memset(&m, 0, sizeof m);
    m.flip_at[UP] = 16;
    m.flip[UP] = 2;
    run(&m, ranks, 2, 2, WIRE_SECONDS);
    assert_int_equal(m.flip_at[UP], 0);
    for (int r = 0; r < 2; r++)
        if (ranks[r].status != HOCKET_OK)
            fail_msg("rank %d: %s", r, ranks[r].error.text);
    assert_false(has_seen(&m, UP, NAME));
}

static void sealing_needs_a_secret(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[2];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, 2, where, NULL, WIRE_SECONDS, NULL);
    for (int i = 0; i < 2; i++)
        ranks[i].settings.encrypt = true;
    wire_run(ranks, 2, meet);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ranks[i].status, HOCKET_ERR_AUTH);
        assert_non_null(strstr(ranks[i].error.text, "needs a secret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_is_sealed_and_who_talks_to_it),
        cmocka_unit_test(a_bit_changed_towards_rank_0_ends_all),
        cmocka_unit_test(a_bit_changed_towards_rank_1_ends_all),
        cmocka_unit_test(a_bit_changed_at_arrival_is_found),
        cmocka_unit_test(a_length_that_is_never_filled_ends_in_time),
        cmocka_unit_test(the_wish_cannot_be_taken_out),
        cmocka_unit_test(sealing_needs_a_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
