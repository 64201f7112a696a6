#include "doctor/probe.h"

#include "core/plugin.h"
#include "library.h"
#include "transport/verbs/report.h"

#include <dlfcn.h>
#include <errno.h>
#include <hocket/hocket.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 10000     /* the first cuInit after a boot takes seconds */
#define MPI_TEXT_MAX 16384 /* more than any MPI_MAX_LIBRARY_VERSION_STRING */
#define VERSION_MAX 64
#define VERSION_DIGITS 24
#define MPIS_MAX 8
#define GPUS_SHOWN 8
#define GPU_NAME_MAX 128

void hk_append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

/* === A process of its own ===================================================================== */

/* Reads until the end of the pipe; false when that takes too long. */
static bool read_answer(int fd, char *text, size_t size)
{
    size_t length = 0;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (length + 1 < size) {
        int count = poll(&ready, 1, PROBE_MS);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        ssize_t more = read(fd, text + length, size - 1 - length);
        if (more <= 0)
            break;
        length += (size_t)more;
    }
    text[length] = '\0';
    return true;
}

/* In the child, whose words on stdout and stderr are nobody's business. */
static void answer(hk_probe_fn probe, int fd)
{
    char text[HK_PROBE_BYTES] = "";
    if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
        _exit(1);
    probe(text, sizeof text);
    ssize_t written = write(fd, text, strlen(text));
    _exit(written < 0);
}

void hk_probe_apart(hk_probe_fn probe, char *text, size_t size)
{
    int fds[2], status = 0;
    fflush(stdout);
    text[0] = '\0';
    if (pipe(fds) < 0) {
        hk_append(text, size, "unknown: no pipe to ask by (%s)", strerror(errno));
        return;
    }
    pid_t child = fork();
    if (child == 0)
        answer(probe, fds[1]);
    close(fds[1]);
    bool in_time = child > 0 && read_answer(fds[0], text, size);
    close(fds[0]);
    if (child < 0) {
        hk_append(text, size, "unknown: no process to ask in (%s)", strerror(errno));
        return;
    }
    if (!in_time)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        snprintf(text, size, "unknown: looking for it took more than %d s", PROBE_MS / 1000);
    else if (!text[0] && WIFSIGNALED(status))
        snprintf(text, size, "broken: looking for it ends with signal %d", WTERMSIG(status));
    else if (!text[0])
        snprintf(text, size, "unknown: looking for it ends with status %d", WEXITSTATUS(status));
}

/* === Libraries ================================================================================ */

/* The first of these libraries that opens, and its name. */
static void *open_first(const char *const *names, const char **name)
{
    for (*name = *names; *names; *name = *++names) {
        void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    return NULL;
}

/* dlsym's result is data to C; the union is POSIX's way to a function. */
typedef union hk_symbol {
    void *data;
    int (*version_text)(char *text, int *length);
    int (*number)(int *number);
    int (*init)(unsigned int flags);
    int (*name)(char *name, int length, int device);
    hk_plugin_fn plugin;
} hk_symbol;

static void missing(const char *const *names, char *text, size_t size)
{
    snprintf(text, size, "none: %s is not here", names[0]);
}

/* "Open MPI v4.1.4, package: ..." or "MPICH Version:\t4.0.2\n...": the name and the number. */
static bool read_mpi_version(void *library, char *version, size_t size)
{
    static char whole[MPI_TEXT_MAX];
    hk_symbol ask = {dlsym(library, "MPI_Get_library_version")};
    int length = 0;
    if (!ask.data || ask.version_text(whole, &length) != 0)
        return false;
    whole[strcspn(whole, ",\n")] = '\0';
    const char *number = whole + strcspn(whole, "0123456789");
    size_t name = strcspn(whole, "\t:");
    static const char word[] = " Version";
    if (name > strlen(word) && strncmp(whole + name - strlen(word), word, strlen(word)) == 0)
        snprintf(version, size, "%.*s %.*s", (int)(name - strlen(word)), whole, VERSION_DIGITS,
                 number);
    else
        snprintf(version, size, "%.*s", (int)size - 1, whole);
    return true;
}

/* Where a command is in PATH, links followed. */
static bool find_in_path(const char *command, char *found)
{
    const char *folder = getenv("PATH");
    char path[PATH_MAX];
    while (folder && *folder) {
        size_t length = strcspn(folder, ":");
        if ((size_t)snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, command) <
                sizeof path &&
            access(path, X_OK) == 0 && realpath(path, found))
            return true;
        folder += length + (folder[length] == ':');
    }
    return false;
}

void hk_probe_mpi(char *text, size_t size)
{
    char versions[MPIS_MAX][VERSION_MAX], path[PATH_MAX];
    int count = 0;
    for (const char *const *name = hk_mpi_libraries; *name && count < MPIS_MAX; name++) {
        void *library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
        bool known = !library || !read_mpi_version(library, versions[count], VERSION_MAX);
        for (int i = 0; i < count && !known; i++)
            known = strcmp(versions[i], versions[count]) == 0; /* by another name */
        if (!known) {
            hk_append(text, size, "%s%s (%s)", count ? ", " : "", versions[count], *name);
            count++;
        } else if (library) {
            dlclose(library);
        }
    }
    if (count == 0)
        missing(hk_mpi_libraries, text, size);
    if (find_in_path("mpirun", path))
        hk_append(text, size, "; mpirun is %s", path);
    else if (count > 0)
        hk_append(text, size, "; there is no mpirun in PATH");
}

static void name_gpus(void *library, int count, char *text, size_t size)
{
    hk_symbol ask = {dlsym(library, "cuDeviceGetName")};
    char last[GPU_NAME_MAX] = "", name[GPU_NAME_MAX];
    for (int device = 0; ask.data && device < count && device < GPUS_SHOWN; device++) {
        if (ask.name(name, sizeof name, device) == 0 && strcmp(name, last) != 0)
            hk_append(text, size, "%s%s", last[0] ? ", " : ": ", name);
        snprintf(last, sizeof last, "%s", name);
    }
}

void hk_probe_cuda(char *text, size_t size)
{
    const char *name;
    void *library = open_first(hk_cuda_libraries, &name);
    if (!library) {
        missing(hk_cuda_libraries, text, size);
        return;
    }
    hk_symbol init = {dlsym(library, "cuInit")}, version = {dlsym(library, "cuDriverGetVersion")},
              devices = {dlsym(library, "cuDeviceGetCount")};
    int number = 0, count = 0;
    int error = init.data ? init.init(0) : -1;
    if (error == 0 && devices.data)
        error = devices.number(&count);
    if (error != 0 || !version.data || version.number(&number) != 0) {
        snprintf(text, size, "none: %s is here, but CUDA does not start (error %d)", name, error);
        return;
    }
    snprintf(text, size, "%d.%d, %d %s", number / 1000, number % 1000 / 10, count,
             count == 1 ? "device" : "devices");
    name_gpus(library, count, text, size);
}

void hk_probe_nccl(char *text, size_t size)
{
    const char *name;
    void *library = open_first(hk_nccl_libraries, &name);
    hk_symbol version = {library ? dlsym(library, "ncclGetVersion") : NULL};
    int number = 0;
    if (!version.data || version.number(&number) != 0)
        missing(hk_nccl_libraries, text, size);
    else
        snprintf(text, size, "%d.%d.%d (%s)", number / 10000, number / 100 % 100, number % 100,
                 name);
}

void hk_probe_rdma(char *text, size_t size)
{
    if (hocket_verbs_report(text, size) == 0)
        hk_append_kernel_rdma(text, size);
}

/* === hocket's own ============================================================================= */

void hk_probe_library(char *text, size_t size)
{
    hk_library_own(text, size);
}

/* The library that libhocket has loaded for MLX, by the same rule as core/plugin.c. */
static void *open_plugin(void)
{
    char path[PATH_MAX];
    const char *chosen = getenv("HOCKET_MLX_LIB");
    if (!chosen || !*chosen)
        chosen = hk_library_beside("libhocket-mlx", path, sizeof path) ? path : NULL;
    return chosen ? dlopen(chosen, RTLD_NOW | RTLD_LOCAL) : NULL;
}

void hk_probe_mlx(char *text, size_t size)
{
    static const char known[] = " is not available: ";
    if (!hocket_is_available("mlx")) {
        const char *reason = hocket_last_error(), *found = strstr(reason, known);
        snprintf(text, size, "none: %s", found ? found + strlen(known) : reason);
        return;
    }
    void *library = open_plugin();
    hk_symbol entry = {library ? dlsym(library, HK_PLUGIN_SYMBOL) : NULL};
    const hk_plugin *plugin = entry.data ? entry.plugin() : NULL;
    if (plugin && plugin->size == sizeof *plugin)
        snprintf(text, size, "%s", plugin->describe());
    else
        snprintf(text, size, "available, but it does not say which version");
}
