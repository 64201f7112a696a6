/* Asks agents on all hosts in three steps, each with a deadline:
 *
 *   they start and say what their hosts are like, some times: the quickest answer says most of the
 *   clock, whose difference is known to half of a round trip;
 *   every other host dials the first, as ranks do to meet: the address that it has on the way there
 *   is where the other ranks will reach it;
 *   the other pairs, and again those that stand out, which may have been chance.
 *
 * One pair at a time, so that none takes another's share of a cable. */
#include "doctor/survey.h"

#include "run/agent.h"
#include "run/reach.h"
#include "run/signals.h"

#include <errno.h>
#include <hocket/hocket.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOKS 5
#define AGAIN 2       /* tries, for pairs that stand out */
#define MEET_MS 40000 /* for ssh, whose own limit is 20 s, and for the looks */
#define DIAL_MS ((HK_REACH_DIAL_S + 5) * 1000)
#define LEAVE_MS 5000
#define LOST_MS 1000
#define WORDS_MAX 65536 /* of one ssh */

/* === What a person sees meanwhile ============================================================= */

static void progress(const hk_survey *survey, const char *format, ...) HK_WORDS_PRINTF(2, 3);

/* A line that the next one replaces; "" leaves none. */
static void progress(const hk_survey *survey, const char *format, ...)
{
    va_list arguments;
    if (!survey->terminal)
        return;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
}

/* === Hosts that are of no use ================================================================= */

/* The last line of what ssh has said. */
static void last_words(const hk_survey_host *host, char *text, size_t size)
{
    const char *bytes = host->words.data ? host->words.data + host->words.start : "";
    size_t end = host->words.length;
    while (end > 0 && strchr("\r\n ", bytes[end - 1]))
        end--;
    size_t begin = end;
    while (begin > 0 && bytes[begin - 1] != '\n')
        begin--;
    snprintf(text, size, "%.*s", (int)(end - begin), bytes + begin);
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    }
}

static bool hear_words(hk_survey_host *host)
{
    if (host->link.words < 0)
        return false;
    long got = hk_buffer_read(&host->words, host->link.words);
    if (host->words.length > WORDS_MAX)
        hk_buffer_drop(&host->words, host->words.length - WORDS_MAX);
    if (got == 0)
        hk_fd_close(&host->link.words);
    return got > 0;
}

static void say_why(const hk_survey *survey, hk_survey_host *host)
{
    char said[256], how[64];
    int status = host->link.status;
    last_words(host, said, sizeof said);
    const char *colon = *said ? ": " : "";
    if (WIFEXITED(status))
        snprintf(how, sizeof how, "status %d", WEXITSTATUS(status));
    else
        snprintf(how, sizeof how, "signal %d", WTERMSIG(status));
    if (host->link.greeted)
        snprintf(host->why, sizeof host->why, "it was lost on the way (%s)%s%s", how, colon, said);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 255)
        snprintf(host->why, sizeof host->why, "`%s` does not reach it%s%s", survey->launch->ssh,
                 colon, said);
    else
        snprintf(host->why, sizeof host->why,
                 "no hocket answers there; --hocket says where it is (%s)%s%s", how, colon, said);
}

/* Its agent's output has ended, or makes no sense. */
static void lose(const hk_survey *survey, hk_survey_host *host)
{
    hk_link_hang_up(&host->link, LOST_MS);
    while (hear_words(host)) {
    }
    host->link.over = true;
    if (!*host->why)
        say_why(survey, host);
}

static void give_up(hk_survey_host *host, const char *why)
{
    host->link.over = true;
    snprintf(host->why, sizeof host->why, "%s", why);
    hk_link_hang_up(&host->link, 0);
}

/* === What agents say ========================================================================== */

static double clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void ask(const hk_survey *survey, hk_survey_host *host)
{
    host->asked_s = clock_s();
    hk_frame_put(&host->link.out, HK_FRAME_LOOK, 0, survey->token, HK_REACH_TOKEN);
}

static bool take_seen(const hk_survey *survey, hk_survey_host *host, const hk_frame *frame)
{
    hk_seen seen;
    double now = clock_s(), half = (now - host->asked_s) / 2;
    if (host->looks >= LOOKS || !hk_seen_read(frame, &seen))
        return false;
    if (host->looks == 0 || half < host->unsure_s) {
        host->seen = seen;
        host->unsure_s = half;
        host->ahead_s = (double)seen.clock_us / 1e6 - (host->asked_s + half);
    }
    if (++host->looks < LOOKS)
        ask(survey, host);
    return true;
}

static bool take_frame(const hk_survey *survey, hk_survey_host *host, const hk_frame *frame)
{
    switch ((int)frame->type) {
    case HK_FRAME_SEEN: return take_seen(survey, host, frame);
    case HK_FRAME_DIALED:
        if (!host->dials || !hk_dialed_read(frame, &host->dialed))
            return false;
        host->dials = false;
        return true;
    case HK_FRAME_GONE: host->link.over = true; return true;
    default: return false;
    }
}

/* Whether the agent may be heard further. */
static bool greet(const hk_survey *survey, hk_survey_host *host)
{
    if (host->link.greeted)
        return true;
    int greeted = hk_link_greet(&host->link, host->version, sizeof host->version);
    if (greeted < 0) {
        snprintf(host->why, sizeof host->why,
                 "it has hocket %s, and this host has %s: they must be the same", host->version,
                 hocket_version());
        lose(survey, host);
    } else if (greeted > 0) {
        host->link.greeted = true;
        snprintf(host->version, sizeof host->version, "%s", hocket_version());
        ask(survey, host);
    }
    return greeted > 0;
}

static void hear(const hk_survey *survey, hk_survey_host *host)
{
    hk_frame frame;
    int found = 0;
    long got = hk_buffer_read(&host->link.in, host->link.from);
    if (greet(survey, host)) {
        while (!host->link.over && (found = hk_frame_next(&host->link.in, &frame)) > 0) {
            bool taken = take_frame(survey, host, &frame);
            hk_frame_drop(&host->link.in, &frame);
            if (!taken) {
                found = -1;
                break;
            }
        }
    }
    if (!host->link.over && (got == 0 || found < 0))
        lose(survey, host);
}

/* Agents behind ssh hear from time to time that we are there. */
static void ping(hk_survey *survey)
{
    if (hk_now_ms() < survey->next_ping_ms)
        return;
    survey->next_ping_ms = hk_now_ms() + HK_PING_MS;
    for (int i = 0; i < survey->count; i++) {
        hk_link *link = &survey->hosts[i].link;
        if (link->greeted && !link->over)
            hk_frame_put(&link->out, HK_FRAME_PING, 0, NULL, 0);
    }
}

/* Sleeps until an agent speaks or it is when_ms, and takes what has come. */
static void listen_to_all(hk_survey *survey, int64_t when_ms)
{
    struct pollfd fds[3 * HK_SURVEY_HOSTS_MAX];
    ping(survey);
    for (int i = 0; i < survey->count; i++) {
        hk_link *link = &survey->hosts[i].link;
        if (!link->over && link->out.length > 0 && !hk_buffer_write(&link->out, link->to))
            hk_buffer_free(&link->out); /* its end will be heard */
        fds[3 * i] = (struct pollfd){.fd = link->over ? -1 : link->from, .events = POLLIN};
        fds[3 * i + 1] = (struct pollfd){.fd = !link->over && link->out.length ? link->to : -1,
                                         .events = POLLOUT};
        fds[3 * i + 2] = (struct pollfd){.fd = link->words, .events = POLLIN};
    }
    if (survey->next_ping_ms < when_ms)
        when_ms = survey->next_ping_ms;
    if (poll(fds, 3 * (nfds_t)survey->count, hk_nap_until(when_ms)) < 0)
        return;
    for (int i = 0; i < survey->count; i++) {
        if (fds[3 * i + 2].revents)
            hear_words(&survey->hosts[i]);
        if (fds[3 * i].revents)
            hear(survey, &survey->hosts[i]);
    }
}

/* === The steps ================================================================================ */

/* How many hosts have not answered, and are not lost. */
static int awaited(const hk_survey *survey, const char **name)
{
    int count = 0;
    for (int i = 0; i < survey->count; i++) {
        const hk_survey_host *host = &survey->hosts[i];
        if (host->link.over || host->looks >= LOOKS)
            continue;
        if (count++ == 0)
            *name = host->link.host->name;
    }
    return count;
}

static void meet(hk_survey *survey)
{
    const char *name = "";
    int64_t until = hk_now_ms() + MEET_MS;
    int left;
    while ((left = awaited(survey, &name)) > 0 && hk_now_ms() < until) {
        progress(survey, left > 1 ? "waiting for %s and %d more" : "waiting for %s", name,
                 left - 1);
        listen_to_all(survey, until);
    }
    for (int i = 0; i < survey->count; i++) {
        hk_survey_host *host = &survey->hosts[i];
        if (!host->link.over && host->looks < LOOKS)
            give_up(host, "it does not answer within 40 s");
    }
}

/* Where ranks reach the host, but for what dialing the first host teaches. */
static void set_address(const hk_survey *survey, int index)
{
    hk_survey_host *host = &survey->hosts[index];
    char text[sizeof host->address];
    hk_host_address(&survey->launch->hosts, index, text, sizeof text);
    size_t length = strlen(text);
    bool bracketed = length > 2 && text[0] == '[' && text[length - 1] == ']';
    snprintf(host->address, sizeof host->address, "%.*s", (int)(bracketed ? length - 2 : length),
             bracketed ? text + 1 : text);
}

/* Of two tries the better. */
static void keep(hk_pair *pair, const hk_dialed *dialed)
{
    bool again = pair->tried && pair->dialed.open && dialed->open;
    hk_dialed before = pair->dialed;
    pair->dialed = *dialed;
    pair->tried = true;
    if (again && before.bytes_per_s > dialed->bytes_per_s)
        pair->dialed.bytes_per_s = before.bytes_per_s;
    if (again && before.round_trip_s < dialed->round_trip_s)
        pair->dialed.round_trip_s = before.round_trip_s;
}

static void try_pair(hk_survey *survey, int from, int to)
{
    hk_survey_host *near = &survey->hosts[from], *far = &survey->hosts[to];
    hk_pair *pair = &survey->pairs[from * survey->count + to];
    if (from == to || near->link.over || far->link.over)
        return;
    progress(survey, "from %s to %s", near->link.host->name, far->link.host->name);
    snprintf(pair->address, sizeof pair->address, "%s", far->address);
    if (far->seen.port == 0) {
        keep(pair, &(hk_dialed){.text = "it cannot listen at any port"});
        return;
    }
    near->dials = true;
    hk_frame_put(&near->link.out, HK_FRAME_DIAL, (uint32_t)far->seen.port, far->address,
                 strlen(far->address));
    int64_t until = hk_now_ms() + DIAL_MS;
    while (near->dials && !near->link.over && !far->link.over && hk_now_ms() < until)
        listen_to_all(survey, until);
    if (near->dials && !near->link.over && !far->link.over)
        give_up(near, "it does not answer any more");
    else if (!near->dials)
        keep(pair, &near->dialed);
}

static void try_pairs(hk_survey *survey)
{
    double others;
    for (int from = 1; from < survey->count; from++) {
        const hk_pair *pair = &survey->pairs[from * survey->count];
        hk_survey_host *host = &survey->hosts[from];
        try_pair(survey, from, 0);
        if (pair->tried && pair->dialed.open && *pair->dialed.text && host->link.host->ip_count < 1)
            snprintf(host->address, sizeof host->address, "%s", pair->dialed.text);
    }
    for (int from = 0; from < survey->count; from++) {
        for (int to = 1; to < survey->count; to++)
            try_pair(survey, from, to);
    }
    for (int i = 0; i < AGAIN * survey->count; i++) {
        for (int to = 0; to < survey->count; to++) {
            int from = i % survey->count;
            if (hk_survey_is_slow(survey, from, to, &others) ||
                hk_survey_is_late(survey, from, to, &others))
                try_pair(survey, from, to);
        }
    }
}

/* Agents end by themselves when their input is hung up; but when we are asked to go, they are gone
 * first. */
static void leave(hk_survey *survey)
{
    int64_t until = hk_now_ms() + LEAVE_MS;
    progress(survey, "%s", "");
    for (int i = 0; i < survey->count; i++) {
        hk_survey_host *host = &survey->hosts[i];
        if (!host->link.over)
            hk_frame_put(&host->link.out, HK_FRAME_FINISH, 1, NULL, 0);
    }
    for (int i = 0; i < survey->count; i++) {
        while (!survey->hosts[i].link.over && hk_now_ms() < until)
            listen_to_all(survey, until);
        hk_link_hang_up(&survey->hosts[i].link, LOST_MS);
    }
}

/* Those of this host first, so that none holds the descriptors of an ssh. */
static bool start(hk_survey *survey)
{
    int started = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < survey->count; i++) {
            hk_survey_host *host = &survey->hosts[i];
            if (host->link.here != (pass == 0))
                continue;
            hk_link others[HK_SURVEY_HOSTS_MAX];
            for (int j = 0; j < survey->count; j++)
                others[j] = survey->hosts[j].link;
            if (!hk_link_start(&host->link, survey->launch, others, survey->count))
                return false;
            started++;
            if (host->link.here) {
                snprintf(host->version, sizeof host->version, "%s", hocket_version());
                ask(survey, host);
            }
        }
    }
    return started == survey->count;
}

static bool prepare(hk_survey *survey, const hk_launch *launch)
{
    size_t count = (size_t)launch->hosts.count;
    *survey = (hk_survey){.launch = launch,
                          .hosts = calloc(count, sizeof *survey->hosts),
                          .pairs = calloc(count * count, sizeof *survey->pairs),
                          .terminal = isatty(STDERR_FILENO)};
    if (!survey->hosts || !survey->pairs || !hk_secret_make(survey->token)) {
        hk_complain("doctor", "The hosts cannot be asked: %s.", strerror(errno));
        return false;
    }
    survey->count = (int)count;
    for (int i = 0; i < survey->count; i++) {
        const hk_host *host = &launch->hosts.items[i];
        survey->hosts[i].link = (hk_link){
            .host = host, .here = hk_host_is_here(host), .to = -1, .from = -1, .words = -1};
        set_address(survey, i);
    }
    return true;
}

int hk_survey_run(const hk_launch *launch)
{
    hk_survey survey;
    int status = HK_EXIT_LAUNCHER;
    signal(SIGPIPE, SIG_IGN);
    if (prepare(&survey, launch) && start(&survey)) {
        meet(&survey);
        try_pairs(&survey);
        leave(&survey);
        status = hk_survey_print(&survey) > 0;
    }
    for (int i = 0; i < survey.count; i++) {
        hk_link_close(&survey.hosts[i].link);
        hk_buffer_free(&survey.hosts[i].words);
    }
    free(survey.hosts);
    free(survey.pairs);
    return status;
}
