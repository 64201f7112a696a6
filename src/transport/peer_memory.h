/* Reading the memory of another process of this host, where the system allows it. */
#ifndef HK_TRANSPORT_PEER_MEMORY_H
#define HK_TRANSPORT_PEER_MEMORY_H

#include "core/status.h"

/* Lets this process's parent, and what descends from it (ranks under one launcher), read this
 * process's memory, where the system would else forbid it. */
void hk_peer_memory_permit(void);

/* Copies bytes from that address of that process. UNAVAILABLE: it cannot be read. */
hocket_status hk_peer_memory_read(int64_t pid, const void *from, void *to, size_t bytes);

#endif
