/* Nonblocking calls. A collective goes into its group's queue, which one worker thread runs in
 * order; the thread exists from the first such call. A message is a posted operation (messages.c)
 * and needs no thread of its own. */
#include "core/nap.h"
#include "group/group.h"

#include <stdlib.h>

/* === The turn ================================================================================ */

#define TURN_NAP_NS                                                                                \
    HK_MILLISECOND /* whoever gives the turn away may not see who waits for it yet */

static bool try_turn(hocket_group *group)
{
    return !atomic_exchange_explicit(&group->running, true, memory_order_acquire);
}

static void take(hocket_group *group)
{
    if (try_turn(group))
        return;
    pthread_mutex_lock(&group->lock);
    atomic_fetch_add(&group->turns, 1);
    while (!try_turn(group))
        hk_nap(&group->changed, &group->lock, TURN_NAP_NS);
    atomic_fetch_sub(&group->turns, 1);
    pthread_mutex_unlock(&group->lock);
}

/* A blocking call comes after all that was queued before it. */
void hk_turn_take(hocket_group *group)
{
    if (atomic_load(&group->queued) > 0) {
        pthread_mutex_lock(&group->lock);
        while (atomic_load(&group->queued) > 0)
            pthread_cond_wait(&group->changed, &group->lock);
        pthread_mutex_unlock(&group->lock);
    }
    take(group);
}

/* A mutex would cost a locked instruction here, too. */
void hk_turn_give(hocket_group *group)
{
    atomic_store_explicit(&group->running, false, memory_order_release);
    if (atomic_load_explicit(&group->turns, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&group->lock);
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
}

/* === The worker ============================================================================== */

static void run_first(hocket_group *group)
{
    hocket_request *request = group->first;
    pthread_mutex_unlock(&group->lock);
    take(group);
    hocket_status status = hk_job_run(group, &request->job, hk_now());
    hk_turn_give(group);
    if (status != HOCKET_OK)
        request->error = *hk_error_last();
    pthread_mutex_lock(&group->lock);
    request->status = status;
    group->first = request->next;
    if (group->first == NULL)
        group->last = &group->first;
    atomic_fetch_sub(&group->queued, 1);
    request->done = true;
    pthread_cond_broadcast(&group->changed);
}

static void *work(void *argument)
{
    hocket_group *group = argument;
    pthread_mutex_lock(&group->lock);
    for (;;) {
        if (group->first != NULL)
            run_first(group);
        else if (group->closing && group->first == NULL)
            break;
        else
            pthread_cond_wait(&group->changed, &group->lock);
    }
    pthread_mutex_unlock(&group->lock);
    return NULL;
}

hocket_status hk_queue(hocket_group *group, const hk_job *job, hocket_request **request)
{
    hocket_request *new = calloc(1, sizeof *new);
    if (new == NULL)
        return hk_fail_memory(sizeof *new, "a request");
    new->group = group;
    new->job = *job;
    pthread_mutex_lock(&group->lock);
    int error = group->has_worker ? 0 : pthread_create(&group->worker, NULL, work, group);
    if (error == 0) {
        group->has_worker = true;
        atomic_fetch_add(&group->queued, 1);
        *group->last = new;
        group->last = &new->next;
        pthread_cond_broadcast(&group->changed);
    }
    pthread_mutex_unlock(&group->lock);
    if (error != 0) {
        free(new);
        return hk_fail_errno(error, "%s_async: the group's thread could not be started",
                             hk_operation_name(job->operation));
    }
    *request = new;
    return HOCKET_OK;
}

/* What is still queued fails at once, since the group is broken by then. */
void hk_worker_stop(hocket_group *group)
{
    pthread_mutex_lock(&group->lock);
    group->closing = true;
    bool waiting = group->first != NULL;
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
    if (!group->has_worker)
        return;
    if (waiting) {
        hk_error error;
        hk_error_set(&error, HOCKET_ERR_ABORTED,
                     "rank %d called hocket_free while a collective was under way",
                     group->comm->rank);
        hk_error_add_rank(&error, group->comm->rank);
        hk_comm_break(group->comm, &error);
    }
    pthread_join(group->worker, NULL);
}

/* === Waiting ================================================================================= */

static hocket_status finish(hocket_request *request)
{
    hocket_status status = request->status;
    if (status != HOCKET_OK)
        hk_fail_with(&request->error);
    free(request);
    return status;
}

hocket_status hocket_wait(hocket_request *request)
{
    if (request == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_wait: request is NULL");
    if (request->note != NULL)
        return hk_note_wait(request);
    hocket_group *group = request->group;
    pthread_mutex_lock(&group->lock);
    while (!request->done)
        pthread_cond_wait(&group->changed, &group->lock);
    pthread_mutex_unlock(&group->lock);
    return finish(request);
}

hocket_status hocket_test(hocket_request *request, bool *done)
{
    if (request == NULL || done == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_test: %s is NULL",
                       request == NULL ? "request" : "done");
    if (request->note != NULL)
        return hk_note_test(request, done);
    pthread_mutex_lock(&request->group->lock);
    *done = request->done;
    pthread_mutex_unlock(&request->group->lock);
    return *done ? finish(request) : HOCKET_OK;
}
