#include "core/deadline.h"

#include <time.h>

/* The time of the kernel's last tick, which is a load from memory. */
hk_time hk_now_coarse(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (hk_time)now.tv_sec * HK_SECOND + now.tv_nsec;
}
