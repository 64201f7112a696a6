#include "doctor/probe.h"

#include <dlfcn.h>
#include <stdio.h>

const char *const hk_mpi_libraries[] = {"libmpi.40.dylib", "/opt/homebrew/lib/libmpi.40.dylib",
                                        "libmpi.12.dylib", "/opt/homebrew/lib/libmpi.12.dylib",
                                        NULL};
const char *const hk_cuda_libraries[] = {"libcuda.dylib", NULL};
const char *const hk_nccl_libraries[] = {"libnccl.dylib", NULL};

/* RDMA over Thunderbolt: librdma has the functions of verbs. dlsym's result is data to C; the
 * unions are POSIX's way to a function. */
void hk_probe_rdma(char *text, size_t size)
{
    void *library = dlopen("librdma.dylib", RTLD_NOW | RTLD_LOCAL);
    union {
        void *data;
        void **(*list)(int *count);
    } list = {library ? dlsym(library, "ibv_get_device_list") : NULL};
    union {
        void *data;
        const char *(*name)(void *device);
    } name = {library ? dlsym(library, "ibv_get_device_name") : NULL};
    if (!list.data || !name.data) {
        snprintf(text, size, "none: librdma.dylib is not here, which comes with macOS 26.2");
        return;
    }
    int count = 0;
    void **devices = list.list(&count);
    for (int i = 0; devices && i < count; i++)
        hk_append(text, size, "%s%s", i ? ", " : "", name.name(devices[i]));
    if (!devices || count == 0)
        snprintf(text, size, "none: RDMA over Thunderbolt is off, or no port has it");
}
