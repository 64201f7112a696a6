/* A group that is being measured: what bench.c and bench_tune.c share. */
#ifndef HK_TOOL_BENCH_SESSION_H
#define HK_TOOL_BENCH_SESSION_H

#include "bench/bench.h"
#include "bench/measure.h"

typedef struct hk_bench_session {
    const char *command; /* whose complaints these are */
    hocket_group *group;
    hk_bench_task task;
    const char *way;    /* the live line says so too; NULL: nothing */
    size_t memory_own;  /* bytes of buffers, at most at one time */
    bool shared_memory; /* buffers come from hocket_alloc */
    bool live;          /* a line on stderr says what is being measured */
    double told;        /* when it last did */
} hk_bench_session;

/* Opens the world and a task for it; complains if it cannot. Close it in every case. */
bool hk_bench_session_open(hk_bench_session *session, const char *command);
void hk_bench_session_close(hk_bench_session *session);

/* Buffers for all of these sizes of one operation. A rank without memory leaves, and the library
 * tells the others. Free them in every case. */
bool hk_bench_session_buffers(hk_bench_session *session, const hk_bench_operation *operation,
                              const hk_bench_sizes *sizes);
void hk_bench_session_buffers_free(hk_bench_session *session);

/* False after a complaint, which names the operation. */
bool hk_bench_session_worked(const hk_bench_session *session, hocket_status status);

/* The largest of all ranks' values, each. */
bool hk_bench_session_agree(hk_bench_session *session, double *values, int count);

/* Whether all ranks have what they must have; who has not says so. */
bool hk_bench_session_check(hk_bench_session *session);

/* The operation of the task, as it is shaped: once from scratch, with a look at what it gives. */
bool hk_bench_session_try(hk_bench_session *session);

/* Times it, about so many seconds, and clears the live line. */
bool hk_bench_session_measure(hk_bench_session *session, double seconds, hk_bench_times *times);

#endif
