/* hocket_alloc in shared memory: regions that one member makes and the others map.
 *
 * Making and giving back are not collective. A member enters its regions in the directory of its
 * seat; the others take over what is new there when they next look (hk_regions_refresh), and so
 * nobody waits for anybody. Whether a buffer can be read by all is then known from what each says
 * it has mapped: docs/shm.md. */
#ifndef HK_TRANSPORT_SHM_MEMORY_H
#define HK_TRANSPORT_SHM_MEMORY_H

#include "transport/segment.h"
#include <pthread.h>
#include <stdatomic.h>

#define HK_REGIONS_MAX 32 /* of one member in one group; more are plain memory */
#define HK_NO_REGION UINT16_MAX

/* Of words, as it is read while it is written: version is odd meanwhile, and another one after. */
typedef struct hk_directory {
    _Atomic uint64_t version;
    _Atomic uint64_t tickets[HK_REGIONS_MAX][sizeof(hk_segment_ticket) / sizeof(uint64_t)];
} hk_directory;

struct hk_map;

typedef struct hk_regions {
    int rank, size;
    hk_directory *own;
    pthread_mutex_t lock;            /* of mine: made and given back by any thread */
    hk_segment mine[HK_REGIONS_MAX]; /* memory NULL: free */
    struct hk_map *maps;             /* by member and region, what this rank has mapped */
    uint64_t *seen, *tried;          /* by member: the version mapped, and last looked at */
} hk_regions;

/* own: this rank's directory, zeroed. */
hocket_status hk_regions_init(hk_regions *regions, int rank, int size, hk_directory *own);
void hk_regions_fini(hk_regions *regions); /* a zeroed one is fine */

/* 64-byte aligned, zeroed. UNSUPPORTED: not here, or no region is left; take plain memory. */
hocket_status hk_regions_alloc(hk_regions *regions, size_t bytes, void **memory);
/* False: it is not from here. */
bool hk_regions_dealloc(hk_regions *regions, void *memory);

/* In which of this rank's regions all of these bytes lie, and where; HK_NO_REGION: in none. */
uint16_t hk_regions_find(hk_regions *regions, const void *memory, size_t bytes, uint64_t *offset);

/* A place in a member's region that this rank has mapped; the own ones too. */
const void *hk_regions_at(const hk_regions *regions, int member, uint16_t region, uint64_t offset);

uint64_t hk_regions_version(const hk_regions *regions); /* of the own directory */
/* A hash of the versions of all members' directories that this rank has mapped whole. */
uint64_t hk_regions_known(const hk_regions *regions);
/* The same of versions that members have said, this member's part. */
uint64_t hk_regions_part(int member, uint64_t version);

/* Maps what is new in that member's directory, and lets go of what is gone, as far as possible. */
void hk_regions_refresh(hk_regions *regions, int member, const hk_directory *directory);

#endif
