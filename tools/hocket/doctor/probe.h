/* What hocket doctor finds on this host. Each function puts a line into text, or several with a
 * newline between: what is there, or why not. Nothing here is linked against: files are looked at,
 * libraries opened. */
#ifndef HK_TOOL_PROBE_H
#define HK_TOOL_PROBE_H

#include "words.h"

#include <stddef.h>

#define HK_PROBE_BYTES 16384 /* of what one finds; devices with many GIDs are many lines */

typedef void (*hk_probe_fn)(char *text, size_t size);

/* Calls probe in a process of its own, as strangers' libraries may crash or hang when they are
 * opened. Writes what the probe wrote, or that it failed and how. */
void hk_probe_apart(hk_probe_fn probe, char *text, size_t size);

/* Only through hk_probe_apart. */
void hk_probe_mpi(char *text, size_t size);
void hk_probe_cuda(char *text, size_t size);
void hk_probe_nccl(char *text, size_t size);
void hk_probe_rdma(char *text, size_t size);
/* Which Python `python3` is, whether it has MLX, and whether that takes libhocket-mpi. */
void hk_probe_python(char *text, size_t size);

/* Where libhocket lies. */
void hk_probe_library(char *text, size_t size);

/* MLX's version and device. Loads it into this process, as libhocket does. */
void hk_probe_mlx(char *text, size_t size);

/* The addresses of this host by interface; and the interface that ranks of several hosts would use,
 * with the reason. */
void hk_probe_addresses(char *text, size_t size);
void hk_probe_route(char *text, size_t size);

/* Appends to text, as printf does; what does not fit is left out. */
void hk_append(char *text, size_t size, const char *format, ...) HK_WORDS_PRINTF(3, 4);

/* === What each system has under names of its own: probe_linux.c, probe_macos.c ================ */

/* End with NULL. */
extern const char *const hk_mpi_libraries[], *const hk_cuda_libraries[], *const hk_nccl_libraries[];

/* Appends "; the kernel has mlx5_0 (ACTIVE)", where a device is known that no library has shown. */
void hk_append_kernel_rdma(char *text, size_t size);

#endif
