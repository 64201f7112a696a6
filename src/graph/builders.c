/* The builder functions: each packs its arguments into inputs and attributes for hocket_graph_op,
 * where all checks are. */
#include "core/status.h"

#include <hocket/graph.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define UNARY(name)                                                                                \
    hocket_status hocket_graph_##name(hocket_graph *graph, hocket_node x, hocket_node *node)       \
    {                                                                                              \
        return hocket_graph_op(graph, #name, &x, 1, NULL, 0, node);                                \
    }

#define BINARY(name)                                                                               \
    hocket_status hocket_graph_##name(hocket_graph *graph, hocket_node left, hocket_node right,    \
                                      hocket_node *node)                                           \
    {                                                                                              \
        return hocket_graph_op(graph, #name, (hocket_node[]){left, right}, 2, NULL, 0, node);      \
    }

#define REDUCTION(name)                                                                            \
    hocket_status hocket_graph_##name(hocket_graph *graph, hocket_node x, const int64_t *axes,     \
                                      size_t axis_count, bool keep, hocket_node *node)             \
    {                                                                                              \
        return reduce(graph, #name, x, axes, axis_count, keep, node);                              \
    }

/* --- Elementwise --- */

BINARY(add)
BINARY(subtract)
BINARY(multiply)
BINARY(divide)
BINARY(maximum)
BINARY(minimum)
BINARY(power)
BINARY(equal)
BINARY(not_equal)
BINARY(less)
BINARY(less_equal)
BINARY(greater)
BINARY(greater_equal)

UNARY(negative)
UNARY(abs)
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(rsqrt)
UNARY(sin)
UNARY(cos)
UNARY(tanh)
UNARY(sigmoid)
UNARY(silu)
UNARY(gelu)

hocket_status hocket_graph_where(hocket_graph *graph, hocket_node condition, hocket_node chosen,
                                 hocket_node otherwise, hocket_node *node)
{
    hocket_node inputs[] = {condition, chosen, otherwise};
    return hocket_graph_op(graph, "where", inputs, 3, NULL, 0, node);
}

hocket_status hocket_graph_cast(hocket_graph *graph, hocket_node x, hocket_dtype dtype,
                                hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("dtype", dtype);
    return hocket_graph_op(graph, "cast", &x, 1, &attribute, 1, node);
}

/* A value of a dtype that has no C type: computed by a cast when the graph is. */
static hocket_status cast_scalar(hocket_graph *graph, hocket_dtype dtype, double value,
                                 hocket_node *node)
{
    float rounded = (float)value;
    hocket_graph_constant(graph, HOCKET_FLOAT32, 0, NULL, &rounded, node);
    return hocket_graph_cast(graph, *node, dtype, node);
}

/* The bytes of an integer's low end are its value modulo 2^bits on little-endian machines, and its
 * last bytes on big-endian ones. */
static const void *low_bytes(const int64_t *value, size_t bytes)
{
    static const uint16_t probe = 1;
    bool little = *(const unsigned char *)&probe == 1;
    return (const char *)value + (little ? 0 : sizeof *value - bytes);
}

hocket_status hocket_graph_scalar(hocket_graph *graph, hocket_dtype dtype, double value,
                                  hocket_node *node)
{
    float single = (float)value;
    int64_t integer = dtype == HOCKET_BOOL ? value != 0 : 0;
    switch (dtype) {
    case HOCKET_FLOAT16:
    case HOCKET_BFLOAT16: return cast_scalar(graph, dtype, value, node);
    case HOCKET_FLOAT32: return hocket_graph_constant(graph, dtype, 0, NULL, &single, node);
    case HOCKET_FLOAT64: return hocket_graph_constant(graph, dtype, 0, NULL, &value, node);
    case HOCKET_COMPLEX64: break;
    default:
        if (value >= 0x1p63 || value < -0x1p63 || value != value)
            break;
        if (dtype != HOCKET_BOOL)
            integer = (int64_t)value;
        return hocket_graph_constant(graph, dtype, 0, NULL,
                                     low_bytes(&integer, hocket_dtype_size(dtype)), node);
    }
    if (node)
        *node = (hocket_node){0, -1};
    return hk_fail(HOCKET_ERR_INVALID, "scalar: %g cannot be a %s", value,
                   hocket_dtype_name(dtype));
}

/* --- Products, norms, reductions --- */

BINARY(matmul)

hocket_status hocket_graph_linear(hocket_graph *graph, hocket_node x, hocket_node weight,
                                  hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("transpose_right", 1);
    hocket_node inputs[] = {x, weight};
    return hocket_graph_op(graph, "matmul", inputs, 2, &attribute, 1, node);
}

hocket_status hocket_graph_dequantize(hocket_graph *graph, hocket_node words, hocket_node scales,
                                      hocket_node biases, int group, int bits, hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_int("group", group), hocket_attr_int("bits", bits)};
    hocket_node inputs[] = {words, scales, biases};
    return hocket_graph_op(graph, "dequantize", inputs, COUNT(inputs), attributes,
                           COUNT(attributes), node);
}

hocket_status hocket_graph_quantized_linear(hocket_graph *graph, hocket_node x, hocket_node words,
                                            hocket_node scales, hocket_node biases, int group,
                                            int bits, hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_int("group", group), hocket_attr_int("bits", bits)};
    hocket_node inputs[] = {x, words, scales, biases};
    return hocket_graph_op(graph, "quantized_linear", inputs, COUNT(inputs), attributes,
                           COUNT(attributes), node);
}

hocket_status hocket_graph_softmax(hocket_graph *graph, hocket_node x, int axis, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    return hocket_graph_op(graph, "softmax", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_rms_norm(hocket_graph *graph, hocket_node x, hocket_node weight,
                                    double epsilon, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_float("epsilon", epsilon);
    hocket_node inputs[] = {x, weight};
    return hocket_graph_op(graph, "rms_norm", inputs, 2, &attribute, 1, node);
}

hocket_status hocket_graph_layer_norm(hocket_graph *graph, hocket_node x, hocket_node weight,
                                      hocket_node bias, double epsilon, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_float("epsilon", epsilon);
    hocket_node inputs[] = {x, weight, bias};
    return hocket_graph_op(graph, "layer_norm", inputs, 3, &attribute, 1, node);
}

static hocket_status reduce(hocket_graph *graph, const char *op, hocket_node x, const int64_t *axes,
                            size_t axis_count, bool keep, hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_int("keep", keep),
                                hocket_attr_ints("axes", axes, axis_count)};
    return hocket_graph_op(graph, op, &x, 1, attributes, axes ? 2 : 1, node);
}

REDUCTION(sum)
REDUCTION(mean)
REDUCTION(max)
REDUCTION(min)

hocket_status hocket_graph_argmax(hocket_graph *graph, hocket_node x, int axis, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    return hocket_graph_op(graph, "argmax", &x, 1, &attribute, 1, node);
}

/* --- Attention --- */

hocket_status hocket_graph_rope(hocket_graph *graph, hocket_node x, hocket_node position,
                                double base, bool interleaved, hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_float("base", base),
                                hocket_attr_int("interleaved", interleaved)};
    hocket_node inputs[] = {x, position};
    return hocket_graph_op(graph, "rope", inputs, COUNT(inputs), attributes, COUNT(attributes),
                           node);
}

hocket_status hocket_graph_cache_update(hocket_graph *graph, hocket_node cache, hocket_node rows,
                                        hocket_node position, hocket_node *node)
{
    hocket_node inputs[] = {cache, rows, position};
    return hocket_graph_op(graph, "cache_update", inputs, COUNT(inputs), NULL, 0, node);
}

hocket_status hocket_graph_attention(hocket_graph *graph, hocket_node q, hocket_node k,
                                     hocket_node v, hocket_node position, double scale,
                                     hocket_node *node)
{
    hocket_attr attribute = hocket_attr_float("scale", scale);
    hocket_node inputs[] = {q, k, v, position};
    return hocket_graph_op(graph, "attention", inputs, COUNT(inputs), &attribute, 1, node);
}

/* --- Shapes --- */

/* A list as long as a rank; a negative rank is left to the operation's own check of the dims. */
static hocket_attr dims_attr(const int64_t *dims, int rank)
{
    return hocket_attr_ints("dims", dims, rank > 0 ? (size_t)rank : 0);
}

hocket_status hocket_graph_reshape(hocket_graph *graph, hocket_node x, int rank,
                                   const int64_t *dims, hocket_node *node)
{
    hocket_attr attribute = dims_attr(dims, rank);
    return hocket_graph_op(graph, "reshape", &x, 1, &attribute, 1, node);
}

/* Lists that are as long as x has dimensions; what a failed x needs is hocket_graph_op's to say. */
static size_t rank_of(const hocket_graph *graph, hocket_node x)
{
    const hocket_type *type = hocket_graph_type(graph, x);
    return type ? (size_t)type->rank : 0;
}

hocket_status hocket_graph_transpose(hocket_graph *graph, hocket_node x, const int64_t *axes,
                                     hocket_node *node)
{
    hocket_attr attribute = hocket_attr_ints("axes", axes, rank_of(graph, x));
    return hocket_graph_op(graph, "transpose", &x, 1, &attribute, axes ? 1 : 0, node);
}

hocket_status hocket_graph_broadcast_to(hocket_graph *graph, hocket_node x, int rank,
                                        const int64_t *dims, hocket_node *node)
{
    hocket_attr attribute = dims_attr(dims, rank);
    return hocket_graph_op(graph, "broadcast_to", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_slice(hocket_graph *graph, hocket_node x, const int64_t *start,
                                 const int64_t *stop, const int64_t *step, hocket_node *node)
{
    size_t rank = rank_of(graph, x);
    hocket_attr attributes[] = {hocket_attr_ints("start", start, rank),
                                hocket_attr_ints("stop", stop, rank),
                                hocket_attr_ints("step", step, rank)};
    return hocket_graph_op(graph, "slice", &x, 1, attributes, step ? 3 : 2, node);
}

hocket_status hocket_graph_concatenate(hocket_graph *graph, const hocket_node *inputs,
                                       int input_count, int axis, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    return hocket_graph_op(graph, "concatenate", inputs, input_count, &attribute, 1, node);
}

hocket_status hocket_graph_take(hocket_graph *graph, hocket_node x, hocket_node indices, int axis,
                                hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    hocket_node inputs[] = {x, indices};
    return hocket_graph_op(graph, "take", inputs, 2, &attribute, 1, node);
}

/* --- Collectives --- */

hocket_status hocket_graph_all_reduce(hocket_graph *graph, hocket_node x, hocket_node *node)
{
    return hocket_graph_op(graph, "collective.all_reduce", &x, 1, NULL, 0, node);
}

hocket_status hocket_graph_all_gather(hocket_graph *graph, hocket_node x, int axis,
                                      hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    return hocket_graph_op(graph, "collective.all_gather", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_reduce_scatter(hocket_graph *graph, hocket_node x, int axis,
                                          hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("axis", axis);
    return hocket_graph_op(graph, "collective.reduce_scatter", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_broadcast(hocket_graph *graph, hocket_node x, int root,
                                     hocket_node *node)
{
    hocket_attr attribute = hocket_attr_int("root", root);
    return hocket_graph_op(graph, "collective.broadcast", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_permute(hocket_graph *graph, hocket_node x, const int64_t *to,
                                   size_t count, hocket_node *node)
{
    hocket_attr attribute = hocket_attr_ints("to", to, count);
    return hocket_graph_op(graph, "collective.permute", &x, 1, &attribute, 1, node);
}

hocket_status hocket_graph_send(hocket_graph *graph, hocket_node x, int peer, uint32_t tag,
                                hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_int("peer", peer), hocket_attr_int("tag", tag)};
    return hocket_graph_op(graph, "collective.send", &x, 1, attributes, COUNT(attributes), node);
}

hocket_status hocket_graph_recv(hocket_graph *graph, int peer, uint32_t tag, hocket_dtype dtype,
                                int rank, const int64_t *dims, hocket_node *node)
{
    hocket_attr attributes[] = {hocket_attr_int("peer", peer), hocket_attr_int("tag", tag),
                                hocket_attr_int("dtype", dtype), dims_attr(dims, rank)};
    return hocket_graph_op(graph, "collective.recv", NULL, 0, attributes, COUNT(attributes), node);
}
