#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "wire/mesh.h"
#include "wire/socket.h"
#include "wire_help.h"
#include <cmocka.h>

#define WORLD 4
#define VICTIM 2

typedef enum way { WELL, DIES, STAYS_AWAY } way; /* of the victim, after the ranks have met */

static void close_ends(hk_mesh_end *ends)
{
    for (int i = 0; i < WORLD; i++)
        hk_socket_close(ends[i].fd);
}

static hocket_status join(wire_rank *rank)
{
    way victims = *(const way *)rank->context;
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    if (rank->index == VICTIM && victims == DIES)
        usleep(100000);
    else if (rank->index == VICTIM && victims == STAYS_AWAY)
        usleep((useconds_t)(hk_deadline_left(rank->deadline) / 1000) + 1500000);
    else {
        hk_mesh_end ends[WORLD];
        bool encrypt = rank->index == 1;
        status = hk_mesh_open(meeting, 0, &encrypt, ends);
        if (status == HOCKET_OK && !encrypt)
            status = HOCKET_ERR_PROTOCOL;
        for (int i = 0; i < WORLD && status == HOCKET_OK; i++)
            if ((ends[i].fd < 0) != (i == rank->index))
                status = HOCKET_ERR_PROTOCOL;
        close_ends(ends);
    }
    hk_meeting_close(meeting);
    return status;
}

static void run(wire_rank *ranks, double seconds, way victims)
{
    static char where[HK_COORDINATOR_MAX];
    static way kept;
    kept = victims;
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, WORLD, where, WIRE_SECRET, seconds, &kept);
    wire_run(ranks, WORLD, join);
}

static void all_are_joined_and_one_wish_seals_all(void **state)
{
    (void)state;
    wire_rank ranks[WIRE_RANKS_MAX];
    run(ranks, WIRE_SECONDS, WELL);
    for (int i = 0; i < WORLD; i++)
        assert_int_equal(ranks[i].status, HOCKET_OK);
}

static void a_death_meanwhile_is_named_on_all(void **state)
{
    (void)state;
    wire_rank ranks[WIRE_RANKS_MAX];
    run(ranks, WIRE_SECONDS, DIES);
    for (int i = 0; i < WORLD; i++) {
        if (i == VICTIM)
            continue;
        assert_int_equal(ranks[i].status, HOCKET_ERR_PEER_LOST);
        assert_int_equal(ranks[i].error.ranks[0], VICTIM);
        assert_true(ranks[i].seconds < 1.1);
    }
}

static void one_that_stays_away_is_named_on_all(void **state)
{
    (void)state;
    wire_rank ranks[WIRE_RANKS_MAX];
    run(ranks, 1, STAYS_AWAY);
    for (int i = 0; i < WORLD; i++) {
        if (i == VICTIM)
            continue;
        assert_int_equal(ranks[i].status, HOCKET_ERR_TIMEOUT);
        assert_int_equal(ranks[i].error.rank_count, 1);
        assert_int_equal(ranks[i].error.ranks[0], VICTIM);
        assert_true(ranks[i].seconds < 2.1);
    }
}

/* === Between steps =========================================================================== */

/* The victim meets the others and goes. */
static hocket_status look(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    status = hk_meeting_look(meeting);
    if (rank->index != VICTIM)
        while (status == HOCKET_OK && hk_deadline_left(rank->deadline) > 0) {
            usleep(5000);
            status = hk_meeting_look(meeting);
        }
    hk_meeting_close(meeting);
    return status;
}

static void a_look_between_steps_sees_who_has_gone(void **state)
{
    (void)state;
    char where[HK_COORDINATOR_MAX];
    wire_rank ranks[WIRE_RANKS_MAX];
    wire_free_port("127.0.0.1", where);
    wire_make_ranks(ranks, WORLD, where, WIRE_SECRET, WIRE_SECONDS, NULL);
    wire_run(ranks, WORLD, look);
    for (int i = 0; i < WORLD; i++) {
        if (i == VICTIM)
            continue;
        assert_int_equal(ranks[i].status, HOCKET_ERR_PEER_LOST);
        assert_int_equal(ranks[i].error.ranks[0], VICTIM);
    }
}

/* What it says of where it listens is looked at before it is used. */
typedef struct lie {
    char where[HK_ADDRESS_TEXT_MAX];
    unsigned char encrypt;
} lie;

_Static_assert(sizeof(lie) == HK_ADDRESS_TEXT_MAX + 1, "as in mesh.c");

static hocket_status join_or_lie(wire_rank *rank)
{
    hk_meeting *meeting;
    hocket_status status = hk_meeting_open(&rank->settings, rank->deadline, &meeting);
    if (status != HOCKET_OK)
        return status;
    if (rank->settings.rank == VICTIM) {
        lie all[WORLD];
        status = hk_meeting_all_gather(meeting, rank->context, sizeof(lie), all);
    } else {
        hk_mesh_end ends[WORLD];
        bool encrypt = false;
        status = hk_mesh_open(meeting, 0, &encrypt, ends);
    }
    hk_meeting_close(meeting);
    return status;
}

static void lies_about_doors_are_found(void **state)
{
    static const lie lies[] = {
        {.where = "host.example:1"},
        {.where = ""},
        {.where = "127.0.0.1"},
        {.where = "127.0.0.1:65536"},
        {.where = "127.0.0.1:1", .encrypt = 2},
    };
    (void)state;
    for (size_t i = 0; i <= sizeof lies / sizeof lies[0]; i++) {
        wire_rank ranks[WORLD];
        char where[HK_COORDINATOR_MAX];
        lie endless;
        memset(&endless, '1', sizeof endless);
        wire_free_port("127.0.0.1", where);
        wire_make_ranks(ranks, WORLD, where, WIRE_SECRET, WIRE_SECONDS,
                        i < sizeof lies / sizeof lies[0] ? (void *)&lies[i] : &endless);
        wire_run(ranks, WORLD, join_or_lie);
        for (int r = 0; r < WORLD; r++) {
            if (r == VICTIM)
                continue;
            assert_int_equal(ranks[r].status, HOCKET_ERR_PROTOCOL);
            assert_true(hk_error_names(&ranks[r].error, VICTIM));
            assert_true(ranks[r].seconds < WIRE_SECONDS / 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_joined_and_one_wish_seals_all),
        cmocka_unit_test(a_death_meanwhile_is_named_on_all),
        cmocka_unit_test(one_that_stays_away_is_named_on_all),
        cmocka_unit_test(lies_about_doors_are_found),
        cmocka_unit_test(a_look_between_steps_sees_who_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
