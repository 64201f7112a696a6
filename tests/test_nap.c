/* Naps end in time, whatever the wall clock says. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "core/nap.h"
#include "transport/local.h"

#define SECONDS_AT_MOST 20.0
#define LIMIT_S 60 /* then the program is ended */

/* A wall clock that somebody has set forward by a day, for all of this program. */
#ifdef __linux__
#include <sys/syscall.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += 24 * 60 * 60;
    return result;
}
#endif

static void a_nap_ends_when_its_time_is_up(void **state)
{
    (void)state;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    hk_nap_init(&never);
    pthread_mutex_lock(&lock);
    hk_time start = hk_now();
    while (hk_nap(&never, &lock, 20 * HK_MILLISECOND))
        ;
    hk_time napped = hk_now() - start;
    assert_true(napped >= 20 * HK_MILLISECOND);
    assert_true(hk_to_seconds(napped) < SECONDS_AT_MOST);
    assert_true(hk_nap(&never, &lock, 0) == false);
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&never);
}

struct door {
    pthread_mutex_t lock;
    pthread_cond_t bell;
    bool rung;
};

static void *ring(void *argument)
{
    struct door *door = argument;
    pthread_mutex_lock(&door->lock);
    door->rung = true;
    pthread_cond_signal(&door->bell);
    pthread_mutex_unlock(&door->lock);
    return NULL;
}

static void a_nap_ends_when_it_is_signalled(void **state)
{
    (void)state;
    struct door door = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    hk_nap_init(&door.bell);
    pthread_mutex_lock(&door.lock);
    assert_int_equal(pthread_create(&thread, NULL, ring, &door), 0);
    while (!door.rung)
        assert_true(hk_nap(&door.bell, &door.lock, LIMIT_S * HK_SECOND));
    pthread_mutex_unlock(&door.lock);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&door.bell);
}

/* The other rank never comes, and the deadline is seen. */
static void a_local_world_is_given_up_in_time(void **state)
{
    (void)state;
    const hocket_transport *transport;
    void *self;
    hk_time start = hk_now();
    assert_int_equal(hk_local_open("test_nap", 0, 2, start + 50 * HK_MILLISECOND, &transport,
                                   &self),
                     HOCKET_ERR_TIMEOUT);
    assert_true(hk_to_seconds(hk_now() - start) < SECONDS_AT_MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nap_ends_when_its_time_is_up),
        cmocka_unit_test(a_nap_ends_when_it_is_signalled),
        cmocka_unit_test(a_local_world_is_given_up_in_time),
    };
    alarm(LIMIT_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
