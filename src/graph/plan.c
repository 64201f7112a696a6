/* The plan of compiled mode: one arena in which values take turns.
 *
 * A value occupies its place from the node that makes it to its last use, both included, so that no
 * kernel's output overlaps its inputs. Nodes are placed in order, each at the lowest gap between
 * those that are still in use: first fit, which is within a few percent of the best for the chains
 * and diamonds that layers are made of. A kernel that can work in place inherits the place of its
 * first input. Outputs are not planned: the caller may keep them. */
#include "graph/executable.h"
#include "graph/shape.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
    size_t offset, bytes;
    int last_use;
} place;

/* Removes the places that are free before this node. */
static int expire(place *active, int count, int node)
{
    int left = 0;
    for (int i = 0; i < count; i++)
        if (active[i].last_use >= node)
            active[left++] = active[i];
    return left;
}

/* Puts a place at the lowest gap; active stays sorted by offset. */
static size_t fit(place *active, int count, size_t bytes, int last_use)
{
    size_t offset = 0;
    int at = 0;
    while (at < count && active[at].offset - offset < bytes) {
        offset = active[at].offset + active[at].bytes;
        at++;
    }
    memmove(&active[at + 1], &active[at], (size_t)(count - at) * sizeof *active);
    active[at] = (place){offset, bytes, last_use};
    return offset;
}

bool hk_may_overwrite(const hocket_executable *executable, int number)
{
    const hk_node *node = executable->nodes[number];
    /* Lazy mode may still owe somebody the input. */
    if (executable->mode == HOCKET_LAZY || node->kind != HK_NODE_OP || node->input_count == 0 ||
        !(node->def->flags & HOCKET_OP_IN_PLACE))
        return false;
    int input = node->inputs[0];
    hk_node_kind kind = executable->nodes[input]->kind;
    for (int i = 1; i < node->input_count; i++)
        if (node->inputs[i] == input)
            return false;
    return (kind == HK_NODE_OP || kind == HK_NODE_INPUT) && !executable->is_output[input] &&
           executable->last_use[input] == number &&
           hocket_type_bytes(&node->type) == hocket_type_bytes(&node->input_types[0]);
}

static bool is_planned(const hocket_executable *executable, int node)
{
    return executable->mode == HOCKET_COMPILED && executable->live[node] &&
           !executable->is_output[node] && executable->nodes[node]->kind == HK_NODE_OP;
}

/* Gives a node the place of its first input, if that one is planned. */
static bool inherit(hocket_executable *executable, place *active, int count, int node)
{
    size_t offset = executable->offsets[executable->nodes[node]->inputs[0]];
    if (offset == HK_UNPLANNED)
        return false;
    for (int i = 0; i < count; i++)
        if (active[i].offset == offset)
            active[i].last_use = executable->last_use[node];
    executable->offsets[node] = offset;
    return true;
}

hocket_status hk_plan(hocket_executable *executable)
{
    place *active = calloc((size_t)executable->node_count + 1, sizeof *active);
    if (active == NULL)
        return hk_fail_memory((size_t)executable->node_count * sizeof *active, "a plan");
    int count = 0;
    size_t total = 0;
    hocket_status status = HOCKET_OK;
    for (int i = 0; status == HOCKET_OK && i < executable->node_count; i++) {
        executable->offsets[i] = HK_UNPLANNED;
        if (!is_planned(executable, i))
            continue;
        count = expire(active, count, i);
        if (hk_may_overwrite(executable, i) && inherit(executable, active, count, i))
            continue;
        size_t bytes = hocket_type_bytes(&executable->nodes[i]->type);
        bytes = bytes > 0 ? (bytes + HK_ALIGNMENT - 1) / HK_ALIGNMENT * HK_ALIGNMENT : HK_ALIGNMENT;
        size_t offset = fit(active, count++, bytes, executable->last_use[i]);
        executable->offsets[i] = offset;
        if (offset + bytes > total)
            total = offset + bytes;
        if (offset > (size_t)PTRDIFF_MAX / 2) /* each value is checked; their sum might wrap */
            status = hk_fail(HOCKET_ERR_NO_MEMORY, "the plan has more bytes than memory can have");
    }
    free(active);
    if (status == HOCKET_OK && total > 0 &&
        posix_memalign(&executable->arena, HK_ALIGNMENT, total) != 0) {
        executable->arena = NULL;
        status = hk_fail_memory(total, "the values of a compiled graph");
    }
    executable->arena_bytes = status == HOCKET_OK ? total : 0;
    return status;
}
