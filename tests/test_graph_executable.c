/* Executables: modes, plans, tensors, what is evaluated when. */
#include <hocket/graph.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                \
    do {                                                                        \
        if ((call) != HOCKET_OK)                                                \
            fail_msg("line %d: %s", __LINE__, hocket_last_error());             \
    } while (0)

static const int64_t four[1] = {4};

/* --- An ordered operation that writes down when it runs --- */

static char journal[64];

static hocket_status infer_note(hocket_op_call *call)
{
    call->output_type = call->input_types[0];
    return HOCKET_OK;
}

static hocket_status run_note(hocket_op_call *call)
{
    size_t length = strlen(journal);
    journal[length] = (char)('0' + hocket_attrs_int(&call->attributes, "mark", 0));
    journal[length + 1] = '\0';
    if (journal[length] == '9')
        return hocket_op_error(call, HOCKET_ERR_BACKEND, "nine is not allowed");
    memcpy(call->output, call->inputs[0], hocket_type_bytes(&call->output_type));
    return HOCKET_OK;
}

static int register_note(void **state)
{
    static const hocket_attr_def attributes[] = {{"mark", HOCKET_ATTR_INT, true}};
    const hocket_op_def def = {.size = sizeof def, .name = "note", .min_inputs = 1, .max_inputs = 1,
                               .attributes = attributes, .attribute_count = 1,
                               .flags = HOCKET_OP_ORDERED, .infer = infer_note};
    (void)state;
    return hocket_op_register(&def) != HOCKET_OK ||
           hocket_kernel_register("note", "cpu", run_note, NULL) != HOCKET_OK;
}

static hocket_node note(hocket_graph *graph, hocket_node x, int mark)
{
    hocket_attr attribute = hocket_attr_int("mark", mark);
    hocket_node result;
    OK(hocket_graph_op(graph, "note", &x, 1, &attribute, 1, &result));
    return result;
}

/* p = note 1 of x, q = note 2 of x, r = x + x before all notes; note 3 is nobody's output. */
static hocket_executable *compile_notes(hocket_mode mode)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node x, r;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, four, &x));
    OK(hocket_graph_add(graph, x, x, &r));
    OK(hocket_graph_output(graph, "p", note(graph, x, 1)));
    OK(hocket_graph_output(graph, "q", note(graph, x, 2)));
    note(graph, x, 3);
    OK(hocket_graph_output(graph, "r", r));
    OK(hocket_executable_compile(graph, "cpu", mode, &executable));
    hocket_graph_free(graph);
    journal[0] = '\0';
    return executable;
}

static void set_and_run(hocket_executable *executable)
{
    const float x[4] = {1, 2, 3, 4};
    OK(hocket_executable_set(executable, "x", x, sizeof x));
    OK(hocket_executable_run(executable));
}

static void lazy_runs_ordered_operations_in_the_order_of_the_graph(void **state)
{
    (void)state;
    float y[4];
    hocket_executable *executable = compile_notes(HOCKET_LAZY);
    set_and_run(executable);
    assert_string_equal(journal, "");
    OK(hocket_executable_read(executable, "r", y, sizeof y));
    assert_string_equal(journal, ""); /* r was built before all notes */
    assert_true(y[3] == 8);
    OK(hocket_executable_read(executable, "q", y, sizeof y));
    assert_string_equal(journal, "12");
    OK(hocket_executable_read(executable, "p", y, sizeof y));
    assert_string_equal(journal, "12");
    OK(hocket_executable_finish(executable));
    OK(hocket_executable_finish(executable));
    assert_string_equal(journal, "123");
    hocket_executable_free(executable);
}

static void lazy_completes_a_run_before_the_next(void **state)
{
    (void)state;
    float y[4];
    hocket_executable *executable = compile_notes(HOCKET_LAZY);
    set_and_run(executable);
    set_and_run(executable);
    assert_string_equal(journal, "123");
    OK(hocket_executable_read(executable, "p", y, sizeof y));
    assert_string_equal(journal, "1231");
    hocket_executable_free(executable);
}

static void eager_and_compiled_run_everything_at_once(void **state)
{
    (void)state;
    const hocket_mode modes[] = {HOCKET_EAGER, HOCKET_COMPILED};
    for (int i = 0; i < 2; i++) {
        hocket_executable *executable = compile_notes(modes[i]);
        set_and_run(executable);
        assert_string_equal(journal, "123");
        set_and_run(executable);
        assert_string_equal(journal, "123123");
        hocket_executable_free(executable);
    }
}

static void a_failing_kernel_fails_the_run_and_not_the_next(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_graph *graph;
        hocket_executable *executable;
        hocket_node x;
        float values[4] = {0}, y[4];
        OK(hocket_graph_create(&graph));
        OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, four, &x));
        OK(hocket_graph_output(graph, "y", note(graph, x, 9)));
        OK(hocket_executable_compile(graph, "cpu", mode, &executable));
        for (int run = 0; run < 2; run++) {
            OK(hocket_executable_set(executable, "x", values, sizeof values));
            hocket_status status = hocket_executable_run(executable);
            if (mode == HOCKET_LAZY) {
                assert_int_equal(status, HOCKET_OK);
                status = hocket_executable_read(executable, "y", y, sizeof y);
            }
            assert_int_equal(status, HOCKET_ERR_BACKEND);
            assert_string_equal(hocket_last_error(), "note (node 1): nine is not allowed");
            assert_int_equal(hocket_executable_read(executable, "y", y, sizeof y),
                             HOCKET_ERR_BACKEND);
            assert_non_null(strstr(hocket_last_error(), "the last run failed: note (node 1)"));
        }
        hocket_executable_free(executable);
        hocket_graph_free(graph);
    }
}

/* --- Plans --- */

enum { LAYERS = 20, WIDTH = 256 };

/* A chain: y = tanh(... tanh(tanh(x) + x) ... + x). */
static hocket_graph *build_chain(void)
{
    hocket_graph *graph;
    hocket_node x, y;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){WIDTH}, &x));
    y = x;
    for (int i = 0; i < LAYERS; i++) {
        OK(hocket_graph_tanh(graph, y, &y));
        OK(hocket_graph_add(graph, y, x, &y));
    }
    OK(hocket_graph_output(graph, "y", y));
    return graph;
}

static void a_plan_uses_buffers_again_and_modes_agree(void **state)
{
    (void)state;
    float results[3][WIDTH], x[WIDTH];
    hocket_graph *graph = build_chain();
    for (int mode = 0; mode < 3; mode++) {
        hocket_executable *executable;
        OK(hocket_executable_compile(graph, "cpu", (hocket_mode)mode, &executable));
        for (int run = 0; run < 3; run++) {
            for (int i = 0; i < WIDTH; i++)
                x[i] = (float)(i + run) / WIDTH;
            OK(hocket_executable_set(executable, "x", x, sizeof x));
            OK(hocket_executable_run(executable));
            OK(hocket_executable_read(executable, "y", results[mode], sizeof x));
        }
        if (mode == HOCKET_COMPILED)
            assert_int_equal(hocket_executable_planned_bytes(executable), sizeof x);
        hocket_executable_free(executable);
    }
    assert_memory_equal(results[0], results[1], sizeof x);
    assert_memory_equal(results[0], results[2], sizeof x);
    hocket_graph_free(graph);
}

/* Values that are needed for long must not be written over, nor what a kernel still reads: each
 * power is the transposed tanh of the one before (transpose cannot work in place), and
 * y = p0 - (p2 - (p4 - ...)) uses them last to first. */
static void a_plan_keeps_values_until_their_last_use(void **state)
{
    (void)state;
    float results[2][15], values[15];
    hocket_graph *graph;
    hocket_node x, powers[9], sum;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){3, 5}, &x));
    for (int i = 0; i < 9; i++) {
        OK(hocket_graph_tanh(graph, i > 0 ? powers[i - 1] : x, &powers[i]));
        OK(hocket_graph_transpose(graph, powers[i], NULL, &powers[i]));
    }
    sum = powers[8];
    for (int i = 6; i >= 0; i -= 2)
        OK(hocket_graph_subtract(graph, powers[i], sum, &sum));
    OK(hocket_graph_output(graph, "y", sum));
    for (int i = 0; i < 15; i++)
        values[i] = (float)i / 4 - 2;
    for (int i = 0; i < 2; i++) {
        hocket_executable *executable;
        OK(hocket_executable_compile(graph, "cpu", i ? HOCKET_COMPILED : HOCKET_EAGER,
                                     &executable));
        OK(hocket_executable_set(executable, "x", values, sizeof values));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", results[i], sizeof results[i]));
        hocket_executable_free(executable);
    }
    assert_memory_equal(results[0], results[1], sizeof results[0]);
    hocket_graph_free(graph);
}

/* --- Tensors --- */

/* A counter that lives on the device: next = state + step. */
static hocket_executable *compile_counter(hocket_mode mode)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node x, step, next;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "state", HOCKET_FLOAT32, 1, four, &x));
    OK(hocket_graph_param(graph, "step", HOCKET_FLOAT32, 0, NULL, &step));
    OK(hocket_graph_add(graph, x, step, &next));
    OK(hocket_graph_output(graph, "next", next));
    OK(hocket_executable_compile(graph, "cpu", mode, &executable));
    hocket_graph_free(graph);
    const float by = 1;
    OK(hocket_executable_set(executable, "step", &by, sizeof by));
    return executable;
}

static void an_output_is_the_next_input_without_leaving_the_device(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_executable *executable = compile_counter(mode);
        const float start[4] = {0, 10, 20, 30};
        float y[4];
        hocket_tensor *tensor, *first = NULL;
        OK(hocket_tensor_create("cpu", HOCKET_FLOAT32, 1, four, start, &tensor));
        for (int run = 0; run < 5; run++) {
            OK(hocket_executable_bind(executable, "state", tensor));
            hocket_tensor_free(tensor);
            OK(hocket_executable_run(executable));
            OK(hocket_executable_output(executable, "next", &tensor));
            if (run == 0)
                first = hocket_tensor_retain(tensor);
        }
        OK(hocket_tensor_read(tensor, y, sizeof y));
        assert_true(y[0] == 5 && y[3] == 35);
        OK(hocket_tensor_read(first, y, sizeof y)); /* kept: no later run may have changed it */
        assert_true(y[0] == 1 && y[3] == 31);
        hocket_tensor_free(first);
        hocket_executable_free(executable);
        OK(hocket_tensor_read(tensor, y, sizeof y)); /* outlives its executable */
        assert_true(y[1] == 15);
        hocket_tensor_free(tensor);
    }
}

static int released;

static void release(void *handle, void *context)
{
    (void)handle;
    released += *(int *)context;
}

static void wrapped_memory_is_used_where_it_is_and_given_back_once(void **state)
{
    (void)state;
    float memory[4] = {1, 2, 3, 4}, y[4];
    int one = 1;
    hocket_type type;
    hocket_tensor *tensor;
    hocket_executable *executable = compile_counter(HOCKET_COMPILED);
    OK(hocket_type_make(HOCKET_FLOAT32, 1, four, &type));
    OK(hocket_tensor_wrap("cpu", &type, memory, release, &one, &tensor));
    assert_ptr_equal(hocket_tensor_handle(tensor), memory);
    assert_string_equal(hocket_tensor_device(tensor), "cpu");
    OK(hocket_executable_bind(executable, "state", tensor));
    memory[0] = 7;
    OK(hocket_executable_run(executable));
    OK(hocket_executable_read(executable, "next", y, sizeof y));
    assert_true(y[0] == 8 && y[1] == 3);
    assert_int_equal(released, 0);
    hocket_tensor_free(tensor);
    hocket_executable_free(executable);
    assert_int_equal(released, 1);
}

/* Nobody but the run holds the input: its memory becomes the output's. Held by the caller, or
 * wrapped, it stays as it is. */
static void a_value_nobody_needs_is_written_over(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_executable *executable = compile_counter(mode);
        const float start[4] = {0, 10, 20, 30};
        hocket_tensor *tensor, *result;
        float y[4];
        OK(hocket_tensor_create("cpu", HOCKET_FLOAT32, 1, four, start, &tensor));
        void *memory = hocket_tensor_handle(tensor);
        for (int run = 0; run < 4; run++) {
            bool held = run >= 2;
            hocket_tensor *before = tensor;
            OK(hocket_executable_bind(executable, "state", tensor));
            if (!held)
                hocket_tensor_free(tensor);
            OK(hocket_executable_run(executable));
            OK(hocket_executable_output(executable, "next", &result));
            if (mode != HOCKET_LAZY)
                assert_int_equal(hocket_tensor_handle(result) == memory, !held);
            if (held) {
                OK(hocket_tensor_read(before, y, sizeof y));
                assert_true(y[1] == 10 + (float)run);
                hocket_tensor_free(before);
            }
            tensor = result;
            memory = hocket_tensor_handle(tensor);
        }
        OK(hocket_tensor_read(tensor, y, sizeof y));
        assert_true(y[0] == 4 && y[3] == 34);
        hocket_tensor_free(tensor);
        hocket_executable_free(executable);
    }
}

static void inputs_and_constants_can_be_outputs(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_graph *graph;
        hocket_executable *executable;
        hocket_node x, half, ten, nothing;
        const float values[4] = {1, 2, 3, 4};
        float y[4];
        uint16_t bits;
        int8_t small;
        OK(hocket_graph_create(&graph));
        OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, four, &x));
        OK(hocket_graph_scalar(graph, HOCKET_BFLOAT16, 1.5, &half));
        OK(hocket_graph_scalar(graph, HOCKET_INT8, -10, &ten));
        OK(hocket_graph_constant(graph, HOCKET_FLOAT32, 1, (int64_t[]){0}, NULL, &nothing));
        OK(hocket_graph_output(graph, "x", x));
        OK(hocket_graph_output(graph, "again", x));
        OK(hocket_graph_output(graph, "half", half));
        OK(hocket_graph_output(graph, "ten", ten));
        OK(hocket_graph_output(graph, "nothing", nothing));
        OK(hocket_executable_compile(graph, "cpu", mode, &executable));
        OK(hocket_executable_set(executable, "x", values, sizeof values));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "again", y, sizeof y));
        assert_memory_equal(y, values, sizeof y);
        OK(hocket_executable_read(executable, "half", &bits, sizeof bits));
        assert_int_equal(bits, 0x3fc0);
        OK(hocket_executable_read(executable, "ten", &small, sizeof small));
        assert_int_equal(small, -10);
        OK(hocket_executable_read(executable, "nothing", NULL, 0));
        hocket_executable_free(executable);
        hocket_graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lazy_runs_ordered_operations_in_the_order_of_the_graph),
        cmocka_unit_test(lazy_completes_a_run_before_the_next),
        cmocka_unit_test(eager_and_compiled_run_everything_at_once),
        cmocka_unit_test(a_failing_kernel_fails_the_run_and_not_the_next),
        cmocka_unit_test(a_plan_uses_buffers_again_and_modes_agree),
        cmocka_unit_test(a_plan_keeps_values_until_their_last_use),
        cmocka_unit_test(an_output_is_the_next_input_without_leaving_the_device),
        cmocka_unit_test(wrapped_memory_is_used_where_it_is_and_given_back_once),
        cmocka_unit_test(a_value_nobody_needs_is_written_over),
        cmocka_unit_test(inputs_and_constants_can_be_outputs),
    };
    return cmocka_run_group_tests(tests, register_note, NULL);
}
