/* What a run took: measured on each rank, gathered and shown by rank 0. */
#ifndef LLM_FIGURES_H
#define LLM_FIGURES_H

#include "options.h"
#include "shares.h"

#include <stddef.h>

typedef struct figures {
    double load_s, prefill_s, decode_s; /* decode: from the first new token to the last */
    int prompt, made, steps;            /* tokens; steps of decode_s */
    size_t weight_bytes;
    size_t resident_bytes; /* of the process, when it has loaded; 0: not known here */
    /* While decoding, in the group that layers are spread over and between stages: */
    double communicating_s;
    double waiting_s; /* of that; NAN where an engine of MLX's own does not say */
} figures;

/* Who the figures are of. */
typedef struct figures_scene {
    hocket_group *world, *tensors, *relay;
    const grid *ranks;
    const share *mine;
    const options *chosen;
} figures_scene;

double now_s(void);
/* Physical memory that this process has now; 0 where the system does not say. */
size_t resident_bytes(void);

/* Collective: the figures of all ranks, on stderr of rank 0. ids: the new tokens. */
bool figures_print(const figures_scene *scene, const figures *of, const int *ids);

#endif
