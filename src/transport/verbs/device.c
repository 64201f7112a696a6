#include "transport/verbs/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_ENTRIES 16  /* of the queues of a queue pair that is made to see whether it can be */
#define GID_TABLE_MAX 256 /* entries that are looked at */

/* Apple's limits, see HOCKET_VERBS_PROFILE. The depth is what its devices grant. */
#define APPLE_QUEUE_PAIRS 10
#define APPLE_REGIONS 100
#define APPLE_DEPTH 1023

#define HOPS 64
#define APPLE_HOPS 1 /* a cable */

/* === Words ==================================================================================== */

const char *hk_verbs_state_text(uint32_t state)
{
    static const char *const texts[] = {"unknown", "down",   "initializing",
                                        "armed",   "active", "active, deferred"};
    return state < sizeof texts / sizeof *texts ? texts[state] : "unknown";
}

const char *hk_verbs_link_text(uint8_t link_layer)
{
    return link_layer == HK_IBV_LINK_INFINIBAND ? "InfiniBand"
           : link_layer == HK_IBV_LINK_ETHERNET ? "Ethernet"
                                                : "unspecified";
}

const char *hk_verbs_gid_type_text(int type)
{
    return type == HK_IBV_GID_IB        ? "IB"
           : type == HK_IBV_GID_ROCE_V1 ? "RoCE v1"
           : type == HK_IBV_GID_ROCE_V2 ? "RoCE v2"
                                        : "unknown";
}

int hk_verbs_mtu_bytes(uint32_t mtu)
{
    return mtu >= HK_IBV_MTU_256 && mtu <= HK_IBV_MTU_4096 ? 128 << mtu : 0;
}

/* === Looking at one =========================================================================== */

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_ipv4(const hk_ibv_gid *gid)
{
    return memcmp(gid->raw, mapped_prefix, sizeof mapped_prefix) == 0;
}

/* An empty entry is all zero; one whose port has no interface identifier is no address either. */
static bool is_valid(const hk_ibv_gid *gid)
{
    static const uint8_t nothing[8];
    return memcmp(gid->raw + 8, nothing, sizeof nothing) != 0;
}

static void write_gid(hk_verbs_gid *one)
{
    if (is_ipv4(&one->gid))
        inet_ntop(AF_INET, one->gid.raw + sizeof mapped_prefix, one->text, sizeof one->text);
    else
        inet_ntop(AF_INET6, one->gid.raw, one->text, sizeof one->text);
}

static int type_of(const hk_verbs_library *library, hk_ibv_context *context, int port, int index)
{
    hk_ibv_gid_entry entry = {.gid_type = 0};
    if (library->query_gid_ex == NULL ||
        library->query_gid_ex(context, (uint32_t)port, (uint32_t)index, &entry, 0, sizeof entry) !=
            0)
        return -1;
    return (int)entry.gid_type;
}

static void look_at_gids(const hk_verbs_library *library, hk_ibv_context *context, int entries,
                         hk_verbs_port *port)
{
    for (int i = 0; i < entries && i < GID_TABLE_MAX && port->gid_count < HK_VERBS_GIDS_MAX; i++) {
        hk_verbs_gid *one = &port->gids[port->gid_count];
        *one = (hk_verbs_gid){.index = i};
        if (library->query_gid(context, (uint8_t)port->number, i, &one->gid) != 0 ||
            !is_valid(&one->gid))
            continue;
        one->type = type_of(library, context, port->number, i);
        write_gid(one);
        port->gid_count++;
    }
}

static hocket_status look_at_port(const hk_verbs_library *library, hk_ibv_context *context,
                                  hk_verbs_device *device, int number)
{
    hk_ibv_port_attr attr;
    memset(&attr, 0, sizeof attr);
    int result = library->query_port(context, (uint8_t)number, &attr);
    if (result != 0)
        return hk_verbs_fail(HK_VERBS_QUERY, &(hk_verbs_place){device->name, number, -1, -1},
                             hk_verbs_errno(result));
    hk_verbs_port *port = &device->ports[device->port_count++];
    *port = (hk_verbs_port){.number = number,
                            .state = attr.state,
                            .link_layer = attr.link_layer,
                            .active_mtu = attr.active_mtu,
                            .lid = attr.lid};
    if (attr.max_msg_sz > 0 && attr.max_msg_sz < device->max_message)
        device->max_message = attr.max_msg_sz;
    look_at_gids(library, context, attr.gid_tbl_len, port);
    return HOCKET_OK;
}

/* Nothing that a device says of itself tells its kinds of queue pair, so one of each is tried. */
static bool makes(const hk_verbs_library *library, hk_ibv_pd *pd, hk_ibv_cq *cq, uint32_t kind)
{
    hk_ibv_qp_init_attr attr = {.send_cq = cq,
                                .recv_cq = cq,
                                .cap = {.max_send_wr = PROBE_ENTRIES,
                                        .max_recv_wr = PROBE_ENTRIES,
                                        .max_send_sge = 1,
                                        .max_recv_sge = 1},
                                .qp_type = kind};
    errno = 0;
    hk_ibv_qp *qp = library->create_qp(pd, &attr);
    if (qp == NULL)
        return errno == EBUSY || errno == ENOMEM || errno == EAGAIN; /* not now */
    library->destroy_qp(qp);
    return true;
}

static hocket_status try_kinds(const hk_verbs_library *library, hk_ibv_context *context,
                               hk_verbs_device *device)
{
    hk_verbs_place place = {device->name, -1, -1, -1};
    hk_ibv_pd *pd = library->alloc_pd(context);
    if (pd == NULL)
        return hk_verbs_fail(HK_VERBS_ALLOC_PD, &place, hk_verbs_errno(-1));
    hocket_status status = HOCKET_OK;
    hk_ibv_cq *cq = library->create_cq(context, 2 * PROBE_ENTRIES, NULL, NULL, 0);
    if (cq == NULL) {
        status = hk_verbs_fail(HK_VERBS_CREATE_CQ, &place, hk_verbs_errno(-1));
    } else {
        device->rc = makes(library, pd, cq, HK_IBV_QPT_RC);
        device->uc = makes(library, pd, cq, HK_IBV_QPT_UC);
        library->destroy_cq(cq);
    }
    library->dealloc_pd(pd);
    return status;
}

/* What a device of Apple's says, or what one is made to say. */
static void apply_profile(hk_verbs_device *device)
{
    const char *profile = getenv("HOCKET_VERBS_PROFILE");
    bool apple = profile != NULL && strcmp(profile, "apple") == 0;
#ifdef __APPLE__
    device->whole = true;
    device->hop_limit = APPLE_HOPS;
#endif
    if (!apple)
        return;
    device->whole = true;
    device->rc = false;
    if (device->max_qp > APPLE_QUEUE_PAIRS)
        device->max_qp = APPLE_QUEUE_PAIRS;
    if (device->max_mr > APPLE_REGIONS)
        device->max_mr = APPLE_REGIONS;
    if (device->max_depth > APPLE_DEPTH)
        device->max_depth = APPLE_DEPTH;
}

static hocket_status look_at(const hk_verbs_library *library, hk_ibv_context *context,
                             hk_verbs_device *device)
{
    hk_ibv_device_attr attr;
    memset(&attr, 0, sizeof attr);
    int result = library->query_device(context, &attr);
    if (result != 0)
        return hk_verbs_fail(HK_VERBS_QUERY, &(hk_verbs_place){device->name, -1, -1, -1},
                             hk_verbs_errno(result));
    device->max_qp = attr.max_qp;
    device->max_mr = attr.max_mr;
    device->max_cqe = attr.max_cqe;
    device->max_depth = attr.max_qp_wr;
    device->max_mr_bytes = attr.max_mr_size;
    device->max_message = UINT32_MAX;
    device->hop_limit = HOPS;
    device->reads = attr.max_qp_rd_atom > 0 && attr.max_qp_init_rd_atom > 0;
    hocket_status status = HOCKET_OK;
    for (int i = 1; i <= attr.phys_port_cnt && i <= HK_VERBS_PORTS_MAX && status == HOCKET_OK; i++)
        status = look_at_port(library, context, device, i);
    if (status == HOCKET_OK)
        status = try_kinds(library, context, device);
    apply_profile(device);
    return status;
}

/* === The list ================================================================================= */

static hocket_status get_list(const hk_verbs_library **library, hk_ibv_device ***list, int *count)
{
    hocket_status status = hk_verbs_library_open(library);
    if (status != HOCKET_OK)
        return status;
    *count = 0;
    errno = 0;
    *list = (*library)->get_device_list(count);
    if (*list == NULL && errno != 0 && errno != ENOSYS)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "%s cannot list RDMA devices: %s",
                       hk_verbs_library_name(), strerror(errno));
    if (*list != NULL && *count > 0)
        return HOCKET_OK;
    if (*list != NULL)
        (*library)->free_device_list(*list);
#ifdef __APPLE__
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "this Mac has no RDMA device: RDMA over Thunderbolt needs Thunderbolt 5, macOS "
                   "26.2 and `rdma_ctl enable`, given once in macOS Recovery");
#else
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "this host has no RDMA device: no InfiniBand or RoCE adapter, or its modules "
                   "(ib_uverbs and the adapter's) are not loaded; `rdma link add rxe0 type rxe "
                   "netdev eth0` makes one of an Ethernet interface");
#endif
}

hocket_status hk_verbs_available(void)
{
    const hk_verbs_library *library;
    hk_ibv_device **list;
    int count;
    hocket_status status = get_list(&library, &list, &count);
    if (status == HOCKET_OK)
        library->free_device_list(list);
    return status;
}

static void take_name(const hk_verbs_library *library, hk_ibv_device *handle,
                      hk_verbs_device *device)
{
    const char *name = library->get_device_name(handle);
    snprintf(device->name, sizeof device->name, "%s", name != NULL ? name : "");
}

static hocket_status open_one(const hk_verbs_library *library, hk_ibv_device *handle,
                              hk_verbs_device *device, hk_ibv_context **context)
{
    errno = 0;
    *context = library->open_device(handle);
    if (*context == NULL)
        return hk_verbs_fail(HK_VERBS_OPEN_DEVICE, &(hk_verbs_place){device->name, -1, -1, -1},
                             hk_verbs_errno(-1));
    hocket_status status = look_at(library, *context, device);
    if (status != HOCKET_OK) {
        library->close_device(*context);
        *context = NULL;
    }
    return status;
}

hocket_status hk_verbs_devices(hk_verbs_device **devices, int *count)
{
    const hk_verbs_library *library;
    hk_ibv_device **list;
    hocket_status status = get_list(&library, &list, count);
    if (status != HOCKET_OK)
        return status;
    if (*count > HK_VERBS_DEVICES_MAX)
        *count = HK_VERBS_DEVICES_MAX;
    *devices = calloc((size_t)*count, sizeof **devices);
    if (*devices == NULL)
        status = hk_fail_memory((size_t)*count * sizeof **devices, "the list of devices");
    for (int i = 0; i < *count && status == HOCKET_OK; i++) {
        hk_verbs_device *one = &(*devices)[i];
        hk_ibv_context *context;
        take_name(library, list[i], one);
        one->status = open_one(library, list[i], one, &context);
        if (one->status == HOCKET_OK)
            library->close_device(context);
        else
            snprintf(one->error, sizeof one->error, "%s", hocket_last_error());
    }
    library->free_device_list(list);
    return status;
}

static hocket_status fail_unknown(const hk_verbs_library *library, hk_ibv_device **list, int count,
                                  const char *name)
{
    char names[512] = "";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(names);
        const char *one = library->get_device_name(list[i]);
        snprintf(names + used, sizeof names - used, " %s", one != NULL ? one : "?");
    }
    return hk_fail(HOCKET_ERR_UNAVAILABLE, "this host has no RDMA device \"%.64s\"; it has:%s",
                   name, names);
}

hocket_status hk_verbs_device_open(const char *name, hk_verbs_device *device,
                                   hk_ibv_context **context)
{
    const hk_verbs_library *library;
    hk_ibv_device **list;
    int count, at = 0;
    *device = (hk_verbs_device){.port_count = 0};
    hocket_status status = get_list(&library, &list, &count);
    if (status != HOCKET_OK)
        return status;
    for (; at < count; at++) {
        take_name(library, list[at], device);
        if (strcmp(device->name, name) == 0)
            break;
    }
    status = at < count ? open_one(library, list[at], device, context)
                        : fail_unknown(library, list, count, name);
    library->free_device_list(list);
    device->status = status;
    return status;
}

/* === Choosing ================================================================================= */

static bool is_local(const hk_verbs_gid *one, const uint8_t *local)
{
    return local != NULL && memcmp(one->gid.raw, local, sizeof one->gid.raw) == 0;
}

static bool has_local(const hk_verbs_port *port, const uint8_t *local)
{
    for (int i = 0; i < port->gid_count; i++)
        if (is_local(&port->gids[i], local))
            return true;
    return false;
}

const hk_verbs_port *hk_verbs_choose_port(const hk_verbs_device *device, const uint8_t *local)
{
    const hk_verbs_port *first = NULL;
    for (int i = 0; i < device->port_count; i++) {
        const hk_verbs_port *port = &device->ports[i];
        if (port->state != HK_IBV_PORT_ACTIVE)
            continue;
        if (has_local(port, local))
            return port;
        if (first == NULL)
            first = port;
    }
    if (first == NULL)
        hk_fail(HOCKET_ERR_UNAVAILABLE,
                "device %s: no port is active (the first is %s): is the cable in, and the other "
                "end up?",
                device->name,
                device->port_count > 0 ? hk_verbs_state_text(device->ports[0].state) : "missing");
    return first;
}

/* The larger the better. */
static int worth(const hk_verbs_gid *one, const uint8_t *local)
{
    int address = is_local(one, local) ? 2 : is_ipv4(&one->gid) ? 1 : 0;
    return 2 * address + (one->type == HK_IBV_GID_ROCE_V2);
}

const hk_verbs_gid *hk_verbs_choose_gid(const hk_verbs_port *port, const uint8_t *local)
{
    const hk_verbs_gid *best = NULL;
    for (int i = 0; i < port->gid_count; i++)
        if (best == NULL || worth(&port->gids[i], local) > worth(best, local))
            best = &port->gids[i];
    return best;
}
