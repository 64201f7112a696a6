/* The part of libibverbs' interface that hocket uses, declared here, so that it is compiled on
 * every system: also for macOS, whose librdma has the same calls, and without rdma-core's headers.
 *
 * Everything has the layout and the value that it has in <infiniband/verbs.h>, under a name of our
 * own; tests/test_verbs_abi.c holds the two against each other. Of what the library allocates
 * (devices, contexts, queue pairs) only the first fields are declared: more follow, and a size says
 * nothing there.
 *
 * Functions return 0 or an errno, unless they say otherwise; some return -1 and set errno
 * (hk_verbs_errno).
 */
#ifndef HK_TRANSPORT_VERBS_ABI_H
#define HK_TRANSPORT_VERBS_ABI_H

#include <stddef.h>
#include <stdint.h>

/* === Devices and ports ======================================================================== */

typedef struct hk_ibv_context hk_ibv_context;
typedef struct hk_ibv_device hk_ibv_device; /* opaque: the library knows its name */

typedef union hk_ibv_gid { /* an IPv6 address, or an IPv4 one as ::ffff:a.b.c.d */
    uint8_t raw[16];
    struct {
        uint64_t subnet_prefix, interface_id; /* big-endian */
    } global;
} hk_ibv_gid;

enum { HK_IBV_GID_IB = 0, HK_IBV_GID_ROCE_V1 = 1, HK_IBV_GID_ROCE_V2 = 2 };

typedef struct hk_ibv_gid_entry {
    hk_ibv_gid gid;
    uint32_t gid_index, port_num;
    uint32_t gid_type; /* HK_IBV_GID_... */
    uint32_t ndev_ifindex;
} hk_ibv_gid_entry;

typedef struct hk_ibv_device_attr {
    char fw_ver[64];
    uint64_t node_guid, sys_image_guid; /* big-endian */
    uint64_t max_mr_size, page_size_cap;
    uint32_t vendor_id, vendor_part_id, hw_ver;
    int max_qp, max_qp_wr;
    unsigned device_cap_flags;
    int max_sge, max_sge_rd, max_cq, max_cqe, max_mr, max_pd;
    int max_qp_rd_atom, max_ee_rd_atom, max_res_rd_atom, max_qp_init_rd_atom, max_ee_init_rd_atom;
    int atomic_cap;
    int max_ee, max_rdd, max_mw, max_raw_ipv6_qp, max_raw_ethy_qp;
    int max_mcast_grp, max_mcast_qp_attach, max_total_mcast_qp_attach;
    int max_ah, max_fmr, max_map_per_fmr, max_srq, max_srq_wr, max_srq_sge;
    uint16_t max_pkeys;
    uint8_t local_ca_ack_delay, phys_port_cnt;
} hk_ibv_device_attr;

enum { /* 256 bytes is 1, each next one the double */
       HK_IBV_MTU_256 = 1,
       HK_IBV_MTU_1024 = 3,
       HK_IBV_MTU_4096 = 5
};

enum {
    HK_IBV_PORT_NOP = 0,
    HK_IBV_PORT_DOWN = 1,
    HK_IBV_PORT_INIT = 2,
    HK_IBV_PORT_ARMED = 3,
    HK_IBV_PORT_ACTIVE = 4,
    HK_IBV_PORT_ACTIVE_DEFER = 5
};

enum { HK_IBV_LINK_UNSPECIFIED = 0, HK_IBV_LINK_INFINIBAND = 1, HK_IBV_LINK_ETHERNET = 2 };

/* ibv_query_port as a symbol fills it up to `flags` alone, older libraries less: zero it before. */
typedef struct hk_ibv_port_attr {
    uint32_t state; /* HK_IBV_PORT_... */
    uint32_t max_mtu, active_mtu;
    int gid_tbl_len;
    uint32_t port_cap_flags, max_msg_sz, bad_pkey_cntr, qkey_viol_cntr;
    uint16_t pkey_tbl_len, lid, sm_lid;
    uint8_t lmc, max_vl_num, sm_sl, subnet_timeout, init_type_reply;
    uint8_t active_width, active_speed, phys_state;
    uint8_t link_layer; /* HK_IBV_LINK_... */
    uint8_t flags;
    uint16_t port_cap_flags2;
} hk_ibv_port_attr;

/* === Memory, completions ====================================================================== */

typedef struct hk_ibv_pd {
    hk_ibv_context *context;
    uint32_t handle;
} hk_ibv_pd;

enum {
    HK_IBV_ACCESS_LOCAL_WRITE = 1,
    HK_IBV_ACCESS_REMOTE_WRITE = 1 << 1,
    HK_IBV_ACCESS_REMOTE_READ = 1 << 2
};

typedef struct hk_ibv_mr {
    hk_ibv_context *context;
    hk_ibv_pd *pd;
    void *addr;
    size_t length;
    uint32_t handle, lkey, rkey;
} hk_ibv_mr;

typedef struct hk_ibv_comp_channel {
    hk_ibv_context *context;
    int fd, refcnt;
} hk_ibv_comp_channel;

typedef struct hk_ibv_cq {
    hk_ibv_context *context;
    hk_ibv_comp_channel *channel;
    void *cq_context;
    uint32_t handle;
    int cqe;
} hk_ibv_cq; /* and more */

typedef enum hk_ibv_wc_status {
    HK_IBV_WC_SUCCESS = 0,
    HK_IBV_WC_LOC_LEN_ERR = 1,
    HK_IBV_WC_LOC_QP_OP_ERR = 2,
    HK_IBV_WC_LOC_PROT_ERR = 4,
    HK_IBV_WC_WR_FLUSH_ERR = 5,
    HK_IBV_WC_BAD_RESP_ERR = 7,
    HK_IBV_WC_LOC_ACCESS_ERR = 8,
    HK_IBV_WC_REM_INV_REQ_ERR = 9,
    HK_IBV_WC_REM_ACCESS_ERR = 10,
    HK_IBV_WC_REM_OP_ERR = 11,
    HK_IBV_WC_RETRY_EXC_ERR = 12,
    HK_IBV_WC_RNR_RETRY_EXC_ERR = 13,
    HK_IBV_WC_REM_ABORT_ERR = 16,
    HK_IBV_WC_FATAL_ERR = 19,
    HK_IBV_WC_RESP_TIMEOUT_ERR = 20,
    HK_IBV_WC_GENERAL_ERR = 21
} hk_ibv_wc_status;

enum {
    HK_IBV_WC_SEND = 0,
    HK_IBV_WC_RDMA_WRITE = 1,
    HK_IBV_WC_RDMA_READ = 2,
    HK_IBV_WC_RECV = 1 << 7
};

typedef struct hk_ibv_wc { /* after a failure only wr_id, status, vendor_err and qp_num count */
    uint64_t wr_id;
    uint32_t status; /* hk_ibv_wc_status */
    uint32_t opcode;
    uint32_t vendor_err, byte_len;
    uint32_t imm_data; /* big-endian */
    uint32_t qp_num, src_qp;
    unsigned wc_flags;
    uint16_t pkey_index, slid;
    uint8_t sl, dlid_path_bits;
} hk_ibv_wc;

/* === Queue pairs ============================================================================== */

enum { HK_IBV_QPT_RC = 2, HK_IBV_QPT_UC = 3 };

typedef struct hk_ibv_qp {
    hk_ibv_context *context;
    void *qp_context;
    hk_ibv_pd *pd;
    hk_ibv_cq *send_cq, *recv_cq;
    void *srq;
    uint32_t handle, qp_num;
    uint32_t state;   /* HK_IBV_QPS_... */
    uint32_t qp_type; /* HK_IBV_QPT_... */
} hk_ibv_qp;          /* and more */

typedef struct hk_ibv_qp_cap {
    uint32_t max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data;
} hk_ibv_qp_cap;

typedef struct hk_ibv_qp_init_attr {
    void *qp_context;
    hk_ibv_cq *send_cq, *recv_cq;
    void *srq;
    hk_ibv_qp_cap cap; /* afterwards: what was granted */
    uint32_t qp_type;
    int sq_sig_all;
} hk_ibv_qp_init_attr;

typedef struct hk_ibv_global_route {
    hk_ibv_gid dgid;
    uint32_t flow_label;
    uint8_t sgid_index, hop_limit, traffic_class;
} hk_ibv_global_route;

typedef struct hk_ibv_ah_attr {
    hk_ibv_global_route grh;
    uint16_t dlid;
    uint8_t sl, src_path_bits, static_rate, is_global, port_num;
} hk_ibv_ah_attr;

enum {
    HK_IBV_QPS_RESET = 0,
    HK_IBV_QPS_INIT = 1,
    HK_IBV_QPS_RTR = 2,
    HK_IBV_QPS_RTS = 3,
    HK_IBV_QPS_SQD = 4,
    HK_IBV_QPS_SQE = 5,
    HK_IBV_QPS_ERR = 6
};

typedef struct hk_ibv_qp_attr {
    uint32_t qp_state, cur_qp_state;
    uint32_t path_mtu, path_mig_state;
    uint32_t qkey, rq_psn, sq_psn, dest_qp_num;
    unsigned qp_access_flags;
    hk_ibv_qp_cap cap;
    hk_ibv_ah_attr ah_attr, alt_ah_attr;
    uint16_t pkey_index, alt_pkey_index;
    uint8_t en_sqd_async_notify, sq_draining, max_rd_atomic, max_dest_rd_atomic;
    uint8_t min_rnr_timer, port_num, timeout, retry_cnt, rnr_retry, alt_port_num, alt_timeout;
    uint32_t rate_limit;
} hk_ibv_qp_attr;

enum { /* which fields of hk_ibv_qp_attr count */
       HK_IBV_QP_STATE = 1 << 0,
       HK_IBV_QP_ACCESS_FLAGS = 1 << 3,
       HK_IBV_QP_PKEY_INDEX = 1 << 4,
       HK_IBV_QP_PORT = 1 << 5,
       HK_IBV_QP_AV = 1 << 7,
       HK_IBV_QP_PATH_MTU = 1 << 8,
       HK_IBV_QP_TIMEOUT = 1 << 9,
       HK_IBV_QP_RETRY_CNT = 1 << 10,
       HK_IBV_QP_RNR_RETRY = 1 << 11,
       HK_IBV_QP_RQ_PSN = 1 << 12,
       HK_IBV_QP_MAX_QP_RD_ATOMIC = 1 << 13,
       HK_IBV_QP_MIN_RNR_TIMER = 1 << 15,
       HK_IBV_QP_SQ_PSN = 1 << 16,
       HK_IBV_QP_MAX_DEST_RD_ATOMIC = 1 << 17,
       HK_IBV_QP_CAP = 1 << 19,
       HK_IBV_QP_DEST_QPN = 1 << 20
};

/* === Work ===================================================================================== */

typedef struct hk_ibv_sge {
    uint64_t addr;
    uint32_t length, lkey;
} hk_ibv_sge;

enum { HK_IBV_WR_RDMA_WRITE = 0, HK_IBV_WR_SEND = 2, HK_IBV_WR_RDMA_READ = 4 };

enum { HK_IBV_SEND_SIGNALED = 1 << 1, HK_IBV_SEND_SOLICITED = 1 << 2, HK_IBV_SEND_INLINE = 1 << 3 };

typedef struct hk_ibv_send_wr hk_ibv_send_wr;
struct hk_ibv_send_wr {
    uint64_t wr_id;
    hk_ibv_send_wr *next;
    hk_ibv_sge *sg_list;
    int num_sge;
    uint32_t opcode; /* HK_IBV_WR_... */
    unsigned send_flags;
    uint32_t imm_data; /* big-endian */
    union {
        struct {
            uint64_t remote_addr;
            uint32_t rkey;
        } rdma;
        uint64_t others[4]; /* atomics, datagrams */
    } wr;
    uint64_t rest[7]; /* of other kinds of queue pair and of work: not ours, zero */
};

typedef struct hk_ibv_recv_wr hk_ibv_recv_wr;
struct hk_ibv_recv_wr {
    uint64_t wr_id;
    hk_ibv_recv_wr *next;
    hk_ibv_sge *sg_list;
    int num_sge;
};

/* === Contexts, and what is called through them ================================================ */

typedef void (*hk_ibv_other_fn)(void); /* a slot that is not ours */

typedef struct hk_ibv_context_ops {
    hk_ibv_other_fn before_poll_cq[11];
    /* How many there were, or below 0. */
    int (*poll_cq)(hk_ibv_cq *cq, int most, hk_ibv_wc *wc);
    int (*req_notify_cq)(hk_ibv_cq *cq, int solicited_only);
    hk_ibv_other_fn before_post_send[12];
    int (*post_send)(hk_ibv_qp *qp, hk_ibv_send_wr *wr, hk_ibv_send_wr **bad);
    int (*post_recv)(hk_ibv_qp *qp, hk_ibv_recv_wr *wr, hk_ibv_recv_wr **bad);
    hk_ibv_other_fn after_post_recv[5];
} hk_ibv_context_ops;

struct hk_ibv_context {
    hk_ibv_device *device;
    hk_ibv_context_ops ops;
    int cmd_fd, async_fd, num_comp_vectors;
}; /* and more */

/* === Events =================================================================================== */

enum {
    HK_IBV_EVENT_CQ_ERR = 0,
    HK_IBV_EVENT_QP_FATAL = 1,
    HK_IBV_EVENT_QP_REQ_ERR = 2,
    HK_IBV_EVENT_QP_ACCESS_ERR = 3,
    HK_IBV_EVENT_DEVICE_FATAL = 8,
    HK_IBV_EVENT_PORT_ACTIVE = 9,
    HK_IBV_EVENT_PORT_ERR = 10
};

typedef struct hk_ibv_async_event {
    union {
        hk_ibv_cq *cq;
        hk_ibv_qp *qp;
        int port_num;
    } element;
    uint32_t event_type; /* HK_IBV_EVENT_... */
} hk_ibv_async_event;

#endif
