/* Ranks as threads of one process: the smallest transport, to read first.
 *
 * A world has one lock and one inbox a rank. A send copies its bytes into a parcel and puts it into
 * the peer's inbox; the peer's progress hands parcels to its mailbox, which matches them. What lies
 * above the window stays in the sender's memory: the parcel carries an offer, and the peer copies
 * from there when a receive has claimed it.
 */
#include "transport/local.h"

#include "core/nap.h"
#include "core/status.h"
#include "transport/mailbox.h"
#include "transport/table.h"
#include "transport/window.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAP_NS HK_SECOND /* while ranks are missing */

/* A send that waits for its receive. Both sides hold it; the world's lock protects it. */
typedef struct offer {
    struct offer *next; /* in the sender's list */
    hocket_op *send;    /* NULL: taken back */
    bool taken;
    bool copying; /* the peer copies from the send's buffer, without the lock */
    int holders;
} offer;

typedef enum parcel_kind { PARCEL_MESSAGE, PARCEL_WITHDRAWN, PARCEL_GONE } parcel_kind;

typedef struct parcel {
    struct parcel *next;
    parcel_kind kind;
    int from;
    uint64_t context;
    uint32_t tag;
    size_t length;
    void *bytes; /* a copy, or NULL: */
    offer *offer;
} parcel;

typedef struct world world;

typedef struct place { /* of one rank */
    world *world;
    int rank;
    bool joined;
    hk_mailbox box; /* this rank's alone */
    bool *gone;     /* whose last parcel has been read */

    /* Under the world's lock. */
    bool closed;
    bool rung; /* something came, or wake was called */
    pthread_cond_t bell;
    parcel *first, **last; /* inbox */
    offer *offers;         /* this rank's unanswered ones */
    hk_window unread;      /* at this rank, by sender and context */
} place;

struct world {
    world *next; /* in the registry, while ranks are missing */
    char *name;
    int size, joined, closed;
    pthread_mutex_t lock;
    pthread_cond_t complete;
    pthread_cond_t copied; /* an offer that was being copied */
    place places[];
};

static void ring(place *at)
{
    at->rung = true;
    pthread_cond_signal(&at->bell);
}

static void put(place *to, parcel *p)
{
    p->next = NULL;
    *to->last = p;
    to->last = &p->next;
    ring(to);
}

static void release_offer(offer *o, int holders)
{
    o->holders -= holders;
    if (o->holders == 0)
        free(o);
}

/* === Sending ================================================================================= */

/* Whether the peer takes so much more unasked. Only this rank adds there, so it stays true. */
static bool has_room(place *me, place *to, const hocket_op *op, bool *closed)
{
    pthread_mutex_lock(&me->world->lock);
    size_t unread = hk_window_count(&to->unread, me->rank, op->context);
    *closed = to->closed;
    pthread_mutex_unlock(&me->world->lock);
    return unread + hk_mailbox_cost(op->length) <= HK_WINDOW_BYTES;
}

/* Without the world's lock, which all ranks want: copies may be long. */
static hocket_status fill(parcel *p, hocket_op *op, bool room)
{
    if (room) {
        if ((p->bytes = malloc(op->length > 0 ? op->length : 1)) == NULL)
            return hk_fail_memory(op->length, "a message");
        if (op->length > 0)
            memcpy(p->bytes, op->buffer, op->length);
        return HOCKET_OK;
    }
    if ((p->offer = malloc(sizeof *p->offer)) == NULL)
        return hk_fail_memory(sizeof *p->offer, "an announcement");
    *p->offer = (offer){.send = op, .holders = 2};
    return HOCKET_OK;
}

/* Into the peer's inbox. World locked. */
static hocket_status hand_over(place *me, place *to, parcel *p, hocket_op *op)
{
    if (p->offer != NULL) {
        p->offer->next = me->offers;
        me->offers = p->offer;
        op->scratch[0] = p->offer;
    } else if (hk_window_add(&to->unread, me->rank, op->context, hk_mailbox_cost(op->length))) {
        hocket_op_complete(op, HOCKET_OK, 0);
    } else {
        return hk_fail_memory(op->length, "a message");
    }
    put(to, p);
    return HOCKET_OK;
}

static hocket_status post_send(place *me, hocket_op *op)
{
    place *to = &me->world->places[op->peer];
    bool closed, room = has_room(me, to, op, &closed);
    parcel *p = malloc(sizeof *p);
    if (p == NULL)
        return hk_fail_memory(sizeof *p, "a message");
    *p = (parcel){.kind = PARCEL_MESSAGE,
                  .from = me->rank,
                  .context = op->context,
                  .tag = op->tag,
                  .length = op->length};
    hocket_status status = closed ? HOCKET_OK : fill(p, op, room);
    pthread_mutex_lock(&me->world->lock);
    closed = to->closed;
    if (closed && status == HOCKET_OK)
        hocket_op_complete(op, HOCKET_ERR_PEER_LOST, 0);
    else if (status == HOCKET_OK)
        status = hand_over(me, to, p, op);
    pthread_mutex_unlock(&me->world->lock);
    if (closed || status != HOCKET_OK) {
        free(p->bytes);
        free(p->offer);
        free(p);
    }
    return status;
}

static void unlist_offer(place *me, offer *o)
{
    offer **link = &me->offers;
    while (*link != o)
        link = &(*link)->next;
    *link = o->next;
    release_offer(o, 1);
}

static void cancel_send(place *me, hocket_op *op)
{
    offer *o = op->scratch[0];
    parcel *p = malloc(sizeof *p); /* without it the peer finds out when it wants the message */
    pthread_mutex_lock(&me->world->lock);
    while (o->copying)
        pthread_cond_wait(&me->world->copied, &me->world->lock);
    o->send = NULL;
    if (p != NULL && !me->world->places[op->peer].closed) {
        *p = (parcel){.kind = PARCEL_WITHDRAWN, .from = me->rank, .offer = o};
        o->holders++;
        put(&me->world->places[op->peer], p);
        p = NULL;
    }
    unlist_offer(me, o);
    pthread_mutex_unlock(&me->world->lock);
    free(p);
}

/* Completes the sends whose offers were taken, or whose peer has closed. World locked. */
static void collect_offers(place *me)
{
    for (offer *o = me->offers, *next; o != NULL; o = next) {
        next = o->next;
        bool closed = me->world->places[o->send->peer].closed;
        if (!o->taken && !closed)
            continue;
        hocket_op_complete(o->send, o->taken ? HOCKET_OK : HOCKET_ERR_PEER_LOST, 0);
        unlist_offer(me, o);
    }
}

/* === Receiving =============================================================================== */

/* The mailbox wants the bytes of an offer. */
static void claimed(void *owner, hk_message *message)
{
    place *me = owner;
    offer *o = message->source;
    pthread_mutex_lock(&me->world->lock);
    bool there = o->send != NULL;
    if (there) {
        const void *bytes = o->send->buffer;
        o->copying = true;
        pthread_mutex_unlock(&me->world->lock);
        if (message->length > 0)
            memcpy(hk_message_space(message), bytes, message->length);
        pthread_mutex_lock(&me->world->lock);
        o->copying = false;
        pthread_cond_broadcast(&me->world->copied);
        o->taken = true;
        ring(&me->world->places[message->from]);
    }
    release_offer(o, 1);
    pthread_mutex_unlock(&me->world->lock);
    if (there)
        hk_mailbox_arrived(message, message->length);
    else
        hk_mailbox_withdraw(&me->box, message);
}

static void was_read(void *owner, int from, uint64_t context, size_t bytes)
{
    place *me = owner;
    pthread_mutex_lock(&me->world->lock);
    hk_window_subtract(&me->unread, from, context, bytes);
    pthread_mutex_unlock(&me->world->lock);
}

/* The peer sees no other sign: it waits until it takes the offer back, or hears that nobody is
 * here. */
static void dropped(void *owner, hk_message *message)
{
    place *me = owner;
    pthread_mutex_lock(&me->world->lock);
    release_offer(message->source, 1);
    pthread_mutex_unlock(&me->world->lock);
}

static hocket_status open_message(place *me, parcel *p)
{
    bool done;
    uint64_t ticket = p->bytes == NULL ? (uint64_t)(uintptr_t)p->offer : 0;
    void *data = p->bytes != NULL ? p->bytes : p->offer;
    if (hk_mailbox_arrive(&me->box, p->from, p->context, p->tag, p->length, ticket, data, &done) !=
        NULL)
        return HOCKET_OK;
    free(p->bytes);
    return hk_fail_memory(p->length, "a message that arrived");
}

static void withdrawn(place *me, offer *o, int from)
{
    hk_message *message = hk_mailbox_announced(&me->box, from, (uint64_t)(uintptr_t)o);
    if (message != NULL)
        hk_mailbox_withdraw(&me->box, message);
    pthread_mutex_lock(&me->world->lock);
    release_offer(o, 1);
    pthread_mutex_unlock(&me->world->lock);
}

static hocket_status open_parcel(place *me, parcel *p)
{
    hocket_status status = HOCKET_OK;
    switch (p->kind) {
    case PARCEL_MESSAGE: status = open_message(me, p); break;
    case PARCEL_WITHDRAWN: withdrawn(me, p->offer, p->from); break;
    case PARCEL_GONE:
        me->gone[p->from] = true;
        hk_mailbox_peer_gone(&me->box, p->from);
        break;
    }
    free(p);
    return status;
}

static hocket_status local_progress(void *self, int64_t wait_ns)
{
    place *me = self;
    pthread_mutex_lock(&me->world->lock);
    if (!me->rung && wait_ns > 0)
        hk_nap(&me->bell, &me->world->lock, wait_ns);
    me->rung = false;
    collect_offers(me);
    parcel *p = me->first;
    me->first = NULL;
    me->last = &me->first;
    pthread_mutex_unlock(&me->world->lock);
    hocket_status status = HOCKET_OK;
    while (p != NULL) {
        parcel *next = p->next;
        hocket_status opened = open_parcel(me, p);
        status = opened != HOCKET_OK ? opened : status;
        p = next;
    }
    return status;
}

static void local_wake(void *self)
{
    place *me = self;
    pthread_mutex_lock(&me->world->lock);
    ring(me);
    pthread_mutex_unlock(&me->world->lock);
}

/* === The other slots ========================================================================= */

static int local_rank(void *self)
{
    return ((place *)self)->rank;
}

static int local_world_size(void *self)
{
    return ((place *)self)->world->size;
}

static hocket_status local_post(void *self, hocket_op *op)
{
    place *me = self;
    if (op->kind == HOCKET_OP_SEND)
        return post_send(me, op);
    hocket_status status = hk_mailbox_post(&me->box, op);
    return status == HOCKET_OK ? status : hk_fail_memory(sizeof *op, "a receive");
}

static void local_cancel(void *self, hocket_op *op)
{
    place *me = self;
    if (op->kind == HOCKET_OP_SEND)
        cancel_send(me, op);
    else
        hk_mailbox_cancel(&me->box, op);
}

static bool local_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    return hk_mailbox_probe(&((place *)self)->box, from, context, tag, length);
}

static void local_forget(void *self, uint64_t context)
{
    place *me = self;
    hk_mailbox_forget(&me->box, context);
    pthread_mutex_lock(&me->world->lock);
    for (int i = 0; i < me->world->size; i++)
        hk_window_forget(&me->unread, i, context);
    pthread_mutex_unlock(&me->world->lock);
}

static void free_world(world *w)
{
    for (int i = 0; i < w->size; i++) {
        place *at = &w->places[i];
        while (at->first != NULL) {
            parcel *p = at->first;
            at->first = p->next;
            if (p->kind == PARCEL_WITHDRAWN)
                withdrawn(at, p->offer, p->from);
            else if (p->offer != NULL)
                release_offer(p->offer, 1);
            free(p->bytes);
            free(p);
        }
        hk_mailbox_fini(&at->box);
        hk_window_fini(&at->unread);
        free(at->gone);
        pthread_cond_destroy(&at->bell);
    }
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->complete);
    pthread_cond_destroy(&w->copied);
    free(w->name);
    free(w);
}

static void local_close(void *self, bool orderly)
{
    (void)orderly;
    place *me = self;
    world *w = me->world;
    pthread_mutex_lock(&w->lock);
    me->closed = true;
    for (int i = 0; i < w->size; i++) {
        parcel *p = i == me->rank ? NULL : malloc(sizeof *p);
        if (p == NULL)
            continue;
        *p = (parcel){.kind = PARCEL_GONE, .from = me->rank};
        put(&w->places[i], p);
    }
    bool last = ++w->closed == w->joined;
    pthread_mutex_unlock(&w->lock);
    if (last)
        free_world(w);
}

static const hocket_transport local = {
    .size = sizeof(hocket_transport),
    .name = "local",
    .rank = local_rank,
    .world_size = local_world_size,
    .post = local_post,
    .cancel = local_cancel,
    .progress = local_progress,
    .wake = local_wake,
    .probe = local_probe,
    .forget = local_forget,
    .close = local_close,
};

/* === Meeting ================================================================================= */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static world *registry; /* worlds that are not complete */

static bool make_place(world *w, int rank)
{
    place *at = &w->places[rank];
    *at = (place){.world = w, .rank = rank, .last = &at->first};
    at->box = (hk_mailbox){.owner = at, .claimed = claimed, .read = was_read, .dropped = dropped};
    at->gone = calloc((size_t)w->size, sizeof *at->gone);
    at->box.gone = at->gone;
    hk_nap_init(&at->bell);
    return at->gone != NULL;
}

static world *make_world(const char *name, int size)
{
    world *w = calloc(1, sizeof *w + (size_t)size * sizeof(place));
    if (w == NULL)
        return NULL;
    w->size = size;
    w->name = strdup(name);
    pthread_mutex_init(&w->lock, NULL);
    hk_nap_init(&w->complete);
    pthread_cond_init(&w->copied, NULL);
    bool made = w->name != NULL;
    for (int i = 0; i < size; i++)
        made &= make_place(w, i);
    if (made)
        return w;
    free_world(w);
    return NULL;
}

/* The world of that name and size where this rank is still missing, else a new one. Registry
 * locked. */
static world *find_world(const char *name, int rank, int size)
{
    for (world *w = registry; w != NULL; w = w->next)
        if (w->size == size && !w->places[rank].joined && strcmp(w->name, name) == 0)
            return w;
    world *w = make_world(name, size);
    if (w != NULL) {
        w->next = registry;
        registry = w;
    }
    return w;
}

static void unregister(world *w)
{
    world **link = &registry;
    while (*link != NULL && *link != w)
        link = &(*link)->next;
    if (*link != NULL)
        *link = w->next;
}

static hocket_status missing_ranks(const world *w, int rank)
{
    hk_error error;
    int missing = w->size - w->joined;
    hk_error_set(&error, HOCKET_ERR_TIMEOUT,
                 "hocket_init on rank %d of %d, backend local, world \"%s\": %d %s not come; "
                 "each rank is a thread of this process that calls hocket_init",
                 rank, w->size, w->name, missing, missing == 1 ? "rank has" : "ranks have");
    for (int i = 0; i < w->size; i++)
        if (!w->places[i].joined)
            hk_error_add_rank(&error, i);
    return hk_fail_with(&error);
}

/* Waits until all have come. Registry locked. Whoever gives up takes its place back. */
static hocket_status wait_for_others(world *w, int rank, hk_time deadline)
{
    hk_time left;
    while (w->joined < w->size && (left = hk_deadline_left(deadline)) > 0)
        hk_nap(&w->complete, &registry_lock, left < NAP_NS ? left : NAP_NS);
    if (w->joined == w->size)
        return HOCKET_OK;
    w->places[rank].joined = false;
    hocket_status status = missing_ranks(w, rank);
    if (--w->joined == 0) {
        unregister(w);
        free_world(w);
    }
    return status;
}

hocket_status hk_local_open(const char *name, int rank, int world_size, hk_time deadline,
                            const hocket_transport **transport, void **self)
{
    pthread_mutex_lock(&registry_lock);
    hocket_status status;
    world *w = find_world(name, rank, world_size);
    if (w == NULL) {
        status = hk_fail_memory(sizeof *w, "a local world");
    } else {
        w->places[rank].joined = true;
        if (++w->joined == world_size) {
            unregister(w);
            pthread_cond_broadcast(&w->complete);
        }
        *transport = &local;
        *self = &w->places[rank];
        status = wait_for_others(w, rank, deadline);
    }
    pthread_mutex_unlock(&registry_lock);
    return status;
}

static hocket_status available(const char *choice)
{
    (void)choice;
    return HOCKET_OK;
}

static hocket_status open_local(const hk_opening *opening, const hocket_transport **transport,
                                void **self)
{
    const hk_settings *s = opening->settings;
    return hk_local_open(s->coordinator, s->rank, s->world_size, opening->deadline, transport,
                         self);
}

const hk_backend hk_backend_local = {.name = "local", .available = available, .open = open_local};
