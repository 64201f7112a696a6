#include "graph_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/half.h"

enum { INPUTS_MAX = 3, ELEMENTS_MAX = 4096 };

/* One use of an operation: its inputs, and what must come out. */
typedef struct op_case {
    const char *op;
    hocket_dtype dtypes[INPUTS_MAX];
    int rank[INPUTS_MAX];
    int64_t dims[INPUTS_MAX][HOCKET_MAX_RANK];
    const double *values[INPUTS_MAX];
    int input_count;
    hocket_attr attributes[4];
    size_t attribute_count;
    hocket_dtype out_dtype;
    const double *expected;
    size_t expected_count;
    double tolerance; /* relative to 1 + |expected| */
} op_case;

double graph_case_value(size_t i, int salt)
{
    return (double)((i * 7919 + (size_t)salt * 104729) % 97) / 16.0 - 3.0;
}

/* --- Elements --- */

#define STORE(dtype_, type, convert)                \
    case dtype_:                                    \
        for (size_t i = 0; i < count; i++)          \
            ((type *)to)[i] = (type)convert(from[i]); \
        break;
#define LOAD(dtype_, type, convert)                              \
    case dtype_:                                                 \
        for (size_t i = 0; i < count; i++)                       \
            to[i] = (double)convert(((const type *)from)[i]);    \
        break;
#define SAME(x) (x)
#define TO_HALF(x) hk_f32_to_f16((float)(x))
#define TO_BF16(x) hk_f32_to_bf16((float)(x))
#define PLAIN_DTYPES(X)                                                                        \
    X(HOCKET_BOOL, uint8_t, SAME)                                                              \
    X(HOCKET_INT8, int8_t, SAME)                                                               \
    X(HOCKET_INT16, int16_t, SAME)                                                             \
    X(HOCKET_INT32, int32_t, SAME)                                                             \
    X(HOCKET_INT64, int64_t, SAME)                                                             \
    X(HOCKET_UINT8, uint8_t, SAME)                                                             \
    X(HOCKET_UINT16, uint16_t, SAME)                                                           \
    X(HOCKET_UINT32, uint32_t, SAME)                                                           \
    X(HOCKET_UINT64, uint64_t, SAME)                                                           \
    X(HOCKET_FLOAT32, float, SAME)                                                             \
    X(HOCKET_FLOAT64, double, SAME)

void graph_case_store(hocket_dtype dtype, const double *from, size_t count, void *to)
{
    switch (dtype) {
        PLAIN_DTYPES(STORE)
        STORE(HOCKET_FLOAT16, uint16_t, TO_HALF)
        STORE(HOCKET_BFLOAT16, uint16_t, TO_BF16)
    case HOCKET_COMPLEX64: fail_msg("no complex cases");
    }
}

void graph_case_load(hocket_dtype dtype, const void *from, size_t count, double *to)
{
    switch (dtype) {
        PLAIN_DTYPES(LOAD)
        LOAD(HOCKET_FLOAT16, uint16_t, hk_f16_to_f32)
        LOAD(HOCKET_BFLOAT16, uint16_t, hk_bf16_to_f32)
    case HOCKET_COMPLEX64: fail_msg("no complex cases");
    }
}

/* --- Running a case --- */

static const char *const input_names[] = {"a", "b", "c"};

static void must(hocket_status status, const op_case *c)
{
    if (status != HOCKET_OK)
        fail_msg("%s: %s", c->op, hocket_last_error());
}

static void run_mode(const op_case *c, const hocket_graph *graph, const char *device,
                     hocket_mode mode)
{
    static double values[ELEMENTS_MAX];
    static char bytes[ELEMENTS_MAX * 8];
    hocket_executable *executable = NULL;
    must(hocket_executable_compile(graph, device, mode, &executable), c);
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i < c->input_count; i++) {
            hocket_type type;
            must(hocket_type_make(c->dtypes[i], c->rank[i], c->dims[i], &type), c);
            graph_case_store(c->dtypes[i], c->values[i], hocket_type_count(&type), bytes);
            must(hocket_executable_set(executable, input_names[i], bytes, hocket_type_bytes(&type)),
                 c);
        }
        must(hocket_executable_run(executable), c);
        must(hocket_executable_read(executable, "y", bytes,
                                    c->expected_count * hocket_dtype_size(c->out_dtype)), c);
        graph_case_load(c->out_dtype, bytes, c->expected_count, values);
        for (size_t i = 0; i < c->expected_count; i++) {
            double want = c->expected[i], got = values[i];
            bool same = isnan(want) ? isnan(got)
                                    : fabs(got - want) <= c->tolerance * (1 + fabs(want));
            if (!same && !(isinf(want) && got == want))
                fail_msg("%s of %s on %s, mode %d, run %d: element %zu is %.9g, expected %.9g",
                         c->op, hocket_dtype_name(c->dtypes[0]), device, (int)mode, run, i, got,
                         want);
        }
    }
    hocket_executable_free(executable);
}

static void run_case(const op_case *c, const char *device)
{
    hocket_graph *graph = NULL;
    hocket_node nodes[INPUTS_MAX], result;
    must(hocket_graph_create(&graph), c);
    for (int i = 0; i < c->input_count; i++)
        must(hocket_graph_input(graph, input_names[i], c->dtypes[i], c->rank[i], c->dims[i],
                                &nodes[i]), c);
    must(hocket_graph_op(graph, c->op, nodes, c->input_count, c->attributes, c->attribute_count,
                         &result), c);
    must(hocket_graph_output(graph, "y", result), c);
    assert_int_equal(hocket_graph_type(graph, result)->dtype, c->out_dtype);
    assert_int_equal(hocket_type_count(hocket_graph_type(graph, result)), c->expected_count);
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++)
        run_mode(c, graph, device, mode);
    hocket_graph_free(graph);
}

/* The step between two neighbours of 1, some of them. */
static double tolerance_of(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_FLOAT16: return 2e-3;
    case HOCKET_BFLOAT16: return 1.6e-2;
    case HOCKET_FLOAT32: return 2e-6;
    case HOCKET_FLOAT64: return 1e-13;
    default: return 0;
    }
}

/* Values as the dtype can hold them. */
static void fill(hocket_dtype dtype, double *values, size_t count, int salt, bool positive)
{
    char element[8];
    for (size_t i = 0; i < count; i++) {
        double value = graph_case_value(i, salt);
        value = positive || (dtype >= HOCKET_UINT8 && dtype <= HOCKET_UINT64) ? fabs(value) + 0.25
                                                                              : value;
        graph_case_store(dtype, &value, 1, element);
        graph_case_load(dtype, element, 1, &values[i]);
    }
}

/* --- Elementwise --- */

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double gelu(double x)
{
    return x * (1 + erf(x / sqrt(2))) / 2;
}

static double reciprocal_root(double x)
{
    return 1 / sqrt(x);
}

static double negative(double x)
{
    return -x;
}

static double add(double a, double b)
{
    return a + b;
}

static double subtract(double a, double b)
{
    return a - b;
}

static double multiply(double a, double b)
{
    return a * b;
}

static double divide(double a, double b)
{
    return a / b;
}


static const hocket_dtype float_dtypes[] = {HOCKET_FLOAT16, HOCKET_BFLOAT16, HOCKET_FLOAT32,
                                            HOCKET_FLOAT64};
static const hocket_dtype some_integers[] = {HOCKET_INT8, HOCKET_INT32, HOCKET_INT64, HOCKET_UINT8,
                                             HOCKET_UINT64};

typedef struct unary_op {
    const char *name;
    double (*oracle)(double);
    bool positive;
    bool integers;
} unary_op;

typedef struct binary_op {
    const char *name;
    double (*oracle)(double, double);
    bool positive;
    bool integers;
} binary_op;

static const unary_op unary_ops[] = {
    {"exp", exp, false, false},
    {"log", log, true, false},
    {"sqrt", sqrt, true, false},
    {"rsqrt", reciprocal_root, true, false},
    {"tanh", tanh, false, false},
    {"sigmoid", sigmoid, false, false},
    {"silu", silu, false, false},
    {"gelu", gelu, false, false},
    {"sin", sin, false, false},
    {"cos", cos, false, false},
    {"abs", fabs, false, true},
    {"negative", negative, false, true},
};

static const binary_op binary_ops[] = {
    {"add", add, false, true},
    {"subtract", subtract, false, true},
    {"multiply", multiply, false, true},
    {"divide", divide, true, false},
    {"maximum", fmax, false, true},
    {"minimum", fmin, false, true},
    {"power", pow, true, false},
};

static void unary_case(const char *device, const unary_op *op, hocket_dtype dtype)
{
    enum { COUNT = 3 * 401 };
    static double in[COUNT], want[COUNT];
    fill(dtype, in, COUNT, 1, op->positive);
    for (size_t i = 0; i < COUNT; i++)
        want[i] = op->oracle(in[i]);
    bool unsigned_negative = dtype == HOCKET_UINT64 || dtype == HOCKET_UINT8;
    if (unsigned_negative && op->oracle == negative)
        return; /* wraps, which double cannot say; see test_graph_ops.c */
    run_case(&(op_case){.op = op->name, .dtypes = {dtype}, .rank = {2}, .dims = {{3, 401}},
                        .values = {in}, .input_count = 1, .out_dtype = dtype, .expected = want,
                        .expected_count = COUNT, .tolerance = tolerance_of(dtype)},
             device);
}

/* [2, 1, 5] with [3, 1], and the longer run [1100] with a scalar. */
static void binary_case(const char *device, const binary_op *op, hocket_dtype dtype)
{
    static double a[1100], b[1100], want[1100];
    fill(dtype, a, 1100, 1, op->positive);
    fill(dtype, b, 1100, 2, op->positive);
    if (strcmp(op->name, "subtract") == 0 && (dtype == HOCKET_UINT64 || dtype == HOCKET_UINT8))
        return;
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++)
            for (size_t k = 0; k < 5; k++)
                want[(i * 3 + j) * 5 + k] = op->oracle(a[i * 5 + k], b[j]);
    op_case c = {.op = op->name, .dtypes = {dtype, dtype}, .rank = {3, 2},
                 .dims = {{2, 1, 5}, {3, 1}}, .values = {a, b}, .input_count = 2,
                 .out_dtype = dtype, .expected = want, .expected_count = 30,
                 .tolerance = tolerance_of(dtype)};
    run_case(&c, device);
    for (size_t i = 0; i < 1100; i++)
        want[i] = op->oracle(a[i], b[0]);
    c.rank[0] = 1;
    c.dims[0][0] = 1100;
    c.rank[1] = 0;
    c.expected_count = 1100;
    run_case(&c, device);
}

void graph_cases_elementwise(const char *device)
{
    const size_t floats = sizeof float_dtypes / sizeof float_dtypes[0];
    const size_t integers = sizeof some_integers / sizeof some_integers[0];
    for (size_t o = 0; o < sizeof unary_ops / sizeof unary_ops[0]; o++) {
        for (size_t d = 0; d < floats; d++)
            unary_case(device, &unary_ops[o], float_dtypes[d]);
        for (size_t d = 0; unary_ops[o].integers && d < integers; d++)
            unary_case(device, &unary_ops[o], some_integers[d]);
    }
    for (size_t o = 0; o < sizeof binary_ops / sizeof binary_ops[0]; o++) {
        for (size_t d = 0; d < floats; d++)
            binary_case(device, &binary_ops[o], float_dtypes[d]);
        for (size_t d = 0; binary_ops[o].integers && d < integers; d++)
            binary_case(device, &binary_ops[o], some_integers[d]);
    }
    double x[3] = {-1.5, 0.25, 2}, want[3];
    for (int i = 0; i < 3; i++)
        want[i] = x[i] * (1 + tanh(sqrt(2 / M_PI) * (x[i] + 0.044715 * pow(x[i], 3)))) / 2;
    run_case(&(op_case){.op = "gelu", .dtypes = {HOCKET_FLOAT32}, .rank = {1}, .dims = {{3}},
                        .values = {x}, .input_count = 1, .out_dtype = HOCKET_FLOAT32,
                        .attributes = {hocket_attr_string("approximate", "tanh")},
                        .attribute_count = 1, .expected = want, .expected_count = 3,
                        .tolerance = 2e-6},
             device);
}

/* --- Comparisons, where, cast --- */

static void comparison_case(const char *device, const char *op, hocket_dtype dtype,
                            const double *want)
{
    static const double a[4] = {1, 2, 3, 2}, b[4] = {2, 2, 1, 3};
    run_case(&(op_case){.op = op, .dtypes = {dtype, dtype}, .rank = {1, 1}, .dims = {{4}, {4}},
                        .values = {a, b}, .input_count = 2, .out_dtype = HOCKET_BOOL,
                        .expected = want, .expected_count = 4},
             device);
}

static void cast_case(const char *device, hocket_dtype from, hocket_dtype to, const double *in,
                      const double *want)
{
    run_case(&(op_case){.op = "cast", .dtypes = {from}, .rank = {1}, .dims = {{4}}, .values = {in},
                        .input_count = 1, .attributes = {hocket_attr_int("dtype", to)},
                        .attribute_count = 1, .out_dtype = to, .expected = want,
                        .expected_count = 4},
             device);
}

void graph_cases_compare_and_cast(const char *device)
{
    static const hocket_dtype dtypes[] = {HOCKET_FLOAT16, HOCKET_FLOAT32, HOCKET_INT32,
                                          HOCKET_UINT64};
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        comparison_case(device, "equal", dtypes[d], (double[]){0, 1, 0, 0});
        comparison_case(device, "not_equal", dtypes[d], (double[]){1, 0, 1, 1});
        comparison_case(device, "less", dtypes[d], (double[]){1, 0, 0, 1});
        comparison_case(device, "less_equal", dtypes[d], (double[]){1, 1, 0, 1});
        comparison_case(device, "greater", dtypes[d], (double[]){0, 0, 1, 0});
        comparison_case(device, "greater_equal", dtypes[d], (double[]){0, 1, 1, 0});
        /* where: the condition [2, 1] and the second value, a scalar, repeat. */
        run_case(&(op_case){.op = "where", .dtypes = {HOCKET_BOOL, dtypes[d], dtypes[d]},
                            .rank = {2, 1, 0}, .dims = {{2, 1}, {3}},
                            .values = {(double[]){1, 0}, (double[]){5, 6, 7}, (double[]){9}},
                            .input_count = 3, .out_dtype = dtypes[d],
                            .expected = (double[]){5, 6, 7, 9, 9, 9}, .expected_count = 6},
                 device);
    }
    const double x[4] = {-1.75, 0, 0.5, 3};
    cast_case(device, HOCKET_FLOAT32, HOCKET_INT32, x, (double[]){-1, 0, 0, 3});
    cast_case(device, HOCKET_FLOAT32, HOCKET_BOOL, x, (double[]){1, 0, 1, 1});
    cast_case(device, HOCKET_FLOAT32, HOCKET_FLOAT16, x, x);
    cast_case(device, HOCKET_BFLOAT16, HOCKET_FLOAT32, x, x);
    cast_case(device, HOCKET_FLOAT16, HOCKET_BFLOAT16, x, x);
    cast_case(device, HOCKET_INT8, HOCKET_FLOAT32, (double[]){-128, -1, 0, 127},
              (double[]){-128, -1, 0, 127});
    cast_case(device, HOCKET_BOOL, HOCKET_INT32, (double[]){0, 1, 1, 0}, (double[]){0, 1, 1, 0});
    cast_case(device, HOCKET_INT32, HOCKET_UINT64, (double[]){0, 1, 7, 70000},
              (double[]){0, 1, 7, 70000});
}

/* --- Products --- */

/* left [lead, m, k] or [lead, k, m], right likewise or without lead. */
static void matmul_case(const char *device, hocket_dtype dtype, int64_t lead, int64_t m, int64_t n,
                        int64_t k, int swap_left, int swap_right, bool shared_right)
{
    static double a[ELEMENTS_MAX], b[ELEMENTS_MAX], want[ELEMENTS_MAX];
    fill(dtype, a, (size_t)(lead * m * k), 3, false);
    fill(dtype, b, (size_t)(lead * k * n), 4, false);
    for (int64_t l = 0; l < lead; l++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t p = 0; p < k; p++)
                    sum += a[l * m * k + (swap_left ? p * m + i : i * k + p)] *
                           b[(shared_right ? 0 : l * k * n) + (swap_right ? j * k + p : p * n + j)];
                want[(l * m + i) * n + j] = sum;
            }
    op_case c = {.op = "matmul", .dtypes = {dtype, dtype}, .rank = {3, shared_right ? 2 : 3},
                 .dims = {{lead, swap_left ? k : m, swap_left ? m : k}}, .values = {a, b},
                 .input_count = 2, .out_dtype = dtype, .expected = want,
                 .expected_count = (size_t)(lead * m * n),
                 .attributes = {hocket_attr_int("transpose_left", swap_left),
                                hocket_attr_int("transpose_right", swap_right)},
                 .attribute_count = 2, .tolerance = 4 * tolerance_of(dtype)};
    int64_t *dims = c.dims[1];
    if (!shared_right)
        *dims++ = lead;
    dims[0] = swap_right ? n : k;
    dims[1] = swap_right ? k : n;
    run_case(&c, device);
}

void graph_cases_matmul(const char *device)
{
    for (size_t d = 0; d < sizeof float_dtypes / sizeof float_dtypes[0]; d++)
        for (int swap = 0; swap < 4; swap++) {
            matmul_case(device, float_dtypes[d], 2, 3, 4, 5, swap & 1, swap >> 1, false);
            matmul_case(device, float_dtypes[d], 3, 2, 7, 4, swap & 1, swap >> 1, true);
        }
    matmul_case(device, HOCKET_FLOAT32, 1, 1, 40, 70, 0, 0, true);
    matmul_case(device, HOCKET_FLOAT32, 1, 1, 40, 70, 0, 1, true);
    matmul_case(device, HOCKET_FLOAT32, 1, 17, 33, 65, 0, 0, true);
    matmul_case(device, HOCKET_FLOAT32, 2, 3, 4, 0, 0, 0, false); /* sums of nothing */
    matmul_case(device, HOCKET_FLOAT32, 2, 0, 4, 3, 0, 0, true);
    /* The leading dimensions [2, 1] and [3] repeat to [2, 3]. */
    double a[2], b[3], want[6];
    fill(HOCKET_FLOAT32, a, 2, 1, false);
    fill(HOCKET_FLOAT32, b, 3, 2, false);
    for (int i = 0; i < 6; i++)
        want[i] = a[i / 3] * b[i % 3];
    run_case(&(op_case){.op = "matmul", .dtypes = {HOCKET_FLOAT32, HOCKET_FLOAT32}, .rank = {4, 3},
                        .dims = {{2, 1, 1, 1}, {3, 1, 1}}, .values = {a, b}, .input_count = 2,
                        .out_dtype = HOCKET_FLOAT32, .expected = want, .expected_count = 6,
                        .tolerance = 1e-6},
             device);
}

/* --- Norms --- */

static void softmax_case(const char *device, hocket_dtype dtype, int axis)
{
    static double x[2 * 3 * 50], want[2 * 3 * 50];
    const int64_t dims[3] = {2, 3, 50}, inner[3] = {150, 50, 1};
    int at = axis < 0 ? axis + 3 : axis;
    fill(dtype, x, 300, 5, false);
    for (int64_t i = 0; i < 300; i++) {
        int64_t first = i - i / inner[at] % dims[at] * inner[at];
        double sum = 0;
        for (int64_t j = 0; j < dims[at]; j++)
            sum += exp(x[first + j * inner[at]]);
        want[i] = exp(x[i]) / sum;
    }
    run_case(&(op_case){.op = "softmax", .dtypes = {dtype}, .rank = {3}, .dims = {{2, 3, 50}},
                        .values = {x}, .input_count = 1, .out_dtype = dtype, .expected = want,
                        .attributes = {hocket_attr_int("axis", axis)}, .attribute_count = 1,
                        .expected_count = 300, .tolerance = tolerance_of(dtype)},
             device);
}

static void norm_case(const char *device, hocket_dtype dtype, bool layer)
{
    enum { ROWS = 6, WIDTH = 70 };
    static double x[ROWS * WIDTH], weight[WIDTH], bias[WIDTH], want[ROWS * WIDTH];
    fill(dtype, x, ROWS * WIDTH, 6, false);
    fill(dtype, weight, WIDTH, 7, false);
    fill(dtype, bias, WIDTH, 8, false);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0, *row = x + r * WIDTH;
        for (int i = 0; layer && i < WIDTH; i++)
            mean += row[i] / WIDTH;
        for (int i = 0; i < WIDTH; i++)
            square += (row[i] - mean) * (row[i] - mean) / WIDTH;
        for (int i = 0; i < WIDTH; i++)
            want[r * WIDTH + i] = (row[i] - mean) / sqrt(square + 1e-3) * weight[i] +
                                  (layer ? bias[i] : 0);
    }
    run_case(&(op_case){.op = layer ? "layer_norm" : "rms_norm", .dtypes = {dtype, dtype, dtype},
                        .rank = {3, 1, 1}, .dims = {{2, 3, WIDTH}, {WIDTH}, {WIDTH}},
                        .values = {x, weight, bias}, .input_count = layer ? 3 : 2,
                        .attributes = {hocket_attr_float("epsilon", 1e-3)}, .attribute_count = 1,
                        .out_dtype = dtype, .expected = want, .expected_count = ROWS * WIDTH,
                        .tolerance = 4 * tolerance_of(dtype)},
             device);
}

void graph_cases_norms(const char *device)
{
    for (size_t d = 0; d < sizeof float_dtypes / sizeof float_dtypes[0]; d++) {
        for (int axis = -1; axis < 2; axis++)
            softmax_case(device, float_dtypes[d], axis);
        norm_case(device, float_dtypes[d], false);
        norm_case(device, float_dtypes[d], true);
    }
}

/* --- Reductions of [3, 4, 5] --- */

static void reduction_case(const char *device, const char *op, hocket_dtype dtype,
                           const int64_t *axes, size_t axis_count, int keep)
{
    static double x[60], want[60];
    size_t seen[60] = {0};
    fill(dtype, x, 60, 9, false);
    bool gone[3] = {axes == NULL, axes == NULL, axes == NULL};
    for (size_t i = 0; i < axis_count; i++)
        gone[axes[i] < 0 ? axes[i] + 3 : axes[i]] = true;
    const size_t dims[3] = {3, 4, 5};
    size_t count = 1;
    for (int i = 0; i < 3; i++)
        count *= gone[i] ? 1 : dims[i];
    for (size_t i = 0; i < 60; i++) {
        size_t index[3] = {i / 20, i / 5 % 4, i % 5}, at = 0;
        for (int j = 0; j < 3; j++)
            at = gone[j] ? at : at * dims[j] + index[j];
        bool largest = strcmp(op, "max") == 0, smallest = strcmp(op, "min") == 0;
        want[at] = seen[at] == 0 ? x[i] : largest ? fmax(want[at], x[i])
                                        : smallest ? fmin(want[at], x[i]) : want[at] + x[i];
        seen[at]++;
    }
    for (size_t i = 0; strcmp(op, "mean") == 0 && i < count; i++)
        want[i] /= (double)seen[i];
    run_case(&(op_case){.op = op, .dtypes = {dtype}, .rank = {3}, .dims = {{3, 4, 5}},
                        .values = {x}, .input_count = 1, .out_dtype = dtype, .expected = want,
                        .attributes = {hocket_attr_int("keep", keep),
                                       hocket_attr_ints("axes", axes, axis_count)},
                        .attribute_count = axes ? 2 : 1, .expected_count = count,
                        .tolerance = 2 * tolerance_of(dtype)},
             device);
}

void graph_cases_reductions(const char *device)
{
    static const char *const ops[] = {"sum", "mean", "max", "min"};
    static const hocket_dtype dtypes[] = {HOCKET_FLOAT16, HOCKET_BFLOAT16, HOCKET_FLOAT32,
                                          HOCKET_FLOAT64, HOCKET_INT32, HOCKET_UINT64};
    for (size_t o = 0; o < 4; o++)
        for (size_t d = 0; d < (strcmp(ops[o], "mean") == 0 ? 4 : 6); d++) {
            reduction_case(device, ops[o], dtypes[d], NULL, 0, 0);
            reduction_case(device, ops[o], dtypes[d], (int64_t[]){-1}, 1, 1);
            reduction_case(device, ops[o], dtypes[d], (int64_t[]){0}, 1, 0);
            reduction_case(device, ops[o], dtypes[d], (int64_t[]){1}, 1, 0);
            reduction_case(device, ops[o], dtypes[d], (int64_t[]){0, 2}, 2, 0);
            reduction_case(device, ops[o], dtypes[d], (int64_t[]){0}, 0, 0);
        }
}

/* --- Shapes: x is 0, 1, 2, ... --- */

static void shape_case(const char *device, hocket_dtype dtype, const char *op, int rank,
                       const int64_t *dims, const hocket_attr *attributes, size_t attribute_count,
                       const double *want, size_t count)
{
    static double x[100];
    for (int i = 0; i < 100; i++)
        x[i] = i;
    op_case c = {.op = op, .dtypes = {dtype}, .rank = {rank}, .values = {x}, .input_count = 1,
                 .out_dtype = dtype, .expected = want, .expected_count = count,
                 .attribute_count = attribute_count};
    memcpy(c.dims[0], dims, (size_t)rank * sizeof *dims);
    for (size_t i = 0; i < attribute_count; i++)
        c.attributes[i] = attributes[i];
    run_case(&c, device);
}

static void list_cases(const char *device, hocket_dtype dtype)
{
    hocket_attr list = hocket_attr_ints("dims", (int64_t[]){3, -1}, 2);
    shape_case(device, dtype, "reshape", 2, (int64_t[]){2, 3}, &list, 1,
               (double[]){0, 1, 2, 3, 4, 5}, 6);
    shape_case(device, dtype, "transpose", 2, (int64_t[]){2, 3}, NULL, 0,
               (double[]){0, 3, 1, 4, 2, 5}, 6);
    list = hocket_attr_ints("axes", (int64_t[]){1, 0, -1}, 3);
    shape_case(device, dtype, "transpose", 3, (int64_t[]){2, 3, 2}, &list, 1,
               (double[]){0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}, 12);
    list = hocket_attr_ints("dims", (int64_t[]){2, 2, 3}, 3);
    shape_case(device, dtype, "broadcast_to", 2, (int64_t[]){2, 1}, &list, 1,
               (double[]){0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1}, 12);
    const hocket_attr cut[] = {hocket_attr_ints("start", (int64_t[]){1, 0}, 2),
                               hocket_attr_ints("stop", (int64_t[]){3, -1}, 2),
                               hocket_attr_ints("step", (int64_t[]){1, 2}, 2)};
    shape_case(device, dtype, "slice", 2, (int64_t[]){3, 6}, cut, 3,
               (double[]){6, 8, 10, 12, 14, 16}, 6);
    shape_case(device, dtype, "slice", 2, (int64_t[]){3, 6}, cut, 2,
               (double[]){6, 7, 8, 9, 10, 12, 13, 14, 15, 16}, 10);
}

static void many_input_cases(const char *device, hocket_dtype dtype)
{
    op_case c = {.op = "concatenate", .dtypes = {dtype, dtype, dtype}, .rank = {2, 2, 2},
                 .dims = {{2, 1}, {2, 2}, {2, 0}},
                 .values = {(double[]){1, 2}, (double[]){3, 4, 5, 6}, (double[]){0}},
                 .input_count = 3, .out_dtype = dtype, .attribute_count = 1,
                 .attributes = {hocket_attr_int("axis", -1)},
                 .expected = (double[]){1, 3, 4, 2, 5, 6}, .expected_count = 6};
    run_case(&c, device);
    op_case take = {.op = "take", .dtypes = {dtype, HOCKET_INT32}, .rank = {2, 2},
                    .dims = {{3, 2}, {1, 2}},
                    .values = {(double[]){1, 2, 3, 4, 5, 6}, (double[]){2, 0}}, .input_count = 2,
                    .out_dtype = dtype, .expected = (double[]){5, 6, 1, 2}, .expected_count = 4};
    run_case(&take, device);
    take.attributes[0] = hocket_attr_int("axis", 1);
    take.attribute_count = 1;
    take.dtypes[1] = HOCKET_INT64;
    take.values[1] = (double[]){1, -1};
    take.expected = (double[]){2, 2, 4, 4, 6, 6};
    take.expected_count = 6;
    run_case(&take, device);
}

void graph_cases_shapes(const char *device)
{
    static const hocket_dtype dtypes[] = {HOCKET_INT8, HOCKET_BFLOAT16, HOCKET_FLOAT32,
                                          HOCKET_FLOAT64};
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        list_cases(device, dtypes[d]);
        many_input_cases(device, dtypes[d]);
    }
}
