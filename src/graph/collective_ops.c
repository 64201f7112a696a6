/* The collectives as operations, and their kernels for the cpu device.
 *
 * Inference needs the group (how many ranks there are), so it looks it up; the kernel looks it up
 * again, since another may be bound to the id by then, and repeats the inference's checks against
 * it. What ranks compare with each other is what the group compares: the number of the call, the
 * operation, dtype, count, reduction and root. The executable calls these kernels in the order of
 * the graph on every rank, so the number of the call stands for the number of the node. */
#include "core/status.h"
#include "graph/cpu.h"
#include "graph/registry.h"
#include "graph/shape.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- Attributes --- */

static hocket_status group_of(const hocket_op_call *call, hocket_group **group)
{
    hocket_status status =
        hocket_graph_group(hocket_attrs_int(&call->attributes, "group", 0), group);
    return status == HOCKET_OK ? status : hk_fail_prefix("%s (node %d): ", call->op, call->node);
}

static hocket_status reduce_of(const hocket_op_call *call, hocket_reduce *reduce)
{
    static const struct {
        const char *name;
        hocket_reduce reduce;
    } names[] = {{"sum", HOCKET_SUM}, {"mean", HOCKET_MEAN}, {"max", HOCKET_MAX},
                 {"min", HOCKET_MIN}, {"prod", HOCKET_PROD}};
    const char *asked = hocket_attrs_string(&call->attributes, "reduce", "sum");
    bool is_float = (HK_FLOATS | HK_COMPLEX) & HK_DTYPE_BIT(call->input_types[0].dtype);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, asked) != 0)
            continue;
        *reduce = names[i].reduce;
        if (*reduce == HOCKET_MEAN && !is_float)
            return hocket_op_error(call, HOCKET_ERR_INVALID, "x is %s, a mean takes floats",
                                   HK_TYPE_TEXT(&call->input_types[0]));
        return HOCKET_OK;
    }
    return hocket_op_error(call, HOCKET_ERR_INVALID,
                           "reduce is '%s', it must be sum, mean, max, min or prod", asked);
}

/* An attribute that names a rank. */
static hocket_status rank_of(const hocket_op_call *call, const hocket_group *group,
                             const char *name, int *rank)
{
    int64_t asked = hocket_attrs_int(&call->attributes, name, 0);
    int world = hocket_world_size(group);
    *rank = (int)asked;
    if (asked >= 0 && asked < world)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "%s is %" PRId64 ", the group has %d rank%s",
                           name, asked, world, world == 1 ? "" : "s");
}

static hocket_status tag_of(const hocket_op_call *call, uint32_t *tag)
{
    int64_t asked = hocket_attrs_int(&call->attributes, "tag", 0);
    *tag = (uint32_t)asked;
    if (asked >= 0 && asked <= UINT32_MAX)
        return HOCKET_OK;
    return hocket_op_error(call, HOCKET_ERR_INVALID, "tag is %" PRId64 ", it has 32 bits", asked);
}

static hocket_status axis_of(const hocket_op_call *call, int *axis)
{
    return hk_axis_check(call, hocket_attrs_int(&call->attributes, "axis", 0),
                         call->input_types[0].rank, axis);
}

/* --- Inference --- */

static hocket_status infer_all_reduce(hocket_op_call *call)
{
    hocket_group *group;
    hocket_reduce reduce;
    call->output_type = call->input_types[0];
    hocket_status status = reduce_of(call, &reduce);
    return status == HOCKET_OK ? group_of(call, &group) : status;
}

/* Where all ranks' blocks lie side by side, the axis is as many times as long: in the result of a
 * gather, in x of a scatter. */
static hocket_status infer_blocks(hocket_op_call *call, bool gather)
{
    hocket_group *group;
    int axis = 0;
    hocket_status status = axis_of(call, &axis);
    if (status == HOCKET_OK)
        status = group_of(call, &group);
    if (status != HOCKET_OK)
        return status;
    call->output_type = call->input_types[0];
    int64_t *length = &call->output_type.dims[axis];
    int world = hocket_world_size(group);
    if (gather && *length > INT64_MAX / world)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "%s of %d ranks is too much",
                               HK_TYPE_TEXT(&call->output_type), world);
    if (!gather && *length % world != 0)
        return hocket_op_error(call, HOCKET_ERR_INVALID,
                               "x is %s: axis %d cannot be divided among %d ranks",
                               HK_TYPE_TEXT(&call->output_type), axis, world);
    *length = gather ? *length * world : *length / world;
    return HOCKET_OK;
}

static hocket_status infer_all_gather(hocket_op_call *call)
{
    return infer_blocks(call, true);
}

static hocket_status infer_reduce_scatter(hocket_op_call *call)
{
    hocket_reduce reduce;
    hocket_status status = reduce_of(call, &reduce);
    return status == HOCKET_OK ? infer_blocks(call, false) : status;
}

static hocket_status infer_broadcast(hocket_op_call *call)
{
    hocket_group *group;
    int root;
    call->output_type = call->input_types[0];
    hocket_status status = group_of(call, &group);
    return status == HOCKET_OK ? rank_of(call, group, "root", &root) : status;
}

static hocket_status infer_permute(hocket_op_call *call)
{
    hocket_group *group;
    call->output_type = call->input_types[0];
    hocket_status status = group_of(call, &group);
    if (status != HOCKET_OK)
        return status;
    size_t count;
    const int64_t *to = hocket_attrs_ints(&call->attributes, "to", &count);
    int world = hocket_world_size(group);
    if (count != (size_t)world)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "to has %zu entries, the group %d rank%s",
                               count, world, world == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++) {
        bool twice = false;
        for (size_t j = 0; j < i; j++)
            twice = twice || (to[i] >= 0 && to[j] == to[i]);
        if (twice || to[i] < -1 || to[i] >= world)
            return hocket_op_error(call, HOCKET_ERR_INVALID,
                                   "to[%zu] is %" PRId64 ": %s", i, to[i],
                                   twice ? "that rank gets one already" : "there is no such rank");
    }
    return HOCKET_OK;
}

static hocket_status infer_send(hocket_op_call *call)
{
    hocket_group *group;
    int peer;
    uint32_t tag;
    call->output_type = call->input_types[0];
    hocket_status status = group_of(call, &group);
    if (status == HOCKET_OK)
        status = rank_of(call, group, "peer", &peer);
    return status == HOCKET_OK ? tag_of(call, &tag) : status;
}

static hocket_status infer_recv(hocket_op_call *call)
{
    hocket_group *group;
    int peer;
    uint32_t tag;
    size_t rank;
    hocket_status status = group_of(call, &group);
    if (status == HOCKET_OK)
        status = rank_of(call, group, "peer", &peer);
    if (status == HOCKET_OK)
        status = tag_of(call, &tag);
    if (status != HOCKET_OK)
        return status;
    const int64_t *dims = hocket_attrs_ints(&call->attributes, "dims", &rank);
    int64_t dtype = hocket_attrs_int(&call->attributes, "dtype", 0);
    int shown = rank > HOCKET_MAX_RANK ? HOCKET_MAX_RANK + 1 : (int)rank;
    hocket_dtype known = dtype < 0 || dtype > HOCKET_COMPLEX64 ? (hocket_dtype)-1
                                                               : (hocket_dtype)dtype;
    if (hocket_type_make(known, shown, dims, &call->output_type) == HOCKET_OK)
        return HOCKET_OK;
    return hk_fail_prefix("%s (node %d): ", call->op, call->node);
}

/* --- Kernels --- */

/* The group, once it is sure that it still fits what was inferred. */
static hocket_status open_group(const hocket_op_call *call, hocket_op_fn infer,
                                hocket_group **group)
{
    hocket_op_call again = *call;
    hocket_status status = infer(&again);
    if (status == HOCKET_OK && !hk_type_equal(&again.output_type, &call->output_type))
        status = hocket_op_error(call, HOCKET_ERR_INVALID,
                                 "the graph was built for a group of another size: its result "
                                 "was %s and would be %s",
                                 HK_TYPE_TEXT(&call->output_type),
                                 HK_TYPE_TEXT(&again.output_type));
    return status == HOCKET_OK ? group_of(call, group) : status;
}

static hocket_status done(const hocket_op_call *call, hocket_status status)
{
    return status == HOCKET_OK ? status : hk_fail_prefix("%s (node %d): ", call->op, call->node);
}

hocket_status hk_cpu_all_reduce(hocket_op_call *call)
{
    hocket_group *group;
    hocket_reduce reduce = HOCKET_SUM;
    hocket_status status = open_group(call, infer_all_reduce, &group);
    if (status == HOCKET_OK)
        status = reduce_of(call, &reduce);
    if (status != HOCKET_OK)
        return status;
    const hocket_type *type = &call->output_type;
    return done(call, hocket_all_reduce(group, call->inputs[0], call->output,
                                        hocket_type_count(type), type->dtype, reduce));
}

/* Blocks one after the other in `packed`, side by side along an axis in `spread`: `outer` rows of
 * `blocks` pieces of `bytes`. */
static void repack(char *packed, char *spread, size_t outer, size_t blocks, size_t bytes,
                   bool pack)
{
    for (size_t o = 0; o < outer && bytes > 0; o++)
        for (size_t b = 0; b < blocks; b++) {
            char *in_packed = packed + (b * outer + o) * bytes;
            char *in_spread = spread + (o * blocks + b) * bytes;
            memcpy(pack ? in_packed : in_spread, pack ? in_spread : in_packed, bytes);
        }
}

/* The operand that has all ranks' blocks, in the order of ranks: its own memory if the axis is the
 * outermost that counts, else *room, which the caller frees. */
static hocket_status packed_memory(const hocket_op_call *call, const hocket_type *whole,
                                   size_t outer, void *memory, void **room, char **packed)
{
    size_t bytes = hocket_type_bytes(whole);
    *room = outer > 1 && bytes > 0 ? malloc(bytes) : NULL;
    *packed = *room ? *room : memory;
    if (outer > 1 && bytes > 0 && *room == NULL)
        return hocket_op_error(call, HOCKET_ERR_NO_MEMORY, "%zu bytes to order blocks in", bytes);
    return HOCKET_OK;
}

hocket_status hk_cpu_all_gather(hocket_op_call *call)
{
    hocket_group *group = NULL;
    int axis = 0;
    void *room = NULL;
    char *packed = NULL;
    const hocket_type *own = &call->input_types[0];
    hocket_status status = open_group(call, infer_all_gather, &group);
    if (status == HOCKET_OK)
        status = axis_of(call, &axis);
    if (status != HOCKET_OK)
        return status;
    size_t outer = (size_t)hk_shape_product(own, 0, axis);
    status = packed_memory(call, &call->output_type, outer, call->output, &room, &packed);
    if (status == HOCKET_OK)
        status = done(call, hocket_all_gather(group, call->inputs[0], packed,
                                              hocket_type_count(own), own->dtype));
    if (status == HOCKET_OK && room)
        repack(packed, call->output, outer, (size_t)hocket_world_size(group),
               hocket_type_bytes(own) / outer, false);
    free(room);
    return status;
}

hocket_status hk_cpu_reduce_scatter(hocket_op_call *call)
{
    hocket_group *group = NULL;
    hocket_reduce reduce = HOCKET_SUM;
    int axis = 0;
    void *room = NULL;
    char *packed = NULL;
    const hocket_type *own = &call->output_type;
    hocket_status status = open_group(call, infer_reduce_scatter, &group);
    if (status == HOCKET_OK)
        status = axis_of(call, &axis);
    if (status == HOCKET_OK)
        status = reduce_of(call, &reduce);
    if (status != HOCKET_OK)
        return status;
    size_t outer = (size_t)hk_shape_product(own, 0, axis);
    status = packed_memory(call, &call->input_types[0], outer, call->inputs[0], &room, &packed);
    if (status == HOCKET_OK && room)
        repack(packed, call->inputs[0], outer, (size_t)hocket_world_size(group),
               hocket_type_bytes(own) / outer, true);
    if (status == HOCKET_OK)
        status = done(call, hocket_reduce_scatter(group, packed, call->output,
                                                  hocket_type_count(own), own->dtype, reduce));
    free(room);
    return status;
}

/* The result begins as a copy of x. */
static void copy_input(const hocket_op_call *call)
{
    size_t bytes = hocket_type_bytes(&call->output_type);
    if (bytes > 0 && call->output != call->inputs[0])
        memcpy(call->output, call->inputs[0], bytes);
}

hocket_status hk_cpu_broadcast(hocket_op_call *call)
{
    hocket_group *group;
    int root = 0;
    hocket_status status = open_group(call, infer_broadcast, &group);
    if (status == HOCKET_OK)
        status = rank_of(call, group, "root", &root);
    if (status != HOCKET_OK)
        return status;
    const hocket_type *type = &call->output_type;
    copy_input(call);
    return done(call, hocket_broadcast(group, call->output, hocket_type_count(type), type->dtype,
                                       root));
}

hocket_status hk_cpu_permute(hocket_op_call *call)
{
    hocket_group *group;
    hocket_status status = open_group(call, infer_permute, &group);
    if (status != HOCKET_OK)
        return status;
    size_t count;
    const int64_t *asked = hocket_attrs_ints(&call->attributes, "to", &count);
    int *to = calloc(count, sizeof *to);
    if (to == NULL)
        return hk_fail_memory(count * sizeof *to, "a permutation");
    for (size_t i = 0; i < count; i++)
        to[i] = (int)asked[i];
    const hocket_type *type = &call->output_type;
    status = done(call, hocket_permute(group, call->inputs[0], call->output,
                                       hocket_type_count(type), type->dtype, to));
    free(to);
    return status;
}

hocket_status hk_cpu_send(hocket_op_call *call)
{
    hocket_group *group;
    int peer = 0;
    uint32_t tag = 0;
    hocket_status status = open_group(call, infer_send, &group);
    if (status == HOCKET_OK)
        status = rank_of(call, group, "peer", &peer);
    if (status == HOCKET_OK)
        status = tag_of(call, &tag);
    if (status != HOCKET_OK)
        return status;
    copy_input(call);
    return done(call, hocket_send_bytes(group, peer, tag, call->inputs[0],
                                        hocket_type_bytes(&call->output_type)));
}

hocket_status hk_cpu_recv(hocket_op_call *call)
{
    hocket_group *group;
    int peer = 0;
    uint32_t tag = 0;
    hocket_status status = open_group(call, infer_recv, &group);
    if (status == HOCKET_OK)
        status = rank_of(call, group, "peer", &peer);
    if (status == HOCKET_OK)
        status = tag_of(call, &tag);
    if (status != HOCKET_OK)
        return status;
    size_t bytes = hocket_type_bytes(&call->output_type), length = 0;
    status = done(call, hocket_recv_into(group, peer, tag, call->output, bytes, &length));
    if (status == HOCKET_OK && length != bytes)
        return hocket_op_error(call, HOCKET_ERR_MISMATCH,
                               "rank %d sent %zu bytes, %s has %zu", peer, length,
                               HK_TYPE_TEXT(&call->output_type), bytes);
    return status;
}

/* --- The table --- */

#define GROUP {"group", HOCKET_ATTR_INT, false}
#define REDUCE {"reduce", HOCKET_ATTR_STRING, false}
#define AXIS {"axis", HOCKET_ATTR_INT, false}
#define PEER {"peer", HOCKET_ATTR_INT, true}
#define TAG {"tag", HOCKET_ATTR_INT, false}

static const hocket_attr_def all_reduce_attributes[] = {GROUP, REDUCE};
static const hocket_attr_def all_gather_attributes[] = {GROUP, AXIS};
static const hocket_attr_def reduce_scatter_attributes[] = {GROUP, REDUCE, AXIS};
static const hocket_attr_def broadcast_attributes[] = {GROUP, {"root", HOCKET_ATTR_INT, false}};
static const hocket_attr_def permute_attributes[] = {GROUP, {"to", HOCKET_ATTR_INTS, true}};
static const hocket_attr_def send_attributes[] = {GROUP, PEER, TAG};
static const hocket_attr_def recv_attributes[] = {
    GROUP, PEER, TAG, {"dtype", HOCKET_ATTR_INT, true}, {"dims", HOCKET_ATTR_INTS, true}};

#define OP(verb, inputs, more_flags)                                                           \
    {.size = sizeof(hocket_op_def), .name = "collective." #verb, .min_inputs = inputs,         \
     .max_inputs = inputs, .flags = HOCKET_OP_ORDERED | (more_flags),                           \
     .infer = infer_##verb, .attributes = verb##_attributes,                                   \
     .attribute_count = sizeof verb##_attributes / sizeof verb##_attributes[0]}

static const hocket_op_def defs[] = {
    OP(all_reduce, 1, HOCKET_OP_IN_PLACE),
    OP(all_gather, 1, 0),
    OP(reduce_scatter, 1, 0),
    OP(broadcast, 1, HOCKET_OP_IN_PLACE),
    OP(permute, 1, 0),
    OP(send, 1, HOCKET_OP_IN_PLACE),
    OP(recv, 0, 0),
};

const hk_op_table hk_ops_collective = {defs, sizeof defs / sizeof defs[0]};
