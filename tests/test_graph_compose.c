/* Devices that compose lazy arrays: what the graph layer asks of them, on a toy of one.
 *
 * The toy's array is a scalar with a list of what it is made of. Evaluating a "mark" writes its
 * number into the journal, so the order of evaluation can be read. */
#include "graph/device.h"
#include "graph/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                \
    do {                                                                        \
        if ((call) != HOCKET_OK)                                                \
            fail_msg("line %d: %s", __LINE__, hocket_last_error());             \
    } while (0)

typedef struct lazy {
    int references;
    bool done;
    float value;
    int mark;
    struct lazy *parts[2], *after;
} lazy;

static char journal[64];
static int alive, composed, evaluations;

static lazy *retain(lazy *array)
{
    if (array)
        array->references++;
    return array;
}

static void release(void *handle)
{
    lazy *array = handle;
    if (array == NULL || --array->references > 0)
        return;
    release(array->parts[0]);
    release(array->parts[1]);
    release(array->after);
    free(array);
    alive--;
}

static lazy *make(lazy *left, lazy *right, lazy *after, int mark)
{
    lazy *array = calloc(1, sizeof *array);
    assert_non_null(array);
    *array = (lazy){.references = 1, .mark = mark};
    array->parts[0] = retain(left);
    array->parts[1] = retain(right);
    array->after = retain(after);
    alive++;
    return array;
}

static hocket_status evaluate_one(lazy *array)
{
    if (array->done)
        return HOCKET_OK;
    lazy *needed[3] = {array->after, array->parts[0], array->parts[1]};
    for (int i = 0; i < 3; i++) {
        hocket_status status = needed[i] ? evaluate_one(needed[i]) : HOCKET_OK;
        if (status != HOCKET_OK)
            return status;
    }
    if (array->mark == 9)
        return hocket_op_error(&(hocket_op_call){.op = "mark", .node = 1}, HOCKET_ERR_BACKEND,
                               "nine is not allowed");
    if (array->mark)
        journal[strlen(journal)] = (char)('0' + array->mark);
    for (int i = 0; i < 2; i++)
        array->value += array->parts[i] ? array->parts[i]->value : 0;
    array->done = true;
    return HOCKET_OK;
}

/* --- The device --- */

static hocket_status upload(const hocket_type *type, const void *data, void **handle)
{
    lazy *array = make(NULL, NULL, NULL, 0);
    assert_int_equal(hocket_type_bytes(type), sizeof array->value);
    assert_non_null(data);
    memcpy(&array->value, data, sizeof array->value);
    array->done = true;
    *handle = array;
    return HOCKET_OK;
}

static hocket_status evaluate(void *const *handles, int count)
{
    evaluations++;
    hocket_status status = HOCKET_OK;
    for (int i = 0; status == HOCKET_OK && i < count; i++)
        status = evaluate_one(handles[i]);
    return status;
}

static hocket_status read_out(void *handle, const hocket_type *type, void *buffer)
{
    (void)type;
    hocket_status status = evaluate_one(handle);
    memcpy(buffer, &((lazy *)handle)->value, sizeof(float));
    return status;
}

static hocket_status compose_add(hocket_op_call *call)
{
    composed++;
    assert_null(call->output);
    call->output = make(call->inputs[0], call->inputs[1], NULL, 0);
    return HOCKET_OK;
}

static hocket_status compose_mark(hocket_op_call *call)
{
    int mark = (int)hocket_attrs_int(&call->attributes, "mark", 0);
    composed++;
    if (mark == 8)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "eight cannot be composed");
    call->output = make(call->inputs[0], NULL, call->after, mark);
    return HOCKET_OK;
}

/* --- Compiled mode: the toy composes in every run --- */

typedef struct program {
    hk_compose_fn compose;
    void *context;
} program;

static hocket_status trace(hk_compose_fn compose, void *context, int input_count, int result_count,
                           void **handle)
{
    assert_int_equal(input_count, 1);
    assert_true(result_count > 0);
    program *made = malloc(sizeof *made);
    assert_non_null(made);
    *made = (program){compose, context};
    *handle = made;
    return HOCKET_OK;
}

static hocket_status run_program(void *handle, void *const *inputs, void **results)
{
    const program *traced = handle;
    return traced->compose(traced->context, inputs, results);
}

static const hk_kernel kernels[] = {{"add", compose_add, NULL}, {"mark", compose_mark, NULL}};

static const hk_device toy = {
    .size = sizeof(hk_device), .name = "toy", .composes = true, .kernels = kernels,
    .kernel_count = 2, .upload = upload, .read = read_out, .release = release,
    .evaluate = evaluate, .trace = trace, .run_program = run_program, .free_program = free,
};

static hocket_status infer_mark(hocket_op_call *call)
{
    call->output_type = call->input_types[0];
    return HOCKET_OK;
}

static int register_all(void **state)
{
    static const hocket_attr_def attributes[] = {{"mark", HOCKET_ATTR_INT, true}};
    const hocket_op_def def = {.size = sizeof def, .name = "mark", .min_inputs = 1, .max_inputs = 1,
                               .attributes = attributes, .attribute_count = 1,
                               .flags = HOCKET_OP_ORDERED, .infer = infer_mark};
    (void)state;
    return hk_device_add(&toy) != HOCKET_OK || hocket_op_register(&def) != HOCKET_OK;
}

/* --- The tests --- */

static hocket_node mark(hocket_graph *graph, hocket_node x, int number)
{
    hocket_attr attribute = hocket_attr_int("mark", number);
    hocket_node result;
    OK(hocket_graph_op(graph, "mark", &x, 1, &attribute, 1, &result));
    return result;
}

/* p = mark `first` of x + x, q = mark 2 of x, mark 3 is nobody's output, r = p + q. */
static hocket_executable *compile(hocket_mode mode, int first)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node x, p, q, r;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 0, NULL, &x));
    OK(hocket_graph_add(graph, x, x, &p));
    p = mark(graph, p, first);
    q = mark(graph, x, 2);
    mark(graph, x, 3);
    OK(hocket_graph_add(graph, p, q, &r));
    OK(hocket_graph_output(graph, "p", p));
    OK(hocket_graph_output(graph, "q", q));
    OK(hocket_graph_output(graph, "r", r));
    OK(hocket_executable_compile(graph, "toy", mode, &executable));
    hocket_graph_free(graph);
    memset(journal, 0, sizeof journal);
    composed = evaluations = 0;
    return executable;
}

static void give(hocket_executable *executable, float x)
{
    OK(hocket_executable_set(executable, "x", &x, sizeof x));
}

static void running_composes_and_reading_evaluates(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        hocket_executable *executable = compile(i ? HOCKET_COMPILED : HOCKET_LAZY, 1);
        float y;
        give(executable, 2);
        OK(hocket_executable_run(executable));
        assert_int_equal(composed, 5);
        assert_int_equal(evaluations, 0);
        OK(hocket_executable_read(executable, "q", &y, sizeof y));
        assert_string_equal(journal, "12"); /* 1 is earlier, though q does not need it */
        assert_true(y == 2);
        OK(hocket_executable_read(executable, "p", &y, sizeof y));
        OK(hocket_executable_read(executable, "r", &y, sizeof y));
        assert_true(y == 6);
        assert_string_equal(journal, "123"); /* r was built after 3 */
        assert_int_equal(composed, 5);
        hocket_executable_free(executable);
        assert_int_equal(alive, 0);
    }
}

static void eager_evaluates_as_it_composes(void **state)
{
    (void)state;
    hocket_executable *executable = compile(HOCKET_EAGER, 1);
    give(executable, 2);
    OK(hocket_executable_run(executable));
    assert_string_equal(journal, "123");
    assert_int_equal(evaluations, 5);
    hocket_executable_free(executable);
    assert_int_equal(alive, 0);
}

static void what_nobody_read_is_completed_before_the_next_run(void **state)
{
    (void)state;
    hocket_executable *executable = compile(HOCKET_LAZY, 1);
    hocket_tensor *kept;
    float y;
    give(executable, 2);
    OK(hocket_executable_run(executable));
    OK(hocket_executable_output(executable, "r", &kept));
    assert_string_equal(journal, "");
    give(executable, 3);
    OK(hocket_executable_run(executable));
    assert_string_equal(journal, "123");
    OK(hocket_executable_finish(executable));
    assert_string_equal(journal, "123123");
    hocket_executable_free(executable);
    OK(hocket_tensor_read(kept, &y, sizeof y));
    assert_true(y == 6);
    hocket_tensor_free(kept);
    assert_int_equal(alive, 0);
}

/* Once nothing but the arrays themselves holds an input, the device may write it in place. */
static void a_run_lets_go_of_its_inputs(void **state)
{
    (void)state;
    hocket_executable *executable = compile(HOCKET_LAZY, 1);
    hocket_tensor *tensor;
    float one = 1;
    OK(hocket_tensor_create("toy", HOCKET_FLOAT32, 0, NULL, &one, &tensor));
    lazy *array = retain(hocket_tensor_handle(tensor));
    OK(hocket_executable_bind(executable, "x", tensor));
    hocket_tensor_free(tensor);
    OK(hocket_executable_run(executable));
    assert_int_equal(array->references, 5); /* ours, twice in x + x, marks 2 and 3 */
    release(array);
    hocket_executable_free(executable);
    assert_int_equal(alive, 0);
}

static void failures_come_out_and_leave_nothing_behind(void **state)
{
    (void)state;
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        float y;
        hocket_executable *executable = compile(mode, 8);
        for (int run = 0; run < 2; run++) {
            give(executable, 1);
            assert_int_equal(hocket_executable_run(executable), HOCKET_ERR_INVALID);
            assert_string_equal(hocket_last_error(), "mark (node 2): eight cannot be composed");
        }
        hocket_executable_free(executable);
        executable = compile(mode, 9);
        for (int run = 0; run < 2; run++) {
            give(executable, 1);
            hocket_status status = hocket_executable_run(executable);
            if (mode != HOCKET_EAGER) {
                assert_int_equal(status, HOCKET_OK);
                status = hocket_executable_read(executable, "q", &y, sizeof y);
            }
            assert_int_equal(status, HOCKET_ERR_BACKEND);
            assert_non_null(strstr(hocket_last_error(), "nine is not allowed"));
        }
        hocket_executable_free(executable);
        assert_int_equal(alive, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_composes_and_reading_evaluates),
        cmocka_unit_test(eager_evaluates_as_it_composes),
        cmocka_unit_test(what_nobody_read_is_completed_before_the_next_run),
        cmocka_unit_test(a_run_lets_go_of_its_inputs),
        cmocka_unit_test(failures_come_out_and_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, register_all, NULL);
}
