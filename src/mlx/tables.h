/* What libhocket-mlx hands to libhocket: tables of functions.
 *
 * Headers in this folder must not have the name of one of MLX's (mlx/device.h, mlx/array.h, ...):
 * both are included as "mlx/<name>". */
#ifndef HK_MLX_TABLES_H
#define HK_MLX_TABLES_H

extern "C" {
#include "graph/device.h"
#include "graph/gguf.h"
#include "transport/table.h"
}

namespace hk
{

/* The device `mlx`: a handle is an mlx::core::array on the heap. */
extern const hk_device mlx_device;

/* Its operations. */
extern const hk_kernel mlx_kernels[];
extern const size_t mlx_kernel_count;

/* The row `mlx` of the table of backends. */
extern const hk_backend mlx_backend;

/* GGUF files, by MLX's reader. */
extern const hk_gguf_table mlx_gguf;

} // namespace hk

#endif
