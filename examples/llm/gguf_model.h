/* What a GGUF file says of its model: a decoder of the llama architecture. */
#ifndef LLM_GGUF_MODEL_H
#define LLM_GGUF_MODEL_H

#include <hocket/mlx.h>

enum { WEIGHT_NAME_MAX = 64 };

/* How the reader keeps quantized weights: as words of packed elements, and a scale and a bias for
 * each group of them. */
enum { WEIGHT_GROUP = 32, WEIGHT_WORD_BITS = 32 };

typedef struct model {
    int layers, width, inside; /* inside: columns of the gated MLP */
    int heads, kv_heads, head_width;
    int vocabulary, context;
    double rope_base, epsilon, attention_scale;
    bool tied; /* the output is the embedding's table */
} model;

/* Reads and checks llama.*, and that the table of embeddings fits it. Fails with what is missing,
 * damaged or not known here. */
bool model_read(const hocket_gguf *file, model *made);

/* Names of weights; name is of WEIGHT_NAME_MAX. part: "attn_q", ... */
const char *weight_name(char *name, int layer, const char *part);

#endif
