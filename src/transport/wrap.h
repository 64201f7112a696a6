/* A transport around another one.
 *
 *     endpoint --hocket_op--> wrap --shadow--> inner transport
 *
 * Each operation that is posted has a shadow, an operation of the wrap's own with the same fields,
 * and the inner transport only ever sees shadows. So a wrapper can look at an operation before it
 * goes in, keep it back for a while, end it, and look at it when it is done, whatever the
 * transport.
 *
 * Kept-back operations stay in order: with one peer, sends among sends and receives among receives.
 * News (context 0) is never kept back, since hocket relies on it having left when a call returns.
 * It does not overtake either: a send of news takes along what is kept back for the same peer, and
 * when news comes, the receives from that peer are handed over first. A receive whose message is
 * there is not kept back.
 *
 * Native collectives are hidden, so that everything goes through operations. Delegates, whose
 * collectives cannot be anything else, are not wrapped.
 *
 * Threads: as slots of a transport; hooks are called from within them.
 */
#ifndef HK_TRANSPORT_WRAP_H
#define HK_TRANSPORT_WRAP_H

#include "core/deadline.h"
#include "wire/pipe.h"
#include <hocket/transport.h>

/* === The wrappers ============================================================================ */

/* Both take the opened transport over: closing the outer one closes the inner one. On failure it is
 * still the caller's. outer and outer_self may be where inner and inner_self come from.
 * UNSUPPORTED: the inner transport is a delegate; NO_MEMORY. */

/* fault: lets through what an unkind network would. The spec is a list of words with commas between
 * them; of a word that comes twice the last one counts:
 *
 *     seed=N       which random numbers (1); with the same ones a run does the same things, as far
 *                  as its timing lets it. Each rank has its own.
 *     hold=F       the fraction of operations (0 to 1) that is kept back (0)
 *     delay_us=N   for a random time up to so many microseconds (1000)
 *     skip=F       the fraction of calls of progress that do nothing (0)
 *     short=F      the fraction of reads and writes of sockets that move only their first bytes,
 *                  or none (0)
 *     lose=P@N     rank P is cut off: on each other rank, after N operations with P, every posted
 *                  and later operation with P ends with PEER_LOST; on P, after N operations, those
 *                  with everybody. News is not counted. What has arrived can still be received.
 *     on=R         only on rank R; the others are left alone
 *
 * INVALID, quoting the word, where the spec is not such a list or names a rank that is not there.
 */
hocket_status hk_fault_wrap(const hocket_transport *inner, void *inner_self, const char *spec,
                            const hocket_transport **outer, void **outer_self);

/* INVALID where no world could take this spec. */
hocket_status hk_fault_check(const char *spec);

/* short= lies below operations: a transport with connections gives it to their pipes. What the spec
 * asks of this rank's connection to that peer; same errors. */
hocket_status hk_fault_stutter(const char *spec, int rank, int peer, hk_stutter *stutter);

/* trace: remembers the last HK_TRACE_EVENTS operations, adds all up by peer, and writes both at the
 * end to <path>.<rank>.json, for Perfetto or about:tracing (trace.c has the format). A file that
 * cannot be written is a warning in the log. */
#define HK_TRACE_EVENTS 65536
hocket_status hk_trace_wrap(const hocket_transport *inner, void *inner_self, const char *path,
                            const hocket_transport **outer, void **outer_self);

/* === What wrappers are made of =============================================================== */

typedef struct hk_wrap hk_wrap;

typedef struct hk_shadow {
    hocket_op op; /* the inner transport's */
    hocket_op *outer;
    struct hk_shadow *next, **link; /* in the order of their posts */
    hk_time posted;
    hk_time until; /* kept back until then ... */
    bool held;     /* ... while this is set */
} hk_shadow;

/* Each may be NULL. */
typedef struct hk_wrapper {
    const char *name;
    /* An operation is about to be posted: for how long to keep it back, 0: not at all. */
    hk_time (*post)(hk_wrap *wrap, const hocket_op *op);
    /* An operation has ended, or was cancelled. */
    void (*end)(hk_wrap *wrap, const hk_shadow *shadow, bool cancelled);
    /* Whether this call of progress is to do anything. */
    bool (*progress)(hk_wrap *wrap);
    /* The inner transport is closed: frees the state. */
    void (*close)(hk_wrap *wrap);
} hk_wrapper;

struct hk_wrap {
    hocket_transport outer;
    const hocket_transport *inner;
    void *inner_self;
    const hk_wrapper *wrapper;
    void *state; /* the wrapper's */
    char name[64];
    int rank, size;
    hk_shadow *first, **last;
    hk_shadow *spare;
    hk_time *free_at; /* by peer and kind: before that, the next one would overtake another */
    bool *lost;       /* by peer */
};

/* On failure the state is still the caller's. */
hocket_status hk_wrap_open(const hk_wrapper *wrapper, void *state, const hocket_transport *inner,
                           void *inner_self, const hocket_transport **outer, void **outer_self);

/* From the post hook: nothing goes to or comes from this peer any more. */
void hk_wrap_lose(hk_wrap *wrap, int peer);

#endif
