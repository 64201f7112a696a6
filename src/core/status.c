#include "core/status.h"

#include <hocket/transport.h>
#include <stdio.h>
#include <string.h>

static _Thread_local hk_error last;

const char *hocket_status_name(hocket_status status)
{
    switch (status) {
#define STATUS_NAME(code, value, name, text)                                                       \
    case code: return name;
        HOCKET_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    }
    return "unknown status";
}

bool hk_status_is_failure(int64_t code)
{
    switch (code) {
#define STATUS_CASE(name, value, words, text) case value:
        HOCKET_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
        return code != HOCKET_OK;
    }
    return false;
}

const char *hocket_last_error(void)
{
    return last.text;
}

int hocket_last_error_rank(void)
{
    return last.rank_count > 0 ? last.ranks[0] : -1;
}

int hocket_last_error_ranks(int *ranks, int capacity)
{
    int listed = last.rank_count < HK_ERROR_RANKS_MAX ? last.rank_count : HK_ERROR_RANKS_MAX;
    for (int i = 0; i < listed && i < capacity; i++)
        ranks[i] = last.ranks[i];
    return last.rank_count;
}

const hk_error *hk_error_last(void)
{
    return &last;
}

static void fill(hk_error *error, hocket_status status, const char *format, va_list arguments)
{
    error->status = status;
    error->rank_count = 0;
    /* The old text may be among the arguments. */
    char text[HK_ERROR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, arguments);
    memcpy(error->text, text, sizeof text);
}

void hk_error_set(hk_error *error, hocket_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, format, arguments);
    va_end(arguments);
}

void hk_error_add_rank(hk_error *error, int rank)
{
    int listed = error->rank_count < HK_ERROR_RANKS_MAX ? error->rank_count : HK_ERROR_RANKS_MAX;
    int at = listed;
    while (at > 0 && error->ranks[at - 1] > rank)
        at--;
    if (at > 0 && error->ranks[at - 1] == rank)
        return;
    if (listed < HK_ERROR_RANKS_MAX) {
        memmove(&error->ranks[at + 1], &error->ranks[at], (size_t)(listed - at) * sizeof(int));
        error->ranks[at] = rank;
    }
    error->rank_count++;
}

bool hk_error_names(const hk_error *error, int rank)
{
    for (int i = 0; i < error->rank_count && i < HK_ERROR_RANKS_MAX; i++)
        if (error->ranks[i] == rank)
            return true;
    return false;
}

hocket_status hk_fail_with(const hk_error *error)
{
    last = *error;
    return last.status;
}

hocket_status hk_fail(hocket_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(&last, status, format, arguments);
    va_end(arguments);
    return status;
}

hocket_status hk_fail_rank(hocket_status status, int rank, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(&last, status, format, arguments);
    va_end(arguments);
    if (rank >= 0)
        hk_error_add_rank(&last, rank);
    return status;
}

hocket_status hk_fail_errno(int error, const char *format, ...)
{
    char what[HK_ERROR_TEXT_MAX / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return hk_fail(HOCKET_ERR_SYSTEM, "%s: %s", what, strerror(error));
}

hocket_status hk_fail_memory(size_t bytes, const char *what)
{
    return hk_fail(HOCKET_ERR_NO_MEMORY, "%zu bytes for %s could not be allocated", bytes, what);
}

hocket_status hk_fail_prefix(const char *format, ...)
{
    char what[HK_ERROR_TEXT_MAX / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    char text[HK_ERROR_TEXT_MAX];
    size_t length = strlen(what);
    memcpy(text, what, length);
    size_t room = sizeof text - length - 1;
    size_t rest = strlen(last.text) < room ? strlen(last.text) : room;
    memcpy(text + length, last.text, rest);
    text[length + rest] = '\0';
    memcpy(last.text, text, length + rest + 1);
    return last.status;
}

hocket_status hocket_transport_error(hocket_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(&last, status, format, arguments);
    va_end(arguments);
    return status;
}

hocket_status hocket_transport_error_ranks(hocket_status status, const int *ranks, int count,
                                           const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(&last, status, format, arguments);
    va_end(arguments);
    for (int i = 0; i < count; i++)
        hk_error_add_rank(&last, ranks[i]);
    return status;
}
