/* The last collectives that this rank has begun on a group, for whoever asks what it is in.
 *
 * Every collective makes an entry, and a lock would be a fifth of a short one. So there is none:
 * one thread writes, the one whose turn it is on the group, and any may read meanwhile. An entry
 * has a version, which is odd while it is written; who reads looks at it before and after. */
#ifndef HK_TRANSPORT_HISTORY_H
#define HK_TRANSPORT_HISTORY_H

#include "transport/what.h"
#include <stdatomic.h>
#include <stdbool.h>

#define HK_HISTORY 64 /* entries: collective n is at n % HK_HISTORY */
#define HK_WHAT_WORDS (sizeof(hk_what) / sizeof(uint64_t))

typedef struct hk_entry {
    _Atomic uint32_t version;
    _Atomic uint64_t words[HK_WHAT_WORDS], shown[HK_WHAT_SHOWN];
} hk_entry;

typedef struct hk_history { /* zeroed: empty */
    _Atomic uint64_t begun; /* the last */
    hk_entry entries[HK_HISTORY];
} hk_history;

/* It becomes the last begun, unless it opens the group. */
void hk_history_add(hk_history *history, const hk_what *what);

uint64_t hk_history_begun(const hk_history *history);

/* The collective of that number, with room for what it shows. False: it was not begun here, or long
 * ago. */
bool hk_history_find(const hk_history *history, uint64_t number, hk_what *what,
                     int64_t shown[HK_WHAT_SHOWN]);

#endif
