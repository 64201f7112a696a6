/* An executable inside: nodes, kernels, and the values of the run that is going on.
 *
 * Life of a value: `given` holds what the caller has set (parameters for good, inputs until a run
 * takes them). A run moves them to `values`, where its results join them. Everything in `values`
 * is of one run: the next one drops it.
 *
 * Two files know how to run: run_compute.c on devices that compute (the executable decides when a
 * kernel is called), run_compose.c on devices that compose (kernels are called at once and the
 * device evaluates later).
 */
#ifndef HK_GRAPH_EXECUTABLE_H
#define HK_GRAPH_EXECUTABLE_H

#include "core/status.h"
#include "graph/device.h"
#include "graph/node.h"
#include "graph/tensor.h"

struct hocket_executable {
    const hocket_graph *graph; /* held, for its nodes */
    const hk_device *device;
    hocket_mode mode;

    int node_count;
    hk_node **nodes;
    hk_kernel *kernels; /* by node; of operations only */
    bool *live;         /* by node: it has to be run. Eager runs all */
    bool *is_output;    /* by node */
    bool *kept;         /* by node: an operation whose value outlives the run: outputs and, on a
                           device that composes, ordered operations */
    int *last_use;      /* by node: the last live node that reads it, itself if none does */
    hk_output *outputs;
    int output_count;

    hocket_tensor **given;  /* by node: constants, parameters, inputs of the next run */
    hocket_tensor **values; /* by node: of the last run */
    bool has_run;           /* there is a run to read from */
    bool unfinished;        /* its ordered operations may not all have been evaluated */
    hk_error failure;       /* why it failed; status HOCKET_OK: it has not */

    /* Devices that compute. */
    void **handles; /* by node: of the last run; NULL is not computed yet */
    bool *wanted;   /* by node: scratch of one evaluation */
    void *arena;    /* compiled: the memory of all planned nodes */
    size_t arena_bytes;
    size_t *offsets; /* by node: in the arena; HK_UNPLANNED outside it */

    /* Devices that compose. */
    int feed_count, kept_count;
    void **feeds;   /* scratch: handles of inputs and parameters, by ascending node */
    void **results; /* scratch: handles of kept nodes, by ascending node */
    void *program;  /* compiled: the device's */
};

#define HK_UNPLANNED SIZE_MAX
#define HK_ALIGNMENT 64

static inline bool hk_node_is_fed(const hk_node *node)
{
    return node->kind == HK_NODE_INPUT || node->kind == HK_NODE_PARAM;
}

/* plan.c. Whether a node's kernel may write its result over its first input, which nobody needs any
 * more, as far as the graph can tell. */
bool hk_may_overwrite(const hocket_executable *executable, int node);

/* plan.c: gives each live operation that is no output a place in one arena, such that nodes that
 * are needed at the same time do not overlap. */
hocket_status hk_plan(hocket_executable *executable);

/* run_compute.c and run_compose.c. run: given has been moved to values. need: makes the value of a
 * node there, and runs all ordered operations before it; node -1: all ordered operations;
 * node_count: those and all outputs. drop: forgets the last run. */
hocket_status hk_compute_run(hocket_executable *executable);
hocket_status hk_compute_need(hocket_executable *executable, int node);
void hk_compute_drop(hocket_executable *executable);
hocket_status hk_compose_start(hocket_executable *executable); /* once, when compiled */
hocket_status hk_compose_run(hocket_executable *executable);
hocket_status hk_compose_need(hocket_executable *executable, int node);

#endif
