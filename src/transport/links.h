/* The links of one rank to all others: what any transport over links has in common. A transport
 * begins its own state with one of these, so that the slots below take that as their self:
 *
 *     typedef struct mine { hk_links links; ... } mine;
 *
 *     hk_links_init(&mine->links, meeting, 0);
 *     hk_links_meet(&mine->links, meeting, settings, pipes);
 *     hk_links_adopt(&mine->links, pipes, settings->fault);
 *
 * Under the endpoint's lock, like all of a transport; hk_links_wake is the exception.
 */
#ifndef HK_TRANSPORT_LINKS_H
#define HK_TRANSPORT_LINKS_H

#include "core/settings.h"
#include "transport/link.h"
#include "wire/mesh.h"
#include <poll.h>
#include <stdatomic.h>

#define HK_LINKS_DIRECT 4 /* peers: up to here each is tried without asking poll first */

typedef struct hk_links {
    int rank, size;
    hk_mailbox box;
    bool *gone;
    hk_link *links; /* by rank; this rank's is not used */
    int *hosts;
    struct pollfd *polls; /* the links in their order, the alarm, then the owner's */
    int more_polls;       /* of the owner's */
    int alarm[2];         /* a pipe: wake writes, progress reads */
    atomic_bool awake;    /* a byte is in the pipe */
} hk_links;

/* === Life ==================================================================================== */

/* NO_MEMORY, SYSTEM; hk_links_fini is to be called either way. */
hocket_status hk_links_init(hk_links *links, const hk_meeting *meeting, int more_polls);
void hk_links_fini(hk_links *links);

/* Collective: one proven connection to each rank, as a pipe, sealed where a rank asks for that.
 * pipes: world size; this rank's own is closed, and on failure all are. */
hocket_status hk_links_meet(const hk_links *links, hk_meeting *meeting, const hk_settings *settings,
                            hk_pipe *pipes);
void hk_links_close_pipes(const hk_links *links, hk_pipe *pipes);

/* The pipes become links; on failure all are closed. fault: HOCKET_FAULT, or "". */
hocket_status hk_links_adopt(hk_links *links, hk_pipe *pipes, const char *fault);

/* Writes out what was promised, says that no more comes and reads until the peers have it all; each
 * for a moment only. progress: the owner's. */
typedef hocket_status (*hk_links_progress_fn)(void *self, int64_t wait_ns);
void hk_links_part(hk_links *links, hk_links_progress_fn progress);

/* === For a progress of the owner's =========================================================== */

/* Moves what can be moved with one peer; true: something was. */
bool hk_links_serve(hk_links *links, int peer, hocket_status *status);

/* Fills in the polls of links and alarm, for at most that long asks all, the owner's too, and
 * serves the links that have something. */
hocket_status hk_links_wait(hk_links *links, int milliseconds);

/* === Slots ==================================================================================== */

int hk_links_rank(void *self);
int hk_links_world_size(void *self);
hocket_status hk_links_post(void *self, hocket_op *op);
void hk_links_cancel(void *self, hocket_op *op);
hocket_status hk_links_progress(void *self, int64_t wait_ns);
void hk_links_wake(void *self);
bool hk_links_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length);
void hk_links_forget(void *self, uint64_t context);
int hk_links_host_of(void *self, int rank);

#endif
