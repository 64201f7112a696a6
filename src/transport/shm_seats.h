/* What lies in a group's shared segment, and how its members take turns there. docs/shm.md has the
 * picture.
 *
 * Two counters that all members advance alike: `operations`, one a call, picks post and small slot
 * [operations % HK_POSTS] and slot [operations % 2]; `chunks`, one a piece of an operation of
 * several steps, picks stage[chunks % 2]. Who has posted operation k has finished k - 1, and whose
 * phase is 2 t + 1 or more has finished chunk t - 1: so what belongs to k - 2, or t - 2, may be
 * overwritten. There are more posts than two for a broadcast's root, which need not wait for those
 * who read: it may be HK_POSTS - 1 operations ahead. */
#ifndef HK_TRANSPORT_SHM_SEATS_H
#define HK_TRANSPORT_SHM_SEATS_H

#include "transport/call.h"
#include "transport/segment.h"
#include "transport/shm_lessons.h"
#include "transport/shm_memory.h"
#include <stdalign.h>
#include <stdatomic.h>

#define HK_LINE 64
#define HK_APART 128              /* processors fetch lines in pairs */
#define HK_TICKS 64               /* that a member has */
#define HK_TICK_BYTES 8           /* that ride beside a tick's word */
#define HK_POSTS 8                /* posts that it has */
#define HK_POST_BYTES 56          /* that ride in a posted line */
#define HK_SMALL_BYTES (4u << 10) /* that lie beside each post */
#define HK_SLOT_BYTES (16u << 10) /* that lie beside every second one */

typedef struct hk_tick {
    _Atomic uint64_t word; /* number of the operation << 32 | fingerprint */
    uint8_t data[HK_TICK_BYTES];
} hk_tick;

typedef struct hk_post {
    alignas(HK_APART) _Atomic uint64_t word; /* as the tick's */
    uint8_t data[HK_POST_BYTES];
} hk_post;

typedef struct hk_seat { /* written by its owner alone */
    alignas(HK_APART) hk_tick tick[HK_TICKS];
    hk_post post[HK_POSTS];
    alignas(HK_APART) _Atomic uint64_t phase;
    _Atomic uint32_t given_up; /* the operation that failed here; 0: none */
    alignas(HK_APART) hk_directory directory;
} hk_seat;

typedef struct hk_shm {
    hk_segment segment;
    int rank, size;
    hk_seat *seats;
    uint8_t *smalls, *slots, *stages;
    size_t stage_bytes;
    bool can_read; /* the others' memory, as they can this rank's */
    uint32_t operations;
    uint64_t chunks;
    uint32_t *posted; /* by member: the latest operation it was seen to have posted */
    uint64_t *phases; /* by member: its phase when last seen */
    int64_t *pids;
    const void **inputs; /* to fold, for the length of a call */
    hk_regions regions;
    hk_lesson lessons[HK_REDUCE_SCATTER + 1][HK_LESSON_LENGTHS]; /* member 0's; by operation */
} hk_shm;

size_t hk_shm_stage_bytes(int members);
size_t hk_shm_segment_bytes(int members);

/* === Ticks and posts: one an operation ========================================================
 *
 * An operation begins with one of the two, and the ranks need not choose the same.
 *
 * A tick is for who reads without being read, or is far ahead: several lie in a line, so that a
 * line that goes to another processor brings more than one. A post has a line of its own, which
 * nobody takes from its owner's hands while it writes the next: for ranks that wait for each other.
 */

/* Says that this rank is in the next operation, with up to HK_TICK_BYTES. */
hocket_status hk_shm_tick(hk_shm *shm, const void *data, size_t bytes, hocket_patience *patience);

/* Until that member has ticked this operation; its data. */
hocket_status hk_shm_wait_tick(hk_shm *shm, int member, void *data, size_t bytes,
                               hocket_patience *patience);

/* As hk_shm_tick, with data that the others can look at until they begin the next: up to
 * HK_SLOT_BYTES. */
hocket_status hk_shm_post(hk_shm *shm, const void *data, size_t bytes, hocket_patience *patience);

/* Until that member, or all, have posted this operation. Where one has called something else the
 * group breaks with MISMATCH. */
hocket_status hk_shm_wait_post(hk_shm *shm, int member, hocket_patience *patience);
hocket_status hk_shm_wait_posts(hk_shm *shm, hocket_patience *patience);

/* What a member has posted in this operation, so many bytes. */
const void *hk_shm_posted(const hk_shm *shm, int member, size_t bytes);

/* === Phases: several an operation ============================================================= */

typedef enum hk_step { HK_READY, HK_DONE } hk_step; /* the two things to say of a chunk */

/* Begins a chunk; its stage is free on return. */
hocket_status hk_shm_next_chunk(hk_shm *shm, hocket_patience *patience);
void hk_shm_say(hk_shm *shm, hk_step step);
hocket_status hk_shm_wait_step(hk_shm *shm, int member, hk_step step, hocket_patience *patience);
hocket_status hk_shm_wait_steps(hk_shm *shm, hk_step step, hocket_patience *patience);

/* The same of another chunk than the present one. */
hocket_status hk_shm_wait_chunk(hk_shm *shm, int member, uint64_t chunk, hk_step step,
                                hocket_patience *patience);

/* === Failure ==================================================================================
 *
 * Who fails has its buffers back at once, while others may still read them, and those need not wait
 * for anything more. So it says that it fails before it returns, and whoever has read the buffers
 * of others asks afterwards, when it has said a step. */
void hk_shm_give_up(hk_shm *shm);
bool hk_shm_has_given_up(const hk_shm *shm, int member); /* this operation */

/* A member's stage of this chunk: stage_bytes. */
uint8_t *hk_shm_stage(const hk_shm *shm, int member);

/* The i-th of the other members, as this rank goes round: not all begin with the same. */
int hk_shm_other(const hk_shm *shm, int i);

#endif
