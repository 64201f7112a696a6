/* What each operating system does in its own way: platform_linux.c, platform_macos.c. */
#ifndef HK_TOOL_PLATFORM_H
#define HK_TOOL_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The cores this process may use; at least 1. */
int hk_cores(void);

/* The memory of this machine in bytes; 0 if the system does not say. */
uint64_t hk_memory_bytes(void);

/* The most memory that was ever resident in this process, libraries included, in bytes; 0 if the
 * system does not say. */
uint64_t hk_peak_memory_bytes(void);

/* From now on orphaned descendants of this process become its children, where the system has that;
 * elsewhere a process that left its rank's process group is out of reach. */
void hk_adopt_orphans(void);

/* For a child that was just forked: end it with SIGKILL when its parent dies. Where the system has
 * no such thing, guard.c alone sees to it. */
void hk_die_with_parent(pid_t parent);

/* ".so" or ".dylib" */
extern const char hk_library_suffix[];

/* For a process that is about to become a program on MLX: has the loader put a fast BLAS before the
 * one that MLX comes with, where that is needed and there is one. False when there is no memory. */
bool hk_prefer_fast_blas(void);

/* The path of the program that this process runs; false when the system does not say. */
bool hk_own_path(char *path, size_t size);

/* The children of this process, adopted ones included: writes at most capacity of them and returns
 * how many it wrote. */
int hk_children(pid_t *pids, int capacity);

#endif
