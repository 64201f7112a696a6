/* The collectives of one group in shared memory. */
#ifndef HK_TRANSPORT_SHM_TEAM_H
#define HK_TRANSPORT_SHM_TEAM_H

#include "transport/call.h"

/* Native collectives for any transport over whose links the members can talk while they open. The
 * members must be on one host; where they are not, or cannot map each other's memory, team_open is
 * HOCKET_ERR_UNSUPPORTED on all. */
extern const hocket_collectives hk_shm_collectives;

#endif
