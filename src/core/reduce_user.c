#include "core/reduce_user.h"

#include "core/reduce.h"
#include "core/status.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hk_user_reduce table[HK_REDUCE_USER_MAX]; /* free where fn is NULL */
static _Thread_local struct hk_user_meaning meaning;

/* The handle's place in the table, or NULL for a number that can be none. */
static struct hk_user_reduce *slot_of(hocket_reduce reduce)
{
    const long long index = (long long)reduce - HOCKET_REDUCE_USER;
    return index >= 0 && index < HK_REDUCE_USER_MAX ? &table[index] : NULL;
}

hocket_status hocket_reduce_create(hocket_reduce_fn fn, void *context, bool commutative,
                                   hocket_reduce *reduce)
{
    if (fn == NULL || reduce == NULL) {
        return hk_fail(HOCKET_ERR_INVALID, "hocket_reduce_create: %s is NULL",
                       fn == NULL ? "the function" : "the place for the new reduction");
    }
    /* The lowest free number: ranks that create and free in the same order agree on them. */
    int index = 0;
    pthread_mutex_lock(&lock);
    while (index < HK_REDUCE_USER_MAX && table[index].fn != NULL) {
        index++;
    }
    if (index < HK_REDUCE_USER_MAX) {
        table[index] = (struct hk_user_reduce){fn, context, commutative};
    }
    pthread_mutex_unlock(&lock);
    if (index == HK_REDUCE_USER_MAX) {
        return hk_fail(HOCKET_ERR_NO_MEMORY,
                       "hocket_reduce_create: %d reductions live already, which is the limit; free "
                       "those that are done with hocket_reduce_free",
                       HK_REDUCE_USER_MAX);
    }
    *reduce = (hocket_reduce)(HOCKET_REDUCE_USER + index);
    return HOCKET_OK;
}

void hocket_reduce_free(hocket_reduce reduce)
{
    struct hk_user_reduce *slot = slot_of(reduce);
    if (slot == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    *slot = (struct hk_user_reduce){0};
    pthread_mutex_unlock(&lock);
}

struct hk_user_meaning hk_user_reduce_mean(struct hk_user_meaning new)
{
    struct hk_user_meaning before = meaning;
    meaning = new;
    return before;
}

bool hk_user_reduce_find(hocket_reduce reduce, struct hk_user_reduce *found)
{
    if (meaning.user != NULL && meaning.reduce == reduce) {
        *found = *meaning.user;
        return true;
    }
    const struct hk_user_reduce *slot = slot_of(reduce);
    if (slot == NULL) {
        return false;
    }
    pthread_mutex_lock(&lock);
    *found = *slot;
    pthread_mutex_unlock(&lock);
    return found->fn != NULL;
}
