/* Makes a host of another kind for doctor's tests, by LD_PRELOAD: AHEAD_S is how far its clock is
 * ahead, NAP_MS how long it takes to hear a single byte. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += number("AHEAD_S");
    return result;
}

ssize_t read(int fd, void *bytes, size_t count)
{
    static ssize_t (*real)(int, void *, size_t);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "read");
    ssize_t got = real(fd, bytes, count);
    struct timespec nap = {.tv_nsec = number("NAP_MS") * 1000000L};
    if (count == 1 && got == 1 && nap.tv_nsec > 0)
        nanosleep(&nap, NULL);
    return got;
}
