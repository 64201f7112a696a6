/* Collectives that read the other members' own buffers: by plain loads where those come from
 * hocket_alloc, else by the kernel. */
#ifndef HK_TRANSPORT_SHM_REACH_H
#define HK_TRANSPORT_SHM_REACH_H

#include "transport/shm_ways.h"

typedef enum hk_reach {
    HK_REACH_NONE,   /* stage */
    HK_REACH_KERNEL, /* process_vm_readv */
    HK_REACH_SENDS,  /* all members' send buffers are mapped here */
    HK_REACH_BOTH    /* and what they receive into too */
} hk_reach;

/* Posts where this rank's buffers are (send NULL: nobody needs it), waits for all, and finds the
 * same way as all the others. may_read, by the kernel: member 0's word, or the root's, counts. */
hocket_status hk_reach_begin(hk_shm *shm, const void *send, size_t send_bytes, const void *recv,
                             size_t recv_bytes, bool may_read, hocket_patience *patience,
                             hk_reach *reach, bool *in_place);
/* The same where only root's buffer is read. */
hocket_status hk_reach_root(hk_shm *shm, const void *data, size_t bytes, int root, bool may_read,
                            hocket_patience *patience, hk_reach *reach);

/* After begin has found a way other than NONE. */
hocket_status hk_reach_all_reduce(const hk_folding *folding, hk_reach reach, bool in_place,
                                  const uint8_t *send, uint8_t *recv, size_t count,
                                  hocket_patience *patience);
hocket_status hk_reach_all_gather(hk_shm *shm, hk_reach reach, uint8_t *recv, size_t bytes,
                                  hocket_patience *patience);
hocket_status hk_reach_reduce_scatter(const hk_folding *folding, hk_reach reach,
                                      const uint8_t *send, uint8_t *recv, size_t count,
                                      hocket_patience *patience);
hocket_status hk_reach_broadcast(hk_shm *shm, hk_reach reach, uint8_t *data, size_t bytes, int root,
                                 hocket_patience *patience);

#endif
