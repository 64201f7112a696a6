#include "transport/verbs/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#define LIBRARY_FILE "librdma.dylib"
#define LIBRARY_CURE "it comes with macOS 26.2 on Macs with Thunderbolt 5"
#else
#define LIBRARY_FILE "libibverbs.so.1"
#define LIBRARY_CURE "Debian has it in libibverbs1, the drivers in ibverbs-providers"
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static hk_verbs_library functions;
static bool loaded;
static hk_error failure;

const char *hk_verbs_library_name(void)
{
    const char *chosen = getenv("HOCKET_VERBS_LIBRARY");
    return chosen != NULL && chosen[0] != '\0' ? chosen : LIBRARY_FILE;
}

/* === Loading ================================================================================== */

typedef struct symbol {
    const char *name;
    void *slot; /* a pointer to a function */
    int group;  /* 0: must be there; others are there whole or not at all */
} symbol;

#define GROUPS 4
#define SYMBOL(function, group)                                                                    \
    {                                                                                              \
        "ibv_" #function, &functions.function, group                                               \
    }

static const symbol symbols[] = {
    SYMBOL(get_device_list, 0),
    SYMBOL(free_device_list, 0),
    SYMBOL(get_device_name, 0),
    SYMBOL(open_device, 0),
    SYMBOL(close_device, 0),
    SYMBOL(query_device, 0),
    SYMBOL(query_port, 0),
    SYMBOL(query_gid, 0),
    SYMBOL(alloc_pd, 0),
    SYMBOL(dealloc_pd, 0),
    SYMBOL(reg_mr, 0),
    SYMBOL(dereg_mr, 0),
    SYMBOL(create_cq, 0),
    SYMBOL(destroy_cq, 0),
    SYMBOL(create_qp, 0),
    SYMBOL(modify_qp, 0),
    SYMBOL(query_qp, 0),
    SYMBOL(destroy_qp, 0),
    SYMBOL(create_comp_channel, 1),
    SYMBOL(destroy_comp_channel, 1),
    SYMBOL(get_cq_event, 1),
    SYMBOL(ack_cq_events, 1),
    SYMBOL(get_async_event, 2),
    SYMBOL(ack_async_event, 2),
    {"_ibv_query_gid_ex", &functions.query_gid_ex, 3},
};

/* dlsym's result is data to C; copying the pointer is POSIX's way to a function. */
static bool find(void *library, const symbol *one)
{
    void *found = dlsym(library, one->name);
    memcpy(one->slot, &found, sizeof found);
    return found != NULL;
}

static void forget_group(int group)
{
    const void *none = NULL;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (symbols[i].group == group)
            memcpy(symbols[i].slot, &none, sizeof none);
}

static void load(void)
{
    const char *name = hk_verbs_library_name();
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        hk_error_set(&failure, HOCKET_ERR_UNAVAILABLE, "%.256s does not load: %.256s; %s", name,
                     dlerror(), LIBRARY_CURE);
        return;
    }
    bool lacks[GROUPS] = {false};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        if (find(library, &symbols[i]))
            continue;
        lacks[symbols[i].group] = true;
        if (symbols[i].group > 0)
            continue;
        hk_error_set(&failure, HOCKET_ERR_UNAVAILABLE,
                     "%.256s has no function %s: it is not a libibverbs, or too old", name,
                     symbols[i].name);
        dlclose(library);
        return;
    }
    for (int group = 1; group < GROUPS; group++)
        if (lacks[group])
            forget_group(group);
    loaded = true;
}

hocket_status hk_verbs_library_open(const hk_verbs_library **library)
{
    pthread_once(&once, load);
    *library = &functions;
    return loaded ? HOCKET_OK : hk_fail_with(&failure);
}

/* === Failures in words ======================================================================== */

int hk_verbs_errno(int result)
{
    if (result > 0)
        return result;
    return errno != 0 ? errno : EIO;
}

static const char *const step_texts[HK_VERBS_STEPS] = {
    [HK_VERBS_OPEN_DEVICE] = "opening it",
    [HK_VERBS_QUERY] = "asking what it has",
    [HK_VERBS_ALLOC_PD] = "making a protection domain",
    [HK_VERBS_REGISTER] = "registering memory",
    [HK_VERBS_CREATE_CHANNEL] = "making a channel for completions",
    [HK_VERBS_CREATE_CQ] = "making a completion queue",
    [HK_VERBS_CREATE_QP] = "making a queue pair",
    [HK_VERBS_TO_INIT] = "moving the queue pair to INIT",
    [HK_VERBS_TO_RTR] = "moving the queue pair to RTR",
    [HK_VERBS_TO_RTS] = "moving the queue pair to RTS",
    [HK_VERBS_POST_RECV] = "posting a receive",
    [HK_VERBS_POST_SEND] = "posting a send",
    [HK_VERBS_POLL] = "asking for completions",
};

/* From what people have met; -1 is any step or errno. The first row that fits. */
static const struct {
    int step, error;
    const char *cure;
} cures[] = {
    {HK_VERBS_OPEN_DEVICE, EACCES, "this user may not use /dev/infiniband/*"},
    {HK_VERBS_OPEN_DEVICE, EPERM, "this user may not use /dev/infiniband/*"},
    {HK_VERBS_OPEN_DEVICE, ENOENT, "is the module ib_uverbs loaded?"},
    {HK_VERBS_REGISTER, ENOMEM,
     "either the limit of locked memory is too low (ulimit -l) or the device has no region left "
     "(Apple's have about 100)"},
    {HK_VERBS_REGISTER, EAGAIN, "the limit of locked memory is too low (ulimit -l)"},
    {HK_VERBS_REGISTER, EFAULT, "the memory is not there, or cannot be written"},
    {HK_VERBS_REGISTER, EBUSY, "the device has no region left (Apple's have about 100)"},
    {HK_VERBS_CREATE_QP, EBUSY,
     "the device has no queue pair left (Apple's have 10); another job may hold them, or one that "
     "ended badly: replug the cable, or restart the machine"},
    {HK_VERBS_CREATE_QP, ENOMEM,
     "the device has no queue pair left, or the limit of locked memory is too low (ulimit -l)"},
    {HK_VERBS_CREATE_QP, EINVAL, "the device does not make this kind, or not queues of this depth"},
    {HK_VERBS_CREATE_QP, EOPNOTSUPP,
     "the device does not make this kind of queue pair (HOCKET_VERBS_KIND)"},
    {HK_VERBS_CREATE_CQ, EINVAL, "the device has no completion queue of this depth"},
    {HK_VERBS_TO_RTR, EINVAL,
     "the GID is most likely not one from which the peer's can be reached: do both devices have "
     "an address, and of the same kind (`hocket doctor` lists them)? On a Mac: is the Thunderbolt "
     "bridge off, and does the port's interface have an IPv4 address?"},
    {HK_VERBS_TO_RTR, ETIMEDOUT,
     "the peer's address is not found: are the two ports cabled to each other?"},
    {HK_VERBS_TO_RTR, ENETUNREACH, "there is no route from this device's address to the peer's"},
    {HK_VERBS_TO_RTR, EHOSTUNREACH, "there is no route from this device's address to the peer's"},
    {HK_VERBS_TO_RTR, ENODEV, "the port's network interface is down or gone"},
    {-1, EINVAL, "the driver refuses the parameters"},
    {-1, ENODEV, "the device has gone"},
    {-1, EIO, "the device has gone, or has failed"},
    {-1, ENOMEM, "the device or the limit of locked memory (ulimit -l) leaves no room"},
    {-1, EOPNOTSUPP, "the device or its driver does not do that"},
    {-1, -1, "see the system's log for what the driver says"},
};

static const char *cure_for(hk_verbs_step step, int error)
{
    size_t i = 0;
    while ((cures[i].step != -1 && cures[i].step != (int)step) ||
           (cures[i].error != -1 && cures[i].error != error))
        i++;
    return cures[i].cure;
}

static void describe(const hk_verbs_place *place, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "device %s", place->device);
    if (place->port >= 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, ", port %d", place->port);
    if (place->gid_index >= 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, ", GID index %d", place->gid_index);
    if (place->peer >= 0 && used < size)
        snprintf(text + used, size - used, ", to rank %d", place->peer);
}

hocket_status hk_verbs_fail(hk_verbs_step step, const hk_verbs_place *place, int error)
{
    char where[160];
    describe(place, where, sizeof where);
    return hk_fail(HOCKET_ERR_SYSTEM, "%s: %s: %s (errno %d); %s", where, step_texts[step],
                   strerror(error), error, cure_for(step, error));
}

const char *hk_verbs_wc_text(uint32_t status)
{
    switch (status) {
    case HK_IBV_WC_SUCCESS: return "success";
    case HK_IBV_WC_LOC_LEN_ERR: return "local length error: a message did not fit its receive";
    case HK_IBV_WC_LOC_QP_OP_ERR:
        return "local queue pair error: the device cannot send; is the cable out?";
    case HK_IBV_WC_LOC_PROT_ERR: return "local protection error: the memory is not registered";
    case HK_IBV_WC_WR_FLUSH_ERR: return "flushed: the queue pair had failed before";
    case HK_IBV_WC_BAD_RESP_ERR: return "bad response";
    case HK_IBV_WC_LOC_ACCESS_ERR: return "local access error";
    case HK_IBV_WC_REM_INV_REQ_ERR: return "the other end calls the request invalid";
    case HK_IBV_WC_REM_ACCESS_ERR: return "remote access error: the memory there is not registered";
    case HK_IBV_WC_REM_OP_ERR: return "the other end could not do it";
    case HK_IBV_WC_RETRY_EXC_ERR: return "retries exhausted: the other end does not answer";
    case HK_IBV_WC_RNR_RETRY_EXC_ERR:
        return "retries exhausted: the other end has no receive posted";
    case HK_IBV_WC_REM_ABORT_ERR: return "aborted by the other end";
    case HK_IBV_WC_FATAL_ERR: return "fatal error of the device";
    case HK_IBV_WC_RESP_TIMEOUT_ERR: return "no response in time";
    case HK_IBV_WC_GENERAL_ERR: return "general error";
    default: return "an error that hocket does not know";
    }
}

bool hk_verbs_wc_is_own(uint32_t status)
{
    return status == HK_IBV_WC_LOC_QP_OP_ERR || status == HK_IBV_WC_LOC_PROT_ERR ||
           status == HK_IBV_WC_LOC_ACCESS_ERR || status == HK_IBV_WC_FATAL_ERR;
}
