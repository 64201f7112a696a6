#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Over the devices' counts, and the settings while no device is open. */
static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;
static hk_ibv_device devices[FAKE_DEVICES];
static int open_count;

/* === Devices ================================================================================== */

static bool is_visible(const char *name)
{
    const char *only = fake_get_settings()->only, *found = only;
    size_t length = strlen(name);
    if (only[0] == '\0')
        return true;
    while ((found = strstr(found, name)) != NULL) {
        bool begins = found == only || found[-1] == '+';
        if (begins && (found[length] == '\0' || found[length] == '+'))
            return true;
        found += length;
    }
    return false;
}

static bool has_vanished(const char *name)
{
    char path[FAKE_DIR + FAKE_NAME + 8];
    snprintf(path, sizeof path, "%s/%s.gone", fake_get_settings()->dir, name);
    return access(path, F_OK) == 0;
}

FAKE_API void fake_counts(int device, unsigned long counts[FAKE_COUNTS])
{
    for (int i = 0; i < FAKE_COUNTS; i++)
        counts[i] = devices[device].counts[i];
}

/* Once: later, those that are open read their names. */
static void name_devices(void)
{
    for (int i = 0; i < FAKE_DEVICES && devices[i].name[0] == '\0'; i++) {
        snprintf(devices[i].name, sizeof devices[i].name, "fake%d", i);
        devices[i].index = i;
    }
}

FAKE_API hk_ibv_device **ibv_get_device_list(int *count)
{
    hk_ibv_device **list = calloc(FAKE_DEVICES + 1, sizeof *list);
    int found = 0;
    if (list == NULL)
        return NULL;
    pthread_mutex_lock(&devices_lock);
    if (open_count == 0)
        fake_read_settings();
    name_devices();
    for (int i = 0; i < fake_get_settings()->count; i++) {
        if (is_visible(devices[i].name) && !has_vanished(devices[i].name))
            list[found++] = &devices[i];
    }
    pthread_mutex_unlock(&devices_lock);
    if (count != NULL)
        *count = found;
    return list;
}

FAKE_API void ibv_free_device_list(hk_ibv_device **list)
{
    free(list);
}

FAKE_API const char *ibv_get_device_name(hk_ibv_device *device)
{
    return device->name;
}

/* One more of what a device has so many of; false and EBUSY where there are no more. */
static bool take(int *used, int most)
{
    pthread_mutex_lock(&devices_lock);
    bool can = *used < most;
    *used += can;
    pthread_mutex_unlock(&devices_lock);
    if (!can)
        errno = EBUSY;
    return can;
}

static void give_back(int *used)
{
    pthread_mutex_lock(&devices_lock);
    *used -= 1;
    pthread_mutex_unlock(&devices_lock);
}

/* === What a device says of itself ============================================================= */

FAKE_API int ibv_query_device(hk_ibv_context *context, hk_ibv_device_attr *attr)
{
    const fake_settings *settings = fake_get_settings();
    if (fake_of(context)->gone)
        return EIO;
    *attr = (hk_ibv_device_attr){.fw_ver = "1.0",
                                 .max_mr_size = UINT64_C(1) << 40,
                                 .max_qp = settings->pairs_max,
                                 .max_qp_wr = settings->depth_max,
                                 .max_sge = FAKE_SGES,
                                 .max_cq = 1000,
                                 .max_cqe = 65535,
                                 .max_mr = settings->regions_max,
                                 .max_pd = 100,
                                 .max_qp_rd_atom = settings->reads ? 16 : 0,
                                 .max_qp_init_rd_atom = settings->reads ? 16 : 0,
                                 .phys_port_cnt = (uint8_t)settings->ports};
    return 0;
}

FAKE_API int ibv_query_port(hk_ibv_context *context, uint8_t port, hk_ibv_port_attr *attr)
{
    const fake_settings *settings = fake_get_settings();
    if (fake_of(context)->gone)
        return EIO;
    if (port < 1 || port > settings->ports)
        return EINVAL;
    bool active = port == settings->active_port && !settings->down && !fake_of(context)->port_down;
    *attr = (hk_ibv_port_attr){.state = active ? HK_IBV_PORT_ACTIVE : HK_IBV_PORT_DOWN,
                               .max_mtu = HK_IBV_MTU_4096,
                               .active_mtu = HK_IBV_MTU_4096,
                               .gid_tbl_len = FAKE_GIDS,
                               .max_msg_sz = 8 << 20,
                               .pkey_tbl_len = 1,
                               .link_layer = HK_IBV_LINK_ETHERNET};
    return 0;
}

/* The table: nothing, link-local, and on all but Apple's an IPv4 address. */
bool fake_gid_at(const hk_ibv_device *device, int port, int index, hk_ibv_gid *gid)
{
    const fake_settings *settings = fake_get_settings();
    memset(gid, 0, sizeof *gid);
    if (port != settings->active_port || settings->nogid || index < 1 || index >= FAKE_GIDS ||
        (index == 2 && settings->apple))
        return false;
    if (index == 1) {
        gid->raw[0] = 0xfe;
        gid->raw[1] = 0x80;
    } else {
        memcpy(gid->raw + 10, (const unsigned char[]){0xff, 0xff, 10, 66, 0}, 5);
    }
    gid->raw[15] = (uint8_t)(device->index + 1);
    return true;
}

int fake_device_of_gid(const hk_ibv_gid *gid)
{
    hk_ibv_gid its;
    for (int i = 0; i < FAKE_DEVICES; i++)
        for (int index = 1; index < FAKE_GIDS; index++)
            if (fake_gid_at(&(hk_ibv_device){.index = i}, fake_get_settings()->active_port, index,
                            &its) &&
                memcmp(its.raw, gid->raw, sizeof its.raw) == 0)
                return i;
    return -1;
}

FAKE_API int ibv_query_gid(hk_ibv_context *context, uint8_t port, int index, hk_ibv_gid *gid)
{
    if (fake_of(context)->gone || index < 0 || index >= FAKE_GIDS) {
        errno = fake_of(context)->gone ? EIO : EINVAL;
        return -1;
    }
    fake_gid_at(fake_of(context)->device, port, index, gid);
    return 0;
}

FAKE_API int _ibv_query_gid_ex(hk_ibv_context *context, uint32_t port, uint32_t index,
                               hk_ibv_gid_entry *entry, uint32_t flags, size_t bytes)
{
    hk_ibv_gid gid;
    (void)flags;
    if (fake_of(context)->gone)
        return EIO;
    if (bytes < sizeof *entry || index >= FAKE_GIDS)
        return EINVAL;
    if (!fake_gid_at(fake_of(context)->device, (int)port, (int)index, &gid))
        return ENODATA;
    *entry = (hk_ibv_gid_entry){.gid = gid,
                                .gid_index = index,
                                .port_num = port,
                                .gid_type = HK_IBV_GID_ROCE_V2};
    return 0;
}

/* === Contexts ================================================================================= */

static bool make_pipe(int fds[2])
{
    if (pipe(fds) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    return true;
}

FAKE_API hk_ibv_context *ibv_open_device(hk_ibv_device *device)
{
    pthread_mutex_lock(&devices_lock);
    int wrong = fake_get_settings()->broken ? EACCES : has_vanished(device->name) ? ENODEV : 0;
    fake_context *made = wrong != 0 ? NULL : calloc(1, sizeof *made);
    open_count += made != NULL;
    pthread_mutex_unlock(&devices_lock);
    if (made == NULL) {
        errno = wrong;
        return NULL;
    }
    if (!make_pipe(made->wake) || !make_pipe(made->events))
        fake_broken("pipe: %s", strerror(errno));
    fcntl(made->wake[0], F_SETFL, O_NONBLOCK);
    fcntl(made->wake[1], F_SETFL, O_NONBLOCK);
    made->device = device;
    made->context.device = device;
    made->context.ops.poll_cq = fake_poll;
    made->context.ops.req_notify_cq = fake_arm;
    made->context.ops.post_send = fake_post_send;
    made->context.ops.post_recv = fake_post_recv;
    made->context.cmd_fd = -1;
    made->context.async_fd = made->events[0];
    made->context.num_comp_vectors = 1;
    made->next_key = 0x100 * (uint32_t)(device->index + 1);
    pthread_mutex_init(&made->lock, NULL);
    if (pthread_create(&made->thread, NULL, fake_nic, made) != 0)
        fake_broken("no thread for %s", device->name);
    return &made->context;
}

FAKE_API int ibv_close_device(hk_ibv_context *context)
{
    fake_context *its = fake_of(context);
    pthread_mutex_lock(&its->lock);
    if (its->pairs != NULL || its->regions != NULL || its->queues != NULL ||
        its->channels != NULL || its->domains > 0)
        fake_broken("%s is closed with %s%s%s%s%s left in it", its->device->name,
                    its->pairs != NULL ? " queue pairs" : "",
                    its->regions != NULL ? " memory regions" : "",
                    its->queues != NULL ? " completion queues" : "",
                    its->channels != NULL ? " completion channels" : "",
                    its->domains > 0 ? " protection domains" : "");
    its->ending = true;
    fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    pthread_join(its->thread, NULL);
    for (int i = 0; i < 2; i++) {
        close(its->wake[i]);
        close(its->events[i]);
    }
    pthread_mutex_destroy(&its->lock);
    free(its);
    give_back(&open_count);
    return 0;
}

FAKE_API hk_ibv_pd *ibv_alloc_pd(hk_ibv_context *context)
{
    fake_context *its = fake_of(context);
    hk_ibv_pd *made = calloc(1, sizeof *made);
    if (made == NULL || its->gone) {
        free(made);
        errno = EIO;
        return NULL;
    }
    made->context = context;
    pthread_mutex_lock(&its->lock);
    its->domains++;
    pthread_mutex_unlock(&its->lock);
    return made;
}

FAKE_API int ibv_dealloc_pd(hk_ibv_pd *pd)
{
    fake_context *its = fake_of(pd->context);
    pthread_mutex_lock(&its->lock);
    for (const fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        if (pair->qp.pd == pd)
            fake_broken("a protection domain is freed with a queue pair in it");
    for (const fake_region *region = its->regions; region != NULL; region = region->next)
        if (region->mr.pd == pd)
            fake_broken("a protection domain is freed with a memory region in it");
    its->domains--;
    pthread_mutex_unlock(&its->lock);
    free(pd);
    return 0;
}

/* === Memory regions =========================================================================== */

FAKE_API hk_ibv_mr *ibv_reg_mr(hk_ibv_pd *pd, void *address, size_t bytes, int access)
{
    const int remote = HK_IBV_ACCESS_REMOTE_WRITE | HK_IBV_ACCESS_REMOTE_READ;
    const int all = HK_IBV_ACCESS_LOCAL_WRITE | remote;
    fake_context *its = fake_of(pd->context);
    fake_region *made;
    if (its->gone) {
        errno = EIO;
        return NULL;
    }
    if (fake_get_settings()->apple && (access & all) != all)
        fake_broken("a region is registered without all of local write, remote read and remote "
                    "write: Apple's devices then do not send or receive from it");
    if (bytes == 0 ||
        ((access & HK_IBV_ACCESS_REMOTE_WRITE) && !(access & HK_IBV_ACCESS_LOCAL_WRITE))) {
        errno = EINVAL;
        return NULL;
    }
    if (!take(&its->device->regions, fake_get_settings()->regions_max - fake_get_settings()->full))
        return NULL;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    pthread_mutex_lock(&its->lock);
    its->next_key += 0x11;
    made->mr = (hk_ibv_mr){.context = pd->context,
                           .pd = pd,
                           .addr = address,
                           .length = bytes,
                           .lkey = its->next_key,
                           .rkey = its->next_key ^ 0x5a5a0000};
    made->access = access;
    made->next = its->regions;
    its->regions = made;
    pthread_mutex_unlock(&its->lock);
    return &made->mr;
}

static bool uses(const fake_works *works, uint32_t lkey)
{
    for (const fake_work *work = works->first; work != NULL; work = work->next)
        for (int i = 0; i < work->sge_count; i++)
            if (work->inlined == NULL && work->sges[i].lkey == lkey)
                return true;
    return false;
}

FAKE_API int ibv_dereg_mr(hk_ibv_mr *mr)
{
    fake_context *its = fake_of(mr->context);
    pthread_mutex_lock(&its->lock);
    fake_land_all(its);
    for (const fake_pair *pair = its->pairs; pair != NULL; pair = pair->next)
        if (!its->gone && (uses(&pair->sends, mr->lkey) || uses(&pair->recvs, mr->lkey)))
            fake_broken("a memory region is given up while work in it is posted");
    fake_region **at = &its->regions;
    while (*at != NULL && &(*at)->mr != mr)
        at = &(*at)->next;
    if (*at == NULL)
        fake_broken("a memory region is given up that is not there");
    *at = (*at)->next;
    pthread_mutex_unlock(&its->lock);
    give_back(&its->device->regions);
    free(mr);
    return 0;
}

static bool holds(const hk_ibv_mr *mr, uint64_t address, uint64_t length)
{
    uint64_t first = (uint64_t)(uintptr_t)mr->addr;
    return address >= first && length <= mr->length && address - first <= mr->length - length;
}

void fake_check_memory(fake_context *context, const fake_pair *pair, const hk_ibv_sge *sge,
                       int rights, const char *what)
{
    const fake_region *region = context->regions;
    while (region != NULL && region->mr.lkey != sge->lkey)
        region = region->next;
    if (region == NULL)
        fake_broken("%s is posted with the key %#x, which no region has", what, sge->lkey);
    if (region->mr.pd != pair->qp.pd)
        fake_broken("%s is posted with a region of another protection domain", what);
    if (!holds(&region->mr, sge->addr, sge->length))
        fake_broken("%s is posted with %u bytes that do not lie in its region", what, sge->length);
    if ((region->access & rights) != rights)
        fake_broken("%s is posted with a region that has not the rights for it", what);
}

void *fake_find_remote(fake_context *context, uint32_t rkey, int rights, uint64_t address,
                       uint32_t length)
{
    for (const fake_region *region = context->regions; region != NULL; region = region->next)
        if (region->mr.rkey == rkey && (region->access & rights) == rights &&
            holds(&region->mr, address, length))
            return (void *)(uintptr_t)address;
    return NULL;
}

/* === Queue pairs are counted here, too ======================================================== */

bool fake_take_pair(hk_ibv_device *device)
{
    return take(&device->pairs, fake_get_settings()->pairs_max - fake_get_settings()->busy);
}

void fake_give_pair_back(hk_ibv_device *device)
{
    give_back(&device->pairs);
}
