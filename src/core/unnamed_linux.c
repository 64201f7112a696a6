/* Memory that looks like a file. */
#include "core/unnamed.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

hocket_status hk_unnamed_make(hk_unnamed *file)
{
    file->fd = memfd_create("hocket-file", MFD_CLOEXEC);
    if (file->fd < 0)
        return hk_fail_errno(errno, "making a file in memory");
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    return HOCKET_OK;
}

void hk_unnamed_close(hk_unnamed *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
