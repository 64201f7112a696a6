/* Each operation of the graph gives on mlx what it gives on cpu, in every mode. */
#include "mlx_help.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { VALUES_MAX = 2048, INPUTS_MAX = 4 };

/* An input is drawn from low..high and cast to dtype in the graph. */
typedef struct drawn {
    hocket_dtype dtype;
    int rank;
    int64_t dims[4];
    float low, high;
} drawn;

typedef struct op_case {
    const char *op;
    int input_count;
    drawn inputs[INPUTS_MAX];
    size_t attribute_count;
    hocket_attr attributes[3];
} op_case;

#define F32 HOCKET_FLOAT32
#define INT(n, v)                                                                                  \
    {                                                                                              \
        .name = n, .kind = HOCKET_ATTR_INT, .integer = v                                           \
    }
#define FLOAT(n, v)                                                                                \
    {                                                                                              \
        .name = n, .kind = HOCKET_ATTR_FLOAT, .number = v                                          \
    }
#define TEXT(n, v)                                                                                 \
    {                                                                                              \
        .name = n, .kind = HOCKET_ATTR_STRING, .text = v                                           \
    }
#define INTS(n, c, ...)                                                                            \
    {                                                                                              \
        .name = n, .kind = HOCKET_ATTR_INTS, .list = (int64_t[]){__VA_ARGS__}, .count = c          \
    }

/* Two operands that broadcast, in three dtypes. */
#define BINARY(name, low, high)                                                                    \
    {name, 2, {{F32, 2, {3, 4}, low, high}, {F32, 1, {4}, low, high}}, 0, {{0}}},                  \
        {name,                                                                                     \
         2,                                                                                        \
         {{HOCKET_BFLOAT16, 2, {3, 1}, low, high}, {HOCKET_BFLOAT16, 2, {1, 4}, low, high}},       \
         0,                                                                                        \
         {{0}}},                                                                                   \
    {                                                                                              \
        name, 2, {{HOCKET_FLOAT64, 0, {0}, low, high}, {HOCKET_FLOAT64, 2, {2, 2}, low, high}}, 0, \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define WHOLE(name, type)                                                                          \
    {                                                                                              \
        name, 2, {{type, 2, {3, 4}, 0, 9}, {type, 1, {4}, 1, 9}}, 0,                               \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define UNARY(name, low, high)                                                                     \
    {name, 1, {{F32, 2, {3, 5}, low, high}}, 0, {{0}}},                                            \
        {name, 1, {{HOCKET_FLOAT16, 2, {3, 5}, low, high}}, 0, {{0}}},                             \
    {                                                                                              \
        name, 1, {{HOCKET_FLOAT64, 1, {7}, low, high}}, 0,                                         \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CAST(from, to)                                                                             \
    {                                                                                              \
        "cast", 1, {{from, 1, {9}, -3, 3}}, 1,                                                     \
        {                                                                                          \
            INT("dtype", to)                                                                       \
        }                                                                                          \
    }
#define REDUCTION(name)                                                                            \
    {name, 1, {{F32, 3, {3, 4, 5}, -2, 2}}, 0, {{0}}},                                             \
        {name, 1, {{F32, 3, {3, 4, 5}, -2, 2}}, 2, {INTS("axes", 2, 0, -1), INT("keep", 1)}},      \
    {                                                                                              \
        name, 1, {{HOCKET_FLOAT16, 2, {4, 5}, -2, 2}}, 1,                                          \
        {                                                                                          \
            INTS("axes", 1, 1)                                                                     \
        }                                                                                          \
    }

/* Rows of 64 elements with 3 rows of weights. */
#define QUANTIZED(type, scale_type, rows, bits)                                                    \
    {                                                                                              \
        "quantized_linear", 4,                                                                     \
            {{type, 2, {rows, 64}, -2, 2},                                                         \
             {HOCKET_UINT32, 2, {3, 64 * (bits) / 32}, 0, 4e9F},                                   \
             {scale_type, 2, {3, 2}, -0.1F, 0.1F},                                                 \
             {scale_type, 2, {3, 2}, -1, 1}},                                                      \
            2,                                                                                     \
        {                                                                                          \
            INT("group", 32), INT("bits", bits)                                                    \
        }                                                                                          \
    }
#define DEQUANTIZE(type, bits)                                                                     \
    {                                                                                              \
        "dequantize", 3,                                                                           \
            {{HOCKET_UINT32, 2, {3, 64 * (bits) / 32}, 0, 4e9F},                                   \
             {type, 2, {3, 2}, -0.1F, 0.1F},                                                       \
             {type, 2, {3, 2}, -1, 1}},                                                            \
            2,                                                                                     \
        {                                                                                          \
            INT("group", 32), INT("bits", bits)                                                    \
        }                                                                                          \
    }
#define ROPE(type, rows, position, interleaved)                                                    \
    {                                                                                              \
        "rope", 2, {{type, 3, {3, rows, 8}, -2, 2}, {HOCKET_INT32, 0, {0}, position, position}},   \
            2,                                                                                     \
        {                                                                                          \
            FLOAT("base", 10000), INT("interleaved", interleaved)                                  \
        }                                                                                          \
    }
/* Of 9 rows. */
#define CACHE(type, rows, position)                                                                \
    {                                                                                              \
        "cache_update", 3,                                                                         \
            {{type, 3, {2, 9, 4}, -2, 2},                                                          \
             {type, 3, {2, rows, 4}, -9, 9},                                                       \
             {HOCKET_INT32, 0, {0}, position, position}},                                          \
            0,                                                                                     \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
/* listed: how many heads the attribute "heads" lists, in what follows; 0: there is none. */
#define ATTENTION(type, heads, kv_heads, rows, position, listed, ...)                              \
    {                                                                                              \
        "attention", 4,                                                                            \
            {{type, 3, {heads, rows, 8}, -2, 2},                                                   \
             {type, 3, {kv_heads, 9, 8}, -2, 2},                                                   \
             {type, 3, {kv_heads, 9, 8}, -2, 2},                                                   \
             {HOCKET_INT32, 0, {0}, position, position}},                                          \
            (listed) > 0 ? 2 : 1,                                                                  \
        {                                                                                          \
            FLOAT("scale", 0.35), INTS("heads", listed, __VA_ARGS__)                              \
        }                                                                                          \
    }

static const op_case cases[] = {
    BINARY("add", -2, 2),
    BINARY("subtract", -2, 2),
    BINARY("multiply", -2, 2),
    BINARY("divide", 1, 2),
    BINARY("maximum", -2, 2),
    BINARY("minimum", -2, 2),
    BINARY("power", 0.5, 2),
    BINARY("equal", 0, 2),
    BINARY("less", -2, 2),
    WHOLE("add", HOCKET_INT8),
    WHOLE("subtract", HOCKET_UINT16),
    WHOLE("multiply", HOCKET_INT64),
    WHOLE("maximum", HOCKET_INT32),
    WHOLE("minimum", HOCKET_UINT8),
    WHOLE("equal", HOCKET_INT16),
    WHOLE("not_equal", HOCKET_UINT64),
    WHOLE("less_equal", HOCKET_UINT32),
    WHOLE("greater", HOCKET_INT32),
    WHOLE("greater_equal", HOCKET_INT32),
    WHOLE("equal", HOCKET_BOOL),
    {"where",
     3,
     {{HOCKET_BOOL, 1, {4}, -1, 1}, {F32, 2, {3, 4}, -2, 2}, {F32, 0, {0}, 5, 6}},
     0,
     {{0}}},
    UNARY("negative", -2, 2),
    UNARY("abs", -2, 2),
    UNARY("exp", -2, 2),
    UNARY("log", 0.1F, 2),
    UNARY("sqrt", 0, 2),
    UNARY("rsqrt", 0.1F, 2),
    UNARY("sin", -2, 2),
    UNARY("cos", -2, 2),
    UNARY("tanh", -2, 2),
    UNARY("sigmoid", -2, 2),
    UNARY("silu", -2, 2),
    UNARY("gelu", -2, 2),
    {"gelu", 1, {{F32, 2, {3, 5}, -2, 2}}, 1, {TEXT("approximate", "tanh")}},
    CAST(F32, HOCKET_INT32),
    CAST(F32, HOCKET_BOOL),
    CAST(HOCKET_INT16, HOCKET_FLOAT16),
    CAST(HOCKET_BOOL, HOCKET_BFLOAT16),
    CAST(HOCKET_FLOAT64, HOCKET_INT8),
    {"matmul", 2, {{F32, 2, {3, 4}, -1, 1}, {F32, 2, {4, 5}, -1, 1}}, 0, {{0}}},
    {"matmul",
     2,
     {{F32, 3, {2, 3, 4}, -1, 1}, {F32, 2, {5, 4}, -1, 1}},
     1,
     {INT("transpose_right", 1)}},
    {"matmul",
     2,
     {{HOCKET_FLOAT64, 3, {2, 4, 3}, -1, 1}, {HOCKET_FLOAT64, 3, {1, 4, 5}, -1, 1}},
     1,
     {INT("transpose_left", 1)}},
    {"matmul",
     2,
     {{HOCKET_BFLOAT16, 2, {3, 8}, -1, 1}, {HOCKET_BFLOAT16, 2, {8, 2}, -1, 1}},
     0,
     {{0}}},
    {"softmax", 1, {{F32, 2, {3, 5}, -2, 2}}, 0, {{0}}},
    {"softmax", 1, {{HOCKET_FLOAT16, 3, {3, 5, 2}, -2, 2}}, 1, {INT("axis", 1)}},
    {"rms_norm", 1, {{F32, 2, {3, 8}, -2, 2}}, 0, {{0}}},
    {"rms_norm",
     2,
     {{HOCKET_BFLOAT16, 2, {3, 8}, -2, 2}, {HOCKET_BFLOAT16, 1, {8}, 0, 2}},
     1,
     {FLOAT("epsilon", 0.01)}},
    {"layer_norm", 1, {{F32, 2, {3, 8}, -2, 2}}, 0, {{0}}},
    {"layer_norm",
     3,
     {{F32, 2, {3, 8}, -2, 2}, {F32, 1, {8}, 0, 2}, {F32, 1, {8}, -1, 1}},
     1,
     {FLOAT("epsilon", 0.01)}},
    REDUCTION("sum"),
    REDUCTION("mean"),
    REDUCTION("max"),
    REDUCTION("min"),
    {"sum", 1, {{HOCKET_INT8, 2, {4, 32}, 0, 20}}, 1, {INTS("axes", 1, 1)}},
    {"max", 1, {{HOCKET_UINT16, 2, {4, 8}, 0, 20}}, 0, {{0}}},
    {"argmax", 1, {{F32, 2, {5, 40}, -2, 2}}, 0, {{0}}},
    {"argmax", 1, {{HOCKET_FLOAT16, 3, {3, 40, 2}, -2, 2}}, 1, {INT("axis", 1)}},
    {"argmax", 1, {{HOCKET_INT32, 2, {5, 40}, 0, 9}}, 1, {INT("axis", 0)}},
    QUANTIZED(F32, HOCKET_FLOAT16, 1, 4),
    QUANTIZED(F32, HOCKET_FLOAT16, 7, 8),
    QUANTIZED(HOCKET_BFLOAT16, F32, 3, 4),
    QUANTIZED(HOCKET_FLOAT16, HOCKET_FLOAT16, 0, 8),
    DEQUANTIZE(F32, 8),
    DEQUANTIZE(HOCKET_FLOAT16, 4),
    ROPE(F32, 1, 0, 0),
    ROPE(F32, 5, 100, 1),
    ROPE(HOCKET_FLOAT16, 5, 100, 0),
    ROPE(HOCKET_FLOAT64, 2, 3, 1),
    ROPE(F32, 0, 3, 0),
    {"rope",
     3,
     {{F32, 3, {2, 4, 6}, -2, 2}, {HOCKET_INT32, 0, {0}, 9, 9}, {F32, 1, {3}, 1, 4}},
     1,
     {FLOAT("base", 500)}},
    CACHE(F32, 1, 0),
    CACHE(F32, 1, 8),
    CACHE(HOCKET_BFLOAT16, 4, 3),
    CACHE(HOCKET_INT32, 9, 0),
    CACHE(F32, 0, 9),
    ATTENTION(F32, 4, 2, 1, 0, 0, 0),
    ATTENTION(F32, 6, 2, 4, 5, 0, 0),
    ATTENTION(F32, 6, 6, 9, 0, 0, 0),
    ATTENTION(F32, 5, 2, 1, 7, 5, 0, 0, 0, 1, 1),
    ATTENTION(F32, 4, 2, 3, 2, 4, 0, 1, 1, 1),
    ATTENTION(HOCKET_BFLOAT16, 4, 3, 3, 2, 4, 2, 0, 0, 2),
    ATTENTION(HOCKET_FLOAT16, 4, 2, 3, 6, 0, 0),
    ATTENTION(HOCKET_FLOAT64, 4, 2, 3, 6, 0, 0),
    ATTENTION(F32, 4, 2, 0, 9, 0, 0),
    {"reshape", 1, {{HOCKET_INT32, 2, {4, 6}, 0, 20}}, 1, {INTS("dims", 3, 2, -1, 3)}},
    {"transpose", 1, {{HOCKET_UINT8, 3, {2, 3, 4}, 0, 20}}, 0, {{0}}},
    {"transpose", 1, {{HOCKET_FLOAT16, 3, {2, 3, 4}, 0, 20}}, 1, {INTS("axes", 3, 1, 2, 0)}},
    {"broadcast_to", 1, {{F32, 2, {3, 1}, 0, 20}}, 1, {INTS("dims", 3, 2, 3, 4)}},
    {"slice",
     1,
     {{F32, 2, {6, 7}, 0, 20}},
     3,
     {INTS("start", 2, 1, -4), INTS("stop", 2, 6, 7), INTS("step", 2, 2, 3)}},
    {"slice", 1, {{HOCKET_BOOL, 1, {6}, -1, 1}}, 2, {INTS("start", 1, 2), INTS("stop", 1, 2)}},
    {"concatenate",
     3,
     {{F32, 2, {2, 3}, 0, 9}, {F32, 2, {2, 1}, 0, 9}, {F32, 2, {2, 2}, 0, 9}},
     1,
     {INT("axis", -1)}},
    {"take", 2, {{F32, 2, {5, 3}, 0, 9}, {HOCKET_INT32, 2, {2, 2}, 0, 4.9F}}, 0, {{0}}},
    {"take",
     2,
     {{HOCKET_BFLOAT16, 2, {5, 3}, 0, 9}, {HOCKET_INT64, 1, {4}, 0, 2.9F}},
     1,
     {INT("axis", 1)}},
    {"collective.all_reduce", 1, {{F32, 2, {3, 4}, -2, 2}}, 0, {{0}}},
    {"collective.all_reduce", 1, {{HOCKET_FLOAT16, 1, {4}, -2, 2}}, 1, {TEXT("reduce", "mean")}},
    {"collective.all_gather", 1, {{F32, 2, {3, 4}, -2, 2}}, 1, {INT("axis", 1)}},
    {"collective.reduce_scatter", 1, {{F32, 2, {3, 4}, -2, 2}}, 1, {INT("axis", -1)}},
    {"collective.broadcast", 1, {{HOCKET_INT32, 1, {4}, 0, 9}}, 0, {{0}}},
    {"collective.permute", 1, {{F32, 1, {4}, 0, 9}}, 1, {INTS("to", 1, 0)}},
    {"collective.permute", 1, {{F32, 1, {4}, 0, 9}}, 1, {INTS("to", 1, -1)}},
};

static uint32_t seed;

static float draw(float low, float high)
{
    seed = seed * 1664525U + 1013904223U;
    return low + (high - low) * (float)(seed >> 8) / (float)(1 << 24);
}

static void build(const op_case *c, hocket_graph *graph, size_t *count)
{
    hocket_node inputs[INPUTS_MAX], y;
    for (int i = 0; i < c->input_count; i++) {
        const drawn *in = &c->inputs[i];
        char name[2] = {(char)('a' + i), '\0'};
        OK(hocket_graph_input(graph, name, F32, in->rank, in->dims, &inputs[i]));
        if (in->dtype != F32)
            OK(hocket_graph_cast(graph, inputs[i], in->dtype, &inputs[i]));
    }
    OK(hocket_graph_op(graph, c->op, inputs, c->input_count, c->attributes, c->attribute_count,
                       &y));
    if (hocket_graph_type(graph, y)->dtype != HOCKET_FLOAT64)
        OK(hocket_graph_cast(graph, y, HOCKET_FLOAT64, &y));
    *count = hocket_type_count(hocket_graph_type(graph, y));
    assert_in_range(*count, 0, VALUES_MAX);
    OK(hocket_graph_output(graph, "y", y));
}

/* Twice, since the second run of a compiled graph is another way through it. */
static size_t compute(const op_case *c, const char *device, hocket_mode mode, double *result)
{
    hocket_graph *graph;
    hocket_executable *executable;
    size_t count;
    OK(hocket_graph_create(&graph));
    build(c, graph, &count);
    OK(hocket_executable_compile(graph, device, mode, &executable));
    hocket_graph_free(graph);
    for (int run = 0; run < 2; run++) {
        seed = 17 + (uint32_t)run;
        for (int i = 0; i < c->input_count; i++) {
            float values[VALUES_MAX];
            size_t length = 1;
            for (int d = 0; d < c->inputs[i].rank; d++)
                length *= (size_t)c->inputs[i].dims[d];
            for (size_t j = 0; j < length; j++)
                values[j] = draw(c->inputs[i].low, c->inputs[i].high);
            char name[2] = {(char)('a' + i), '\0'};
            OK(hocket_executable_set(executable, name, values, length * sizeof values[0]));
        }
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", result, count * sizeof *result));
    }
    hocket_executable_free(executable);
    return count;
}

/* Both round at the end; a chain of operations inside may round before. */
static double tolerance(const op_case *c)
{
    switch (c->inputs[0].dtype) {
    case HOCKET_FLOAT16: return 2e-3;
    case HOCKET_BFLOAT16: return 2e-2;
    default: return 1e-5;
    }
}

static void compare_case(const op_case *c, hocket_mode mode)
{
    double expected[VALUES_MAX], got[VALUES_MAX];
    size_t count = compute(c, "cpu", HOCKET_EAGER, expected);
    assert_int_equal(compute(c, "mlx", mode, got), count);
    for (size_t i = 0; i < count; i++) {
        double allowed = tolerance(c) * fmax(1, fabs(expected[i]));
        if (!(fabs(got[i] - expected[i]) <= allowed))
            fail_msg("%s, case %d, mode %d, element %zu: %.9g on mlx, %.9g on cpu", c->op,
                     (int)(c - cases), mode, i, got[i], expected[i]);
    }
}

static void all_cases(hocket_mode mode)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        compare_case(&cases[i], mode);
}

static void operations_on_mlx_agree_with_cpu_eager(void **state)
{
    (void)state;
    all_cases(HOCKET_EAGER);
}

static void operations_on_mlx_agree_with_cpu_lazy(void **state)
{
    (void)state;
    all_cases(HOCKET_LAZY);
}

/* MLX calls a C++ compiler for each fused kernel, so a few stand for all. */
static bool stands_for_others(const op_case *c)
{
    static const char *const any[] = {"gelu", "slice"};
    static const char *const in_f32[] = {"rope", "cache_update", "attention"};
    bool chosen = strncmp(c->op, "collective.", 11) == 0;
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++)
        chosen = chosen || strcmp(c->op, any[i]) == 0;
    for (size_t i = 0; i < sizeof in_f32 / sizeof in_f32[0]; i++)
        chosen = chosen || (c->inputs[0].dtype == F32 && strcmp(c->op, in_f32[i]) == 0);
    return chosen;
}

static void operations_on_mlx_agree_with_cpu_compiled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (stands_for_others(&cases[i]))
            compare_case(&cases[i], HOCKET_COMPILED);
}

/* As on a GPU, where MLX composes what else the cpu device's kernels do. */
static void operations_of_mlx_alone_agree_with_cpu(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOCKET_MLX_KERNELS", "mlx", 1), 0);
    all_cases(HOCKET_LAZY);
    assert_int_equal(unsetenv("HOCKET_MLX_KERNELS"), 0);
}

/* An input that MLX has not laid out row by row, and one that repeats. */
static void strided_inputs_are_read_as_they_are(void **state)
{
    (void)state;
    const int64_t axes[] = {1, 0, 2};
    hocket_graph *graph;
    hocket_node x, row, position, y, rows;
    float values[2 * 3 * 4], got[2][24];
    int32_t at = 1;
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "x", F32, 3, (int64_t[]){2, 3, 4}, &x));
    OK(hocket_graph_input(graph, "row", F32, 1, (int64_t[]){4}, &row));
    OK(hocket_graph_input(graph, "position", HOCKET_INT32, 0, NULL, &position));
    OK(hocket_graph_transpose(graph, x, axes, &y));
    OK(hocket_graph_broadcast_to(graph, row, 3, (int64_t[]){3, 1, 4}, &rows));
    OK(hocket_graph_cache_update(graph, y, rows, position, &y));
    OK(hocket_graph_output(graph, "y", y));
    for (int i = 0; i < 24; i++)
        values[i] = (float)i;
    for (int d = 0; d < 2; d++) {
        hocket_executable *executable;
        OK(hocket_executable_compile(graph, d == 0 ? "cpu" : "mlx", HOCKET_COMPILED, &executable));
        OK(hocket_executable_set(executable, "x", values, sizeof values));
        OK(hocket_executable_set(executable, "row", values + 9, 4 * sizeof *values));
        OK(hocket_executable_set(executable, "position", &at, sizeof at));
        OK(hocket_executable_run(executable));
        OK(hocket_executable_read(executable, "y", got[d], sizeof got[d]));
        hocket_executable_free(executable);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    assert_true(got[1][0] == 0 && got[1][4] == 9 && got[1][8] == 4 && got[1][12] == 9);
    hocket_graph_free(graph);
}

/* A cache that becomes the next run's input; a position behind its end comes out of reading. */
static void a_cache_goes_from_run_to_run(void **state)
{
    (void)state;
    enum { CAPACITY = 4 };
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_tensor *kept = NULL;
    hocket_node cache, row, position;
    float zeros[CAPACITY] = {0}, got[CAPACITY];
    OK(hocket_graph_create(&graph));
    OK(hocket_graph_input(graph, "cache", F32, 3, (int64_t[]){1, CAPACITY, 1}, &cache));
    OK(hocket_graph_input(graph, "row", F32, 3, (int64_t[]){1, 1, 1}, &row));
    OK(hocket_graph_input(graph, "position", HOCKET_INT32, 0, NULL, &position));
    OK(hocket_graph_cache_update(graph, cache, row, position, &cache));
    OK(hocket_graph_output(graph, "cache", cache));
    OK(hocket_executable_compile(graph, "mlx", HOCKET_COMPILED, &executable));
    OK(hocket_executable_set(executable, "cache", zeros, sizeof zeros));
    for (int32_t at = 0; at <= CAPACITY; at++) {
        float value = (float)(at + 1);
        hocket_tensor *output = NULL;
        OK(hocket_executable_set(executable, "row", &value, sizeof value));
        OK(hocket_executable_set(executable, "position", &at, sizeof at));
        OK(hocket_executable_run(executable));
        if (at == CAPACITY) {
            assert_int_equal(hocket_executable_read(executable, "cache", got, sizeof got),
                             HOCKET_ERR_INVALID);
            if (!strstr(hocket_last_error(), "cache_update (node 3): 1 rows at position 4 do not "
                                             "fit a cache of 4"))
                fail_msg("%s", hocket_last_error());
            break;
        }
        OK(hocket_executable_output(executable, "cache", &output));
        OK(hocket_executable_bind(executable, "cache", output));
        if (at == 1)
            kept = hocket_tensor_retain(output); /* must not be written over */
        hocket_tensor_free(output);
        OK(hocket_executable_read(executable, "cache", got, sizeof got));
        for (int i = 0; i < CAPACITY; i++)
            assert_true(got[i] == (i <= at ? (float)(i + 1) : 0));
    }
    OK(hocket_tensor_read(kept, got, sizeof got));
    assert_true(got[1] == 2 && got[2] == 0 && got[3] == 0);
    hocket_tensor_free(kept);
    hocket_executable_free(executable);
    hocket_graph_free(graph);
}

int main(void)
{
    if (!mlx_is_built())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_on_mlx_agree_with_cpu_eager),
        cmocka_unit_test(operations_on_mlx_agree_with_cpu_lazy),
        cmocka_unit_test(operations_on_mlx_agree_with_cpu_compiled),
        cmocka_unit_test(operations_of_mlx_alone_agree_with_cpu),
        cmocka_unit_test(strided_inputs_are_read_as_they_are),
        cmocka_unit_test(a_cache_goes_from_run_to_run),
    };
    return cmocka_run_group_tests_name("mlx_ops", tests, NULL, NULL);
}
