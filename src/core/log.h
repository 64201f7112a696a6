/* Messages for the person who runs the program, to stderr. HOCKET_LOG picks the level: error, warn
 * (default), info, debug. */
#ifndef HK_CORE_LOG_H
#define HK_CORE_LOG_H

#include "core/status.h"

typedef enum hk_log_level { HK_LOG_ERROR, HK_LOG_WARN, HK_LOG_INFO, HK_LOG_DEBUG } hk_log_level;

bool hk_log_enabled(hk_log_level level);
/* One line, "hocket[rank]: text"; rank -1 leaves it out. One write, so lines of several ranks do
 * not mix. */
void hk_log(hk_log_level level, int rank, const char *format, ...) HK_PRINTF(3, 4);

#endif
