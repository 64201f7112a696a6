#include "bench/measure.h"

#include <stdlib.h>
#include <time.h>

#define WARM_UP_S 0.02     /* at least so long: caches, frequencies and page tables settle */
#define BATCH_S 1e-3       /* a batch takes at least so long, so that the clock costs nothing */
#define LONG_ENOUGH 2      /* batches in a row */
#define GROWTH_MAX 16.0    /* of a batch from one try to the next: the first tries are slow */
#define ITERATIONS_MAX 1e6 /* of a batch */
#define BATCHES_MIN 5      /* however long they take */
#define BATCHES_MAX 2000

double hk_bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The seconds of one batch on this rank. */
static bool time_batch(const hk_bench_subject *subject, int iterations, double *seconds)
{
    if (!subject->align(subject->context))
        return false;
    double start = hk_bench_now();
    if (!subject->run(subject->context, iterations))
        return false;
    *seconds = hk_bench_now() - start;
    return true;
}

/* Runs batches that grow until they are long enough, twice in a row since one may have met with
 * some other program, and the warm-up is over. All ranks decide by the slowest rank's times, so
 * they all take the same numbers. */
static bool choose(const hk_bench_subject *subject, hk_bench_times *times)
{
    double iterations = 1, spent = 0, batch;
    int in_a_row = 0;
    for (;;) {
        if (!time_batch(subject, (int)iterations, &batch) ||
            !subject->agree(subject->context, &batch, 1))
            return false;
        spent += batch;
        bool long_enough = batch >= BATCH_S || iterations >= ITERATIONS_MAX;
        in_a_row = long_enough ? in_a_row + 1 : 0;
        if (in_a_row >= LONG_ENOUGH && spent >= WARM_UP_S)
            break;
        if (!long_enough) {
            double growth = batch > 0 ? 1.5 * BATCH_S / batch : GROWTH_MAX;
            iterations *= growth < GROWTH_MAX ? growth : GROWTH_MAX;
            iterations = (double)(int)(iterations + 1);
            if (iterations > ITERATIONS_MAX)
                iterations = ITERATIONS_MAX;
        }
    }
    double batches = batch > 0 ? subject->seconds / batch : BATCHES_MAX;
    times->iterations = (int)iterations;
    times->batches = batches < BATCHES_MIN   ? BATCHES_MIN
                     : batches > BATCHES_MAX ? BATCHES_MAX
                                             : (int)batches;
    return true;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static bool time_batches(const hk_bench_subject *subject, const hk_bench_times *times,
                         double *seconds)
{
    for (int i = 0; i < times->batches; i++) {
        if (!time_batch(subject, times->iterations, &seconds[i]))
            return false;
        if (subject->tell)
            subject->tell(subject->context, i + 1, times->batches);
    }
    return subject->agree(subject->context, seconds, times->batches);
}

bool hk_bench_measure(const hk_bench_subject *subject, hk_bench_times *times)
{
    if (!choose(subject, times))
        return false;
    size_t count = (size_t)times->batches;
    double *seconds = malloc(count * sizeof *seconds);
    if (!seconds)
        return false;
    bool ok = time_batches(subject, times, seconds);
    if (ok) {
        qsort(seconds, count, sizeof *seconds, compare);
        double us = 1e6 / times->iterations;
        times->median_us = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2 * us;
        times->min_us = seconds[0] * us;
        times->max_us = seconds[count - 1] * us;
    }
    free(seconds);
    return ok;
}
