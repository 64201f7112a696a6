/* Reductions of the user: their numbers, the order of operands, and being freed while others use
 * them. */
#include "core/dtype.h"
#include "core/reduce.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { COUNT = 3001, INPUTS_MAX = 8 };

/* One complex64 stands for the map x -> a x + b. Composing is associative, and the order matters.
 */
typedef struct affine {
    float a, b;
} affine;

/* The lower rank's map is applied last: (in o inout)(x) = in.a (inout.a x + inout.b) + in.b. */
static void compose(const void *in_, void *inout_, size_t count, void *context)
{
    const affine *in = in_;
    affine *inout = inout_;
    for (size_t i = 0; i < count; i++) {
        inout[i] = (affine){in[i].a * inout[i].a, in[i].a * inout[i].b + in[i].b};
    }
    atomic_fetch_add((atomic_int *)context, 1);
}

static atomic_int calls;

/* Small whole numbers: exact in float for eight factors. */
static affine map_of(int rank, size_t i)
{
    return (affine){(float)(1 + (rank + (int)i) % 3), (float)(rank + (int)(i % 5))};
}

static void make_maps(affine maps[INPUTS_MAX][COUNT], const void **inputs, int n)
{
    for (int k = 0; k < n; k++) {
        inputs[k] = maps[k];
        for (size_t i = 0; i < COUNT; i++) {
            maps[k][i] = map_of(k, i);
        }
    }
}

static void check_maps(const affine *got, int n)
{
    for (size_t i = 0; i < COUNT; i++) {
        float at_zero = 0, at_one = 1; /* a map is known by two of its values */
        for (int k = n - 1; k >= 0; k--) {
            const affine map = map_of(k, i);
            at_zero = map.a * at_zero + map.b;
            at_one = map.a * at_one + map.b;
        }
        assert_true(got[i].b == at_zero && got[i].a + got[i].b == at_one);
    }
}

static affine maps[INPUTS_MAX][COUNT], out[COUNT];

static void folds_keep_the_order_of_ranks(void **state)
{
    const hocket_reduce reduce = *(hocket_reduce *)*state;
    const void *inputs[INPUTS_MAX];
    static const int ns[] = {1, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
        make_maps(maps, inputs, ns[i]);
        assert_int_equal(hk_reduce_fold(out, inputs, ns[i], COUNT, HOCKET_COMPLEX64, reduce),
                         HOCKET_OK);
        check_maps(out, ns[i]);
        for (int k = 0; k < ns[i]; k++) {
            make_maps(maps, inputs, ns[i]);
            hk_reduce_fold(maps[k], inputs, ns[i], COUNT, HOCKET_COMPLEX64, reduce);
            check_maps(maps[k], ns[i]);
        }
    }
    atomic_store(&calls, 0);
    hk_reduce_fold(out, inputs, 3, 0, HOCKET_COMPLEX64, reduce);
    assert_int_equal(atomic_load(&calls), 0);
}

static void pairs_keep_the_order_of_ranks(void **state)
{
    const hocket_reduce reduce = *(hocket_reduce *)*state;
    const void *inputs[INPUTS_MAX];
    make_maps(maps, inputs, 4);
    hk_reduce_pair(maps[1], maps[2], false, COUNT, HOCKET_COMPLEX64, reduce);
    hk_reduce_pair(maps[1], maps[0], true, COUNT, HOCKET_COMPLEX64, reduce);
    hk_reduce_pair(maps[1], maps[3], false, COUNT, HOCKET_COMPLEX64, reduce);
    hk_reduce_finish(maps[1], COUNT, HOCKET_COMPLEX64, reduce, 4);
    check_maps(maps[1], 4);
}

static void numbers_are_the_lowest_free_ones(void **state)
{
    const hocket_reduce first = *(hocket_reduce *)*state;
    hocket_reduce made[3], again;
    assert_int_equal(first, HOCKET_REDUCE_USER);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hocket_reduce_create(compose, &calls, i == 1, &made[i]), HOCKET_OK);
        assert_int_equal(made[i], first + 1 + i);
        assert_int_equal(hk_reduce_commutes(made[i]), i == 1);
        assert_true(hk_reduce_defined(HOCKET_BOOL, made[i]));
    }
    hocket_reduce_free(made[1]);
    assert_false(hk_reduce_defined(HOCKET_BOOL, made[1]));
    hocket_reduce_free(made[1]); /* twice does nothing */
    hocket_reduce_free(HOCKET_SUM);
    hocket_reduce_free((hocket_reduce)-1);
    assert_int_equal(hocket_reduce_create(compose, &calls, false, &again), HOCKET_OK);
    assert_int_equal(again, made[1]);
    for (int i = 0; i < 3; i++) {
        hocket_reduce_free(made[i]);
    }
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    hocket_reduce made;
    assert_int_equal(hocket_reduce_create(NULL, NULL, true, &made), HOCKET_ERR_INVALID);
    assert_non_null(strstr(hocket_last_error(), "function"));
    assert_int_equal(hocket_reduce_create(compose, &calls, true, NULL), HOCKET_ERR_INVALID);
}

static void the_table_has_an_end(void **state)
{
    const hocket_reduce first = *(hocket_reduce *)*state;
    hocket_reduce made, last = first;
    for (int i = 1; i < HK_REDUCE_USER_MAX; i++) {
        assert_int_equal(hocket_reduce_create(compose, &calls, true, &last), HOCKET_OK);
    }
    made = HOCKET_SUM;
    assert_int_equal(hocket_reduce_create(compose, &calls, true, &made), HOCKET_ERR_NO_MEMORY);
    assert_int_equal(made, HOCKET_SUM);
    assert_int_equal(last, first + HK_REDUCE_USER_MAX - 1);
    for (int i = 1; i < HK_REDUCE_USER_MAX; i++) {
        hocket_reduce_free((hocket_reduce)(first + i));
    }
}

static void a_freed_reduction_is_an_error_and_leaves_the_result_alone(void **state)
{
    (void)state;
    const float in = 1;
    float inout = 2;
    hocket_reduce made;
    assert_int_equal(hocket_reduce_create(compose, &calls, true, &made), HOCKET_OK);
    hocket_reduce_free(made);
    assert_int_equal(hk_reduce_pair(&inout, &in, true, 1, HOCKET_FLOAT32, made),
                     HOCKET_ERR_INVALID);
    assert_true(inout == 2);
    assert_non_null(strstr(hocket_last_error(), "freed"));
}

/* The function frees its own handle: the fold that runs goes on with its copy. */
static void free_and_keep_the_left(const void *in, void *inout, size_t count, void *context)
{
    hocket_reduce_free(*(hocket_reduce *)context);
    memcpy(inout, in, count);
}

static void freeing_while_a_fold_runs_is_safe(void **state)
{
    (void)state;
    static uint8_t low[20000], high[20000];
    static hocket_reduce made;
    assert_int_equal(hocket_reduce_create(free_and_keep_the_left, &made, false, &made), HOCKET_OK);
    memset(low, 7, sizeof low);
    assert_int_equal(hk_reduce_pair(high, low, true, sizeof high, HOCKET_UINT8, made), HOCKET_OK);
    assert_memory_equal(high, low, sizeof high);
    assert_false(hk_reduce_defined(HOCKET_UINT8, made));
}

/* Threads make, use and free their own, all in one table. */
static void *use_the_table(void *failed)
{
    const affine left = {2, 1};
    for (int i = 0; i < 2000; i++) {
        affine right = {3, 5};
        hocket_reduce made;
        if (hocket_reduce_create(compose, &calls, false, &made) != HOCKET_OK ||
            hk_reduce_pair(&right, &left, true, 1, HOCKET_COMPLEX64, made) != HOCKET_OK ||
            right.a != 6 || right.b != 11) {
            atomic_store((atomic_int *)failed, 1);
        }
        hocket_reduce_free(made);
    }
    return NULL;
}

static void threads_share_the_table(void **state)
{
    (void)state;
    pthread_t threads[4];
    atomic_int failed = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_the_table, &failed), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&failed), 0);
}

static int create_compose(void **state)
{
    static hocket_reduce reduce;
    *state = &reduce;
    return hocket_reduce_create(compose, &calls, false, &reduce) == HOCKET_OK ? 0 : -1;
}

static int free_compose(void **state)
{
    hocket_reduce_free(*(hocket_reduce *)*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_keep_the_order_of_ranks),
        cmocka_unit_test(pairs_keep_the_order_of_ranks),
        cmocka_unit_test(numbers_are_the_lowest_free_ones),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(the_table_has_an_end),
        cmocka_unit_test(a_freed_reduction_is_an_error_and_leaves_the_result_alone),
        cmocka_unit_test(freeing_while_a_fold_runs_is_safe),
        cmocka_unit_test(threads_share_the_table),
    };
    return cmocka_run_group_tests(tests, create_compose, free_compose);
}
