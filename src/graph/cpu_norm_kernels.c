/* Softmax and norms: a row is read into its lane, worked on there and stored. */
#include "core/status.h"
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <math.h>
#include <stdlib.h>

/* The work on a row of either float type, in place. weight and bias may be NULL. */
#define ROW_FUNCTIONS(type, suffix, exp_fn, sqrt_fn)                                           \
    static void softmax_##suffix(type *row, size_t count)                                      \
    {                                                                                          \
        type largest = row[0];                                                                 \
        for (size_t i = 1; i < count; i++)                                                     \
            largest = row[i] > largest ? row[i] : largest;                                     \
        double sum = 0;                                                                        \
        for (size_t i = 0; i < count; i++)                                                     \
            sum += row[i] = exp_fn(row[i] - largest);                                          \
        for (size_t i = 0; i < count; i++)                                                     \
            row[i] = (type)(row[i] / sum);                                                     \
    }                                                                                          \
    static void norm_##suffix(type *row, size_t count, const type *weight, const type *bias,   \
                              bool center, double epsilon)                                     \
    {                                                                                          \
        double mean = 0, square = 0;                                                           \
        for (size_t i = 0; center && i < count; i++)                                           \
            mean += row[i];                                                                    \
        mean /= (double)count;                                                                 \
        for (size_t i = 0; i < count; i++)                                                     \
            square += (row[i] - mean) * (row[i] - mean);                                       \
        type scale = (type)(1 / sqrt_fn(square / (double)count + epsilon));                    \
        type shift = (type)mean;                                                               \
        for (size_t i = 0; i < count; i++)                                                     \
            row[i] = (row[i] - shift) * scale * (weight ? weight[i] : 1) + (bias ? bias[i] : 0); \
    }

ROW_FUNCTIONS(float, f32, expf, sqrt)
ROW_FUNCTIONS(double, f64, exp, sqrt)

/* A row, and room for a weight and a bias after it. */
static hocket_status make_room(const hocket_op_call *call, size_t rows, size_t count, char **room)
{
    size_t bytes = rows * count * sizeof(double);
    *room = malloc(bytes > 0 ? bytes : 1);
    return *room ? HOCKET_OK : hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%zu bytes for a row",
                                               bytes);
}

hocket_status hk_cpu_softmax(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    int64_t asked = hocket_attrs_int(&call->attributes, "axis", -1);
    int axis = (int)(asked < 0 ? asked + x->rank : asked);
    int64_t outer = hk_shape_product(x, 0, axis), inner = hk_shape_product(x, axis + 1, x->rank);
    size_t count = (size_t)x->dims[axis];
    int64_t element = (int64_t)hocket_dtype_size(x->dtype);
    char *room;
    hocket_status status = make_room(call, 1, count, &room);
    if (status != HOCKET_OK)
        return status;
    for (int64_t row = 0; row < outer * inner && count > 0; row++) {
        int64_t at = (row / inner * (int64_t)count * inner + row % inner) * element;
        hk_lane_load(x->dtype, (const char *)call->inputs[0] + at, inner, count, room);
        if (x->dtype == HOCKET_FLOAT64)
            softmax_f64((double *)room, count);
        else
            softmax_f32((float *)room, count);
        hk_lane_store(x->dtype, room, count, (char *)call->output + at, inner);
    }
    free(room);
    return HOCKET_OK;
}

static hocket_status norm(const hocket_op_call *call, bool center)
{
    const hocket_type *x = &call->input_types[0];
    size_t count = (size_t)x->dims[x->rank - 1];
    int64_t rows = hk_shape_product(x, 0, x->rank - 1);
    size_t bytes = count * hocket_dtype_size(x->dtype);
    double epsilon = hocket_attrs_float(&call->attributes, "epsilon", 1e-5);
    char *room;
    hocket_status status = make_room(call, 3, count, &room);
    if (status != HOCKET_OK)
        return status;
    void *vectors[2] = {NULL, NULL};
    for (int i = 1; i < call->input_count; i++) {
        vectors[i - 1] = room + (size_t)i * count * sizeof(double);
        hk_lane_load(x->dtype, call->inputs[i], 1, count, vectors[i - 1]);
    }
    for (int64_t row = 0; row < rows && count > 0; row++) {
        hk_lane_load(x->dtype, (const char *)call->inputs[0] + (size_t)row * bytes, 1, count, room);
        if (x->dtype == HOCKET_FLOAT64)
            norm_f64((double *)room, count, vectors[0], vectors[1], center, epsilon);
        else
            norm_f32((float *)room, count, vectors[0], vectors[1], center, epsilon);
        hk_lane_store(x->dtype, room, count, (char *)call->output + (size_t)row * bytes, 1);
    }
    free(room);
    return HOCKET_OK;
}

hocket_status hk_cpu_rms_norm(hocket_op_call *call)
{
    return norm(call, false);
}

hocket_status hk_cpu_layer_norm(hocket_op_call *call)
{
    return norm(call, true);
}
