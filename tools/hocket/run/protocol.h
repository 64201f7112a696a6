/* What front and agent say to each other: frames of 12 bytes (type, number, length, each 32 bits,
 * little-endian) and a payload. Both ends are processes of ours, but what comes through ssh is from
 * outside all the same: every length is checked. */
#ifndef HK_TOOL_PROTOCOL_H
#define HK_TOOL_PROTOCOL_H

#include "command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_FRAME_HEADER 12
#define HK_FRAME_BYTES_MAX 65536        /* of a payload, unless it is the plan */
#define HK_PLAN_BYTES_MAX (8u << 20)    /* a command line and an environment, at most */
#define HK_PLAN_ITEMS_MAX 65536         /* of one list */
#define HK_AGENT_MAGIC "hocket agent: " /* the agent's first line; its version follows */
#define HK_PING_MS 5000                 /* between pings; whoever misses several is alone */
#define HK_AGENT_LINE_MAX 128           /* of that line, with its newline */

/* A queue of bytes. What it has held may be the secret, so memory that it lets go is wiped. */
typedef struct hk_buffer {
    char *data; /* data[start .. start + length) waits */
    size_t start, length, capacity;
} hk_buffer;

/* False when there is no memory. */
bool hk_buffer_add(hk_buffer *buffer, const void *bytes, size_t length);
/* Forgets the first bytes; the memory of an empty buffer is given back when it was large. */
void hk_buffer_drop(hk_buffer *buffer, size_t length);
void hk_buffer_free(hk_buffer *buffer);

/* From and to a descriptor that does not block. read: how much, 0 at the end (or after an error),
 * -1 when there is nothing now. write: false when the other end is gone. */
long hk_buffer_read(hk_buffer *buffer, int fd);
bool hk_buffer_write(hk_buffer *buffer, int fd);

typedef enum hk_frame_type {
    /* To the agent. */
    HK_FRAME_HOLD = 1, /* number: how many ports to reserve; answered by PORTS */
    HK_FRAME_PLAN,     /* payload: hk_plan */
    HK_FRAME_INPUT,    /* number: rank; payload: for its standard input, nothing: that is all */
    HK_FRAME_SIGNAL,   /* number: signal, for every rank; those of enum hk_signal go by that */
    HK_FRAME_FLOW,     /* number: enum hk_flow */
    HK_FRAME_FINISH,   /* end what the ranks left behind and go; number 1: at once */
    /* From the agent. */
    HK_FRAME_PORTS,   /* payload: 32 bits each */
    HK_FRAME_STARTED, /* number: rank */
    HK_FRAME_FAILED,  /* number: rank that did not start; payload: status, a sentence */
    HK_FRAME_OUT,     /* number: rank; payload: what it wrote */
    HK_FRAME_ERR,
    HK_FRAME_TAKEN, /* number: rank; payload: 32 bits, how much of its input has gone in */
    HK_FRAME_ENDED, /* number: rank; payload: status, signal or 0 */
    HK_FRAME_GONE,  /* nothing of the job is left on this host */
    /* To the agent: front is still there. */
    HK_FRAME_PING,
    /* hocket doctor's. To the agent: */
    HK_FRAME_LOOK, /* payload: a token; answered by SEEN, at once */
    HK_FRAME_DIAL, /* number: a port; payload: a host; answered by DIALED, one at a time */
    /* From the agent: */
    HK_FRAME_SEEN,   /* payload: hk_seen */
    HK_FRAME_DIALED, /* payload: hk_dialed */
    /* To the agent, payload: rows, columns. Before the plan: who reads standard input has a
     * terminal of that size; later: its size from now on. */
    HK_FRAME_WINDOW,
    HK_FRAME_TYPES
} hk_frame_type;

/* Systems agree on the numbers of the signals that end a process, but not on these. */
enum hk_signal { HK_SIGNAL_STOP = 1000, HK_SIGNAL_CONTINUE };

/* What front says of the ranks' output (stream 0) and error (1): read it, leave it in their pipes,
 * or nobody wants it any more. */
enum hk_flow { HK_FLOW_GO, HK_FLOW_PAUSE, HK_FLOW_CLOSE, HK_FLOW_ACTIONS };
#define HK_FLOW(stream, action) ((uint32_t)(stream)*HK_FLOW_ACTIONS + (action))

typedef struct hk_frame {
    hk_frame_type type;
    uint32_t number;
    const char *bytes; /* in the buffer */
    size_t length;
} hk_frame;

bool hk_frame_put(hk_buffer *out, hk_frame_type type, uint32_t number, const void *bytes,
                  size_t length);
/* The frame at the head of the buffer: 1; 0: not all of it is there; -1: that is no frame. To be
 * dropped by hk_frame_drop. */
int hk_frame_next(const hk_buffer *in, hk_frame *frame);
void hk_frame_drop(hk_buffer *in, const hk_frame *frame);

/* The size of a terminal that a WINDOW has; false: that is none. */
bool hk_window_read(const hk_frame *frame, uint32_t size[2]);

/* One or two numbers as a payload. */
bool hk_frame_put_numbers(hk_buffer *out, hk_frame_type type, uint32_t number,
                          const uint32_t *numbers, size_t count);
/* The numbers at the head of a payload; false when it is shorter. */
bool hk_frame_numbers(const hk_frame *frame, uint32_t *numbers, size_t count);

/* What an agent is told to start. Texts of a decoded plan lie in its memory, which it owns. */
typedef struct hk_plan {
    int world_size, first, count; /* the ranks of this host: first .. first + count - 1 */
    int stdin_rank;               /* or HK_STDIN_NONE, HK_STDIN_ALL */
    bool terminal;                /* what stdin_rank writes to stderr reaches a terminal at once */
    bool folder_is_wish;          /* go on where cwd is not there */
    bool mlx;                     /* the program is one on MLX: mlx.h */
    const char *backend, *coordinator;
    const char *cwd; /* "" for none */
    char *secret;
    uint32_t window[2];     /* of stdin_rank's terminal, by a frame of its own; 0: it has none */
    hk_list env;            /* K=V */
    hk_list program;        /* NULL-terminated */
    hk_list files;          /* K=CONTENT: K will be the path of a file with this content */
    hk_list rank_variables; /* K: will be the rank's number */
    char *memory;
} hk_plan;

/* Queues a frame with the plan; false when there is no memory or it is too large. */
bool hk_plan_put(hk_buffer *out, const hk_plan *plan);
/* From the payload of a frame. False: that is no plan, or there is no memory; *plan needs no free
 * then. */
bool hk_plan_read(const char *bytes, size_t length, hk_plan *plan);
void hk_plan_free(hk_plan *plan);

/* What an agent says of its host. */
typedef struct hk_seen {
    int cores;
    uint64_t memory_bytes; /* in whole MiB; 0: the system does not say */
    int64_t clock_us;      /* since 1970 */
    int port;              /* where it answers those who have the token; 0: nowhere */
} hk_seen;

#define HK_DIALED_TEXT 256 /* with its NUL */

/* What came of a dial. */
typedef struct hk_dialed {
    bool open; /* the connection, and all that was tried on it went well */
    double round_trip_s, bytes_per_s;
    char text[HK_DIALED_TEXT]; /* its own address on that connection; or why not */
} hk_dialed;

/* put: queues a frame with it; false when there is no memory. read: false when it is none. A text
 * that was read is fit for a terminal. */
bool hk_seen_put(hk_buffer *out, const hk_seen *seen);
bool hk_seen_read(const hk_frame *frame, hk_seen *seen);
bool hk_dialed_put(hk_buffer *out, const hk_dialed *dialed);
bool hk_dialed_read(const hk_frame *frame, hk_dialed *dialed);

#endif
