#include "transport/what.h"

#include "core/dtype.h"
#include "core/reduce.h"
#include <stdio.h>

static const char *const names[HK_OPERATIONS] = {
    [HK_ALL_REDUCE] = "all_reduce",
    [HK_ALL_GATHER] = "all_gather",
    [HK_ALL_GATHER_V] = "all_gather_v",
    [HK_REDUCE_SCATTER] = "reduce_scatter",
    [HK_REDUCE_SCATTER_V] = "reduce_scatter_v",
    [HK_BROADCAST] = "broadcast",
    [HK_REDUCE_TO] = "reduce_to",
    [HK_GATHER] = "gather",
    [HK_SCATTER] = "scatter",
    [HK_ALL_TO_ALL] = "all_to_all",
    [HK_ALL_TO_ALL_V] = "all_to_all_v",
    [HK_PERMUTE] = "permute",
    [HK_BARRIER] = "barrier",
    [HK_SPLIT] = "split",
    [HK_RELAY] = "relay",
    [HK_INIT] = "init",
    [HK_OPEN] = "opening of the new group",
    [HK_SEND_BYTES] = "send_bytes",
    [HK_RECV_BYTES] = "recv_bytes",
    [HK_RECV_INTO] = "recv_into",
    [HK_PROBE] = "probe",
};

const char *hk_operation_name(hk_operation operation)
{
    return names[operation];
}

void hk_what_print(const hk_what *what, char *text, size_t size)
{
    size_t used = 0;
#define APPEND(...)                                                                                \
    do {                                                                                           \
        if (used < size)                                                                           \
            used += (size_t)snprintf(text + used, size - used, __VA_ARGS__);                       \
    } while (0)
    APPEND("%s", names[hk_what_operation(what)]);
    if (what->number == HK_NUMBER_OPENING)
        return;
    if (what->number > 0)
        APPEND(" #%llu", (unsigned long long)what->number);
    else
        APPEND(" (tag %zu)", what->count);
    if (hk_what_operation(what) == HK_RELAY)
        APPEND(" (%zu batch%s)", what->count, what->count == 1 ? "" : "es");
    if (hk_what_dtype(what) < 0)
        return;
    APPEND(" (%s", hk_dtype_name((hocket_dtype)hk_what_dtype(what)));
    if (hk_what_reduce(what) >= 0)
        APPEND(" %s", hk_reduce_name((hocket_reduce)hk_what_reduce(what)));
    if (what->count > 0 || what->more == 0)
        APPEND(", %zu elements", what->count);
    if (hk_what_root(what) >= 0)
        APPEND(", root %d", hk_what_root(what));
    for (int i = 0; i < what->listed && i < HK_WHAT_SHOWN; i++)
        APPEND("%s%lld",
               i > 0                                   ? ", "
               : hk_what_operation(what) == HK_PERMUTE ? ", to "
                                                       : ", counts ",
               (long long)what->shown[i]);
    if (what->listed > HK_WHAT_SHOWN)
        APPEND(" and %d more, hash %08x", what->listed - HK_WHAT_SHOWN,
               (unsigned)(what->more >> 32));
    APPEND(")");
#undef APPEND
}
