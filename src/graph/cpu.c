/* The cpu device: a handle is a pointer to contiguous elements in host memory. */
#include "graph/cpu.h"

#include "core/status.h"
#include "graph/device.h"
#include "graph/executable.h"

#include <stdlib.h>
#include <string.h>

static hocket_status upload(const hocket_type *type, const void *data, void **handle)
{
    size_t bytes = hocket_type_bytes(type);
    *handle = NULL;
    if (posix_memalign(handle, HK_ALIGNMENT, bytes > 0 ? bytes : HK_ALIGNMENT) != 0) {
        *handle = NULL;
        return hk_fail_memory(bytes, "a tensor");
    }
    if (data)
        memcpy(*handle, data, bytes);
    return HOCKET_OK;
}

static hocket_status read_out(void *handle, const hocket_type *type, void *buffer)
{
    size_t bytes = hocket_type_bytes(type);
    if (bytes > 0)
        memcpy(buffer, handle, bytes);
    return HOCKET_OK;
}

static void release(void *handle)
{
    free(handle);
}

#define ELEMENTWISE(name) {#name, hk_cpu_elementwise, (void *)&hk_cpu_##name}
#define KERNEL(name) {#name, hk_cpu_##name, NULL}
#define COLLECTIVE(name) {"collective." #name, hk_cpu_##name, NULL}

static const hk_kernel kernels[] = {
    ELEMENTWISE(add), ELEMENTWISE(subtract), ELEMENTWISE(multiply), ELEMENTWISE(divide),
    ELEMENTWISE(maximum), ELEMENTWISE(minimum), ELEMENTWISE(power), ELEMENTWISE(equal),
    ELEMENTWISE(not_equal), ELEMENTWISE(less), ELEMENTWISE(less_equal), ELEMENTWISE(greater),
    ELEMENTWISE(greater_equal), ELEMENTWISE(negative), ELEMENTWISE(abs), ELEMENTWISE(exp),
    ELEMENTWISE(log), ELEMENTWISE(sqrt), ELEMENTWISE(rsqrt), ELEMENTWISE(sin), ELEMENTWISE(cos),
    ELEMENTWISE(tanh), ELEMENTWISE(sigmoid), ELEMENTWISE(silu),
    KERNEL(gelu), KERNEL(where), KERNEL(cast),
    KERNEL(matmul), KERNEL(softmax), KERNEL(rms_norm), KERNEL(layer_norm),
    KERNEL(sum), KERNEL(mean), KERNEL(max), KERNEL(min),
    KERNEL(argmax), KERNEL(quantized_linear), KERNEL(dequantize),
    KERNEL(rope), KERNEL(cache_update), KERNEL(attention),
    KERNEL(reshape), KERNEL(transpose), KERNEL(broadcast_to), KERNEL(slice), KERNEL(concatenate),
    KERNEL(take),
    COLLECTIVE(all_reduce), COLLECTIVE(all_gather), COLLECTIVE(reduce_scatter),
    COLLECTIVE(broadcast), COLLECTIVE(permute), COLLECTIVE(send), COLLECTIVE(recv),
};

const hk_device hk_device_cpu = {
    .size = sizeof(hk_device),
    .name = "cpu",
    .composes = false,
    .kernels = kernels,
    .kernel_count = sizeof kernels / sizeof kernels[0],
    .upload = upload,
    .read = read_out,
    .release = release,
};
