#include "chaos.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ThreadSanitizer starts a thread of its own with the first thread of the program. */
#ifdef __SANITIZE_THREAD__
#define TOOL_THREADS (count_entries("/proc/self/task") > l->threads)
#else
#define TOOL_THREADS 0
#endif

#define OPERATIONS_MAX 4000 /* in a round whose fault does not come */
#define OPERATIONS_QUIET 150
#define OPERATIONS_AFTER 8 /* of a shrunk group, before and after the parent's word */
#define SHRINKS_MAX 3
#define LATER_CALLS 3
#define SETTLE_US 2000
#define THREAD_TRIES 1000 /* of a millisecond: one that was joined may still be listed */

typedef struct life {
    const plan *plan;
    board *board;
    report *report;
    int id;
    team world, survivors;
    unsigned kinds;
    int files, threads;
} life;

static int count_entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        closedir(dir);
    return count;
}

static bool is_victim(const life *l)
{
    return l->id == l->plan->victim;
}

static void reach(life *l, phase phase)
{
    atomic_store(&l->report->phase, phase);
}

/* === Joining ================================================================================= */

static bool breaks_in_init(const plan *p)
{
    return p->kind == FAULT_KILL_INIT || p->kind == FAULT_FREEZE_INIT;
}

/* The backend "hosts" is any, where chance puts the ranks on up to three hosts. */
static const char *choose_backend(const plan *p, int id)
{
    if (chaos_verbs(p->backend) != NULL)
        return "jaccl";
    if (strcmp(p->backend, "hosts") != 0)
        return p->backend;
    uint64_t random = p->seed + (uint64_t)id;
    const char name[] = {(char)('a' + chaos_random(&random) % 3), '\0'};
    setenv("HOCKET_HOST", name, 1);
    return "any";
}

static bool join(life *l)
{
    const plan *p = l->plan;
    char where[64];
    snprintf(where, sizeof where, "127.0.0.1:%d", p->port);
    hocket_config config = {.size = sizeof config,
                            .backend = choose_backend(p, l->id),
                            .rank = l->id,
                            .world_size = p->size,
                            .coordinator = where,
                            .timeout_s = CHAOS_TIMEOUT_S,
                            .init_timeout_s = p->init_timeout_s,
                            .secret = "the secret of a job of chaos"};
    l->world = (team){.rank = l->id, .size = p->size};
    for (int i = 0; i < p->size; i++)
        l->world.ids[i] = i;
    reach(l, PHASE_INIT);
    if (breaks_in_init(p) && is_victim(l))
        sabotage(p, l->board, l->id, NULL, p->delay_us);
    int64_t began = chaos_now();
    hocket_status status = hocket_init(&config, &l->world.group);
    if (status == HOCKET_OK)
        return true;
    work_note(&l->world, status, began, &l->report->first);
    l->report->world = l->report->first;
    return false;
}

/* === Working ================================================================================= */

static uint64_t seed_of(const life *l, int operation)
{
    uint64_t state = l->plan->seed ^ ((uint64_t)operation << 20);
    return chaos_random(&state);
}

static bool breaks_here(const life *l, int operation)
{
    return is_victim(l) && operation == l->plan->operation && l->plan->kind > FAULT_SLOW &&
           !breaks_in_init(l->plan);
}

static void leave_early(life *l)
{
    atomic_store(&l->board->fault_at, chaos_now());
    hocket_free(l->world.group);
    if (l->plan->delay_us % 2 == 0)
        chaos_sleep_us(300000); /* gone from the group, alive */
    reach(l, PHASE_DONE);
    _exit(0);
}

/* The victim stops; the others ask again until its message is there. */
static void late_message(life *l)
{
    const plan *p = l->plan;
    bool right = true;
    if (is_victim(l)) {
        sabotage(p, l->board, l->id, l->world.group, 0);
        while (atomic_load(&l->board->fault_at) == 0)
            chaos_sleep_us(100);
        chaos_sleep_us(SETTLE_US);
        if (work_send_all(&l->world, p->seed) != HOCKET_OK)
            snprintf(l->report->complaint, CHAOS_TEXT_MAX, "late messages: %s",
                     hocket_last_error());
        return;
    }
    while (atomic_load(&l->board->fault_at) == 0)
        chaos_sleep_us(100);
    said *failure = &l->report->first;
    hocket_set_timeout(l->world.group, p->timeout_s);
    work_receive(&l->world, p->victim, p->seed, failure, &right);
    reach(l, PHASE_FAILED);
    for (int i = 0; i < 20 && !right; i++) {
        said again = {.status = HOCKET_OK};
        work_receive(&l->world, p->victim, p->seed, &again, &right);
    }
    hocket_set_timeout(l->world.group, CHAOS_TIMEOUT_S);
    if (!right)
        snprintf(l->report->complaint, CHAOS_TEXT_MAX, "the late message never came right: %s",
                 hocket_last_error());
}

static unsigned kinds_for(const plan *p)
{
    /* After a timeout in a subgroup or a message its ranks are late for the world as well. */
    if (p->kind == FAULT_FREEZE || p->kind == FAULT_FREEZE_INIT || p->kind == FAULT_LATE_MESSAGE)
        return WORK_ASYNC;
    if (p->kind == FAULT_CUT) /* the cut is the main thread's */
        return WORK_MESSAGES | WORK_SUBGROUPS;
    return WORK_ALL;
}

/* Operations until one of the world fails. */
static void work_on(life *l)
{
    const plan *p = l->plan;
    report *r = l->report;
    bool quiet = p->kind <= FAULT_SLOW || p->kind == FAULT_LATE_MESSAGE;
    int last = quiet ? OPERATIONS_QUIET : OPERATIONS_MAX;
    for (int i = 0; i < last && r->complaint[0] == '\0'; i++) {
        said failure = {.status = HOCKET_OK};
        bool breaking = true;
        atomic_store(&r->operation, i);
        unsigned kinds = l->kinds;
        if (p->kind == FAULT_KILL_SPLIT && i == p->operation)
            kinds |= WORK_SPLIT_NOW;
        if (p->kind == FAULT_FREEZE && i == p->operation)
            hocket_set_timeout(l->world.group, p->timeout_s);
        if (p->kind == FAULT_LATE_MESSAGE && i == p->operation)
            late_message(l);
        else if (breaks_here(l, i) && p->kind == FAULT_LEAVE)
            leave_early(l);
        else if (breaks_here(l, i))
            sabotage(p, l->board, l->id, l->world.group, p->delay_us);
        hocket_status status =
            work(&l->world, seed_of(l, i), kinds, &failure, &breaking, r->complaint);
        if (status == HOCKET_OK)
            continue;
        if (r->first.status == HOCKET_OK)
            r->first = failure;
        r->world = failure;
        if (breaking)
            return;
        /* Part of the job is gone: the whole of it must say so too. */
        r->world = (said){.status = HOCKET_OK};
        int64_t began = chaos_now();
        status = hocket_barrier(l->world.group);
        if (status != HOCKET_OK) {
            work_note(&l->world, status, began, &r->world);
            return;
        }
    }
}

/* === After a failure ========================================================================= */

static void call_later(life *l)
{
    said *best = &l->report->later;
    for (int i = 0; i < LATER_CALLS; i++) {
        said one = {.status = HOCKET_OK};
        float x = 1;
        void *bytes = NULL;
        size_t length;
        int64_t began = chaos_now();
        hocket_status status = i == 1 ? hocket_recv_bytes(l->world.group, l->id, 1, &bytes, &length)
                                      : hocket_all_sum(l->world.group, &x, 1);
        free(bytes);
        if (status == HOCKET_OK)
            snprintf(l->report->complaint, CHAOS_TEXT_MAX, "a call on a broken group worked");
        else
            work_note(&l->world, status, began, &one);
        if (i == 0 || one.returned - one.began < best->returned - best->began)
            *best = one;
    }
}

/* Who is in it, from each member's own mouth, and a sum. */
static hocket_status try_group(life *l, hocket_group *group)
{
    team *t = &l->survivors;
    int32_t mine = l->id, all[CHAOS_RANKS_MAX];
    *t = (team){.group = group, .rank = hocket_rank(group), .size = hocket_world_size(group)};
    hocket_set_timeout(group, CHAOS_TIMEOUT_S);
    int64_t began = chaos_now();
    hocket_status status = hocket_all_gather(group, &mine, all, 1, HOCKET_INT32);
    if (status != HOCKET_OK) {
        l->report->shrink = (said){.status = HOCKET_OK};
        work_note(t, status, began, &l->report->shrink);
        return status;
    }
    l->report->members = 0;
    for (int i = 0; i < t->size; i++) {
        t->ids[i] = all[i];
        l->report->members |= 1u << all[i];
    }
    return HOCKET_OK;
}

static void work_after(life *l, int first)
{
    for (int i = 0; i < OPERATIONS_AFTER; i++) {
        said failure = {.status = HOCKET_OK};
        bool breaking;
        if (work(&l->survivors, seed_of(l, first + i), WORK_ALL, &failure, &breaking,
                 l->report->complaint) == HOCKET_OK)
            continue;
        snprintf(l->report->complaint, CHAOS_TEXT_MAX, "the shrunk group failed: %.500s",
                 failure.text);
        return;
    }
}

static bool second_dies(const life *l)
{
    return l->plan->kind == FAULT_KILL_SHRINK && l->id == l->plan->second;
}

/* A second rank that died after it had agreed is in the new group, which must say so. */
static hocket_status await_second(life *l)
{
    team *t = &l->survivors;
    if (l->plan->kind != FAULT_KILL_SHRINK || !(l->report->members & 1u << l->plan->second))
        return HOCKET_OK;
    while (second_dies(l))
        chaos_sleep_us(1000);
    said failure = {.status = HOCKET_OK};
    int64_t began = chaos_now();
    hocket_status status = hocket_barrier(t->group);
    if (status == HOCKET_OK)
        return HOCKET_ERR_PROTOCOL;
    work_note(t, status, began, &failure);
    if (failure.count != 1 || failure.ranks[0] != l->plan->second)
        snprintf(l->report->complaint, CHAOS_TEXT_MAX, "rank %d died during shrink, but: %.400s",
                 l->plan->second, failure.text);
    return status;
}

static void shrink(life *l)
{
    report *r = l->report;
    hocket_group *broken = l->world.group, *group = NULL;
    if (second_dies(l))
        sabotage(l->plan, l->board, l->id, NULL, l->plan->delay_us);
    hocket_status status = HOCKET_ERR_PEER_LOST;
    for (int i = 0; i < SHRINKS_MAX && status == HOCKET_ERR_PEER_LOST; i++) {
        r->shrink = (said){.status = HOCKET_OK};
        r->shrink_rounds = i + 1;
        int64_t began = chaos_now();
        status = hocket_shrink(broken, &group);
        if (status != HOCKET_OK)
            work_note(&l->world, status, began, &r->shrink);
        r->shrink.began = began;
        r->shrink.returned = chaos_now();
        if (broken != l->world.group)
            hocket_free(broken);
        if (status != HOCKET_OK)
            return;
        broken = group;
        status = try_group(l, group);
        if (status == HOCKET_OK)
            status = await_second(l);
    }
    if (status != HOCKET_OK) {
        snprintf(r->complaint, CHAOS_TEXT_MAX, "the group after shrink: %.500s", r->shrink.text);
        hocket_free(group);
        return;
    }
    r->shrunk_to = l->survivors.size;
    work_after(l, 10000);
}

static void wait_for_the_parent(life *l)
{
    int64_t until = chaos_now() + INT64_C(10000000000);
    while (!atomic_load(&l->board->go_on) && chaos_now() < until)
        chaos_sleep_us(1000);
}

static int count_threads_left(const life *l)
{
    int left = 0;
    for (int i = 0; i < THREAD_TRIES; i++) {
        left = count_entries("/proc/self/task") - l->threads - TOOL_THREADS;
        if (left <= 0)
            break;
        chaos_sleep_us(1000);
    }
    return left;
}

static void leave(life *l)
{
    sabotage_is_over();
    int64_t began = chaos_now();
    hocket_free(l->survivors.group);
    hocket_free(l->world.group);
    l->report->free_ns = chaos_now() - began;
    l->report->files_left = count_entries("/proc/self/fd") - l->files;
    l->report->threads_left = count_threads_left(l);
    reach(l, PHASE_DONE);
}

static void go_on(life *l)
{
    const plan *p = l->plan;
    if (p->hasty) {
        chaos_sleep_us((long)(seed_of(l, l->id) % 2000));
        sabotage_is_over(); /* who has not returned from hocket_abort has not told all */
        reach(l, PHASE_DONE);
        _exit(0);
    }
    if (l->world.group == NULL) {
        leave(l);
        return;
    }
    call_later(l);
    shrink(l);
    reach(l, PHASE_SHRUNK);
    if (p->kind == FAULT_FREEZE && !is_victim(l)) {
        wait_for_the_parent(l);
        if (l->survivors.group != NULL && l->report->shrunk_to > 0)
            work_after(l, 20000);
    }
    leave(l);
}

void rank_main(const plan *p, board *b, int rank)
{
    life l = {.plan = p, .board = b, .report = &b->reports[rank], .id = rank};
    l.files = count_entries("/proc/self/fd");
    l.threads = count_entries("/proc/self/task");
    l.kinds = kinds_for(p);
    bool joined = join(&l);
    if (joined) {
        reach(&l, PHASE_WORK);
        work_on(&l);
    }
    if (l.report->world.status != HOCKET_OK) {
        reach(&l, PHASE_FAILED);
        go_on(&l);
    } else {
        leave(&l);
    }
    exit(0); /* not _exit: a sanitizer has its say */
}
