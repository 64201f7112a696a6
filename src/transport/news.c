/* News: what endpoints tell each other on context 0, and what it does to groups.
 *
 *   DEAD     a rank has died                      -> every group with that member breaks
 *   BYE      this endpoint has no groups left     -> its end of the connection is no death
 *   LEFT     this rank left one group after #16   -> who waits for it there need not wait
 *   BROKEN   a group is broken, why, whose fault  -> it breaks here too
 *   ROLL     "I am in #17: all_reduce ..."        -> compare with what I was in at #17; answer
 *   SHRINK   "these are out; decided or not"      -> shrink.c
 *   HERE     "the last I have begun is #16"       -> kept for the sentence when a deadline passes
 *
 * Whoever notices a failure, or hears of it, tells before it returns from the call, and a
 * connection keeps its order, so the news of the first fault arrives before the end of whoever ends
 * because of it, also by way of a third rank: all ranks name the same culprit.
 */
#include "transport/state.h"

#include "core/log.h"
#include "core/settings.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EARLY_MAX 64

enum { NEWS_DEAD = 1, NEWS_BYE, NEWS_LEFT, NEWS_BROKEN, NEWS_ROLL, NEWS_HERE, NEWS_SHRINK };

/* On the wire as it is in memory: all ranks have the same byte order (the handshake sees to it). */
typedef struct news {
    uint32_t kind;
    uint32_t status;
    uint64_t context;
    uint64_t number;
    uint32_t fingerprint;
    uint32_t
        rank_count; /* int32_t world ranks follow, then text, of SHRINK a bit for each member */
    uint32_t text_length;
    uint32_t reserved;
} news;

#define NEWS_MAX (sizeof(news) + HK_ERROR_RANKS_MAX * sizeof(int32_t) + HK_ERROR_TEXT_MAX)

struct hk_letter {
    hk_letter *next;
    hocket_op op;
    uint8_t bytes[];
};

struct hk_early {
    hk_early *next;
    int from;
    size_t length;
    uint8_t bytes[];
};

/* === Out ===================================================================================== */

static size_t pack(uint8_t *bytes, news head, const int *world_ranks, const char *text)
{
    head.text_length = (uint32_t)strlen(text);
    memcpy(bytes, &head, sizeof head);
    uint8_t *at = bytes + sizeof head;
    for (uint32_t i = 0; i < head.rank_count; i++, at += sizeof(int32_t)) {
        int32_t rank = world_ranks[i];
        memcpy(at, &rank, sizeof rank);
    }
    memcpy(at, text, head.text_length);
    return (size_t)(at - bytes) + head.text_length;
}

/* Best effort: news that cannot be sent is replaced by the peers' own eyes and deadlines. */
static void tell(hk_endpoint *endpoint, int peer, const uint8_t *bytes, size_t length)
{
    /* Also to who said goodbye: while it lingers, an end without one would look like a death. */
    if (peer == endpoint->rank || endpoint->peers[peer].health == HK_LOST || endpoint->delegate)
        return;
    hk_letter *letter = malloc(sizeof *letter + length);
    if (letter == NULL)
        return;
    memcpy(letter->bytes, bytes, length);
    letter->op = (hocket_op){.kind = HOCKET_OP_SEND,
                             .peer = peer,
                             .context = HK_CONTEXT_NEWS,
                             .buffer = letter->bytes,
                             .length = length,
                             .owner = endpoint};
    if (endpoint->transport->post(endpoint->self, &letter->op) != HOCKET_OK) {
        free(letter);
        return;
    }
    letter->next = endpoint->letters;
    endpoint->letters = letter;
}

static void tell_those_left(hk_comm *comm, const uint8_t *bytes, size_t length)
{
    for (int i = 0; i < comm->size; i++)
        if (!comm->left[i])
            tell(comm->endpoint, comm->ranks[i], bytes, length);
}

static void tell_members(hk_comm *comm, news head, const int *world_ranks, const char *text)
{
    uint8_t bytes[NEWS_MAX];
    tell_those_left(comm, bytes, pack(bytes, head, world_ranks, text));
}

static void tell_everyone(hk_endpoint *endpoint, news head, const int *world_ranks)
{
    uint8_t bytes[NEWS_MAX];
    size_t length = pack(bytes, head, world_ranks, "");
    for (int i = 0; i < endpoint->size; i++)
        tell(endpoint, i, bytes, length);
}

static void free_sent(hk_endpoint *endpoint)
{
    for (hk_letter **link = &endpoint->letters; *link != NULL;) {
        hk_letter *letter = *link;
        if (!letter->op.done) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        free(letter);
    }
}

/* === Faults ================================================================================== */

/* That the group of that context, the members' own or a child of theirs, is broken by comm's fault.
 */
static void tell_fault(hk_comm *comm, uint64_t context, const char *text)
{
    const hk_error *error = &comm->fault;
    int world_ranks[HK_ERROR_RANKS_MAX];
    int count = error->rank_count < HK_ERROR_RANKS_MAX ? error->rank_count : HK_ERROR_RANKS_MAX;
    for (int i = 0; i < count; i++)
        world_ranks[i] = comm->ranks[error->ranks[i]];
    news head = {.kind = NEWS_BROKEN,
                 .status = (uint32_t)error->status,
                 .context = context,
                 .rank_count = (uint32_t)count};
    tell_members(comm, head, world_ranks, text);
}

/* Those who got further than this rank wait for it in the new group. They have it open, or keep the
 * news until they do. Ranks at fault that are no members of it are not named there. */
void hk_news_absent(hk_comm *comm, uint64_t child)
{
    hk_error absent;
    hk_error_set(&absent, comm->fault.status,
                 "a member's split failed; in the parent's numbers: %s", comm->fault.text);
    tell_fault(comm, child, absent.text);
}

void hk_news_fault(hk_comm *comm, const hk_error *error, bool tell)
{
    if (comm->fault.status != HOCKET_OK)
        return;
    comm->fault = *error;
    atomic_store_explicit(&comm->broken, true, memory_order_release);
    comm->endpoint->faulty = true;
    if (tell)
        tell_fault(comm, comm->context, comm->fault.text);
}

/* A transport names ranks of the world. */
void hk_news_transport_failed(hk_comm *comm)
{
    const hk_error *broken = &comm->endpoint->broken;
    hk_error error;
    hk_error_set(&error, broken->status, "%s", broken->text);
    for (int i = 0; i < broken->rank_count && i < HK_ERROR_RANKS_MAX; i++) {
        int rank = hk_comm_rank_of(comm, broken->ranks[i]);
        if (rank >= 0)
            hk_error_add_rank(&error, rank);
    }
    hk_news_fault(comm, &error, true);
}

/* What a member's death means to a group. */
static void member_lost(hk_comm *comm, int rank)
{
    if (rank < 0 || comm->left[rank])
        return;
    hk_error error;
    hk_error_set(&error, HOCKET_ERR_PEER_LOST, "rank %d is lost: it died, or its connection broke",
                 rank);
    hk_error_add_rank(&error, rank);
    hk_news_fault(comm, &error, false);
}

static void mark_lost(hk_endpoint *endpoint, int peer)
{
    if (peer == endpoint->rank || endpoint->peers[peer].health != HK_ALIVE)
        return;
    endpoint->peers[peer].health = HK_LOST;
    hk_log(HK_LOG_INFO, endpoint->rank, "rank %d is lost", peer);
    for (hk_comm *comm = endpoint->comms; comm != NULL; comm = comm->next)
        member_lost(comm, hk_comm_rank_of(comm, peer));
    hk_former_gone(endpoint, peer);
    if (endpoint->comms != NULL) /* who has left everything himself is not told goodbye */
        tell_everyone(endpoint, (news){.kind = NEWS_DEAD, .rank_count = 1}, &peer);
}

/* === In ====================================================================================== */

static hk_comm *find_comm(hk_endpoint *endpoint, uint64_t context)
{
    hk_comm *comm = endpoint->comms;
    while (comm != NULL && comm->context != context)
        comm = comm->next;
    return comm;
}

static void heard_broken(hk_comm *comm, const news *head, const int32_t *ranks, const char *text)
{
    if (!hk_status_is_failure(head->status))
        return;
    hk_error error;
    hk_error_set(&error, (hocket_status)head->status, "%.*s", (int)head->text_length, text);
    for (uint32_t i = 0; i < head->rank_count; i++) {
        int rank = hk_comm_rank_of(comm, ranks[i]);
        if (rank >= 0)
            hk_error_add_rank(&error, rank);
    }
    hk_news_fault(comm, &error, true);
}

int hk_comm_deserter(const hk_comm *comm, uint64_t number)
{
    for (int i = 0; i < comm->size && number != HK_NUMBER_OPENING; i++)
        if (comm->left[i] && comm->stayed[i] < number)
            return i;
    return -1;
}

/* Where a member has left, some know it and go other ways than those who do not know it yet: what
 * is wrong then is the departure. */
static void heard_roll(hk_comm *comm, int from, const news *head, const char *text)
{
    hk_what mine;
    int64_t shown[HK_WHAT_SHOWN];
    uint64_t begun = head->number != HK_NUMBER_OPENING ? head->number : 0;
    if (comm->answers[from] <= begun) /* also an answer, to who asks what it is in */
        comm->answers[from] = begun + 1;
    if (head->number > 0 && hk_history_find(comm->history, head->number, &mine, shown) &&
        hk_what_fingerprint(&mine) != head->fingerprint &&
        hk_comm_deserter(comm, head->number) < 0) {
        char mine_text[HK_WHAT_TEXT_MAX];
        hk_what_print(&mine, mine_text, sizeof mine_text);
        hk_error error;
        hk_error_set(&error, HOCKET_ERR_MISMATCH,
                     "ranks called different things: rank %d %s, rank %d %.*s", comm->rank,
                     mine_text, from, (int)head->text_length, text);
        hk_error_add_rank(&error, comm->rank);
        hk_error_add_rank(&error, from);
        hk_news_fault(comm, &error, true);
        return;
    }
    uint8_t bytes[NEWS_MAX];
    news answer = {.kind = NEWS_HERE,
                   .context = comm->context,
                   .number = hk_history_begun(comm->history)};
    tell(comm->endpoint, comm->ranks[from], bytes, pack(bytes, answer, NULL, ""));
}

static size_t bytes_of_bits(const hk_comm *comm)
{
    return ((size_t)comm->size + 7) / 8;
}

static void heard_shrink(hk_comm *comm, int from, const news *head, const char *bits)
{
    if (head->text_length != bytes_of_bits(comm))
        return;
    bool out[comm->size];
    for (int i = 0; i < comm->size; i++)
        out[i] = (uint8_t)bits[i / 8] >> i % 8 & 1;
    hk_shrink_heard(comm, from, out, head->number != 0);
}

static void heard_in_group(hk_comm *comm, int from, const news *head, const int32_t *ranks,
                           const char *text)
{
    int rank = hk_comm_rank_of(comm, from);
    if (rank < 0)
        return;
    switch (head->kind) {
    case NEWS_LEFT:
        comm->left[rank] = true;
        comm->stayed[rank] = head->number;
        break;
    case NEWS_BROKEN: heard_broken(comm, head, ranks, text); break;
    case NEWS_ROLL: heard_roll(comm, rank, head, text); break;
    case NEWS_SHRINK: heard_shrink(comm, rank, head, text); break;
    case NEWS_HERE: comm->answers[rank] = head->number + 1; break;
    default: break;
    }
}

static void forget_early(hk_endpoint *endpoint, hk_early **link)
{
    hk_early *early = *link;
    *link = early->next;
    endpoint->early_count--;
    free(early);
}

/* A group that came to nothing is never opened, so the oldest goes; and it breaks but once. */
static void keep_early(hk_endpoint *endpoint, int from, const uint8_t *bytes, size_t length)
{
    news head, other;
    memcpy(&head, bytes, sizeof head);
    hk_early **link = &endpoint->early;
    for (; *link != NULL; link = &(*link)->next) {
        memcpy(&other, (*link)->bytes, sizeof other);
        if (head.kind == NEWS_BROKEN && other.kind == head.kind && other.context == head.context)
            return;
    }
    if (endpoint->early_count == EARLY_MAX)
        forget_early(endpoint, &endpoint->early);
    hk_early *early = malloc(sizeof *early + length);
    if (early == NULL)
        return;
    early->next = NULL;
    early->from = from;
    early->length = length;
    memcpy(early->bytes, bytes, length);
    for (link = &endpoint->early; *link != NULL;)
        link = &(*link)->next;
    *link = early;
    endpoint->early_count++;
}

/* Checks every length before it is used; what makes no sense is ignored. */
static bool unpack(const uint8_t *bytes, size_t length, news *head, int32_t *ranks, char *text)
{
    if (length < sizeof *head || length > NEWS_MAX)
        return false;
    memcpy(head, bytes, sizeof *head);
    if (head->rank_count > HK_ERROR_RANKS_MAX || head->text_length >= HK_ERROR_TEXT_MAX ||
        length != sizeof *head + head->rank_count * sizeof *ranks + head->text_length)
        return false;
    memcpy(ranks, bytes + sizeof *head, head->rank_count * sizeof *ranks);
    memcpy(text, bytes + length - head->text_length, head->text_length);
    text[head->text_length] = '\0';
    return true;
}

static void heard(hk_endpoint *endpoint, int from, const uint8_t *bytes, size_t length)
{
    news head;
    int32_t ranks[HK_ERROR_RANKS_MAX];
    char text[HK_ERROR_TEXT_MAX];
    if (!unpack(bytes, length, &head, ranks, text))
        return;
    if (head.kind == NEWS_BYE) {
        if (endpoint->peers[from].health == HK_ALIVE)
            endpoint->peers[from].health = HK_GONE;
        hk_former_gone(endpoint, from);
        return;
    }
    if (head.kind == NEWS_DEAD) {
        if (head.rank_count == 1 && ranks[0] >= 0 && ranks[0] < endpoint->size)
            mark_lost(endpoint, ranks[0]);
        return;
    }
    hk_comm *comm = find_comm(endpoint, head.context);
    if (comm != NULL)
        heard_in_group(comm, from, &head, ranks, text);
    else if (hk_former_heard(endpoint, head.context, from, head.kind == NEWS_LEFT))
        return;
    else if (head.kind == NEWS_LEFT || head.kind == NEWS_BROKEN)
        keep_early(endpoint, from, bytes, length);
}

void hk_news_opened(hk_comm *comm)
{
    hk_endpoint *endpoint = comm->endpoint;
    for (hk_early **link = &endpoint->early; *link != NULL;) {
        hk_early *early = *link;
        news head;
        memcpy(&head, early->bytes, sizeof head);
        if (head.context != comm->context) {
            link = &early->next;
            continue;
        }
        heard(endpoint, early->from, early->bytes, early->length);
        forget_early(endpoint, link);
    }
    if (endpoint->broken.status != HOCKET_OK)
        hk_news_transport_failed(comm);
    for (int i = 0; i < comm->size; i++) {
        hk_health health = endpoint->peers[comm->ranks[i]].health;
        if (health == HK_LOST)
            member_lost(comm, i);
        else if (health == HK_GONE)
            comm->left[i] = true;
    }
}

/* === Listening =============================================================================== */

static void listen_to(hk_endpoint *endpoint, int peer)
{
    hk_neighbor *p = &endpoint->peers[peer];
    p->news = (hocket_op){.kind = HOCKET_OP_RECV,
                          .peer = peer,
                          .context = HK_CONTEXT_NEWS,
                          .take = true,
                          .owner = endpoint};
    p->listening = endpoint->transport->post(endpoint->self, &p->news) == HOCKET_OK;
}

void hk_news_listen(hk_endpoint *endpoint)
{
    for (int i = 0; i < endpoint->size; i++)
        if (i != endpoint->rank && !endpoint->delegate)
            listen_to(endpoint, i);
}

void hk_news_digest(hk_endpoint *endpoint)
{
    for (int i = 0; i < endpoint->size; i++) {
        hk_neighbor *peer = &endpoint->peers[i];
        while (peer->listening && peer->news.done) {
            hocket_op news = peer->news;
            peer->listening = false;
            if (news.status == HOCKET_ERR_PEER_LOST) {
                mark_lost(endpoint, i);
                break;
            }
            if (news.status == HOCKET_OK)
                heard(endpoint, i, news.buffer, news.received);
            free(news.buffer);
            listen_to(endpoint, i);
            if (news.status != HOCKET_OK)
                break; /* no memory for it: the next round tries again */
        }
    }
    free_sent(endpoint);
}

/* Who leaves because of a fault says so, or else to those who have not heard of the fault yet it
 * would be the one that is missing. */
void hk_news_left(hk_comm *comm)
{
    if (comm->fault.status != HOCKET_OK)
        tell_fault(comm, comm->context, comm->fault.text);
    news head = {.kind = NEWS_LEFT,
                 .context = comm->context,
                 .number = hk_history_begun(comm->history)};
    uint8_t bytes[NEWS_MAX];
    size_t length = pack(bytes, head, NULL, "");
    for (int i = 0; i < comm->size; i++) /* who has left waits for the last, former.c */
        tell(comm->endpoint, comm->ranks[i], bytes, length);
}

static void tell_call(hk_comm *comm, const hk_what *what)
{
    char text[HK_WHAT_TEXT_MAX];
    hk_what_print(what, text, sizeof text);
    news head = {.kind = NEWS_ROLL,
                 .context = comm->context,
                 .number = what->number,
                 .fingerprint = hk_what_fingerprint(what)};
    tell_members(comm, head, NULL, text);
}

/* The call before may be the one that differs. */
void hk_news_roll_call(hk_comm *comm, const hk_what *what)
{
    comm = comm->whole;
    hk_what before;
    int64_t shown[HK_WHAT_SHOWN];
    if (what->number != HK_NUMBER_OPENING &&
        hk_history_find(comm->history, what->number - 1, &before, shown))
        tell_call(comm, &before);
    tell_call(comm, what);
}

/* As many ranks may be out as there are, which no list of ranks at fault holds. */
void hk_news_shrink(hk_comm *comm, const bool *out, bool decided)
{
    _Static_assert(HK_WORLD_MAX / 8 < HK_ERROR_TEXT_MAX, "a bit for each rank must fit");
    uint8_t bytes[NEWS_MAX] = {0};
    news head = {.kind = NEWS_SHRINK,
                 .context = comm->context,
                 .number = decided,
                 .text_length = (uint32_t)bytes_of_bits(comm)};
    memcpy(bytes, &head, sizeof head);
    for (int i = 0; i < comm->size; i++)
        bytes[sizeof head + (size_t)i / 8] |= (uint8_t)(out[i] << i % 8);
    tell_those_left(comm, bytes, sizeof head + head.text_length);
}

void hk_news_farewell(hk_endpoint *endpoint)
{
    tell_everyone(endpoint, (news){.kind = NEWS_BYE}, NULL);
}

void hk_news_fini(hk_endpoint *endpoint)
{
    for (int i = 0; i < endpoint->size; i++) {
        hk_neighbor *peer = &endpoint->peers[i];
        if (peer->listening && !peer->news.done)
            endpoint->transport->cancel(endpoint->self, &peer->news);
        if (peer->listening)
            free(peer->news.buffer);
    }
    while (endpoint->letters != NULL) {
        hk_letter *letter = endpoint->letters;
        endpoint->letters = letter->next;
        if (!letter->op.done)
            endpoint->transport->cancel(endpoint->self, &letter->op);
        free(letter);
    }
    while (endpoint->early != NULL) {
        hk_early *early = endpoint->early;
        endpoint->early = early->next;
        free(early);
    }
    hk_former_fini(endpoint);
}
