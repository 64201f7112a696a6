/* The model as graphs: one that takes some tokens through a rank's layers, and one that makes
 * logits of a row. */
#ifndef LLM_LAYERS_H
#define LLM_LAYERS_H

#include "weights.h"

typedef struct layers_plan {
    const model *of;
    const share *mine;
    const weights *from; /* parameters of the graphs have their names and types */
    int rows;            /* tokens that go through at once */
    int capacity;        /* rows of a cache */
    bool shared;         /* layers are spread over the group that is bound to id 0 */
} layers_plan;

enum { CACHE_NAME_MAX = 16 };
/* The name of layer `number`'s cache, for keys or for values. */
const char *cache_name(char name[CACHE_NAME_MAX], int number, bool values);

/* Inputs:
 * - "position" int32[]: where the first row stands;
 * - of the first stage "tokens" int32[rows], counted from the first row of the vocabulary that this
 *   rank has, and, when shared, "mine" float32[rows, 1]: 1 where the token is among those, else 0
 *   (and the token any that is);
 * - of other stages "x" float32[rows, width];
 * - of the last stage "last" int32[1]: the row that logits are wanted of;
 * - caches float32[kv heads, capacity, head width].
 *
 * Outputs: the caches, and "y" float32[rows, width], of the last stage [1, width].
 *
 * used: one for each weight, set where it is a parameter of the graph. */
bool layers_graph(const layers_plan *plan, hocket_graph **graph, bool *used);

/* Input: "y" float32[1, width]. Output: "logits" float32[1, this rank's rows of the vocabulary]. */
bool logits_graph(const layers_plan *plan, hocket_graph **graph, bool *used);

#endif
