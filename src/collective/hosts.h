/* Groups that span hosts: inside each host by shared memory, between hosts by one lane a rank.
 * docs/hosts.md has the picture.
 */
#ifndef HK_COLLECTIVE_HOSTS_H
#define HK_COLLECTIVE_HOSTS_H

#include "collective/collective.h"

/* Collective. *hosts is NULL where there is nothing to gain: one host, no two members on one, or a
 * transport that goes by messages inside a host too. */
hocket_status hk_hosts_open(hk_comm *comm, hk_call *call, hk_hosts **hosts);
void hk_hosts_close(hk_hosts *hosts); /* NULL is fine */

/* The team of this rank's host. */
const hk_team *hk_hosts_inside(const hk_hosts *hosts);

/* As in collective.h, for groups of two or more and counts that are not 0. UNSUPPORTED, on all
 * ranks alike and without an error text, where the flat algorithms have to do it or do it better:
 * operands that must not change places while the hosts' ranks are mixed; all_gather and
 * reduce_scatter while hosts have different numbers of ranks; rows of the table of choices. */
hocket_status hk_hosts_all_reduce(hk_hosts *hosts, hk_call *call, const void *send, void *recv,
                                  size_t count, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_hosts_all_gather(hk_hosts *hosts, hk_call *call, const void *send, void *recv,
                                  size_t send_count, hocket_dtype dtype);
hocket_status hk_hosts_reduce_scatter(hk_hosts *hosts, hk_call *call, const void *send, void *recv,
                                      size_t recv_count, hocket_dtype dtype, hocket_reduce reduce);
hocket_status hk_hosts_broadcast(hk_hosts *hosts, hk_call *call, void *data, size_t count,
                                 hocket_dtype dtype, int root);
hocket_status hk_hosts_barrier(hk_hosts *hosts, hk_call *call);

#endif
