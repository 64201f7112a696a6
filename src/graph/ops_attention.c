/* Inference of what a decoder needs besides: positions, a cache, attention over it.
 *
 * Where the rows of a call stand in their sequence is an input, not an attribute: a graph is built
 * once and serves every position. */
#include "graph/registry.h"
#include "graph/shape.h"

#include <inttypes.h>
#include <math.h>

static hocket_status check_three(const hocket_op_call *call, int input, const char *name,
                                 const char *dimensions)
{
    if (call->input_types[input].rank == 3)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "%s is %s, it must be %s", name,
                           HK_TYPE_TEXT(&call->input_types[input]), dimensions);
}

static hocket_status check_position(const hocket_op_call *call, int input)
{
    const hocket_type *position = &call->input_types[input];
    if (position->rank == 0 && position->dtype == HOCKET_INT32)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "position is %s, it must be int32[]",
                           HK_TYPE_TEXT(position));
}

/* --- rope: x, position, factors --- */

static hocket_status infer_rope(hocket_op_call *call)
{
    const hocket_type *x = &call->input_types[0];
    hocket_status status = hk_dtype_check(call, 0, HK_FLOATS);
    if (status == HOCKET_OK)
        status = check_three(call, 0, "x", "[heads, rows, size]");
    if (status == HOCKET_OK)
        status = check_position(call, 1);
    if (status != HOCKET_OK)
        return status;
    if (x->dims[2] % 2 != 0)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "x is %s: pairs are rotated, its last dimension must be even",
                               HK_TYPE_TEXT(x));
    double base = hocket_attrs_float(&call->attributes, "base", 1);
    if (!(base > 0) || !isfinite(base))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "base is %g, it must be positive", base);
    if (call->input_count > 2) {
        const hocket_type *factors = &call->input_types[2];
        if (factors->dtype != HOCKET_FLOAT32 || factors->rank != 1 ||
            factors->dims[0] != x->dims[2] / 2)
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "x is %s, factors is %s: it must be float32[%" PRId64
                                   "], one for each pair",
                                   HK_TYPE_TEXT(x), HK_TYPE_TEXT(factors), x->dims[2] / 2);
    }
    call->output_type = *x;
    return HOCKET_OK;
}

/* --- cache_update: cache, rows, position --- */

static hocket_status infer_cache_update(hocket_op_call *call)
{
    const hocket_type *cache = &call->input_types[0], *rows = &call->input_types[1];
    hocket_status status = check_three(call, 0, "cache", "[heads, capacity, size]");
    if (status == HOCKET_OK)
        status = check_three(call, 1, "rows", "[heads, rows, size]");
    if (status == HOCKET_OK)
        status = check_position(call, 2);
    if (status != HOCKET_OK)
        return status;
    const char *problem = NULL;
    if (rows->dtype != cache->dtype)
        problem = "the dtypes differ; cast one";
    else if (rows->dims[0] != cache->dims[0] || rows->dims[2] != cache->dims[2])
        problem = "they must have the same heads and size";
    else if (rows->dims[1] > cache->dims[1])
        problem = "there are more rows than the cache has";
    if (problem)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "cache is %s, rows is %s: %s",
                               HK_TYPE_TEXT(cache), HK_TYPE_TEXT(rows), problem);
    call->output_type = *cache;
    return HOCKET_OK;
}

/* --- attention: q, k, v, position --- */

static const char *attention_problem(const hocket_type *q, const hocket_type *k,
                                     const hocket_type *v)
{
    if (k->dtype != q->dtype || v->dtype != q->dtype)
        return "the dtypes differ; cast some";
    if (k->dims[0] != v->dims[0] || k->dims[1] != v->dims[1] || k->dims[2] != v->dims[2])
        return "k and v must have the same shape";
    if (q->dims[2] != k->dims[2])
        return "q and k must have the same size of a head";
    return q->dims[1] > k->dims[1] ? "q has more rows than k" : NULL;
}

/* Every head of q must know which one of k and v it reads. */
static hocket_status check_heads(const hocket_op_call *call)
{
    const hocket_type *q = &call->input_types[0], *k = &call->input_types[1];
    size_t count;
    const int64_t *heads = hocket_attrs_ints(&call->attributes, "heads", &count);
    if (!hocket_attrs_has(&call->attributes, "heads")) {
        if (q->dims[0] == 0 || (k->dims[0] > 0 && q->dims[0] % k->dims[0] == 0))
            return HOCKET_OK;
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "q is %s, k is %s: %" PRId64 " heads cannot be shared evenly among "
                               "%" PRId64 "; the attribute 'heads' can say who reads which",
                               HK_TYPE_TEXT(q), HK_TYPE_TEXT(k), q->dims[0], k->dims[0]);
    }
    if ((int64_t)count != q->dims[0])
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "q is %s, 'heads' names %zu heads of k: it must be one for each "
                               "head of q", HK_TYPE_TEXT(q), count);
    for (size_t i = 0; i < count; i++)
        if (heads[i] < 0 || heads[i] >= k->dims[0])
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "'heads' lets head %zu of q read head %" PRId64 " of k, which "
                                   "is %s", i, heads[i], HK_TYPE_TEXT(k));
    return HOCKET_OK;
}

static hocket_status infer_attention(hocket_op_call *call)
{
    static const char *const names[] = {"q", "k", "v"};
    const hocket_type *types = call->input_types;
    hocket_status status = hk_dtype_check(call, 0, HK_FLOATS);
    for (int i = 0; status == HOCKET_OK && i < 3; i++)
        status = check_three(call, i, names[i],
                             i == 0 ? "[heads, rows, size]" : "[heads, capacity, size]");
    if (status == HOCKET_OK)
        status = check_position(call, 3);
    if (status != HOCKET_OK)
        return status;
    const char *problem = attention_problem(&types[0], &types[1], &types[2]);
    if (problem)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "q is %s, k is %s, v is %s: %s",
                               HK_TYPE_TEXT(&types[0]), HK_TYPE_TEXT(&types[1]),
                               HK_TYPE_TEXT(&types[2]), problem);
    double scale = hocket_attrs_float(&call->attributes, "scale", 1);
    if (!isfinite(scale))
        return hocket_op_error(call, HOCKET_ERR_INVALID, "scale is %g", scale);
    call->output_type = types[0];
    return check_heads(call);
}

static const hocket_attr_def rope_attributes[] = {{"base", HOCKET_ATTR_FLOAT, true},
                                                  {"interleaved", HOCKET_ATTR_INT, false}};
static const hocket_attr_def attention_attributes[] = {{"scale", HOCKET_ATTR_FLOAT, true},
                                                       {"heads", HOCKET_ATTR_INTS, false}};

#define ATTRIBUTES(list) .attributes = list, .attribute_count = sizeof(list) / sizeof((list)[0])

static const hocket_op_def defs[] = {
    {.size = sizeof(hocket_op_def), .name = "rope", .min_inputs = 2, .max_inputs = 3,
     .flags = HOCKET_OP_IN_PLACE, .infer = infer_rope, ATTRIBUTES(rope_attributes)},
    {.size = sizeof(hocket_op_def), .name = "cache_update", .min_inputs = 3, .max_inputs = 3,
     .flags = HOCKET_OP_IN_PLACE, .infer = infer_cache_update},
    {.size = sizeof(hocket_op_def), .name = "attention", .min_inputs = 4, .max_inputs = 4,
     .infer = infer_attention, ATTRIBUTES(attention_attributes)},
};

const hk_op_table hk_ops_attention = {defs, sizeof defs / sizeof defs[0]};
