/* A rank for tests of what goes over a wire: rounds COLLECTIVE BYTES ROUNDS. Runs the collective on
 * a vector of about that many bytes (all ranks' blocks together), checks what comes of it, and
 * prints
 *
 *   rank 1: ok, backend shm, 12.345 ms
 *
 * with the shortest round. Exits with the status of the call that failed, or with 98 after a wrong
 * value. */
#include <hocket/hocket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WRONG = 98 };

typedef struct rounds {
    hocket_group *group;
    int rank, size;
    size_t block, count; /* elements; of the whole vector */
    float *send, *recv;
} rounds;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Small whole numbers, whose sums are exact. */
static float value(int rank, size_t i)
{
    return (float)((size_t)rank * 7 + i % 13);
}

static float sum(const rounds *r, size_t i)
{
    float all = 0;
    for (int rank = 0; rank < r->size; rank++)
        all += value(rank, i);
    return all;
}

enum { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, COLLECTIVES };
static const char *const names[COLLECTIVES] = {"all_reduce", "reduce_scatter", "all_gather",
                                               "broadcast"};

static hocket_status call(const rounds *r, int which)
{
    switch (which) {
    case ALL_REDUCE:
        return hocket_all_reduce(r->group, r->send, r->recv, r->count, HOCKET_FLOAT32, HOCKET_SUM);
    case REDUCE_SCATTER:
        return hocket_reduce_scatter(r->group, r->send, r->recv, r->block, HOCKET_FLOAT32,
                                     HOCKET_SUM);
    case ALL_GATHER: return hocket_all_gather(r->group, r->send, r->recv, r->block, HOCKET_FLOAT32);
    default: return hocket_broadcast(r->group, r->recv, r->count, HOCKET_FLOAT32, r->size - 1);
    }
}

/* Returns how many elements are wrong. */
static size_t check(const rounds *r, int which)
{
    const size_t mine = (size_t)r->rank * r->block;
    const size_t count = which == REDUCE_SCATTER ? r->block : r->count;
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        float expected = value(r->size - 1, i);
        if (which == ALL_REDUCE || which == REDUCE_SCATTER)
            expected = sum(r, which == ALL_REDUCE ? i : mine + i);
        else if (which == ALL_GATHER)
            expected = value((int)(i / r->block), i % r->block);
        wrong += r->recv[i] != expected;
    }
    return wrong;
}

static hocket_status run(rounds *r, int which, int number, double *shortest)
{
    hocket_status status = HOCKET_OK;
    size_t wrong = 0;
    for (size_t i = 0; i < r->count; i++)
        r->send[i] = value(r->rank, i);
    for (int i = 0; i < number && status == HOCKET_OK && wrong == 0; i++) {
        memcpy(r->recv, r->send, r->count * sizeof *r->send);
        if ((status = hocket_barrier(r->group)) != HOCKET_OK)
            return status;
        double began = seconds_now();
        status = call(r, which);
        double took = seconds_now() - began;
        *shortest = i == 0 || took < *shortest ? took : *shortest;
        wrong = status == HOCKET_OK ? check(r, which) : 0;
    }
    if (wrong > 0)
        printf("rank %d: %zu wrong elements\n", r->rank, wrong);
    return wrong > 0 ? WRONG : status;
}

int main(int argc, char **argv)
{
    rounds r = {0};
    double shortest = 0;
    int which = 0;
    while (argc == 4 && which < COLLECTIVES && strcmp(names[which], argv[1]) != 0)
        which++;
    if (argc != 4 || which == COLLECTIVES)
        return 99;
    hocket_status status = hocket_init(NULL, &r.group);
    if (status == HOCKET_OK) {
        r.rank = hocket_rank(r.group);
        r.size = hocket_world_size(r.group);
        r.block = (size_t)atol(argv[2]) / sizeof *r.send / (size_t)r.size;
        r.count = r.block * (size_t)r.size;
        r.send = malloc(r.count * sizeof *r.send);
        r.recv = malloc(r.count * sizeof *r.recv);
        status = run(&r, which, atoi(argv[3]), &shortest);
    }
    if (status == HOCKET_OK)
        printf("rank %d: ok, backend %s, %.3f ms\n", r.rank, hocket_backend(r.group),
               shortest * 1e3);
    else if ((int)status != WRONG)
        printf("rank %d: %s\n", r.rank, hocket_last_error());
    hocket_free(r.group);
    free(r.send);
    free(r.recv);
    return (int)status;
}
