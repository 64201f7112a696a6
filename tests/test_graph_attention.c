/* What a decoder needs, on the cpu device, against loops in double: rope, a cache, attention over
 * it, quantized weights, argmax. */
#include "graph_cases.h"

#include <math.h>
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

enum { INPUTS_MAX = 4, ELEMENTS_MAX = 1 << 16 };

/* A tensor in double; values are rounded to its dtype when made. */
typedef struct value {
    hocket_type type;
    double *at;
} value;

/* One use of an operation. */
typedef struct use {
    const char *op;
    int input_count;
    value inputs[INPUTS_MAX];
    size_t attribute_count;
    hocket_attr attributes[3];
} use;

static char bytes_of[ELEMENTS_MAX * sizeof(double)];

static value make(hocket_dtype dtype, int rank, const int64_t *dims, int salt)
{
    value made;
    OK(hocket_type_make(dtype, rank, dims, &made.type));
    size_t count = hocket_type_count(&made.type);
    assert_in_range(count, 0, ELEMENTS_MAX);
    made.at = calloc(count + 1, sizeof *made.at);
    assert_non_null(made.at);
    for (size_t i = 0; i < count; i++)
        made.at[i] = graph_case_value(i * i + i, salt) / 3;
    graph_case_store(dtype, made.at, count, bytes_of);
    graph_case_load(dtype, bytes_of, count, made.at);
    return made;
}

static value cube(hocket_dtype dtype, int64_t heads, int64_t rows, int64_t size, int salt)
{
    return make(dtype, 3, (int64_t[]){heads, rows, size}, salt);
}

static value position_of(int64_t position)
{
    value made = make(HOCKET_INT32, 0, NULL, 0);
    made.at[0] = (double)position;
    return made;
}

static void free_inputs(use *u)
{
    for (int i = 0; i < u->input_count; i++)
        free(u->inputs[i].at);
}

static const char *const names[INPUTS_MAX] = {"a", "b", "c", "d"};

static hocket_executable *compile(const use *u, hocket_mode mode, hocket_type *type)
{
    hocket_graph *graph;
    hocket_executable *executable;
    hocket_node inputs[INPUTS_MAX], y;
    OK(hocket_graph_create(&graph));
    for (int i = 0; i < u->input_count; i++) {
        const hocket_type *in = &u->inputs[i].type;
        OK(hocket_graph_input(graph, names[i], in->dtype, in->rank, in->dims, &inputs[i]));
    }
    OK(hocket_graph_op(graph, u->op, inputs, u->input_count, u->attributes, u->attribute_count,
                       &y));
    OK(hocket_graph_output(graph, "y", y));
    *type = *hocket_graph_type(graph, y);
    OK(hocket_executable_compile(graph, "cpu", mode, &executable));
    hocket_graph_free(graph);
    return executable;
}

static hocket_status run(const use *u, hocket_executable *executable)
{
    for (int i = 0; i < u->input_count; i++) {
        const value *in = &u->inputs[i];
        graph_case_store(in->type.dtype, in->at, hocket_type_count(&in->type), bytes_of);
        OK(hocket_executable_set(executable, names[i], bytes_of, hocket_type_bytes(&in->type)));
    }
    return hocket_executable_run(executable);
}

static double tolerance_of(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_FLOAT16: return 1e-3;
    case HOCKET_BFLOAT16: return 8e-3;
    case HOCKET_FLOAT32: return 3e-6;
    case HOCKET_FLOAT64: return 1e-13;
    default: return 0;
    }
}

/* Runs it twice in each mode; the result must be `expected`. */
static void expect(const use *u, const double *expected)
{
    static double got[ELEMENTS_MAX];
    for (hocket_mode mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode++) {
        hocket_type type;
        hocket_executable *executable = compile(u, mode, &type);
        size_t count = hocket_type_count(&type);
        for (int round = 0; round < 2; round++) {
            OK(run(u, executable));
            OK(hocket_executable_read(executable, "y", bytes_of, hocket_type_bytes(&type)));
            graph_case_load(type.dtype, bytes_of, count, got);
            for (size_t i = 0; i < count; i++)
                if (!(fabs(got[i] - expected[i]) <=
                      tolerance_of(type.dtype) * (1 + fabs(expected[i]))))
                    fail_msg("%s to %s, mode %d: element %zu is %.9g, expected %.9g", u->op,
                             hocket_dtype_name(type.dtype), (int)mode, i, got[i], expected[i]);
        }
        hocket_executable_free(executable);
    }
}

/* The run must be refused with these words in the text. */
static void refuse(const use *u, const char *words)
{
    hocket_type type;
    hocket_executable *executable = compile(u, HOCKET_COMPILED, &type);
    assert_int_equal(run(u, executable), HOCKET_ERR_INVALID);
    if (!strstr(hocket_last_error(), words))
        fail_msg("'%s' lacks '%s'", hocket_last_error(), words);
    hocket_executable_free(executable);
}

static const hocket_dtype floats[] = {HOCKET_FLOAT16, HOCKET_BFLOAT16, HOCKET_FLOAT32,
                                      HOCKET_FLOAT64};
enum { FLOATS = sizeof floats / sizeof floats[0] };

/* --- rope --- */

static void rope_case(hocket_dtype dtype, int64_t rows, int64_t size, int64_t position,
                      int interleaved, const float *factors)
{
    static double want[ELEMENTS_MAX];
    const int64_t heads = 3, pairs = size / 2;
    const double base = 10000;
    use u = {.op = "rope", .input_count = 2, .attribute_count = 2};
    u.inputs[0] = cube(dtype, heads, rows, size, 1);
    u.inputs[1] = position_of(position);
    u.attributes[0] = hocket_attr_float("base", base);
    u.attributes[1] = hocket_attr_int("interleaved", interleaved);
    if (factors) {
        u.inputs[u.input_count++] = make(HOCKET_FLOAT32, 1, &pairs, 0);
        for (int64_t j = 0; j < pairs; j++)
            u.inputs[2].at[j] = factors[j];
    }
    for (int64_t i = 0; i < heads * rows; i++)
        for (int64_t j = 0; j < pairs; j++) {
            double frequency = pow(base, -2.0 * (double)j / (double)size);
            double angle = (double)(position + i % rows) * frequency / (factors ? factors[j] : 1);
            int64_t a = i * size + (interleaved ? 2 * j : j);
            int64_t b = interleaved ? a + 1 : a + pairs;
            const double *x = u.inputs[0].at;
            want[a] = x[a] * cos(angle) - x[b] * sin(angle);
            want[b] = x[a] * sin(angle) + x[b] * cos(angle);
        }
    expect(&u, want);
    free_inputs(&u);
}

static void rope_rotates_pairs_by_their_position(void **state)
{
    (void)state;
    for (int d = 0; d < FLOATS; d++)
        for (int interleaved = 0; interleaved < 2; interleaved++) {
            rope_case(floats[d], 1, 8, 0, interleaved, NULL);
            rope_case(floats[d], 5, 8, 0, interleaved, NULL);
            rope_case(floats[d], 1, 64, 4095, interleaved, NULL);
            rope_case(floats[d], 7, 6, 12, interleaved, (const float[]){1, 2, 0.5F});
        }
    rope_case(HOCKET_FLOAT32, 0, 8, 3, 0, NULL);
    rope_case(HOCKET_FLOAT32, 2, 0, 3, 0, NULL);
}

/* --- cache_update --- */

static void cache_case(hocket_dtype dtype, int64_t capacity, int64_t rows, int64_t position)
{
    const int64_t heads = 2, size = 3;
    use u = {.op = "cache_update", .input_count = 3};
    u.inputs[0] = cube(dtype, heads, capacity, size, 1);
    u.inputs[1] = cube(dtype, heads, rows, size, 2);
    u.inputs[2] = position_of(position);
    double want[2 * 16 * 3];
    for (int64_t i = 0; i < heads * capacity * size; i++) {
        int64_t row = i / size % capacity - position, head = i / (capacity * size);
        bool written = row >= 0 && row < rows;
        want[i] = written ? u.inputs[1].at[(head * rows + row) * size + i % size]
                          : u.inputs[0].at[i];
    }
    expect(&u, want);
    free_inputs(&u);
}

static void a_cache_is_written_at_the_position(void **state)
{
    (void)state;
    cache_case(HOCKET_FLOAT32, 8, 1, 0);
    cache_case(HOCKET_FLOAT32, 8, 1, 7);
    cache_case(HOCKET_BFLOAT16, 16, 5, 3);
    cache_case(HOCKET_INT8, 8, 8, 0);
    cache_case(HOCKET_FLOAT64, 8, 0, 8);
}

static void a_position_outside_is_refused_with_its_numbers(void **state)
{
    (void)state;
    use u = {.op = "cache_update", .input_count = 3};
    u.inputs[0] = cube(HOCKET_FLOAT32, 2, 8, 4, 1);
    u.inputs[1] = cube(HOCKET_FLOAT32, 2, 3, 4, 2);
    u.inputs[2] = position_of(6);
    refuse(&u, "cache_update (node 3): 3 rows at position 6 do not fit a cache of 8");
    u.inputs[2].at[0] = -1;
    refuse(&u, "3 rows at position -1 do not fit a cache of 8");
    free_inputs(&u);
    use a = {.op = "attention", .input_count = 4, .attribute_count = 1};
    a.inputs[0] = cube(HOCKET_FLOAT32, 4, 3, 4, 1);
    a.inputs[1] = cube(HOCKET_FLOAT32, 2, 8, 4, 1);
    a.inputs[2] = cube(HOCKET_FLOAT32, 2, 8, 4, 1);
    a.inputs[3] = position_of(INT32_MAX);
    a.attributes[0] = hocket_attr_float("scale", 1);
    refuse(&a, "attention (node 4): 3 rows at position 2147483647 do not fit a cache of 8");
    free_inputs(&a);
}

/* A step of a decoder: caches go from outputs to inputs, and stay where they are in memory. */
static void a_cache_stays_where_it_is_from_run_to_run(void **state)
{
    (void)state;
    for (int mode = HOCKET_EAGER; mode <= HOCKET_COMPILED; mode += HOCKET_COMPILED - HOCKET_EAGER) {
        use u = {.op = "cache_update", .input_count = 3};
        u.inputs[0] = cube(HOCKET_FLOAT32, 2, 8, 3, 1);
        u.inputs[1] = cube(HOCKET_FLOAT32, 2, 1, 3, 2);
        u.inputs[2] = position_of(0);
        hocket_type type;
        hocket_executable *executable = compile(&u, (hocket_mode)mode, &type);
        const void *place = NULL;
        hocket_tensor *cache = NULL;
        for (int step = 0; step < 8; step++) {
            int32_t position = step;
            float rows[6], got[48];
            for (int i = 0; i < 6; i++)
                rows[i] = (float)(100 * step + i);
            if (step == 0)
                OK(hocket_executable_set(executable, "a", memset(got, 0, sizeof got), sizeof got));
            else
                OK(hocket_executable_bind(executable, "a", cache));
            hocket_tensor_free(cache);
            OK(hocket_executable_set(executable, "b", rows, sizeof rows));
            OK(hocket_executable_set(executable, "c", &position, sizeof position));
            OK(hocket_executable_run(executable));
            OK(hocket_executable_output(executable, "y", &cache));
            OK(hocket_tensor_read(cache, got, sizeof got));
            for (int i = 0; i < 48; i++) {
                int row = i / 3 % 8, at = i / 24 * 3 + i % 3;
                assert_true(got[i] == (row <= step ? (float)(100 * row + at) : 0));
            }
            if (step > 0 && hocket_tensor_handle(cache) != place)
                fail_msg("mode %d, step %d: the cache was copied", mode, step);
            place = hocket_tensor_handle(cache);
        }
        hocket_tensor_free(cache);
        hocket_executable_free(executable);
        free_inputs(&u);
    }
}

/* --- attention --- */

typedef struct attention_case {
    int64_t heads, kv_heads, rows, capacity, size, position;
    const int64_t *reads; /* the attribute heads */
} attention_case;

static void attend(const attention_case *c, const use *u, double scale, double *want)
{
    for (int64_t h = 0; h < c->heads; h++)
        for (int64_t i = 0; i < c->rows; i++) {
            int64_t kv = c->reads ? c->reads[h] : h / (c->heads / c->kv_heads);
            const double *q = u->inputs[0].at + (h * c->rows + i) * c->size;
            const double *k = u->inputs[1].at + kv * c->capacity * c->size;
            const double *v = u->inputs[2].at + kv * c->capacity * c->size;
            double *y = want + (h * c->rows + i) * c->size, sum = 0;
            memset(y, 0, (size_t)c->size * sizeof *y);
            for (int64_t col = 0; col <= c->position + i; col++) {
                double score = 0;
                for (int64_t l = 0; l < c->size; l++)
                    score += q[l] * k[col * c->size + l];
                double weight = exp(score * scale);
                sum += weight;
                for (int64_t l = 0; l < c->size; l++)
                    y[l] += weight * v[col * c->size + l];
            }
            for (int64_t l = 0; l < c->size; l++)
                y[l] /= sum;
        }
}

static void attention_of(hocket_dtype dtype, const attention_case *c)
{
    static double want[ELEMENTS_MAX];
    const double scale = 0.25;
    use u = {.op = "attention", .input_count = 4, .attribute_count = c->reads ? 2 : 1};
    u.inputs[0] = cube(dtype, c->heads, c->rows, c->size, 1);
    u.inputs[1] = cube(dtype, c->kv_heads, c->capacity, c->size, 2);
    u.inputs[2] = cube(dtype, c->kv_heads, c->capacity, c->size, 3);
    u.inputs[3] = position_of(c->position);
    u.attributes[0] = hocket_attr_float("scale", scale);
    u.attributes[1] = hocket_attr_ints("heads", c->reads, (size_t)c->heads);
    attend(c, &u, scale, want);
    expect(&u, want);
    free_inputs(&u);
}

static void attention_sees_what_has_been_written(void **state)
{
    (void)state;
    static const int64_t first[] = {0, 0, 0, 1, 1}, second[] = {0, 1, 1, 1}, mixed[] = {2, 0, 2};
    const attention_case cases[] = {
        {4, 4, 1, 9, 8, 0, NULL},      {4, 2, 1, 9, 8, 5, NULL},     {6, 2, 4, 9, 8, 0, NULL},
        {6, 2, 4, 9, 8, 5, NULL},      {5, 2, 1, 9, 8, 8, first},    {4, 2, 3, 9, 8, 2, second},
        {3, 3, 2, 9, 8, 3, mixed},     {2, 1, 130, 200, 8, 40, NULL}, {9, 3, 1, 300, 64, 250, NULL},
        {4, 2, 0, 9, 8, 9, NULL},      {0, 2, 3, 9, 8, 0, NULL},     {2, 2, 3, 9, 0, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int d = 0; d < FLOATS; d++)
            attention_of(floats[d], &cases[i]);
}

/* Scores that overflow exp must not overflow softmax, nor may what has not been written be read. */
static void attention_bears_large_scores_and_unwritten_rows(void **state)
{
    (void)state;
    attention_case c = {1, 1, 1, 4, 2, 1, NULL};
    use u = {.op = "attention", .input_count = 4, .attribute_count = 1};
    u.inputs[0] = cube(HOCKET_FLOAT32, 1, 1, 2, 1);
    u.inputs[1] = cube(HOCKET_FLOAT32, 1, c.capacity, 2, 2);
    u.inputs[2] = cube(HOCKET_FLOAT32, 1, c.capacity, 2, 3);
    u.inputs[3] = position_of(c.position);
    u.attributes[0] = hocket_attr_float("scale", 1000);
    memcpy(u.inputs[0].at, (const double[]){1, 0}, 2 * sizeof(double));
    memcpy(u.inputs[1].at, (const double[]){1, 0, 2, 0, NAN, NAN, NAN, NAN}, 8 * sizeof(double));
    memcpy(u.inputs[2].at, (const double[]){5, 6, 7, 8, NAN, NAN, NAN, NAN}, 8 * sizeof(double));
    expect(&u, (const double[]){7, 8});
    free_inputs(&u);
}

/* --- quantized_linear --- */

static double number_at(const double *words, int64_t at, int bits)
{
    int per_word = 32 / bits;
    uint32_t word = (uint32_t)words[at / per_word];
    return (word >> (at % per_word * bits)) & ((1u << bits) - 1);
}

static void quantized_case(hocket_dtype dtype, hocket_dtype scale_dtype, int64_t rows, int64_t n,
                           int64_t k, int group, int bits)
{
    static double want[ELEMENTS_MAX];
    use u = {.op = "quantized_linear", .input_count = 4, .attribute_count = 2};
    u.inputs[0] = make(dtype, 3, (int64_t[]){1, rows, k}, 1);
    u.inputs[1] = make(HOCKET_UINT32, 2, (int64_t[]){n, k * bits / 32}, 0);
    u.inputs[2] = make(scale_dtype, 2, (int64_t[]){n, k / group}, 3);
    u.inputs[3] = make(scale_dtype, 2, (int64_t[]){n, k / group}, 4);
    u.attributes[0] = hocket_attr_int("group", group);
    u.attributes[1] = hocket_attr_int("bits", bits);
    uint32_t word = 12345;
    for (int64_t i = 0; i < n * k * bits / 32; i++)
        u.inputs[1].at[i] = word = word * 1664525U + 1013904223U;
    for (int64_t i = 0; i < n * k / group; i++)
        u.inputs[2].at[i] /= 64; /* exact, and keeps products near 1 */
    for (int64_t i = 0; i < rows * n; i++) {
        want[i] = 0;
        for (int64_t l = 0; l < k; l++) {
            int64_t at = i % n * k + l;
            want[i] += u.inputs[0].at[i / n * k + l] *
                       (number_at(u.inputs[1].at, at, bits) * u.inputs[2].at[at / group] +
                        u.inputs[3].at[at / group]);
        }
    }
    expect(&u, want);
    free_inputs(&u);
}

static void quantized_weights_multiply_like_their_floats(void **state)
{
    (void)state;
    quantized_case(HOCKET_FLOAT32, HOCKET_FLOAT16, 1, 5, 64, 32, 4);
    quantized_case(HOCKET_FLOAT32, HOCKET_FLOAT16, 3, 70, 96, 32, 4);
    quantized_case(HOCKET_FLOAT32, HOCKET_FLOAT32, 1, 33, 64, 32, 8);
    quantized_case(HOCKET_FLOAT32, HOCKET_BFLOAT16, 5, 4, 128, 64, 8);
    quantized_case(HOCKET_BFLOAT16, HOCKET_FLOAT16, 2, 40, 128, 128, 4);
    quantized_case(HOCKET_FLOAT16, HOCKET_FLOAT16, 1, 40, 64, 64, 8);
    quantized_case(HOCKET_FLOAT32, HOCKET_FLOAT16, 0, 5, 64, 32, 4);
    quantized_case(HOCKET_FLOAT32, HOCKET_FLOAT16, 2, 5, 0, 32, 4);
}

static void dequantize_case(hocket_dtype dtype, int64_t rows, int64_t k, int group, int bits)
{
    static double want[ELEMENTS_MAX];
    use u = {.op = "dequantize", .input_count = 3, .attribute_count = 2};
    u.inputs[0] = make(HOCKET_UINT32, 2, (int64_t[]){rows, k * bits / 32}, 0);
    u.inputs[1] = make(dtype, 2, (int64_t[]){rows, k / group}, 3);
    u.inputs[2] = make(dtype, 2, (int64_t[]){rows, k / group}, 4);
    u.attributes[0] = hocket_attr_int("group", group);
    u.attributes[1] = hocket_attr_int("bits", bits);
    uint32_t word = 54321;
    for (int64_t i = 0; i < rows * k * bits / 32; i++)
        u.inputs[0].at[i] = word = word * 1664525U + 1013904223U;
    for (int64_t i = 0; i < rows * k; i++)
        want[i] = number_at(u.inputs[0].at, i, bits) * u.inputs[1].at[i / group] +
                  u.inputs[2].at[i / group];
    expect(&u, want);
    free_inputs(&u);
}

static void packed_rows_become_floats(void **state)
{
    (void)state;
    dequantize_case(HOCKET_FLOAT32, 3, 96, 32, 4);
    dequantize_case(HOCKET_FLOAT32, 1, 64, 32, 8);
    dequantize_case(HOCKET_FLOAT16, 2, 128, 64, 4);
    dequantize_case(HOCKET_BFLOAT16, 2, 128, 128, 8);
    dequantize_case(HOCKET_FLOAT32, 0, 64, 32, 8);
}

/* --- argmax --- */

static void argmax_case(hocket_dtype dtype, int axis)
{
    const int64_t dims[3] = {3, 700, 2}, inner[3] = {1400, 2, 1};
    static double want[ELEMENTS_MAX];
    use u = {.op = "argmax", .input_count = 1, .attribute_count = 1};
    u.inputs[0] = make(dtype, 3, dims, 5);
    u.attributes[0] = hocket_attr_int("axis", axis);
    int at = axis < 0 ? axis + 3 : axis;
    const double *x = u.inputs[0].at;
    size_t count = 0;
    for (int64_t first = 0; first < 4200; first++) {
        if (first / inner[at] % dims[at] != 0)
            continue;
        want[count] = 0;
        for (int64_t j = 1; j < dims[at]; j++)
            if (x[first + j * inner[at]] > x[first + (int64_t)want[count] * inner[at]])
                want[count] = (double)j;
        count++;
    }
    expect(&u, want);
    free_inputs(&u);
}

static void argmax_is_the_first_of_the_largest(void **state)
{
    (void)state;
    for (int axis = -1; axis < 3; axis++) {
        for (int d = 0; d < FLOATS; d++)
            argmax_case(floats[d], axis);
        argmax_case(HOCKET_INT8, axis);
        argmax_case(HOCKET_INT64, axis);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_rotates_pairs_by_their_position),
        cmocka_unit_test(a_cache_is_written_at_the_position),
        cmocka_unit_test(a_position_outside_is_refused_with_its_numbers),
        cmocka_unit_test(a_cache_stays_where_it_is_from_run_to_run),
        cmocka_unit_test(attention_sees_what_has_been_written),
        cmocka_unit_test(attention_bears_large_scores_and_unwritten_rows),
        cmocka_unit_test(quantized_weights_multiply_like_their_floats),
        cmocka_unit_test(packed_rows_become_floats),
        cmocka_unit_test(argmax_is_the_first_of_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
