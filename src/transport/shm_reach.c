#include "transport/shm_reach.h"

#include "core/dtype.h"
#include "transport/peer_memory.h"
#include <assert.h>
#include <string.h>

/* Stays in the second cache between being read and being folded. */
#define PIECE_BYTES (256u << 10)
#define WORD_OF_DEATH_NS (100 * HK_MILLISECOND) /* for the news of who cannot be read any more */

/* Where a buffer is: in its owner's memory, and perhaps in one of its regions too. */
typedef struct place {
    uint64_t address, offset;
} place;

typedef struct note {
    place send, recv;
    uint64_t version, known; /* of its directory; a hash of those it has mapped */
    uint16_t send_region, recv_region;
    uint16_t in_place, may_read; /* by the kernel */
} note;

static_assert(sizeof(note) <= HK_POST_BYTES, "a note rides in a posted line");

static const note *note_of(const hk_shm *shm, int member)
{
    return hk_shm_posted(shm, member, sizeof(note));
}

/* === Finding the way ========================================================================= */

static uint16_t find(hk_shm *shm, const void *buffer, size_t bytes, place *at)
{
    *at = (place){.address = (uintptr_t)buffer};
    if (buffer == NULL)
        return HK_NO_REGION;
    return hk_regions_find(&shm->regions, buffer, bytes, &at->offset);
}

static note make_note(hk_shm *shm, const void *send, size_t send_bytes, const void *recv,
                      size_t recv_bytes, bool may_read)
{
    note mine = {.in_place = send == recv, .may_read = may_read};
    mine.version = hk_regions_version(&shm->regions);
    mine.known = hk_regions_known(&shm->regions);
    mine.send_region = find(shm, send, send_bytes, &mine.send);
    mine.recv_region = find(shm, recv, recv_bytes, &mine.recv);
    return mine;
}

/* Everyone has mapped all that there is. */
static bool all_known(const hk_shm *shm)
{
    uint64_t all = 0;
    for (int i = 0; i < shm->size; i++)
        all += hk_regions_part(i, note_of(shm, i)->version);
    for (int i = 0; i < shm->size; i++)
        if (note_of(shm, i)->known != all)
            return false;
    return true;
}

/* For the next operation: this one goes by what the notes say. Where all is known they may name
 * regions that are gone by now, because their owner has failed: nobody lets go of those yet. */
static void refresh(hk_shm *shm)
{
    if (all_known(shm))
        return;
    for (int i = 1; i < shm->size; i++) {
        int member = hk_shm_other(shm, i);
        hk_regions_refresh(&shm->regions, member, &shm->seats[member].directory);
    }
}

/* Where buffers are not mapped: whoever decides says whether to read them. */
static hk_reach unmapped(const hk_shm *shm, int decides)
{
    return note_of(shm, decides)->may_read && shm->can_read ? HK_REACH_KERNEL : HK_REACH_NONE;
}

/* root -1: everyone's buffers are read. */
static hk_reach find_way(hk_shm *shm, int root)
{
    bool sends = true, recvs = true;
    for (int i = 0; i < shm->size; i++) {
        if (root < 0 || i == root)
            sends = sends && note_of(shm, i)->send_region != HK_NO_REGION;
        recvs = recvs && note_of(shm, i)->recv_region != HK_NO_REGION;
    }
    if (sends && all_known(shm))
        return recvs ? HK_REACH_BOTH : HK_REACH_SENDS;
    return unmapped(shm, root < 0 ? 0 : root);
}

static hocket_status give_up(hk_shm *shm, hocket_status status)
{
    hk_shm_give_up(shm);
    return status;
}

hocket_status hk_reach_begin(hk_shm *shm, const void *send, size_t send_bytes, const void *recv,
                             size_t recv_bytes, bool may_read, hocket_patience *patience,
                             hk_reach *reach, bool *in_place)
{
    note mine = make_note(shm, send, send_bytes, recv, recv_bytes, may_read);
    hocket_status status = hk_shm_post(shm, &mine, sizeof mine, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    if (status != HOCKET_OK)
        return give_up(shm, status);
    *reach = find_way(shm, -1);
    *in_place = false;
    for (int i = 0; i < shm->size; i++)
        *in_place |= note_of(shm, i)->in_place != 0;
    refresh(shm);
    return HOCKET_OK;
}

/* Where the root's buffer is nobody's but its own, the others need not wait for each other. */
hocket_status hk_reach_root(hk_shm *shm, const void *data, size_t bytes, int root, bool may_read,
                            hocket_patience *patience, hk_reach *reach)
{
    const void *send = shm->rank == root ? data : NULL;
    note mine = make_note(shm, send, bytes, NULL, 0, may_read);
    hocket_status status = hk_shm_post(shm, &mine, sizeof mine, patience);
    if (status == HOCKET_OK && shm->rank != root)
        status = hk_shm_wait_post(shm, root, patience);
    if (status != HOCKET_OK)
        return give_up(shm, status);
    if (note_of(shm, root)->send_region == HK_NO_REGION) {
        *reach = unmapped(shm, root);
        return HOCKET_OK;
    }
    status = hk_shm_wait_posts(shm, patience);
    if (status != HOCKET_OK)
        return give_up(shm, status);
    *reach = find_way(shm, root);
    refresh(shm);
    return HOCKET_OK;
}

/* === Reading ================================================================================= */

typedef enum buffer { SEND, RECV } buffer;

static const uint8_t *mapped(const hk_shm *shm, int member, buffer which)
{
    const note *n = note_of(shm, member);
    return which == SEND ? hk_regions_at(&shm->regions, member, n->send_region, n->send.offset)
                         : hk_regions_at(&shm->regions, member, n->recv_region, n->recv.offset);
}

/* Who has died cannot be read either: then the news says who it was. */
static hocket_status unreadable(int member, hocket_patience *patience)
{
    hk_error why = *hk_error_last();
    hk_time until = hk_now() + WORD_OF_DEATH_NS;
    hk_patience_begin(patience, member);
    while (hk_now() < until) {
        hocket_status status = hocket_patience_wait(patience);
        if (status != HOCKET_OK)
            return status;
    }
    return hk_fail_rank(HOCKET_ERR_SYSTEM, member, "the buffer of rank %d: %s", member, why.text);
}

static hocket_status read_by_kernel(const hk_shm *shm, int member, buffer which, size_t offset,
                                    void *to, size_t bytes, hocket_patience *patience)
{
    const note *n = note_of(shm, member);
    uint64_t at = (which == SEND ? n->send : n->recv).address + offset;
    hocket_status status =
        hk_peer_memory_read(shm->pids[member], (const void *)(uintptr_t)at, to, bytes);
    return status == HOCKET_OK ? status : unreadable(member, patience);
}

static hocket_status fetch(const hk_shm *shm, hk_reach reach, int member, buffer which,
                           size_t offset, uint8_t *to, size_t bytes, hocket_patience *patience)
{
    if (bytes == 0)
        return HOCKET_OK;
    if (reach == HK_REACH_KERNEL)
        return read_by_kernel(shm, member, which, offset, to, bytes, patience);
    hk_shm_copy(to, mapped(shm, member, which) + offset, bytes, hk_shm_past_caches(bytes));
    return HOCKET_OK;
}

/* What is read to be folded lies in this rank's stages, which nobody looks at meanwhile. */
static size_t piece_elements(const hk_shm *shm, hk_reach reach, size_t size)
{
    size_t room = 2 * shm->stage_bytes / (size_t)(shm->size - 1);
    size_t piece = reach != HK_REACH_KERNEL || room > PIECE_BYTES ? PIECE_BYTES : room;
    return (piece - piece % HK_LINE) / size;
}

static hocket_status fold_piece(const hk_folding *folding, hk_reach reach, const uint8_t *send,
                                size_t offset, uint8_t *out, size_t count,
                                hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    size_t bytes = count * hk_dtype_size(folding->dtype);
    uint8_t *scratch = shm->stages + (size_t)shm->rank * 2 * shm->stage_bytes;
    hocket_status status = HOCKET_OK;
    shm->inputs[shm->rank] = send + offset;
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++) {
        int member = hk_shm_other(shm, i);
        if (reach == HK_REACH_KERNEL) {
            status = read_by_kernel(shm, member, SEND, offset, scratch, bytes, patience);
            shm->inputs[member] = scratch;
            scratch += bytes + (HK_LINE - bytes % HK_LINE) % HK_LINE;
        } else {
            shm->inputs[member] = mapped(shm, member, SEND) + offset;
        }
    }
    return status == HOCKET_OK ? hk_shm_fold(folding, out, count) : status;
}

/* Whether what was read of that member was its to show: it has not failed meanwhile. */
static hocket_status check_read(const hk_shm *shm, int member, hocket_patience *patience)
{
    if (!hk_shm_has_given_up(shm, member))
        return HOCKET_OK;
    hk_fail(HOCKET_ERR_SYSTEM, "its owner's call failed while it was read");
    return unreadable(member, patience);
}

/* Buffers are the callers' again when all have read what they need, or their call has failed. */
static hocket_status part(hk_shm *shm, hocket_status status, hocket_patience *patience)
{
    if (status == HOCKET_OK) {
        shm->chunks++;
        hk_shm_say(shm, HK_READY);
        status = hk_shm_wait_steps(shm, HK_READY, patience);
    }
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++)
        status = check_read(shm, hk_shm_other(shm, i), patience);
    return status == HOCKET_OK ? status : give_up(shm, status);
}

/* === The collectives ========================================================================= */

/* All pieces of [offset, offset + count) of everyone's send, folded to out. */
static hocket_status fold_all(const hk_folding *folding, hk_reach reach, const uint8_t *send,
                              size_t offset, uint8_t *out, size_t count, hocket_patience *patience)
{
    size_t size = hk_dtype_size(folding->dtype);
    size_t piece = piece_elements(folding->shm, reach, size);
    hocket_status status = HOCKET_OK;
    for (size_t at = 0; at < count && status == HOCKET_OK; at += piece)
        status = fold_piece(folding, reach, send, (offset + at) * size, out + at * size,
                            hk_smaller(piece, count - at), patience);
    return status;
}

/* Each folds its block, and copies the others' as they are folded, piece by piece. In place too: a
 * piece of this rank's vector is overwritten when the one who folds it has read it.
 *
 *     rank 0   fold 0.0   copy 1.0   fold 0.1   copy 1.1      0.1: block 0, piece 1
 *     rank 1   fold 1.0   copy 0.0   fold 1.1   copy 0.1
 */
static hocket_status reduce_blocks(const hk_folding *folding, hk_reach reach, const uint8_t *send,
                                   uint8_t *recv, size_t count, hocket_patience *patience)
{
    hk_shm *shm = folding->shm;
    size_t size = hk_dtype_size(folding->dtype), piece = piece_elements(shm, reach, size);
    hk_cut cut = hk_cut_even(count, shm->size, size);
    hocket_status status = HOCKET_OK;
    for (size_t at = 0; at < cut.each && status == HOCKET_OK; at += piece) {
        shm->chunks++;
        for (int i = 0; i < shm->size && status == HOCKET_OK; i++) {
            int member = hk_shm_other(shm, i);
            size_t all = hk_cut_count(&cut, member),
                   some = at < all ? hk_smaller(piece, all - at) : 0;
            size_t offset = (hk_cut_start(&cut, member) + at) * size;
            if (i == 0 && some > 0)
                status = fold_piece(folding, reach, send, offset, recv + offset, some, patience);
            if (i == 0 && status == HOCKET_OK)
                hk_shm_say(shm, HK_DONE);
            if (i == 0 || some == 0)
                continue;
            status = hk_shm_wait_step(shm, member, HK_DONE, patience);
            if (status == HOCKET_OK)
                status =
                    fetch(shm, reach, member, RECV, offset, recv + offset, some * size, patience);
        }
    }
    return status;
}

/* Two ranks that are not in place need no second step: what one would copy costs as much to fold.
 */
hocket_status hk_reach_all_reduce(const hk_folding *folding, hk_reach reach, bool in_place,
                                  const uint8_t *send, uint8_t *recv, size_t count,
                                  hocket_patience *patience)
{
    bool whole = folding->shm->size == 2 && !in_place && reach != HK_REACH_KERNEL;
    hocket_status status = whole ? fold_all(folding, reach, send, 0, recv, count, patience)
                                 : reduce_blocks(folding, reach, send, recv, count, patience);
    return part(folding->shm, status, patience);
}

hocket_status hk_reach_all_gather(hk_shm *shm, hk_reach reach, uint8_t *recv, size_t bytes,
                                  hocket_patience *patience)
{
    hocket_status status = HOCKET_OK;
    for (int i = 1; i < shm->size && status == HOCKET_OK; i++) {
        int member = hk_shm_other(shm, i);
        status = fetch(shm, reach, member, SEND, 0, recv + (size_t)member * bytes, bytes, patience);
    }
    return part(shm, status, patience);
}

hocket_status hk_reach_reduce_scatter(const hk_folding *folding, hk_reach reach,
                                      const uint8_t *send, uint8_t *recv, size_t count,
                                      hocket_patience *patience)
{
    hocket_status status =
        fold_all(folding, reach, send, (size_t)folding->shm->rank * count, recv, count, patience);
    return part(folding->shm, status, patience);
}

hocket_status hk_reach_broadcast(hk_shm *shm, hk_reach reach, uint8_t *data, size_t bytes, int root,
                                 hocket_patience *patience)
{
    if (shm->rank == root)
        return part(shm, HOCKET_OK, patience);
    hocket_status status = fetch(shm, reach, root, SEND, 0, data, bytes, patience);
    if (status != HOCKET_OK)
        return status;
    shm->chunks++;
    hk_shm_say(shm, HK_READY);
    return check_read(shm, root, patience);
}
