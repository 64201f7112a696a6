/* The thread that makes progress while nonblocking messages are under way and nobody waits. */
#include "transport/state.h"

#define NAP_NS (20 * HK_MILLISECOND)

static void *run(void *argument)
{
    hk_endpoint *endpoint = argument;
    hk_endpoint_lock(endpoint);
    while (!endpoint->closing) {
        bool idle = endpoint->background == 0 || endpoint->broken.status != HOCKET_OK;
        if (idle) {
            pthread_cond_wait(&endpoint->idle, &endpoint->lock);
            continue;
        }
        if (endpoint->leading) {
            hk_endpoint_follow(endpoint);
            continue;
        }
        endpoint->leading = true;
        hk_endpoint_turn(endpoint, NAP_NS);
        endpoint->leading = false;
        hk_endpoint_call_followers(endpoint);
        hk_endpoint_step_aside(endpoint);
    }
    hk_endpoint_unlock(endpoint);
    return NULL;
}

hocket_status hk_background_begin(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    int error = 0;
    if (!endpoint->has_thread && !endpoint->delegate)
        error = pthread_create(&endpoint->thread, NULL, run, endpoint);
    if (error == 0) {
        endpoint->has_thread = !endpoint->delegate;
        endpoint->background++;
        pthread_cond_signal(&endpoint->idle);
    }
    hk_endpoint_unlock(endpoint);
    return error == 0 ? HOCKET_OK : hk_fail_errno(error, "the thread for messages could not start");
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
