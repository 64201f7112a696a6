#include "core/half.h"
#include "graph/lane.h"

#include <string.h>

hk_lane hk_lane_of(hocket_dtype dtype)
{
    switch (dtype) {
    case HOCKET_FLOAT16:
    case HOCKET_BFLOAT16:
    case HOCKET_FLOAT32: return HK_LANE_F32;
    case HOCKET_FLOAT64: return HK_LANE_F64;
    case HOCKET_UINT64: return HK_LANE_U64;
    default: return HK_LANE_I64;
    }
}

size_t hk_lane_size(hk_lane lane)
{
    return lane == HK_LANE_F32 ? sizeof(float) : sizeof(double);
}

bool hk_lane_is_native(hocket_dtype dtype)
{
    return dtype == HOCKET_FLOAT32 || dtype == HOCKET_FLOAT64 || dtype == HOCKET_INT64 ||
           dtype == HOCKET_UINT64;
}

/* One X per dtype: its number, its C type, its lane's C type, to the lane, from the lane. */
#define SAME(x) (x)
#define TRUTH(x) ((x) != 0)
#define DTYPES(X)                                                          \
    X(HOCKET_BOOL, uint8_t, int64_t, TRUTH, TRUTH)                         \
    X(HOCKET_INT8, int8_t, int64_t, SAME, SAME)                            \
    X(HOCKET_INT16, int16_t, int64_t, SAME, SAME)                          \
    X(HOCKET_INT32, int32_t, int64_t, SAME, SAME)                          \
    X(HOCKET_INT64, int64_t, int64_t, SAME, SAME)                          \
    X(HOCKET_UINT8, uint8_t, int64_t, SAME, SAME)                          \
    X(HOCKET_UINT16, uint16_t, int64_t, SAME, SAME)                        \
    X(HOCKET_UINT32, uint32_t, int64_t, SAME, SAME)                        \
    X(HOCKET_UINT64, uint64_t, uint64_t, SAME, SAME)                       \
    X(HOCKET_FLOAT16, uint16_t, float, hk_f16_to_f32, hk_f32_to_f16)       \
    X(HOCKET_BFLOAT16, uint16_t, float, hk_bf16_to_f32, hk_f32_to_bf16)    \
    X(HOCKET_FLOAT32, float, float, SAME, SAME)                            \
    X(HOCKET_FLOAT64, double, double, SAME, SAME)

#define LOAD(dtype, type, lane_type, widen, narrow)                                   \
    case dtype: {                                                                     \
        const type *in = from;                                                        \
        lane_type *out = lane;                                                        \
        if (stride == 1)                                                              \
            for (size_t i = 0; i < count; i++)                                        \
                out[i] = (lane_type)widen(in[i]);                                     \
        else                                                                          \
            for (size_t i = 0; i < count; i++)                                        \
                out[i] = (lane_type)widen(in[(int64_t)i * stride]);                   \
        return;                                                                       \
    }

#define STORE(dtype, type, lane_type, widen, narrow)      \
    case dtype: {                                         \
        const lane_type *in = lane;                       \
        type *out = to;                                   \
        if (stride == 1)                                  \
            for (size_t i = 0; i < count; i++)            \
                out[i] = (type)narrow(in[i]);             \
        else                                              \
            for (size_t i = 0; i < count; i++)            \
                out[(int64_t)i * stride] = (type)narrow(in[i]); \
        return;                                           \
    }

void hk_lane_load(hocket_dtype dtype, const void *from, int64_t stride, size_t count, void *lane)
{
    switch (dtype) {
        DTYPES(LOAD)
    case HOCKET_COMPLEX64: return;
    }
}

void hk_lane_store(hocket_dtype dtype, const void *lane, size_t count, void *to, int64_t stride)
{
    switch (dtype) {
        DTYPES(STORE)
    case HOCKET_COMPLEX64: return;
    }
}

const void *hk_lane_view(hocket_dtype dtype, const void *from, int64_t stride, size_t count,
                         void *scratch)
{
    if (hk_lane_is_native(dtype) && (stride == 1 || count == 1))
        return from;
    hk_lane_load(dtype, from, stride, count, scratch);
    return scratch;
}

/* --- Between lanes --- */

static int64_t to_i64(double x)
{
    if (x != x)
        return 0;
    if (x >= 0x1p63)
        return INT64_MAX;
    return x < -0x1p63 ? INT64_MIN : (int64_t)x;
}

static uint64_t to_u64(double x)
{
    if (!(x > 0)) /* also NaN */
        return 0;
    return x >= 0x1p64 ? UINT64_MAX : (uint64_t)x;
}

#define CONVERT(from_lane, from_type, to_lane, to_type, how) \
    if (from == from_lane && to == to_lane) {                \
        const from_type *x = in;                             \
        to_type *y = out;                                    \
        for (size_t i = 0; i < count; i++)                   \
            y[i] = (to_type)how(x[i]);                       \
        return;                                              \
    }

void hk_lane_convert(hk_lane from, const void *in, hk_lane to, void *out, size_t count)
{
    CONVERT(HK_LANE_F32, float, HK_LANE_F64, double, SAME)
    CONVERT(HK_LANE_F32, float, HK_LANE_I64, int64_t, to_i64)
    CONVERT(HK_LANE_F32, float, HK_LANE_U64, uint64_t, to_u64)
    CONVERT(HK_LANE_F64, double, HK_LANE_F32, float, SAME)
    CONVERT(HK_LANE_F64, double, HK_LANE_I64, int64_t, to_i64)
    CONVERT(HK_LANE_F64, double, HK_LANE_U64, uint64_t, to_u64)
    CONVERT(HK_LANE_I64, int64_t, HK_LANE_F32, float, SAME)
    CONVERT(HK_LANE_I64, int64_t, HK_LANE_F64, double, SAME)
    CONVERT(HK_LANE_I64, int64_t, HK_LANE_U64, uint64_t, SAME)
    CONVERT(HK_LANE_U64, uint64_t, HK_LANE_F32, float, SAME)
    CONVERT(HK_LANE_U64, uint64_t, HK_LANE_F64, double, SAME)
    CONVERT(HK_LANE_U64, uint64_t, HK_LANE_I64, int64_t, SAME)
    memcpy(out, in, count * hk_lane_size(from));
}
