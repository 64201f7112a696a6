/* One rank's part of the model, ready to run: the graphs of a chunk of tokens and of one token, and
 * the caches that pass from run to run. */
#ifndef LLM_STAGE_H
#define LLM_STAGE_H

#include "shares.h"
#include "weights.h"

enum { CHUNK = 32 }; /* tokens of a prompt that go through at once */

typedef struct stage stage;

typedef struct stage_plan {
    const model *of;
    const share *mine;
    const weights *from;
    const char *device;
    int capacity;        /* tokens that there will be, in whole chunks */
    hocket_group *group; /* that layers are spread over, bound to id 0; of one: they are not */
    const size_t *rows;  /* of the vocabulary that each rank of group has */
} stage_plan;

/* The weights' tensors are the stage's too from then on. */
bool stage_open(const stage_plan *plan, stage **made);
void stage_free(stage *of); /* NULL is fine */

/* Takes `rows` tokens (CHUNK or 1) that stand at position through the layers. `used` of them count;
 * the rest is filling that nobody will look at. in: of the first stage the tokens, int32[rows]; of
 * others the activations, float32[rows, width]. out: activations, or NULL on the last stage, which
 * keeps those of the last token that counts for stage_logits. */
bool stage_run(stage *of, int rows, int used, int position, const void *in, float *out);

/* The logits of the whole vocabulary, gathered from the group, until the next call. */
bool stage_logits(stage *of, const float **logits);

/* No chunk comes any more: gives back what was for them alone. */
void stage_end_chunks(stage *of);

#endif
