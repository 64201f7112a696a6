#include "transport/verbs/matrix.h"

#include "core/launcher.h"
#include "transport/verbs/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hocket_status add_name(const char *name, size_t length, hk_wires *wires)
{
    if (length == 0 || length >= HK_DEVICE_NAME_MAX || wires->count == HK_WIRES_MAX)
        return hk_fail(HOCKET_ERR_INVALID,
                       "HOCKET_VERBS_DEVICES is no list of 1 to %d devices, as in rxe1,rxe2",
                       HK_WIRES_MAX);
    memcpy(wires->names[wires->count], name, length);
    wires->names[wires->count++][length] = '\0';
    return HOCKET_OK;
}

static hocket_status take_list(const char *text, hk_wires *wires)
{
    hocket_status status = HOCKET_OK;
    wires->count = 0;
    while (status == HOCKET_OK) {
        size_t length = strcspn(text, ",");
        status = add_name(text, length, wires);
        if (text[length] == '\0')
            break;
        text += length + 1;
    }
    return status;
}

/* Every device with an active port, up to the wires that there may be. */
static hocket_status take_all(hk_wires *wires)
{
    hk_verbs_device *devices;
    int count;
    hocket_status status = hk_verbs_devices(&devices, &count);
    if (status != HOCKET_OK)
        return status;
    char why[256] = "";
    wires->count = 0;
    for (int i = 0; i < count && wires->count < HK_WIRES_MAX; i++) {
        const hk_verbs_device *one = &devices[i];
        if (one->status == HOCKET_OK && hk_verbs_choose_port(one, NULL) != NULL)
            add_name(one->name, strlen(one->name), wires);
        else if (why[0] == '\0')
            snprintf(why, sizeof why, "%s",
                     one->status == HOCKET_OK ? hocket_last_error() : one->error);
    }
    free(devices);
    if (wires->count > 0)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "none of the %d RDMA devices of this host can be used: %s", count, why);
}

/* The same devices to all others. */
static void spread(const hk_wires *wires, int rank, int size, hk_wires *row)
{
    for (int i = 0; i < size; i++) {
        if (i != rank)
            row[i] = *wires;
        else
            row[i].count = 0;
    }
}

static hocket_status read_all(int rank, int size, hk_wires *row)
{
    hk_wires wires;
    const char *own = hk_variable("HOCKET_VERBS_DEVICES");
    const char *file = own != NULL && strchr(own, '/') != NULL ? own : NULL;
    if (own == NULL && (file = hk_variable("JACCL_IBV_DEVICES")) == NULL)
        file = hk_variable("MLX_IBV_DEVICES");
    if (file != NULL)
        return hk_devices_row(file, size, rank, row);
    hocket_status status = own != NULL ? take_list(own, &wires) : take_all(&wires);
    if (status == HOCKET_OK)
        spread(&wires, rank, size, row);
    return status;
}

static bool wants_ring(void)
{
    return hk_variable("HOCKET_VERBS_RING") != NULL || hk_variable("JACCL_RING") != NULL ||
           hk_variable("MLX_JACCL_RING") != NULL;
}

hocket_status hk_matrix_read(int rank, int size, hk_wires *row)
{
    hocket_status status = read_all(rank, size, row);
    if (status != HOCKET_OK)
        return status;
    bool ring = wants_ring();
    int wires = 0;
    for (int i = 0; i < size; i++) {
        bool neighbour = i == (rank + 1) % size || i == (rank + size - 1) % size;
        if (ring && !neighbour)
            row[i].count = 0;
        wires += row[i].count;
    }
    if (wires == 0 && size > 1)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "rank %d of %d has no RDMA device that faces another rank", rank, size);
    return HOCKET_OK;
}
