/*
 * How a fold goes: in blocks that stay in the first cache. Each input's block is read once, the
 * accumulators are a small array on the stack, and the result's block is written once, after all
 * inputs' blocks were read; so the result may lie on any input.
 *
 *     inputs[0]  ----+
 *     inputs[1]  --- step --> accumulators --- step --> ... --- step --> out
 *                                inputs[2] ------+  inputs[n-1] --+
 *
 * Halves pass through `widen` on the way in and `narrow` on the way out; in between they are
 * float32.
 */
#include "core/reduce.h"

#include "core/cpu.h"
#include "core/dtype.h"
#include "core/reduce_kernels.h"
#include "core/reduce_user.h"
#include "core/status.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

/* Two of them and a piece of an input are in use at once: well inside the first cache, and inside
 * small stacks. */
enum { BLOCK_BYTES = 2048 };

typedef union block {
    _Alignas(64) unsigned char bytes[BLOCK_BYTES];
    float floats[BLOCK_BYTES / sizeof(float)];
} block;

/* ---- names and rules ---- */

static const char *const reduce_names[] = {
    [HOCKET_SUM] = "sum", [HOCKET_MEAN] = "mean", [HOCKET_MAX] = "max",
    [HOCKET_MIN] = "min", [HOCKET_PROD] = "prod",
};

enum { BUILT_IN_COUNT = sizeof reduce_names / sizeof reduce_names[0] };

static bool is_built_in(hocket_reduce reduce)
{
    return (int)reduce >= 0 && (int)reduce < BUILT_IN_COUNT;
}

static bool is_user(hocket_reduce reduce)
{
    return (int)reduce >= HOCKET_REDUCE_USER;
}

static bool is_half(hocket_dtype dtype)
{
    return dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16;
}

static bool has_mean(hocket_dtype dtype)
{
    return is_half(dtype) || dtype == HOCKET_FLOAT32 || dtype == HOCKET_FLOAT64 ||
           dtype == HOCKET_COMPLEX64;
}

bool hk_reduce_defined(hocket_dtype dtype, hocket_reduce reduce)
{
    struct hk_user_reduce user;
    if (!hk_dtype_valid((int)dtype)) {
        return false;
    }
    if (is_user(reduce)) {
        return hk_user_reduce_find(reduce, &user);
    }
    return is_built_in(reduce) && (reduce != HOCKET_MEAN || has_mean(dtype));
}

const char *hk_reduce_name(hocket_reduce reduce)
{
    if (is_user(reduce)) {
        return "user";
    }
    return is_built_in(reduce) ? reduce_names[reduce] : "unknown reduction";
}

bool hk_reduce_commutes(hocket_reduce reduce)
{
    struct hk_user_reduce user;
    return is_built_in(reduce) || (hk_user_reduce_find(reduce, &user) && user.commutative);
}

static enum hk_op op_of(hocket_reduce reduce)
{
    switch (reduce) {
    case HOCKET_MAX: return HK_OP_MAX;
    case HOCKET_MIN: return HK_OP_MIN;
    case HOCKET_PROD: return HK_OP_PROD;
    default: return HK_OP_SUM; /* mean is a sum that is divided */
    }
}

/* ---- the choice of kernels ---- */

const struct hk_kernels *hk_kernels_at(size_t index)
{
    const struct hk_kernels *const here[] = {
        hk_cpu_has_avx512() ? hk_kernels_avx512 : NULL,
        hk_cpu_has_avx2() ? hk_kernels_avx2 : NULL,
        hk_kernels_base,
    };
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        if (here[i] != NULL && index-- == 0) {
            return here[i];
        }
    }
    return NULL;
}

/* Threads that come here first together all choose the same. */
static const struct hk_kernels *best_kernels(void)
{
    static _Atomic(const struct hk_kernels *) chosen;
    const struct hk_kernels *kernels = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (kernels == NULL) {
        kernels = hk_kernels_at(0);
        atomic_store_explicit(&chosen, kernels, memory_order_relaxed);
    }
    return kernels;
}

/* ---- folds ---- */

/* What every block of one fold has in common. */
struct fold {
    const struct hk_kernels *kernels;
    const void *const *inputs;
    int n;
    hocket_dtype dtype;
    enum hk_op op;
    bool divides;
};

static const void *input_at(const struct fold *fold, int index, size_t offset)
{
    return (const unsigned char *)fold->inputs[index] + offset;
}

/* One block of a type that is its own accumulator. The last step writes out, where no mean has to
 * divide. */
static void fold_wide(const struct fold *fold, void *out, size_t offset, size_t count)
{
    hk_step_fn *step = fold->kernels->step[fold->dtype][fold->op];
    block sums;
    const void *left = input_at(fold, 0, offset);
    for (int i = 1; i < fold->n; i++) {
        void *result = i == fold->n - 1 ? out : sums.bytes;
        step(result, left, input_at(fold, i, offset), count);
        left = result;
    }
    if (fold->divides) {
        fold->kernels->divide[fold->dtype](out, out, count, fold->n);
    }
}

static void fold_halves(const struct fold *fold, void *out, size_t offset, size_t count)
{
    const struct hk_kernels *kernels = fold->kernels;
    hk_convert_fn *widen = kernels->widen[fold->dtype];
    hk_step_fn *step = kernels->step[HOCKET_FLOAT32][fold->op];
    block sums, next;
    widen(sums.floats, input_at(fold, 0, offset), count);
    for (int i = 1; i < fold->n; i++) {
        widen(next.floats, input_at(fold, i, offset), count);
        step(sums.floats, sums.floats, next.floats, count);
    }
    if (fold->divides) {
        kernels->divide[HOCKET_FLOAT32](sums.floats, sums.floats, count, fold->n);
    }
    kernels->narrow[fold->dtype](out, sums.floats, count);
}

void hk_reduce_fold_with(const struct hk_kernels *kernels, void *out, const void *const *inputs,
                         int n, size_t count, hocket_dtype dtype, hocket_reduce reduce)
{
    const struct fold fold = {kernels, inputs, n, dtype, op_of(reduce), reduce == HOCKET_MEAN};
    const size_t size = hk_dtype_size(dtype);
    const size_t per_block = BLOCK_BYTES / (is_half(dtype) ? sizeof(float) : size);
    for (size_t done = 0; done < count; done += per_block) {
        const size_t part = count - done < per_block ? count - done : per_block;
        void *place = (unsigned char *)out + done * size;
        (is_half(dtype) ? fold_halves : fold_wide)(&fold, place, done * size, part);
    }
}

/*
 * Functions of the user overwrite their right operand, so a fold starts with a copy of the highest
 * input and takes the lower ones one by one. The copy is a block on the stack: out may lie on an
 * input that is still to be read.
 */
static void fold_user(const struct hk_user_reduce *user, void *out, const void *const *inputs,
                      int n, size_t count, size_t size)
{
    const size_t per_block = BLOCK_BYTES / size;
    block values;
    for (size_t done = 0; done < count; done += per_block) {
        const size_t part = count - done < per_block ? count - done : per_block;
        const size_t offset = done * size;
        memcpy(values.bytes, (const unsigned char *)inputs[n - 1] + offset, part * size);
        for (int i = n - 2; i >= 0; i--) {
            user->fn((const unsigned char *)inputs[i] + offset, values.bytes, part, user->context);
        }
        memcpy((unsigned char *)out + offset, values.bytes, part * size);
    }
}

static hocket_status find_user(hocket_reduce reduce, struct hk_user_reduce *user)
{
    if (hk_user_reduce_find(reduce, user)) {
        return HOCKET_OK;
    }
    return hk_fail(HOCKET_ERR_INVALID,
                   "the reduction %d was freed while a collective still needed it; call "
                   "hocket_reduce_free when every call that uses it is done",
                   (int)reduce);
}

hocket_status hk_reduce_fold(void *out, const void *const *inputs, int n, size_t count,
                             hocket_dtype dtype, hocket_reduce reduce)
{
    const size_t size = hk_dtype_size(dtype);
    if (n == 1) {
        if (count != 0 && out != inputs[0]) {
            memcpy(out, inputs[0], count * size);
        }
        return HOCKET_OK;
    }
    if (is_user(reduce)) {
        struct hk_user_reduce user;
        hocket_status status = find_user(reduce, &user);
        if (status == HOCKET_OK) {
            fold_user(&user, out, inputs, n, count, size);
        }
        return status;
    }
    hk_reduce_fold_with(best_kernels(), out, inputs, n, count, dtype, reduce);
    return HOCKET_OK;
}

hocket_status hk_reduce_pair(void *inout, const void *in, bool in_is_lower, size_t count,
                             hocket_dtype dtype, hocket_reduce reduce)
{
    const void *const inputs[2] = {in_is_lower ? in : inout, in_is_lower ? inout : in};
    return hk_reduce_fold(inout, inputs, 2, count, dtype,
                          reduce == HOCKET_MEAN ? HOCKET_SUM : reduce);
}

/* ---- the division of a mean ---- */

void hk_reduce_finish(void *data, size_t count, hocket_dtype dtype, hocket_reduce reduce, int n)
{
    if (reduce != HOCKET_MEAN || n == 1) {
        return;
    }
    const struct hk_kernels *kernels = best_kernels();
    if (!is_half(dtype)) {
        kernels->divide[dtype](data, data, count, n);
        return;
    }
    const size_t size = hk_dtype_size(dtype);
    block values;
    const size_t per_block = sizeof values.floats / sizeof values.floats[0];
    for (size_t done = 0; done < count; done += per_block) {
        const size_t part = count - done < per_block ? count - done : per_block;
        void *place = (unsigned char *)data + done * size;
        kernels->widen[dtype](values.floats, place, part);
        kernels->divide[HOCKET_FLOAT32](values.floats, values.floats, part, n);
        kernels->narrow[dtype](place, values.floats, part);
    }
}

/* ---- halves ---- */

void hk_reduce_widen(float *out, const void *in, size_t count, hocket_dtype dtype)
{
    best_kernels()->widen[dtype](out, in, count);
}

void hk_reduce_narrow(void *out, const float *in, size_t count, hocket_dtype dtype)
{
    best_kernels()->narrow[dtype](out, in, count);
}
