/* hocket agent: the agent of a host behind a remote shell. Not for people, so help does not list
 * it.
 *
 * Nothing of a job outlives its agent, even one that is killed by SIGKILL, which nobody can catch.
 * So an agent is two processes, there and on front's host:
 *
 *   guard   what front or the remote shell started. Waits for the agent and holds the lifeline.
 *   agent   its child, in a session of its own. Parent of the ranks.
 *
 * When guard dies in whatever way, the lifeline hangs up and the agent ends everything. When the
 * agent dies, guard kills the ranks' process groups, which it knows from a shared table, and then,
 * where the system hands orphans to guard, one generation after the other of what had left them.
 * Only who kills both at once gets past that. */
#include "run/agent.h"
#include "run/launch.h"
#include "run/remote.h"
#include "run/signals.h"
#include "platform.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORPHANS_MS 3000  /* for what SIGKILL does not end at once */
#define ORPHANS_MAX 1024 /* in one go */
#define NAP_MS 5
#define FD_MIN 10 /* above what a shell or a script uses */

/* Each death makes its children ours, until there are none. */
static void end_orphans(void)
{
    int64_t until = hk_now_ms() + ORPHANS_MS;
    pid_t orphans[ORPHANS_MAX];
    for (;;) {
        int count = hk_children(orphans, ORPHANS_MAX);
        for (int i = 0; i < count; i++)
            kill(orphans[i], SIGKILL);
        pid_t ended;
        do
            ended = waitpid(-1, NULL, WNOHANG);
        while (ended > 0);
        if ((ended < 0 && errno == ECHILD) || hk_now_ms() >= until)
            return;
        poll(NULL, 0, NAP_MS);
    }
}

/* Ends as the agent has. */
static int watch_over(pid_t agent, const hk_agent_start *start)
{
    int status;
    while (waitpid(agent, &status, 0) < 0) {
        if (errno != EINTR)
            return HK_EXIT_LAUNCHER;
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    hk_agent_clean_up(start->groups);
    end_orphans();
    if (start->here) { /* front tells of it */
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    hk_complain("agent", "The process that looks after the ranks was ended by signal %d.",
                WTERMSIG(status));
    return HK_EXIT_LAUNCHER;
}

int hk_guard_run(hk_agent_start *start)
{
    int lifeline[2];
    if (!hk_pipe_make(lifeline))
        return HK_EXIT_LAUNCHER;
    hk_adopt_orphans();
    pid_t agent = fork();
    if (agent == 0) {
        close(lifeline[1]);
        start->lifeline = lifeline[0];
        setsid();
        exit(hk_agent_run(start));
    }
    close(start->in);
    close(start->out);
    close(lifeline[0]);
    return agent > 0 ? watch_over(agent, start) : HK_EXIT_LAUNCHER;
}

/* Frames keep the pipes to front for themselves: what else would be written there goes to standard
 * error, and who reads finds nothing. */
static bool take_pipes(int *in, int *out)
{
    *in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FD_MIN);
    *out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FD_MIN);
    int nothing = open("/dev/null", O_RDWR);
    if (*in < 0 || *out < 0 || nothing < 0)
        return false;
    if (fcntl(STDERR_FILENO, F_GETFD) < 0)
        dup2(nothing, STDERR_FILENO);
    bool taken = dup2(nothing, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0;
    if (nothing > STDERR_FILENO)
        close(nothing);
    return taken;
}

static int run(const hk_command *self, int argc, char **argv)
{
    (void)argv;
    char line[HK_AGENT_LINE_MAX];
    int in, out;
    if (argc > 1 || isatty(STDIN_FILENO)) {
        hk_complain(self->name, "`hocket run` starts this on each host; it is not for people.");
        return HK_EXIT_USAGE;
    }
    volatile pid_t *groups = hk_agent_groups();
    hk_agent_line(line, sizeof line);
    signal(SIGPIPE, SIG_IGN);
    /* What a login has printed may have left its line open. */
    if (!groups || !take_pipes(&in, &out) || !hk_write_all(out, "\n", 1) ||
        !hk_write_all(out, line, strlen(line))) {
        hk_complain(self->name, "The agent could not be set up: %s.", strerror(errno));
        return HK_EXIT_LAUNCHER;
    }
    hk_agent_start start = {.in = in, .out = out, .lifeline = -1, .here = false, .groups = groups};
    return hk_guard_run(&start);
}

const hk_command hk_command_agent = {
    .name = "agent",
    .synopsis = "",
    .summary = "start the ranks of a host for `hocket run`",
    .options = (const hk_option[]){{0}},
    .run = run,
};
