/* The terminal that the user of `hocket run` sits at, lent to a rank on another host. That rank has
 * a terminal of its own there (spawn.c); between the two go bytes, as they are typed and as they
 * are printed, so Ctrl-C, Ctrl-D and Ctrl-Z mean there what the rank's own terminal makes of them.
 * Here the terminal is raw meanwhile, and must be as before whatever ends this process: also
 * SIGKILL, after which a small process of its own sees to it. */
#ifndef HK_TOOL_TERMINAL_H
#define HK_TOOL_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Whether standard input and output are one that can be lent. */
bool hk_terminal_is_here(void);

/* Rows and columns, at least 1 each. */
void hk_terminal_size(uint32_t size[2]);

/* Starts who looks after it; before any process that is to notice when this one ends. False with
 * errno. */
bool hk_terminal_open(void);

/* Makes it raw, unless this process is in the background, and back. Both may come again. */
void hk_terminal_take(void);
void hk_terminal_give_back(void);

/* Gives it back for good. */
void hk_terminal_close(void);

/* In a child: this process's share in it is none of the child's. */
void hk_terminal_forget(void);

#endif
