/* hocket bench: how long collectives take between the ranks that it is started on. Public headers
 * only: what it measures is what a program gets. */
#include "bench/session.h"
#include "bench/tune.h"
#include "command.h"
#include "options.h"
#include "platform.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BYTES "4:64M"
#define OPERATIONS_MAX 32

enum { EXIT_FAULT = 1 };
enum { MEMORY_MALLOC, MEMORY_ALLOC };

typedef struct bench_options {
    const char *bytes, *tune;
    int dtype, reduce, memory; /* indices into the choices below */
    int factor, rounds;
    double seconds;
    bool json;
} bench_options;

#define FIELD(name) offsetof(bench_options, name)

/* In the order of hocket_dtype and hocket_reduce. */
#define DTYPES "bool|i8|i16|i32|i64|u8|u16|u32|u64|f16|bf16|f32|f64|c64"
#define REDUCES "sum|mean|max|min|prod"
#define MEMORIES "malloc|alloc"

static const hk_option options[] = {
    {.name = "bytes",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(bytes),
     .value = "SIZES",
     .help = "from:to (" BYTES "), or sizes with commas between; K, M and G are powers of 1024"},
    {.name = "factor",
     .kind = HK_OPTION_INT,
     .field = FIELD(factor),
     .least = 2,
     .most = 1024,
     .value = "N",
     .help = "how a range of sizes grows (4)"},
    {.name = "dtype",
     .kind = HK_OPTION_CHOICE,
     .field = FIELD(dtype),
     .value = DTYPES,
     .help = "what the elements are (f32)"},
    {.name = "op",
     .kind = HK_OPTION_CHOICE,
     .field = FIELD(reduce),
     .value = REDUCES,
     .help = "how they are reduced (sum)"},
    {.name = "memory",
     .kind = HK_OPTION_CHOICE,
     .field = FIELD(memory),
     .value = MEMORIES,
     .help = "buffers from malloc (the default) or from hocket_alloc"},
    {.name = "seconds",
     .kind = HK_OPTION_SECONDS,
     .field = FIELD(seconds),
     .value = "SECONDS",
     .help = "to spend on each size, about (0.3)"},
    {.name = "rounds",
     .kind = HK_OPTION_INT,
     .field = FIELD(rounds),
     .least = 1,
     .most = 1000,
     .value = "N",
     .help = "how often to go through all of it (1)"},
    {.name = "tune",
     .kind = HK_OPTION_TEXT,
     .field = FIELD(tune),
     .value = "FILE",
     .help = "try all ways on sizes of 64:64M, and write what is best here into FILE, for "
             "HOCKET_TUNE; 3 rounds of 0.02 s unless told"},
    {.name = "json",
     .kind = HK_OPTION_FLAG,
     .field = FIELD(json),
     .help = "one object a line instead of a table"},
    {.name = NULL},
};

typedef struct bench {
    const hk_command *self;
    bench_options given;
    const hk_bench_operation *operations[OPERATIONS_MAX];
    int operation_count;
    hk_bench_sizes sizes;
    hk_bench_session session;
} bench;

/* === The command line ========================================================================= */

static bool choose_operation(bench *b, const char *word)
{
    const char *names[OPERATIONS_MAX + 1] = {"all"};
    int count = 1;
    bool all = strcmp(word, "all") == 0, found = all;
    for (const hk_bench_operation *each = hk_bench_operations; each->name; each++) {
        names[count++] = each->name;
        if (!all && strcmp(word, each->name) != 0)
            continue;
        found = true;
        if (b->operation_count == OPERATIONS_MAX) {
            hk_complain(b->self->name, "At most %d collectives go at a time.", OPERATIONS_MAX);
            return false;
        }
        b->operations[b->operation_count++] = each;
    }
    if (found)
        return true;
    const char *near = hk_closest(word, names, count);
    if (near)
        hk_complain(b->self->name, "There is no collective '%s'. Did you mean '%s'?", word, near);
    else
        hk_complain(b->self->name, "There is no collective '%s'. `hocket help %s` lists them.",
                    word, b->self->name);
    return false;
}

/* Names of collectives may stand before, between and after the options. */
static int parse_words(bench *b, int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        int used = hk_options_parse(b->self, &b->given, argc - at + 1, argv + at - 1);
        if (used < 0)
            return used;
        at += used - 1;
        if (at < argc && !choose_operation(b, argv[at]))
            return HK_OPTIONS_BAD;
    }
    if (b->operation_count == 0 && !b->given.tune && !choose_operation(b, "all_reduce"))
        return HK_OPTIONS_BAD;
    return argc;
}

static bool check_words(bench *b)
{
    const bench_options *given = &b->given;
    bool is_float = given->dtype >= HOCKET_FLOAT16;
    if (!hk_bench_sizes_parse(given->bytes, given->factor, &b->sizes)) {
        hk_complain(b->self->name,
                    "--bytes needs sizes such as 4:64M or 4,64K, at most %d of them, not '%s'.",
                    HK_BENCH_SIZES_MAX, given->bytes);
        return false;
    }
    if (given->reduce == HOCKET_MEAN && !is_float) {
        hk_complain(b->self->name, "Integers and bool have no mean; take another --dtype or --op.");
        return false;
    }
    return true;
}

/* The word number index of "one|two". */
static const char *word_of(const char *choices, int index, char *word, size_t size)
{
    while (index-- > 0)
        choices += strcspn(choices, "|") + 1;
    snprintf(word, size, "%.*s", (int)strcspn(choices, "|"), choices);
    return word;
}

/* === Measuring ================================================================================ */

/* The most that any rank holds, without the benchmark's own buffers. */
static bool agree_memory(bench *b, double *bytes)
{
    double peak = (double)hk_peak_memory_bytes();
    *bytes = peak > 0 ? fmax(peak - (double)b->session.memory_own, 0) : 0;
    return hk_bench_session_agree(&b->session, bytes, 1);
}

static void print(const bench *b, hk_bench_result *result, bool first)
{
    char dtype[16], reduce[16], memory[16];
    const bench_options *given = &b->given;
    bool reduces = b->session.task.operation->reduces;
    result->dtype = word_of(DTYPES, given->dtype, dtype, sizeof dtype);
    result->reduce = reduces ? word_of(REDUCES, given->reduce, reduce, sizeof reduce) : "";
    result->memory = word_of(MEMORIES, given->memory, memory, sizeof memory);
    if (given->json) {
        hk_bench_print_json(result);
        return;
    }
    if (first)
        hk_bench_print_head(result);
    hk_bench_print_row(result);
}

static bool measure_size(bench *b, int round, bool first)
{
    hk_bench_task *task = &b->session.task;
    hk_bench_result result = {
        .operation = task->operation->name,
        .backend = hocket_backend(b->session.group),
        .ranks = task->n,
        .round = round,
        .bytes = hk_bench_vector_bytes(task),
        .bus = hk_bench_bus_factor(task),
    };
    /* Once before it is timed, and again what the timed runs have left behind. */
    if (!hk_bench_session_try(&b->session))
        return false;
    hk_bench_fill(task);
    if (!hk_bench_session_measure(&b->session, b->given.seconds, &result.times) ||
        !hk_bench_session_check(&b->session) || !agree_memory(b, &result.memory_bytes))
        return false;
    result.times.median_us /= task->operation->trips;
    result.times.min_us /= task->operation->trips;
    result.times.max_us /= task->operation->trips;
    if (task->rank == 0)
        print(b, &result, first);
    return true;
}

/* All sizes of one operation, in buffers of the largest. */
static bool measure_operation(bench *b, const hk_bench_operation *operation, int round)
{
    bool ok = hk_bench_session_buffers(&b->session, operation, &b->sizes);
    int count = operation->recv == HK_BENCH_NONE ? 1 : b->sizes.count;
    for (int i = 0; ok && i < count; i++) {
        hk_bench_task_shape(&b->session.task, operation, b->sizes.bytes[i]);
        ok = measure_size(b, round, i == 0);
    }
    hk_bench_session_buffers_free(&b->session);
    return ok;
}

static bool measure_all(bench *b)
{
    for (int i = 0; i < b->operation_count; i++) {
        if (b->operations[i]->trips > 1 && b->session.task.n < 2) {
            hk_complain(b->self->name, "'%s' needs two ranks: `hocket run -n 2 -- hocket bench`.",
                        b->operations[i]->name);
            return false;
        }
    }
    for (int round = 1; round <= b->given.rounds; round++) {
        for (int i = 0; i < b->operation_count; i++) {
            if (!measure_operation(b, b->operations[i], round))
                return false;
        }
    }
    return true;
}

static int measure(bench *b)
{
    bool ok = hk_bench_session_open(&b->session, b->self->name);
    if (ok) {
        const hk_bench_tuning tuning = {.path = b->given.tune,
                                        .operations = b->operations,
                                        .operation_count = b->operation_count,
                                        .sizes = &b->sizes,
                                        .seconds = b->given.seconds,
                                        .rounds = b->given.rounds};
        b->session.task.dtype = (hocket_dtype)b->given.dtype;
        b->session.task.reduce = (hocket_reduce)b->given.reduce;
        b->session.shared_memory = b->given.memory == MEMORY_ALLOC;
        ok = b->given.tune ? hk_bench_tune(&b->session, &tuning) : measure_all(b);
    }
    hk_bench_session_close(&b->session);
    return ok ? 0 : EXIT_FAULT;
}

/* What was not said. */
static void set_defaults(bench_options *given)
{
    const bench_options usual = {.bytes = BYTES, .seconds = HK_BENCH_SECONDS, .rounds = 1};
    const bench_options tune = {.bytes = HK_TUNE_BYTES,
                                .seconds = HK_TUNE_SECONDS,
                                .rounds = HK_TUNE_ROUNDS};
    const bench_options *other = given->tune ? &tune : &usual;
    given->bytes = given->bytes ? given->bytes : other->bytes;
    given->seconds = given->seconds > 0 ? given->seconds : other->seconds;
    given->rounds = given->rounds > 0 ? given->rounds : other->rounds;
}

static int run(const hk_command *self, int argc, char **argv)
{
    bench b = {.self = self, .given = {.dtype = HOCKET_FLOAT32, .factor = 4}};
    int at = parse_words(&b, argc, argv);
    if (at == HK_OPTIONS_HELP)
        return 0;
    set_defaults(&b.given);
    if (at < 0 || !check_words(&b))
        return HK_EXIT_USAGE;
    return measure(&b);
}

static const hk_term collectives[] = {
    {"all_reduce, reduce_to, broadcast, permute", "the vector that a rank has or gets"},
    {"all_gather, gather", "what every rank, or rank 0, ends with"},
    {"reduce_scatter, scatter", "what every rank, or rank 0, begins with"},
    {"all_to_all", "what a rank sends, its own block included"},
    {"all_gather_v, reduce_scatter_v, all_to_all_v", "the same in blocks as 1 : 2 : 3 ..."},
    {"send", "a message from rank 0 to rank 1; half the time of there and back"},
    {"barrier", "no data, so no size"},
    {"all", "each of these"},
    {NULL, NULL},
};

static const hk_section sections[] = {
    {"Collectives, and what their size is", collectives},
    {NULL, NULL},
};

const hk_command hk_command_bench = {
    .name = "bench",
    .synopsis = "[COLLECTIVE ...] [OPTION ...]",
    .summary = "measure how long collectives take between the ranks it is started on",
    .description =
        "Start it by `hocket run -n 2 -- hocket bench`. Each time is the slowest rank's, of one "
        "operation; small sizes are timed in batches. Results are checked at every size, and a "
        "wrong one ends it with status 1. Bus bandwidth is what nccl-tests calls so. Rank 0 "
        "prints.",
    .options = options,
    .sections = sections,
    .run = run,
};
