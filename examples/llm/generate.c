/* Tokens go in at the first stage, and what comes out of the last is the next token, handed to all
 * by the relay: first the prompt, in chunks that follow each other through the stages, then a token
 * a step. */
#include "generate.h"

#include "fault.h"
#include "sampler.h"

#include <hocket/transport.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_TOKEN = -1 };

/* What goes through the stages in one call of the relay. */
typedef struct pass {
    const generation *from;
    sampler *picker;
    int rows;     /* of a batch */
    int position; /* of the first batch's first row */
    int used;     /* tokens in all batches */
    int batches;
} pass;

/* === The stage's side ========================================================================= */

static bool write_logits(const char *path, const float *logits, size_t count)
{
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(logits, sizeof *logits, count, file) == count;
    if (file && fclose(file) != 0)
        ok = false;
    return ok || fault("the logits cannot be written to %s", path);
}

/* The token that follows, where the text's end has gone through; every part of the last stage picks
 * the same from the same logits. */
static bool pick(pass *now, int32_t *token)
{
    const generation *from = now->from;
    const float *logits;
    size_t count = (size_t)from->of->vocabulary;
    int picked;
    if (!stage_logits(from->stage, &logits))
        return false;
    if (from->chosen->logits && now->position == 0 && hocket_rank(from->tensors) == 0 &&
        !write_logits(from->chosen->logits, logits, count))
        return false;
    if (!sampler_pick(now->picker, logits, count, &picked))
        return false;
    *token = picked;
    return true;
}

static bool run_batch(pass *now, int batch, const hocket_piece *in, hocket_piece *out)
{
    const generation *from = now->from;
    const share *mine = from->mine;
    size_t rows = (size_t)now->rows;
    size_t activations = rows * (size_t)from->of->width * sizeof(float);
    size_t wanted = mine->is_first ? rows * sizeof(int32_t) : activations;
    if (in->length != wanted)
        return fault("%zu bytes came from the stage before, not %zu", in->length, wanted);
    out->length = mine->is_last ? sizeof(int32_t) : activations;
    out->bytes = malloc(out->length);
    if (!out->bytes)
        return fault("out of memory for %zu bytes", out->length);
    int before = batch * now->rows, left = now->used - before;
    if (!stage_run(from->stage, now->rows, left < now->rows ? left : now->rows,
                   now->position + before, in->bytes, mine->is_last ? NULL : out->bytes))
        return false;
    if (!mine->is_last)
        return true;
    int32_t token = NO_TOKEN;
    bool ok = batch < now->batches - 1 || pick(now, &token);
    memcpy(out->bytes, &token, sizeof token);
    return ok;
}

static hocket_status work(void *context, int batch, const hocket_piece *in, hocket_piece *out)
{
    pass *now = context;
    return run_batch(now, batch, in, out)
               ? HOCKET_OK
               : hocket_transport_error(HOCKET_ERR_BACKEND, "%s", fault_text());
}

/* Sends tokens, filled up to whole batches, through all stages. */
static bool run_pass(pass *now, const int32_t *tokens, int32_t *next)
{
    size_t count = (size_t)now->batches;
    hocket_piece *pieces = calloc(2 * count, sizeof *pieces), *results = pieces + count;
    if (!pieces)
        return fault("out of memory for %zu batches", count);
    for (size_t i = 0; i < count; i++)
        pieces[i] = (hocket_piece){(void *)(tokens + i * (size_t)now->rows),
                                   (size_t)now->rows * sizeof *tokens};
    hocket_status status = hocket_relay(now->from->relay, work, now, pieces, now->batches, results);
    bool ok = status == HOCKET_OK || fault("%s", hocket_last_error());
    if (ok && results[count - 1].length != sizeof *next)
        ok = fault("the last stage made %zu bytes, no token", results[count - 1].length);
    if (ok)
        memcpy(next, results[count - 1].bytes, sizeof *next);
    for (size_t i = 0; i < count; i++)
        free(results[i].bytes);
    free(pieces);
    return ok;
}

/* === The text's side ========================================================================== */

static bool is_end(const generation *from, int token)
{
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                        "<|end_of_text|>"};
    bool end = token == tokenizer_end(from->coder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        end = end || token == tokenizer_find(from->coder, names[i]);
    return end;
}

/* Text that has come, of which less than a character waits for its rest. */
typedef struct writer {
    char held[4];
    size_t count;
} writer;

static bool write_text(writer *to, const char *text, size_t length)
{
    char *all = malloc(to->count + length + 1);
    if (!all)
        return fault("out of memory for text");
    memcpy(all, to->held, to->count);
    memcpy(all + to->count, text, length);
    length += to->count;
    size_t whole = whole_characters(all, length);
    bool ok = fwrite(all, 1, whole, stdout) == whole && fflush(stdout) == 0;
    to->count = length - whole;
    memcpy(to->held, all + whole, to->count);
    free(all);
    return ok || fault("the text cannot be written to stdout");
}

static bool write_end(writer *to)
{
    to->held[to->count++] = '\n';
    bool ok = fwrite(to->held, 1, to->count, stdout) == to->count && fflush(stdout) == 0;
    to->count = 0;
    return ok || fault("the text cannot be written to stdout");
}

static bool show(const generation *from, writer *to, int token)
{
    size_t length;
    const char *text = tokenizer_text(from->coder, token, &length);
    return !from->prints || write_text(to, text, length);
}

/* === Both ===================================================================================== */

static bool prefill(const generation *from, sampler *picker, int32_t *next)
{
    int batches = (from->prompt_count + CHUNK - 1) / CHUNK;
    int32_t *tokens = calloc((size_t)batches * CHUNK, sizeof *tokens);
    if (!tokens)
        return fault("out of memory for the prompt");
    for (int i = 0; i < from->prompt_count; i++)
        tokens[i] = from->prompt[i];
    pass now = {.from = from,
                .picker = picker,
                .rows = CHUNK,
                .used = from->prompt_count,
                .batches = batches};
    bool ok = run_pass(&now, tokens, next);
    free(tokens);
    stage_end_chunks(from->stage);
    return ok;
}

static bool decode(const generation *from, sampler *picker, int32_t next, int *tokens,
                   figures *done)
{
    writer to = {.count = 0};
    bool ok = true;
    for (done->made = 0; ok && !is_end(from, next);) {
        tokens[done->made++] = next;
        ok = show(from, &to, next);
        if (!ok || done->made == from->most)
            break;
        pass now = {.from = from,
                    .picker = picker,
                    .rows = 1,
                    .position = from->prompt_count + done->made - 1,
                    .used = 1,
                    .batches = 1};
        ok = run_pass(&now, &next, &next);
        done->steps++;
    }
    /* What is there of a broken-off text is shown as a line, too. */
    return (!from->prints || write_end(&to)) && ok;
}

/* What this rank has spent so far in its groups. */
static bool read_times(const generation *from, double *inside_s, double *waited_s)
{
    hocket_group *groups[] = {from->tensors, from->relay};
    *inside_s = *waited_s = 0;
    for (int i = 0; i < 2; i++) {
        hocket_times times = {.size = sizeof times};
        if (hocket_world_size(groups[i]) == 1)
            continue;
        TRY(hocket_group_times(groups[i], &times));
        *inside_s += times.inside_s;
        *waited_s += times.waited_s;
    }
    return true;
}

bool generate(const generation *from, int *tokens, figures *done)
{
    sampler picker = {.temperature = from->chosen->temperature,
                      .top_p = from->chosen->top_p,
                      .state = from->chosen->seed};
    int32_t next;
    double inside_s, waited_s, start = now_s();
    bool ok = prefill(from, &picker, &next);
    done->prefill_s = now_s() - start;
    ok = ok && read_times(from, &inside_s, &waited_s);
    start = now_s();
    ok = ok && decode(from, &picker, next, tokens, done);
    done->decode_s = now_s() - start;
    sampler_free(&picker);
    if (!ok || !read_times(from, &done->communicating_s, &done->waiting_s))
        return false;
    done->communicating_s -= inside_s;
    done->waiting_s -= waited_s;
    return true;
}
