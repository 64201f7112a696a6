#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* === Completion queues ======================================================================== */

FAKE_API hk_ibv_cq *ibv_create_cq(hk_ibv_context *context, int entries, void *cq_context,
                                  hk_ibv_comp_channel *channel, int vector)
{
    fake_context *its = fake_of(context);
    fake_queue *made = its->gone ? NULL : calloc(1, sizeof *made);
    if (made == NULL || entries < 1 || entries > 65535 || vector != 0) {
        free(made);
        errno = its->gone ? EIO : EINVAL;
        return NULL;
    }
    made->ring = calloc((size_t)entries, sizeof *made->ring);
    made->cq = (hk_ibv_cq){.context = context,
                           .channel = channel,
                           .cq_context = cq_context,
                           .cqe = entries};
    made->dice = fake_get_settings()->seed;
    pthread_mutex_lock(&its->lock);
    if (channel != NULL)
        channel->refcnt++;
    made->next = its->queues;
    its->queues = made;
    pthread_mutex_unlock(&its->lock);
    return &made->cq;
}

FAKE_API int ibv_destroy_cq(hk_ibv_cq *cq)
{
    fake_context *its = fake_of(cq->context);
    fake_queue *queue = (fake_queue *)cq;
    pthread_mutex_lock(&its->lock);
    for (const fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        if (pair->qp.send_cq == cq || pair->qp.recv_cq == cq)
            fake_broken("a completion queue is destroyed while a queue pair uses it");
    if (queue->events != queue->acknowledged)
        fake_broken("a completion queue is destroyed after %u events, of which %u were "
                    "acknowledged: the real library would wait for the rest for ever",
                    queue->events, queue->acknowledged);
    fake_queue **at = &its->queues;
    while (*at != queue)
        at = &(*at)->next;
    *at = queue->next;
    if (cq->channel != NULL)
        cq->channel->refcnt--;
    pthread_mutex_unlock(&its->lock);
    free(queue->ring);
    free(queue);
    return 0;
}

/* Puts the queue's name on its channel. */
static void fire(fake_queue *queue)
{
    fake_channel *channel = (fake_channel *)queue->cq.channel;
    hk_ibv_cq *cq = &queue->cq;
    queue->armed = false;
    if (channel != NULL && channel->write_fd >= 0 &&
        write(channel->write_fd, &cq, sizeof cq) != (ssize_t)sizeof cq)
        fake_broken("the completion channel is full of events that nobody has taken");
}

int64_t fake_announce(fake_queue *queue)
{
    int64_t now = fake_now_ns();
    for (int i = 0; i < queue->count; i++) {
        fake_completion *its = &queue->ring[(queue->first + i) % queue->cq.cqe];
        if (its->ready_ns > now)
            return its->ready_ns;
        if (!its->announced && queue->armed)
            fire(queue);
        its->announced = true;
    }
    return INT64_MAX;
}

void fake_push(fake_queue *queue, fake_completion completion)
{
    unsigned delay_us = fake_get_settings()->delay_us;
    if (queue->count == queue->cq.cqe)
        fake_broken("a completion queue of %d entries overflows", queue->cq.cqe);
    if (delay_us > 0) {
        int64_t before = 0; /* completions of a queue stay in their order */
        if (queue->count > 0)
            before = queue->ring[(queue->first + queue->count - 1) % queue->cq.cqe].ready_ns;
        completion.ready_ns =
            fake_now_ns() + (int64_t)(fake_roll(&queue->dice) * 1000 * (double)delay_us);
        if (completion.ready_ns < before)
            completion.ready_ns = before;
    }
    queue->ring[(queue->first + queue->count++) % queue->cq.cqe] = completion;
    if (delay_us == 0)
        fake_announce(queue);
}

/* As destroying a queue pair does: what nobody has polled of it goes with it. */
void fake_forget_pair(fake_queue *queue, const fake_pair *pair)
{
    int kept = 0;
    for (int i = 0; i < queue->count; i++) {
        fake_completion its = queue->ring[(queue->first + i) % queue->cq.cqe];
        if (its.pair != pair)
            queue->ring[(queue->first + kept++) % queue->cq.cqe] = its;
    }
    queue->count = kept;
}

int fake_poll(hk_ibv_cq *cq, int most, hk_ibv_wc *wc)
{
    fake_context *its = fake_of(cq->context);
    fake_queue *queue = (fake_queue *)cq;
    int taken = 0;
    pthread_mutex_lock(&its->lock);
    int64_t now = queue->count > 0 ? fake_now_ns() : 0;
    while (taken < most && queue->count > 0 && queue->ring[queue->first].ready_ns <= now) {
        fake_completion *first = &queue->ring[queue->first];
        wc[taken++] = first->wc;
        first->pair->sends.frames -= first->send_frames;
        first->pair->recvs.frames -= first->recv_frames;
        queue->first = (queue->first + 1) % queue->cq.cqe;
        queue->count--;
    }
    pthread_mutex_unlock(&its->lock);
    fake_add(its, FAKE_POLLS, taken > 0);
    fake_add(its, FAKE_COMPLETIONS, (unsigned long)taken);
    return taken;
}

/* Only what comes from now on is told: who arms polls once more afterwards. */
int fake_arm(hk_ibv_cq *cq, int solicited_only)
{
    fake_context *its = fake_of(cq->context);
    fake_queue *queue = (fake_queue *)cq;
    if (solicited_only)
        fake_broken("events for solicited completions alone are not played");
    if (cq->channel == NULL)
        fake_broken("a completion queue without a channel is armed");
    if (its->gone)
        return EIO;
    fake_add(its, FAKE_ARMS, 1);
    pthread_mutex_lock(&its->lock);
    fake_announce(queue);
    queue->armed = true;
    pthread_mutex_unlock(&its->lock);
    return 0;
}

/* === Channels ================================================================================= */

FAKE_API hk_ibv_comp_channel *ibv_create_comp_channel(hk_ibv_context *context)
{
    fake_context *its = fake_of(context);
    fake_channel *made = its->gone ? NULL : calloc(1, sizeof *made);
    int fds[2];
    if (made == NULL || pipe(fds) != 0) {
        free(made);
        errno = EIO;
        return NULL;
    }
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    made->channel = (hk_ibv_comp_channel){.context = context, .fd = fds[0]};
    made->write_fd = fds[1];
    pthread_mutex_lock(&its->lock);
    made->next = its->channels;
    its->channels = made;
    pthread_mutex_unlock(&its->lock);
    return &made->channel;
}

FAKE_API int ibv_destroy_comp_channel(hk_ibv_comp_channel *channel)
{
    fake_context *its = fake_of(channel->context);
    fake_channel *made = (fake_channel *)channel;
    if (channel->refcnt > 0)
        return EBUSY;
    pthread_mutex_lock(&its->lock);
    fake_channel **at = &its->channels;
    while (*at != made)
        at = &(*at)->next;
    *at = made->next;
    pthread_mutex_unlock(&its->lock);
    close(channel->fd);
    if (made->write_fd >= 0)
        close(made->write_fd);
    free(made);
    return 0;
}

FAKE_API int ibv_get_cq_event(hk_ibv_comp_channel *channel, hk_ibv_cq **cq, void **cq_context)
{
    fake_context *its = fake_of(channel->context);
    ssize_t got = read(channel->fd, cq, sizeof *cq);
    if (got != (ssize_t)sizeof *cq) {
        errno = got == 0 ? EIO : errno;
        return -1;
    }
    pthread_mutex_lock(&its->lock);
    ((fake_queue *)*cq)->events++;
    *cq_context = (*cq)->cq_context;
    pthread_mutex_unlock(&its->lock);
    return 0;
}

FAKE_API void ibv_ack_cq_events(hk_ibv_cq *cq, unsigned count)
{
    fake_context *its = fake_of(cq->context);
    pthread_mutex_lock(&its->lock);
    ((fake_queue *)cq)->acknowledged += count;
    pthread_mutex_unlock(&its->lock);
}

/* === Asynchronous events ====================================================================== */

void fake_raise_event(fake_context *context, uint32_t type)
{
    hk_ibv_async_event event = {.element.port_num = fake_get_settings()->active_port,
                                .event_type = type};
    if (write(context->events[1], &event, sizeof event) != (ssize_t)sizeof event)
        fake_broken("no event can be raised: %s", strerror(errno));
}

FAKE_API int ibv_get_async_event(hk_ibv_context *context, hk_ibv_async_event *event)
{
    return read(context->async_fd, event, sizeof *event) == (ssize_t)sizeof *event ? 0 : -1;
}

FAKE_API void ibv_ack_async_event(hk_ibv_async_event *event)
{
    (void)event;
}
