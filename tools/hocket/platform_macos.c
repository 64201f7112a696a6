#include "platform.h"

#include <libproc.h>
#include <mach-o/dyld.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

const char hk_library_suffix[] = ".dylib";

/* MLX computes by Accelerate there. */
bool hk_prefer_fast_blas(void)
{
    return true;
}

int hk_cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

uint64_t hk_memory_bytes(void)
{
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? bytes : 0;
}

uint64_t hk_peak_memory_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss : 0;
}

/* macOS gives orphans to launchd. */
void hk_adopt_orphans(void)
{
}

/* macOS has no death signal. guard.c covers the death of either of its two processes. */
void hk_die_with_parent(pid_t parent)
{
    (void)parent;
}

int hk_children(pid_t *pids, int capacity)
{
    int count = proc_listchildpids(getpid(), pids, capacity * (int)sizeof *pids);
    return count < 0 ? 0 : count;
}

bool hk_own_path(char *path, size_t size)
{
    uint32_t room = (uint32_t)size;
    return _NSGetExecutablePath(path, &room) == 0;
}
