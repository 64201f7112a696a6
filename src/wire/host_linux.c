/* Linux has an id of each boot in /proc. */
#include "wire/host.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void hk_host_boot_id(char *text, size_t size)
{
    text[0] = '\0';
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
}
