#include "run/remote.h"

#include "run/agent.h"
#include "platform.h"
#include "run/signals.h"
#include "run/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <hocket/hocket.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SSH_WORDS_MAX 64     /* of --ssh, with those that are added */
#define NOISE_MAX (1u << 20) /* what a login may print before the agent's line */
#define NAP_MS 10

/* A password cannot be asked for by several at once; a cable that was cut is noticed in 30 s. */
static const char *const ssh_options[] = {"-T",
                                          "-o",
                                          "BatchMode=yes",
                                          "-o",
                                          "LogLevel=ERROR",
                                          "-o",
                                          "ConnectTimeout=20",
                                          "-o",
                                          "ServerAliveInterval=10",
                                          "-o",
                                          "ServerAliveCountMax=3"};

/* Of one start: what the agent reads, what it writes, what ssh complains. */
typedef struct pipes {
    int to[2], from[2], words[2];
} pipes;

static void close_pipes(pipes *p)
{
    for (int end = 0; end < 2; end++) {
        hk_fd_close(&p->to[end]);
        hk_fd_close(&p->from[end]);
        hk_fd_close(&p->words[end]);
    }
}

/* === Here ===================================================================================== */

static void be_agent(const hk_link *link, pipes *p, hk_link *others, int other_count)
{
    for (int i = 0; i < other_count; i++) {
        hk_fd_close(&others[i].to);
        hk_fd_close(&others[i].from);
        hk_fd_close(&others[i].words);
    }
    hk_fd_close(&p->to[1]);
    hk_fd_close(&p->from[0]);
    hk_terminal_forget();
    setsid();
    hk_agent_start start = {
        .in = p->to[0], .out = p->from[1], .lifeline = -1, .here = true, .groups = link->groups};
    exit(hk_guard_run(&start));
}

/* === There ==================================================================================== */

/* One word for the login shell at the other end, whichever it is. */
static char *quote(const char *text)
{
    char *quoted = malloc(4 * strlen(text) + 3), *to = quoted;
    if (!quoted)
        return NULL;
    *to++ = '\'';
    for (; *text; text++) {
        if (*text == '\'') {
            memcpy(to, "'\\''", 4);
            to += 4;
        } else {
            *to++ = *text;
        }
    }
    *to++ = '\'';
    *to = '\0';
    return quoted;
}

static bool is_ssh(const char *command)
{
    const char *slash = strrchr(command, '/');
    return strcmp(slash ? slash + 1 : command, "ssh") == 0;
}

/* The words of --ssh, the options that a job needs, the host and the command there. words gets
 * pointers into text, which is a copy of --ssh that is cut up. False when there are too many. */
static bool ssh_command(char *text, const char *host, const char *command,
                        const char *words[SSH_WORDS_MAX])
{
    size_t added = sizeof ssh_options / sizeof *ssh_options, count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        if (count + added + 4 >= SSH_WORDS_MAX)
            return false;
        words[count++] = word;
    }
    if (count == 0)
        return false;
    for (size_t i = 0; is_ssh(words[0]) && i < added; i++)
        words[count++] = ssh_options[i];
    words[count++] = host;
    words[count++] = command;
    words[count] = NULL;
    return true;
}

static char *agent_command(const hk_launch *launch)
{
    char path[PATH_MAX];
    const char *hocket = launch->hocket;
    if (!hocket) {
        if (!hk_own_path(path, sizeof path))
            return NULL;
        hocket = path;
    }
    char *quoted = quote(hocket), *command = NULL;
    if (quoted) {
        size_t size = strlen(quoted) + sizeof "exec  agent";
        command = malloc(size);
        if (command)
            snprintf(command, size, "exec %s agent", quoted);
    }
    free(quoted);
    return command;
}

/* A session of its own keeps a terminal's signals away from ssh: front decides who is ended when.
 */
static void be_ssh(const hk_launch *launch, const hk_link *link, const pipes *p)
{
    const char *words[SSH_WORDS_MAX];
    char *command = agent_command(launch), *text = strdup(launch->ssh);
    setsid();
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!command || !text || !ssh_command(text, link->host->name, command, words)) {
        hk_complain(launch->command, "--ssh needs a command of 1 to %d words, not '%s'.",
                    SSH_WORDS_MAX / 2, launch->ssh);
    } else if (dup2(p->to[0], STDIN_FILENO) >= 0 && dup2(p->from[1], STDOUT_FILENO) >= 0 &&
               dup2(p->words[1], STDERR_FILENO) >= 0) {
        execvp(words[0], (char *const *)words);
        hk_complain(launch->command, "'%s' (--ssh) cannot be started: %s.", words[0],
                    strerror(errno));
    }
    _exit(HK_EXIT_NOT_FOUND);
}

/* === Both ===================================================================================== */

bool hk_link_start(hk_link *link, const hk_launch *launch, hk_link *others, int other_count)
{
    pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
    bool open = hk_pipe_make(p.to) && hk_pipe_make(p.from) && (link->here || hk_pipe_make(p.words));
    if (open && link->here)
        open = (link->groups = hk_agent_groups()) != NULL;
    if (open)
        link->pid = fork();
    if (open && link->pid == 0) {
        if (link->here)
            be_agent(link, &p, others, other_count);
        be_ssh(launch, link, &p);
    }
    if (!open || link->pid < 0) {
        hk_complain(launch->command, "The launcher could not be set up: %s.", strerror(errno));
        link->pid = 0;
        close_pipes(&p);
        return false;
    }
    link->to = p.to[1];
    link->from = p.from[0];
    link->words = p.words[0];
    p.to[1] = p.from[0] = p.words[0] = -1;
    close_pipes(&p);
    fcntl(link->to, F_SETFL, O_NONBLOCK);
    fcntl(link->from, F_SETFL, O_NONBLOCK);
    if (link->words >= 0)
        fcntl(link->words, F_SETFL, O_NONBLOCK);
    link->greeted = link->here;
    return true;
}

void hk_agent_line(char *line, size_t size)
{
    snprintf(line, size, HK_AGENT_MAGIC "%s\n", hocket_version());
}

/* The magic begins a line of its own, whatever a login shell has printed before. */
int hk_link_greet(hk_link *link, char *version, size_t size)
{
    static const size_t magic = sizeof HK_AGENT_MAGIC - 1;
    char wanted[HK_AGENT_LINE_MAX];
    hk_agent_line(wanted, sizeof wanted);
    for (;;) {
        const char *bytes = link->in.data + link->in.start;
        const char *newline = link->in.length ? memchr(bytes, '\n', link->in.length) : NULL;
        if (!newline) {
            if (link->in.length > NOISE_MAX) /* a line that long is no version */
                hk_buffer_drop(&link->in, link->in.length);
            return 0;
        }
        size_t length = (size_t)(newline - bytes) + 1;
        bool found = length > magic && memcmp(bytes, HK_AGENT_MAGIC, magic) == 0;
        bool same = found && length == strlen(wanted) && memcmp(bytes, wanted, length) == 0;
        if (found && !same)
            snprintf(version, size, "%.*s",
                     (int)(length - magic - 1 < 40 ? length - magic - 1 : 40), bytes + magic);
        hk_buffer_drop(&link->in, length);
        if (found)
            return same ? 1 : -1;
    }
}

void hk_link_hang_up(hk_link *link, int wait_ms)
{
    hk_fd_close(&link->to);
    hk_fd_close(&link->from);
    int64_t until = hk_now_ms() + wait_ms;
    while (link->pid > 0) {
        pid_t got = waitpid(link->pid, &link->status, WNOHANG);
        if (got != 0) {
            link->pid = 0;
        } else if (hk_now_ms() >= until && link->here) {
            link->pid = 0; /* it ends its ranks and then itself; whom would it help to kill it? */
        } else if (hk_now_ms() >= until) {
            kill(link->pid, SIGKILL);
            waitpid(link->pid, &link->status, 0);
            link->pid = 0;
        } else {
            poll(NULL, 0, NAP_MS);
        }
    }
}

void hk_link_close(hk_link *link)
{
    hk_link_hang_up(link, 0);
    hk_fd_close(&link->words);
    hk_stream_close(&link->words_stream);
    hk_buffer_free(&link->in);
    hk_buffer_free(&link->out);
    free(link->ports);
    link->ports = NULL;
}
