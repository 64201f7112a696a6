/* Wiring: before there is a stream to a peer, both ends tell each other over the control connection
 * what they have, agree on what both can, make their queue pairs and tell each other of those.
 *
 *     hk_wiring_plan      this rank's rails, from the matrix
 *     hk_wiring_join      with all peers at once: streams whose queues are connected
 *
 * Nothing may be sent before all ranks are through hk_wiring_join: only then are their receives
 * posted.
 */
#ifndef HK_TRANSPORT_VERBS_WIRING_H
#define HK_TRANSPORT_VERBS_WIRING_H

#include "transport/verbs/stream.h"

#define HK_RAILS_MAX 16 /* devices in use by one rank */

typedef struct hk_wiring {
    int rank, size;
    hk_rail *rails; /* HK_RAILS_MAX of them */
    int rail_count;
    hk_wires *row;                /* by rank: the wires to it */
    int (*rail_of)[HK_WIRES_MAX]; /* by rank and wire: the number of its rail */
    int forced;                   /* HOCKET_VERBS_KIND: HK_IBV_QPT_..., 0: what both have */
    hk_stream *streams;           /* by rank; those without a wire stay zeroed */
} hk_wiring;

/* Reads the matrix and opens the devices. local: this rank's address as a GID. A failure is told to
 * nobody. hk_wiring_fini is to be called either way. */
hocket_status hk_wiring_plan(hk_wiring *wiring, int rank, int size, const uint8_t *local);
void hk_wiring_fini(hk_wiring *wiring);

/* pipes: by rank, open over the control connections; fd -1 for this rank. */
hocket_status hk_wiring_join(hk_wiring *wiring, hk_pipe *pipes, const hk_stream_owner *owner,
                             hk_time deadline);

#endif
