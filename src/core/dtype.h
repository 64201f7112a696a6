/* The element types: names, sizes, and the size of a buffer in bytes. */
#ifndef HK_CORE_DTYPE_H
#define HK_CORE_DTYPE_H

#include <hocket/hocket.h>

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HK_DTYPE_COUNT = HOCKET_COMPLEX64 + 1 };

/* Whether a number that came from outside names a dtype. */
bool hk_dtype_valid(int dtype);

/* hocket_dtype_size and hocket_dtype_name, for the inside. */
static inline size_t hk_dtype_size(hocket_dtype dtype)
{
    return hocket_dtype_size(dtype);
}

static inline const char *hk_dtype_name(hocket_dtype dtype)
{
    return hocket_dtype_name(dtype);
}

/* False when the product overflows. Dividing would be dear, so only large factors are divided. */
static inline bool hk_product(size_t a, size_t b, size_t *product)
{
    *product = a * b;
    return (a | b) <= SIZE_MAX >> (sizeof(size_t) * CHAR_BIT / 2) || a == 0 || *product / a == b;
}

/* Writes the bytes that `count` elements take. False, and *bytes left alone, when that overflows or
 * dtype is none. */
bool hk_bytes(size_t count, hocket_dtype dtype, size_t *bytes);

#endif
