/* The RDMA devices of this host: what the transport chooses among, and what doctor prints. The one
 * file that knows of rules of Apple's devices; others go by what a device says of itself here.
 * HOCKET_VERBS_PROFILE=apple makes any device say what Apple's say, for tests. */
#ifndef HK_TRANSPORT_VERBS_DEVICE_H
#define HK_TRANSPORT_VERBS_DEVICE_H

#include "transport/verbs/library.h"
#include <stdbool.h>

#define HK_VERBS_NAME_MAX 64 /* of a device, with its NUL */
#define HK_VERBS_PORTS_MAX 4 /* that are looked at */
#define HK_VERBS_GIDS_MAX 16 /* valid ones of a port that are kept */
#define HK_VERBS_DEVICES_MAX 64
#define HK_VERBS_FRAME 4096 /* what queues and receives are counted in */

typedef struct hk_verbs_gid {
    int index;
    hk_ibv_gid gid;
    int type;      /* HK_IBV_GID_..., -1: unknown */
    char text[48]; /* "fe80::1", "10.9.0.1" */
} hk_verbs_gid;

typedef struct hk_verbs_port {
    int number;
    uint32_t state;      /* HK_IBV_PORT_... */
    uint8_t link_layer;  /* HK_IBV_LINK_... */
    uint32_t active_mtu; /* HK_IBV_MTU_... */
    uint16_t lid;
    int gid_count;
    hk_verbs_gid gids[HK_VERBS_GIDS_MAX]; /* the valid ones */
} hk_verbs_port;

typedef struct hk_verbs_device {
    char name[HK_VERBS_NAME_MAX];
    hocket_status status; /* not HOCKET_OK: it could not be looked at, error says why */
    char error[256];
    int port_count;
    hk_verbs_port ports[HK_VERBS_PORTS_MAX];
    int max_qp, max_mr, max_cqe;
    int max_depth; /* of a queue, in frames */
    uint64_t max_mr_bytes;
    uint32_t max_message; /* bytes of one SEND, the least of the ports' */
    bool rc, uc;          /* kinds of queue pair that it makes */
    uint8_t hop_limit;    /* for the packets */
    bool reads;           /* it asks for RDMA reads over RC and answers them */
    bool whole;           /* a SEND spans as many frames as the RECV that it meets */
} hk_verbs_device;

/* Whether the library is here and lists a device; looks at none. UNAVAILABLE. */
hocket_status hk_verbs_available(void);

/* All devices of this host, to be freed with free(). UNAVAILABLE: there is no library, or no
 * device, with what is likely to be missing. */
hocket_status hk_verbs_devices(hk_verbs_device **devices, int *count);

/* Opens the device of that name and looks at it. UNAVAILABLE: there is none, with the names of
 * those that there are; SYSTEM. *context is closed with hk_verbs_library.close_device. */
hocket_status hk_verbs_device_open(const char *name, hk_verbs_device *device,
                                   hk_ibv_context **context);

/* The port to use: the one with a GID for `local` (16 bytes as in a GID; may be NULL), else the
 * first that is active. NULL: none is active; the thread's error says so. */
const hk_verbs_port *hk_verbs_choose_port(const hk_verbs_device *device, const uint8_t *local);

/* The GID to use on that port: `local` itself, else the first of IPv4, else the first that is
 * valid, link-local ones included; of RoCE v2 before others. NULL where the port has none, which
 * InfiniBand does without and Ethernet cannot. */
const hk_verbs_gid *hk_verbs_choose_gid(const hk_verbs_port *port, const uint8_t *local);

/* "active", "down", ... and "Ethernet", "InfiniBand", "RoCE v2", for people. */
const char *hk_verbs_state_text(uint32_t state);
const char *hk_verbs_link_text(uint8_t link_layer);
const char *hk_verbs_gid_type_text(int type);
int hk_verbs_mtu_bytes(uint32_t mtu);

#endif
