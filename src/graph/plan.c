/* The plan of compiled mode: one arena in which values take turns.
 *
 * A value occupies its place from the node that makes it to its last use, both included, so that no
 * kernel's output overlaps its inputs. Nodes are placed in order, each at the lowest gap between
 * those that are still in use: first fit, which is within a few percent of the best for the chains
 * and diamonds that layers are made of. Outputs are not planned: the caller may keep them. */
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

static bool is_planned(const hocket_executable *executable, int node)
{
    return executable->mode == HOCKET_COMPILED && executable->live[node] &&
           !executable->kept[node] && executable->nodes[node]->kind == HK_NODE_OP;
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
        size_t bytes = hocket_type_bytes(&executable->nodes[i]->type);
        bytes = bytes > 0 ? (bytes + HK_ALIGNMENT - 1) / HK_ALIGNMENT * HK_ALIGNMENT : HK_ALIGNMENT;
        count = expire(active, count, i);
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
