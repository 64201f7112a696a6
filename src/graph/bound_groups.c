/* The groups that graphs may name, by id: a short list under a lock. */
#include "core/status.h"

#include <hocket/graph.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct binding {
    int64_t id;
    hocket_group *group;
    bool own; /* the world that first use made */
    struct binding *next;
} binding;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static binding *bindings;

/* Held while the world is being made, so that two threads that need it make one. */
static pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;

static binding **find_locked(int64_t id)
{
    binding **at = &bindings;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static hocket_group *find(int64_t id)
{
    pthread_mutex_lock(&lock);
    const binding *found = *find_locked(id);
    hocket_group *group = found ? found->group : NULL;
    pthread_mutex_unlock(&lock);
    return group;
}

static hocket_status add(int64_t id, hocket_group *group, bool own)
{
    binding *added = malloc(sizeof *added);
    if (added == NULL)
        return hk_fail_memory(sizeof *added, "a bound group");
    pthread_mutex_lock(&lock);
    bool taken = *find_locked(id) != NULL;
    if (!taken) {
        *added = (binding){id, group, own, bindings};
        bindings = added;
    }
    pthread_mutex_unlock(&lock);
    if (!taken)
        return HOCKET_OK;
    free(added);
    return hk_fail(HOCKET_ERR_INVALID,
                   "hocket_graph_bind_group: id %" PRId64 " is bound already; unbind it first", id);
}

hocket_status hocket_graph_bind_group(int64_t id, hocket_group *group)
{
    if (id < 0 || group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_graph_bind_group: id %" PRId64 " %s", id,
                       group ? "is negative" : "with the group NULL");
    return add(id, group, false);
}

hocket_status hocket_graph_unbind_group(int64_t id)
{
    pthread_mutex_lock(&lock);
    binding **at = find_locked(id);
    binding *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&lock);
    if (found == NULL)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_graph_unbind_group: id %" PRId64 " is not bound", id);
    if (found->own)
        hocket_free(found->group);
    free(found);
    return HOCKET_OK;
}

/* The group of id 0 that the environment describes. */
static hocket_status make_world(hocket_group **group)
{
    pthread_mutex_lock(&world_lock);
    hocket_status status = HOCKET_OK;
    *group = find(0);
    if (*group == NULL) {
        status = hocket_init(NULL, group);
        if (status == HOCKET_OK)
            status = add(0, *group, true);
        if (status != HOCKET_OK) {
            hocket_free(*group);
            *group = NULL;
        }
    }
    pthread_mutex_unlock(&world_lock);
    return status;
}

hocket_status hocket_graph_group(int64_t id, hocket_group **group)
{
    if (group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_graph_group: group is NULL");
    *group = find(id);
    if (*group)
        return HOCKET_OK;
    if (id == 0)
        return make_world(group);
    return hk_fail(HOCKET_ERR_INVALID,
                   "no group is bound to id %" PRId64 "; hocket_graph_bind_group binds one", id);
}
