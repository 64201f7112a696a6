/* Which device faces which rank. In this order:
 *
 *     HOCKET_VERBS_DEVICES=/a/file           MLX's matrix of devices, as JSON
 *     HOCKET_VERBS_DEVICES=rxe1,rxe2         these devices of this host: the first to every rank's
 *                                            first, the second to its second
 *     JACCL_IBV_DEVICES, MLX_IBV_DEVICES     the matrix
 *     nothing                                every device of this host that has an active port
 *
 * HOCKET_VERBS_RING, JACCL_RING or MLX_JACCL_RING, set to anything: neighbours only (r - 1 and r +
 * 1), which a ring of cables has, and which take fewer queue pairs.
 */
#ifndef HK_TRANSPORT_VERBS_MATRIX_H
#define HK_TRANSPORT_VERBS_MATRIX_H

#include "core/hostfile.h"

/* row[r]: the wires of this rank to rank r, world size of them. INVALID, SYSTEM; UNAVAILABLE: this
 * host has no device that could be used, or none faces another rank. */
hocket_status hk_matrix_read(int rank, int size, hk_wires *row);

#endif
