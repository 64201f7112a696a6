/* Ranks as threads of one process. */
#ifndef HK_TRANSPORT_LOCAL_H
#define HK_TRANSPORT_LOCAL_H

#include "core/deadline.h"
#include <hocket/transport.h>

/* Meets the other ranks of the world of that name in this process; world_size 1 meets nobody. */
hocket_status hk_local_open(const char *name, int rank, int world_size, hk_time deadline,
                            const hocket_transport **transport, void **self);

#endif
