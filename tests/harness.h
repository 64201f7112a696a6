/* Runs the ranks of a test: as threads of this process, or as processes of their own where a test
 * kills one.
 *
 *     static void all_meet(struct member *me)
 *     {
 *         CHECK_OK(hocket_barrier(me->world));
 *         CHECK_INT(4, hocket_world_size(me->world));
 *     }
 *     ...
 *     RANKS(&harness_tcp, 4, all_meet, NULL);       in a cmocka test
 *
 * Each rank gets a world of its own making: a fresh coordinator and secret, no variables of the
 * environment. A check that fails ends its rank, aborts the group so that the others end too, and
 * fails the cmocka test with the rank, the place and the reason. When no rank comes to another
 * check for the time of the limit, those that have not ended are named with the check they hang in.
 *
 * A transport is put to these tests by one `struct harness_backend`.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <hocket/hocket.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HARNESS_RANKS_MAX 16
#define HARNESS_SLOTS 16

struct member; /* one rank of a test's world */

/* How a transport is opened. The ranks of a world share what begin returns (own transports). */
struct harness_backend {
    const char *name; /* what hocket_backend must say */
    const char *variant; /* told beside it, or NULL */
    void *(*begin)(int size);
    void (*end)(void *arena);
    hocket_status (*open)(struct member *me, hocket_group **world);
    bool unbounded;   /* never makes a send wait for its receive */
    bool duplicates;  /* a second init of the same world makes a duplicate */
};

extern const struct harness_backend harness_local;
extern const struct harness_backend harness_tcp;
extern const struct harness_backend harness_shm;
/* shm, where rank r is on host harness_placement[r], a letter: for ranks that are processes. */
extern const struct harness_backend harness_hosts;
extern const char *harness_placement;
/* The transports that hocket_init opens everywhere: one line for each new one. NULL ends it. */
extern const struct harness_backend *const harness_backends[];

typedef void (*member_body)(struct member *me);

struct harness_run {
    const struct harness_backend *backend;
    int size;
    member_body body;
    void *context;
    bool processes;     /* ranks are processes, else threads */
    bool without_world; /* the body opens it */
    double seconds;     /* in which some rank must come to a check or end; 0 is 30 */
    double timeout_s;   /* of each call; 0 is 20 */
};

/* Lies in memory that all ranks share, also when they are processes. */
struct member {
    int rank, size;
    hocket_group *world;
    void *context;                 /* the test's */
    void *arena;                   /* the backend's */
    _Atomic double *shared;        /* HARNESS_SLOTS numbers that all ranks see, 0 at first */
    const struct harness_run *run;

    /* The harness's. */
    const char *coordinator, *secret;
    atomic_bool ended, failed;
    atomic_int meetings; /* in member_wait_for_all */
    atomic_ulong checks; /* that it has come to */
    atomic_int ends_by; /* a signal that this rank expects to end by, or HARNESS_BY_EXIT */
    double failed_at;
    _Atomic(const char *) file;
    atomic_int line;
    char note[128], failure[1536];
};

/* Runs the ranks and fails the current test with what they found. Not worlds of more ranks than
 * HOCKET_TEST_RANKS says, where that is set. */
void harness_run(const struct harness_run *run);

#define RANKS(of, n, function, data)                                                               \
    harness_run(&(struct harness_run){                                                             \
        .backend = (of), .size = (n), .body = (function), .context = (data)})
#define PROCESSES(of, n, function, data)                                                           \
    harness_run(&(struct harness_run){                                                             \
        .backend = (of), .size = (n), .body = (function), .context = (data), .processes = true})

/* What the harness opens the world of this rank with. */
hocket_config member_config(const struct member *me);

/* Ends this process, which the test expects: by a signal, or by _exit(0) without hocket_free. A
 * rank stopped by SIGSTOP stays so until all others have ended. */
enum { HARNESS_BY_EXIT = -1 };
void member_end_by(struct member *me, int signal);

/* Until all ranks that live have come here as often as this one: so that a death is not seen in the
 * call before. */
void member_wait_for_all(struct member *me);

/* A second thread of the same rank. Its checks count as the rank's; join passes a failure on. */
struct side {
    pthread_t thread;
    struct member *me;
    void (*body)(void *argument);
    void *argument;
};
void side_start(struct side *side, void (*body)(void *argument), void *argument);
void side_join(struct side *side);

double seconds_now(void);
void sleep_seconds(double seconds);
/* 1, or more under a sanitizer or in a guest (HOCKET_TEST_SLOWNESS): what bounds on time are
 * multiplied with. */
double harness_slowness(void);
/* A port on loopback where nothing listens, outside the range that outgoing connections take. */
int harness_free_port(void);
/* Forgets every variable that hocket_init reads but HOCKET_LOG. */
void harness_clear_environment(void);

/* Bytes that depend on the seed and the position; check says where they differ. */
void fill_bytes(void *bytes, size_t length, uint64_t seed);
void check_filled(const char *file, int line, const void *bytes, size_t length, uint64_t seed);

/* Memory with canaries around it. guard_free checks them. */
void *guard_alloc(size_t bytes);
void guard_check(const char *file, int line, const void *memory);
void guard_free(const char *file, int line, void *memory);

/* === Checks: inside a rank, or directly in a cmocka test ====================================== */

void harness_at(const char *file, int line);
/* What this rank is about: said with the failures that follow. */
void harness_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void harness_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void harness_check_status(const char *file, int line, const char *call, hocket_status expected,
                          hocket_status got);
void harness_check_int(const char *file, int line, const char *what, long long expected,
                       long long got);
void harness_check_has(const char *file, int line, const char *text, const char *part);

#define CHECK_THAT(condition, ...)                                                                 \
    do {                                                                                           \
        harness_at(__FILE__, __LINE__);                                                            \
        if (!(condition))                                                                          \
            harness_fail(__FILE__, __LINE__, __VA_ARGS__);                                         \
    } while (0)
#define CHECK(condition) CHECK_THAT(condition, "%s", #condition)
#define CHECK_STATUS(expected, call)                                                               \
    do {                                                                                           \
        harness_at(__FILE__, __LINE__);                                                            \
        harness_check_status(__FILE__, __LINE__, #call, expected, call);                           \
    } while (0)
#define CHECK_OK(call) CHECK_STATUS(HOCKET_OK, call)
#define CHECK_INT(expected, got)                                                                   \
    do {                                                                                           \
        harness_at(__FILE__, __LINE__);                                                            \
        harness_check_int(__FILE__, __LINE__, #got, (long long)(expected), (long long)(got));      \
    } while (0)
#define CHECK_HAS(text, part) harness_check_has(__FILE__, __LINE__, text, part)
#define CHECK_TEXT(expected, got)                                                                  \
    CHECK_THAT(strcmp(got, expected) == 0, "%s is \"%s\" instead of \"%s\"", #got, got, expected)
#define CHECK_FILLED(bytes, length, seed) check_filled(__FILE__, __LINE__, bytes, length, seed)
#define GUARD_CHECK(memory) guard_check(__FILE__, __LINE__, memory)
#define GUARD_FREE(memory) guard_free(__FILE__, __LINE__, memory)

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
