/* What a rank remembers of its collectives is whole, whoever asks while it changes. */
#include "harness.h"
#include "transport/history.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { CALLS = 300000, ROOTS = 100 };

/* All of it follows from the number. */
static void fill(hk_what *what, int64_t shown[HK_WHAT_SHOWN], uint64_t number)
{
    for (int i = 0; i < HK_WHAT_SHOWN; i++)
        shown[i] = (int64_t)number + i;
    *what = (hk_what){.kind = hk_kind(HK_BROADCAST, -1, (int)(number % ROOTS), -1),
                      .number = number,
                      .count = number * 3,
                      .more = number * 5,
                      .shown = shown,
                      .listed = HK_WHAT_SHOWN};
}

static bool is_whole(const hk_what *found, uint64_t number)
{
    hk_what wanted;
    int64_t shown[HK_WHAT_SHOWN];
    fill(&wanted, shown, number);
    for (int i = 0; i < HK_WHAT_SHOWN; i++)
        if (found->shown[i] != shown[i])
            return false;
    return found->kind == wanted.kind && found->number == number && found->count == wanted.count &&
           found->more == wanted.more && found->listed == wanted.listed;
}

static void the_last_are_known(void **state)
{
    (void)state;
    hk_history *history = calloc(1, sizeof *history);
    hk_what what;
    int64_t shown[HK_WHAT_SHOWN];
    assert_non_null(history);
    assert_int_equal(hk_history_begun(history), 0);
    assert_false(hk_history_find(history, 0, &what, shown));
    for (uint64_t number = 1; number <= 3 * HK_HISTORY; number++) {
        fill(&what, shown, number);
        hk_history_add(history, &what);
        assert_int_equal(hk_history_begun(history), number);
        assert_true(hk_history_find(history, number, &what, shown));
        assert_true(is_whole(&what, number));
        assert_false(hk_history_find(history, number + 1, &what, shown));
        if (number > HK_HISTORY)
            assert_false(hk_history_find(history, number - HK_HISTORY, &what, shown));
    }
    fill(&what, shown, HK_NUMBER_OPENING);
    hk_history_add(history, &what);
    assert_int_equal(hk_history_begun(history), 3 * HK_HISTORY);
    free(history);
}

static void *write_all(void *argument)
{
    hk_history *history = argument;
    for (uint64_t number = 1; number <= CALLS; number++) {
        hk_what what;
        int64_t shown[HK_WHAT_SHOWN];
        fill(&what, shown, number);
        hk_history_add(history, &what);
    }
    return NULL;
}

static void readers_see_none_half_written(void **state)
{
    (void)state;
    hk_history *history = calloc(1, sizeof *history);
    pthread_t writer;
    assert_non_null(history);
    assert_int_equal(pthread_create(&writer, NULL, write_all, history), 0);
    long looks = 0, found = 0, torn = 0;
    for (uint64_t begun = 0; begun < CALLS || found == 0; looks++) { /* it may write at one go */
        hk_what what;
        int64_t shown[HK_WHAT_SHOWN];
        begun = hk_history_begun(history);
        uint64_t number = begun + 1 - (uint64_t)looks % 3; /* the next one too */
        if (hk_history_find(history, number, &what, shown)) {
            found++;
            torn += !is_whole(&what, number);
        }
    }
    pthread_join(writer, NULL);
    assert_int_equal(torn, 0);
    assert_true(found > 0);
    free(history);
}

int main(void)
{
    harness_clear_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_are_known),
        cmocka_unit_test(readers_see_none_half_written),
    };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
