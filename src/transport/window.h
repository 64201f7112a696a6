/* How much lies unread: bytes counted by (peer, context). A sender keeps one for what it has sent
 * unasked, a receiver one for what it has not yet reported as read. Not thread-safe. */
#ifndef HK_TRANSPORT_WINDOW_H
#define HK_TRANSPORT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_WINDOW_BUCKETS 64

typedef struct hk_window_entry hk_window_entry;
typedef struct hk_window {
    hk_window_entry *buckets[HK_WINDOW_BUCKETS];
} hk_window; /* zeroed is empty */

void hk_window_fini(hk_window *window);

size_t hk_window_count(const hk_window *window, int peer, uint64_t context);

/* False: no memory, nothing counted. */
bool hk_window_add(hk_window *window, int peer, uint64_t context, size_t bytes);

/* Nothing will be counted there any more. */
void hk_window_forget(hk_window *window, int peer, uint64_t context);

/* Counts down, to 0 at the least. */
void hk_window_subtract(hk_window *window, int peer, uint64_t context, size_t bytes);

#endif
