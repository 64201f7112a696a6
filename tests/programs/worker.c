/* A rank for tests of networks: worker SECONDS ELEMENTS. Adds up until SECONDS have passed (rank 0
 * says so to all) or a call fails, and prints one line:
 *
 *   rank 1: timeout ranks 2 after 3.2 s in the call, at 171234.567: <sentence>
 *
 * where "at" is the monotonic clock, or that a sum was wrong. Exits with the status of the call
 * that failed, or with 98. */
#include <hocket/hocket.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell(int rank, hocket_status status, double began)
{
    int ranks[16];
    int count = status == HOCKET_OK ? 0 : hocket_last_error_ranks(ranks, 16);
    double now = seconds_now();
    printf("rank %d: %s ranks", rank, hocket_status_name(status));
    for (int i = 0; i < count && i < 16; i++)
        printf("%c%d", i == 0 ? ' ' : ',', ranks[i]);
    printf(" after %.2f s in the call, at %.3f: %s\n", now - began, now,
           status == HOCKET_OK ? "" : hocket_last_error());
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    size_t count = argc > 2 ? (size_t)atol(argv[2]) : 1000;
    float *data = malloc((count + 1) * sizeof *data);
    hocket_group *group;
    double start = seconds_now(), began = start;
    hocket_status status = hocket_init(NULL, &group);
    if (status != HOCKET_OK || data == NULL) {
        tell(-1, status, began);
        return status != HOCKET_OK ? (int)status : 99;
    }
    int rank = hocket_rank(group), n = hocket_world_size(group), wrong = 0;
    for (float more = 1; status == HOCKET_OK && more != 0 && wrong == 0;) {
        for (size_t i = 0; i < count; i++)
            data[i] = (float)rank;
        data[count] = rank == 0 && seconds_now() - start < seconds;
        began = seconds_now();
        status = hocket_all_sum(group, data, count + 1);
        more = data[count];
        for (size_t i = 0; i < count && status == HOCKET_OK; i++)
            wrong += data[i] != (float)(n * (n - 1) / 2);
    }
    if (wrong > 0)
        printf("rank %d: wrong sum in %d elements\n", rank, wrong);
    else
        tell(rank, status, began);
    hocket_free(group);
    free(data);
    return wrong > 0 ? 98 : (int)status;
}
