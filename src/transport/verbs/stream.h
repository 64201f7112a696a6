/* A stream: bytes to and from one peer, in order, over the queue pairs of all wires to it. It is
 * what carries a link's pipe (wire/pipe.h), while the link's connection, the control connection,
 * tells of the peer's death.
 *
 * What travels are frames, each a head of 48 bytes and some of the stream's bytes:
 *
 *     magic              DATA, or HEARD: what is said below and no bytes
 *     key                of this stream and direction: frames of another job's are none of ours
 *     sequence           its place in the stream's frames: one count for all queues
 *     number             its place in what was sent on its queue, repeats included
 *     heard              all frames before this sequence have been taken
 *     length             bytes that follow; of HEARD, the frames of a gap follow as bits
 *
 * The receiver takes frames by sequence, whichever queue they came by: that stripes over wires,
 * keeps small frames behind large ones and is the memory that lost frames need. A sender has no
 * more frames under way on a queue than the peer has receives there, less some that are kept for
 * HEARD and for repeats.
 *
 * Over UC, which loses: a number that was skipped shows a loss, and the receiver asks at once for
 * what it lacks. What nobody asks for is repeated when a timer has run out, since the last frame of
 * a row shows no gap. A peer that is stopped hears nothing, so repeats alone prove nothing: after
 * some the peer is asked over the control connection, and only when it answers, again and again,
 * without having got what was repeated, the wire is taken for dead.
 */
#ifndef HK_TRANSPORT_VERBS_STREAM_H
#define HK_TRANSPORT_VERBS_STREAM_H

#include "core/deadline.h"
#include "core/hostfile.h"
#include "transport/verbs/writes.h"
#include "wire/pipe.h"

#define HK_STREAM_HEAD 48
#define HK_STREAM_WINDOW 1024 /* frames, a power of two: more than can be under way */
#define HK_STREAM_SPARE 32    /* receives of a small queue for HEARD and repeats */
#define HK_STREAM_REPEATS 8   /* the same of a bulk queue over UC, for repeats alone */
#define HK_STREAM_KEPT_BACK 4 /* sends of a small queue for HEARD */
#define HK_STREAM_CONTROL 8   /* bytes of a question on the control connection, and of its answer */

typedef enum hk_stream_lane { HK_STREAM_SMALL, HK_STREAM_BULK, HK_STREAM_LANES } hk_stream_lane;

typedef struct hk_stream_sent { /* a frame under way */
    hk_queue *queue;
    int slot;
    size_t bytes;     /* with its head */
    uint32_t number;  /* on its queue, of the last time */
    hk_time repeated; /* when last; 0: never */
} hk_stream_sent;

typedef struct hk_stream_held { /* a frame that has come and is not taken */
    hk_queue *queue;            /* NULL: it has not come */
    int slot;
    uint32_t length;
} hk_stream_held;

/* What a stream asks of its owner. */
typedef struct hk_stream_owner {
    void *self;
    void (*hung_up)(void *self); /* the peer: look for completions, what came before counts */
    /* A device of this rank failed; the thread's error says how. */
    void (*broke)(void *self, hocket_status status);
} hk_stream_owner;

typedef struct hk_stream {
    int peer, control;
    bool reliable;
    uint64_t key_out, key_in;
    hk_stream_owner owner;
    int wires;
    bool bulk;
    hk_queue queues[HK_WIRES_MAX][HK_STREAM_LANES];

    hk_writes writes; /* straight into memory, where it is reliable and has a bulk lane */

    uint32_t sent, heard; /* sequences: next to be sent; before it all is taken by the peer */
    hk_stream_sent *out;  /* by sequence, HK_STREAM_WINDOW of them */

    uint32_t taken;     /* sequence: next to be taken */
    size_t offset;      /* in that frame */
    hk_stream_held *in; /* by sequence */
    bool owes;          /* the peer is to be told of what was taken... */
    bool gap;           /* ... and of what has been lost */
    bool pressing;      /* ... and could not, as no slot was free */
    hk_time owed_since;
    int unanswered; /* HEARDs since something came */

    hk_time due, patience; /* of repeats, while something is under way */
    int repeats, strikes;  /* in a row; answers that brought nothing */
    bool asking;           /* a question is under way */
    uint8_t question[HK_STREAM_CONTROL];
    size_t question_bytes;

    bool ended;   /* the peer has hung up, ... */
    hk_time ends; /* ... which counts from then on */
    bool failed;  /* the wire, or the peer's end of it; closed */
} hk_stream;

extern const hk_pipe_carrier hk_stream_carrier;

/* NO_MEMORY. The queues are the caller's to open; hk_stream_close closes them. A zeroed or closed
 * stream is fine to close. */
hocket_status hk_stream_open(hk_stream *stream, int peer, int control, bool reliable,
                             const hk_stream_owner *owner);
void hk_stream_close(hk_stream *stream);

/* Of one of its queues. */
void hk_stream_completed(hk_stream *stream, hk_queue *queue, const hk_ibv_wc *completion,
                         hk_queue_work work, int slot);

/* Whether reading would give something. */
bool hk_stream_has_news(const hk_stream *stream);

/* Looks whether the peer has hung up or asks something. */
void hk_stream_look(hk_stream *stream);

/* Repeats and tells what is due, before a nap all that is owed. Returns when it wants to be called
 * again, HK_FOREVER for not. */
hk_time hk_stream_tick(hk_stream *stream, hk_time now, bool naps);

/* Sends whose completion is to come. */
bool hk_stream_posted(const hk_stream *stream);

/* Whether something may have to be repeated, or the peer waits to be told what has come. Never over
 * RC, where the device does both. */
bool hk_stream_unsettled(const hk_stream *stream);

#endif
