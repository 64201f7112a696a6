/* The devices of this process, by name. */
#include "graph/device.h"

#include "core/plugin.h"
#include "core/status.h"
#include "graph/registry.h"

#include <pthread.h>
#include <string.h>

#define DEVICES_MAX 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const hk_device *devices[DEVICES_MAX] = {&hk_device_cpu};
static int device_count = 1;

static int find_locked(const char *name)
{
    for (int i = 0; i < device_count; i++)
        if (strcmp(devices[i]->name, name) == 0)
            return i;
    return -1;
}

static const hk_device *find(const char *name)
{
    pthread_mutex_lock(&lock);
    int found = find_locked(name);
    const hk_device *device = found >= 0 ? devices[found] : NULL;
    pthread_mutex_unlock(&lock);
    return device;
}

hocket_status hk_device_add(const hk_device *device)
{
    if (device->size != sizeof *device)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "the device '%s' was built for another version of hocket", device->name);
    pthread_mutex_lock(&lock);
    int at = find_locked(device->name);
    bool room = at >= 0 || device_count < DEVICES_MAX;
    if (at < 0 && room)
        at = device_count++;
    if (room)
        devices[at] = device;
    pthread_mutex_unlock(&lock);
    if (!room)
        return hk_fail(HOCKET_ERR_NO_MEMORY, "there are %d devices already", DEVICES_MAX);
    return HOCKET_OK;
}

static bool find_host_kernel(const char *op, hk_kernel *kernel, bool *in_place)
{
    const hocket_op_def *def = hk_op_find(op);
    *in_place = def && (def->flags & HOCKET_OP_IN_PLACE) != 0;
    return hk_kernel_find(op, &hk_device_cpu, kernel);
}

hocket_status hk_device_get(const char *name, const hk_device **device)
{
    *device = NULL;
    if (name == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "the device's name is NULL");
    *device = find(name);
    if (*device)
        return HOCKET_OK;
    if (strcmp(name, "mlx") != 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "there is no device '%s'; there are cpu and mlx",
                       name);
    const hk_plugin *plugin;
    hocket_status status = hk_plugin_mlx(&plugin);
    if (status == HOCKET_OK && plugin->device == NULL)
        status = hk_fail(HOCKET_ERR_UNAVAILABLE, "libhocket-mlx has no device");
    const hk_device *mlx = status == HOCKET_OK ? plugin->device : NULL;
    if (mlx && mlx->size == sizeof *mlx && mlx->adopt)
        mlx->adopt(find_host_kernel);
    if (status == HOCKET_OK)
        status = hk_device_add(mlx);
    if (status != HOCKET_OK)
        return hk_fail_prefix("device 'mlx': ");
    *device = plugin->device;
    return HOCKET_OK;
}
