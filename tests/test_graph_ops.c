/* Every operation on the cpu device. */
#include "graph_cases.h"

#include "core/half.h"
#include "graph/blas.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void elementwise_operations(void **state)
{
    (void)state;
    graph_cases_elementwise("cpu");
}

static void comparisons_where_and_cast(void **state)
{
    (void)state;
    graph_cases_compare_and_cast("cpu");
}

static void matrix_products(void **state)
{
    (void)state;
    graph_cases_matmul("cpu");
}

static void softmax_and_norms(void **state)
{
    (void)state;
    graph_cases_norms("cpu");
}

static void reductions(void **state)
{
    (void)state;
    graph_cases_reductions("cpu");
}

static void shape_operations(void **state)
{
    (void)state;
    graph_cases_shapes("cpu");
}

/* Runs a binary operation on two arrays in eager mode. */
static void binary(const char *op, hocket_dtype dtype, int64_t count, const void *a, const void *b,
                   void *y)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node nodes[2], result;
    size_t bytes = (size_t)count * hocket_dtype_size(dtype);
    assert_int_equal(hocket_graph_create(&graph), HOCKET_OK);
    assert_int_equal(hocket_graph_input(graph, "a", dtype, 1, &count, &nodes[0]), HOCKET_OK);
    assert_int_equal(hocket_graph_input(graph, "b", dtype, 1, &count, &nodes[1]), HOCKET_OK);
    assert_int_equal(hocket_graph_op(graph, op, nodes, 2, NULL, 0, &result), HOCKET_OK);
    assert_int_equal(hocket_graph_output(graph, "y", result), HOCKET_OK);
    assert_int_equal(hocket_executable_compile(graph, "cpu", HOCKET_EAGER, &executable), HOCKET_OK);
    assert_int_equal(hocket_executable_set(executable, "a", a, bytes), HOCKET_OK);
    assert_int_equal(hocket_executable_set(executable, "b", b, bytes), HOCKET_OK);
    assert_int_equal(hocket_executable_run(executable), HOCKET_OK);
    assert_int_equal(hocket_executable_read(executable, "y", y, bytes), HOCKET_OK);
    hocket_executable_free(executable);
    hocket_graph_free(graph);
}

static void integers_wrap(void **state)
{
    (void)state;
    int32_t a[3] = {INT32_MAX, INT32_MIN, 65536}, b[3] = {1, 1, 65536}, y[3];
    binary("add", HOCKET_INT32, 3, a, b, y);
    assert_int_equal(y[0], INT32_MIN);
    binary("subtract", HOCKET_INT32, 3, a, b, y);
    assert_int_equal(y[1], INT32_MAX);
    binary("multiply", HOCKET_INT32, 3, a, b, y);
    assert_int_equal(y[2], 0);
    int64_t c[1] = {INT64_MAX}, d[1] = {1}, z[1];
    binary("add", HOCKET_INT64, 1, c, d, z);
    assert_true(z[0] == INT64_MIN);
    uint64_t e[1] = {UINT64_MAX}, f[1] = {1}, w[1];
    binary("maximum", HOCKET_UINT64, 1, e, f, w);
    assert_true(w[0] == UINT64_MAX);
}

static void maximum_hands_a_nan_on(void **state)
{
    (void)state;
    float a[2] = {NAN, 1}, b[2] = {1, NAN}, y[2];
    binary("maximum", HOCKET_FLOAT32, 2, a, b, y);
    assert_true(isnan(y[0]) && isnan(y[1]));
    binary("minimum", HOCKET_FLOAT32, 2, a, b, y);
    assert_true(isnan(y[0]) && isnan(y[1]));
}

/* The loops that machines without a BLAS use, against the ones with. */
static void plain_products_agree_with_blas(void **state)
{
    (void)state;
    static float left[33 * 130], right[130 * 70], fast[33 * 70], plain[33 * 70];
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        left[i] = (float)graph_case_value(i, 1);
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        right[i] = (float)graph_case_value(i, 2);
    for (int swap = 0; swap < 4; swap++) {
        hk_product shape = {33, 70, 130, swap & 1, swap >> 1};
        hk_product_f32(&shape, left, right, fast);
        hk_plain_f32(&shape, left, right, plain);
        for (size_t i = 0; i < 33 * 70; i++)
            assert_true(fabsf(fast[i] - plain[i]) < 1e-2f);
    }
    if (!hk_has_blas())
        print_message("no BLAS was found: the plain loops were compared with themselves\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_operations),
        cmocka_unit_test(comparisons_where_and_cast),
        cmocka_unit_test(matrix_products),
        cmocka_unit_test(softmax_and_norms),
        cmocka_unit_test(reductions),
        cmocka_unit_test(shape_operations),
        cmocka_unit_test(integers_wrap),
        cmocka_unit_test(maximum_hands_a_nan_on),
        cmocka_unit_test(plain_products_agree_with_blas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
