#include "core/nap.h"

#include <time.h>

void hk_nap_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool hk_nap(pthread_cond_t *condition, pthread_mutex_t *lock, hk_time span)
{
    hk_time until = hk_now() + span;
    struct timespec at = {.tv_sec = (time_t)(until / HK_SECOND),
                          .tv_nsec = (long)(until % HK_SECOND)};
    return pthread_cond_timedwait(condition, lock, &at) == 0;
}
