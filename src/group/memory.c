/* Memory that the group's transport reaches without a copy; plain memory where it has none. */
#include "group/group.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

typedef struct hk_region {
    struct hk_region *next;
    void *memory;
    bool ours; /* from hocket_alloc */
} hk_region;

static hocket_status remember(hocket_group *group, void *memory, bool ours)
{
    hk_region *region = malloc(sizeof *region);
    if (region == NULL)
        return hk_fail_memory(sizeof *region, "a region");
    pthread_mutex_lock(&group->lock);
    *region = (hk_region){.next = group->regions, .memory = memory, .ours = ours};
    group->regions = region;
    pthread_mutex_unlock(&group->lock);
    return HOCKET_OK;
}

static bool forget(hocket_group *group, const void *memory, bool ours)
{
    pthread_mutex_lock(&group->lock);
    hk_region **link = &group->regions;
    while (*link != NULL && ((*link)->memory != memory || (*link)->ours != ours))
        link = &(*link)->next;
    hk_region *region = *link;
    if (region != NULL)
        *link = region->next;
    pthread_mutex_unlock(&group->lock);
    free(region);
    return region != NULL;
}

/* The group's transport, whose slots must not be called by two threads at once. */
static const hocket_transport *enter(const hocket_group *group, void **self)
{
    hk_endpoint *endpoint = group->comm->endpoint;
    hk_endpoint_lock(endpoint);
    *self = hk_endpoint_self(endpoint);
    return hk_endpoint_transport(endpoint);
}

static void leave(const hocket_group *group)
{
    hk_endpoint_unlock(group->comm->endpoint);
}

static void give_back(hocket_group *group, void *memory)
{
    void *self;
    const hk_team *team = hk_team_nearest(&group->team);
    if (team->native != NULL && team->native->dealloc != NULL &&
        team->native->dealloc(team->handle, memory))
        return;
    const hocket_transport *transport = enter(group, &self);
    if (transport->dealloc != NULL)
        transport->dealloc(self, memory);
    else
        free(memory);
    leave(group);
}

/* The members' own, the transport's, or plain memory. */
static hocket_status get(hocket_group *group, size_t bytes, void **memory)
{
    const hk_team *team = hk_team_nearest(&group->team);
    hocket_status status = HOCKET_ERR_UNSUPPORTED;
    if (team->native != NULL && team->native->alloc != NULL)
        status = team->native->alloc(team->handle, bytes, memory);
    if (status != HOCKET_ERR_UNSUPPORTED)
        return status;
    void *self;
    const hocket_transport *transport = enter(group, &self);
    bool its_own = transport->alloc != NULL;
    if (its_own)
        status = transport->alloc(self, bytes, memory);
    leave(group);
    if (its_own)
        return status;
    if ((*memory = aligned_alloc(ALIGNMENT, bytes)) == NULL)
        return hk_fail_memory(bytes, "hocket_alloc");
    memset(*memory, 0, bytes);
    return HOCKET_OK;
}

hocket_status hocket_alloc(hocket_group *group, size_t bytes, void **memory)
{
    hocket_status status = hk_check_group(group, "hocket_alloc");
    if (status != HOCKET_OK)
        return status;
    if (memory == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_alloc: memory is NULL");
    *memory = NULL;
    size_t whole = bytes + ALIGNMENT - bytes % ALIGNMENT;
    if (whole < bytes)
        return hk_fail_memory(bytes, "hocket_alloc");
    void *got = NULL;
    status = get(group, whole, &got);
    if (status == HOCKET_OK && (status = remember(group, got, true)) != HOCKET_OK)
        give_back(group, got);
    if (status == HOCKET_OK)
        *memory = got;
    return status;
}

void hocket_dealloc(hocket_group *group, void *memory)
{
    if (group != NULL && memory != NULL && forget(group, memory, true))
        give_back(group, memory);
}

hocket_status hocket_register(hocket_group *group, void *memory, size_t bytes)
{
    hocket_status status = hk_check_group(group, "hocket_register");
    if (status != HOCKET_OK)
        return status;
    if (memory == NULL || bytes == 0)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_register: %zu bytes at %p", bytes, memory);
    void *self;
    const hocket_transport *transport = enter(group, &self);
    if (transport->register_memory != NULL)
        status = transport->register_memory(self, memory, bytes);
    leave(group);
    if (status != HOCKET_OK || (status = remember(group, memory, false)) == HOCKET_OK)
        return status;
    enter(group, &self);
    if (transport->unregister_memory != NULL)
        transport->unregister_memory(self, memory);
    leave(group);
    return status;
}

hocket_status hocket_unregister(hocket_group *group, void *memory)
{
    hocket_status status = hk_check_group(group, "hocket_unregister");
    if (status != HOCKET_OK)
        return status;
    if (!forget(group, memory, false))
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_unregister: %p is not registered with this group", memory);
    void *self;
    const hocket_transport *transport = enter(group, &self);
    if (transport->unregister_memory != NULL)
        status = transport->unregister_memory(self, memory);
    leave(group);
    return status;
}

void hk_regions_free(hocket_group *group)
{
    while (group->regions != NULL) {
        hk_region *region = group->regions;
        if (region->ours)
            hocket_dealloc(group, region->memory);
        else
            hocket_unregister(group, region->memory);
    }
}
