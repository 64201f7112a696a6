/* How the command speaks: always to stderr, "hocket run: sentence". */
#ifndef HK_TOOL_WORDS_H
#define HK_TOOL_WORDS_H

#include <stddef.h>

#if defined(__GNUC__)
#define HK_WORDS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define HK_WORDS_PRINTF(text, first)
#endif

/* "hocket COMMAND: text", or "hocket: text" when command is NULL, as one line in one write. */
void hk_complain(const char *command, const char *format, ...) HK_WORDS_PRINTF(2, 3);

/* The candidate that word is most likely a misspelling of; NULL when none is near. */
const char *hk_closest(const char *word, const char *const *candidates, int count);

/* "SIGINT" and the like; NULL for a signal without a name here. */
const char *hk_signal_name(int signal_number);

#endif
