/* Running on a device whose kernels compute at once: the executable calls them when the mode says
 * so. Eager and compiled: all in run. Lazy: when a value is needed. */
#include "graph/executable.h"
#include "graph/shape.h"

#include <string.h>

void hk_compute_drop(hocket_executable *executable)
{
    for (int i = 0; i < executable->node_count; i++) {
        executable->handles[i] = NULL;
        if (executable->nodes[i]->kind != HK_NODE_OP || executable->values[i] == NULL)
            continue;
        /* An output of compiled mode that nobody else holds is written again in the next run. */
        if (executable->mode == HOCKET_COMPILED && hk_tensor_is_sole(executable->values[i]))
            continue;
        hocket_tensor_free(executable->values[i]);
        executable->values[i] = NULL;
    }
}

/* Makes the tensor of the first input the node's own if it may be written over: no caller holds it
 * too, and its memory is ours. */
static void take_first_input(hocket_executable *executable, int node)
{
    hocket_tensor **values = executable->values;
    if (!hk_may_overwrite(executable, node))
        return;
    int input = executable->nodes[node]->inputs[0];
    if (values[input] == NULL || values[input]->wrapped || !hk_tensor_is_sole(values[input]))
        return;
    hocket_tensor_free(values[node]);
    values[node] = values[input];
    values[input] = NULL;
}

/* Memory for a node's value. */
static hocket_status provide(hocket_executable *executable, int node, void **memory)
{
    if (executable->offsets[node] != HK_UNPLANNED) {
        *memory = (char *)executable->arena + executable->offsets[node];
        return HOCKET_OK;
    }
    hocket_status status = HOCKET_OK;
    take_first_input(executable, node);
    if (executable->values[node] == NULL)
        status = hk_tensor_upload(executable->device, &executable->nodes[node]->type, NULL,
                                  &executable->values[node]);
    *memory = status == HOCKET_OK ? executable->values[node]->handle : NULL;
    return status;
}

static hocket_status compute(hocket_executable *executable, int number)
{
    const hk_node *node = executable->nodes[number];
    if (node->kind != HK_NODE_OP) {
        executable->handles[number] = executable->values[number]->handle;
        return HOCKET_OK;
    }
    void *inputs[HOCKET_MAX_INPUTS + 1];
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = executable->handles[node->inputs[i]];
    hocket_op_call call = hk_node_call(node);
    call.inputs = inputs;
    call.context = executable->kernels[number].context;
    hocket_status status = provide(executable, number, &call.output);
    if (status == HOCKET_OK)
        status = executable->kernels[number].run(&call);
    if (status == HOCKET_OK)
        executable->handles[number] = call.output;
    return status;
}

/* Gives a value back that neither a later node nor the caller needs. */
static void let_go(hocket_executable *executable, int number)
{
    hk_node_kind kind = executable->nodes[number]->kind;
    if (executable->is_output[number] || (kind != HK_NODE_OP && kind != HK_NODE_INPUT))
        return;
    hocket_tensor_free(executable->values[number]);
    executable->values[number] = NULL;
}

hocket_status hk_compute_run(hocket_executable *executable)
{
    if (executable->mode == HOCKET_LAZY)
        return HOCKET_OK;
    for (int i = 0; i < executable->node_count; i++) {
        if (!executable->live[i])
            continue;
        hocket_status status = compute(executable, i);
        if (status != HOCKET_OK)
            return status;
        const hk_node *node = executable->nodes[i];
        for (int j = 0; j < node->input_count; j++)
            if (executable->last_use[node->inputs[j]] == i)
                let_go(executable, node->inputs[j]);
        if (executable->last_use[i] == i)
            let_go(executable, i);
    }
    return HOCKET_OK;
}

/* Marks what lacks for this node: it, its inputs, and all ordered operations up to it with theirs.
 */
static void mark(hocket_executable *executable, int target)
{
    bool *wanted = executable->wanted;
    int count = executable->node_count;
    memset(wanted, 0, (size_t)count * sizeof *wanted);
    int ordered_before = target < 0 ? count : target;
    if (target >= 0 && target < count)
        wanted[target] = true;
    for (int i = 0; target == count && i < executable->output_count; i++)
        wanted[executable->outputs[i].node] = true;
    for (int i = count - 1; i >= 0; i--) {
        const hk_node *node = executable->nodes[i];
        if (hk_node_is_ordered(node) && i < ordered_before)
            wanted[i] = true;
        if (executable->handles[i])
            wanted[i] = false;
        for (int j = 0; wanted[i] && j < node->input_count; j++)
            wanted[node->inputs[j]] = true;
    }
}

hocket_status hk_compute_need(hocket_executable *executable, int target)
{
    if (executable->mode != HOCKET_LAZY)
        return HOCKET_OK;
    mark(executable, target);
    for (int i = 0; i < executable->node_count; i++) {
        hocket_status status = executable->wanted[i] ? compute(executable, i) : HOCKET_OK;
        if (status != HOCKET_OK)
            return status;
    }
    return HOCKET_OK;
}
