/* A program that uses MPI by itself, beside hocket over the same MPI: own LEVEL. LEVEL is the
 * support of threads that it asks MPI for (0 to 3), or -1: then hocket starts MPI. */
#include <hocket/hocket.h>

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int faults;

static void expect(int right, const char *what)
{
    if (!right && faults++ < 10)
        fprintf(stderr, "own: %s: %s\n", what, hocket_last_error());
}

static void both(hocket_group *group, int n, int i)
{
    int mine = 1 << i % 8, sum = 0, left = -1, rank = hocket_rank(group);
    float x[700];
    for (int k = 0; k < 700; k++)
        x[k] = (float)k;
    MPI_Request request;
    /* A receive of the program's own lies open over hocket's calls. */
    MPI_Irecv(&left, 1, MPI_INT, (rank + n - 1) % n, 0, MPI_COMM_WORLD, &request);
    expect(hocket_all_sum(group, x, 700) == HOCKET_OK && x[3] == 3.0F * (float)n, "all_sum");
    expect(hocket_send_bytes(group, (rank + 1) % n, 0, x, sizeof x) == HOCKET_OK, "send");
    MPI_Send(&rank, 1, MPI_INT, (rank + 1) % n, 0, MPI_COMM_WORLD);
    MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    expect(sum == n * mine, "MPI_Allreduce");
    void *bytes = NULL;
    size_t length = 0;
    expect(hocket_recv_bytes(group, (rank + n - 1) % n, 0, &bytes, &length) == HOCKET_OK &&
               length == sizeof x && memcmp(bytes, x, length) == 0,
           "receive");
    free(bytes);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    expect(left == (rank + n - 1) % n, "MPI_Irecv");
}

int main(int argc, char **argv)
{
    int level = argc > 1 ? atoi(argv[1]) : -1, given = -1, begun = 0, over = 0;
    if (level >= 0)
        MPI_Init_thread(&argc, &argv, level, &given);
    hocket_config config = {.size = sizeof config, .strict = true, .backend = "mpi"};
    hocket_group *group;
    if (hocket_init(&config, &group) != HOCKET_OK) {
        fprintf(stderr, "own: %s\n", hocket_last_error());
        return 1;
    }
    expect(strcmp(hocket_backend(group), "mpi") == 0, hocket_backend(group));
    MPI_Initialized(&begun);
    expect(begun, "MPI runs");
    int n = hocket_world_size(group);
    for (int i = 0; i < 20; i++)
        both(group, n, i);
    /* A rank that fails below would end the receives of one that is not there yet. */
    MPI_Barrier(MPI_COMM_WORLD);
    /* A thread of hocket's calls MPI only where the program has allowed it. */
    hocket_request *request;
    float x = 1;
    hocket_status status = hocket_all_sum_async(group, &x, 1, &request);
    status = status == HOCKET_OK ? hocket_wait(request) : status;
    if (level >= 0 && given < MPI_THREAD_SERIALIZED)
        expect(status == HOCKET_ERR_UNSUPPORTED &&
                   strstr(hocket_last_error(), "MPI_THREAD_SERIALIZED") != NULL,
               "a thread that MPI does not allow");
    else
        expect(status == HOCKET_OK && x == (float)n, "all_sum_async");
    int rank = hocket_rank(group), sum = 0;
    hocket_free(group);
    MPI_Finalized(&over);
    expect(!over, "MPI lives on");
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    expect(sum == n * (n - 1) / 2, "MPI_Allreduce afterwards");
    if (level >= 0) { /* a group that outlives MPI is of no use, and no harm */
        expect(hocket_init(&config, &group) == HOCKET_OK, "a second world");
        MPI_Finalize();
        expect(hocket_all_sum(group, &x, 1) == (n > 1 ? HOCKET_ERR_UNAVAILABLE : HOCKET_OK),
               "MPI has ended");
        hocket_free(group);
    }
    if (!faults)
        printf("rank %d of %d: own %d\n", rank, n, level);
    return faults > 0;
}
