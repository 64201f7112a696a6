/* Inference of the operations that work element by element. */
#include "graph/registry.h"
#include "graph/shape.h"

#include <string.h>

/* What an operation's context points to. */
typedef struct rule {
    unsigned dtypes;  /* those that its operands may have */
    bool gives_bool;
} rule;

static const rule floats = {HK_FLOATS, false};
static const rule numbers = {HK_NUMBERS, false};
static const rule compares = {HK_NUMBERS, true};
static const rule equates = {HK_NUMBERS | HK_DTYPE_BIT(HOCKET_BOOL), true};

static hocket_status infer_unary(hocket_op_call *call)
{
    const rule *rule = call->context;
    call->output_type = call->input_types[0];
    return hk_dtype_check(call, 0, rule->dtypes);
}

static hocket_status check_pair(const hocket_op_call *call, const hocket_type *left,
                                const hocket_type *right, hocket_type *result)
{
    const char *problem = NULL;
    if (left->dtype != right->dtype)
        problem = "the dtypes differ; cast one";
    else if (!hk_shape_broadcast(left, right, result))
        problem = "the shapes do not broadcast";
    if (problem == NULL)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "left is %s, right is %s: %s",
                           HK_TYPE_TEXT(left), HK_TYPE_TEXT(right), problem);
}

static hocket_status infer_binary(hocket_op_call *call)
{
    const rule *rule = call->context;
    call->output_type.dtype = rule->gives_bool ? HOCKET_BOOL : call->input_types[0].dtype;
    hocket_status status =
        check_pair(call, &call->input_types[0], &call->input_types[1], &call->output_type);
    return status == HOCKET_OK ? hk_dtype_check(call, 0, rule->dtypes) : status;
}

static hocket_status infer_where(hocket_op_call *call)
{
    const hocket_type *types = call->input_types;
    hocket_status status = hk_dtype_check(call, 0, HK_DTYPE_BIT(HOCKET_BOOL));
    if (status != HOCKET_OK)
        return status;
    call->output_type.dtype = types[1].dtype;
    status = check_pair(call, &types[1], &types[2], &call->output_type);
    if (status != HOCKET_OK)
        return status;
    if (!hk_shape_broadcast(&types[0], &call->output_type, &call->output_type))
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "condition is %s, the values are %s: the shapes do not broadcast",
                               HK_TYPE_TEXT(&types[0]), HK_TYPE_TEXT(&call->output_type));
    return HOCKET_OK;
}

static hocket_status infer_cast(hocket_op_call *call)
{
    int64_t dtype = hocket_attrs_int(&call->attributes, "dtype", -1);
    if (dtype < 0 || dtype >= HOCKET_COMPLEX64)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "nothing can be cast to dtype %lld (%s)",
                               (long long)dtype, hocket_dtype_name((hocket_dtype)dtype));
    call->output_type = call->input_types[0];
    call->output_type.dtype = (hocket_dtype)dtype;
    return hk_dtype_check(call, 0, HK_NUMBERS | HK_DTYPE_BIT(HOCKET_BOOL));
}

static hocket_status infer_gelu(hocket_op_call *call)
{
    const char *how = hocket_attrs_string(&call->attributes, "approximate", "none");
    if (strcmp(how, "none") != 0 && strcmp(how, "tanh") != 0)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "approximate is '%s', it must be 'none' or 'tanh'", how);
    return infer_unary(call);
}

static const hocket_attr_def cast_attributes[] = {{"dtype", HOCKET_ATTR_INT, true}};
static const hocket_attr_def gelu_attributes[] = {{"approximate", HOCKET_ATTR_STRING, false}};

#define OP(op_name, inputs, infer_fn, op_rule)                                                     \
    {.size = sizeof(hocket_op_def), .name = op_name, .min_inputs = inputs, .max_inputs = inputs,   \
     .flags = HOCKET_OP_IN_PLACE, .infer = infer_fn, .context = (void *)&(op_rule)}
#define OP_WITH(op_name, inputs, infer_fn, op_rule, list)                                          \
    {.size = sizeof(hocket_op_def), .name = op_name, .min_inputs = inputs, .max_inputs = inputs,   \
     .flags = HOCKET_OP_IN_PLACE, .infer = infer_fn, .context = (void *)&(op_rule),                \
     .attributes = list, .attribute_count = sizeof(list) / sizeof((list)[0])}

static const hocket_op_def defs[] = {
    OP("add", 2, infer_binary, numbers),
    OP("subtract", 2, infer_binary, numbers),
    OP("multiply", 2, infer_binary, numbers),
    OP("divide", 2, infer_binary, floats),
    OP("maximum", 2, infer_binary, numbers),
    OP("minimum", 2, infer_binary, numbers),
    OP("power", 2, infer_binary, floats),
    OP("equal", 2, infer_binary, equates),
    OP("not_equal", 2, infer_binary, equates),
    OP("less", 2, infer_binary, compares),
    OP("less_equal", 2, infer_binary, compares),
    OP("greater", 2, infer_binary, compares),
    OP("greater_equal", 2, infer_binary, compares),
    OP("where", 3, infer_where, equates),
    OP("negative", 1, infer_unary, numbers),
    OP("abs", 1, infer_unary, numbers),
    OP("exp", 1, infer_unary, floats),
    OP("log", 1, infer_unary, floats),
    OP("sqrt", 1, infer_unary, floats),
    OP("rsqrt", 1, infer_unary, floats),
    OP("sin", 1, infer_unary, floats),
    OP("cos", 1, infer_unary, floats),
    OP("tanh", 1, infer_unary, floats),
    OP("sigmoid", 1, infer_unary, floats),
    OP("silu", 1, infer_unary, floats),
    OP_WITH("gelu", 1, infer_gelu, floats, gelu_attributes),
    OP_WITH("cast", 1, infer_cast, equates, cast_attributes),
};

const hk_op_table hk_ops_elementwise = {defs, sizeof defs / sizeof defs[0]};
