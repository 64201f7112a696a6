/* The arithmetic behind the collectives: blocks, runs, trees, and the table of choices. */
#include "collective/block.h"
#include "transport/choices.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { WORLD_MAX = 40 };

static void near_equal_blocks_cover_the_vector(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 2, 7, 64, 1000, 1001};
    for (int n = 1; n <= WORLD_MAX; n++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            hk_blocks blocks = hk_blocks_even(counts[c], n, 4);
            size_t share = counts[c] / (size_t)n, longer = counts[c] % (size_t)n, at = 0;
            for (int r = 0; r < n; r++) {
                assert_int_equal(hk_block_offset(&blocks, r), at);
                assert_int_equal(hk_block_count(&blocks, r), share + ((size_t)r < longer));
                assert_int_equal(hk_block_start(&blocks, r), 4 * at);
                at += hk_block_count(&blocks, r);
            }
            assert_int_equal(at, counts[c]);
            assert_int_equal(hk_block_offset(&blocks, n), at);
            assert_int_equal(hk_block_longest(&blocks), share + (longer > 0));
        }
    }
}

static void near_equal_blocks_do_not_overflow(void **state)
{
    (void)state;
    hk_blocks blocks = hk_blocks_even(SIZE_MAX, 7, 1);
    assert_true(hk_block_offset(&blocks, 7) == SIZE_MAX);
    assert_true(hk_block_offset(&blocks, 6) < SIZE_MAX - SIZE_MAX / 8);
}

static void uneven_blocks_follow_their_counts(void **state)
{
    (void)state;
    const size_t counts[] = {3, 0, 5, 1};
    size_t offsets[5];
    hk_blocks blocks = hk_blocks_uneven(counts, 4, 8, offsets);
    assert_int_equal(blocks.count, 9);
    assert_int_equal(hk_block_longest(&blocks), 5);
    assert_int_equal(hk_block_start(&blocks, 2), 24);
    assert_int_equal(hk_block_bytes(&blocks, 1), 0);
    assert_int_equal(hk_block_bytes(&blocks, 2), 40);
}

/* A run's spans are exactly the bytes of its blocks, whatever the lengths of these. */
static void a_run_is_the_memory_of_its_blocks(void **state)
{
    (void)state;
    const size_t counts[] = {2, 0, 3, 1, 0};
    enum { N = 5, TOTAL = 6 };
    size_t offsets[N + 1];
    hk_blocks blocks = hk_blocks_uneven(counts, N, 1, offsets);
    for (int first = 0; first < N; first++) {
        for (int length = 0; length <= N; length++) {
            char expected[TOTAL + 1] = "......", seen[TOTAL + 1] = "......";
            for (int i = 0; i < length; i++) {
                int block = hk_rank_at(first, i, N);
                memset(expected + offsets[block], 'x', counts[block]);
            }
            hk_span spans[2];
            int used = hk_blocks_run(&blocks, first, length, spans);
            for (int i = 0; i < used; i++) {
                assert_true(spans[i].bytes > 0);
                memset(seen + spans[i].start, 'x', spans[i].bytes);
            }
            assert_string_equal(seen, expected);
        }
    }
}

static void ranks_go_around_the_circle(void **state)
{
    (void)state;
    assert_int_equal(hk_rank_at(0, -1, 5), 4);
    assert_int_equal(hk_rank_at(4, 1, 5), 0);
    assert_int_equal(hk_rank_at(3, -4, 5), 4);
    assert_int_equal(hk_rank_at(2, 9, 5), 1);
    assert_int_equal(hk_rank_at(0, -3, 1), 0);
}

/* Each place but 0 is the child of its parent, and the subtrees of a place's children and the place
 * itself make up its run, without gap or overlap. */
static void a_tree_reaches_each_place_once(void **state)
{
    (void)state;
    for (int n = 1; n <= WORLD_MAX; n++) {
        int reached[WORLD_MAX] = {0};
        assert_int_equal(hk_tree_size(0, n), n);
        for (int place = 0; place < n; place++) {
            int end = place + hk_tree_size(place, n);
            for (int d = hk_tree_first_child(place, n); d > 0; d /= 2) {
                int child = place + d;
                assert_in_range(child, place + 1, n - 1);
                assert_int_equal(hk_tree_parent(child), place);
                assert_int_equal(child + hk_tree_size(child, n), end);
                end = child;
                reached[child]++;
            }
            assert_int_equal(end, place + 1);
        }
        for (int place = 1; place < n; place++)
            assert_int_equal(reached[place], 1);
    }
}

static void the_table_never_gives_an_ordered_reduction_to_a_ring(void **state)
{
    (void)state;
    bool rings = false;
    for (int operation = 0; operation < HK_OPERATIONS; operation++) {
        for (int n = 2; n <= WORLD_MAX; n++) {
            for (size_t bytes = 1; bytes <= (size_t)1 << 34; bytes *= 2) {
                assert_int_not_equal(hk_choose(NULL, HK_BY_MESSAGES, operation, n, bytes, true),
                                     HK_RING);
                rings =
                    rings || hk_choose(NULL, HK_BY_MESSAGES, operation, n, bytes, false) == HK_RING;
            }
        }
    }
    assert_true(rings);
}

static void the_table_covers_its_corners(void **state)
{
    (void)state;
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, 2, 1, false), HK_FLAT);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, 4, SIZE_MAX, false), HK_DIRECT);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, INT_MAX, 1, false), HK_TREE);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, INT_MAX, SIZE_MAX, false),
                     HK_RING);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_REDUCE, INT_MAX, SIZE_MAX, true),
                     HK_DIRECT);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_BROADCAST, 2, SIZE_MAX, false), HK_TREE);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_BROADCAST, 3, SIZE_MAX, false), HK_DIRECT);
    assert_int_equal(hk_choose(NULL, HK_BY_MESSAGES, HK_ALL_TO_ALL, 3, 1, false), HK_DIRECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_equal_blocks_cover_the_vector),
        cmocka_unit_test(near_equal_blocks_do_not_overflow),
        cmocka_unit_test(uneven_blocks_follow_their_counts),
        cmocka_unit_test(a_run_is_the_memory_of_its_blocks),
        cmocka_unit_test(ranks_go_around_the_circle),
        cmocka_unit_test(a_tree_reaches_each_place_once),
        cmocka_unit_test(the_table_never_gives_an_ordered_reduction_to_a_ring),
        cmocka_unit_test(the_table_covers_its_corners),
    };
    return cmocka_run_group_tests_name("collective arithmetic", tests, NULL, NULL);
}
