/* src/transport/verbs/abi.h is laid out as rdma-core's <infiniband/verbs.h>. */
#include "harness.h"
#include "transport/verbs/abi.h"

#if defined(__has_include)
#if __has_include(<infiniband/verbs.h>)
#define HAVE_VERBS_H
#endif
#endif

#ifndef HAVE_VERBS_H

int main(void)
{
    puts("skipped: <infiniband/verbs.h> is not here (libibverbs-dev), so there is nothing to "
         "compare with");
    return 77;
}

#else

#include <infiniband/verbs.h>

#define SAME(what, ours, theirs)                                                                   \
    CHECK_THAT((long long)(ours) == (long long)(theirs), "%s is %lld here and %lld there", what,   \
               (long long)(ours), (long long)(theirs))
#define FIELD_AS(ours, our_field, theirs, their_field)                                             \
    do {                                                                                           \
        SAME("the place of " #their_field " in " #theirs, offsetof(ours, our_field),               \
             offsetof(struct theirs, their_field));                                                \
        SAME("the size of " #their_field " in " #theirs, sizeof(((ours *)0)->our_field),           \
             sizeof(((struct theirs *)0)->their_field));                                           \
    } while (0)
#define FIELD(name, field) FIELD_AS(hk_ibv_##name, field, ibv_##name, field)
#define SIZE(name) SAME("the size of ibv_" #name, sizeof(hk_ibv_##name), sizeof(struct ibv_##name))
#define VALUE(ours, theirs) SAME(#theirs, HK_IBV_##ours, IBV_##theirs)

static void devices(void **state)
{
    (void)state;
    SAME("the size of ibv_gid", sizeof(hk_ibv_gid), sizeof(union ibv_gid));
    SAME("interface_id", offsetof(hk_ibv_gid, global.interface_id),
         offsetof(union ibv_gid, global.interface_id));
    SIZE(gid_entry);
    FIELD(gid_entry, gid);
    FIELD(gid_entry, gid_index);
    FIELD(gid_entry, port_num);
    FIELD(gid_entry, gid_type);
    FIELD(gid_entry, ndev_ifindex);
    SIZE(device_attr);
    FIELD(device_attr, fw_ver);
    FIELD(device_attr, node_guid);
    FIELD(device_attr, max_mr_size);
    FIELD(device_attr, page_size_cap);
    FIELD(device_attr, vendor_id);
    FIELD(device_attr, max_qp);
    FIELD(device_attr, max_qp_wr);
    FIELD(device_attr, device_cap_flags);
    FIELD(device_attr, max_sge);
    FIELD(device_attr, max_cqe);
    FIELD(device_attr, max_mr);
    FIELD(device_attr, max_pd);
    FIELD(device_attr, max_qp_init_rd_atom);
    FIELD(device_attr, atomic_cap);
    FIELD(device_attr, max_mcast_grp);
    FIELD(device_attr, max_srq_sge);
    FIELD(device_attr, max_pkeys);
    FIELD(device_attr, local_ca_ack_delay);
    FIELD(device_attr, phys_port_cnt);
    SIZE(port_attr);
    FIELD(port_attr, state);
    FIELD(port_attr, max_mtu);
    FIELD(port_attr, active_mtu);
    FIELD(port_attr, gid_tbl_len);
    FIELD(port_attr, port_cap_flags);
    FIELD(port_attr, max_msg_sz);
    FIELD(port_attr, bad_pkey_cntr);
    FIELD(port_attr, qkey_viol_cntr);
    FIELD(port_attr, pkey_tbl_len);
    FIELD(port_attr, lid);
    FIELD(port_attr, sm_lid);
    FIELD(port_attr, lmc);
    FIELD(port_attr, max_vl_num);
    FIELD(port_attr, subnet_timeout);
    FIELD(port_attr, active_width);
    FIELD(port_attr, phys_state);
    FIELD(port_attr, link_layer);
    FIELD(port_attr, flags);
    FIELD(port_attr, port_cap_flags2);
}

static void device_values(void **state)
{
    (void)state;
    VALUE(GID_IB, GID_TYPE_IB);
    VALUE(GID_ROCE_V1, GID_TYPE_ROCE_V1);
    VALUE(GID_ROCE_V2, GID_TYPE_ROCE_V2);
    VALUE(MTU_256, MTU_256);
    VALUE(MTU_1024, MTU_1024);
    VALUE(MTU_4096, MTU_4096);
    VALUE(PORT_NOP, PORT_NOP);
    VALUE(PORT_DOWN, PORT_DOWN);
    VALUE(PORT_INIT, PORT_INIT);
    VALUE(PORT_ARMED, PORT_ARMED);
    VALUE(PORT_ACTIVE, PORT_ACTIVE);
    VALUE(PORT_ACTIVE_DEFER, PORT_ACTIVE_DEFER);
    VALUE(LINK_UNSPECIFIED, LINK_LAYER_UNSPECIFIED);
    VALUE(LINK_INFINIBAND, LINK_LAYER_INFINIBAND);
    VALUE(LINK_ETHERNET, LINK_LAYER_ETHERNET);
    VALUE(EVENT_CQ_ERR, EVENT_CQ_ERR);
    VALUE(EVENT_QP_FATAL, EVENT_QP_FATAL);
    VALUE(EVENT_QP_REQ_ERR, EVENT_QP_REQ_ERR);
    VALUE(EVENT_QP_ACCESS_ERR, EVENT_QP_ACCESS_ERR);
    VALUE(EVENT_DEVICE_FATAL, EVENT_DEVICE_FATAL);
    VALUE(EVENT_PORT_ACTIVE, EVENT_PORT_ACTIVE);
    VALUE(EVENT_PORT_ERR, EVENT_PORT_ERR);
    SIZE(async_event);
    FIELD(async_event, element);
    FIELD(async_event, event_type);
}

static void memory(void **state)
{
    (void)state;
    SIZE(pd);
    FIELD(pd, context);
    FIELD(pd, handle);
    SIZE(mr);
    FIELD(mr, context);
    FIELD(mr, pd);
    FIELD(mr, addr);
    FIELD(mr, length);
    FIELD(mr, handle);
    FIELD(mr, lkey);
    FIELD(mr, rkey);
    VALUE(ACCESS_LOCAL_WRITE, ACCESS_LOCAL_WRITE);
    VALUE(ACCESS_REMOTE_WRITE, ACCESS_REMOTE_WRITE);
    VALUE(ACCESS_REMOTE_READ, ACCESS_REMOTE_READ);
}

static void completions(void **state)
{
    (void)state;
    SIZE(comp_channel);
    FIELD(comp_channel, context);
    FIELD(comp_channel, fd);
    FIELD(comp_channel, refcnt);
    FIELD(cq, context);
    FIELD(cq, channel);
    FIELD(cq, cq_context);
    FIELD(cq, handle);
    FIELD(cq, cqe);
    SIZE(wc);
    FIELD(wc, wr_id);
    FIELD(wc, status);
    FIELD(wc, opcode);
    FIELD(wc, vendor_err);
    FIELD(wc, byte_len);
    FIELD(wc, imm_data);
    FIELD(wc, qp_num);
    FIELD(wc, src_qp);
    FIELD(wc, wc_flags);
    FIELD(wc, pkey_index);
    FIELD(wc, slid);
    FIELD(wc, sl);
    FIELD(wc, dlid_path_bits);
    VALUE(WC_SEND, WC_SEND);
    VALUE(WC_RDMA_WRITE, WC_RDMA_WRITE);
    VALUE(WC_RDMA_READ, WC_RDMA_READ);
    VALUE(WC_RECV, WC_RECV);
    VALUE(WC_SUCCESS, WC_SUCCESS);
    VALUE(WC_LOC_LEN_ERR, WC_LOC_LEN_ERR);
    VALUE(WC_LOC_QP_OP_ERR, WC_LOC_QP_OP_ERR);
    VALUE(WC_LOC_PROT_ERR, WC_LOC_PROT_ERR);
    VALUE(WC_WR_FLUSH_ERR, WC_WR_FLUSH_ERR);
    VALUE(WC_BAD_RESP_ERR, WC_BAD_RESP_ERR);
    VALUE(WC_LOC_ACCESS_ERR, WC_LOC_ACCESS_ERR);
    VALUE(WC_REM_INV_REQ_ERR, WC_REM_INV_REQ_ERR);
    VALUE(WC_REM_ACCESS_ERR, WC_REM_ACCESS_ERR);
    VALUE(WC_REM_OP_ERR, WC_REM_OP_ERR);
    VALUE(WC_RETRY_EXC_ERR, WC_RETRY_EXC_ERR);
    VALUE(WC_RNR_RETRY_EXC_ERR, WC_RNR_RETRY_EXC_ERR);
    VALUE(WC_REM_ABORT_ERR, WC_REM_ABORT_ERR);
    VALUE(WC_FATAL_ERR, WC_FATAL_ERR);
    VALUE(WC_RESP_TIMEOUT_ERR, WC_RESP_TIMEOUT_ERR);
    VALUE(WC_GENERAL_ERR, WC_GENERAL_ERR);
}

static void queue_pairs(void **state)
{
    (void)state;
    FIELD(qp, context);
    FIELD(qp, qp_context);
    FIELD(qp, pd);
    FIELD(qp, send_cq);
    FIELD(qp, recv_cq);
    FIELD(qp, srq);
    FIELD(qp, handle);
    FIELD(qp, qp_num);
    FIELD(qp, state);
    FIELD(qp, qp_type);
    SIZE(qp_cap);
    FIELD(qp_cap, max_send_wr);
    FIELD(qp_cap, max_recv_wr);
    FIELD(qp_cap, max_send_sge);
    FIELD(qp_cap, max_recv_sge);
    FIELD(qp_cap, max_inline_data);
    SIZE(qp_init_attr);
    FIELD(qp_init_attr, qp_context);
    FIELD(qp_init_attr, send_cq);
    FIELD(qp_init_attr, recv_cq);
    FIELD(qp_init_attr, srq);
    FIELD(qp_init_attr, cap);
    FIELD(qp_init_attr, qp_type);
    FIELD(qp_init_attr, sq_sig_all);
    SIZE(global_route);
    FIELD(global_route, dgid);
    FIELD(global_route, flow_label);
    FIELD(global_route, sgid_index);
    FIELD(global_route, hop_limit);
    FIELD(global_route, traffic_class);
    SIZE(ah_attr);
    FIELD(ah_attr, grh);
    FIELD(ah_attr, dlid);
    FIELD(ah_attr, sl);
    FIELD(ah_attr, src_path_bits);
    FIELD(ah_attr, static_rate);
    FIELD(ah_attr, is_global);
    FIELD(ah_attr, port_num);
    SIZE(qp_attr);
    FIELD(qp_attr, qp_state);
    FIELD(qp_attr, cur_qp_state);
    FIELD(qp_attr, path_mtu);
    FIELD(qp_attr, qkey);
    FIELD(qp_attr, rq_psn);
    FIELD(qp_attr, sq_psn);
    FIELD(qp_attr, dest_qp_num);
    FIELD(qp_attr, qp_access_flags);
    FIELD(qp_attr, cap);
    FIELD(qp_attr, ah_attr);
    FIELD(qp_attr, alt_ah_attr);
    FIELD(qp_attr, pkey_index);
    FIELD(qp_attr, sq_draining);
    FIELD(qp_attr, max_rd_atomic);
    FIELD(qp_attr, max_dest_rd_atomic);
    FIELD(qp_attr, min_rnr_timer);
    FIELD(qp_attr, port_num);
    FIELD(qp_attr, timeout);
    FIELD(qp_attr, retry_cnt);
    FIELD(qp_attr, rnr_retry);
    FIELD(qp_attr, alt_timeout);
    FIELD(qp_attr, rate_limit);
}

static void queue_pair_values(void **state)
{
    (void)state;
    VALUE(QPT_RC, QPT_RC);
    VALUE(QPT_UC, QPT_UC);
    VALUE(QPS_RESET, QPS_RESET);
    VALUE(QPS_INIT, QPS_INIT);
    VALUE(QPS_RTR, QPS_RTR);
    VALUE(QPS_RTS, QPS_RTS);
    VALUE(QPS_SQD, QPS_SQD);
    VALUE(QPS_SQE, QPS_SQE);
    VALUE(QPS_ERR, QPS_ERR);
    VALUE(QP_STATE, QP_STATE);
    VALUE(QP_ACCESS_FLAGS, QP_ACCESS_FLAGS);
    VALUE(QP_PKEY_INDEX, QP_PKEY_INDEX);
    VALUE(QP_PORT, QP_PORT);
    VALUE(QP_AV, QP_AV);
    VALUE(QP_PATH_MTU, QP_PATH_MTU);
    VALUE(QP_TIMEOUT, QP_TIMEOUT);
    VALUE(QP_RETRY_CNT, QP_RETRY_CNT);
    VALUE(QP_RNR_RETRY, QP_RNR_RETRY);
    VALUE(QP_RQ_PSN, QP_RQ_PSN);
    VALUE(QP_MAX_QP_RD_ATOMIC, QP_MAX_QP_RD_ATOMIC);
    VALUE(QP_MIN_RNR_TIMER, QP_MIN_RNR_TIMER);
    VALUE(QP_SQ_PSN, QP_SQ_PSN);
    VALUE(QP_MAX_DEST_RD_ATOMIC, QP_MAX_DEST_RD_ATOMIC);
    VALUE(QP_CAP, QP_CAP);
    VALUE(QP_DEST_QPN, QP_DEST_QPN);
}

static void work(void **state)
{
    (void)state;
    SIZE(sge);
    FIELD(sge, addr);
    FIELD(sge, length);
    FIELD(sge, lkey);
    SIZE(send_wr);
    FIELD(send_wr, wr_id);
    FIELD(send_wr, next);
    FIELD(send_wr, sg_list);
    FIELD(send_wr, num_sge);
    FIELD(send_wr, opcode);
    FIELD(send_wr, send_flags);
    FIELD(send_wr, imm_data);
    FIELD(send_wr, wr);
    FIELD(send_wr, wr.rdma.remote_addr);
    FIELD(send_wr, wr.rdma.rkey);
    SIZE(recv_wr);
    FIELD(recv_wr, wr_id);
    FIELD(recv_wr, next);
    FIELD(recv_wr, sg_list);
    FIELD(recv_wr, num_sge);
    VALUE(WR_RDMA_WRITE, WR_RDMA_WRITE);
    VALUE(WR_SEND, WR_SEND);
    VALUE(WR_RDMA_READ, WR_RDMA_READ);
    VALUE(SEND_SIGNALED, SEND_SIGNALED);
    VALUE(SEND_SOLICITED, SEND_SOLICITED);
    VALUE(SEND_INLINE, SEND_INLINE);
    SIZE(context_ops);
    FIELD(context_ops, poll_cq);
    FIELD(context_ops, req_notify_cq);
    FIELD(context_ops, post_send);
    FIELD(context_ops, post_recv);
    FIELD(context, device);
    FIELD(context, ops);
    FIELD(context, cmd_fd);
    FIELD(context, async_fd);
    FIELD(context, num_comp_vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices),     cmocka_unit_test(device_values),
        cmocka_unit_test(memory),      cmocka_unit_test(completions),
        cmocka_unit_test(queue_pairs), cmocka_unit_test(queue_pair_values),
        cmocka_unit_test(work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
