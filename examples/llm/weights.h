/* A rank's part of the weights, on its device. */
#ifndef LLM_WEIGHTS_H
#define LLM_WEIGHTS_H

#include "gguf_model.h"
#include "options.h"
#include "shares.h"

/* By their names in the file; of a quantized one three, as hocket_gguf_name lists them. */
typedef struct weight {
    char name[WEIGHT_NAME_MAX];
    hocket_tensor *tensor;
} weight;

typedef struct weights {
    weight *items;
    size_t count, capacity;
    size_t bytes; /* of all */
} weights;

/* Takes what the share needs out of the file and no more; nothing larger stays in memory. Fails
 * with the name of what is missing or has another shape than the model. */
bool weights_load(const hocket_gguf *file, const model *of, const share *mine,
                  const options *chosen, weights *made);
/* NULL when there is none. */
const weight *weights_find(const weights *from, const char *name);
void weights_free(weights *made);

/* The name of a quantized weight's "scales" or "biases"; name is of WEIGHT_NAME_MAX. */
const char *weight_beside(char *name, const char *weight, const char *what);
/* Bits of an element, by the types of the words and the scales; 0: these are none. */
int weight_bits(const hocket_type *words, const hocket_type *scales);

#endif
