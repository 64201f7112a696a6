/* Naps on a condition for a span of the monotonic clock: the wall clock may be set meanwhile. */
#ifndef HK_CORE_NAP_H
#define HK_CORE_NAP_H

#include "core/deadline.h"
#include <pthread.h>

/* Makes a condition for naps; pthread_cond_destroy ends it. */
void hk_nap_init(pthread_cond_t *condition);

/* Sleeps until it is signalled, or for that long (0 and more); may wake for nothing. The lock is
 * the caller's, as in pthread_cond_wait. False: the time was up. */
bool hk_nap(pthread_cond_t *condition, pthread_mutex_t *lock, hk_time span);

#endif
