#include "wire/unsent.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

int hk_socket_unsent(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}
