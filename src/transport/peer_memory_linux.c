#include "transport/peer_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* Yama lets a process be read by its ancestors, and by who it names with all that descends from it.
 * Without Yama the call fails, and nothing is lost. */
void hk_peer_memory_permit(void)
{
    prctl(PR_SET_PTRACER, (unsigned long)getppid(), 0, 0, 0);
}

hocket_status hk_peer_memory_read(int64_t pid, const void *from, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        struct iovec here = {(uint8_t *)to + done, bytes - done};
        struct iovec there = {(uint8_t *)from + done, bytes - done};
        ssize_t got = process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return hk_fail(HOCKET_ERR_UNAVAILABLE, "reading %zu bytes of process %lld: %s", bytes,
                           (long long)pid, strerror(got < 0 ? errno : EFAULT));
        done += (size_t)got;
    }
    return HOCKET_OK;
}
