/* The life of an agent:
 *
 *   OBEYING ──"finish"──────────────────────────────> LEFTOVERS ──1 s──> LEFTOVERS_KILLED
 *      └──front is gone──> ENDING ──2 s──> KILLED ──1 s──┘                      │
 *                                              GONE <──output is passed on── CLOSING
 *
 * ENDING begins with SIGTERM to each rank's process group, KILLED with SIGKILL; both only where
 * nobody is there to say so. LEFTOVERS are what the ranks started and did not end. One loop sleeps
 * in poll until front or a rank writes, a signal comes or the phase's time is over.
 *
 * A rank that has ended stays a zombie until LEFTOVERS, which keeps the number of its group from
 * being given to anyone else. */
#include "run/agent.h"

#include "run/launch.h"
#include "platform.h"
#include "run/reach.h"
#include "run/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENDING_MS 2000    /* from SIGTERM to SIGKILL */
#define KILLED_MS 1000    /* from SIGKILL until we stop waiting for a death */
#define LEFTOVERS_MS 1000 /* from SIGTERM to SIGKILL for what ranks left behind */
#define NAP_MS 20         /* between looks for what is no child of ours and so sends no signal */
#define CHILDREN_MAX 1024 /* killed in one go; more are found by the next look */
#define SILENCE_MS 30000  /* front's: then the way to it is cut, as by a cable */
#define QUEUE_BYTES (1 << 18) /* when as much waits for front, ranks wait too */
#define PORTS_MAX (HK_RANKS_MAX + 1)
#define INPUT_MAX (1 << 17) /* of one rank, on its way; front sends no more unasked */

typedef enum phase { OBEYING, ENDING, KILLED, LEFTOVERS, LEFTOVERS_KILLED, CLOSING, GONE } phase;

enum { FD_SIGNALS, FD_IN, FD_OUT, FD_LIFELINE, FD_REACH, FD_RANKS };

typedef struct agent_rank {
    pid_t pid;
    bool ended;      /* and stays a zombie until collected */
    int streams[2];  /* its output and error; -1 once at their end */
    int in;          /* its input, or -1 */
    bool input_ends; /* when what waits is written */
    hk_buffer input;
} agent_rank;

typedef struct agent {
    const hk_agent_start *start;
    hk_plan plan; /* count is 0 until it comes */
    uint32_t window[2];
    agent_rank *ranks;
    int started, running;
    phase phase;
    int64_t phase_ends_ms;
    bool cut;                         /* front is gone */
    int64_t silent_from_ms;           /* when front was heard last; HK_FOREVER: it has stopped us */
    enum hk_flow flow[2];             /* what front wants of output and error */
    hk_buffer in, out;                /* from and to front */
    int signals;                      /* read end */
    int ports[PORTS_MAX], port_count; /* sockets that keep them */
    char **paths;                     /* of the files that the plan asked for */
    hk_reach reach;                   /* what doctor asks for */
    struct pollfd *fds;
    int fd_count;
} agent;

static void enter(agent *agent, phase phase, int64_t duration_ms)
{
    agent->phase = phase;
    agent->phase_ends_ms = duration_ms == HK_FOREVER ? HK_FOREVER : hk_now_ms() + duration_ms;
}

static void signal_ranks(const agent *agent, int number)
{
    for (int i = 0; i < agent->started; i++)
        kill(-agent->ranks[i].pid, number);
    /* A stopped process takes note of a signal only when it goes on. */
    if (number != SIGSTOP && number != SIGKILL && number != SIGCONT)
        signal_ranks(agent, SIGCONT);
}

/* Front is gone, or is not what it should be: from here on the agent decides. */
static void cut(agent *agent)
{
    if (agent->cut)
        return;
    agent->cut = true;
    if (agent->phase == OBEYING) {
        signal_ranks(agent, SIGTERM);
        enter(agent, ENDING, ENDING_MS);
    }
}

/* Without memory for an answer there is no answer: front must see that as a death. */
static void tell(agent *agent, hk_frame_type type, int rank, const void *bytes, size_t length)
{
    if (!agent->cut && !hk_frame_put(&agent->out, type, (uint32_t)rank, bytes, length))
        cut(agent);
}

static void tell_numbers(agent *agent, hk_frame_type type, int rank, const uint32_t *numbers,
                         size_t count)
{
    if (!agent->cut && !hk_frame_put_numbers(&agent->out, type, (uint32_t)rank, numbers, count))
        cut(agent);
}

/* === What front says ========================================================================== */

static bool hold_ports(agent *agent, uint32_t count)
{
    uint32_t numbers[PORTS_MAX];
    if (agent->port_count > 0 || count < 1 || count > PORTS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        int port = 0, fd = hk_port_hold(&port);
        if (fd < 0)
            port = 0; /* front will say that there is none */
        else
            agent->ports[agent->port_count++] = fd;
        numbers[i] = (uint32_t)port;
    }
    tell_numbers(agent, HK_FRAME_PORTS, 0, numbers, count);
    return true;
}

/* Turns each NAME=CONTENT of the plan into NAME=PATH. */
static bool write_files(agent *agent)
{
    hk_list *files = &agent->plan.files;
    agent->paths = calloc((size_t)files->count + 1, sizeof *agent->paths);
    for (int i = 0; agent->paths && i < files->count; i++) {
        size_t name = strcspn(files->items[i], "=");
        char *path = hk_temporary_text(files->items[i] + name + 1);
        size_t size = path ? name + 1 + strlen(path) + 1 : 0;
        char *both = path ? malloc(2 * size) : NULL;
        if (!both) {
            free(path);
            return false;
        }
        snprintf(both, size, "%.*s=%s", (int)name, files->items[i], path);
        free(path);
        agent->paths[i] = both;
        files->items[i] = both;
    }
    return agent->paths != NULL;
}

static void remove_files(agent *agent)
{
    for (int i = 0; agent->paths && agent->paths[i]; i++) {
        unlink(strchr(agent->paths[i], '=') + 1);
        free(agent->paths[i]);
    }
    free(agent->paths);
    agent->paths = NULL;
}

static void tell_failure(agent *agent, int rank, int status, const char *why)
{
    char bytes[600];
    uint32_t number = (uint32_t)status;
    for (int i = 0; i < 4; i++)
        bytes[i] = (char)(number >> 8 * i);
    size_t length = strnlen(why, sizeof bytes - 4);
    memcpy(bytes + 4, why, length);
    tell(agent, HK_FRAME_FAILED, rank, bytes, 4 + length);
}

static bool start_rank(agent *agent, int index)
{
    const hk_plan *plan = &agent->plan;
    agent_rank *rank = &agent->ranks[index];
    int number = plan->first + index, status;
    char why[512];
    bool reads = plan->stdin_rank == HK_STDIN_ALL || plan->stdin_rank == number;
    hk_input input = reads ? HK_INPUT_PIPE : HK_INPUT_NONE;
    if (reads && agent->start->here && plan->stdin_rank != HK_STDIN_ALL)
        input = HK_INPUT_OURS;
    else if (plan->stdin_rank == number && plan->window[0] > 0)
        input = HK_INPUT_TERMINAL;
    hk_rank_pipes pipes;
    pid_t pid = hk_spawn(plan, number, input, &pipes, &agent->start->groups[index], why, sizeof why,
                         &status);
    if (pid < 0) {
        tell_failure(agent, number, status, why);
        return false;
    }
    *rank = (agent_rank){.pid = pid, .streams = {pipes.out, pipes.err}, .in = pipes.in};
    fcntl(pipes.out, F_SETFL, O_NONBLOCK);
    if (pipes.err >= 0)
        fcntl(pipes.err, F_SETFL, O_NONBLOCK);
    if (pipes.in >= 0)
        fcntl(pipes.in, F_SETFL, O_NONBLOCK);
    agent->started++;
    agent->running++;
    tell(agent, HK_FRAME_STARTED, number, NULL, 0);
    return true;
}

static bool take_plan(agent *agent, const hk_frame *frame)
{
    hk_plan *plan = &agent->plan;
    if (plan->count > 0 || !hk_plan_read(frame->bytes, frame->length, plan))
        return false;
    memcpy(plan->window, agent->window, sizeof plan->window);
    agent->ranks = calloc((size_t)plan->count, sizeof *agent->ranks);
    agent->fds = calloc((size_t)plan->count * 3 + FD_RANKS, sizeof *agent->fds);
    bool ready = agent->ranks && agent->fds && write_files(agent);
    if (!ready)
        tell_failure(agent, plan->first, HK_EXIT_LAUNCHER,
                     "There is no place for what the ranks need to know.");
    for (int i = 0; ready && i < plan->count; i++)
        ready = start_rank(agent, i);
    hk_secret_wipe(plan->secret);
    return agent->ranks && agent->fds;
}

static bool has_terminal(const agent *agent, int index)
{
    return agent->plan.window[0] > 0 && agent->plan.first + index == agent->plan.stdin_rank;
}

static bool take_window(agent *agent, const hk_frame *frame)
{
    if (!hk_window_read(frame, agent->window))
        return false;
    for (int i = 0; i < agent->started; i++) {
        if (has_terminal(agent, i) && agent->ranks[i].in >= 0)
            hk_window_set(agent->ranks[i].in, agent->window);
    }
    return true;
}

static bool take_input(agent *agent, const hk_frame *frame)
{
    int index = (int)frame->number - agent->plan.first;
    if (index < 0 || index >= agent->started)
        return agent->plan.count > 0; /* it did not start, which front may not know yet */
    agent_rank *rank = &agent->ranks[index];
    if (rank->in < 0)
        return true;
    if (frame->length == 0 && has_terminal(agent, index)) /* one does not end: Ctrl-D */
        return hk_buffer_add(&rank->input, "\4", 1);
    if (frame->length == 0)
        rank->input_ends = true;
    if (rank->input.length + frame->length > INPUT_MAX)
        return false;
    return hk_buffer_add(&rank->input, frame->bytes, frame->length);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool take_flow(agent *agent, uint32_t number)
{
    if (number >= 2 * HK_FLOW_ACTIONS)
        return false;
    agent->flow[number / HK_FLOW_ACTIONS] = (enum hk_flow)(number % HK_FLOW_ACTIONS);
    if (agent->phase == CLOSING)
        enter(agent, CLOSING, KILLED_MS);
    return true;
}

static bool take_signal(agent *agent, uint32_t number)
{
    if (number == HK_SIGNAL_STOP) /* front stops, too, and will be silent */
        agent->silent_from_ms = HK_FOREVER;
    if (number == HK_SIGNAL_STOP || number == HK_SIGNAL_CONTINUE)
        number = number == HK_SIGNAL_STOP ? SIGSTOP : SIGCONT;
    if (number < 1 || number >= NSIG)
        return false;
    signal_ranks(agent, (int)number);
    return true;
}

/* The clock last, so that what else there is to do counts into no difference. */
static bool look(agent *agent, const hk_frame *frame)
{
    struct timespec now;
    if (frame->length != HK_REACH_TOKEN || agent->phase != OBEYING)
        return false;
    hk_seen seen = {.cores = hk_cores(), .memory_bytes = hk_memory_bytes()};
    seen.port = hk_reach_listen(&agent->reach, frame->bytes);
    clock_gettime(CLOCK_REALTIME, &now);
    seen.clock_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (!hk_seen_put(&agent->out, &seen))
        cut(agent);
    return true;
}

static bool dial(agent *agent, const hk_frame *frame)
{
    char host[HK_HOST_NAME_MAX];
    if (frame->length < 1 || frame->length >= sizeof host || agent->phase != OBEYING ||
        memchr(frame->bytes, '\0', frame->length))
        return false;
    memcpy(host, frame->bytes, frame->length);
    host[frame->length] = '\0';
    return hk_reach_dial(&agent->reach, host, frame->number);
}

static bool signal_leftovers(agent *agent, int number);

static bool take_frame(agent *agent, const hk_frame *frame)
{
    switch ((int)frame->type) {
    case HK_FRAME_HOLD: return hold_ports(agent, frame->number);
    case HK_FRAME_PLAN: return take_plan(agent, frame);
    case HK_FRAME_INPUT: return take_input(agent, frame);
    case HK_FRAME_SIGNAL: return take_signal(agent, frame->number);
    case HK_FRAME_WINDOW: return take_window(agent, frame);
    case HK_FRAME_PING: return true;
    case HK_FRAME_FLOW: return take_flow(agent, frame->number);
    case HK_FRAME_LOOK: return look(agent, frame);
    case HK_FRAME_DIAL: return dial(agent, frame);
    case HK_FRAME_FINISH:
        if (agent->phase == OBEYING) {
            signal_leftovers(agent, SIGTERM);
            enter(agent, LEFTOVERS, LEFTOVERS_MS);
        }
        if (agent->phase == LEFTOVERS && frame->number == 1)
            enter(agent, LEFTOVERS_KILLED, KILLED_MS);
        return true;
    default: return false;
    }
}

static void listen_to_front(agent *agent)
{
    hk_frame frame;
    int found = 0;
    long got = hk_buffer_read(&agent->in, agent->start->in);
    agent->silent_from_ms = hk_now_ms();
    while (!agent->cut && (found = hk_frame_next(&agent->in, &frame)) > 0) {
        if (!take_frame(agent, &frame))
            found = -1;
        hk_frame_drop(&agent->in, &frame);
        if (found < 0)
            break;
    }
    if (got == 0 || found < 0)
        cut(agent);
}

/* === Ranks ==================================================================================== */

/* Passes on what a rank has written; returns whether there was anything. */
static bool pump(agent *agent, int index, int stream)
{
    char bytes[32768];
    int *fd = &agent->ranks[index].streams[stream];
    if (*fd < 0)
        return false;
    ssize_t got = read(*fd, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    /* Nobody reads any more: let the rank know in the usual way, by SIGPIPE. */
    if (got <= 0 || agent->flow[stream] == HK_FLOW_CLOSE) {
        close_fd(fd);
        return false;
    }
    tell(agent, stream == 0 ? HK_FRAME_OUT : HK_FRAME_ERR, agent->plan.first + index, bytes,
         (size_t)got);
    return true;
}

static bool may_pump(const agent *agent, int stream)
{
    return agent->cut || agent->flow[stream] == HK_FLOW_CLOSE ||
           (agent->flow[stream] == HK_FLOW_GO && agent->out.length < QUEUE_BYTES);
}

static void feed(agent *agent, int index)
{
    agent_rank *rank = &agent->ranks[index];
    size_t before = rank->input.length;
    if (rank->in < 0)
        return;
    bool reads = hk_buffer_write(&rank->input, rank->in);
    uint32_t taken = (uint32_t)(before - rank->input.length);
    if (!reads) {
        taken = (uint32_t)before;
        hk_buffer_free(&rank->input);
    }
    if (!reads || (rank->input_ends && rank->input.length == 0))
        close_fd(&rank->in);
    if (taken > 0)
        tell_numbers(agent, HK_FRAME_TAKEN, agent->plan.first + index, &taken, 1);
}

/* Tells of ranks that have ended; first of those that a signal ended, as front takes them to be the
 * reason for the others. */
static void look_at_ranks(agent *agent)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < agent->started; i++) {
            agent_rank *rank = &agent->ranks[i];
            siginfo_t info = {0};
            if (rank->ended ||
                waitid(P_PID, (id_t)rank->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
                !info.si_pid || (pass == 0 && info.si_code == CLD_EXITED))
                continue;
            rank->ended = true;
            agent->running--;
            close_fd(&rank->in);
            for (int stream = 0; stream < 2; stream++) { /* its last words come before its end */
                while (may_pump(agent, stream) && pump(agent, i, stream)) {
                }
            }
            uint32_t signal = info.si_code == CLD_EXITED ? 0 : (uint32_t)info.si_status;
            uint32_t numbers[2] = {signal ? HK_EXIT_SIGNAL + signal : (uint32_t)info.si_status,
                                   signal};
            tell_numbers(agent, HK_FRAME_ENDED, agent->plan.first + i, numbers, 2);
        }
    }
}

/* Sends number to whatever is left: members of the ranks' groups, and processes that had left them
 * and were adopted. Returns whether anything is. */
static bool signal_leftovers(agent *agent, int number)
{
    bool any = false;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    for (int i = 0; i < agent->plan.count; i++) {
        volatile pid_t *group = &agent->start->groups[i];
        if (*group && kill(-*group, number) < 0)
            *group = 0;
        any = any || *group;
    }
    pid_t children[CHILDREN_MAX];
    int count = hk_children(children, CHILDREN_MAX);
    for (int i = 0; i < count; i++)
        kill(children[i], number);
    return any || count > 0;
}

/* === The end ================================================================================== */

static bool output_is_done(const agent *agent)
{
    for (int i = 0; i < agent->started; i++) {
        if (agent->ranks[i].streams[0] >= 0 || agent->ranks[i].streams[1] >= 0)
            return false;
    }
    return true;
}

/* A pipe without an end is held open by a process that is out of reach; it gets a moment, while a
 * slow reader gets all the time. */
static void leave_closing(agent *agent, bool over)
{
    bool waits = !may_pump(agent, 0) || !may_pump(agent, 1);
    if (!output_is_done(agent) && (!over || waits)) {
        if (over)
            enter(agent, CLOSING, KILLED_MS);
        return;
    }
    remove_files(agent);
    tell(agent, HK_FRAME_GONE, 0, NULL, 0);
    enter(agent, GONE, HK_FOREVER);
}

/* What there is to do when the phase's time is over, or what it waited for has happened. */
static void leave_phase(agent *agent, bool over)
{
    switch (agent->phase) {
    case OBEYING:
    case GONE: return;
    case ENDING:
    case KILLED:
        if (agent->running == 0 || (over && agent->phase == KILLED)) {
            signal_leftovers(agent, SIGTERM);
            enter(agent, LEFTOVERS, LEFTOVERS_MS);
        } else if (over) {
            signal_ranks(agent, SIGKILL);
            enter(agent, KILLED, KILLED_MS);
        }
        return;
    case LEFTOVERS:
        if (!signal_leftovers(agent, 0))
            enter(agent, CLOSING, KILLED_MS);
        else if (over)
            enter(agent, LEFTOVERS_KILLED, KILLED_MS);
        return;
    case LEFTOVERS_KILLED:
        if (!signal_leftovers(agent, SIGKILL) || over)
            enter(agent, CLOSING, KILLED_MS);
        return;
    case CLOSING: leave_closing(agent, over); return;
    }
}

/* On one host nothing comes between front and its agent. */
static int64_t silence_ends(const agent *agent)
{
    if (agent->start->here || agent->cut || agent->silent_from_ms == HK_FOREVER)
        return HK_FOREVER;
    return agent->silent_from_ms + SILENCE_MS;
}

/* Moves to the next phase when its time has come. Returns false when the agent's work is over. */
static bool move_on(agent *agent)
{
    int64_t now = hk_now_ms();
    if (now >= silence_ends(agent))
        cut(agent);
    phase before;
    do {
        before = agent->phase;
        leave_phase(agent, now >= agent->phase_ends_ms);
    } while (agent->phase != before);
    return agent->phase != GONE || (agent->out.length > 0 && !agent->cut);
}

/* === The loop ================================================================================= */

static void watch(struct pollfd *fd, int number, short events)
{
    *fd = (struct pollfd){.fd = number, .events = events};
}

static void sleep_until_something(agent *agent)
{
    struct pollfd few[FD_RANKS], *fds = agent->fds ? agent->fds : few;
    watch(&fds[FD_SIGNALS], agent->signals, POLLIN);
    watch(&fds[FD_IN], agent->cut ? -1 : agent->start->in, POLLIN);
    watch(&fds[FD_OUT], agent->cut || !agent->out.length ? -1 : agent->start->out, POLLOUT);
    watch(&fds[FD_LIFELINE], agent->cut ? -1 : agent->start->lifeline, POLLIN);
    watch(&fds[FD_REACH], agent->cut ? -1 : agent->reach.answer, POLLIN);
    int count = FD_RANKS;
    for (int i = 0; i < agent->started; i++) {
        const agent_rank *rank = &agent->ranks[i];
        for (int stream = 0; stream < 2; stream++)
            watch(&fds[count++], may_pump(agent, stream) ? rank->streams[stream] : -1, POLLIN);
        watch(&fds[count++], rank->input.length || rank->input_ends ? rank->in : -1, POLLOUT);
    }
    bool looks = agent->phase == LEFTOVERS || agent->phase == LEFTOVERS_KILLED;
    int64_t until = silence_ends(agent);
    if (agent->phase_ends_ms < until)
        until = agent->phase_ends_ms;
    if (poll(fds, (nfds_t)count, looks ? NAP_MS : hk_nap_until(until)) < 0)
        return;
    if (fds[FD_REACH].revents)
        hk_reach_hear(&agent->reach, &agent->out);
    bool hung_up = fds[FD_LIFELINE].revents != 0, spoken = fds[FD_IN].revents != 0;
    for (int i = 0, at = FD_RANKS; i < agent->started; i++, at += 3) {
        for (int stream = 0; stream < 2; stream++) {
            if (fds[at + stream].revents)
                pump(agent, i, stream);
        }
        if (fds[at + 2].revents)
            feed(agent, i);
    }
    if (hung_up)
        cut(agent);
    else if (spoken)
        listen_to_front(agent);
}

/* An agent in a session of its own is sent no signal by a terminal; who sends it one means it. */
static void take_signals(agent *agent)
{
    unsigned char numbers[64];
    ssize_t got = read(agent->signals, numbers, sizeof numbers);
    for (ssize_t i = 0; i < got; i++) {
        if (numbers[i] == SIGTERM || numbers[i] == SIGINT || numbers[i] == SIGHUP)
            cut(agent);
    }
}

static void close_agent(agent *agent)
{
    remove_files(agent);
    for (int i = 0; i < agent->started; i++) {
        close_fd(&agent->ranks[i].streams[0]);
        close_fd(&agent->ranks[i].streams[1]);
        close_fd(&agent->ranks[i].in);
        hk_buffer_free(&agent->ranks[i].input);
    }
    for (int i = 0; i < agent->port_count; i++)
        close(agent->ports[i]);
    hk_reach_close(&agent->reach);
    hk_buffer_free(&agent->in);
    hk_buffer_free(&agent->out);
    hk_plan_free(&agent->plan);
    free(agent->ranks);
    free(agent->fds);
}

int hk_agent_run(const hk_agent_start *start)
{
    agent agent = {.start = start, .phase_ends_ms = HK_FOREVER, .silent_from_ms = hk_now_ms()};
    hk_reach_open(&agent.reach, (const int[]){start->in, start->out, start->lifeline});
    hk_adopt_orphans();
    agent.signals = hk_signals_catch();
    if (agent.signals < 0)
        return HK_EXIT_LAUNCHER;
    fcntl(start->in, F_SETFL, O_NONBLOCK);
    fcntl(start->out, F_SETFL, O_NONBLOCK);
    do {
        if (!agent.cut && !hk_buffer_write(&agent.out, start->out))
            cut(&agent);
        sleep_until_something(&agent);
        take_signals(&agent);
        look_at_ranks(&agent);
    } while (move_on(&agent));
    close_agent(&agent);
    return 0;
}

volatile pid_t *hk_agent_groups(void)
{
    void *groups = mmap(NULL, HK_RANKS_MAX * sizeof(pid_t), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return groups == MAP_FAILED ? NULL : groups;
}

void hk_agent_clean_up(const volatile pid_t *groups)
{
    for (int i = 0; i < HK_RANKS_MAX; i++) {
        if (groups[i])
            kill(-groups[i], SIGKILL);
    }
}
