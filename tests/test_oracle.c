/* Every collective against a naive loop: all dtypes, all reductions, in place or not, worlds of 1
 * to 8 ranks, counts from none to what makes each algorithm run. */
#include <limits.h>
#include <math.h>
#include "oracle_values.h"
#include "verbs_help.h"

struct oracle {
    struct member *me;
    hocket_group *group;
    int rank, ranks;
    struct oracle_table table;
    hocket_reduce reduce;
    size_t item, count;
    uint64_t sum_hash; /* of the all_reduce out of place, to compare the one in place with */
};

/* === Buffers ================================================================================== */

/* Guarded, and aligned to their element only. */
static unsigned char *make(const struct oracle *o, size_t count)
{
    unsigned char *base = guard_alloc(o->item + count * o->item);
    memset(base, 0x5A, o->item + count * o->item);
    return base + o->item;
}

static void drop(const struct oracle *o, unsigned char *buffer)
{
    GUARD_FREE(buffer - o->item);
}

static unsigned char *make_input(const struct oracle *o, size_t start, size_t count)
{
    unsigned char *buffer = make(o, count);
    oracle_fill(&o->table, buffer, o->rank, start, count);
    return buffer;
}

static uint64_t hash_of(const unsigned char *bytes, size_t length)
{
    uint64_t hash = UINT64_C(14695981039346656037), word = 0;
    for (size_t i = 0; i < length; i += sizeof(word)) {
        memcpy(&word, bytes + i, length - i < sizeof(word) ? length - i : sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return hash;
}

static void check_same_on_all(const struct oracle *o, uint64_t hash)
{
    uint64_t hashes[HARNESS_RANKS_MAX];
    CHECK_OK(hocket_all_gather(o->group, &hash, hashes, 1, HOCKET_UINT64));
    for (int rank = 0; rank < o->ranks; rank++)
        CHECK_THAT(hashes[rank] == hash, "ranks %d and %d have different bits", rank, o->rank);
}

/* Blocks of different lengths, one of them empty. Returns where this rank's begins. */
static size_t uneven(const struct oracle *o, size_t *counts, size_t *total)
{
    size_t start = 0;
    *total = 0;
    for (int rank = 0; rank < o->ranks; rank++) {
        counts[rank] = rank % 4 == 2 ? 0 : o->count + (size_t)rank * 3;
        if (rank == o->rank)
            start = *total;
        *total += counts[rank];
    }
    return start;
}

/* === Reductions =============================================================================== */

static void all_reduce(struct oracle *o, bool in_place)
{
    unsigned char *recv = in_place ? make_input(o, 0, o->count) : make(o, o->count);
    unsigned char *send = in_place ? recv : make_input(o, 0, o->count);
    CHECK_OK(hocket_all_reduce(o->group, send, recv, o->count, o->table.dtype, o->reduce));
    oracle_check_fold(&o->table, recv, 0, o->count);
    uint64_t hash = hash_of(recv, o->count * o->item);
    check_same_on_all(o, hash);
    if (in_place)
        CHECK_THAT(hash == o->sum_hash, "in place gives other bits than out of place");
    o->sum_hash = hash;
    if (!in_place) {
        oracle_check_input(&o->table, send, o->rank, 0, o->count);
        drop(o, send);
    }
    drop(o, recv);
}

static void reduce_scatter(struct oracle *o, bool in_place)
{
    size_t all = o->count * (size_t)o->ranks, start = o->count * (size_t)o->rank;
    unsigned char *send = make_input(o, 0, all);
    unsigned char *recv = in_place ? send + start * o->item : make(o, o->count);
    CHECK_OK(hocket_reduce_scatter(o->group, send, recv, o->count, o->table.dtype, o->reduce));
    oracle_check_fold(&o->table, recv, start, o->count);
    oracle_check_input(&o->table, send, o->rank, 0, in_place ? start : all);
    if (in_place)
        oracle_check_input(&o->table, recv + o->count * o->item, o->rank, start + o->count,
                           all - start - o->count);
    else
        drop(o, recv);
    drop(o, send);
}

static void reduce_scatter_v(struct oracle *o, bool in_place)
{
    size_t counts[HARNESS_RANKS_MAX], all, start = uneven(o, counts, &all);
    unsigned char *send = make_input(o, 0, all);
    unsigned char *recv = in_place ? send + start * o->item : make(o, counts[o->rank]);
    CHECK_OK(hocket_reduce_scatter_v(o->group, send, recv, counts, o->table.dtype, o->reduce));
    oracle_check_fold(&o->table, recv, start, counts[o->rank]);
    oracle_check_input(&o->table, send, o->rank, 0, in_place ? start : all);
    if (!in_place)
        drop(o, recv);
    drop(o, send);
}

static void reduce_to_root(struct oracle *o, bool in_place, int root)
{
    unsigned char *send = make_input(o, 0, o->count), *recv = NULL;
    if (o->rank == root)
        recv = in_place ? send : make(o, o->count);
    CHECK_OK(hocket_reduce_to(o->group, send, recv, o->count, o->table.dtype, o->reduce, root));
    if (o->rank == root)
        oracle_check_fold(&o->table, recv, 0, o->count);
    if (recv != send) {
        oracle_check_input(&o->table, send, o->rank, 0, o->count);
        if (recv != NULL)
            drop(o, recv);
    }
    drop(o, send);
}

static void reduce_to(struct oracle *o, bool in_place)
{
    reduce_to_root(o, in_place, 0);
    reduce_to_root(o, in_place, o->ranks - 1);
}

/* === Moves ==================================================================================== */

static void all_gather(struct oracle *o, bool in_place)
{
    unsigned char *recv = make(o, o->count * (size_t)o->ranks);
    unsigned char *send = recv + o->count * (size_t)o->rank * o->item;
    if (in_place)
        oracle_fill(&o->table, send, o->rank, 0, o->count);
    else
        send = make_input(o, 0, o->count);
    CHECK_OK(hocket_all_gather(o->group, send, recv, o->count, o->table.dtype));
    for (int rank = 0; rank < o->ranks; rank++)
        oracle_check_input(&o->table, recv + o->count * (size_t)rank * o->item, rank, 0, o->count);
    if (!in_place)
        drop(o, send);
    drop(o, recv);
}

static void all_gather_v(struct oracle *o, bool in_place)
{
    size_t counts[HARNESS_RANKS_MAX], all, start = uneven(o, counts, &all);
    unsigned char *recv = make(o, all), *send = recv + start * o->item;
    if (in_place)
        oracle_fill(&o->table, send, o->rank, 0, counts[o->rank]);
    else
        send = make_input(o, 0, counts[o->rank]);
    CHECK_OK(hocket_all_gather_v(o->group, send, recv, counts, o->table.dtype));
    const unsigned char *at = recv;
    for (int rank = 0; rank < o->ranks; at += counts[rank++] * o->item)
        oracle_check_input(&o->table, at, rank, 0, counts[rank]);
    if (!in_place)
        drop(o, send);
    drop(o, recv);
}

static void broadcast_from(struct oracle *o, int root)
{
    unsigned char *data = o->rank == root ? make_input(o, 0, o->count) : make(o, o->count);
    CHECK_OK(hocket_broadcast(o->group, data, o->count, o->table.dtype, root));
    oracle_check_input(&o->table, data, root, 0, o->count);
    drop(o, data);
}

static void broadcast(struct oracle *o, bool in_place)
{
    broadcast_from(o, in_place ? 0 : o->ranks - 1);
    if (!in_place)
        broadcast_from(o, o->ranks / 2);
}

static void gather_to(struct oracle *o, bool in_place, int root)
{
    bool mine = o->rank == root;
    unsigned char *recv = mine ? make(o, o->count * (size_t)o->ranks) : NULL;
    unsigned char *own = mine ? recv + o->count * (size_t)o->rank * o->item : NULL;
    unsigned char *send = mine && in_place ? own : make(o, o->count);
    oracle_fill(&o->table, send, o->rank, 0, o->count);
    CHECK_OK(hocket_gather(o->group, send, recv, o->count, o->table.dtype, root));
    for (int rank = 0; mine && rank < o->ranks; rank++)
        oracle_check_input(&o->table, recv + o->count * (size_t)rank * o->item, rank, 0, o->count);
    if (send != own)
        drop(o, send);
    if (mine)
        drop(o, recv);
}

static void gather(struct oracle *o, bool in_place)
{
    gather_to(o, in_place, 0);
    gather_to(o, in_place, o->ranks - 1);
}

static void scatter_from(struct oracle *o, bool in_place, int root)
{
    bool mine = o->rank == root;
    size_t all = o->count * (size_t)o->ranks, start = o->count * (size_t)o->rank;
    unsigned char *send = mine ? make_input(o, 0, all) : NULL;
    unsigned char *own = mine ? send + start * o->item : NULL;
    unsigned char *recv = mine && in_place ? own : make(o, o->count);
    CHECK_OK(hocket_scatter(o->group, send, recv, o->count, o->table.dtype, root));
    oracle_check_input(&o->table, recv, root, start, o->count);
    if (mine)
        oracle_check_input(&o->table, send, root, 0, all);
    if (recv != own)
        drop(o, recv);
    if (mine)
        drop(o, send);
}

static void scatter(struct oracle *o, bool in_place)
{
    scatter_from(o, in_place, 0);
    scatter_from(o, in_place, o->ranks - 1);
}

static void all_to_all(struct oracle *o, bool in_place)
{
    size_t all = o->count * (size_t)o->ranks;
    unsigned char *recv = in_place ? make_input(o, 0, all) : make(o, all);
    unsigned char *send = in_place ? recv : make_input(o, 0, all);
    CHECK_OK(hocket_all_to_all(o->group, send, recv, o->count, o->table.dtype));
    for (int rank = 0; rank < o->ranks; rank++)
        oracle_check_input(&o->table, recv + o->count * (size_t)rank * o->item, rank,
                           o->count * (size_t)o->rank, o->count);
    if (!in_place) {
        oracle_check_input(&o->table, send, o->rank, 0, all);
        drop(o, send);
    }
    drop(o, recv);
}

/* What rank i sends to rank j: nothing now and then, and not the same both ways. */
static size_t letters(const struct oracle *o, int i, int j)
{
    return (i + 2 * j) % 5 == 3 ? 0 : o->count + (size_t)(3 * i + j);
}

static void all_to_all_v(struct oracle *o, bool in_place)
{
    size_t sends[HARNESS_RANKS_MAX], recvs[HARNESS_RANKS_MAX], sent = 0, received = 0;
    if (in_place)
        return; /* there is no such thing */
    for (int rank = 0; rank < o->ranks; rank++) {
        sent += sends[rank] = letters(o, o->rank, rank);
        received += recvs[rank] = letters(o, rank, o->rank);
    }
    unsigned char *send = make_input(o, 0, sent), *recv = make(o, received), *at = recv;
    CHECK_OK(hocket_all_to_all_v(o->group, send, sends, recv, recvs, o->table.dtype));
    for (int rank = 0; rank < o->ranks; at += recvs[rank++] * o->item) {
        size_t start = 0; /* of the block for me in what that rank sent */
        for (int before = 0; before < o->rank; before++)
            start += letters(o, rank, before);
        oracle_check_input(&o->table, at, rank, start, recvs[rank]);
    }
    oracle_check_input(&o->table, send, o->rank, 0, sent);
    drop(o, send);
    drop(o, recv);
}

static void permute_by(struct oracle *o, bool in_place, const int *to)
{
    unsigned char *recv = in_place ? make_input(o, 0, o->count) : make(o, o->count);
    unsigned char *send = in_place ? recv : make_input(o, 0, o->count);
    int from = -1;
    for (int rank = 0; rank < o->ranks; rank++)
        if (to[rank] == o->rank)
            from = rank;
    CHECK_OK(hocket_permute(o->group, send, recv, o->count, o->table.dtype, to));
    if (from >= 0)
        oracle_check_input(&o->table, recv, from, 0, o->count);
    for (size_t i = 0; from < 0 && i < o->count * o->item; i++)
        CHECK_THAT(recv[i] == 0, "who gets nothing does not get zeros");
    if (!in_place)
        drop(o, send);
    drop(o, recv);
}

static void permute(struct oracle *o, bool in_place)
{
    int shift[HARNESS_RANKS_MAX], reverse[HARNESS_RANKS_MAX], chain[HARNESS_RANKS_MAX];
    int swap[HARNESS_RANKS_MAX], nowhere[HARNESS_RANKS_MAX];
    for (int rank = 0; rank < o->ranks; rank++) {
        shift[rank] = (rank + 1) % o->ranks;
        reverse[rank] = o->ranks - 1 - rank; /* the middle one sends to itself */
        chain[rank] = rank + 1 < o->ranks ? rank + 1 : -1;
        swap[rank] = rank < 2 && o->ranks > 1 ? 1 - rank : rank % 2 == 0 ? -1 : rank;
        nowhere[rank] = -1;
    }
    const int *const all[] = {shift, reverse, chain, swap, nowhere};
    for (size_t i = 0; i < LENGTH(all); i++)
        permute_by(o, in_place, all[i]);
}

/* === The matrix =============================================================================== */

static const struct collective {
    const char *name;
    void (*check)(struct oracle *o, bool in_place);
    bool reduces;
    bool blocks; /* handles a block for each rank, so that its data is n times as large */
} collectives[] = {
    {"all_reduce", all_reduce, true, false},
    {"reduce_scatter", reduce_scatter, true, true},
    {"reduce_scatter_v", reduce_scatter_v, true, true},
    {"reduce_to", reduce_to, true, false},
    {"all_gather", all_gather, false, true},
    {"all_gather_v", all_gather_v, false, true},
    {"broadcast", broadcast, false, false},
    {"gather", gather, false, true},
    {"scatter", scatter, false, true},
    {"all_to_all", all_to_all, false, true},
    {"all_to_all_v", all_to_all_v, false, true},
    {"permute", permute, false, false},
};

/* What one run goes through. */
struct matrix {
    unsigned dtypes, ops; /* a bit for each */
    const size_t *counts;
    size_t count_of_counts;
    bool whole; /* counts are of the whole data, not of a block */
};

static void check_count(struct oracle *o, size_t count, bool whole)
{
    for (size_t i = 0; i < LENGTH(collectives); i++) {
        const struct collective *its = &collectives[i];
        if (its->reduces != (o->table.op != ORACLE_MOVE))
            continue;
        o->count = whole && its->blocks ? count / (size_t)o->ranks : count;
        for (int in_place = 0; in_place < 2; in_place++) {
            harness_note("%s of %zu %s, %s%s", its->name, o->count,
                         hocket_dtype_name(o->table.dtype), oracle_op_name(o->table.op),
                         in_place ? ", in place" : "");
            its->check(o, in_place != 0);
        }
    }
}

/* What is not defined is refused, and the group lives on. */
static void check_undefined(struct oracle *o, hocket_dtype dtype)
{
    const char data[64] = {0};
    char out[64];
    hocket_status status[] = {
        hocket_all_reduce(o->group, data, out, 1, dtype, HOCKET_MEAN),
        hocket_reduce_to(o->group, data, out, 1, dtype, HOCKET_MEAN, 0),
        hocket_reduce_scatter(o->group, data, out, 1, dtype, HOCKET_MEAN),
        hocket_all_reduce(o->group, NULL, NULL, 0, dtype, HOCKET_MEAN),
    };
    harness_note("mean of %s", hocket_dtype_name(dtype));
    CHECK_HAS(hocket_last_error(), hocket_dtype_name(dtype));
    for (size_t i = 0; i < LENGTH(status); i++)
        CHECK_INT(HOCKET_ERR_INVALID, status[i]);
}

static void check_matrix(struct member *me)
{
    const struct matrix *matrix = me->context;
    struct oracle *o = calloc(1, sizeof(*o));
    *o = (struct oracle){.me = me, .group = me->world, .rank = me->rank, .ranks = me->size};
    for (int dtype = 0; dtype < ORACLE_DTYPES; dtype++)
        for (int op = 0; op <= ORACLE_MOVE; op++) {
            if (!(matrix->dtypes >> dtype & matrix->ops >> op & 1))
                continue;
            if (!oracle_defined(op, dtype)) {
                check_undefined(o, dtype);
                continue;
            }
            oracle_fill_table(&o->table, op, dtype, me->size);
            o->item = o->table.item;
            o->reduce = op == ORACLE_MOVE ? HOCKET_SUM : oracle_reduce(op, dtype);
            for (size_t i = 0; i < matrix->count_of_counts; i++)
                check_count(o, matrix->counts[i], matrix->whole);
        }
    free(o);
}

/* Races do not depend on the numbers that are added; test_algorithms runs 9 ranks under the tool.
 */
static int most_ranks(void)
{
    const char *sanitizers = getenv("HOCKET_SANITIZE");
    return sanitizers != NULL && strcmp(sanitizers, "thread") == 0 ? 3 : INT_MAX;
}

static void run_matrix(const struct harness_backend *backend, struct matrix matrix,
                       const int *sizes)
{
    for (; *sizes > 0; sizes++) {
        if (*sizes > most_ranks()) {
            print_message(
                "left out under ThreadSanitizer, which takes 20 times as long: %d ranks\n", *sizes);
            continue;
        }
        harness_run(&(struct harness_run){.backend = backend,
                                          .size = *sizes,
                                          .body = check_matrix,
                                          .context = &matrix,
                                          .processes = backend == &harness_hosts,
                                          .seconds = 60});
    }
}

#define BIT(number) (1u << (number))
#define ALL_DTYPES (BIT(ORACLE_DTYPES) - 1)
#define ALL_OPS (BIT(ORACLE_MOVE + 1) - 1)
#define SOME_DTYPES                                                                                \
    (BIT(HOCKET_INT8) | BIT(HOCKET_BFLOAT16) | BIT(HOCKET_FLOAT32) | BIT(HOCKET_COMPLEX64))
#define FEW_DTYPES (BIT(HOCKET_INT16) | BIT(HOCKET_FLOAT16) | BIT(HOCKET_FLOAT32))
#define FEW_OPS (BIT(ORACLE_SUM) | BIT(ORACLE_USER_AFFINE) | BIT(ORACLE_MOVE))
#define COUNTS(...)                                                                                \
    .counts = (const size_t[]){__VA_ARGS__},                                                       \
    .count_of_counts = sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t)
#define SIZES(...)                                                                                 \
    (const int[])                                                                                  \
    {                                                                                              \
        __VA_ARGS__, 0                                                                             \
    }

static void local_all_dtypes_and_reductions(void **state)
{
    (void)state;
    run_matrix(&harness_local, (struct matrix){ALL_DTYPES, ALL_OPS, COUNTS(0, 1, 7, 1009)},
               SIZES(1, 2, 3, 4, 5, 8));
}

static void local_larger_counts(void **state)
{
    (void)state;
    run_matrix(&harness_local,
               (struct matrix){FEW_DTYPES, FEW_OPS, COUNTS(16384, 100003), .whole = true},
               SIZES(2, 3, 4, 5, 8));
}

/* So large that each algorithm of the table has its turn. */
static void local_largest_counts(void **state)
{
    (void)state;
    run_matrix(&harness_local,
               (struct matrix){BIT(HOCKET_FLOAT32), FEW_OPS, COUNTS(2097157), .whole = true},
               SIZES(2, 4, 8));
}

/* Trees and rings begin at 9 ranks. */
static void local_many_ranks(void **state)
{
    (void)state;
    run_matrix(&harness_local, (struct matrix){SOME_DTYPES, ALL_OPS, COUNTS(0, 1, 333)},
               SIZES(9, 11, 16));
    run_matrix(&harness_local, (struct matrix){FEW_DTYPES, FEW_OPS, COUNTS(100003), .whole = true},
               SIZES(11));
    run_matrix(&harness_local,
               (struct matrix){BIT(HOCKET_FLOAT32) | BIT(HOCKET_BFLOAT16), FEW_OPS, COUNTS(2500007),
                               .whole = true},
               SIZES(9));
}

/* A good part of it for what carries ranks of several processes. */
static void over_the_wire(const struct harness_backend *backend)
{
    run_matrix(backend, (struct matrix){SOME_DTYPES, ALL_OPS, COUNTS(0, 1, 1009)},
               SIZES(2, 3, 4, 5));
    run_matrix(backend,
               (struct matrix){BIT(HOCKET_FLOAT32), FEW_OPS, COUNTS(16384, 100003, 2097157),
                               .whole = true},
               SIZES(3, 4));
    run_matrix(backend, (struct matrix){BIT(HOCKET_BFLOAT16), FEW_OPS, COUNTS(100003)}, SIZES(8));
}

static void tcp(void **state)
{
    (void)state;
    over_the_wire(&harness_tcp);
}

static void shm(void **state)
{
    (void)state;
    over_the_wire(&harness_shm);
}

/* Ranks side by side on two hosts, mixed, not as many on each, one alone, and vectors so large that
 * they go in pieces. */
static void hosts(void **state)
{
    (void)state;
    const char *const placements[] = {"AABB", "ABAB", "AAABCC", "ABBA", "BAA"};
    for (size_t i = 0; i < LENGTH(placements); i++) {
        harness_placement = placements[i];
        const int ranks = (int)strlen(harness_placement);
        run_matrix(&harness_hosts,
                   (struct matrix){i == 0 ? ALL_DTYPES : SOME_DTYPES, ALL_OPS, COUNTS(0, 1, 1009)},
                   SIZES(ranks));
        run_matrix(&harness_hosts,
                   (struct matrix){FEW_DTYPES, FEW_OPS, COUNTS(16384, 100003), .whole = true},
                   SIZES(ranks));
    }
    harness_placement = "ABCABC";
    run_matrix(&harness_hosts,
               (struct matrix){BIT(HOCKET_FLOAT32) | BIT(HOCKET_BFLOAT16), FEW_OPS, COUNTS(2500007),
                               .whole = true},
               SIZES(6));
}

/* === NaN ====================================================================================== */

/* A NaN of rank r, with a payload that tells them apart. */
static void put_nan(unsigned char *at, hocket_dtype dtype, int rank)
{
    uint16_t half = (uint16_t)((dtype == HOCKET_FLOAT16 ? 0x7e00 : 0x7fc0) | (rank + 1));
    uint32_t single = 0x7fc00000u | (uint32_t)(rank + 1);
    uint64_t twice = UINT64_C(0x7ff8000000000000) | (uint64_t)(rank + 1);
    if (dtype == HOCKET_FLOAT16 || dtype == HOCKET_BFLOAT16)
        memcpy(at, &half, sizeof(half));
    else if (dtype == HOCKET_FLOAT64)
        memcpy(at, &twice, sizeof(twice));
    else
        memcpy(at, &single, sizeof(single)); /* of a complex number, the real part */
}

static bool is_nan(const unsigned char *at, hocket_dtype dtype)
{
    uint16_t half;
    float single = 0;
    double twice;
    memcpy(&half, at, sizeof(half));
    memcpy(&single, at, hocket_dtype_size(dtype) < 4 ? 2 : 4);
    if (dtype == HOCKET_FLOAT16)
        return (half & 0x7fff) > 0x7c00;
    if (dtype == HOCKET_BFLOAT16)
        return (half & 0x7fff) > 0x7f80;
    if (dtype != HOCKET_FLOAT64)
        return isnan(single);
    memcpy(&twice, at, sizeof(twice));
    return isnan(twice);
}

/* Element i is a NaN on the ranks whose bit is set in i, so all subsets of ranks come up. */
static void check_nans(struct member *me)
{
    const hocket_dtype dtypes[] = {HOCKET_FLOAT16, HOCKET_BFLOAT16, HOCKET_FLOAT32, HOCKET_FLOAT64,
                                   HOCKET_COMPLEX64};
    const size_t count = (size_t)1 << me->size;
    unsigned char *data = malloc(count * 8);
    struct oracle o = {.me = me, .group = me->world, .rank = me->rank, .ranks = me->size};
    for (size_t d = 0; d < LENGTH(dtypes); d++)
        for (int reduce = HOCKET_SUM; reduce <= HOCKET_PROD; reduce++) {
            const size_t item = hocket_dtype_size(dtypes[d]);
            memset(data, 0, count * item);
            for (size_t i = 0; i < count; i++)
                if (i >> me->rank & 1)
                    put_nan(data + i * item, dtypes[d], me->rank);
            harness_note("NaN in %s, reduction %d", hocket_dtype_name(dtypes[d]), reduce);
            CHECK_OK(
                hocket_all_reduce(me->world, data, data, count, dtypes[d], (hocket_reduce)reduce));
            for (size_t i = 0; i < count; i++)
                CHECK_THAT(is_nan(data + i * item, dtypes[d]) == (i != 0), "element %zu", i);
            check_same_on_all(&o, hash_of(data, count * item));
        }
    free(data);
}

static void nans_are_handed_on_with_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; harness_backends[i] != NULL; i++)
        for (int size = 1; size <= 8; size += size < 5 ? 1 : 3)
            RANKS(harness_backends[i], size, check_nans, NULL);
}

static const struct harness_backend *chosen;

static void verbs(void **state)
{
    (void)state;
    over_the_wire(chosen);
    for (int size = 2; size <= 4; size++)
        RANKS(chosen, size, check_nans, NULL);
}

/* `test_oracle uc`: over that variant of verbs_help.h alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest over_verbs[] = {cmocka_unit_test(verbs)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_all_dtypes_and_reductions),
        cmocka_unit_test(local_larger_counts),
        cmocka_unit_test(local_largest_counts),
        cmocka_unit_test(local_many_ranks),
        cmocka_unit_test(tcp),
        cmocka_unit_test(shm),
        cmocka_unit_test(hosts),
        cmocka_unit_test(nans_are_handed_on_with_the_same_bits),
    };
    harness_clear_environment();
    if (argc > 1 && (chosen = verbs_variant(argv[1])) == NULL) {
        fprintf(stderr, "there is no variant %s\n", argv[1]);
        return 1;
    }
    oracle_open();
    int failed = chosen != NULL ? cmocka_run_group_tests_name(argv[1], over_verbs, NULL, NULL)
                                : cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
    oracle_close();
    return failed;
}
