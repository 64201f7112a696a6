/* What a device does by itself. A queue pair listens at a path of its own; its peer connects there,
 * says who it is, and sends its messages, so that each direction has a connection. On RC the
 * receiver answers each message, and only the answer completes the send.
 *
 * Bytes are taken from the sender's memory when the connection has room for them, not when they are
 * posted: who changes memory before the completion sends something else. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOOK_NS 20000000     /* between two looks for a device's end */
#define DOWN_NS 20000000     /* until the port of an unplugged device says that it is down */
#define AGAIN_NS 1000000     /* between two tries to connect */
#define RNR_WAIT_NS 10000000 /* for each try of a sender whose peer has no receive */
#define RNR_FOR_EVER 7

void fake_nic_wake(fake_context *context)
{
    if (context->asleep && write(context->wake[1], "", 1) < 0 && errno != EAGAIN)
        fake_broken("a device's thread cannot be woken: %s", strerror(errno));
    context->asleep = false;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_in(fake_pair *pair)
{
    close_fd(&pair->in);
    free(pair->body);
    pair->body = NULL;
    pair->head_done = pair->body_done = 0;
    pair->greeted = pair->whole = false;
}

/* What was sent on RC and has not been answered will be sent again. */
static void close_out(fake_pair *pair)
{
    for (fake_work *work = pair->sends.first; work != NULL; work = work->next)
        work->posted = false;
    close_fd(&pair->out);
    free(pair->out_bytes);
    pair->out_bytes = NULL;
    pair->acks_done = 0;
}

void fake_close_connections(fake_pair *pair)
{
    if (pair->listener >= 0)
        unlink(pair->path);
    close_fd(&pair->listener);
    close_in(pair);
    close_out(pair);
}

/* === Ends ===================================================================================== */

static void vanish(fake_context *its)
{
    its->gone = true;
    for (fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        fake_close_connections(pair);
    for (fake_channel *channel = its->channels; channel != NULL; channel = channel->next)
        close_fd(&channel->write_fd);
    fake_raise_event(its, HK_IBV_EVENT_DEVICE_FATAL);
}

/* The cable is pulled: a pair's next send fails by itself, and those of its peers by not being
 * answered. As with soft-RoCE the port says so only a moment later. */
static void unplug(fake_context *its)
{
    its->unplugged = true;
    its->down_ns = fake_now_ns() + DOWN_NS;
    for (fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        fake_close_connections(pair);
}

static void port_down(fake_context *its)
{
    its->port_down = true;
    fake_raise_event(its, HK_IBV_EVENT_PORT_ERR);
}

static void fall_silent(fake_context *its)
{
    its->silent = true;
    for (fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        fake_close_connections(pair);
}

static bool is_due(const fake_end *end, const fake_context *its)
{
    return end->at > 0 && its->messages >= end->at && strcmp(end->device, its->device->name) == 0;
}

void fake_counted(fake_context *its)
{
    const fake_settings *settings = fake_get_settings();
    its->messages++;
    if (is_due(&settings->kill, its))
        raise(SIGKILL);
    if (is_due(&settings->gone, its) || is_due(&settings->unplug, its) ||
        is_due(&settings->silent, its))
        its->look_ns = 0; /* the thread ends it when nothing of it is in use */
}

/* Whether a test has made the file that brings such an end. */
static bool is_told(const fake_context *its, const char *end)
{
    char path[FAKE_DIR + FAKE_NAME + 16];
    snprintf(path, sizeof path, "%s/%s.%s", fake_get_settings()->dir, its->device->name, end);
    return access(path, F_OK) == 0;
}

static void look_for_the_end(fake_context *its)
{
    const fake_settings *settings = fake_get_settings();
    int64_t now = fake_now_ns();
    if (its->unplugged && !its->port_down && now >= its->down_ns)
        port_down(its);
    if (its->gone || now < its->look_ns)
        return;
    its->look_ns = now + LOOK_NS;
    if (is_due(&settings->gone, its) || is_told(its, "gone"))
        vanish(its);
    else if (!its->unplugged && (is_due(&settings->unplug, its) || is_told(its, "unplug")))
        unplug(its);
    else if (!its->silent && is_due(&settings->silent, its))
        fall_silent(its);
}

/* === Sending ================================================================================== */

static bool is_rc(const fake_pair *pair)
{
    return pair->qp.qp_type == HK_IBV_QPT_RC;
}

static void put(fake_pair *pair, const fake_head *head, unsigned char *bytes, uint32_t length)
{
    memcpy(bytes, head, sizeof *head);
    pair->out_bytes = bytes;
    pair->out_length = sizeof *head + length;
    pair->out_done = 0;
}

static unsigned char *room_for(uint32_t length)
{
    unsigned char *bytes = malloc(sizeof(fake_head) + length);
    if (bytes == NULL)
        fake_broken("there is no memory for a message of %u bytes", length);
    return bytes;
}

/* An RC pair waits for its peer as long as it was told to. */
static void miss_peer(fake_pair *pair)
{
    int64_t once = INT64_C(4096) << (pair->attr.timeout & 31);
    if (pair->lost_ns == 0)
        pair->lost_ns =
            pair->attr.timeout == 0 ? INT64_MAX : fake_now_ns() + once * (pair->attr.retry_cnt + 1);
    pair->out_again_ns = fake_now_ns() + AGAIN_NS;
}

static bool connect_out(fake_pair *pair)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fake_head hello = {.kind = FAKE_HELLO,
                       .qpn = pair->qp.qp_num,
                       .device = (uint32_t)fake_of(pair->qp.context)->device->index,
                       .psn = pair->attr.sq_psn,
                       .mtu = pair->attr.path_mtu,
                       .rnr_retry = pair->attr.rnr_retry};
    if (pair->out >= 0)
        return true;
    if (fake_of(pair->qp.context)->silent)
        return false;
    fake_pair_path(address.sun_path, sizeof address.sun_path, pair->peer_device,
                   pair->attr.dest_qp_num);
    pair->out = socket(AF_UNIX, SOCK_STREAM, 0);
    if (pair->out < 0)
        fake_broken("socket: %s", strerror(errno));
    fcntl(pair->out, F_SETFD, FD_CLOEXEC);
    fcntl(pair->out, F_SETFL, O_NONBLOCK);
    if (connect(pair->out, (struct sockaddr *)&address, sizeof address) != 0) {
        close_fd(&pair->out);
        return false;
    }
    put(pair, &hello, room_for(0), 0);
    return true;
}

static fake_work *next_to_send(const fake_pair *pair)
{
    fake_work *work = pair->sends.first;
    while (work != NULL && work->posted)
        work = work->next;
    return work;
}

static void load(fake_context *its, fake_pair *pair, const fake_work *work)
{
    bool is_read = work->opcode == HK_IBV_WR_RDMA_READ;
    bool is_write = work->opcode == HK_IBV_WR_RDMA_WRITE;
    uint32_t length = is_read ? 0 : work->length;
    unsigned char *bytes = room_for(length), *at = bytes + sizeof(fake_head);
    fake_head head = {.kind = is_read    ? FAKE_READ
                              : is_write ? FAKE_WRITE
                                         : FAKE_SEND,
                      .length = length,
                      .wanted = is_read ? work->length : 0,
                      .remote = work->remote,
                      .rkey = work->rkey};
    if (work->inlined != NULL) {
        memcpy(at, work->inlined, length);
    } else {
        for (int i = 0; i < work->sge_count && !is_read; i++) {
            fake_check_memory(its, pair, &work->sges[i], 0, "a send");
            memcpy(at, (const void *)(uintptr_t)work->sges[i].addr, work->sges[i].length);
            at += work->sges[i].length;
        }
    }
    put(pair, &head, bytes, length);
}

/* False: the connection has no room, or is no more. */
static bool flush(fake_pair *pair)
{
    while (pair->out_bytes != NULL) {
        ssize_t done =
            write(pair->out, pair->out_bytes + pair->out_done, pair->out_length - pair->out_done);
        if (done < 0 && errno == EAGAIN)
            return false;
        if (done < 0) {
            close_out(pair);
            return false;
        }
        pair->out_done += (size_t)done;
        if (pair->out_done == pair->out_length) {
            free(pair->out_bytes);
            pair->out_bytes = NULL;
        }
    }
    return true;
}

/* The message has left: it is done on UC, and waits for its answer on RC. */
static void has_left(fake_context *its, fake_pair *pair, fake_work *work)
{
    if (is_rc(pair))
        work->posted = true;
    else
        fake_complete_send(pair, HK_IBV_WC_SUCCESS);
    fake_counted(its);
}

/* False: no more for now. */
static bool transmit_one(fake_context *its, fake_pair *pair)
{
    fake_work *work = next_to_send(pair);
    double loss = fake_get_settings()->loss;
    if (pair->qp.state != HK_IBV_QPS_RTS || work == NULL || fake_now_ns() < pair->out_again_ns)
        return false;
    if (!is_rc(pair) && loss > 0 && fake_roll(&pair->dice) < loss) {
        has_left(its, pair, work);
        return true;
    }
    if (its->unplugged) {
        fake_complete_send(pair, HK_IBV_WC_LOC_QP_OP_ERR);
        fake_pair_error(pair);
        return false;
    }
    if (!connect_out(pair)) {
        if (is_rc(pair))
            miss_peer(pair);
        else
            has_left(its, pair, work); /* nobody is there, and nobody says so */
        return !is_rc(pair);
    }
    if (!flush(pair))
        return false;
    load(its, pair, work);
    has_left(its, pair, work);
    return true;
}

static void transmit(fake_context *its, fake_pair *pair)
{
    while (flush(pair) && transmit_one(its, pair))
        continue;
    if (is_rc(pair) && pair->out < 0 && pair->sends.first != NULL &&
        pair->qp.state == HK_IBV_QPS_RTS) {
        miss_peer(pair);
        if (fake_now_ns() > pair->lost_ns) {
            fake_complete_send(pair, HK_IBV_WC_RETRY_EXC_ERR);
            fake_pair_error(pair);
        }
    }
}

/* === Receiving ================================================================================ */

static void answer_with(fake_pair *pair, const fake_head *ack)
{
    if (!is_rc(pair))
        return;
    ssize_t done = write(pair->in, ack, sizeof *ack);
    if (done >= 0 ? done != (ssize_t)sizeof *ack : errno != EPIPE && errno != ECONNRESET)
        fake_broken("an answer of %zu bytes does not fit: %s", sizeof *ack, strerror(errno));
}

static void answer(fake_pair *pair, hk_ibv_wc_status status)
{
    answer_with(pair, &(fake_head){.kind = FAKE_ACK, .status = status});
}

void fake_scatter(const fake_work *work, const unsigned char *bytes, uint32_t length)
{
    for (int i = 0; i < work->sge_count && length > 0; i++) {
        uint32_t part = work->sges[i].length < length ? work->sges[i].length : length;
        memcpy((void *)(uintptr_t)work->sges[i].addr, bytes, part);
        bytes += part;
        length -= part;
    }
}

/* False: it has to wait for a receive. */
static bool deliver_send(fake_context *its, fake_pair *pair)
{
    const fake_work *recv = pair->recvs.first;
    uint32_t length = pair->head.length;
    if (recv == NULL) {
        if (!is_rc(pair))
            return true; /* lost */
        if (pair->rnr_ns == 0)
            pair->rnr_ns = pair->peer_rnr_retry == RNR_FOR_EVER
                               ? INT64_MAX
                               : fake_now_ns() + RNR_WAIT_NS * (pair->peer_rnr_retry + 1);
        if (fake_now_ns() < pair->rnr_ns)
            return false;
        answer(pair, HK_IBV_WC_RNR_RETRY_EXC_ERR);
        return true;
    }
    if (fake_get_settings()->apple && fake_frames(length) != fake_frames(recv->length))
        fake_broken("a SEND of %u bytes, %d frames, meets a RECV of %d frames: they must span the "
                    "same number",
                    length, fake_frames(length), fake_frames(recv->length));
    if (length > recv->length) {
        answer(pair, HK_IBV_WC_REM_INV_REQ_ERR);
        fake_complete_recv(pair, HK_IBV_WC_LOC_LEN_ERR, 0);
        fake_pair_error(pair);
        return true;
    }
    for (int i = 0; i < recv->sge_count; i++)
        fake_check_memory(its, pair, &recv->sges[i], HK_IBV_ACCESS_LOCAL_WRITE, "a receive");
    fake_land_all(its);
    fake_scatter(recv, pair->body, length);
    fake_complete_recv(pair, HK_IBV_WC_SUCCESS, length);
    answer(pair, HK_IBV_WC_SUCCESS);
    return true;
}

static bool is_late(const fake_context *its, fake_pair *pair)
{
    const fake_end *slow = &fake_get_settings()->slow;
    if (strcmp(slow->device, its->device->name) == 0 && pair->slow_ns == 0)
        pair->slow_ns = fake_now_ns() + (int64_t)slow->at * 1000000;
    return fake_now_ns() < pair->slow_ns;
}

static void deliver_write(fake_context *its, fake_pair *pair)
{
    bool done = fake_take_write(its, pair);
    answer(pair, done ? HK_IBV_WC_SUCCESS : HK_IBV_WC_REM_ACCESS_ERR);
    if (!done && is_rc(pair))
        fake_pair_error(pair);
}

static void deliver_read(fake_context *its, fake_pair *pair)
{
    fake_head ack = {.kind = FAKE_ACK};
    bool done = fake_take_read(its, pair, &ack);
    ack.status = done ? HK_IBV_WC_SUCCESS : HK_IBV_WC_REM_ACCESS_ERR;
    answer_with(pair, &ack);
    if (!done)
        fake_pair_error(pair);
}

/* What a stranger says is dropped, as a device does with packets that are not for it. */
static bool welcome(fake_pair *pair)
{
    const fake_head *hello = &pair->head;
    if (hello->kind != FAKE_HELLO || hello->qpn != pair->attr.dest_qp_num ||
        (int)hello->device != pair->peer_device)
        return false;
    if (hello->psn != pair->attr.rq_psn)
        fake_broken("one end begins to count packets at %u, the other expects %u", hello->psn,
                    pair->attr.rq_psn);
    if (hello->mtu != pair->attr.path_mtu)
        fake_broken("the ends of a pair do not agree on the path's MTU (%u and %u)", hello->mtu,
                    pair->attr.path_mtu);
    pair->peer_rnr_retry = hello->rnr_retry;
    return pair->greeted = true;
}

/* Of a whole message. False: it has to wait. */
static bool deliver(fake_context *its, fake_pair *pair)
{
    if (pair->qp.state != HK_IBV_QPS_RTR && pair->qp.state != HK_IBV_QPS_RTS)
        return !is_rc(pair); /* too early: UC loses it, RC comes again */
    if (!pair->greeted) {
        if (!welcome(pair))
            close_in(pair);
        return true;
    }
    if (pair->head.kind == FAKE_SEND && !deliver_send(its, pair))
        return false;
    if (pair->head.kind == FAKE_WRITE && is_late(its, pair))
        return false;
    if (pair->head.kind == FAKE_WRITE)
        deliver_write(its, pair);
    if (pair->head.kind == FAKE_READ)
        deliver_read(its, pair);
    pair->rnr_ns = pair->slow_ns = 0;
    fake_counted(its);
    return true;
}

/* Reads on. 1: all of it is there; 0: later; -1: the connection has ended. */
static int read_on(int fd, void *bytes, size_t length, size_t *done)
{
    while (*done < length) {
        ssize_t got = read(fd, (unsigned char *)bytes + *done, length - *done);
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0)
            return -1;
        *done += (size_t)got;
    }
    return 1;
}

static int read_message(fake_pair *pair)
{
    int there = read_on(pair->in, &pair->head, sizeof pair->head, &pair->head_done);
    if (there != 1)
        return there;
    if (pair->body == NULL)
        pair->body = room_for(pair->head.length);
    return read_on(pair->in, pair->body, pair->head.length, &pair->body_done);
}

static void receive(fake_context *its, fake_pair *pair)
{
    while (pair->in >= 0) {
        int there = pair->whole ? 1 : read_message(pair);
        if (there < 0)
            close_in(pair);
        if (there != 1)
            return;
        pair->whole = true;
        bool early_hello = pair->head.kind == FAKE_HELLO && pair->qp.state < HK_IBV_QPS_RTR;
        if (early_hello || !deliver(its, pair))
            return;
        free(pair->body);
        pair->body = NULL;
        pair->whole = false;
        pair->head_done = pair->body_done = 0;
    }
}

static void accept_in(fake_pair *pair)
{
    if (pair->listener < 0 || pair->in >= 0)
        return;
    pair->in = accept(pair->listener, NULL, NULL);
    if (pair->in < 0)
        return;
    fcntl(pair->in, F_SETFD, FD_CLOEXEC);
    fcntl(pair->in, F_SETFL, O_NONBLOCK);
}

/* Answers to what was sent; on UC there is nothing to read but the end. */
static void read_answers(fake_pair *pair)
{
    while (pair->out >= 0) {
        int there = read_on(pair->out, &pair->acks, sizeof pair->acks, &pair->acks_done);
        if (there < 0)
            close_out(pair);
        if (there != 1)
            return;
        pair->acks_done = 0;
        pair->lost_ns = 0;
        if (pair->sends.first == NULL)
            fake_broken("an answer comes to nothing that was sent");
        if (pair->acks.status == HK_IBV_WC_SUCCESS)
            fake_scatter(pair->sends.first, pair->acks.read, pair->acks.wanted);
        fake_complete_send(pair, pair->acks.status);
        if (pair->acks.status != HK_IBV_WC_SUCCESS)
            fake_pair_error(pair);
    }
}

/* === The thread =============================================================================== */

static void earlier(int64_t *next, int64_t at)
{
    if (at < *next)
        *next = at;
}

/* One round over everything. Returns when something is due without a message, in ns. */
static int64_t work_through(fake_context *its)
{
    int64_t next = its->look_ns;
    if (its->unplugged && !its->port_down)
        earlier(&next, its->down_ns);
    for (fake_pair *pair = its->pairs; pair != NULL && !its->gone; pair = pair->next) {
        accept_in(pair);
        receive(its, pair);
        read_answers(pair);
        transmit(its, pair);
        earlier(&next, fake_land_due(pair));
        if (pair->whole && pair->rnr_ns != 0)
            earlier(&next, pair->rnr_ns);
        if (pair->whole && pair->slow_ns != 0)
            earlier(&next, pair->slow_ns);
        if (pair->sends.first != NULL && pair->out < 0 && pair->qp.state == HK_IBV_QPS_RTS)
            earlier(&next, pair->out_again_ns);
    }
    for (fake_queue *queue = its->queues; queue != NULL; queue = queue->next)
        earlier(&next, fake_announce(queue));
    return next;
}

static void add(struct pollfd *fds, int *count, int fd, short events)
{
    if (fd >= 0)
        fds[(*count)++] = (struct pollfd){.fd = fd, .events = events};
}

/* What a pair waits for. */
static int list_fds(const fake_context *its, struct pollfd *fds)
{
    int count = 0;
    add(fds, &count, its->wake[0], POLLIN);
    for (const fake_pair *pair = its->pairs; pair != NULL; pair = pair->next) {
        if (pair->in < 0)
            add(fds, &count, pair->listener, POLLIN);
        else if (!pair->whole)
            add(fds, &count, pair->in, POLLIN);
        add(fds, &count, pair->out, pair->out_bytes != NULL ? POLLIN | POLLOUT : POLLIN);
    }
    return count;
}

static void sleep_until(fake_context *its, int64_t next)
{
    int pairs = 0, count;
    int64_t left = next - fake_now_ns();
    for (const fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        pairs++;
    struct pollfd *fds = calloc((size_t)pairs * 2 + 1, sizeof *fds);
    if (fds == NULL)
        fake_broken("there is no memory to wait with");
    count = list_fds(its, fds);
    its->asleep = true;
    pthread_mutex_unlock(&its->lock);
    poll(fds, (nfds_t)count, left <= 0 ? 0 : (int)((left + 999999) / 1000000));
    pthread_mutex_lock(&its->lock);
    its->asleep = false;
    free(fds);
    for (char bytes[64]; read(its->wake[0], bytes, sizeof bytes) > 0;)
        continue;
}

void *fake_nic(void *context)
{
    fake_context *its = context;
    sigset_t all;
    sigfillset(&all); /* signals are for the program's own threads; a write that fails says so */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&its->lock);
    while (!its->ending) {
        look_for_the_end(its);
        int64_t next = work_through(its);
        sleep_until(its, next);
    }
    pthread_mutex_unlock(&its->lock);
    return NULL;
}
