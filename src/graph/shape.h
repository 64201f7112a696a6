/* Types of tensors: what inference and kernels need of them besides graph.h. */
#ifndef HK_GRAPH_SHAPE_H
#define HK_GRAPH_SHAPE_H

#include <hocket/graph.h>

#define HK_TYPE_TEXT_MAX 224 /* "bfloat16[...]" with HOCKET_MAX_RANK dimensions of 20 digits */

/* The text of a type, for the arguments of one call. C only. */
#define HK_TYPE_TEXT(type) hocket_type_text((type), (char[HK_TYPE_TEXT_MAX]){0}, HK_TYPE_TEXT_MAX)

/* Sets of dtypes that operations take. */
#define HK_DTYPE_BIT(dtype) (1u << (dtype))
#define HK_FLOATS                                                  \
    (HK_DTYPE_BIT(HOCKET_FLOAT16) | HK_DTYPE_BIT(HOCKET_BFLOAT16) | \
     HK_DTYPE_BIT(HOCKET_FLOAT32) | HK_DTYPE_BIT(HOCKET_FLOAT64))
#define HK_COMPLEX HK_DTYPE_BIT(HOCKET_COMPLEX64)
#define HK_EVERY_DTYPE ((1u << (HOCKET_COMPLEX64 + 1)) - 1)
#define HK_NUMBERS (HK_EVERY_DTYPE & ~HK_COMPLEX & ~HK_DTYPE_BIT(HOCKET_BOOL))
#define HK_INDICES (HK_DTYPE_BIT(HOCKET_INT32) | HK_DTYPE_BIT(HOCKET_INT64))

/* Whether dtype, rank and dims are such as hocket_type_make accepts; else fails, naming what. */
hocket_status hk_type_check(const hocket_type *type, const char *what);
bool hk_type_equal(const hocket_type *left, const hocket_type *right);

/* NumPy's broadcasting of the shapes; result's dtype is left alone. false: they do not fit. result
 * may be one of the operands. */
bool hk_shape_broadcast(const hocket_type *left, const hocket_type *right, hocket_type *result);
/* Whether shape from repeats to exactly shape to. */
bool hk_shape_broadcasts_to(const hocket_type *from, const hocket_type *to);

/* In elements, of a contiguous tensor. */
void hk_shape_strides(const hocket_type *type, int64_t *strides);

/* The same, as seen from a shape that it broadcasts to: to->rank strides, 0 where it repeats. */
void hk_shape_strides_in(const hocket_type *type, const hocket_type *to, int64_t *strides);

/* Elements of dims[first] .. dims[last - 1]. */
int64_t hk_shape_product(const hocket_type *type, int first, int last);

/* For inference: an axis that may count from the end becomes 0 .. rank - 1. */
hocket_status hk_axis_check(const hocket_op_call *call, int64_t axis, int rank, int *checked);

/* For inference: whether the dtype of an input is in a set. */
hocket_status hk_dtype_check(const hocket_op_call *call, int input, unsigned dtypes);

#endif
