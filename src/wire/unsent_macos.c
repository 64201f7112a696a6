#include "wire/unsent.h"

#include <sys/socket.h>

int hk_socket_unsent(int fd)
{
    int bytes = 0;
    socklen_t size = sizeof bytes;
    return getsockopt(fd, SOL_SOCKET, SO_NWRITE, &bytes, &size) == 0 ? bytes : 0;
}
