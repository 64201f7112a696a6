/* What is said over a connection:
 *
 *   who dials                 who listens
 *   the token
 *   'p'                       'p'             some times, for the round trip
 *   's', then zeros           bytes a second  as soon as enough has come
 *
 * Who listens counts what arrives, since buffers on the way take much that has not. The first tenth
 * of a second is left out: TCP is still finding its pace, and queues are filling. */
#include "run/reach.h"

#include "run/signals.h"

#include "run/launch.h"
#include "platform.h"
#include "wire/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000) /* times are in nanoseconds */
#define TOKEN_MS 1000       /* for who dials to show the token */
#define CONNECT_MS 3000
#define SILENCE_MS 2000 /* for an answer */
#define PINGS_MOST 25
#define PINGS_LEAST 3
#define PINGS_MS 500 /* no more than the least after that */
#define WARM_MS 100
#define WARM_BYTES (8u << 20)
#define COUNTED_MS 500
#define COUNTED_BYTES (56u << 20)
#define STREAM_MS 3000 /* for all of the stream, its answer included */
#define TALK_MS 10000  /* for a whole connection */
#define CHUNK 262144

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* False when the time is over. */
static bool await(int fd, short events, int64_t until)
{
    struct pollfd one = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = until - now();
        int ready = left > 0 ? poll(&one, 1, (int)(left / MS) + 1) : 0;
        if (ready > 0)
            return true;
        errno = ready < 0 ? errno : ETIMEDOUT;
        if (left <= 0 || (ready < 0 && errno != EINTR))
            return false;
    }
}

/* All of it, or false with errno. */
static bool receive(int fd, void *bytes, size_t length, int64_t until)
{
    char *at = bytes;
    while (length > 0) {
        ssize_t got = read(fd, at, length);
        if (got > 0) {
            at += got;
            length -= (size_t)got;
        } else if (got == 0) {
            errno = ECONNRESET;
            return false;
        } else if ((errno != EAGAIN && errno != EINTR) || !await(fd, POLLIN, until)) {
            return false;
        }
    }
    return true;
}

static bool deliver(int fd, const void *bytes, size_t length, int64_t until)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t sent = write(fd, at, length);
        if (sent >= 0) {
            at += sent;
            length -= (size_t)sent;
        } else if ((errno != EAGAIN && errno != EINTR) || !await(fd, POLLOUT, until)) {
            return false;
        }
    }
    return true;
}

static void set_up(int fd)
{
    int one = 1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* === Who listens ============================================================================== */

/* Takes the stream and says how fast it was. What is still on its way is taken, too, so that the
 * answer is not lost by a reset. */
static void take_stream(int fd, int64_t until)
{
    static char bytes[CHUNK];
    int64_t began = 0, ends = until;
    uint64_t count = 0;
    bool warm = false;
    while (!(warm && count >= COUNTED_BYTES) && await(fd, POLLIN, ends)) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return;
        if (began == 0)
            began = now();
        count += got > 0 ? (uint64_t)got : 0;
        if (!warm && (count >= WARM_BYTES || now() - began >= WARM_MS * MS)) {
            warm = true;
            count = 0;
            began = now();
            ends = began + COUNTED_MS * MS;
        }
    }
    unsigned char answer[8];
    if (!warm)
        return;
    hk_put_u64(answer, (uint64_t)((double)count / ((double)(now() - began + 1) / 1e9)));
    until = now() + SILENCE_MS * MS;
    if (!deliver(fd, answer, sizeof answer, until))
        return;
    while (await(fd, POLLIN, until) && read(fd, bytes, sizeof bytes) > 0) {
    }
}

static void answer(int fd, const char *token)
{
    char shown[HK_REACH_TOKEN], word;
    int64_t until = now() + TALK_MS * MS;
    set_up(fd);
    if (!receive(fd, shown, sizeof shown, now() + TOKEN_MS * MS) ||
        memcmp(shown, token, sizeof shown) != 0)
        return;
    while (receive(fd, &word, 1, until)) {
        if (word == 's')
            take_stream(fd, until);
        if (word != 'p' || !deliver(fd, &word, 1, until))
            return;
    }
}

/* Until the agent is gone. */
static void answer_all(int listener, int lifeline, const char *token)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = listener, .events = POLLIN},
                                {.fd = lifeline, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[1].revents)
            return;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        answer(fd, token);
        close(fd);
    }
}

/* Any address of this host, IPv6 and IPv4 where there are both. */
static int listen_anywhere(int *port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr *any = (struct sockaddr *)&six;
    socklen_t length = sizeof six;
    int zero = 0, fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) < 0 ||
        bind(fd, any, length) < 0) {
        hk_fd_close(&fd);
        any = (struct sockaddr *)&four;
        length = sizeof four;
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= 0 && bind(fd, any, length) < 0)
            hk_fd_close(&fd);
    }
    if (fd < 0 || listen(fd, 16) < 0 || getsockname(fd, any, &length) < 0) {
        hk_fd_close(&fd);
        return -1;
    }
    *port = ntohs(any == (struct sockaddr *)&six ? six.sin6_port : four.sin_port);
    set_up(fd);
    return fd;
}

/* === Who dials ================================================================================ */

static int fail(hk_dialed *dialed, const char *why)
{
    dialed->open = false;
    snprintf(dialed->text, sizeof dialed->text, "%s", why);
    return -1;
}

/* The connection to the first of the host's addresses that takes one. */
static int connect_to(const char *host, const char *port, hk_dialed *dialed)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int unknown = getaddrinfo(host, port, &hints, &found), error = 0;
    if (unknown != 0) {
        snprintf(dialed->text, sizeof dialed->text, "the name is not known there (%s)",
                 gai_strerror(unknown));
        return -1;
    }
    int64_t until = now() + CONNECT_MS * MS;
    int fd = -1;
    for (const struct addrinfo *each = found; each && fd < 0; each = each->ai_next) {
        socklen_t size = sizeof error;
        fd = socket(each->ai_family, SOCK_STREAM, 0);
        if (fd < 0) {
            error = errno;
            continue;
        }
        set_up(fd);
        error = connect(fd, each->ai_addr, each->ai_addrlen) < 0 ? errno : 0;
        if (error == EINPROGRESS) {
            if (!await(fd, POLLOUT, until))
                error = errno;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
                error = errno;
        }
        if (error != 0)
            hk_fd_close(&fd);
    }
    freeaddrinfo(found);
    if (fd < 0)
        fail(dialed, error == ETIMEDOUT ? "no answer within 3 s" : strerror(error));
    return fd;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static bool measure_round_trip(int fd, hk_dialed *dialed)
{
    double spans[PINGS_MOST];
    int count = 0;
    int64_t began = now();
    while (count < PINGS_MOST && (count < PINGS_LEAST || now() - began < PINGS_MS * MS)) {
        char word = 'p';
        int64_t sent = now(), until = sent + SILENCE_MS * MS;
        if (!deliver(fd, &word, 1, until) || !receive(fd, &word, 1, until))
            return false;
        spans[count++] = (double)(now() - sent) / 1e9;
    }
    qsort(spans, (size_t)count, sizeof *spans, ascending);
    dialed->round_trip_s = spans[count / 2];
    return true;
}

/* Sends until the other end has seen enough. */
static bool measure_bandwidth(int fd, hk_dialed *dialed)
{
    static const char zeros[CHUNK];
    int64_t until = now() + STREAM_MS * MS;
    size_t left = WARM_BYTES + COUNTED_BYTES + 2 * CHUNK; /* it counts in pieces */
    unsigned char bytes[8];
    if (!deliver(fd, "s", 1, until))
        return false;
    struct pollfd one = {.fd = fd};
    do {
        int64_t rest = until - now();
        one.events = left > 0 ? POLLIN | POLLOUT : POLLIN;
        if (rest <= 0 || (poll(&one, 1, (int)(rest / MS) + 1) < 0 && errno != EINTR))
            return false;
        ssize_t sent = 0;
        if (one.revents & POLLOUT)
            sent = write(fd, zeros, left < CHUNK ? left : CHUNK);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        left -= sent > 0 ? (size_t)sent : 0;
    } while (!(one.revents & ~POLLOUT));
    if (!receive(fd, bytes, sizeof bytes, until))
        return false;
    dialed->bytes_per_s = (double)hk_get_u64(bytes);
    return true;
}

static void name_own_end(int fd, hk_dialed *dialed)
{
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &length) < 0 ||
        getnameinfo((struct sockaddr *)&own, length, dialed->text, sizeof dialed->text, NULL, 0,
                    NI_NUMERICHOST) != 0)
        dialed->text[0] = '\0';
}

static void try_to_reach(const char *host, uint32_t port, const char *token, hk_dialed *dialed)
{
    char number[16];
    snprintf(number, sizeof number, "%u", (unsigned)port);
    int fd = connect_to(host, number, dialed);
    if (fd < 0)
        return;
    dialed->open = true;
    name_own_end(fd, dialed);
    if (!deliver(fd, token, HK_REACH_TOKEN, now() + SILENCE_MS * MS) ||
        !measure_round_trip(fd, dialed))
        fail(dialed, "a connection opens, but nothing comes back");
    else if (!measure_bandwidth(fd, dialed))
        fail(dialed, "a connection opens and single bytes pass, but large messages do not (is an "
                     "MTU too large?)");
    /* What is on its way must not slow down the next. */
    struct linger none = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

/* === The agent ================================================================================ */

void hk_reach_open(hk_reach *reach, const int foreign[HK_REACH_FOREIGN])
{
    *reach = (hk_reach){.lifeline = -1, .answer = -1};
    memcpy(reach->foreign, foreign, sizeof reach->foreign);
}

void hk_reach_close(hk_reach *reach)
{
    hk_fd_close(&reach->lifeline);
    hk_fd_close(&reach->answer);
    hk_buffer_free(&reach->heard);
}

/* A process of ours: without the pipes to front, whose end must be seen, and without the agent's
 * ways with signals. Returns as fork does. */
static pid_t split(hk_reach *reach)
{
    pid_t agent = getpid(), child = hk_signals_fork();
    if (child != 0)
        return child;
    hk_signals_reset();
    signal(SIGPIPE, SIG_IGN);
    hk_die_with_parent(agent);
    for (int i = 0; i < HK_REACH_FOREIGN; i++)
        hk_fd_close(&reach->foreign[i]);
    hk_fd_close(&reach->lifeline);
    hk_fd_close(&reach->answer);
    return 0;
}

int hk_reach_listen(hk_reach *reach, const char token[HK_REACH_TOKEN])
{
    int lifeline[2], port = 0;
    if (reach->port > 0)
        return reach->port;
    memcpy(reach->token, token, sizeof reach->token);
    int listener = listen_anywhere(&port);
    if (listener < 0 || !hk_pipe_make(lifeline)) {
        hk_fd_close(&listener);
        return 0;
    }
    pid_t child = split(reach);
    if (child == 0) {
        close(lifeline[1]);
        answer_all(listener, lifeline[0], token);
        _exit(0);
    }
    close(listener);
    close(lifeline[0]);
    reach->lifeline = lifeline[1];
    if (child > 0)
        reach->port = port;
    return reach->port;
}

bool hk_reach_dial(hk_reach *reach, const char *host, uint32_t port)
{
    int answer[2];
    if (reach->answer >= 0 || port < 1 || port > UINT16_MAX || !hk_pipe_make(answer))
        return false;
    reach->dialer = split(reach);
    if (reach->dialer == 0) {
        hk_dialed dialed = {0};
        hk_buffer bytes = {0};
        close(answer[0]);
        alarm(HK_REACH_DIAL_S); /* no name server knows a deadline of ours */
        try_to_reach(host, port, reach->token, &dialed);
        if (hk_dialed_put(&bytes, &dialed))
            hk_write_all(answer[1], bytes.data + bytes.start, bytes.length);
        _exit(0);
    }
    close(answer[1]);
    reach->answer = answer[0];
    fcntl(reach->answer, F_SETFL, O_NONBLOCK);
    if (reach->dialer < 0)
        hk_fd_close(&reach->answer);
    return reach->dialer > 0;
}

/* The dialer has written the frame as it is; where it could not, this says so. */
void hk_reach_hear(hk_reach *reach, hk_buffer *out)
{
    hk_dialed dialed = {0};
    hk_frame frame;
    long got = hk_buffer_read(&reach->heard, reach->answer);
    if (got != 0)
        return;
    bool whole = hk_frame_next(&reach->heard, &frame) == 1 && hk_dialed_read(&frame, &dialed);
    if (!whole)
        fail(&dialed, "the attempt took too long or was ended");
    hk_dialed_put(out, &dialed);
    hk_buffer_free(&reach->heard);
    hk_fd_close(&reach->answer);
    while (waitpid(reach->dialer, NULL, 0) < 0 && errno == EINTR) {
    }
}
