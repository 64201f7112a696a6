/* A program outside the library that brings an operation and its kernel, with public headers only
 * and the shared library. */
#include <hocket/graph.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                \
    do {                                                                        \
        if ((call) != HOCKET_OK)                                                \
            fail_msg("line %d: %s", __LINE__, hocket_last_error());             \
    } while (0)

/* scale_rows: x [rows, n] and factors [rows], times the attribute "by". */

static hocket_status infer_scale_rows(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0], *factors = &call->input_types[1];
    char x_text[64], factors_text[64];
    if (x->dtype != HOCKET_FLOAT32 || x->rank != 2 || factors->rank != 1 ||
        factors->dtype != x->dtype || factors->dims[0] != x->dims[0])
        return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s, factors is %s",
                               hocket_type_text(x, x_text, sizeof x_text),
                               hocket_type_text(factors, factors_text, sizeof factors_text));
    call->output_type = *x;
    return HOCKET_OK;
}

static hocket_status scale_rows_on_cpu(hocket_op_call *call)
{
    const float *x = call->inputs[0], *factors = call->inputs[1];
    float *y = call->output;
    float by = (float)hocket_attrs_float(&call->attributes, "by", 1);
    int64_t width = call->output_type.dims[1];
    for (int64_t i = 0; i < (int64_t)hocket_type_count(&call->output_type); i++)
        y[i] = x[i] * factors[i / width] * by;
    ++*(int *)call->context;
    return HOCKET_OK;
}

static int calls;

static int register_scale_rows(void **state)
{
    /* The registry copies the texts too. */
    char name[] = "scale_rows", by[] = "by";
    hocket_attr_def attributes[] = {{by, HOCKET_ATTR_FLOAT, true}};
    (void)state;
    OK(hocket_op_register(&(hocket_op_def){.size = sizeof(hocket_op_def), .name = name,
                                           .min_inputs = 2, .max_inputs = 2,
                                           .attributes = attributes, .attribute_count = 1,
                                           .infer = infer_scale_rows}));
    OK(hocket_kernel_register(name, "cpu", scale_rows_on_cpu, &calls));
    memset(name, 'x', sizeof name - 1);
    memset(by, 'x', sizeof by - 1);
    return 0;
}

static void an_own_operation_runs_in_every_mode(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_graph *graph;
        hocket_executable *executable;
        hocket_node inputs[2], y;
        const float x[6] = {1, 2, 3, 4, 5, 6}, factors[2] = {10, 100};
        const float expected[6] = {5, 10, 15, 200, 250, 300};
        float result[6];
        hocket_attr by = hocket_attr_float("by", 0.5);
        OK(hocket_graph_create(&graph));
        OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){2, 3}, &inputs[0]));
        OK(hocket_graph_input(graph, "factors", HOCKET_FLOAT32, 1, (int64_t[]){2}, &inputs[1]));
        OK(hocket_graph_op(graph, "scale_rows", inputs, 2, &by, 1, &y));
        OK(hocket_graph_output(graph, "y", y));
        OK(hocket_executable_compile(graph, "cpu", mode, &executable));
        hocket_graph_free(graph);
        calls = 0;
        OK(hocket_executable_set(executable, "x", x, sizeof x));
        OK(hocket_executable_set(executable, "factors", factors, sizeof factors));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", result, sizeof result));
        assert_memory_equal(result, expected, sizeof expected);
        assert_int_equal(calls, 1);
        hocket_executable_free(executable);
    }
}

static void its_own_refusals_name_it(void **state)
{
    (void)state;
    hocket_graph *graph;
    hocket_node inputs[2], y;
    hocket_attr by = hocket_attr_float("by", 2), text = hocket_attr_string("by", "2");
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){2, 3}, &inputs[0]));
    OK(hocket_graph_input(graph, "factors", HOCKET_FLOAT32, 1, (int64_t[]){3}, &inputs[1]));
    assert_int_equal(hocket_graph_op(graph, "scale_rows", inputs, 2, &by, 1, &y),
                     HOCKET_ERR_INVALID);
    assert_string_equal(hocket_last_error(),
                        "scale_rows (node 2): x is float32[2,3], factors is float32[3]");
    assert_int_equal(hocket_graph_op(graph, "scale_rows", inputs, 2, &text, 1, &y),
                     HOCKET_ERR_INVALID);
    assert_string_equal(hocket_last_error(), "scale_rows (node 2): the attribute 'by' is a string, "
                                             "it must be a float");
    hocket_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_own_operation_runs_in_every_mode),
        cmocka_unit_test(its_own_refusals_name_it),
    };
    return cmocka_run_group_tests(tests, register_scale_rows, NULL);
}
