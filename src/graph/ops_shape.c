/* Inference of the operations that move elements. */
#include "graph/registry.h"
#include "graph/shape.h"

#include <inttypes.h>

/* The attribute dims as the shape of the result. */
static hocket_status dims_of(const hocket_op_call *call, hocket_type *type)
{
    size_t rank;
    const int64_t *dims = hocket_attrs_ints(&call->attributes, "dims", &rank);
    if (rank > HOCKET_MAX_RANK)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "%zu dimensions are more than %d", rank,
                               HOCKET_MAX_RANK);
    *type = (hocket_type){.dtype = call->input_types[0].dtype, .rank = (int)rank};
    for (size_t i = 0; i < rank; i++)
        type->dims[i] = dims[i];
    return HOCKET_OK;
}

static hocket_status infer_reshape(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    hocket_type asked;
    hocket_status status = dims_of(call, &asked);
    if (status != HOCKET_OK)
        return status;
    call->output_type = asked;
    uint64_t count = hocket_type_count(x), known = 1;
    int open = -1;
    bool fits = true;
    for (int i = 0; i < asked.rank; i++) {
        int64_t dim = asked.dims[i];
        if (dim == -1 && open < 0)
            open = i;
        else if (dim < 0 || (dim > 0 && known > UINT64_MAX / (uint64_t)dim))
            fits = false;
        else
            known *= (uint64_t)dim;
    }
    if (fits && open >= 0 && known > 0)
        call->output_type.dims[open] = (int64_t)(count / known);
    fits = fits && (open < 0 ? known == count : known > 0 && count % known == 0);
    if (!fits)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "%s cannot have the shape %s",
                               HK_TYPE_TEXT(x), HK_TYPE_TEXT(&asked));
    return HOCKET_OK;
}

static hocket_status infer_transpose(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    size_t count;
    const int64_t *axes = hocket_attrs_ints(&call->attributes, "axes", &count);
    bool given = hocket_attrs_has(&call->attributes, "axes");
    if (given && count != (size_t)x->rank)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s, there are %zu axes",
                               HK_TYPE_TEXT(x), count);
    unsigned seen = 0;
    call->output_type = *x;
    for (int i = 0; i < x->rank; i++) {
        int axis;
        hocket_status status = hk_axis_check(call, given ? axes[i] : x->rank - 1 - i, x->rank,
                                             &axis);
        if (status != HOCKET_OK)
            return status;
        if (seen & (1u << axis))
            return hocket_op_error(call, HOCKET_ERR_INVALID, "axis %d is there twice", axis);
        seen |= 1u << axis;
        call->output_type.dims[i] = x->dims[axis];
    }
    return HOCKET_OK;
}

static hocket_status infer_broadcast_to(hocket_op_call *call)
{
    hocket_status status = dims_of(call, &call->output_type);
    if (status != HOCKET_OK)
        return status;
    if (!hk_shape_broadcasts_to(&call->input_types[0], &call->output_type))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "%s does not repeat to %s",
                               HK_TYPE_TEXT(&call->input_types[0]),
                               HK_TYPE_TEXT(&call->output_type));
    return HOCKET_OK;
}

static hocket_status infer_slice(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    size_t starts, stops, steps, rank = (size_t)x->rank;
    const int64_t *start = hocket_attrs_ints(&call->attributes, "start", &starts);
    const int64_t *stop = hocket_attrs_ints(&call->attributes, "stop", &stops);
    const int64_t *step = hocket_attrs_ints(&call->attributes, "step", &steps);
    bool stepped = hocket_attrs_has(&call->attributes, "step");
    if (starts != rank || stops != rank || (stepped && steps != rank))
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "x is %s, there are %zu starts, %zu stops, %zu steps",
                               HK_TYPE_TEXT(x), starts, stops, steps);
    call->output_type = *x;
    for (int i = 0; i < x->rank; i++) {
        int64_t dim = x->dims[i], by = stepped ? step[i] : 1;
        int64_t first = start[i] < 0 ? start[i] + dim : start[i];
        int64_t end = stop[i] < 0 ? stop[i] + dim : stop[i];
        if (first < 0 || end > dim || first > end || by <= 0)
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "x is %s, of axis %d are asked %" PRId64 " to %" PRId64
                                   " in steps of %" PRId64,
                                   HK_TYPE_TEXT(x), i, start[i], stop[i], by);
        call->output_type.dims[i] = (end - first) / by + ((end - first) % by != 0);
    }
    return HOCKET_OK;
}

static hocket_status infer_concatenate(hocket_op_call *call)
{
    const hocket_type *first = &call->input_types[0];
    int axis;
    hocket_status status = hk_axis_check(call, hocket_attrs_int(&call->attributes, "axis", 0),
                                         first->rank, &axis);
    if (status != HOCKET_OK)
        return status;
    call->output_type = *first;
    for (int i = 1; i < call->input_count; i++) {
        hocket_type other = call->input_types[i];
        int64_t length = other.rank == first->rank ? other.dims[axis] : 0;
        if (other.rank == first->rank)
            other.dims[axis] = first->dims[axis];
        if (!hk_type_equal(first, &other) || length > INT64_MAX - call->output_type.dims[axis])
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "input 0 is %s, input %d is %s: they may differ in axis %d only",
                                   HK_TYPE_TEXT(first), i, HK_TYPE_TEXT(&call->input_types[i]),
                                   axis);
        call->output_type.dims[axis] += length;
    }
    return HOCKET_OK;
}

static hocket_status infer_take(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0], *indices = &call->input_types[1];
    int axis;
    hocket_status status = hk_dtype_check(call, 1, HK_INDICES);
    if (status == HOCKET_OK)
        status = hk_axis_check(call, hocket_attrs_int(&call->attributes, "axis", 0), x->rank,
                               &axis);
    if (status != HOCKET_OK)
        return status;
    if (x->rank - 1 + indices->rank > HOCKET_MAX_RANK)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "x is %s, indices is %s: the result has more than %d dimensions",
                               HK_TYPE_TEXT(x), HK_TYPE_TEXT(indices), HOCKET_MAX_RANK);
    hocket_type *result = &call->output_type;
    *result = (hocket_type){.dtype = x->dtype};
    for (int i = 0; i < axis; i++)
        result->dims[result->rank++] = x->dims[i];
    for (int i = 0; i < indices->rank; i++)
        result->dims[result->rank++] = indices->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        result->dims[result->rank++] = x->dims[i];
    return HOCKET_OK;
}

static const hocket_attr_def dims_attributes[] = {{"dims", HOCKET_ATTR_INTS, true}};
static const hocket_attr_def axes_attributes[] = {{"axes", HOCKET_ATTR_INTS, false}};
static const hocket_attr_def axis_attributes[] = {{"axis", HOCKET_ATTR_INT, false}};
static const hocket_attr_def slice_attributes[] = {{"start", HOCKET_ATTR_INTS, true},
                                                   {"stop", HOCKET_ATTR_INTS, true},
                                                   {"step", HOCKET_ATTR_INTS, false}};

#define OP(op_name, min, max, op_flags, infer_fn, list)                                            \
    {.size = sizeof(hocket_op_def), .name = op_name, .min_inputs = min, .max_inputs = max,         \
     .flags = op_flags, .infer = infer_fn, .attributes = list,                                     \
     .attribute_count = sizeof(list) / sizeof((list)[0])}

static const hocket_op_def defs[] = {
    OP("reshape", 1, 1, HOCKET_OP_IN_PLACE, infer_reshape, dims_attributes),
    OP("transpose", 1, 1, 0, infer_transpose, axes_attributes),
    OP("broadcast_to", 1, 1, 0, infer_broadcast_to, dims_attributes),
    OP("slice", 1, 1, 0, infer_slice, slice_attributes),
    OP("concatenate", 1, HOCKET_MAX_INPUTS, 0, infer_concatenate, axis_attributes),
    OP("take", 2, 2, 0, infer_take, axis_attributes),
};

const hk_op_table hk_ops_shape = {defs, sizeof defs / sizeof defs[0]};
