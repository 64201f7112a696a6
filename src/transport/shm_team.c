/* One group's segment: who makes it, who maps it, what the vtable shows of it. docs/shm.md has the
 * layout and the ways. */
#include "transport/shm_team.h"

#include "transport/peer_memory.h"
#include "transport/shm_ways.h"
#include "transport/state.h"
#include <stdlib.h>
#include <unistd.h>

/* === Opening ================================================================================= */

/* The first member makes the segment and tells the others. A ticket of 0 bytes: it could not. */
static hocket_status share(hk_call *call, hk_segment *segment, bool *mapped)
{
    hk_segment_ticket ticket = {0};
    hk_comm *comm = call->comm;
    hocket_status status = HOCKET_OK;
    if (comm->rank == 0) {
        *mapped =
            hk_segment_create(hk_shm_segment_bytes(comm->size), segment, &ticket) == HOCKET_OK;
        for (int i = 1; i < comm->size && status == HOCKET_OK; i++)
            status = hk_send(call, i, &ticket, sizeof ticket);
        return status;
    }
    status = hk_recv(call, 0, &ticket, sizeof ticket);
    if (status == HOCKET_OK && ticket.bytes == hk_shm_segment_bytes(comm->size))
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

static void close_team(void *handle)
{
    hk_shm *shm = handle;
    hk_regions_fini(&shm->regions);
    hk_segment_detach(&shm->segment);
    free(shm->posted);
    free(shm->phases);
    free(shm->pids);
    free(shm->inputs);
    free(shm);
}

static hk_shm *new_team(const hk_comm *comm)
{
    hk_shm *shm = calloc(1, sizeof *shm);
    size_t n = (size_t)comm->size;
    if (shm == NULL)
        return NULL;
    shm->rank = comm->rank;
    shm->size = comm->size;
    shm->stage_bytes = hk_shm_stage_bytes(comm->size);
    shm->posted = calloc(n, sizeof *shm->posted);
    shm->phases = calloc(n, sizeof *shm->phases);
    shm->pids = calloc(n, sizeof *shm->pids);
    shm->inputs = calloc(n, sizeof *shm->inputs);
    if (shm->posted != NULL && shm->phases != NULL && shm->pids != NULL && shm->inputs != NULL)
        return shm;
    close_team(shm);
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

static void lay_out(hk_shm *shm)
{
    uintptr_t start = (uintptr_t)shm->segment.memory + HK_SEGMENT_HEAD;
    start += HK_APART - start % HK_APART;
    shm->seats = (hk_seat *)start;
    shm->smalls = (uint8_t *)(shm->seats + shm->size);
    shm->slots = shm->smalls + (size_t)shm->size * HK_POSTS * HK_SMALL_BYTES;
    shm->stages = shm->slots + (size_t)shm->size * 2 * HK_SLOT_BYTES;
}

/* What a member posts for the others to try to read: where a word of its memory is. */
typedef struct trial {
    int64_t pid;
    uint64_t at, value;
} trial;

static bool reads(hk_shm *shm)
{
    uint64_t value;
    for (int i = 1; i < shm->size; i++) {
        int member = hk_shm_other(shm, i);
        const trial *there = hk_shm_posted(shm, member, sizeof *there);
        shm->pids[member] = there->pid;
        if (hk_peer_memory_read(there->pid, (const void *)(uintptr_t)there->at, &value,
                                sizeof value) != HOCKET_OK ||
            value != there->value)
            return false;
    }
    return true;
}

/* Everyone tries to read everyone, and all learn whether all could. It is no failure where not. */
static hocket_status try_to_read(hk_shm *shm, hocket_patience *patience)
{
    hk_error before = *hk_error_last();
    uint64_t word = hk_mix((uint64_t)getpid(), (uint64_t)shm->rank);
    trial mine = {.pid = getpid(), .at = (uintptr_t)&word, .value = word};
    hk_peer_memory_permit();
    hocket_status status = hk_shm_post(shm, &mine, sizeof mine, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    if (status != HOCKET_OK)
        return status;
    uint8_t could = reads(shm);
    hk_fail_with(&before);
    status = hk_shm_post(shm, &could, sizeof could, patience);
    if (status == HOCKET_OK)
        status = hk_shm_wait_posts(shm, patience);
    shm->can_read = true;
    for (int i = 0; i < shm->size && status == HOCKET_OK; i++)
        shm->can_read = shm->can_read && *(const uint8_t *)hk_shm_posted(shm, i, sizeof could) != 0;
    return status;
}

static hocket_status open_segment(hk_shm *shm, hocket_patience *patience)
{
    bool could = false;
    hocket_status status = share(patience->call, &shm->segment, &could);
    if (status == HOCKET_OK)
        status = all_could(patience->call, &could);
    hk_segment_settle(&shm->segment);
    if (status == HOCKET_OK && !could)
        status = hk_fail(HOCKET_ERR_UNSUPPORTED, "the ranks cannot map each other's memory");
    if (status != HOCKET_OK)
        return status;
    lay_out(shm);
    status = hk_regions_init(&shm->regions, shm->rank, shm->size, &shm->seats[shm->rank].directory);
    return status == HOCKET_OK ? try_to_read(shm, patience) : status;
}

static hocket_status open_team(void *self, const int *ranks, int count, uint64_t context,
                               hocket_patience *patience, void **handle)
{
    (void)self;
    (void)ranks;
    (void)context;
    if (count == 1 || !on_one_host(patience->call->comm))
        return HOCKET_ERR_UNSUPPORTED;
    hk_shm *shm = new_team(patience->call->comm);
    if (shm == NULL)
        return hk_fail_memory(sizeof *shm, "a group's shared memory");
    hocket_status status = open_segment(shm, patience);
    if (status == HOCKET_OK)
        *handle = shm;
    else
        close_team(shm);
    return status;
}

/* === Memory ================================================================================== */

static hocket_status alloc(void *handle, size_t bytes, void **memory)
{
    hk_shm *shm = handle;
    return hk_regions_alloc(&shm->regions, bytes, memory);
}

static bool dealloc(void *handle, void *memory)
{
    hk_shm *shm = handle;
    return hk_regions_dealloc(&shm->regions, memory);
}

const hocket_collectives hk_shm_collectives = {
    .size = sizeof(hocket_collectives),
    .team_open = open_team,
    .team_close = close_team,
    .all_reduce = hk_shm_all_reduce,
    .all_gather = hk_shm_all_gather,
    .reduce_scatter = hk_shm_reduce_scatter,
    .broadcast = hk_shm_broadcast,
    .barrier = hk_shm_barrier,
    .alloc = alloc,
    .dealloc = dealloc,
};
