/* The agent: starts the ranks of one host, passes their output on, ends them, and says how they
 * ended. It does as front (job.c) tells it over a pair of pipes. */
#ifndef HK_TOOL_AGENT_H
#define HK_TOOL_AGENT_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct hk_agent_start {
    int in, out;  /* front's frames, and ours */
    int lifeline; /* the read end of a pipe that hangs up when all must end, or -1 */
    bool here;    /* on front's host: the rank that reads standard input has front's own */
    /* HK_RANKS_MAX process groups of ranks, 0 where there is none (yet, or any more), in memory
     * that is shared with whoever cleans up after an agent that was killed. */
    volatile pid_t *groups;
} hk_agent_start;

/* The memory for groups; NULL with errno. It is never given back. */
volatile pid_t *hk_agent_groups(void);

/* Runs an agent in a process of its own, with a lifeline, and ends all that it leaves behind should
 * it be killed; see guard.c. Returns its exit status; where the agent is here and a signal ended
 * it, this process ends so too. Called in a process that has no other children. */
int hk_guard_run(hk_agent_start *start);

/* Kills what an agent that was killed has left in these groups. */
void hk_agent_clean_up(const volatile pid_t *groups);

/* Returns when nothing of the job is left on this host. When in or the lifeline is hung up, it ends
 * everything by itself. Called in a process that has no other children. */
int hk_agent_run(const hk_agent_start *start);

#endif
