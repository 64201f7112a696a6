/* Groups that this rank has left while other members have not.
 *
 * What such a member sends before it hears that this rank has left arrives where nobody will ever
 * read it. Its own leaving is news, which does not overtake what it sent before: when the last
 * member has left, the transport forgets the group once more, and so do we. Until then at most the
 * window of each member lies there. */
#include "transport/state.h"

#include <stdlib.h>

struct hk_former {
    hk_former *next;
    uint64_t context, messages;
    int count;
    int members[]; /* that are still in it: world ranks */
};

static void forget(hk_endpoint *endpoint, uint64_t context)
{
    if (endpoint->transport->forget != NULL)
        endpoint->transport->forget(endpoint->self, context);
}

/* Without memory for a note, what still comes stays until the endpoint closes. */
void hk_former_begin(const hk_comm *comm)
{
    hk_endpoint *endpoint = comm->endpoint;
    uint64_t messages = hk_comm_messages(comm);
    forget(endpoint, comm->context);
    forget(endpoint, messages);
    hk_self_forget(endpoint, comm->context);
    hk_self_forget(endpoint, messages);
    hk_former *former = malloc(sizeof *former + (size_t)comm->size * sizeof(int));
    if (former == NULL)
        return;
    *former =
        (hk_former){.next = endpoint->formers, .context = comm->context, .messages = messages};
    for (int i = 0; i < comm->size; i++)
        if (i != comm->rank && !comm->left[i] && endpoint->peers[comm->ranks[i]].health == HK_ALIVE)
            former->members[former->count++] = comm->ranks[i];
    if (former->count > 0 && !endpoint->delegate)
        endpoint->formers = former;
    else
        free(former);
}

/* One member less. True: it was the last, and the group is gone. */
static bool leave(hk_endpoint *endpoint, hk_former **link, int member)
{
    hk_former *former = *link;
    int at = 0;
    while (at < former->count && former->members[at] != member)
        at++;
    if (at < former->count)
        former->members[at] = former->members[--former->count];
    if (former->count > 0)
        return false;
    *link = former->next;
    forget(endpoint, former->context);
    forget(endpoint, former->messages);
    free(former);
    return true;
}

bool hk_former_heard(hk_endpoint *endpoint, uint64_t context, int from, bool left)
{
    hk_former **link = &endpoint->formers;
    while (*link != NULL && (*link)->context != context)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    if (left)
        leave(endpoint, link, from);
    return true;
}

void hk_former_gone(hk_endpoint *endpoint, int peer)
{
    for (hk_former **link = &endpoint->formers; *link != NULL;)
        if (!leave(endpoint, link, peer))
            link = &(*link)->next;
}

void hk_former_fini(hk_endpoint *endpoint)
{
    while (endpoint->formers != NULL) {
        hk_former *former = endpoint->formers;
        endpoint->formers = former->next;
        free(former);
    }
}
