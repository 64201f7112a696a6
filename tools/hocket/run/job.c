/* The life of a job: ranks start, their output is passed on, and all of it ends.
 *
 *   MEETING ──all agents are there──> RUNNING ──a rank fails──> WARNED ──2 s──> ENDING ──2 s──>
 * KILLED └───────── a signal, --timeout ──────────┘ in any phase: no rank is left ──> FINISHING
 * ──every agent is gone──> FLUSHING
 *
 * WARNED gives the other ranks time to say what they saw. ENDING begins with SIGTERM, or with the
 * signal that came, to each rank's process group; KILLED with SIGKILL. In FINISHING the agents end
 * what ranks left behind. FLUSHING waits for whoever reads our output.
 *
 * This process, front, is what the user started. It has no ranks of its own: an agent on each host
 * does (agent.c), this host's too. When front dies in whatever way, the agents' input hangs up and
 * they end everything. When an agent dies, front kills the ranks' process groups where that is
 * here, and counts the host as lost where it is not. */
#include "run/job.h"

#include "run/signals.h"
#include "run/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEETING_MS 60000  /* for all agents to answer */
#define WARNED_MS 2000    /* for the other ranks to say what they saw */
#define ENDING_MS 2000    /* from SIGTERM to SIGKILL */
#define KILLED_MS 1000    /* from SIGKILL until we stop waiting for a death */
#define FINISHING_MS 8000 /* for agents, which take 3 seconds at most, and the way to them */
#define HANG_UP_MS 2000   /* for ssh to end when its agent has */
#define LAST_LINES 3      /* of a rank's standard error, in the line about its end */

static void enter(hk_job *job, hk_phase phase, int64_t duration_ms)
{
    job->phase = phase;
    job->phase_ends_ms = duration_ms == HK_FOREVER ? HK_FOREVER : hk_now_ms() + duration_ms;
}

void hk_job_decide(hk_job *job, int status)
{
    if (!job->decided)
        job->status = status;
    job->decided = true;
}

void hk_job_say(hk_job *job, const char *format, ...)
{
    char line[2000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    hk_sink_say(job->streams[1], "%s", line);
}

static void end_ranks(hk_job *job, int number)
{
    hk_front_tell_all(job, HK_FRAME_SIGNAL, (uint32_t)number);
    if (number == SIGKILL)
        enter(job, HK_KILLED, KILLED_MS);
    else
        enter(job, HK_ENDING, ENDING_MS);
}

/* Nothing is started any more, and who starts now ends at once. */
static void give_up(hk_job *job, int status)
{
    hk_job_decide(job, status);
    if (job->phase < HK_ENDING)
        end_ranks(job, SIGTERM);
}

/* === Signals ================================================================================== */

void hk_job_lend(hk_job *job, bool lent)
{
    if (!job->lends_terminal)
        return;
    if (lent)
        hk_terminal_take();
    else
        hk_terminal_give_back();
    for (int i = 0; i < 2; i++)
        job->sinks[i].raw = lent && isatty(job->sinks[i].fd);
}

static bool has_terminal_out(const hk_job *job)
{
    const hk_rank_state *rank = &job->ranks[job->launch->stdin_rank];
    return job->lends_terminal && job->phase >= HK_RUNNING && !rank->ended;
}

/* Stops with the ranks, as a shell's user expects of Ctrl-Z. */
static void stop(hk_job *job)
{
    hk_front_tell_all(job, HK_FRAME_SIGNAL, HK_SIGNAL_STOP);
    hk_front_flush(job);
    hk_job_lend(job, false);
    kill(getpid(), SIGSTOP);
}

static void go_on(hk_job *job)
{
    hk_front_tell_all(job, HK_FRAME_SIGNAL, HK_SIGNAL_CONTINUE);
    if (has_terminal_out(job))
        hk_job_lend(job, true);
}

/* The user's signal: the first is passed on, the second ends the waiting. */
static void take_signal(hk_job *job, int number)
{
    switch (number) {
    case SIGCHLD: return; /* it has ended the nap, which is enough */
    case SIGTSTP: stop(job); return;
    case SIGCONT: go_on(job); return;
    case SIGWINCH: hk_front_tell_window(job); return;
    }
    if (job->phase < HK_ENDING) {
        hk_job_decide(job, HK_EXIT_SIGNAL + number);
        end_ranks(job, number);
    } else if (job->phase < HK_FINISHING) {
        end_ranks(job, SIGKILL);
    } else {
        hk_job_decide(job, HK_EXIT_SIGNAL + number);
        hk_front_tell_all(job, HK_FRAME_FINISH, 1);
        job->hurried = true;
    }
}

static void take_signals(hk_job *job)
{
    unsigned char numbers[64];
    ssize_t got = read(job->signals, numbers, sizeof numbers);
    for (ssize_t i = 0; i < got; i++)
        take_signal(job, numbers[i]);
}

/* === Ranks that fail ========================================================================== */

/* " on HOST", where there are several. */
static void on_host(const hk_job *job, int rank, char *text, size_t size)
{
    text[0] = '\0';
    if (job->link_count > 1)
        snprintf(text, size, " on %s", job->links[job->ranks[rank].link].host->name);
}

/* The last lines of a rank's standard error as a sentence, for whom many hosts speak at once. */
static void last_words(const hk_job *job, int rank, char *text, size_t size)
{
    const hk_rank_state *state = &job->ranks[rank];
    size_t end = state->last_length, begin;
    text[0] = '\0';
    while (end > 0 && strchr("\r\n ", state->last[end - 1]))
        end--;
    if (end == 0 || job->link_count == 1)
        return;
    int lines = 1;
    for (begin = end; begin > 0; begin--) {
        if (state->last[begin - 1] == '\n' && lines++ == LAST_LINES)
            break;
    }
    /* Not from the middle of a character, when it is longer than what is kept. */
    while (begin < end && ((unsigned char)state->last[begin] & 0xC0) == 0x80)
        begin++;
    size_t at = (size_t)snprintf(text, size, " It said last: ");
    for (; begin < end && at + 4 < size; begin++) {
        unsigned char c = (unsigned char)state->last[begin];
        if (c == '\n' && begin + 1 < end)
            at += (size_t)snprintf(text + at, size - at, " / ");
        else if (c >= ' ' && c != 0x7f)
            text[at++] = (char)c;
    }
    text[at] = '\0';
}

static void report_failure(hk_job *job, int rank)
{
    const hk_rank_state *state = &job->ranks[rank];
    const char *then = "";
    char where[300], last[HK_LAST_WORDS + 64], how[64];
    if (job->launch->keep_going)
        then = job->running > 0 ? " The others go on." : "";
    else if (job->running > 0)
        then = " The others have 2 seconds to end by themselves.";
    on_host(job, rank, where, sizeof where);
    last_words(job, rank, last, sizeof last);
    const char *name = state->signal ? hk_signal_name(state->signal) : NULL;
    if (!state->signal)
        snprintf(how, sizeof how, "exited with status %d", state->status);
    else if (name)
        snprintf(how, sizeof how, "was ended by %s", name);
    else
        snprintf(how, sizeof how, "was ended by signal %d", state->signal);
    hk_job_say(job, "Rank %d%s %s.%s%s", rank, where, how, then, last);
}

static void take_failure(hk_job *job, int rank)
{
    bool tell = !job->decided || (job->launch->keep_going && job->phase == HK_RUNNING);
    hk_job_decide(job, job->ranks[rank].status);
    if (!tell)
        return;
    report_failure(job, rank);
    if (!job->launch->keep_going)
        enter(job, HK_WARNED, WARNED_MS);
}

/* Looks at deaths. Of those seen at once, a rank that a signal ended is taken to be the first: the
 * others have reasons to exit because of it, but not the other way round. */
static void look_at_ranks(hk_job *job)
{
    int first_exited = -1, first_killed = -1;
    for (int rank = 0; rank < job->launch->world_size; rank++) {
        hk_rank_state *state = &job->ranks[rank];
        if (!state->fresh)
            continue;
        state->fresh = false;
        if (state->signal && first_killed < 0)
            first_killed = rank;
        if (state->status && !state->signal && first_exited < 0)
            first_exited = rank;
    }
    if (job->broken && job->phase < HK_ENDING)
        end_ranks(job, SIGTERM);
    if (job->lost) {
        job->lost = false;
        if (job->phase < HK_WARNED)
            enter(job, job->launch->hosts.count > 1 ? HK_WARNED : HK_KILLED, WARNED_MS);
    }
    if (first_killed >= 0)
        take_failure(job, first_killed);
    if (first_exited >= 0)
        take_failure(job, first_exited);
}

/* === The end ================================================================================== */

static bool sinks_are_empty(const hk_job *job)
{
    return job->streams[0]->waiting.length == 0 && job->streams[1]->waiting.length == 0;
}

static void finish(hk_job *job)
{
    hk_front_abandon(job);
    hk_front_tell_all(job, HK_FRAME_FINISH, 0);
    enter(job, HK_FINISHING, FINISHING_MS);
}

/* Agents are not over while they have output that our reader does not take: it gets all the time.
 */
static bool leave_finishing(hk_job *job, bool over)
{
    if (hk_front_is_over(job)) {
        enter(job, HK_FLUSHING, HK_FOREVER);
        return true;
    }
    if (job->hurried && sinks_are_empty(job) && !over)
        return true;
    if (job->hurried)
        return false;
    if (over && sinks_are_empty(job)) {
        hk_job_say(job, "An agent did not end in time.");
        hk_job_decide(job, HK_EXIT_LAUNCHER);
        enter(job, HK_FLUSHING, HK_FOREVER);
    } else if (over) {
        enter(job, HK_FINISHING, FINISHING_MS);
    }
    return true;
}

/* What there is to do when the phase's time is over, or what it waited for has happened. Returns
 * false when the job is over too. */
static bool leave_phase(hk_job *job, bool over)
{
    switch (job->phase) {
    case HK_MEETING:
        if (hk_front_plan(job)) {
            enter(job, HK_RUNNING, HK_FOREVER);
        } else if (over) {
            hk_job_say(job, "Not all hosts answered in %d seconds.", MEETING_MS / 1000);
            give_up(job, HK_EXIT_LAUNCHER);
        }
        return true;
    case HK_RUNNING: return true;
    case HK_WARNED:
        if (over)
            end_ranks(job, SIGTERM);
        return true;
    case HK_ENDING:
        if (over)
            end_ranks(job, SIGKILL);
        return true;
    case HK_KILLED: /* a rank that SIGKILL does not end hangs in the kernel */
        if (over)
            finish(job);
        return true;
    case HK_FINISHING: return leave_finishing(job, over);
    case HK_FLUSHING: return !job->hurried && !sinks_are_empty(job);
    }
    return false;
}

/* Moves to the next phase when its time has come. Returns false when the job is over. */
static bool move_on(hk_job *job)
{
    int64_t now = hk_now_ms();
    if (now >= job->timeout_ms && job->phase < HK_ENDING) {
        hk_job_say(job, "The job took longer than %g seconds (--timeout).", job->launch->timeout_s);
        give_up(job, HK_EXIT_TIMEOUT);
    }
    hk_phase before;
    bool going;
    do {
        if (job->phase > HK_MEETING && job->phase < HK_FINISHING && job->running == 0)
            finish(job);
        before = job->phase;
        going = leave_phase(job, now >= job->phase_ends_ms);
    } while (going && job->phase != before);
    return going;
}

/* === The loop ================================================================================= */

/* A reader that left (EPIPE) is no failure of ours; the ranks learn of it by SIGPIPE. */
static void tell_of_lost_output(hk_job *job, bool *told)
{
    int error = job->streams[0]->error;
    if (!error || error == EPIPE || *told)
        return;
    *told = true;
    if (!job->decided)
        job->status = HK_EXIT_LAUNCHER; /* unless a rank fails too */
    hk_job_say(job, "Cannot write the ranks' output: %s.", strerror(error));
}

/* Has the ranks wait for a slow reader, go on, or learn that nobody reads. */
static void steer_flow(hk_job *job)
{
    for (int stream = 0; stream < 2; stream++) {
        const hk_sink *sink = job->streams[stream];
        enum hk_flow wanted = sink->error             ? HK_FLOW_CLOSE
                              : hk_sink_is_full(sink) ? HK_FLOW_PAUSE
                                                      : HK_FLOW_GO;
        if (wanted == job->flow[stream] || job->phase == HK_MEETING)
            continue;
        job->flow[stream] = wanted;
        hk_front_tell_all(job, HK_FRAME_FLOW, HK_FLOW(stream, wanted));
    }
}

static int64_t next_time(const hk_job *job)
{
    if (job->phase < HK_ENDING && job->timeout_ms < job->phase_ends_ms)
        return job->timeout_ms;
    return job->phase_ends_ms;
}

static void loop(hk_job *job)
{
    bool told = false;
    do {
        hk_sink_flush(job->streams[0]);
        hk_sink_flush(job->streams[1]);
        tell_of_lost_output(job, &told);
        if (job->phase == HK_FLUSHING && sinks_are_empty(job))
            return; /* nothing would end a nap any more */
        steer_flow(job);
        hk_front_listen(job, next_time(job));
        take_signals(job);
        look_at_ranks(job);
    } while (move_on(job));
}

/* === Opening and closing ====================================================================== */

static bool same_file(int a, int b)
{
    struct stat one, other;
    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* Whether our own standard input is read here, for ranks that are not on this host or are many. */
static bool reads_input(const hk_job *job)
{
    int rank = job->launch->stdin_rank;
    if (rank == HK_STDIN_NONE)
        return false;
    return rank == HK_STDIN_ALL || !job->links[job->ranks[rank].link].here;
}

static bool open_copy(hk_job *job, int rank)
{
    char path[4096];
    const char *folder = job->launch->output_dir;
    job->ranks[rank].copy = -1;
    if (!folder)
        return true;
    int length = snprintf(path, sizeof path, "%s/rank-%d.txt", folder, rank);
    if (length >= 0 && (size_t)length < sizeof path)
        job->ranks[rank].copy = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (job->ranks[rank].copy < 0)
        hk_complain("run", "'%s' (--output-dir) cannot be written: %s.", path, strerror(errno));
    return job->ranks[rank].copy >= 0;
}

static void open_link(hk_job *job, int index, int first)
{
    const hk_host *host = &job->launch->hosts.items[index];
    job->links[index] = (hk_link){.host = host,
                                  .here = hk_host_is_here(host),
                                  .first = first,
                                  .to = -1,
                                  .from = -1,
                                  .words = -1,
                                  .words_stream = {.sink = job->streams[1], .copy = -1}};
}

static bool open_rank(hk_job *job, int rank, int link)
{
    const hk_launch *launch = job->launch;
    hk_rank_state *state = &job->ranks[rank];
    /* A prompt of the only rank, or of the one at the terminal, is shown before its line ends. */
    bool live = launch->world_size == 1 || (rank == launch->stdin_rank && isatty(STDIN_FILENO));
    bool lent = job->lends_terminal && rank == launch->stdin_rank;
    state->link = link;
    if (!open_copy(job, rank))
        return false;
    for (int stream = 0; stream < 2; stream++)
        state->streams[stream] = (hk_stream){.sink = job->streams[stream],
                                             .rank = rank,
                                             .copy = state->copy,
                                             .tagged = launch->tag_output && !lent,
                                             .verbatim = lent,
                                             .live = live};
    return true;
}

/* To one rank on another host, whose Ctrl-C then is its own affair: only to one that was meant. */
static bool lends_terminal(const hk_job *job)
{
    const hk_launch *launch = job->launch;
    int rank = launch->stdin_rank;
    bool meant =
        rank >= 0 && !launch->tag_output && (launch->stdin_named || launch->world_size == 1);
    for (int i = 0; i < job->link_count && meant; i++) {
        const hk_link *link = &job->links[i];
        if (rank >= link->first && rank < link->first + link->host->ranks)
            return !link->here && hk_terminal_is_here();
    }
    return false;
}

static bool open_ranks(hk_job *job)
{
    const hk_launch *launch = job->launch;
    if (launch->output_dir && mkdir(launch->output_dir, 0777) < 0 && errno != EEXIST) {
        hk_complain("run", "The folder '%s' (--output-dir) cannot be made: %s.", launch->output_dir,
                    strerror(errno));
        return false;
    }
    for (int i = 0, first = 0; i < job->link_count; first += launch->hosts.items[i++].ranks)
        open_link(job, i, first);
    job->lends_terminal = lends_terminal(job);
    for (int i = 0; i < job->link_count; i++) {
        const hk_link *link = &job->links[i];
        for (int rank = link->first; rank < link->first + link->host->ranks; rank++) {
            if (!open_rank(job, rank, i))
                return false;
        }
    }
    return true;
}

static bool open_job(hk_job *job, const hk_launch *launch)
{
    size_t ranks = (size_t)launch->world_size, links = (size_t)launch->hosts.count;
    *job = (hk_job){.launch = launch, .phase_ends_ms = HK_FOREVER};
    job->timeout_ms =
        launch->timeout_s > 0 ? hk_now_ms() + (int64_t)(launch->timeout_s * 1000) : HK_FOREVER;
    job->sinks[0].fd = STDOUT_FILENO;
    job->sinks[1].fd = STDERR_FILENO;
    job->streams[0] = &job->sinks[0];
    job->streams[1] = same_file(STDOUT_FILENO, STDERR_FILENO) ? &job->sinks[0] : &job->sinks[1];
    job->ranks = calloc(ranks, sizeof *job->ranks);
    job->links = calloc(links, sizeof *job->links);
    job->fds = calloc(4 + 3 * links, sizeof *job->fds);
    if (!job->ranks || !job->links || !job->fds) {
        hk_complain("run", "The launcher could not be set up: %s.", strerror(errno));
        return false;
    }
    for (size_t rank = 0; rank < ranks; rank++)
        job->ranks[rank].copy = -1;
    job->link_count = launch->hosts.count;
    return open_ranks(job);
}

static void close_job(hk_job *job)
{
    for (int i = 0; i < job->link_count; i++)
        hk_link_close(&job->links[i]);
    for (int rank = 0; job->link_count && rank < job->launch->world_size; rank++) {
        hk_stream_close(&job->ranks[rank].streams[0]);
        hk_stream_close(&job->ranks[rank].streams[1]);
        if (job->ranks[rank].copy >= 0)
            close(job->ranks[rank].copy);
    }
    hk_sink_close(&job->sinks[0]);
    hk_sink_close(&job->sinks[1]);
    free(job->fds);
    free(job->links);
    free(job->ranks);
}

int hk_job_run(const hk_launch *launch)
{
    hk_job job;
    int status = HK_EXIT_LAUNCHER;
    bool open = open_job(&job, launch);
    if (open && job.lends_terminal && !hk_terminal_open()) {
        hk_complain("run", "The terminal could not be lent: %s.", strerror(errno));
        open = false;
    }
    if (open && hk_front_start(&job)) {
        job.signals = hk_signals_catch();
        job.reads_input = reads_input(&job);
        enter(&job, HK_MEETING, MEETING_MS);
        if (job.signals >= 0)
            loop(&job);
        for (int i = 0; i < job.link_count; i++)
            hk_link_hang_up(&job.links[i], job.hurried ? 0 : HANG_UP_MS);
        status = job.status;
    }
    if (open && job.lends_terminal)
        hk_terminal_close();
    close_job(&job);
    return status;
}
