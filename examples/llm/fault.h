/* How this program fails: a function says why and returns false, its callers hand that on, and main
 * tells the sentence. Functions that can fail return true when they worked. */
#ifndef LLM_FAULT_H
#define LLM_FAULT_H

#include <hocket/hocket.h>

/* Keeps the sentence, cut to some 1000 bytes, and returns false. */
bool fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The last sentence, "" before the first. */
const char *fault_text(void);
/* Prints it on stderr as this rank's; only the first call does. */
void fault_tell(int rank);

/* Leaves the function with false when a call of the library fails. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != HOCKET_OK)                                                                   \
            return fault("%s", hocket_last_error());                                               \
    } while (0)

#endif
