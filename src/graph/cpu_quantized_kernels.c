/* Quantized weights as floats, and products with them: some rows of a weight at a time become
 * floats, which the usual product then reads from the cache. */
#include "core/status.h"
#include "graph/blas.h"
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PANEL_ROWS = 32 };

/* A weight in its packed form, with scales and biases of one row in float. */
typedef struct packed {
    const hocket_op_call *call;
    int words; /* which input they are; scales and biases follow */
    int64_t k, group;
    int bits;
    float *scales, *biases;
} packed;

#define UNPACK(bits, per_word)                                                                 \
    static void unpack_##bits(const uint32_t *words, int64_t groups, int64_t group,            \
                              const float *scales, const float *biases, float *out)            \
    {                                                                                          \
        for (int64_t g = 0; g < groups; g++) {                                                 \
            float scale = scales[g], bias = biases[g];                                         \
            for (int64_t w = 0; w < group / (per_word); w++, words++, out += (per_word))       \
                for (int i = 0; i < (per_word); i++)                                           \
                    out[i] = (float)(int)(*words >> (i * (bits)) & ((1u << (bits)) - 1)) *     \
                                 scale + bias;                                                 \
        }                                                                                      \
    }

UNPACK(4, 8)
UNPACK(8, 4)

static void unpack_row(const packed *weight, int64_t row, float *out)
{
    const hocket_op_call *call = weight->call;
    int words_at = weight->words;
    hocket_dtype dtype = call->input_types[words_at + 1].dtype;
    int64_t groups = weight->k / weight->group;
    size_t at = (size_t)(row * groups) * hocket_dtype_size(dtype);
    const float *scales = hk_lane_view(dtype, (const char *)call->inputs[words_at + 1] + at, 1,
                                       (size_t)groups, weight->scales);
    const float *biases = hk_lane_view(dtype, (const char *)call->inputs[words_at + 2] + at, 1,
                                       (size_t)groups, weight->biases);
    const uint32_t *words =
        (const uint32_t *)call->inputs[words_at] + row * (weight->k / (32 / weight->bits));
    if (weight->bits == 4)
        unpack_4(words, groups, weight->group, scales, biases, out);
    else
        unpack_8(words, groups, weight->group, scales, biases, out);
}

/* room: a panel of the weight, then a product with it. */
static void multiply(const packed *weight, int64_t m, const float *x, float *room)
{
    const hocket_op_call *call = weight->call;
    const hocket_type *result = &call->output_type;
    int64_t n = result->dims[result->rank - 1];
    size_t element = hocket_dtype_size(result->dtype);
    float *product = room + PANEL_ROWS * weight->k;
    for (int64_t first = 0; first < n; first += PANEL_ROWS) {
        int64_t some = n - first < PANEL_ROWS ? n - first : PANEL_ROWS;
        for (int64_t row = 0; row < some; row++)
            unpack_row(weight, first + row, room + row * weight->k);
        hk_product shape = {.m = m, .n = some, .k = weight->k, .swap_right = true};
        hk_product_f32(&shape, x, room, product);
        for (int64_t i = 0; i < m; i++)
            hk_lane_store(result->dtype, product + i * some, (size_t)some,
                          (char *)call->output + (size_t)(i * n + first) * element, 1);
    }
}

hocket_status hk_cpu_quantized_linear(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    packed weight = {.call = call,
                     .words = 1,
                     .k = x->dims[x->rank - 1],
                     .group = hocket_attrs_int(&call->attributes, "group", 32),
                     .bits = (int)hocket_attrs_int(&call->attributes, "bits", 4)};
    int64_t m = hk_shape_product(x, 0, x->rank - 1), groups = weight.k / weight.group;
    size_t count = hocket_type_count(x);
    if (hocket_type_count(&call->output_type) == 0)
        return HOCKET_OK;
    size_t floats = (size_t)(2 * groups + PANEL_ROWS * (weight.k + m)) + count;
    float *room = malloc(floats * sizeof *room);
    if (room == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%zu floats for a part of the weight",
                               floats);
    weight.scales = room;
    weight.biases = room + groups;
    float *widened = weight.biases + groups;
    multiply(&weight, m, hk_lane_view(x->dtype, call->inputs[0], 1, count, widened),
             widened + count);
    free(room);
    return HOCKET_OK;
}

hocket_status hk_cpu_dequantize(hocket_op_call *call)
{
    const hocket_type *result = &call->output_type;
    packed weight = {.call = call,
                     .k = result->dims[1],
                     .group = hocket_attrs_int(&call->attributes, "group", 32),
                     .bits = (int)hocket_attrs_int(&call->attributes, "bits", 4)};
    int64_t groups = weight.k / weight.group;
    size_t row_bytes = (size_t)weight.k * hocket_dtype_size(result->dtype);
    if (hocket_type_count(result) == 0)
        return HOCKET_OK;
    float *room = malloc((size_t)(2 * groups + weight.k) * sizeof *room);
    if (room == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%" PRId64 " floats of a row", weight.k);
    weight.scales = room;
    weight.biases = room + groups;
    float *row = weight.biases + groups;
    for (int64_t i = 0; i < result->dims[0]; i++) {
        unpack_row(&weight, i, row);
        hk_lane_store(result->dtype, row, (size_t)weight.k,
                      (char *)call->output + (size_t)i * row_bytes, 1);
    }
    free(room);
    return HOCKET_OK;
}
