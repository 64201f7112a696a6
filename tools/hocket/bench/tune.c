/* Every way against no rows of one's own at all, size by size, in interleaved rounds: machines
 * drift, and only what is measured in turns can be compared. */
#include "bench/tune.h"

#include "words.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAYS_MAX 5       /* the table as it is built in, and the ways of one operation */
#define BUILT_IN 0       /* the first of them */
#define ROUNDS_MAX 1000  /* as --rounds */
#define BETTER 0.95      /* of the built-in choice's time, or it is not worth a row */
#define SLOW 3.0         /* so many times the best ... */
#define COSTLY_US 1000   /* and takes so long; short ones cost nothing to try */
#define SLOW_SIZES 2     /* ... at so many sizes one after the other: no larger ones are tried */
#define SLOT (16u << 10) /* what shared memory posts at once; beyond it, flat is staged */
#define ROW_BYTES 128

/* What there is to choose from. By shared memory only what it has of its own; the rest goes by
 * messages there too. */
typedef struct alternatives {
    const char *operation, *medium;
    const char *ways[WAYS_MAX - 1]; /* fewer: NULL */
} alternatives;

static const alternatives by_memory[] = {
    {"all_reduce", "memory", {"flat", "staged", "read"}},
    {"all_gather", "memory", {"flat", "staged", "read"}},
    {"reduce_scatter", "memory", {"flat", "staged", "read"}},
    {"broadcast", "memory", {"flat", "staged", "read"}},
    {.operation = NULL},
};

static const alternatives by_messages[] = {
    {"all_reduce", "messages", {"flat", "tree", "direct", "ring"}},
    {"all_gather", "messages", {"tree", "direct", "ring"}},
    {"reduce_scatter", "messages", {"direct", "ring"}},
    {"broadcast", "messages", {"tree", "direct"}},
    {"reduce_to", "messages", {"flat", "tree", "direct"}},
    {"gather", "messages", {"tree", "direct"}},
    {"scatter", "messages", {"tree", "direct"}},
    {.operation = NULL},
};

/* What one operation's ways took. */
typedef struct column {
    const char *way;               /* "built-in" */
    double us[HK_BENCH_SIZES_MAX]; /* medians of the rounds; 0: not tried */
    double rounds[ROUNDS_MAX];     /* of the present size */
    int slow;                      /* sizes in a row */
} column;

typedef struct tuner {
    hk_bench_session *session;
    const hk_bench_tuning *tuning;
    const alternatives *at; /* the operation that is being measured */
    column columns[WAYS_MAX];
    int column_count;
    int best[HK_BENCH_SIZES_MAX]; /* by size */
    char *rows;                   /* the file's text so far, on rank 0 */
    size_t length, room;
    double started;
} tuner;

/* === Text ===================================================================================== */

/* Ends with 0, which is not counted. */
static bool append(tuner *t, const char *text, size_t length)
{
    if (t->length + length + 1 > t->room) {
        size_t room = 2 * (t->length + length + 1);
        char *more = realloc(t->rows, room);
        if (!more) {
            hk_complain(t->session->command, "There is no memory for the table.");
            return false;
        }
        t->rows = more;
        t->room = room;
    }
    memcpy(t->rows + t->length, text, length);
    t->length += length;
    t->rows[t->length] = '\0';
    return true;
}

/* "16K", as the table of choices has it. */
static void write_size(char *text, size_t room, size_t bytes)
{
    static const char units[] = "\0KMG";
    int unit = 0;
    while (unit < 3 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, room, "%zu%.1s", bytes, units + unit);
}

static size_t half_way(const hk_bench_sizes *sizes, int below)
{
    return (size_t)sqrt((double)sizes->bytes[below] * (double)sizes->bytes[below + 1]);
}

/* Sizes from first to last go this way: a row up to half-way to their neighbours. */
static bool append_row(tuner *t, const char *way, int first, int last)
{
    const hk_bench_sizes *sizes = t->tuning->sizes;
    char from[24] = "0", to[24] = "", range[56], row[ROW_BYTES];
    if (first > 0)
        write_size(from, sizeof from, half_way(sizes, first - 1) + 1);
    if (last + 1 < sizes->count)
        write_size(to, sizeof to, half_way(sizes, last));
    snprintf(range, sizeof range, "%s-%s", from, to);
    int length = snprintf(row, sizeof row, "%-14s %-8s %5d  %-17s %s\n", t->at->operation,
                          t->at->medium, t->session->task.n, range, way);
    return append(t, row, (size_t)length);
}

static bool append_rows(tuner *t)
{
    int count = t->tuning->sizes->count;
    for (int first = 0, last; first < count; first = last + 1) {
        for (last = first; last + 1 < count && t->best[last + 1] == t->best[first];)
            last++;
        if (t->best[first] != BUILT_IN &&
            !append_row(t, t->columns[t->best[first]].way, first, last))
            return false;
    }
    return true;
}

/* === Measuring ================================================================================ */

/* Makes all go that way, whatever the size. */
static bool force(tuner *t, const char *way)
{
    char row[ROW_BYTES];
    snprintf(row, sizeof row, "%s %s %d 0- %s\n", t->at->operation, t->at->medium,
             t->session->task.n, way);
    t->session->way = way;
    hocket_status status =
        hocket_tune(t->session->group, way == t->columns[BUILT_IN].way ? NULL : row);
    return hk_bench_session_worked(t->session, status);
}

static bool is_tried(const tuner *t, const column *c, size_t bytes)
{
    bool posted = strcmp(t->at->medium, "memory") == 0 && strcmp(c->way, "flat") == 0;
    return c->slow < SLOW_SIZES && !(posted && bytes > SLOT);
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const double *values, int count)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

/* Clearly in the middle and at least a little in every round: what drifts from one to the next is
 * no reason for a row. */
static bool is_better(const column *c, const column *built_in, int rounds)
{
    double ratios[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        ratios[i] = c->rounds[i] / built_in->rounds[i];
        if (ratios[i] >= 1)
            return false;
    }
    return median(ratios, rounds) <= BETTER;
}

/* The times are all ranks', so all come to the same decisions. */
static void judge(tuner *t, int size)
{
    int best = BUILT_IN, rounds = t->tuning->rounds;
    double least = INFINITY;
    for (int i = 0; i < t->column_count; i++) {
        column *c = &t->columns[i];
        if (!is_tried(t, c, t->tuning->sizes->bytes[size]))
            continue;
        c->us[size] = median(c->rounds, rounds);
        least = fmin(least, c->us[size]);
        if (i != BUILT_IN && c->us[size] < t->columns[best].us[size] &&
            is_better(c, &t->columns[BUILT_IN], rounds))
            best = i;
    }
    t->best[size] = best;
    for (int i = 1; i < t->column_count; i++) {
        column *c = &t->columns[i];
        if (c->us[size] > COSTLY_US)
            c->slow = c->us[size] > SLOW * least ? c->slow + 1 : 0;
    }
}

static bool measure_size(tuner *t, const hk_bench_operation *operation, int size)
{
    size_t bytes = t->tuning->sizes->bytes[size];
    hk_bench_task_shape(&t->session->task, operation, bytes);
    for (int round = 0; round < t->tuning->rounds; round++) {
        for (int i = 0; i < t->column_count; i++) {
            column *c = &t->columns[i];
            hk_bench_times times;
            if (!is_tried(t, c, bytes))
                continue;
            if (!force(t, c->way) || (round == 0 && !hk_bench_session_try(t->session)) ||
                !hk_bench_session_measure(t->session, t->tuning->seconds, &times))
                return false;
            c->rounds[round] = times.median_us;
        }
    }
    judge(t, size);
    return true;
}

/* === What is told ============================================================================= */

static void print_head(const tuner *t)
{
    printf("%s by %s, %d ranks over %s, us\n%12s", t->at->operation, t->at->medium,
           t->session->task.n, hocket_backend(t->session->group), "bytes");
    for (int i = 0; i < t->column_count; i++)
        printf(" %12s", t->columns[i].way);
    printf("  choice\n");
    fflush(stdout);
}

static void print_size(const tuner *t, int size)
{
    printf("%12zu", t->tuning->sizes->bytes[size]);
    for (int i = 0; i < t->column_count; i++) {
        if (t->columns[i].us[size] > 0)
            printf(" %12.2f", t->columns[i].us[size]);
        else
            printf(" %12s", "-");
    }
    printf("  %s\n", t->columns[t->best[size]].way);
    fflush(stdout);
}

static void set_columns(tuner *t, const alternatives *at)
{
    t->at = at;
    t->column_count = 1;
    memset(t->columns, 0, sizeof t->columns);
    t->columns[BUILT_IN].way = "built-in";
    for (int i = 0; i + 1 < WAYS_MAX && at->ways[i]; i++)
        t->columns[t->column_count++].way = at->ways[i];
}

static bool tune_operation(tuner *t, const hk_bench_operation *operation, const alternatives *at)
{
    bool tells = t->session->task.rank == 0;
    set_columns(t, at);
    bool ok = hk_bench_session_buffers(t->session, operation, t->tuning->sizes);
    if (ok && tells)
        print_head(t);
    for (int i = 0; ok && i < t->tuning->sizes->count; i++) {
        ok = measure_size(t, operation, i);
        if (ok && tells)
            print_size(t, i);
    }
    hk_bench_session_buffers_free(t->session);
    return ok && append_rows(t);
}

static const alternatives *find(const alternatives *all, const char *operation)
{
    for (; all->operation; all++)
        if (strcmp(all->operation, operation) == 0)
            return all;
    return NULL;
}

static const alternatives *alternatives_of(const tuner *t, const char *operation)
{
    bool shared = strcmp(hocket_backend(t->session->group), "shm") == 0;
    const alternatives *at = shared ? find(by_memory, operation) : NULL;
    return at ? at : find(by_messages, operation);
}

/* === The file ================================================================================= */

static const char *const heads[] = {
    "# Written by hocket bench --tune; HOCKET_TUNE=FILE makes a job use it.\n",
    "# operation    medium   ranks  bytes             way\n",
};

/* Whether a line of the old file is of what has been measured anew, or a head of ours. */
static bool is_replaced(const tuner *t, const char *line)
{
    char operation[ROW_BYTES], medium[ROW_BYTES], ranks[ROW_BYTES], own[16];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strcmp(line, heads[i]) == 0)
            return true;
    if (sscanf(line, "%127s %127s %127s", operation, medium, ranks) != 3)
        return false;
    snprintf(own, sizeof own, "%d", t->session->task.n);
    const alternatives *at = alternatives_of(t, operation);
    bool measured = t->tuning->operation_count == 0;
    for (int i = 0; i < t->tuning->operation_count; i++)
        measured |= strcmp(t->tuning->operations[i]->name, operation) == 0;
    return measured && at && strcmp(at->medium, medium) == 0 && strcmp(ranks, own) == 0;
}

/* What stays of an older file comes behind: the first row that fits counts. */
static bool append_old(tuner *t)
{
    char line[2 * ROW_BYTES + 2];
    FILE *old = fopen(t->tuning->path, "r");
    bool ok = true;
    if (!old)
        return true;
    while (ok && fgets(line, sizeof line, old))
        ok = is_replaced(t, line) || append(t, line, strlen(line));
    fclose(old);
    return ok;
}

static bool complain_about(const tuner *t, const char *path)
{
    hk_complain(t->session->command, "%s cannot be written: %s", path, strerror(errno));
    return false;
}

/* All of it or nothing: under another name first. */
static bool write_file(const tuner *t, const char *text, size_t length)
{
    char path[4096];
    int used = snprintf(path, sizeof path, "%s.new", t->tuning->path);
    errno = ENAMETOOLONG;
    FILE *file = used < (int)sizeof path ? fopen(path, "w") : NULL;
    if (!file)
        return complain_about(t, path);
    bool ok = fwrite(text, 1, length, file) == length;
    ok = fclose(file) == 0 && ok;
    if (ok && length == 0)
        return remove(path) == 0;
    if (ok && rename(path, t->tuning->path) == 0)
        return true;
    complain_about(t, t->tuning->path);
    remove(path);
    return false;
}

/* Whether rank 0 has done its part, known to all. */
static bool all_know(tuner *t, bool done)
{
    double failed = t->session->task.rank == 0 && !done;
    return hk_bench_session_agree(t->session, &failed, 1) && failed == 0;
}

/* Whether rank 0's text is a table, by handing it out. */
static bool is_table(tuner *t)
{
    hocket_status status = hocket_tune(t->session->group, t->rows);
    if (status != HOCKET_OK && t->session->task.rank == 0)
        hk_complain(t->session->command, "What stays of %s: %s", t->tuning->path,
                    hocket_last_error());
    return status == HOCKET_OK;
}

/* Before a minute is spent: what is to stay of the file makes sense, and it can be written. */
static bool check_file(tuner *t)
{
    bool ok = append(t, "", 0);
    if (t->session->task.rank == 0)
        ok = ok && append_old(t) && write_file(t, "", 0);
    ok = all_know(t, ok) && is_table(t);
    t->length = 0;
    return ok;
}

static bool finish(tuner *t)
{
    bool ok = true, tells = t->session->task.rank == 0;
    size_t own = t->length;
    if (!all_know(t, !tells || append_old(t)) || !is_table(t))
        return false;
    if (tells && (ok = write_file(t, t->rows, t->length)))
        printf("\n%.*s\n%s, after %.0f s\n", (int)own, t->rows, t->tuning->path,
               hk_bench_now() - t->started);
    fflush(stdout);
    return all_know(t, ok);
}

/* === All of it ================================================================================ */

static bool is_ascending(const hk_bench_sizes *sizes)
{
    for (int i = 1; i < sizes->count; i++)
        if (sizes->bytes[i] <= sizes->bytes[i - 1])
            return false;
    return true;
}

/* The same on all ranks; rank 0 says it. */
static bool refuse(const tuner *t, const char *why, const char *what)
{
    if (t->session->task.rank == 0)
        hk_complain(t->session->command, why, what);
    return false;
}

static bool may_begin(const tuner *t)
{
    const hk_bench_tuning *tuning = t->tuning;
    const char *backend = hocket_backend(t->session->group);
    if (t->session->task.n < 2)
        return refuse(t, "%s has nothing to choose: `hocket run -n 2 -- hocket bench --tune FILE`.",
                      "One rank");
    if (strcmp(backend, "shm") != 0 && strcmp(backend, "tcp") != 0)
        return refuse(t, "Backend %s chooses by itself; the table is for shm and tcp.", backend);
    if (!is_ascending(tuning->sizes))
        return refuse(t, "%s needs sizes in ascending order.", "--tune");
    for (int i = 0; i < tuning->operation_count; i++)
        if (!alternatives_of(t, tuning->operations[i]->name))
            return refuse(t, "There is one way only for '%s'.", tuning->operations[i]->name);
    return true;
}

static bool is_wanted(const tuner *t, const hk_bench_operation *operation)
{
    bool wanted = t->tuning->operation_count == 0;
    for (int i = 0; i < t->tuning->operation_count; i++)
        wanted |= t->tuning->operations[i] == operation;
    return wanted && alternatives_of(t, operation->name);
}

bool hk_bench_tune(hk_bench_session *session, const hk_bench_tuning *tuning)
{
    tuner *t = calloc(1, sizeof *t);
    if (!t) {
        hk_complain(session->command, "There is no memory for the times of all ways.");
        return false;
    }
    t->session = session;
    t->tuning = tuning;
    t->started = hk_bench_now();
    bool ok = may_begin(t) && check_file(t);
    for (size_t i = 0; ok && i < sizeof heads / sizeof *heads; i++)
        ok = append(t, heads[i], strlen(heads[i]));
    for (const hk_bench_operation *each = hk_bench_operations; ok && each->name; each++)
        if (is_wanted(t, each))
            ok = tune_operation(t, each, alternatives_of(t, each->name));
    ok = ok && finish(t);
    free(t->rows);
    free(t);
    return ok;
}
