/* Sizes that are read and results that are printed, also by the programs in bench/peers. */
#include "bench/measure.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_size(const char *text, char **end, size_t *bytes)
{
    static const char units[] = "KMG";
    if (*text < '0' || *text > '9') /* strtoull would take a sign */
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, end, 10);
    int shift = 0;
    const char *unit = **end ? strchr(units, **end) : NULL;
    if (unit) {
        shift = 10 * (int)(unit - units + 1);
        ++*end;
    }
    if (errno || number == 0 || number > (unsigned long long)(SIZE_MAX / 2) >> shift)
        return false;
    *bytes = (size_t)number << shift;
    return true;
}

bool hk_bench_sizes_parse(const char *text, int factor, hk_bench_sizes *sizes)
{
    sizes->count = 0;
    for (;;) {
        size_t first, last;
        char *end;
        if (!parse_size(text, &end, &first))
            return false;
        last = first;
        if (*end == ':' && !parse_size(end + 1, &end, &last))
            return false;
        if (last < first)
            return false;
        for (size_t bytes = first;; bytes *= (size_t)factor) {
            if (sizes->count == HK_BENCH_SIZES_MAX)
                return false;
            sizes->bytes[sizes->count++] = bytes;
            if (bytes > last / (size_t)factor)
                break;
        }
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static double gigabytes_per_second(const hk_bench_result *result)
{
    return result->times.median_us > 0 ? (double)result->bytes / result->times.median_us * 1e-3 : 0;
}

void hk_bench_print_json(const hk_bench_result *result)
{
    const hk_bench_times *times = &result->times;
    double speed = gigabytes_per_second(result);
    printf("{\"operation\": \"%s\", \"backend\": \"%s\", \"ranks\": %d, \"dtype\": \"%s\", "
           "\"reduce\": \"%s\", \"memory\": \"%s\", \"round\": %d, \"bytes\": %zu, "
           "\"median_us\": %.4g, \"min_us\": %.4g, \"max_us\": %.4g, \"iterations\": %d, "
           "\"batches\": %d, \"alg_gb_s\": %.4g, \"bus_gb_s\": %.4g, \"memory_bytes\": %.0f}\n",
           result->operation, result->backend, result->ranks, result->dtype, result->reduce,
           result->memory, result->round, result->bytes, times->median_us, times->min_us,
           times->max_us, times->iterations, times->batches, speed, speed * result->bus,
           result->memory_bytes);
    fflush(stdout);
}

void hk_bench_print_head(const hk_bench_result *result)
{
    bool sized = result->bytes > 0;
    printf("%s, %d ranks over %s%s%s%s%s, %s memory\n", result->operation, result->ranks,
           result->backend, sized ? ", " : "", sized ? result->dtype : "",
           *result->reduce ? " " : "", result->reduce, result->memory);
    printf("%12s %12s %12s %12s %9s %9s %9s %7s\n", "bytes", "median us", "min us", "max us",
           "alg GB/s", "bus GB/s", "a batch", "batches");
    fflush(stdout);
}

void hk_bench_print_row(const hk_bench_result *result)
{
    const hk_bench_times *times = &result->times;
    double speed = gigabytes_per_second(result);
    printf("%12zu %12.2f %12.2f %12.2f %9.3f %9.3f %9d %7d\n", result->bytes, times->median_us,
           times->min_us, times->max_us, speed, speed * result->bus, times->iterations,
           times->batches);
    fflush(stdout);
}
