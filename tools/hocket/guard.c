/* No rank outlives the launcher, even one that is killed by SIGKILL, which nobody can catch. So the
 * launcher is two processes:
 *
 *   front   what the user started. Passes signals on and returns the job's exit status.
 *   job     its child, in a session of its own, so that a terminal's signals reach it once, from
 *           front. Parent of the ranks.
 *
 * Front holds the only write end of a pipe, the lifeline. When front dies in whatever way, the pipe
 * hangs up and job ends everything. When job dies, front sees it as its parent and kills the ranks'
 * process groups, which it knows from a shared table. */
#include "launch.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(int number)
{
    (void)number;
}

/* Blocks and lists what front waits for. Some systems forget blocked signals that have no handler
 * and would be ignored, so each has one. */
static void block_signals(sigset_t *set)
{
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = nothing}, before;
        sigaction(numbers[i], NULL, &before);
        if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN)
            continue; /* under nohup */
        sigaction(numbers[i], &action, NULL);
        sigaddset(set, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, set, NULL);
}

static int clean_up_after(const hk_launch *launch, int number)
{
    hk_complain("run", "The process that looks after the ranks was ended by signal %d.", number);
    for (int rank = 0; rank < launch->world_size; rank++) {
        if (launch->groups[rank])
            kill(-launch->groups[rank], SIGKILL);
    }
    return HK_EXIT_LAUNCHER;
}

static int wait_for(const hk_launch *launch, pid_t job, const sigset_t *set)
{
    for (;;) {
        int number, status;
        if (waitpid(job, &status, WNOHANG) == job) {
            if (WIFEXITED(status))
                return WEXITSTATUS(status);
            return clean_up_after(launch, WTERMSIG(status));
        }
        if (sigwait(set, &number) != 0 || number == SIGCHLD)
            continue;
        kill(job, number);
        if (number == SIGTSTP)
            kill(getpid(), SIGSTOP);
    }
}

int hk_guard(const hk_launch *launch)
{
    int lifeline[2];
    sigset_t set;
    if (pipe(lifeline) < 0) {
        hk_complain("run", "The launcher could not be set up: %s.", strerror(errno));
        return HK_EXIT_LAUNCHER;
    }
    fcntl(lifeline[0], F_SETFD, FD_CLOEXEC);
    fcntl(lifeline[1], F_SETFD, FD_CLOEXEC);
    block_signals(&set);
    pid_t job = fork();
    if (job == 0) {
        close(lifeline[1]);
        setsid();
        exit(hk_job_run(launch, lifeline[0]));
    }
    close(lifeline[0]);
    int status = HK_EXIT_LAUNCHER;
    if (job > 0)
        status = wait_for(launch, job, &set);
    else
        hk_complain("run", "The launcher could not be set up: %s.", strerror(errno));
    close(lifeline[1]);
    return status;
}
