/* What a run took: measured on each rank, gathered and shown by rank 0. */
#ifndef LLM_FIGURES_H
#define LLM_FIGURES_H

#include "options.h"
#include "shares.h"

#include <stddef.h>

/* How long each of a rank's collectives took, in their order. */
typedef struct durations {
    float *seconds;
    size_t count, capacity;
    bool lost; /* memory was out: some are missing */
} durations;

typedef struct figures {
    double load_s, prefill_s, decode_s; /* decode: from the first new token to the last */
    int prompt, made, steps;            /* tokens; steps of decode_s */
    size_t weight_bytes;
    size_t resident_bytes; /* of the process, when it has loaded; 0: not known here */
    /* While decoding: */
    durations shared; /* collectives in the group that layers are spread over */
    double relay_s;   /* calls of the relay, without this rank's work in them */
    double work_s;    /* that work, with the collectives in it */
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

void durations_add(durations *to, double seconds);
void durations_free(durations *of);

/* Collective: the figures of all ranks, on stderr of rank 0. ids: the new tokens. */
bool figures_print(const figures_scene *scene, const figures *of, const int *ids);

#endif
