#include "shares.h"

#include "fault.h"

#include <math.h>

bool shares_grid(const options *chosen, int ranks, int rank, grid *made)
{
    if (ranks > RANKS_MAX)
        return fault("there are %d ranks, at most %d can share a model", ranks, RANKS_MAX);
    if (chosen->share_count > 0 && chosen->share_count != ranks)
        return fault("--shares has %d numbers for %d ranks", chosen->share_count, ranks);
    int stages = chosen->parallel == PARALLEL_PP ? ranks : 1;
    if (chosen->parallel == PARALLEL_BOTH)
        for (stages = chosen->stages > 0 ? chosen->stages : 2;
             chosen->stages == 0 && stages < ranks && ranks % stages != 0; stages++)
            ;
    if (ranks % stages != 0 ||
        (chosen->parallel == PARALLEL_BOTH && chosen->stages == 0 && stages >= ranks))
        return fault("%d ranks make no grid for --parallel tp,pp; 4, 6, 8, 9, ... do", ranks);
    int parts = ranks / stages;
    *made = (grid){stages, parts, rank / parts, rank % parts};
    return true;
}

static double share_of(const options *chosen, int rank)
{
    return chosen->share_count > 0 ? chosen->shares[rank] : 1;
}

/* The sum of the shares of ranks first ... stop - 1. */
static double sum(const options *chosen, int first, int stop)
{
    double total = 0;
    for (int rank = first; rank < stop; rank++)
        total += share_of(chosen, rank);
    return total;
}

/* Cuts `count` where the share before this rank, and the one with it, lie: halves go to the first
 * rank, so that 9 for 2 are 5 and 4. */
static span cut(int count, double before, double with, double all)
{
    return (span){(int)floor(count * before / all + 0.5), (int)floor(count * with / all + 0.5)};
}

bool shares_cut(const model *of, const options *chosen, const grid *ranks, share *mine)
{
    int all = ranks->stages * ranks->parts, first = ranks->stage * ranks->parts;
    if (ranks->stages > of->layers)
        return fault("%d stages cannot share %d layers", ranks->stages, of->layers);
    if (ranks->parts > of->heads)
        return fault("%d ranks cannot share %d heads", ranks->parts, of->heads);
    *mine = (share){.is_first = ranks->stage == 0, .is_last = ranks->stage == ranks->stages - 1};
    mine->layers = cut(of->layers, sum(chosen, 0, first), sum(chosen, 0, first + ranks->parts),
                       sum(chosen, 0, all));
    int nobody = -1;
    for (int part = 0; part < ranks->parts; part++) {
        double before = sum(chosen, first, first + part);
        double with = before + share_of(chosen, first + part);
        double stage = sum(chosen, first, first + ranks->parts);
        span heads = cut(of->heads, before, with, stage);
        int unit = of->inside % WEIGHT_GROUP == 0 ? WEIGHT_GROUP : 1;
        span groups = cut(of->inside / unit, before, with, stage);
        span rows = cut(of->vocabulary, before, with, stage);
        if (span_length(heads) < 1 || span_length(groups) < 1 || span_length(rows) < 1)
            nobody = first + part;
        if (part != ranks->part)
            continue;
        int read_by = of->heads / of->kv_heads;
        mine->heads = heads;
        mine->kv_heads = (span){heads.start / read_by, (heads.stop - 1) / read_by + 1};
        mine->inside = (span){groups.start * unit, groups.stop * unit};
        mine->rows = rows;
    }
    if (nobody >= 0)
        return fault("rank %d would have no part of a layer; give it more of --shares", nobody);
    return span_length(mine->layers) > 0 ||
           fault("stage %d would have no layer; give it more of --shares", ranks->stage);
}
