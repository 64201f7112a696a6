#include "chaos.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define DEATH_LIMIT SECOND          /* from a death to every survivor's return */
#define DEADLINE_LIMIT SECOND       /* from the deadline to the return */
#define INIT_LIMIT (SECOND * 5 / 4) /* there others wait a second for rank 0's word */
#define LATER_LIMIT (10 * MS)
#define FREE_LIMIT (950 * MS) /* who waits in vain for a peer waits for a second */
#define TURNS_A_RANK                                                                               \
    2 /* that what a limit is for may take, each as long as the machine lets wait */

typedef struct verdict {
    const plan *plan;
    const board *board;
    char *text;
    size_t size, used;
} verdict;

static const char *const names[FAULTS] = {
    [FAULT_NONE] = "none",
    [FAULT_SLOW] = "slow",
    [FAULT_KILL] = "kill",
    [FAULT_EXIT] = "exit",
    [FAULT_CUT] = "cut",
    [FAULT_FREEZE] = "freeze",
    [FAULT_ABORT] = "abort",
    [FAULT_LEAVE] = "leave",
    [FAULT_KILL_SPLIT] = "kill-split",
    [FAULT_KILL_SHRINK] = "kill-shrink",
    [FAULT_KILL_INIT] = "kill-init",
    [FAULT_FREEZE_INIT] = "freeze-init",
    [FAULT_LATE_MESSAGE] = "late-message",
};

const char *fault_name(fault kind)
{
    return names[kind];
}

__attribute__((format(printf, 3, 4))) static void accuse(verdict *v, int rank, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[CHAOS_TEXT_MAX + 200];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (v->used < v->size)
        v->used +=
            (size_t)snprintf(v->text + v->used, v->size - v->used, "  rank %d: %s\n", rank, text);
}

/* === Who is who ============================================================================== */

static bool dies(const plan *p, int rank)
{
    switch (p->kind) {
    case FAULT_KILL:
    case FAULT_EXIT:
    case FAULT_KILL_SPLIT:
    case FAULT_KILL_INIT:
    case FAULT_FREEZE_INIT: return rank == p->victim;
    case FAULT_KILL_SHRINK: return rank == p->victim || rank == p->second;
    case FAULT_FREEZE: return rank == p->victim && p->thaw == THAW_NEVER;
    default: return false;
    }
}

static bool survives(const plan *p, int rank)
{
    if (p->kind == FAULT_ABORT || p->kind <= FAULT_SLOW)
        return true;
    return rank != p->victim && !(p->kind == FAULT_KILL_SHRINK && rank == p->second);
}

static hocket_status expected(const plan *p)
{
    switch (p->kind) {
    case FAULT_NONE:
    case FAULT_SLOW:
    case FAULT_LATE_MESSAGE: return HOCKET_OK;
    case FAULT_FREEZE:
    case FAULT_FREEZE_INIT: return HOCKET_ERR_TIMEOUT;
    case FAULT_ABORT: return HOCKET_ERR_ABORTED;
    default: return HOCKET_ERR_PEER_LOST;
    }
}

static bool in_init(const report *r)
{
    return strncmp(r->world.text, "rank", 4) != 0 || strstr(r->world.text, " #") == NULL;
}

static bool names_the_victim(const plan *p, const said *s)
{
    return s->count == 1 && s->ranks[0] == p->victim;
}

/* The limits are for hocket; what the machine holds its ranks up is the machine's. It is measured,
 * and next to nothing on one that is idle. */
static int64_t held_up(const verdict *v)
{
    return TURNS_A_RANK * v->plan->size * v->board->stall;
}

/* === Checks ================================================================================== */

/* "a member's split failed; in the parent's numbers: rank 3 is lost" */
static bool tells_of_a_split(const plan *p, const said *s)
{
    char start[64];
    snprintf(start, sizeof start, "split failed; in the parent's numbers: rank %d ", p->victim);
    return strstr(s->text, start) != NULL;
}

/* In a subgroup a hasty member's exit is a death of its own; the world must name the victim. */
static bool is_a_hasty_end(const plan *p, const said *s)
{
    char world[16];
    snprintf(world, sizeof world, " of %d,", p->size);
    return p->hasty && s->status == HOCKET_ERR_PEER_LOST && s->count == 1 &&
           strstr(s->text, world) == NULL;
}

/* The right status, culprit and words. A rank that had not arrived when it died is just late. */
static void check_words(verdict *v, int rank, const said *s)
{
    const plan *p = v->plan;
    hocket_status wanted = expected(p);
    bool late_there = p->kind == FAULT_KILL_INIT && s->status == HOCKET_ERR_TIMEOUT &&
                      in_init(&v->board->reports[rank]);
    if (s->status != wanted && !late_there)
        accuse(v, rank, "says %s instead of %s: %s", hocket_status_name(s->status),
               hocket_status_name(wanted), s->text);
    else if (s->count == 0 && s->status == wanted && tells_of_a_split(p, s))
        return; /* the victim is no member of a subgroup that did not come to be */
    else if (!names_the_victim(p, s))
        accuse(v, rank, "names %d ranks, first %d, instead of %d: %s", s->count, s->ranks[0],
               p->victim, s->text);
    if (p->kind == FAULT_LEAVE && strstr(s->text, "left") == NULL)
        accuse(v, rank, "does not say that rank %d has left: %s", p->victim, s->text);
    if (p->kind != FAULT_LEAVE && strstr(s->text, "has left") != NULL)
        accuse(v, rank, "calls a death a departure: %s", s->text);
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool judge_detection(const plan *p, const board *b, int rank, int64_t *took)
{
    const said *s = &b->reports[rank].world;
    if (!survives(p, rank) || s->status == HOCKET_OK || s->returned == 0)
        return false;
    *took = s->returned - b->fault_at;
    if (s->status == HOCKET_ERR_TIMEOUT) {
        bool init = b->reports[rank].operation < 0;
        double wait = init ? p->init_timeout_s : p->timeout_s;
        *took = s->returned - later_of(init ? 0 : b->fault_at, s->began) - (int64_t)(wait * 1e9);
    }
    return true;
}

static void check_time(verdict *v, int rank)
{
    const plan *p = v->plan;
    const report *r = &v->board->reports[rank];
    int64_t took, limit = DEATH_LIMIT;
    if (!judge_detection(p, v->board, rank, &took))
        return;
    if (r->world.status == HOCKET_ERR_TIMEOUT)
        limit = r->operation < 0 ? INIT_LIMIT : DEADLINE_LIMIT;
    if (took > limit + held_up(v))
        accuse(v, rank, "took %.0f ms too long", (double)(took - limit) / 1e6);
    /* A call that began late learns at once what others have waited for, be it in hocket_init. */
    int64_t since = r->world.began < v->board->fault_at ? r->world.began : v->board->fault_at;
    double shortest = p->kind == FAULT_FREEZE_INIT ? p->init_timeout_s : p->timeout_s;
    if (r->world.status == HOCKET_ERR_TIMEOUT && r->operation >= 0 &&
        (double)(r->world.returned - since) < shortest * 0.7e9)
        accuse(v, rank, "gave up after %.0f ms", (double)(r->world.returned - since) / 1e6);
}

static void check_later(verdict *v, int rank)
{
    const report *r = &v->board->reports[rank];
    const said *s = &r->later;
    if (r->operation < 0)
        return; /* hocket_init failed: there is no group to call */
    if (s->status != r->world.status || s->count != r->world.count ||
        s->ranks[0] != r->world.ranks[0])
        accuse(v, rank, "said %s, and later: %s", r->world.text, s->text);
    if (s->returned - s->began > LATER_LIMIT + held_up(v))
        accuse(v, rank, "a later call took %.1f ms", (double)(s->returned - s->began) / 1e6);
}

/* Those who have a group to shrink: hocket_init may have ended well on a rank or two only. */
static unsigned expected_members(const verdict *v)
{
    unsigned members = 0;
    for (int r = 0; r < v->plan->size; r++)
        if (survives(v->plan, r) && v->board->reports[r].operation >= 0)
            members |= 1u << r;
    return members;
}

static void check_shrink(verdict *v, int rank)
{
    const plan *p = v->plan;
    const report *r = &v->board->reports[rank];
    unsigned wanted = expected_members(v);
    if (r->operation < 0)
        return;
    if (r->shrunk_to == 0)
        accuse(v, rank, "cannot shrink: %s", r->shrink.text);
    else if (r->members != wanted)
        accuse(v, rank, "shrunk to the set %#x, not %#x", r->members, wanted);
    int64_t took = r->shrink.returned - r->shrink.began;
    if ((double)took > p->timeout_s * 1e9 + (double)(SECOND + held_up(v)))
        accuse(v, rank, "shrinking took %.0f ms", (double)took / 1e6);
}

static void check_end(verdict *v, int rank, int ended)
{
    const report *r = &v->board->reports[rank];
    if (dies(v->plan, rank))
        return;
    if (r->phase != PHASE_DONE || !WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
        accuse(v, rank, "ended in phase %d at operation %d with %s %d", r->phase, r->operation,
               WIFSIGNALED(ended) ? "signal" : "status",
               WIFSIGNALED(ended) ? WTERMSIG(ended) : WEXITSTATUS(ended));
    if (r->files_left > 0 || r->threads_left > 0)
        accuse(v, rank, "left %d files and %d threads behind", r->files_left, r->threads_left);
    if (r->free_ns > FREE_LIMIT + held_up(v))
        accuse(v, rank, "hocket_free took %.0f ms", (double)r->free_ns / 1e6);
}

/* What was thawed finds itself outside; what was cut off finds itself alone. */
static void check_victim(verdict *v)
{
    const plan *p = v->plan;
    const report *r = &v->board->reports[p->victim];
    if (p->kind == FAULT_FREEZE && p->thaw != THAW_NEVER &&
        (r->shrink.status != HOCKET_ERR_PEER_LOST ||
         strstr(r->shrink.text, "without this rank") == NULL))
        accuse(v, p->victim, "thawed, and shrink says %s: %s", hocket_status_name(r->shrink.status),
               r->shrink.text);
    if (p->kind == FAULT_CUT && r->world.status != HOCKET_ERR_PEER_LOST)
        accuse(v, p->victim, "cut off, it says %s: %s", hocket_status_name(r->world.status),
               r->world.text);
    if (p->kind == FAULT_CUT && r->members != 1u << p->victim)
        accuse(v, p->victim, "cut off, it shrinks to %#x: %s", r->members, r->shrink.text);
}

static void check_survivor(verdict *v, int rank)
{
    const plan *p = v->plan;
    const report *r = &v->board->reports[rank];
    if (p->kind == FAULT_LATE_MESSAGE)
        check_words(v, rank, &(said){.count = 1, .ranks = {p->victim}});
    if (p->kind == FAULT_LATE_MESSAGE && rank != p->victim &&
        (r->first.status != HOCKET_ERR_TIMEOUT || !names_the_victim(p, &r->first)))
        accuse(v, rank, "asked a frozen rank: %s", r->first.text);
    if (expected(p) == HOCKET_OK) {
        if (r->world.status != HOCKET_OK)
            accuse(v, rank, "failed though nothing is wrong: %s", r->world.text);
        return;
    }
    if (r->world.status == HOCKET_OK) {
        accuse(v, rank, "never noticed");
        return;
    }
    if (!is_a_hasty_end(p, &r->first))
        check_words(v, rank, &r->first);
    check_words(v, rank, &r->world);
    check_time(v, rank);
    if (p->hasty)
        return;
    check_later(v, rank);
    check_shrink(v, rank);
}

void judge(const plan *p, const board *b, const int *ended, char *text, size_t size)
{
    verdict v = {.plan = p, .board = b, .text = text, .size = size};
    text[0] = '\0';
    if (p->kind > FAULT_SLOW && b->fault_at == 0)
        accuse(&v, p->victim, "the fault never came");
    for (int r = 0; r < p->size; r++) {
        check_end(&v, r, ended[r]);
        if (b->reports[r].complaint[0] != '\0')
            accuse(&v, r, "%s", b->reports[r].complaint);
        if (survives(p, r))
            check_survivor(&v, r);
    }
    check_victim(&v);
}
