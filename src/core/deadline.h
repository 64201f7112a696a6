/* Times and deadlines: nanoseconds of the monotonic clock. */
#ifndef HK_CORE_DEADLINE_H
#define HK_CORE_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

typedef int64_t hk_time;

#define HK_FOREVER INT64_MAX
#define HK_SECOND INT64_C(1000000000)
#define HK_MILLISECOND INT64_C(1000000)
#define HK_MICROSECOND INT64_C(1000)

hk_time hk_now(void);

/* The same at a quarter of the price, where that is a fifth of a call; behind by HK_COARSE at most.
 */
#define HK_COARSE (10 * HK_MILLISECOND)
hk_time hk_now_coarse(void);

/* The moment that many seconds from now, or from a moment; HK_FOREVER for INFINITY and for more
 * than a century. */
hk_time hk_deadline_after(double seconds);
hk_time hk_deadline_from(hk_time start, double seconds);

/* Nanoseconds left, 0 when it has passed, HK_FOREVER for HK_FOREVER. */
hk_time hk_deadline_left(hk_time deadline);

/* The earlier of what is left and limit_ms, for poll(), rounded up so that a loop does not spin on
 * 0. */
int hk_deadline_poll_ms(hk_time deadline, int limit_ms);

double hk_to_seconds(hk_time span);

#endif
