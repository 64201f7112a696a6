/* What it costs that ranks which disagree are told: mismatch [CALLS].
 *
 * The detection is always on, so it cannot be switched off for comparison. Its work in each call is
 * to describe the call, to hash the description into the tag, and to keep it for a roll call;
 * nothing is sent. That is timed here on its own, and then all_reduce on two ranks as the whole of
 * which it is a part. The least of some runs counts: the rest is the machine's. */
#include "core/deadline.h"
#include "transport/endpoint.h"
#include "transport/what.h"

#include <hocket/hocket.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS 7
#define LIMIT_NS 20.0    /* at 4 bytes */
#define LIMIT_SHARE 0.03 /* at 1 KiB */

static volatile uint32_t sink; /* so that nothing is left out */

/* As hk_job_run and hk_call_begin do. */
static double detection_ns(long calls)
{
    hk_history *history = calloc(1, sizeof *history);
    volatile size_t count = 1; /* not known to the compiler */
    uint32_t previous = 0;
    hk_time began = hk_now();
    for (long i = 1; i <= calls && history != NULL; i++) {
        hk_what what = {.kind = hk_kind(HK_ALL_REDUCE, HOCKET_FLOAT32, -1, HOCKET_SUM),
                        .number = (uint64_t)i,
                        .count = count};
        uint32_t fingerprint = hk_what_fingerprint(&what);
        sink = (uint32_t)(hk_mix(previous, fingerprint) >> 32);
        previous = fingerprint;
        hk_history_add(history, &what);
    }
    double ns = (double)(hk_now() - began) / (double)calls;
    sink ^= history != NULL ? (uint32_t)hk_history_begun(history) : 0;
    free(history);
    return ns;
}

static double all_reduce_ns(hocket_group *group, size_t count, long calls)
{
    float *data = calloc(count, sizeof *data);
    hk_time began = hk_now();
    for (long i = 0; i < calls && data != NULL; i++)
        if (hocket_all_sum(group, data, count) != HOCKET_OK)
            exit(1);
    double ns = (double)(hk_now() - began) / (double)calls;
    free(data);
    return ns;
}

static hocket_group *join(const char *backend, int rank, int port)
{
    char where[64];
    snprintf(where, sizeof where, "127.0.0.1:%d", port);
    hocket_config config = {.size = sizeof config,
                            .backend = backend,
                            .rank = rank,
                            .world_size = 2,
                            .coordinator = where,
                            .timeout_s = 60,
                            .secret = "a secret for measuring"};
    hocket_group *group;
    if (hocket_init(&config, &group) == HOCKET_OK)
        return group;
    fprintf(stderr, "%s\n", hocket_last_error());
    exit(1);
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Both ranks measure; rank 0 tells. False: over a limit. */
static bool compare(const char *backend, int port, long calls, double detection)
{
    fflush(NULL);
    pid_t child = fork();
    hocket_group *group = join(backend, child == 0, port);
    double small = 1e18, kib = 1e18;
    for (int run = 0; run < RUNS; run++) {
        small = least(small, all_reduce_ns(group, 1, calls));
        kib = least(kib, all_reduce_ns(group, 256, calls));
    }
    hocket_free(group);
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    printf("all_reduce on 2 ranks over %-4s %9.0f ns at 4 B (detection is %.2f %%), %9.0f ns at "
           "1 KiB (%.2f %%)\n",
           backend, small, 100 * detection / small, kib, 100 * detection / kib);
    return detection / kib < LIMIT_SHARE;
}

int main(int argc, char **argv)
{
    long calls = argc > 1 ? atol(argv[1]) : 3000;
    double detection = 1e18;
    for (int run = 0; run < RUNS; run++)
        detection = least(detection, detection_ns(calls * 1000));
    printf("describing, hashing and keeping a call: %.2f ns (limit %.0f)\n", detection, LIMIT_NS);
    int port = 20000 + (int)(getpid() % 10000);
    bool good = detection < LIMIT_NS;
    good = compare("shm", port, calls, detection) && good;
    good = compare("tcp", port + 1, calls, detection) && good;
    puts(good ? "within the limits" : "OVER THE LIMITS");
    return !good;
}
