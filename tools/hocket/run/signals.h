/* Signals as bytes in a pipe, for a loop that sleeps in poll. */
#ifndef HK_TOOL_SIGNALS_H
#define HK_TOOL_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HK_FOREVER INT64_MAX

/* From now on SIGCHLD and what a user may send come as bytes from the descriptor that is returned;
 * -1 with errno. SIGHUP stays ignored under nohup. Replaces the pipe of a parent. */
int hk_signals_catch(void);

/* Forks with all signals blocked; they stay so in the child until hk_signals_reset, which makes
 * them what they are in a new program. A handler that ran in the child would tell this process of a
 * signal that it did not get. */
pid_t hk_signals_fork(void);
void hk_signals_reset(void);

/* Milliseconds of a clock that nobody sets. */
int64_t hk_now_ms(void);

/* How long poll may sleep until then. */
int hk_nap_until(int64_t when_ms);

#endif
