/* hocket bench --tune: measures every way that a collective may go, and writes the rows of a table
 * of choices (docs/tuning.md) that say where which one is the fastest. */
#ifndef HK_TOOL_BENCH_TUNE_H
#define HK_TOOL_BENCH_TUNE_H

#include "bench/session.h"

#define HK_TUNE_BYTES "64:64M"
#define HK_TUNE_SECONDS 0.02 /* of one way at one size in one round, about */
#define HK_TUNE_ROUNDS 3

typedef struct hk_bench_tuning {
    const char *path;
    const hk_bench_operation *const *operations; /* none: all that may go several ways */
    int operation_count;
    const hk_bench_sizes *sizes; /* ascending */
    double seconds;
    int rounds;
} hk_bench_tuning;

/* Called by all ranks; rank 0 prints what was measured and writes the file. False after a
 * complaint. */
bool hk_bench_tune(hk_bench_session *session, const hk_bench_tuning *tuning);

#endif
