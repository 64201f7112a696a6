/* Running on a device whose kernels compose lazy arrays: run calls them all (or the program that
 * the device has traced from them), and the device evaluates when outputs are read.
 *
 * Order of the collectives: each ordered operation is handed the one before it as `after` and must
 * depend on it, so evaluating one evaluates all earlier ones first, in the order of the graph,
 * whichever output is asked for. Ordered operations are results of a run too, since an output that
 * does not use them would otherwise let them be forgotten. */
#include "graph/executable.h"

#include <stdlib.h>
#include <string.h>

static void release_all(const hocket_executable *executable, void **handles)
{
    for (int i = 0; i < executable->node_count; i++)
        if (handles[i] && executable->nodes[i]->kind == HK_NODE_OP)
            executable->device->release(handles[i]);
    free(handles);
}

static hocket_status compose_node(const hocket_executable *executable, int number, void **handles,
                                  void *after)
{
    const hk_node *node = executable->nodes[number];
    void *inputs[HOCKET_MAX_INPUTS + 1];
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = handles[node->inputs[i]];
    hocket_op_call call = hk_node_call(node);
    call.inputs = inputs;
    call.context = executable->kernels[number].context;
    call.after = after;
    hocket_status status = executable->kernels[number].run(&call);
    if (status != HOCKET_OK)
        return status;
    if (call.output == NULL)
        return hocket_op_error(&call, HOCKET_ERR_INVALID, "its kernel gave no array");
    handles[number] = call.output;
    return executable->mode == HOCKET_EAGER ? executable->device->evaluate(&call.output, 1)
                                            : HOCKET_OK;
}

/* Lets go of the inputs that this node was the last to read, and of itself if nobody will. */
static void let_go(const hocket_executable *executable, int number, void **handles)
{
    const hk_node *node = executable->nodes[number];
    for (int i = 0; i <= node->input_count; i++) {
        int used = i < node->input_count ? node->inputs[i] : number;
        if (executable->last_use[used] != number || executable->kept[used] ||
            executable->nodes[used]->kind != HK_NODE_OP || handles[used] == NULL)
            continue;
        executable->device->release(handles[used]);
        handles[used] = NULL;
    }
}

/* An hk_compose_fn: from handles of all inputs and parameters to handles of all kept nodes. */
static hocket_status compose(void *context, void *const *inputs, void **results)
{
    const hocket_executable *executable = context;
    memset(results, 0, (size_t)executable->kept_count * sizeof *results);
    void **handles = calloc((size_t)executable->node_count, sizeof *handles);
    if (handles == NULL)
        return hk_fail_memory((size_t)executable->node_count * sizeof *handles, "a run");
    hocket_status status = HOCKET_OK;
    void *after = NULL;
    int fed = 0;
    for (int i = 0; status == HOCKET_OK && i < executable->node_count; i++) {
        const hk_node *node = executable->nodes[i];
        if (hk_node_is_fed(node))
            handles[i] = inputs[fed++];
        else if (node->kind == HK_NODE_CONSTANT)
            handles[i] = executable->given[i]->handle;
        if (node->kind != HK_NODE_OP || !executable->live[i])
            continue;
        status = compose_node(executable, i, handles, after);
        if (status == HOCKET_OK && hk_node_is_ordered(node))
            after = handles[i];
        if (status == HOCKET_OK)
            let_go(executable, i, handles);
    }
    for (int i = 0, kept = 0; status == HOCKET_OK && i < executable->node_count; i++)
        if (executable->kept[i]) {
            results[kept++] = handles[i];
            handles[i] = NULL;
        }
    release_all(executable, handles);
    return status;
}

hocket_status hk_compose_start(hocket_executable *executable)
{
    if (executable->mode != HOCKET_COMPILED || executable->device->trace == NULL ||
        executable->kept_count == 0)
        return HOCKET_OK;
    return executable->device->trace(compose, executable, executable->feed_count,
                                     executable->kept_count, &executable->program);
}

hocket_status hk_compose_run(hocket_executable *executable)
{
    hocket_executable *e = executable;
    for (int i = 0, fed = 0; i < e->node_count; i++)
        if (hk_node_is_fed(e->nodes[i]))
            e->feeds[fed++] = e->values[i]->handle;
    memset(e->results, 0, (size_t)e->kept_count * sizeof *e->results);
    hocket_status status = e->program ? e->device->run_program(e->program, e->feeds, e->results)
                                      : compose(e, e->feeds, e->results);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0, kept = 0; i < e->node_count; i++) {
        /* From here on the arrays hold what they depend on. An input that the run alone still held
         * can then be written in place by the device. */
        if (e->nodes[i]->kind == HK_NODE_INPUT && !e->is_output[i]) {
            hocket_tensor_free(e->values[i]);
            e->values[i] = NULL;
        }
        if (!e->kept[i])
            continue;
        hocket_status made = hk_tensor_make(e->device, &e->nodes[i]->type, e->results[kept++],
                                            &e->values[i]);
        if (status == HOCKET_OK)
            status = made;
    }
    return status;
}

hocket_status hk_compose_need(hocket_executable *executable, int target)
{
    hocket_executable *e = executable;
    if (e->mode == HOCKET_EAGER)
        return HOCKET_OK;
    int count = 0, ordered = -1;
    for (int i = 0; i < e->node_count; i++) {
        bool all = target == e->node_count;
        if (hk_node_is_ordered(e->nodes[i]) && (target < 0 || i <= target))
            ordered = i;
        if (i == target || (all && e->kept[i]))
            e->results[count++] = e->values[i]->handle;
    }
    if (ordered >= 0 && target < e->node_count)
        e->results[count++] = e->values[ordered]->handle;
    return count > 0 ? e->device->evaluate(e->results, count) : HOCKET_OK;
}
