/* Kernels that move elements of any dtype, by size. */
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <inttypes.h>
#include <string.h>

#define SPREAD(type)                             \
    do {                                         \
        const type *x = from;                    \
        type *y = to;                            \
        for (int64_t i = 0; i < count; i++)      \
            y[i] = x[i * stride];                \
    } while (0)

static void copy_run(size_t element, const void *from, int64_t stride, int64_t count, void *to)
{
    if (stride == 1 && count > 0) {
        memcpy(to, from, (size_t)count * element);
        return;
    }
    switch (element) {
    case 1: SPREAD(uint8_t); break;
    case 2: SPREAD(uint16_t); break;
    case 4: SPREAD(uint32_t); break;
    default: SPREAD(uint64_t); break;
    }
}

/* Fills the contiguous result from input 0, whose element at an index of the result lies at first +
 * the sum of index * stride. */
static hocket_status gather(const hocket_op_call *call, int64_t first, const int64_t *strides)
{
    const hocket_type *result = &call->output_type;
    size_t element = hocket_dtype_size(result->dtype);
    int64_t both[2][HOCKET_MAX_RANK];
    hk_shape_strides(result, both[0]);
    memcpy(both[1], strides, sizeof both[1]);
    hk_walk walk;
    hk_walk_start(&walk, result->rank, result->dims, 2, both);
    const char *from = (const char *)call->inputs[0] + first * (int64_t)element;
    do
        copy_run(element, from + walk.offsets[1] * (int64_t)element, hk_walk_stride(&walk, 1),
                 hk_walk_length(&walk), (char *)call->output + walk.offsets[0] * (int64_t)element);
    while (hk_walk_next(&walk));
    return HOCKET_OK;
}

hocket_status hk_cpu_reshape(hocket_op_call *call)
{
    size_t bytes = hocket_type_bytes(&call->output_type);
    if (bytes > 0 && call->output != call->inputs[0])
        memcpy(call->output, call->inputs[0], bytes);
    return HOCKET_OK;
}

hocket_status hk_cpu_transpose(hocket_op_call *call)
{
    int rank = call->input_types[0].rank;
    size_t count;
    const int64_t *axes = hocket_attrs_ints(&call->attributes, "axes", &count);
    int64_t own[HOCKET_MAX_RANK], strides[HOCKET_MAX_RANK] = {0};
    hk_shape_strides(&call->input_types[0], own);
    for (int i = 0; i < rank; i++) {
        int64_t axis = axes ? axes[i] : rank - 1 - i;
        strides[i] = own[axis < 0 ? axis + rank : axis];
    }
    return gather(call, 0, strides);
}

hocket_status hk_cpu_broadcast_to(hocket_op_call *call)
{
    int64_t strides[HOCKET_MAX_RANK] = {0};
    hk_shape_strides_in(&call->input_types[0], &call->output_type, strides);
    return gather(call, 0, strides);
}

hocket_status hk_cpu_slice(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    size_t count;
    const int64_t *start = hocket_attrs_ints(&call->attributes, "start", &count);
    const int64_t *step = hocket_attrs_ints(&call->attributes, "step", &count);
    int64_t strides[HOCKET_MAX_RANK] = {0}, first = 0;
    hk_shape_strides(x, strides);
    for (int i = 0; i < x->rank; i++) {
        first += (start[i] < 0 ? start[i] + x->dims[i] : start[i]) * strides[i];
        strides[i] *= step ? step[i] : 1;
    }
    return gather(call, first, strides);
}

static int axis_of(const hocket_op_call *call)
{
    int64_t axis = hocket_attrs_int(&call->attributes, "axis", 0);
    return (int)(axis < 0 ? axis + call->input_types[0].rank : axis);
}

hocket_status hk_cpu_concatenate(hocket_op_call *call)
{
    int axis = axis_of(call);
    const hocket_type *result = &call->output_type;
    size_t element = hocket_dtype_size(result->dtype);
    int64_t outer = hk_shape_product(result, 0, axis);
    size_t row = (size_t)hk_shape_product(result, axis, result->rank) * element, done = 0;
    for (int i = 0; i < call->input_count; i++) {
        const hocket_type *type = &call->input_types[i];
        size_t bytes = (size_t)hk_shape_product(type, axis, type->rank) * element;
        for (int64_t o = 0; o < outer && bytes > 0; o++)
            memcpy((char *)call->output + (size_t)o * row + done,
                   (const char *)call->inputs[i] + (size_t)o * bytes, bytes);
        done += bytes;
    }
    return HOCKET_OK;
}

hocket_status hk_cpu_take(hocket_op_call *call)
{
    int axis = axis_of(call);
    const hocket_type *x = &call->input_types[0];
    hocket_dtype index_dtype = call->input_types[1].dtype;
    size_t picks = hocket_type_count(&call->input_types[1]);
    int64_t outer = hk_shape_product(x, 0, axis), length = x->dims[axis];
    size_t bytes = (size_t)hk_shape_product(x, axis + 1, x->rank) * hocket_dtype_size(x->dtype);
    for (size_t p = 0; p < picks; p++) {
        int64_t index;
        size_t at = p * hocket_dtype_size(index_dtype);
        hk_lane_load(index_dtype, (const char *)call->inputs[1] + at, 1, 1, &index);
        if (index < -length || index >= length)
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "index %zu is %" PRId64 ", axis %d of %s has no such slice", p,
                                   index, axis, HK_TYPE_TEXT(x));
        index += index < 0 ? length : 0;
        for (int64_t o = 0; o < outer && bytes > 0; o++)
            memcpy((char *)call->output + ((size_t)o * picks + p) * bytes,
                   (const char *)call->inputs[0] + (size_t)(o * length + index) * bytes, bytes);
    }
    return HOCKET_OK;
}
