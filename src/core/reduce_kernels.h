/*
 * The loops under reduce.c, compiled once for each instruction set. Private to reduce.c and its
 * tests.
 *
 * reduce_kernels.inc.h is the one source; reduce_kernels_{base,avx2,avx512}.c include it and are
 * compiled with different flags. All tables give the same bits for the same input.
 */
#ifndef HK_CORE_REDUCE_KERNELS_H
#define HK_CORE_REDUCE_KERNELS_H

#include "core/dtype.h"

#include <stddef.h>

enum hk_op { HK_OP_SUM, HK_OP_PROD, HK_OP_MAX, HK_OP_MIN, HK_OP_COUNT };

/* out[i] = left[i] OP right[i]. out may be left or right itself, but not overlap them in part. */
typedef void hk_step_fn(void *out, const void *left, const void *right, size_t count);

/* out[i] = in[i] / divisor. out may be in. */
typedef void hk_divide_fn(void *out, const void *in, size_t count, int divisor);

/* Converts count elements. The two do not overlap. */
typedef void hk_convert_fn(void *out, const void *in, size_t count);

/* Halves have no step and no divide of their own: they are widened, worked on as float32, and
 * narrowed. */
struct hk_kernels {
    const char *name;
    hk_step_fn *step[HK_DTYPE_COUNT][HK_OP_COUNT];
    hk_divide_fn *divide[HK_DTYPE_COUNT]; /* NULL where there is no mean */
    hk_convert_fn *widen[HK_DTYPE_COUNT]; /* NULL but for halves: to float32 */
    hk_convert_fn *narrow[HK_DTYPE_COUNT];
};

/* NULL where the compiler was not told to, or cannot, build it. Data, so that looking runs no
 * foreign instruction. */
extern const struct hk_kernels *const hk_kernels_base;
extern const struct hk_kernels *const hk_kernels_avx2;
extern const struct hk_kernels *const hk_kernels_avx512;

/* The tables that run on this machine, best first; NULL past the last. The base table is always
 * among them. */
const struct hk_kernels *hk_kernels_at(size_t index);

/* hk_reduce_fold with a given table. Not for reductions of the user. */
void hk_reduce_fold_with(const struct hk_kernels *kernels, void *out, const void *const *inputs,
                         int n, size_t count, hocket_dtype dtype, hocket_reduce reduce);

#endif
