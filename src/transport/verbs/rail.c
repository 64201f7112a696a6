#include "transport/verbs/rail.h"

#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

hk_verbs_place hk_rail_place(const hk_rail *rail, int peer)
{
    return (hk_verbs_place){.device = rail->device.name,
                            .port = rail->port.number > 0 ? rail->port.number : -1,
                            .gid_index = rail->port.number > 0 ? rail->gid.index : -1,
                            .peer = peer};
}

/* === Opening ================================================================================== */

static hocket_status choose_address(hk_rail *rail, const uint8_t *local)
{
    const hk_verbs_port *port = hk_verbs_choose_port(&rail->device, local);
    if (port == NULL)
        return HOCKET_ERR_UNAVAILABLE;
    rail->port = *port;
    rail->gid = (hk_verbs_gid){.index = -1, .type = -1};
    const hk_verbs_gid *gid = hk_verbs_choose_gid(port, local);
    if (gid != NULL) {
        rail->gid = *gid;
        return HOCKET_OK;
    }
    if (port->link_layer == HK_IBV_LINK_INFINIBAND)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "device %s, port %d: it has no valid GID: give its network interface an address",
                   rail->device.name, port->number);
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

hocket_status hk_rail_open(hk_rail *rail, const char *name, const uint8_t *local)
{
    *rail = (hk_rail){.queues = NULL};
    hocket_status status = hk_verbs_library_open(&rail->library);
    if (status == HOCKET_OK)
        status = hk_verbs_device_open(name, &rail->device, &rail->context);
    if (status == HOCKET_OK)
        status = choose_address(rail, local);
    if (status == HOCKET_OK) {
        errno = 0;
        rail->pd = rail->library->alloc_pd(rail->context);
        if (rail->pd == NULL) {
            hk_verbs_place place = hk_rail_place(rail, -1);
            status = hk_verbs_fail(HK_VERBS_ALLOC_PD, &place, hk_verbs_errno(-1));
        }
    }
    if (status != HOCKET_OK) {
        hk_rail_close(rail);
        return status;
    }
    if (hk_rail_events_fd(rail) >= 0)
        set_nonblocking(hk_rail_events_fd(rail));
    return HOCKET_OK;
}

static hocket_status make_cq(hk_rail *rail, int entries)
{
    hk_verbs_place place = hk_rail_place(rail, -1);
    if (entries > rail->device.max_cqe)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "device %s has no completion queue for %d entries: it has %d at most",
                       rail->device.name, entries, rail->device.max_cqe);
    if (rail->library->create_comp_channel != NULL) {
        errno = 0;
        rail->channel = rail->library->create_comp_channel(rail->context);
        if (rail->channel == NULL)
            return hk_verbs_fail(HK_VERBS_CREATE_CHANNEL, &place, hk_verbs_errno(-1));
        set_nonblocking(rail->channel->fd);
    }
    errno = 0;
    rail->cq = rail->library->create_cq(rail->context, entries, NULL, rail->channel, 0);
    return rail->cq != NULL ? HOCKET_OK
                            : hk_verbs_fail(HK_VERBS_CREATE_CQ, &place, hk_verbs_errno(-1));
}

hocket_status hk_rail_furnish(hk_rail *rail, size_t bytes, int entries, int queues)
{
    if (queues > rail->device.max_qp)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "device %s has %d queue pairs at most, and this rank needs %d of them",
                       rail->device.name, rail->device.max_qp, queues);
    rail->queues = calloc((size_t)queues, sizeof(hk_queue *));
    if (rail->queues == NULL)
        return hk_fail_memory((size_t)queues * sizeof(hk_queue *), "queue pairs");
    rail->queue_max = queues;
    hocket_status status = make_cq(rail, entries);
    if (status == HOCKET_OK)
        status = hk_arena_open(&rail->arena, rail->library, &rail->device, hk_rail_place(rail, -1),
                               rail->pd, bytes);
    return status;
}

/* Its queues are closed already. */
void hk_rail_close(hk_rail *rail)
{
    if (rail->context == NULL)
        return;
    hk_arena_close(&rail->arena);
    if (rail->cq != NULL)
        rail->library->destroy_cq(rail->cq);
    if (rail->channel != NULL)
        rail->library->destroy_comp_channel(rail->channel);
    if (rail->pd != NULL)
        rail->library->dealloc_pd(rail->pd);
    rail->library->close_device(rail->context);
    free(rail->queues);
    *rail = (hk_rail){.queues = NULL};
}

/* === Completions ============================================================================== */

hocket_status hk_rail_poll(hk_rail *rail, hk_ibv_wc *completions, int most, int *count)
{
    *count = rail->context->ops.poll_cq(rail->cq, most, completions);
    if (*count >= 0)
        return HOCKET_OK;
    int error = hk_verbs_errno(*count);
    hk_verbs_place place = hk_rail_place(rail, -1);
    *count = 0;
    return hk_verbs_fail(HK_VERBS_POLL, &place, error);
}

hocket_status hk_rail_arm(hk_rail *rail)
{
    if (rail->channel == NULL || rail->armed)
        return HOCKET_OK;
    int result = rail->context->ops.req_notify_cq(rail->cq, 0);
    hk_verbs_place place = hk_rail_place(rail, -1);
    if (result != 0)
        return hk_verbs_fail(HK_VERBS_POLL, &place, hk_verbs_errno(result));
    rail->armed = true;
    return HOCKET_OK;
}

int hk_rail_channel_fd(const hk_rail *rail)
{
    return rail->channel != NULL ? rail->channel->fd : -1;
}

int hk_rail_events_fd(const hk_rail *rail)
{
    return rail->library->get_async_event != NULL ? rail->context->async_fd : -1;
}

void hk_rail_disarm(hk_rail *rail)
{
    hk_ibv_cq *cq;
    void *cq_context;
    if (rail->channel == NULL || rail->library->get_cq_event(rail->channel, &cq, &cq_context) != 0)
        return;
    rail->library->ack_cq_events(cq, 1);
    rail->armed = false;
}

/* === Events =================================================================================== */

static hocket_status fail_gone(const hk_rail *rail, const char *what)
{
    return hk_fail(HOCKET_ERR_SYSTEM,
                   "device %s, port %d, of this rank: %s; see the system's log for why",
                   rail->device.name, rail->port.number, what);
}

static hocket_status check_port(hk_rail *rail)
{
    hk_ibv_port_attr attr;
    memset(&attr, 0, sizeof attr);
    rail->down_until = 0;
    int result = rail->library->query_port(rail->context, (uint8_t)rail->port.number, &attr);
    if (result != 0)
        return fail_gone(rail, "it does not answer any more: it has gone");
    if (attr.state != HK_IBV_PORT_ACTIVE)
        return fail_gone(rail, "its port is not active any more: is the cable out?");
    return HOCKET_OK;
}

static hocket_status judge(hk_rail *rail, const hk_ibv_async_event *event)
{
    switch (event->event_type) {
    case HK_IBV_EVENT_DEVICE_FATAL: return fail_gone(rail, "the device has gone or has failed");
    case HK_IBV_EVENT_CQ_ERR: return fail_gone(rail, "its completion queue has overrun or failed");
    case HK_IBV_EVENT_PORT_ERR:
        hk_log(HK_LOG_WARN, -1, "device %s: port %d has lost its link", rail->device.name,
               event->element.port_num);
        if (event->element.port_num == rail->port.number)
            rail->down_until = hk_now() + HK_RAIL_DOWN;
        return HOCKET_OK;
    case HK_IBV_EVENT_PORT_ACTIVE:
        hk_log(HK_LOG_INFO, -1, "device %s: port %d is active", rail->device.name,
               event->element.port_num);
        if (event->element.port_num == rail->port.number)
            rail->down_until = 0;
        return HOCKET_OK;
    default: return HOCKET_OK; /* of one queue pair: its completions tell */
    }
}

hocket_status hk_rail_look(hk_rail *rail)
{
    if (rail->library->get_async_event == NULL)
        return HOCKET_OK;
    hk_ibv_async_event event;
    hocket_status status = HOCKET_OK;
    errno = 0;
    while (status == HOCKET_OK && rail->library->get_async_event(rail->context, &event) == 0) {
        status = judge(rail, &event);
        rail->library->ack_async_event(&event);
    }
    if (status == HOCKET_OK && errno != EAGAIN && errno != EINTR && errno != 0)
        return fail_gone(rail, "it gives no events any more: it has gone");
    return status == HOCKET_OK && hk_rail_due(rail) <= hk_now() ? check_port(rail) : status;
}

hk_time hk_rail_due(const hk_rail *rail)
{
    return rail->down_until != 0 ? rail->down_until : HK_FOREVER;
}

hocket_status hk_rail_check(hk_rail *rail)
{
    hocket_status status = hk_rail_look(rail);
    return status == HOCKET_OK ? check_port(rail) : status;
}
