#include "transport/window.h"

#include <stdlib.h>

struct hk_window_entry {
    hk_window_entry *next;
    uint64_t context;
    int peer;
    size_t bytes;
};

static hk_window_entry **find(const hk_window *window, int peer, uint64_t context)
{
    uint64_t hash = (context ^ (uint64_t)(unsigned)peer) * UINT64_C(0x9E3779B97F4A7C15);
    hk_window_entry **link = (hk_window_entry **)&window->buckets[(hash >> 32) % HK_WINDOW_BUCKETS];
    while (*link != NULL && ((*link)->peer != peer || (*link)->context != context))
        link = &(*link)->next;
    return link;
}

size_t hk_window_count(const hk_window *window, int peer, uint64_t context)
{
    const hk_window_entry *entry = *find(window, peer, context);
    return entry != NULL ? entry->bytes : 0;
}

bool hk_window_add(hk_window *window, int peer, uint64_t context, size_t bytes)
{
    hk_window_entry **link = find(window, peer, context);
    if (*link == NULL) {
        if ((*link = calloc(1, sizeof **link)) == NULL)
            return false;
        (*link)->peer = peer;
        (*link)->context = context;
    }
    (*link)->bytes += bytes;
    return true;
}

void hk_window_subtract(hk_window *window, int peer, uint64_t context, size_t bytes)
{
    hk_window_entry *entry = *find(window, peer, context);
    if (entry != NULL)
        entry->bytes -= bytes < entry->bytes ? bytes : entry->bytes;
}

void hk_window_forget(hk_window *window, int peer, uint64_t context)
{
    hk_window_entry **link = find(window, peer, context), *entry = *link;
    if (entry == NULL)
        return;
    *link = entry->next;
    free(entry);
}

void hk_window_fini(hk_window *window)
{
    for (int i = 0; i < HK_WINDOW_BUCKETS; i++) {
        while (window->buckets[i] != NULL) {
            hk_window_entry *entry = window->buckets[i];
            window->buckets[i] = entry->next;
            free(entry);
        }
    }
}
