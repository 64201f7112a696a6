/* Inference of products, norms and reductions. */
#include "graph/registry.h"
#include "graph/shape.h"

#include <inttypes.h>

/* --- matmul --- */

static hocket_status check_matrices(const hocket_op_call *call)
{
    for (int i = 0; i < 2; i++) {
        hocket_status status = hk_dtype_check(call, i, HK_FLOATS);
        if (status != HOCKET_OK)
            return status;
    }
    const hocket_type *left = &call->input_types[0], *right = &call->input_types[1];
    const char *problem = NULL;
    if (left->dtype != right->dtype)
        problem = "the dtypes differ; cast one";
    else if (left->rank < 2 || right->rank < 2)
        problem = "both must have 2 dimensions or more";
    if (problem == NULL)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "left is %s, right is %s: %s",
                           HK_TYPE_TEXT(left), HK_TYPE_TEXT(right), problem);
}

static hocket_status infer_matmul(hocket_op_call *call)
{
    hocket_status status = check_matrices(call);
    if (status != HOCKET_OK)
        return status;
    hocket_type left = call->input_types[0], right = call->input_types[1];
    int swap_left = hocket_attrs_int(&call->attributes, "transpose_left", 0) != 0;
    int swap_right = hocket_attrs_int(&call->attributes, "transpose_right", 0) != 0;
    int64_t m = left.dims[left.rank - 2 + swap_left];
    int64_t left_k = left.dims[left.rank - 1 - swap_left];
    int64_t right_k = right.dims[right.rank - 2 + swap_right];
    int64_t n = right.dims[right.rank - 1 - swap_right];
    if (left_k != right_k)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "left is %s%s, right is %s%s: the left's %" PRId64
                               " columns are not the right's %" PRId64 " rows",
                               HK_TYPE_TEXT(&left), swap_left ? " transposed" : "",
                               HK_TYPE_TEXT(&right), swap_right ? " transposed" : "", left_k,
                               right_k);
    left.rank -= 2;
    right.rank -= 2;
    call->output_type.dtype = left.dtype;
    if (!hk_shape_broadcast(&left, &right, &call->output_type))
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "left is %s, right is %s: the leading dimensions do not broadcast",
                               HK_TYPE_TEXT(&call->input_types[0]),
                               HK_TYPE_TEXT(&call->input_types[1]));
    call->output_type.dims[call->output_type.rank++] = m;
    call->output_type.dims[call->output_type.rank++] = n;
    return HOCKET_OK;
}

/* --- quantized_linear: x, words, scales, biases; dequantize: words, scales, biases --- */

static hocket_status quantized_problem(const hocket_op_call *call, const char *problem)
{
    const hocket_type *types = call->input_types + call->input_count - 3;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "words is %s, scales is %s, biases is %s: %s",
                           HK_TYPE_TEXT(&types[0]), HK_TYPE_TEXT(&types[1]),
                           HK_TYPE_TEXT(&types[2]), problem);
}

#define HALVES_AND_FLOAT (HK_FLOATS & ~HK_DTYPE_BIT(HOCKET_FLOAT64))

/* The last three inputs; *k: how many elements a row of the weight has. */
static hocket_status check_quantized(const hocket_op_call *call, int64_t *k)
{
    const hocket_type *words = call->input_types + call->input_count - 3;
    const hocket_type *scales = words + 1, *biases = words + 2;
    int64_t group = hocket_attrs_int(&call->attributes, "group", 0);
    int64_t bits = hocket_attrs_int(&call->attributes, "bits", 0);
    if (bits != 4 && bits != 8)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "bits is %" PRId64 ", it must be 4 or 8",
                               bits);
    if (group != 32 && group != 64 && group != 128)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "group is %" PRId64 ", it must be 32, 64 or 128", group);
    if (words->dtype != HOCKET_UINT32 || words->rank != 2)
        return quantized_problem(call, "words must be uint32[n, words of a row]");
    if (!(HALVES_AND_FLOAT & HK_DTYPE_BIT(scales->dtype)))
        return quantized_problem(call, "scales must be float16, bfloat16 or float32");
    if (!hk_type_equal(scales, biases) || scales->rank != 2 || scales->dims[0] != words->dims[0])
        return quantized_problem(call, "scales and biases must have one row for each of words");
    *k = scales->dims[1] * group;
    if (words->dims[1] == *k / (32 / bits))
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID,
                           "words is %s, scales is %s: with %" PRId64 " bits in groups of %" PRId64
                           " their rows are not of the same length",
                           HK_TYPE_TEXT(words), HK_TYPE_TEXT(scales), bits, group);
}

static hocket_status infer_quantized_linear(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    int64_t k = 0;
    hocket_status status = check_quantized(call, &k);
    if (status != HOCKET_OK)
        return status;
    if (!(HALVES_AND_FLOAT & HK_DTYPE_BIT(x->dtype)) || x->rank < 1 || x->dims[x->rank - 1] != k)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "x is %s: it must be float16, bfloat16 or float32, its rows of "
                               "%" PRId64 " as those of words %s",
                               HK_TYPE_TEXT(x), k, HK_TYPE_TEXT(&call->input_types[1]));
    call->output_type = *x;
    call->output_type.dims[x->rank - 1] = call->input_types[1].dims[0];
    return HOCKET_OK;
}

static hocket_status infer_dequantize(hocket_op_call *call)
{
    int64_t k = 0;
    hocket_status status = check_quantized(call, &k);
    call->output_type = call->input_types[1];
    call->output_type.dims[1] = k;
    return status;
}

/* --- softmax and norms --- */

static hocket_status infer_softmax(hocket_op_call *call)
{
    int axis;
    call->output_type = call->input_types[0];
    hocket_status status = hk_dtype_check(call, 0, HK_FLOATS);
    if (status != HOCKET_OK)
        return status;
    return hk_axis_check(call, hocket_attrs_int(&call->attributes, "axis", -1),
                         call->input_types[0].rank, &axis);
}

/* rms_norm and layer_norm: x, then vectors as long as its last dimension. */
static hocket_status infer_norm(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    hocket_status status = hk_dtype_check(call, 0, HK_FLOATS);
    if (status != HOCKET_OK)
        return status;
    if (x->rank < 1)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s, it needs a dimension",
                               HK_TYPE_TEXT(x));
    for (int i = 1; i < call->input_count; i++) {
        const hocket_type *vector = &call->input_types[i];
        if (vector->dtype != x->dtype || vector->rank != 1 ||
            vector->dims[0] != x->dims[x->rank - 1])
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "x is %s, its %s is %s: it must be a vector of x's last "
                                   "dimension and dtype",
                                   HK_TYPE_TEXT(x), i == 1 ? "weight" : "bias",
                                   HK_TYPE_TEXT(vector));
    }
    double epsilon = hocket_attrs_float(&call->attributes, "epsilon", 1e-5);
    if (!(epsilon >= 0))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "epsilon is %g", epsilon);
    call->output_type = *x;
    return HOCKET_OK;
}

/* --- reductions --- */

/* Which dimensions go, as bits. */
static hocket_status reduced_axes(const hocket_op_call *call, unsigned *reduced)
{
    const hocket_type *x = &call->input_types[0];
    size_t count;
    const int64_t *axes = hocket_attrs_ints(&call->attributes, "axes", &count);
    *reduced = 0;
    if (!hocket_attrs_has(&call->attributes, "axes"))
        *reduced = (1u << x->rank) - 1;
    for (size_t i = 0; i < count; i++) {
        int axis;
        hocket_status status = hk_axis_check(call, axes[i], x->rank, &axis);
        if (status != HOCKET_OK)
            return status;
        if (*reduced & (1u << axis))
            return hocket_op_error(call, HOCKET_ERR_INVALID, "axis %d is there twice", axis);
        *reduced |= 1u << axis;
    }
    return HOCKET_OK;
}

/* context: NULL, or the dtypes that the reduction takes; reductions without a neutral element have
 * needs_elements. */
typedef struct rule {
    unsigned dtypes;
    bool needs_elements;
} rule;

static const rule sums = {HK_NUMBERS, false};
static const rule means = {HK_FLOATS, true};
static const rule extremes = {HK_NUMBERS, true};

static hocket_status infer_reduction(hocket_op_call *call)
{
    const rule *rule = call->context;
    const hocket_type *x = &call->input_types[0];
    unsigned reduced;
    hocket_status status = hk_dtype_check(call, 0, rule->dtypes);
    if (status == HOCKET_OK)
        status = reduced_axes(call, &reduced);
    if (status != HOCKET_OK)
        return status;
    bool keep = hocket_attrs_int(&call->attributes, "keep", 0) != 0;
    hocket_type *result = &call->output_type;
    *result = (hocket_type){.dtype = x->dtype};
    for (int i = 0; i < x->rank; i++) {
        bool gone = reduced & (1u << i);
        if (gone && x->dims[i] == 0 && rule->needs_elements)
            return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s: axis %d has no elements",
                                   HK_TYPE_TEXT(x), i);
        if (!gone || keep)
            result->dims[result->rank++] = gone ? 1 : x->dims[i];
    }
    return HOCKET_OK;
}

/* --- argmax --- */

static hocket_status infer_argmax(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    int axis;
    hocket_status status = hk_dtype_check(call, 0, HK_NUMBERS);
    if (status == HOCKET_OK)
        status = hk_axis_check(call, hocket_attrs_int(&call->attributes, "axis", -1), x->rank,
                               &axis);
    if (status != HOCKET_OK)
        return status;
    if (x->dims[axis] == 0 || x->dims[axis] > INT32_MAX)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s: axis %d has %s",
                               HK_TYPE_TEXT(x), axis,
                               x->dims[axis] == 0 ? "no elements" : "more elements than int32");
    hocket_type *result = &call->output_type;
    *result = (hocket_type){.dtype = HOCKET_INT32};
    for (int i = 0; i < x->rank; i++)
        if (i != axis)
            result->dims[result->rank++] = x->dims[i];
    return HOCKET_OK;
}

static const hocket_attr_def matmul_attributes[] = {{"transpose_left", HOCKET_ATTR_INT, false},
                                                    {"transpose_right", HOCKET_ATTR_INT, false}};
static const hocket_attr_def quantized_attributes[] = {{"group", HOCKET_ATTR_INT, true},
                                                       {"bits", HOCKET_ATTR_INT, true}};
static const hocket_attr_def axis_attributes[] = {{"axis", HOCKET_ATTR_INT, false}};
static const hocket_attr_def norm_attributes[] = {{"epsilon", HOCKET_ATTR_FLOAT, false}};
static const hocket_attr_def reduce_attributes[] = {{"axes", HOCKET_ATTR_INTS, false},
                                                    {"keep", HOCKET_ATTR_INT, false}};

#define OP(op_name, min, max, op_flags, infer_fn, op_rule, list)                                   \
    {.size = sizeof(hocket_op_def), .name = op_name, .min_inputs = min, .max_inputs = max,         \
     .flags = op_flags, .infer = infer_fn, .context = (void *)(op_rule), .attributes = list,       \
     .attribute_count = sizeof(list) / sizeof((list)[0])}

static const hocket_op_def defs[] = {
    OP("matmul", 2, 2, 0, infer_matmul, NULL, matmul_attributes),
    OP("quantized_linear", 4, 4, 0, infer_quantized_linear, NULL, quantized_attributes),
    OP("dequantize", 3, 3, 0, infer_dequantize, NULL, quantized_attributes),
    OP("softmax", 1, 1, HOCKET_OP_IN_PLACE, infer_softmax, NULL, axis_attributes),
    OP("rms_norm", 1, 2, HOCKET_OP_IN_PLACE, infer_norm, NULL, norm_attributes),
    OP("layer_norm", 1, 3, HOCKET_OP_IN_PLACE, infer_norm, NULL, norm_attributes),
    OP("sum", 1, 1, 0, infer_reduction, &sums, reduce_attributes),
    OP("mean", 1, 1, 0, infer_reduction, &means, reduce_attributes),
    OP("max", 1, 1, 0, infer_reduction, &extremes, reduce_attributes),
    OP("min", 1, 1, 0, infer_reduction, &extremes, reduce_attributes),
    OP("argmax", 1, 1, 0, infer_argmax, NULL, axis_attributes),
};

const hk_op_table hk_ops_reduce = {defs, sizeof defs / sizeof defs[0]};
