/* Front's end of an agent: a process on this host, or ssh with an agent behind it. */
#ifndef HK_TOOL_REMOTE_H
#define HK_TOOL_REMOTE_H

#include "run/launch.h"
#include "run/output.h"

typedef struct hk_link {
    const hk_host *host;
    bool here;
    int first;    /* its ranks: first .. first + host->ranks - 1 */
    pid_t pid;    /* the agent or its ssh; 0 once collected */
    int to, from; /* its frames; -1 once closed */
    int words;    /* what ssh says on its standard error, or -1 */
    hk_stream words_stream;
    hk_buffer in, out;
    volatile pid_t *groups; /* of an agent that is here */
    bool greeted;           /* its magic line has come */
    bool ready;             /* its ports are known */
    bool over;              /* it has said that it is gone, or is lost */
    int status;             /* of its process, as wait has it, once collected */
    int port_count;
    int *ports;
} hk_link;

/* Starts the agent of a link. others: the links that were started before, whose descriptors it must
 * not hold. False after a complaint; the link needs hk_link_close all the same. */
bool hk_link_start(hk_link *link, const hk_launch *launch, hk_link *others, int other_count);

/* Looks for the agent's first line and drops it and what came before. 1: it is there and of this
 * version; 0: not yet; -1: of another version, which is put into version (size bytes). */
int hk_link_greet(hk_link *link, char *version, size_t size);

/* Closes the descriptors, which ends an agent that still runs, and collects its process within
 * wait_ms; ssh is killed after that. */
void hk_link_hang_up(hk_link *link, int wait_ms);
void hk_link_close(hk_link *link);

/* The first line of an agent of this version. */
void hk_agent_line(char *line, size_t size);

#endif
