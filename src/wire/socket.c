#include "wire/socket.h"
#include "wire/keepalive.h"
#include "wire/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS_MAX 60000
#define RETRY_FIRST (2 * HK_MILLISECOND)
#define RETRY_LAST (100 * HK_MILLISECOND)

/* === Making ones ============================================================================== */

static void set_option(int fd, int level, int option, int value)
{
    /* What is set here makes a socket faster; none is needed for it to work. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static bool make_ready(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return false;
#ifdef SO_NOSIGPIPE /* where send() has no flag for it */
    set_option(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
    return true;
}

static void set_buffers(int fd, size_t bytes)
{
    if (bytes == 0)
        return;
    int value = bytes > INT_MAX ? INT_MAX : (int)bytes;
    set_option(fd, SOL_SOCKET, SO_SNDBUF, value);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, value);
}

/* Linux makes room for the bytes that a socket is to wake its reader for, and keeps the room when
 * the reader is satisfied with less again. Unlike SO_RCVBUF it may pass the limit for programs, and
 * the kernel may still go further. Elsewhere it changes nothing. */
void hk_socket_widen(int fd, size_t bytes)
{
    set_option(fd, SOL_SOCKET, SO_RCVLOWAT, bytes > INT_MAX ? INT_MAX : (int)bytes);
    set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
}

static int open_socket(const hk_address *address, size_t buffer_bytes)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    if (!make_ready(fd)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    set_buffers(fd, buffer_bytes); /* before listen and connect: they settle the window */
    return fd;
}

static void pause_until(hk_time *pause, hk_time deadline)
{
    hk_time left = hk_deadline_left(deadline);
    hk_time span = *pause < left ? *pause : left;
    struct timespec nap = {.tv_sec = (time_t)(span / HK_SECOND),
                           .tv_nsec = (long)(span % HK_SECOND)};
    nanosleep(&nap, NULL);
    *pause = *pause * 2 < RETRY_LAST ? *pause * 2 : RETRY_LAST;
}

static int try_listen(const hk_address *address, size_t buffer_bytes)
{
    int fd = open_socket(address, buffer_bytes);
    if (fd < 0)
        return -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->storage.ss_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !hk_address_is_any(address));
    if (bind(fd, (const struct sockaddr *)&address->storage, address->length) == 0 &&
        listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

hocket_status hk_socket_listen(const hk_address *address, size_t buffer_bytes, hk_time patience,
                               int *fd, hk_address *bound)
{
    hk_time pause = RETRY_FIRST;
    *fd = try_listen(address, buffer_bytes);
    while (*fd < 0 && errno == EADDRINUSE && hk_deadline_left(patience) > 0) {
        pause_until(&pause, patience);
        *fd = try_listen(address, buffer_bytes);
    }
    if (*fd < 0) {
        int error = errno;
        char text[HK_ADDRESS_TEXT_MAX];
        hk_address_format(address, text);
        return hk_fail_errno(error, "cannot listen at %s", text);
    }
    hocket_status status = bound == NULL ? HOCKET_OK : hk_address_local(*fd, bound);
    if (status != HOCKET_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

/* accept() also hands on what went wrong with a connection that is gone already. */
static bool is_passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return true;
    default: return error == EAGAIN || error == EWOULDBLOCK;
    }
}

hocket_status hk_socket_accept(int listener, int *fd, hk_address *peer)
{
    memset(peer, 0, sizeof *peer);
    peer->length = sizeof peer->storage;
    *fd = accept(listener, (struct sockaddr *)&peer->storage, &peer->length);
    if (*fd < 0)
        return is_passing(errno) ? HOCKET_OK : hk_fail_errno(errno, "cannot accept a connection");
    if (!make_ready(*fd)) {
        int error = errno;
        close(*fd);
        *fd = -1;
        return hk_fail_errno(error, "cannot set up a connection");
    }
    set_option(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
    hk_socket_keep_alive(*fd);
    hk_address_unmap(peer);
    return HOCKET_OK;
}

/* === Connecting =============================================================================== */

bool hk_socket_wait(int fd, short events, hk_time deadline)
{
    struct pollfd one = {.fd = fd, .events = events};
    for (;;) {
        int ready = poll(&one, 1, hk_deadline_poll_ms(deadline, POLL_MS_MAX));
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return true; /* the next call on the socket says what is wrong with it */
        if (hk_deadline_left(deadline) == 0)
            return false;
    }
}

/* 0, an errno, or -1 for the deadline. */
static int finish_connect(int fd, const hk_address *address, hk_time deadline)
{
    if (connect(fd, (const struct sockaddr *)&address->storage, address->length) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return errno;
    if (!hk_socket_wait(fd, POLLOUT, deadline))
        return -1;
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

/* Who keeps knocking at a port of its own host where nobody listens is in the end given that very
 * port as its own, and meets itself. */
static bool is_connected_to_itself(int fd)
{
    char local[HK_ADDRESS_TEXT_MAX], peer[HK_ADDRESS_TEXT_MAX];
    hk_address address;
    if (hk_address_local(fd, &address) != HOCKET_OK)
        return false;
    hk_address_format(&address, local);
    if (hk_address_peer(fd, &address) != HOCKET_OK)
        return false;
    hk_address_format(&address, peer);
    return strcmp(local, peer) == 0;
}

static bool is_nobody_there(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == ECONNABORTED ||
           error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN ||
           error == ENETDOWN || error == ETIMEDOUT;
}

hocket_status hk_socket_connect_once(const hk_address *address, size_t buffer_bytes,
                                     hk_time deadline, int *fd)
{
    char text[HK_ADDRESS_TEXT_MAX];
    hk_address_format(address, text);
    *fd = open_socket(address, buffer_bytes);
    if (*fd < 0)
        return hk_fail_errno(errno, "cannot make a socket for %s", text);
    int error = finish_connect(*fd, address, deadline);
    if (error == 0 && is_connected_to_itself(*fd))
        error = ECONNREFUSED;
    if (error == 0) {
        set_option(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
        hk_socket_keep_alive(*fd);
        return HOCKET_OK;
    }
    close(*fd);
    *fd = -1;
    if (error < 0)
        return hk_fail(HOCKET_ERR_TIMEOUT, "%s did not answer before the deadline", text);
    return hk_fail(is_nobody_there(error) ? HOCKET_ERR_UNAVAILABLE : HOCKET_ERR_SYSTEM,
                   "cannot connect to %s: %s", text, strerror(error));
}

hocket_status hk_socket_connect(const hk_address *address, size_t buffer_bytes, hk_time deadline,
                                int *fd)
{
    hk_time pause = RETRY_FIRST;
    for (;;) {
        hocket_status status = hk_socket_connect_once(address, buffer_bytes, deadline, fd);
        if (status != HOCKET_ERR_UNAVAILABLE)
            return status;
        if (hk_deadline_left(deadline) == 0)
            return hk_fail(HOCKET_ERR_TIMEOUT, "%s until the deadline", hocket_last_error());
        pause_until(&pause, deadline);
    }
}

/* === Bytes ==================================================================================== */

hocket_status hk_socket_fail(int fd, const char *what, int error)
{
    hk_address address;
    char text[HK_ADDRESS_TEXT_MAX] = "the other end";
    if (hk_address_peer(fd, &address) == HOCKET_OK)
        hk_address_format(&address, text);
    if (error == 0)
        return hk_fail(HOCKET_ERR_PEER_LOST, "%s closed the connection", text);
    bool lost = error == EPIPE || error == ENOTCONN || is_nobody_there(error);
    return hk_fail(lost ? HOCKET_ERR_PEER_LOST : HOCKET_ERR_SYSTEM, "cannot %s %s: %s", what, text,
                   strerror(error));
}

static bool is_nothing_now(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

hocket_status hk_socket_settle(int fd, const char *what, ssize_t moved, size_t *done)
{
    *done = moved > 0 ? (size_t)moved : 0;
    return moved >= 0 || is_nothing_now(errno) ? HOCKET_OK : hk_socket_fail(fd, what, errno);
}

hocket_status hk_socket_send_some(int fd, const void *data, size_t bytes, size_t *done)
{
    return hk_socket_settle(fd, "send to", send(fd, data, bytes, HK_SEND_FLAGS), done);
}

/* Nothing read is the end, unless nothing was asked for. */
static hocket_status receive(int fd, void *data, size_t bytes, int flags, size_t *done)
{
    ssize_t got = bytes > 0 ? recv(fd, data, bytes, flags) : 0;
    hocket_status status = hk_socket_settle(fd, "receive from", got, done);
    return got == 0 && bytes > 0 ? hk_socket_fail(fd, "receive from", 0) : status;
}

hocket_status hk_socket_recv_some(int fd, void *data, size_t bytes, size_t *done)
{
    return receive(fd, data, bytes, 0, done);
}

hocket_status hk_socket_peek(int fd, bool *any)
{
    char byte;
    size_t done;
    hocket_status status = receive(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, &done);
    *any = done > 0;
    return status;
}

hocket_status hk_socket_send_all(int fd, const void *data, size_t bytes, hk_time deadline)
{
    hk_pipe plain = {.fd = fd};
    return hk_pipe_send_all(&plain, data, bytes, deadline);
}

hocket_status hk_socket_recv_all(int fd, void *data, size_t bytes, hk_time deadline)
{
    hk_pipe plain = {.fd = fd};
    return hk_pipe_recv_all(&plain, data, bytes, deadline);
}

void hk_socket_close(int fd)
{
    if (fd >= 0)
        close(fd);
}
