/* A libibverbs of our own, for the processes and threads of one host: what HOCKET_VERBS_LIBRARY
 * names in tests. It has the calls of transport/verbs/abi.h over unix sockets, and it is strict:
 * where a real device would go wrong in silence, or differs from another, it ends the process and
 * says which rule was broken (fake_broken).
 *
 *   fake.c           devices, contexts, memory regions
 *   fake_queues.c    completion queues, channels, asynchronous events
 *   fake_pairs.c     queue pairs: made, moved from state to state, posted to
 *   fake_nic.c       the thread of a context that acts as its device: connections and messages
 *   fake_far.c       what is written and read from afar
 *   fake_settings.c  what tests ask for
 *
 * HOCKET_FAKE_VERBS has the settings, key=value with commas between:
 *
 *   dir=/tmp/x       where queue pairs meet, a folder that all ranks of a test share; needed
 *   count=4          devices fake0 to fake3; 8
 *   only=fake1       the process sees that one alone, as on a host of its own; several: fake1+fake2
 *   apple            as Apple's: UC alone, 10 queue pairs and 100 regions a device, no inline data,
 *                    the second of two ports; and their rules are kept
 *   rc=0             no RC
 *   reads=0          no RDMA reads
 *   loss=5           so many per cent of UC's messages are lost, other ones with another seed=7
 *   delay_us=300     completions are seen late, by up to so much
 *   kill=fake1:50    the process that has that device open is killed at the 50th message that
 *                    the device sends or takes
 *   gone=fake1:50    the device vanishes at that message: it says so, and does no more
 *   unplug=fake1:50  its cable is pulled: the port says that it is down, and what is sent fails
 *   silent=fake1:50  nothing passes any more, in or out, and it says nothing
 *   slow=fake1:5     each write that comes to that device is late by so many milliseconds
 *   landing=fake1:5  what is written to that device is in memory so many milliseconds after it has
 *                    been answered; or when the queue pair is read from, or the device takes a
 *                    message into memory: its own writes to the bus keep their order
 *   rtr=22           moving to RTR ends with that errno
 *   busy=9           so many queue pairs of each device are in other hands
 *   full=100         so many memory regions
 *   down             no port is active
 *   nogid            no port has a GID
 *   broken           no device can be opened
 *
 * A file dir/fake1.gone makes the device vanish, too, whenever a test makes it, and
 * dir/fake1.unplug pulls its cable.
 */
#ifndef TESTS_VERBS_FAKE_H
#define TESTS_VERBS_FAKE_H

#include "transport/verbs/abi.h"
#include "counts.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_DEVICES 16
#define FAKE_NAME 16
#define FAKE_DIR 64 /* a socket's path has room for little more than 100 */
#define FAKE_FRAME 4096
#define FAKE_SGES 4
#define FAKE_GIDS 3
#define FAKE_READ_MOST 8 /* bytes of an RDMA read: they travel in the answer's head */
#define FAKE_API __attribute__((visibility("default")))

/* === Settings ================================================================================= */

typedef struct fake_end { /* of a process, or of a device */
    char device[FAKE_NAME];
    unsigned long at; /* message; 0 is never */
} fake_end;

typedef struct fake_settings {
    char dir[FAKE_DIR], only[FAKE_DEVICES * FAKE_NAME];
    int count, rtr, busy, full;
    bool apple, rc, reads, down, nogid, broken;
    double loss;
    uint64_t seed;
    unsigned delay_us;
    fake_end kill, gone, unplug, silent, slow, landing;

    /* What follows from them. */
    int pairs_max, regions_max, depth_max, inline_max, ports, active_port;
} fake_settings;

/* As they were when the process last opened a device while it had none open. */
const fake_settings *fake_get_settings(void);
void fake_read_settings(void);

/* Says which rule was broken, and ends the process. */
_Noreturn void fake_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

int64_t fake_now_ns(void);

/* === What there is ============================================================================ */

struct hk_ibv_device {
    char name[FAKE_NAME];
    int index;
    atomic_ulong counts[FAKE_COUNTS];
    int pairs, regions; /* in use, of this process; under the lock of the devices */
};

typedef struct fake_context fake_context;
typedef struct fake_pair fake_pair;

typedef struct fake_region {
    hk_ibv_mr mr;
    int access;
    struct fake_region *next;
} fake_region;

typedef struct fake_completion {
    hk_ibv_wc wc;
    fake_pair *pair;
    int send_frames, recv_frames; /* that its being polled makes room for, in the pair's queues */
    int64_t ready_ns;
    bool announced;
} fake_completion;

typedef struct fake_queue {
    hk_ibv_cq cq;
    fake_completion *ring; /* of cq.cqe */
    int first, count;
    bool armed;
    unsigned events, acknowledged;
    uint64_t dice;
    struct fake_queue *next;
} fake_queue;

typedef struct fake_channel {
    hk_ibv_comp_channel channel;
    int write_fd;
    struct fake_channel *next;
} fake_channel;

typedef struct fake_work { /* posted, a send or a receive */
    uint64_t id;
    uint32_t opcode;
    bool signaled, posted; /* posted: to the wire */
    int sge_count;
    hk_ibv_sge sges[FAKE_SGES];
    unsigned char *inlined;
    uint32_t length, rkey;
    uint64_t remote;
    int frames;
    struct fake_work *next;
} fake_work;

typedef struct fake_works {
    fake_work *first, *last;
    int frames; /* not yet polled, those that have completed among them */
} fake_works;

/* What goes over a connection: a head, and for a message its bytes. */
typedef struct fake_head {
    uint32_t kind; /* FAKE_HELLO, ... */
    uint32_t length, rkey, status;
    uint32_t wanted; /* of a read */
    uint64_t remote;
    unsigned char read[FAKE_READ_MOST];
    uint32_t qpn, device, psn, mtu, rnr_retry; /* of a hello */
} fake_head;
enum { FAKE_HELLO = 0x68656c6f, FAKE_SEND, FAKE_WRITE, FAKE_READ, FAKE_ACK };

typedef struct fake_landing { /* written, and on its way to memory */
    void *to;
    unsigned char *bytes;
    uint32_t length;
    int64_t due_ns;
    struct fake_landing *next;
} fake_landing;

struct fake_pair {
    hk_ibv_qp qp;
    hk_ibv_qp_init_attr init;
    hk_ibv_qp_attr attr; /* what the moves have set */
    int peer_device;
    fake_works sends, recvs;
    int unsignaled_frames;
    char path[FAKE_DIR + 40];

    int listener, in, out; /* -1 for none */
    int64_t out_again_ns;  /* when to try the connection again */
    int64_t lost_ns;       /* when an RC pair gives its peer up; 0: it is there */

    unsigned char *out_bytes; /* being sent */
    size_t out_length, out_done;
    fake_head acks; /* being read from `out` */
    size_t acks_done;

    fake_head head; /* being read from `in` */
    size_t head_done, body_done;
    unsigned char *body;
    bool greeted, whole; /* whole: waits for a receive */
    uint32_t peer_rnr_retry;
    int64_t rnr_ns;  /* when the wait for a receive ends */
    int64_t slow_ns; /* when the write may be done; 0: at once */
    uint64_t dice;
    fake_landing *landing, **last_landing;
    fake_pair *next;
};

struct fake_context {
    hk_ibv_context context;
    hk_ibv_device *device;
    pthread_mutex_t lock; /* over all that follows, and all that belongs to the context */
    pthread_t thread;
    int wake[2], events[2]; /* events: asynchronous ones */
    bool asleep, ending, unplugged, port_down, silent;
    atomic_bool gone; /* is looked at without the lock, too */
    unsigned long messages;
    int64_t look_ns; /* when to see whether the device has vanished */
    int64_t down_ns; /* when the port of an unplugged device says that it is down */
    uint32_t next_key;
    int domains;
    fake_pair *pairs;
    fake_queue *queues;
    fake_channel *channels;
    fake_region *regions;
};

static inline fake_context *fake_of(hk_ibv_context *context)
{
    return (fake_context *)context;
}

static inline void fake_add(const fake_context *context, fake_count what, unsigned long by)
{
    atomic_fetch_add_explicit(&context->device->counts[what], by, memory_order_relaxed);
}

static inline int fake_frames(uint64_t bytes)
{
    return bytes == 0 ? 1 : (int)((bytes + FAKE_FRAME - 1) / FAKE_FRAME);
}

/* 0 to 1, and the next state of the dice. */
double fake_roll(uint64_t *dice);

/* === Between the files; all with the context's lock =========================================== */

/* The device's number in a GID of the table, -1 for another. */
int fake_device_of_gid(const hk_ibv_gid *gid);
bool fake_gid_at(const hk_ibv_device *device, int port, int index, hk_ibv_gid *gid);

/* Counts a queue pair of the device; false and EBUSY: there are no more. */
bool fake_take_pair(hk_ibv_device *device);
void fake_give_pair_back(hk_ibv_device *device);

/* Ends the process unless the region is there, holds all of the bytes and has the rights. */
void fake_check_memory(fake_context *context, const fake_pair *pair, const hk_ibv_sge *sge,
                       int rights, const char *what);
/* NULL: there are no such bytes with these rights from afar. */
void *fake_find_remote(fake_context *context, uint32_t rkey, int rights, uint64_t address,
                       uint32_t length);
/* What has been written to the pair, or to all of the device, is in memory from now on. */
void fake_land(fake_pair *pair);
void fake_land_all(fake_context *context);
/* Those whose time has come. Returns when the next one's does, INT64_MAX for never. */
int64_t fake_land_due(fake_pair *pair);
/* The write or read that the pair has got. False: it has no right to that memory. */
bool fake_take_write(fake_context *context, fake_pair *pair);
bool fake_take_read(fake_context *context, fake_pair *pair, fake_head *answer);

/* Into the memory of a work. */
void fake_scatter(const fake_work *work, const unsigned char *bytes, uint32_t length);
/* Takes the first work off, and puts its completion into the queue. */
void fake_complete_send(fake_pair *pair, hk_ibv_wc_status status);
void fake_complete_recv(fake_pair *pair, hk_ibv_wc_status status, uint32_t length);
/* To the state of error; what is posted ends so. */
void fake_pair_error(fake_pair *pair);
void fake_close_connections(fake_pair *pair);

void fake_push(fake_queue *queue, fake_completion completion);
void fake_forget_pair(fake_queue *queue, const fake_pair *pair);
/* Channels hear of what is ready now. Returns when the next is, INT64_MAX for never. */
int64_t fake_announce(fake_queue *queue);
void fake_raise_event(fake_context *context, uint32_t type);

void *fake_nic(void *context);
void fake_nic_wake(fake_context *context);
/* Where queue pairs of the device are met. */
void fake_pair_path(char *path, size_t size, int device, uint32_t qpn);
void fake_counted(fake_context *context); /* a message */

int fake_poll(hk_ibv_cq *cq, int most, hk_ibv_wc *wc);
int fake_arm(hk_ibv_cq *cq, int solicited_only);
int fake_post_send(hk_ibv_qp *qp, hk_ibv_send_wr *wr, hk_ibv_send_wr **bad);
int fake_post_recv(hk_ibv_qp *qp, hk_ibv_recv_wr *wr, hk_ibv_recv_wr **bad);

#endif
