#include "core/dtype.h"

#include <stdint.h>

struct dtype_info {
    const char *name;
    size_t size;
};

static const struct dtype_info dtypes[HK_DTYPE_COUNT] = {
    [HOCKET_BOOL] = {"bool", 1},         [HOCKET_INT8] = {"int8", 1},
    [HOCKET_INT16] = {"int16", 2},       [HOCKET_INT32] = {"int32", 4},
    [HOCKET_INT64] = {"int64", 8},       [HOCKET_UINT8] = {"uint8", 1},
    [HOCKET_UINT16] = {"uint16", 2},     [HOCKET_UINT32] = {"uint32", 4},
    [HOCKET_UINT64] = {"uint64", 8},     [HOCKET_FLOAT16] = {"float16", 2},
    [HOCKET_BFLOAT16] = {"bfloat16", 2}, [HOCKET_FLOAT32] = {"float32", 4},
    [HOCKET_FLOAT64] = {"float64", 8},   [HOCKET_COMPLEX64] = {"complex64", 8},
};

bool hk_dtype_valid(int dtype)
{
    return dtype >= 0 && dtype < HK_DTYPE_COUNT;
}

size_t hocket_dtype_size(hocket_dtype dtype)
{
    return hk_dtype_valid((int)dtype) ? dtypes[dtype].size : 0;
}

const char *hocket_dtype_name(hocket_dtype dtype)
{
    return hk_dtype_valid((int)dtype) ? dtypes[dtype].name : "unknown dtype";
}

bool hk_bytes(size_t count, hocket_dtype dtype, size_t *bytes)
{
    const size_t size = hocket_dtype_size(dtype);
    size_t product;
    if (size == 0 || !hk_product(count, size, &product)) {
        return false;
    }
    *bytes = product;
    return true;
}
