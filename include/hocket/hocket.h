/* hocket: groups of ranks that share one tensor program.
 *
 * A program runs as several processes, its ranks. Each calls hocket_init and gets a group: its own
 * rank, the world size, collectives that every rank calls in the same order, and tagged messages
 * from any rank to any rank.
 *
 *     #include <hocket/hocket.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         hocket_group *world;
 *         if (hocket_init(NULL, &world) != HOCKET_OK) {
 *             fprintf(stderr, "%s\n", hocket_last_error());
 *             return 1;
 *         }
 *         float x[4] = {1, 2, 3, 4};
 *         hocket_status status = hocket_all_sum(world, x, 4);
 *         if (status != HOCKET_OK)
 *             fprintf(stderr, "%s\n", hocket_last_error());
 *         else
 *             printf("rank %d of %d: %g\n", hocket_rank(world), hocket_world_size(world), x[0]);
 *         hocket_free(world);
 *         return status != HOCKET_OK;
 *     }
 *
 *     $ cc program.c -lhocket && hocket run -n 4 -- ./a.out
 *
 * What holds everywhere:
 * - Every function that can fail returns a hocket_status. HOCKET_OK is 0. On failure
 * hocket_last_error() is a sentence that says what was tried, by which rank, with which peer, and
 * what happened. The library never exits, aborts, prints to stdout or installs a signal handler.
 * - HOCKET_ERR_INVALID means that an argument is wrong: nothing was sent and the group lives on.
 * After any other failure of a collective the group is broken for good, and each later call returns
 * that failure at once.
 * - Every wait ends: with the result, with the deadline (hocket_set_timeout), or with
 * HOCKET_ERR_PEER_LOST when a rank has died, which every survivor's hocket_last_error_rank() names.
 * - Counts are elements, lengths are bytes, times are seconds. Buffers are host memory, contiguous,
 * and the caller's; they need no alignment beyond their element's.
 * - Threads: groups are independent. On one group one collective runs at a time (a second thread's
 * call waits for its turn); messages may go on beside it from any thread; hocket_abort may come
 * from anywhere. hocket_free must be the last call on its group.
 */
#ifndef HOCKET_HOCKET_H
#define HOCKET_HOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HOCKET_API __attribute__((visibility("default")))
#else
#define HOCKET_API
#endif

#define HOCKET_VERSION_MAJOR 0
#define HOCKET_VERSION_MINOR 1
#define HOCKET_VERSION_PATCH 0

/* The version of the library at run time, "0.1.0". */
HOCKET_API const char *hocket_version(void);

/* === Status =================================================================================== */

/* One list gives each status its code, its name and its meaning. Codes are only ever appended. */
#define HOCKET_STATUS_LIST(X)                                                                      \
    X(HOCKET_OK, 0, "ok", "it worked")                                                             \
    X(HOCKET_ERR_INVALID, 1, "invalid argument", "an argument is wrong; the group lives on")       \
    X(HOCKET_ERR_NO_MEMORY, 2, "out of memory", "memory could not be allocated")                   \
    X(HOCKET_ERR_UNAVAILABLE, 3, "unavailable", "not built, not installed or not configured here") \
    X(HOCKET_ERR_TIMEOUT, 4, "timeout", "the deadline passed")                                     \
    X(HOCKET_ERR_PEER_LOST, 5, "peer lost", "a rank died or left")                                 \
    X(HOCKET_ERR_MISMATCH, 6, "mismatch", "ranks called different things")                         \
    X(HOCKET_ERR_AUTH, 7, "not authenticated", "a secret is missing, wrong, or data was tampered") \
    X(HOCKET_ERR_PROTOCOL, 8, "protocol error", "a peer sent what it must not")                    \
    X(HOCKET_ERR_SYSTEM, 9, "system error", "a call of the operating system failed")               \
    X(HOCKET_ERR_BACKEND, 10, "backend error", "the engine behind a backend failed")               \
    X(HOCKET_ERR_UNSUPPORTED, 11, "unsupported", "this backend cannot do that")                    \
    X(HOCKET_ERR_ABORTED, 12, "aborted", "hocket_abort was called")

typedef enum hocket_status {
#define HOCKET_STATUS_CODE(code, value, name, text) code = value,
    HOCKET_STATUS_LIST(HOCKET_STATUS_CODE)
#undef HOCKET_STATUS_CODE
} hocket_status;

/* The status in words, "peer lost"; "unknown status" for any other number. Never NULL. */
HOCKET_API const char *hocket_status_name(hocket_status status);

/* This thread's last failure as a sentence, "" before the first. The text is this thread's own and
 * stays until its next failing call. */
HOCKET_API const char *hocket_last_error(void);

/* The rank at fault in the last failure, numbered in the group that was called; -1 if no rank is.
 * Where several are, the lowest. */
HOCKET_API int hocket_last_error_rank(void);

/* All ranks at fault (late, lost, disagreeing), ascending: writes at most capacity of them and
 * returns how many there are. ranks may be NULL when capacity is 0. */
HOCKET_API int hocket_last_error_ranks(int *ranks, int capacity);

/* === Types and reductions ===================================================================== */

typedef enum hocket_dtype {
    HOCKET_BOOL = 0, /* one byte; any value but 0 is true */
    HOCKET_INT8 = 1,
    HOCKET_INT16 = 2,
    HOCKET_INT32 = 3,
    HOCKET_INT64 = 4,
    HOCKET_UINT8 = 5,
    HOCKET_UINT16 = 6,
    HOCKET_UINT32 = 7,
    HOCKET_UINT64 = 8,
    HOCKET_FLOAT16 = 9,   /* IEEE binary16 */
    HOCKET_BFLOAT16 = 10, /* the upper half of a float32 */
    HOCKET_FLOAT32 = 11,
    HOCKET_FLOAT64 = 12,
    HOCKET_COMPLEX64 = 13 /* two float32: real, imaginary */
} hocket_dtype;

/* Bytes of one element; 0 for a number that is no dtype. */
HOCKET_API size_t hocket_dtype_size(hocket_dtype dtype);

/* "float32"; "unknown dtype" for a number that is none. */
HOCKET_API const char *hocket_dtype_name(hocket_dtype dtype);

/* Integers wrap. The mean of integers and of bool is HOCKET_ERR_INVALID. On bool, sum and max are
 * or, prod and min are and. Max and min hand a NaN on; of complex numbers they compare the real
 * part, then the imaginary part. f16 and bf16 are added up in float32 and rounded once. Every rank
 * gets the same bits, which depend on the ranks' values and the world, never on timing. */
typedef enum hocket_reduce {
    HOCKET_SUM = 0,
    HOCKET_MEAN = 1,
    HOCKET_MAX = 2,
    HOCKET_MIN = 3,
    HOCKET_PROD = 4,
    HOCKET_REDUCE_USER = 1 << 16 /* from here on: made by hocket_reduce_create */
} hocket_reduce;

/* A reduction of the caller's: inout[i] = in[i] op inout[i] for count elements, where in holds the
 * values of lower ranks. It must be associative. It may be called on any piece of the data, from
 * the thread that called the collective or the group's worker thread, and must not call the group.
 */
typedef void (*hocket_reduce_fn)(const void *in, void *inout, size_t count, void *context);

/* Makes a reduction that any group can use. Every rank must create its reductions in the same
 * order, so that the same number means the same function. commutative: operands may change places.
 * HOCKET_ERR_INVALID: fn or reduce is NULL; HOCKET_ERR_NO_MEMORY: too many (1024). */
HOCKET_API hocket_status hocket_reduce_create(hocket_reduce_fn fn, void *context, bool commutative,
                                              hocket_reduce *reduce);

/* Gives the number back. A call that was made before keeps the function, which with its context
 * must stay until that call is done. Numbers that were never made are ignored. */
HOCKET_API void hocket_reduce_free(hocket_reduce reduce);

/* === Groups =================================================================================== */

enum {
    HOCKET_ANY_RANK = -1, /* hocket_probe: from any rank */
    HOCKET_NO_COLOR = -1  /* hocket_split: takes part, gets no group */
};

typedef struct hocket_group hocket_group;

typedef struct hocket_config { /* zero-initialised but for size = everything from the environment */
    size_t size; /* sizeof(hocket_config), so that the struct can grow; 0 is HOCKET_ERR_INVALID */
    const char *backend;  /* a name from the list below; NULL is HOCKET_BACKEND, else any */
    bool strict;          /* nothing configured anywhere: true fails, false gives a group of one */
    int rank, world_size; /* world_size 0: both from the environment */
    const char *coordinator; /* "host:port" or "[v6]:port" where rank 0 listens; for local any name
                                of the world */
    double timeout_s;      /* of each call; 0 is HOCKET_TIMEOUT, else 300; INFINITY waits for ever,
                              deaths are still seen */
    double init_timeout_s; /* of hocket_init; 0 is 60 */
    const char *secret; /* 16 characters or more; NULL is HOCKET_SECRET_FILE, else HOCKET_SECRET */
} hocket_config;

/* Joins the world: meets the other ranks and returns when all are connected. config may be NULL.
 *
 * Backends: any (the best that is there), shm (ranks that share hosts), tcp, local (threads), ring
 * (tcp, also from MLX's hostfile), jaccl, mpi (under mpirun), nccl, and MLX's own engines: mlx,
 * mlx:any, mlx:ring, mlx:mpi, mlx:jaccl, mlx:nccl. hocket_is_available says which are there;
 * docs/mlx.md what MLX's cannot promise.
 *
 * What config leaves open comes from the environment: HOCKET_RANK, HOCKET_WORLD_SIZE,
 * HOCKET_COORDINATOR, HOCKET_BACKEND, HOCKET_HOSTFILE, HOCKET_SECRET_FILE, HOCKET_SECRET,
 * HOCKET_TIMEOUT (seconds, "inf") and HOCKET_LOG (error, warn, info, debug; goes to stderr).
 * `hocket run` sets them. What these leave open, one by one, comes from the launcher: the first of
 * this list whose rank and size are set.
 *
 *   mlx.launch    MLX_RANK with MLX_HOSTFILE (ring), MLX_IBV_DEVICES and MLX_JACCL_COORDINATOR
 *                 (jaccl; JACCL_... too), or MLX_WORLD_SIZE, NCCL_HOST_IP and NCCL_PORT (nccl)
 *   torchrun      RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_WORLD_SIZE
 *   Open MPI      OMPI_COMM_WORLD_RANK, _SIZE and _LOCAL_SIZE, PMIX_NAMESPACE
 *   MPICH         PMI_RANK, PMI_SIZE, MPI_LOCALNRANKS, PMI_FD, PMI_JOBID
 *   srun          SLURM_PROCID, SLURM_NTASKS, SLURM_JOB_ID, SLURM_STEP_ID, SLURM_STEP_NODELIST
 *
 * Of those from torchrun on, no rank is told a port that is free. They work out the same few from
 * what tells the job from others, 20480 to 32767, and rank 0 takes the first that is free: on
 * loopback where all ranks are on one host, as the local size or the list of nodes says, else on
 * MASTER_ADDR or the first node. Jobs that come upon each other's ports do not mix. Where several
 * hosts have no such name, or no secret, rank 0 tells both by the store that mpirun, or srun with
 * PMIx, keeps for MPI (docs/start.md says what that is safe from). Where there is no store, set
 * HOCKET_COORDINATOR (mpirun -x, -genv); a rank's error says how this launcher hands out a secret.
 * When nothing says that there is a world,
 * strict fails with HOCKET_ERR_UNAVAILABLE and otherwise *group is a group of one. When something
 * does, failing to reach it is an error on every rank. An engine of MLX's that is not here, as
 * mlx:mpi without Open MPI, is HOCKET_ERR_UNAVAILABLE either way: it has variables of its own,
 * which might.
 *
 * Ranks share a host when its boot and its name are the same. HOCKET_HOST=name takes the place of
 * the name: for containers of one machine that can map each other's memory, or to keep ranks apart.
 *
 * Two more are for finding faults, in hocket's own backends, and are set alike on all ranks.
 * HOCKET_TRACE=path writes to path.<rank>.json who waited for whom, for Perfetto or about:tracing,
 * when the last group of a world is freed. HOCKET_FAULT="seed=7,hold=0.1,delay_us=500" keeps back
 * that fraction of the messages for a random time up to so long; skip=0.2 lets a rank not look at
 * what arrives in that fraction of the cases; short=0.3 lets that fraction of the reads and writes
 * of sockets move only some of their bytes, or none; lose=2@100 cuts rank 2 off after 100
 * operations; on=1 does all that on rank 1 alone. hocket_backend then says "trace(tcp)" or
 * "fault(tcp)".
 *
 * HOCKET_TUNE=path is a file with rows for hocket_tune, which rank 0 reads and hands to all.
 *
 * Without a secret, ranks listen on and connect to loopback only, unless HOCKET_INSECURE=1. With
 * HOCKET_ENCRYPT=1 on any rank, all that travels on sockets between ranks is sealed, and so is what
 * a rank tells the coordinator when the rank or rank 0 has it; it needs a secret.
 *
 * A second call for the same world while the first lives gives a duplicate: the same ranks and
 * connections, a context of its own. It is collective, like the first.
 *
 * The backend local makes ranks of threads of one process: each passes its rank, the world_size,
 * and the same coordinator name (or NULL). *group is NULL after a failure. */
HOCKET_API hocket_status hocket_init(const hocket_config *config, hocket_group **group);

/* Leaves the group. Not collective, does not wait for the others' calls. Their waits for a message
 * of this rank, and in any collective that it has not begun, end with HOCKET_ERR_PEER_LOST and the
 * words "rank 2 has left the group"; what it has sent before can still be received: the last group
 * of a connection waits a second at most, over RDMA ten, until it is there. NULL is fine. A
 * subgroup lives on when its parent is freed, in any order; connections close with the last group
 * that uses them. Requests must have been waited for. */
HOCKET_API void hocket_free(hocket_group *group);

/* Whether a backend is built in and its library loads here. After false, hocket_last_error() has
 * the reason. */
HOCKET_API bool hocket_is_available(const char *backend);

/* The backend that carries the group, "tcp". Lives as long as the group. */
HOCKET_API const char *hocket_backend(const hocket_group *group);
HOCKET_API int hocket_rank(const hocket_group *group);
HOCKET_API int hocket_world_size(const hocket_group *group);

/* Rows of one's own for the table that says which way a collective goes, for the whole world of
 * this group; docs/tuning.md has their form, `hocket bench --tune` writes them. Rank 0's rows count
 * (NULL: none), and go to all. Collective, over a group of all ranks, while nobody is in another
 * collective. HOCKET_ERR_INVALID on all ranks, with the line, for rows that make no sense: the old
 * ones stay. */
HOCKET_API hocket_status hocket_tune(hocket_group *group, const char *rows);

/* The deadline of each later call on this group, in seconds; INFINITY waits for ever.
 * HOCKET_ERR_INVALID: zero, negative or NaN. */
HOCKET_API hocket_status hocket_set_timeout(hocket_group *group, double seconds);

/* Collective: ranks with the same color (>= 0) form a subgroup, ordered by key, ties by rank.
 * HOCKET_NO_COLOR takes part and gets *subgroup = NULL. A subgroup inherits the timeout. */
HOCKET_API hocket_status hocket_split(hocket_group *group, int color, int key,
                                      hocket_group **subgroup);

/* Where this rank's time in a group goes. */
typedef struct hocket_times {
    size_t size;     /* sizeof(hocket_times), set by the caller */
    double inside_s; /* in collectives and messages of the group, but not in stages of a relay;
                        threads are added up, a nonblocking collective counts while it runs */
    double waited_s; /* of that: until ranks that were needed had come to the same call, so for what
                        they did meanwhile. NAN where an engine does not say (MLX's backends, native
                        collectives of a transport of the caller's) */
    uint64_t calls;  /* that ended, well or not */
    uint64_t bytes;  /* of their data: the longer of send and recv; a message; a relay's pieces */
} hocket_times;

/* Counting begins with the first call of this function on a group, which gives zeros; the
 * difference of two is what happened in between. It costs each later call a look at the clock, some
 * 25 ns.
 *
 * A rank has come when its first message of the call is there. Over shm that is exact, but for
 * waits below two microseconds; with messages and more than two ranks waited_s is the least that it
 * was, because one that has come may itself be waiting. All waiting for a message, or in a relay
 * for the next piece, counts as waited. */
HOCKET_API hocket_status hocket_group_times(hocket_group *group, hocket_times *times);

/* Breaks the group on every rank: each call that waits or comes later returns HOCKET_ERR_ABORTED
 * with this reason (NULL is fine) and this rank as the one at fault. From any thread. */
HOCKET_API hocket_status hocket_abort(hocket_group *group, const char *reason);

/* After a failure: a renumbered group of those who are left, over the connections that are left.
 * Every survivor calls it; ranks keep their order. Out are the dead, those who left, after a
 * timeout those whom it named, and whoever does not call it until the deadline. All who get a group
 * get the same one. A member that dies meanwhile may still be in it: the first call on it says so,
 * and it can be shrunk again. A rank that is out and calls later, as a frozen one that woke up,
 * gets HOCKET_ERR_PEER_LOST with itself at fault, and whatever it sends disturbs nobody. The old
 * group stays broken, to be freed before or after the new one. On a group that is not broken, or
 * that has been shrunk, it is HOCKET_ERR_INVALID. */
HOCKET_API hocket_status hocket_shrink(hocket_group *group, hocket_group **survivors);

/* === Collectives =================================================================================
 *
 * Every rank of the group calls the same one with the same counts, dtype, reduction and root, in
 * the same order; if they disagree they get HOCKET_ERR_MISMATCH. send == recv means in place; where
 * the sizes differ, the smaller buffer may be this rank's own block of the larger one. Other
 * overlaps are not allowed. Buffers that a rank has no use for (recv off the root) may be NULL, and
 * so may any buffer of 0 elements. n is the world size.
 *
 * Errors of all: INVALID (arguments), TIMEOUT, PEER_LOST, MISMATCH, ABORTED, NO_MEMORY, SYSTEM,
 * UNSUPPORTED (a delegate's limits), BACKEND (the delegate's own failure). */

/* recv[i] = op over all ranks of send[i]. send, recv: count. */
HOCKET_API hocket_status hocket_all_reduce(hocket_group *group, const void *send, void *recv,
                                           size_t count, hocket_dtype dtype, hocket_reduce reduce);
/* The sum of float32, in place. */
HOCKET_API hocket_status hocket_all_sum(hocket_group *group, float *data, size_t count);
/* recv = the ranks' send one after the other. send: send_count, recv: n * send_count. */
HOCKET_API hocket_status hocket_all_gather(hocket_group *group, const void *send, void *recv,
                                           size_t send_count, hocket_dtype dtype);
/* The same with counts[r] elements from rank r. send: counts[rank], recv: their sum; counts: n, the
 * same on all ranks. */
HOCKET_API hocket_status hocket_all_gather_v(hocket_group *group, const void *send, void *recv,
                                             const size_t *counts, hocket_dtype dtype);
/* Reduces n blocks of recv_count and leaves block r on rank r. send: n * recv_count, recv:
 * recv_count. */
HOCKET_API hocket_status hocket_reduce_scatter(hocket_group *group, const void *send, void *recv,
                                               size_t recv_count, hocket_dtype dtype,
                                               hocket_reduce reduce);
/* The same with blocks of counts[r]. send: their sum, recv: counts[rank]. */
HOCKET_API hocket_status hocket_reduce_scatter_v(hocket_group *group, const void *send, void *recv,
                                                 const size_t *counts, hocket_dtype dtype,
                                                 hocket_reduce reduce);
/* data of root to everyone's data. data: count. */
HOCKET_API hocket_status hocket_broadcast(hocket_group *group, void *data, size_t count,
                                          hocket_dtype dtype, int root);
/* As all_reduce, on root alone. recv is written on the root only. */
HOCKET_API hocket_status hocket_reduce_to(hocket_group *group, const void *send, void *recv,
                                          size_t count, hocket_dtype dtype, hocket_reduce reduce,
                                          int root);
/* As all_gather, on root alone. */
HOCKET_API hocket_status hocket_gather(hocket_group *group, const void *send, void *recv,
                                       size_t send_count, hocket_dtype dtype, int root);
/* Block r of root's send to rank r's recv. send: n * recv_count on the root, recv: recv_count. */
HOCKET_API hocket_status hocket_scatter(hocket_group *group, const void *send, void *recv,
                                        size_t recv_count, hocket_dtype dtype, int root);
/* Block j of rank i's send becomes block i of rank j's recv. send, recv: n * count_per_rank. */
HOCKET_API hocket_status hocket_all_to_all(hocket_group *group, const void *send, void *recv,
                                           size_t count_per_rank, hocket_dtype dtype);
/* The same with send_counts[j] elements to rank j and recv_counts[i] from rank i; blocks lie one
 * after the other. A rank's two counts for itself are equal. Not in place. */
HOCKET_API hocket_status hocket_all_to_all_v(hocket_group *group, const void *send,
                                             const size_t *send_counts, void *recv,
                                             const size_t *recv_counts, hocket_dtype dtype);
/* Rank r's send goes to recv on rank to[r], or nowhere where to[r] is -1; who gets none gets zeros.
 * to: n entries, the same on all ranks, no target twice. send, recv: count. */
HOCKET_API hocket_status hocket_permute(hocket_group *group, const void *send, void *recv,
                                        size_t count, hocket_dtype dtype, const int *to);
/* Returns when every rank has called it. */
HOCKET_API hocket_status hocket_barrier(hocket_group *group);

/* === Messages ====================================================================================
 *
 * Byte strings from any rank to any rank, to oneself too. Messages with the same sender and tag
 * arrive in the order they were sent. A message goes without a waiting receiver as long as what
 * lies unread from this sender at that receiver stays under 256 MiB; above that, the send waits for
 * the receive. When a send returns, its bytes need no more help from the sender; what has
 * arrived from a rank can still be received when that rank is dead. A send to a rank that is known
 * to have left the group is HOCKET_ERR_PEER_LOST; what lies unread in a group goes with it. A
 * receive or probe that times out consumed nothing and breaks nothing. */

#define HOCKET_TAG_RESERVED                                                                        \
    UINT32_C(0xF0000000) /* tags below are the caller's; from here on HOCKET_ERR_INVALID */

HOCKET_API hocket_status hocket_send_bytes(hocket_group *group, int to, uint32_t tag,
                                           const void *bytes, size_t length);
/* *bytes is memory to free(), NULL only on failure; *length is learned from the message. */
HOCKET_API hocket_status hocket_recv_bytes(hocket_group *group, int from, uint32_t tag,
                                           void **bytes, size_t *length);
/* Into the caller's buffer. When it is too small: HOCKET_ERR_INVALID, *length says what is needed,
 * the message stays. length may be NULL. */
HOCKET_API hocket_status hocket_recv_into(hocket_group *group, int from, uint32_t tag, void *buffer,
                                          size_t capacity, size_t *length);
/* Waits until a message is there and says from whom and how long; takes nothing. from may be
 * HOCKET_ANY_RANK: where all others have left, that is HOCKET_ERR_PEER_LOST. source and length may
 * be NULL. */
HOCKET_API hocket_status hocket_probe(hocket_group *group, int from, uint32_t tag, int *source,
                                      size_t *length);

/* === Relay =======================================================================================
 *
 * A pipeline whose stages are the ranks: the layers of a model that no machine holds alone. */

/* Bytes and how many. */
typedef struct hocket_piece {
    void *bytes; /* may be NULL when length is 0 */
    size_t length;
} hocket_piece;

/* This rank's stage: makes *out of *in, both of any length, which may differ from batch to batch.
 * It is called for batches 0, 1, 2 ... in this order, on the thread that called hocket_relay (of
 * the nonblocking form, on the group's worker). in is valid until it returns, on rank 0 the
 * caller's own inputs[batch]. out is {NULL, 0} before the call; its bytes must come from malloc,
 * and the relay frees them, also when the stage fails. It may send and receive messages, and call
 * collectives of other groups, but none of this group.
 *
 * Anything but HOCKET_OK ends the relay. The reason is the stage's own hocket_last_error, which a
 * failed call of hocket's sets and hocket_transport_error (transport.h); else the status's name. */
typedef hocket_status (*hocket_stage_fn)(void *context, int batch, const hocket_piece *in,
                                         hocket_piece *out);

/* Collective: batches pieces go through the stages of rank 0, 1, ... n - 1. Rank 0's stage gets
 * inputs[batch] (NULL will do on the others), each other's what the rank before it made, and what
 * the last one made is in results[batch] on every rank: memory to free(), each. batches is the same
 * on all ranks and may be 0. With several, the stages work at the same time, each at a batch of its
 * own, while pieces are under way beside them: at most 4 of each kind that a rank waits for, and 4
 * that it sends. On MLX's backends nothing moves while a stage runs.
 *
 * A stage that fails breaks the group, whatever its status: each rank's call returns that status (a
 * number that is none, as HOCKET_ERR_BACKEND), names the stage's rank as the one at fault, and says
 * at which batch and why. A rank that is in its stage meanwhile hears of it afterwards. After a
 * failure results are {NULL, 0}. Other errors: those of collectives. HOCKET_ERR_INVALID with the
 * group living on: batches is negative, stage, results or rank 0's inputs are NULL. */
HOCKET_API hocket_status hocket_relay(hocket_group *group, hocket_stage_fn stage, void *context,
                                      const hocket_piece *inputs, int batches,
                                      hocket_piece *results);

/* === Nonblocking forms ===========================================================================
 *
 * Each starts the operation above and returns a request at once. Arguments are checked at the call
 * (an error there makes no request: *request is NULL). Buffers, and the arrays of counts, belong to
 * the operation until its request is waited for. Collectives of one group run in the order of the
 * calls, blocking ones included. The deadline counts from the call. */

typedef struct hocket_request hocket_request;

/* Waits for the operation and returns its status. Frees the request, also on error. NULL is
 * HOCKET_ERR_INVALID. */
HOCKET_API hocket_status hocket_wait(hocket_request *request);
/* Does not wait. *done = true: the status is the operation's and the request is freed. */
HOCKET_API hocket_status hocket_test(hocket_request *request, bool *done);

HOCKET_API hocket_status hocket_all_reduce_async(hocket_group *group, const void *send, void *recv,
                                                 size_t count, hocket_dtype dtype,
                                                 hocket_reduce reduce, hocket_request **request);
HOCKET_API hocket_status hocket_all_sum_async(hocket_group *group, float *data, size_t count,
                                              hocket_request **request);
HOCKET_API hocket_status hocket_all_gather_async(hocket_group *group, const void *send, void *recv,
                                                 size_t send_count, hocket_dtype dtype,
                                                 hocket_request **request);
HOCKET_API hocket_status hocket_all_gather_v_async(hocket_group *group, const void *send,
                                                   void *recv, const size_t *counts,
                                                   hocket_dtype dtype, hocket_request **request);
HOCKET_API hocket_status hocket_reduce_scatter_async(hocket_group *group, const void *send,
                                                     void *recv, size_t recv_count,
                                                     hocket_dtype dtype, hocket_reduce reduce,
                                                     hocket_request **request);
HOCKET_API hocket_status hocket_reduce_scatter_v_async(hocket_group *group, const void *send,
                                                       void *recv, const size_t *counts,
                                                       hocket_dtype dtype, hocket_reduce reduce,
                                                       hocket_request **request);
HOCKET_API hocket_status hocket_broadcast_async(hocket_group *group, void *data, size_t count,
                                                hocket_dtype dtype, int root,
                                                hocket_request **request);
HOCKET_API hocket_status hocket_reduce_to_async(hocket_group *group, const void *send, void *recv,
                                                size_t count, hocket_dtype dtype,
                                                hocket_reduce reduce, int root,
                                                hocket_request **request);
HOCKET_API hocket_status hocket_gather_async(hocket_group *group, const void *send, void *recv,
                                             size_t send_count, hocket_dtype dtype, int root,
                                             hocket_request **request);
HOCKET_API hocket_status hocket_scatter_async(hocket_group *group, const void *send, void *recv,
                                              size_t recv_count, hocket_dtype dtype, int root,
                                              hocket_request **request);
HOCKET_API hocket_status hocket_all_to_all_async(hocket_group *group, const void *send, void *recv,
                                                 size_t count_per_rank, hocket_dtype dtype,
                                                 hocket_request **request);
HOCKET_API hocket_status hocket_all_to_all_v_async(hocket_group *group, const void *send,
                                                   const size_t *send_counts, void *recv,
                                                   const size_t *recv_counts, hocket_dtype dtype,
                                                   hocket_request **request);
HOCKET_API hocket_status hocket_permute_async(hocket_group *group, const void *send, void *recv,
                                              size_t count, hocket_dtype dtype, const int *to,
                                              hocket_request **request);
HOCKET_API hocket_status hocket_barrier_async(hocket_group *group, hocket_request **request);
HOCKET_API hocket_status hocket_relay_async(hocket_group *group, hocket_stage_fn stage,
                                            void *context, const hocket_piece *inputs, int batches,
                                            hocket_piece *results, hocket_request **request);
HOCKET_API hocket_status hocket_send_bytes_async(hocket_group *group, int to, uint32_t tag,
                                                 const void *bytes, size_t length,
                                                 hocket_request **request);
/* *bytes and *length are set when the request is done. */
HOCKET_API hocket_status hocket_recv_bytes_async(hocket_group *group, int from, uint32_t tag,
                                                 void **bytes, size_t *length,
                                                 hocket_request **request);
HOCKET_API hocket_status hocket_recv_into_async(hocket_group *group, int from, uint32_t tag,
                                                void *buffer, size_t capacity, size_t *length,
                                                hocket_request **request);
HOCKET_API hocket_status hocket_probe_async(hocket_group *group, int from, uint32_t tag,
                                            int *source, size_t *length, hocket_request **request);

/* === Memory ======================================================================================
 *
 * Memory that transports reach without a copy (shared segments, registered regions). Not
 * collective. Other memory works everywhere too. */

/* 64-byte aligned, zeroed. HOCKET_ERR_NO_MEMORY. */
HOCKET_API hocket_status hocket_alloc(hocket_group *group, size_t bytes, void **memory);
/* Only memory from hocket_alloc on the same group; NULL is fine. Before hocket_free of the group.
 */
HOCKET_API void hocket_dealloc(hocket_group *group, void *memory);
/* Makes the caller's own memory known until hocket_unregister, which takes the same start. */
HOCKET_API hocket_status hocket_register(hocket_group *group, void *memory, size_t bytes);
HOCKET_API hocket_status hocket_unregister(hocket_group *group, void *memory);

#ifdef __cplusplus
}
#endif

#endif
