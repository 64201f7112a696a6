#include "transport/state.h"

#include "core/nap.h"
#include "core/settings.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN_NS (20 * HK_MICROSECOND) /* a loopback round trip */
#define YIELD_NS HK_MILLISECOND
#define LOOK_NS (500 * HK_MICROSECOND)
#define FAREWELL_NS (200 * HK_MILLISECOND)  /* for the last news to leave */
#define LAST_WORDS_NS (50 * HK_MILLISECOND) /* for the news of a fault to leave */
#define SIDESTEP_ROUNDS 1000
#define NAP_NS (20 * HK_MILLISECOND)

/* === Lock ==================================================================================== */

/* A leader may sleep in progress with the lock held: whoever wants the lock wakes it first. */
void hk_endpoint_lock(hk_endpoint *endpoint)
{
    if (pthread_mutex_trylock(&endpoint->lock) == 0)
        return;
    atomic_fetch_add(&endpoint->wanting, 1);
    if (endpoint->transport->wake != NULL)
        endpoint->transport->wake(endpoint->self);
    pthread_mutex_lock(&endpoint->lock);
    atomic_fetch_sub(&endpoint->wanting, 1);
}

void hk_endpoint_unlock(hk_endpoint *endpoint)
{
    pthread_mutex_unlock(&endpoint->lock);
}

/* Mutexes are not fair: the leader, which holds the lock nearly always, lets those who want it
 * pass. */
void hk_endpoint_step_aside(hk_endpoint *endpoint)
{
    if (atomic_load(&endpoint->wanting) == 0)
        return;
    pthread_mutex_unlock(&endpoint->lock);
    for (int i = 0; i < SIDESTEP_ROUNDS && atomic_load(&endpoint->wanting) > 0; i++)
        sched_yield();
    pthread_mutex_lock(&endpoint->lock);
}

/* The sleep is on a lock of its own: who wakes up wants the endpoint's lock like everybody else, so
 * that the leader lets it pass. */
void hk_endpoint_follow(hk_endpoint *endpoint)
{
    endpoint->followers++;
    pthread_mutex_lock(&endpoint->turn_lock);
    unsigned long seen = endpoint->turns;
    bool called = true;
    hk_endpoint_unlock(endpoint);
    while (endpoint->turns == seen && called)
        called = hk_nap(&endpoint->turn, &endpoint->turn_lock, NAP_NS);
    pthread_mutex_unlock(&endpoint->turn_lock);
    hk_endpoint_lock(endpoint);
    endpoint->followers--;
}

void hk_endpoint_call_followers(hk_endpoint *endpoint)
{
    if (endpoint->followers == 0)
        return;
    pthread_mutex_lock(&endpoint->turn_lock);
    endpoint->turns++;
    pthread_cond_broadcast(&endpoint->turn);
    pthread_mutex_unlock(&endpoint->turn_lock);
}

/* === Progress ================================================================================ */

void hocket_op_complete(hocket_op *op, hocket_status status, size_t received)
{
    hk_endpoint *endpoint = op->owner;
    op->status = status;
    op->received = received;
    op->done = true;
    endpoint->completed++;
}

hocket_status hk_endpoint_excuse(const hk_endpoint *endpoint, hocket_status status)
{
    if (hk_error_last()->status == status)
        return status;
    return hk_fail(status, "backend %s failed without saying why", endpoint->transport->name);
}

static void transport_failed(hk_endpoint *endpoint, hocket_status status)
{
    hk_endpoint_excuse(endpoint, status);
    endpoint->broken = *hk_error_last();
    for (hk_comm *comm = endpoint->comms; comm != NULL; comm = comm->next)
        hk_news_transport_failed(comm);
}

void hk_endpoint_turn(hk_endpoint *endpoint, hk_time wait)
{
    hocket_status status = HOCKET_OK;
    if (endpoint->broken.status == HOCKET_OK)
        status = endpoint->transport->progress(endpoint->self, wait);
    if (status != HOCKET_OK)
        transport_failed(endpoint, status);
    endpoint->rounds++;
    hk_news_digest(endpoint);
}

static int host_of(const hk_endpoint *endpoint, int rank)
{
    const hocket_transport *transport = endpoint->transport;
    return transport->host_of != NULL ? transport->host_of(endpoint->self, rank) : 0;
}

static bool share_host(const hk_endpoint *endpoint, const int *ranks, int size)
{
    for (int i = 1; i < size; i++)
        if (host_of(endpoint, ranks[i]) != host_of(endpoint, ranks[0]))
            return false;
    return true;
}

static int ranks_here(const hk_endpoint *endpoint)
{
    int mine = host_of(endpoint, endpoint->rank), here = 0;
    for (int i = 0; i < endpoint->size; i++)
        here += host_of(endpoint, i) == mine;
    return here;
}

/* With more ranks than cores a spinning rank keeps the one it waits for from running. So does one
 * that looks at 63 sockets each time it is its turn, when the turns are further apart than the
 * looks should be. */
static void choose_patience(hk_endpoint *endpoint)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN), ranks = ranks_here(endpoint);
    bool crowded = ranks > cores;
    endpoint->spin = crowded ? 0 : SPIN_NS;
    endpoint->yield = YIELD_NS;
    endpoint->look = LOOK_NS * (crowded ? ranks / (cores > 0 ? cores : 1) : 1);
}

/* === Life ==================================================================================== */

static hocket_status check_transport(const hocket_transport *t)
{
    if (t == NULL || t->size < sizeof *t)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the transport's size field is not sizeof(hocket_transport)");
    const struct {
        const char *name;
        bool there;
    } slots[] = {{"name", t->name != NULL},
                 {"rank", t->rank != NULL},
                 {"world_size", t->world_size != NULL},
                 {"post", t->post != NULL},
                 {"cancel", t->cancel != NULL},
                 {"progress", t->progress != NULL},
                 {"probe", t->probe != NULL}};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        if (!slots[i].there)
            return hk_fail(HOCKET_ERR_INVALID, "transport %s leaves the mandatory slot %s empty",
                           t->name != NULL ? t->name : "without a name", slots[i].name);
    return HOCKET_OK;
}

static void free_endpoint(hk_endpoint *endpoint)
{
    pthread_cond_destroy(&endpoint->turn);
    pthread_mutex_destroy(&endpoint->turn_lock);
    pthread_cond_destroy(&endpoint->idle);
    pthread_mutex_destroy(&endpoint->lock);
    free(endpoint->peers);
    free(endpoint);
}

hocket_status hk_endpoint_open(const hocket_transport *transport, void *self,
                               hk_endpoint **endpoint)
{
    *endpoint = NULL;
    hocket_status status = check_transport(transport);
    if (status != HOCKET_OK)
        return status;
    int rank = transport->rank(self), size = transport->world_size(self);
    if (size < 1 || size > HK_WORLD_MAX || rank < 0 || rank >= size)
        return hk_fail(HOCKET_ERR_INVALID,
                       "transport %s says that this is rank %d of %d; a world has at most %d ranks",
                       transport->name, rank, size, HK_WORLD_MAX);
    hk_endpoint *ep = calloc(1, sizeof *ep);
    if (ep == NULL || (ep->peers = calloc((size_t)size, sizeof *ep->peers)) == NULL) {
        free(ep);
        return hk_fail_memory(sizeof *ep, "an endpoint");
    }
    ep->transport = transport;
    ep->self = self;
    ep->rank = rank;
    ep->size = size;
    ep->delegate = transport->flags & HOCKET_TRANSPORT_DELEGATE;
    pthread_mutex_init(&ep->lock, NULL);
    pthread_mutex_init(&ep->turn_lock, NULL);
    hk_nap_init(&ep->turn);
    hk_nap_init(&ep->idle);
    status = hk_background_open(ep);
    if (status != HOCKET_OK) {
        free_endpoint(ep);
        return status;
    }
    choose_patience(ep);
    hk_self_init(ep);
    pthread_mutex_lock(&ep->lock);
    hk_news_listen(ep);
    pthread_mutex_unlock(&ep->lock);
    *endpoint = ep;
    return HOCKET_OK;
}

void hk_endpoint_close(hk_endpoint *endpoint)
{
    hk_background_stop(endpoint);
    hk_endpoint_lock(endpoint);
    hk_news_farewell(endpoint);
    hk_time until = hk_now() + FAREWELL_NS;
    while (endpoint->letters != NULL && endpoint->broken.status == HOCKET_OK && hk_now() < until)
        hk_endpoint_turn(endpoint, HK_MILLISECOND);
    hk_news_fini(endpoint);
    hk_endpoint_unlock(endpoint);
    if (endpoint->transport->close != NULL)
        endpoint->transport->close(endpoint->self, !endpoint->faulty);
    hk_self_fini(endpoint);
    hk_scratch_fini(&endpoint->shelf);
    free_endpoint(endpoint);
}

void hk_endpoint_hold(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    endpoint->holds++;
    hk_endpoint_unlock(endpoint);
}

void hk_endpoint_release(hk_endpoint *endpoint)
{
    hk_endpoint_lock(endpoint);
    bool last = --endpoint->holds == 0 && endpoint->comms == NULL;
    hk_endpoint_unlock(endpoint);
    if (last)
        hk_endpoint_close(endpoint);
}

const hocket_transport *hk_endpoint_transport(const hk_endpoint *endpoint)
{
    return endpoint->transport;
}

void *hk_endpoint_self(const hk_endpoint *endpoint)
{
    return endpoint->self;
}

int hk_endpoint_rank(const hk_endpoint *endpoint)
{
    return endpoint->rank;
}

int hk_endpoint_size(const hk_endpoint *endpoint)
{
    return endpoint->size;
}

const hk_choices *hk_endpoint_choices(const hk_endpoint *endpoint)
{
    return &endpoint->choices;
}

bool hk_endpoint_is_delegate(const hk_endpoint *endpoint)
{
    return endpoint->delegate;
}

void hk_endpoint_tune(hk_endpoint *endpoint, const hk_choices *own)
{
    hk_endpoint_lock(endpoint);
    endpoint->choices = *own;
    hk_endpoint_unlock(endpoint);
}

/* === Groups ================================================================================== */

static void free_comm(hk_comm *comm)
{
    free(comm->ranks);
    free(comm->members);
    free(comm->left);
    free(comm->stayed);
    free(comm->answers);
    free(comm->arrived);
    free(comm->history);
    hk_shrink_free(comm->shrink);
    free(comm);
}

hocket_status hk_comm_open(hk_endpoint *endpoint, uint64_t context, const int *ranks, int size,
                           hk_comm **comm)
{
    *comm = NULL;
    hk_comm *new = calloc(1, sizeof *new);
    if (new == NULL)
        return hk_fail_memory(sizeof *new, "a group");
    new->endpoint = endpoint;
    new->whole = new;
    new->context = context;
    new->size = size;
    new->rank = -1;
    new->ranks = calloc((size_t)size, sizeof *new->ranks);
    new->left = calloc((size_t)size, sizeof *new->left);
    new->stayed = calloc((size_t)size, sizeof *new->stayed);
    new->answers = calloc((size_t)size, sizeof *new->answers);
    new->arrived = calloc((size_t)size, sizeof *new->arrived);
    new->history = calloc(1, sizeof *new->history);
    if (new->ranks == NULL || new->left == NULL || new->stayed == NULL || new->answers == NULL ||
        new->arrived == NULL || new->history == NULL) {
        free_comm(new);
        return hk_fail_memory((size_t)size * 16, "a group's members");
    }
    memcpy(new->ranks, ranks, (size_t)size * sizeof *ranks);
    new->rank = hk_comm_rank_of(new, endpoint->rank);
    new->one_host = share_host(endpoint, ranks, size);
    hk_endpoint_lock(endpoint);
    new->next = endpoint->comms;
    endpoint->comms = new;
    hk_news_opened(new);
    hk_endpoint_unlock(endpoint);
    *comm = new;
    return HOCKET_OK;
}

hocket_status hk_comm_part(hk_comm *whole, uint64_t context, const int *members, int size,
                           hk_comm **part)
{
    *part = NULL;
    hk_comm *new = calloc(1, sizeof *new);
    if (new == NULL)
        return hk_fail_memory(sizeof *new, "a part of a group");
    new->ranks = calloc((size_t)size, sizeof *new->ranks);
    new->members = calloc((size_t)size, sizeof *new->members);
    if (new->ranks == NULL || new->members == NULL) {
        free_comm(new);
        return hk_fail_memory((size_t)size * 2 * sizeof(int), "a part of a group");
    }
    new->endpoint = whole->endpoint;
    new->whole = whole;
    new->context = context;
    new->size = size;
    for (int i = 0; i < size; i++) {
        new->ranks[i] = whole->ranks[members[i]];
        new->members[i] = members[i];
    }
    new->rank = hk_comm_rank_of(new, whole->endpoint->rank);
    new->one_host = share_host(new->endpoint, new->ranks, size);
    *part = new;
    return HOCKET_OK;
}

void hk_comm_part_free(hk_comm *part)
{
    if (part != NULL)
        free_comm(part);
}

void hk_comm_close(hk_comm *comm)
{
    if (comm == NULL)
        return;
    hk_endpoint *endpoint = comm->endpoint;
    hk_endpoint_lock(endpoint);
    hk_news_left(comm);
    hk_comm **link = &endpoint->comms;
    while (*link != comm)
        link = &(*link)->next;
    *link = comm->next;
    hk_former_begin(comm);
    bool last = endpoint->holds == 0 && endpoint->comms == NULL;
    hk_endpoint_unlock(endpoint);
    free_comm(comm);
    if (last)
        hk_endpoint_close(endpoint);
}

int hk_comm_rank_of(const hk_comm *comm, int world_rank)
{
    for (int i = 0; i < comm->size; i++)
        if (comm->ranks[i] == world_rank)
            return i;
    return -1;
}

uint64_t hk_context_child(uint64_t parent, uint64_t number, uint64_t color)
{
    return hk_mix(hk_mix(hk_mix(UINT64_C(0x686F636B6574), parent), number), color) | 2;
}

uint64_t hk_comm_messages(const hk_comm *comm)
{
    return hk_mix(comm->context, UINT64_C(0x6D657373)) | 2;
}

/* A rank that ends here must have told the others, or it would seem to be the first to go. Its
 * words may have to wait behind data that was on its way; who never takes them is not waited for
 * long, and once, by all threads together. Lock held. */
static void last_words(hk_comm *comm)
{
    if (comm->heard_until == 0)
        comm->heard_until = hk_now() + LAST_WORDS_NS;
    hk_endpoint_turn(comm->endpoint, 0);
    while (comm->endpoint->letters != NULL && comm->endpoint->broken.status == HOCKET_OK &&
           hk_now() < comm->heard_until)
        hk_endpoint_turn(comm->endpoint, HK_MILLISECOND);
}

hocket_status hk_comm_break(hk_comm *comm, const hk_error *error)
{
    hk_endpoint_lock(comm->endpoint);
    hk_news_fault(comm, error, true);
    last_words(comm);
    hocket_status status = hk_fail_with(&comm->fault);
    hk_endpoint_unlock(comm->endpoint);
    return status;
}

void hk_comm_pass_on(hk_comm *comm)
{
    hk_endpoint_lock(comm->endpoint);
    if (comm->fault.status != HOCKET_OK)
        last_words(comm);
    hk_endpoint_unlock(comm->endpoint);
}

void hk_comm_abandon(hk_comm *comm, uint64_t child)
{
    hk_endpoint_lock(comm->endpoint);
    if (comm->fault.status != HOCKET_OK)
        hk_news_absent(comm, child);
    hk_endpoint_turn(comm->endpoint, 0);
    hk_endpoint_unlock(comm->endpoint);
}

hk_algorithm hk_comm_choose(const hk_comm *comm, hk_medium medium, hk_operation operation,
                            size_t bytes, bool ordered)
{
    return hk_choose(&comm->endpoint->choices, medium, operation, comm->size, bytes, ordered);
}

bool hk_endpoint_has_looked(const hk_endpoint *endpoint, hk_time now)
{
    return now - atomic_load_explicit(&endpoint->looked, memory_order_relaxed) <= endpoint->look;
}

hocket_status hk_comm_look(hk_comm *comm, hk_time now)
{
    hk_endpoint *endpoint = comm->endpoint;
    if (!hk_endpoint_has_looked(endpoint, now) && comm->fault.status == HOCKET_OK &&
        !endpoint->leading && !endpoint->delegate) {
        atomic_store_explicit(&endpoint->looked, now, memory_order_relaxed);
        hk_endpoint_turn(endpoint, 0);
    }
    return comm->fault.status == HOCKET_OK ? HOCKET_OK : hk_fail_with(&comm->fault);
}

hocket_status hk_comm_check(hk_comm *comm)
{
    hk_endpoint_lock(comm->endpoint);
    hocket_status status = hk_comm_look(comm, hk_now());
    hk_endpoint_unlock(comm->endpoint);
    return status;
}
