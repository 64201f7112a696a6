/* Another process's memory takes a task port, which only signed debuggers get. */
#include "transport/peer_memory.h"

void hk_peer_memory_permit(void)
{
}

hocket_status hk_peer_memory_read(int64_t pid, const void *from, void *to, size_t bytes)
{
    (void)from;
    (void)to;
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "reading %zu bytes of process %lld: macOS does not let ranks do that", bytes,
                   (long long)pid);
}
