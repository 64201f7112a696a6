/* Collectives in shared memory. docs/shm.md has the layout and the ways.
 *
 * Two counters that all members advance alike: `operations`, one a call, picks post[operations %
 * 2]; `chunks`, one a staged piece, picks stage[chunks % 2]. Who has posted operation k has
 * finished k - 1, and whose phase is 2 t + 1 or more has finished chunk t - 1: so what belongs to k
 * - 2, or t - 2, may be overwritten. */
#include "transport/shm_team.h"

#include "core/dtype.h"
#include "core/reduce.h"
#include "transport/segment.h"
#include "transport/state.h"
#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would not be shared with other processes");

#define LINE 64
#define INLINE_BYTES 56              /* data that rides in a posted line */
#define STAGES_BYTES_MAX (16u << 20) /* of all members together */
#define STAGE_BYTES_MAX (512u << 10)
#define FLAT_BYTES (8u << 10) /* of the others: up to here everyone folds everything */

typedef struct line {
    alignas(LINE) _Atomic uint64_t word; /* number of the operation << 32 | fingerprint */
    uint8_t data[INLINE_BYTES];
} line;

typedef struct seat { /* written by its owner alone */
    line post[2];
    alignas(LINE) _Atomic uint64_t phase;
} seat;

typedef struct team {
    hk_segment segment;
    int rank, size;
    seat *seats;
    uint8_t *stages;
    size_t stage_bytes;
    uint32_t operations;
    uint64_t chunks;
    uint32_t *posted; /* by member: the operation it was last seen to have posted */
    uint64_t *phases; /* by member: its phase when last seen */
    const void **inputs;
} team;

/* === Opening ================================================================================= */

static size_t stage_size(int members)
{
    size_t share = STAGES_BYTES_MAX / 2 / (size_t)members;
    size_t size = share < STAGE_BYTES_MAX ? share : STAGE_BYTES_MAX;
    return size - size % LINE;
}

static size_t segment_size(int members)
{
    size_t n = (size_t)members;
    return HK_SEGMENT_HEAD + n * sizeof(seat) + n * 2 * stage_size(members);
}

/* The first member makes the segment and tells the others. A ticket of 0 bytes: it could not. */
static hocket_status share(hk_call *call, hk_segment *segment, bool *mapped)
{
    hk_segment_ticket ticket = {0};
    hk_comm *comm = call->comm;
    hocket_status status = HOCKET_OK;
    if (comm->rank == 0) {
        *mapped = hk_segment_create(segment_size(comm->size), segment, &ticket) == HOCKET_OK;
        for (int i = 1; i < comm->size && status == HOCKET_OK; i++)
            status = hk_send(call, i, &ticket, sizeof ticket);
        return status;
    }
    status = hk_recv(call, 0, &ticket, sizeof ticket);
    if (status == HOCKET_OK && ticket.bytes == segment_size(comm->size))
        *mapped = hk_segment_attach(&ticket, segment) == HOCKET_OK;
    return status;
}

/* Whether everyone could. */
static hocket_status all_could(hk_call *call, bool *could)
{
    hk_comm *comm = call->comm;
    uint8_t mine = *could, all = mine, other;
    hocket_status status = HOCKET_OK;
    if (comm->rank != 0) {
        status = hk_send(call, 0, &mine, 1);
        if (status == HOCKET_OK)
            status = hk_recv(call, 0, &all, 1);
    }
    for (int i = 1; i < comm->size && comm->rank == 0 && status == HOCKET_OK; i++) {
        status = hk_recv(call, i, &other, 1);
        all = all && other;
    }
    for (int i = 1; i < comm->size && comm->rank == 0 && status == HOCKET_OK; i++)
        status = hk_send(call, i, &all, 1);
    *could = all;
    return status;
}

static void team_close(void *handle)
{
    team *t = handle;
    hk_segment_detach(&t->segment);
    free(t->posted);
    free(t->phases);
    free(t->inputs);
    free(t);
}

static team *new_team(const hk_comm *comm)
{
    team *t = calloc(1, sizeof *t);
    size_t n = (size_t)comm->size;
    if (t == NULL)
        return NULL;
    t->rank = comm->rank;
    t->size = comm->size;
    t->stage_bytes = stage_size(comm->size);
    t->posted = calloc(n, sizeof *t->posted);
    t->phases = calloc(n, sizeof *t->phases);
    t->inputs = calloc(n, sizeof *t->inputs);
    if (t->posted != NULL && t->phases != NULL && t->inputs != NULL)
        return t;
    team_close(t);
    return NULL;
}

static bool on_one_host(const hk_comm *comm)
{
    const hocket_transport *transport = hk_endpoint_transport(comm->endpoint);
    void *self = hk_endpoint_self(comm->endpoint);
    for (int i = 1; i < comm->size && transport->host_of != NULL; i++)
        if (transport->host_of(self, comm->ranks[i]) != transport->host_of(self, comm->ranks[0]))
            return false;
    return true;
}

static hocket_status team_open(void *self, const int *ranks, int count, uint64_t context,
                               hocket_patience *patience, void **handle)
{
    (void)self;
    (void)ranks;
    (void)context;
    hk_call *call = patience->call;
    if (count == 1 || !on_one_host(call->comm))
        return HOCKET_ERR_UNSUPPORTED;
    team *t = new_team(call->comm);
    bool could = false;
    hocket_status status = HOCKET_OK;
    if (t == NULL)
        return hk_fail_memory(sizeof *t, "a group's shared memory");
    status = share(call, &t->segment, &could);
    if (status == HOCKET_OK)
        status = all_could(call, &could);
    hk_segment_settle(&t->segment);
    if (status == HOCKET_OK && !could)
        status = hk_fail(HOCKET_ERR_UNSUPPORTED, "the ranks cannot map each other's memory");
    if (status != HOCKET_OK) {
        team_close(t);
        return status;
    }
    t->seats = (seat *)((uint8_t *)t->segment.memory + HK_SEGMENT_HEAD);
    t->stages = (uint8_t *)(t->seats + count);
    *handle = t;
    return HOCKET_OK;
}

/* === Waiting ================================================================================= */

/* Somebody has called something else: the roll call finds out who called what. */
static hocket_status disagree(hocket_patience *patience)
{
    hk_call *call = patience->call;
    hk_endpoint_lock(call->comm->endpoint);
    hk_news_roll_call(call->comm, &call->what);
    hk_endpoint_unlock(call->comm->endpoint);
    hocket_status status = HOCKET_OK;
    while (status == HOCKET_OK)
        status = hocket_patience_wait(patience);
    return status;
}

/* Until this member has posted that operation; *word is what it said. */
static hocket_status wait_word(team *t, int member, uint32_t operation, hocket_patience *patience,
                               uint64_t *word)
{
    line *post = &t->seats[member].post[operation % 2];
    hocket_status status = HOCKET_OK;
    uint64_t there;
    hk_patience_begin(patience, member);
    while ((uint32_t)((there = atomic_load_explicit(&post->word, memory_order_acquire)) >> 32) !=
           operation)
        if ((status = hocket_patience_wait(patience)) != HOCKET_OK)
            return status;
    t->posted[member] = operation;
    if (word != NULL)
        *word = there;
    return HOCKET_OK;
}

/* Until this member is in the operation that this rank is in; *at is its line. */
static hocket_status wait_post(team *t, int member, hocket_patience *patience, const line **at)
{
    uint64_t word;
    hocket_status status = wait_word(t, member, t->operations, patience, &word);
    if (status == HOCKET_OK && (uint32_t)word != patience->call->tag)
        return disagree(patience);
    *at = &t->seats[member].post[t->operations % 2];
    return status;
}

static hocket_status wait_posts(team *t, hocket_patience *patience)
{
    const line *at;
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < t->size && status == HOCKET_OK; i++)
        status = wait_post(t, (t->rank + i) % t->size, patience, &at);
    return status;
}

/* Says that this rank is in the next operation. The line is free when all others have posted the
 * one before. */
static hocket_status post(team *t, const void *data, size_t bytes, hocket_patience *patience)
{
    uint32_t last = t->operations, next = ++t->operations;
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < t->size && status == HOCKET_OK; i++)
        if (i != t->rank && t->posted[i] != last)
            status = wait_word(t, i, last, patience, NULL);
    if (status != HOCKET_OK)
        return status;
    line *mine = &t->seats[t->rank].post[next % 2];
    if (bytes > 0)
        memcpy(mine->data, data, bytes);
    atomic_store_explicit(&mine->word, (uint64_t)next << 32 | patience->call->tag,
                          memory_order_release);
    return HOCKET_OK;
}

/* === Staging ================================================================================= */

static uint8_t *stage_of(const team *t, int member)
{
    return t->stages + ((size_t)member * 2 + t->chunks % 2) * t->stage_bytes;
}

enum { STAGED, FOLDED }; /* the two things to say of a chunk */

static uint64_t phase_of(uint64_t chunk, int what)
{
    return 2 * chunk + (uint64_t)what;
}

static void say(team *t, int what)
{
    atomic_store_explicit(&t->seats[t->rank].phase, phase_of(t->chunks, what),
                          memory_order_release);
}

static hocket_status wait_phase(team *t, int member, uint64_t phase, hocket_patience *patience)
{
    hocket_status status = HOCKET_OK;
    if (t->phases[member] >= phase)
        return HOCKET_OK;
    hk_patience_begin(patience, member);
    while ((t->phases[member] =
                atomic_load_explicit(&t->seats[member].phase, memory_order_acquire)) < phase)
        if ((status = hocket_patience_wait(patience)) != HOCKET_OK)
            return status;
    return HOCKET_OK;
}

static hocket_status wait_phases(team *t, uint64_t phase, hocket_patience *patience)
{
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < t->size && status == HOCKET_OK; i++)
        status = wait_phase(t, (t->rank + i) % t->size, phase, patience);
    return status;
}

/* The next chunk's stage is free when all others are in the chunk before. */
static hocket_status next_chunk(team *t, hocket_patience *patience)
{
    t->chunks++;
    return wait_phases(t, phase_of(t->chunks - 1, STAGED), patience);
}

static void copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0 && to != from)
        memmove(to, from, bytes);
}

/* The same part of everyone's stage, and of the own vector, to fold. */
static hocket_status fold(team *t, void *out, const void *own, size_t offset, size_t count,
                          hocket_dtype dtype, hocket_reduce reduce)
{
    for (int i = 0; i < t->size; i++)
        t->inputs[i] = i == t->rank ? own : stage_of(t, i) + offset;
    return hk_reduce_fold(out, t->inputs, t->size, count, dtype, reduce);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* === All-reduce ============================================================================== */

static hocket_status reduce_inline(team *t, const void *send, void *recv, size_t count,
                                   hocket_dtype dtype, hocket_reduce reduce,
                                   hocket_patience *patience)
{
    hocket_status status = post(t, send, count * hk_dtype_size(dtype), patience);
    if (status == HOCKET_OK)
        status = wait_posts(t, patience);
    if (status != HOCKET_OK)
        return status;
    for (int i = 0; i < t->size; i++)
        t->inputs[i] = t->seats[i].post[t->operations % 2].data;
    return hk_reduce_fold(recv, t->inputs, t->size, count, dtype, reduce);
}

static hocket_status reduce_flat(team *t, const void *send, void *recv, size_t count,
                                 hocket_dtype dtype, hocket_reduce reduce,
                                 hocket_patience *patience)
{
    hocket_status status = next_chunk(t, patience);
    if (status != HOCKET_OK)
        return status;
    copy(stage_of(t, t->rank), send, count * hk_dtype_size(dtype));
    say(t, STAGED);
    status = wait_posts(t, patience);
    if (status == HOCKET_OK)
        status = wait_phases(t, phase_of(t->chunks, STAGED), patience);
    return status == HOCKET_OK ? fold(t, recv, send, 0, count, dtype, reduce) : status;
}

/* A chunk in n blocks that begin on cache lines. */
typedef struct blocks {
    size_t count, each, size;
} blocks;

static blocks cut(size_t count, int n, size_t size)
{
    size_t lane = LINE / size, each = (count + (size_t)n - 1) / (size_t)n;
    return (blocks){count, (each + lane - 1) / lane * lane, size};
}

static size_t block_start(const blocks *b, int block)
{
    return smaller(b->count, b->each * (size_t)block);
}

static size_t block_count(const blocks *b, int block)
{
    return block_start(b, block + 1) - block_start(b, block);
}

/* What others fold goes into the stage. */
static void stage_others(team *t, const uint8_t *send, const blocks *b)
{
    uint8_t *stage = stage_of(t, t->rank);
    size_t start = block_start(b, t->rank) * b->size;
    size_t end = start + block_count(b, t->rank) * b->size;
    copy(stage, send, start);
    copy(stage + end, send + end, b->count * b->size - end);
}

static hocket_status reduce_chunk(team *t, const uint8_t *send, uint8_t *recv, size_t count,
                                  hocket_dtype dtype, hocket_reduce reduce,
                                  hocket_patience *patience)
{
    blocks b = cut(count, t->size, hk_dtype_size(dtype));
    size_t start = block_start(&b, t->rank) * b.size, mine = block_count(&b, t->rank);
    stage_others(t, send, &b);
    say(t, STAGED);
    hocket_status status = wait_phases(t, phase_of(t->chunks, STAGED), patience);
    if (status == HOCKET_OK && mine > 0)
        status = fold(t, recv + start, send + start, start, mine, dtype, reduce);
    if (status != HOCKET_OK)
        return status;
    copy(stage_of(t, t->rank) + start, recv + start, mine * b.size);
    say(t, FOLDED);
    for (int i = 1; i < t->size && status == HOCKET_OK; i++) {
        int member = (t->rank + i) % t->size;
        start = block_start(&b, member) * b.size;
        status = wait_phase(t, member, phase_of(t->chunks, FOLDED), patience);
        if (status == HOCKET_OK)
            copy(recv + start, stage_of(t, member) + start, block_count(&b, member) * b.size);
    }
    return status;
}

static hocket_status shm_all_reduce(void *handle, const void *send, void *recv, size_t count,
                                    hocket_dtype dtype, hocket_reduce reduce,
                                    hocket_patience *patience)
{
    team *t = handle;
    size_t size = hk_dtype_size(dtype), room = t->stage_bytes / size;
    if (count * size <= INLINE_BYTES)
        return reduce_inline(t, send, recv, count, dtype, reduce, patience);
    hocket_status status = post(t, NULL, 0, patience);
    size_t foreign = count * size * (size_t)(t->size - 1);
    if (status == HOCKET_OK && foreign <= FLAT_BYTES && count * size <= t->stage_bytes)
        return reduce_flat(t, send, recv, count, dtype, reduce, patience);
    if (status == HOCKET_OK)
        status = wait_posts(t, patience);
    for (size_t at = 0; at < count && status == HOCKET_OK; at += room) {
        status = next_chunk(t, patience);
        if (status == HOCKET_OK)
            status = reduce_chunk(t, (const uint8_t *)send + at * size, (uint8_t *)recv + at * size,
                                  smaller(room, count - at), dtype, reduce, patience);
    }
    return status;
}

/* === The others ============================================================================== */

static hocket_status gather_inline(team *t, const void *send, uint8_t *recv, size_t bytes,
                                   hocket_patience *patience)
{
    hocket_status status = post(t, send, bytes, patience);
    if (status == HOCKET_OK)
        status = wait_posts(t, patience);
    for (int i = 0; i < t->size && status == HOCKET_OK; i++)
        memcpy(recv + (size_t)i * bytes, t->seats[i].post[t->operations % 2].data, bytes);
    return status;
}

static hocket_status shm_all_gather(void *handle, const void *send, void *recv, size_t send_count,
                                    hocket_dtype dtype, hocket_patience *patience)
{
    team *t = handle;
    size_t bytes = send_count * hk_dtype_size(dtype);
    if (bytes <= INLINE_BYTES)
        return gather_inline(t, send, recv, bytes, patience);
    uint8_t *own = (uint8_t *)recv + (size_t)t->rank * bytes;
    hocket_status status = post(t, NULL, 0, patience);
    if (status == HOCKET_OK)
        status = wait_posts(t, patience);
    copy(own, send, bytes);
    for (size_t at = 0; at < bytes && status == HOCKET_OK; at += t->stage_bytes) {
        size_t part = smaller(t->stage_bytes, bytes - at);
        if ((status = next_chunk(t, patience)) != HOCKET_OK)
            break;
        copy(stage_of(t, t->rank), own + at, part);
        say(t, STAGED);
        for (int i = 1; i < t->size && status == HOCKET_OK; i++) {
            int member = (t->rank + i) % t->size;
            status = wait_phase(t, member, phase_of(t->chunks, STAGED), patience);
            if (status == HOCKET_OK)
                copy((uint8_t *)recv + (size_t)member * bytes + at, stage_of(t, member), part);
        }
    }
    return status;
}

/* Each block's part of a chunk has its own place in the stage. */
static hocket_status shm_reduce_scatter(void *handle, const void *send, void *recv,
                                        size_t recv_count, hocket_dtype dtype, hocket_reduce reduce,
                                        hocket_patience *patience)
{
    team *t = handle;
    size_t size = hk_dtype_size(dtype), block = recv_count * size;
    size_t place = t->stage_bytes / (size_t)t->size, room = (place - place % LINE) / size;
    const uint8_t *from = send;
    uint8_t *to = recv;
    if (room == 0)
        return HOCKET_ERR_UNSUPPORTED; /* some 360 members have no stage to share */
    place = room * size;
    hocket_status status = post(t, NULL, 0, patience);
    if (status == HOCKET_OK)
        status = wait_posts(t, patience);
    for (size_t at = 0; at < recv_count && status == HOCKET_OK; at += room) {
        size_t count = smaller(room, recv_count - at);
        if ((status = next_chunk(t, patience)) != HOCKET_OK)
            break;
        for (int i = 0; i < t->size; i++)
            if (i != t->rank)
                copy(stage_of(t, t->rank) + (size_t)i * place, from + (size_t)i * block + at * size,
                     count * size);
        say(t, STAGED);
        status = wait_phases(t, phase_of(t->chunks, STAGED), patience);
        if (status == HOCKET_OK)
            status = fold(t, to + at * size, from + (size_t)t->rank * block + at * size,
                          (size_t)t->rank * place, count, dtype, reduce);
    }
    return status;
}

/* The root runs ahead of the others by a chunk at most: next_chunk holds it. */
static hocket_status shm_broadcast(void *handle, void *data, size_t count, hocket_dtype dtype,
                                   int root, hocket_patience *patience)
{
    team *t = handle;
    size_t bytes = count * hk_dtype_size(dtype);
    bool is_root = t->rank == root, rides = bytes <= INLINE_BYTES;
    const line *at_root;
    hocket_status status = post(t, data, is_root && rides ? bytes : 0, patience);
    if (status == HOCKET_OK && !is_root)
        status = wait_post(t, root, patience, &at_root);
    if (status == HOCKET_OK && !is_root && rides)
        memcpy(data, at_root->data, bytes);
    for (size_t at = 0; at < bytes && !rides && status == HOCKET_OK; at += t->stage_bytes) {
        uint8_t *part = (uint8_t *)data + at;
        size_t length = smaller(t->stage_bytes, bytes - at);
        if (is_root && (status = next_chunk(t, patience)) == HOCKET_OK)
            copy(stage_of(t, root), part, length);
        else if (!is_root)
            t->chunks++;
        if (status == HOCKET_OK)
            say(t, STAGED);
        if (status == HOCKET_OK && !is_root)
            status = wait_phase(t, root, phase_of(t->chunks, STAGED), patience);
        if (status == HOCKET_OK && !is_root)
            copy(part, stage_of(t, root), length);
    }
    return status;
}

static hocket_status shm_barrier(void *handle, hocket_patience *patience)
{
    team *t = handle;
    hocket_status status = post(t, NULL, 0, patience);
    return status == HOCKET_OK ? wait_posts(t, patience) : status;
}

const hocket_collectives hk_shm_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = team_open,
    .team_close = team_close,
    .all_reduce = shm_all_reduce,
    .all_gather = shm_all_gather,
    .reduce_scatter = shm_reduce_scatter,
    .broadcast = shm_broadcast,
    .barrier = shm_barrier,
};
