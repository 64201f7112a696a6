#include "core/parent.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void hk_parent_find(const char *text, hk_parent *parent)
{
    struct ucred maker;
    socklen_t length = sizeof maker;
    long fd = text != NULL ? strtol(text, NULL, 10) : -1;
    struct stat namespace;
    *parent = (hk_parent){.process = getppid()};
    if (fd >= 0 && fd <= INT_MAX &&
        getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &maker, &length) == 0 && maker.pid > 0)
        parent->process = maker.pid;
    if (stat("/proc/self/ns/pid", &namespace) == 0)
        parent->numbers = namespace.st_ino;
}
