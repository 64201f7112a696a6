/* Where hocket's libraries lie. */
#ifndef HK_TOOL_LIBRARY_H
#define HK_TOOL_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* The file that libhocket was loaded from; "" when the system does not say. */
void hk_library_own(char *path, size_t size);

/* The file of that name ("libhocket-mpi") beside libhocket, whether it is there or not; false where
 * its path is too long. */
bool hk_library_beside(const char *name, char *path, size_t size);

#endif
