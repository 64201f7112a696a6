#include "chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN_FLIGHT 3
#define LARGE (256 * 1024)

typedef enum verb {
    ALL_REDUCE,
    ALL_GATHER,
    ALL_GATHER_V,
    REDUCE_SCATTER,
    REDUCE_SCATTER_V,
    BROADCAST,
    REDUCE_TO,
    GATHER,
    SCATTER,
    ALL_TO_ALL,
    ALL_TO_ALL_V,
    PERMUTE,
    BARRIER,
    VERBS
} verb;

typedef struct task { /* one collective with its buffers */
    const team *team;
    verb verb;
    uint64_t key; /* of the values */
    size_t count;
    hocket_dtype dtype;
    hocket_reduce reduce;
    int root;
    size_t counts[CHAOS_RANKS_MAX], other[CHAOS_RANKS_MAX]; /* of the _v forms */
    int to[CHAOS_RANKS_MAX];
    void *send, *recv;
} task;

/* === Values ================================================================================== */

/* Small whole numbers: their sums are exact in every type. */
static double item(uint64_t key, int id, size_t at)
{
    return (double)((key + (uint64_t)id * 7 + at * 3) % 17) - 8;
}

static double folded(const task *t, size_t at)
{
    double value = item(t->key, t->team->ids[0], at);
    for (int r = 1; r < t->team->size; r++) {
        double next = item(t->key, t->team->ids[r], at);
        if (t->reduce == HOCKET_SUM)
            value += next;
        else if (t->reduce == HOCKET_MAX)
            value = next > value ? next : value;
        else
            value = next < value ? next : value;
    }
    return value;
}

static void put(const task *t, void *buffer, size_t at, double value)
{
    switch (t->dtype) {
    case HOCKET_INT32: ((int32_t *)buffer)[at] = (int32_t)value; break;
    case HOCKET_INT64: ((int64_t *)buffer)[at] = (int64_t)value; break;
    case HOCKET_FLOAT32: ((float *)buffer)[at] = (float)value; break;
    default: ((double *)buffer)[at] = value; break;
    }
}

static double get(const task *t, size_t at)
{
    switch (t->dtype) {
    case HOCKET_INT32: return ((const int32_t *)t->recv)[at];
    case HOCKET_INT64: return (double)((const int64_t *)t->recv)[at];
    case HOCKET_FLOAT32: return (double)((const float *)t->recv)[at];
    default: return ((const double *)t->recv)[at];
    }
}

#define FOLDED (-1)
#define ZEROS (-2)

/* recv[at + j] must be item offset + j of that member, or of all together. */
static bool right(const task *t, size_t at, size_t count, int of, size_t offset)
{
    for (size_t j = 0; j < count; j++) {
        double wanted = of == ZEROS    ? 0
                        : of == FOLDED ? folded(t, offset + j)
                                       : item(t->key, t->team->ids[of], offset + j);
        if (get(t, at + j) != wanted)
            return false;
    }
    return true;
}

/* === Collectives ============================================================================= */

static size_t block_sent(const task *t, int from, int to)
{
    return (t->count + (size_t)from * 3 + (size_t)to * 5) % (t->count + 1);
}

static size_t before(const size_t *counts, int rank)
{
    size_t sum = 0;
    for (int i = 0; i < rank; i++)
        sum += counts[i];
    return sum;
}

static bool make_task(task *t, const team *team, uint64_t *random)
{
    static const size_t counts[] = {0, 1, 7, 100, 1000, 5000, 40000, LARGE};
    static const hocket_dtype dtypes[] = {HOCKET_INT32, HOCKET_INT64, HOCKET_FLOAT32,
                                          HOCKET_FLOAT64};
    static const hocket_reduce reduces[] = {HOCKET_SUM, HOCKET_SUM, HOCKET_MAX, HOCKET_MIN};
    int n = team->size;
    *t = (task){.team = team, .verb = (verb)(chaos_random(random) % VERBS)};
    t->key = chaos_random(random) % 1000;
    t->count = counts[chaos_random(random) % (sizeof counts / sizeof *counts)];
    if (t->count == LARGE && t->verb != ALL_REDUCE && t->verb != BROADCAST)
        t->count = 20000;
    t->dtype = dtypes[chaos_random(random) % 4];
    t->reduce = reduces[chaos_random(random) % 4];
    t->root = (int)(chaos_random(random) % (unsigned)n);
    int turn = (int)(chaos_random(random) % (unsigned)n);
    for (int r = 0; r < n; r++) {
        t->to[r] = r == t->root ? -1 : (r + turn) % n;
        t->counts[r] = t->verb == ALL_TO_ALL_V ? block_sent(t, team->rank, r)
                                               : (t->count + (size_t)r * 3) % (t->count + 1);
        t->other[r] = block_sent(t, r, team->rank);
    }
    size_t room = (t->count + 1) * (size_t)n;
    t->send = malloc(room * sizeof(double));
    t->recv = calloc(room, sizeof(double));
    if (t->send == NULL || t->recv == NULL)
        return false;
    int source = t->verb == BROADCAST ? team->ids[t->root] : team->ids[team->rank];
    for (size_t j = 0; j < room; j++)
        put(t, t->send, j, item(t->key, source, j));
    if (t->verb == BROADCAST && team->rank == t->root)
        memcpy(t->recv, t->send, room * sizeof(double));
    return true;
}

static void free_task(task *t)
{
    free(t->send);
    free(t->recv);
}

#define RUN(function, ...)                                                                         \
    (request != NULL ? function##_async(__VA_ARGS__, request) : function(__VA_ARGS__))

/* Runs it, or starts it where there is a request. */
static hocket_status run_task(const task *t, hocket_request **request)
{
    hocket_group *g = t->team->group;
    switch (t->verb) {
    case ALL_REDUCE:
        return RUN(hocket_all_reduce, g, t->send, t->recv, t->count, t->dtype, t->reduce);
    case ALL_GATHER: return RUN(hocket_all_gather, g, t->send, t->recv, t->count, t->dtype);
    case ALL_GATHER_V: return RUN(hocket_all_gather_v, g, t->send, t->recv, t->counts, t->dtype);
    case REDUCE_SCATTER:
        return RUN(hocket_reduce_scatter, g, t->send, t->recv, t->count, t->dtype, t->reduce);
    case REDUCE_SCATTER_V:
        return RUN(hocket_reduce_scatter_v, g, t->send, t->recv, t->counts, t->dtype, t->reduce);
    case BROADCAST: return RUN(hocket_broadcast, g, t->recv, t->count, t->dtype, t->root);
    case REDUCE_TO:
        return RUN(hocket_reduce_to, g, t->send, t->recv, t->count, t->dtype, t->reduce, t->root);
    case GATHER: return RUN(hocket_gather, g, t->send, t->recv, t->count, t->dtype, t->root);
    case SCATTER: return RUN(hocket_scatter, g, t->send, t->recv, t->count, t->dtype, t->root);
    case ALL_TO_ALL: return RUN(hocket_all_to_all, g, t->send, t->recv, t->count, t->dtype);
    case ALL_TO_ALL_V:
        return RUN(hocket_all_to_all_v, g, t->send, t->counts, t->recv, t->other, t->dtype);
    case PERMUTE: return RUN(hocket_permute, g, t->send, t->recv, t->count, t->dtype, t->to);
    default: return RUN(hocket_barrier, g);
    }
}

static int sender_to(const task *t)
{
    for (int r = 0; r < t->team->size; r++)
        if (t->to[r] == t->team->rank)
            return r;
    return ZEROS;
}

/* Blocks from all, one after the other. */
static bool blocks_right(const task *t)
{
    size_t count = t->count, mine = (size_t)t->team->rank * count;
    for (int r = 0; r < t->team->size; r++) {
        bool good;
        if (t->verb == ALL_GATHER_V)
            good = right(t, before(t->counts, r), t->counts[r], r, 0);
        else if (t->verb == ALL_TO_ALL)
            good = right(t, (size_t)r * count, count, r, mine);
        else if (t->verb == ALL_TO_ALL_V) {
            size_t sent[CHAOS_RANKS_MAX];
            for (int to = 0; to < t->team->size; to++)
                sent[to] = block_sent(t, r, to);
            good = right(t, before(t->other, r), t->other[r], r, before(sent, t->team->rank));
        } else
            good = right(t, (size_t)r * count, count, r, 0);
        if (!good)
            return false;
    }
    return true;
}

static bool result_right(const task *t)
{
    int me = t->team->rank;
    size_t mine = (size_t)me * t->count;
    switch (t->verb) {
    case ALL_REDUCE: return right(t, 0, t->count, FOLDED, 0);
    case REDUCE_TO: return me != t->root || right(t, 0, t->count, FOLDED, 0);
    case REDUCE_SCATTER: return right(t, 0, t->count, FOLDED, mine);
    case REDUCE_SCATTER_V: return right(t, 0, t->counts[me], FOLDED, before(t->counts, me));
    case BROADCAST: return right(t, 0, t->count, t->root, 0);
    case SCATTER: return right(t, 0, t->count, t->root, mine);
    case PERMUTE: return right(t, 0, t->count, sender_to(t), 0);
    case GATHER: return me != t->root || blocks_right(t);
    case BARRIER: return true;
    default: return blocks_right(t);
    }
}

static void check(const task *t, char *complaint)
{
    if (!result_right(t) && complaint[0] == '\0')
        snprintf(complaint, CHAOS_TEXT_MAX,
                 "collective %d with %zu elements of %s on rank %d of %d gave a wrong number as OK",
                 (int)t->verb, t->count, hocket_dtype_name(t->dtype), t->team->rank, t->team->size);
}

/* === Notes =================================================================================== */

void work_note(const team *t, hocket_status status, int64_t began, said *failure)
{
    if (failure->status != HOCKET_OK)
        return;
    int ranks[CHAOS_RANKS_MAX];
    failure->status = status;
    failure->began = began;
    failure->returned = chaos_now();
    failure->count = hocket_last_error_ranks(ranks, CHAOS_RANKS_MAX);
    for (int i = 0; i < failure->count && i < CHAOS_RANKS_MAX; i++)
        failure->ranks[i] = ranks[i] >= 0 && ranks[i] < t->size ? t->ids[ranks[i]] : -1;
    snprintf(failure->text, sizeof failure->text, "%s", hocket_last_error());
}

static hocket_status one_collective(const team *t, uint64_t *random, said *failure, char *complaint)
{
    task one;
    hocket_status status = HOCKET_ERR_NO_MEMORY;
    int64_t began = chaos_now();
    if (make_task(&one, t, random)) {
        status = run_task(&one, NULL);
        if (status == HOCKET_OK)
            check(&one, complaint);
        else
            work_note(t, status, began, failure);
    }
    free_task(&one);
    return status;
}

/* === Several in flight ======================================================================= */

static hocket_status finish(const team *t, hocket_request *request, int64_t began, said *failure)
{
    bool done = false;
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < 3 && !done; i++)
        status = hocket_test(request, &done);
    if (!done)
        status = hocket_wait(request);
    if (status != HOCKET_OK)
        work_note(t, status, began, failure);
    return status;
}

static hocket_status several(const team *t, uint64_t *random, said *failure, char *complaint)
{
    task tasks[IN_FLIGHT] = {0};
    hocket_request *requests[IN_FLIGHT] = {NULL};
    hocket_status result = HOCKET_OK;
    int64_t began = chaos_now();
    for (int i = 0; i < IN_FLIGHT; i++) {
        hocket_status status = HOCKET_ERR_NO_MEMORY;
        if (make_task(&tasks[i], t, random))
            status = run_task(&tasks[i], &requests[i]);
        if (status != HOCKET_OK) {
            work_note(t, status, began, failure);
            result = result == HOCKET_OK ? status : result;
        }
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        if (requests[i] == NULL)
            continue;
        hocket_status status = finish(t, requests[i], began, failure);
        if (status == HOCKET_OK)
            check(&tasks[i], complaint);
        else if (result == HOCKET_OK)
            result = status;
    }
    for (int i = 0; i < IN_FLIGHT; i++)
        free_task(&tasks[i]);
    return result;
}

/* === Messages ================================================================================ */

static void write_message(uint8_t *bytes, size_t length, uint64_t key, int id)
{
    for (size_t j = 0; j < length; j++)
        bytes[j] = (uint8_t)item(key, id, j);
}

static bool read_message(const uint8_t *bytes, size_t length, uint64_t key, int id)
{
    for (size_t j = 0; j < length; j++)
        if (bytes[j] != (uint8_t)item(key, id, j))
            return false;
    return true;
}

/* Everyone sends to the next and receives from the one before. */
static hocket_status pass_on(const team *t, uint64_t *random, said *failure, char *complaint)
{
    static const size_t lengths[] = {0, 1, 500, 70000, 3000000};
    size_t length = lengths[chaos_random(random) % 5], got = 0;
    uint64_t key = chaos_random(random) % 1000;
    uint32_t tag = (uint32_t)(chaos_random(random) % 5);
    int to = (t->rank + 1) % t->size, from = (t->rank + t->size - 1) % t->size, source;
    bool async = chaos_random(random) % 2 == 0;
    uint8_t *bytes = malloc(length + 1);
    void *taken = NULL;
    hocket_request *request = NULL;
    int64_t began = chaos_now();
    if (bytes == NULL)
        return HOCKET_ERR_NO_MEMORY;
    write_message(bytes, length, key, t->ids[t->rank]);
    hocket_status status = async
                               ? hocket_send_bytes_async(t->group, to, tag, bytes, length, &request)
                               : hocket_send_bytes(t->group, to, tag, bytes, length);
    if (status == HOCKET_OK && chaos_random(random) % 2 == 0)
        status = hocket_probe(t->group, from, tag, &source, NULL);
    if (status == HOCKET_OK)
        status = hocket_recv_bytes(t->group, from, tag, &taken, &got);
    if (status != HOCKET_OK)
        work_note(t, status, began, failure);
    hocket_status sent = request != NULL ? finish(t, request, began, failure) : HOCKET_OK;
    if (status == HOCKET_OK)
        status = sent;
    if (status == HOCKET_OK && (got != length || !read_message(taken, got, key, t->ids[from])))
        snprintf(complaint, CHAOS_TEXT_MAX, "a message of %zu bytes came with %zu, or altered",
                 length, got);
    free(taken);
    free(bytes);
    return status;
}

hocket_status work_send_all(const team *t, uint64_t seed)
{
    uint8_t bytes[100];
    write_message(bytes, sizeof bytes, seed % 1000, t->ids[t->rank]);
    hocket_status status = HOCKET_OK;
    for (int to = 0; to < t->size && status == HOCKET_OK; to++)
        if (to != t->rank)
            status = hocket_send_bytes(t->group, to, 7, bytes, sizeof bytes);
    return status;
}

hocket_status work_receive(const team *t, int from, uint64_t seed, said *failure, bool *right)
{
    uint8_t bytes[100];
    size_t length = 0;
    int64_t began = chaos_now();
    hocket_status status = hocket_recv_into(t->group, from, 7, bytes, sizeof bytes, &length);
    if (status != HOCKET_OK)
        work_note(t, status, began, failure);
    *right = status == HOCKET_OK && length == sizeof bytes &&
             read_message(bytes, length, seed % 1000, t->ids[from]);
    return status;
}

/* === Subgroups =============================================================================== */

/* Who is in this rank's part, in the order of a split without keys. */
static team part(const team *t, const int *colors)
{
    team small = {.rank = -1};
    for (int r = 0; r < t->size; r++) {
        if (colors[r] != colors[t->rank])
            continue;
        if (r == t->rank)
            small.rank = small.size;
        small.ids[small.size++] = t->ids[r];
    }
    return small;
}

static hocket_status split(const team *t, uint64_t *random, unsigned kinds, said *failure,
                           bool *breaking, char *complaint)
{
    int colors[CHAOS_RANKS_MAX];
    for (int r = 0; r < t->size; r++)
        colors[r] = (int)(chaos_random(random) % 3) - 1;
    team small = part(t, colors);
    int64_t began = chaos_now();
    hocket_status status = hocket_split(t->group, colors[t->rank], 0, &small.group);
    if (status != HOCKET_OK) {
        work_note(t, status, began, failure);
        return status;
    }
    if (small.group == NULL)
        return HOCKET_OK;
    if (hocket_rank(small.group) != small.rank || hocket_world_size(small.group) != small.size)
        snprintf(complaint, CHAOS_TEXT_MAX, "a subgroup has %d members, not %d",
                 hocket_world_size(small.group), small.size);
    for (int i = 0; i < 2 && status == HOCKET_OK && (kinds & WORK_SUBGROUPS); i++)
        status = one_collective(&small, random, failure, complaint);
    *breaking = status == HOCKET_OK;
    hocket_free(small.group);
    return status;
}

/* === One operation =========================================================================== */

hocket_status work(const team *t, uint64_t seed, unsigned kinds, said *failure, bool *breaking,
                   char *complaint)
{
    uint64_t random = seed;
    unsigned choice = (unsigned)(chaos_random(&random) % 16);
    *breaking = true;
    if ((kinds & WORK_SPLIT_NOW) || choice == 0)
        return split(t, &random, kinds, failure, breaking, complaint);
    if ((kinds & WORK_MESSAGES) && choice < 4) {
        *breaking = false;
        return pass_on(t, &random, failure, complaint);
    }
    if ((kinds & WORK_ASYNC) && choice < 7)
        return several(t, &random, failure, complaint);
    return one_collective(t, &random, failure, complaint);
}
