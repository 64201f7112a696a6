/* The mesh: one proven connection between each pair of ranks, opened while the meeting is.
 *
 * Each rank listens, tells the others where, dials those below it and is dialled by those above.
 * All end together: when a rank dies meanwhile, every other one learns from the meeting which; at
 * the deadline all say whom they lack, and get the same answer.
 */
#ifndef HK_WIRE_MESH_H
#define HK_WIRE_MESH_H

#include "wire/meeting.h"

typedef struct hk_mesh_end { /* of the connection to one rank */
    int fd;                  /* -1: this rank itself */
    hk_peer peer;            /* its keys are to be wiped by the caller */
} hk_mesh_end;

/* Collective. ends: world size, by rank; on failure all are closed and wiped. *encrypt: this rank
 * wants its connections sealed; afterwards, whether any does, for then all do. Errors as of the
 * meeting's steps; TIMEOUT names the rank that could not be reached. */
hocket_status hk_mesh_open(hk_meeting *meeting, size_t buffer_bytes, bool *encrypt,
                           hk_mesh_end *ends);

#endif
