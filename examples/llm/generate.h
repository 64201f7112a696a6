/* From a prompt to the text that goes on from it. */
#ifndef LLM_GENERATE_H
#define LLM_GENERATE_H

#include "figures.h"
#include "stage.h"
#include "tokenizer.h"

typedef struct generation {
    const options *chosen;
    const model *of;
    const share *mine;
    stage *stage;
    const tokenizer *coder;
    hocket_group *relay;   /* all stages' ranks of this part */
    hocket_group *tensors; /* all parts of this stage */
    const int *prompt;
    int prompt_count;
    int most;    /* new tokens */
    bool prints; /* the text goes to stdout from this rank */
} generation;

/* Generates until the end of the text, or `most` tokens. The new tokens, without one that ended the
 * text, go to tokens (room for most); how many they are, and the times, to done. */
bool generate(const generation *from, int *tokens, figures *done);

#endif
