/* Starting one rank: its pipes, its environment, its process group. */
#include "run/launch.h"
#include "run/mlx.h"
#include "platform.h"
#include "run/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

/* The ranks' secret goes to a descriptor that scripts do not use as one of theirs. */
#define SECRET_FD_MIN 100

/* What a child does before it becomes the program, in the words of a complaint. */
typedef enum step { STEP_SETTLE, STEP_MLX, STEP_FOLDER, STEP_START } step;

typedef struct failure {
    step step;
    int error;
} failure;

/* The descriptors of one start. */
typedef struct pipes {
    int out[2], err[2];
    int report[2]; /* the child's failure; hung up by a successful exec */
    int in[2];     /* where the agent writes the rank's input */
    int secret;
} pipes;

static void close_pipes(pipes *p)
{
    for (int end = 0; end < 2; end++) {
        hk_fd_close(&p->out[end]);
        hk_fd_close(&p->err[end]);
        hk_fd_close(&p->report[end]);
        hk_fd_close(&p->in[end]);
    }
    hk_fd_close(&p->secret);
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

void hk_secret_wipe(char *secret)
{
    sodium_memzero(secret, strlen(secret));
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

static bool set_variable(const char *item)
{
    char *name = strdup(item);
    char *equals = name ? strchr(name, '=') : NULL;
    bool set = false;
    if (equals) {
        *equals = '\0';
        set = setenv(name, equals + 1, 1) == 0;
    }
    free(name);
    return set;
}

/* Ranks of one host share its cores, unless the user has settled that. */
static bool share_cores(const hk_plan *plan)
{
    static const char *const names[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                        "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};
    int threads = hk_cores() / plan->count;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!getenv(names[i]) && !set_number(names[i], threads < 1 ? 1 : threads))
            return false;
    }
    return true;
}

static bool set_environment(const hk_plan *plan, int rank, int secret)
{
    if (plan->mlx)
        hk_mlx_clear();
    for (int i = 0; i < plan->env.count; i++) {
        if (!set_variable(plan->env.items[i]))
            return false;
    }
    char secret_path[32];
    snprintf(secret_path, sizeof secret_path, "/dev/fd/%d", secret);
    unsetenv("HOCKET_SECRET"); /* another job's */
    unsetenv("HOCKET_HOSTFILE");
    for (int i = 0; i < plan->files.count; i++) {
        if (!set_variable(plan->files.items[i]))
            return false;
    }
    for (int i = 0; i < plan->rank_variables.count; i++) {
        if (!set_number(plan->rank_variables.items[i], rank))
            return false;
    }
    unsetenv("HOCKET_TERMINAL");
    if (plan->terminal && rank == plan->stdin_rank && setenv("HOCKET_TERMINAL", "1", 1) < 0)
        return false;
    return share_cores(plan) && set_number("HOCKET_RANK", rank) &&
           set_number("HOCKET_WORLD_SIZE", plan->world_size) &&
           setenv("HOCKET_COORDINATOR", plan->coordinator, 1) == 0 &&
           setenv("HOCKET_BACKEND", plan->backend, 1) == 0 &&
           setenv("HOCKET_SECRET_FILE", secret_path, 1) == 0;
}

static bool settle(const hk_plan *plan, int rank, hk_input kind, pipes *p)
{
    int input = STDIN_FILENO, output = p->out[1], error = p->err[1];
    if (kind == HK_INPUT_TERMINAL)
        output = error = p->in[0];
    if (p->in[0] >= 0)
        input = p->in[0];
    else if (kind != HK_INPUT_OURS)
        input = open("/dev/null", O_RDONLY);
    if (input < 0 || (input != STDIN_FILENO && dup2(input, STDIN_FILENO) < 0))
        return false;
    if (input > STDERR_FILENO && input != p->in[0])
        close(input);
    return dup2(output, STDOUT_FILENO) >= 0 && dup2(error, STDERR_FILENO) >= 0 &&
           fcntl(p->secret, F_SETFD, 0) == 0 && set_environment(plan, rank, p->secret);
}

static bool change_folder(const hk_plan *plan)
{
    return !*plan->cwd || chdir(plan->cwd) == 0 || plan->folder_is_wish;
}

/* A session of its own, for a terminal belongs to one; else a group of its own. */
static bool stand_alone(hk_input input, const pipes *p)
{
    if (input != HK_INPUT_TERMINAL)
        return setpgid(0, 0) == 0;
    return setsid() >= 0 && ioctl(p->in[0], TIOCSCTTY, 0) == 0;
}

static void become(const hk_plan *plan, int rank, hk_input input, pipes *p, pid_t parent)
{
    bool alone = stand_alone(input, p);
    hk_die_with_parent(parent);
    hk_signals_reset();
    failure failure = {.step = STEP_SETTLE};
    if (alone && settle(plan, rank, input, p)) {
        failure.step = STEP_MLX;
        if (!plan->mlx || hk_mlx_set())
            failure.step = STEP_FOLDER;
        if (failure.step == STEP_FOLDER && change_folder(plan)) {
            failure.step = STEP_START;
            execvp(plan->program.items[0], (char *const *)plan->program.items);
        }
    }
    failure.error = errno;
    hk_write_all(p->report[1], (const char *)&failure, sizeof failure);
    _exit(HK_EXIT_LAUNCHER);
}

/* === In the parent ============================================================================ */

static int describe(const hk_plan *plan, int rank, failure failure, char *why, size_t size)
{
    const char *reason = strerror(failure.error);
    switch (failure.step) {
    case STEP_FOLDER:
        snprintf(why, size, "Rank %d could not change to the folder '%s': %s.", rank, plan->cwd,
                 reason);
        return HK_EXIT_LAUNCHER;
    case STEP_START:
        snprintf(why, size, "Rank %d could not start '%s': %s.", rank, plan->program.items[0],
                 reason);
        return failure.error == ENOENT ? HK_EXIT_NOT_FOUND : HK_EXIT_CANNOT_EXECUTE;
    case STEP_MLX:
        snprintf(why, size,
                 "Rank %d could not be started for MLX: libhocket-mpi is not beside libhocket, or "
                 "cannot be read.",
                 rank);
        return HK_EXIT_LAUNCHER;
    case STEP_SETTLE: break;
    }
    snprintf(why, size, "Rank %d could not be started: %s.", rank, reason);
    return HK_EXIT_LAUNCHER;
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

void hk_window_set(int fd, const uint32_t size[2])
{
    struct winsize window = {.ws_row = (unsigned short)size[0], .ws_col = (unsigned short)size[1]};
    ioctl(fd, TIOCSWINSZ, &window);
}

/* The rank's end is in[0]; ours is there twice, to be read and to be written. */
static bool open_terminal(const hk_plan *plan, pipes *p)
{
    int ours = posix_openpt(O_RDWR | O_NOCTTY);
    const char *name = NULL;
    if (ours >= 0 && grantpt(ours) == 0 && unlockpt(ours) == 0)
        name = ptsname(ours);
    if (name)
        p->in[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->in[0] >= 0) {
        hk_window_set(p->in[0], plan->window);
        p->in[1] = fcntl(ours, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        p->out[0] = fcntl(ours, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    int error = errno;
    hk_fd_close(&ours);
    errno = error;
    return p->in[1] >= 0 && p->out[0] >= 0;
}

/* What the child has only half of, before the fork. */
static bool open_pipes(const hk_plan *plan, hk_input input, pipes *p)
{
    bool open = input == HK_INPUT_TERMINAL ? open_terminal(plan, p)
                                           : hk_pipe_make(p->out) && hk_pipe_make(p->err) &&
                                                 (input != HK_INPUT_PIPE || hk_pipe_make(p->in));
    if (!open || !hk_pipe_make(p->report))
        return false;
    p->secret = open_secret(plan->secret);
    return p->secret >= 0;
}

pid_t hk_spawn(const hk_plan *plan, int rank, hk_input input, hk_rank_pipes *ends,
               volatile pid_t *group, char *why, size_t why_size, int *status)
{
    pipes p = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, -1};
    failure failure = {.step = STEP_SETTLE};
    pid_t parent = getpid(), pid = -1;
    if (open_pipes(plan, input, &p))
        pid = hk_signals_fork();
    failure.error = errno;
    if (pid == 0)
        become(plan, rank, input, &p, parent);
    bool running = false;
    if (pid > 0) {
        if (input != HK_INPUT_TERMINAL)
            setpgid(pid, pid); /* here too, so that the group exists whoever runs first */
        *group = pid;
        hk_fd_close(&p.report[1]);
        running = started(p.report[0], &failure);
    }
    if (running) {
        *ends = (hk_rank_pipes){.out = p.out[0], .err = p.err[0], .in = p.in[1]};
        p.out[0] = p.err[0] = p.in[1] = -1;
    } else {
        *status = describe(plan, rank, failure, why, why_size);
    }
    close_pipes(&p);
    return running ? pid : -1;
}
