/* Which machine this is. */
#ifndef HK_WIRE_HOST_H
#define HK_WIRE_HOST_H

#include "core/status.h"

#define HK_HOST_ID_BYTES 32

/* The same for all processes of one running system, different for any other: a hash of the boot's
 * id and the host's name, or of what is to pass for its name, where that is not "". */
void hk_host_id(const char *name, unsigned char id[HK_HOST_ID_BYTES]);

/* The system's own name for this boot, "" when it has none. host_linux.c, host_macos.c. */
void hk_host_boot_id(char *text, size_t size);

#endif
