#include "core/parent.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void hk_parent_find(const char *text, hk_parent *parent)
{
    pid_t maker;
    socklen_t length = sizeof maker;
    long fd = text != NULL ? strtol(text, NULL, 10) : -1;
    *parent = (hk_parent){.process = getppid()};
    if (fd >= 0 && fd <= INT_MAX &&
        getsockopt((int)fd, SOL_LOCAL, LOCAL_PEERPID, &maker, &length) == 0 && maker > 0)
        parent->process = maker;
}
