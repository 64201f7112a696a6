/* Collectives on a delegate, which cannot send from any rank to any rank: made of all_gather and
 * all_reduce, which it has itself. They move more bytes than the algorithms do: whole vectors where
 * blocks would be enough. Buffers are as in collective.h; the world has two ranks or more and the
 * whole vector is not empty.
 */
#ifndef HK_COLLECTIVE_COMPOSE_H
#define HK_COLLECTIVE_COMPOSE_H

#include "collective/block.h"
#include "collective/collective.h"

/* For a reduction that the native all_reduce refuses: all_gather, then a fold in rank order. */
hocket_status hk_compose_all_reduce(hk_team *team, hk_call *call, const void *send, void *recv,
                                    size_t count, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_compose_all_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                                    const hk_blocks *blocks, hocket_dtype dtype);
hocket_status hk_compose_reduce_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                        const hk_blocks *blocks, hocket_dtype dtype,
                                        hocket_reduce reduce);
hocket_status hk_compose_broadcast(hk_team *team, hk_call *call, void *data, size_t bytes,
                                   int root);
hocket_status hk_compose_reduce_to(hk_team *team, hk_call *call, const void *send, void *recv,
                                   size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                   int root);
hocket_status hk_compose_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                                size_t send_count, hocket_dtype dtype, int root);
hocket_status hk_compose_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                 const hk_blocks *blocks, hocket_dtype dtype, int root);

/* HOCKET_ERR_MISMATCH when a rank gives another count than is expected from it. */
hocket_status hk_compose_all_to_all(hk_team *team, hk_call *call, const void *send,
                                    const hk_blocks *send_blocks, void *recv,
                                    const hk_blocks *recv_blocks, hocket_dtype dtype);
hocket_status hk_compose_permute(hk_team *team, hk_call *call, const void *send, void *recv,
                                 size_t count, hocket_dtype dtype, const int *to);
hocket_status hk_compose_barrier(hk_team *team, hk_call *call);

#endif
