/*
 * Every reduction of every dtype, in every table of kernels, against an oracle that works on one
 * element at a time with the arithmetic of the definitions, and shares no code with src/.
 */
#include "core/dtype.h"
#include "core/reduce.h"
#include "core/reduce_kernels.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

enum { INPUTS_MAX = 8, BUILT_IN = HOCKET_PROD + 1 };

/* ---- the oracle ---- */

static bool is_float(hocket_dtype dtype)
{
    return dtype >= HOCKET_FLOAT16;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* volatile: each operation is rounded to its type, whatever the compiler would rather do. */
static float float_op(float a, float b, hocket_reduce reduce)
{
    volatile float result = a;
    if (reduce == HOCKET_SUM || reduce == HOCKET_MEAN) {
        result = a + b;
    } else if (reduce == HOCKET_PROD) {
        result = a * b;
    } else if (!isnan(a) && (isnan(b) || (reduce == HOCKET_MAX ? b > a : b < a))) {
        result = b;
    }
    return isnan(result) ? float_of(0x7fc00000) : result;
}

static double double_op(double a, double b, hocket_reduce reduce)
{
    static const uint64_t quiet = 0x7ff8000000000000;
    volatile double result = a;
    if (reduce == HOCKET_SUM || reduce == HOCKET_MEAN) {
        result = a + b;
    } else if (reduce == HOCKET_PROD) {
        result = a * b;
    } else if (!isnan(a) && (isnan(b) || (reduce == HOCKET_MAX ? b > a : b < a))) {
        result = b;
    }
    double nan;
    memcpy(&nan, &quiet, sizeof nan);
    return isnan(result) ? nan : result;
}

static int complex_compare(const float *a, const float *b)
{
    if (a[0] != b[0]) {
        return a[0] < b[0] ? -1 : 1;
    }
    return a[1] == b[1] ? 0 : a[1] < b[1] ? -1 : 1;
}

static void complex_op(float *a, const float *b, hocket_reduce reduce)
{
    float result[2] = {a[0], a[1]};
    if (reduce == HOCKET_SUM || reduce == HOCKET_MEAN) {
        result[0] = float_op(a[0], b[0], HOCKET_SUM);
        result[1] = float_op(a[1], b[1], HOCKET_SUM);
    } else if (reduce == HOCKET_PROD) {
        volatile float rr = a[0] * b[0], ii = a[1] * b[1], ri = a[0] * b[1], ir = a[1] * b[0];
        volatile float real = rr - ii;
        result[0] = real;
        result[1] = float_op(ri, ir, HOCKET_SUM);
    } else if (!isnan(a[0]) && !isnan(a[1])) {
        const int order = isnan(b[0]) || isnan(b[1]) ? 2 : complex_compare(b, a);
        if (order == 2 || order == (reduce == HOCKET_MAX ? 1 : -1)) {
            memcpy(result, b, sizeof result);
        }
    }
    for (int i = 0; i < 2; i++) {
        a[i] = isnan(result[i]) ? float_of(0x7fc00000) : result[i];
    }
}

static uint64_t integer_op(uint64_t a, uint64_t b, hocket_reduce reduce, bool is_signed)
{
    switch (reduce) {
    case HOCKET_SUM:
        return a + b;
    case HOCKET_PROD:
        return a * b;
    default: {
        const bool above = is_signed ? (int64_t)b > (int64_t)a : b > a;
        return above == (reduce == HOCKET_MAX) ? b : a;
    }
    }
}

/* A half as a float, by its definition. */
static float half_value(uint16_t bits, hocket_dtype dtype)
{
    const int fraction_bits = dtype == HOCKET_FLOAT16 ? 10 : 7;
    const int special = dtype == HOCKET_FLOAT16 ? 31 : 255, bias = special / 2;
    const int fraction = bits & ((1 << fraction_bits) - 1);
    const int exponent = (bits >> fraction_bits) & special;
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    if (exponent == special) {
        return fraction != 0 ? NAN : sign * INFINITY;
    }
    const int lead = exponent != 0 ? 1 << fraction_bits : 0;
    return sign * (float)ldexp(lead + fraction, (exponent ? exponent : 1) - bias - fraction_bits);
}

/* The half nearest to a float: its distance from zero in steps of the half's last place, rounded.
 */
static uint16_t half_bits(float value, hocket_dtype dtype)
{
    const int fraction_bits = dtype == HOCKET_FLOAT16 ? 10 : 7;
    const int special = dtype == HOCKET_FLOAT16 ? 31 : 255, bias = special / 2;
    const unsigned sign = signbit(value) ? 0x8000 : 0;
    if (isnan(value)) { /* after a reduction there is but one */
        return (uint16_t)((special << fraction_bits) | (1 << (fraction_bits - 1)));
    }
    if (isinf(value)) {
        return (uint16_t)(sign | (unsigned)(special << fraction_bits));
    }
    int exponent = value != 0 ? ilogb(fabs((double)value)) : 1 - bias;
    exponent = exponent < 1 - bias ? 1 - bias : exponent;
    const double steps = nearbyint(ldexp(fabs((double)value), fraction_bits - exponent));
    /* Steps of the lowest exponent count from zero, those of the others from their lead. */
    const long bits = (long)steps + ((long)(exponent + bias - 1) << fraction_bits);
    const long infinity = (long)special << fraction_bits;
    return (uint16_t)(sign | (unsigned)(bits < infinity ? bits : infinity));
}

/* One element of any type but halves, complex and bool, widened to 64 bits; and cut again. */
static uint64_t load_integer(const unsigned char *at, size_t size, bool is_signed)
{
    uint64_t value = 0;
    memcpy(&value, at, size); /* little endian, as are the machines that run this */
    const int unused = 64 - 8 * (int)size;
    return is_signed ? (uint64_t)((int64_t)(value << unused) >> unused) : value;
}

static void oracle_half(unsigned char *out, const unsigned char *const *in, int n,
                        hocket_dtype dtype, hocket_reduce reduce)
{
    uint16_t bits;
    float sum = 0;
    for (int k = 0; k < n; k++) {
        memcpy(&bits, in[k], sizeof bits);
        const float value = half_value(bits, dtype);
        sum = k == 0 ? value : float_op(sum, value, reduce);
    }
    bits = half_bits(reduce == HOCKET_MEAN ? sum / (float)n : sum, dtype);
    memcpy(out, &bits, sizeof bits);
}

static void oracle_float(unsigned char *out, const unsigned char *const *in, int n,
                         hocket_dtype dtype, hocket_reduce reduce)
{
    double wide = 0, next_wide;
    float pair[2] = {0}, next[2] = {0};
    const size_t size = hocket_dtype_size(dtype);
    for (int k = 0; k < n; k++) {
        if (dtype == HOCKET_FLOAT64) {
            memcpy(&next_wide, in[k], size);
            wide = k == 0 ? next_wide : double_op(wide, next_wide, reduce);
            continue;
        }
        memcpy(next, in[k], size);
        if (k == 0) {
            memcpy(pair, next, sizeof pair);
        } else if (dtype == HOCKET_COMPLEX64) {
            complex_op(pair, next, reduce);
        } else {
            pair[0] = float_op(pair[0], next[0], reduce);
        }
    }
    if (reduce == HOCKET_MEAN) {
        wide /= n;
        pair[0] /= (float)n;
        pair[1] /= (float)n;
    }
    memcpy(out, dtype == HOCKET_FLOAT64 ? (void *)&wide : (void *)pair, size);
}

/* The fold of one element; in[k] points at it. n > 1. */
static void oracle(unsigned char *out, const unsigned char *const *in, int n, hocket_dtype dtype,
                   hocket_reduce reduce)
{
    if (dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16) {
        oracle_half(out, in, n, dtype, reduce);
    } else if (is_float(dtype)) {
        oracle_float(out, in, n, dtype, reduce);
    } else if (dtype == HOCKET_BOOL) {
        int trues = 0;
        for (int k = 0; k < n; k++) {
            trues += in[k][0] != 0;
        }
        out[0] = reduce == HOCKET_SUM || reduce == HOCKET_MAX ? trues > 0 : trues == n;
    } else {
        const size_t size = hocket_dtype_size(dtype);
        const bool is_signed = dtype <= HOCKET_INT64;
        uint64_t value = load_integer(in[0], size, is_signed);
        for (int k = 1; k < n; k++) {
            value = integer_op(value, load_integer(in[k], size, is_signed), reduce, is_signed);
            value = load_integer((unsigned char *)&value, size, is_signed);
        }
        memcpy(out, &value, size);
    }
}

/* ---- inputs ---- */

static uint64_t random_bits(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* Numbers where floats do something special, as f64: the smaller formats take them over by
 * rounding. */
static const double specials[] = {
    0.0,   -0.0,     1.0,      -1.0,      3.0,       0.5,     INFINITY, -INFINITY, NAN,
    -NAN,  65504.0,  65520.0,  -65504.0,  0x1p-24,   0x1p-25, 0x1p-14,  3e38,      -3e38,
    1e308, 0x1p-149, 0x1p-126, 0x1p-1074, 1.0 / 3.0, 2049.0,  257.0,
};

static void put_special(unsigned char *at, hocket_dtype dtype, double value)
{
    const float narrow = (float)value;
    const uint16_t half = half_bits(narrow, dtype);
    switch (dtype) {
    case HOCKET_FLOAT16:
    case HOCKET_BFLOAT16:
        memcpy(at, &half, sizeof half);
        break;
    case HOCKET_FLOAT64:
        memcpy(at, &value, sizeof value);
        break;
    default:
        memcpy(at, &narrow, sizeof narrow);
    }
}

/* A third of the floats are specials, a third any bits (NaNs with payloads, subnormals), a third
 * small numbers. */
static void fill(unsigned char *data, size_t count, hocket_dtype dtype, uint64_t seed)
{
    const bool pairs = dtype == HOCKET_COMPLEX64;
    const size_t size = pairs ? sizeof(float) : hocket_dtype_size(dtype);
    for (size_t i = 0; i < (pairs ? 2 * count : count); i++) {
        const uint64_t bits = random_bits(&seed);
        const uint64_t kind = (bits >> 60) % 3;
        unsigned char *at = data + i * size;
        memcpy(at, &bits, size);
        if (dtype == HOCKET_BOOL) {
            *at = bits % 4 == 0 ? 0 : bits % 4 == 1 ? 1 : *at;
        } else if (is_float(dtype) && kind == 0) {
            put_special(at, dtype, specials[bits % (sizeof specials / sizeof specials[0])]);
        } else if (is_float(dtype) && kind == 1) {
            put_special(at, dtype, (double)(bits % 2001) / 64 - 15);
        }
    }
}

struct buffers {
    unsigned char *in[INPUTS_MAX], *expected, *out;
};

static void make_buffers(struct buffers *b, int n, size_t bytes)
{
    for (int k = 0; k < n; k++) {
        b->in[k] = malloc(bytes + 1);
        assert_non_null(b->in[k]);
    }
    b->expected = malloc(bytes + 1);
    b->out = malloc(bytes + 1);
    assert_true(b->expected != NULL && b->out != NULL);
}

static void free_buffers(struct buffers *b, int n)
{
    for (int k = 0; k < n; k++) {
        free(b->in[k]);
    }
    free(b->expected);
    free(b->out);
}

/* Fills n inputs and computes what to expect. */
static void prepare(struct buffers *b, int n, size_t count, hocket_dtype dtype,
                    hocket_reduce reduce)
{
    const size_t size = hocket_dtype_size(dtype);
    make_buffers(b, n, count * size);
    for (int k = 0; k < n; k++) {
        fill(b->in[k], count, dtype, 1000003u * (unsigned)dtype + 101u * (unsigned)k + count);
    }
    for (size_t i = 0; i < count; i++) {
        const unsigned char *at[INPUTS_MAX];
        for (int k = 0; k < n; k++) {
            at[k] = b->in[k] + i * size;
        }
        if (n == 1) {
            memcpy(b->expected + i * size, at[0], size);
        } else {
            oracle(b->expected + i * size, at, n, dtype, reduce);
        }
    }
}

static void check_equal(const char *what, const unsigned char *got, const unsigned char *expected,
                        size_t count, hocket_dtype dtype, hocket_reduce reduce, int n)
{
    const size_t size = hocket_dtype_size(dtype);
    for (size_t i = 0; i < count; i++) {
        if (memcmp(got + i * size, expected + i * size, size) != 0) {
            uint64_t g = 0, e = 0;
            memcpy(&g, got + i * size, size);
            memcpy(&e, expected + i * size, size);
            fail_msg("%s: %s of %d %s, element %zu of %zu: %llx, expected %llx", what,
                     hk_reduce_name(reduce), n, hocket_dtype_name(dtype), i, count,
                     (unsigned long long)g, (unsigned long long)e);
        }
    }
}

/* ---- folds against the oracle ---- */

static void check_fold(int n, size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    struct buffers b;
    prepare(&b, n, count, dtype, reduce);
    const size_t bytes = count * hocket_dtype_size(dtype);
    const void *inputs[INPUTS_MAX];
    memcpy(inputs, b.in, (size_t)n * sizeof inputs[0]);
    assert_int_equal(hk_reduce_fold(b.out, inputs, n, count, dtype, reduce), HOCKET_OK);
    check_equal("fold", b.out, b.expected, count, dtype, reduce, n);
    for (size_t t = 0; n > 1 && hk_kernels_at(t) != NULL; t++) {
        memset(b.out, 0xa5, bytes);
        hk_reduce_fold_with(hk_kernels_at(t), b.out, inputs, n, count, dtype, reduce);
        check_equal(hk_kernels_at(t)->name, b.out, b.expected, count, dtype, reduce, n);
    }
    for (int k = 0; k < n; k++) { /* onto each input, which is put back afterwards */
        memcpy(b.out, b.in[k], bytes);
        hk_reduce_fold(b.in[k], inputs, n, count, dtype, reduce);
        check_equal("fold in place", b.in[k], b.expected, count, dtype, reduce, n);
        memcpy(b.in[k], b.out, bytes);
    }
    free_buffers(&b, n);
}

typedef void check_fn(int n, size_t count, hocket_dtype dtype, hocket_reduce reduce);

static void for_all(check_fn *check, const int *ns, size_t n_count)
{
    static const size_t counts[] = {0, 1, 7, 64, 1023, 4099, 20000};
    for (int dtype = 0; dtype < HK_DTYPE_COUNT; dtype++) {
        for (int reduce = 0; reduce < BUILT_IN; reduce++) {
            if (!hk_reduce_defined((hocket_dtype)dtype, (hocket_reduce)reduce)) {
                continue;
            }
            for (size_t i = 0; i < n_count * sizeof counts / sizeof counts[0]; i++) {
                check(ns[i % n_count], counts[i / n_count], (hocket_dtype)dtype,
                      (hocket_reduce)reduce);
            }
        }
    }
}

static void folds_equal_the_oracle(void **state)
{
    (void)state;
    static const int ns[] = {1, 2, 3, 5, 8};
    for_all(check_fold, ns, sizeof ns / sizeof ns[0]);
}

static void check_pair(int n, size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    struct buffers b;
    /* Division aside, a pair is the fold of two; what is left is to divide what the pair gave. */
    prepare(&b, n, count, dtype, reduce == HOCKET_MEAN ? HOCKET_SUM : reduce);
    const size_t bytes = count * hocket_dtype_size(dtype);
    memcpy(b.out, b.in[1], bytes);
    hk_reduce_pair(b.out, b.in[0], true, count, dtype, reduce);
    check_equal("pair, in lower", b.out, b.expected, count, dtype, reduce, n);
    memcpy(b.out, b.in[0], bytes);
    hk_reduce_pair(b.out, b.in[1], false, count, dtype, reduce);
    check_equal("pair, in higher", b.out, b.expected, count, dtype, reduce, n);
    hk_reduce_finish(b.out, count, dtype, reduce, 1);
    check_equal("finish of one", b.out, b.expected, count, dtype, reduce, n);
    free_buffers(&b, n);
}

static void pairs_equal_folds_of_two(void **state)
{
    (void)state;
    static const int ns[] = {2};
    for_all(check_pair, ns, 1);
}

/* Values that every dtype with a mean holds exactly: 3 * k summed over k, divided by n. */
static void finish_divides_means_and_nothing_else(void **state)
{
    (void)state;
    enum { COUNT = 5000, N = 3 };
    static float data[2 * COUNT], out[2 * COUNT];
    static uint16_t halves[COUNT];
    for (int i = 0; i < 2 * COUNT; i++) {
        data[i] = (float)(i % 100) * N;
    }
    memcpy(out, data, sizeof out);
    hk_reduce_finish(out, COUNT, HOCKET_COMPLEX64, HOCKET_SUM, N);
    assert_memory_equal(out, data, sizeof out);
    hk_reduce_finish(out, COUNT, HOCKET_COMPLEX64, HOCKET_MEAN, N);
    for (int i = 0; i < 2 * COUNT; i++) {
        assert_true(out[i] == (float)(i % 100));
    }
    for (int dtype = HOCKET_FLOAT16; dtype <= HOCKET_BFLOAT16; dtype++) {
        for (int i = 0; i < COUNT; i++) {
            halves[i] = half_bits((float)(i % 50) * N, (hocket_dtype)dtype);
        }
        hk_reduce_finish(halves, COUNT, (hocket_dtype)dtype, HOCKET_MEAN, N);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(halves[i], half_bits((float)(i % 50), (hocket_dtype)dtype));
        }
    }
}

static void as_many_inputs_as_ranks_can_be(void **state)
{
    (void)state;
    enum { N = 4096, COUNT = 17 };
    static int32_t values[N][COUNT], sum[COUNT];
    static uint16_t ones[COUNT], total[COUNT];
    static const void *inputs[N];
    for (int k = 0; k < N; k++) {
        inputs[k] = values[k];
        for (int i = 0; i < COUNT; i++) {
            values[k][i] = k + i;
        }
    }
    hk_reduce_fold(sum, inputs, N, COUNT, HOCKET_INT32, HOCKET_SUM);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(sum[i], N * (N - 1) / 2 + N * i);
        ones[i] = half_bits(1, HOCKET_BFLOAT16);
    }
    /* In bfloat16 itself the sum would stick at 256: the accumulators are wider. */
    for (int k = 0; k < N; k++) {
        inputs[k] = ones;
    }
    hk_reduce_fold(total, inputs, N, COUNT, HOCKET_BFLOAT16, HOCKET_SUM);
    assert_int_equal(total[COUNT - 1], half_bits(N, HOCKET_BFLOAT16));
    hk_reduce_fold(total, inputs, N, COUNT, HOCKET_BFLOAT16, HOCKET_MEAN);
    assert_int_equal(total[COUNT - 1], ones[0]);
}

/* All tables, all bits: what random inputs have in common with each other they need not share with
 * the oracle. */
static void tables_agree_on_random_bits(void **state)
{
    (void)state;
    enum { COUNT = 30011, N = 3 };
    static uint64_t in[N][COUNT], base[COUNT], out[COUNT];
    const void *inputs[N] = {in[0], in[1], in[2]};
    uint64_t seed = 42;
    for (size_t i = 0; i < (size_t)N * COUNT; i++) {
        in[i / COUNT][i % COUNT] = random_bits(&seed);
    }
    for (int dtype = 0; dtype < HK_DTYPE_COUNT; dtype++) {
        for (int reduce = 0; reduce < BUILT_IN; reduce++) {
            if (!hk_reduce_defined((hocket_dtype)dtype, (hocket_reduce)reduce)) {
                continue;
            }
            const size_t count = sizeof in[0] / hocket_dtype_size((hocket_dtype)dtype);
            hk_reduce_fold_with(hk_kernels_base, base, inputs, N, count, (hocket_dtype)dtype,
                                (hocket_reduce)reduce);
            for (size_t t = 0; hk_kernels_at(t) != NULL; t++) {
                hk_reduce_fold_with(hk_kernels_at(t), out, inputs, N, count, (hocket_dtype)dtype,
                                    (hocket_reduce)reduce);
                check_equal(hk_kernels_at(t)->name, (unsigned char *)out, (unsigned char *)base,
                            count, (hocket_dtype)dtype, (hocket_reduce)reduce, N);
            }
        }
    }
}

/* ---- rules, by hand ---- */

static void integers_wrap(void **state)
{
    (void)state;
    const int32_t a32 = INT32_MAX, b32 = 1;
    const int16_t a16 = -32768, b16 = -1;
    const uint16_t u16 = 65535;
    const int8_t a8 = 100;
    const int64_t a64 = INT64_MIN;
    int32_t out32;
    int16_t out16;
    int8_t out8;
    int64_t out64;
    hk_reduce_fold(&out32, (const void *[]){&a32, &b32}, 2, 1, HOCKET_INT32, HOCKET_SUM);
    assert_true(out32 == INT32_MIN);
    hk_reduce_fold(&out32, (const void *[]){&a32, &a32}, 2, 1, HOCKET_INT32, HOCKET_PROD);
    assert_true(out32 == 1);
    hk_reduce_fold(&out16, (const void *[]){&a16, &b16}, 2, 1, HOCKET_INT16, HOCKET_PROD);
    assert_true(out16 == -32768);
    hk_reduce_fold(&out16, (const void *[]){&u16, &u16}, 2, 1, HOCKET_UINT16, HOCKET_PROD);
    assert_true(out16 == 1);
    hk_reduce_fold(&out8, (const void *[]){&a8, &a8}, 2, 1, HOCKET_INT8, HOCKET_SUM);
    assert_true(out8 == -56);
    hk_reduce_fold(&out64, (const void *[]){&a64, &a64}, 2, 1, HOCKET_INT64, HOCKET_SUM);
    assert_true(out64 == 0);
}

static void the_first_of_equal_zeros_stays(void **state)
{
    (void)state;
    const float plus = 0.0f, minus = -0.0f;
    float out;
    for (int reduce = HOCKET_MAX; reduce <= HOCKET_MIN; reduce++) {
        hk_reduce_fold(&out, (const void *[]){&plus, &minus}, 2, 1, HOCKET_FLOAT32,
                       (hocket_reduce)reduce);
        assert_false(signbit(out));
        hk_reduce_fold(&out, (const void *[]){&minus, &plus}, 2, 1, HOCKET_FLOAT32,
                       (hocket_reduce)reduce);
        assert_true(signbit(out));
    }
}

static void a_nan_is_handed_on(void **state)
{
    (void)state;
    const float numbers[3] = {1, NAN, 2};
    const float complexes[3][2] = {{1, 2}, {3, NAN}, {9, 9}};
    for (int at = 0; at < 3; at++) {
        float out, pair[2];
        const void *in[3] = {&numbers[at], &numbers[(at + 1) % 3], &numbers[(at + 2) % 3]};
        const void *pairs[3] = {complexes[at], complexes[(at + 1) % 3], complexes[(at + 2) % 3]};
        for (int reduce = 0; reduce < BUILT_IN; reduce++) {
            hk_reduce_fold(&out, in, 3, 1, HOCKET_FLOAT32, (hocket_reduce)reduce);
            assert_int_equal(bits_of(out), 0x7fc00000);
        }
        for (int reduce = HOCKET_MAX; reduce <= HOCKET_MIN; reduce++) {
            hk_reduce_fold(pair, pairs, 3, 1, HOCKET_COMPLEX64, (hocket_reduce)reduce);
            assert_true(pair[0] == 3 && isnan(pair[1]));
        }
    }
}

static void what_is_defined_and_what_not(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < HK_DTYPE_COUNT; dtype++) {
        for (int reduce = 0; reduce < BUILT_IN; reduce++) {
            const bool defined = reduce != HOCKET_MEAN || is_float((hocket_dtype)dtype);
            assert_int_equal(hk_reduce_defined((hocket_dtype)dtype, (hocket_reduce)reduce),
                             defined);
        }
    }
    static const int no_reduce[] = {-1, BUILT_IN, HOCKET_REDUCE_USER - 1, HOCKET_REDUCE_USER,
                                    HOCKET_REDUCE_USER + HK_REDUCE_USER_MAX};
    for (size_t i = 0; i < sizeof no_reduce / sizeof no_reduce[0]; i++) {
        assert_false(hk_reduce_defined(HOCKET_FLOAT32, (hocket_reduce)no_reduce[i]));
        assert_false(hk_reduce_commutes((hocket_reduce)no_reduce[i]));
    }
    assert_false(hk_reduce_defined((hocket_dtype)-1, HOCKET_SUM));
    assert_false(hk_reduce_defined((hocket_dtype)HK_DTYPE_COUNT, HOCKET_SUM));
    assert_true(hk_reduce_commutes(HOCKET_MAX));
    assert_string_equal(hk_reduce_name(HOCKET_SUM), "sum");
    assert_string_equal(hk_reduce_name(HOCKET_MEAN), "mean");
    assert_string_equal(hk_reduce_name(HOCKET_MAX), "max");
    assert_string_equal(hk_reduce_name(HOCKET_MIN), "min");
    assert_string_equal(hk_reduce_name(HOCKET_PROD), "prod");
    assert_string_equal(hk_reduce_name(HOCKET_REDUCE_USER), "user");
    assert_string_equal(hk_reduce_name((hocket_reduce)77), "unknown reduction");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_equal_the_oracle),
        cmocka_unit_test(pairs_equal_folds_of_two),
        cmocka_unit_test(finish_divides_means_and_nothing_else),
        cmocka_unit_test(as_many_inputs_as_ranks_can_be),
        cmocka_unit_test(tables_agree_on_random_bits),
        cmocka_unit_test(integers_wrap),
        cmocka_unit_test(the_first_of_equal_zeros_stays),
        cmocka_unit_test(a_nan_is_handed_on),
        cmocka_unit_test(what_is_defined_and_what_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
