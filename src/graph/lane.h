/* Lanes: the four C types that the cpu device computes in.
 *
 * A kernel does not know 14 dtypes. It reads a block of elements of any dtype and stride into a
 * lane (float for f16, bf16 and f32), computes there, and stores the block in the dtype of the
 * result, rounded once. Contiguous elements that are of the lane's own type are used where they
 * are. */
#ifndef HK_GRAPH_LANE_H
#define HK_GRAPH_LANE_H

#include <hocket/graph.h>

typedef enum hk_lane { HK_LANE_F32, HK_LANE_F64, HK_LANE_I64, HK_LANE_U64, HK_LANES } hk_lane;

enum { HK_BLOCK = 512 }; /* elements: three blocks of 8 bytes each stay in the first cache */

typedef union hk_block {
    float f32[HK_BLOCK];
    double f64[HK_BLOCK];
    int64_t i64[HK_BLOCK];
    uint64_t u64[HK_BLOCK];
} hk_block;

/* The lane of a dtype. complex64 has none; inference keeps it away from kernels with lanes. */
hk_lane hk_lane_of(hocket_dtype dtype);
size_t hk_lane_size(hk_lane lane);
/* Whether elements of the dtype are the lane's own type. */
bool hk_lane_is_native(hocket_dtype dtype);

/* Strides are in elements. bool is read as 0 or 1; whatever is not 0 is stored in it as 1. Integers
 * wrap. */
void hk_lane_load(hocket_dtype dtype, const void *from, int64_t stride, size_t count, void *lane);
void hk_lane_store(hocket_dtype dtype, const void *lane, size_t count, void *to, int64_t stride);

/* Where to find count elements as a lane: from itself if they are native and contiguous, else
 * scratch, filled. */
const void *hk_lane_view(hocket_dtype dtype, const void *from, int64_t stride, size_t count,
                         void *scratch);

/* From one lane to another. Floats to integers go towards zero and stop at the ends; NaN gives 0.
 */
void hk_lane_convert(hk_lane from, const void *in, hk_lane to, void *out, size_t count);

/* A walk over the elements of a shape for several operands at once: all dimensions but the last are
 * stepped through, the last is the caller's loop, as long as possible (dimensions that lie behind
 * each other for every operand are merged). */
enum { HK_WALK_OPERANDS = 4 };

typedef struct hk_walk {
    int rank, operand_count;
    int64_t dims[HOCKET_MAX_RANK];
    int64_t strides[HK_WALK_OPERANDS][HOCKET_MAX_RANK]; /* elements */
    int64_t index[HOCKET_MAX_RANK];
    int64_t offsets[HK_WALK_OPERANDS]; /* of the present run, elements */
} hk_walk;

/* strides[i]: of operand i, rank each. A walk over no elements has dims[rank - 1] == 0 at once. */
void hk_walk_start(hk_walk *walk, int rank, const int64_t *dims, int operand_count,
                   int64_t strides[][HOCKET_MAX_RANK]);
/* The next run; false after the last. */
bool hk_walk_next(hk_walk *walk);
static inline int64_t hk_walk_length(const hk_walk *walk) /* of each run */
{
    return walk->dims[walk->rank - 1];
}
static inline int64_t hk_walk_stride(const hk_walk *walk, int operand) /* within a run */
{
    return walk->strides[operand][walk->rank - 1];
}

#endif
