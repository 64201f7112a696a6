/*
 * The loops of the reductions, in plain C that compilers turn into vector code. Whoever includes
 * this defines before:
 *
 *   HK_KERNELS        the name of the table, hk_kernels_...
 *   HK_KERNELS_NAME   the same for people, a string
 *   HK_F16_LANES      how many halves the next two convert at once
 *   f16_widen_lanes(float *, const uint16_t *), f16_narrow_lanes(uint16_t *, const float *)
 *
 * Results must not depend on the instruction set, nor on whether an element falls into the body of
 * a vector loop or into its tail. Single IEEE operations do not, as long as none are fused
 * (-ffp-contract=off), except for one thing: which of two NaNs survives depends on the order of
 * operands, and compilers swap those of + and *. So every NaN that leaves a step is the same one.
 */
#include "core/half.h"
#include "core/reduce_kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* The iterations are independent of each other, also when out is one of the inputs. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"
#define HK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define HK_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* A step whose result is an expression in the left operand a and the right operand b. */
#define HK_STEP(name, type, expression)                                                            \
    static void name(void *out_, const void *left_, const void *right_, size_t count)              \
    {                                                                                              \
        type *out = out_;                                                                          \
        const type *left = left_, *right = right_;                                                 \
        HK_INDEPENDENT                                                                             \
        for (size_t i = 0; i < count; i++) {                                                       \
            const type a = left[i], b = right[i];                                                  \
            out[i] = (type)(expression);                                                           \
        }                                                                                          \
    }

/* ---- bool: any byte but 0 is true ---- */

HK_STEP(step_or, uint8_t, (a | b) != 0)
HK_STEP(step_and, uint8_t, (a != 0) & (b != 0))

/* ---- integers: they wrap, in unsigned types that are not promoted to int ---- */

#define HK_INTEGER_STEPS(bits, arithmetic)                                                         \
    HK_STEP(step_sum_##bits, uint##bits##_t, (arithmetic)a + (arithmetic)b)                        \
    HK_STEP(step_prod_##bits, uint##bits##_t, ((arithmetic)a) * ((arithmetic)b))                   \
    HK_STEP(step_max_i##bits, int##bits##_t, a >= b ? a : b)                                       \
    HK_STEP(step_min_i##bits, int##bits##_t, a <= b ? a : b)                                       \
    HK_STEP(step_max_u##bits, uint##bits##_t, a >= b ? a : b)                                      \
    HK_STEP(step_min_u##bits, uint##bits##_t, a <= b ? a : b)

HK_INTEGER_STEPS(8, uint32_t)
HK_INTEGER_STEPS(16, uint32_t)
HK_INTEGER_STEPS(32, uint32_t)
HK_INTEGER_STEPS(64, uint64_t)

/* ---- floats ---- */

#define HK_FLOAT_STEPS(suffix, type)                                                               \
    static inline type one_nan_##suffix(type value)                                                \
    {                                                                                              \
        return value != value ? (type)NAN : value;                                                 \
    }                                                                                              \
    /* A NaN on the left stays; one on the right wins, since no comparison holds with it. */       \
    HK_STEP(step_max_##suffix, type, one_nan_##suffix(((a >= b) | (a != a)) ? a : b))              \
    HK_STEP(step_min_##suffix, type, one_nan_##suffix(((a <= b) | (a != a)) ? a : b))              \
    HK_STEP(step_sum_##suffix, type, one_nan_##suffix(a + b))                                      \
    HK_STEP(step_prod_##suffix, type, one_nan_##suffix((a) * (b)))                                 \
    static void divide_##suffix(void *out_, const void *in_, size_t count, int divisor)            \
    {                                                                                              \
        type *out = out_;                                                                          \
        const type *in = in_;                                                                      \
        HK_INDEPENDENT                                                                             \
        for (size_t i = 0; i < count; i++) {                                                       \
            out[i] = in[i] / (type)divisor;                                                        \
        }                                                                                          \
    }

HK_FLOAT_STEPS(f32, float)
HK_FLOAT_STEPS(f64, double)

/* ---- complex64: pairs of floats ---- */

static void step_sum_c64(void *out, const void *left, const void *right, size_t count)
{
    step_sum_f32(out, left, right, 2 * count);
}

static void divide_c64(void *out, const void *in, size_t count, int divisor)
{
    divide_f32(out, in, 2 * count, divisor);
}

/*
 * A minus without a minus: of a difference beside a sum, gcc 12 makes one fused instruction,
 * forbidden or not (vfmaddsub).
 */
static inline float negated(float value)
{
    return hk_f32_from_bits(hk_f32_bits(value) ^ 0x80000000u);
}

/* The schoolbook product: without C's repair of infinities, as other libraries have it. */
static void step_prod_c64(void *out_, const void *left_, const void *right_, size_t count)
{
    float *out = out_;
    const float *left = left_, *right = right_;
    HK_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const float a = left[2 * i], b = left[2 * i + 1];
        const float c = right[2 * i], d = right[2 * i + 1];
        out[2 * i] = one_nan_f32(a * c + negated(b * d));
        out[2 * i + 1] = one_nan_f32(a * d + b * c);
    }
}

/* The order of complex numbers is by real part, then by imaginary part; a NaN in either part goes
 * before all. */
#define HK_COMPLEX_SELECT(name, better)                                                            \
    static void name(void *out_, const void *left_, const void *right_, size_t count)              \
    {                                                                                              \
        float *out = out_;                                                                         \
        const float *left = left_, *right = right_;                                                \
        HK_INDEPENDENT                                                                             \
        for (size_t i = 0; i < count; i++) {                                                       \
            const float a = left[2 * i], b = left[2 * i + 1];                                      \
            const float c = right[2 * i], d = right[2 * i + 1];                                    \
            const int left_nan = (a != a) | (b != b), right_sound = (c == c) & (d == d);           \
            const int ahead = (a better c) | ((a == c) & ((b better d) | (b == d)));               \
            const int keep = left_nan | (right_sound & ahead);                                     \
            out[2 * i] = one_nan_f32(keep ? a : c);                                                \
            out[2 * i + 1] = one_nan_f32(keep ? b : d);                                            \
        }                                                                                          \
    }

HK_COMPLEX_SELECT(step_max_c64, >)
HK_COMPLEX_SELECT(step_min_c64, <)

/* ---- halves ---- */

static void widen_f16(void *out_, const void *in_, size_t count)
{
    float *restrict out = out_;
    const uint16_t *restrict in = in_;
    const size_t whole = count - count % HK_F16_LANES;
    for (size_t i = 0; i < whole; i += HK_F16_LANES) {
        f16_widen_lanes(out + i, in + i);
    }
    for (size_t i = whole; i < count; i++) {
        out[i] = hk_f16_to_f32(in[i]);
    }
}

static void narrow_f16(void *out_, const void *in_, size_t count)
{
    uint16_t *restrict out = out_;
    const float *restrict in = in_;
    const size_t whole = count - count % HK_F16_LANES;
    for (size_t i = 0; i < whole; i += HK_F16_LANES) {
        f16_narrow_lanes(out + i, in + i);
    }
    for (size_t i = whole; i < count; i++) {
        out[i] = hk_f32_to_f16(in[i]);
    }
}

static void widen_bf16(void *out_, const void *in_, size_t count)
{
    float *restrict out = out_;
    const uint16_t *restrict in = in_;
    for (size_t i = 0; i < count; i++) {
        out[i] = hk_bf16_to_f32(in[i]);
    }
}

/* The NaN that steps make, and those that were widened, have an empty lower half: rounding leaves
 * them NaN. */
static void narrow_bf16(void *out_, const void *in_, size_t count)
{
    uint16_t *restrict out = out_;
    const float *restrict in = in_;
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint16_t)hk_bf16_round(hk_f32_bits(in[i]));
    }
}

/* ---- the table ---- */

#define HK_ROW(sum, prod, max, min)                                                                \
    {                                                                                              \
        [HK_OP_SUM] = sum, [HK_OP_PROD] = prod, [HK_OP_MAX] = max, [HK_OP_MIN] = min               \
    }
#define HK_INTEGER_ROW(sign, bits)                                                                 \
    HK_ROW(step_sum_##bits, step_prod_##bits, step_max_##sign##bits, step_min_##sign##bits)
#define HK_FLOAT_ROW(suffix)                                                                       \
    HK_ROW(step_sum_##suffix, step_prod_##suffix, step_max_##suffix, step_min_##suffix)

static const struct hk_kernels table = {
    .name = HK_KERNELS_NAME,
    .step = {[HOCKET_BOOL] = HK_ROW(step_or, step_and, step_or, step_and),
             [HOCKET_INT8] = HK_INTEGER_ROW(i, 8),
             [HOCKET_INT16] = HK_INTEGER_ROW(i, 16),
             [HOCKET_INT32] = HK_INTEGER_ROW(i, 32),
             [HOCKET_INT64] = HK_INTEGER_ROW(i, 64),
             [HOCKET_UINT8] = HK_INTEGER_ROW(u, 8),
             [HOCKET_UINT16] = HK_INTEGER_ROW(u, 16),
             [HOCKET_UINT32] = HK_INTEGER_ROW(u, 32),
             [HOCKET_UINT64] = HK_INTEGER_ROW(u, 64),
             [HOCKET_FLOAT32] = HK_FLOAT_ROW(f32),
             [HOCKET_FLOAT64] = HK_FLOAT_ROW(f64),
             [HOCKET_COMPLEX64] = HK_FLOAT_ROW(c64)},
    .divide = {[HOCKET_FLOAT32] = divide_f32,
               [HOCKET_FLOAT64] = divide_f64,
               [HOCKET_COMPLEX64] = divide_c64},
    .widen = {[HOCKET_FLOAT16] = widen_f16, [HOCKET_BFLOAT16] = widen_bf16},
    .narrow = {[HOCKET_FLOAT16] = narrow_f16, [HOCKET_BFLOAT16] = narrow_bf16},
};

const struct hk_kernels *const HK_KERNELS = &table;
