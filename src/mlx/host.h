/* Operations of the graph on MLX's cpu stream by the kernels of the cpu device, which libhocket has
 * anyway: an operation that MLX would compose of many is then one primitive, on the arrays' own
 * memory, and a cache is written where it lies. */
#ifndef HK_MLX_HOST_H
#define HK_MLX_HOST_H

#include "mlx/types.h"

extern "C" {
#include "graph/device.h"
}

namespace hk
{

/* Where to find the cpu device's kernels: an hk_device.adopt. */
void adopt_host_kernels(hk_host_fn find);

/* The output of the operation as a lazy array. stream is one of the cpu. */
mx::array compose_on_host(const hocket_op_call &call, mx::Stream stream);

} // namespace hk

#endif
