/* Shared by the tests of libhocket-mlx. */
#ifndef MLX_HELP_H
#define MLX_HELP_H

#include <hocket/graph.h>

/* Whether libhocket-mlx was built. When it was not, says so; the test then exits with 77. A library
 * that is there and does not load is no reason to skip. */
bool mlx_is_built(void);

/* Fails the running test, with the last error, unless status is HOCKET_OK. */
#define OK(status) mlx_check_status(status, #status, __FILE__, __LINE__)
void mlx_check_status(hocket_status status, const char *what, const char *file, int line);

#endif
