#include "transport/verbs/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Remote rights also where nothing is written from afar: Apple's driver refuses local ones alone.
 */
#define ACCESS (HK_IBV_ACCESS_LOCAL_WRITE | HK_IBV_ACCESS_REMOTE_READ | HK_IBV_ACCESS_REMOTE_WRITE)

hocket_status hk_arena_register(hk_arena *arena, void *memory, size_t bytes, hk_ibv_mr **mr)
{
    if (arena->regions >= arena->regions_max)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "device %s has no memory region left: all %d are in use; register fewer "
                       "and larger pieces of memory",
                       arena->place.device, arena->regions_max);
    errno = 0;
    *mr = arena->library->reg_mr(arena->pd, memory, bytes, ACCESS);
    if (*mr == NULL)
        return hk_verbs_fail(HK_VERBS_REGISTER, &arena->place, hk_verbs_errno(-1));
    arena->regions++;
    return HOCKET_OK;
}

void hk_arena_unregister(hk_arena *arena, hk_ibv_mr *mr)
{
    if (mr == NULL)
        return;
    arena->library->dereg_mr(mr);
    arena->regions--;
}

hocket_status hk_arena_open(hk_arena *arena, const hk_verbs_library *library,
                            const hk_verbs_device *device, hk_verbs_place place, hk_ibv_pd *pd,
                            size_t bytes)
{
    *arena = (hk_arena){.library = library,
                        .place = place,
                        .pd = pd,
                        .bytes = bytes,
                        .regions_max = device->max_mr};
    long page = sysconf(_SC_PAGESIZE);
    size_t alignment = page > HK_VERBS_FRAME ? (size_t)page : HK_VERBS_FRAME;
    void *memory;
    if (posix_memalign(&memory, alignment, bytes) != 0)
        return hk_fail_memory(bytes, "the frames of a device");
    memset(memory, 0, bytes);
    arena->memory = memory;
    hocket_status status = hk_arena_register(arena, memory, bytes, &arena->mr);
    if (status != HOCKET_OK)
        hk_arena_close(arena);
    return status;
}

void hk_arena_close(hk_arena *arena)
{
    hk_arena_unregister(arena, arena->mr);
    arena->mr = NULL;
    free(arena->memory);
    arena->memory = NULL;
}

uint8_t *hk_arena_carve(hk_arena *arena, size_t bytes)
{
    if (bytes > arena->bytes - arena->used)
        return NULL;
    uint8_t *piece = arena->memory + arena->used;
    arena->used += bytes;
    return piece;
}
