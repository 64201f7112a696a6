#include "transport/shm_memory.h"

#include "transport/what.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (sizeof(hk_segment_ticket) / sizeof(uint64_t))

static_assert(sizeof(hk_segment_ticket) % sizeof(uint64_t) == 0, "a directory is read by words");

typedef struct hk_map {
    uint64_t mark; /* of the region mapped; 0: none */
    hk_segment segment;
} hk_map;

static hk_map *map_of(const hk_regions *regions, int member, int region)
{
    return &regions->maps[(size_t)member * HK_REGIONS_MAX + (size_t)region];
}

/* === Life ==================================================================================== */

hocket_status hk_regions_init(hk_regions *regions, int rank, int size, hk_directory *own)
{
    size_t n = (size_t)size;
    *regions = (hk_regions){.rank = rank, .size = size, .own = own};
    pthread_mutex_init(&regions->lock, NULL);
    regions->maps = calloc(n * HK_REGIONS_MAX, sizeof *regions->maps);
    regions->seen = calloc(n, sizeof *regions->seen);
    regions->tried = calloc(n, sizeof *regions->tried);
    if (regions->maps != NULL && regions->seen != NULL && regions->tried != NULL)
        return HOCKET_OK;
    hk_regions_fini(regions);
    return hk_fail_memory(n * HK_REGIONS_MAX * sizeof *regions->maps, "a group's memory regions");
}

void hk_regions_fini(hk_regions *regions)
{
    if (regions->size == 0)
        return;
    for (int i = 0; i < HK_REGIONS_MAX; i++)
        hk_segment_detach(&regions->mine[i]);
    for (int i = 0; regions->maps != NULL && i < regions->size * HK_REGIONS_MAX; i++)
        hk_segment_detach(&regions->maps[i].segment);
    free(regions->maps);
    free(regions->seen);
    free(regions->tried);
    pthread_mutex_destroy(&regions->lock);
    *regions = (hk_regions){.size = 0};
}

/* === The own ones ============================================================================ */

/* Under the lock. A zeroed ticket: the region is gone. */
static void enter(hk_regions *regions, int region, const hk_segment_ticket *ticket)
{
    uint64_t words[WORDS];
    memcpy(words, ticket, sizeof words);
    atomic_fetch_add(&regions->own->version, 1);
    for (size_t i = 0; i < WORDS; i++)
        atomic_store(&regions->own->tickets[region][i], words[i]);
    atomic_fetch_add(&regions->own->version, 1);
}

hocket_status hk_regions_alloc(hk_regions *regions, size_t bytes, void **memory)
{
    hk_segment_ticket ticket;
    hocket_status status = HOCKET_ERR_UNSUPPORTED;
    if (!hk_segment_is_nameless() || bytes + HK_SEGMENT_HEAD < bytes)
        return status;
    pthread_mutex_lock(&regions->lock);
    int region = 0;
    while (region < HK_REGIONS_MAX && regions->mine[region].memory != NULL)
        region++;
    if (region < HK_REGIONS_MAX)
        status = hk_segment_create(bytes + HK_SEGMENT_HEAD, &regions->mine[region], &ticket);
    if (status == HOCKET_OK) {
        enter(regions, region, &ticket);
        *memory = (uint8_t *)regions->mine[region].memory + HK_SEGMENT_HEAD;
    }
    pthread_mutex_unlock(&regions->lock);
    return status == HOCKET_OK ? status : HOCKET_ERR_UNSUPPORTED;
}

bool hk_regions_dealloc(hk_regions *regions, void *memory)
{
    bool found = false;
    pthread_mutex_lock(&regions->lock);
    for (int i = 0; i < HK_REGIONS_MAX && !found; i++) {
        hk_segment *mine = &regions->mine[i];
        found = mine->memory != NULL && (uint8_t *)mine->memory + HK_SEGMENT_HEAD == memory;
        if (found) {
            enter(regions, i, &(hk_segment_ticket){.bytes = 0});
            hk_segment_detach(mine);
        }
    }
    pthread_mutex_unlock(&regions->lock);
    return found;
}

uint16_t hk_regions_find(hk_regions *regions, const void *memory, size_t bytes, uint64_t *offset)
{
    uint16_t found = HK_NO_REGION;
    uintptr_t at = (uintptr_t)memory;
    pthread_mutex_lock(&regions->lock);
    for (uint16_t i = 0; i < HK_REGIONS_MAX && found == HK_NO_REGION; i++) {
        const hk_segment *mine = &regions->mine[i];
        uintptr_t start = (uintptr_t)mine->memory;
        if (mine->memory == NULL || at < start || at - start > mine->bytes ||
            mine->bytes - (at - start) < bytes)
            continue;
        found = i;
        *offset = at - start;
    }
    pthread_mutex_unlock(&regions->lock);
    return found;
}

uint64_t hk_regions_version(const hk_regions *regions)
{
    return atomic_load(&regions->own->version);
}

/* === The others' ============================================================================= */

const void *hk_regions_at(const hk_regions *regions, int member, uint16_t region, uint64_t offset)
{
    const hk_segment *segment = member == regions->rank ? &regions->mine[region]
                                                        : &map_of(regions, member, region)->segment;
    return (const uint8_t *)segment->memory + offset;
}

uint64_t hk_regions_part(int member, uint64_t version)
{
    return hk_mix(hk_mix(UINT64_C(0x726567696F6E73), (uint64_t)member), version);
}

uint64_t hk_regions_known(const hk_regions *regions)
{
    uint64_t known = 0;
    for (int i = 0; i < regions->size; i++)
        known +=
            hk_regions_part(i, i == regions->rank ? hk_regions_version(regions) : regions->seen[i]);
    return known;
}

/* False: it was being written. */
static bool read_directory(const hk_directory *directory, hk_segment_ticket *tickets,
                           uint64_t *version)
{
    *version = atomic_load(&directory->version);
    for (int region = 0; region < HK_REGIONS_MAX; region++) {
        uint64_t words[WORDS];
        for (size_t i = 0; i < WORDS; i++)
            words[i] = atomic_load(&directory->tickets[region][i]);
        memcpy(&tickets[region], words, sizeof words);
    }
    return *version % 2 == 0 && atomic_load(&directory->version) == *version;
}

static bool take_over(hk_map *map, const hk_segment_ticket *ticket)
{
    uint64_t mark = ticket->bytes > 0 ? ticket->mark : 0;
    if (map->mark == mark)
        return true;
    hk_segment_detach(&map->segment);
    map->mark = 0;
    if (mark == 0)
        return true;
    hk_error before = *hk_error_last();
    bool attached = hk_segment_attach(ticket, &map->segment) == HOCKET_OK;
    hk_fail_with(&before); /* what cannot be mapped is not read directly: no failure */
    if (attached)
        map->mark = mark;
    return attached;
}

void hk_regions_refresh(hk_regions *regions, int member, const hk_directory *directory)
{
    hk_segment_ticket tickets[HK_REGIONS_MAX];
    uint64_t version;
    if (atomic_load(&directory->version) == regions->tried[member] ||
        !read_directory(directory, tickets, &version))
        return;
    bool all = true;
    for (int region = 0; region < HK_REGIONS_MAX; region++)
        all &= take_over(map_of(regions, member, region), &tickets[region]);
    regions->tried[member] = version;
    if (all)
        regions->seen[member] = version;
}
