#include "platform.h"

#include "library.h"
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FAST_BLAS "libopenblas.so.0"

const char hk_library_suffix[] = ".so";

/* The wheel of MLX for Linux is bound to the reference BLAS, some 30 times slower; what comes
 * before that takes its place, and before it what is faster still for products of one row
 * (src/mlx_blas). The loader complains of what it is to load and cannot find, so it is looked for,
 * OpenBLAS by opening it: this process is about to be another. */
bool hk_prefer_fast_blas(void)
{
    char list[4096], rows[PATH_MAX];
    const char *choice = getenv("HOCKET_BLAS"), *before = getenv("LD_PRELOAD");
    if ((choice && strcmp(choice, "reference") == 0) || !dlopen(FAST_BLAS, RTLD_LAZY | RTLD_LOCAL))
        return true;
    bool has_rows = !(choice && strcmp(choice, "openblas") == 0) &&
                    hk_library_beside("libhocket-blas", rows, sizeof rows) &&
                    access(rows, R_OK) == 0;
    int length = snprintf(list, sizeof list, "%s%s%s%s%s", before ? before : "",
                          before && *before ? ":" : "", has_rows ? rows : "", has_rows ? ":" : "",
                          FAST_BLAS);
    return (size_t)length >= sizeof list || setenv("LD_PRELOAD", list, 1) == 0;
}

int hk_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more cores than a cpu_set_t holds */
    return online > 0 ? (int)online : 1;
}

uint64_t hk_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* Not getrusage: there a program begins with the peak of the one that started it. */
uint64_t hk_peak_memory_bytes(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *status = fopen("/proc/self/status", "re");
    if (!status)
        return 0;
    while (kib == 0 && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmHWM: %llu kB", &kib) != 1)
            kib = 0;
    }
    fclose(status);
    return (uint64_t)kib << 10;
}

void hk_adopt_orphans(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void hk_die_with_parent(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
}

/* The parent of a process, from /proc/PID/stat: "PID (name) state PPID ..."; -1 if it is gone. */
static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return -1;
    text[length] = '\0';
    const char *after_name = strrchr(text, ')'); /* the name may hold parentheses of its own */
    int parent;
    if (!after_name || sscanf(after_name, ") %*c %d", &parent) != 1)
        return -1;
    return parent;
}

int hk_children(pid_t *pids, int capacity)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    int count = 0;
    pid_t self = getpid();
    struct dirent *entry;
    while (count < capacity && (entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]) && parent_of(entry->d_name) == self)
            pids[count++] = (pid_t)atol(entry->d_name);
    }
    closedir(proc);
    return count;
}

bool hk_own_path(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length <= 0 || (size_t)length >= size - 1)
        return false;
    path[length] = '\0';
    return true;
}
