#include "transport/state.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK_AFTER_NS (20 * HK_MILLISECOND) /* a wait this long asks the others what they are in */
#define ANSWER_NS (250 * HK_MILLISECOND)   /* for their answers, at least */
#define EARLY_NS (2 * HK_SECOND)           /* before a deadline that is far, for a busy machine */
#define NEWS_NS (100 * HK_MILLISECOND)     /* for what a lost peer has said last */
#define NAP_NS (20 * HK_MILLISECOND)       /* nobody sleeps longer without a look around */

/* === Begin and end =========================================================================== */

static bool is_collective(const hk_call *call)
{
    return call->what.number > 0;
}

/* What is equal on ranks that call the same, now and in the call before: some that differ cost no
 * rank a wait (two roots that both broadcast), and show only then. */
static uint32_t tag_of(hk_comm *comm, const hk_what *what)
{
    uint32_t fingerprint = hk_what_fingerprint(what);
    uint32_t tag = (uint32_t)(hk_mix(comm->previous, fingerprint) >> 32);
    if (what->number != HK_NUMBER_OPENING)
        comm->previous = fingerprint;
    return tag;
}

/* The group is whole as far as is known, and somebody has looked lately. */
static bool is_well(hk_comm *comm, hk_time now)
{
    return !atomic_load_explicit(&comm->broken, memory_order_acquire) &&
           hk_endpoint_has_looked(comm->endpoint, now);
}

hocket_status hk_call_begin(hk_call *call, hk_comm *comm, const hk_what *what, uint32_t tag,
                            hk_time now, hk_time deadline)
{
    memset(call, 0, offsetof(hk_call, what));
    call->comm = comm;
    call->deadline = deadline;
    if (what != &call->what)
        call->what = *what;
    call->tag = tag;
    call->context = comm->context;
    if (is_collective(call)) {
        call->tag = tag_of(comm, what);
        hk_history_add(comm->history, what);
    } else {
        call->context = hk_comm_messages(comm);
    }
    if (is_well(comm, now))
        return HOCKET_OK;
    hk_endpoint_lock(comm->endpoint);
    hocket_status status = hk_comm_look(comm, now);
    hk_endpoint_unlock(comm->endpoint);
    return status;
}

static void forget(hk_op *op)
{
    *op->link = op->next;
    if (op->next != NULL)
        op->next->link = op->link;
    op->call = NULL;
}

static bool to_self(const hk_op *op, const hk_endpoint *endpoint)
{
    return op->base.peer == endpoint->rank;
}

static void cancel(hk_op *op, hk_endpoint *endpoint)
{
    if (to_self(op, endpoint))
        hk_self_cancel(endpoint, &op->base);
    else
        endpoint->transport->cancel(endpoint->self, &op->base);
}

/* Faults are the whole group's, and said in its numbers. */
static hk_comm *group_of(const hk_call *call)
{
    return call->comm->whole;
}

static int number_in_group(const hk_call *call, int member)
{
    return call->comm->members != NULL ? call->comm->members[member] : member;
}

static void take_back(hk_call *call)
{
    if (call->posted == NULL)
        return;
    hk_endpoint *endpoint = call->comm->endpoint;
    hk_endpoint_lock(endpoint);
    while (call->posted != NULL) {
        hk_op *op = call->posted;
        if (!op->base.done)
            cancel(op, endpoint);
        forget(op);
    }
    hk_endpoint_unlock(endpoint);
}

bool hk_take_back(hk_op *op)
{
    if (op->call == NULL)
        return true;
    hk_endpoint *endpoint = op->call->comm->endpoint;
    hk_endpoint_lock(endpoint);
    bool done = op->base.done;
    if (!done) {
        cancel(op, endpoint);
        forget(op);
    }
    hk_endpoint_unlock(endpoint);
    return !done;
}

hocket_status hk_call_end(hk_call *call, hocket_status status)
{
    hk_comm *comm = group_of(call);
    take_back(call);
    if (call->scratch.used != NULL || call->scratch.unused != NULL)
        hk_scratch_end(&call->scratch, &comm->endpoint->shelf);
    if (status == HOCKET_OK)
        return status;
    hk_endpoint_excuse(comm->endpoint, status);
    hk_error error = *hk_error_last();
    if (is_collective(call) && status != HOCKET_ERR_UNSUPPORTED) {
        status = hk_comm_break(comm, &error);
    } else {
        hk_comm_pass_on(comm);
        hk_fail_with(&error);
    }
    char text[HK_WHAT_TEXT_MAX];
    hk_what_print(&call->what, text, sizeof text);
    hk_fail_prefix("rank %d of %d, %s: ", comm->rank, comm->size, text);
    return status;
}

void *hk_call_scratch_mark(const hk_call *call)
{
    return call->scratch.used;
}

void hk_call_scratch_release(hk_call *call, void *mark)
{
    hk_scratch_release(&call->scratch, mark);
}

void *hk_call_scratch(hk_call *call, size_t bytes)
{
    void *piece = hk_scratch_piece(&call->scratch, &call->comm->endpoint->shelf, bytes);
    if (piece == NULL) {
        take_back(call);
        hk_fail_memory(bytes, "scratch");
    }
    return piece;
}

/* === Starting ================================================================================ */

static hocket_status has_left(int member)
{
    return hk_fail_rank(HOCKET_ERR_PEER_LOST, member, "rank %d has left the group", member);
}

/* Lock held. A message to who has left would lie there unread; a collective that cannot end any
 * more finds out when it waits. */
static hocket_status post(hk_call *call, hk_op *op)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    if (to_self(op, endpoint))
        return hk_self_post(endpoint, &op->base);
    if (op->base.kind == HOCKET_OP_SEND && !is_collective(call) && call->comm->left[op->member])
        return has_left(op->member);
    return endpoint->transport->post(endpoint->self, &op->base);
}

static hocket_status start(hk_call *call, hk_op *op, int member)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    op->member = number_in_group(call, member);
    op->base.peer = call->comm->ranks[member];
    op->base.owner = endpoint;
    op->base.context = call->context;
    op->base.tag = call->tag;
    hk_endpoint_lock(endpoint);
    call->round = endpoint->rounds;
    hocket_status status = post(call, op);
    hk_endpoint_unlock(endpoint);
    if (status != HOCKET_OK) {
        take_back(call);
        return status;
    }
    op->call = call;
    op->next = call->posted;
    op->link = &call->posted;
    if (op->next != NULL)
        op->next->link = &op->next;
    call->posted = op;
    return HOCKET_OK;
}

hocket_status hk_start_send(hk_call *call, hk_op *op, int to, const void *data, size_t bytes)
{
    op->base = (hocket_op){.kind = HOCKET_OP_SEND, .buffer = (void *)data, .length = bytes};
    return start(call, op, to);
}

hocket_status hk_start_recv(hk_call *call, hk_op *op, int from, void *data, size_t bytes)
{
    op->base = (hocket_op){.kind = HOCKET_OP_RECV, .buffer = data, .length = bytes};
    return start(call, op, from);
}

hocket_status hk_start_take(hk_call *call, hk_op *op, int from)
{
    op->base = (hocket_op){.kind = HOCKET_OP_RECV, .take = true};
    return start(call, op, from);
}

/* === Waiting ================================================================================= */

#define LISTED_MAX 16     /* ranks that a sentence names */
#define LIST_TEXT_MAX 160 /* their numbers, and how many more there are */

/* "rank 3", "ranks 1, 2 and 3", "ranks 0, 1, ... and 37 more". */
static void list_ranks(char text[LIST_TEXT_MAX], const hk_comm *comm, const bool *which)
{
    size_t used = 0;
    int left = 0, listed = 0;
    for (int i = 0; i < comm->size; i++)
        left += which[i];
    const char *lead = left == 1 ? "rank " : "ranks ";
    for (int i = 0; i < comm->size && left > 0; i++) {
        if (!which[i])
            continue;
        if (listed++ == LISTED_MAX) {
            snprintf(text + used, LIST_TEXT_MAX - used, " and %d more", left);
            return;
        }
        used += (size_t)snprintf(text + used, LIST_TEXT_MAX - used, "%s%d", lead, i);
        lead = --left == 1 && listed < LISTED_MAX ? " and " : ", ";
    }
}

/* The deadline of a collective has passed and the answers are in: who is not there? A rank that
 * answers is in hocket: one that is in the collective, or past it, has arrived, and one that is
 * still in an earlier call waits like this rank does. At fault is who does not answer; where all
 * answer, who is behind. */
static hocket_status late(hk_call *call, int peer)
{
    hk_comm *comm = group_of(call);
    bool silent[comm->size], behind[comm->size], present[comm->size];
    int silent_count = 0, behind_count = 0;
    /* Who answers in a group that is being opened has opened it too. */
    uint64_t number = call->what.number != HK_NUMBER_OPENING ? call->what.number : 0;
    for (int i = 0; i < comm->size; i++) {
        present[i] = i == comm->rank || comm->answers[i] > number;
        silent[i] = !present[i] && comm->answers[i] == 0;
        behind[i] = !present[i] && !silent[i];
        silent_count += silent[i];
        behind_count += behind[i];
    }
    bool *missing = silent_count > 0 ? silent : behind;
    if (silent_count + behind_count == 0 && peer >= 0)
        missing[peer] = true;
    char who[LIST_TEXT_MAX] = "it to be done, though no rank is missing";
    char others[LIST_TEXT_MAX] = "", waiting[LIST_TEXT_MAX] = "";
    if (silent_count + behind_count > 0 || peer >= 0)
        list_ranks(who, comm, missing);
    list_ranks(others, comm, present);
    if (missing == silent && behind_count > 0)
        list_ranks(waiting, comm, behind);
    hk_error error;
    bool alone = comm->size - silent_count - behind_count == 1;
    hk_error_set(&error, HOCKET_ERR_TIMEOUT, "waited %.1f s for %s; %s %s in it%s%s",
                 hk_to_seconds(hk_now() - call->began), who, others, alone ? "is" : "are",
                 waiting[0] != '\0' ? "; still in an earlier call: " : "", waiting);
    for (int i = 0; i < comm->size; i++)
        if (missing[i])
            hk_error_add_rank(&error, i);
    return hk_fail_with(&error);
}

static hocket_status deadline_passed(hk_call *call, int peer, hk_time now)
{
    hk_comm *comm = group_of(call);
    double waited = hk_to_seconds(now - call->began);
    if (!is_collective(call) && peer < 0)
        return hk_fail(HOCKET_ERR_TIMEOUT, "waited %.3g s for any rank", waited);
    if (!is_collective(call))
        return hk_fail_rank(HOCKET_ERR_TIMEOUT, peer, "waited %.3g s for rank %d", waited, peer);
    if (call->grace == 0 && !comm->endpoint->delegate) {
        memset(comm->answers, 0, (size_t)comm->size * sizeof *comm->answers);
        hk_news_roll_call(comm, &call->what);
        call->grace = now + ANSWER_NS > call->deadline ? now + ANSWER_NS : call->deadline;
    }
    return now < call->grace ? HOCKET_OK : late(call, peer);
}

/* When the others are asked for the last time: early enough for the answers to be in when the
 * deadline passes, but not before half of the wait. */
static hk_time ends_from(const hk_call *call)
{
    bool asks = is_collective(call) && !call->comm->endpoint->delegate;
    hk_time half = (call->deadline - call->began) / 2, early = half < EARLY_NS ? half : EARLY_NS;
    return asks && early >= ANSWER_NS ? call->deadline - early : call->deadline;
}

/* Nothing comes any more from others. In a group of one, messages are from other threads. */
static bool is_alone(const hk_comm *comm)
{
    for (int i = 0; i < comm->size; i++)
        if (i != comm->rank && !comm->left[i])
            return false;
    return comm->size > 1;
}

static hocket_status all_have_left(const hk_comm *comm)
{
    hk_error error;
    hk_error_set(&error, HOCKET_ERR_PEER_LOST, "all others have left the group");
    for (int i = 0; i < comm->size; i++)
        if (i != comm->rank)
            hk_error_add_rank(&error, i);
    return hk_fail_with(&error);
}

/* Whether a wait for this member (-1: for any) must end. */
static hocket_status verdict(hk_call *call, int peer, hk_time now)
{
    hk_comm *comm = group_of(call);
    if (comm->fault.status != HOCKET_OK && !call->despite_fault)
        return hk_fail_with(&comm->fault);
    /* What it sent before it left may be there, but not taken by a receive just posted. */
    if (peer >= 0 && comm->left[peer] && comm->endpoint->rounds != call->round)
        return has_left(peer);
    /* Whomever the wait is for: a collective that one member will never begin has no end. */
    int gone = hk_comm_deserter(comm, call->what.number);
    if (gone >= 0)
        return has_left(gone);
    if (hk_what_operation(&call->what) == HK_PROBE && peer < 0 && is_alone(comm))
        return all_have_left(comm);
    if (now >= ends_from(call))
        return deadline_passed(call, peer, now);
    if (is_collective(call) && !call->asked && now - call->began > ASK_AFTER_NS) {
        call->asked = true;
        hk_news_roll_call(comm, &call->what);
    }
    return HOCKET_OK;
}

static hk_time shorter(hk_time a, hk_time b)
{
    return a < b ? a : b;
}

/* One round: is the wait over; if not, spin, yield or sleep, by how long it has been. Lock held. */
static hocket_status round_of_waiting(hk_call *call, int peer, hk_time since)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    hk_time now = hk_now();
    if (call->began == 0)
        call->began = now;
    hocket_status status = verdict(call, peer, now);
    if (status != HOCKET_OK)
        return status;
    hk_time waited = now - since, nap = 0;
    hk_time end = call->grace > 0 ? call->grace : ends_from(call);
    if (waited > endpoint->spin + endpoint->yield)
        nap = shorter(end, now + NAP_NS) - now;
    else if (waited > endpoint->spin)
        sched_yield();
    hk_endpoint_turn(endpoint, nap > 0 ? nap : 0);
    hk_endpoint_step_aside(endpoint);
    return HOCKET_OK;
}

hocket_status hk_await(hk_call *call, bool (*ready)(void *), void *argument, int peer)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    hocket_status status = HOCKET_OK;
    bool leading = false;
    hk_endpoint_lock(endpoint);
    unsigned long seen = endpoint->completed;
    hk_time since = ready(argument) ? 0 : hk_now();
    while (!ready(argument) && status == HOCKET_OK) {
        if (!leading && endpoint->leading) {
            if (call->began == 0)
                call->began = since;
            status = verdict(call, peer, hk_now());
            if (status == HOCKET_OK)
                hk_endpoint_follow(endpoint);
            continue;
        }
        leading = endpoint->leading = true;
        status = round_of_waiting(call, peer, since);
        if (endpoint->completed != seen)
            hk_endpoint_call_followers(endpoint);
        seen = endpoint->completed;
    }
    if (ready(argument))
        status = HOCKET_OK;
    if (leading) {
        endpoint->leading = false;
        hk_endpoint_call_followers(endpoint);
    }
    hk_endpoint_unlock(endpoint);
    if (since > 0)
        call->idle += hk_now() - since;
    return status;
}

hocket_status hk_look(hk_call *call, bool (*ready)(void *), void *argument, int peer,
                      bool *is_ready)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    hocket_status status = HOCKET_OK;
    hk_time now = hk_now();
    if (call->began == 0)
        call->began = now;
    hk_endpoint_lock(endpoint);
    if (!ready(argument) && !endpoint->leading)
        hk_endpoint_turn(endpoint, 0);
    *is_ready = ready(argument);
    if (!*is_ready)
        status = verdict(call, peer, now);
    hk_endpoint_unlock(endpoint);
    return status;
}

static bool probe_one(hk_call *call, int from, size_t *length)
{
    hk_endpoint *endpoint = call->comm->endpoint;
    int peer = call->comm->ranks[from];
    if (peer == endpoint->rank)
        return hk_mailbox_probe(&endpoint->own, peer, call->context, call->tag, length);
    return endpoint->transport->probe(endpoint->self, peer, call->context, call->tag, length);
}

bool hk_probe(hk_call *call, int from, int *source, size_t *length)
{
    int first = from == HOCKET_ANY_RANK ? 0 : from;
    int last = from == HOCKET_ANY_RANK ? call->comm->size - 1 : from;
    for (*source = first; *source <= last; ++*source)
        if (probe_one(call, *source, length))
            return true;
    return false;
}

static bool op_done(void *argument)
{
    const hk_op *op = argument;
    return op->base.done;
}

struct lost_peer {
    const hk_comm *comm;
    int world_rank;
};

static bool heard_why(void *argument)
{
    const struct lost_peer *lost = argument;
    return lost->comm->endpoint->peers[lost->world_rank].health != HK_ALIVE ||
           lost->comm->fault.status != HOCKET_OK;
}

/* A peer that cannot be reached has said why before, or has died: the news has either, and comes
 * one by one. */
static void listen_to_lost(hk_call *call, int world_rank)
{
    hk_call listen = {.comm = group_of(call), .deadline = hk_now() + NEWS_NS};
    struct lost_peer lost = {group_of(call), world_rank};
    if (!call->comm->endpoint->delegate)
        hk_await(&listen, heard_why, &lost, -1);
}

/* What the transport said of an operation, in words. */
static hocket_status judge(hk_call *call, const hk_op *op)
{
    int peer = op->member;
    size_t wanted = op->base.length, got = op->base.received;
    hocket_status status = op->base.status;
    bool any_length = op->base.kind == HOCKET_OP_SEND || op->base.take || !is_collective(call);
    if (status == HOCKET_OK && (any_length || got == wanted))
        return HOCKET_OK;
    if (status == HOCKET_OK || status == HOCKET_ERR_INVALID)
        return hk_fail_rank(
            HOCKET_ERR_MISMATCH, peer,
            "rank %d sent %zu bytes where %zu were expected: the ranks' counts differ", peer, got,
            wanted);
    if (status == HOCKET_ERR_PEER_LOST)
        listen_to_lost(call, op->base.peer);
    hocket_status fault = hk_comm_check(group_of(call));
    if (fault != HOCKET_OK)
        return fault;
    if (status == HOCKET_ERR_PEER_LOST)
        return has_left(peer);
    if (status == HOCKET_ERR_NO_MEMORY)
        return hk_fail_memory(got, "a message");
    return hk_fail_rank(status, peer, "moving %zu bytes %s rank %d failed: %s", wanted,
                        op->base.kind == HOCKET_OP_SEND ? "to" : "from", peer,
                        hk_error_last()->text);
}

hocket_status hk_conclude(hk_call *call, hk_op *op)
{
    forget(op);
    hocket_status status = judge(call, op);
    if (status != HOCKET_OK)
        take_back(call);
    return status;
}

/* After a wait for this member, that long. The first message of a member in a collective means that
 * it has come. */
static void arrived(hk_call *call, int member, hk_time wait)
{
    uint64_t *last = &group_of(call)->arrived[member];
    if (*last == call->what.number)
        return;
    *last = call->what.number;
    call->waited += wait;
}

hocket_status hk_finish(hk_call *call, hk_op *op)
{
    /* Also where it is done: another thread may have done it, and the lock hands its bytes over. */
    hk_time idle = call->idle;
    hocket_status status = hk_await(call, op_done, op, op->member);
    if (op->base.kind == HOCKET_OP_RECV && is_collective(call))
        arrived(call, op->member, call->idle - idle);
    if (status == HOCKET_OK)
        return hk_conclude(call, op);
    take_back(call);
    return status;
}

hocket_status hk_finish_all(hk_call *call, hk_op *ops, int count)
{
    for (int i = 0; i < count; i++) {
        hocket_status status = hk_finish(call, &ops[i]);
        if (status != HOCKET_OK)
            return status;
    }
    return HOCKET_OK;
}

/* === Both ==================================================================================== */

hocket_status hk_exchange(hk_call *call, int to, const void *send, size_t send_bytes, int from,
                          void *recv, size_t recv_bytes)
{
    hocket_status status = hk_start_recv(call, &call->own[0], from, recv, recv_bytes);
    if (status == HOCKET_OK)
        status = hk_start_send(call, &call->own[1], to, send, send_bytes);
    return status == HOCKET_OK ? hk_finish_all(call, call->own, 2) : status;
}

hocket_status hk_send(hk_call *call, int to, const void *data, size_t bytes)
{
    hocket_status status = hk_start_send(call, &call->own[0], to, data, bytes);
    return status == HOCKET_OK ? hk_finish(call, &call->own[0]) : status;
}

hocket_status hk_recv(hk_call *call, int from, void *data, size_t bytes)
{
    hocket_status status = hk_start_recv(call, &call->own[0], from, data, bytes);
    return status == HOCKET_OK ? hk_finish(call, &call->own[0]) : status;
}

/* === Native collectives ====================================================================== */

#define ROUNDS_BLIND 32               /* of spinning between two looks at the clock */
#define ROUNDS_FAST (1u << 20)        /* rounds from here on are no spinning any more */
#define LONG_NS (10 * HK_MILLISECOND) /* a wait for somebody who computes */
#define SHORT_NAP_NS (50 * HK_MICROSECOND)
#define LONG_NAP_NS HK_MILLISECOND

void hk_patience_begin(hocket_patience *patience, int member)
{
    patience->member = member;
    patience->left = false;
    patience->rounds = 0;
    patience->since = 0;
}

void hk_patience_arrived(hocket_patience *patience)
{
    if (patience->since > 0)
        patience->call->waited += hk_now() - patience->since;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* A member that leaves has said in shared memory what it had to say, and then the news comes: after
 * the news the caller looks there once more. */
static hocket_status look_around(hocket_patience *patience, hk_time now)
{
    hk_call *call = patience->call;
    hk_endpoint *endpoint = call->comm->endpoint;
    hk_comm *comm = group_of(call);
    int member = patience->member < 0 ? -1 : number_in_group(call, patience->member);
    int gone = patience->left ? member : -1;
    hk_endpoint_lock(endpoint);
    if (!endpoint->leading)
        hk_endpoint_turn(endpoint, 0);
    hocket_status status = verdict(call, gone, now);
    patience->left = member >= 0 && comm->left[member];
    hk_endpoint_unlock(endpoint);
    return status;
}

/* Spins for a moment; then each round looks around when it is time and yields, and when the wait
 * has become long, sleeps. */
hocket_status hocket_patience_wait(hocket_patience *patience)
{
    relax();
    if (++patience->rounds % ROUNDS_BLIND != 0 && patience->rounds < ROUNDS_FAST)
        return HOCKET_OK;
    hk_call *call = patience->call;
    hk_time now = hk_now();
    if (patience->since == 0)
        patience->since = now;
    if (patience->looked == 0)
        patience->looked = now; /* the call has looked when it began */
    if (call->began == 0)
        call->began = now;
    if (now - patience->looked > call->comm->endpoint->look) {
        patience->looked = now;
        hocket_status status = look_around(patience, now);
        if (status != HOCKET_OK)
            return status;
    }
    hk_time waited = now - patience->since;
    if (waited < call->comm->endpoint->spin)
        return HOCKET_OK;
    patience->rounds = ROUNDS_FAST;
    if (waited < call->comm->endpoint->yield)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = waited < LONG_NS ? SHORT_NAP_NS : LONG_NAP_NS},
                  NULL);
    return HOCKET_OK;
}
