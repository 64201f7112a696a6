/* The memory of one device that it may reach: one registered region that is carved up for all
 * queues, and the caller's own regions. Devices have few regions (Apple's about 100), so they are
 * counted, and one too many is an error that says so before the driver does. */
#ifndef HK_TRANSPORT_VERBS_ARENA_H
#define HK_TRANSPORT_VERBS_ARENA_H

#include "transport/verbs/device.h"

typedef struct hk_arena {
    const hk_verbs_library *library;
    hk_verbs_place place;
    hk_ibv_pd *pd;
    hk_ibv_mr *mr;
    uint8_t *memory;
    size_t bytes, used;
    int regions, regions_max;
} hk_arena;

/* bytes: all that will be carved. NO_MEMORY, SYSTEM. A zeroed or closed arena is fine to close. */
hocket_status hk_arena_open(hk_arena *arena, const hk_verbs_library *library,
                            const hk_verbs_device *device, hk_verbs_place place, hk_ibv_pd *pd,
                            size_t bytes);
void hk_arena_close(hk_arena *arena);

/* bytes: a multiple of HK_VERBS_FRAME, and what is returned begins at one. NULL: more than was
 * said. */
uint8_t *hk_arena_carve(hk_arena *arena, size_t bytes);

/* Memory of the caller's. UNAVAILABLE: the device has no region left; SYSTEM. */
hocket_status hk_arena_register(hk_arena *arena, void *memory, size_t bytes, hk_ibv_mr **mr);
void hk_arena_unregister(hk_arena *arena, hk_ibv_mr *mr);

#endif
