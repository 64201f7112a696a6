/* A graph inside: a growing list of nodes, each of which uses earlier ones only. */
#ifndef HK_GRAPH_NODE_H
#define HK_GRAPH_NODE_H

#include <hocket/graph.h>
#include <stdatomic.h>

typedef enum hk_node_kind {
    HK_NODE_OP,
    HK_NODE_INPUT,
    HK_NODE_PARAM,
    HK_NODE_CONSTANT
} hk_node_kind;

/* Does not change once it is in a graph. */
typedef struct hk_node {
    int number;
    hk_node_kind kind;
    hocket_type type;
    char *name; /* input, param */
    void *data; /* constant: its elements */

    /* op */
    const hocket_op_def *def;
    hocket_attrs attributes;
    int input_count;
    int *inputs; /* numbers of earlier nodes */
    hocket_type *input_types;
} hk_node;

typedef struct hk_output {
    char *name;
    int node;
} hk_output;

struct hocket_graph {
    atomic_int references; /* the builder's, and one for each executable */
    uint32_t serial;       /* in each of its hocket_nodes, so that graphs cannot be mixed up */
    hk_node **nodes;
    int node_count, node_capacity;
    hk_output *outputs;
    int output_count, output_capacity;
    char *first_failure; /* why the first failed node failed */
};

static inline bool hk_node_is_ordered(const hk_node *node)
{
    return node->kind == HK_NODE_OP && (node->def->flags & HOCKET_OP_ORDERED) != 0;
}

/* The call struct for a node's inference or kernel, all but inputs, output, after and context. */
hocket_op_call hk_node_call(const hk_node *node);

void hk_graph_retain(const hocket_graph *graph);
void hk_graph_release(const hocket_graph *graph);

#endif
