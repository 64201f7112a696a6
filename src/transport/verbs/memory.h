/* Memory of the caller's that the devices know: hocket_alloc, hocket_register. Each piece is a
 * region on each rail, and counts in its budget. */
#ifndef HK_TRANSPORT_VERBS_MEMORY_H
#define HK_TRANSPORT_VERBS_MEMORY_H

#include "transport/verbs/rail.h"

typedef struct hk_piece hk_piece;

typedef struct hk_memory {
    hk_rail *rails; /* those with an arena count */
    int rail_count;
    hk_piece *pieces;
} hk_memory;

/* UNAVAILABLE: a device has no region left; SYSTEM, NO_MEMORY. */
hocket_status hk_memory_register(hk_memory *memory, void *bytes, size_t length);
/* INVALID: it is not registered. */
hocket_status hk_memory_unregister(hk_memory *memory, void *bytes);

/* Zeroed, aligned to pages. */
hocket_status hk_memory_alloc(hk_memory *memory, size_t length, void **bytes);
void hk_memory_dealloc(hk_memory *memory, void *bytes);

/* Before the rails close. What was allocated is freed. */
void hk_memory_fini(hk_memory *memory);

/* The region on that rail that holds all of these bytes, or NULL. */
const hk_ibv_mr *hk_memory_find(const hk_memory *memory, const hk_rail *rail, const void *bytes,
                                size_t length);

#endif
