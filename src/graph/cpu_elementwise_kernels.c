#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <math.h>
#include <string.h>

/* --- What is computed for one block, in each lane --- */

#define BLOCK_FN(name, suffix, type, result, expression)                              \
    static void name##_##suffix(const void *const *inputs, void *output, size_t count) \
    {                                                                                 \
        const type *left = inputs[0];                                                 \
        const type *right = inputs[1];                                                \
        result *out = output;                                                         \
        for (size_t i = 0; i < count; i++) {                                          \
            const type a = left[i], b = right[i];                                     \
            out[i] = (result)(expression);                                            \
        }                                                                             \
    }

#define UNARY_FN(name, suffix, type, expression)                                      \
    static void name##_##suffix(const void *const *inputs, void *output, size_t count) \
    {                                                                                 \
        const type *in = inputs[0];                                                   \
        type *out = output;                                                           \
        for (size_t i = 0; i < count; i++) {                                          \
            const type x = in[i];                                                     \
            out[i] = (type)(expression);                                              \
        }                                                                             \
    }

/* Integers wrap, so they are computed unsigned. */
#define ARITHMETIC(name, floats, integers)                                                     \
    BLOCK_FN(name, f32, float, float, floats)                                                  \
    BLOCK_FN(name, f64, double, double, floats)                                                \
    BLOCK_FN(name, u64, uint64_t, uint64_t, integers)                                          \
    const hk_elementwise hk_cpu_##name = {{name##_f32, name##_f64, name##_u64, name##_u64}};

#define EXTREME(name, floats, integers)                                                        \
    BLOCK_FN(name, f32, float, float, floats)                                                  \
    BLOCK_FN(name, f64, double, double, floats)                                                \
    BLOCK_FN(name, i64, int64_t, int64_t, integers)                                            \
    BLOCK_FN(name, u64, uint64_t, uint64_t, integers)                                          \
    const hk_elementwise hk_cpu_##name = {{name##_f32, name##_f64, name##_i64, name##_u64}};

#define COMPARISON(name, operator)                                                             \
    BLOCK_FN(name, f32, float, uint8_t, a operator b)                                          \
    BLOCK_FN(name, f64, double, uint8_t, a operator b)                                         \
    BLOCK_FN(name, i64, int64_t, uint8_t, a operator b)                                        \
    BLOCK_FN(name, u64, uint64_t, uint8_t, a operator b)                                       \
    const hk_elementwise hk_cpu_##name = {{name##_f32, name##_f64, name##_i64, name##_u64}};

#define FLOAT_PAIR(name, single, twice)                                                        \
    BLOCK_FN(name, f32, float, float, single)                                                  \
    BLOCK_FN(name, f64, double, double, twice)                                                 \
    const hk_elementwise hk_cpu_##name = {{name##_f32, name##_f64, NULL, NULL}};

#define FLOAT_UNARY(name, single, twice)                                                       \
    UNARY_FN(name, f32, float, single)                                                         \
    UNARY_FN(name, f64, double, twice)                                                         \
    const hk_elementwise hk_cpu_##name = {{name##_f32, name##_f64, NULL, NULL}};

ARITHMETIC(add, a + b, a + b)
ARITHMETIC(subtract, a - b, a - b)
ARITHMETIC(multiply, a * b, a * b)
/* A NaN on either side is handed on. */
EXTREME(maximum, a > b || a != a ? a : b, a > b ? a : b)
EXTREME(minimum, a < b || a != a ? a : b, a < b ? a : b)
COMPARISON(equal, ==)
COMPARISON(not_equal, !=)
COMPARISON(less, <)
COMPARISON(less_equal, <=)
COMPARISON(greater, >)
COMPARISON(greater_equal, >=)
FLOAT_PAIR(divide, a / b, a / b)
FLOAT_PAIR(power, powf(a, b), pow(a, b))

UNARY_FN(negative, f32, float, -x)
UNARY_FN(negative, f64, double, -x)
UNARY_FN(negative, u64, uint64_t, 0 - x)
const hk_elementwise hk_cpu_negative = {{negative_f32, negative_f64, negative_u64, negative_u64}};

UNARY_FN(abs, f32, float, fabsf(x))
UNARY_FN(abs, f64, double, fabs(x))
UNARY_FN(abs, i64, int64_t, x < 0 ? 0 - (uint64_t)x : (uint64_t)x)
UNARY_FN(abs, u64, uint64_t, x)
const hk_elementwise hk_cpu_abs = {{abs_f32, abs_f64, abs_i64, abs_u64}};

#define ROOT_HALF 0.70710678118654752440      /* sqrt(1/2) */
#define ROOT_2_OVER_PI 0.79788456080286535588 /* sqrt(2/pi) */

FLOAT_UNARY(exp, expf(x), exp(x))
FLOAT_UNARY(log, logf(x), log(x))
FLOAT_UNARY(sqrt, sqrtf(x), sqrt(x))
FLOAT_UNARY(rsqrt, 1 / sqrtf(x), 1 / sqrt(x))
FLOAT_UNARY(sin, sinf(x), sin(x))
FLOAT_UNARY(cos, cosf(x), cos(x))
FLOAT_UNARY(tanh, tanhf(x), tanh(x))
FLOAT_UNARY(sigmoid, 1 / (1 + expf(-x)), 1 / (1 + exp(-x)))
FLOAT_UNARY(silu, x / (1 + expf(-x)), x / (1 + exp(-x)))
FLOAT_UNARY(gelu_erf, x * (1 + erff(x * (float)ROOT_HALF)) / 2, x * (1 + erf(x * ROOT_HALF)) / 2)
FLOAT_UNARY(gelu_tanh, x * (1 + tanhf((float)ROOT_2_OVER_PI * (x + 0.044715f * x * x * x))) / 2,
            x * (1 + tanh(ROOT_2_OVER_PI * (x + 0.044715 * x * x * x))) / 2)

/* --- All blocks of a call --- */

/* Operand 0 is the result, the others the inputs as they broadcast to it. */
static void start_walk(hk_walk *walk, const hocket_op_call *call)
{
    int64_t strides[HK_WALK_OPERANDS][HOCKET_MAX_RANK];
    const hocket_type *result = &call->output_type;
    hk_shape_strides(result, strides[0]);
    for (int i = 0; i < call->input_count; i++)
        hk_shape_strides_in(&call->input_types[i], result, strides[i + 1]);
    hk_walk_start(walk, result->rank, result->dims, call->input_count + 1, strides);
}

static void run_blocks(const hocket_op_call *call, hk_block_fn compute, const hk_walk *walk)
{
    hk_block scratch[2], result;
    hocket_dtype dtype = call->input_types[0].dtype, out_dtype = call->output_type.dtype;
    size_t element = hocket_dtype_size(dtype), out_element = hocket_dtype_size(out_dtype);
    bool direct = dtype != out_dtype || hk_lane_is_native(out_dtype) || out_dtype == HOCKET_BOOL;
    int64_t length = hk_walk_length(walk);
    for (int64_t done = 0; done < length; done += HK_BLOCK) {
        size_t count = (size_t)(length - done < HK_BLOCK ? length - done : HK_BLOCK);
        const void *inputs[2] = {NULL, NULL};
        for (int i = 0; i < call->input_count; i++) {
            int64_t stride = hk_walk_stride(walk, i + 1);
            int64_t at = walk->offsets[i + 1] + done * stride;
            inputs[i] = hk_lane_view(dtype, (const char *)call->inputs[i] + at * (int64_t)element,
                                     stride, count, &scratch[i]);
        }
        char *out = (char *)call->output + (walk->offsets[0] + done) * (int64_t)out_element;
        compute(inputs, direct ? (void *)out : (void *)&result, count);
        if (!direct)
            hk_lane_store(out_dtype, &result, count, out, 1);
    }
}

static hocket_status elementwise(const hocket_op_call *call, const hk_elementwise *what)
{
    hk_walk walk;
    start_walk(&walk, call);
    hk_block_fn compute = what->by_lane[hk_lane_of(call->input_types[0].dtype)];
    do
        run_blocks(call, compute, &walk);
    while (hk_walk_next(&walk));
    return HOCKET_OK;
}

hocket_status hk_cpu_elementwise(hocket_op_call *call)
{
    return elementwise(call, call->context);
}

hocket_status hk_cpu_gelu(hocket_op_call *call)
{
    const char *how = hocket_attrs_string(&call->attributes, "approximate", "none");
    return elementwise(call, strcmp(how, "tanh") == 0 ? &hk_cpu_gelu_tanh : &hk_cpu_gelu_erf);
}

/* --- where: any dtype, so elements are picked by their size --- */

#define PICK(type)                                                                 \
    do {                                                                           \
        const type *a = chosen, *b = otherwise;                                    \
        type *to = out;                                                            \
        for (int64_t i = 0; i < count; i++)                                        \
            to[i] = condition[i * strides[0]] ? a[i * strides[1]] : b[i * strides[2]]; \
    } while (0)

static void pick(size_t element, const uint8_t *condition, const void *chosen,
                 const void *otherwise, const int64_t *strides, int64_t count, void *out)
{
    switch (element) {
    case 1: PICK(uint8_t); break;
    case 2: PICK(uint16_t); break;
    case 4: PICK(uint32_t); break;
    default: PICK(uint64_t); break;
    }
}

hocket_status hk_cpu_where(hocket_op_call *call)
{
    hk_walk walk;
    start_walk(&walk, call);
    size_t element = hocket_dtype_size(call->output_type.dtype);
    int64_t strides[3];
    for (int i = 0; i < 3; i++)
        strides[i] = hk_walk_stride(&walk, i + 1);
    do {
        const char *chosen = call->inputs[1], *otherwise = call->inputs[2];
        pick(element, (const uint8_t *)call->inputs[0] + walk.offsets[1],
             chosen + walk.offsets[2] * (int64_t)element,
             otherwise + walk.offsets[3] * (int64_t)element, strides, hk_walk_length(&walk),
             (char *)call->output + walk.offsets[0] * (int64_t)element);
    } while (hk_walk_next(&walk));
    return HOCKET_OK;
}

/* --- cast --- */

/* Of floats: 0.5 is true, though it is 0 as an integer. */
static void truths(hk_lane lane, const void *in, int64_t *out, size_t count)
{
    const float *f32 = in;
    const double *f64 = in;
    for (size_t i = 0; i < count; i++)
        out[i] = lane == HK_LANE_F32 ? f32[i] != 0 : f64[i] != 0;
}

hocket_status hk_cpu_cast(hocket_op_call *call)
{
    hocket_dtype from = call->input_types[0].dtype, to = call->output_type.dtype;
    hk_lane from_lane = hk_lane_of(from), to_lane = hk_lane_of(to);
    bool is_float = from_lane == HK_LANE_F32 || from_lane == HK_LANE_F64;
    const char *in = call->inputs[0];
    char *out = call->output;
    size_t count = hocket_type_count(&call->output_type);
    hk_block loaded, converted;
    for (size_t done = 0; done < count; done += HK_BLOCK) {
        size_t some = count - done < HK_BLOCK ? count - done : HK_BLOCK;
        const void *x = hk_lane_view(from, in + done * hocket_dtype_size(from), 1, some, &loaded);
        if (to == HOCKET_BOOL && is_float)
            truths(from_lane, x, converted.i64, some);
        else
            hk_lane_convert(from_lane, x, to_lane, &converted, some);
        hk_lane_store(to, &converted, some, out + done * hocket_dtype_size(to), 1);
    }
    return HOCKET_OK;
}
