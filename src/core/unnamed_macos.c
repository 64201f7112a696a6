/* A temporary file that loses its name as soon as it is there. */
#include "core/unnamed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

hocket_status hk_unnamed_make(hk_unnamed *file)
{
    char name[PATH_MAX];
    const char *folder = getenv("TMPDIR");
    file->fd = -1;
    int length = snprintf(name, sizeof name, "%s/hocket-XXXXXX", folder ? folder : "/tmp");
    if (length >= (int)sizeof name)
        return hk_fail(HOCKET_ERR_SYSTEM, "the name of the folder for temporary files, TMPDIR, is "
                                          "too long");
    file->fd = mkstemp(name);
    if (file->fd < 0)
        return hk_fail_errno(errno, "making the temporary file %s", name);
    unlink(name);
    fcntl(file->fd, F_SETFD, FD_CLOEXEC);
    snprintf(file->path, sizeof file->path, "/dev/fd/%d", file->fd);
    return HOCKET_OK;
}

void hk_unnamed_close(hk_unnamed *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
