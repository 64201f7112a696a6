#include "core/nap.h"

#include <time.h>

void hk_nap_init(pthread_cond_t *condition)
{
    pthread_cond_init(condition, NULL);
}

bool hk_nap(pthread_cond_t *condition, pthread_mutex_t *lock, hk_time span)
{
    struct timespec time = {.tv_sec = (time_t)(span / HK_SECOND),
                            .tv_nsec = (long)(span % HK_SECOND)};
    return pthread_cond_timedwait_relative_np(condition, lock, &time) == 0;
}
