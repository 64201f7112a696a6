/* The table of what can be measured. Roots are rank 0. */
#include "bench/bench.h"

#include <stdlib.h>

#define TAG 7

/* === Runs ===================================================================================== */

static hocket_status run_all_reduce(const hk_bench_task *t)
{
    return hocket_all_reduce(t->group, t->send, t->recv, t->count, t->dtype, t->reduce);
}

static hocket_status run_reduce_to(const hk_bench_task *t)
{
    return hocket_reduce_to(t->group, t->send, t->recv, t->count, t->dtype, t->reduce, 0);
}

static hocket_status run_broadcast(const hk_bench_task *t)
{
    return hocket_broadcast(t->group, t->recv, t->count, t->dtype, 0);
}

static hocket_status run_all_gather(const hk_bench_task *t)
{
    return hocket_all_gather(t->group, t->send, t->recv, t->counts[0], t->dtype);
}

static hocket_status run_all_gather_v(const hk_bench_task *t)
{
    return hocket_all_gather_v(t->group, t->send, t->recv, t->counts, t->dtype);
}

static hocket_status run_reduce_scatter(const hk_bench_task *t)
{
    return hocket_reduce_scatter(t->group, t->send, t->recv, t->counts[0], t->dtype, t->reduce);
}

static hocket_status run_reduce_scatter_v(const hk_bench_task *t)
{
    return hocket_reduce_scatter_v(t->group, t->send, t->recv, t->counts, t->dtype, t->reduce);
}

static hocket_status run_gather(const hk_bench_task *t)
{
    return hocket_gather(t->group, t->send, t->recv, t->counts[0], t->dtype, 0);
}

static hocket_status run_scatter(const hk_bench_task *t)
{
    return hocket_scatter(t->group, t->send, t->recv, t->counts[0], t->dtype, 0);
}

static hocket_status run_all_to_all(const hk_bench_task *t)
{
    return hocket_all_to_all(t->group, t->send, t->recv, t->counts[0], t->dtype);
}

static hocket_status run_all_to_all_v(const hk_bench_task *t)
{
    return hocket_all_to_all_v(t->group, t->send, t->counts, t->recv, t->mine, t->dtype);
}

static hocket_status run_permute(const hk_bench_task *t)
{
    return hocket_permute(t->group, t->send, t->recv, t->count, t->dtype, t->to);
}

/* There and back between ranks 0 and 1; the others have nothing to do. */
static hocket_status run_send(const hk_bench_task *t)
{
    size_t length = hk_bench_vector_bytes(t), got;
    if (t->rank > 1)
        return HOCKET_OK;
    hocket_status status = HOCKET_OK;
    if (t->rank == 0)
        status = hocket_send_bytes(t->group, 1, TAG, t->send, length);
    if (status == HOCKET_OK)
        status = hocket_recv_into(t->group, 1 - t->rank, TAG, t->recv, length, &got);
    if (status == HOCKET_OK && t->rank == 1)
        status = hocket_send_bytes(t->group, 0, TAG, t->send, length);
    return status;
}

static hocket_status run_barrier(const hk_bench_task *t)
{
    return hocket_barrier(t->group);
}

/* === What they leave in recv ================================================================== */

static bool whole(int i, hk_bench_piece *piece, int source, size_t count)
{
    *piece = (hk_bench_piece){.source = source, .count = count};
    return i == 0;
}

static bool piece_folded(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return whole(i, piece, HK_BENCH_FOLD, t->count);
}

static bool piece_folded_root(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return t->rank == 0 && whole(i, piece, HK_BENCH_FOLD, t->count);
}

static bool piece_of_root(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return whole(i, piece, 0, t->count);
}

static bool piece_of_last(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return whole(i, piece, (t->rank + t->n - 1) % t->n, t->count);
}

static bool piece_of_partner(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return t->rank <= 1 && whole(i, piece, 1 - t->rank, t->count);
}

static bool piece_scattered(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    *piece = (hk_bench_piece){.offset = t->offsets[t->rank], .count = t->counts[t->rank]};
    return i == 0;
}

static bool piece_folded_block(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    bool more = piece_scattered(t, i, piece);
    piece->source = HK_BENCH_FOLD;
    return more;
}

static bool piece_gathered(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    if (i >= t->n)
        return false;
    *piece = (hk_bench_piece){.source = i, .count = t->counts[i]};
    return true;
}

static bool piece_gathered_root(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    return t->rank == 0 && piece_gathered(t, i, piece);
}

static bool piece_exchanged(const hk_bench_task *t, int i, hk_bench_piece *piece)
{
    if (i >= t->n)
        return false;
    piece_scattered(t, 0, piece);
    piece->source = i;
    return true;
}

/* === The table ================================================================================ */

#define NONE HK_BENCH_NONE
#define WHOLE HK_BENCH_WHOLE
#define BLOCK HK_BENCH_BLOCK
#define BLOCKS HK_BENCH_BLOCKS
#define ONCE HK_BENCH_ONCE
#define SHARE HK_BENCH_SHARE
#define TWO_SHARES HK_BENCH_TWO_SHARES

const hk_bench_operation hk_bench_operations[] = {
    {"all_reduce", WHOLE, WHOLE, TWO_SHARES, 1, true, false, run_all_reduce, piece_folded},
    {"all_gather", BLOCK, WHOLE, SHARE, 1, false, false, run_all_gather, piece_gathered},
    {"all_gather_v", BLOCK, WHOLE, SHARE, 1, false, true, run_all_gather_v, piece_gathered},
    {"reduce_scatter", WHOLE, BLOCK, SHARE, 1, true, false, run_reduce_scatter, piece_folded_block},
    {"reduce_scatter_v", WHOLE, BLOCK, SHARE, 1, true, true, run_reduce_scatter_v,
     piece_folded_block},
    {"broadcast", NONE, WHOLE, ONCE, 1, false, false, run_broadcast, piece_of_root},
    {"reduce_to", WHOLE, WHOLE, ONCE, 1, true, false, run_reduce_to, piece_folded_root},
    {"gather", BLOCK, WHOLE, SHARE, 1, false, false, run_gather, piece_gathered_root},
    {"scatter", WHOLE, BLOCK, SHARE, 1, false, false, run_scatter, piece_scattered},
    {"all_to_all", WHOLE, WHOLE, SHARE, 1, false, false, run_all_to_all, piece_exchanged},
    {"all_to_all_v", WHOLE, BLOCKS, SHARE, 1, false, true, run_all_to_all_v, piece_exchanged},
    {"permute", WHOLE, WHOLE, ONCE, 1, false, false, run_permute, piece_of_last},
    {"send", WHOLE, WHOLE, ONCE, 2, false, false, run_send, piece_of_partner},
    {"barrier", NONE, NONE, ONCE, 1, false, false, run_barrier, NULL},
    {.name = NULL},
};

/* === Layout =================================================================================== */

bool hk_bench_task_open(hk_bench_task *task, hocket_group *group)
{
    *task =
        (hk_bench_task){.group = group, .rank = hocket_rank(group), .n = hocket_world_size(group)};
    size_t n = (size_t)task->n;
    task->counts = calloc(n, sizeof *task->counts);
    task->offsets = calloc(n + 1, sizeof *task->offsets);
    task->mine = calloc(n, sizeof *task->mine);
    task->to = calloc(n, sizeof *task->to);
    if (task->counts && task->offsets && task->mine && task->to)
        return true;
    hk_bench_task_close(task);
    return false;
}

void hk_bench_task_close(hk_bench_task *task)
{
    free(task->counts);
    free(task->offsets);
    free(task->mine);
    free(task->to);
    *task = (hk_bench_task){0};
}

void hk_bench_task_shape(hk_bench_task *task, const hk_bench_operation *operation, size_t bytes)
{
    size_t n = (size_t)task->n, count = bytes / hocket_dtype_size(task->dtype);
    bool cut = operation->bus == SHARE;
    size_t shares = !cut ? 1 : operation->uneven ? n * (n + 1) / 2 : n;
    size_t share = count / shares ? count / shares : 1;
    task->operation = operation;
    task->count = cut ? share * shares : share;
    for (int r = 0; r < task->n; r++) {
        task->counts[r] = operation->uneven ? share * ((size_t)r + 1) : share;
        task->offsets[r + 1] = task->offsets[r] + task->counts[r];
        task->to[r] = (r + 1) % task->n;
    }
    for (int r = 0; r < task->n; r++)
        task->mine[r] = task->counts[task->rank];
}

static size_t span_bytes(const hk_bench_task *task, hk_bench_span span)
{
    size_t count = 0;
    switch (span) {
    case HK_BENCH_NONE: break;
    case HK_BENCH_WHOLE: count = task->count; break;
    case HK_BENCH_BLOCK: count = task->counts[task->rank]; break;
    case HK_BENCH_BLOCKS: count = (size_t)task->n * task->counts[task->rank]; break;
    }
    return count * hocket_dtype_size(task->dtype);
}

size_t hk_bench_vector_bytes(const hk_bench_task *task)
{
    return task->operation->recv == NONE ? 0 : span_bytes(task, WHOLE);
}

size_t hk_bench_send_bytes(const hk_bench_task *task)
{
    return span_bytes(task, task->operation->send);
}

size_t hk_bench_recv_bytes(const hk_bench_task *task)
{
    return span_bytes(task, task->operation->recv);
}

double hk_bench_bus_factor(const hk_bench_task *task)
{
    double share = (double)(task->n - 1) / task->n;
    switch (task->operation->bus) {
    case HK_BENCH_ONCE: return 1;
    case HK_BENCH_SHARE: return share;
    case HK_BENCH_TWO_SHARES: return 2 * share;
    }
    return 0;
}
