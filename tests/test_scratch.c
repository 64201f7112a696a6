/* Scratch: which pieces a call gets, and what is kept for the next one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "transport/scratch.h"

#define KIB ((size_t)1 << 10)

static hk_scratch_shelf shelf;
static hk_scratch_list list;

static uint8_t *take(size_t bytes)
{
    uint8_t *piece = hk_scratch_piece(&list, &shelf, bytes);
    assert_non_null(piece);
    assert_int_equal((uintptr_t)piece % HK_SCRATCH_ALIGNMENT, 0);
    memset(piece, 0xA5, bytes);
    return piece;
}

static void pieces_of_a_call_are_apart(void **state)
{
    (void)state;
    enum { PIECES = 20 };
    uint8_t *pieces[PIECES];
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < PIECES; i++)
            memset(pieces[i] = take(100 * i + 1), (int)i, 100 * i + 1);
        for (size_t i = 0; i < PIECES; i++)
            for (size_t at = 0; at <= 100 * i; at++)
                assert_int_equal(pieces[i][at], i);
        hk_scratch_end(&list, &shelf);
    }
    hk_scratch_fini(&shelf);
}

static void the_next_call_gets_the_same(void **state)
{
    (void)state;
    uint8_t *small = take(100), *large = take(256 * KIB), *larger = take(512 * KIB);
    hk_scratch_end(&list, &shelf);
    assert_non_null(atomic_load(&shelf));
    assert_ptr_equal(take(100), small);
    assert_ptr_equal(take(256 * KIB), large);
    assert_ptr_equal(take(512 * KIB), larger);
    hk_scratch_end(&list, &shelf);
    hk_scratch_fini(&shelf);
    assert_null(atomic_load(&shelf));
}

static void what_is_released_is_taken_again(void **state)
{
    (void)state;
    uint8_t *before = take(100 * KIB);
    void *mark = list.used;
    uint8_t *since = take(90 * KIB);
    hk_scratch_release(&list, mark);
    assert_ptr_equal(take(80 * KIB), since);
    assert_ptr_not_equal(take(100 * KIB), before);
    hk_scratch_end(&list, &shelf);
    hk_scratch_fini(&shelf);
}

static void a_large_piece_is_not_spent_on_little(void **state)
{
    (void)state;
    uint8_t *large = take(256 * KIB);
    hk_scratch_end(&list, &shelf);
    assert_ptr_not_equal(take(KIB), large);
    assert_ptr_not_equal(take(257 * KIB), large);
    assert_ptr_equal(take(200 * KIB), large);
    hk_scratch_end(&list, &shelf);
    hk_scratch_fini(&shelf);
}

static void not_more_than_the_limit_is_kept(void **state)
{
    (void)state;
    take(HK_SCRATCH_KEPT + 1);
    hk_scratch_end(&list, &shelf);
    assert_null(atomic_load(&shelf));

    take(HK_SCRATCH_KEPT / 4);
    hk_scratch_end(&list, &shelf);
    assert_non_null(atomic_load(&shelf));
    hk_scratch_fini(&shelf);
}

/* With what is added to them they would be short; AddressSanitizer forbids asking malloc for
 * others.
 */
static void impossible_lengths_find_no_memory(void **state)
{
    (void)state;
    for (size_t less = 0; less < 2 * HK_SCRATCH_ALIGNMENT - 1; less++)
        assert_null(hk_scratch_piece(&list, &shelf, SIZE_MAX - less));
    hk_scratch_end(&list, &shelf);
    assert_null(atomic_load(&shelf));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_a_call_are_apart),
        cmocka_unit_test(the_next_call_gets_the_same),
        cmocka_unit_test(what_is_released_is_taken_again),
        cmocka_unit_test(a_large_piece_is_not_spent_on_little),
        cmocka_unit_test(not_more_than_the_limit_is_kept),
        cmocka_unit_test(impossible_lengths_find_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
