#include "stage.h"

#include "fault.h"
#include "layers.h"

#include <stdlib.h>

struct stage {
    stage_plan plan;
    bool shared;
    hocket_executable *chunk, *token, *logits;
    hocket_tensor **caches; /* keys and values of each layer in turn */
    int cache_count;
    float *part, *whole; /* logits: this rank's, the group's */
    int32_t *tokens;     /* as the graph wants them */
    float *mine;
};

/* === Making one =============================================================================== */

static bool bind_weights(hocket_executable *executable, const weights *from, const bool *used)
{
    for (size_t i = 0; i < from->count; i++)
        if (used[i])
            TRY(hocket_executable_bind(executable, from->items[i].name, from->items[i].tensor));
    return true;
}

typedef bool graph_fn(const layers_plan *plan, hocket_graph **graph, bool *used);

static bool compile(const stage *of, graph_fn *make, int rows, hocket_executable **made)
{
    const stage_plan *plan = &of->plan;
    const layers_plan layers = {.of = plan->of,
                                .mine = plan->mine,
                                .from = plan->from,
                                .rows = rows,
                                .capacity = plan->capacity,
                                .shared = of->shared};
    hocket_graph *graph = NULL;
    bool *used = calloc(plan->from->count, sizeof *used);
    bool ok = used || fault("out of memory for a graph");
    ok = ok && make(&layers, &graph, used);
    ok =
        ok && (hocket_executable_compile(graph, plan->device, HOCKET_COMPILED, made) == HOCKET_OK ||
               fault("%s", hocket_last_error()));
    ok = ok && bind_weights(*made, plan->from, used);
    hocket_graph_free(graph);
    free(used);
    return ok;
}

static bool make_executables(stage *of)
{
    return compile(of, layers_graph, CHUNK, &of->chunk) &&
           compile(of, layers_graph, 1, &of->token) &&
           (!of->plan.mine->is_last || compile(of, logits_graph, 1, &of->logits));
}

static bool make_caches(stage *of)
{
    const stage_plan *plan = &of->plan;
    const int64_t dims[] = {span_length(plan->mine->kv_heads), plan->capacity,
                            plan->of->head_width};
    size_t count = (size_t)(dims[0] * dims[1] * dims[2]);
    float *zeros = calloc(count, sizeof *zeros);
    of->caches = calloc(2 * (size_t)span_length(plan->mine->layers), sizeof *of->caches);
    bool ok = (zeros && of->caches) || fault("out of memory for the caches");
    for (int i = 0; ok && i < 2 * span_length(plan->mine->layers); i++) {
        ok = hocket_tensor_create(plan->device, HOCKET_FLOAT32, 3, dims, zeros, &of->caches[i]) ==
                 HOCKET_OK ||
             fault("%s", hocket_last_error());
        of->cache_count += ok;
    }
    free(zeros);
    return ok;
}

static bool make_rooms(stage *of)
{
    size_t rows = (size_t)span_length(of->plan.mine->rows);
    of->part = calloc(rows, sizeof *of->part);
    of->whole = calloc((size_t)of->plan.of->vocabulary, sizeof *of->whole);
    of->tokens = calloc(CHUNK, sizeof *of->tokens);
    of->mine = calloc(CHUNK, sizeof *of->mine);
    return (of->part && of->whole && of->tokens && of->mine) || fault("out of memory for logits");
}

bool stage_open(const stage_plan *plan, stage **made)
{
    *made = calloc(1, sizeof **made);
    if (!*made)
        return fault("out of memory for a stage");
    (*made)->plan = *plan;
    (*made)->shared = hocket_world_size(plan->group) > 1;
    if (make_executables(*made) && make_caches(*made) && make_rooms(*made))
        return true;
    stage_free(*made);
    *made = NULL;
    return false;
}

void stage_free(stage *of)
{
    if (!of)
        return;
    hocket_executable_free(of->chunk);
    hocket_executable_free(of->token);
    hocket_executable_free(of->logits);
    for (int i = 0; i < of->cache_count; i++)
        hocket_tensor_free(of->caches[i]);
    free(of->caches);
    free(of->part);
    free(of->whole);
    free(of->tokens);
    free(of->mine);
    free(of);
}

void stage_end_chunks(stage *of)
{
    hocket_executable_free(of->chunk);
    of->chunk = NULL;
}

/* === Running it =============================================================================== */

/* The executable alone holds a cache while it runs, and can so write into it. */
static bool give_caches(stage *of, hocket_executable *to)
{
    for (int i = 0; i < of->cache_count; i++) {
        char name[CACHE_NAME_MAX];
        int layer = of->plan.mine->layers.start + i / 2;
        TRY(hocket_executable_bind(to, cache_name(name, layer, i % 2), of->caches[i]));
        hocket_tensor_free(of->caches[i]);
        of->caches[i] = NULL;
    }
    return true;
}

static bool take_caches(stage *of, hocket_executable *from)
{
    for (int i = 0; i < of->cache_count; i++) {
        char name[CACHE_NAME_MAX];
        int layer = of->plan.mine->layers.start + i / 2;
        TRY(hocket_executable_output(from, cache_name(name, layer, i % 2), &of->caches[i]));
    }
    return true;
}

static bool give_tokens(stage *of, hocket_executable *to, int rows, const int32_t *tokens)
{
    span own = of->plan.mine->rows;
    size_t count = (size_t)rows;
    for (int i = 0; i < rows; i++) {
        bool is_own = tokens[i] >= own.start && tokens[i] < own.stop;
        of->tokens[i] = is_own ? tokens[i] - own.start : 0;
        of->mine[i] = is_own;
    }
    TRY(hocket_executable_set(to, "tokens", of->tokens, count * sizeof *of->tokens));
    if (of->shared)
        TRY(hocket_executable_set(to, "mine", of->mine, count * sizeof *of->mine));
    return true;
}

bool stage_run(stage *of, int rows, int used, int position, const void *in, float *out)
{
    hocket_executable *run = rows == 1 ? of->token : of->chunk;
    const share *mine = of->plan.mine;
    size_t bytes = (size_t)rows * (size_t)of->plan.of->width * sizeof(float);
    int32_t at = position, last = used - 1;
    TRY(hocket_executable_set(run, "position", &at, sizeof at));
    if (mine->is_first && !give_tokens(of, run, rows, in))
        return false;
    if (!mine->is_first)
        TRY(hocket_executable_set(run, "x", in, bytes));
    if (mine->is_last)
        TRY(hocket_executable_set(run, "last", &last, sizeof last));
    if (!give_caches(of, run))
        return false;
    TRY(hocket_executable_run(run));
    if (!take_caches(of, run))
        return false;
    if (!mine->is_last) {
        TRY(hocket_executable_read(run, "y", out, bytes));
        return true;
    }
    hocket_tensor *row;
    TRY(hocket_executable_output(run, "y", &row));
    hocket_status status = hocket_executable_bind(of->logits, "y", row);
    hocket_tensor_free(row);
    TRY(status);
    /* Of a token the logits will be read, which needs all the rest. */
    if (rows > 1)
        TRY(hocket_executable_finish(run));
    return true;
}

bool stage_logits(stage *of, const float **logits)
{
    const stage_plan *plan = &of->plan;
    size_t rows = (size_t)span_length(plan->mine->rows);
    TRY(hocket_executable_run(of->logits));
    TRY(hocket_executable_read(of->logits, "logits", of->part, rows * sizeof *of->part));
    *logits = of->part;
    if (!of->shared)
        return true;
    TRY(hocket_all_gather_v(plan->group, of->part, of->whole, plan->rows, HOCKET_FLOAT32));
    *logits = of->whole;
    return true;
}
