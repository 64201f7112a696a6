/* Who has what of the model. The ranks are a grid: its rows are stages, which have the layers one
 * after the other, its columns are parts, which have the heads and columns of a layer side by side.
 * Rank stage * parts + part is where they cross. */
#ifndef LLM_SHARES_H
#define LLM_SHARES_H

#include "gguf_model.h"
#include "options.h"

typedef struct grid {
    int stages, parts;
    int stage, part; /* of this rank */
} grid;

/* From start up to stop, which is not in it. */
typedef struct span {
    int start, stop;
} span;

typedef struct share {
    span layers;
    span heads;
    span kv_heads;          /* those that the heads read, which two neighbours may both have */
    span inside;            /* columns of the gated MLP, by whole groups of quantized weights */
    span rows;              /* of the vocabulary */
    bool is_first, is_last; /* stage */
} share;

/* Fails when so many ranks make no such grid, or --shares has another number of them. */
bool shares_grid(const options *chosen, int ranks, int rank, grid *made);
/* Everything in proportion to the ranks' shares, as near as whole pieces come. Fails when somebody
 * would have no layer or no head. */
bool shares_cut(const model *of, const options *chosen, const grid *ranks, share *mine);

static inline int span_length(span of)
{
    return of.stop - of.start;
}

#endif
