/* An RDMA device in memory, for targets on src/transport/verbs/: it takes what is posted, keeps it
 * until the target takes it off, and checks that hocket posts nothing that a device could choke on.
 */
#ifndef FUZZ_DEVICE_H
#define FUZZ_DEVICE_H

#include "input.h"
#include "transport/verbs/queue.h"

#include <errno.h>

enum { FUZZ_POSTS_MAX = 128, FUZZ_MTU_LEAST = 1, FUZZ_MTU_MOST = 5 };

typedef struct fuzz_posts { /* in order */
    int count;
    uint64_t ids[FUZZ_POSTS_MAX];
} fuzz_posts;

typedef struct fuzz_pair {
    hk_ibv_qp qp; /* first */
    fuzz_posts sends, receives;
    uint32_t peer, mtu;
} fuzz_pair;

/* One of them at a time: what libibverbs hands on names no owner that could be ours. */
static struct fuzz_device {
    hk_ibv_context context;
    hk_ibv_pd pd;
    hk_ibv_cq cq;
    int pairs, regions; /* that have been made and not ended */
    int calls_left;     /* before the device refuses; below 0: it never does */
    bool down;          /* its port */
} fuzz_device;

static inline bool fuzz_refuses(void)
{
    if (fuzz_device.calls_left > 0)
        fuzz_device.calls_left--;
    errno = fuzz_device.calls_left == 0 ? ENOMEM : 0;
    return fuzz_device.calls_left == 0;
}

/* === What the library has ===================================================================== */

static int fuzz_close_device(hk_ibv_context *context)
{
    FUZZ_CHECK(context == &fuzz_device.context);
    return 0;
}

static int fuzz_query_port(hk_ibv_context *context, uint8_t port, hk_ibv_port_attr *attr)
{
    FUZZ_CHECK(context == &fuzz_device.context && port == 1);
    attr->state = fuzz_device.down ? HK_IBV_PORT_DOWN : HK_IBV_PORT_ACTIVE;
    return 0;
}

static int fuzz_dealloc_pd(hk_ibv_pd *pd)
{
    FUZZ_CHECK(pd == &fuzz_device.pd);
    return 0;
}

static hk_ibv_mr *fuzz_reg_mr(hk_ibv_pd *pd, void *address, size_t bytes, int access)
{
    FUZZ_CHECK(pd == &fuzz_device.pd && access != 0 && bytes > 0);
    hk_ibv_mr *mr = fuzz_refuses() ? NULL : calloc(1, sizeof *mr);
    if (mr == NULL)
        return NULL;
    mr->addr = address;
    mr->length = bytes;
    mr->lkey = mr->rkey = (uint32_t)++fuzz_device.regions;
    return mr;
}

static int fuzz_dereg_mr(hk_ibv_mr *mr)
{
    fuzz_device.regions--;
    free(mr);
    return 0;
}

static hk_ibv_cq *fuzz_create_cq(hk_ibv_context *context, int entries, void *cq_context,
                                 hk_ibv_comp_channel *channel, int vector)
{
    FUZZ_CHECK(context == &fuzz_device.context && entries > 0 && vector == 0);
    (void)cq_context;
    (void)channel;
    return fuzz_refuses() ? NULL : &fuzz_device.cq;
}

static int fuzz_destroy_cq(hk_ibv_cq *cq)
{
    FUZZ_CHECK(cq == &fuzz_device.cq);
    return 0;
}

static hk_ibv_qp *fuzz_create_qp(hk_ibv_pd *pd, hk_ibv_qp_init_attr *attr)
{
    FUZZ_CHECK(pd == &fuzz_device.pd && attr->send_cq == &fuzz_device.cq);
    fuzz_pair *pair = fuzz_refuses() ? NULL : calloc(1, sizeof *pair);
    if (pair == NULL)
        return NULL;
    pair->qp.qp_num = (uint32_t)++fuzz_device.pairs;
    pair->qp.qp_type = attr->qp_type;
    return &pair->qp;
}

static int fuzz_modify_qp(hk_ibv_qp *qp, hk_ibv_qp_attr *attr, int mask)
{
    fuzz_pair *pair = (fuzz_pair *)qp;
    FUZZ_CHECK((mask & HK_IBV_QP_STATE) && attr->qp_state == qp->state + 1);
    if (attr->qp_state == HK_IBV_QPS_RTR) {
        FUZZ_CHECK(attr->path_mtu >= FUZZ_MTU_LEAST && attr->path_mtu <= FUZZ_MTU_MOST);
        pair->peer = attr->dest_qp_num;
        pair->mtu = attr->path_mtu;
    }
    if (fuzz_refuses())
        return EINVAL;
    qp->state = attr->qp_state;
    return 0;
}

static int fuzz_destroy_qp(hk_ibv_qp *qp)
{
    fuzz_device.pairs--;
    free(qp);
    return 0;
}

static const hk_verbs_library fuzz_library = {.close_device = fuzz_close_device,
                                              .query_port = fuzz_query_port,
                                              .dealloc_pd = fuzz_dealloc_pd,
                                              .reg_mr = fuzz_reg_mr,
                                              .dereg_mr = fuzz_dereg_mr,
                                              .create_cq = fuzz_create_cq,
                                              .destroy_cq = fuzz_destroy_cq,
                                              .create_qp = fuzz_create_qp,
                                              .modify_qp = fuzz_modify_qp,
                                              .destroy_qp = fuzz_destroy_qp};

/* === What is posted =========================================================================== */

/* The memory of a slot is the device's until it is through with it. */
static inline int fuzz_post(fuzz_posts *posts, uint64_t id)
{
    if (fuzz_refuses())
        return ENOMEM;
    for (int i = 0; i < posts->count; i++)
        FUZZ_CHECK(posts->ids[i] != id);
    FUZZ_CHECK(posts->count < FUZZ_POSTS_MAX);
    posts->ids[posts->count++] = id;
    return 0;
}

static int fuzz_post_send(hk_ibv_qp *qp, hk_ibv_send_wr *wr, hk_ibv_send_wr **bad)
{
    *bad = wr;
    FUZZ_CHECK(qp->state == HK_IBV_QPS_RTS && wr->next == NULL && wr->num_sge == 1);
    return fuzz_post(&((fuzz_pair *)qp)->sends, wr->wr_id);
}

static int fuzz_post_recv(hk_ibv_qp *qp, hk_ibv_recv_wr *wr, hk_ibv_recv_wr **bad)
{
    *bad = wr;
    FUZZ_CHECK(qp->state >= HK_IBV_QPS_RTR && wr->next == NULL && wr->num_sge == 1);
    return fuzz_post(&((fuzz_pair *)qp)->receives, wr->wr_id);
}

/* False: nothing is posted. */
static inline bool fuzz_take_post(fuzz_posts *posts, uint64_t *id)
{
    if (posts->count == 0)
        return false;
    *id = posts->ids[0];
    posts->count--;
    memmove(posts->ids, posts->ids + 1, (size_t)posts->count * sizeof *posts->ids);
    return true;
}

static inline fuzz_pair *fuzz_pair_of(const hk_queue *queue)
{
    return (fuzz_pair *)queue->qp;
}

/* ============================================================================================== */

static inline void fuzz_device_begin(void)
{
    memset(&fuzz_device, 0, sizeof fuzz_device);
    fuzz_device.calls_left = -1;
    fuzz_device.context.ops.post_send = fuzz_post_send;
    fuzz_device.context.ops.post_recv = fuzz_post_recv;
    fuzz_device.context.async_fd = -1;
}

/* As hk_rail_open would have made it. */
static inline void fuzz_open_rail(hk_rail *rail, const char *name)
{
    *rail = (hk_rail){.library = &fuzz_library,
                      .device = {.max_qp = 64,
                                 .max_mr = 64,
                                 .max_cqe = 1 << 16,
                                 .max_depth = 1 << 14,
                                 .max_message = UINT32_C(1) << 30,
                                 .rc = true,
                                 .uc = true},
                      .context = &fuzz_device.context,
                      .port = {.number = 1, .active_mtu = FUZZ_MTU_MOST},
                      .gid = {.index = -1},
                      .pd = &fuzz_device.pd};
    snprintf(rail->device.name, sizeof rail->device.name, "%s", name);
}

#endif
