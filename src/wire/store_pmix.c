/* PMIx, by its library, which is opened when it is needed: Open MPI's mpirun and `srun --mpi=pmix`
 * are servers of it. The client counts who has initialised it, so MPI and hocket may both, in any
 * order; what is never done is to let the count fall to 0 while MPI may still come, as a second
 * beginning is not served. From the first call on it has a thread of its own.
 *
 * The library is bound by name, so what it is called with is written down here. */
#include "wire/store_kinds.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __APPLE__
#define LIBRARY "libpmix.2.dylib"
#else
#define LIBRARY "libpmix.so.2"
#endif

enum {
    SUCCESS = 0,
    DONE_AT_ONCE = -157, /* what would have called back has ended well already */
    TYPE_BOOL = 1,
    TYPE_STRING = 3,
    TYPE_INT = 6,
    SCOPE_GLOBAL = 3,
    SPACE_MAX = 256,
    KEY_MAX = 512
};
#define EVERY_RANK (UINT32_MAX - 1)
#define LOOK (1 * HK_MILLISECOND) /* between looks for an answer */
#define LOOK_LAST (20 * HK_MILLISECOND)
#define FETCH (10 * HK_SECOND) /* at most, for what the daemon has */

typedef struct process {
    char space[SPACE_MAX];
    uint32_t rank;
} process;

typedef struct value {
    uint16_t type;
    union {
        bool flag;
        int number;
        char *string;
        char room[24];
    } data;
} value;

typedef struct info {
    char key[KEY_MAX];
    uint32_t flags;
    value value;
} info;

typedef void (*ended_fn)(int status, void *context);

/* dlsym's result is data to C; the unions are POSIX's way to functions. */
static struct library {
    union {
        void *symbol;
        int (*call)(process *self, info *infos, size_t count);
    } begin;
    union {
        void *symbol;
        int (*call)(const info *infos, size_t count);
    } end;
    union {
        void *symbol;
        int (*call)(uint8_t scope, const char *key, value *value);
    } put;
    union {
        void *symbol;
        int (*call)(void);
    } commit;
    union {
        void *symbol;
        int (*call)(const process *who, size_t count, const info *infos, size_t info_count,
                    ended_fn ended, void *context);
    } fence;
    union {
        void *symbol;
        int (*call)(const process *who, const char *key, const info *infos, size_t count,
                    value **found);
    } get;
    union {
        void *symbol;
        const char *(*call)(int status);
    } text;
} pmix;

static bool begun;
static process self;

static hocket_status fail_call(const char *what, int status)
{
    return hk_fail(HOCKET_ERR_UNAVAILABLE, "%s fails: %s (%d)", what, pmix.text.call(status),
                   status);
}

static hocket_status load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL); /* it stays: it has a thread */
    if (library == NULL) {
        const char *reason = dlerror();
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "%s does not load: %s", LIBRARY,
                       reason != NULL ? reason : "it is not here");
    }
    const struct {
        const char *name;
        void **symbol;
    } names[] = {{"PMIx_Init", &pmix.begin.symbol},       {"PMIx_Finalize", &pmix.end.symbol},
                 {"PMIx_Put", &pmix.put.symbol},          {"PMIx_Commit", &pmix.commit.symbol},
                 {"PMIx_Fence_nb", &pmix.fence.symbol},   {"PMIx_Get", &pmix.get.symbol},
                 {"PMIx_Error_string", &pmix.text.symbol}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *names[i].symbol = dlsym(library, names[i].name);
        if (*names[i].symbol == NULL)
            return hk_fail(HOCKET_ERR_UNAVAILABLE, "%s has no %s", LIBRARY, names[i].name);
    }
    return HOCKET_OK;
}

/* The library waits here for the launcher's daemon on this host, by its own limits. */
static hocket_status begin(int rank)
{
    hocket_status status = begun ? HOCKET_OK : load();
    if (status != HOCKET_OK)
        return status;
    int code = begun ? SUCCESS : pmix.begin.call(&self, NULL, 0);
    if (code != SUCCESS)
        return fail_call("PMIx_Init", code);
    begun = true;
    hk_store_joined();
    if (self.rank != (uint32_t)rank)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "PMIx takes rank %d for rank %u", rank, self.rank);
    return HOCKET_OK;
}

static info make_flag(const char *key)
{
    info flag = {.value = {.type = TYPE_BOOL, .data = {.flag = true}}};
    snprintf(flag.key, sizeof flag.key, "%s", key);
    return flag;
}

/* === Words ==================================================================================== */

static void free_value(value *found)
{
    if (found != NULL && found->type == TYPE_STRING)
        free(found->data.string);
    free(found);
}

/* Looks at what is here already, after a fence has brought it. */
static hocket_status get_last(int *next, char word[HK_WORD_MAX])
{
    char key[HK_STORE_KEY_MAX];
    process first = self;
    info here = make_flag("pmix.optional");
    hocket_status status = HOCKET_OK;
    first.rank = 0;
    word[0] = '\0';
    for (*next = 1; *next <= HK_WORDS_MAX && status == HOCKET_OK; ++*next) {
        value *found = NULL;
        hk_store_key(*next, key);
        if (pmix.get.call(&first, key, &here, 1, &found) != SUCCESS || found == NULL)
            return HOCKET_OK;
        if (found->type != TYPE_STRING || found->data.string == NULL)
            status = hk_fail(HOCKET_ERR_PROTOCOL, "the word there is no text");
        else
            status = hk_store_take(found->data.string, word);
        free_value(found);
    }
    if (status == HOCKET_OK)
        status = hk_fail(HOCKET_ERR_UNAVAILABLE, "there are too many words: %d", HK_WORDS_MAX);
    return status;
}

/* Has the launcher's daemon on this host send what rank 0 has put: seen on a busy machine, if
 * rarely, the fence is over and nothing is here. */
static void fetch(hk_time deadline)
{
    char key[HK_STORE_KEY_MAX];
    process first = self;
    value *found = NULL;
    info limit = {.key = "pmix.timeout", .value = {.type = TYPE_INT}};
    hk_time left = hk_deadline_left(deadline);
    limit.value.data.number = 1 + (int)((left < FETCH ? left : FETCH) / HK_SECOND);
    first.rank = 0;
    hk_store_key(1, key);
    pmix.get.call(&first, key, &limit, 1, &found); /* where it fails, there is no word either */
    free_value(found);
}

static hocket_status put(const char *word)
{
    char key[HK_STORE_KEY_MAX], last[HK_WORD_MAX], copy[HK_WORD_MAX];
    int next;
    hocket_status status = get_last(&next, last);
    if (status != HOCKET_OK)
        return status;
    hk_store_key(next, key);
    snprintf(copy, sizeof copy, "%s", word);
    value mine = {.type = TYPE_STRING, .data = {.string = copy}};
    int code = pmix.put.call(SCOPE_GLOBAL, key, &mine);
    if (code == SUCCESS)
        code = pmix.commit.call();
    return code == SUCCESS ? HOCKET_OK : fail_call("PMIx_Put", code);
}

/* === The fence ================================================================================ */

/* Of one fence: who is the last of both to be done with it gives it back. */
typedef struct ending {
    atomic_int status, holders;
    atomic_bool over;
} ending;

static void let_go(ending *one)
{
    if (atomic_fetch_sub(&one->holders, 1) == 1)
        free(one);
}

static void on_end(int status, void *context)
{
    ending *one = context;
    atomic_store(&one->status, status);
    atomic_store(&one->over, true);
    let_go(one);
}

static hocket_status await(ending *one, hk_time deadline)
{
    hk_time pause = LOOK;
    while (!atomic_load(&one->over)) {
        if (hk_deadline_left(deadline) == 0)
            return hk_fail(HOCKET_ERR_TIMEOUT, "not all ranks have come to its fence");
        struct timespec nap = {.tv_sec = 0, .tv_nsec = (long)pause};
        nanosleep(&nap, NULL);
        pause = pause * 2 < LOOK_LAST ? pause * 2 : LOOK_LAST;
    }
    int code = atomic_load(&one->status);
    return code == SUCCESS ? HOCKET_OK : fail_call("PMIx_Fence", code);
}

/* All ranks come together, and what each has put goes to all. */
static hocket_status meet(hk_time deadline)
{
    process all = self;
    info collect = make_flag("pmix.collect");
    all.rank = EVERY_RANK;
    ending *one = calloc(1, sizeof *one);
    if (one == NULL)
        return hk_fail_memory(sizeof *one, "a fence");
    atomic_store(&one->holders, 2);
    int code = pmix.fence.call(&all, 1, &collect, 1, on_end, one);
    hocket_status status = HOCKET_OK;
    if (code == SUCCESS) {
        status = await(one, deadline);
    } else {
        let_go(one); /* nobody calls back */
        if (code != DONE_AT_ONCE)
            status = fail_call("PMIx_Fence", code);
    }
    let_go(one);
    return status;
}

/* ============================================================================================== */

hocket_status hk_pmix_exchange(int rank, const char *mine, hk_time deadline, char word[HK_WORD_MAX])
{
    int next;
    hocket_status status = begin(rank);
    if (status == HOCKET_OK && mine != NULL)
        status = put(mine);
    if (status == HOCKET_OK)
        status = meet(deadline);
    if (status == HOCKET_OK)
        status = get_last(&next, word);
    if (status == HOCKET_OK && word[0] == '\0') {
        fetch(deadline);
        status = get_last(&next, word);
    }
    if (status == HOCKET_OK && word[0] == '\0')
        return hk_fail(HOCKET_ERR_PROTOCOL, "rank 0 has left no word");
    return status;
}

/* MPI has a count of its own. */
void hk_pmix_leave(void)
{
    if (begun)
        pmix.end.call(NULL, 0);
    begun = false;
}
