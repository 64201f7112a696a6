/* Which token comes next. */
#ifndef LLM_SAMPLER_H
#define LLM_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sampler {
    double temperature; /* 0: always the likeliest, the first of equals */
    double top_p;       /* only of the likeliest that together have this much, 0 < top_p <= 1 */
    uint64_t state;     /* begins as the seed */
    struct candidate *room;
    size_t capacity;
} sampler;

/* *token is its index in logits. The same logits, settings and seed give the same tokens on every
 * rank of one kind of machine. Fails when no logit is a number, or memory is out. */
bool sampler_pick(sampler *from, const float *logits, size_t count, int *token);
void sampler_free(sampler *from);

#endif
