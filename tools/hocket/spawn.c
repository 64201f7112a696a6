/* Starting one rank: its pipes, its environment, its process group. */
#include "launch.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* The ranks' secret goes to a descriptor that scripts do not use as one of theirs. */
#define SECRET_FD_MIN 100

/* What a child does before it becomes the program, in the words of a complaint. */
typedef enum step { STEP_SETTLE, STEP_FOLDER, STEP_START } step;

typedef struct failure {
    step step;
    int error;
} failure;

/* The descriptors of one start. */
typedef struct pipes {
    int out[2], err[2];
    int report[2]; /* the child's failure; hung up by a successful exec */
    int secret;
} pipes;

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_pipes(pipes *p)
{
    for (int end = 0; end < 2; end++) {
        close_fd(&p->out[end]);
        close_fd(&p->err[end]);
        close_fd(&p->report[end]);
    }
    close_fd(&p->secret);
}

static bool open_pipe(int fds[2])
{
    if (pipe(fds) < 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    for (int end = 0; end < 2; end++)
        fcntl(fds[end], F_SETFD, FD_CLOEXEC);
    return true;
}

bool hk_secret_make(char secret[HK_SECRET_TEXT])
{
    unsigned char bytes[HK_SECRET_TEXT / 2];
    bool made = getentropy(bytes, sizeof bytes) == 0;
    for (size_t i = 0; made && i < sizeof bytes; i++)
        snprintf(secret + 2 * i, 3, "%02x", bytes[i]);
    sodium_memzero(bytes, sizeof bytes);
    return made;
}

void hk_secret_wipe(char secret[HK_SECRET_TEXT])
{
    sodium_memzero(secret, HK_SECRET_TEXT);
}

/* The secret in a file without a name. Each rank gets one that was opened for it alone, because
 * opening /dev/fd/N shares the offset on some systems. */
static int open_secret(const char *secret)
{
    char *path;
    int fd = hk_temporary_file(&path);
    if (fd < 0)
        return -1;
    int reader = -1;
    if (hk_write_all(fd, secret, strlen(secret))) {
        int low = open(path, O_RDONLY | O_CLOEXEC);
        if (low >= 0) {
            reader = fcntl(low, F_DUPFD_CLOEXEC, SECRET_FD_MIN);
            close(low);
        }
    }
    int error = errno;
    unlink(path);
    free(path);
    close(fd);
    errno = error;
    return reader;
}

/* === In the child ============================================================================= */

static bool set_number(const char *name, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    return setenv(name, text, 1) == 0;
}

/* Ranks of one host share its cores, unless the user has settled that. */
static bool share_cores(int threads)
{
    static const char *const names[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                        "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!getenv(names[i]) && !set_number(names[i], threads))
            return false;
    }
    return true;
}

static bool set_environment(const hk_launch *launch, int rank, int secret)
{
    for (int i = 0; i < launch->env.count; i++) {
        char *name = strdup(launch->env.items[i]);
        char *equals = name ? strchr(name, '=') : NULL;
        if (!equals)
            return false;
        *equals = '\0';
        if (setenv(name, equals + 1, 1) < 0)
            return false;
        free(name);
    }
    char coordinator[32], secret_path[32];
    snprintf(coordinator, sizeof coordinator, "127.0.0.1:%d", launch->coordinator_port);
    snprintf(secret_path, sizeof secret_path, "/dev/fd/%d", secret);
    unsetenv("HOCKET_SECRET"); /* another job's */
    unsetenv("HOCKET_HOSTFILE");
    if (launch->mlx_hostfile &&
        (setenv("MLX_HOSTFILE", launch->mlx_hostfile, 1) < 0 || !set_number("MLX_RANK", rank)))
        return false;
    unsetenv("HOCKET_TERMINAL");
    if (launch->terminal && rank == launch->stdin_rank && setenv("HOCKET_TERMINAL", "1", 1) < 0)
        return false;
    return share_cores(launch->threads) && set_number("HOCKET_RANK", rank) &&
           set_number("HOCKET_WORLD_SIZE", launch->world_size) &&
           setenv("HOCKET_COORDINATOR", coordinator, 1) == 0 &&
           setenv("HOCKET_BACKEND", launch->backend, 1) == 0 &&
           setenv("HOCKET_SECRET_FILE", secret_path, 1) == 0;
}

static bool settle(const hk_launch *launch, int rank, pipes *p)
{
    if (rank != launch->stdin_rank) {
        int nothing = open("/dev/null", O_RDONLY);
        if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
            return false;
        if (nothing != STDIN_FILENO)
            close(nothing);
    }
    return dup2(p->out[1], STDOUT_FILENO) >= 0 && dup2(p->err[1], STDERR_FILENO) >= 0 &&
           fcntl(p->secret, F_SETFD, 0) == 0 && set_environment(launch, rank, p->secret);
}

/* The launcher's handlers must not run here: its descriptors are still open. */
static void reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            signal(number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_DFL); /* the launcher ignores it, and that would outlive exec */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become(const hk_launch *launch, int rank, pipes *p, pid_t parent)
{
    setpgid(0, 0);
    hk_die_with_parent(parent);
    reset_signals();
    failure failure = {.step = STEP_SETTLE};
    if (settle(launch, rank, p)) {
        failure.step = STEP_FOLDER;
        if (!launch->cwd || chdir(launch->cwd) == 0) {
            failure.step = STEP_START;
            execvp(launch->program[0], launch->program);
        }
    }
    failure.error = errno;
    hk_write_all(p->report[1], (const char *)&failure, sizeof failure);
    _exit(HK_EXIT_LAUNCHER);
}

/* === In the parent ============================================================================ */

static int describe(const hk_launch *launch, int rank, failure failure, char *why, size_t size)
{
    const char *reason = strerror(failure.error);
    switch (failure.step) {
    case STEP_FOLDER:
        snprintf(why, size, "Rank %d could not change to the folder '%s': %s.", rank, launch->cwd,
                 reason);
        return HK_EXIT_LAUNCHER;
    case STEP_START:
        snprintf(why, size, "Rank %d could not start '%s': %s.", rank, launch->program[0], reason);
        return failure.error == ENOENT ? HK_EXIT_NOT_FOUND : HK_EXIT_CANNOT_EXECUTE;
    case STEP_SETTLE: break;
    }
    snprintf(why, size, "Rank %d could not be started: %s.", rank, reason);
    return HK_EXIT_LAUNCHER;
}

/* Forks with all signals blocked; they stay so in the child. */
static pid_t fork_blocked(void)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* Waits until the child has become the program or says why not. */
static bool started(int report, failure *failure)
{
    ssize_t got;
    do
        got = read(report, failure, sizeof *failure);
    while (got < 0 && errno == EINTR);
    return got != (ssize_t)sizeof *failure;
}

pid_t hk_spawn(const hk_launch *launch, int rank, const char *secret, int *out, int *err, char *why,
               size_t why_size, int *status)
{
    pipes p = {{-1, -1}, {-1, -1}, {-1, -1}, -1};
    failure failure = {.step = STEP_SETTLE};
    pid_t parent = getpid(), pid = -1;
    if (open_pipe(p.out) && open_pipe(p.err) && open_pipe(p.report)) {
        p.secret = open_secret(secret);
        if (p.secret >= 0)
            pid = fork_blocked();
    }
    failure.error = errno;
    if (pid == 0)
        become(launch, rank, &p, parent);
    bool running = false;
    if (pid > 0) {
        setpgid(pid, pid); /* here too, so that the group exists whoever runs first */
        launch->groups[rank] = pid;
        close_fd(&p.report[1]);
        running = started(p.report[0], &failure);
    }
    if (running) {
        *out = p.out[0];
        *err = p.err[0];
        p.out[0] = p.err[0] = -1;
    } else {
        *status = describe(launch, rank, failure, why, why_size);
    }
    close_pipes(&p);
    return running ? pid : -1;
}
