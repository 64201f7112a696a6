#include "graph/tensor.h"

#include "core/status.h"
#include "graph/shape.h"

#include <stdlib.h>

static hocket_status make(const hk_device *device, const hocket_type *type, void *handle,
                          hocket_tensor **tensor)
{
    hocket_tensor *made = calloc(1, sizeof *made);
    *tensor = made;
    if (made == NULL)
        return hk_fail_memory(sizeof *made, "a tensor");
    atomic_init(&made->references, 1);
    made->device = device;
    made->type = *type;
    made->handle = handle;
    return HOCKET_OK;
}

hocket_status hk_tensor_make(const hk_device *device, const hocket_type *type, void *handle,
                             hocket_tensor **tensor)
{
    hocket_status status = make(device, type, handle, tensor);
    if (status != HOCKET_OK)
        device->release(handle);
    return status;
}

hocket_status hk_tensor_upload(const hk_device *device, const hocket_type *type, const void *data,
                               hocket_tensor **tensor)
{
    void *handle = NULL;
    *tensor = NULL;
    hocket_status status = device->upload(type, data, &handle);
    return status == HOCKET_OK ? hk_tensor_make(device, type, handle, tensor) : status;
}

bool hk_tensor_is_sole(const hocket_tensor *tensor)
{
    return atomic_load(&tensor->references) == 1;
}

hocket_status hocket_tensor_create(const char *device_name, hocket_dtype dtype, int rank,
                                   const int64_t *dims, const void *data, hocket_tensor **tensor)
{
    if (tensor == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_tensor_create: tensor is NULL");
    *tensor = NULL;
    const hk_device *device;
    hocket_type type;
    hocket_status status = hocket_type_make(dtype, rank, dims, &type);
    if (status == HOCKET_OK)
        status = hk_device_get(device_name, &device);
    if (status != HOCKET_OK)
        return hk_fail_prefix("hocket_tensor_create: ");
    if (data == NULL && hocket_type_bytes(&type) > 0)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_tensor_create: data of %s is NULL",
                       HK_TYPE_TEXT(&type));
    return hk_tensor_upload(device, &type, data ? data : "", tensor);
}

hocket_status hocket_tensor_wrap(const char *device_name, const hocket_type *type, void *handle,
                                 void (*release)(void *handle, void *context), void *context,
                                 hocket_tensor **tensor)
{
    if (tensor == NULL || type == NULL || handle == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_tensor_wrap: %s is NULL",
                       tensor == NULL ? "tensor" : type == NULL ? "type" : "handle");
    *tensor = NULL;
    const hk_device *device;
    hocket_status status = hk_type_check(type, "hocket_tensor_wrap");
    if (status == HOCKET_OK)
        status = hk_device_get(device_name, &device);
    if (status == HOCKET_OK)
        status = make(device, type, handle, tensor);
    if (status != HOCKET_OK)
        return status;
    (*tensor)->wrapped = true;
    (*tensor)->release = release;
    (*tensor)->context = context;
    return HOCKET_OK;
}

hocket_status hocket_tensor_read(const hocket_tensor *tensor, void *buffer, size_t bytes)
{
    if (tensor == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_tensor_read: tensor is NULL");
    size_t needed = hocket_type_bytes(&tensor->type);
    if (bytes != needed || (buffer == NULL && needed > 0))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_tensor_read: %s is %zu bytes, the buffer %s",
                       HK_TYPE_TEXT(&tensor->type), needed, bytes != needed ? "is not" : "is NULL");
    return tensor->device->read(tensor->handle, &tensor->type, buffer);
}

const hocket_type *hocket_tensor_type(const hocket_tensor *tensor)
{
    return tensor ? &tensor->type : NULL;
}

const char *hocket_tensor_device(const hocket_tensor *tensor)
{
    return tensor ? tensor->device->name : NULL;
}

void *hocket_tensor_handle(const hocket_tensor *tensor)
{
    return tensor ? tensor->handle : NULL;
}

hocket_tensor *hocket_tensor_retain(hocket_tensor *tensor)
{
    if (tensor)
        atomic_fetch_add(&tensor->references, 1);
    return tensor;
}

void hocket_tensor_free(hocket_tensor *tensor)
{
    if (tensor == NULL || atomic_fetch_sub(&tensor->references, 1) > 1)
        return;
    if (!tensor->wrapped)
        tensor->device->release(tensor->handle);
    else if (tensor->release)
        tensor->release(tensor->handle, tensor->context);
    free(tensor);
}
