#include "layers.h"

#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Builders hand a failed node on, so that only the outputs need a look. */
typedef struct builder {
    const layers_plan *plan;
    hocket_graph *graph;
    hocket_node position, factors;
    bool *used;
    int64_t *heads; /* which of this rank's key-value heads each of its heads reads */
} builder;

const char *cache_name(char name[CACHE_NAME_MAX], int number, bool values)
{
    snprintf(name, CACHE_NAME_MAX, "%s%d", values ? "v" : "k", number);
    return name;
}

static hocket_node param(builder *b, const char *name)
{
    hocket_node node = {.number = -1};
    const weight *found = weights_find(b->plan->from, name);
    if (found) {
        const hocket_type *type = hocket_tensor_type(found->tensor);
        hocket_graph_param(b->graph, name, type->dtype, type->rank, type->dims, &node);
        b->used[found - b->plan->from->items] = true;
    }
    return node;
}

/* A weight as it was loaded: plain, or three tensors that make one. */
typedef struct packed {
    hocket_node weight, scales, biases;
    int bits; /* 0: plain */
} packed;

static packed find(builder *b, const char *name)
{
    char other[WEIGHT_NAME_MAX];
    packed found = {.weight = param(b, name)};
    const weight *words = weights_find(b->plan->from, name);
    const weight *scales = weights_find(b->plan->from, weight_beside(other, name, "scales"));
    if (!words || !scales)
        return found;
    found.bits = weight_bits(hocket_tensor_type(words->tensor), hocket_tensor_type(scales->tensor));
    found.scales = param(b, other);
    found.biases = param(b, weight_beside(other, name, "biases"));
    return found;
}

static hocket_node linear_by(builder *b, hocket_node x, const char *name)
{
    packed w = find(b, name);
    hocket_node y;
    if (w.bits > 0)
        hocket_graph_quantized_linear(b->graph, x, w.weight, w.scales, w.biases, WEIGHT_GROUP,
                                      w.bits, &y);
    else
        hocket_graph_linear(b->graph, x, w.weight, &y);
    return y;
}

static hocket_node linear(builder *b, hocket_node x, int layer, const char *part)
{
    char name[WEIGHT_NAME_MAX];
    return linear_by(b, x, weight_name(name, layer, part));
}

static hocket_node norm(builder *b, hocket_node x, int layer, const char *part)
{
    char name[WEIGHT_NAME_MAX];
    hocket_graph_rms_norm(b->graph, x, param(b, weight_name(name, layer, part)),
                          b->plan->of->epsilon, &x);
    return x;
}

/* Every rank has one term of the sum. */
static hocket_node together(builder *b, hocket_node x)
{
    if (b->plan->shared)
        hocket_graph_all_reduce(b->graph, x, &x);
    return x;
}

/* [rows, heads * width] to [heads, rows, width], or back. */
static hocket_node split_heads(builder *b, hocket_node x, int heads)
{
    const int64_t dims[] = {b->plan->rows, heads, b->plan->of->head_width};
    hocket_graph_reshape(b->graph, x, 3, dims, &x);
    hocket_graph_transpose(b->graph, x, (const int64_t[]){1, 0, 2}, &x);
    return x;
}

static hocket_node join_heads(builder *b, hocket_node x)
{
    hocket_graph_transpose(b->graph, x, (const int64_t[]){1, 0, 2}, &x);
    hocket_graph_reshape(b->graph, x, 2, (const int64_t[]){b->plan->rows, -1}, &x);
    return x;
}

/* GGUF's llama has its pairs side by side. */
static hocket_node turn(builder *b, hocket_node x)
{
    const hocket_node inputs[] = {x, b->position, b->factors};
    const hocket_attr attributes[] = {hocket_attr_float("base", b->plan->of->rope_base),
                                      hocket_attr_int("interleaved", 1)};
    hocket_graph_op(b->graph, "rope", inputs, b->factors.number < 0 ? 2 : 3, attributes, 2, &x);
    return x;
}

/* Adds rows to a cache, and gives back the whole of it. */
static hocket_node remember(builder *b, hocket_node rows, int layer, bool values)
{
    const layers_plan *plan = b->plan;
    char name[CACHE_NAME_MAX];
    const int64_t dims[] = {span_length(plan->mine->kv_heads), plan->capacity,
                            plan->of->head_width};
    hocket_node cache;
    hocket_graph_input(b->graph, cache_name(name, layer, values), HOCKET_FLOAT32, 3, dims, &cache);
    hocket_graph_cache_update(b->graph, cache, rows, b->position, &cache);
    hocket_graph_output(b->graph, name, cache);
    return cache;
}

static hocket_node attend(builder *b, hocket_node x, int layer)
{
    const share *mine = b->plan->mine;
    int heads = span_length(mine->heads), kv_heads = span_length(mine->kv_heads);
    hocket_node q = turn(b, split_heads(b, linear(b, x, layer, "attn_q"), heads));
    hocket_node k = turn(b, split_heads(b, linear(b, x, layer, "attn_k"), kv_heads));
    hocket_node v = split_heads(b, linear(b, x, layer, "attn_v"), kv_heads);
    k = remember(b, k, layer, false);
    v = remember(b, v, layer, true);
    const hocket_node inputs[] = {q, k, v, b->position};
    const hocket_attr attributes[] = {hocket_attr_float("scale", b->plan->of->attention_scale),
                                      hocket_attr_ints("heads", b->heads, (size_t)heads)};
    hocket_graph_op(b->graph, "attention", inputs, 4, attributes, 2, &x);
    return linear(b, join_heads(b, x), layer, "attn_output");
}

static hocket_node gated(builder *b, hocket_node x, int layer)
{
    hocket_node gate = linear(b, x, layer, "ffn_gate"), up = linear(b, x, layer, "ffn_up");
    hocket_graph_silu(b->graph, gate, &gate);
    hocket_graph_multiply(b->graph, gate, up, &x);
    return linear(b, x, layer, "ffn_down");
}

static hocket_node through_layer(builder *b, hocket_node x, int layer)
{
    hocket_node y = together(b, attend(b, norm(b, x, layer, "attn_norm"), layer));
    hocket_graph_add(b->graph, x, y, &x);
    y = together(b, gated(b, norm(b, x, layer, "ffn_norm"), layer));
    hocket_graph_add(b->graph, x, y, &x);
    return x;
}

/* Each rank looks up the tokens that are among its rows; the sum has them all. */
static hocket_node embed(builder *b)
{
    const int64_t dims[] = {b->plan->rows, 1};
    hocket_node tokens, x;
    hocket_graph_input(b->graph, "tokens", HOCKET_INT32, 1, dims, &tokens);
    packed table = find(b, "token_embd.weight");
    hocket_graph_take(b->graph, table.weight, tokens, 0, &x);
    if (table.bits > 0) {
        hocket_graph_take(b->graph, table.scales, tokens, 0, &table.scales);
        hocket_graph_take(b->graph, table.biases, tokens, 0, &table.biases);
        hocket_graph_dequantize(b->graph, x, table.scales, table.biases, WEIGHT_GROUP, table.bits,
                                &x);
    }
    if (!b->plan->shared)
        return x;
    hocket_node mine;
    hocket_graph_input(b->graph, "mine", HOCKET_FLOAT32, 2, dims, &mine);
    hocket_graph_multiply(b->graph, x, mine, &x);
    return together(b, x);
}

static bool build_layers(builder *b)
{
    const layers_plan *plan = b->plan;
    hocket_node x;
    hocket_graph_input(b->graph, "position", HOCKET_INT32, 0, NULL, &b->position);
    if (plan->mine->is_first)
        x = embed(b);
    else
        hocket_graph_input(b->graph, "x", HOCKET_FLOAT32, 2,
                           (const int64_t[]){plan->rows, plan->of->width}, &x);
    b->factors = param(b, "rope_freqs.weight");
    for (int i = plan->mine->layers.start; i < plan->mine->layers.stop; i++)
        x = through_layer(b, x, i);
    if (plan->mine->is_last) {
        hocket_node last;
        hocket_graph_input(b->graph, "last", HOCKET_INT32, 1, (const int64_t[]){1}, &last);
        hocket_graph_take(b->graph, x, last, 0, &x);
    }
    TRY(hocket_graph_output(b->graph, "y", x));
    return true;
}

static bool build_logits(builder *b)
{
    const model *of = b->plan->of;
    hocket_node x;
    hocket_graph_input(b->graph, "y", HOCKET_FLOAT32, 2, (const int64_t[]){1, of->width}, &x);
    hocket_graph_rms_norm(b->graph, x, param(b, "output_norm.weight"), of->epsilon, &x);
    x = linear_by(b, x, of->tied ? "token_embd.weight" : "output.weight");
    TRY(hocket_graph_output(b->graph, "logits", x));
    return true;
}

static bool make(const layers_plan *plan, bool (*build)(builder *b), hocket_graph **graph,
                 bool *used)
{
    int heads = span_length(plan->mine->heads), read_by = plan->of->heads / plan->of->kv_heads;
    builder b = {.plan = plan, .used = used, .heads = calloc((size_t)heads, sizeof *b.heads)};
    *graph = NULL;
    memset(used, 0, plan->from->count * sizeof *used);
    if (!b.heads)
        return fault("out of memory for %d heads", heads);
    for (int i = 0; i < heads; i++)
        b.heads[i] = (plan->mine->heads.start + i) / read_by - plan->mine->kv_heads.start;
    bool ok = hocket_graph_create(&b.graph) == HOCKET_OK || fault("%s", hocket_last_error());
    ok = ok && build(&b);
    free(b.heads);
    if (ok)
        *graph = b.graph;
    else
        hocket_graph_free(b.graph);
    return ok;
}

bool layers_graph(const layers_plan *plan, hocket_graph **graph, bool *used)
{
    return make(plan, build_layers, graph, used);
}

bool logits_graph(const layers_plan *plan, hocket_graph **graph, bool *used)
{
    return make(plan, build_logits, graph, used);
}
