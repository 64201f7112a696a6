#include "core/status.h"
#include "graph/attributes.h"
#include "graph/node.h"
#include "graph/registry.h"
#include "graph/shape.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX (1 << 24) /* a graph of more is a loop gone wild */

static const hocket_node failed_node = {0, -1};

hocket_status hocket_graph_create(hocket_graph **graph)
{
    static atomic_uint serials;
    if (graph == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_graph_create: graph is NULL");
    *graph = calloc(1, sizeof **graph);
    if (*graph == NULL)
        return hk_fail_memory(sizeof **graph, "a graph");
    atomic_init(&(*graph)->references, 1);
    (*graph)->serial = atomic_fetch_add(&serials, 1) + 1;
    return HOCKET_OK;
}

void hk_graph_retain(const hocket_graph *graph)
{
    atomic_fetch_add(&((hocket_graph *)graph)->references, 1);
}

static void free_node(hk_node *node)
{
    if (node == NULL)
        return;
    free(node->name);
    free(node->data);
    free((void *)node->attributes.items);
    free(node->inputs);
    free(node->input_types);
    free(node);
}

void hk_graph_release(const hocket_graph *shared)
{
    hocket_graph *graph = (hocket_graph *)shared;
    if (graph == NULL || atomic_fetch_sub(&graph->references, 1) > 1)
        return;
    for (int i = 0; i < graph->node_count; i++)
        free_node(graph->nodes[i]);
    for (int i = 0; i < graph->output_count; i++)
        free(graph->outputs[i].name);
    free(graph->nodes);
    free(graph->outputs);
    free(graph->first_failure);
    free(graph);
}

void hocket_graph_free(hocket_graph *graph)
{
    hk_graph_release(graph);
}

hocket_op_call hk_node_call(const hk_node *node)
{
    return (hocket_op_call){.size = sizeof(hocket_op_call),
                            .op = node->def->name,
                            .node = node->number,
                            .attributes = node->attributes,
                            .input_count = node->input_count,
                            .input_types = node->input_types,
                            .output_type = node->type};
}

/* Remembers the first failure for those who use the failed node. */
static hocket_status fail_node(hocket_graph *graph, hocket_node *node)
{
    const hk_error *error = hk_error_last();
    if (graph->first_failure == NULL)
        graph->first_failure = strdup(error->text);
    *node = failed_node;
    return error->status;
}

/* Makes room for one more. *items is an array of `size` bytes each. */
static hocket_status grow(void **items, int *capacity, int count, size_t size)
{
    if (count < *capacity)
        return HOCKET_OK;
    int wider = *capacity > 0 ? *capacity * 2 : 16;
    void *moved = wider <= NODES_MAX ? realloc(*items, (size_t)wider * size) : NULL;
    if (moved == NULL)
        return hk_fail_memory((size_t)wider * size, "a graph's nodes");
    *items = moved;
    *capacity = wider;
    return HOCKET_OK;
}

/* Takes the node over, also on failure. */
static hocket_status add_node(hocket_graph *graph, hk_node *added, hocket_node *node)
{
    hocket_status status = grow((void **)&graph->nodes, &graph->node_capacity, graph->node_count,
                                sizeof *graph->nodes);
    if (status != HOCKET_OK) {
        free_node(added);
        return fail_node(graph, node);
    }
    added->number = graph->node_count;
    graph->nodes[graph->node_count++] = added;
    *node = (hocket_node){graph->serial, added->number};
    return HOCKET_OK;
}

/* --- Inputs, parameters, constants, outputs --- */

static const hk_node *find_fed(const hocket_graph *graph, const char *name)
{
    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i]->name && strcmp(graph->nodes[i]->name, name) == 0)
            return graph->nodes[i];
    return NULL;
}

static hocket_status add_leaf(hocket_graph *graph, const char *what, hk_node_kind kind,
                              const char *name, const hocket_type *type, const void *data,
                              hocket_node *node)
{
    size_t bytes = hocket_type_bytes(type);
    hk_node *leaf = calloc(1, sizeof *leaf);
    if (leaf) {
        *leaf = (hk_node){.kind = kind, .type = *type};
        leaf->name = name ? strdup(name) : NULL;
        leaf->data = data ? malloc(bytes > 0 ? bytes : 1) : NULL;
    }
    if (leaf == NULL || (name && leaf->name == NULL) || (data && leaf->data == NULL)) {
        free_node(leaf);
        hk_fail_memory(bytes, what);
        return fail_node(graph, node);
    }
    if (data)
        memcpy(leaf->data, data, bytes);
    return add_node(graph, leaf, node);
}

static hocket_status add_fed(hocket_graph *graph, const char *what, hk_node_kind kind,
                             const char *name, hocket_dtype dtype, int rank, const int64_t *dims,
                             hocket_node *node)
{
    if (graph == NULL || node == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: %s is NULL", what, graph ? "node" : "graph");
    if (name == NULL || name[0] == '\0') {
        hk_fail(HOCKET_ERR_INVALID, "%s: it needs a name", what);
        return fail_node(graph, node);
    }
    hocket_type type;
    if (hocket_type_make(dtype, rank, dims, &type) != HOCKET_OK) {
        hk_fail_prefix("%s '%s': ", what, name);
        return fail_node(graph, node);
    }
    if (find_fed(graph, name)) {
        hk_fail(HOCKET_ERR_INVALID, "%s '%s': the graph has an input or parameter of this name",
                what, name);
        return fail_node(graph, node);
    }
    return add_leaf(graph, what, kind, name, &type, NULL, node);
}

hocket_status hocket_graph_input(hocket_graph *graph, const char *name, hocket_dtype dtype,
                                 int rank, const int64_t *dims, hocket_node *node)
{
    return add_fed(graph, "input", HK_NODE_INPUT, name, dtype, rank, dims, node);
}

hocket_status hocket_graph_param(hocket_graph *graph, const char *name, hocket_dtype dtype,
                                 int rank, const int64_t *dims, hocket_node *node)
{
    return add_fed(graph, "param", HK_NODE_PARAM, name, dtype, rank, dims, node);
}

hocket_status hocket_graph_constant(hocket_graph *graph, hocket_dtype dtype, int rank,
                                    const int64_t *dims, const void *data, hocket_node *node)
{
    if (graph == NULL || node == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "constant: %s is NULL", graph ? "node" : "graph");
    hocket_type type;
    if (hocket_type_make(dtype, rank, dims, &type) != HOCKET_OK) {
        hk_fail_prefix("constant: ");
        return fail_node(graph, node);
    }
    if (data == NULL && hocket_type_bytes(&type) > 0) {
        hk_fail(HOCKET_ERR_INVALID, "constant %s: data is NULL", HK_TYPE_TEXT(&type));
        return fail_node(graph, node);
    }
    return add_leaf(graph, "a constant", HK_NODE_CONSTANT, NULL, &type, data ? data : "", node);
}

hocket_status hocket_graph_output(hocket_graph *graph, const char *name, hocket_node node)
{
    if (graph == NULL || name == NULL || name[0] == '\0')
        return hk_fail(HOCKET_ERR_INVALID, "output: %s",
                       graph ? "it needs a name" : "graph is NULL");
    if (node.number < 0 && graph->first_failure)
        return hk_fail(HOCKET_ERR_INVALID, "output '%s' has failed: %s", name,
                       graph->first_failure);
    if (hocket_graph_type(graph, node) == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "output '%s': the node is not of this graph", name);
    for (int i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, name) == 0)
            return hk_fail(HOCKET_ERR_INVALID, "output '%s': the graph has one of this name", name);
    hocket_status status = grow((void **)&graph->outputs, &graph->output_capacity,
                                graph->output_count, sizeof *graph->outputs);
    if (status != HOCKET_OK)
        return status;
    char *copy = strdup(name);
    if (copy == NULL)
        return hk_fail_memory(strlen(name) + 1, "an output's name");
    graph->outputs[graph->output_count++] = (hk_output){copy, node.number};
    return HOCKET_OK;
}

const hocket_type *hocket_graph_type(const hocket_graph *graph, hocket_node node)
{
    if (graph == NULL || node.graph != graph->serial || node.number < 0 ||
        node.number >= graph->node_count)
        return NULL;
    return &graph->nodes[node.number]->type;
}

/* --- Operations --- */

static hocket_status check_inputs(const hocket_graph *graph, const hocket_op_call *call,
                                  const hocket_node *inputs, const hocket_op_def *def)
{
    if (call->input_count < def->min_inputs || call->input_count > def->max_inputs)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "it takes %d to %d inputs, not %d",
                               def->min_inputs, def->max_inputs, call->input_count);
    if (inputs == NULL && call->input_count > 0)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "inputs is NULL");
    if (call->attributes.items == NULL && call->attributes.count > 0)
        return hocket_op_error(call, HOCKET_ERR_INVALID, "attributes is NULL");
    for (int i = 0; i < call->input_count; i++) {
        if (inputs[i].number < 0 && graph->first_failure)
            return hk_fail(HOCKET_ERR_INVALID, "%s", graph->first_failure);
        if (hocket_graph_type(graph, inputs[i]) == NULL)
            return hocket_op_error(call, HOCKET_ERR_INVALID, "input %d is not of this graph", i);
    }
    return HOCKET_OK;
}

static hocket_status infer(hk_node *node)
{
    hocket_op_call call = hk_node_call(node);
    call.context = node->def->context;
    hocket_status status = node->def->infer(&call);
    if (status != HOCKET_OK)
        return status;
    node->type = call.output_type;
    if (hk_type_check(&call.output_type, "its result") != HOCKET_OK)
        return hk_fail_prefix("%s (node %d): ", call.op, call.node);
    return HOCKET_OK;
}

/* A node with checked inputs and attributes, its type inferred; NULL after a failure. */
static hk_node *make_op(const hocket_graph *graph, const hocket_op_def *def,
                        const hocket_op_call *call, const hocket_node *inputs)
{
    size_t count = (size_t)call->input_count;
    hk_node *op = calloc(1, sizeof *op);
    if (op == NULL) {
        hk_fail_memory(sizeof *op, def->name);
        return NULL;
    }
    *op = (hk_node){.number = call->node, .kind = HK_NODE_OP, .def = def};
    op->input_count = call->input_count;
    op->inputs = calloc(count + 1, sizeof *op->inputs);
    op->input_types = calloc(count + 1, sizeof *op->input_types);
    if (op->inputs == NULL || op->input_types == NULL) {
        hk_fail_memory(count * sizeof *op->input_types, def->name);
        free_node(op);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        op->inputs[i] = inputs[i].number;
        op->input_types[i] = graph->nodes[inputs[i].number]->type;
    }
    if (hk_attrs_copy(call->attributes.items, call->attributes.count, &op->attributes) !=
            HOCKET_OK ||
        infer(op) != HOCKET_OK) {
        free_node(op);
        return NULL;
    }
    return op;
}

hocket_status hocket_graph_op(hocket_graph *graph, const char *name, const hocket_node *inputs,
                              int input_count, const hocket_attr *attributes,
                              size_t attribute_count, hocket_node *node)
{
    if (graph == NULL || name == NULL || node == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_graph_op: %s is NULL",
                       graph == NULL ? "graph" : name == NULL ? "op" : "node");
    const hocket_op_def *def = hk_op_find(name);
    if (def == NULL) {
        hk_fail(HOCKET_ERR_INVALID, "hocket_graph_op: there is no operation '%s'", name);
        return fail_node(graph, node);
    }
    hocket_op_call call = {.size = sizeof call,
                           .op = def->name,
                           .node = graph->node_count,
                           .attributes = {attributes, attribute_count},
                           .input_count = input_count};
    if (check_inputs(graph, &call, inputs, def) != HOCKET_OK ||
        hk_attrs_check(&call, def) != HOCKET_OK)
        return fail_node(graph, node);
    hk_node *op = make_op(graph, def, &call, inputs);
    if (op == NULL)
        return fail_node(graph, node);
    return add_node(graph, op, node);
}
