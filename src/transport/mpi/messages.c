/* Messages over MPI_Isend and MPI_Improbe.
 *
 * MPI's tags are too small for a context and a tag, so hocket's matching is done here. A message is
 * a header under tag 0, with the bytes behind it where they are few; else the bytes follow in
 * pieces under a tag of their own, which the header names:
 *
 *     parcels ~~~ header (tag 0) ~~~> letters -> a posted receive
 *             ~~~ pieces (tag b) ~~~>
 *
 * Headers are always taken in, so what is there is known. Pieces are taken in while what lies
 * unread of one sender is little enough, or when a receive asks for them; until then the send
 * waits. */
#include "transport/mpi/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAG_HEADER 0
#define INLINE_BYTES 2048  /* every MPI sends so much at once */
#ifndef HK_MPI_PIECE_BYTES /* a test makes them short */
#define HK_MPI_PIECE_BYTES ((size_t)1 << 30)
#endif
#define PIECE_BYTES HK_MPI_PIECE_BYTES /* MPI counts with int */
#define WINDOW_BYTES ((size_t)256 << 20)
#define LOOK_NS 20000 /* MPI wakes nobody: look again after so long */
#define FLUSH_S 5     /* for the last messages to leave */

typedef struct header {
    uint64_t context, length;
    uint32_t tag;
    uint32_t body; /* MPI's tag of the pieces; 0: the bytes follow */
} header;

struct parcel {
    parcel *next;
    hocket_op *op;        /* NULL when nobody waits for it any longer */
    unsigned char *bytes; /* header and body, one after the other */
    int count;
    MPI_Request requests[];
};

struct letter {
    letter *next;
    header head;
    unsigned char *bytes;  /* NULL until its pieces are asked for */
    MPI_Request *requests; /* NULL once all is here */
    int count;
    bool claimed; /* in this round of matching */
    bool dropped; /* its group is gone: it only has to arrive */
};

static int piece_count(size_t length)
{
    return (int)((length + PIECE_BYTES - 1) / PIECE_BYTES);
}

/* What is broken stays so: each operation hears of it. */
static hocket_status fail(world *w, hocket_status status)
{
    if (w->failed == HOCKET_OK) {
        w->failed = status;
        snprintf(w->failure, sizeof w->failure, "%s", hocket_last_error());
    }
    return status;
}

static hocket_status failed(const world *w)
{
    return w->failed == HOCKET_OK ? HOCKET_OK : hocket_transport_error(w->failed, "%s", w->failure);
}

/* === Sending ================================================================================== */

static uint32_t next_body(world *w)
{
    uint32_t most = (uint32_t)(w->tag_max < (1 << 30) ? w->tag_max : 1 << 30);
    w->bodies = w->bodies % most + 1;
    return w->bodies;
}

static hocket_status make_parcel(world *w, hocket_op *op, parcel **made)
{
    bool few = op->length <= INLINE_BYTES;
    header head = {op->context, op->length, op->tag, few ? 0 : next_body(w)};
    int count = 1 + (few ? 0 : piece_count(op->length));
    parcel *one = calloc(1, sizeof *one + (size_t)count * sizeof *one->requests);
    unsigned char *bytes = one != NULL ? malloc(sizeof head + op->length) : NULL;
    if (bytes == NULL) {
        free(one);
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message of %zu bytes",
                                      op->length);
    }
    memcpy(bytes, &head, sizeof head);
    if (op->length > 0)
        memcpy(bytes + sizeof head, op->buffer, op->length);
    for (int i = 0; i < count; i++)
        one->requests[i] = MPI_REQUEST_NULL;
    one->bytes = bytes;
    one->op = op;
    one->count = count;
    *made = one;
    return HOCKET_OK;
}

static hocket_status start_parcel(world *w, parcel *one, int to, size_t length)
{
    header head;
    memcpy(&head, one->bytes, sizeof head);
    size_t first = sizeof head + (head.body == 0 ? length : 0);
    int code =
        MPI_Isend(one->bytes, (int)first, MPI_BYTE, to, TAG_HEADER, w->comm, &one->requests[0]);
    for (int i = 1; i < one->count && code == MPI_SUCCESS; i++) {
        size_t at = (size_t)(i - 1) * PIECE_BYTES, left = length - at;
        code =
            MPI_Isend(one->bytes + sizeof head + at, (int)(left < PIECE_BYTES ? left : PIECE_BYTES),
                      MPI_BYTE, to, (int)head.body, w->comm, &one->requests[i]);
    }
    return world_check(code, "MPI_Isend");
}

/* MPI forgets a request that is done, and says of those that they are. */
static hocket_status test_all(int count, MPI_Request *requests, const char *what, bool *done)
{
    for (int i = 0; i < count; i++) {
        int one = 0;
        *done = false;
        hocket_status status = world_check(MPI_Test(&requests[i], &one, MPI_STATUS_IGNORE), what);
        if (status != HOCKET_OK || !one)
            return status;
    }
    *done = true;
    return HOCKET_OK;
}

/* Whether anything has left. */
static hocket_status look_at_parcels(world *w, bool *moved)
{
    for (parcel **link = &w->parcels; *link != NULL;) {
        parcel *one = *link;
        bool done;
        hocket_status status = test_all(one->count, one->requests, "a send", &done);
        if (status != HOCKET_OK)
            return status;
        if (!done) {
            link = &one->next;
            continue;
        }
        *link = one->next;
        if (one->op != NULL)
            hocket_op_complete(one->op, HOCKET_OK, 0);
        free(one->bytes);
        free(one);
        *moved = true;
    }
    return HOCKET_OK;
}

static hocket_status post_send(world *w, hocket_op *op)
{
    parcel *one = NULL, **end = &w->parcels;
    hocket_status status = make_parcel(w, op, &one);
    if (status != HOCKET_OK)
        return status;
    while (*end != NULL)
        end = &(*end)->next;
    *end = one;
    status = start_parcel(w, one, op->peer, op->length);
    if (status == HOCKET_OK) {
        bool moved = false;
        status = look_at_parcels(w, &moved); /* a short message has left by now */
    }
    if (status != HOCKET_OK)
        fail(w, status); /* taken all the same: the next progress ends it */
    return HOCKET_OK;
}

/* === Letters ================================================================================== */

static void free_letter(letter *one)
{
    free(one->requests);
    free(one->bytes);
    free(one);
}

static void remove_letter(peer *from, letter *one)
{
    letter **link = &from->letters;
    while (*link != one)
        link = &(*link)->next;
    *link = one->next;
    if (one->next == NULL)
        from->end = link;
    from->unread -= one->bytes != NULL ? one->head.length : 0;
}

/* Asks for the pieces. NO_MEMORY leaves them where they are. */
static hocket_status start_letter(world *w, peer *from, letter *one)
{
    size_t length = one->head.length;
    int count = piece_count(length), code = MPI_SUCCESS;
    unsigned char *bytes = malloc(length);
    MPI_Request *requests = calloc((size_t)count, sizeof *requests);
    if (bytes == NULL || requests == NULL) {
        free(bytes);
        free(requests);
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message of %zu bytes",
                                      length);
    }
    for (int i = 0; i < count; i++)
        requests[i] = MPI_REQUEST_NULL;
    one->bytes = bytes;
    one->requests = requests;
    one->count = count;
    from->unread += length;
    for (int i = 0; i < count && code == MPI_SUCCESS; i++) {
        size_t at = (size_t)i * PIECE_BYTES, left = length - at;
        code = MPI_Irecv(bytes + at, (int)(left < PIECE_BYTES ? left : PIECE_BYTES), MPI_BYTE,
                         (int)(from - w->peers), (int)one->head.body, w->comm, &requests[i]);
    }
    return world_check(code, "MPI_Irecv");
}

static bool is_here(const letter *one)
{
    return one->bytes != NULL && one->requests == NULL;
}

/* Context 0 overtakes nothing that is arriving. */
static bool is_next(const peer *from, const letter *one)
{
    if (one->head.context != 0)
        return true;
    for (const letter *before = from->letters; before != one; before = before->next)
        if (before->requests != NULL)
            return false;
    return true;
}

static letter *oldest_for(const peer *from, uint64_t context, uint32_t tag)
{
    letter *one = from->letters;
    while (one != NULL &&
           (one->dropped || one->claimed || one->head.context != context || one->head.tag != tag))
        one = one->next;
    return one;
}

static void unlink_op(peer *from, hocket_op *op)
{
    if (op->previous != NULL)
        op->previous->next = op->next;
    else
        from->wanted = op->next;
    if (op->next != NULL)
        op->next->previous = op->previous;
    else
        from->last_wanted = op->previous;
    op->next = op->previous = NULL;
}

static void hand_over(peer *from, letter *one, hocket_op *op)
{
    size_t length = one->head.length;
    remove_letter(from, one);
    unlink_op(from, op);
    if (op->take) {
        op->buffer = one->bytes;
        one->bytes = NULL;
    } else if (length > 0) {
        memcpy(op->buffer, one->bytes, length);
    }
    free_letter(one);
    hocket_op_complete(op, HOCKET_OK, length);
}

/* What the oldest letter for it means to a posted receive. */
static hocket_status serve(world *w, peer *from, hocket_op *op, bool *moved)
{
    letter *one = oldest_for(from, op->context, op->tag);
    if (one == NULL)
        return HOCKET_OK;
    if (!op->take && one->head.length > op->length) {
        unlink_op(from, op);
        hocket_op_complete(op, HOCKET_ERR_INVALID, one->head.length);
        *moved = true;
        return HOCKET_OK;
    }
    one->claimed = true;
    hocket_status status = one->bytes == NULL ? start_letter(w, from, one) : HOCKET_OK;
    if (status == HOCKET_ERR_NO_MEMORY) {
        unlink_op(from, op);
        hocket_op_complete(op, status, one->head.length);
        *moved = true;
        return HOCKET_OK;
    }
    if (status == HOCKET_OK && is_here(one) && is_next(from, one)) {
        hand_over(from, one, op);
        *moved = true;
    }
    return status;
}

/* Gives letters to the receives that want them, and room to others. */
static hocket_status match(world *w, peer *from, bool *moved)
{
    hocket_status status = HOCKET_OK;
    for (letter *one = from->letters; one != NULL; one = one->next)
        one->claimed = false;
    for (hocket_op *op = from->wanted, *next; op != NULL && status == HOCKET_OK; op = next) {
        next = op->next;
        status = serve(w, from, op, moved);
    }
    for (letter *one = from->letters; one != NULL && status == HOCKET_OK; one = one->next) {
        if (one->bytes != NULL)
            continue;
        if (!one->dropped && from->unread + one->head.length > WINDOW_BYTES)
            continue;
        status = start_letter(w, from, one);
        if (status == HOCKET_ERR_NO_MEMORY)
            return HOCKET_OK; /* until there is some */
    }
    return status;
}

/* === Arriving ================================================================================= */

static hocket_status fail_header(int from)
{
    return hocket_transport_error_ranks(HOCKET_ERR_PROTOCOL, &from, 1,
                                        "rank %d sends what is no message of hocket's over MPI",
                                        from);
}

static hocket_status take_header(world *w, const unsigned char *bytes, size_t count, int from)
{
    letter *one = calloc(1, sizeof *one);
    if (one == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message");
    if (count >= sizeof one->head)
        memcpy(&one->head, bytes, sizeof one->head);
    bool few = one->head.body == 0;
    bool right = count >= sizeof one->head && one->head.body <= (uint32_t)w->tag_max &&
                 one->head.length <= SIZE_MAX / 2 &&
                 count - sizeof one->head == (few ? one->head.length : 0);
    if (!right) {
        free(one);
        return fail_header(from);
    }
    peer *sender = &w->peers[from];
    if (few) {
        one->bytes = malloc(one->head.length > 0 ? one->head.length : 1);
        if (one->bytes == NULL) {
            free(one);
            return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a message");
        }
        memcpy(one->bytes, bytes + sizeof one->head, one->head.length);
        sender->unread += one->head.length;
    }
    *sender->end = one;
    sender->end = &one->next;
    return HOCKET_OK;
}

static hocket_status look_for_headers(world *w, bool *moved)
{
    unsigned char bytes[sizeof(header) + INLINE_BYTES];
    for (;;) {
        int there = 0, count = 0;
        MPI_Message message;
        MPI_Status found;
        hocket_status status =
            world_check(MPI_Improbe(MPI_ANY_SOURCE, TAG_HEADER, w->comm, &there, &message, &found),
                        "MPI_Improbe");
        if (status != HOCKET_OK || !there)
            return status;
        int from = found.MPI_SOURCE;
        MPI_Get_count(&found, MPI_BYTE, &count);
        if (count < 0 || (size_t)count > sizeof bytes)
            return fail_header(from);
        status = world_check(MPI_Mrecv(bytes, count, MPI_BYTE, &message, MPI_STATUS_IGNORE),
                             "MPI_Mrecv");
        if (status == HOCKET_OK)
            status = take_header(w, bytes, (size_t)count, from);
        if (status == HOCKET_OK)
            status = match(w, &w->peers[from], moved);
        if (status != HOCKET_OK)
            return status;
        *moved = true;
    }
}

static hocket_status look_at_letters(world *w, peer *from, bool *moved)
{
    bool arrived = false; /* or is to be asked for */
    for (letter *one = from->letters, *next; one != NULL; one = next) {
        next = one->next;
        bool done;
        arrived = arrived || (one->dropped && one->bytes == NULL);
        if (one->requests == NULL)
            continue;
        hocket_status status = test_all(one->count, one->requests, "a receive", &done);
        if (status != HOCKET_OK)
            return status;
        if (!done)
            continue;
        free(one->requests);
        one->requests = NULL;
        *moved = arrived = true;
        if (one->dropped) {
            remove_letter(from, one);
            free_letter(one);
        }
    }
    return arrived ? match(w, from, moved) : HOCKET_OK;
}

/* === The slots ================================================================================ */

hocket_status message_post(void *self, hocket_op *op)
{
    world *w = self;
    hocket_status status = failed(w);
    if (status == HOCKET_OK)
        status = world_enter(w);
    if (status != HOCKET_OK)
        return status;
    if (op->kind == HOCKET_OP_SEND) {
        status = post_send(w, op);
    } else {
        peer *from = &w->peers[op->peer];
        bool moved = false;
        op->previous = from->last_wanted;
        if (from->last_wanted != NULL)
            from->last_wanted->next = op;
        else
            from->wanted = op;
        from->last_wanted = op;
        hocket_status matched = match(w, from, &moved);
        if (matched != HOCKET_OK)
            fail(w, matched);
    }
    world_leave(w);
    return status;
}

void message_cancel(void *self, hocket_op *op)
{
    world *w = self;
    if (op->kind == HOCKET_OP_RECV) {
        unlink_op(&w->peers[op->peer], op);
        return;
    }
    for (parcel *one = w->parcels; one != NULL; one = one->next)
        if (one->op == op)
            one->op = NULL;
}

bool message_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    peer *sender = &((world *)self)->peers[from];
    for (letter *one = sender->letters; one != NULL; one = one->next)
        one->claimed = false;
    const letter *one = oldest_for(sender, context, tag);
    if (one == NULL)
        return false;
    *length = one->head.length;
    return true;
}

/* What has not come yet still has to, since its sender waits for that. */
void message_forget(void *self, uint64_t context)
{
    world *w = self;
    for (int r = 0; r < w->size; r++) {
        peer *from = &w->peers[r];
        for (letter *one = from->letters, *next; one != NULL; one = next) {
            next = one->next;
            if (one->head.context != context || one->dropped)
                continue;
            one->dropped = true;
            if (is_here(one)) {
                remove_letter(from, one);
                free_letter(one);
            }
        }
    }
}

static void end_all(world *w)
{
    for (parcel *one = w->parcels; one != NULL; one = one->next) {
        hocket_op *op = one->op;
        one->op = NULL;
        if (op != NULL) {
            failed(w);
            hocket_op_complete(op, w->failed, 0);
        }
    }
    for (int r = 0; r < w->size; r++) {
        peer *from = &w->peers[r];
        while (from->wanted != NULL) {
            hocket_op *op = from->wanted;
            unlink_op(from, op);
            failed(w);
            hocket_op_complete(op, w->failed, 0);
        }
    }
}

static hocket_status look(world *w, bool *moved)
{
    hocket_status status = failed(w);
    if (status == HOCKET_OK)
        status = look_at_parcels(w, moved);
    if (status == HOCKET_OK)
        status = look_for_headers(w, moved);
    for (int r = 0; r < w->size && status == HOCKET_OK; r++)
        if (w->peers[r].letters != NULL)
            status = look_at_letters(w, &w->peers[r], moved);
    if (status != HOCKET_OK) {
        fail(w, status);
        end_all(w);
    }
    return status;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

hocket_status message_progress(void *self, int64_t wait_ns)
{
    world *w = self;
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    int64_t until =
        wait_ns > 0 ? now_ns() + (wait_ns < HOCKET_NAP_NS ? wait_ns : HOCKET_NAP_NS) : 0;
    for (;;) {
        bool moved = false;
        hocket_status status = world_enter(w);
        if (status != HOCKET_OK)
            return status;
        status = look(w, &moved);
        world_leave(w);
        if (status != HOCKET_OK || moved || wait_ns <= 0 || now_ns() >= until)
            return status;
        nanosleep(&pause, NULL);
    }
}

/* What MPI still has is left to it. */
void message_end(world *w, bool orderly)
{
    int64_t until = now_ns() + (int64_t)FLUSH_S * 1000000000;
    int over = 0;
    while (orderly && w->parcels != NULL && now_ns() < until &&
           MPI_Finalized(&over) == MPI_SUCCESS && !over &&
           message_progress(w, HOCKET_NAP_NS) == HOCKET_OK)
        ;
    for (int r = 0; r < w->size; r++) {
        for (letter *one = w->peers[r].letters, *next; one != NULL; one = next) {
            next = one->next;
            if (one->requests == NULL)
                free_letter(one);
        }
    }
}
