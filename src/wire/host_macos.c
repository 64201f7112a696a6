/* macOS has an id of each boot among its sysctls. */
#include "wire/host.h"

#include <sys/sysctl.h>
#include <sys/types.h>

void hk_host_boot_id(char *text, size_t size)
{
    size_t length = size - 1;
    if (sysctlbyname("kern.bootsessionuuid", text, &length, NULL, 0) != 0)
        length = 0;
    text[length] = '\0';
}
