#include "core/status.h"
#include "graph/blas.h"
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <stdlib.h>
#include <string.h>

/* An operand in float or double: its own memory, or a copy for f16 and bf16. */
static hocket_status widen(const hocket_op_call *call, int input, const void **wide, void **copy)
{
    const hocket_type *type = &call->input_types[input];
    *wide = call->inputs[input];
    *copy = NULL;
    if (hk_lane_is_native(type->dtype))
        return HOCKET_OK;
    size_t count = hocket_type_count(type);
    if (count > SIZE_MAX / sizeof(float) || (*copy = malloc(count * sizeof(float) + 1)) == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "no memory for %s in float32",
                               HK_TYPE_TEXT(type));
    hk_lane_load(type->dtype, *wide, 1, count, *copy);
    *wide = *copy;
    return HOCKET_OK;
}

/* What the last two dimensions of the operands say. */
static hk_product product_of(const hocket_op_call *call)
{
    const hocket_type *left = &call->input_types[0], *result = &call->output_type;
    hk_product product = {
        .m = result->dims[result->rank - 2],
        .n = result->dims[result->rank - 1],
        .swap_left = hocket_attrs_int(&call->attributes, "transpose_left", 0) != 0,
        .swap_right = hocket_attrs_int(&call->attributes, "transpose_right", 0) != 0,
    };
    product.k = left->dims[product.swap_left ? left->rank - 2 : left->rank - 1];
    return product;
}

/* One product for each element of the broadcast leading dimensions; a right operand without leading
 * dimensions takes all rows of the left at once. */
static void multiply_all(const hocket_op_call *call, const void *left, const void *right,
                         void *result)
{
    hk_product product = product_of(call);
    hocket_type lead = call->output_type, left_lead = call->input_types[0];
    hocket_type right_lead = call->input_types[1];
    lead.rank -= 2;
    left_lead.rank -= 2;
    right_lead.rank -= 2;
    if (right_lead.rank == 0 && !product.swap_left) {
        product.m *= hk_shape_product(&lead, 0, lead.rank);
        lead.rank = left_lead.rank = 0;
    }
    int64_t strides[3][HOCKET_MAX_RANK];
    hk_shape_strides(&lead, strides[0]);
    hk_shape_strides_in(&left_lead, &lead, strides[1]);
    hk_shape_strides_in(&right_lead, &lead, strides[2]);
    hk_walk walk;
    hk_walk_start(&walk, lead.rank, lead.dims, 3, strides);
    bool twice = call->output_type.dtype == HOCKET_FLOAT64;
    do
        for (int64_t i = 0; i < hk_walk_length(&walk); i++) {
            int64_t at[3];
            for (int o = 0; o < 3; o++)
                at[o] = walk.offsets[o] + i * hk_walk_stride(&walk, o);
            at[0] *= product.m * product.n;
            at[1] *= product.m * product.k;
            at[2] *= product.k * product.n;
            if (twice)
                hk_product_f64(&product, (const double *)left + at[1],
                               (const double *)right + at[2], (double *)result + at[0]);
            else
                hk_product_f32(&product, (const float *)left + at[1], (const float *)right + at[2],
                               (float *)result + at[0]);
        }
    while (hk_walk_next(&walk));
}

hocket_status hk_cpu_matmul(hocket_op_call *call)
{
    const hocket_type *type = &call->output_type;
    size_t count = hocket_type_count(type);
    const void *left = NULL, *right = NULL;
    void *left_copy = NULL, *right_copy = NULL, *result = call->output;
    hocket_status status = widen(call, 0, &left, &left_copy);
    if (status == HOCKET_OK)
        status = widen(call, 1, &right, &right_copy);
    bool narrow = !hk_lane_is_native(type->dtype);
    if (status == HOCKET_OK && narrow) {
        result = count <= SIZE_MAX / sizeof(float) ? malloc(count * sizeof(float) + 1) : NULL;
        if (result == NULL)
            status = hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "no memory for %s in float32",
                                     HK_TYPE_TEXT(type));
    }
    if (status == HOCKET_OK) {
        multiply_all(call, left, right, result);
        if (narrow)
            hk_lane_store(type->dtype, result, count, call->output, 1);
    }
    if (narrow)
        free(result);
    free(left_copy);
    free(right_copy);
    return status;
}
