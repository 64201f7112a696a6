/* libibverbs (on macOS librdma), opened when something of it is asked for, so that hocket runs
 * where it is not; and its failures in words. No other file knows how the library comes here. */
#ifndef HK_TRANSPORT_VERBS_LIBRARY_H
#define HK_TRANSPORT_VERBS_LIBRARY_H

#include "core/status.h"
#include "transport/verbs/abi.h"

/* The functions have the library's names, less ibv_. Posting and polling are no symbols: they go
 * through hk_ibv_context.ops. */
typedef struct hk_verbs_library {
    hk_ibv_device **(*get_device_list)(int *count); /* NULL with errno */
    void (*free_device_list)(hk_ibv_device **list);
    const char *(*get_device_name)(hk_ibv_device *device);
    hk_ibv_context *(*open_device)(hk_ibv_device *device); /* NULL with errno, as all that make */
    int (*close_device)(hk_ibv_context *context);
    int (*query_device)(hk_ibv_context *context, hk_ibv_device_attr *attr);
    int (*query_port)(hk_ibv_context *context, uint8_t port, hk_ibv_port_attr *attr);
    int (*query_gid)(hk_ibv_context *context, uint8_t port, int index, hk_ibv_gid *gid);
    hk_ibv_pd *(*alloc_pd)(hk_ibv_context *context);
    int (*dealloc_pd)(hk_ibv_pd *pd);
    hk_ibv_mr *(*reg_mr)(hk_ibv_pd *pd, void *address, size_t bytes, int access);
    int (*dereg_mr)(hk_ibv_mr *mr);
    hk_ibv_cq *(*create_cq)(hk_ibv_context *context, int entries, void *cq_context,
                            hk_ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(hk_ibv_cq *cq);
    hk_ibv_qp *(*create_qp)(hk_ibv_pd *pd, hk_ibv_qp_init_attr *attr);
    int (*modify_qp)(hk_ibv_qp *qp, hk_ibv_qp_attr *attr, int mask);
    int (*query_qp)(hk_ibv_qp *qp, hk_ibv_qp_attr *attr, int mask, hk_ibv_qp_init_attr *init);
    int (*destroy_qp)(hk_ibv_qp *qp);

    /* NULL where the library lacks them, each group whole: without a channel who waits naps. */
    hk_ibv_comp_channel *(*create_comp_channel)(hk_ibv_context *context);
    int (*destroy_comp_channel)(hk_ibv_comp_channel *channel);
    int (*get_cq_event)(hk_ibv_comp_channel *channel, hk_ibv_cq **cq, void **cq_context);
    void (*ack_cq_events)(hk_ibv_cq *cq, unsigned count);

    int (*get_async_event)(hk_ibv_context *context, hk_ibv_async_event *event);
    void (*ack_async_event)(hk_ibv_async_event *event);

    /* Its symbol begins with an underscore. */
    int (*query_gid_ex)(hk_ibv_context *context, uint32_t port, uint32_t index,
                        hk_ibv_gid_entry *entry, uint32_t flags, size_t entry_bytes);
} hk_verbs_library;

/* Opens the library on the first call: the file that HOCKET_VERBS_LIBRARY names, else
 * libibverbs.so.1 or librdma.dylib. It stays open. UNAVAILABLE says why it does not load; the
 * answer is kept. */
hocket_status hk_verbs_library_open(const hk_verbs_library **library);

/* Its path or name, as it was opened or tried. */
const char *hk_verbs_library_name(void);

/* What a call that returned `result` (not 0) means: the errno. */
int hk_verbs_errno(int result);

/* Where a device was being used: for the texts. Unknown numbers are -1. */
typedef struct hk_verbs_place {
    const char *device;
    int port, gid_index;
    int peer; /* a rank, or -1 */
} hk_verbs_place;

/* The steps on the way to a working queue pair, and after. */
typedef enum hk_verbs_step {
    HK_VERBS_OPEN_DEVICE,
    HK_VERBS_QUERY,
    HK_VERBS_ALLOC_PD,
    HK_VERBS_REGISTER,
    HK_VERBS_CREATE_CHANNEL,
    HK_VERBS_CREATE_CQ,
    HK_VERBS_CREATE_QP,
    HK_VERBS_TO_INIT,
    HK_VERBS_TO_RTR,
    HK_VERBS_TO_RTS,
    HK_VERBS_POST_RECV,
    HK_VERBS_POST_SEND,
    HK_VERBS_POLL,
    HK_VERBS_STEPS
} hk_verbs_step;

/* HOCKET_ERR_SYSTEM: "device rxe1, port 1, GID index 3, to rank 2: moving the queue pair to RTR:
 * Invalid argument (errno 22); <the likely cure>". */
hocket_status hk_verbs_fail(hk_verbs_step step, const hk_verbs_place *place, int error);

/* "retries exhausted: the other end does not answer", of a completion's status. */
const char *hk_verbs_wc_text(uint32_t status);

/* A status that comes of this rank's device or memory, whatever the peer does. */
bool hk_verbs_wc_is_own(uint32_t status);

#endif
