#include "graph/executable.h"

#include "graph/registry.h"
#include "graph/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Compiling --- */

static bool allocate(hocket_executable *executable, const hocket_graph *graph)
{
    size_t count = (size_t)graph->node_count;
    hocket_executable *e = executable;
    e->nodes = calloc(count, sizeof *e->nodes);
    e->kernels = calloc(count, sizeof *e->kernels);
    e->live = calloc(count, sizeof *e->live);
    e->is_output = calloc(count, sizeof *e->is_output);
    e->kept = calloc(count, sizeof *e->kept);
    e->last_use = calloc(count, sizeof *e->last_use);
    e->outputs = calloc((size_t)graph->output_count, sizeof *e->outputs);
    e->given = calloc(count, sizeof *e->given);
    e->values = calloc(count, sizeof *e->values);
    e->handles = calloc(count, sizeof *e->handles);
    e->wanted = calloc(count, sizeof *e->wanted);
    e->offsets = calloc(count, sizeof *e->offsets);
    e->feeds = calloc(count, sizeof *e->feeds);
    e->results = calloc(count, sizeof *e->results);
    return e->nodes && e->kernels && e->live && e->is_output && e->kept && e->last_use &&
           e->outputs && e->given && e->values && e->handles && e->wanted && e->offsets &&
           e->feeds && e->results;
}

static hocket_status find_kernels(hocket_executable *executable)
{
    for (int i = 0; i < executable->node_count; i++) {
        const hk_node *node = executable->nodes[i];
        if (node->kind == HK_NODE_OP && executable->live[i] &&
            !hk_kernel_find(node->def->name, executable->device, &executable->kernels[i]))
            return hk_fail(HOCKET_ERR_UNSUPPORTED, "%s (node %d): the device '%s' has no kernel "
                           "for it", node->def->name, i, executable->device->name);
    }
    return HOCKET_OK;
}

/* Which nodes are run, and until when their values are needed. */
static void find_live(hocket_executable *executable)
{
    for (int i = 0; i < executable->output_count; i++) {
        int node = executable->outputs[i].node;
        executable->live[node] = executable->is_output[node] = true;
        executable->kept[node] = executable->nodes[node]->kind == HK_NODE_OP;
    }
    for (int i = executable->node_count - 1; i >= 0; i--) {
        const hk_node *node = executable->nodes[i];
        executable->last_use[i] = executable->last_use[i] > i ? executable->last_use[i] : i;
        if (executable->mode == HOCKET_EAGER || hk_node_is_ordered(node))
            executable->live[i] = true;
        if (hk_node_is_ordered(node) && executable->device->composes)
            executable->kept[i] = true;
        for (int j = 0; executable->live[i] && j < node->input_count; j++) {
            int input = node->inputs[j];
            executable->live[input] = true;
            if (executable->last_use[input] < i)
                executable->last_use[input] = i;
        }
        executable->feed_count += hk_node_is_fed(node);
        executable->kept_count += executable->kept[i];
    }
}

static hocket_status upload_constants(hocket_executable *executable)
{
    hocket_status status = HOCKET_OK;
    for (int i = 0; status == HOCKET_OK && i < executable->node_count; i++) {
        const hk_node *node = executable->nodes[i];
        if (node->kind == HK_NODE_CONSTANT)
            status = hk_tensor_upload(executable->device, &node->type, node->data,
                                      &executable->given[i]);
    }
    return status;
}

static hocket_status prepare(hocket_executable *executable, const hocket_graph *graph)
{
    if (!allocate(executable, graph))
        return hk_fail_memory((size_t)graph->node_count * 64, "an executable");
    executable->node_count = graph->node_count;
    executable->output_count = graph->output_count;
    memcpy(executable->nodes, graph->nodes, (size_t)graph->node_count * sizeof *graph->nodes);
    memcpy(executable->outputs, graph->outputs,
           (size_t)graph->output_count * sizeof *graph->outputs);
    find_live(executable);
    hocket_status status = find_kernels(executable);
    if (status == HOCKET_OK)
        status = upload_constants(executable);
    if (status == HOCKET_OK)
        status = executable->device->composes ? hk_compose_start(executable) : hk_plan(executable);
    return status;
}

hocket_status hocket_executable_compile(const hocket_graph *graph, const char *device,
                                        hocket_mode mode, hocket_executable **executable)
{
    const char *what = "hocket_executable_compile";
    if (graph == NULL || executable == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: %s is NULL", what, graph ? "executable" : "graph");
    *executable = NULL;
    if (mode != HOCKET_EAGER && mode != HOCKET_LAZY && mode != HOCKET_COMPILED)
        return hk_fail(HOCKET_ERR_INVALID, "%s: %d is no mode", what, (int)mode);
    if (graph->output_count == 0)
        return hk_fail(HOCKET_ERR_INVALID, "%s: the graph has no outputs", what);
    const hk_device *found;
    if (hk_device_get(device, &found) != HOCKET_OK)
        return hk_fail_prefix("%s: ", what);
    hocket_executable *made = calloc(1, sizeof *made);
    if (made == NULL)
        return hk_fail_memory(sizeof *made, "an executable");
    made->graph = graph;
    made->device = found;
    made->mode = mode;
    hk_graph_retain(graph);
    if (prepare(made, graph) != HOCKET_OK) {
        hocket_executable_free(made);
        return hk_fail_prefix("%s: ", what);
    }
    *executable = made;
    return HOCKET_OK;
}

void hocket_executable_free(hocket_executable *executable)
{
    hocket_executable *e = executable;
    if (e == NULL)
        return;
    if (e->program)
        e->device->free_program(e->program);
    for (int i = 0; i < e->node_count; i++) {
        hocket_tensor_free(e->given[i]);
        hocket_tensor_free(e->values[i]);
    }
    void *owned[] = {e->nodes, e->kernels, e->live, e->is_output, e->kept, e->last_use, e->outputs,
                     e->given, e->values, e->handles, e->wanted, e->offsets, e->feeds, e->results,
                     e->arena};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    hk_graph_release(e->graph);
    free(e);
}

size_t hocket_executable_planned_bytes(const hocket_executable *executable)
{
    return executable ? executable->arena_bytes : 0;
}

/* --- Inputs and parameters --- */

static const char *feed_text(const hk_node *node)
{
    return node->kind == HK_NODE_INPUT ? "input" : "param";
}

/* The node that is fed under this name; NULL after a failure. */
static const hk_node *find_feed(const hocket_executable *executable, const char *what,
                                const char *name)
{
    if (executable == NULL || name == NULL) {
        hk_fail(HOCKET_ERR_INVALID, "%s: %s is NULL", what, executable ? "name" : "executable");
        return NULL;
    }
    for (int i = 0; i < executable->node_count; i++) {
        const hk_node *node = executable->nodes[i];
        if (hk_node_is_fed(node) && strcmp(node->name, name) == 0)
            return node;
    }
    hk_fail(HOCKET_ERR_INVALID, "%s: the graph has no input or parameter '%s'", what, name);
    return NULL;
}

static void give(hocket_executable *executable, const hk_node *node, hocket_tensor *tensor)
{
    hocket_tensor_free(executable->given[node->number]);
    executable->given[node->number] = tensor;
}

hocket_status hocket_executable_set(hocket_executable *executable, const char *name,
                                    const void *data, size_t bytes)
{
    const char *what = "hocket_executable_set";
    const hk_node *node = find_feed(executable, what, name);
    if (node == NULL)
        return HOCKET_ERR_INVALID;
    size_t needed = hocket_type_bytes(&node->type);
    if (bytes != needed || (data == NULL && needed > 0))
        return hk_fail(HOCKET_ERR_INVALID, "%s: %s '%s' is %s of %zu bytes, the data is %s%zu",
                       what, feed_text(node), name, HK_TYPE_TEXT(&node->type), needed,
                       data ? "" : "NULL, bytes ", bytes);
    hocket_tensor *tensor;
    hocket_status status = hk_tensor_upload(executable->device, &node->type, data ? data : "",
                                            &tensor);
    if (status != HOCKET_OK)
        return hk_fail_prefix("%s: %s '%s': ", what, feed_text(node), name);
    give(executable, node, tensor);
    return HOCKET_OK;
}

hocket_status hocket_executable_bind(hocket_executable *executable, const char *name,
                                     hocket_tensor *tensor)
{
    const char *what = "hocket_executable_bind";
    const hk_node *node = find_feed(executable, what, name);
    if (node == NULL)
        return HOCKET_ERR_INVALID;
    if (tensor == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: the tensor for '%s' is NULL", what, name);
    if (tensor->device != executable->device || !hk_type_equal(&tensor->type, &node->type))
        return hk_fail(HOCKET_ERR_INVALID, "%s: %s '%s' is %s on %s, the tensor is %s on %s", what,
                       feed_text(node), name, HK_TYPE_TEXT(&node->type), executable->device->name,
                       HK_TYPE_TEXT(&tensor->type), tensor->device->name);
    give(executable, node, hocket_tensor_retain(tensor));
    return HOCKET_OK;
}

/* --- Running --- */

static hocket_status check_given(const hocket_executable *executable)
{
    char missing[HK_ERROR_TEXT_MAX / 2] = "";
    size_t used = 0;
    for (int i = 0; i < executable->node_count; i++) {
        const hk_node *node = executable->nodes[i];
        if (hk_node_is_fed(node) && executable->given[i] == NULL && used < sizeof missing)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s '%s'",
                                     used > 0 ? ", " : "", feed_text(node), node->name);
    }
    if (used == 0)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_INVALID, "hocket_executable_run: nothing was set for %s", missing);
}

/* Drops the values of the last run and takes those that were given for this one. */
static void begin(hocket_executable *executable)
{
    if (!executable->device->composes)
        hk_compute_drop(executable);
    for (int i = 0; i < executable->node_count; i++) {
        hk_node_kind kind = executable->nodes[i]->kind;
        if (kind == HK_NODE_OP && !executable->device->composes)
            continue; /* hk_compute_drop keeps what it can use again */
        hocket_tensor_free(executable->values[i]);
        executable->values[i] = NULL;
        if (kind == HK_NODE_OP)
            continue;
        executable->values[i] = executable->given[i];
        if (kind == HK_NODE_INPUT)
            executable->given[i] = NULL;
        else
            hocket_tensor_retain(executable->given[i]);
    }
}

static hocket_status need(hocket_executable *executable, int node)
{
    hocket_status status = executable->device->composes ? hk_compose_need(executable, node)
                                                        : hk_compute_need(executable, node);
    if (status != HOCKET_OK) {
        executable->failure = *hk_error_last();
        executable->unfinished = false;
    }
    return status;
}

hocket_status hocket_executable_run(hocket_executable *executable)
{
    if (executable == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_executable_run: executable is NULL");
    hocket_status status = check_given(executable);
    if (status != HOCKET_OK)
        return status;
    if (executable->unfinished) {
        status = need(executable, -1);
        if (status != HOCKET_OK)
            return hk_fail_prefix("hocket_executable_run, finishing the run before: ");
    }
    begin(executable);
    executable->failure.status = HOCKET_OK;
    executable->has_run = true;
    executable->unfinished = false;
    status = executable->device->composes ? hk_compose_run(executable) : hk_compute_run(executable);
    if (status != HOCKET_OK)
        executable->failure = *hk_error_last();
    else
        executable->unfinished = executable->mode == HOCKET_LAZY || executable->device->composes;
    return status;
}

/* --- Reading --- */

static hocket_status check_has_run(const hocket_executable *executable, const char *what)
{
    if (executable == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: executable is NULL", what);
    if (!executable->has_run)
        return hk_fail(HOCKET_ERR_INVALID, "%s: the executable has not been run", what);
    if (executable->failure.status != HOCKET_OK) {
        hk_fail_with(&executable->failure);
        return hk_fail_prefix("%s: the last run failed: ", what);
    }
    return HOCKET_OK;
}

/* The evaluated node of an output. */
static hocket_status find_output(hocket_executable *executable, const char *what, const char *name,
                                 int *node)
{
    hocket_status status = check_has_run(executable, what);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; name && i < executable->output_count; i++)
        if (strcmp(executable->outputs[i].name, name) == 0) {
            *node = executable->outputs[i].node;
            return HOCKET_OK;
        }
    return hk_fail(HOCKET_ERR_INVALID, "%s: the graph has no output '%s'", what,
                   name ? name : "(NULL)");
}

hocket_status hocket_executable_read(hocket_executable *executable, const char *name, void *buffer,
                                     size_t bytes)
{
    const char *what = "hocket_executable_read";
    int node = 0;
    hocket_status status = find_output(executable, what, name, &node);
    if (status != HOCKET_OK)
        return status;
    const hocket_type *type = &executable->nodes[node]->type;
    size_t needed = hocket_type_bytes(type);
    if (bytes != needed || (buffer == NULL && needed > 0))
        return hk_fail(HOCKET_ERR_INVALID,
                       "%s: output '%s' is %s of %zu bytes, the buffer is %s%zu",
                       what, name, HK_TYPE_TEXT(type), needed, buffer ? "" : "NULL, bytes ",
                       bytes);
    status = need(executable, node);
    if (status == HOCKET_OK)
        status = hocket_tensor_read(executable->values[node], buffer, bytes);
    return status;
}

hocket_status hocket_executable_output(hocket_executable *executable, const char *name,
                                       hocket_tensor **tensor)
{
    const char *what = "hocket_executable_output";
    if (tensor == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "%s: tensor is NULL", what);
    *tensor = NULL;
    int node = 0;
    hocket_status status = find_output(executable, what, name, &node);
    if (status == HOCKET_OK && !executable->device->composes)
        status = need(executable, node);
    if (status == HOCKET_OK)
        *tensor = hocket_tensor_retain(executable->values[node]);
    return status;
}

hocket_status hocket_executable_finish(hocket_executable *executable)
{
    hocket_status status = check_has_run(executable, "hocket_executable_finish");
    if (status == HOCKET_OK)
        status = need(executable, executable->node_count);
    if (status == HOCKET_OK)
        executable->unfinished = false;
    return status;
}
