/* fault: what an unkind network does, by chance but repeatably. wrap.h has the grammar of its
 * specs. */
#include "transport/wrap.h"

#include "core/random.h"
#include "core/settings.h"
#include "core/status.h"
#include "transport/endpoint.h"
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX UINT64_C(1000000000)
#define NOBODY -1

typedef struct fault {
    uint64_t random;
    uint64_t hold, skip, cut; /* of a million */
    uint64_t delay_us;
    int lose, on;   /* ranks or NOBODY; on NOBODY: on all */
    uint64_t after; /* operations until it is lost */
    uint64_t seen;  /* of them */
} fault;

/* === Specs =================================================================================== */

/* A number from 0 to most; *text moves behind it. */
static bool read_number(const char **text, uint64_t most, uint64_t *number)
{
    const char *at = *text;
    uint64_t sum = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if ((sum = sum * 10 + (uint64_t)(*at - '0')) > most)
            return false;
    bool any = at > *text;
    *text = at;
    *number = sum;
    return any;
}

/* 0 to 1 with up to six decimals, as millionths. */
static bool read_fraction(const char **text, uint64_t *millionths)
{
    if (!read_number(text, 1, millionths))
        return false;
    *millionths *= HK_MILLION;
    if (**text != '.')
        return true;
    uint64_t unit = HK_MILLION;
    for (++*text; **text >= '0' && **text <= '9' && unit > 1; ++*text) {
        unit /= 10;
        *millionths += (uint64_t)(**text - '0') * unit;
    }
    return unit < HK_MILLION && *millionths <= HK_MILLION;
}

static bool read_rank(const char **text, int *rank)
{
    uint64_t number;
    bool read = read_number(text, HK_WORLD_MAX - 1, &number);
    *rank = read ? (int)number : NOBODY;
    return read;
}

/* "name=value"; *end is where the value ends. */
static bool read_word(fault *f, const char *word, size_t length, const char **end)
{
    static const char *const names[] = {"seed", "delay_us", "hold", "skip", "short", "on", "lose"};
    enum { SEED, DELAY, HOLD, SKIP, SHORT, ON, LOSE, NAMES };
    size_t name = strcspn(word, "=");
    int which = 0;
    if (name >= length)
        return false;
    while (which < NAMES && (strlen(names[which]) != name || memcmp(names[which], word, name) != 0))
        which++;
    *end = word + name + 1;
    switch (which) {
    case SEED: return read_number(end, NUMBER_MAX, &f->random);
    case DELAY: return read_number(end, NUMBER_MAX, &f->delay_us);
    case HOLD: return read_fraction(end, &f->hold);
    case SKIP: return read_fraction(end, &f->skip);
    case SHORT: return read_fraction(end, &f->cut);
    case ON: return read_rank(end, &f->on);
    case LOSE:
        return read_rank(end, &f->lose) && *(*end)++ == '@' &&
               read_number(end, NUMBER_MAX, &f->after);
    default: return false;
    }
}

static hocket_status parse(const char *spec, fault *f)
{
    *f = (fault){.random = 1, .delay_us = 1000, .lose = NOBODY, .on = NOBODY};
    for (const char *word = spec;; word++) {
        size_t length = strcspn(word, ",");
        const char *end;
        if (!read_word(f, word, length, &end) || end != word + length)
            return hk_fail(HOCKET_ERR_INVALID,
                           "HOCKET_FAULT is \"%.200s\": \"%.*s\" is none of seed=7, hold=0.1, "
                           "delay_us=500, skip=0.2, short=0.3, lose=2@100, on=0",
                           spec, (int)(length < 64 ? length : 64), word);
        word += length;
        if (*word == '\0')
            return HOCKET_OK;
    }
}

/* What the spec means on one rank, which has random numbers of its own. */
static void settle_on(fault *f, int rank)
{
    if (f->on != NOBODY && f->on != rank)
        *f = (fault){.lose = NOBODY};
    f->random = hk_mix(f->random, (uint64_t)rank);
}

hocket_status hk_fault_check(const char *spec)
{
    fault f;
    return parse(spec, &f);
}

hocket_status hk_fault_stutter(const char *spec, int rank, int peer, hk_stutter *stutter)
{
    fault f;
    hocket_status status = parse(spec, &f);
    if (status != HOCKET_OK)
        return status;
    settle_on(&f, rank);
    *stutter = (hk_stutter){.chance = f.cut, .random = hk_mix(f.random, (uint64_t)peer)};
    return HOCKET_OK;
}

/* === Hooks =================================================================================== */

static void count_down(hk_wrap *wrap, fault *f, int peer)
{
    bool cut_off = wrap->rank == f->lose;
    if (f->lose == NOBODY || (!cut_off && peer != f->lose) || f->seen++ < f->after)
        return;
    for (int i = 0; i < wrap->size; i++)
        if (cut_off || i == f->lose)
            hk_wrap_lose(wrap, i);
}

static hk_time fault_post(hk_wrap *wrap, const hocket_op *op)
{
    fault *f = wrap->state;
    if (op->context == HK_CONTEXT_NEWS)
        return 0;
    count_down(wrap, f, op->peer);
    if (!hk_random_happens(&f->random, f->hold))
        return 0;
    return (hk_time)(hk_random(&f->random) % (f->delay_us + 1)) * HK_MICROSECOND;
}

static bool fault_progress(hk_wrap *wrap)
{
    fault *f = wrap->state;
    return !hk_random_happens(&f->random, f->skip);
}

static void fault_close(hk_wrap *wrap)
{
    free(wrap->state);
}

static const hk_wrapper wrapper = {.name = "fault",
                                   .post = fault_post,
                                   .progress = fault_progress,
                                   .close = fault_close};

static hocket_status check_rank(const char *spec, int rank, int size)
{
    if (rank < size)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_INVALID,
                   "HOCKET_FAULT is \"%.200s\": there is no rank %d in a world of %d", spec, rank,
                   size);
}

hocket_status hk_fault_wrap(const hocket_transport *inner, void *inner_self, const char *spec,
                            const hocket_transport **outer, void **outer_self)
{
    int rank = inner->rank(inner_self), size = inner->world_size(inner_self);
    fault *f = malloc(sizeof *f);
    if (f == NULL)
        return hk_fail_memory(sizeof *f, "faults");
    hocket_status status = parse(spec, f);
    if (status == HOCKET_OK)
        status = check_rank(spec, f->lose, size);
    if (status == HOCKET_OK)
        status = check_rank(spec, f->on, size);
    settle_on(f, rank);
    if (status == HOCKET_OK)
        status = hk_wrap_open(&wrapper, f, inner, inner_self, outer, outer_self);
    if (status != HOCKET_OK)
        free(f);
    return status;
}
