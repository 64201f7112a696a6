#include "collective/algorithms.h"
#include "collective/batch.h"

/* === All-gather =============================================================================== */

/* Direct: everyone sends its block to everyone, at once. One step, n - 1 messages a rank. Each rank
 * begins with its successor, so that no rank is everybody's first. */
static hocket_status all_gather_direct(hk_call *call, void *data, const hk_blocks *blocks)
{
    const int n = blocks->n, rank = call->comm->rank;
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, 2 * (n - 1));
    for (int i = 1; i < n && status == HOCKET_OK; i++) {
        int from = hk_rank_at(rank, -i, n);
        status = hk_batch_recv_run(&batch, from, data, blocks, from, 1);
    }
    for (int i = 1; i < n && status == HOCKET_OK; i++)
        status = hk_batch_send_run(&batch, hk_rank_at(rank, i, n), data, blocks, rank, 1);
    return status == HOCKET_OK ? hk_batch_finish(&batch) : status;
}

/* Dissemination (Bruck et al. 1997, "Efficient Algorithms for All-to-All Communications in
 * Multiport Message-Passing Systems"): what a rank has doubles in each step, so ceil(log2 n) steps.
 * A rank always has a run of blocks that starts with its own; it sends that run down by the run's
 * length and gets the adjoining one from above. n = 5, what rank 1 has:
 *
 *     1            sends 1        to rank 0, gets 2      from rank 2
 *     1 2          sends 1 2      to rank 4, gets 3 4    from rank 3
 *     1 2 3 4      sends 1        to rank 2, gets 0      from rank 0
 *     1 2 3 4 0
 *
 * Bruck turns the blocks in a buffer of his own afterwards. Here every run is sent from its place
 * to its place, as two messages where it passes the end, which works for uneven blocks too. */
static hocket_status all_gather_dissemination(hk_call *call, void *data, const hk_blocks *blocks)
{
    const int n = blocks->n, rank = call->comm->rank;
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, 4);
    for (int have = 1; have < n && status == HOCKET_OK; have *= 2) {
        int more = have < n - have ? have : n - have;
        int above = hk_rank_at(rank, have, n), below = hk_rank_at(rank, -have, n);
        status = hk_batch_recv_run(&batch, above, data, blocks, above, more);
        if (status == HOCKET_OK)
            status = hk_batch_send_run(&batch, below, data, blocks, rank, more);
        if (status == HOCKET_OK)
            status = hk_batch_finish(&batch);
    }
    return status;
}

/* Ring: n - 1 steps, in each of which a rank hands the block that it got last to its successor.
 * Everyone sends and receives each block once, and listens to one neighbour only. All receives
 * are posted before the first step, so a block lands in its place whenever it comes.
 *
 *     step 0: 0 -0-> 1 -1-> 2 -2-> 3 -3-> 0        (-b->: block b)
 *     step 1: 0 -3-> 1 -0-> 2 -1-> 3 -2-> 0
 *     step 2: 0 -2-> 1 -3-> 2 -0-> 3 -1-> 0 */
static hocket_status all_gather_ring(hk_call *call, void *data, const hk_blocks *blocks)
{
    const int n = blocks->n, rank = call->comm->rank;
    const int left = hk_rank_at(rank, -1, n), right = hk_rank_at(rank, 1, n);
    hk_op *arrivals = hk_scratch(call, (size_t)n, sizeof *arrivals);
    hk_batch sends;
    if (!arrivals || hk_batch_open(&sends, call, n) != HOCKET_OK)
        return HOCKET_ERR_NO_MEMORY;

    hocket_status status = HOCKET_OK;
    for (int step = 0; step < n - 1 && status == HOCKET_OK; step++) {
        int block = hk_rank_at(left, -step, n);
        size_t bytes = hk_block_bytes(blocks, block);
        if (bytes > 0)
            status = hk_start_recv(call, &arrivals[step], left,
                                   hk_at(data, hk_block_start(blocks, block)), bytes);
    }
    for (int step = 0; step < n - 1 && status == HOCKET_OK; step++) {
        int block = hk_rank_at(rank, -step, n);
        if (step > 0 && hk_block_bytes(blocks, block) > 0)
            status = hk_finish(call, &arrivals[step - 1]);
        if (status == HOCKET_OK)
            status = hk_batch_send_run(&sends, right, data, blocks, block, 1);
    }
    if (status == HOCKET_OK && hk_block_bytes(blocks, right) > 0)
        status = hk_finish(call, &arrivals[n - 2]);
    return status == HOCKET_OK ? hk_batch_finish(&sends) : status;
}

hocket_status hk_all_gather_blocks(hk_call *call, void *data, const hk_blocks *blocks,
                                   hk_algorithm algorithm)
{
    if (algorithm == HK_TREE)
        return all_gather_dissemination(call, data, blocks);
    if (algorithm == HK_RING)
        return all_gather_ring(call, data, blocks);
    return all_gather_direct(call, data, blocks);
}

/* === Gather and scatter ======================================================================= */

/* Direct: the root exchanges one message with every rank. */
static hocket_status gather_direct(hk_call *call, const void *own, void *data,
                                   const hk_blocks *blocks, int root)
{
    const int n = blocks->n, rank = call->comm->rank;
    if (rank != root) {
        size_t bytes = hk_block_bytes(blocks, rank);
        return bytes > 0 ? hk_send(call, root, own, bytes) : HOCKET_OK;
    }
    hk_copy(hk_at(data, hk_block_start(blocks, rank)), own, hk_block_bytes(blocks, rank));
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, n - 1);
    for (int i = 1; i < n && status == HOCKET_OK; i++) {
        int from = hk_rank_at(rank, i, n);
        status = hk_batch_recv_run(&batch, from, data, blocks, from, 1);
    }
    return status == HOCKET_OK ? hk_batch_finish(&batch) : status;
}

static hocket_status scatter_direct(hk_call *call, const void *data, void *own,
                                    const hk_blocks *blocks, int root)
{
    const int n = blocks->n, rank = call->comm->rank;
    if (rank != root) {
        size_t bytes = hk_block_bytes(blocks, rank);
        return bytes > 0 ? hk_recv(call, root, own, bytes) : HOCKET_OK;
    }
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, n - 1);
    for (int i = 1; i < n && status == HOCKET_OK; i++) {
        int to = hk_rank_at(rank, i, n);
        status = hk_batch_send_run(&batch, to, data, blocks, to, 1);
    }
    if (status == HOCKET_OK)
        status = hk_batch_finish(&batch);
    if (status == HOCKET_OK) /* last, for own may lie where a block was that had to be sent */
        hk_copy(own, hk_at(data, hk_block_start(blocks, rank)), hk_block_bytes(blocks, rank));
    return status;
}

/* Binomial tree (block.h): the blocks of a subtree travel as one run, so the root handles log2 n
 * messages instead of n - 1, and every rank passes on what is not its own. For small blocks: ranks
 * inside the tree lay theirs out like the root, in scratch of the whole vector's length. */
static hocket_status gather_tree(hk_call *call, const void *own, void *data,
                                 const hk_blocks *blocks, int root)
{
    const int n = blocks->n, rank = call->comm->rank, place = hk_rank_at(rank, -root, n);
    if (rank != root)
        data = hk_scratch(call, blocks->count, blocks->size);
    hk_batch batch;
    if (!data || hk_batch_open(&batch, call, 2 * n) != HOCKET_OK)
        return HOCKET_ERR_NO_MEMORY;

    hk_copy(hk_at(data, hk_block_start(blocks, rank)), own, hk_block_bytes(blocks, rank));
    hocket_status status = HOCKET_OK;
    for (int d = hk_tree_first_child(place, n); d > 0 && status == HOCKET_OK; d /= 2) {
        int child = hk_rank_at(rank, d, n);
        status = hk_batch_recv_run(&batch, child, data, blocks, child, hk_tree_size(place + d, n));
    }
    if (status == HOCKET_OK)
        status = hk_batch_finish(&batch);
    if (status != HOCKET_OK || rank == root)
        return status;
    int parent = hk_rank_at(hk_tree_parent(place), root, n);
    status = hk_batch_send_run(&batch, parent, data, blocks, rank, hk_tree_size(place, n));
    return status == HOCKET_OK ? hk_batch_finish(&batch) : status;
}

static hocket_status scatter_tree(hk_call *call, const void *data, void *own,
                                  const hk_blocks *blocks, int root)
{
    const int n = blocks->n, rank = call->comm->rank, place = hk_rank_at(rank, -root, n);
    void *passing = rank == root ? (void *)data : hk_scratch(call, blocks->count, blocks->size);
    hk_batch batch;
    if (!passing || hk_batch_open(&batch, call, 2 * n) != HOCKET_OK)
        return HOCKET_ERR_NO_MEMORY;

    hocket_status status = HOCKET_OK;
    if (rank != root) {
        int parent = hk_rank_at(hk_tree_parent(place), root, n);
        status = hk_batch_recv_run(&batch, parent, passing, blocks, rank, hk_tree_size(place, n));
        if (status == HOCKET_OK)
            status = hk_batch_finish(&batch);
    }
    for (int d = hk_tree_first_child(place, n); d > 0 && status == HOCKET_OK; d /= 2) {
        int child = hk_rank_at(rank, d, n);
        status =
            hk_batch_send_run(&batch, child, passing, blocks, child, hk_tree_size(place + d, n));
    }
    if (status == HOCKET_OK)
        status = hk_batch_finish(&batch);
    if (status == HOCKET_OK)
        hk_copy(own, hk_at(passing, hk_block_start(blocks, rank)), hk_block_bytes(blocks, rank));
    return status;
}

hocket_status hk_gather_blocks(hk_call *call, const void *own, void *data, const hk_blocks *blocks,
                               int root, hk_algorithm algorithm)
{
    if (algorithm == HK_TREE)
        return gather_tree(call, own, data, blocks, root);
    return gather_direct(call, own, data, blocks, root);
}

hocket_status hk_scatter_blocks(hk_call *call, const void *data, void *own, const hk_blocks *blocks,
                                int root, hk_algorithm algorithm)
{
    if (algorithm == HK_TREE)
        return scatter_tree(call, data, own, blocks, root);
    return scatter_direct(call, data, own, blocks, root);
}

/* === Broadcast ================================================================================ */

/* Binomial tree: who has the data doubles in each step, log2 n steps, and the root sends it log2 n
 * times. The children with the largest subtrees come first. */
static hocket_status broadcast_tree(hk_call *call, void *data, size_t bytes, int root)
{
    const int n = call->comm->size, rank = call->comm->rank, place = hk_rank_at(rank, -root, n);
    hk_batch batch;
    hocket_status status = hk_batch_open(&batch, call, n);
    if (status == HOCKET_OK && rank != root)
        status = hk_recv(call, hk_rank_at(hk_tree_parent(place), root, n), data, bytes);
    for (int d = hk_tree_first_child(place, n); d > 0 && status == HOCKET_OK; d /= 2)
        status = hk_batch_send(&batch, hk_rank_at(rank, d, n), data, bytes);
    return status == HOCKET_OK ? hk_batch_finish(&batch) : status;
}

/* Scatter and all-gather (van de Geijn; Thakur, Rabenseifner & Gropp 2005, "Optimization of
 * Collective Communication Operations in MPICH"): the root sends every byte once, each rank its
 * block, and the ranks share their blocks. Each rank moves at most twice the vector, however many
 * there are, where the tree's root moves it log2 n times. */
hocket_status hk_broadcast_bytes(hk_call *call, void *data, size_t bytes, int root,
                                 hk_algorithm algorithm)
{
    if (algorithm == HK_TREE)
        return broadcast_tree(call, data, bytes, root);
    const int n = call->comm->size;
    hk_blocks blocks = hk_blocks_even(bytes, n, 1);
    void *own = hk_at(data, hk_block_start(&blocks, call->comm->rank));
    hocket_status status = hk_scatter_blocks(call, data, own, &blocks, root, HK_DIRECT);
    if (status != HOCKET_OK)
        return status;
    return hk_all_gather_blocks(call, data, &blocks,
                                hk_comm_choose(call->comm, HK_BY_MESSAGES, HK_ALL_GATHER, bytes,
                                               false));
}
