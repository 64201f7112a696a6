/* A rail: a device of this host that is in use, with what all its queue pairs share: protection
 * domain, completion queue, the channel to sleep on, the arena.
 *
 *     hk_rail_open(&rail, "rxe1", local);             the device, its port and GID
 *     hk_rail_furnish(&rail, bytes, entries, queues); when it is known how much is needed
 */
#ifndef HK_TRANSPORT_VERBS_RAIL_H
#define HK_TRANSPORT_VERBS_RAIL_H

#include "core/deadline.h"
#include "transport/verbs/arena.h"

typedef struct hk_queue hk_queue;

typedef struct hk_rail {
    const hk_verbs_library *library;
    hk_verbs_device device;
    hk_ibv_context *context;
    hk_verbs_port port;
    hk_verbs_gid gid; /* index -1: the port has none, and needs none */
    hk_ibv_pd *pd;
    hk_ibv_comp_channel *channel; /* NULL: there is none, who waits naps */
    hk_ibv_cq *cq;
    hk_arena arena;
    hk_queue **queues; /* by their number; NULL: closed */
    int queue_count, queue_max;
    bool armed;         /* a completion will be told on the channel */
    hk_time down_until; /* the port has lost its link: when to give it up; 0: it has not */
} hk_rail;

/* local: this rank's address as a GID, which chooses port and GID, or NULL. UNAVAILABLE, SYSTEM. A
 * zeroed or closed rail is fine to close. */
hocket_status hk_rail_open(hk_rail *rail, const char *name, const uint8_t *local);
void hk_rail_close(hk_rail *rail);

/* bytes: of the arena; entries: completions that may lie there unpolled; queues: how many there
 * will be. UNAVAILABLE: more than the device has. */
hocket_status hk_rail_furnish(hk_rail *rail, size_t bytes, int entries, int queues);

/* Up to that many completions. SYSTEM: the device has failed. */
hocket_status hk_rail_poll(hk_rail *rail, hk_ibv_wc *completions, int most, int *count);

/* From now on the channel's descriptor is readable once a completion comes. What came before is
 * still to be polled for. */
hocket_status hk_rail_arm(hk_rail *rail);

/* The descriptors to sleep on; -1: there is none. */
int hk_rail_channel_fd(const hk_rail *rail);
int hk_rail_events_fd(const hk_rail *rail);

/* Takes what made the channel readable. */
void hk_rail_disarm(hk_rail *rail);

/* A cable that is put back within this time harms nobody: sends that meet no failure go on. */
#define HK_RAIL_DOWN (3 * HK_SECOND)

/* Reads the device's events. SYSTEM: it is gone or has failed, or its port has been without its
 * link for too long: who has nothing to send would not hear of that from a completion. */
hocket_status hk_rail_look(hk_rail *rail);

/* When to look though there is no event; HK_FOREVER: then there is no need. */
hk_time hk_rail_due(const hk_rail *rail);

/* After a failed completion: whether it is this rank's own device that has gone. */
hocket_status hk_rail_check(hk_rail *rail);

hk_verbs_place hk_rail_place(const hk_rail *rail, int peer);

#endif
