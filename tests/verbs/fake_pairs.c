#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* === Made and destroyed ======================================================================= */

void fake_pair_path(char *path, size_t size, int device, uint32_t qpn)
{
    snprintf(path, size, "%s/fake%d.%u", fake_get_settings()->dir, device, qpn);
}

/* A number is the device's first that no process has taken: who may bind its path. */
static void listen_by_number(fake_pair *pair, int device)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pair->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (pair->listener < 0)
        fake_broken("socket: %s", strerror(errno));
    fcntl(pair->listener, F_SETFD, FD_CLOEXEC);
    fcntl(pair->listener, F_SETFL, O_NONBLOCK);
    for (pair->qp.qp_num = 0x10 + (uint32_t)getpid() % 1000 * 64;; pair->qp.qp_num++) {
        fake_pair_path(pair->path, sizeof pair->path, device, pair->qp.qp_num);
        snprintf(address.sun_path, sizeof address.sun_path, "%s", pair->path);
        if (bind(pair->listener, (struct sockaddr *)&address, sizeof address) == 0)
            break;
        if (errno != EADDRINUSE)
            fake_broken("bind %s: %s", pair->path, strerror(errno));
    }
    if (listen(pair->listener, 4) != 0)
        fake_broken("listen: %s", strerror(errno));
}

static int check_init(const hk_ibv_qp_init_attr *init)
{
    const fake_settings *settings = fake_get_settings();
    const hk_ibv_qp_cap *cap = &init->cap;
    if (init->send_cq == NULL || init->recv_cq == NULL || init->srq != NULL)
        return EINVAL;
    if (init->qp_type != HK_IBV_QPT_UC && (init->qp_type != HK_IBV_QPT_RC || !settings->rc))
        return EOPNOTSUPP;
    if (cap->max_send_wr > (uint32_t)settings->depth_max ||
        cap->max_recv_wr > (uint32_t)settings->depth_max || cap->max_send_sge > FAKE_SGES ||
        cap->max_recv_sge > FAKE_SGES || cap->max_inline_data > (uint32_t)settings->inline_max)
        return EINVAL;
    return 0;
}

FAKE_API hk_ibv_qp *ibv_create_qp(hk_ibv_pd *pd, hk_ibv_qp_init_attr *init)
{
    fake_context *its = fake_of(pd->context);
    int wrong = its->gone ? EIO : check_init(init);
    if (wrong != 0) {
        errno = wrong;
        return NULL;
    }
    if (!fake_take_pair(its->device))
        return NULL;
    fake_pair *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->init = *init;
    made->in = made->out = -1;
    made->last_landing = &made->landing;
    made->qp = (hk_ibv_qp){.context = pd->context,
                           .qp_context = init->qp_context,
                           .pd = pd,
                           .send_cq = init->send_cq,
                           .recv_cq = init->recv_cq,
                           .state = HK_IBV_QPS_RESET,
                           .qp_type = init->qp_type};
    listen_by_number(made, its->device->index);
    made->dice = fake_get_settings()->seed * 1000 + (uint64_t)its->device->index;
    pthread_mutex_lock(&its->lock);
    made->next = its->pairs;
    its->pairs = made;
    fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    return &made->qp;
}

static void free_works(fake_works *works)
{
    while (works->first != NULL) {
        fake_work *next = works->first->next;
        free(works->first->inlined);
        free(works->first);
        works->first = next;
    }
}

FAKE_API int ibv_destroy_qp(hk_ibv_qp *qp)
{
    fake_context *its = fake_of(qp->context);
    fake_pair *pair = (fake_pair *)qp;
    pthread_mutex_lock(&its->lock);
    fake_pair **at = &its->pairs;
    while (*at != NULL && *at != pair)
        at = &(*at)->next;
    if (*at == NULL)
        fake_broken("a queue pair is destroyed that is not there");
    *at = pair->next;
    fake_land(pair);
    fake_forget_pair((fake_queue *)qp->send_cq, pair);
    fake_forget_pair((fake_queue *)qp->recv_cq, pair);
    fake_close_connections(pair);
    fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    free_works(&pair->sends);
    free_works(&pair->recvs);
    free(pair);
    fake_give_pair_back(its->device);
    return 0;
}

/* === From state to state ====================================================================== */

/* Which attributes a move needs, and which others it may have, as the kernel has it. */
static const struct move {
    uint32_t from, to;
    int both, rc, optional;
} moves[] = {
    {HK_IBV_QPS_RESET, HK_IBV_QPS_INIT,
     HK_IBV_QP_PKEY_INDEX | HK_IBV_QP_PORT | HK_IBV_QP_ACCESS_FLAGS, 0, 0},
    {HK_IBV_QPS_INIT, HK_IBV_QPS_RTR,
     HK_IBV_QP_AV | HK_IBV_QP_PATH_MTU | HK_IBV_QP_DEST_QPN | HK_IBV_QP_RQ_PSN,
     HK_IBV_QP_MAX_DEST_RD_ATOMIC | HK_IBV_QP_MIN_RNR_TIMER,
     HK_IBV_QP_ACCESS_FLAGS | HK_IBV_QP_PKEY_INDEX},
    {HK_IBV_QPS_RTR, HK_IBV_QPS_RTS, HK_IBV_QP_SQ_PSN,
     HK_IBV_QP_TIMEOUT | HK_IBV_QP_RETRY_CNT | HK_IBV_QP_RNR_RETRY | HK_IBV_QP_MAX_QP_RD_ATOMIC,
     HK_IBV_QP_ACCESS_FLAGS},
};

static int check_move(const fake_pair *pair, const hk_ibv_qp_attr *attr, int mask)
{
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        const struct move *move = &moves[i];
        if (move->from != pair->qp.state || move->to != attr->qp_state)
            continue;
        int needed =
            HK_IBV_QP_STATE | move->both | (pair->qp.qp_type == HK_IBV_QPT_RC ? move->rc : 0);
        return (mask & needed) == needed && (mask & ~(needed | move->optional)) == 0 ? 0 : EINVAL;
    }
    return EINVAL;
}

static int check_init_move(const hk_ibv_qp_attr *attr)
{
    if (attr->port_num < 1 || attr->port_num > fake_get_settings()->ports || attr->pkey_index != 0)
        return EINVAL;
    return 0;
}

static int check_rtr_move(const fake_pair *pair, const hk_ibv_qp_attr *attr)
{
    const fake_context *its = fake_of(pair->qp.context);
    const hk_ibv_ah_attr *way = &attr->ah_attr;
    hk_ibv_gid own;
    if (fake_get_settings()->rtr != 0)
        return fake_get_settings()->rtr;
    if (!way->is_global || way->port_num != pair->attr.port_num || attr->dest_qp_num == 0)
        return EINVAL;
    if (!fake_gid_at(its->device, way->port_num, way->grh.sgid_index, &own))
        return EINVAL; /* no GID there, or not on this port: errno 22, the classic */
    if (fake_device_of_gid(&way->grh.dgid) < 0 || (own.raw[0] != way->grh.dgid.raw[0]))
        return EINVAL; /* nobody has it, or link-local here and not there */
    if (attr->path_mtu < HK_IBV_MTU_256 || attr->path_mtu > HK_IBV_MTU_4096)
        return EINVAL;
    return 0;
}

/* Keeps what the move has set. */
static void keep(fake_pair *pair, const hk_ibv_qp_attr *attr)
{
    hk_ibv_qp_attr *into = &pair->attr;
    pair->qp.state = into->qp_state = attr->qp_state;
    if (attr->qp_state == HK_IBV_QPS_INIT) {
        into->port_num = attr->port_num;
        into->qp_access_flags = attr->qp_access_flags;
    } else if (attr->qp_state == HK_IBV_QPS_RTR) {
        into->ah_attr = attr->ah_attr;
        into->path_mtu = attr->path_mtu;
        into->dest_qp_num = attr->dest_qp_num;
        into->rq_psn = attr->rq_psn;
        into->max_dest_rd_atomic = attr->max_dest_rd_atomic;
        pair->peer_device = fake_device_of_gid(&attr->ah_attr.grh.dgid);
    } else if (attr->qp_state == HK_IBV_QPS_RTS) {
        into->sq_psn = attr->sq_psn;
        into->timeout = attr->timeout;
        into->retry_cnt = attr->retry_cnt;
        into->rnr_retry = attr->rnr_retry;
        into->max_rd_atomic = attr->max_rd_atomic;
    }
}

static int move(fake_pair *pair, const hk_ibv_qp_attr *attr, int mask)
{
    int wrong = 0;
    if (!(mask & HK_IBV_QP_STATE))
        return EINVAL;
    if (attr->qp_state == HK_IBV_QPS_ERR) {
        if (fake_get_settings()->apple)
            fake_broken("a queue pair is moved to ERR: Apple's driver then cannot unmap its "
                        "memory when it is destroyed");
        fake_pair_error(pair);
        return 0;
    }
    wrong = check_move(pair, attr, mask);
    if (wrong == 0 && attr->qp_state == HK_IBV_QPS_INIT)
        wrong = check_init_move(attr);
    if (wrong == 0 && attr->qp_state == HK_IBV_QPS_RTR)
        wrong = check_rtr_move(pair, attr);
    if (wrong == 0 && !fake_get_settings()->reads &&
        ((mask & HK_IBV_QP_MAX_DEST_RD_ATOMIC && attr->max_dest_rd_atomic > 0) ||
         (mask & HK_IBV_QP_MAX_QP_RD_ATOMIC && attr->max_rd_atomic > 0)))
        wrong = EINVAL;
    if (wrong == 0)
        keep(pair, attr);
    return wrong;
}

FAKE_API int ibv_modify_qp(hk_ibv_qp *qp, hk_ibv_qp_attr *attr, int mask)
{
    fake_context *its = fake_of(qp->context);
    pthread_mutex_lock(&its->lock);
    int wrong = its->gone ? EIO : move((fake_pair *)qp, attr, mask);
    fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    return wrong;
}

FAKE_API int ibv_query_qp(hk_ibv_qp *qp, hk_ibv_qp_attr *attr, int mask, hk_ibv_qp_init_attr *init)
{
    fake_context *its = fake_of(qp->context);
    const fake_pair *pair = (fake_pair *)qp;
    (void)mask;
    pthread_mutex_lock(&its->lock);
    *attr = pair->attr;
    attr->qp_state = pair->qp.state;
    *init = pair->init;
    pthread_mutex_unlock(&its->lock);
    return its->gone ? EIO : 0;
}

/* === Posting ================================================================================== */

static void append(fake_works *works, fake_work *work)
{
    if (works->first == NULL)
        works->first = work;
    else
        works->last->next = work;
    works->last = work;
    works->frames += work->frames;
}

static fake_work *make_work(uint64_t id, const hk_ibv_sge *sges, int count)
{
    fake_work *made = calloc(1, sizeof *made);
    if (made == NULL)
        fake_broken("there is no memory for a piece of work");
    made->id = id;
    made->sge_count = count;
    for (int i = 0; i < count; i++) {
        made->sges[i] = sges[i];
        made->length += sges[i].length;
    }
    /* Apple counts a queue's room in frames, others in requests. */
    made->frames = fake_get_settings()->apple ? fake_frames(made->length) : 1;
    return made;
}

static void copy_inline(fake_work *work, uint32_t most)
{
    uint32_t done = 0;
    if (work->length > most)
        fake_broken("%u bytes are sent inline, where %u were granted", work->length, most);
    work->inlined = malloc(work->length + 1);
    if (work->inlined == NULL)
        fake_broken("there is no memory for inline data");
    for (int i = 0; i < work->sge_count; i++) {
        memcpy(work->inlined + done, (const void *)(uintptr_t)work->sges[i].addr,
               work->sges[i].length);
        done += work->sges[i].length;
    }
}

/* How each kind of work is done, counted and called. */
static const struct kind {
    uint32_t opcode, completion;
    int rights; /* to its own memory */
    fake_count counted, bytes;
    const char *name;
} kinds[] = {
    {HK_IBV_WR_SEND, HK_IBV_WC_SEND, 0, FAKE_SENDS, FAKE_SEND_BYTES, "a send"},
    {HK_IBV_WR_RDMA_WRITE, HK_IBV_WC_RDMA_WRITE, 0, FAKE_WRITES, FAKE_WRITE_BYTES, "a write"},
    {HK_IBV_WR_RDMA_READ, HK_IBV_WC_RDMA_READ, HK_IBV_ACCESS_LOCAL_WRITE, FAKE_READS,
     FAKE_READ_BYTES, "a read"},
};

/* NULL: there is none. */
static const struct kind *kind_of(uint32_t opcode)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].opcode == opcode)
            return &kinds[i];
    return NULL;
}

static void check_read(const fake_pair *pair, const hk_ibv_send_wr *wr, uint32_t length)
{
    if (pair->qp.qp_type != HK_IBV_QPT_RC || pair->attr.max_rd_atomic == 0)
        fake_broken("a read is posted on a queue pair that is UC, or has max_rd_atomic 0");
    if (wr->send_flags & HK_IBV_SEND_INLINE)
        fake_broken("a read is posted inline");
    if (length > FAKE_READ_MOST)
        fake_broken("reads of more than %d bytes are not played", FAKE_READ_MOST);
}

static int post_one_send(fake_context *its, fake_pair *pair, const hk_ibv_send_wr *wr)
{
    const struct kind *kind = kind_of(wr->opcode);
    if (its->gone)
        return EIO;
    if (pair->qp.state != HK_IBV_QPS_RTS && pair->qp.state != HK_IBV_QPS_ERR)
        return EINVAL;
    if (wr->num_sge < 0 || wr->num_sge > (int)pair->init.cap.max_send_sge || kind == NULL)
        return EINVAL;
    fake_work *work = make_work(wr->wr_id, wr->sg_list, wr->num_sge);
    if (work->length > 8u << 20)
        fake_broken("%u bytes are sent at once: more than a port's longest message", work->length);
    if (wr->opcode == HK_IBV_WR_RDMA_READ)
        check_read(pair, wr, work->length);
    if (pair->sends.frames + work->frames > (int)pair->init.cap.max_send_wr) {
        if (fake_get_settings()->apple)
            fake_broken("%d frames are sent where %d of %u are taken", work->frames,
                        pair->sends.frames, pair->init.cap.max_send_wr);
        free(work);
        return ENOMEM;
    }
    work->opcode = wr->opcode;
    work->signaled = (wr->send_flags & HK_IBV_SEND_SIGNALED) || pair->init.sq_sig_all;
    if (wr->send_flags & HK_IBV_SEND_INLINE)
        copy_inline(work, pair->init.cap.max_inline_data);
    else
        for (int i = 0; i < work->sge_count; i++)
            fake_check_memory(its, pair, &work->sges[i], kind->rights, kind->name);
    if (wr->opcode != HK_IBV_WR_SEND) {
        work->remote = wr->wr.rdma.remote_addr;
        work->rkey = wr->wr.rdma.rkey;
    }
    fake_add(its, kind->counted, 1);
    fake_add(its, kind->bytes, work->length);
    fake_add(its, FAKE_INLINED, work->inlined != NULL);
    append(&pair->sends, work);
    return 0;
}

int fake_post_send(hk_ibv_qp *qp, hk_ibv_send_wr *wr, hk_ibv_send_wr **bad)
{
    fake_context *its = fake_of(qp->context);
    fake_pair *pair = (fake_pair *)qp;
    int wrong = 0;
    pthread_mutex_lock(&its->lock);
    for (; wr != NULL && wrong == 0; wr = wrong == 0 ? wr->next : wr)
        wrong = post_one_send(its, pair, wr);
    *bad = wr;
    if (pair->qp.state == HK_IBV_QPS_ERR)
        fake_pair_error(pair);
    fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    return wrong;
}

static int post_one_recv(fake_context *its, fake_pair *pair, const hk_ibv_recv_wr *wr)
{
    uint32_t state = pair->qp.state;
    if (its->gone)
        return EIO;
    if (fake_get_settings()->apple && state == HK_IBV_QPS_INIT)
        fake_broken("a receive is posted before RTR, which Apple's devices do not take");
    if (state == HK_IBV_QPS_RESET || wr->num_sge < 0 ||
        wr->num_sge > (int)pair->init.cap.max_recv_sge)
        return EINVAL;
    fake_work *work = make_work(wr->wr_id, wr->sg_list, wr->num_sge);
    if (pair->recvs.frames + work->frames > (int)pair->init.cap.max_recv_wr) {
        if (fake_get_settings()->apple)
            fake_broken("a receive of %d frames is posted where %d of %u are taken", work->frames,
                        pair->recvs.frames, pair->init.cap.max_recv_wr);
        free(work);
        return ENOMEM;
    }
    for (int i = 0; i < work->sge_count; i++) {
        const hk_ibv_sge *sge = &work->sges[i];
        fake_check_memory(its, pair, sge, HK_IBV_ACCESS_LOCAL_WRITE, "a receive");
        /* The memory is the device's from now on: nobody may count on what is in it. */
        memset((void *)(uintptr_t)sge->addr, 0xd5, sge->length);
    }
    fake_add(its, FAKE_RECEIVES, 1);
    append(&pair->recvs, work);
    return 0;
}

int fake_post_recv(hk_ibv_qp *qp, hk_ibv_recv_wr *wr, hk_ibv_recv_wr **bad)
{
    fake_context *its = fake_of(qp->context);
    fake_pair *pair = (fake_pair *)qp;
    int wrong = 0;
    pthread_mutex_lock(&its->lock);
    for (; wr != NULL && wrong == 0; wr = wrong == 0 ? wr->next : wr)
        wrong = post_one_recv(its, pair, wr);
    *bad = wr;
    if (pair->qp.state == HK_IBV_QPS_ERR)
        fake_pair_error(pair);
    if (pair->whole)
        fake_nic_wake(its);
    pthread_mutex_unlock(&its->lock);
    return wrong;
}

/* === Completing =============================================================================== */

static fake_work *take_first(fake_works *works)
{
    fake_work *first = works->first;
    works->first = first->next;
    return first;
}

void fake_complete_send(fake_pair *pair, hk_ibv_wc_status status)
{
    fake_work *work = take_first(&pair->sends);
    pair->unsignaled_frames += work->frames; /* room is made when a signaled one is polled */
    if (work->signaled || status != HK_IBV_WC_SUCCESS) {
        hk_ibv_wc wc = {.wr_id = work->id,
                        .status = status,
                        .opcode = kind_of(work->opcode)->completion,
                        .byte_len = work->length,
                        .qp_num = pair->qp.qp_num};
        fake_push((fake_queue *)pair->qp.send_cq,
                  (fake_completion){.wc = wc,
                                    .pair = pair,
                                    .send_frames = pair->unsignaled_frames});
        pair->unsignaled_frames = 0;
    }
    free(work->inlined);
    free(work);
}

void fake_complete_recv(fake_pair *pair, hk_ibv_wc_status status, uint32_t length)
{
    fake_work *work = take_first(&pair->recvs);
    hk_ibv_wc wc = {.wr_id = work->id,
                    .status = status,
                    .opcode = HK_IBV_WC_RECV,
                    .byte_len = length,
                    .qp_num = pair->qp.qp_num,
                    .src_qp = pair->attr.dest_qp_num};
    fake_push((fake_queue *)pair->qp.recv_cq,
              (fake_completion){.wc = wc, .pair = pair, .recv_frames = work->frames});
    free(work);
}

void fake_pair_error(fake_pair *pair)
{
    pair->qp.state = HK_IBV_QPS_ERR;
    while (pair->sends.first != NULL)
        fake_complete_send(pair, HK_IBV_WC_WR_FLUSH_ERR);
    while (pair->recvs.first != NULL)
        fake_complete_recv(pair, HK_IBV_WC_WR_FLUSH_ERR, 0);
    fake_close_connections(pair);
}
