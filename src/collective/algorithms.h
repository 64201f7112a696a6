/* The algorithms, over any transport; the caller says which (transport/choices.h). Buffers and
 * counts are as in hocket.h; the world has two ranks or more and the whole vector is not empty.
 * Every rank of the group calls the same one.
 *
 * Where a sum is made, it is the fold in rank order ((x0 + x1) + x2) + ..., made by one rank for
 * all or by all alike, halves in float32 and rounded once; so all algorithms have the same bits.
 * HK_RING alone differs: see hk_reduce_scatter_blocks; and hosts.h composes other orders.
 */
#ifndef HK_COLLECTIVE_ALGORITHMS_H
#define HK_COLLECTIVE_ALGORITHMS_H

#include "collective/block.h"
#include "transport/choices.h"
#include "transport/call.h"

/* --- gather.c: blocks move, nothing is computed ----------------------------------------------- */

/* Every rank has its block in place in data and gets the others. HK_DIRECT, HK_TREE, HK_RING. */
hocket_status hk_all_gather_blocks(hk_call *call, void *data, const hk_blocks *blocks,
                                   hk_algorithm algorithm);

/* own: this rank's block; data: the root's, elsewhere unused. HK_DIRECT, HK_TREE. */
hocket_status hk_gather_blocks(hk_call *call, const void *own, void *data, const hk_blocks *blocks,
                               int root, hk_algorithm algorithm);
hocket_status hk_scatter_blocks(hk_call *call, const void *data, void *own, const hk_blocks *blocks,
                                int root, hk_algorithm algorithm);

/* HK_TREE, HK_DIRECT. */
hocket_status hk_broadcast_bytes(hk_call *call, void *data, size_t bytes, int root,
                                 hk_algorithm algorithm);

/* --- reduce.c --------------------------------------------------------------------------------- */

/* own = this rank's block of the reduced vector; own may be that block of send, or send itself.
 * HK_DIRECT; HK_RING, which folds block b from rank b + 1 around the circle to rank b, keeps its
 * partial sums in dtype (so halves are rounded n - 1 times), and is for commuting reductions. */
hocket_status hk_reduce_scatter_blocks(hk_call *call, const void *send, void *own,
                                       const hk_blocks *blocks, hocket_dtype dtype,
                                       hocket_reduce reduce, hk_algorithm algorithm);

/* HK_FLAT, HK_TREE, HK_DIRECT, HK_RING. */
hocket_status hk_all_reduce_vector(hk_call *call, const void *send, void *recv, size_t count,
                                   hocket_dtype dtype, hocket_reduce reduce,
                                   hk_algorithm algorithm);

/* HK_FLAT, HK_TREE, HK_DIRECT. recv: the root's. */
hocket_status hk_reduce_to_root(hk_call *call, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce, int root,
                                hk_algorithm algorithm);

/* Whether a block must be folded by one rank from the first operand to the last, not by a ring:
 * when operands must not change places, and for halves, of which a partial sum that travels would
 * be rounded at each step. */
bool hk_reduce_stays(hocket_dtype dtype, hocket_reduce reduce);

/* --- exchange.c ------------------------------------------------------------------------------- */

/* Block j of rank i's send becomes block i of rank j's recv. In place (send == recv) only when
 * both have the same blocks. */
hocket_status hk_all_to_all_blocks(hk_call *call, const void *send, const hk_blocks *send_blocks,
                                   void *recv, const hk_blocks *recv_blocks);
hocket_status hk_permute_bytes(hk_call *call, const void *send, void *recv, size_t bytes,
                               const int *to);
hocket_status hk_barrier_dissemination(hk_call *call);

#endif
