#include "core/deadline.h"

#include <time.h>

#define CENTURY_S 3.2e9

hk_time hk_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (hk_time)now.tv_sec * HK_SECOND + now.tv_nsec;
}

hk_time hk_deadline_from(hk_time start, double seconds)
{
    if (!(seconds < CENTURY_S))
        return HK_FOREVER;
    return start + (hk_time)(seconds * (double)HK_SECOND);
}

hk_time hk_deadline_after(double seconds)
{
    return hk_deadline_from(hk_now(), seconds);
}

hk_time hk_deadline_left(hk_time deadline)
{
    if (deadline == HK_FOREVER)
        return HK_FOREVER;
    hk_time left = deadline - hk_now();
    return left > 0 ? left : 0;
}

int hk_deadline_poll_ms(hk_time deadline, int limit_ms)
{
    hk_time left = hk_deadline_left(deadline);
    if (left > (hk_time)limit_ms * HK_MILLISECOND)
        return limit_ms;
    return (int)((left + HK_MILLISECOND - 1) / HK_MILLISECOND);
}

double hk_to_seconds(hk_time span)
{
    return (double)span / (double)HK_SECOND;
}
