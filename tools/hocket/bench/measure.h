/* How one operation is timed. The programs in bench/peers compile these files too, so that all are
 * measured the same way; therefore nothing here knows hocket. */
#ifndef HK_TOOL_BENCH_MEASURE_H
#define HK_TOOL_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#define HK_BENCH_SECONDS 0.3 /* for one size, where nobody says */
#define HK_BENCH_SIZES_MAX 64

/* What is measured, by functions that every rank calls together. False ends the measurement. */
typedef struct hk_bench_subject {
    bool (*run)(void *context, int times); /* the operation, so many times one after the other */
    bool (*align)(void *context);          /* a barrier */
    bool (*agree)(void *context, double *values, int count); /* each: the largest of all ranks' */
    void (*tell)(void *context, int done, int batches);      /* not timed; NULL is fine */
    void *context;
    double seconds; /* to spend, about; the same on all ranks */
} hk_bench_subject;

/* One operation's time, as the slowest rank saw it, over batches of so many iterations. */
typedef struct hk_bench_times {
    int iterations, batches;
    double median_us, min_us, max_us;
} hk_bench_times;

/* Warms up, chooses how many iterations a batch takes and how many batches fit into the time, and
 * times these, each after a barrier. False when a function of subject was, or without memory. */
bool hk_bench_measure(const hk_bench_subject *subject, hk_bench_times *times);

/* Sizes in bytes, in the order in which they were asked for. */
typedef struct hk_bench_sizes {
    size_t bytes[HK_BENCH_SIZES_MAX];
    int count;
} hk_bench_sizes;

/* Reads "4:64M", "64K" or several of these with commas between; K, M, G are powers of 1024, ranges
 * grow by factor (2 or more) from their first size on. False if it makes no sense or is too much.
 */
bool hk_bench_sizes_parse(const char *text, int factor, hk_bench_sizes *sizes);

/* A line of results. */
typedef struct hk_bench_result {
    const char *operation, *backend, *dtype, *reduce, *memory;
    int ranks, round;
    size_t bytes;        /* 0 for an operation without data */
    double bus;          /* bytes on the bus for each byte of the size, as nccl-tests counts */
    double memory_bytes; /* the most that a rank held, less the buffers; 0: unknown */
    hk_bench_times times;
} hk_bench_result;

/* To stdout: as one object of JSON on a line, or as the head and a row of a table. */
void hk_bench_print_json(const hk_bench_result *result);
void hk_bench_print_head(const hk_bench_result *result);
void hk_bench_print_row(const hk_bench_result *result);

/* Seconds of a clock that only goes forward. */
double hk_bench_now(void);

#endif
