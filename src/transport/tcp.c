/* Ranks joined pairwise by TCP connections, one a pair. This file opens the mesh and serves its
 * links; link.c knows what travels on them. */
#include "transport/tcp.h"

#include "core/status.h"
#include "transport/link.h"
#include "transport/wrap.h"
#include "wire/mesh.h"
#include "wire/socket.h"
#include "wire/unsent.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES                                                                               \
    0 /* the kernel sizes buffers as it goes, beyond what a program may ask for                    \
       */
#define ROOM_BYTES                                                                                 \
    ((size_t)4 << 20)  /* to receive: who sends should not have to wait for who computes, least of \
                          all before the kernel has seen how much comes */
#define DIRECT_PEERS 4 /* up to here each link is tried without asking poll first */
#define FLUSH_NS (200 * HK_MILLISECOND) /* at the end, for what was promised */
#define ACKNOWLEDGE_NS HK_SECOND        /* for the peers' kernels to have it */

typedef struct tcp {
    int rank, size;
    hk_mailbox box;
    bool *gone;
    hk_link *links; /* by rank; this rank's is not used */
    int *hosts;
    struct pollfd *polls; /* the links in their order, then the alarm */
    int alarm[2];         /* a pipe: wake writes, progress reads */
    atomic_bool awake;    /* a byte is in the pipe */
} tcp;

/* === Progress ================================================================================ */

static void claimed(void *owner, hk_message *message)
{
    tcp *t = owner;
    hk_link_claimed(&t->links[message->from], message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    tcp *t = owner;
    hk_link_was_read(&t->links[from], context, bytes);
}

static bool serve(tcp *t, int peer, hocket_status *status)
{
    hk_link *link = &t->links[peer];
    if (link->pipe.fd < 0)
        return false;
    bool moved = hk_link_wants_to_write(link) && hk_link_write(link);
    return hk_link_read(link, status) || moved;
}

static bool serve_all(tcp *t, hocket_status *status)
{
    bool moved = false;
    for (int i = 0; i < t->size; i++)
        moved |= serve(t, i, status);
    return moved;
}

/* In this order: who wakes between the two finds this rank awake, and a byte that comes late is
 * found by the next poll. */
static void silence_alarm(tcp *t)
{
    char bytes[16];
    while (read(t->alarm[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        ;
    atomic_store(&t->awake, false);
}

/* Asks the kernel which links have something, for at most that long. */
static int ask(tcp *t, int milliseconds)
{
    for (int i = 0; i < t->size; i++) {
        t->polls[i].fd = t->links[i].pipe.fd;
        t->polls[i].events = POLLIN | (hk_link_wants_to_write(&t->links[i]) ? POLLOUT : 0);
        t->polls[i].revents = 0;
    }
    t->polls[t->size] = (struct pollfd){.fd = t->alarm[0], .events = POLLIN};
    return poll(t->polls, (nfds_t)t->size + 1, milliseconds);
}

static void serve_ready(tcp *t, hocket_status *status)
{
    for (int i = 0; i < t->size; i++)
        if (t->polls[i].revents != 0)
            serve(t, i, status);
}

static hocket_status tcp_progress(void *self, int64_t wait_ns)
{
    tcp *t = self;
    hocket_status status = HOCKET_OK;
    if (t->size <= DIRECT_PEERS + 1 && serve_all(t, &status))
        return status;
    if (wait_ns == 0 && t->size <= DIRECT_PEERS + 1)
        return status;
    int milliseconds = (int)((wait_ns + HK_MILLISECOND - 1) / HK_MILLISECOND);
    int ready = ask(t, milliseconds);
    if (ready < 0 && errno != EINTR)
        return hk_fail_errno(errno, "waiting for the connections of rank %d", t->rank);
    if (ready > 0)
        serve_ready(t, &status);
    if (ready > 0 && t->polls[t->size].revents != 0)
        silence_alarm(t);
    return status;
}

static void tcp_wake(void *self)
{
    tcp *t = self;
    if (atomic_exchange(&t->awake, true))
        return;
    ssize_t written = write(t->alarm[1], "", 1);
    (void)written; /* a full pipe wakes too */
}

/* === The other slots ========================================================================= */

static int tcp_rank(void *self)
{
    return ((tcp *)self)->rank;
}

static int tcp_world_size(void *self)
{
    return ((tcp *)self)->size;
}

static hocket_status tcp_post(void *self, hocket_op *op)
{
    tcp *t = self;
    if (op->kind == HOCKET_OP_SEND)
        return hk_link_send(&t->links[op->peer], op);
    hocket_status status = hk_mailbox_post(&t->box, op);
    return status == HOCKET_OK ? status : hk_fail_memory(sizeof *op, "a receive");
}

static void tcp_cancel(void *self, hocket_op *op)
{
    tcp *t = self;
    if (op->kind == HOCKET_OP_SEND)
        hk_link_cancel_send(&t->links[op->peer], op);
    else
        hk_mailbox_cancel(&t->box, op);
}

static bool tcp_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    return hk_mailbox_probe(&((tcp *)self)->box, from, context, tag, length);
}

static void tcp_forget(void *self, uint64_t context)
{
    tcp *t = self;
    hk_mailbox_forget(&t->box, context);
    for (int i = 0; i < t->size; i++)
        hk_link_forget(&t->links[i], context);
}

static int tcp_host_of(void *self, int rank)
{
    return ((tcp *)self)->hosts[rank];
}

/* === The end ================================================================================= */

static void free_tcp(tcp *t)
{
    for (int i = 0; t->links != NULL && i < t->size; i++)
        hk_link_close(&t->links[i]);
    hk_mailbox_fini(&t->box);
    for (int i = 0; i < 2; i++)
        if (t->alarm[i] >= 0)
            close(t->alarm[i]);
    free(t->links);
    free(t->polls);
    free(t->gone);
    free(t->hosts);
    free(t);
}

static bool unsent(const tcp *t, bool written)
{
    for (int i = 0; i < t->size; i++) {
        const hk_link *link = &t->links[i];
        if (link->pipe.fd >= 0 &&
            (written ? hk_socket_unsent(link->pipe.fd) > 0 : hk_link_wants_to_write(link)))
            return true;
    }
    return false;
}

/* Closing a socket that holds unread bytes resets the connection, and what is still on its way to
 * the peer is lost. So: write out, say that no more comes, and read what comes until the peers'
 * kernels have it all. */
static void part(tcp *t)
{
    hocket_status status = HOCKET_OK;
    hk_time until = hk_now() + FLUSH_NS;
    while (unsent(t, false) && hk_now() < until && status == HOCKET_OK)
        status = tcp_progress(t, HK_MILLISECOND);
    for (int i = 0; i < t->size; i++)
        if (t->links[i].pipe.fd >= 0)
            shutdown(t->links[i].pipe.fd, SHUT_WR);
    until = hk_now() + ACKNOWLEDGE_NS;
    while (unsent(t, true) && hk_now() < until && status == HOCKET_OK) {
        serve_all(t, &status);
        poll(NULL, 0, 1);
    }
    serve_all(t, &status);
}

static void tcp_close(void *self, bool orderly)
{
    tcp *t = self;
    if (orderly)
        part(t);
    free_tcp(t);
}

const hocket_transport hk_tcp_transport = {
    .size = sizeof(hocket_transport),
    .name = "tcp",
    .rank = tcp_rank,
    .world_size = tcp_world_size,
    .post = tcp_post,
    .cancel = tcp_cancel,
    .progress = tcp_progress,
    .wake = tcp_wake,
    .probe = tcp_probe,
    .forget = tcp_forget,
    .close = tcp_close,
    .host_of = tcp_host_of,
};

/* === The mesh ================================================================================ */

static tcp *new_tcp(const hk_meeting *meeting)
{
    tcp *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->rank = hk_meeting_rank(meeting);
    t->size = hk_meeting_world_size(meeting);
    t->alarm[0] = t->alarm[1] = -1;
    size_t size = (size_t)t->size;
    t->links = calloc(size, sizeof *t->links);
    t->polls = calloc(size + 1, sizeof *t->polls);
    t->gone = calloc(size, sizeof *t->gone);
    t->hosts = calloc(size, sizeof *t->hosts);
    if (t->links == NULL || t->polls == NULL || t->gone == NULL || t->hosts == NULL) {
        free_tcp(t);
        return NULL;
    }
    for (int i = 0; i < t->size; i++)
        t->links[i].pipe.fd = -1;
    t->box = (hk_mailbox){.owner = t, .gone = t->gone, .claimed = claimed, .read = was_read};
    return t;
}

static hocket_status make_alarm(tcp *t)
{
    if (pipe(t->alarm) != 0)
        return hk_fail_errno(errno, "making a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(t->alarm[i], F_SETFL, O_NONBLOCK);
        fcntl(t->alarm[i], F_SETFD, FD_CLOEXEC);
    }
    return HOCKET_OK;
}

/* Hosts are numbered in the order of their first ranks. */
static void number_hosts(tcp *t, const hk_meeting *meeting)
{
    const unsigned char *ids = hk_meeting_hosts(meeting);
    int hosts = 0;
    for (int i = 0; i < t->size; i++) {
        int first = 0;
        while (memcmp(ids + (size_t)first * HK_HOST_ID_BYTES, ids + (size_t)i * HK_HOST_ID_BYTES,
                      HK_HOST_ID_BYTES) != 0)
            first++;
        t->hosts[i] = first < i ? t->hosts[first] : hosts++;
    }
}

/* Takes the connection over, also on failure. fault: HOCKET_FAULT, or "". */
static hocket_status adopt(tcp *t, int rank, hk_mesh_end *end, bool encrypt, const char *fault)
{
    hk_pipe pipe = {.fd = end->fd};
    hk_socket_widen(end->fd, ROOM_BYTES);
    hocket_status status = hk_pipe_open(&pipe, end->fd, encrypt ? &end->peer : NULL);
    if (status == HOCKET_OK && fault[0] != '\0')
        status = hk_fault_stutter(fault, t->rank, rank, &pipe.stutter);
    if (status == HOCKET_OK)
        status = hk_link_open(&t->links[rank], pipe, rank, &t->box, &t->gone[rank]);
    if (status != HOCKET_OK)
        hk_pipe_close(&pipe);
    return status;
}

static hocket_status join_mesh(tcp *t, hk_meeting *meeting, const hk_settings *settings)
{
    bool encrypt = settings->encrypt;
    hk_mesh_end *ends = calloc((size_t)t->size, sizeof *ends);
    if (ends == NULL)
        return hk_fail_memory((size_t)t->size * sizeof *ends, "connections");
    hocket_status status = hk_mesh_open(meeting, BUFFER_BYTES, &encrypt, ends);
    bool open = status == HOCKET_OK;
    for (int i = 0; i < t->size && open; i++) {
        if (i == t->rank)
            continue;
        if (status == HOCKET_OK)
            status = adopt(t, i, &ends[i], encrypt, settings->fault);
        else
            hk_socket_close(ends[i].fd);
    }
    sodium_memzero(ends, (size_t)t->size * sizeof *ends);
    free(ends);
    return status;
}

static hocket_status available(const char *choice)
{
    (void)choice;
    return HOCKET_OK;
}

hocket_status hk_tcp_open(const hk_opening *opening, void **self)
{
    tcp *t = new_tcp(opening->meeting);
    if (t == NULL)
        return hk_fail_memory(sizeof *t, "connections");
    number_hosts(t, opening->meeting);
    hocket_status status = make_alarm(t);
    if (status == HOCKET_OK)
        status = join_mesh(t, opening->meeting, opening->settings);
    if (status != HOCKET_OK) {
        free_tcp(t);
        return status;
    }
    *self = t;
    return HOCKET_OK;
}

static hocket_status open_tcp(const hk_opening *opening, const hocket_transport **transport,
                              void **self)
{
    *transport = &hk_tcp_transport;
    return hk_tcp_open(opening, self);
}

const hk_backend hk_backend_tcp = {.name = "tcp",
                                   .meets = true,
                                   .available = available,
                                   .open = open_tcp};
