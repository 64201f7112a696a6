#include "graph/lane.h"

#include <string.h>

/* Whether the walk's dimension `outer` steps to where dimension i ends, for every operand: then the
 * two are one. */
static bool continues(const hk_walk *walk, int outer, int64_t dim,
                      int64_t strides[][HOCKET_MAX_RANK], int i)
{
    for (int o = 0; o < walk->operand_count; o++)
        if (walk->strides[o][outer] != strides[o][i] * dim)
            return false;
    return true;
}

void hk_walk_start(hk_walk *walk, int rank, const int64_t *dims, int operand_count,
                   int64_t strides[][HOCKET_MAX_RANK])
{
    memset(walk, 0, sizeof *walk);
    walk->operand_count = operand_count;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        empty = empty || dims[i] == 0;
        if (dims[i] == 1)
            continue;
        int at = walk->rank - 1;
        if (walk->rank > 0 && continues(walk, at, dims[i], strides, i))
            walk->dims[at] *= dims[i];
        else
            walk->dims[at = walk->rank++] = dims[i];
        for (int o = 0; o < operand_count; o++)
            walk->strides[o][at] = strides[o][i];
    }
    if (walk->rank == 0 || empty) {
        walk->rank = 1;
        walk->dims[0] = !empty;
        for (int o = 0; o < operand_count; o++)
            walk->strides[o][0] = 1;
    }
}

bool hk_walk_next(hk_walk *walk)
{
    for (int i = walk->rank - 2; i >= 0; i--) {
        for (int o = 0; o < walk->operand_count; o++)
            walk->offsets[o] += walk->strides[o][i];
        if (++walk->index[i] < walk->dims[i])
            return true;
        for (int o = 0; o < walk->operand_count; o++)
            walk->offsets[o] -= walk->strides[o][i] * walk->dims[i];
        walk->index[i] = 0;
    }
    return false;
}
