/* The thread that makes progress while nobody waits: without a pause while nonblocking messages are
 * under way, and now and then for a transport over a medium that loses, where the last frame of a
 * call may have to be repeated when its rank has long gone on to compute. */
#include "core/nap.h"
#include "transport/state.h"

#define NAP_NS (20 * HK_MILLISECOND)
#define TEND_NS (10 * HK_MILLISECOND) /* between looks while something is unsettled, ... */
#define REST_NS HOCKET_TEND_NS        /* ... and at most, when nothing was, time and again */
#define REPEAT_NS HK_MILLISECOND      /* for one look */

/* Sleeps until there are nonblocking messages or it is time to look whether all is settled. Returns
 * how long a turn may take now, 0 for none. */
static hk_time await_work(hk_endpoint *endpoint, hk_time *rest)
{
    bool broken = endpoint->broken.status != HOCKET_OK;
    if (endpoint->background > 0 && !broken)
        return NAP_NS;
    if (broken || endpoint->transport->unsettled == NULL) {
        pthread_cond_wait(&endpoint->idle, &endpoint->lock);
        return 0;
    }
    if (hk_nap(&endpoint->idle, &endpoint->lock, *rest) || endpoint->leading)
        return 0;
    if (endpoint->transport->unsettled(endpoint->self)) {
        *rest = TEND_NS;
        return REPEAT_NS;
    }
    *rest = 2 * *rest < REST_NS ? 2 * *rest : REST_NS;
    return 0;
}

static void *run(void *argument)
{
    hk_endpoint *endpoint = argument;
    hk_time rest = TEND_NS;
    hk_endpoint_lock(endpoint);
    while (!endpoint->closing) {
        hk_time nap = await_work(endpoint, &rest);
        if (nap == 0)
            continue;
        if (endpoint->leading) {
            hk_endpoint_follow(endpoint);
            continue;
        }
        endpoint->leading = true;
        hk_endpoint_turn(endpoint, nap);
        endpoint->leading = false;
        hk_endpoint_call_followers(endpoint);
        hk_endpoint_step_aside(endpoint);
    }
    hk_endpoint_unlock(endpoint);
    return NULL;
}

/* Lock held. */
static hocket_status start(hk_endpoint *endpoint)
{
    if (endpoint->has_thread || endpoint->delegate)
        return HOCKET_OK;
    int error = pthread_create(&endpoint->thread, NULL, run, endpoint);
    endpoint->has_thread = error == 0;
    return error == 0 ? HOCKET_OK : hk_fail_errno(error, "the thread for messages could not start");
}

hocket_status hk_background_open(hk_endpoint *endpoint)
{
    if (endpoint->transport->unsettled == NULL)
        return HOCKET_OK;
    hk_endpoint_lock(endpoint);
    hocket_status status = start(endpoint);
    hk_endpoint_unlock(endpoint);
    return status;
}

hocket_status hk_background_begin(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    hocket_status status = start(endpoint);
    if (status == HOCKET_OK) {
        endpoint->background++;
        pthread_cond_signal(&endpoint->idle);
    }
    hk_endpoint_unlock(endpoint);
    return status;
}

void hk_background_end(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    endpoint->background--;
    hk_endpoint_unlock(endpoint);
}

void hk_background_stop(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    endpoint->closing = true;
    pthread_cond_signal(&endpoint->idle);
    hk_endpoint_unlock(endpoint);
    if (endpoint->has_thread)
        pthread_join(endpoint->thread, NULL);
}
