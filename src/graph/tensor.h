/* Tensors inside: counted references to a device's handles. */
#ifndef HK_GRAPH_TENSOR_H
#define HK_GRAPH_TENSOR_H

#include "graph/device.h"

#include <stdatomic.h>

struct hocket_tensor {
    atomic_int references;
    const hk_device *device;
    hocket_type type;
    void *handle;
    bool wrapped; /* the handle is released by `release`, else by the device */
    void (*release)(void *handle, void *context);
    void *context;
};

/* Takes over a handle that the device made, also on failure. */
hocket_status hk_tensor_make(const hk_device *device, const hocket_type *type, void *handle,
                             hocket_tensor **tensor);

/* Uploads; data NULL as in hk_device.upload. */
hocket_status hk_tensor_upload(const hk_device *device, const hocket_type *type, const void *data,
                               hocket_tensor **tensor);

/* Whether the caller's reference is the only one. */
bool hk_tensor_is_sole(const hocket_tensor *tensor);

#endif
