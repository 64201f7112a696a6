/* A language model of the llama architecture, spread over ranks:
 *
 *     hocket run -n 2 -- llm --model smollm2.gguf --prompt "What is a hocket?"
 *
 * The text goes to stdout of rank 0, everything else to stderr. docs/llm.md has the plan of it. */
#include "chat.h"
#include "fault.h"
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rank's groups. Each is the world, one split off it, or one of this rank alone. */
typedef struct groups {
    hocket_group *world, *alone;
    hocket_group *tensors, *relay;
} groups;

static bool open_groups(const grid *ranks, groups *made)
{
    hocket_config alone = {.size = sizeof alone, .backend = "local", .world_size = 1};
    TRY(hocket_init(&alone, &made->alone));
    made->tensors = ranks->parts == 1 ? made->alone : made->world;
    made->relay = ranks->stages == 1 ? made->alone : made->world;
    if (ranks->parts > 1 && ranks->stages > 1) {
        made->tensors = made->relay = NULL;
        TRY(hocket_split(made->world, ranks->stage, ranks->part, &made->tensors));
        TRY(hocket_split(made->world, ranks->part, ranks->stage, &made->relay));
    }
    TRY(hocket_graph_bind_group(0, made->tensors));
    return true;
}

/* With a reason for the others, when this rank could not go on. */
static void close_groups(groups *of, const char *reason)
{
    hocket_group *all[] = {of->tensors, of->relay, of->world, of->alone};
    for (size_t i = 0; reason && i < sizeof all / sizeof *all; i++)
        if (all[i])
            hocket_abort(all[i], reason);
    hocket_graph_unbind_group(0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (size_t j = i + 1; j < sizeof all / sizeof *all; j++)
            if (all[j] == all[i])
                all[i] = NULL; /* freed once */
        hocket_free(all[i]);
    }
}

/* What is read from the file, which is closed then. */
typedef struct loaded {
    model of;
    tokenizer *coder;
    int *prompt;
    size_t prompt_count;
    weights mine;
} loaded;

static bool read_prompt(const hocket_gguf *file, const options *chosen, bool speaks, loaded *made)
{
    static const char key[] = "tokenizer.chat_template";
    const char *template = NULL;
    char *text = NULL;
    bool known = false, framed = !chosen->raw;
    if (framed && hocket_gguf_value_count(file, key) == 1)
        TRY(hocket_gguf_text(file, key, 0, &template, NULL));
    bool ok = chat_format(template, chosen->prompt, &text, &known);
    if (ok && framed && !known && speaks)
        fprintf(stderr, "llm: the model's template for conversations is not ChatML; the prompt is "
                        "taken as it is\n");
    size_t lacking = ok ? tokenizer_lacking(made->coder, text) : 0;
    if (lacking > 0 && speaks)
        fprintf(stderr, "llm: the model has no token for %zu byte%s of the prompt: left out\n",
                lacking, lacking == 1 ? "" : "s");
    int *tokens = NULL, begin = tokenizer_begin(made->coder);
    size_t count = 0, extra = begin >= 0;
    ok = ok && tokenizer_encode(made->coder, text, &tokens, &count);
    made->prompt = ok ? calloc(count + 1, sizeof *made->prompt) : NULL;
    if (ok && !made->prompt)
        ok = fault("out of memory for %zu tokens", count);
    if (ok && count > 0)
        memcpy(made->prompt + extra, tokens, count * sizeof *tokens);
    if (ok && extra)
        made->prompt[0] = begin;
    made->prompt_count = count + extra;
    free(tokens);
    free(text);
    if (ok && made->prompt_count == 0)
        return fault("the prompt is empty");
    if (ok && made->prompt_count >= (size_t)made->of.context)
        return fault("the prompt has %zu tokens, the model can see %d", made->prompt_count,
                     made->of.context);
    return ok;
}

static bool load(const options *chosen, const grid *ranks, bool speaks, share *mine, loaded *made)
{
    hocket_gguf *file;
    TRY(hocket_gguf_open(chosen->model, &file));
    bool ok = model_read(file, &made->of) && shares_cut(&made->of, chosen, ranks, mine) &&
              tokenizer_open(file, &made->coder) && read_prompt(file, chosen, speaks, made) &&
              weights_load(file, &made->of, mine, chosen, &made->mine);
    if (ok && tokenizer_count(made->coder) > (size_t)made->of.vocabulary)
        ok = fault("the model has %zu tokens and embeddings for %d", tokenizer_count(made->coder),
                   made->of.vocabulary);
    hocket_gguf_close(file);
    return ok;
}

static void unload(loaded *made)
{
    tokenizer_free(made->coder);
    free(made->prompt);
    weights_free(&made->mine);
}

/* How many rows of the vocabulary each part of this stage has. */
static bool part_rows(const loaded *from, const options *chosen, const grid *ranks,
                      size_t rows[RANKS_MAX])
{
    for (int part = 0; part < ranks->parts; part++) {
        grid there = *ranks;
        share others;
        there.part = part;
        if (!shares_cut(&from->of, chosen, &there, &others))
            return false;
        rows[part] = (size_t)span_length(others.rows);
    }
    return true;
}

static bool speak(const options *chosen, const grid *ranks, const share *mine, const loaded *from,
                  const groups *with, figures *times)
{
    size_t rows[RANKS_MAX];
    int most = from->of.context - (int)from->prompt_count;
    most = chosen->tokens < most ? chosen->tokens : most;
    if (most < chosen->tokens && hocket_rank(with->world) == 0)
        fprintf(stderr, "llm: the model can see %d tokens: at most %d new ones\n", from->of.context,
                most);
    int capacity = ((int)from->prompt_count + most + CHUNK - 1) / CHUNK * CHUNK;
    stage_plan plan = {&from->of, mine, &from->mine, chosen->device, capacity, with->tensors, rows};
    generation how = {.chosen = chosen,
                      .of = &from->of,
                      .mine = mine,
                      .coder = from->coder,
                      .relay = with->relay,
                      .tensors = with->tensors,
                      .prompt = from->prompt,
                      .prompt_count = (int)from->prompt_count,
                      .most = most,
                      .prints = hocket_rank(with->world) == 0};
    const figures_scene scene = {with->world, with->tensors, with->relay, ranks, mine, chosen};
    int *tokens = calloc((size_t)most, sizeof *tokens);
    double start = now_s();
    bool ok = tokens || fault("out of memory for %d tokens", most);
    ok = ok && part_rows(from, chosen, ranks, rows) && stage_open(&plan, &how.stage);
    times->load_s += now_s() - start;
    times->resident_bytes = resident_bytes();
    times->weight_bytes = from->mine.bytes;
    times->prompt = how.prompt_count;
    ok = ok && (hocket_barrier(with->world) == HOCKET_OK || fault("%s", hocket_last_error()));
    ok = ok && generate(&how, tokens, times) && figures_print(&scene, times, tokens);
    stage_free(how.stage);
    free(tokens);
    return ok;
}

/* Collective. The first rank that ends lets the launcher end the others soon after: so nobody goes
 * on before all have said what is wrong with their own parts. */
static bool all_have_loaded(hocket_group *world, bool ok)
{
    float failed = !ok, all[RANKS_MAX];
    if (!ok)
        fault_tell(hocket_rank(world));
    hocket_status status = hocket_all_gather(world, &failed, all, 1, HOCKET_FLOAT32);
    if (!ok)
        return false;
    TRY(status);
    for (int rank = 0; rank < hocket_world_size(world); rank++)
        if (all[rank] != 0)
            return fault("rank %d cannot load its part of the model", rank);
    return true;
}

static bool run(const options *chosen, groups *with)
{
    int rank = hocket_rank(with->world);
    grid ranks;
    share mine;
    loaded from = {0};
    figures times = {0};
    if (!shares_grid(chosen, hocket_world_size(with->world), rank, &ranks) ||
        !open_groups(&ranks, with))
        return false;
    double start = now_s();
    bool ok = load(chosen, &ranks, rank == 0, &mine, &from);
    times.load_s = now_s() - start;
    ok = all_have_loaded(with->world, ok) && speak(chosen, &ranks, &mine, &from, with, &times);
    unload(&from);
    return ok;
}

int main(int argc, char **argv)
{
    options chosen;
    bool help;
    if (!options_parse(argc, argv, &chosen, &help)) {
        fprintf(stderr, "llm: %s\n%s", fault_text(), options_usage());
        return 2;
    }
    if (help) {
        fputs(options_usage(), stdout);
        return 0;
    }
    groups with = {0};
    if (hocket_init(NULL, &with.world) != HOCKET_OK) {
        fprintf(stderr, "llm: %s\n", hocket_last_error());
        return 1;
    }
    bool ok = run(&chosen, &with);
    if (!ok)
        fault_tell(hocket_rank(with.world));
    close_groups(&with, ok ? NULL : fault_text());
    return ok ? 0 : 1;
}
