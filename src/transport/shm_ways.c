#include "transport/shm_ways.h"

#include "core/dtype.h"
#include "core/reduce.h"
#include "core/stream.h"
#include "transport/shm_reach.h"
#include <string.h>

#define PAST_CACHES_BYTES (16u << 20) /* results above this do not fit into the caches */
#define BOUNCE_BYTES (8u << 10)       /* folded in the first cache, then written past it */
#define BROADCAST_CHUNK (128u << 10)  /* stays in the second cache of those who share one */

/* === Pieces ================================================================================== */

hk_cut hk_cut_even(size_t count, int n, size_t size)
{
    size_t lane = HK_LINE / size, each = (count + (size_t)n - 1) / (size_t)n;
    return (hk_cut){count, (each + lane - 1) / lane * lane, size};
}

size_t hk_cut_start(const hk_cut *cut, int block)
{
    return hk_smaller(cut->count, cut->each * (size_t)block);
}

size_t hk_cut_count(const hk_cut *cut, int block)
{
    return hk_cut_start(cut, block + 1) - hk_cut_start(cut, block);
}

bool hk_shm_past_caches(size_t bytes)
{
    return bytes > PAST_CACHES_BYTES;
}

void hk_shm_copy(void *to, const void *from, size_t bytes, bool past_caches)
{
    if (bytes == 0 || to == from)
        return;
    if (past_caches)
        hk_copy_stream(to, from, bytes);
    else
        memmove(to, from, bytes);
}

hocket_status hk_shm_fold(const hk_folding *folding, void *out, size_t count)
{
    hk_shm *shm = folding->shm;
    hocket_dtype dtype = folding->dtype;
    if (!folding->past_caches)
        return hk_reduce_fold(out, shm->inputs, shm->size, count, dtype, folding->reduce);
    alignas(HK_LINE) uint8_t bounce[BOUNCE_BYTES];
    size_t size = hk_dtype_size(dtype), piece = sizeof bounce / size;
    uint8_t *to = out;
    hocket_status status = HOCKET_OK;
    for (size_t at = 0; at < count && status == HOCKET_OK; at += piece) {
        size_t some = hk_smaller(piece, count - at);
        status = hk_reduce_fold(bounce, shm->inputs, shm->size, some, dtype, folding->reduce);
        if (status == HOCKET_OK)
            hk_copy_stream(to + at * size, bounce, some * size);
        for (int i = 0; i < shm->size; i++)
            shm->inputs[i] = (const uint8_t *)shm->inputs[i] + some * size;
    }
    return status;
}

static hk_algorithm choose(const hocket_patience *patience, hk_operation operation, size_t bytes,
                           size_t posted)
{
    if (bytes <= HK_POST_BYTES)
        return HK_FLAT;
    hk_algorithm way = hk_comm_choose(patience->call->comm, HK_BY_MEMORY, operation, bytes, false);
    return way == HK_FLAT && posted > HK_SLOT_BYTES ? HK_STAGED : way;
}

/* === Staged or read ========================================================================== */

/* One call of an operation whose way may be learned. */
typedef struct attempt {
    hk_lesson *lesson; /* of member 0, where there is one to learn */
    size_t bytes;
    hk_time began;
} attempt;

static attempt consider(hk_shm *shm, hk_operation operation, hk_algorithm way, size_t bytes)
{
    bool learns = way == HK_LEARNED && shm->rank == 0;
    return (attempt){.lesson = learns ? hk_lesson_about(shm->lessons[operation], bytes) : NULL,
                     .bytes = bytes};
}

/* As hk_reach_begin: finds the way, and learns from when on all are on it. */
static hocket_status set_out(hk_shm *shm, attempt *a, hk_algorithm way, const void *send,
                             size_t send_bytes, const void *recv, size_t recv_bytes,
                             hocket_patience *patience, hk_reach *reach, bool *in_place)
{
    bool may_read = a->lesson != NULL ? hk_lesson_reads(a->lesson) : way == HK_READ;
    hocket_status status = hk_reach_begin(shm, send, send_bytes, recv, recv_bytes, may_read,
                                          patience, reach, in_place);
    if (a->lesson != NULL)
        a->began = hk_now();
    return status;
}

/* What is mapped is read by plain loads, which teaches nothing. */
static hocket_status arrive(const attempt *a, hk_reach reach, hocket_status status)
{
    if (a->lesson != NULL && status == HOCKET_OK && reach <= HK_REACH_KERNEL)
        hk_lesson_learn(a->lesson, reach == HK_REACH_KERNEL, a->bytes, hk_now() - a->began);
    return status;
}

/* === All-reduce ============================================================================== */

static hocket_status reduce_flat(const hk_folding *folding, const void *send, void *recv,
                                 size_t count, hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    size_t bytes = count * hk_dtype_size(folding->dtype);
    hocket_status status = hk_shm_post(shm, send, bytes, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; i < shm->size; i++)
        shm->inputs[i] = i == shm->rank ? send : hk_shm_posted(shm, i, bytes);
    return hk_reduce_fold(recv, shm->inputs, shm->size, count, folding->dtype, folding->reduce);
}

/* What others fold goes into the stage. */
static void stage_others(const hk_shm *shm, const uint8_t *send, const hk_cut *cut)
{
    uint8_t *stage = hk_shm_stage(shm, shm->rank);
    size_t start = hk_cut_start(cut, shm->rank) * cut->size;
    size_t end = start + hk_cut_count(cut, shm->rank) * cut->size;
    hk_shm_copy(stage, send, start, false);
    hk_shm_copy(stage + end, send + end, cut->count * cut->size - end, false);
}

/* The same part of everyone's stage, and of the own vector, to fold. */
static void look_at_stages(const hk_shm *shm, const uint8_t *own, size_t offset)
{
    for (int i = 0; i < shm->size; i++)
        shm->inputs[i] = i == shm->rank ? own : hk_shm_stage(shm, i) + offset;
}

static hocket_status reduce_chunk(const hk_folding *folding, const uint8_t *send, uint8_t *recv,
                                  size_t count, hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    hk_cut cut = hk_cut_even(count, shm->size, hk_dtype_size(folding->dtype));
    size_t start = hk_cut_start(&cut, shm->rank) * cut.size, mine = hk_cut_count(&cut, shm->rank);
    uint8_t *stage = hk_shm_stage(shm, shm->rank);
    stage_others(shm, send, &cut);
    hk_shm_say(shm, HK_READY);
    hocket_status status = hk_shm_wait_steps(shm, HK_READY, patience);
    look_at_stages(shm, send + start, start);
    if (status == HOCKET_OK && mine > 0)
        status = hk_reduce_fold(stage + start, shm->inputs, shm->size, mine, folding->dtype,
                                folding->reduce);
    if (status != HOCKET_OK)
        return status;
    hk_shm_say(shm, HK_DONE);
    for (int i = 0; i < shm->size && status == HOCKET_OK; i++) {
        int member = hk_shm_other(shm, i);
        start = hk_cut_start(&cut, member) * cut.size;
        if (i > 0)
            status = hk_shm_wait_step(shm, member, HK_DONE, patience);
        if (status == HOCKET_OK)
            hk_shm_copy(recv + start, hk_shm_stage(shm, member) + start,
                        hk_cut_count(&cut, member) * cut.size, folding->past_caches);
    }
    return status;
}

hocket_status hk_shm_all_reduce(void *team, const void *send, void *recv, size_t count,
                                hocket_dtype dtype, hocket_reduce reduce, hocket_patience *patience)
{
    hk_shm *shm = team;
    size_t size = hk_dtype_size(dtype), bytes = count * size, room = shm->stage_bytes / size;
    hk_folding folding = {shm, dtype, reduce, hk_shm_past_caches(bytes)};
    hk_algorithm way = choose(patience, HK_ALL_REDUCE, bytes, bytes);
    if (way == HK_FLAT)
        return reduce_flat(&folding, send, recv, count, patience);
    hk_reach reach;
    bool in_place;
    attempt a = consider(shm, HK_ALL_REDUCE, way, bytes);
    hocket_status status =
        set_out(shm, &a, way, send, bytes, recv, bytes, patience, &reach, &in_place);
    if (status == HOCKET_OK && reach == HK_REACH_SENDS && (shm->size > 2 || in_place))
        reach = HK_REACH_NONE;
    if (status == HOCKET_OK && reach != HK_REACH_NONE)
        return arrive(&a, reach,
                      hk_reach_all_reduce(&folding, reach, in_place, send, recv, count, patience));
    for (size_t at = 0; at < count && status == HOCKET_OK; at += room) {
        status = hk_shm_next_chunk(shm, patience);
        if (status == HOCKET_OK)
            status =
                reduce_chunk(&folding, (const uint8_t *)send + at * size,
                             (uint8_t *)recv + at * size, hk_smaller(room, count - at), patience);
    }
    return arrive(&a, reach, status);
}

/* === All-gather ============================================================================== */

static hocket_status gather_flat(hk_shm *shm, const void *send, uint8_t *recv, size_t bytes,
                                 hocket_patience *patience)
{
    hocket_status status = hk_shm_post(shm, send, bytes, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    for (int i = 0; i < shm->size && status == HOCKET_OK; i++)
        memcpy(recv + (size_t)i * bytes, hk_shm_posted(shm, i, bytes), bytes);
    return status;
}

/* The own block is copied while its chunk is in the cache, and the others can go on. */
static hocket_status gather_chunk(hk_shm *shm, const uint8_t *send, uint8_t *recv, size_t block,
                                  size_t bytes, bool past_caches, hocket_patience *patience)
{
    hocket_status status = hk_shm_next_chunk(shm, patience);
    if (status != HOCKET_OK)
        return status;
    hk_shm_copy(hk_shm_stage(shm, shm->rank), send, bytes, false);
    hk_shm_say(shm, HK_READY);
    hk_shm_copy(recv + (size_t)shm->rank * block, send, bytes, past_caches);
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++) {
        int member = hk_shm_other(shm, i);
        status = hk_shm_wait_step(shm, member, HK_READY, patience);
        if (status == HOCKET_OK)
            hk_shm_copy(recv + (size_t)member * block, hk_shm_stage(shm, member), bytes,
                        past_caches);
    }
    return status;
}

hocket_status hk_shm_all_gather(void *team, const void *send, void *recv, size_t send_count,
                                hocket_dtype dtype, hocket_patience *patience)
{
    hk_shm *shm = team;
    size_t bytes = send_count * hk_dtype_size(dtype), all = bytes * (size_t)shm->size;
    hk_algorithm way = choose(patience, HK_ALL_GATHER, all, bytes);
    if (way == HK_FLAT)
        return gather_flat(shm, send, recv, bytes, patience);
    hk_reach reach;
    bool in_place, past_caches = hk_shm_past_caches(all);
    attempt a = consider(shm, HK_ALL_GATHER, way, all);
    hocket_status status = set_out(shm, &a, way, send, bytes, NULL, 0, patience, &reach, &in_place);
    if (status == HOCKET_OK && reach != HK_REACH_NONE) {
        hk_shm_copy((uint8_t *)recv + (size_t)shm->rank * bytes, send, bytes, past_caches);
        return arrive(&a, reach, hk_reach_all_gather(shm, reach, recv, bytes, patience));
    }
    for (size_t at = 0; at < bytes && status == HOCKET_OK; at += shm->stage_bytes)
        status = gather_chunk(shm, (const uint8_t *)send + at, (uint8_t *)recv + at, bytes,
                              hk_smaller(shm->stage_bytes, bytes - at), past_caches, patience);
    return arrive(&a, reach, status);
}

/* === Reduce-scatter ========================================================================== */

static hocket_status scatter_flat(const hk_folding *folding, const uint8_t *send, void *recv,
                                  size_t count, hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    size_t block = count * hk_dtype_size(folding->dtype), all = block * (size_t)shm->size;
    size_t offset = (size_t)shm->rank * block;
    hocket_status status = hk_shm_post(shm, send, all, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; i < shm->size; i++)
        shm->inputs[i] =
            i == shm->rank ? send + offset : (const uint8_t *)hk_shm_posted(shm, i, all) + offset;
    return hk_reduce_fold(recv, shm->inputs, shm->size, count, folding->dtype, folding->reduce);
}

/* Each block's part of a chunk has its own place in the stage. */
static hocket_status scatter_chunk(const hk_folding *folding, const uint8_t *send, uint8_t *recv,
                                   size_t block, size_t count, size_t place,
                                   hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    size_t bytes = count * hk_dtype_size(folding->dtype);
    hocket_status status = hk_shm_next_chunk(shm, patience);
    if (status != HOCKET_OK)
        return status;
    uint8_t *stage = hk_shm_stage(shm, shm->rank);
    for (int i = 0; i < shm->size; i++)
        if (i != shm->rank)
            hk_shm_copy(stage + (size_t)i * place, send + (size_t)i * block, bytes, false);
    hk_shm_say(shm, HK_READY);
    status = hk_shm_wait_steps(shm, HK_READY, patience);
    look_at_stages(shm, send + (size_t)shm->rank * block, (size_t)shm->rank * place);
    return status == HOCKET_OK ? hk_shm_fold(folding, recv, count) : status;
}

hocket_status hk_shm_reduce_scatter(void *team, const void *send, void *recv, size_t recv_count,
                                    hocket_dtype dtype, hocket_reduce reduce,
                                    hocket_patience *patience)
{
    hk_shm *shm = team;
    size_t size = hk_dtype_size(dtype), block = recv_count * size, all = block * (size_t)shm->size;
    size_t place = shm->stage_bytes / (size_t)shm->size, room = (place - place % HK_LINE) / size;
    hk_folding folding = {shm, dtype, reduce, hk_shm_past_caches(block)};
    if (room == 0)
        return HOCKET_ERR_UNSUPPORTED; /* some 360 members have no stage to share */
    place = room * size;
    hk_algorithm way = choose(patience, HK_REDUCE_SCATTER, all, all);
    if (way == HK_FLAT)
        return scatter_flat(&folding, send, recv, recv_count, patience);
    hk_reach reach;
    bool in_place;
    attempt a = consider(shm, HK_REDUCE_SCATTER, way, all);
    hocket_status status = set_out(shm, &a, way, send, all, NULL, 0, patience, &reach, &in_place);
    if (status == HOCKET_OK && reach != HK_REACH_NONE)
        return arrive(&a, reach,
                      hk_reach_reduce_scatter(&folding, reach, send, recv, recv_count, patience));
    for (size_t at = 0; at < recv_count && status == HOCKET_OK; at += room)
        status =
            scatter_chunk(&folding, (const uint8_t *)send + at * size, (uint8_t *)recv + at * size,
                          block, hk_smaller(room, recv_count - at), place, patience);
    return arrive(&a, reach, status);
}

/* === Broadcast and barrier =================================================================== */

static hocket_status broadcast_flat(hk_shm *shm, void *data, size_t bytes, int root,
                                    hocket_patience *patience)
{
    bool ticks = bytes <= HK_TICK_BYTES;
    if (shm->rank == root)
        return (ticks ? hk_shm_tick : hk_shm_post)(shm, data, bytes, patience);
    hocket_status status = hk_shm_tick(shm, NULL, 0, patience);
    if (status == HOCKET_OK && ticks)
        return hk_shm_wait_tick(shm, root, data, bytes, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_post(shm, root, patience);
    if (status == HOCKET_OK)
        memcpy(data, hk_shm_posted(shm, root, bytes), bytes);
    return status;
}

/* The root runs ahead of the others by a chunk at most: its stage holds it. */
static hocket_status broadcast_chunk(hk_shm *shm, uint8_t *part, size_t bytes, int root,
                                     bool past_caches, hocket_patience *patience)
{
    bool is_root = shm->rank == root;
    hocket_status status = HOCKET_OK;
    if (!is_root)
        shm->chunks++;
    else if ((status = hk_shm_next_chunk(shm, patience)) == HOCKET_OK)
        hk_shm_copy(hk_shm_stage(shm, root), part, bytes, false);
    if (status == HOCKET_OK)
        hk_shm_say(shm, HK_READY);
    if (status == HOCKET_OK && !is_root)
        status = hk_shm_wait_step(shm, root, HK_READY, patience);
    if (status == HOCKET_OK && !is_root)
        hk_shm_copy(part, hk_shm_stage(shm, root), bytes, past_caches);
    return status;
}

hocket_status hk_shm_broadcast(void *team, void *data, size_t count, hocket_dtype dtype, int root,
                               hocket_patience *patience)
{
    hk_shm *shm = team;
    size_t bytes = count * hk_dtype_size(dtype);
    hk_algorithm way = choose(patience, HK_BROADCAST, bytes, bytes);
    if (way == HK_FLAT)
        return broadcast_flat(shm, data, bytes, root, patience);
    hk_reach reach;
    hocket_status status = hk_reach_root(shm, data, bytes, root, way == HK_READ, patience, &reach);
    if (status == HOCKET_OK && reach != HK_REACH_NONE)
        return hk_reach_broadcast(shm, reach, data, bytes, root, patience);
    size_t chunk = hk_smaller(shm->stage_bytes, BROADCAST_CHUNK);
    for (size_t at = 0; at < bytes && status == HOCKET_OK; at += chunk)
        status = broadcast_chunk(shm, (uint8_t *)data + at, hk_smaller(chunk, bytes - at), root,
                                 hk_shm_past_caches(bytes), patience);
    return status;
}

hocket_status hk_shm_barrier(void *team, hocket_patience *patience)
{
    hocket_status status = hk_shm_post(team, NULL, 0, patience);
    return status == HOCKET_OK ? hk_shm_wait_posts(team, patience) : status;
}
