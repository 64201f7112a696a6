/* A transport of a program's own, whole, in under 100 lines of code: the ranks are threads that sit
 * in one hall, and each has an inbox, a list of messages. From these few slots hocket makes groups,
 * collectives, requests, deadlines and faults; at the end the conformance suite tries them all. */
#include <hocket/transport.h>
#include "conformance.h"

/* === The transport ============================================================================ */

struct hall { /* what the ranks share */
    pthread_mutex_t lock;
    int size;
    atomic_bool left[HARNESS_RANKS_MAX];
    hocket_op *inbox[HARNESS_RANKS_MAX]; /* messages, oldest first; peer is the sender */
};

struct seat { /* one rank of it, the self of all slots */
    struct hall *hall;
    int rank;
    hocket_op *posted; /* and not completed, oldest first */
};

static int seat_rank(void *self) { return ((struct seat *)self)->rank; }
static int seat_world_size(void *self) { return ((struct seat *)self)->hall->size; }

/* Where op hangs in a list; for NULL, the end. */
static hocket_op **place(hocket_op **list, const hocket_op *op)
{
    while (*list != op)
        list = &(*list)->next;
    return list;
}

static hocket_status seat_post(void *self, hocket_op *op)
{
    *place(&((struct seat *)self)->posted, NULL) = op; /* the rest is for progress */
    return HOCKET_OK;
}

static void seat_cancel(void *self, hocket_op *op)
{
    *place(&((struct seat *)self)->posted, op) = op->next;
}

/* The oldest message that such a receive takes, or NULL. */
static hocket_op *find(struct seat *my, int from, uint64_t context, uint32_t tag)
{
    hocket_op *op = my->hall->inbox[my->rank];
    while (op != NULL && (op->peer != from || op->context != context || op->tag != tag))
        op = op->next;
    return op;
}

/* A send is a copy at the end of the peer's inbox. */
static hocket_status give(struct seat *my, const hocket_op *op)
{
    hocket_op *message = malloc(sizeof(*message) + op->length);
    if (message == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message");
    *message = (hocket_op){.peer = my->rank, .context = op->context, .tag = op->tag,
                           .buffer = message + 1, .length = op->length};
    memcpy(message->buffer, op->length > 0 ? op->buffer : "", op->length);
    *place(&my->hall->inbox[op->peer], NULL) = message;
    return my->hall->left[op->peer] ? HOCKET_ERR_PEER_LOST : HOCKET_OK;
}

/* A receive takes its message out of the inbox; one that is too long stays. */
static hocket_status take(struct seat *my, hocket_op *op, hocket_op *message)
{
    if (message == NULL || (!op->take && message->length > op->length))
        return message == NULL ? HOCKET_ERR_PEER_LOST : HOCKET_ERR_INVALID;
    if (op->take && (op->buffer = malloc(message->length + 1)) == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message");
    if (message->length > 0)
        memcpy(op->buffer, message->buffer, message->length);
    *place(&my->hall->inbox[my->rank], message) = message->next;
    free(message);
    return HOCKET_OK;
}

static hocket_status seat_progress(void *self, int64_t wait_ns)
{
    struct seat *my = self;
    pthread_mutex_lock(&my->hall->lock);
    for (hocket_op *op = my->posted, *next; op != NULL; op = next) {
        hocket_op *message = find(my, op->peer, op->context, op->tag);
        size_t length = message != NULL ? message->length : 0;
        next = op->next;
        if (op->kind == HOCKET_OP_RECV && message == NULL && !my->hall->left[op->peer])
            continue;
        hocket_status status = op->kind == HOCKET_OP_SEND ? give(my, op) : take(my, op, message);
        seat_cancel(my, op);
        hocket_op_complete(op, status, length); /* from here on op is hocket's again */
        wait_ns = 0;
    }
    pthread_mutex_unlock(&my->hall->lock);
    if (wait_ns > 0)
        sleep_seconds(20e-6);
    return HOCKET_OK;
}

static bool seat_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    struct seat *my = self;
    pthread_mutex_lock(&my->hall->lock);
    const hocket_op *message = find(my, from, context, tag);
    pthread_mutex_unlock(&my->hall->lock);
    *length = message != NULL ? message->length : 0; /* only this rank takes it out */
    return message != NULL;
}

static void seat_close(void *self, bool orderly)
{
    struct seat *my = self;
    (void)orderly; /* a completed send is in its inbox: nothing is left to do */
    my->hall->left[my->rank] = true;
    free(my);
}

static const hocket_transport own_transport = {
    .size = sizeof(hocket_transport), .name = "own",
    .rank = seat_rank, .world_size = seat_world_size,
    .post = seat_post, .cancel = seat_cancel, .progress = seat_progress, .probe = seat_probe,
    .close = seat_close,
};

/* === Its trial ================================================================================ */

static void *hall_open(int size)
{
    struct hall *hall = calloc(1, sizeof(*hall));
    pthread_mutex_init(&hall->lock, NULL);
    hall->size = size;
    return hall;
}

static void hall_close(void *arena)
{
    struct hall *hall = arena;
    for (int rank = 0; rank < hall->size; rank++)
        for (hocket_op *message = hall->inbox[rank], *next; message != NULL; message = next) {
            next = message->next;
            free(message);
        }
    pthread_mutex_destroy(&hall->lock);
    free(hall);
}

static hocket_status own_open(struct member *me, hocket_group **world)
{
    struct seat *seat = calloc(1, sizeof(*seat));
    *seat = (struct seat){.hall = me->arena, .rank = me->rank};
    hocket_status status = hocket_init_with(&own_transport, seat, world);
    if (status != HOCKET_OK)
        free(seat); /* it was not taken */
    return status;
}

/* Lacking a mandatory slot, or made for another library: refused, and the rank lives on. */
static void incomplete_transports_are_refused(void **state)
{
    (void)state;
    struct seat seat = {.rank = 0};
    hocket_transport lacks = own_transport, strange = own_transport;
    hocket_group *group = (hocket_group *)&seat;
    lacks.probe = NULL;
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init_with(&lacks, &seat, &group));
    CHECK_HAS(hocket_last_error(), "probe");
    CHECK(group == NULL);
    strange.size = 0;
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init_with(&strange, &seat, &group));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init_with(NULL, &seat, &group));
    CHECK_STATUS(HOCKET_ERR_INVALID, hocket_init_with(&own_transport, &seat, NULL));
}

int main(void)
{
    static const struct harness_backend own = {
        .name = "own", .begin = hall_open, .end = hall_close, .open = own_open, .unbounded = true};
    const struct CMUnitTest tests[] = {cmocka_unit_test(incomplete_transports_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) + conformance_run(&own) > 0;
}
