#include "core/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1200

static hk_log_level level_from_environment(void)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *text = getenv("HOCKET_LOG");
    for (int i = 0; text != NULL && i < 4; i++)
        if (strcmp(text, names[i]) == 0)
            return (hk_log_level)i;
    return HK_LOG_WARN;
}

bool hk_log_enabled(hk_log_level level)
{
    static _Atomic int chosen = -1;
    int now = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (now < 0) {
        now = (int)level_from_environment();
        atomic_store_explicit(&chosen, now, memory_order_relaxed);
    }
    return (int)level <= now;
}

void hk_log(hk_log_level level, int rank, const char *format, ...)
{
    if (!hk_log_enabled(level))
        return;
    char line[LINE_MAX_BYTES];
    int used = rank < 0 ? snprintf(line, sizeof line, "hocket: ")
                        : snprintf(line, sizeof line, "hocket[%d]: ", rank);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    size_t length = (size_t)used + (more > 0 ? (size_t)more : 0);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    /* A log line that cannot be written has nowhere to be reported. */
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
}
