#include "transport/history.h"

#include <string.h>

_Static_assert(sizeof(hk_what) % sizeof(uint64_t) == 0, "an entry is made of whole words");

/* Releases, so that none is seen before the odd version, and the even one not before any. */
static void put(_Atomic uint64_t *to, const void *from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, (const char *)from + i * sizeof word, sizeof word);
        atomic_store_explicit(&to[i], word, memory_order_release);
    }
}

static void get(const _Atomic uint64_t *from, void *to, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word = atomic_load_explicit(&from[i], memory_order_acquire);
        memcpy((char *)to + i * sizeof word, &word, sizeof word);
    }
}

void hk_history_add(hk_history *history, const hk_what *what)
{
    hk_entry *entry = &history->entries[what->number % HK_HISTORY];
    uint32_t version = atomic_load_explicit(&entry->version, memory_order_relaxed);
    atomic_store_explicit(&entry->version, version + 1, memory_order_relaxed);
    put(entry->words, what, HK_WHAT_WORDS);
    if (what->listed > 0)
        put(entry->shown, what->shown, HK_WHAT_SHOWN);
    atomic_store_explicit(&entry->version, version + 2, memory_order_release);
    if (what->number != HK_NUMBER_OPENING)
        atomic_store_explicit(&history->begun, what->number, memory_order_release);
}

uint64_t hk_history_begun(const hk_history *history)
{
    return atomic_load_explicit(&history->begun, memory_order_acquire);
}

/* An entry that is being written is soon another collective's, or the reader's own: either way
 * there is an answer after a few looks. */
bool hk_history_find(const hk_history *history, uint64_t number, hk_what *what,
                     int64_t shown[HK_WHAT_SHOWN])
{
    const hk_entry *entry = &history->entries[number % HK_HISTORY];
    uint32_t before, after;
    do {
        before = atomic_load_explicit(&entry->version, memory_order_acquire);
        get(entry->words, what, HK_WHAT_WORDS);
        get(entry->shown, shown, HK_WHAT_SHOWN);
        after = atomic_load_explicit(&entry->version, memory_order_relaxed);
    } while (before != after || before % 2 != 0);
    what->shown = shown;
    return before != 0 && what->number == number;
}
