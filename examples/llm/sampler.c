#include "sampler.h"

#include "fault.h"

#include <math.h>
#include <stdlib.h>

typedef struct candidate {
    double weight;
    int token;
} candidate;

/* SplitMix64 (Steele, Lea and Flood, 2014): a counter whose bits are mixed. Any seed is good. */
static double next_uniform(uint64_t *state)
{
    uint64_t bits = *state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    return (double)(bits >> 11) * 0x1p-53; /* 0 <= it < 1 */
}

static int first_highest(const float *logits, size_t count)
{
    int best = -1;
    for (size_t i = 0; i < count; i++)
        if (!isnan(logits[i]) && (best < 0 || logits[i] > logits[best]))
            best = (int)i;
    return best;
}

/* The heaviest first, of equals the first. */
static int compare(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->weight != b->weight)
        return a->weight < b->weight ? 1 : -1;
    return (a->token > b->token) - (a->token < b->token);
}

/* Fills room with who may be picked, the heaviest first, and returns how many they are. */
static size_t choose(sampler *from, const float *logits, size_t count, float highest)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(logits[i]))
            sum += exp((logits[i] - highest) / from->temperature);
    /* All that are lighter than this weigh less than 1 - top_p together: they are not needed. */
    double least = (1 - from->top_p) / (double)count * sum;
    size_t chosen = 0;
    for (size_t i = 0; i < count; i++) {
        double weight = isnan(logits[i]) ? 0 : exp((logits[i] - highest) / from->temperature);
        if (weight > 0 && weight >= least)
            from->room[chosen++] = (candidate){weight, (int)i};
    }
    qsort(from->room, chosen, sizeof *from->room, compare);
    double reached = 0;
    size_t kept = 0;
    while (kept < chosen && reached < from->top_p * sum)
        reached += from->room[kept++].weight;
    return kept;
}

bool sampler_pick(sampler *from, const float *logits, size_t count, int *token)
{
    *token = first_highest(logits, count);
    if (*token < 0 || isinf(logits[*token]))
        return fault("the logits are no numbers: the weights or the arithmetic are damaged");
    if (from->temperature <= 0)
        return true;
    if (count > from->capacity) {
        candidate *room = realloc(from->room, count * sizeof *room);
        if (!room)
            return fault("out of memory for %zu candidates", count);
        from->room = room;
        from->capacity = count;
    }
    size_t kept = choose(from, logits, count, logits[*token]);
    double sum = 0;
    for (size_t i = 0; i < kept; i++)
        sum += from->room[i].weight;
    double mark = next_uniform(&from->state) * sum;
    for (size_t i = 0; i < kept; i++) {
        mark -= from->room[i].weight;
        *token = from->room[i].token;
        if (mark < 0)
            break;
    }
    return true;
}

void sampler_free(sampler *from)
{
    free(from->room);
    from->room = NULL;
    from->capacity = 0;
}
