/* The agent's part of hocket doctor: whether hosts reach each other over TCP, and how fast. One end
 * listens, the other dials; each in a process of its own, for names may take long to resolve and a
 * network may swallow whatever is sent. These processes end with the agent. */
#ifndef HK_TOOL_REACH_H
#define HK_TOOL_REACH_H

#include "run/protocol.h"

#include <sys/types.h>

#define HK_REACH_TOKEN 64 /* bytes that a dialer shows, so that no stranger is answered */

#define HK_REACH_FOREIGN 3 /* descriptors */

typedef struct hk_reach {
    int foreign[HK_REACH_FOREIGN]; /* of the agent's, which our processes must not hold; or -1 */
    int lifeline;                  /* hangs up for who listens when the agent ends; or -1 */
    int port;                      /* where that is; 0: nowhere yet */
    char token[HK_REACH_TOKEN];
    pid_t dialer;
    int answer; /* what comes from the dialer; -1 when there is none */
    hk_buffer heard;
} hk_reach;

void hk_reach_open(hk_reach *reach, const int foreign[HK_REACH_FOREIGN]);
void hk_reach_close(hk_reach *reach);

/* Listens, with the token that the first call brings. Returns the port; 0 where there is none. */
int hk_reach_listen(hk_reach *reach, const char token[HK_REACH_TOKEN]);

/* Starts to dial. False when a dial is under way, the port is none or no process can be made. */
bool hk_reach_dial(hk_reach *reach, const char *host, uint32_t port);

/* To be called when the answer can be read: when all of it is there, it goes out as a frame. */
void hk_reach_hear(hk_reach *reach, hk_buffer *out);

/* What a dial takes at most. */
#define HK_REACH_DIAL_S 20

#endif
