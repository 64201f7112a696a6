/* What job.c and front.c share: the job as front sees it. job.c has its phases, front.c the talk
 * with the agents. */
#ifndef HK_TOOL_JOB_H
#define HK_TOOL_JOB_H

#include "run/launch.h"
#include "run/output.h"
#include "run/remote.h"

#include <poll.h>

#define HK_LAST_WORDS 512 /* bytes of a rank's standard error that are kept for its last line */

typedef enum hk_phase {
    HK_MEETING, /* agents are being started */
    HK_RUNNING,
    HK_WARNED,
    HK_ENDING,
    HK_KILLED,
    HK_FINISHING,
    HK_FLUSHING
} hk_phase;

typedef struct hk_rank_state {
    int link;                 /* the index of its host's */
    bool ended;               /* or never started */
    bool fresh;               /* and nobody has looked at that yet */
    int status;               /* its exit status, as the launcher would return it */
    int signal;               /* what ended it; 0: it exited */
    size_t unread;            /* bytes of input that its agent has not written to it */
    hk_stream streams[2];     /* its output and error */
    char last[HK_LAST_WORDS]; /* what it wrote to its error at the end */
    size_t last_length;
    int copy; /* its file in --output-dir, or -1 */
} hk_rank_state;

typedef struct hk_job {
    const hk_launch *launch;
    hk_link *links;
    int link_count;
    hk_rank_state *ranks;
    int running; /* ranks that were planned and have not ended */
    hk_phase phase;
    int64_t phase_ends_ms; /* HK_FOREVER: when something happens */
    int64_t timeout_ms;    /* when --timeout is over */
    int status;            /* what the job exits with */
    bool decided;          /* status is settled: what happens later are consequences */
    bool lost;             /* an agent is, which nobody has looked at yet */
    bool broken;           /* everything must end now: the job cannot be what it should */
    bool hurried;          /* do not wait for whoever reads our output */
    bool lends_terminal;   /* ours to the rank that reads standard input, on another host */
    int interrupts;        /* Ctrl-C in a row, typed at a terminal that is lent */
    int64_t interrupt_ms;  /* when the first of them was */
    bool reads_input;      /* our standard input is for ranks behind frames, and not at its end */
    int signals;           /* read end */
    int64_t next_ping_ms;
    hk_sink sinks[2];     /* stdout and stderr */
    hk_sink *streams[2];  /* the same one where both go to one file */
    enum hk_flow flow[2]; /* what the agents were told of them */
    struct pollfd *fds;
} hk_job;

/* Settles what the job exits with, unless that is settled. */
void hk_job_decide(hk_job *job, int status);
void hk_job_say(hk_job *job, const char *format, ...) HK_WORDS_PRINTF(2, 3);

/* The terminal: lent to the rank that has one, while it runs and we do; or not. */
void hk_job_lend(hk_job *job, bool lent);

/* Sends a frame to every agent that can be reached. */
void hk_front_tell_all(hk_job *job, hk_frame_type type, uint32_t number);

/* The size of the terminal that is lent. */
void hk_front_tell_window(hk_job *job);

/* Starts the agents; false after a complaint. */
bool hk_front_start(hk_job *job);

/* Sleeps until an agent speaks, a signal comes or it is when_ms, and takes what has come. */
void hk_front_listen(hk_job *job, int64_t when_ms);

/* Writes what is queued for the agents, as much as they take. */
void hk_front_flush(hk_job *job);

/* When all agents are ready, hands out the plans and returns true. */
bool hk_front_plan(hk_job *job);

/* Lets go of agents that are of no use any more: those that never answered. */
void hk_front_abandon(hk_job *job);

bool hk_front_is_over(const hk_job *job);

#endif
