/* Dtypes, and the conversions of halves against definitions that share nothing with them. */
#include "core/dtype.h"
#include "core/half.h"
#include "core/reduce_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

struct format {
    int fraction_bits, bias, exponent_max;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
};

static const struct format f16 = {10, 15, 31, hk_f16_to_f32, hk_f32_to_f16};
static const struct format bf16 = {7, 127, 255, hk_bf16_to_f32, hk_f32_to_bf16};

/* The number that a half's bits stand for, by the definition of the format. */
static double value_of(const struct format *format, uint16_t bits)
{
    const int fraction = bits & ((1 << format->fraction_bits) - 1);
    const int exponent = (bits >> format->fraction_bits) & format->exponent_max;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == format->exponent_max) {
        return fraction != 0 ? NAN : sign * INFINITY;
    }
    const int lead = exponent != 0 ? 1 << format->fraction_bits : 0;
    const int power = (exponent != 0 ? exponent : 1) - format->bias - format->fraction_bits;
    return sign * ldexp(lead + fraction, power);
}

static bool is_nan_pattern(const struct format *format, uint16_t bits)
{
    const uint16_t infinity = (uint16_t)(format->exponent_max << format->fraction_bits);
    return (bits & 0x7fff) > infinity;
}

static void check_every_pattern(const struct format *format)
{
    const uint16_t quiet = (uint16_t)(1 << (format->fraction_bits - 1));
    for (uint32_t i = 0; i <= 0xffff; i++) {
        const uint16_t bits = (uint16_t)i;
        const float wide = format->widen(bits);
        if (is_nan_pattern(format, bits)) {
            assert_true(isnan(wide));
            assert_int_equal(format->narrow(wide), bits | quiet);
            continue;
        }
        assert_true((double)wide == value_of(format, bits));
        assert_int_equal(!!signbit(wide), bits >> 15);
        assert_int_equal(format->narrow(wide), bits);
    }
}

static void every_half_pattern_widens_exactly_and_comes_back(void **state)
{
    (void)state;
    check_every_pattern(&f16);
    check_every_pattern(&bf16);
}

/* Between neighbours: the middle goes to the even one, the floats just beside it to the nearer one.
 */
static void check_ties(const struct format *format)
{
    const uint16_t infinity = (uint16_t)(format->exponent_max << format->fraction_bits);
    for (uint16_t low = 0; low < infinity; low++) {
        const double below = value_of(format, low);
        double above = value_of(format, (uint16_t)(low + 1));
        if (isinf(above)) { /* what would be the next number, were there more exponents */
            above = below + (below - value_of(format, (uint16_t)(low - 1)));
        }
        const float middle = (float)((below + above) / 2);
        assert_true((double)middle == (below + above) / 2);
        const uint16_t even = (uint16_t)(low + (low & 1)), high = (uint16_t)(low + 1);
        assert_int_equal(format->narrow(middle), even);
        assert_int_equal(format->narrow(-middle), even | 0x8000);
        assert_int_equal(format->narrow(nextafterf(middle, 0)), low);
        assert_int_equal(format->narrow(nextafterf(middle, INFINITY)), high);
    }
}

static void narrowing_rounds_to_the_nearest_and_ties_to_even(void **state)
{
    (void)state;
    check_ties(&f16);
    check_ties(&bf16);
}

static void narrowing_at_the_edges(void **state)
{
    (void)state;
    assert_int_equal(hk_f32_to_f16(65504.0f), 0x7bff);
    assert_int_equal(hk_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(hk_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(hk_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(hk_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(hk_f32_to_f16(0x1p-149f), 0);
    assert_int_equal(hk_f32_to_f16(-0x1p-25f), 0x8000);
    assert_int_equal(hk_f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(hk_f32_to_bf16(0x1.fffffep127f), 0x7f80);
    assert_int_equal(hk_f32_to_bf16(0x1p-149f), 0);
    /* NaNs whose payload lies in the part that is cut off, or is all ones. */
    assert_int_equal(hk_f32_to_f16(hk_f32_from_bits(0x7f800001)), 0x7e00);
    assert_int_equal(hk_f32_to_bf16(hk_f32_from_bits(0x7f800001)), 0x7fc0);
    assert_int_equal(hk_f32_to_f16(hk_f32_from_bits(0xffffffff)), 0xffff);
    assert_int_equal(hk_f32_to_bf16(hk_f32_from_bits(0xffffffff)), 0xffff);
}

/* The conversions of the kernels, which may be instructions, on every pattern and on the floats
 * around. */
static void check_kernel_conversions(const struct hk_kernels *kernels, hocket_dtype dtype,
                                     const struct format *format)
{
    enum { PATTERNS = 0x10000, NEAR = 7 };
    uint16_t *halves = malloc(PATTERNS * sizeof *halves);
    float *floats = malloc(PATTERNS * sizeof *floats);
    assert_true(halves != NULL && floats != NULL);
    for (size_t i = 0; i < PATTERNS; i++) {
        halves[i] = (uint16_t)i;
    }
    kernels->widen[dtype](floats, halves, PATTERNS);
    for (size_t i = 0; i < PATTERNS; i++) {
        assert_int_equal(hk_f32_bits(floats[i]), hk_f32_bits(format->widen((uint16_t)i)));
    }
    for (uint32_t delta = 0; delta < NEAR; delta++) {
        for (uint32_t i = 0; i < PATTERNS;
             i++) { /* the upper half is i, the lower one near a tie */
            const uint32_t bits = (i << 16) + delta * 0x7fffu / 3 + delta;
            const float value = hk_f32_from_bits(bits);
            floats[i] = isnan(value) ? NAN : value;
        }
        kernels->narrow[dtype](halves, floats, PATTERNS - 1); /* an odd count: a tail too */
        for (size_t i = 0; i < PATTERNS - 1; i++) {
            assert_int_equal(halves[i], format->narrow(floats[i]));
        }
    }
    free(halves);
    free(floats);
}

static void kernels_convert_alike(void **state)
{
    (void)state;
    for (size_t i = 0; hk_kernels_at(i) != NULL; i++) {
        check_kernel_conversions(hk_kernels_at(i), HOCKET_FLOAT16, &f16);
        check_kernel_conversions(hk_kernels_at(i), HOCKET_BFLOAT16, &bf16);
    }
}

static void dtypes_have_names_and_sizes(void **state)
{
    (void)state;
    static const struct {
        hocket_dtype dtype;
        const char *name;
        size_t size;
    } expected[HK_DTYPE_COUNT] = {
        {HOCKET_BOOL, "bool", 1},         {HOCKET_INT8, "int8", 1},
        {HOCKET_INT16, "int16", 2},       {HOCKET_INT32, "int32", 4},
        {HOCKET_INT64, "int64", 8},       {HOCKET_UINT8, "uint8", 1},
        {HOCKET_UINT16, "uint16", 2},     {HOCKET_UINT32, "uint32", 4},
        {HOCKET_UINT64, "uint64", 8},     {HOCKET_FLOAT16, "float16", 2},
        {HOCKET_BFLOAT16, "bfloat16", 2}, {HOCKET_FLOAT32, "float32", 4},
        {HOCKET_FLOAT64, "float64", 8},   {HOCKET_COMPLEX64, "complex64", 8},
    };
    for (int i = 0; i < HK_DTYPE_COUNT; i++) {
        assert_int_equal(expected[i].dtype, i);
        assert_true(hk_dtype_valid(i));
        assert_string_equal(hocket_dtype_name(expected[i].dtype), expected[i].name);
        assert_int_equal(hocket_dtype_size(expected[i].dtype), expected[i].size);
    }
}

static void what_is_no_dtype_is_told_apart(void **state)
{
    (void)state;
    static const int wrong[] = {-1, HK_DTYPE_COUNT, 1 << 30};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        size_t bytes = 7;
        assert_false(hk_dtype_valid(wrong[i]));
        assert_int_equal(hocket_dtype_size((hocket_dtype)wrong[i]), 0);
        assert_string_equal(hocket_dtype_name((hocket_dtype)wrong[i]), "unknown dtype");
        assert_false(hk_bytes(1, (hocket_dtype)wrong[i], &bytes));
        assert_int_equal(bytes, 7);
    }
}

static void sizes_in_bytes_do_not_overflow(void **state)
{
    (void)state;
    size_t bytes = 7;
    assert_true(hk_bytes(0, HOCKET_FLOAT64, &bytes));
    assert_int_equal(bytes, 0);
    assert_true(hk_bytes(SIZE_MAX / 8, HOCKET_FLOAT64, &bytes));
    assert_int_equal(bytes, SIZE_MAX / 8 * 8);
    assert_false(hk_bytes(SIZE_MAX / 8 + 1, HOCKET_FLOAT64, &bytes));
    assert_int_equal(bytes, SIZE_MAX / 8 * 8);
    assert_true(hk_bytes(SIZE_MAX, HOCKET_BOOL, &bytes));
    assert_int_equal(bytes, SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_names_and_sizes),
        cmocka_unit_test(what_is_no_dtype_is_told_apart),
        cmocka_unit_test(sizes_in_bytes_do_not_overflow),
        cmocka_unit_test(every_half_pattern_widens_exactly_and_comes_back),
        cmocka_unit_test(narrowing_rounds_to_the_nearest_and_ties_to_even),
        cmocka_unit_test(narrowing_at_the_edges),
        cmocka_unit_test(kernels_convert_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
