/* What `hocket bench` can measure (bench_operations.c) and how it knows that the results are right
 * (bench_data.c). */
#ifndef HK_TOOL_BENCH_H
#define HK_TOOL_BENCH_H

#include <hocket/hocket.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct hk_bench_operation hk_bench_operation;

/* One operation at one size on one rank. Its vector is cut into n blocks. */
typedef struct hk_bench_task {
    const hk_bench_operation *operation;
    hocket_group *group;
    int rank, n;
    hocket_dtype dtype;
    hocket_reduce reduce;
    size_t count;             /* elements of the vector; of one block where blocks are alike */
    size_t *counts, *offsets; /* n and n + 1: block r is [offsets[r], offsets[r + 1]) */
    size_t *mine;             /* n times counts[rank] */
    int *to;                  /* n: the next rank */
    void *send, *recv;
} hk_bench_task;

enum { HK_BENCH_FOLD = -1 }; /* a piece that is all ranks' data, reduced */

/* Elements of recv, and where they come from: offset elements into what source sends. */
typedef struct hk_bench_piece {
    int source; /* a rank or HK_BENCH_FOLD */
    size_t offset, count;
} hk_bench_piece;

typedef enum hk_bench_span {
    HK_BENCH_NONE,
    HK_BENCH_WHOLE,  /* the vector */
    HK_BENCH_BLOCK,  /* this rank's block of it */
    HK_BENCH_BLOCKS, /* a block of this rank's for each rank */
} hk_bench_span;

typedef enum hk_bench_bus { HK_BENCH_ONCE, HK_BENCH_SHARE, HK_BENCH_TWO_SHARES } hk_bench_bus;

struct hk_bench_operation {
    const char *name;
    hk_bench_span send, recv;
    hk_bench_bus bus;
    int trips; /* a run is so many of what is reported */
    bool reduces, uneven;
    hocket_status (*run)(const hk_bench_task *task);
    /* Piece number i of what this rank's recv holds after a run; false after the last. NULL: recv
     * holds nothing. */
    bool (*piece)(const hk_bench_task *task, int i, hk_bench_piece *piece);
};

/* Ends with a NULL name. */
extern const hk_bench_operation hk_bench_operations[];

/* Allocates what a task of n ranks needs. False: no memory. Buffers are not part of it. */
bool hk_bench_task_open(hk_bench_task *task, hocket_group *group);
void hk_bench_task_close(hk_bench_task *task);

/* Lays the operation out for a size; the vector has at least one element a block. */
void hk_bench_task_shape(hk_bench_task *task, const hk_bench_operation *operation, size_t bytes);

/* In bytes: the vector, and this rank's buffers. */
size_t hk_bench_vector_bytes(const hk_bench_task *task);
size_t hk_bench_send_bytes(const hk_bench_task *task);
size_t hk_bench_recv_bytes(const hk_bench_task *task);

/* Bytes on the bus for each byte of the vector, as nccl-tests counts them. */
double hk_bench_bus_factor(const hk_bench_task *task);

/* Writes this rank's data into its buffers, and what is wrong everywhere else. */
void hk_bench_fill(const hk_bench_task *task);

/* Whether recv holds what it must. If not, *where is the first element that is wrong. */
bool hk_bench_check(const hk_bench_task *task, size_t *where);

#endif
