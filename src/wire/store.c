#include "wire/store.h"

#include "core/mpi_life.h"
#include "wire/store_kinds.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    hk_store_fn *exchange;
    void (*leave)(void);
} kinds[] = {
    [HK_STORE_PMI] = {"PMI", hk_pmi_exchange, hk_pmi_leave},
    [HK_STORE_PMIX] = {"PMIx", hk_pmix_exchange, hk_pmix_leave},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hk_store_kind current; /* whose turn it is, for those called below */
static pid_t joined;
static bool broken; /* an answer is still due, which the next question would take for its own */

/* === For the kinds ============================================================================ */

bool hk_store_is_ours(void)
{
    return joined == getpid();
}

static void leave(void)
{
    if (hk_store_is_ours() && !broken)
        kinds[current].leave();
}

void hk_store_joined(void)
{
    static bool registered; /* a child has its parent's farewell */
    registered = registered || atexit(leave) == 0;
    joined = getpid();
}

hocket_status hk_store_take(const char *found, char word[HK_WORD_MAX])
{
    size_t length = strnlen(found, HK_WORD_MAX);
    if (length == HK_WORD_MAX)
        return hk_fail(HOCKET_ERR_PROTOCOL, "the word there is too long");
    memcpy(word, found, length + 1);
    return HOCKET_OK;
}

void hk_store_key(int number, char key[HK_STORE_KEY_MAX])
{
    snprintf(key, HK_STORE_KEY_MAX, "hocket-%d", number);
}

/* ============================================================================================== */

const char *hk_store_name(hk_store_kind kind)
{
    return kinds[kind].name;
}

static hocket_status exchange(hk_store_kind kind, int rank, const char *mine, hk_time deadline,
                              char word[HK_WORD_MAX])
{
    if (broken)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "an earlier hocket_init has given up waiting for an answer there");
    if (hk_mpi_look() == HK_MPI_OVER)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "MPI has been finalised, and with it the store");
    current = kind;
    hocket_status status = kinds[kind].exchange(rank, mine, deadline, word);
    broken = status == HOCKET_ERR_TIMEOUT || status == HOCKET_ERR_PROTOCOL;
    return status;
}

hocket_status hk_store_exchange(hk_store_kind kind, int rank, const char *mine, hk_time deadline,
                                char word[HK_WORD_MAX])
{
    pthread_mutex_lock(&lock);
    hocket_status status = exchange(kind, rank, mine, deadline, word);
    pthread_mutex_unlock(&lock);
    return status;
}
