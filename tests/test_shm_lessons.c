/* What is learned of two ways: that the faster one goes on, and that this may change. */
#include "harness.h"
#include "transport/shm_lessons.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { BYTES = 1 << 20, FIRST = 8, MANY = 640 };

typedef struct fortune {
    hk_time staged, read; /* what a call takes */
} fortune;

/* So many calls; returns how many of them read. */
static int go(hk_lesson *lesson, fortune f, int calls)
{
    int reads = 0;
    for (int i = 0; i < calls; i++) {
        bool read = hk_lesson_reads(lesson);
        hk_lesson_learn(lesson, read, BYTES, read ? f.read : f.staged);
        reads += read;
    }
    return reads;
}

static void both_ways_are_tried_first(void **state)
{
    (void)state;
    hk_lesson lesson = {{0}, 0};
    assert_int_equal(go(&lesson, (fortune){100, 900}, FIRST), FIRST / 2);
}

static void the_faster_way_goes_on_and_the_other_is_tried_again(void **state)
{
    (void)state;
    static const fortune fortunes[] = {{100, 90}, {90, 100}};
    for (int i = 0; i < 2; i++) {
        hk_lesson lesson = {{0}, 0};
        go(&lesson, fortunes[i], FIRST);
        int reads = go(&lesson, fortunes[i], MANY);
        int slower = i == 0 ? MANY - reads : reads;
        assert_in_range(slower, MANY / 64 - 1, MANY / 64 + 1);
    }
}

static void a_change_of_fortune_is_noticed(void **state)
{
    (void)state;
    hk_lesson lesson = {{0}, 0};
    go(&lesson, (fortune){40, 90}, MANY);
    go(&lesson, (fortune){200, 150}, MANY);
    assert_in_range(go(&lesson, (fortune){200, 150}, MANY), MANY * 9 / 10, MANY);
    go(&lesson, (fortune){40, 90}, MANY);
    assert_in_range(go(&lesson, (fortune){40, 90}, MANY), 0, MANY / 10);
}

static void an_interruption_does_not_change_the_way(void **state)
{
    (void)state;
    hk_lesson lesson = {{0}, 0};
    go(&lesson, (fortune){100, 190}, MANY);
    hk_lesson_learn(&lesson, false, BYTES, 1000000);
    assert_in_range(go(&lesson, (fortune){100, 190}, MANY), 0, MANY / 64 + 1);
}

static void a_first_call_that_is_slow_is_forgotten(void **state)
{
    (void)state;
    hk_lesson lesson = {{0}, 0};
    go(&lesson, (fortune){100000, 100}, 1);
    go(&lesson, (fortune){50, 100}, FIRST - 1);
    assert_in_range(go(&lesson, (fortune){50, 100}, MANY), 0, MANY / 64 + 1);
}

static void a_way_that_is_never_taken_is_not_chosen(void **state)
{
    (void)state;
    hk_lesson lesson = {{0}, 0};
    int reads = 0;
    for (int i = 0; i < MANY; i++) { /* as where reading is not permitted */
        bool read = hk_lesson_reads(&lesson);
        hk_lesson_learn(&lesson, false, BYTES, 100);
        reads += i >= FIRST && read;
    }
    assert_in_range(reads, 0, MANY / 64 + 1);
}

static void lengths_are_told_apart_by_powers_of_two(void **state)
{
    (void)state;
    static hk_lesson lessons[HK_LESSON_LENGTHS];
    assert_ptr_equal(hk_lesson_about(lessons, 1), &lessons[0]);
    assert_ptr_equal(hk_lesson_about(lessons, 4095), &lessons[11]);
    assert_ptr_equal(hk_lesson_about(lessons, 4096), &lessons[12]);
    assert_ptr_equal(hk_lesson_about(lessons, SIZE_MAX), &lessons[HK_LESSON_LENGTHS - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_are_tried_first),
        cmocka_unit_test(the_faster_way_goes_on_and_the_other_is_tried_again),
        cmocka_unit_test(a_change_of_fortune_is_noticed),
        cmocka_unit_test(an_interruption_does_not_change_the_way),
        cmocka_unit_test(a_first_call_that_is_slow_is_forgotten),
        cmocka_unit_test(a_way_that_is_never_taken_is_not_chosen),
        cmocka_unit_test(lengths_are_told_apart_by_powers_of_two),
    };
    return cmocka_run_group_tests_name("shm_lessons", tests, NULL, NULL);
}
