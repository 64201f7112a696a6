/* Front's talk with its agents: starting them, handing out the plans, taking what they say. */
#include "run/engines.h"
#include "run/job.h"
#include "run/agent.h"
#include "run/signals.h"
#include "run/terminal.h"

#include <errno.h>
#include <hocket/hocket.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOST_MS 1000           /* for the process of an agent that fell silent to end */
#define INPUT_BYTES 16384      /* of standard input, at once */
#define INPUT_WINDOW (1 << 16) /* of one rank, until it has read some */
#define CTRL_C 3
#define INTERRUPTS 3              /* of these in a row end the job */
#define INTERRUPTS_MS 2000        /* from the first of them to the last */
#define AGENT_QUEUE_MAX (1 << 24) /* for an agent that takes nothing */

extern char **environ;

/* === Starting ================================================================================= */

/* Those of this host first, so that none holds the descriptors of an ssh. */
bool hk_front_start(hk_job *job)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < job->link_count; i++) {
            hk_link *link = &job->links[i];
            if (link->here == (pass == 0) &&
                !hk_link_start(link, job->launch, job->links, job->link_count))
                return false;
        }
    }
    for (int i = 0; i < job->link_count; i++) {
        if (job->links[i].greeted)
            hk_frame_put(&job->links[i].out, HK_FRAME_HOLD,
                         (uint32_t)hk_engine_ports(job->launch, job->links[i].host), NULL, 0);
    }
    return true;
}

void hk_front_tell_all(hk_job *job, hk_frame_type type, uint32_t number)
{
    for (int i = 0; i < job->link_count; i++) {
        hk_link *link = &job->links[i];
        if (!link->over && link->greeted && link->out.length < AGENT_QUEUE_MAX)
            hk_frame_put(&link->out, type, number, NULL, 0);
    }
}

void hk_front_tell_window(hk_job *job)
{
    uint32_t size[2];
    if (!job->lends_terminal || job->phase < HK_RUNNING)
        return;
    hk_link *link = &job->links[job->ranks[job->launch->stdin_rank].link];
    hk_terminal_size(size);
    if (!link->over && link->out.length < AGENT_QUEUE_MAX)
        hk_frame_put_numbers(&link->out, HK_FRAME_WINDOW, 0, size, 2);
}

/* What the user has told hocket here counts there too, but for what each host or job has of its
 * own. */
static bool travels(const char *item)
{
    static const char *const own[] = {
        "HOCKET_SECRET=",     "HOCKET_SECRET_FILE=", "HOCKET_RANK=",
        "HOCKET_WORLD_SIZE=", "HOCKET_COORDINATOR=", "HOCKET_HOST=",
        "HOCKET_HOSTFILE=",   "HOCKET_BACKEND=",     "HOCKET_TERMINAL="};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (strncmp(item, own[i], strlen(own[i])) == 0)
            return false;
    }
    return strncmp(item, "HOCKET_", 7) == 0 && strchr(item, '=');
}

/* The variables for the ranks of a host, later ones over earlier. The items stay others'. */
static bool gather_env(const hk_launch *launch, const hk_engine *engine, bool here, bool lent,
                       hk_list *env)
{
    int most = launch->hosts.env_count + engine->env_count + launch->env.count + 1;
    for (char **item = environ; !here && *item; item++)
        most++;
    env->items = calloc((size_t)most + 1, sizeof *env->items);
    env->count = 0;
    if (!env->items)
        return false;
    for (char **item = environ; !here && *item; item++) {
        if (travels(*item) || (lent && strncmp(*item, "TERM=", 5) == 0))
            env->items[env->count++] = *item;
    }
    for (int i = 0; i < launch->hosts.env_count; i++)
        env->items[env->count++] = launch->hosts.envs[i];
    for (int i = 0; i < engine->env_count; i++)
        env->items[env->count++] = engine->env[i];
    for (int i = 0; i < launch->env.count; i++)
        env->items[env->count++] = launch->env.items[i];
    return true;
}

static bool plan_host(hk_job *job, hk_link *link, const hk_engine *engine, char *secret)
{
    const hk_launch *launch = job->launch;
    char address[HK_HOST_NAME_MAX + 8], coordinator[HK_HOST_NAME_MAX + 32], folder[PATH_MAX];
    bool lent = job->lends_terminal && launch->stdin_rank >= link->first &&
                launch->stdin_rank < link->first + link->host->ranks;
    uint32_t size[2];
    hk_host_address(&launch->hosts, 0, address, sizeof address);
    snprintf(coordinator, sizeof coordinator, "%s:%d", address, job->links[0].ports[0]);
    hk_plan plan = {.world_size = launch->world_size,
                    .first = link->first,
                    .count = link->host->ranks,
                    .stdin_rank = launch->stdin_rank,
                    .terminal = lent || (launch->terminal && link->here),
                    .folder_is_wish = !launch->cwd,
                    .mlx = launch->mlx,
                    .backend = launch->backend->name,
                    .coordinator = coordinator,
                    .cwd = "",
                    .secret = secret,
                    .files = {(const char **)engine->files, engine->file_count},
                    .rank_variables = {(const char **)engine->variables, engine->variable_count}};
    if (launch->cwd)
        plan.cwd = launch->cwd;
    else if (!link->here && getcwd(folder, sizeof folder))
        plan.cwd = folder;
    plan.program.items = (const char **)launch->program;
    while (launch->program[plan.program.count])
        plan.program.count++;
    hk_terminal_size(size);
    bool put = gather_env(launch, engine, link->here, lent, &plan.env) &&
               (!lent || hk_frame_put_numbers(&link->out, HK_FRAME_WINDOW, 0, size, 2)) &&
               hk_plan_put(&link->out, &plan);
    free(plan.env.items);
    if (put)
        job->running += plan.count;
    return put;
}

static bool have_ports(const hk_job *job)
{
    for (int i = 0; i < job->link_count; i++) {
        for (int port = 0; port < job->links[i].port_count; port++) {
            if (job->links[i].ports[port] == 0)
                return false;
        }
    }
    return true;
}

static void fail(hk_job *job, const char *why)
{
    hk_job_say(job, "%s", why);
    hk_job_decide(job, HK_EXIT_LAUNCHER);
    job->broken = true;
}

bool hk_front_plan(hk_job *job)
{
    char secret[HK_SECRET_TEXT];
    hk_engine engine;
    for (int i = 0; i < job->link_count; i++) {
        if (!job->links[i].ready)
            return false;
    }
    if (!have_ports(job)) {
        fail(job, "There is no port for the job.");
        return true;
    }
    if (!hk_secret_make(secret)) {
        fail(job, "There is no secret for the job.");
        return true;
    }
    bool put = hk_engine_make(job->launch, job->links, &engine);
    for (int i = 0; put && i < job->link_count; i++)
        put = plan_host(job, &job->links[i], &engine, secret);
    if (!put)
        fail(job, "There is no memory for the plan of the job, or it is too large.");
    hk_secret_wipe(secret);
    hk_engine_free(&engine);
    return true;
}

/* === What agents say ========================================================================== */

static void end_rank(hk_job *job, int rank, int status, int signal)
{
    hk_rank_state *state = &job->ranks[rank];
    if (state->ended)
        return;
    state->ended = state->fresh = true;
    state->status = status;
    state->signal = signal;
    state->unread = 0;
    if (rank == job->launch->stdin_rank)
        hk_job_lend(job, false);
    if (job->running > 0)
        job->running--;
}

/* The ranks from this one on are not started: their agent has given up. */
static void take_start_failure(hk_job *job, const hk_link *link, int rank, const hk_frame *frame)
{
    uint32_t status;
    if (!hk_frame_numbers(frame, &status, 1))
        status = HK_EXIT_LAUNCHER;
    if (!job->decided)
        hk_job_say(job, "%.*s", (int)frame->length - 4, frame->bytes + 4);
    hk_job_decide(job, status > 255 ? HK_EXIT_LAUNCHER : (int)status);
    for (int i = rank; i < link->first + link->host->ranks; i++)
        end_rank(job, i, 0, 0);
    job->broken = true;
}

/* The last bytes of what a rank has written to its standard error. */
static void remember(hk_rank_state *state, const char *bytes, size_t length)
{
    if (length > HK_LAST_WORDS) {
        bytes += length - HK_LAST_WORDS;
        length = HK_LAST_WORDS;
    }
    size_t kept = HK_LAST_WORDS - length;
    if (kept > state->last_length)
        kept = state->last_length;
    memmove(state->last, state->last + state->last_length - kept, kept);
    memcpy(state->last + kept, bytes, length);
    state->last_length = kept + length;
}

static void take_output(hk_job *job, int rank, int stream, const hk_frame *frame)
{
    hk_rank_state *state = &job->ranks[rank];
    if (stream == 1 || state->streams[stream].verbatim)
        remember(state, frame->bytes, frame->length);
    if (!hk_stream_feed(&state->streams[stream], frame->bytes, frame->length) && !job->decided)
        fail(job,
             "A rank's output cannot be kept: there is no memory, or no room in --output-dir.");
}

static bool take_ports(hk_link *link, const hk_frame *frame)
{
    size_t count = frame->length / 4;
    link->ports = calloc(count + 1, sizeof *link->ports);
    for (size_t i = 0; link->ports && i < count; i++) {
        uint32_t port;
        hk_frame piece = {.bytes = frame->bytes + 4 * i, .length = 4};
        if (!hk_frame_numbers(&piece, &port, 1) || port > 65535)
            return false;
        link->ports[i] = (int)port;
    }
    link->port_count = (int)count;
    return link->ports != NULL;
}

static bool take_ended(hk_job *job, int rank, const hk_frame *frame)
{
    uint32_t numbers[2];
    if (!hk_frame_numbers(frame, numbers, 2) || numbers[0] > 255 || numbers[1] >= NSIG)
        return false;
    hk_rank_state *state = &job->ranks[rank];
    if (numbers[0] != 0) { /* its last words come before ours */
        hk_stream_end(&state->streams[0]);
        hk_stream_end(&state->streams[1]);
    }
    end_rank(job, rank, (int)numbers[0], (int)numbers[1]);
    return true;
}

/* Nothing more comes from this host: lines without an end are as long as they get. */
static void end_streams(hk_job *job, const hk_link *link)
{
    for (int rank = link->first; rank < link->first + link->host->ranks; rank++) {
        hk_stream_end(&job->ranks[rank].streams[0]);
        hk_stream_end(&job->ranks[rank].streams[1]);
    }
}

/* False: an agent of ours would not say that. */
static bool take_frame(hk_job *job, hk_link *link, const hk_frame *frame)
{
    int rank = frame->number < HK_RANKS_MAX ? (int)frame->number : -1;
    uint32_t taken;
    if (frame->type == HK_FRAME_PORTS) {
        if (link->ready || (int)(frame->length / 4) != hk_engine_ports(job->launch, link->host))
            return false;
        link->ready = take_ports(link, frame);
        return link->ready;
    }
    if (frame->type == HK_FRAME_GONE) {
        link->over = true;
        end_streams(job, link);
        return true;
    }
    if (rank < link->first || rank >= link->first + link->host->ranks)
        return false;
    switch ((int)frame->type) {
    case HK_FRAME_STARTED:
        if (rank == job->launch->stdin_rank)
            hk_job_lend(job, true);
        return true;
    case HK_FRAME_FAILED:
        if (frame->length < 4)
            return false;
        take_start_failure(job, link, rank, frame);
        return true;
    case HK_FRAME_OUT: take_output(job, rank, 0, frame); return true;
    case HK_FRAME_ERR: take_output(job, rank, 1, frame); return true;
    case HK_FRAME_ENDED: return take_ended(job, rank, frame);
    case HK_FRAME_TAKEN:
        if (!hk_frame_numbers(frame, &taken, 1))
            return false;
        job->ranks[rank].unread -=
            taken < job->ranks[rank].unread ? taken : job->ranks[rank].unread;
        return true;
    default: return false;
    }
}

/* === Agents that are lost ===================================================================== */

static void say_how(const hk_link *link, char *text, size_t size)
{
    if (WIFEXITED(link->status))
        snprintf(text, size, "ended with status %d", WEXITSTATUS(link->status));
    else
        snprintf(text, size, "was ended by signal %d", WTERMSIG(link->status));
}

static void report_loss(hk_job *job, const hk_link *link)
{
    char how[64];
    say_how(link, how, sizeof how);
    if (link->here)
        hk_job_say(job, "The process that looks after the ranks %s.", how);
    else if (!link->greeted)
        hk_job_say(job,
                   "No agent answers on %s: its remote shell %s. Does `%s %s true` work, and is "
                   "hocket there (--hocket)?",
                   link->host->name, how, job->launch->ssh, link->host->name);
    else
        hk_job_say(job, "The host %s is lost: its remote shell %s.", link->host->name, how);
}

/* What ssh or the agent itself has to say. Returns whether there was anything. */
static bool hear_words(hk_link *link)
{
    char bytes[4096];
    if (link->words < 0)
        return false;
    ssize_t got = read(link->words, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got > 0 && hk_stream_feed(&link->words_stream, bytes, (size_t)got))
        return true;
    hk_stream_end(&link->words_stream);
    close(link->words);
    link->words = -1;
    return false;
}

/* An agent's output has ended before it said that it is gone. */
static void lose(hk_job *job, hk_link *link)
{
    hk_link_hang_up(link, LOST_MS);
    while (hear_words(link)) {
    }
    hk_stream_end(&link->words_stream);
    end_streams(job, link);
    if (link->here)
        hk_agent_clean_up(link->groups);
    link->over = true;
    bool told = job->decided;
    if (!told)
        report_loss(job, link);
    hk_job_decide(job, HK_EXIT_LAUNCHER);
    for (int rank = link->first; rank < link->first + link->host->ranks; rank++) {
        if (job->phase == HK_MEETING)
            job->ranks[rank].ended = true;
        else
            end_rank(job, rank, 0, 0);
        job->ranks[rank].fresh = false;
    }
    job->lost = job->lost || !told;
}

void hk_front_abandon(hk_job *job)
{
    for (int i = 0; i < job->link_count; i++) {
        hk_link *link = &job->links[i];
        if (link->greeted || link->over)
            continue;
        link->over = true;
        hk_link_hang_up(link, 0);
    }
}

bool hk_front_is_over(const hk_job *job)
{
    for (int i = 0; i < job->link_count; i++) {
        if (!job->links[i].over)
            return false;
    }
    return true;
}

/* === The loop ================================================================================= */

/* Returns whether the agent may be heard further. */
static bool greet(hk_job *job, hk_link *link)
{
    char version[64];
    int greeted = link->greeted ? 1 : hk_link_greet(link, version, sizeof version);
    if (greeted < 0) {
        link->greeted = true;
        if (!job->decided)
            hk_job_say(job,
                       "The host %s has hocket %s, and this one has %s: they must be the same.",
                       link->host->name, version, hocket_version());
        hk_job_decide(job, HK_EXIT_LAUNCHER);
        lose(job, link);
        job->lost = true;
        return false;
    }
    if (greeted == 1 && !link->greeted) {
        link->greeted = true;
        hk_frame_put(&link->out, HK_FRAME_HOLD, (uint32_t)hk_engine_ports(job->launch, link->host),
                     NULL, 0);
    }
    return greeted == 1;
}

static void hear(hk_job *job, hk_link *link)
{
    hk_frame frame;
    int found = 0;
    long got = hk_buffer_read(&link->in, link->from);
    if (greet(job, link)) {
        while (!link->over && (found = hk_frame_next(&link->in, &frame)) > 0) {
            bool taken = take_frame(job, link, &frame);
            hk_frame_drop(&link->in, &frame);
            if (!taken) {
                found = -1;
                break;
            }
        }
    }
    if (!link->over && (got == 0 || found < 0))
        lose(job, link);
}

static bool wants_input(const hk_job *job, int rank)
{
    const hk_launch *launch = job->launch;
    return !job->ranks[rank].ended &&
           (launch->stdin_rank == HK_STDIN_ALL || launch->stdin_rank == rank);
}

/* Whether every rank that reads standard input has room for more, and there is one. */
static bool may_read_input(const hk_job *job)
{
    bool any = false;
    if (!job->reads_input || job->phase < HK_RUNNING || job->phase >= HK_FINISHING)
        return false;
    for (int rank = 0; rank < job->launch->world_size; rank++) {
        if (wants_input(job, rank) && job->ranks[rank].unread >= INPUT_WINDOW)
            return false;
        any = any || wants_input(job, rank);
    }
    return any;
}

/* At a terminal that is lent Ctrl-C goes to its rank, which may not care. Three of them in a row
 * are for hocket, too. */
static void count_interrupts(hk_job *job, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        int64_t now = hk_now_ms();
        if (bytes[i] != CTRL_C || now - job->interrupt_ms > INTERRUPTS_MS)
            job->interrupts = 0;
        if (bytes[i] != CTRL_C)
            continue;
        if (job->interrupts++ == 0)
            job->interrupt_ms = now;
        if (job->interrupts == INTERRUPTS)
            kill(getpid(), SIGINT);
    }
}

static void pass_input(hk_job *job)
{
    char bytes[INPUT_BYTES];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t length = got > 0 ? (size_t)got : 0;
    job->reads_input = length > 0;
    if (job->lends_terminal)
        count_interrupts(job, bytes, length);
    for (int rank = 0; rank < job->launch->world_size; rank++) {
        hk_link *link = &job->links[job->ranks[rank].link];
        if (!wants_input(job, rank) || link->over)
            continue;
        job->ranks[rank].unread += length;
        hk_frame_put(&link->out, HK_FRAME_INPUT, (uint32_t)rank, bytes, length);
    }
}

void hk_front_flush(hk_job *job)
{
    for (int i = 0; i < job->link_count; i++) {
        hk_link *link = &job->links[i];
        /* What cannot be written is no news yet: its last words may still come. */
        if (link->to >= 0 && !link->over && !hk_buffer_write(&link->out, link->to))
            hk_buffer_free(&link->out);
    }
}

/* Agents behind ssh hear from time to time that we are there. */
static void ping(hk_job *job)
{
    int64_t now = hk_now_ms();
    if (now < job->next_ping_ms)
        return;
    job->next_ping_ms = HK_FOREVER;
    for (int i = 0; i < job->link_count; i++) {
        hk_link *link = &job->links[i];
        if (link->here || link->over)
            continue;
        job->next_ping_ms = now + HK_PING_MS;
        if (link->greeted && link->out.length < AGENT_QUEUE_MAX)
            hk_frame_put(&link->out, HK_FRAME_PING, 0, NULL, 0);
    }
}

static void watch(struct pollfd *fd, int number, short events)
{
    *fd = (struct pollfd){.fd = number, .events = events};
}

enum { FD_SIGNALS, FD_INPUT, FD_OUT, FD_ERR, FD_LINKS };

void hk_front_listen(hk_job *job, int64_t when_ms)
{
    struct pollfd *fds = job->fds;
    const hk_sink *out = job->streams[0], *err = job->streams[1];
    bool stuffed = out->waiting.length >= HK_SINK_MOST || err->waiting.length >= HK_SINK_MOST;
    ping(job);
    hk_front_flush(job);
    if (job->next_ping_ms < when_ms)
        when_ms = job->next_ping_ms;
    watch(&fds[FD_SIGNALS], job->signals, POLLIN);
    watch(&fds[FD_INPUT], may_read_input(job) ? STDIN_FILENO : -1, POLLIN);
    watch(&fds[FD_OUT], out->waiting.length ? out->fd : -1, POLLOUT);
    watch(&fds[FD_ERR], err->waiting.length ? err->fd : -1, POLLOUT);
    for (int i = 0; i < job->link_count; i++) {
        const hk_link *link = &job->links[i];
        watch(&fds[FD_LINKS + 3 * i], stuffed || link->over ? -1 : link->from, POLLIN);
        watch(&fds[FD_LINKS + 3 * i + 1], link->out.length && !link->over ? link->to : -1, POLLOUT);
        watch(&fds[FD_LINKS + 3 * i + 2], stuffed ? -1 : link->words, POLLIN);
    }
    if (poll(fds, (nfds_t)(FD_LINKS + 3 * job->link_count), hk_nap_until(when_ms)) < 0)
        return;
    if (fds[FD_INPUT].revents)
        pass_input(job);
    for (int i = 0; i < job->link_count; i++) {
        if (fds[FD_LINKS + 3 * i + 2].revents)
            hear_words(&job->links[i]);
        if (fds[FD_LINKS + 3 * i].revents)
            hear(job, &job->links[i]);
    }
}
