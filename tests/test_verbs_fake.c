/* The libibverbs of tests/verbs does what a real one does, and is strict where it should be: what
 * is tested over it is worth as much as it is. Where devices are named (verbs_help.h), the
 * system's own library is held to the same. */
#include "harness.h"
#include "transport/verbs/device.h"
#include "verbs_help.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES 65536
#define SECONDS 10.0

static const hk_verbs_library *library;
static uint32_t inline_bytes;

/* One end of a pair, with a region of memory. */
struct end {
    hk_ibv_context *context;
    hk_ibv_pd *pd;
    hk_ibv_comp_channel *channel;
    hk_ibv_cq *cq;
    hk_ibv_qp *qp;
    hk_ibv_mr *mr;
    hk_verbs_device device;
    int port, gid_index;
    hk_ibv_gid gid;
    unsigned char *bytes;
};

static void begin(const char *settings)
{
    verbs_begin(settings);
    if (hk_verbs_library_open(&library) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
}

static hk_ibv_qp *make_pair(struct end *end, uint32_t kind)
{
    hk_ibv_qp_init_attr init = {.send_cq = end->cq,
                                .recv_cq = end->cq,
                                .cap = {.max_send_wr = 64,
                                        .max_recv_wr = 64,
                                        .max_send_sge = 1,
                                        .max_recv_sge = 1,
                                        .max_inline_data = inline_bytes},
                                .qp_type = kind};
    return library->create_qp(end->pd, &init);
}

static void open_end(struct end *end, const char *name, uint32_t kind)
{
    *end = (struct end){.bytes = calloc(1, BYTES)};
    if (hk_verbs_device_open(name, &end->device, &end->context) != HOCKET_OK)
        fail_msg("%s", hocket_last_error());
    const hk_verbs_port *port = hk_verbs_choose_port(&end->device, NULL);
    assert_non_null(port);
    const hk_verbs_gid *gid = hk_verbs_choose_gid(port, NULL);
    assert_non_null(gid);
    end->port = port->number;
    end->gid_index = gid->index;
    end->gid = gid->gid;
    end->pd = library->alloc_pd(end->context);
    end->channel = library->create_comp_channel(end->context);
    end->cq = library->create_cq(end->context, 256, NULL, end->channel, 0);
    end->mr = library->reg_mr(end->pd, end->bytes, BYTES,
                              HK_IBV_ACCESS_LOCAL_WRITE | HK_IBV_ACCESS_REMOTE_WRITE |
                                  HK_IBV_ACCESS_REMOTE_READ);
    end->qp = make_pair(end, kind);
    assert_non_null(end->qp);
    assert_non_null(end->mr);
}

static void close_end(struct end *end)
{
    if (end->qp != NULL)
        assert_int_equal(0, library->destroy_qp(end->qp));
    assert_int_equal(0, library->dereg_mr(end->mr));
    assert_int_equal(0, library->destroy_cq(end->cq));
    assert_int_equal(0, library->destroy_comp_channel(end->channel));
    assert_int_equal(0, library->dealloc_pd(end->pd));
    assert_int_equal(0, library->close_device(end->context));
    free(end->bytes);
}

static int to_init(struct end *end)
{
    hk_ibv_qp_attr attr = {.qp_state = HK_IBV_QPS_INIT,
                           .port_num = (uint8_t)end->port,
                           .qp_access_flags =
                               HK_IBV_ACCESS_REMOTE_WRITE | HK_IBV_ACCESS_REMOTE_READ};
    return library->modify_qp(end->qp, &attr,
                              HK_IBV_QP_STATE | HK_IBV_QP_PKEY_INDEX | HK_IBV_QP_PORT |
                                  HK_IBV_QP_ACCESS_FLAGS);
}

static int to_rtr(struct end *end, const struct end *peer, int gid_index)
{
    bool rc = end->qp->qp_type == HK_IBV_QPT_RC;
    hk_ibv_qp_attr attr = {
        .qp_state = HK_IBV_QPS_RTR,
        .path_mtu = HK_IBV_MTU_1024,
        .dest_qp_num = peer->qp->qp_num,
        .rq_psn = 7,
        .max_dest_rd_atomic = 1,
        .min_rnr_timer = 12,
        .ah_attr = {.grh = {.dgid = peer->gid, .sgid_index = (uint8_t)gid_index, .hop_limit = 1},
                    .is_global = 1,
                    .port_num = (uint8_t)end->port}};
    return library->modify_qp(end->qp, &attr,
                              HK_IBV_QP_STATE | HK_IBV_QP_AV | HK_IBV_QP_PATH_MTU |
                                  HK_IBV_QP_DEST_QPN | HK_IBV_QP_RQ_PSN |
                                  (rc ? HK_IBV_QP_MAX_DEST_RD_ATOMIC | HK_IBV_QP_MIN_RNR_TIMER
                                      : 0));
}

static int to_rts(struct end *end)
{
    bool rc = end->qp->qp_type == HK_IBV_QPT_RC;
    hk_ibv_qp_attr attr = {.qp_state = HK_IBV_QPS_RTS,
                           .sq_psn = 7,
                           .timeout = 12,
                           .retry_cnt = 3,
                           .rnr_retry = 7,
                           .max_rd_atomic = 1};
    return library->modify_qp(end->qp, &attr,
                              HK_IBV_QP_STATE | HK_IBV_QP_SQ_PSN |
                                  (rc ? HK_IBV_QP_TIMEOUT | HK_IBV_QP_RETRY_CNT |
                                            HK_IBV_QP_RNR_RETRY | HK_IBV_QP_MAX_QP_RD_ATOMIC
                                      : 0));
}

static void join(struct end *a, struct end *b)
{
    assert_int_equal(0, to_init(a));
    assert_int_equal(0, to_init(b));
    assert_int_equal(0, to_rtr(a, b, a->gid_index));
    assert_int_equal(0, to_rtr(b, a, b->gid_index));
    assert_int_equal(0, to_rts(a));
    assert_int_equal(0, to_rts(b));
}

static void open_both(struct end *a, struct end *b, uint32_t kind)
{
    open_end(a, verbs_device(0), kind);
    open_end(b, verbs_device(1), kind);
    join(a, b);
}

static int post_recv(struct end *end, uint64_t id, size_t at, uint32_t length)
{
    hk_ibv_sge sge = {(uint64_t)(uintptr_t)(end->bytes + at), length, end->mr->lkey};
    hk_ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;
    return end->context->ops.post_recv(end->qp, &wr, &bad);
}

static int post(struct end *end, uint64_t id, size_t at, uint32_t length, unsigned flags,
                const struct end *written)
{
    hk_ibv_sge sge = {(uint64_t)(uintptr_t)(end->bytes + at), length, end->mr->lkey};
    hk_ibv_send_wr wr = {.wr_id = id,
                         .sg_list = &sge,
                         .num_sge = 1,
                         .opcode = written ? HK_IBV_WR_RDMA_WRITE : HK_IBV_WR_SEND,
                         .send_flags = flags};
    hk_ibv_send_wr *bad;
    if (written != NULL) {
        wr.wr.rdma.remote_addr = (uint64_t)(uintptr_t)(written->bytes + at);
        wr.wr.rdma.rkey = written->mr->rkey;
    }
    return end->context->ops.post_send(end->qp, &wr, &bad);
}

/* Into `end`'s memory, from the same place in the far one's. */
static int post_read(struct end *end, uint64_t id, size_t at, uint32_t length,
                     const struct end *far)
{
    hk_ibv_sge sge = {(uint64_t)(uintptr_t)(end->bytes + at), length, end->mr->lkey};
    hk_ibv_send_wr wr = {.wr_id = id,
                         .sg_list = &sge,
                         .num_sge = 1,
                         .opcode = HK_IBV_WR_RDMA_READ,
                         .send_flags = HK_IBV_SEND_SIGNALED,
                         .wr.rdma = {(uint64_t)(uintptr_t)(far->bytes + at), far->mr->rkey}};
    hk_ibv_send_wr *bad;
    return end->context->ops.post_send(end->qp, &wr, &bad);
}

static int post_send(struct end *end, uint64_t id, size_t at, uint32_t length)
{
    return post(end, id, at, length, HK_IBV_SEND_SIGNALED, NULL);
}

/* The next completion; fails when none comes. */
static hk_ibv_wc take(struct end *end)
{
    hk_ibv_wc wc;
    double until = seconds_now() + SECONDS * harness_slowness();
    while (end->context->ops.poll_cq(end->cq, 1, &wc) == 0) {
        if (seconds_now() > until)
            harness_fail(__FILE__, __LINE__, "no completion comes");
        sleep_seconds(0.0001);
    }
    return wc;
}

static void assert_quiet(struct end *end, double seconds)
{
    hk_ibv_wc wc;
    sleep_seconds(seconds);
    assert_int_equal(0, end->context->ops.poll_cq(end->cq, 1, &wc));
}

/* === What a device does ======================================================================= */

static void moves_messages(uint32_t kind)
{
    struct end a, b;
    begin("");
    inline_bytes = 100;
    open_both(&a, &b, kind);
    inline_bytes = 0;
    fill_bytes(a.bytes, BYTES, 1);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(0, post_recv(&b, i, i * 8192, 8192));
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(0, post_send(&a, 100 + i, i * 8192, 8192));
    for (uint64_t i = 0; i < 8; i++) {
        hk_ibv_wc got = take(&b), sent = take(&a);
        assert_int_equal(HK_IBV_WC_SUCCESS, got.status);
        assert_int_equal(i, got.wr_id);
        assert_int_equal(8192, got.byte_len);
        assert_int_equal(HK_IBV_WC_RECV, got.opcode);
        assert_int_equal(b.qp->qp_num, got.qp_num);
        assert_int_equal(100 + i, sent.wr_id);
        assert_int_equal(HK_IBV_WC_SEND, sent.opcode);
    }
    CHECK_FILLED(b.bytes, BYTES, 1);
    assert_int_equal(0, post_recv(&a, 1, 0, 4096));
    assert_int_equal(0, post(&b, 2, 0, 100, HK_IBV_SEND_INLINE, NULL)); /* and no completion */
    assert_int_equal(100, take(&a).byte_len);
    assert_quiet(&b, 0.01);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

static void rc_moves_messages(void **state)
{
    (void)state;
    moves_messages(HK_IBV_QPT_RC);
}

static void uc_moves_messages(void **state)
{
    (void)state;
    moves_messages(HK_IBV_QPT_UC);
}

static void writes_into_memory(void **state)
{
    (void)state;
    struct end a, b;
    begin("");
    open_both(&a, &b, HK_IBV_QPT_RC);
    fill_bytes(a.bytes, BYTES, 2);
    assert_int_equal(0, post(&a, 5, 0, BYTES, HK_IBV_SEND_SIGNALED, &b));
    hk_ibv_wc wc = take(&a);
    assert_int_equal(HK_IBV_WC_SUCCESS, wc.status);
    assert_int_equal(HK_IBV_WC_RDMA_WRITE, wc.opcode);
    CHECK_FILLED(b.bytes, BYTES, 2);
    hk_ibv_mr other = *b.mr;
    other.rkey ^= 1;
    assert_int_equal(0, post(&a, 6, 0, 64, HK_IBV_SEND_SIGNALED,
                             &(struct end){.mr = &other, .bytes = b.bytes}));
    assert_int_equal(HK_IBV_WC_REM_ACCESS_ERR, take(&a).status);
    assert_int_equal(0, post_send(&a, 7, 0, 64));
    assert_int_equal(HK_IBV_WC_WR_FLUSH_ERR, take(&a).status);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

static void reads_from_memory(void **state)
{
    (void)state;
    struct end a, b;
    begin("");
    open_both(&a, &b, HK_IBV_QPT_RC);
    fill_bytes(b.bytes, BYTES, 3);
    memset(a.bytes, 0, BYTES);
    assert_int_equal(0, post_read(&a, 5, 40, 8, &b));
    hk_ibv_wc wc = take(&a);
    assert_int_equal(HK_IBV_WC_SUCCESS, wc.status);
    assert_int_equal(HK_IBV_WC_RDMA_READ, wc.opcode);
    assert_memory_equal(b.bytes + 40, a.bytes + 40, 8);
    assert_int_equal(0, a.bytes[39] | a.bytes[48]);
    hk_ibv_mr other = *b.mr;
    other.rkey ^= 1;
    assert_int_equal(0, post_read(&a, 6, 0, 1, &(struct end){.mr = &other, .bytes = b.bytes}));
    assert_int_equal(HK_IBV_WC_REM_ACCESS_ERR, take(&a).status);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

/* What has been written and answered is in memory when the same pair has been read from, or when a
 * message has come by the device. */
static void lands_late_where_it_is_told_to(void **state)
{
    (void)state;
    struct end a, b;
    begin("landing=fake1:3600000");
    open_both(&a, &b, HK_IBV_QPT_RC);
    memset(a.bytes, 7, BYTES);
    memset(b.bytes, 0, BYTES);
    assert_int_equal(0, post(&a, 1, 0, 64, HK_IBV_SEND_SIGNALED, &b));
    assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
    assert_int_equal(0, b.bytes[0]);
    assert_int_equal(0, post_read(&a, 2, 0, 1, &b));
    assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
    assert_int_equal(7, b.bytes[63]);
    assert_int_equal(0, post_recv(&b, 3, 8192, 64));
    assert_int_equal(0, post(&a, 4, 4096, 64, HK_IBV_SEND_SIGNALED, &b));
    assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
    assert_int_equal(0, b.bytes[4096]);
    assert_int_equal(0, post_send(&a, 5, 0, 64));
    assert_int_equal(3, take(&b).wr_id);
    assert_int_equal(7, b.bytes[4096]);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

static void rc_waits_and_uc_loses(void **state)
{
    (void)state;
    struct end a, b;
    begin("");
    open_both(&a, &b, HK_IBV_QPT_RC);
    assert_int_equal(0, post_send(&a, 1, 0, 64));
    assert_quiet(&a, 0.05);
    assert_int_equal(0, post_recv(&b, 2, 0, 64));
    assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
    assert_int_equal(2, take(&b).wr_id);
    close_end(&a);
    close_end(&b);
    open_both(&a, &b, HK_IBV_QPT_UC);
    assert_int_equal(0, post_send(&a, 1, 0, 64));
    assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
    sleep_seconds(0.8); /* it has been dropped */
    assert_int_equal(0, post_recv(&b, 2, 0, 64));
    assert_quiet(&b, 0.05);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

enum { LOSSY_MESSAGES = 1000 };

static int count_what_arrives(void)
{
    struct end a, b;
    hk_ibv_wc wc;
    int arrived = 0;
    open_both(&a, &b, HK_IBV_QPT_UC);
    for (int i = 0; i < 64; i++)
        assert_int_equal(0, post_recv(&b, 0, 0, 64));
    for (int i = 0; i < LOSSY_MESSAGES; i++) {
        assert_int_equal(0, post_send(&a, 1, 0, 64));
        assert_int_equal(HK_IBV_WC_SUCCESS, take(&a).status);
        for (int tries = 0; tries < 3; tries++, sleep_seconds(0.0001))
            while (b.context->ops.poll_cq(b.cq, 1, &wc) == 1) {
                arrived++;
                assert_int_equal(0, post_recv(&b, 0, 0, 64));
            }
    }
    sleep_seconds(0.1);
    arrived += b.context->ops.poll_cq(b.cq, 1, &wc);
    close_end(&a);
    close_end(&b);
    return arrived;
}

/* Where its thread was kept from its processor, it found more at once than it had receives for. */
static void loses_what_it_is_told_to(void **state)
{
    (void)state;
    int arrived = 0, least = LOSSY_MESSAGES * 7 / 10;
    begin("loss=20,seed=3");
    for (int tries = 0; tries < 3 && arrived < least; tries++)
        arrived = count_what_arrives();
    assert_in_range(arrived, least, LOSSY_MESSAGES * 9 / 10);
    verbs_end();
}

static void says_when_the_peer_is_gone(void **state)
{
    (void)state;
    struct end a, b;
    begin("");
    open_both(&a, &b, HK_IBV_QPT_RC);
    assert_int_equal(0, library->destroy_qp(b.qp));
    b.qp = NULL;
    assert_int_equal(0, post_recv(&a, 9, 0, 64));
    assert_int_equal(0, post_send(&a, 1, 0, 64));
    assert_int_equal(0, post_send(&a, 2, 0, 64));
    hk_ibv_wc first = take(&a), second = take(&a), third = take(&a);
    assert_int_equal(HK_IBV_WC_RETRY_EXC_ERR, first.status);
    assert_int_equal(1, first.wr_id);
    assert_int_equal(HK_IBV_WC_WR_FLUSH_ERR, second.status);
    assert_int_equal(HK_IBV_WC_WR_FLUSH_ERR, third.status);
    assert_int_equal(2 + 9, second.wr_id + third.wr_id); /* in either order */
    close_end(&a);
    close_end(&b);
    verbs_end();
}

static void wakes_who_sleeps(void **state)
{
    (void)state;
    struct end a, b;
    hk_ibv_cq *cq;
    void *context;
    begin("delay_us=3000");
    open_both(&a, &b, HK_IBV_QPT_UC);
    struct pollfd fd = {.fd = b.channel->fd, .events = POLLIN};
    for (int i = 0; i < 20; i++) {
        assert_int_equal(0, b.context->ops.req_notify_cq(b.cq, 0));
        assert_int_equal(0, post_recv(&b, 1, 0, 64));
        assert_int_equal(0, poll(&fd, 1, 0));
        assert_int_equal(0, post_send(&a, 1, 0, 64));
        assert_int_equal(1, poll(&fd, 1, 10000));
        assert_int_equal(0, library->get_cq_event(b.channel, &cq, &context));
        assert_ptr_equal(b.cq, cq);
        library->ack_cq_events(cq, 1);
        assert_int_equal(1, take(&b).wr_id);
        take(&a);
    }
    close_end(&a);
    close_end(&b);
    verbs_end();
}

static void vanishes(void **state)
{
    (void)state;
    struct end a, b;
    hk_ibv_async_event event;
    begin("gone=fake1:3");
    open_both(&a, &b, HK_IBV_QPT_RC);
    struct pollfd fd = {.fd = b.context->async_fd, .events = POLLIN};
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(0, poll(&fd, 1, 0));
        assert_int_equal(0, post_recv(&b, i, 0, 64));
        assert_int_equal(0, post_send(&a, i, 0, 64));
        take(&a);
    }
    assert_int_equal(1, poll(&fd, 1, 10000));
    assert_int_equal(0, library->get_async_event(b.context, &event));
    assert_int_equal(HK_IBV_EVENT_DEVICE_FATAL, event.event_type);
    library->ack_async_event(&event);
    assert_int_equal(EIO, post_recv(&b, 9, 0, 64));
    assert_int_equal(EIO, post_send(&b, 9, 0, 64));
    assert_null(library->create_qp(b.pd, &(hk_ibv_qp_init_attr){.qp_type = HK_IBV_QPT_RC}));
    assert_int_equal(0, post_send(&a, 9, 0, 64));
    assert_int_equal(HK_IBV_WC_RETRY_EXC_ERR, take(&a).status);
    close_end(&a);
    close_end(&b);
    verbs_end();
}

/* === Limits and errors ======================================================================== */

static void has_limits(void **state)
{
    (void)state;
    hk_ibv_qp *pairs[10];
    hk_ibv_mr *regions[101];
    struct end a;
    int made = 0, registered = 0;
    begin("apple");
    open_end(&a, verbs_device(0), HK_IBV_QPT_UC);
    assert_int_equal(2, a.port);
    assert_false(a.device.rc);
    assert_true(a.device.uc);
    assert_int_equal(0xfe, a.gid.raw[0]);
    while (made < 10 && (pairs[made] = make_pair(&a, HK_IBV_QPT_UC)) != NULL)
        made++;
    assert_int_equal(9, made); /* the end has one */
    assert_int_equal(EBUSY, errno);
    while (registered < 101 &&
           (regions[registered] =
                library->reg_mr(a.pd, a.bytes, 4096,
                                HK_IBV_ACCESS_LOCAL_WRITE | HK_IBV_ACCESS_REMOTE_WRITE |
                                    HK_IBV_ACCESS_REMOTE_READ)) != NULL)
        registered++;
    assert_int_equal(99, registered);
    assert_int_equal(EBUSY, errno);
    while (made > 0)
        library->destroy_qp(pairs[--made]);
    while (registered > 0)
        library->dereg_mr(regions[--registered]);
    assert_null(make_pair(&a, HK_IBV_QPT_RC));
    assert_int_equal(EOPNOTSUPP, errno);
    close_end(&a);
    verbs_end();
}

static void knows_its_gids(void **state)
{
    (void)state;
    struct end a, b;
    begin("");
    open_end(&a, verbs_device(0), HK_IBV_QPT_RC);
    open_end(&b, verbs_device(1), HK_IBV_QPT_RC);
    assert_int_equal(0, to_init(&a));
    assert_int_equal(EINVAL, to_rtr(&a, &b, 0)); /* empty */
    assert_int_equal(EINVAL, to_rtr(&a, &b, 1)); /* link-local, to an IPv4 one */
    assert_int_equal(EINVAL, to_rtr(&a, &b, 5)); /* behind the table */
    assert_int_equal(EINVAL, to_rts(&a));        /* not before RTR */
    assert_int_equal(0, to_rtr(&a, &b, 2));
    close_end(&a);
    close_end(&b);
    verbs_end();
}

/* === Rules ==================================================================================== */

static void before_rtr(void)
{
    struct end a;
    open_end(&a, verbs_device(0), HK_IBV_QPT_UC);
    to_init(&a);
    post_recv(&a, 0, 0, 4096);
}

static void other_frames(void)
{
    struct end a, b;
    open_both(&a, &b, HK_IBV_QPT_UC);
    post_recv(&b, 0, 0, 8192);
    post_send(&a, 0, 0, 4096);
    take(&b);
}

static void too_deep(void)
{
    struct end a, b;
    open_both(&a, &b, HK_IBV_QPT_UC);
    for (int i = 0; i < 5; i++)
        post_recv(&a, 0, 0, 65536); /* 16 frames of the 64 */
}

static void without_rights(void)
{
    struct end a;
    open_end(&a, verbs_device(0), HK_IBV_QPT_UC);
    library->reg_mr(a.pd, a.bytes, 4096, HK_IBV_ACCESS_LOCAL_WRITE);
}

static void reads_without_a_place_for_it(void)
{
    struct end a, b;
    open_both(&a, &b, HK_IBV_QPT_UC);
    post_read(&a, 0, 0, 1, &b);
}

static void to_error(void)
{
    struct end a;
    open_end(&a, verbs_device(0), HK_IBV_QPT_UC);
    library->modify_qp(a.qp, &(hk_ibv_qp_attr){.qp_state = HK_IBV_QPS_ERR}, HK_IBV_QP_STATE);
}

static void outside_the_region(void)
{
    struct end a, b;
    open_both(&a, &b, HK_IBV_QPT_UC);
    post_send(&a, 0, 4096, BYTES - 4095);
}

static void without_acknowledging(void)
{
    struct end a, b;
    hk_ibv_cq *cq;
    void *context;
    open_both(&a, &b, HK_IBV_QPT_UC);
    a.context->ops.req_notify_cq(a.cq, 0);
    post_send(&a, 0, 0, 64);
    library->get_cq_event(a.channel, &cq, &context);
    library->destroy_qp(a.qp);
    library->destroy_cq(a.cq);
}

static void leaving_things_behind(void)
{
    struct end a;
    open_end(&a, verbs_device(0), HK_IBV_QPT_UC);
    library->close_device(a.context);
}

/* Runs in a process of its own, which must end and say so. */
static void expect_broken(const char *settings, void (*body)(void), const char *says)
{
    int fds[2], status;
    char text[1024] = "";
    size_t used = 0;
    begin(settings);
    fflush(NULL);
    assert_int_equal(0, pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        alarm((unsigned)(SECONDS * harness_slowness()));
        body();
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t got;
         used < sizeof text - 1 && (got = read(fds[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    close(fds[0]);
    waitpid(pid, &status, 0);
    CHECK_HAS(text, says);
    CHECK_THAT(!(WIFEXITED(status) && WEXITSTATUS(status) == 0), "the process ended well");
    verbs_end();
}

static void keeps_the_rules(void **state)
{
    (void)state;
    expect_broken("apple", before_rtr, "before RTR");
    expect_broken("apple", other_frames, "must span the same number");
    expect_broken("apple", too_deep, "16 frames is posted where 64 of 64 are taken");
    expect_broken("apple", without_rights, "without all of local write");
    expect_broken("apple", to_error, "moved to ERR");
    expect_broken("", outside_the_region, "do not lie in its region");
    expect_broken("", reads_without_a_place_for_it, "a read is posted on a queue pair that is UC");
    expect_broken("", without_acknowledging, "of which 0 were acknowledged");
    expect_broken("", leaving_things_behind, "is closed with");
}

int main(void)
{
    const struct CMUnitTest strict[] = {
        cmocka_unit_test(keeps_the_rules), /* first: it forks, and no other thread runs yet */
        cmocka_unit_test(loses_what_it_is_told_to),
        cmocka_unit_test(lands_late_where_it_is_told_to),
        cmocka_unit_test(vanishes),
        cmocka_unit_test(has_limits),
        cmocka_unit_test(knows_its_gids),
    };
    const struct CMUnitTest as_any[] = {
        cmocka_unit_test(rc_moves_messages),     cmocka_unit_test(uc_moves_messages),
        cmocka_unit_test(writes_into_memory),    cmocka_unit_test(reads_from_memory),
        cmocka_unit_test(rc_waits_and_uc_loses), cmocka_unit_test(says_when_the_peer_is_gone),
        cmocka_unit_test(wakes_who_sleeps),
    };
    int failed = verbs_are_real() ? 0 : cmocka_run_group_tests(strict, NULL, NULL);
    return failed + cmocka_run_group_tests(as_any, NULL, NULL);
}
