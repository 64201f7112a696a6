#include "gguf_model.h"

#include "fault.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS_MAX = 1000, SIZE_MAX_ANY = 1 << 24 };

const char *weight_name(char *name, int layer, const char *part)
{
    snprintf(name, WEIGHT_NAME_MAX, "blk.%d.%s.weight", layer, part);
    return name;
}

static bool has(const hocket_gguf *file, const char *name)
{
    hocket_type type;
    return hocket_gguf_type(file, name, HOCKET_GGUF_STORED, &type) == HOCKET_OK;
}

/* A number that the file may leave out, then *value stays as it is. */
static bool optional(const hocket_gguf *file, const char *key, double *value)
{
    if (hocket_gguf_value_count(file, key) == 0)
        return true;
    TRY(hocket_gguf_number(file, key, 0, value));
    return true;
}

static bool size(const hocket_gguf *file, const char *key, int most, int *value)
{
    double number = NAN;
    if (hocket_gguf_value_count(file, key) != 1)
        return fault("the model does not say %s", key);
    if (!optional(file, key, &number))
        return false;
    if (!(number >= 1 && number <= most) || number != floor(number))
        return fault("the model says that %s is %g; from 1 to %d can be", key, number, most);
    *value = (int)number;
    return true;
}

static bool check_architecture(const hocket_gguf *file)
{
    const char *name = "none";
    if (hocket_gguf_value_count(file, "general.architecture") == 1)
        TRY(hocket_gguf_text(file, "general.architecture", 0, &name, NULL));
    if (strcmp(name, "llama") != 0)
        return fault("the model is of the architecture '%s'; only llama is known here", name);
    double experts = 0;
    if (!optional(file, "llama.expert_count", &experts))
        return false;
    if (experts > 0)
        return fault("the model has %g experts in a layer, which is not known here", experts);
    return true;
}

static bool check_heads(const hocket_gguf *file, model *made)
{
    if (made->heads % made->kv_heads != 0)
        return fault("the model has %d heads, which %d key-value heads do not divide", made->heads,
                     made->kv_heads);
    double head_width = made->width / (double)made->heads;
    if (!optional(file, "llama.attention.key_length", &head_width))
        return false;
    double value_width = head_width, turned = head_width;
    if (!optional(file, "llama.attention.value_length", &value_width) ||
        !optional(file, "llama.rope.dimension_count", &turned))
        return false;
    if (!(head_width >= 2 && head_width <= made->width) || fmod(head_width, 2) != 0 ||
        value_width != head_width || turned != head_width)
        return fault("the model's heads have keys of %g, values of %g and turn %g of them; all the "
                     "same and even is what is known here",
                     head_width, value_width, turned);
    if (head_width * made->heads > SIZE_MAX_ANY)
        return fault("the model has %d heads of %g, which together are more than %d wide",
                     made->heads, head_width, SIZE_MAX_ANY);
    made->head_width = (int)head_width;
    made->attention_scale = 1 / sqrt(head_width);
    return true;
}

bool model_read(const hocket_gguf *file, model *made)
{
    *made = (model){.rope_base = 10000, .epsilon = 1e-5};
    if (!check_architecture(file) || !size(file, "llama.block_count", LAYERS_MAX, &made->layers) ||
        !size(file, "llama.context_length", SIZE_MAX_ANY, &made->context) ||
        !size(file, "llama.embedding_length", SIZE_MAX_ANY, &made->width) ||
        !size(file, "llama.feed_forward_length", SIZE_MAX_ANY, &made->inside) ||
        !size(file, "llama.attention.head_count", SIZE_MAX_ANY, &made->heads))
        return false;
    made->kv_heads = made->heads;
    if (hocket_gguf_value_count(file, "llama.attention.head_count_kv") > 0 &&
        !size(file, "llama.attention.head_count_kv", made->heads, &made->kv_heads))
        return false;
    if (!optional(file, "llama.rope.freq_base", &made->rope_base) ||
        !optional(file, "llama.attention.layer_norm_rms_epsilon", &made->epsilon) ||
        !check_heads(file, made))
        return false;
    hocket_type type;
    TRY(hocket_gguf_type(file, "token_embd.weight", HOCKET_GGUF_FLOAT32, &type));
    if (type.rank != 2 || type.dims[1] != made->width || type.dims[0] > SIZE_MAX_ANY)
        return fault("the model is %d wide, its table of embeddings is not", made->width);
    made->vocabulary = (int)type.dims[0];
    made->tied = !has(file, "output.weight");
    return true;
}
