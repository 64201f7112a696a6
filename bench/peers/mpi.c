/* What `hocket bench` measures, over MPI: f32 and sum, timed by the same code, printed in the same
 * form. It is built once by the mpicc of each MPI.
 *
 *     mpirun -n 2 mpi NAME OPERATION SIZES SECONDS
 *
 * NAME is what the results call this MPI in this configuration. The operation `start` only joins
 * and leaves. */
#include "bench/measure.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD 251
#define RANGE 4
#define COUNT_MAX (1 << 30) /* elements: MPI counts in ints */

typedef struct task task;

typedef struct operation {
    const char *name;
    int send_span, recv_span; /* how much of the vector the buffers hold */
    double bus_shares;        /* (n - 1) / n of the size so many times; 0: the size once */
    int trips;                /* a run is so many of what is reported */
    int (*run)(task *t);
    float (*wanted)(const task *t, size_t i); /* what recv holds; NULL: nothing */
} operation;

enum { NONE, WHOLE, BLOCK };

struct task {
    const operation *operation;
    int rank, n;
    int count, block; /* elements of the vector, of a rank's share */
    float *send, *recv;
};

/* === Data ===================================================================================== */

static float value_of(int rank, size_t i)
{
    return (float)((i % PERIOD * 7 + (size_t)rank * 5) % RANGE);
}

static float folded(const task *t, size_t i)
{
    float sum = 0;
    for (int rank = 0; rank < t->n; rank++)
        sum += value_of(rank, i);
    return sum;
}

static float folded_block(const task *t, size_t i)
{
    return folded(t, (size_t)t->rank * (size_t)t->block + i);
}

static float gathered(const task *t, size_t i)
{
    return value_of((int)(i / (size_t)t->block), i % (size_t)t->block);
}

static float exchanged(const task *t, size_t i)
{
    return value_of((int)(i / (size_t)t->block),
                    (size_t)t->rank * (size_t)t->block + i % (size_t)t->block);
}

static float of_root(const task *t, size_t i)
{
    (void)t;
    return value_of(0, i);
}

static float of_partner(const task *t, size_t i)
{
    return t->rank > 1 ? -1 : value_of(1 - t->rank, i);
}

static size_t elements(const task *t, int span)
{
    return span == WHOLE ? (size_t)t->count : span == BLOCK ? (size_t)t->block : 0;
}

static void fill(const task *t)
{
    size_t send = elements(t, t->operation->send_span);
    size_t recv = elements(t, t->operation->recv_span);
    for (size_t i = 0; i < send; i++)
        t->send[i] = value_of(t->rank, i);
    for (size_t i = 0; i < recv; i++)
        t->recv[i] = send == 0 && t->rank == 0 ? value_of(0, i) : -1;
}

/* === Runs ===================================================================================== */

static int run_all_reduce(task *t)
{
    return MPI_Allreduce(t->send, t->recv, t->count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static int run_all_gather(task *t)
{
    return MPI_Allgather(t->send, t->block, MPI_FLOAT, t->recv, t->block, MPI_FLOAT,
                         MPI_COMM_WORLD);
}

static int run_reduce_scatter(task *t)
{
    return MPI_Reduce_scatter_block(t->send, t->recv, t->block, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static int run_broadcast(task *t)
{
    return MPI_Bcast(t->recv, t->count, MPI_FLOAT, 0, MPI_COMM_WORLD);
}

static int run_all_to_all(task *t)
{
    return MPI_Alltoall(t->send, t->block, MPI_FLOAT, t->recv, t->block, MPI_FLOAT, MPI_COMM_WORLD);
}

static int run_send(task *t)
{
    int status = MPI_SUCCESS;
    if (t->rank > 1)
        return status;
    if (t->rank == 0)
        status = MPI_Send(t->send, t->count, MPI_FLOAT, 1, 7, MPI_COMM_WORLD);
    if (status == MPI_SUCCESS)
        status = MPI_Recv(t->recv, t->count, MPI_FLOAT, 1 - t->rank, 7, MPI_COMM_WORLD,
                          MPI_STATUS_IGNORE);
    if (status == MPI_SUCCESS && t->rank == 1)
        status = MPI_Send(t->send, t->count, MPI_FLOAT, 0, 7, MPI_COMM_WORLD);
    return status;
}

static int run_barrier(task *t)
{
    (void)t;
    return MPI_Barrier(MPI_COMM_WORLD);
}

static const operation operations[] = {
    {"all_reduce", WHOLE, WHOLE, 2, 1, run_all_reduce, folded},
    {"all_gather", BLOCK, WHOLE, 1, 1, run_all_gather, gathered},
    {"reduce_scatter", WHOLE, BLOCK, 1, 1, run_reduce_scatter, folded_block},
    {"broadcast", NONE, WHOLE, 0, 1, run_broadcast, of_root},
    {"all_to_all", WHOLE, WHOLE, 1, 1, run_all_to_all, exchanged},
    {"send", WHOLE, WHOLE, 0, 2, run_send, of_partner},
    {"barrier", NONE, NONE, 0, 1, run_barrier, NULL},
    {.name = NULL},
};

/* === Measuring ================================================================================ */

static bool run_times(void *context, int times)
{
    task *t = context;
    for (int i = 0; i < times; i++) {
        if (t->operation->run(t) != MPI_SUCCESS)
            return false;
    }
    return true;
}

static bool align(void *context)
{
    (void)context;
    return MPI_Barrier(MPI_COMM_WORLD) == MPI_SUCCESS;
}

static bool agree(void *context, double *values, int count)
{
    (void)context;
    return MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD) ==
           MPI_SUCCESS;
}

static bool check(task *t)
{
    double wrong = 0;
    size_t recv = elements(t, t->operation->recv_span);
    for (size_t i = 0; i < recv && wrong == 0; i++)
        wrong = t->recv[i] != t->operation->wanted(t, i);
    if (wrong > 0)
        fprintf(stderr, "mpi: rank %d has a wrong result of %s\n", t->rank, t->operation->name);
    return agree(t, &wrong, 1) && wrong == 0;
}

/* The most memory that this process ever had resident, less the buffers; 0: Linux alone says it. */
static double memory_bytes(const task *t)
{
    size_t buffers = elements(t, t->operation->send_span) + elements(t, t->operation->recv_span);
    double kib = 0, own = (double)(buffers * sizeof(float));
    char line[128];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && kib == 0 && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmHWM: %lf kB", &kib) != 1)
            kib = 0;
    }
    if (status)
        fclose(status);
    return kib * 1024 > own ? kib * 1024 - own : 0;
}

/* As hocket bench does it: at least one element for each rank. */
static void shape(task *t, size_t bytes)
{
    size_t count = bytes / sizeof(float), n = t->operation->bus_shares == 0 ? 1 : (size_t)t->n;
    size_t share = t->operation->bus_shares == 2 ? count : count / n * n;
    t->count = (int)(share ? share : t->operation->bus_shares == 2 ? 1 : n);
    t->block = t->count / t->n;
}

static bool measure_size(task *t, const char *name, size_t bytes, double seconds)
{
    shape(t, bytes);
    const operation *o = t->operation;
    bool sized = o->recv_span != NONE;
    hk_bench_result result = {
        .operation = o->name,
        .backend = name,
        .dtype = "f32",
        .reduce = strstr(o->name, "reduce") ? "sum" : "",
        .memory = "malloc",
        .ranks = t->n,
        .round = 1,
        .bytes = sized ? (size_t)t->count * sizeof(float) : 0,
        .bus = o->bus_shares == 0 ? 1 : o->bus_shares * (t->n - 1) / t->n,
    };
    const hk_bench_subject subject = {
        .run = run_times, .align = align, .agree = agree, .context = t, .seconds = seconds};
    fill(t);
    if (!align(t) || !run_times(t, 1) || !check(t))
        return false;
    fill(t);
    if (!hk_bench_measure(&subject, &result.times) || !check(t))
        return false;
    result.memory_bytes = memory_bytes(t);
    if (!agree(t, &result.memory_bytes, 1))
        return false;
    result.times.median_us /= o->trips;
    result.times.min_us /= o->trips;
    result.times.max_us /= o->trips;
    if (t->rank == 0)
        hk_bench_print_json(&result);
    return true;
}

static bool measure(task *t, const char *name, const hk_bench_sizes *sizes, double seconds)
{
    size_t most = (size_t)t->n;
    for (int i = 0; i < sizes->count; i++)
        most = sizes->bytes[i] / sizeof(float) > most ? sizes->bytes[i] / sizeof(float) : most;
    if (most > COUNT_MAX)
        return false;
    t->send = malloc(most * sizeof(float));
    t->recv = malloc(most * sizeof(float));
    bool ok = t->send && t->recv;
    for (int i = 0; ok && i < (t->operation->recv_span == NONE ? 1 : sizes->count); i++)
        ok = measure_size(t, name, sizes->bytes[i], seconds);
    free(t->send);
    free(t->recv);
    return ok;
}

int main(int argc, char **argv)
{
    hk_bench_sizes sizes;
    MPI_Init(&argc, &argv);
    task t = {.operation = operations};
    MPI_Comm_rank(MPI_COMM_WORLD, &t.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &t.n);
    double seconds = argc == 5 ? strtod(argv[4], NULL) : 0;
    if (argc == 3 && strcmp(argv[2], "start") == 0) {
        bool ok = align(&t);
        MPI_Finalize();
        return ok ? 0 : 1;
    }
    while (argc == 5 && t.operation->name && strcmp(t.operation->name, argv[2]) != 0)
        t.operation++;
    if (argc != 5 || !t.operation->name || !hk_bench_sizes_parse(argv[3], 4, &sizes) ||
        !(seconds > 0)) {
        fprintf(stderr, "usage: mpi NAME OPERATION SIZES SECONDS, or mpi NAME start\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    if (!measure(&t, argv[1], &sizes, seconds)) {
        fprintf(stderr, "mpi: rank %d could not measure %s\n", t.rank, argv[2]);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
    return 0;
}
