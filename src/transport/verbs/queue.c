#include "transport/verbs/queue.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_WANTED 256 /* of a frame: what is above gains nothing */
#define PACKET_NUMBER_MASK 0xffffffu

/* RC: 4.096 us * 2^17 is 0.54 s, seven times: a switch that starts over, or a soft-RoCE host that
 * is short of processors, answers late, and of a process that dies the control connection tells
 * anyway. A receiver that is not ready is asked again for ever, which does not happen unless it is
 * late. */
#define ACK_TIMEOUT 17
#define RETRIES 7
#define RNR_FOR_EVER 7
#define RNR_TIMER 12 /* 0.64 ms */

#define WORK_SHIFT 24 /* of a wr_id: the queue's index, the kind of work, the slot */
#define WORK_MASK 0xffu
#define SLOT_MASK ((UINT64_C(1) << WORK_SHIFT) - 1)

/* Queues are counted in frames, which is more than enough where they are counted in requests. */
void hk_queue_depths(const hk_queue_shape *shape, int *sends, int *receives)
{
    int frames = (int)(shape->slot_bytes / HK_VERBS_FRAME);
    int write = (int)(HK_QUEUE_WRITE_BYTES / HK_VERBS_FRAME);
    *sends = shape->sends * frames + (shape->writes ? HK_QUEUE_WRITES * (write + 1) : 0);
    *receives = shape->receives * frames;
}

size_t hk_queue_bytes(const hk_queue_shape *shape)
{
    size_t scratch = shape->writes ? HK_VERBS_FRAME : 0;
    return (size_t)(shape->receives + shape->sends) * shape->slot_bytes + scratch;
}

static hocket_status fail(const hk_queue *queue, hk_verbs_step step, int error)
{
    hk_verbs_place place = hk_rail_place(queue->rail, queue->peer);
    return hk_verbs_fail(step, &place, error);
}

/* === Made ===================================================================================== */

static hocket_status make_slots(hk_queue *queue)
{
    const hk_queue_shape *shape = &queue->shape;
    hk_arena *arena = &queue->rail->arena;
    queue->receives = hk_arena_carve(arena, (size_t)shape->receives * shape->slot_bytes);
    queue->sends = hk_arena_carve(arena, (size_t)shape->sends * shape->slot_bytes);
    queue->slots = calloc((size_t)shape->sends, sizeof *queue->slots);
    queue->free = calloc((size_t)shape->sends, sizeof *queue->free);
    if (shape->writes)
        queue->scratch = hk_arena_carve(arena, HK_VERBS_FRAME);
    if (queue->receives == NULL || queue->sends == NULL || queue->slots == NULL ||
        queue->free == NULL || (shape->writes && queue->scratch == NULL))
        return hk_fail_memory(hk_queue_bytes(shape), "the slots of a queue pair");
    for (int i = 0; i < shape->sends; i++)
        queue->free[queue->free_count++] = (uint16_t)i;
    return HOCKET_OK;
}

/* What the device grants may differ, and posting more than that is noticed by nobody. */
static hocket_status check_depth(const hk_queue *queue, const hk_ibv_qp_cap *granted)
{
    int sends, receives;
    hk_queue_depths(&queue->shape, &sends, &receives);
    if (granted->max_recv_wr >= (uint32_t)receives && granted->max_send_wr >= (uint32_t)sends)
        return HOCKET_OK;
    return hk_fail(HOCKET_ERR_UNAVAILABLE,
                   "device %s grants queues of %u sends and %u receives, in frames of %d bytes, "
                   "where %d and %d were asked for",
                   queue->rail->device.name, granted->max_send_wr, granted->max_recv_wr,
                   HK_VERBS_FRAME, sends, receives);
}

static hocket_status make_pair(hk_queue *queue)
{
    hk_rail *rail = queue->rail;
    int sends, receives;
    hk_queue_depths(&queue->shape, &sends, &receives);
    hk_ibv_qp_init_attr attr = {.qp_context = NULL,
                                .send_cq = rail->cq,
                                .recv_cq = rail->cq,
                                .cap = {.max_send_wr = (uint32_t)sends,
                                        .max_recv_wr = (uint32_t)receives,
                                        .max_send_sge = 1,
                                        .max_recv_sge = 1,
                                        .max_inline_data = INLINE_WANTED},
                                .qp_type = queue->shape.reliable ? HK_IBV_QPT_RC : HK_IBV_QPT_UC};
    errno = 0;
    queue->qp = rail->library->create_qp(rail->pd, &attr);
    if (queue->qp == NULL && errno == EINVAL) { /* perhaps for what it is to hold inline */
        attr.cap.max_inline_data = 0;
        queue->qp = rail->library->create_qp(rail->pd, &attr);
    }
    if (queue->qp == NULL)
        return fail(queue, HK_VERBS_CREATE_QP, hk_verbs_errno(-1));
    queue->inline_max = attr.cap.max_inline_data;
    return check_depth(queue, &attr.cap);
}

static hocket_status to_init(hk_queue *queue)
{
    hk_ibv_qp_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.qp_state = HK_IBV_QPS_INIT;
    attr.port_num = (uint8_t)queue->rail->port.number;
    attr.qp_access_flags =
        HK_IBV_ACCESS_LOCAL_WRITE | HK_IBV_ACCESS_REMOTE_READ | HK_IBV_ACCESS_REMOTE_WRITE;
    int mask = HK_IBV_QP_STATE | HK_IBV_QP_PKEY_INDEX | HK_IBV_QP_PORT | HK_IBV_QP_ACCESS_FLAGS;
    int result = queue->rail->library->modify_qp(queue->qp, &attr, mask);
    return result == 0 ? HOCKET_OK : fail(queue, HK_VERBS_TO_INIT, hk_verbs_errno(result));
}

hocket_status hk_queue_open(hk_queue *queue, hk_rail *rail, int peer, const hk_queue_shape *shape,
                            void *owner)
{
    *queue = (hk_queue){.rail = rail, .peer = peer, .owner = owner, .shape = *shape};
    queue->first_packet = randombytes_random() & PACKET_NUMBER_MASK;
    if (rail->queue_count >= rail->queue_max)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "device %s: all %d queue pairs are in use",
                       rail->device.name, rail->queue_max);
    queue->index = rail->queue_count++;
    rail->queues[queue->index] = queue;
    hocket_status status = make_slots(queue);
    if (status == HOCKET_OK)
        status = make_pair(queue);
    if (status == HOCKET_OK)
        status = to_init(queue);
    if (status != HOCKET_OK)
        hk_queue_close(queue);
    return status;
}

/* It is not moved to ERR before: Apple's driver then cannot unmap its memory any more. */
void hk_queue_close(hk_queue *queue)
{
    if (queue->rail == NULL)
        return;
    if (queue->qp != NULL)
        queue->rail->library->destroy_qp(queue->qp);
    queue->rail->queues[queue->index] = NULL;
    free(queue->slots);
    free(queue->free);
    *queue = (hk_queue){.rail = NULL};
}

/* === Connected ================================================================================ */

hk_queue_end hk_queue_get_end(const hk_queue *queue)
{
    return (hk_queue_end){.number = queue->qp->qp_num, .first_packet = queue->first_packet};
}

static hocket_status to_rtr(hk_queue *queue, const hk_queue_end *peer, const hk_queue_path *path)
{
    const hk_rail *rail = queue->rail;
    hk_ibv_qp_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.qp_state = HK_IBV_QPS_RTR;
    attr.path_mtu = path->mtu;
    attr.dest_qp_num = peer->number;
    attr.rq_psn = peer->first_packet;
    attr.ah_attr.dlid = path->lid;
    attr.ah_attr.port_num = (uint8_t)rail->port.number;
    if (path->has_gid && rail->gid.index >= 0) {
        attr.ah_attr.is_global = 1;
        attr.ah_attr.grh.dgid = path->gid;
        attr.ah_attr.grh.sgid_index = (uint8_t)rail->gid.index;
        attr.ah_attr.grh.hop_limit = rail->device.hop_limit;
    }
    int mask =
        HK_IBV_QP_STATE | HK_IBV_QP_AV | HK_IBV_QP_PATH_MTU | HK_IBV_QP_DEST_QPN | HK_IBV_QP_RQ_PSN;
    if (queue->shape.reliable) {
        attr.max_dest_rd_atomic = queue->shape.writes;
        attr.min_rnr_timer = RNR_TIMER;
        mask |= HK_IBV_QP_MAX_DEST_RD_ATOMIC | HK_IBV_QP_MIN_RNR_TIMER;
    }
    int result = rail->library->modify_qp(queue->qp, &attr, mask);
    return result == 0 ? HOCKET_OK : fail(queue, HK_VERBS_TO_RTR, hk_verbs_errno(result));
}

static hocket_status to_rts(hk_queue *queue)
{
    hk_ibv_qp_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.qp_state = HK_IBV_QPS_RTS;
    attr.sq_psn = queue->first_packet;
    int mask = HK_IBV_QP_STATE | HK_IBV_QP_SQ_PSN;
    if (queue->shape.reliable) {
        attr.timeout = ACK_TIMEOUT;
        attr.retry_cnt = RETRIES;
        attr.rnr_retry = RNR_FOR_EVER;
        attr.max_rd_atomic = queue->shape.writes;
        mask |= HK_IBV_QP_TIMEOUT | HK_IBV_QP_RETRY_CNT | HK_IBV_QP_RNR_RETRY |
                HK_IBV_QP_MAX_QP_RD_ATOMIC;
    }
    int result = queue->rail->library->modify_qp(queue->qp, &attr, mask);
    return result == 0 ? HOCKET_OK : fail(queue, HK_VERBS_TO_RTS, hk_verbs_errno(result));
}

/* Receives come last: Apple's driver takes none before. The peer sends nothing until all ranks are
 * through here. */
hocket_status hk_queue_connect(hk_queue *queue, const hk_queue_end *peer, const hk_queue_path *path)
{
    hocket_status status = to_rtr(queue, peer, path);
    if (status == HOCKET_OK)
        status = to_rts(queue);
    for (int i = 0; i < queue->shape.receives && status == HOCKET_OK; i++)
        status = hk_queue_receive(queue, i);
    return status;
}

/* === Work ===================================================================================== */

static uint64_t work_id(const hk_queue *queue, hk_queue_work work, int slot)
{
    return (uint64_t)queue->index << 32 | (uint64_t)work << WORK_SHIFT | (uint64_t)slot;
}

hk_queue *hk_queue_of(const hk_rail *rail, uint64_t wr_id, hk_queue_work *work, int *slot)
{
    uint64_t index = wr_id >> 32;
    *work = (hk_queue_work)(wr_id >> WORK_SHIFT & WORK_MASK);
    *slot = (int)(wr_id & SLOT_MASK);
    return index < (uint64_t)rail->queue_max ? rail->queues[index] : NULL;
}

uint8_t *hk_queue_send_slot(const hk_queue *queue, int slot)
{
    return queue->sends + (size_t)slot * queue->shape.slot_bytes;
}

uint8_t *hk_queue_receive_slot(const hk_queue *queue, int slot)
{
    return queue->receives + (size_t)slot * queue->shape.slot_bytes;
}

int hk_queue_take(hk_queue *queue)
{
    if (queue->free_count == 0)
        return -1;
    return queue->free[--queue->free_count];
}

void hk_queue_settle(hk_queue *queue, int slot)
{
    const hk_queue_slot *one = &queue->slots[slot];
    if (!one->posted && !one->kept)
        queue->free[queue->free_count++] = (uint16_t)slot;
}

/* As many frames as the peer's receive has, where the device wants that. */
static size_t padded(const hk_queue *queue, size_t bytes)
{
    size_t least = queue->shape.slot_bytes - HK_VERBS_FRAME + 1;
    return queue->rail->device.whole && bytes < least ? least : bytes;
}

hocket_status hk_queue_send(hk_queue *queue, int slot, size_t bytes)
{
    size_t length = padded(queue, bytes);
    hk_ibv_sge piece = {.addr = (uintptr_t)hk_queue_send_slot(queue, slot),
                        .length = (uint32_t)length,
                        .lkey = queue->rail->arena.mr->lkey};
    hk_ibv_send_wr work = {.wr_id = work_id(queue, HK_QUEUE_SEND, slot),
                           .sg_list = &piece,
                           .num_sge = 1,
                           .opcode = HK_IBV_WR_SEND,
                           .send_flags = HK_IBV_SEND_SIGNALED};
    if (length <= queue->inline_max)
        work.send_flags |= HK_IBV_SEND_INLINE;
    hk_ibv_send_wr *bad;
    int result = queue->rail->context->ops.post_send(queue->qp, &work, &bad);
    if (result != 0)
        return fail(queue, HK_VERBS_POST_SEND, hk_verbs_errno(result));
    queue->slots[slot].posted = true;
    queue->posted++;
    return HOCKET_OK;
}

static hocket_status post_rdma(hk_queue *queue, hk_ibv_send_wr *work, uint64_t there, uint32_t key)
{
    hk_ibv_send_wr *bad;
    work->num_sge = 1;
    work->send_flags = HK_IBV_SEND_SIGNALED;
    work->wr.rdma.remote_addr = there;
    work->wr.rdma.rkey = key;
    int result = queue->rail->context->ops.post_send(queue->qp, work, &bad);
    return result == 0 ? HOCKET_OK : fail(queue, HK_VERBS_POST_SEND, hk_verbs_errno(result));
}

hocket_status hk_queue_write(hk_queue *queue, int number, const hk_ibv_sge *piece, uint64_t to,
                             uint32_t key)
{
    hk_ibv_sge local = *piece;
    hk_ibv_send_wr work = {.wr_id = work_id(queue, HK_QUEUE_WRITE, number),
                           .sg_list = &local,
                           .opcode = HK_IBV_WR_RDMA_WRITE};
    return post_rdma(queue, &work, to, key);
}

hocket_status hk_queue_read(hk_queue *queue, int number, uint64_t from, uint32_t key)
{
    hk_ibv_sge local = {.addr = (uintptr_t)queue->scratch,
                        .length = 1,
                        .lkey = queue->rail->arena.mr->lkey};
    hk_ibv_send_wr work = {.wr_id = work_id(queue, HK_QUEUE_READ, number),
                           .sg_list = &local,
                           .opcode = HK_IBV_WR_RDMA_READ};
    return post_rdma(queue, &work, from, key);
}

hocket_status hk_queue_receive(hk_queue *queue, int slot)
{
    hk_ibv_sge piece = {.addr = (uintptr_t)hk_queue_receive_slot(queue, slot),
                        .length = (uint32_t)queue->shape.slot_bytes,
                        .lkey = queue->rail->arena.mr->lkey};
    hk_ibv_recv_wr work = {.wr_id = work_id(queue, HK_QUEUE_RECEIVE, slot),
                           .sg_list = &piece,
                           .num_sge = 1};
    hk_ibv_recv_wr *bad;
    int result = queue->rail->context->ops.post_recv(queue->qp, &work, &bad);
    return result == 0 ? HOCKET_OK : fail(queue, HK_VERBS_POST_RECV, hk_verbs_errno(result));
}
