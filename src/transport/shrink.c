/* Who is left? Survivors of a broken group agree on the set of members that are out.
 *
 * Each rank keeps a set `out`: the dead, those who left, those at fault for a timeout. It sends the
 * set to all others; a set that arrives is united with its own, and if that grew, it sends again. A
 * rank decides when every member that is not out has sent the very same set, and says so with its
 * last message. Whoever hears a decision adopts it.
 *
 * Sets only grow, so a set that all of its complement have sent is the only one that can be
 * decided: two ranks that decide and do not count each other out decide alike. A rank that dies
 * between sending and deciding is in the new group, which then breaks at once and can be shrunk
 * again. A member that does not answer before the deadline is out; if it wakes up later, it finds
 * itself in the sets of the others and is told so. */
#include "transport/state.h"

#include <stdlib.h>
#include <string.h>

struct hk_shrink {
    bool *out;      /* size: by this rank */
    bool *said;     /* size * size: the last set of each member */
    bool *spoke;    /* size: a set of that member is there */
    int decided_by; /* a member whose last set is a decision, or -1 */
    bool outside;   /* somebody counts this rank out */
};

void hk_shrink_free(hk_shrink *shrink)
{
    if (shrink == NULL)
        return;
    free(shrink->out);
    free(shrink->said);
    free(shrink->spoke);
    free(shrink);
}

static hk_shrink *need(hk_comm *comm)
{
    if (comm->shrink != NULL)
        return comm->shrink;
    size_t size = (size_t)comm->size;
    hk_shrink *new = calloc(1, sizeof *new);
    if (new == NULL)
        return NULL;
    new->decided_by = -1;
    new->out = calloc(size, 1);
    new->said = calloc(size, size);
    new->spoke = calloc(size, 1);
    if (new->out == NULL || new->said == NULL || new->spoke == NULL) {
        hk_shrink_free(new);
        return NULL;
    }
    return comm->shrink = new;
}

/* A member's set arrived. Endpoint locked. */
void hk_shrink_heard(hk_comm *comm, int from, const bool *out, bool decided)
{
    hk_shrink *s = need(comm);
    if (s == NULL)
        return;
    bool *set = s->said + (size_t)from * (size_t)comm->size;
    memcpy(set, out, (size_t)comm->size);
    s->spoke[from] = true;
    s->outside |= set[comm->rank];
    if (decided && !set[comm->rank])
        s->decided_by = from;
}

/* Takes in what is known of the members. True: the set grew. */
static bool grow(hk_comm *comm)
{
    hk_shrink *s = comm->shrink;
    bool grew = false;
    for (int i = 0; i < comm->size; i++) {
        bool gone = comm->left[i] || comm->endpoint->peers[comm->ranks[i]].health != HK_ALIVE;
        for (int by = 0; by < comm->size && !gone; by++)
            gone =
                s->spoke[by] && !s->out[by] && s->said[(size_t)by * (size_t)comm->size + (size_t)i];
        if (!gone || s->out[i] || i == comm->rank)
            continue;
        s->out[i] = grew = true;
    }
    return grew;
}

static bool all_say_the_same(const hk_comm *comm)
{
    const hk_shrink *s = comm->shrink;
    size_t size = (size_t)comm->size;
    for (size_t i = 0; i < size; i++) {
        if ((int)i == comm->rank || s->out[i])
            continue;
        if (!s->spoke[i] || memcmp(s->said + i * size, s->out, size) != 0)
            return false;
    }
    return true;
}

static bool is_decided(void *argument)
{
    hk_comm *comm = argument;
    hk_shrink *s = comm->shrink;
    if (s->outside)
        return true;
    if (s->decided_by >= 0) {
        memcpy(s->out, s->said + (size_t)s->decided_by * (size_t)comm->size, (size_t)comm->size);
        return true;
    }
    if (grow(comm))
        hk_news_shrink(comm, comm->shrink->out, false);
    return all_say_the_same(comm);
}

/* At the deadline those who have said nothing; a second later, whoever has not said what is true
 * since then. */
static void count_out_the_late(hk_comm *comm, bool at_deadline)
{
    hk_shrink *s = comm->shrink;
    size_t size = (size_t)comm->size;
    bool said[size];
    for (size_t i = 0; i < size; i++)
        said[i] = s->spoke[i] && (at_deadline || memcmp(s->said + i * size, s->out, size) == 0);
    for (int i = 0; i < comm->size; i++)
        if (i != comm->rank && !said[i])
            s->out[i] = true;
    hk_news_shrink(comm, comm->shrink->out, false);
}

static hocket_status left_behind(const hk_comm *comm)
{
    return hk_fail_rank(HOCKET_ERR_PEER_LOST, comm->rank,
                        "the others went on without this rank, rank %d of %d: it did not answer in "
                        "time",
                        comm->rank, comm->size);
}

/* The group's fault names who is out after a timeout; deaths speak for themselves. */
static void begin(hk_comm *comm)
{
    hk_shrink *s = comm->shrink;
    const hk_error *fault = &comm->fault;
    bool late = fault->status == HOCKET_ERR_TIMEOUT;
    for (int i = 0; late && i < fault->rank_count && i < HK_ERROR_RANKS_MAX; i++)
        if (fault->ranks[i] != comm->rank)
            s->out[fault->ranks[i]] = true;
    s->outside |= late && hk_error_names(fault, comm->rank);
    grow(comm);
    hk_news_shrink(comm, comm->shrink->out, false);
}

hocket_status hk_comm_shrink(hk_comm *comm, hk_time deadline, bool *out)
{
    hk_endpoint *endpoint = comm->endpoint;
    hk_endpoint_lock(endpoint);
    bool ready = need(comm) != NULL;
    if (ready)
        begin(comm);
    hk_endpoint_unlock(endpoint);
    if (!ready)
        return hk_fail_memory((size_t)comm->size * (size_t)comm->size, "a list of survivors");
    hk_call call = {.comm = comm, .deadline = deadline, .despite_fault = true};
    hocket_status status = hk_await(&call, is_decided, comm, -1);
    for (bool at_deadline = true; status == HOCKET_ERR_TIMEOUT; at_deadline = false) {
        hk_endpoint_lock(endpoint);
        count_out_the_late(comm, at_deadline);
        hk_endpoint_unlock(endpoint);
        call.deadline = hk_now() + HK_SECOND;
        status = hk_await(&call, is_decided, comm, -1);
    }
    if (status != HOCKET_OK)
        return status;
    hk_endpoint_lock(endpoint); /* the endpoint's thread hears news, too */
    bool outside = comm->shrink->outside;
    if (!outside)
        hk_news_shrink(comm, comm->shrink->out, true);
    memcpy(out, comm->shrink->out, (size_t)comm->size);
    hk_endpoint_unlock(endpoint);
    return outside ? left_behind(comm) : HOCKET_OK;
}
