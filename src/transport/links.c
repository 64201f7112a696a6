/* The links of a rank: progress over them, their end, how they are opened. */
#include "transport/links.h"

#include "transport/wrap.h"
#include "wire/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES                                                                               \
    0 /* the kernel sizes buffers as it goes, beyond what a program may ask for                    \
       */
#define ROOM_BYTES                                                                                 \
    ((size_t)4 << 20) /* to receive: who sends should not have to wait for who computes, least of  \
                         all before the kernel has seen how much comes */
#define FLUSH_NS (200 * HK_MILLISECOND) /* at the end, for what was promised */
#define ACKNOWLEDGE_NS HK_SECOND        /* for the peers' kernels to have it */
#define CARRIED_NS (10 * HK_SECOND)     /* for a peer that has no kernel to take it */

/* === Progress ================================================================================ */

static void claimed(void *owner, hk_message *message)
{
    hk_links *t = owner;
    hk_link_claimed(&t->links[message->from], message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    hk_links *t = owner;
    hk_link_was_read(&t->links[from], context, bytes);
}

bool hk_links_serve(hk_links *t, int peer, hocket_status *status)
{
    hk_link *link = &t->links[peer];
    if (link->pipe.fd < 0)
        return false;
    bool moved = hk_link_wants_to_write(link) && hk_link_write(link);
    return hk_link_read(link, status) || moved;
}

static bool serve_all(hk_links *t, hocket_status *status)
{
    bool moved = false;
    for (int i = 0; i < t->size; i++)
        moved |= hk_links_serve(t, i, status);
    return moved;
}

/* In this order: who wakes between the two finds this rank awake, and a byte that comes late is
 * found by the next poll. */
static void silence_alarm(hk_links *t)
{
    char bytes[16];
    while (read(t->alarm[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        ;
    atomic_store(&t->awake, false);
}

/* A carried link writes without its socket, which could always take more. */
static short events_of(const hk_link *link)
{
    bool write = hk_link_wants_to_write(link) && link->pipe.carrier == NULL;
    return (short)(POLLIN | (write ? POLLOUT : 0));
}

/* Asks the kernel which links have something, for at most that long. */
static int ask(hk_links *t, int milliseconds)
{
    for (int i = 0; i < t->size; i++) {
        t->polls[i].fd = t->links[i].pipe.fd;
        t->polls[i].events = events_of(&t->links[i]);
        t->polls[i].revents = 0;
    }
    t->polls[t->size] = (struct pollfd){.fd = t->alarm[0], .events = POLLIN};
    return poll(t->polls, (nfds_t)(t->size + 1 + t->more_polls), milliseconds);
}

static void serve_ready(hk_links *t, hocket_status *status)
{
    for (int i = 0; i < t->size; i++)
        if (t->polls[i].revents != 0)
            hk_links_serve(t, i, status);
}

hocket_status hk_links_wait(hk_links *t, int milliseconds)
{
    hocket_status status = HOCKET_OK;
    int ready = ask(t, milliseconds);
    if (ready < 0 && errno != EINTR)
        return hk_fail_errno(errno, "waiting for the connections of rank %d", t->rank);
    if (ready < 0) /* the polls say nothing then */
        for (int i = 0; i < t->more_polls; i++)
            t->polls[t->size + 1 + i].revents = 0;
    if (ready > 0)
        serve_ready(t, &status);
    if (ready > 0 && t->polls[t->size].revents != 0)
        silence_alarm(t);
    return status;
}

hocket_status hk_links_progress(void *self, int64_t wait_ns)
{
    hk_links *t = self;
    hocket_status status = HOCKET_OK;
    if (t->size <= HK_LINKS_DIRECT + 1 && serve_all(t, &status))
        return status;
    if (wait_ns == 0 && t->size <= HK_LINKS_DIRECT + 1)
        return status;
    return hk_links_wait(t, (int)((wait_ns + HK_MILLISECOND - 1) / HK_MILLISECOND));
}

void hk_links_wake(void *self)
{
    hk_links *t = self;
    if (atomic_exchange(&t->awake, true))
        return;
    ssize_t written = write(t->alarm[1], "", 1);
    (void)written; /* a full pipe wakes too */
}

/* === The other slots ========================================================================= */

int hk_links_rank(void *self)
{
    return ((hk_links *)self)->rank;
}

int hk_links_world_size(void *self)
{
    return ((hk_links *)self)->size;
}

hocket_status hk_links_post(void *self, hocket_op *op)
{
    hk_links *t = self;
    if (op->kind == HOCKET_OP_SEND)
        return hk_link_send(&t->links[op->peer], op);
    hocket_status status = hk_mailbox_post(&t->box, op);
    return status == HOCKET_OK ? status : hk_fail_memory(sizeof *op, "a receive");
}

void hk_links_cancel(void *self, hocket_op *op)
{
    hk_links *t = self;
    if (op->kind == HOCKET_OP_SEND)
        hk_link_cancel_send(&t->links[op->peer], op);
    else
        hk_link_cancel_receive(&t->links[op->peer], op);
}

bool hk_links_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    return hk_mailbox_probe(&((hk_links *)self)->box, from, context, tag, length);
}

void hk_links_forget(void *self, uint64_t context)
{
    hk_links *t = self;
    hk_mailbox_forget(&t->box, context);
    for (int i = 0; i < t->size; i++)
        hk_link_forget(&t->links[i], context);
}

int hk_links_host_of(void *self, int rank)
{
    return ((hk_links *)self)->hosts[rank];
}

/* === The end ================================================================================= */

void hk_links_fini(hk_links *t)
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
}

static bool is_unsent(const hk_link *link, bool written, hk_time waited)
{
    hk_time most = written ? ACKNOWLEDGE_NS : FLUSH_NS;
    if (link->pipe.fd < 0 || waited >= (link->pipe.carrier != NULL ? CARRIED_NS : most))
        return false;
    return written ? hk_pipe_unsent(&link->pipe) : hk_link_wants_to_write(link);
}

/* Of some link; written: to the kernel or the carrier, but not taken there yet. */
static bool unsent(const hk_links *t, bool written, hk_time waited)
{
    for (int i = 0; i < t->size; i++)
        if (is_unsent(&t->links[i], written, waited))
            return true;
    return false;
}

/* Closing a socket that holds unread bytes resets the connection, and what is still on its way to
 * the peer is lost. So: write out, say that no more comes, and read what comes until the peers'
 * kernels have it all. What a carrier has on its way needs the connection, and this rank to repeat
 * it, until the peer itself has it, which may compute or be kept from its processor. */
void hk_links_part(hk_links *t, hk_links_progress_fn progress)
{
    hocket_status status = HOCKET_OK;
    hk_time began = hk_now();
    while (unsent(t, false, hk_now() - began) && status == HOCKET_OK)
        status = progress(t, HK_MILLISECOND);
    for (int i = 0; i < t->size; i++)
        if (t->links[i].pipe.fd >= 0 && t->links[i].pipe.carrier == NULL)
            shutdown(t->links[i].pipe.fd, SHUT_WR);
    while (unsent(t, true, hk_now() - began) && status == HOCKET_OK) {
        status = progress(t, 0);
        poll(NULL, 0, 1);
    }
    serve_all(t, &status);
}

/* === Opening ================================================================================= */

static hocket_status make_alarm(hk_links *t)
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
static void number_hosts(hk_links *t, const hk_meeting *meeting)
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

hocket_status hk_links_init(hk_links *t, const hk_meeting *meeting, int more_polls)
{
    *t = (hk_links){.rank = hk_meeting_rank(meeting),
                    .size = hk_meeting_world_size(meeting),
                    .more_polls = more_polls,
                    .alarm = {-1, -1}};
    size_t size = (size_t)t->size, polls = size + 1 + (size_t)more_polls;
    t->links = calloc(size, sizeof *t->links);
    t->polls = calloc(polls, sizeof *t->polls);
    t->gone = calloc(size, sizeof *t->gone);
    t->hosts = calloc(size, sizeof *t->hosts);
    for (int i = 0; t->links != NULL && i < t->size; i++)
        t->links[i].pipe.fd = -1;
    if (t->links == NULL || t->polls == NULL || t->gone == NULL || t->hosts == NULL)
        return hk_fail_memory(size * sizeof *t->links, "connections");
    t->box = (hk_mailbox){.owner = t, .gone = t->gone, .claimed = claimed, .read = was_read};
    number_hosts(t, meeting);
    return make_alarm(t);
}

static hocket_status open_pipe(hk_pipe *pipe, hk_mesh_end *end, bool encrypt)
{
    int fd = end->fd;
    end->fd = -1;
    hk_socket_widen(fd, ROOM_BYTES);
    hocket_status status = hk_pipe_open(pipe, fd, encrypt ? &end->peer : NULL);
    if (status != HOCKET_OK)
        hk_socket_close(fd);
    return status;
}

void hk_links_close_pipes(const hk_links *t, hk_pipe *pipes)
{
    for (int i = 0; i < t->size; i++)
        hk_pipe_close(&pipes[i]);
}

hocket_status hk_links_meet(const hk_links *t, hk_meeting *meeting, const hk_settings *settings,
                            hk_pipe *pipes)
{
    bool encrypt = settings->encrypt;
    hk_mesh_end *ends = calloc((size_t)t->size, sizeof *ends);
    for (int i = 0; i < t->size; i++)
        pipes[i] = (hk_pipe){.fd = -1};
    if (ends == NULL)
        return hk_fail_memory((size_t)t->size * sizeof *ends, "connections");
    hocket_status status = hk_mesh_open(meeting, BUFFER_BYTES, &encrypt, ends);
    bool open = status == HOCKET_OK;
    for (int i = 0; i < t->size && open; i++) {
        if (i == t->rank)
            continue;
        if (status == HOCKET_OK)
            status = open_pipe(&pipes[i], &ends[i], encrypt);
        else
            hk_socket_close(ends[i].fd);
    }
    sodium_memzero(ends, (size_t)t->size * sizeof *ends);
    free(ends);
    if (status != HOCKET_OK)
        hk_links_close_pipes(t, pipes);
    return status;
}

static hocket_status adopt(hk_links *t, int rank, hk_pipe *pipe, const char *fault)
{
    hocket_status status = HOCKET_OK;
    if (fault[0] != '\0')
        status = hk_fault_stutter(fault, t->rank, rank, &pipe->stutter);
    if (status == HOCKET_OK)
        status = hk_link_open(&t->links[rank], *pipe, rank, &t->box, &t->gone[rank]);
    if (status == HOCKET_OK)
        *pipe = (hk_pipe){.fd = -1};
    return status;
}

hocket_status hk_links_adopt(hk_links *t, hk_pipe *pipes, const char *fault)
{
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < t->size && status == HOCKET_OK; i++)
        if (pipes[i].fd >= 0)
            status = adopt(t, i, &pipes[i], fault);
    if (status != HOCKET_OK)
        hk_links_close_pipes(t, pipes);
    return status;
}
