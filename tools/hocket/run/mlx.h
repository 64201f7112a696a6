/* What a program on MLX needs around it, so that its mx.distributed runs over hocket: `hocket run
 * --mlx`. For a rank that was just forked. */
#ifndef HK_TOOL_MLX_H
#define HK_TOOL_MLX_H

#include <stdbool.h>

/* Removes what would make MLX choose another way. Before the variables that the user gives. */
void hk_mlx_clear(void);

/* Sets what MLX needs, where the user has not; the rank's share of the cores is set already. False
 * with errno, where libhocket-mpi is not there. */
bool hk_mlx_set(void);

#endif
