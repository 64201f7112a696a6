/* Every refusal of the graph layer: its status, and the words that say what was wrong. */
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

#define FAILS(expected, words, call)                                            \
    do {                                                                        \
        hocket_status status_ = (call);                                         \
        if (status_ != (expected) || !strstr(hocket_last_error(), words))       \
            fail_msg("line %d: %s: '%s' lacks '%s'", __LINE__,                  \
                     hocket_status_name(status_), hocket_last_error(), words);  \
    } while (0)

#define INVALID(words, call) FAILS(HOCKET_ERR_INVALID, words, call)

typedef struct fixture {
    hocket_graph *graph;
    hocket_node f23, f45, i23, b23, f3, scalar, out;
} fixture;

static hocket_node input(hocket_graph *graph, const char *name, hocket_dtype dtype, int rank,
                         const int64_t *dims)
{
    hocket_node node;
    OK(hocket_graph_input(graph, name, dtype, rank, dims, &node));
    return node;
}

static int set_up(void **state)
{
    static fixture f;
    OK(hocket_graph_create(&f.graph));
    f.f23 = input(f.graph, "f23", HOCKET_FLOAT32, 2, (int64_t[]){2, 3});
    f.f45 = input(f.graph, "f45", HOCKET_FLOAT32, 2, (int64_t[]){4, 5});
    f.i23 = input(f.graph, "i23", HOCKET_INT32, 2, (int64_t[]){2, 3});
    f.b23 = input(f.graph, "b23", HOCKET_BOOL, 2, (int64_t[]){2, 3});
    f.f3 = input(f.graph, "f3", HOCKET_FLOAT32, 1, (int64_t[]){3});
    f.scalar = input(f.graph, "scalar", HOCKET_FLOAT32, 0, NULL);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    hocket_graph_free(f->graph);
    return 0;
}

static void shapes_and_dtypes_are_named(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph;
    hocket_node y;
    INVALID("matmul (node 6): left is float32[2,3], right is float32[4,5]: the left's 3 columns "
            "are not the right's 4 rows", hocket_graph_matmul(g, f->f23, f->f45, &y));
    INVALID("right is float32[4,5] transposed: the left's 3 columns are not the right's 5 rows",
            hocket_graph_linear(g, f->f23, f->f45, &y));
    INVALID("matmul (node 6): left is float32[2,3], right is float32[3]: both must have 2",
            hocket_graph_matmul(g, f->f23, f->f3, &y));
    INVALID("matmul (node 6): input 1 is int32[2,3], it takes floats",
            hocket_graph_matmul(g, f->f23, f->i23, &y));
    INVALID("add (node 6): left is float32[2,3], right is float32[4,5]: the shapes do not "
            "broadcast", hocket_graph_add(g, f->f23, f->f45, &y));
    INVALID("less (node 6): left is float32[2,3], right is int32[2,3]: the dtypes differ",
            hocket_graph_less(g, f->f23, f->i23, &y));
    INVALID("add (node 6): input 0 is bool[2,3], it takes integers and floats",
            hocket_graph_add(g, f->b23, f->b23, &y));
    INVALID("divide (node 6): input 0 is int32[2,3], it takes floats",
            hocket_graph_divide(g, f->i23, f->i23, &y));
    INVALID("exp (node 6): input 0 is int32[2,3]", hocket_graph_exp(g, f->i23, &y));
    INVALID("where (node 6): input 0 is float32[2,3], it takes bool",
            hocket_graph_where(g, f->f23, f->f23, f->f23, &y));
    INVALID("where (node 6): condition is bool[2,3], the values are float32[4,5]",
            hocket_graph_where(g, f->b23, f->f45, f->f45, &y));
    INVALID("cast (node 6): nothing can be cast to dtype 13 (complex64)",
            hocket_graph_cast(g, f->f23, HOCKET_COMPLEX64, &y));
    INVALID("nothing can be cast to dtype 77", hocket_graph_cast(g, f->f23, (hocket_dtype)77, &y));
    INVALID("rms_norm (node 6): x is float32[4,5], its weight is float32[3]",
            hocket_graph_rms_norm(g, f->f45, f->f3, 1e-5, &y));
    INVALID("layer_norm (node 6): x is float32[2,3], its bias is float32[4,5]",
            hocket_graph_layer_norm(g, f->f23, f->f3, f->f45, 1e-5, &y));
    INVALID("rms_norm (node 6): epsilon is -1", hocket_graph_rms_norm(g, f->f23, f->f3, -1, &y));
    INVALID("softmax (node 6): axis 2 is not one of float32[2,3], which has 2",
            hocket_graph_softmax(g, f->f23, 2, &y));
    INVALID("softmax (node 6): axis -1 is not one of float32[], which has 0",
            hocket_graph_softmax(g, f->scalar, -1, &y));
}

static void reductions_and_shape_operations_say_what_does_not_fit(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph;
    hocket_node y, none = input(g, "none", HOCKET_FLOAT32, 2, (int64_t[]){0, 3});
    const int64_t twice[2] = {0, -2}, five[1] = {5};
    INVALID("sum (node 7): axis 5 is not one", hocket_graph_sum(g, f->f23, five, 1, false, &y));
    INVALID("sum (node 7): axis 0 is there twice",
            hocket_graph_sum(g, f->f23, twice, 2, false, &y));
    INVALID("mean (node 7): input 0 is int32[2,3]",
            hocket_graph_mean(g, f->i23, NULL, 0, false, &y));
    INVALID("max (node 7): x is float32[0,3]: axis 0 has no elements",
            hocket_graph_max(g, none, NULL, 0, false, &y));
    INVALID("reshape (node 7): float32[2,3] cannot have the shape float32[4,-1]",
            hocket_graph_reshape(g, f->f23, 2, (int64_t[]){4, -1}, &y));
    INVALID("reshape (node 7): float32[2,3] cannot have the shape float32[-1,-1]",
            hocket_graph_reshape(g, f->f23, 2, (int64_t[]){-1, -1}, &y));
    INVALID("reshape (node 7): float32[2,3] cannot have the shape float32[5]",
            hocket_graph_reshape(g, f->f23, 1, five, &y));
    INVALID("reshape (node 7): 9 dimensions are more than 8",
            hocket_graph_reshape(g, f->f23, 9, (int64_t[9]){6, 1, 1, 1, 1, 1, 1, 1, 1}, &y));
    INVALID("transpose (node 7): axis 0 is there twice",
            hocket_graph_transpose(g, f->f23, twice, &y));
    INVALID("broadcast_to (node 7): float32[2,3] does not repeat to float32[5]",
            hocket_graph_broadcast_to(g, f->f23, 1, five, &y));
    INVALID("slice (node 7): x is float32[2,3], of axis 1 are asked 0 to 4 in steps of 1",
            hocket_graph_slice(g, f->f23, (int64_t[]){0, 0}, (int64_t[]){2, 4}, NULL, &y));
    INVALID("of axis 0 are asked 0 to 2 in steps of 0",
            hocket_graph_slice(g, f->f23, (int64_t[]){0, 0}, (int64_t[]){2, 3}, (int64_t[]){0, 1},
                               &y));
    INVALID("concatenate (node 7): input 0 is float32[2,3], input 1 is float32[4,5]",
            hocket_graph_concatenate(g, (hocket_node[]){f->f23, f->f45}, 2, 0, &y));
    INVALID("concatenate (node 7): input 0 is float32[2,3], input 1 is int32[2,3]",
            hocket_graph_concatenate(g, (hocket_node[]){f->f23, f->i23}, 2, 0, &y));
    INVALID("concatenate (node 7): it takes 1 to 256 inputs, not 0",
            hocket_graph_concatenate(g, NULL, 0, 0, &y));
    INVALID("take (node 7): input 1 is float32[3], it takes int32 and int64",
            hocket_graph_take(g, f->f23, f->f3, 0, &y));
}

static void operations_of_a_decoder_say_what_does_not_fit(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph;
    hocket_node y;
    hocket_node position = input(g, "position", HOCKET_INT32, 0, NULL);
    hocket_node q = input(g, "q", HOCKET_FLOAT32, 3, (int64_t[]){5, 2, 8});
    hocket_node k = input(g, "k", HOCKET_FLOAT32, 3, (int64_t[]){2, 9, 8});
    hocket_node odd = input(g, "odd", HOCKET_FLOAT32, 3, (int64_t[]){2, 10, 7});
    hocket_node half = input(g, "half", HOCKET_FLOAT16, 3, (int64_t[]){2, 9, 8});
    hocket_attr few[] = {hocket_attr_float("scale", 1),
                         hocket_attr_ints("heads", (int64_t[]){0, 0, 1}, 3)};
    hocket_attr wrong[] = {hocket_attr_float("scale", 1),
                           hocket_attr_ints("heads", (int64_t[]){0, 0, 1, 1, 2}, 5)};
    hocket_node qkv[] = {q, k, k, position};
    INVALID("rope (node 11): x is float32[2,3], it must be [heads, rows, size]",
            hocket_graph_rope(g, f->f23, position, 10000, false, &y));
    INVALID("rope (node 11): position is float32[], it must be int32[]",
            hocket_graph_rope(g, q, f->scalar, 10000, false, &y));
    INVALID("rope (node 11): x is float32[2,10,7]: pairs are rotated",
            hocket_graph_rope(g, odd, position, 10000, false, &y));
    INVALID("rope (node 11): base is 0", hocket_graph_rope(g, q, position, 0, false, &y));
    INVALID("rope (node 11): x is float32[5,2,8], factors is float32[3]: it must be float32[4]",
            hocket_graph_op(g, "rope", (hocket_node[]){q, position, f->f3}, 3,
                            &(hocket_attr){.name = "base", .kind = HOCKET_ATTR_INT, .integer = 9},
                            1, &y));
    INVALID("cache_update (node 11): cache is float32[2,9,8], rows is float16[2,9,8]: the dtypes",
            hocket_graph_cache_update(g, k, half, position, &y));
    INVALID("cache_update (node 11): cache is float32[2,9,8], rows is float32[5,2,8]: they must "
            "have the same heads", hocket_graph_cache_update(g, k, q, position, &y));
    INVALID("attention (node 11): q is float32[5,2,8], k is float32[2,9,8]: 5 heads cannot be",
            hocket_graph_attention(g, q, k, k, position, 1, &y));
    INVALID("attention (node 11): q is float32[5,2,8], k is float32[2,10,7], v is float32[2,9,8]",
            hocket_graph_attention(g, q, odd, k, position, 1, &y));
    INVALID("attention (node 11): k is float32[2,3], it must be [heads, capacity, size]",
            hocket_graph_attention(g, q, f->f23, k, position, 1, &y));
    INVALID("q is float32[5,2,8], 'heads' names 3 heads of k",
            hocket_graph_op(g, "attention", qkv, 4, few, 2, &y));
    INVALID("'heads' lets head 4 of q read head 2 of k, which is float32[2,9,8]",
            hocket_graph_op(g, "attention", qkv, 4, wrong, 2, &y));
    INVALID("attention (node 11): it needs the attribute 'scale'",
            hocket_graph_op(g, "attention", qkv, 4, NULL, 0, &y));
}

static void quantized_weights_and_argmax_say_what_does_not_fit(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph;
    hocket_node y;
    hocket_node x = input(g, "x", HOCKET_FLOAT32, 2, (int64_t[]){1, 64});
    hocket_node words = input(g, "words", HOCKET_UINT32, 2, (int64_t[]){5, 8});
    hocket_node scales = input(g, "scales", HOCKET_FLOAT16, 2, (int64_t[]){5, 2});
    hocket_node empty = input(g, "empty", HOCKET_FLOAT32, 2, (int64_t[]){2, 0});
    INVALID("quantized_linear (node 10): words is uint32[5,8], scales is float16[5,2]: with 8 bits "
            "in groups of 32",
            hocket_graph_quantized_linear(g, x, words, scales, scales, 32, 8, &y));
    INVALID("quantized_linear (node 10): bits is 3, it must be 4 or 8",
            hocket_graph_quantized_linear(g, x, words, scales, scales, 32, 3, &y));
    INVALID("quantized_linear (node 10): group is 48",
            hocket_graph_quantized_linear(g, x, words, scales, scales, 48, 4, &y));
    INVALID("biases is float32[2,3]: scales and biases must have one row for each",
            hocket_graph_quantized_linear(g, x, words, scales, f->f23, 32, 4, &y));
    INVALID("words is float32[2,3], scales is float16[5,2], biases is float16[5,2]: words must be",
            hocket_graph_quantized_linear(g, x, f->f23, scales, scales, 32, 4, &y));
    INVALID("quantized_linear (node 10): x is float32[2,0]: it must be float16, bfloat16 or "
            "float32, its rows of 64",
            hocket_graph_quantized_linear(g, empty, words, scales, scales, 32, 4, &y));
    INVALID("dequantize (node 10): bits is 5",
            hocket_graph_dequantize(g, words, scales, scales, 32, 5, &y));
    OK(hocket_graph_quantized_linear(g, x, words, scales, scales, 32, 4, &y));
    INVALID("argmax (node 11): axis 2 is not one of", hocket_graph_argmax(g, x, 2, &y));
    INVALID("argmax (node 11): x is float32[2,0]: axis 1 has no elements",
            hocket_graph_argmax(g, empty, -1, &y));
    INVALID("argmax (node 11): input 0 is bool[2,3]", hocket_graph_argmax(g, f->b23, 0, &y));
}

static void operations_and_attributes_must_exist(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph;
    hocket_node y;
    hocket_attr wrong = hocket_attr_int("axes", 1), text = hocket_attr_string("axis", "1");
    hocket_attr twice[2] = {hocket_attr_int("axis", 1), hocket_attr_int("axis", 0)};
    INVALID("there is no operation 'frobnicate'",
            hocket_graph_op(g, "frobnicate", &f->f23, 1, NULL, 0, &y));
    INVALID("add (node 6): it takes 2 to 2 inputs, not 1",
            hocket_graph_op(g, "add", &f->f23, 1, NULL, 0, &y));
    INVALID("softmax (node 6): it takes no attribute 'axes'; those it takes: axis",
            hocket_graph_op(g, "softmax", &f->f23, 1, &wrong, 1, &y));
    INVALID("exp (node 6): it takes no attribute 'axes'; those it takes: none",
            hocket_graph_op(g, "exp", &f->f23, 1, &wrong, 1, &y));
    INVALID("softmax (node 6): the attribute 'axis' is a string, it must be an int",
            hocket_graph_op(g, "softmax", &f->f23, 1, &text, 1, &y));
    INVALID("softmax (node 6): the attribute 'axis' is there twice",
            hocket_graph_op(g, "softmax", &f->f23, 1, twice, 2, &y));
    INVALID("reshape (node 6): it needs the attribute 'dims', a list of ints",
            hocket_graph_op(g, "reshape", &f->f23, 1, NULL, 0, &y));
    text = hocket_attr_string("approximate", "maybe");
    INVALID("gelu (node 6): approximate is 'maybe'",
            hocket_graph_op(g, "gelu", &f->f23, 1, &text, 1, &y));
}

static void inputs_and_outputs_have_names_and_types(void **state)
{
    fixture *f = *state;
    hocket_graph *g = f->graph, *other;
    hocket_node y, foreign;
    INVALID("input 'f23': the graph has an input or parameter of this name",
            hocket_graph_input(g, "f23", HOCKET_FLOAT32, 0, NULL, &y));
    INVALID("param: it needs a name", hocket_graph_param(g, "", HOCKET_FLOAT32, 0, NULL, &y));
    INVALID("input 'x': a tensor's type: dimension 1 is -2",
            hocket_graph_input(g, "x", HOCKET_FLOAT32, 2, (int64_t[]){1, -2}, &y));
    INVALID("99 is no dtype", hocket_graph_input(g, "x", (hocket_dtype)99, 0, NULL, &y));
    INVALID("rank 9 is not in 0..8",
            hocket_graph_input(g, "x", HOCKET_INT8, 9, (int64_t[9]){1}, &y));
    INVALID("has more bytes than memory can have",
            hocket_graph_input(g, "x", HOCKET_INT8, 3, (int64_t[]){INT64_MAX, 0, 2}, &y));
    INVALID("constant float32[3]: data is NULL",
            hocket_graph_constant(g, HOCKET_FLOAT32, 1, (int64_t[]){3}, NULL, &y));
    INVALID("scalar: 1e+300 cannot be a int32", hocket_graph_scalar(g, HOCKET_INT32, 1e300, &y));
    OK(hocket_graph_create(&other));
    foreign = input(other, "x", HOCKET_FLOAT32, 0, NULL);
    INVALID("exp (node 6): input 0 is not of this graph", hocket_graph_exp(g, foreign, &y));
    INVALID("output 'y': the node is not of this graph", hocket_graph_output(g, "y", foreign));
    hocket_graph_free(other);
    OK(hocket_graph_output(g, "y", f->f23));
    INVALID("output 'y': the graph has one of this name", hocket_graph_output(g, "y", f->f45));
}

static void a_failed_node_carries_the_first_failure_along(void **state)
{
    fixture *f = *state;
    hocket_node y;
    hocket_graph_add(f->graph, f->f23, f->f45, &y);
    assert_int_equal(y.number, -1);
    assert_null(hocket_graph_type(f->graph, y));
    INVALID("add (node 6): left is", hocket_graph_exp(f->graph, y, &y));
    INVALID("add (node 6): left is", hocket_graph_sum(f->graph, y, NULL, 0, false, &y));
    INVALID("output 'y' has failed: add (node 6): left is",
            hocket_graph_output(f->graph, "y", y));
    OK(hocket_graph_exp(f->graph, f->f23, &y)); /* the graph itself lives on */
}

/* --- Executables --- */

static hocket_executable *compile(void)
{
    hocket_executable *executable;
    hocket_graph *graph;
    hocket_node x, w, y;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 2, (int64_t[]){1, 2}, &x));
    OK(hocket_graph_param(graph, "w", HOCKET_FLOAT32, 2, (int64_t[]){2, 1}, &w));
    OK(hocket_graph_matmul(graph, x, w, &y));
    OK(hocket_graph_output(graph, "y", y));
    OK(hocket_executable_compile(graph, "cpu", HOCKET_COMPILED, &executable));
    hocket_graph_free(graph);
    return executable;
}

static void executables_refuse_what_is_missing_or_misshapen(void **state)
{
    hocket_executable *e = compile();
    (void)state;
    const float values[2] = {1, 2};
    float y;
    hocket_tensor *tensor;
    INVALID("hocket_executable_run: nothing was set for input 'x', param 'w'",
            hocket_executable_run(e));
    INVALID("hocket_executable_read: the executable has not been run",
            hocket_executable_read(e, "y", &y, sizeof y));
    INVALID("hocket_executable_set: the graph has no input or parameter 'z'",
            hocket_executable_set(e, "z", values, sizeof values));
    INVALID("hocket_executable_set: input 'x' is float32[1,2] of 8 bytes, the data is 4",
            hocket_executable_set(e, "x", values, 4));
    OK(hocket_tensor_create("cpu", HOCKET_FLOAT32, 1, (int64_t[]){2}, values, &tensor));
    INVALID("hocket_executable_bind: param 'w' is float32[2,1] on cpu, the tensor is float32[2] on "
            "cpu", hocket_executable_bind(e, "w", tensor));
    hocket_tensor_free(tensor);
    OK(hocket_executable_set(e, "w", values, sizeof values));
    OK(hocket_executable_set(e, "x", values, sizeof values));
    OK(hocket_executable_run(e));
    INVALID("hocket_executable_read: the graph has no output 'q'",
            hocket_executable_read(e, "q", &y, sizeof y));
    INVALID("hocket_executable_read: output 'y' is float32[1,1] of 4 bytes, the buffer is 8",
            hocket_executable_read(e, "y", &y, 8));
    OK(hocket_executable_read(e, "y", &y, sizeof y));
    assert_true(y == 5);
    INVALID("nothing was set for input 'x'", hocket_executable_run(e)); /* used up; w stays */
    OK(hocket_executable_read(e, "y", &y, sizeof y));
    hocket_executable_free(e);
}

static void compiling_needs_outputs_a_device_and_kernels(void **state)
{
    fixture *f = *state;
    const hocket_op_def def = {.size = sizeof def, .name = "no_kernel", .min_inputs = 0,
                               .max_inputs = 1, .infer = NULL};
    hocket_op_def bad = def;
    hocket_executable *e;
    INVALID("the graph has no outputs",
            hocket_executable_compile(f->graph, "cpu", HOCKET_EAGER, &e));
    assert_null(e);
    OK(hocket_graph_output(f->graph, "y", f->f23));
    FAILS(HOCKET_ERR_UNAVAILABLE, "there is no device 'gpu'; there are cpu and mlx",
          hocket_executable_compile(f->graph, "gpu", HOCKET_EAGER, &e));
    INVALID("7 is no mode", hocket_executable_compile(f->graph, "cpu", (hocket_mode)7, &e));
    FAILS(HOCKET_ERR_UNAVAILABLE, "there is no device 'gpu'",
          hocket_tensor_create("gpu", HOCKET_INT8, 0, NULL, "", &(hocket_tensor *){NULL}));
    INVALID("an operation needs infer", hocket_op_register(&def));
    bad.size = 3;
    INVALID("size is 3, set it to sizeof(hocket_op_def)", hocket_op_register(&bad));
}

static hocket_status infer_nothing(hocket_op_call *call)
{
    call->output_type = (hocket_type){.dtype = HOCKET_INT8, .rank = 12};
    return HOCKET_OK;
}

static hocket_status no_kernel(hocket_op_call *call)
{
    (void)call;
    return HOCKET_OK;
}

static void names_are_registered_once(void **state)
{
    fixture *f = *state;
    hocket_node y;
    hocket_op_def def = {.size = sizeof def, .name = "strange", .min_inputs = 0, .max_inputs = 0,
                         .infer = infer_nothing};
    OK(hocket_op_register(&def));
    INVALID("there is an operation 'strange' already", hocket_op_register(&def));
    def.name = "add";
    INVALID("there is an operation 'add' already", hocket_op_register(&def));
    INVALID("strange (node 6): its result: rank 12 is not in 0..8",
            hocket_graph_op(f->graph, "strange", NULL, 0, NULL, 0, &y));
    INVALID("there is no operation 'unheard'",
            hocket_kernel_register("unheard", "cpu", no_kernel, NULL));
    INVALID("'add' has a kernel for the device 'cpu' already",
            hocket_kernel_register("add", "cpu", no_kernel, NULL));
    FAILS(HOCKET_ERR_UNAVAILABLE, "hocket_kernel_register: there is no device 'gpu'",
          hocket_kernel_register("strange", "gpu", no_kernel, NULL));
    OK(hocket_kernel_register("strange", "cpu", no_kernel, NULL));
    INVALID("'strange' has a kernel for the device 'cpu' already",
            hocket_kernel_register("strange", "cpu", no_kernel, NULL));
}

static hocket_status infer_same(hocket_op_call *call)
{
    call->output_type = call->input_types[0];
    return HOCKET_OK;
}

static void an_operation_without_a_kernel_does_not_compile(void **state)
{
    fixture *f = *state;
    hocket_executable *e;
    hocket_node y;
    const hocket_op_def def = {.size = sizeof def, .name = "kernelless", .min_inputs = 1,
                               .max_inputs = 1, .infer = infer_same};
    OK(hocket_op_register(&def));
    OK(hocket_graph_op(f->graph, "kernelless", &f->f23, 1, NULL, 0, &y));
    OK(hocket_graph_output(f->graph, "y", y));
    FAILS(HOCKET_ERR_UNSUPPORTED, "kernelless (node 6): the device 'cpu' has no kernel for it",
          hocket_executable_compile(f->graph, "cpu", HOCKET_EAGER, &e));
}

static void an_index_outside_is_named_when_run(void **state)
{
    (void)state;
    hocket_graph *graph;
    hocket_executable *e;
    hocket_node x, index, y;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", HOCKET_FLOAT32, 1, (int64_t[]){3}, &x));
    OK(hocket_graph_input(graph, "index", HOCKET_INT32, 1, (int64_t[]){2}, &index));
    OK(hocket_graph_take(graph, x, index, 0, &y));
    OK(hocket_graph_output(graph, "y", y));
    OK(hocket_executable_compile(graph, "cpu", HOCKET_EAGER, &e));
    OK(hocket_executable_set(e, "x", (float[]){1, 2, 3}, 12));
    OK(hocket_executable_set(e, "index", (int32_t[]){-3, 3}, 8));
    INVALID("take (node 2): index 1 is 3, axis 0 of float32[3] has no such slice",
            hocket_executable_run(e));
    hocket_executable_free(e);
    hocket_graph_free(graph);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shapes_and_dtypes_are_named),
        TEST(reductions_and_shape_operations_say_what_does_not_fit),
        TEST(operations_of_a_decoder_say_what_does_not_fit),
        TEST(quantized_weights_and_argmax_say_what_does_not_fit),
        TEST(operations_and_attributes_must_exist),
        TEST(inputs_and_outputs_have_names_and_types),
        TEST(a_failed_node_carries_the_first_failure_along),
        TEST(executables_refuse_what_is_missing_or_misshapen),
        TEST(compiling_needs_outputs_a_device_and_kernels),
        TEST(names_are_registered_once),
        TEST(an_operation_without_a_kernel_does_not_compile),
        TEST(an_index_outside_is_named_when_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
