/* From settings to a group: worlds, duplicates of them, subgroups, and their end.
 *
 * A world is an endpoint and the words by which it was asked for. A second hocket_init with the
 * same words, while a group of the first lives, becomes a duplicate over the same endpoint. */
#include "core/nap.h"
#include "core/settings.h"
#include "group/group.h"
#include "transport/local.h"
#include "transport/table.h"
#include "transport/wrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX (HK_BACKEND_MAX + HK_COORDINATOR_MAX + HK_PATH_MAX + 64)

struct hk_world {
    hk_world *next;
    char *key;             /* NULL: cannot be asked for again */
    hk_endpoint *endpoint; /* held: a group is freed while another thread makes a duplicate */
    int groups;            /* that live on it */
    uint64_t duplicates;   /* made so far */
};

static pthread_mutex_t worlds_lock = PTHREAD_MUTEX_INITIALIZER;
static hk_world *worlds;

/* === Worlds ================================================================================== */

static hk_world *make_world(hk_endpoint *endpoint, const char *key)
{
    hk_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        return NULL;
    world->endpoint = endpoint;
    world->key = key != NULL ? strdup(key) : NULL;
    if (key != NULL && world->key == NULL) {
        free(world);
        return NULL;
    }
    hk_endpoint_hold(endpoint);
    pthread_mutex_lock(&worlds_lock);
    world->next = worlds;
    worlds = world;
    pthread_mutex_unlock(&worlds_lock);
    return world;
}

/* A living world of that key, with one more duplicate on it. */
static hk_world *find_world(const char *key, uint64_t *duplicate)
{
    pthread_mutex_lock(&worlds_lock);
    hk_world *world = worlds;
    while (world != NULL &&
           (world->key == NULL || world->groups == 0 || strcmp(world->key, key) != 0))
        world = world->next;
    if (world != NULL) {
        world->groups++;
        *duplicate = ++world->duplicates;
    }
    pthread_mutex_unlock(&worlds_lock);
    return world;
}

static void hold_world(hk_world *world)
{
    pthread_mutex_lock(&worlds_lock);
    world->groups++;
    pthread_mutex_unlock(&worlds_lock);
}

static void release_world(hk_world *world)
{
    pthread_mutex_lock(&worlds_lock);
    bool last = --world->groups == 0;
    hk_world **link = &worlds;
    while (last && *link != world)
        link = &(*link)->next;
    if (last)
        *link = world->next;
    pthread_mutex_unlock(&worlds_lock);
    if (!last)
        return;
    hk_endpoint_release(world->endpoint);
    free(world->key);
    free(world);
}

/* === Groups ================================================================================== */

static void free_group(hocket_group *group)
{
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->changed);
    free(group->backend);
    free(group);
}

/* Failures that are the members', not this rank's. */
static bool is_members(hocket_status status)
{
    return status == HOCKET_ERR_PEER_LOST || status == HOCKET_ERR_TIMEOUT ||
           status == HOCKET_ERR_MISMATCH || status == HOCKET_ERR_ABORTED;
}

/* Native collectives may need a word with each other before the first call. A member may have been
 * so fast to break the group that it is broken already, or may die meanwhile: that is for the first
 * call to say, in the new group's numbers. A world whose opening fails is not there at all. */
static hocket_status open_team(hocket_group *group)
{
    hk_error before = *hk_error_last();
    if (hk_comm_check(group->comm) != HOCKET_OK) {
        hk_fail_with(&before);
        return HOCKET_OK;
    }
    hk_operation operation = group->comm->context == HK_CONTEXT_WORLD ? HK_INIT : HK_OPEN;
    hk_what what = {.kind = hk_kind(operation, -1, -1, -1), .number = HK_NUMBER_OPENING};
    hk_call call;
    hk_time now = hk_now(), deadline = hk_deadline_from(now, group->timeout_s);
    hocket_status status = hk_call_begin(&call, group->comm, &what, 0, now, deadline);
    if (status == HOCKET_OK)
        status = hk_team_open(group->comm, &call, &group->team);
    status = hk_call_end(&call, status);
    if (group->comm->context == HK_CONTEXT_WORLD || !is_members(status))
        return status;
    hk_fail_with(&before);
    return HOCKET_OK;
}

/* even_broken: a group that breaks while it opens is handed out, for its members to shrink it. */
static hocket_status open_group(hk_world *world, hk_endpoint *endpoint, uint64_t context,
                                const int *ranks, int size, double timeout_s, bool even_broken,
                                hocket_group **group)
{
    hk_error before = *hk_error_last();
    hocket_group *new = calloc(1, sizeof *new);
    const char *name = hk_endpoint_transport(endpoint)->name;
    if (new == NULL || (new->backend = strdup(name)) == NULL) {
        free(new);
        return hk_fail_memory(sizeof *new, "a group");
    }
    pthread_mutex_init(&new->lock, NULL);
    hk_nap_init(&new->changed);
    new->last = &new->first;
    new->world = world;
    new->timeout_s = timeout_s;
    hocket_status status = hk_comm_open(endpoint, context, ranks, size, &new->comm);
    if (status != HOCKET_OK) {
        free_group(new);
        return status;
    }
    hold_world(world);
    status = open_team(new);
    if (status != HOCKET_OK && even_broken && hk_comm_check(new->comm) != HOCKET_OK) {
        hk_fail_with(&before);
        status = HOCKET_OK;
    }
    if (status == HOCKET_OK)
        *group = new;
    else
        hocket_free(new);
    return status;
}

hocket_status hk_group_open(hk_world *world, hk_endpoint *endpoint, uint64_t context,
                            const int *ranks, int size, double timeout_s, hocket_group **group)
{
    return open_group(world, endpoint, context, ranks, size, timeout_s, false, group);
}

void hocket_free(hocket_group *group)
{
    if (group == NULL)
        return;
    hk_error before = *hk_error_last(); /* freeing is not a call that fails */
    hk_worker_stop(group);
    hk_regions_free(group);
    hk_team_close(&group->team);
    release_world(group->world);
    hk_comm_close(group->comm);
    free_group(group);
    hk_fail_with(&before);
}

/* A group of all ranks of an endpoint that has none yet; closes the endpoint on failure. */
static hocket_status open_first(hk_endpoint *endpoint, const char *key, double timeout_s,
                                hocket_group **group)
{
    int size = hk_endpoint_size(endpoint);
    int *ranks = malloc((size_t)size * sizeof *ranks);
    hk_world *world = ranks != NULL ? make_world(endpoint, key) : NULL;
    if (world == NULL) {
        free(ranks);
        hk_endpoint_close(endpoint);
        return hk_fail_memory(sizeof *world, "a world");
    }
    for (int i = 0; i < size; i++)
        ranks[i] = i;
    hold_world(world);
    hocket_status status =
        hk_group_open(world, endpoint, HK_CONTEXT_WORLD, ranks, size, timeout_s, group);
    free(ranks);
    release_world(world);
    return status;
}

/* === hocket_init ============================================================================= */

static void print_key(const hk_settings *settings, char key[KEY_MAX])
{
    snprintf(key, KEY_MAX, "%s|%s|%s|%d|%d", settings->backend, settings->coordinator,
             settings->hostfile, settings->rank, settings->world_size);
}

static hocket_status duplicate(hk_world *world, uint64_t number, double timeout_s,
                               hocket_group **group)
{
    int size = hk_endpoint_size(world->endpoint), ranks[size];
    for (int i = 0; i < size; i++)
        ranks[i] = i;
    uint64_t context = hk_context_child(HK_CONTEXT_WORLD, UINT64_MAX, number);
    hocket_status status =
        hk_group_open(world, world->endpoint, context, ranks, size, timeout_s, group);
    release_world(world);
    return status;
}

/* MLX has variables of its own, of which settings may know nothing. */
static bool is_delegate(const hk_settings *settings)
{
    return strncmp(settings->backend, "mlx", 3) == 0;
}

/* A world of one rank, whatever its backend would be, meets nobody. */
static hocket_status open_transport(const hk_settings *settings, hk_time deadline,
                                    const hocket_transport **transport, void **self,
                                    hk_choices *choices)
{
    if (settings->world_size == 1 && (settings->configured || !is_delegate(settings)))
        return hk_local_open("", 0, 1, deadline, transport, self);
    hocket_status status = hk_backend_open(settings, deadline, transport, self, choices);
    if (status != HOCKET_ERR_UNAVAILABLE || settings->configured || settings->strict ||
        !hocket_is_available(settings->backend))
        return status;
    return hk_local_open("", 0, 1, deadline, transport, self);
}

/* HOCKET_FAULT and HOCKET_TRACE. The trace lies outside, where it sees the delays. */
static hocket_status wrap_as_asked(const hk_settings *settings, const hocket_transport **transport,
                                   void **self)
{
    hocket_status status = HOCKET_OK;
    if (settings->fault[0] != '\0')
        status = hk_fault_wrap(*transport, *self, settings->fault, transport, self);
    if (status == HOCKET_OK && settings->trace[0] != '\0')
        status = hk_trace_wrap(*transport, *self, settings->trace, transport, self);
    if (status != HOCKET_OK && (*transport)->close != NULL)
        (*transport)->close(*self, false);
    return status;
}

/* Whatever is done here has until the deadline of hocket_init: also the group's own opening, whose
 * timeout_s the caller sets then. */
static hocket_status open_world(const hk_settings *settings, hocket_group **group)
{
    char key[KEY_MAX];
    uint64_t number;
    hk_time deadline = hk_deadline_after(settings->init_timeout_s);
    print_key(settings, key);
    hk_world *world = settings->configured ? find_world(key, &number) : NULL;
    if (world != NULL)
        return duplicate(world, number, settings->init_timeout_s, group);
    const hocket_transport *transport;
    void *self;
    hk_endpoint *endpoint;
    hk_choices choices = {.count = 0};
    hocket_status status = HOCKET_OK;
    if (settings->fault[0] != '\0')
        status = hk_fault_check(settings->fault); /* before any other rank is bothered */
    if (status == HOCKET_OK)
        status = open_transport(settings, deadline, &transport, &self, &choices);
    if (status == HOCKET_OK)
        status = wrap_as_asked(settings, &transport, &self);
    if (status != HOCKET_OK)
        return status;
    status = hk_endpoint_open(transport, self, &endpoint);
    if (status == HOCKET_OK)
        hk_endpoint_tune(endpoint, &choices);
    if (status == HOCKET_OK)
        return open_first(endpoint, settings->configured ? key : NULL,
                          hk_to_seconds(hk_deadline_left(deadline)), group);
    if (transport->close != NULL)
        transport->close(self, false);
    return status;
}

hocket_status hocket_init(const hocket_config *config, hocket_group **group)
{
    if (group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_init: group is NULL");
    *group = NULL;
    hk_settings *settings = malloc(sizeof *settings);
    if (settings == NULL)
        return hk_fail_memory(sizeof *settings, "settings");
    hocket_status status = hk_settings_read(config, settings);
    if (status == HOCKET_OK)
        status = hk_backend_known(settings->backend);
    if (status == HOCKET_OK && !settings->configured && settings->strict && !is_delegate(settings))
        status = hk_fail(HOCKET_ERR_UNAVAILABLE,
                         "hocket_init: nothing says which ranks there are; start the program with "
                         "`hocket run`, or set HOCKET_RANK, HOCKET_WORLD_SIZE and "
                         "HOCKET_COORDINATOR");
    else if (status == HOCKET_OK)
        status = open_world(settings, group);
    if (status == HOCKET_OK)
        (*group)->timeout_s = settings->timeout_s;
    hk_settings_wipe(settings);
    free(settings);
    return status;
}

hocket_status hocket_init_with(const hocket_transport *transport, void *self, hocket_group **group)
{
    if (group == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_init_with: group is NULL");
    *group = NULL;
    hk_endpoint *endpoint;
    hocket_status status = hk_endpoint_open(transport, self, &endpoint);
    if (status != HOCKET_OK)
        return status;
    return open_first(endpoint, NULL, HK_TIMEOUT_DEFAULT_S, group);
}

bool hocket_is_available(const char *backend)
{
    if (backend == NULL) {
        hk_fail(HOCKET_ERR_INVALID, "hocket_is_available: backend is NULL");
        return false;
    }
    return hk_backend_available(backend) == HOCKET_OK;
}

/* === hocket_split ============================================================================ */

typedef struct member {
    int32_t color, key, rank;
} member;

static int by_key(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->rank < y->rank ? -1 : 1;
}

/* Everyone's color and key, of which this rank's subgroup is made. */
static hocket_status split_members(hocket_group *group, int color, int key, int *ranks, int *count,
                                   uint64_t *number)
{
    int size = group->comm->size;
    int32_t mine[2] = {color, key}, all[size][2];
    hk_job job = {.operation = HK_SPLIT, .send = mine, .recv = all, .count = 2, .number = number};
    hocket_status status = hk_submit(group, &job, NULL);
    if (status != HOCKET_OK)
        return status;
    member members[size];
    *count = 0;
    for (int i = 0; i < size; i++)
        if (all[i][0] == color)
            members[(*count)++] = (member){color, all[i][1], i};
    qsort(members, (size_t)*count, sizeof *members, by_key);
    for (int i = 0; i < *count; i++)
        ranks[i] = group->comm->ranks[members[i].rank];
    return HOCKET_OK;
}

hocket_status hocket_split(hocket_group *group, int color, int key, hocket_group **subgroup)
{
    hocket_status status = hk_check_group(group, "hocket_split");
    if (status != HOCKET_OK)
        return status;
    if (subgroup == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_split on rank %d of %d: subgroup is NULL",
                       group->comm->rank, group->comm->size);
    *subgroup = NULL;
    if (color < HOCKET_NO_COLOR)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_split on rank %d of %d: color %d is below 0 and not HOCKET_NO_COLOR",
                       group->comm->rank, group->comm->size, color);
    int ranks[group->comm->size], count;
    uint64_t number = 0;
    status = split_members(group, color, key, ranks, &count, &number);
    uint64_t context = hk_context_child(group->comm->context, number, (uint64_t)color);
    if (status != HOCKET_OK && number > 0 && color != HOCKET_NO_COLOR)
        hk_comm_abandon(group->comm, context);
    if (status != HOCKET_OK || color == HOCKET_NO_COLOR)
        return status;
    return hk_group_open(group->world, group->comm->endpoint, context, ranks, count,
                         group->timeout_s, subgroup);
}

/* === Small things ============================================================================ */

const char *hocket_backend(const hocket_group *group)
{
    return group != NULL ? group->backend : "";
}

int hocket_rank(const hocket_group *group)
{
    return group != NULL ? group->comm->rank : -1;
}

int hocket_world_size(const hocket_group *group)
{
    return group != NULL ? group->comm->size : 0;
}

void *hocket_group_team(const hocket_group *group, const hocket_collectives *collectives)
{
    return group != NULL && group->team.native == collectives ? group->team.handle : NULL;
}

hocket_status hocket_set_timeout(hocket_group *group, double seconds)
{
    hocket_status status = hk_check_group(group, "hocket_set_timeout");
    if (status != HOCKET_OK)
        return status;
    if (!(seconds > 0))
        return hk_fail(HOCKET_ERR_INVALID, "hocket_set_timeout on rank %d of %d: %g seconds",
                       group->comm->rank, group->comm->size, seconds);
    group->timeout_s = seconds;
    return HOCKET_OK;
}

hocket_status hocket_abort(hocket_group *group, const char *reason)
{
    hocket_status status = hk_check_group(group, "hocket_abort");
    if (status != HOCKET_OK)
        return status;
    hk_error error;
    hk_error_set(&error, HOCKET_ERR_ABORTED, "rank %d called hocket_abort: %s", group->comm->rank,
                 reason != NULL ? reason : "no reason given");
    hk_error_add_rank(&error, group->comm->rank);
    hk_comm_break(group->comm, &error);
    return HOCKET_OK;
}

hocket_status hocket_shrink(hocket_group *group, hocket_group **survivors)
{
    hocket_status status = hk_check_group(group, "hocket_shrink");
    if (status != HOCKET_OK)
        return status;
    if (survivors == NULL)
        return hk_fail(HOCKET_ERR_INVALID, "hocket_shrink: survivors is NULL");
    *survivors = NULL;
    if (hk_comm_check(group->comm) == HOCKET_OK)
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_shrink on rank %d of %d: the group is not broken", group->comm->rank,
                       group->comm->size);
    int size = group->comm->size, ranks[size], count = 0;
    bool out[size];
    if (atomic_load(&group->shrunk))
        return hk_fail(HOCKET_ERR_INVALID,
                       "hocket_shrink on rank %d of %d: this group was shrunk before; shrink the "
                       "group that came of it",
                       group->comm->rank, size);
    hk_time deadline = hk_deadline_after(group->timeout_s);
    status = hk_comm_shrink(group->comm, deadline, out);
    if (status != HOCKET_OK) {
        hk_fail_prefix("hocket_shrink: ");
        return status;
    }
    uint64_t hash = 0;
    for (int i = 0; i < size; i++) {
        if (!out[i])
            ranks[count++] = group->comm->ranks[i];
        hash = hk_mix(hash, out[i]);
    }
    atomic_store(&group->shrunk, true);
    uint64_t context = hk_context_child(group->comm->context, UINT64_MAX - 1, hash);
    return open_group(group->world, group->comm->endpoint, context, ranks, count, group->timeout_s,
                      true, survivors);
}
