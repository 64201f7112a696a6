#include "shm_help.h"

#include "core/reduce.h"
#include "group/group.h"
#include "transport/choices.h"
#include "transport/state.h"

#include <dirent.h>

#define MARK 0xA5
#define STAGE_MARK UINT64_C(0xFEDCBA9876543210)
#define CANARY 64 /* bytes behind what is received */
#define TURNS 64  /* what ranks begin with differs from case to case: it begins elsewhere ... */
#define TURN 16   /* ... by so many bytes */
#define SHIFT 32  /* buffers begin so far into their memory: every dtype is aligned */

static const char *const names[SHM_WAYS] = {"all_reduce", "all_gather", "reduce_scatter",
                                            "broadcast"};
static const hk_operation operations[SHM_WAYS] = {HK_ALL_REDUCE, HK_ALL_GATHER, HK_REDUCE_SCATTER,
                                                  HK_BROADCAST};

hk_shm *shm_team(const struct member *me)
{
    CHECK(me->world->team.native != NULL);
    return me->world->team.handle;
}

/* === Stages =================================================================================== */

/* This rank's stages, of which the first word of each line is looked at: what is staged begins on
 * one. */
static uint64_t *stages(const struct member *me, size_t *words)
{
    const hk_shm *shm = shm_team(me);
    *words = 2 * shm->stage_bytes / sizeof(uint64_t);
    return (uint64_t *)(shm->stages + (size_t)me->rank * 2 * shm->stage_bytes);
}

void shm_mark_stages(struct member *me)
{
    size_t words;
    CHECK_OK(hocket_barrier(me->world));
    uint64_t *at = stages(me, &words);
    for (size_t i = 0; i < words; i += HK_LINE / sizeof *at)
        at[i] = STAGE_MARK;
}

bool shm_stages_touched(const struct member *me)
{
    size_t words;
    const uint64_t *at = stages(me, &words);
    for (size_t i = 0; i < words; i += HK_LINE / sizeof *at)
        if (at[i] != STAGE_MARK)
            return true;
    return false;
}

/* === Memory =================================================================================== */

/* Bits that are a number in every dtype, wherever it begins. */
static void fill_values(uint8_t *bytes, size_t length, uint64_t seed)
{
    fill_bytes(bytes, length, seed);
    for (size_t i = 0; i < length; i++)
        bytes[i] &= 0xBF;
}

void shm_memory_open(struct member *me, struct shm_memory *memory, size_t room, bool one_region)
{
    size_t each = (room + SHIFT + CANARY + 63) / 64 * 64;
    void *region;
    *memory = (struct shm_memory){.room = room};
    for (int i = 0; i < 2; i++) {
        CHECK((memory->plain[i] = malloc(each)) != NULL);
        if (one_region && i == 1) {
            memory->shared[1] = memory->shared[0] + each;
            continue;
        }
        CHECK_OK(hocket_alloc(me->world, one_region ? 2 * each : each, &region));
        memory->shared[i] = region;
    }
    CHECK((memory->expected = malloc(room)) != NULL);
    for (int r = 0; r < me->size; r++) {
        CHECK((memory->inputs[r] = malloc(room + TURNS * TURN)) != NULL);
        fill_values(memory->inputs[r], room + TURNS * TURN, (uint64_t)r);
    }
}

void shm_memory_close(struct member *me, struct shm_memory *memory)
{
    for (int i = 0; i < 2; i++) {
        free(memory->plain[i]);
        hocket_dealloc(me->world, memory->shared[i]);
    }
    free(memory->expected);
    for (int r = 0; r < me->size; r++)
        free(memory->inputs[r]);
}

/* === Cases ==================================================================================== */

struct shape {
    size_t size, count;            /* of an element, of the vector */
    size_t send, recv;             /* bytes of a rank's buffers */
    size_t send_block, recv_block; /* where the smaller buffer lies in the larger one, in place */
};

static struct shape shape_of(const struct member *me, const struct shm_case *c)
{
    size_t n = (size_t)me->size, rank = (size_t)me->rank, size = hocket_dtype_size(c->dtype);
    struct shape shape = {.size = size, .count = c->bytes / size};
    if (c->way == SHM_ALL_GATHER || c->way == SHM_REDUCE_SCATTER)
        shape.count -= shape.count % n;
    size_t all = shape.count * size, block = all / n;
    shape.send = c->way == SHM_ALL_GATHER ? block : all;
    shape.recv = c->way == SHM_REDUCE_SCATTER ? block : all;
    shape.send_block = c->way == SHM_ALL_GATHER ? rank * block : 0;
    shape.recv_block = c->way == SHM_REDUCE_SCATTER ? rank * block : 0;
    return shape;
}

static const uint8_t *input(const struct shm_memory *memory, const struct shm_case *c, int rank)
{
    return memory->inputs[rank] + (c->seed + (uint64_t)rank) % TURNS * TURN;
}

/* What this rank must end with, from what each rank begins with. */
static void expect(const struct member *me, const struct shm_memory *memory,
                   const struct shm_case *c, const struct shape *shape)
{
    const void *inputs[HARNESS_RANKS_MAX];
    for (int r = 0; r < me->size; r++) {
        const uint8_t *whole = input(memory, c, r);
        inputs[r] = whole + shape->recv_block;
        if (c->way == SHM_ALL_GATHER)
            memcpy(memory->expected + (size_t)r * shape->send, whole, shape->send);
    }
    if (c->way == SHM_BROADCAST)
        memcpy(memory->expected, input(memory, c, c->root), shape->recv);
    if (c->way == SHM_ALL_REDUCE || c->way == SHM_REDUCE_SCATTER)
        CHECK_OK(hk_reduce_fold(memory->expected, inputs, me->size, shape->recv / shape->size,
                                c->dtype, HOCKET_SUM));
}

static hocket_status call(struct member *me, const struct shm_case *c, const struct shape *shape,
                          const void *send, void *recv)
{
    switch (c->way) {
    case SHM_ALL_REDUCE:
        return hocket_all_reduce(me->world, send, recv, shape->count, c->dtype, HOCKET_SUM);
    case SHM_ALL_GATHER:
        return hocket_all_gather(me->world, send, recv, shape->send / shape->size, c->dtype);
    case SHM_REDUCE_SCATTER:
        return hocket_reduce_scatter(me->world, send, recv, shape->recv / shape->size, c->dtype,
                                     HOCKET_SUM);
    default: return hocket_broadcast(me->world, recv, shape->count, c->dtype, c->root);
    }
}

static uint8_t *pick(const struct shm_memory *memory, int which, bool shared)
{
    return (shared ? memory->shared[which] : memory->plain[which]) + SHIFT;
}

static void check_same(const uint8_t *got, const uint8_t *wanted, size_t bytes, size_t size)
{
    if (memcmp(got, wanted, bytes) == 0)
        return;
    size_t at = 0;
    while (got[at] == wanted[at])
        at++;
    harness_fail(__FILE__, __LINE__, "element %zu of %zu is wrong", at / size, bytes / size);
}

static void note_case(const struct member *me, const struct shm_case *c)
{
    char kinds[HARNESS_RANKS_MAX * 3 + 1] = "";
    for (int r = 0; r < me->size; r++) {
        const struct shm_buffers *b = &c->buffers[r];
        kinds[3 * r] = b->send_shared ? 'S' : 'p';
        kinds[3 * r + 1] = b->in_place ? '=' : b->recv_shared ? 'S' : 'p';
        kinds[3 * r + 2] = ' ';
    }
    harness_note("%s, %zu bytes, dtype %d, buffers %s", names[c->way], c->bytes, (int)c->dtype,
                 kinds);
}

void shm_run_case(struct member *me, const struct shm_memory *memory, const struct shm_case *c)
{
    const struct shm_buffers *mine = &c->buffers[me->rank];
    struct shape shape = shape_of(me, c);
    uint8_t *send = pick(memory, 0, mine->send_shared);
    uint8_t *recv = pick(memory, 1, mine->recv_shared), *from = send;
    note_case(me, c);
    CHECK(shape.send <= memory->room && shape.recv <= memory->room);
    expect(me, memory, c, &shape);
    if (c->way == SHM_BROADCAST || (mine->in_place && shape.recv >= shape.send)) {
        recv = send;
        from = send + shape.send_block;
    } else if (mine->in_place) {
        recv = send + shape.recv_block;
    }
    if (recv != send)
        memset(recv, MARK, shape.recv);
    if (c->way != SHM_BROADCAST || me->rank == c->root)
        memcpy(from, input(memory, c, me->rank), shape.send);
    uint8_t *end = recv + shape.recv, canary[CANARY];
    memcpy(canary, end, CANARY);
    CHECK_OK(call(me, c, &shape, from, recv));
    check_same(recv, memory->expected, shape.recv, shape.size);
    CHECK_THAT(memcmp(end, canary, CANARY) == 0, "something wrote behind what is received");
    if (!mine->in_place && c->way != SHM_BROADCAST)
        CHECK_THAT(memcmp(send, input(memory, c, me->rank), shape.send) == 0,
                   "what is sent has changed");
}

/* === The way it must take ===================================================================== */

static hk_algorithm choose(const struct member *me, const struct shm_case *c)
{
    struct shape shape = shape_of(me, c);
    size_t all = shape.count * shape.size, posted = c->way == SHM_ALL_GATHER ? shape.send : all;
    hk_algorithm way = hk_choose(hk_endpoint_choices(me->world->comm->endpoint), HK_BY_MEMORY,
                                 operations[c->way], me->size, all, false);
    if (all <= HK_POST_BYTES)
        return HK_FLAT;
    return way == HK_FLAT && posted > HK_SLOT_BYTES ? HK_STAGED : way;
}

bool shm_goes_by_steps(const struct member *me, const struct shm_case *c)
{
    return choose(me, c) != HK_FLAT;
}

bool shm_learns(const struct member *me, const struct shm_case *c)
{
    return choose(me, c) == HK_LEARNED && shm_team(me)->can_read && !shm_goes_directly(me, c);
}

bool shm_reads(const struct member *me, const struct shm_case *c)
{
    return choose(me, c) == HK_READ && shm_team(me)->can_read && !shm_goes_directly(me, c);
}

bool shm_goes_directly(const struct member *me, const struct shm_case *c)
{
    bool sends = true, recvs = true, in_place = false;
    for (int r = 0; r < me->size; r++) {
        const struct shm_buffers *b = &c->buffers[r];
        sends &= b->send_shared;
        recvs &= b->in_place ? b->send_shared : b->recv_shared;
        in_place |= b->in_place;
    }
    if (!hk_segment_is_nameless())
        return false;
    if (c->way == SHM_BROADCAST)
        return c->buffers[c->root].send_shared;
    return sends && (c->way != SHM_ALL_REDUCE || recvs || (me->size == 2 && !in_place));
}

/* === What a process holds ===================================================================== */

int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

int count_segments(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int count = 0;
    if (maps == NULL)
        return -1;
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "memfd:hocket") != NULL;
    fclose(maps);
    return count;
}
