/* The collectives over any transport. Arguments were checked by group/; counts may be 0; send ==
 * recv means in place, and where the sizes differ the smaller buffer may be this rank's own block
 * of the larger one.
 *
 * Each function picks the transport's native form, or a composition for groups that span hosts
 * (hosts.h), or an algorithm by transport/choices.c, or (on a delegate that cannot send to any
 * rank) a composition of native ones. All ranks pick alike, since they pick by what they agree on.
 */
#ifndef HK_COLLECTIVE_COLLECTIVE_H
#define HK_COLLECTIVE_COLLECTIVE_H

#include "transport/call.h"

typedef struct hk_hosts hk_hosts;

/* What a group, or a part of one, brings along for its collectives. */
typedef struct hk_team {
    hk_comm *comm;
    const hocket_collectives *native; /* or NULL */
    void *handle;                     /* of native */
    hk_hosts *hosts;                  /* or NULL */
} hk_team;

/* Collective where the transport has native collectives. call->comm is comm, here and in each
 * collective. */
hocket_status hk_team_open(hk_comm *comm, hk_call *call, hk_team *team);
void hk_team_close(hk_team *team);

/* The team of this rank's host, where the group spans hosts, else the team: whose native
 * collectives make memory. */
const hk_team *hk_team_nearest(const hk_team *team);

hocket_status hk_all_reduce(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t count, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_all_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t send_count, hocket_dtype dtype);
hocket_status hk_all_gather_v(hk_team *team, hk_call *call, const void *send, void *recv,
                              const size_t *counts, hocket_dtype dtype);
hocket_status hk_reduce_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                                size_t recv_count, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_reduce_scatter_v(hk_team *team, hk_call *call, const void *send, void *recv,
                                  const size_t *counts, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_broadcast(hk_team *team, hk_call *call, void *data, size_t count,
                           hocket_dtype dtype, int root);
hocket_status hk_reduce_to(hk_team *team, hk_call *call, const void *send, void *recv, size_t count,
                           hocket_dtype dtype, hocket_reduce reduce, int root);
hocket_status hk_gather(hk_team *team, hk_call *call, const void *send, void *recv,
                        size_t send_count, hocket_dtype dtype, int root);
hocket_status hk_scatter(hk_team *team, hk_call *call, const void *send, void *recv,
                         size_t recv_count, hocket_dtype dtype, int root);
hocket_status hk_all_to_all(hk_team *team, hk_call *call, const void *send, void *recv,
                            size_t count_per_rank, hocket_dtype dtype);
hocket_status hk_all_to_all_v(hk_team *team, hk_call *call, const void *send,
                              const size_t *send_counts, void *recv, const size_t *recv_counts,
                              hocket_dtype dtype);
hocket_status hk_permute(hk_team *team, hk_call *call, const void *send, void *recv, size_t count,
                         hocket_dtype dtype, const int *to);
hocket_status hk_barrier(hk_team *team, hk_call *call);

#endif
