#include "run/mlx.h"

#include "library.h"
#include "platform.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* MLX's `any` tries nccl, ring, mpi and jaccl, in this order. The first two it takes where these
 * are set, as by mlx.launch around us. */
void hk_mlx_clear(void)
{
    static const char *const names[] = {"MLX_RANK",     "MLX_HOSTFILE", "MLX_WORLD_SIZE",
                                        "NCCL_HOST_IP", "NCCL_PORT",    "MLX_MPI_LIBNAME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

bool hk_mlx_set(void)
{
    char path[PATH_MAX];
    if (!hk_library_beside("libhocket-mpi", path, sizeof path) || access(path, R_OK) != 0)
        return false;
    /* A rank that ends because another has died does so without a word to Python, which would keep
     * back what was printed to a pipe. */
    return setenv("MLX_MPI_LIBNAME", path, 0) == 0 && setenv("PYTHONUNBUFFERED", "1", 0) == 0 &&
           hk_prefer_fast_blas();
}
