#include "graph/shape.h"

#include "core/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

hocket_status hk_type_check(const hocket_type *type, const char *what)
{
    size_t element = hocket_dtype_size(type->dtype);
    if (element == 0)
        return hk_fail(HOCKET_ERR_INVALID, "%s: %d is no dtype", what, (int)type->dtype);
    if (type->rank < 0 || type->rank > HOCKET_MAX_RANK)
        return hk_fail(HOCKET_ERR_INVALID, "%s: rank %d is not in 0..%d", what, type->rank,
                       HOCKET_MAX_RANK);
    /* Dimensions of 0 are left out, so that no product of some of the others overflows either. */
    uint64_t bytes = element;
    for (int i = 0; i < type->rank; i++) {
        if (type->dims[i] < 0)
            return hk_fail(HOCKET_ERR_INVALID, "%s: dimension %d is %" PRId64, what, i,
                           type->dims[i]);
        if (type->dims[i] > 0 && bytes > (uint64_t)PTRDIFF_MAX / (uint64_t)type->dims[i])
            return hk_fail(HOCKET_ERR_INVALID, "%s: %s has more bytes than memory can have", what,
                           HK_TYPE_TEXT(type));
        if (type->dims[i] > 0)
            bytes *= (uint64_t)type->dims[i];
    }
    return HOCKET_OK;
}

hocket_status hocket_type_make(hocket_dtype dtype, int rank, const int64_t *dims, hocket_type *type)
{
    if (type == NULL || (dims == NULL && rank > 0))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_type_make: %s is NULL",
                       type == NULL ? "type" : "dims");
    *type = (hocket_type){.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank && i < HOCKET_MAX_RANK; i++)
        type->dims[i] = dims[i];
    return hk_type_check(type, "a tensor's type");
}

size_t hocket_type_count(const hocket_type *type)
{
    return (size_t)hk_shape_product(type, 0, type->rank);
}

size_t hocket_type_bytes(const hocket_type *type)
{
    return hocket_type_count(type) * hocket_dtype_size(type->dtype);
}

char *hocket_type_text(const hocket_type *type, char *text, size_t capacity)
{
    if (capacity == 0)
        return text;
    size_t used = (size_t)snprintf(text, capacity, "%s[", hocket_dtype_name(type->dtype));
    for (int i = 0; i < type->rank && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%" PRId64, i > 0 ? "," : "",
                                 type->dims[i]);
    if (used < capacity)
        snprintf(text + used, capacity - used, "]");
    return text;
}

bool hk_type_equal(const hocket_type *left, const hocket_type *right)
{
    return left->dtype == right->dtype && left->rank == right->rank &&
           memcmp(left->dims, right->dims, (size_t)left->rank * sizeof left->dims[0]) == 0;
}

/* The dimension i places before the last; 1 beyond the first. */
static int64_t dim_from_end(const hocket_type *type, int i)
{
    return i < type->rank ? type->dims[type->rank - 1 - i] : 1;
}

bool hk_shape_broadcast(const hocket_type *left, const hocket_type *right, hocket_type *result)
{
    hocket_type all = {.dtype = result->dtype,
                       .rank = left->rank > right->rank ? left->rank : right->rank};
    for (int i = 0; i < all.rank; i++) {
        int64_t a = dim_from_end(left, i), b = dim_from_end(right, i);
        if (a != b && a != 1 && b != 1)
            return false;
        all.dims[all.rank - 1 - i] = a == 1 ? b : a;
    }
    *result = all;
    return true;
}

bool hk_shape_broadcasts_to(const hocket_type *from, const hocket_type *to)
{
    if (from->rank > to->rank)
        return false;
    for (int i = 0; i < from->rank; i++) {
        int64_t a = dim_from_end(from, i);
        if (a != 1 && a != dim_from_end(to, i))
            return false;
    }
    return true;
}

void hk_shape_strides(const hocket_type *type, int64_t *strides)
{
    int64_t stride = 1;
    for (int i = type->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= type->dims[i];
    }
}

void hk_shape_strides_in(const hocket_type *type, const hocket_type *to, int64_t *strides)
{
    int64_t own[HOCKET_MAX_RANK];
    hk_shape_strides(type, own);
    int shift = to->rank - type->rank;
    for (int i = 0; i < to->rank; i++)
        strides[i] = i < shift || type->dims[i - shift] == 1 ? 0 : own[i - shift];
}

int64_t hk_shape_product(const hocket_type *type, int first, int last)
{
    int64_t product = 1;
    for (int i = first; i < last; i++)
        product *= type->dims[i];
    return product;
}

hocket_status hk_axis_check(const hocket_op_call *call, int64_t axis, int rank, int *checked)
{
    if (axis < -rank || axis >= rank)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "axis %" PRId64 " is not one of %s, which has %d", axis,
                               HK_TYPE_TEXT(&call->input_types[0]), rank);
    *checked = (int)(axis < 0 ? axis + rank : axis);
    return HOCKET_OK;
}

/* What to call a set of dtypes. */
static const char *dtypes_text(unsigned dtypes)
{
    switch (dtypes) {
    case HK_FLOATS: return "floats";
    case HK_NUMBERS: return "integers and floats";
    case HK_INDICES: return "int32 and int64";
    case HK_DTYPE_BIT(HOCKET_BOOL): return "bool";
    case HK_NUMBERS | HK_DTYPE_BIT(HOCKET_BOOL): return "all but complex64";
    default: return "another dtype";
    }
}

hocket_status hk_dtype_check(const hocket_op_call *call, int input, unsigned dtypes)
{
    const hocket_type *type = &call->input_types[input];
    if (dtypes & HK_DTYPE_BIT(type->dtype))
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "input %d is %s, it takes %s; cast it", input,
                           HK_TYPE_TEXT(type), dtypes_text(dtypes));
}
