/* The reductions that users made: a table for the whole process. Any thread. */
#ifndef HK_CORE_REDUCE_USER_H
#define HK_CORE_REDUCE_USER_H

#include <hocket/hocket.h>

#include <stdbool.h>

struct hk_user_reduce {
    hocket_reduce_fn fn;
    void *context;
    bool commutative;
};

/* Copies what lives under the handle; false when nothing does. The copy stays good when the handle
 * is freed. */
bool hk_user_reduce_find(hocket_reduce reduce, struct hk_user_reduce *found);

/* What a handle means on this thread while a call that was given it runs: what it meant when the
 * call was made, whoever frees or reuses it meanwhile. user NULL: what the table says. */
struct hk_user_meaning {
    hocket_reduce reduce;
    const struct hk_user_reduce *user; /* the caller's */
};

/* Returns what held before, to be put back. */
struct hk_user_meaning hk_user_reduce_mean(struct hk_user_meaning meaning);

#endif
