/*
 * Reductions of buffers in memory: what the collectives do with the blocks that they have moved.
 *
 * Buffers are aligned to their element and count may be 0. Every result depends only on the values:
 * not on alignment, on the processor, or on how a buffer is cut into calls. A NaN that comes out of
 * a built-in reduction of two or more inputs is always the same one (quiet, positive, no payload).
 *
 * All functions may be called from any thread.
 */
#ifndef HK_CORE_REDUCE_H
#define HK_CORE_REDUCE_H

#include <hocket/hocket.h>

#include <stdbool.h>
#include <stddef.h>

enum { HK_REDUCE_USER_MAX = 1024 }; /* reductions of the user that can live at once */

/* Whether the pair makes sense: both exist, a user's reduction lives, and no mean of integers or
 * bool. */
bool hk_reduce_defined(hocket_dtype dtype, hocket_reduce reduce);

/* "sum", "mean", "max", "min", "prod", "user"; "unknown reduction" for what is none. Static. */
const char *hk_reduce_name(hocket_reduce reduce);

/* Whether operands may change places: true for all built-in ones, else what the user said. */
bool hk_reduce_commutes(hocket_reduce reduce);

/*
 * out[i] = ((inputs[0][i] + inputs[1][i]) + ...) + inputs[n - 1][i], with any reduction in place of
 * +.
 *
 * n is at least 1; a fold of one input is a copy, byte for byte. out may be the very same buffer as
 * one or more of the inputs, but must not overlap any in part. Halves are folded in float32 and
 * rounded once. Mean divides by n once, at the end and before rounding. A user's function is called
 * on pieces, from the highest input down: x0 op (x1 op (x2 op ...)).
 *
 * The pair must be defined. The one failure is HOCKET_ERR_INVALID, when a user's reduction was
 * freed meanwhile; out is untouched then. A function that is freed while it runs is only not called
 * by later calls.
 */
hocket_status hk_reduce_fold(void *out, const void *const *inputs, int n, size_t count,
                             hocket_dtype dtype, hocket_reduce reduce);

/*
 * One step of a fold that keeps its partial result in dtype: inout = in op inout when in holds the
 * lower ranks' values, else inout = inout op in. Mean adds: hk_reduce_finish divides. The two must
 * not overlap. Fails as hk_reduce_fold does.
 */
hocket_status hk_reduce_pair(void *inout, const void *in, bool in_is_lower, size_t count,
                             hocket_dtype dtype, hocket_reduce reduce);

/* What is left to do after the steps that folded n inputs: mean divides by n, the others do
 * nothing. */
void hk_reduce_finish(void *data, size_t count, hocket_dtype dtype, hocket_reduce reduce, int n);

/* Halves (dtype) to float32 and back, rounded to nearest, ties to even. The two must not overlap.
 */
void hk_reduce_widen(float *out, const void *in, size_t count, hocket_dtype dtype);
void hk_reduce_narrow(void *out, const float *in, size_t count, hocket_dtype dtype);

#endif
