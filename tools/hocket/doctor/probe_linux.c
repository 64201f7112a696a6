#include "doctor/probe.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define DEVICES "/sys/class/infiniband"

/* Open MPI since 3.0, MPICH as Debian names it, MPICH and its kin (Intel, MVAPICH). */
const char *const hk_mpi_libraries[] = {"libmpi.so.40", "libmpich.so.12", "libmpi.so.12", NULL};
const char *const hk_cuda_libraries[] = {"libcuda.so.1", NULL};
const char *const hk_nccl_libraries[] = {"libnccl.so.2", NULL};

/* "4: ACTIVE": the word alone. */
static void append_state(const char *device, char *text, size_t size)
{
    char path[512], state[64] = "";
    snprintf(path, sizeof path, DEVICES "/%.255s/ports/1/state", device);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%*d: %63s", state) == 1)
            hk_append(text, size, " (%s)", state);
        fclose(file);
    }
}

void hk_append_kernel_rdma(char *text, size_t size)
{
    int count = 0;
    DIR *devices = opendir(DEVICES);
    struct dirent *entry;
    while (devices && (entry = readdir(devices))) {
        if (entry->d_name[0] == '.')
            continue;
        hk_append(text, size, "%s%s", count++ ? ", " : "; the kernel has ", entry->d_name);
        append_state(entry->d_name, text, size);
    }
    if (devices)
        closedir(devices);
}
