#include "transport/shm_seats.h"

#include "transport/state.h"
#include <assert.h>
#include <string.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would not be shared with other processes");

#define STAGES_BYTES_MAX (16u << 20) /* of all members together */
#define STAGE_BYTES_MAX (512u << 10)
#define SPINS 256 /* looks at a line before the wait becomes one of patience */

size_t hk_shm_stage_bytes(int members)
{
    size_t share = STAGES_BYTES_MAX / 2 / (size_t)members;
    size_t size = share < STAGE_BYTES_MAX ? share : STAGE_BYTES_MAX;
    return size - size % HK_LINE;
}

size_t hk_shm_segment_bytes(int members)
{
    size_t each = sizeof(hk_seat) + HK_POSTS * HK_SMALL_BYTES + 2 * HK_SLOT_BYTES +
                  2 * hk_shm_stage_bytes(members);
    return HK_SEGMENT_HEAD + HK_APART + (size_t)members * each;
}

int hk_shm_other(const hk_shm *shm, int i)
{
    return (shm->rank + i) % shm->size;
}

/* === Posts =================================================================================== */

/* Somebody has called something else: the roll call finds out who called what. Not where a member
 * is known to have left: who does not know it yet would take the other way for a disagreement. */
static hocket_status disagree(hocket_patience *patience)
{
    hk_call *call = patience->call;
    hk_endpoint_lock(call->comm->endpoint);
    if (hk_comm_deserter(call->comm->whole, call->what.number) < 0)
        hk_news_roll_call(call->comm, &call->what);
    hk_endpoint_unlock(call->comm->endpoint);
    hocket_status status = HOCKET_OK;
    while (status == HOCKET_OK)
        status = hocket_patience_wait(patience);
    return status;
}

static uint64_t look(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static _Atomic uint64_t *tick_of(const hk_shm *shm, int member, uint32_t operation)
{
    return &shm->seats[member].tick[operation % HK_TICKS].word;
}

static _Atomic uint64_t *post_of(const hk_shm *shm, int member, uint32_t operation)
{
    return &shm->seats[member].post[operation % HK_POSTS].word;
}

static bool has_reached(uint32_t posted, uint32_t operation)
{
    return (int32_t)(posted - operation) >= 0;
}

/* Until this member has posted that operation, or a later one over it; *said is the word. */
static hocket_status wait_word(hk_shm *shm, int member, const _Atomic uint64_t *word,
                               uint32_t operation, hocket_patience *patience, uint64_t *said)
{
    hocket_status status = HOCKET_OK;
    hk_patience_begin(patience, member);
    for (int spins = 0; !has_reached((uint32_t)((*said = look(word)) >> 32), operation); spins++)
        if (spins >= SPINS && (status = hocket_patience_wait(patience)) != HOCKET_OK)
            return status;
    hk_patience_arrived(patience);
    shm->posted[member] = (uint32_t)(*said >> 32);
    return HOCKET_OK;
}

/* Until it has posted this operation. */
static hocket_status wait_for(hk_shm *shm, int member, const _Atomic uint64_t *word,
                              hocket_patience *patience)
{
    uint64_t said;
    hocket_status status = wait_word(shm, member, word, shm->operations, patience, &said);
    if (status == HOCKET_OK && (uint32_t)said != patience->call->tag)
        return disagree(patience);
    return status;
}

/* Until this member has finished what would be overwritten, which is where it has begun a later
 * operation. What it has begun last is worth a look: then the next ones need none. Else half of the
 * lead is waited for, so that not every operation has to look again. */
static hocket_status wait_until_free(hk_shm *shm, int member, uint32_t lead,
                                     hocket_patience *patience)
{
    uint32_t last = shm->operations - 1, needed = shm->operations - (lead + 1) / 2;
    uint64_t said = look(tick_of(shm, member, last));
    if (has_reached((uint32_t)(said >> 32), last)) {
        shm->posted[member] = (uint32_t)(said >> 32);
        return HOCKET_OK;
    }
    return wait_word(shm, member, tick_of(shm, member, needed), needed, patience, &said);
}

/* Begins an operation in which this rank may be so many ahead of the others. */
static hocket_status begin(hk_shm *shm, uint32_t lead, hocket_patience *patience)
{
    uint32_t next = ++shm->operations;
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < shm->size && status == HOCKET_OK; i++)
        if (i != shm->rank && !has_reached(shm->posted[i], next - lead))
            status = wait_until_free(shm, i, lead, patience);
    return status;
}

static uint64_t word_of(const hk_shm *shm, const hocket_patience *patience)
{
    return (uint64_t)shm->operations << 32 | patience->call->tag;
}

/* === Ticks =================================================================================== */

#define LINES_EXPECTED 2 /* fetched before they are looked at */

hocket_status hk_shm_tick(hk_shm *shm, const void *data, size_t bytes, hocket_patience *patience)
{
    hocket_status status = begin(shm, HK_TICKS - 1, patience);
    if (status != HOCKET_OK)
        return status;
    if (bytes > 0)
        memcpy(shm->seats[shm->rank].tick[shm->operations % HK_TICKS].data, data, bytes);
    atomic_store_explicit(tick_of(shm, shm->rank, shm->operations), word_of(shm, patience),
                          memory_order_release);
    return HOCKET_OK;
}

hocket_status hk_shm_wait_tick(hk_shm *shm, int member, void *data, size_t bytes,
                               hocket_patience *patience)
{
    hocket_status status = wait_for(shm, member, tick_of(shm, member, shm->operations), patience);
    if (status != HOCKET_OK)
        return status;
    const hk_tick *ticks = shm->seats[member].tick;
    memcpy(data, ticks[shm->operations % HK_TICKS].data, bytes);
    __builtin_prefetch(
        &ticks[(shm->operations + LINES_EXPECTED * HK_LINE / sizeof *ticks) % HK_TICKS]);
    return HOCKET_OK;
}

/* === Posts =================================================================================== */

/* Where so many bytes of a member's lie in this operation. */
static uint8_t *place(const hk_shm *shm, int member, size_t bytes)
{
    size_t m = (size_t)member;
    if (bytes <= HK_POST_BYTES)
        return shm->seats[member].post[shm->operations % HK_POSTS].data;
    if (bytes <= HK_SMALL_BYTES)
        return shm->smalls + (m * HK_POSTS + shm->operations % HK_POSTS) * HK_SMALL_BYTES;
    return shm->slots + (m * 2 + shm->operations % 2) * HK_SLOT_BYTES;
}

const void *hk_shm_posted(const hk_shm *shm, int member, size_t bytes)
{
    return place(shm, member, bytes);
}

hocket_status hk_shm_post(hk_shm *shm, const void *data, size_t bytes, hocket_patience *patience)
{
    hocket_status status = begin(shm, bytes > HK_SMALL_BYTES ? 1 : HK_POSTS - 1, patience);
    if (status != HOCKET_OK)
        return status;
    if (bytes > 0)
        memcpy(place(shm, shm->rank, bytes), data, bytes);
    uint32_t operation = shm->operations;
    uint64_t word = word_of(shm, patience);
    atomic_store_explicit(post_of(shm, shm->rank, operation), word, memory_order_release);
    atomic_store_explicit(tick_of(shm, shm->rank, operation), word, memory_order_release);
    return HOCKET_OK;
}

hocket_status hk_shm_wait_post(hk_shm *shm, int member, hocket_patience *patience)
{
    return wait_for(shm, member, post_of(shm, member, shm->operations), patience);
}

hocket_status hk_shm_wait_posts(hk_shm *shm, hocket_patience *patience)
{
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++)
        status = hk_shm_wait_post(shm, hk_shm_other(shm, i), patience);
    return status;
}

/* === Phases ================================================================================== */

uint8_t *hk_shm_stage(const hk_shm *shm, int member)
{
    return shm->stages + ((size_t)member * 2 + shm->chunks % 2) * shm->stage_bytes;
}

static uint64_t phase_of(uint64_t chunk, hk_step step)
{
    return 2 * chunk + (uint64_t)step;
}

void hk_shm_say(hk_shm *shm, hk_step step)
{
    atomic_store_explicit(&shm->seats[shm->rank].phase, phase_of(shm->chunks, step),
                          memory_order_release);
}

hocket_status hk_shm_wait_chunk(hk_shm *shm, int member, uint64_t chunk, hk_step step,
                                hocket_patience *patience)
{
    const _Atomic uint64_t *phase = &shm->seats[member].phase;
    uint64_t wanted = phase_of(chunk, step), *seen = &shm->phases[member];
    hocket_status status = HOCKET_OK;
    if (*seen >= wanted)
        return HOCKET_OK;
    hk_patience_begin(patience, member);
    for (int spins = 0; (*seen = atomic_load_explicit(phase, memory_order_acquire)) < wanted;
         spins++)
        if (spins >= SPINS && (status = hocket_patience_wait(patience)) != HOCKET_OK)
            return status;
    return HOCKET_OK;
}

hocket_status hk_shm_wait_step(hk_shm *shm, int member, hk_step step, hocket_patience *patience)
{
    return hk_shm_wait_chunk(shm, member, shm->chunks, step, patience);
}

hocket_status hk_shm_wait_steps(hk_shm *shm, hk_step step, hocket_patience *patience)
{
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++)
        status = hk_shm_wait_step(shm, hk_shm_other(shm, i), step, patience);
    return status;
}

/* Its stage is free when all others are in the chunk before. */
hocket_status hk_shm_next_chunk(hk_shm *shm, hocket_patience *patience)
{
    shm->chunks++;
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++)
        status = hk_shm_wait_chunk(shm, hk_shm_other(shm, i), shm->chunks - 1, HK_READY, patience);
    return status;
}

/* === Failure ================================================================================= */

void hk_shm_give_up(hk_shm *shm)
{
    atomic_store(&shm->seats[shm->rank].given_up, shm->operations);
}

/* In one order with the step that was said before, and so after the reading. */
bool hk_shm_has_given_up(const hk_shm *shm, int member)
{
    return atomic_load(&shm->seats[member].given_up) == shm->operations;
}
