/* The acceptor's half of the handshake: one table of strangers, each a small state machine, and one
 * poll over all of them. */
#include "core/log.h"
#include "wire/proof.h"
#include "wire/socket.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPTS_A_ROUND 16 /* then those who are in already are heard */
#define POLL_MS_MAX 60000
#define WHY_MAX 320

typedef enum step { STEP_HELLO, STEP_PROOF } step;

typedef struct stranger { /* the table is ordered by arrival */
    int fd;
    step step;
    hk_time deadline;
    hk_address address;
    hk_proof proof;
    size_t got;
    unsigned char bytes[HK_HELLO_BYTES];
} stranger;

typedef struct rejection {
    hocket_status status;
    char why[WHY_MAX];
} rejection;

struct hk_reception {
    int listener;
    hk_hello self;
    hk_key key;
    int count, capacity;
    stranger *strangers;
    struct pollfd *polls;  /* the listener, then each stranger */
    rejection *rejections; /* by the rank that was claimed */
    bool warned;
};

hocket_status hk_reception_open(int listener, const hk_hello *self, const hk_key *key,
                                hk_reception **reception)
{
    int capacity = HK_RECEPTION_PENDING + self->world_size;
    hk_reception *new = calloc(1, sizeof *new);
    *reception = NULL;
    if (new != NULL) {
        new->listener = listener;
        new->self = *self;
        new->key = *key;
        new->capacity = capacity;
        new->strangers = calloc((size_t)capacity, sizeof *new->strangers);
        new->polls = calloc((size_t)capacity + 1, sizeof *new->polls);
        new->rejections = calloc((size_t)self->world_size, sizeof *new->rejections);
        if (new->strangers != NULL &&new->polls != NULL &&new->rejections != NULL) {
            *reception = new;
            return HOCKET_OK;
        }
        hk_reception_close(new);
    } else {
        hk_socket_close(listener);
    }
    return hk_fail_memory((size_t)capacity * sizeof(stranger), "the table of pending connections");
}

void hk_reception_close(hk_reception *reception)
{
    if (reception == NULL)
        return;
    hk_socket_close(reception->listener);
    for (int i = 0; i < reception->count; i++)
        hk_socket_close(reception->strangers[i].fd);
    hk_key_wipe(&reception->key);
    free(reception->strangers);
    free(reception->polls);
    free(reception->rejections);
    free(reception);
}

hocket_status hk_reception_rejected(const hk_reception *reception, int rank, char *why,
                                    size_t why_size)
{
    bool known = rank >= 0 && rank < reception->self.world_size;
    snprintf(why, why_size, "%s", known ? reception->rejections[rank].why : "");
    return known ? reception->rejections[rank].status : HOCKET_OK;
}

static void forget(hk_reception *reception, int at)
{
    stranger *strangers = reception->strangers;
    reception->count--;
    memmove(&strangers[at], &strangers[at + 1],
            (size_t)(reception->count - at) * sizeof *strangers);
}

/* Turns a stranger away for this thread's last error. */
static void reject(hk_reception *reception, int at)
{
    stranger *one = &reception->strangers[at];
    const hk_error *error = hk_error_last();
    char where[HK_ADDRESS_TEXT_MAX];
    hk_address_format(&one->address, where);
    int rank = one->proof.other.world_size > 0 ? one->proof.other.rank : -1;
    bool known = rank >= 0 && rank < reception->self.world_size;
    if (known && hk_proof_tells(reception->rejections[rank].status, error->status)) {
        rejection *kept = &reception->rejections[rank];
        kept->status = error->status;
        snprintf(kept->why, sizeof kept->why, "rank %d at %s %.200s", rank, where, error->text);
    }
    /* The first to fail at the secret is worth a line to the user; a flood of them is not. */
    bool warn = error->status == HOCKET_ERR_AUTH && !reception->warned;
    reception->warned = reception->warned || warn;
    hk_log(warn ? HK_LOG_WARN : HK_LOG_INFO, reception->self.rank,
           "turned a connection from %s away, which %s", where, error->text);
    hk_socket_close(one->fd);
    forget(reception, at);
}

static void reject_late(hk_reception *reception)
{
    hk_time now = hk_now();
    for (int i = reception->count - 1; i >= 0; i--) {
        if (reception->strangers[i].deadline > now)
            continue;
        hk_fail(HOCKET_ERR_TIMEOUT, "did not finish the handshake in %.0f s",
                hk_to_seconds(HK_HANDSHAKE_PATIENCE));
        reject(reception, i);
    }
}

static hocket_status accept_some(hk_reception *reception)
{
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        int fd;
        hk_address address;
        hocket_status status = hk_socket_accept(reception->listener, &fd, &address);
        bool full = reception->count == reception->capacity;
        /* Out of descriptors: strangers must not be why. */
        if (reception->count > 0 && (status != HOCKET_OK || (fd >= 0 && full))) {
            hk_fail(HOCKET_ERR_TIMEOUT, "was the slowest when the hall was full");
            reject(reception, 0);
        }
        if (status != HOCKET_OK)
            return reception->count > 0 ? HOCKET_OK : status;
        if (fd < 0)
            return HOCKET_OK;
        stranger *one = &reception->strangers[reception->count++];
        memset(one, 0, sizeof *one);
        one->fd = fd;
        one->address = address;
        one->deadline = hk_now() + HK_HANDSHAKE_PATIENCE;
        hk_proof_begin(&one->proof, &reception->key, &reception->self, false);
        if (hk_key_allows(&reception->key, &address, reception->self.rank) != HOCKET_OK)
            reject(reception, reception->count - 1);
    }
    return HOCKET_OK;
}

/* A fresh connection has room for what the handshake says; one that has none is no rank's. */
static hocket_status say(stranger *one, const unsigned char *bytes, size_t length)
{
    size_t done;
    hocket_status status = hk_socket_send_some(one->fd, bytes, length, &done);
    if (status == HOCKET_OK && done < length)
        return hk_fail(HOCKET_ERR_PROTOCOL, "does not take in what it is told");
    return status;
}

static hocket_status take_hello(stranger *one)
{
    bool answer;
    hocket_status status = hk_proof_take_hello(&one->proof, one->bytes, &answer);
    hk_error why = *hk_error_last();
    if (answer && say(one, one->proof.hello, HK_HELLO_BYTES) != HOCKET_OK)
        return hk_error_last()->status;
    one->step = STEP_PROOF;
    one->got = 0;
    return status == HOCKET_OK ? HOCKET_OK : hk_fail_with(&why);
}

static hocket_status take_proof(stranger *one, hk_verdict *verdict)
{
    unsigned char bytes[HK_VERDICT_BYTES];
    *verdict = HK_VERDICT_STRANGER;
    if (hk_proof_check(&one->proof, one->bytes))
        *verdict = hk_proof_judge(&one->proof);
    hk_proof_make_verdict(&one->proof, *verdict, bytes);
    hocket_status status = say(one, bytes, sizeof bytes);
    if (status != HOCKET_OK)
        return status;
    if (*verdict == HK_VERDICT_STRANGER)
        return hk_fail(HOCKET_ERR_AUTH, one->proof.key->open ? "is of another job"
                                                             : "does not know this job's secret");
    if (*verdict == HK_VERDICT_ASTRAY)
        return hk_fail(HOCKET_ERR_PROTOCOL, "wanted another rank, job or purpose than is here");
    return HOCKET_OK;
}

/* Reads what is there. *proven: the handshake is over, with this verdict. */
static hocket_status hear(stranger *one, bool *proven, hk_verdict *verdict)
{
    size_t wanted = one->step == STEP_HELLO ? HK_HELLO_BYTES : HK_PROOF_BYTES, done;
    hocket_status status =
        hk_socket_recv_some(one->fd, one->bytes + one->got, wanted - one->got, &done);
    *proven = false;
    if (status != HOCKET_OK)
        return hk_fail_prefix("left during the handshake: ");
    one->got += done;
    if (one->got < wanted)
        return HOCKET_OK;
    if (one->step == STEP_HELLO)
        return take_hello(one);
    *proven = true;
    return take_proof(one, verdict);
}

static hocket_status fail_world(const hk_hello *self, const hk_hello *other,
                                const hk_address *address)
{
    char where[HK_ADDRESS_TEXT_MAX];
    hk_address_format(address, where);
    return hk_fail_rank(HOCKET_ERR_MISMATCH, other->rank,
                        "rank %d at %s says that there are %d ranks; this is rank %d of %d",
                        other->rank, where, other->world_size, self->rank, self->world_size);
}

/* Hears everyone who has spoken, until one has proven itself: *fd. */
static hocket_status hear_all(hk_reception *reception, int polled, int *fd, hk_peer *peer)
{
    *fd = -1;
    for (int i = polled - 1; i >= 0 && *fd < 0;
         i--) { /* backwards: who goes moves the later ones */
        if (reception->polls[1 + i].revents == 0)
            continue;
        stranger *one = &reception->strangers[i];
        bool proven;
        hk_verdict verdict = HK_VERDICT_STRANGER;
        if (hear(one, &proven, &verdict) != HOCKET_OK) {
            reject(reception, i);
        } else if (proven && verdict == HK_VERDICT_WORLD) {
            hk_hello other = one->proof.other;
            hk_address address = one->address;
            hk_socket_close(one->fd);
            forget(reception, i);
            return fail_world(&reception->self, &other, &address);
        } else if (proven) {
            *fd = one->fd;
            hk_proof_peer(&one->proof, &one->address, peer);
            forget(reception, i);
        }
    }
    return HOCKET_OK;
}

static int poll_all(hk_reception *reception, hk_time deadline)
{
    /* Strangers have all been given the same time, so the first in the table is the first to go. */
    if (reception->count > 0 && reception->strangers[0].deadline < deadline)
        deadline = reception->strangers[0].deadline;
    reception->polls[0] = (struct pollfd){.fd = reception->listener, .events = POLLIN};
    for (int i = 0; i < reception->count; i++)
        reception->polls[1 + i] =
            (struct pollfd){.fd = reception->strangers[i].fd, .events = POLLIN};
    return poll(reception->polls, (nfds_t)reception->count + 1,
                hk_deadline_poll_ms(deadline, POLL_MS_MAX));
}

hocket_status hk_reception_next(hk_reception *reception, hk_time deadline, int *fd, hk_peer *peer)
{
    *fd = -1;
    for (;;) {
        reject_late(reception);
        int polled = reception->count;
        int ready = poll_all(reception, deadline);
        if (ready < 0 && errno != EINTR)
            return hk_fail_errno(errno, "cannot wait for connections");
        hocket_status status = HOCKET_OK;
        if (ready > 0)
            status = hear_all(reception, polled, fd, peer);
        if (status != HOCKET_OK || *fd >= 0)
            return status;
        if (ready > 0 && reception->polls[0].revents != 0)
            status = accept_some(reception);
        if (status != HOCKET_OK)
            return status;
        if (hk_deadline_left(deadline) == 0)
            return hk_fail(HOCKET_ERR_TIMEOUT, "no rank came before the deadline");
    }
}
