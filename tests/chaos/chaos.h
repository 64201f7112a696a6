/* chaos breaks jobs on purpose and looks at what the survivors say.
 *
 *   chaos.c    rounds: plans from a seed, forks the ranks, breaks one, judges, keeps the table
 *   judge.c    what every rank must have reported, by the kind of fault
 *   rank.c     the life of a rank: join, work, fail, call again, shrink, work on, leave
 *   sabotage.c what a rank does to itself
 *   work.c     random operations whose results are known
 *
 * A round is determined by the seed and its number, but for the moments at which threads and
 * processes run. Ranks report on a board, memory that they share with the parent.
 */
#ifndef CHAOS_H
#define CHAOS_H

#include "verbs_help.h"
#include <hocket/hocket.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHAOS_RANKS_MAX 6
#define CHAOS_TEXT_MAX 600
#define CHAOS_TIMEOUT_S 10 /* of calls that must end well, on any machine */

typedef enum fault {
    FAULT_NONE,         /* nothing: all must be right */
    FAULT_SLOW,         /* stopped for moments within the deadline: never given up */
    FAULT_KILL,         /* SIGKILL in the middle of an operation */
    FAULT_EXIT,         /* _exit without hocket_free, there too */
    FAULT_CUT,          /* all its connections are shut down */
    FAULT_FREEZE,       /* SIGSTOP, after the verdict SIGCONT or SIGKILL */
    FAULT_ABORT,        /* hocket_abort from a second thread */
    FAULT_LEAVE,        /* hocket_free while the others call on */
    FAULT_KILL_SPLIT,   /* killed inside hocket_split */
    FAULT_KILL_SHRINK,  /* killed, and a second one inside hocket_shrink */
    FAULT_KILL_INIT,    /* killed inside hocket_init */
    FAULT_FREEZE_INIT,  /* stopped there */
    FAULT_LATE_MESSAGE, /* stopped while the others receive from it: asked again, it arrives */
    FAULTS
} fault;

typedef struct plan {
    uint64_t seed; /* of the round */
    unsigned long round;
    const char *backend;
    fault kind;
    int size, victim, second;
    int operation;    /* in which the victim breaks */
    long delay_us;    /* after it has begun */
    int thaw;         /* of a frozen rank: one of the below */
    bool hasty;       /* the survivors exit, without hocket_free, as soon as they have seen it */
    double timeout_s; /* of the calls that the fault lets run into their deadline */
    double init_timeout_s;
    int port;
} plan;

enum { THAW_AT_VERDICT, THAW_AFTER_SHRINK, THAW_NEVER, THAWS };

typedef enum phase { /* of a rank's life */
                     PHASE_START,
                     PHASE_INIT,
                     PHASE_WORK,
                     PHASE_FAILED, /* knows that something is wrong */
                     PHASE_SHRUNK, /* has a new group, or was refused one */
                     PHASE_DONE    /* has left */
} phase;

typedef struct said { /* what a call said */
    hocket_status status;
    int count, ranks[CHAOS_RANKS_MAX]; /* at fault, of the world */
    char text[CHAOS_TEXT_MAX];
    int64_t began, returned; /* of the call */
} said;

typedef struct report {
    atomic_int phase;
    atomic_int operation; /* begun */
    said first;           /* failure, of any call */
    said world;           /* failure of a collective of the world */
    said later;           /* a call after that; the fastest of some */
    said shrink;
    int shrunk_to, shrink_rounds;
    unsigned members; /* of the new group, a bit for each */
    int64_t free_ns;
    int files_left, threads_left;   /* more than before hocket_init */
    char complaint[CHAOS_TEXT_MAX]; /* what is wrong whatever the fault was: a wrong number */
} report;

typedef struct board {
    _Atomic int64_t fault_at, second_at; /* 0: not yet */
    atomic_bool go_on;                   /* the parent is through with the frozen rank */
    int64_t stall; /* the longest that the machine kept the parent waiting; over RDMA, or a burst a
                      rank */
    report reports[CHAOS_RANKS_MAX];
} board;

/* "verbs-uc" is that variant of tests/verbs_help.h. NULL: a backend of hocket's, or "hosts". */
const struct harness_backend *chaos_verbs(const char *backend);

int64_t chaos_now(void); /* ns, the same clock in all processes */
void chaos_sleep_us(long us);
uint64_t chaos_random(uint64_t *state); /* a generator of 64 bits, seeded by its state */

/* judge.c. Says what is wrong with a round in text, "" if nothing is. dead: how each rank ended,
 * as waitpid says. */
const char *fault_name(fault kind);
void judge(const plan *p, const board *b, const int *ended, char *text, size_t size);
/* Whether this rank was there to see the fault, and from when to when it took. */
bool judge_detection(const plan *p, const board *b, int rank, int64_t *took);

/* rank.c. Does not return. */
_Noreturn void rank_main(const plan *p, board *b, int rank);

/* sabotage.c. Breaks this rank in so many microseconds; call from the main thread. */
void sabotage(const plan *p, board *b, int rank, hocket_group *group, long delay_us);
/* Waits until it is done, where this rank survives it. */
void sabotage_is_over(void);

/* === work.c ================================================================================== */

typedef struct team { /* a group and who its members are in the world */
    hocket_group *group;
    int rank, size;
    int ids[CHAOS_RANKS_MAX];
} team;

enum {
    WORK_MESSAGES = 1,
    WORK_SUBGROUPS = 2,
    WORK_ASYNC = 4,
    WORK_ALL = 7,
    WORK_SPLIT_NOW = 8 /* nothing but a split */
};

/* One random operation, the same on all members with the same seed. On failure *failure has what
 * the call said, and *breaking whether it was a collective of the team's group. A result that is
 * wrong is written to complaint. */
hocket_status work(const team *t, uint64_t seed, unsigned kinds, said *failure, bool *breaking,
                   char *complaint);

/* Notes this thread's last error. */
void work_note(const team *t, hocket_status status, int64_t began, said *failure);

/* All ranks receive from one; false: it is not what they were sent. */
hocket_status work_receive(const team *t, int from, uint64_t seed, said *failure, bool *right);
hocket_status work_send_all(const team *t, uint64_t seed);

#endif
