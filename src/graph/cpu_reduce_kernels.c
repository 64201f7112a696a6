/* Sum, mean, max and min over some of the axes, and argmax along one.
 *
 * Two walks, one inside the other: over the dimensions that stay, and for each of their elements
 * over those that go. Sums of floats are kept in double, so their error does not grow with the
 * count. */
#include "graph/cpu.h"
#include "graph/lane.h"
#include "graph/shape.h"

typedef union total {
    float f32;
    double f64;
    int64_t i64;
    uint64_t u64;
} total;

/* Folds a block into the total of its lane; the first block starts it. */
typedef void (*fold_fn)(hk_lane lane, const void *block, size_t count, bool first, total *sum);

#define FOLD(lane_name, type, member, start, step)   \
    case lane_name: {                                \
        const type *x = block;                       \
        if (first)                                   \
            sum->member = (start);                   \
        for (size_t i = 0; i < count; i++)           \
            sum->member = (step);                    \
        break;                                       \
    }

/* The lane F32 too is summed in f64; finish() converts. */
static void fold_sum(hk_lane lane, const void *block, size_t count, bool first, total *sum)
{
    switch (lane) {
        FOLD(HK_LANE_F32, float, f64, 0, sum->f64 + x[i])
        FOLD(HK_LANE_F64, double, f64, 0, sum->f64 + x[i])
        FOLD(HK_LANE_I64, uint64_t, u64, 0, sum->u64 + x[i])
        FOLD(HK_LANE_U64, uint64_t, u64, 0, sum->u64 + x[i])
    case HK_LANES: break;
    }
}

#define LARGER(a, b) ((b) > (a) || (b) != (b) ? (b) : (a))
#define SMALLER(a, b) ((b) < (a) || (b) != (b) ? (b) : (a))

static void fold_max(hk_lane lane, const void *block, size_t count, bool first, total *sum)
{
    switch (lane) {
        FOLD(HK_LANE_F32, float, f32, x[0], LARGER(sum->f32, x[i]))
        FOLD(HK_LANE_F64, double, f64, x[0], LARGER(sum->f64, x[i]))
        FOLD(HK_LANE_I64, int64_t, i64, x[0], LARGER(sum->i64, x[i]))
        FOLD(HK_LANE_U64, uint64_t, u64, x[0], LARGER(sum->u64, x[i]))
    case HK_LANES: break;
    }
}

static void fold_min(hk_lane lane, const void *block, size_t count, bool first, total *sum)
{
    switch (lane) {
        FOLD(HK_LANE_F32, float, f32, x[0], SMALLER(sum->f32, x[i]))
        FOLD(HK_LANE_F64, double, f64, x[0], SMALLER(sum->f64, x[i]))
        FOLD(HK_LANE_I64, int64_t, i64, x[0], SMALLER(sum->i64, x[i]))
        FOLD(HK_LANE_U64, uint64_t, u64, x[0], SMALLER(sum->u64, x[i]))
    case HK_LANES: break;
    }
}

/* A shape of some of x's dimensions, with x's strides. */
typedef struct part {
    int rank;
    int64_t dims[HOCKET_MAX_RANK];
    int64_t strides[1][HOCKET_MAX_RANK];
} part;

static void split(const hocket_op_call *call, part *stays, part *goes)
{
    const hocket_type *x = &call->input_types[0];
    size_t count;
    const int64_t *axes = hocket_attrs_ints(&call->attributes, "axes", &count);
    bool all = !hocket_attrs_has(&call->attributes, "axes");
    int64_t strides[HOCKET_MAX_RANK];
    hk_shape_strides(x, strides);
    stays->rank = goes->rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool gone = all;
        for (size_t j = 0; j < count; j++)
            gone = gone || axes[j] == i || axes[j] + x->rank == i;
        part *to = gone ? goes : stays;
        to->dims[to->rank] = x->dims[i];
        to->strides[0][to->rank++] = strides[i];
    }
}

/* All elements that go, for the element that stays at `at`. */
static total fold_one(hocket_dtype dtype, const char *at, const part *goes, fold_fn fold)
{
    hk_lane lane = hk_lane_of(dtype);
    int64_t element = (int64_t)hocket_dtype_size(dtype);
    total sum = {.u64 = 0};
    hk_block scratch;
    hk_walk walk;
    bool first = true;
    hk_walk_start(&walk, goes->rank, goes->dims, 1, (int64_t(*)[HOCKET_MAX_RANK])goes->strides);
    int64_t length = hk_walk_length(&walk), stride = hk_walk_stride(&walk, 0);
    do
        for (int64_t done = 0; done < length; done += HK_BLOCK) {
            size_t count = (size_t)(length - done < HK_BLOCK ? length - done : HK_BLOCK);
            const char *from = at + (walk.offsets[0] + done * stride) * element;
            fold(lane, hk_lane_view(dtype, from, stride, count, &scratch), count, first, &sum);
            first = false;
        }
    while (hk_walk_next(&walk));
    return sum;
}

static hocket_status reduce(const hocket_op_call *call, fold_fn fold, bool mean)
{
    hocket_dtype dtype = call->output_type.dtype;
    hk_lane lane = hk_lane_of(dtype);
    int64_t element = (int64_t)hocket_dtype_size(dtype);
    part stays, goes;
    split(call, &stays, &goes);
    double divisor = 1;
    for (int i = 0; mean && i < goes.rank; i++)
        divisor *= (double)goes.dims[i];
    hk_walk walk;
    hk_walk_start(&walk, stays.rank, stays.dims, 1, stays.strides);
    char *out = call->output;
    do
        for (int64_t i = 0; i < hk_walk_length(&walk); i++) {
            int64_t at = walk.offsets[0] + i * hk_walk_stride(&walk, 0);
            total sum = fold_one(dtype, (const char *)call->inputs[0] + at * element, &goes, fold);
            if (mean)
                sum.f64 /= divisor;
            if (lane == HK_LANE_F32 && fold == fold_sum)
                sum.f32 = (float)sum.f64;
            hk_lane_store(dtype, &sum, 1, out, 1);
            out += element;
        }
    while (hk_walk_next(&walk));
    return HOCKET_OK;
}

hocket_status hk_cpu_sum(hocket_op_call *call)
{
    return reduce(call, fold_sum, false);
}

hocket_status hk_cpu_mean(hocket_op_call *call)
{
    return reduce(call, fold_sum, true);
}

hocket_status hk_cpu_max(hocket_op_call *call)
{
    return reduce(call, fold_max, false);
}

hocket_status hk_cpu_min(hocket_op_call *call)
{
    return reduce(call, fold_min, false);
}

/* --- argmax --- */

/* The first of the largest of count elements; best holds the largest of the blocks before. */
#define BEST(lane_name, type, member)                     \
    case lane_name: {                                     \
        const type *x = block;                            \
        if (done == 0)                                    \
            best->member = x[0];                          \
        for (size_t i = 0; i < count; i++)                \
            if (x[i] > best->member) {                    \
                best->member = x[i];                      \
                *at = done + (int64_t)i;                  \
            }                                             \
        break;                                            \
    }

static void find_best(hk_lane lane, const void *block, size_t count, int64_t done, total *best,
                      int64_t *at)
{
    switch (lane) {
        BEST(HK_LANE_F32, float, f32)
        BEST(HK_LANE_F64, double, f64)
        BEST(HK_LANE_I64, int64_t, i64)
        BEST(HK_LANE_U64, uint64_t, u64)
    case HK_LANES: break;
    }
}

hocket_status hk_cpu_argmax(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    int64_t asked = hocket_attrs_int(&call->attributes, "axis", -1);
    int axis = (int)(asked < 0 ? asked + x->rank : asked);
    int64_t outer = hk_shape_product(x, 0, axis), inner = hk_shape_product(x, axis + 1, x->rank);
    int64_t length = x->dims[axis], element = (int64_t)hocket_dtype_size(x->dtype);
    int32_t *out = call->output;
    hk_block scratch;
    for (int64_t row = 0; row < outer * inner; row++) {
        int64_t start = row / inner * length * inner + row % inner, at = 0;
        total best = {.u64 = 0};
        for (int64_t done = 0; done < length; done += HK_BLOCK) {
            size_t count = (size_t)(length - done < HK_BLOCK ? length - done : HK_BLOCK);
            const char *from = (const char *)call->inputs[0] + (start + done * inner) * element;
            find_best(hk_lane_of(x->dtype),
                      hk_lane_view(x->dtype, from, inner, count, &scratch), count, done, &best,
                      &at);
        }
        out[row] = (int32_t)at;
    }
    return HOCKET_OK;
}
