/* What libhocket-mlx adds for programs that use MLX themselves: link it beside libhocket.
 *
 * Tensors: on the device mlx the handle of a tensor (hocket_tensor_handle, hocket_tensor_wrap, the
 * handles of a kernel) is an mlx::core::array *, which is also what mlx-c keeps in the ctx of an
 * mlx_array. A kernel makes its output with new; whoever is given a handle away deletes it.
 *
 * Groups: hocket_mlx_group makes of a group what MLX's own operations take, so that all_sum,
 * all_gather, sum_scatter, send, recv, split and all that is built on them run over any transport
 * of hocket's. They stay lazy; an error comes out of eval. MLX's messages go under tag 0. */
#ifndef HOCKET_MLX_H
#define HOCKET_MLX_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* *mlx_group is a new mlx::core::distributed::Group *, the ctx of mlx-c's mlx_distributed_group.
 * group stays the caller's and must outlive it, and whatever was composed with it. A group that
 * MLX's own transport carries gives MLX's own. */
HOCKET_API hocket_status hocket_mlx_group(hocket_group *group, void **mlx_group);
HOCKET_API void hocket_mlx_group_free(void *mlx_group); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
