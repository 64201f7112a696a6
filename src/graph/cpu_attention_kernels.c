/* What a decoder needs besides: rotary positions, a cache that is written at a position, and
 * attention over the part of it that has been written. */
#include "core/status.h"
#include "graph/blas.h"
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The position, whose rows must lie within the capacity of the cache. */
static hocket_status find_position(const hocket_op_call *call, int input, int64_t rows,
                                   int64_t capacity, int64_t *position)
{
    *position = *(const int32_t *)call->inputs[input];
    if (*position >= 0 && *position <= capacity - rows)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID,
                           "%" PRId64 " rows at position %" PRId64
                           " do not fit a cache of %" PRId64,
                           rows, *position, capacity);
}

/* --- rope --- */

/* Of each row and pair, the cosine and the sine of its angle: the same for all heads. In double, as
 * an angle in float would be off by some 1e-4 after a few thousand rows. */
static hocket_status make_angles(const hocket_op_call *call, double **angles)
{
    const hocket_type *x = &call->input_types[0];
    int64_t position = *(const int32_t *)call->inputs[1], pairs = x->dims[2] / 2;
    const float *factors = call->input_count > 2 ? call->inputs[2] : NULL;
    double base = hocket_attrs_float(&call->attributes, "base", 1);
    size_t bytes = (size_t)(x->dims[1] * pairs) * 2 * sizeof(double);
    *angles = malloc(bytes > 0 ? bytes : 1);
    if (*angles == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%zu bytes for angles", bytes);
    for (int64_t j = 0; j < pairs; j++) {
        double frequency = pow(base, -2 * (double)j / (double)x->dims[2]);
        if (factors)
            frequency /= factors[j];
        for (int64_t i = 0; i < x->dims[1]; i++) {
            double angle = (double)(position + i) * frequency;
            (*angles)[(i * pairs + j) * 2] = cos(angle);
            (*angles)[(i * pairs + j) * 2 + 1] = sin(angle);
        }
    }
    return HOCKET_OK;
}

/* Rotates a row in place: pair j is at j * step and apart behind that. */
#define ROTATE(type, suffix)                                                                   \
    static void rotate_##suffix(type *row, int64_t pairs, int64_t step, int64_t apart,         \
                                const double *angles)                                          \
    {                                                                                          \
        for (int64_t j = 0; j < pairs; j++) {                                                  \
            type *first = &row[j * step], *second = first + apart;                             \
            type a = *first, b = *second;                                                      \
            type cosine = (type)angles[j * 2], sine = (type)angles[j * 2 + 1];                 \
            *first = a * cosine - b * sine;                                                    \
            *second = a * sine + b * cosine;                                                   \
        }                                                                                      \
    }

ROTATE(float, f32)
ROTATE(double, f64)

hocket_status hk_cpu_rope(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    int64_t rows = x->dims[1], size = x->dims[2], pairs = size / 2;
    if (hocket_type_count(x) == 0)
        return HOCKET_OK;
    bool interleaved = hocket_attrs_int(&call->attributes, "interleaved", 0) != 0;
    int64_t step = interleaved ? 2 : 1, apart = interleaved ? 1 : pairs;
    double *angles;
    hocket_status status = make_angles(call, &angles);
    if (status != HOCKET_OK)
        return status;
    /* A row is turned in the output where its elements are the lane's, else in a row of its own. */
    bool native = hk_lane_is_native(x->dtype);
    size_t element = hocket_dtype_size(x->dtype);
    float *room = native ? NULL : malloc((size_t)size * sizeof *room);
    if (!native && room == NULL)
        status = hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "no memory for a row of %s",
                                 HK_TYPE_TEXT(x));
    for (int64_t i = 0; status == HOCKET_OK && i < x->dims[0] * rows; i++) {
        size_t at = (size_t)(i * size) * element;
        const double *angle = angles + i % rows * pairs * 2;
        char *out = (char *)call->output + at;
        void *row = native ? (void *)out : (void *)room;
        hk_lane_load(x->dtype, (const char *)call->inputs[0] + at, 1, (size_t)size, row);
        if (x->dtype == HOCKET_FLOAT64)
            rotate_f64(row, pairs, step, apart, angle);
        else
            rotate_f32(row, pairs, step, apart, angle);
        if (!native)
            hk_lane_store(x->dtype, row, (size_t)size, out, 1);
    }
    free(room);
    free(angles);
    return status;
}

/* --- cache_update --- */

hocket_status hk_cpu_cache_update(hocket_op_call *call)
{
    const hocket_type *cache = &call->input_types[0], *rows = &call->input_types[1];
    int64_t position;
    hocket_status status = find_position(call, 2, rows->dims[1], cache->dims[1], &position);
    if (status != HOCKET_OK || hocket_type_count(cache) == 0)
        return status;
    if (call->output != call->inputs[0])
        memcpy(call->output, call->inputs[0], hocket_type_bytes(cache));
    size_t row = (size_t)cache->dims[2] * hocket_dtype_size(cache->dtype);
    size_t bytes = (size_t)rows->dims[1] * row;
    for (int64_t head = 0; bytes > 0 && head < cache->dims[0]; head++)
        memcpy((char *)call->output + (size_t)(head * cache->dims[1] + position) * row,
               (const char *)call->inputs[1] + (size_t)head * bytes, bytes);
    return HOCKET_OK;
}

/* --- attention --- */

enum { BLOCK_ROWS = 64 }; /* of q at a time: their scores stay in the cache */

/* Some rows of one head: the last one sees `seen` columns, each one before it one less. */
typedef struct block {
    int64_t rows, seen, size;
    double scale;
} block;

/* Scores of what is not seen yet are computed with the others and then forgotten, as a product of
 * whole matrices is what a BLAS is fast at. */
#define ATTEND(type, suffix, exp_fn)                                                           \
    static void soften_##suffix(type *row, int64_t count, type scale)                          \
    {                                                                                          \
        type largest = -(type)INFINITY;                                                        \
        for (int64_t i = 0; i < count; i++) {                                                  \
            row[i] *= scale;                                                                   \
            largest = row[i] > largest ? row[i] : largest;                                     \
        }                                                                                      \
        double sum = 0;                                                                        \
        for (int64_t i = 0; i < count; i++)                                                    \
            sum += row[i] = exp_fn(row[i] - largest);                                          \
        type share = (type)(1 / sum);                                                          \
        for (int64_t i = 0; i < count; i++)                                                    \
            row[i] *= share;                                                                   \
    }                                                                                          \
    static void attend_##suffix(const block *b, const type *q, const type *k, const type *v,   \
                                type *scores, type *out)                                       \
    {                                                                                          \
        hk_product by_k = {.m = b->rows, .n = b->seen, .k = b->size, .swap_right = true};      \
        hk_product by_v = {.m = b->rows, .n = b->size, .k = b->seen};                          \
        hk_product_##suffix(&by_k, q, k, scores);                                              \
        for (int64_t i = 0; i < b->rows; i++) {                                                \
            int64_t count = b->seen - (b->rows - 1 - i);                                       \
            type *row = scores + i * b->seen;                                                  \
            soften_##suffix(row, count, (type)b->scale);                                       \
            for (int64_t j = count; j < b->seen; j++)                                          \
                row[j] = 0;                                                                    \
        }                                                                                      \
        hk_product_##suffix(&by_v, scores, v, out);                                            \
    }

ATTEND(float, f32, expf)
ATTEND(double, f64, exp)

/* Memory of a call, in the lane's type. q, out, k and v are NULL where the elements are of that
 * type already and are used where they lie. */
typedef struct scratch {
    void *room, *scores, *q, *out, *k, *v;
    int64_t widened; /* the head that k and v hold, -1: none */
} scratch;

static hocket_status make_scratch(const hocket_op_call *call, int64_t seen, scratch *s)
{
    const hocket_type *q = &call->input_types[0];
    size_t lane = hk_lane_size(hk_lane_of(q->dtype));
    size_t rows = (size_t)(q->dims[1] < BLOCK_ROWS ? q->dims[1] : BLOCK_ROWS);
    size_t scores = rows * (size_t)seen * lane, block_bytes = rows * (size_t)q->dims[2] * lane;
    size_t head = (size_t)(seen * q->dims[2]) * lane;
    bool native = hk_lane_is_native(q->dtype);
    size_t total = scores + (native ? 0 : 2 * block_bytes + 2 * head);
    *s = (scratch){.room = malloc(total), .widened = -1};
    if (s->room == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%zu bytes for scores", total);
    s->scores = s->room;
    if (!native) {
        s->q = (char *)s->scores + scores;
        s->out = (char *)s->q + block_bytes;
        s->k = (char *)s->out + block_bytes;
        s->v = (char *)s->k + head;
    }
    return HOCKET_OK;
}

/* A head of k or v, as far as it is seen, in the lane's type. */
static const void *view_head(const hocket_op_call *call, int input, int64_t head, int64_t seen,
                             void *room)
{
    const hocket_type *type = &call->input_types[input];
    size_t at = (size_t)(head * type->dims[1] * type->dims[2]);
    const char *from = (const char *)call->inputs[input] + at * hocket_dtype_size(type->dtype);
    return hk_lane_view(type->dtype, from, 1, (size_t)(seen * type->dims[2]), room);
}

static void attend_head(const hocket_op_call *call, int64_t head, int64_t position, const void *k,
                        const void *v, const scratch *s)
{
    const hocket_type *q = &call->input_types[0];
    int64_t rows = q->dims[1], size = q->dims[2];
    double scale = hocket_attrs_float(&call->attributes, "scale", 1);
    for (int64_t first = 0; first < rows; first += BLOCK_ROWS) {
        int64_t some = rows - first < BLOCK_ROWS ? rows - first : BLOCK_ROWS;
        block b = {.rows = some, .seen = position + first + some, .size = size, .scale = scale};
        size_t at = (size_t)((head * rows + first) * size) * hocket_dtype_size(q->dtype);
        const void *from = hk_lane_view(q->dtype, (const char *)call->inputs[0] + at, 1,
                                        (size_t)(some * size), s->q);
        char *to = (char *)call->output + at;
        void *out = s->out ? s->out : to;
        if (q->dtype == HOCKET_FLOAT64)
            attend_f64(&b, from, k, v, s->scores, out);
        else
            attend_f32(&b, from, k, v, s->scores, out);
        if (s->out)
            hk_lane_store(q->dtype, out, (size_t)(some * size), to, 1);
    }
}

hocket_status hk_cpu_attention(hocket_op_call *call)
{
    const hocket_type *q = &call->input_types[0], *k = &call->input_types[1];
    size_t count;
    const int64_t *heads = hocket_attrs_ints(&call->attributes, "heads", &count);
    int64_t position;
    hocket_status status = find_position(call, 3, q->dims[1], k->dims[1], &position);
    if (status != HOCKET_OK || hocket_type_count(q) == 0)
        return status;
    int64_t seen = position + q->dims[1];
    scratch s;
    status = make_scratch(call, seen, &s);
    if (status != HOCKET_OK)
        return status;
    const void *keys = NULL, *values = NULL;
    for (int64_t head = 0; head < q->dims[0]; head++) {
        int64_t read = heads ? heads[head] : head / (q->dims[0] / k->dims[0]);
        if (read != s.widened) {
            keys = view_head(call, 1, read, seen, s.k);
            values = view_head(call, 2, read, seen, s.v);
            s.widened = read;
        }
        attend_head(call, head, position, keys, values, &s);
    }
    free(s.room);
    return HOCKET_OK;
}
