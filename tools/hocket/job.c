/* The life of a job: ranks start, their output is passed on, and all of it ends.
 *
 *   RUNNING ──a rank fails──> WARNED ──2 s──> ENDING ──2 s──> KILLED
 *      │                         │              ^
 *      └── a signal, --timeout, the front process is gone ──┘
 *   in any phase: no rank is left ──> LEFTOVERS ──1 s──> LEFTOVERS_KILLED ──> FLUSHING
 *
 * WARNED gives the other ranks time to say what they saw. ENDING begins with SIGTERM, or with the
 * signal that came, to each rank's process group; KILLED with SIGKILL. LEFTOVERS are what
 * the ranks started and did not end. FLUSHING waits for whoever reads our output. One loop sleeps
 * in poll until a rank writes, a signal comes or the phase's time is over.
 *
 * A rank that has ended stays a zombie until LEFTOVERS, which keeps the number of its group from
 * being given to anyone else. */
#include "launch.h"
#include "output.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARNED_MS 2000    /* for the other ranks to say what they saw */
#define ENDING_MS 2000    /* from SIGTERM to SIGKILL */
#define LEFTOVERS_MS 1000 /* the same for what ranks left behind */
#define KILLED_MS 1000    /* from SIGKILL until we stop waiting for a death */
#define NAP_MS 20         /* between looks for what is no child of ours and so sends no signal */
#define FOREVER INT64_MAX
#define CHILDREN_MAX 1024 /* killed in one go; more are found by the next look */

typedef enum phase { RUNNING, WARNED, ENDING, KILLED, LEFTOVERS, LEFTOVERS_KILLED, FLUSHING } phase;

typedef struct rank_state {
    pid_t pid;  /* 0: never started */
    bool ended; /* and stays a zombie until collected */
    int status; /* its exit status, as the launcher would return it */
    int signal; /* what ended it; 0: it exited */
    hk_stream out, err;
} rank_state;

typedef struct job {
    const hk_launch *launch;
    rank_state *ranks;
    int started, running;
    phase phase;
    int64_t phase_ends_ms; /* FOREVER: when something happens */
    int64_t timeout_ms;    /* when --timeout is over */
    int status;            /* what the job exits with */
    bool decided;          /* status is settled: what happens later are consequences */
    bool orphaned;         /* the front process is gone */
    bool hurried;          /* do not wait for whoever reads our output */
    int signals, lifeline; /* read ends */
    hk_sink sinks[2];      /* stdout and stderr */
    hk_sink *out, *err;    /* the same one where both go to one file */
    struct pollfd *fds;
    hk_stream **fd_streams; /* whose pipe fds[i] is; NULL: not a stream */
} job;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void enter(job *job, phase phase, int64_t duration_ms)
{
    job->phase = phase;
    job->phase_ends_ms = duration_ms == FOREVER ? FOREVER : now_ms() + duration_ms;
}

static void decide(job *job, int status)
{
    if (!job->decided)
        job->status = status;
    job->decided = true;
}

/* === Signals ================================================================================== */

static int signal_pipe[2] = {-1, -1};

/* The number goes through a pipe to the loop. When the pipe is full, enough is waiting there. */
static void on_signal(int number)
{
    int error = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(signal_pipe[1], &byte, 1);
    (void)written;
    errno = error;
}

static bool catch_signals(void)
{
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};
    if (pipe(signal_pipe) < 0)
        return false;
    sigset_t none;
    sigemptyset(&none);
    for (int end = 0; end < 2; end++) {
        fcntl(signal_pipe[end], F_SETFD, FD_CLOEXEC);
        fcntl(signal_pipe[end], F_SETFL, O_NONBLOCK);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
        sigaction(numbers[i], NULL, &before);
        /* nohup's wish. An ignored SIGINT, which shells give to background jobs, is no wish. */
        if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return true;
}

static void signal_ranks(const job *job, int number)
{
    for (int rank = 0; rank < job->started; rank++)
        kill(-job->ranks[rank].pid, number);
    /* A stopped process takes note of a signal only when it goes on. */
    if (number != SIGSTOP && number != SIGKILL && number != SIGCONT)
        signal_ranks(job, SIGCONT);
}

static void end_ranks(job *job, int number)
{
    signal_ranks(job, number);
    if (number == SIGKILL)
        enter(job, KILLED, KILLED_MS);
    else
        enter(job, ENDING, ENDING_MS);
}

/* The user's signal: the first is passed on, the second ends the waiting. */
static void take_signal(job *job, int number)
{
    switch (number) {
    case SIGCHLD: return; /* it has ended the nap, which is enough */
    case SIGTSTP: signal_ranks(job, SIGSTOP); return;
    case SIGCONT: signal_ranks(job, SIGCONT); return;
    }
    if (job->phase < ENDING) {
        decide(job, HK_EXIT_SIGNAL + number);
        end_ranks(job, number);
    } else if (job->phase < LEFTOVERS) {
        end_ranks(job, SIGKILL);
    } else {
        decide(job, HK_EXIT_SIGNAL + number);
        job->hurried = true;
    }
}

static void take_signals(job *job)
{
    unsigned char numbers[64];
    ssize_t got = read(job->signals, numbers, sizeof numbers);
    for (ssize_t i = 0; i < got; i++)
        take_signal(job, numbers[i]);
}

/* === Ranks ==================================================================================== */

static bool start_rank(job *job, int rank, const char *secret)
{
    const hk_launch *launch = job->launch;
    rank_state *state = &job->ranks[rank];
    char why[512];
    int out, err, status;
    pid_t pid = hk_spawn(launch, rank, secret, &out, &err, why, sizeof why, &status);
    if (pid < 0) {
        hk_sink_say(job->err, "%s", why);
        decide(job, status);
        return false;
    }
    state->pid = pid;
    job->started++;
    job->running++;
    /* A prompt of the only rank, or of the one at the terminal, is shown before its line ends. */
    bool live = launch->world_size == 1 || (rank == launch->stdin_rank && isatty(STDIN_FILENO));
    bool opened = hk_stream_open(&state->out, job->out, out, rank, launch->tag_output, live);
    if (!hk_stream_open(&state->err, job->err, err, rank, launch->tag_output, live) || !opened) {
        hk_sink_say(job->err, "There is no memory for the output of rank %d.", rank);
        decide(job, HK_EXIT_LAUNCHER);
        return false;
    }
    return true;
}

static void start_ranks(job *job)
{
    char secret[HK_SECRET_TEXT];
    bool started = hk_secret_make(secret);
    if (!started) {
        hk_sink_say(job->err, "There is no secret for the job: %s.", strerror(errno));
        decide(job, HK_EXIT_LAUNCHER);
    }
    for (int rank = 0; started && rank < job->launch->world_size; rank++)
        started = start_rank(job, rank, secret);
    hk_secret_wipe(secret);
    if (!started)
        end_ranks(job, SIGTERM);
}

/* Passes on what a stream holds right now. */
static void drain(hk_stream *stream)
{
    while (stream->fd >= 0 && !hk_sink_is_full(stream->sink) && hk_stream_pump(stream)) {
    }
}

static void report_failure(job *job, int rank)
{
    const rank_state *state = &job->ranks[rank];
    const char *then = "";
    if (job->launch->keep_going)
        then = job->running > 0 ? " The others go on." : "";
    else if (job->running > 0)
        then = " The others have 2 seconds to end by themselves.";
    if (!state->signal) {
        hk_sink_say(job->err, "Rank %d exited with status %d.%s", rank, state->status, then);
        return;
    }
    const char *name = hk_signal_name(state->signal);
    char unnamed[32];
    snprintf(unnamed, sizeof unnamed, "signal %d", state->signal);
    hk_sink_say(job->err, "Rank %d was ended by %s.%s", rank, name ? name : unnamed, then);
}

static void take_failure(job *job, int rank)
{
    rank_state *state = &job->ranks[rank];
    bool tell = !job->decided || (job->launch->keep_going && job->phase == RUNNING);
    decide(job, state->status);
    if (!tell)
        return;
    drain(&state->out); /* its own last words come before ours */
    drain(&state->err);
    report_failure(job, rank);
    if (!job->launch->keep_going)
        enter(job, WARNED, WARNED_MS);
}

/* Sees whether rank has ended, and leaves the zombie where it is. */
static bool has_ended(rank_state *state)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)state->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
        return false;
    state->ended = true;
    state->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
    state->status = state->signal ? HK_EXIT_SIGNAL + state->signal : info.si_status;
    return true;
}

/* Looks for deaths. Of those seen at once, a rank that a signal ended is taken to be the first: the
 * others have reasons to exit because of it, but not the other way round. */
static void look_at_ranks(job *job)
{
    int first_exited = -1, first_killed = -1;
    for (int rank = 0; rank < job->started; rank++) {
        rank_state *state = &job->ranks[rank];
        if (state->ended || !has_ended(state))
            continue;
        job->running--;
        if (state->signal && first_killed < 0)
            first_killed = rank;
        if (state->status && !state->signal && first_exited < 0)
            first_exited = rank;
    }
    if (first_killed >= 0)
        take_failure(job, first_killed);
    if (first_exited >= 0)
        take_failure(job, first_exited);
}

/* === The end ================================================================================== */

/* Sends number to whatever is left: members of the ranks' groups, and processes that had left them
 * and were adopted. Returns whether anything is. */
static bool signal_leftovers(job *job, int number)
{
    bool any = false;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    for (int rank = 0; rank < job->launch->world_size; rank++) {
        volatile pid_t *group = &job->launch->groups[rank];
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

static bool output_is_done(const job *job)
{
    for (int rank = 0; rank < job->started; rank++) {
        if (job->ranks[rank].out.fd >= 0 || job->ranks[rank].err.fd >= 0)
            return false;
    }
    return job->out->length == 0 && job->err->length == 0;
}

/* Whether to go on waiting until all output is written. A pipe without an end is held open by a
 * process that is out of reach; it gets one more moment, while a slow reader gets all the time. */
static bool keep_flushing(job *job, bool over)
{
    if (output_is_done(job) || job->hurried)
        return false;
    if (!over)
        return true;
    if (job->orphaned || (job->out->length == 0 && job->err->length == 0))
        return false;
    enter(job, FLUSHING, KILLED_MS);
    return true;
}

/* What there is to do when the phase's time is over, or what it waited for has happened. Returns
 * false when the job is over too. */
static bool leave_phase(job *job, bool over)
{
    switch (job->phase) {
    case RUNNING: return true;
    case WARNED:
        if (over)
            end_ranks(job, SIGTERM);
        return true;
    case ENDING:
        if (over)
            end_ranks(job, SIGKILL);
        return true;
    case KILLED: /* a rank that SIGKILL does not end hangs in the kernel */
        if (over)
            enter(job, LEFTOVERS_KILLED, KILLED_MS);
        return true;
    case LEFTOVERS:
        if (!signal_leftovers(job, 0))
            enter(job, FLUSHING, KILLED_MS);
        else if (over || job->hurried)
            enter(job, LEFTOVERS_KILLED, KILLED_MS);
        return true;
    case LEFTOVERS_KILLED:
        if (!signal_leftovers(job, SIGKILL) || over)
            enter(job, FLUSHING, KILLED_MS);
        return true;
    case FLUSHING: return keep_flushing(job, over);
    }
    return false;
}

/* Moves to the next phase when its time has come. Returns false when the job is over. */
static bool move_on(job *job)
{
    int64_t now = now_ms();
    if (now >= job->timeout_ms && job->phase < ENDING) {
        hk_sink_say(job->err, "The job took longer than %g seconds (--timeout).",
                    job->launch->timeout_s);
        decide(job, HK_EXIT_TIMEOUT);
        end_ranks(job, SIGTERM);
    }
    if (job->phase < LEFTOVERS && job->running == 0) {
        signal_leftovers(job, SIGTERM);
        enter(job, LEFTOVERS, LEFTOVERS_MS);
    }
    phase before;
    bool going;
    do {
        before = job->phase;
        going = leave_phase(job, now >= job->phase_ends_ms);
    } while (going && job->phase != before);
    return going;
}

/* === The loop ================================================================================= */

static int nap_ms(const job *job)
{
    int64_t until = job->phase_ends_ms;
    if (job->phase < ENDING && job->timeout_ms < until)
        until = job->timeout_ms;
    if (job->phase == LEFTOVERS || job->phase == LEFTOVERS_KILLED)
        return NAP_MS;
    if (until == FOREVER)
        return -1;
    int64_t left = until - now_ms();
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static int watch(job *job, int count, int fd, short events, hk_stream *stream)
{
    job->fds[count] = (struct pollfd){.fd = fd, .events = events};
    job->fd_streams[count] = stream;
    return count + 1;
}

static int watch_stream(job *job, int count, hk_stream *stream)
{
    if (stream->fd < 0 || hk_sink_is_full(stream->sink))
        return count;
    return watch(job, count, stream->fd, POLLIN, stream);
}

static void sleep_until_something(job *job)
{
    int count = watch(job, 0, job->signals, POLLIN, NULL);
    count = watch(job, count, job->orphaned ? -1 : job->lifeline, POLLIN, NULL);
    int sinks = count;
    count = watch(job, count, job->out->length ? job->out->fd : -1, POLLOUT, NULL);
    count = watch(job, count, job->err->length ? job->err->fd : -1, POLLOUT, NULL);
    for (int rank = 0; rank < job->started; rank++) {
        count = watch_stream(job, count, &job->ranks[rank].out);
        count = watch_stream(job, count, &job->ranks[rank].err);
    }
    if (poll(job->fds, (nfds_t)count, nap_ms(job)) < 0)
        return;
    if (job->fds[1].revents) {
        job->orphaned = true;
        decide(job, HK_EXIT_LAUNCHER);
        end_ranks(job, SIGTERM);
    }
    for (int i = sinks + 2; i < count; i++) {
        if (job->fds[i].revents && !hk_sink_is_full(job->fd_streams[i]->sink))
            hk_stream_pump(job->fd_streams[i]);
    }
}

/* A reader that left (EPIPE) is no failure of ours; the ranks learn of it by SIGPIPE. */
static void tell_of_lost_output(job *job, bool *told)
{
    int error = job->out->error;
    if (!error || error == EPIPE || *told)
        return;
    *told = true;
    if (!job->decided)
        job->status = HK_EXIT_LAUNCHER; /* unless a rank fails too */
    hk_sink_say(job->err, "Cannot write the ranks' output: %s.", strerror(error));
}

static void loop(job *job)
{
    bool told = false;
    do {
        hk_sink_flush(job->out);
        hk_sink_flush(job->err);
        tell_of_lost_output(job, &told);
        sleep_until_something(job);
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

static bool open_job(job *job, const hk_launch *launch, int lifeline)
{
    size_t ranks = (size_t)launch->world_size, fds = 2 * ranks + 4;
    *job = (struct job){.launch = launch, .lifeline = lifeline, .phase_ends_ms = FOREVER};
    job->timeout_ms =
        launch->timeout_s > 0 ? now_ms() + (int64_t)(launch->timeout_s * 1000) : FOREVER;
    job->out = &job->sinks[0];
    job->err = same_file(STDOUT_FILENO, STDERR_FILENO) ? job->out : &job->sinks[1];
    job->ranks = calloc(ranks, sizeof *job->ranks);
    job->fds = calloc(fds, sizeof *job->fds);
    job->fd_streams = calloc(fds, sizeof *job->fd_streams);
    if (!job->ranks || !job->fds || !job->fd_streams || !hk_sink_open(job->out, STDOUT_FILENO) ||
        (job->err != job->out && !hk_sink_open(job->err, STDERR_FILENO)) || !catch_signals()) {
        hk_complain("run", "The launcher could not be set up: %s.", strerror(errno));
        return false;
    }
    job->signals = signal_pipe[0];
    for (size_t rank = 0; rank < ranks; rank++)
        job->ranks[rank].out.fd = job->ranks[rank].err.fd = -1;
    return true;
}

static void close_job(job *job)
{
    for (int rank = 0; rank < job->started; rank++) {
        hk_stream_close(&job->ranks[rank].out);
        hk_stream_close(&job->ranks[rank].err);
    }
    hk_sink_close(&job->sinks[0]);
    hk_sink_close(&job->sinks[1]);
    free(job->fd_streams);
    free(job->fds);
    free(job->ranks);
}

int hk_job_run(const hk_launch *launch, int lifeline)
{
    job job;
    int status = HK_EXIT_LAUNCHER;
    hk_adopt_orphans();
    if (open_job(&job, launch, lifeline)) {
        start_ranks(&job);
        loop(&job);
        status = job.status;
        if (job.orphaned && launch->mlx_hostfile)
            unlink(launch->mlx_hostfile);
    }
    close_job(&job);
    return status;
}
