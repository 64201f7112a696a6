/* The inside of a group and of a request. */
#ifndef HK_GROUP_GROUP_H
#define HK_GROUP_GROUP_H

#include "collective/collective.h"
#include "core/reduce_user.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct hk_world hk_world; /* worlds.c: an endpoint and how it was asked for */

/* A checked collective, ready to run on the group's thread or the caller's. */
typedef struct hk_job {
    hk_operation operation;
    const void *send;
    void *recv;
    size_t count;
    hocket_dtype dtype;
    hocket_reduce reduce;
    struct hk_user_reduce user; /* what reduce meant when the call was made */
    int root;
    const size_t *send_counts, *recv_counts; /* the caller's arrays */
    const int *to;
    hocket_stage_fn stage; /* of a relay, whose count is that of its batches */
    void *stage_context;
    const hocket_piece *inputs;
    hocket_piece *results;
    hk_time deadline;
    uint64_t *number; /* where its number in the group goes, or NULL */
} hk_job;

/* What hocket_group_times adds up; counted only when it was asked for. */
typedef struct hk_times {
    atomic_bool counting;
    _Atomic hk_time inside, waited;
    _Atomic uint64_t calls, bytes;
} hk_times;

struct hocket_group {
    hk_world *world;
    hk_comm *comm;
    hk_team team;
    char *backend;
    _Atomic double timeout_s;
    atomic_bool shrunk;

    atomic_bool running;  /* a collective */
    atomic_int turns;     /* threads that sleep until none is */
    pthread_mutex_t lock; /* of the queue and the regions */
    pthread_cond_t changed;
    uint64_t number;               /* of the last collective */
    hocket_request *first, **last; /* collectives that wait for the worker, or that it runs */
    atomic_int queued;             /* how many */
    bool has_worker, closing;
    pthread_t worker;

    hk_times times;
    struct hk_region *regions; /* from hocket_alloc and hocket_register */
};

struct hocket_request {
    hocket_group *group;
    hocket_request *next;
    hk_job job; /* a collective */
    bool done;
    hocket_status status;
    hk_error error;

    struct hk_note *note; /* a message, messages.c; NULL: a collective */
};

/* === worlds.c ================================================================================ */

/* Makes a group over an endpoint: comm, team. Collective over its members. */
hocket_status hk_group_open(hk_world *world, hk_endpoint *endpoint, uint64_t context,
                            const int *ranks, int size, double timeout_s, hocket_group **group);

/* === job.c =================================================================================== */

/* HOCKET_OK, or INVALID with the value in the text. group may be NULL. */
hocket_status hk_job_check(const hocket_group *group, const hk_job *job);

/* Completes a checked collective and runs it now (request NULL) or in the group's worker. Blocking
 * calls keep the order with those that wait for the worker. */
hocket_status hk_submit(hocket_group *group, hk_job *job, hocket_request **request);

/* Runs a collective on this thread; the caller has the group's turn. */
hocket_status hk_job_run(hocket_group *group, const hk_job *job, hk_time now);

/* === relay.c ================================================================================= */

/* results are empty; they stay so when it fails. */
hocket_status hk_relay(hk_team *team, hk_call *call, const hk_job *job);

/* === times.c ================================================================================= */

/* When a call begins: to the nanosecond only where somebody wants to know. */
hk_time hk_times_now(const hocket_group *group);
/* A call that has ended. */
void hk_times_add(hocket_group *group, const hk_call *call, hk_time began, uint64_t bytes);

/* === requests.c ============================================================================== */

/* The group's turn: one collective at a time. */
void hk_turn_take(hocket_group *group);
void hk_turn_give(hocket_group *group);
hocket_status hk_queue(hocket_group *group, const hk_job *job, hocket_request **request);
void hk_worker_stop(hocket_group *group);

/* === messages.c ============================================================================== */

hocket_status hk_note_wait(hocket_request *request);
hocket_status hk_note_test(hocket_request *request, bool *done);

/* === memory.c ================================================================================ */

void hk_regions_free(hocket_group *group);

/* HOCKET_OK, or INVALID naming the function. */
hocket_status hk_check_group(const hocket_group *group, const char *function);

#endif
