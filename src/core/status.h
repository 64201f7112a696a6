/* Failures: a status to return and a sentence for this thread's hocket_last_error. */
#ifndef HK_CORE_STATUS_H
#define HK_CORE_STATUS_H

#include <hocket/hocket.h>
#include <stdarg.h>

#define HK_ERROR_TEXT_MAX 1024
#define HK_ERROR_RANKS_MAX 256 /* more ranks at fault than this are counted, not listed */

#if defined(__GNUC__)
#define HK_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define HK_PRINTF(text, first)
#endif

/* A failure that can be kept and handed to another thread. */
typedef struct hk_error {
    hocket_status status;
    int rank_count;
    int ranks[HK_ERROR_RANKS_MAX]; /* at fault, ascending */
    char text[HK_ERROR_TEXT_MAX];
} hk_error;

/* Set this thread's last failure and return its status: `return hk_fail(HOCKET_ERR_INVALID,
 * "...")`. */
hocket_status hk_fail(hocket_status status, const char *format, ...) HK_PRINTF(2, 3);
hocket_status hk_fail_rank(hocket_status status, int rank, const char *format, ...) HK_PRINTF(3, 4);
/* "<what>: <strerror(error)>" as HOCKET_ERR_SYSTEM. */
hocket_status hk_fail_errno(int error, const char *format, ...) HK_PRINTF(2, 3);
hocket_status hk_fail_memory(size_t bytes, const char *what);

/* Puts words before this thread's last text ("hocket_init on rank 2: ...") and returns its status.
 */
hocket_status hk_fail_prefix(const char *format, ...) HK_PRINTF(1, 2);

/* Whether a number that came from outside is one of the failures. */
bool hk_status_is_failure(int64_t code);

/* Fill an error without touching this thread's; hk_fail_with makes it this thread's and returns its
 * status. */
void hk_error_set(hk_error *error, hocket_status status, const char *format, ...) HK_PRINTF(3, 4);
void hk_error_add_rank(hk_error *error, int rank);
bool hk_error_names(const hk_error *error, int rank);
hocket_status hk_fail_with(const hk_error *error);
const hk_error *hk_error_last(void);

#endif
