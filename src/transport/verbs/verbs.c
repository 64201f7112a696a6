/* Ranks joined by RDMA: links (transport/links.c) whose pipes are carried by streams over queue
 * pairs (stream.c). The connections of the mesh stay, as control connections: the end of one is the
 * peer's death. Ranks that share no device talk over theirs, as over tcp. */
#include "core/log.h"
#include "transport/links.h"
#include "transport/table.h"
#include "transport/verbs/memory.h"
#include "transport/verbs/wiring.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 16        /* completions a poll */
#define POLL_MAX 128    /* of one rail, before the links get a look */
#define TICK_ROUNDS 16  /* of progress, between looks at timers */
#define LOOK_ROUNDS 128 /* between looks at the control connections and the devices' events */
#define FLUSH_NS (200 * HK_MILLISECOND) /* of what is on its way when something fails */
#define POLLS_A_RAIL 2                  /* its channel and its events */

typedef struct verbs {
    hk_links links; /* first: the links' slots take a verbs for their own */
    hocket_transport slots;
    hk_wiring wiring;
    hk_memory memory;
    hk_error broken; /* a device of this rank */
    bool only_some;  /* some links are their connections alone, which have to be asked */
    unsigned rounds;
} verbs;

/* === When a device fails ====================================================================== */

/* The others see this rank go: its connections end, and what devices it has left carry nothing
 * more, such as a failure that is this rank's alone. */
static void breaks(void *self, hocket_status status)
{
    verbs *v = self;
    if (v->broken.status != HOCKET_OK || status == HOCKET_OK)
        return;
    v->broken = *hk_error_last();
    for (int i = 0; i < v->links.size; i++) {
        v->wiring.streams[i].failed = true;
        if (v->links.links[i].pipe.fd >= 0)
            shutdown(v->links.links[i].pipe.fd, SHUT_RDWR);
    }
}

/* === Progress ================================================================================= */

static void dispatch(hk_rail *rail, const hk_ibv_wc *completion)
{
    hk_queue_work work;
    int slot;
    hk_queue *queue = hk_queue_of(rail, completion->wr_id, &work, &slot);
    if (queue != NULL) /* else it was closed meanwhile */
        hk_stream_completed(queue->owner, queue, completion, work, slot);
}

static int poll_rail(verbs *v, hk_rail *rail)
{
    hk_ibv_wc completions[BATCH];
    int total = 0, count = BATCH;
    while (count == BATCH && total < POLL_MAX && v->broken.status == HOCKET_OK) {
        breaks(v, hk_rail_poll(rail, completions, BATCH, &count));
        for (int i = 0; i < count; i++)
            dispatch(rail, &completions[i]);
        total += count;
    }
    return total;
}

static bool poll_rails(verbs *v)
{
    int total = 0;
    for (int i = 0; i < v->wiring.rail_count; i++)
        if (v->wiring.rails[i].cq != NULL)
            total += poll_rail(v, &v->wiring.rails[i]);
    return total > 0;
}

/* A rank that is cut off from all others must find that out at once: after the first it would tell
 * the others, whom its queue pairs still reach, that this one is lost. */
static void peer_hung_up(void *self)
{
    verbs *v = self;
    poll_rails(v);
    for (int i = 0; i < v->links.size; i++)
        if (v->wiring.streams[i].wires > 0)
            hk_stream_look(&v->wiring.streams[i]);
}

/* Carried links only where there is something, the others always, as they cannot tell. */
static bool serve(verbs *v, hocket_status *status)
{
    bool moved = false, direct = v->links.size <= HK_LINKS_DIRECT + 1;
    for (int i = 0; i < v->links.size; i++) {
        const hk_link *link = &v->links.links[i];
        bool carried = link->pipe.carrier != NULL;
        if (carried ? hk_link_wants_to_write(link) || hk_stream_has_news(&v->wiring.streams[i])
                    : direct)
            moved |= hk_links_serve(&v->links, i, status);
    }
    return moved;
}

/* Returns when the next timer runs out. */
static hk_time tick(verbs *v, bool naps)
{
    hk_time now = hk_now(), next = HK_FOREVER;
    for (int i = 0; i < v->wiring.rail_count; i++)
        if (hk_rail_due(&v->wiring.rails[i]) < next)
            next = hk_rail_due(&v->wiring.rails[i]);
    for (int i = 0; i < v->links.size; i++) {
        if (v->wiring.streams[i].wires == 0)
            continue;
        hk_time due = hk_stream_tick(&v->wiring.streams[i], now, naps);
        if (due < next)
            next = due;
    }
    return next;
}

static void look_at_rails(verbs *v)
{
    for (int i = 0; i < v->wiring.rail_count; i++) {
        hk_rail *rail = &v->wiring.rails[i];
        const struct pollfd *polls = &v->links.polls[v->links.size + 1 + i * POLLS_A_RAIL];
        if (polls[0].revents != 0)
            hk_rail_disarm(rail);
        if (polls[1].revents != 0 || hk_rail_due(rail) <= hk_now())
            breaks(v, hk_rail_look(rail));
    }
}

/* Control connections, the connections that are links, events: with a system call. */
static hocket_status look(verbs *v, int milliseconds)
{
    for (int i = 0; i < v->wiring.rail_count; i++) {
        struct pollfd *polls = &v->links.polls[v->links.size + 1 + i * POLLS_A_RAIL];
        const hk_rail *rail = &v->wiring.rails[i];
        polls[0] = (struct pollfd){.fd = hk_rail_channel_fd(rail), .events = POLLIN};
        polls[1] = (struct pollfd){.fd = hk_rail_events_fd(rail), .events = POLLIN};
    }
    hocket_status status = hk_links_wait(&v->links, milliseconds);
    look_at_rails(v);
    return status;
}

static bool can_sleep(const verbs *v)
{
    for (int i = 0; i < v->wiring.rail_count; i++)
        if (v->wiring.rails[i].cq != NULL && v->wiring.rails[i].channel == NULL)
            return false;
    return true;
}

/* What comes between the last look and the channel's arming makes no event, so it is looked for
 * once more. */
static hocket_status nap(verbs *v, int64_t wait_ns)
{
    hk_time next = tick(v, true), now = hk_now();
    for (int i = 0; i < v->wiring.rail_count; i++)
        if (v->wiring.rails[i].cq != NULL)
            breaks(v, hk_rail_arm(&v->wiring.rails[i]));
    if (poll_rails(v) || v->broken.status != HOCKET_OK)
        return HOCKET_OK;
    if (!can_sleep(v) && wait_ns > HOCKET_NAP_NS)
        wait_ns = HOCKET_NAP_NS;
    if (next != HK_FOREVER && next - now < wait_ns)
        wait_ns = next > now ? next - now : 0;
    return look(v, (int)((wait_ns + HK_MILLISECOND - 1) / HK_MILLISECOND));
}

static hocket_status verbs_progress(void *self, int64_t wait_ns)
{
    verbs *v = self;
    hocket_status status = HOCKET_OK;
    bool moved = poll_rails(v);
    moved |= serve(v, &status);
    v->rounds++;
    if (v->rounds % TICK_ROUNDS == 0)
        tick(v, false);
    if (status != HOCKET_OK || v->broken.status != HOCKET_OK)
        return status != HOCKET_OK ? status : hk_fail_with(&v->broken);
    if (!moved && wait_ns > 0)
        status = nap(v, wait_ns);
    else if (v->rounds % LOOK_ROUNDS == 0 || (v->only_some && !moved))
        status = look(v, 0);
    return status == HOCKET_OK && v->broken.status != HOCKET_OK ? hk_fail_with(&v->broken) : status;
}

/* Of the streams that have peers. */
static bool verbs_unsettled(void *self)
{
    const verbs *v = self;
    for (int i = 0; i < v->links.size; i++)
        if (v->wiring.streams[i].wires > 0 && hk_stream_unsettled(&v->wiring.streams[i]))
            return true;
    return false;
}

/* === Straight into memory ===================================================================== */

/* By wire, whose number is returned; 0: a device does not know the memory. */
static int find_regions(const hk_stream *stream, const void *memory, size_t bytes,
                        const hk_ibv_mr *regions[HK_WIRES_MAX])
{
    const verbs *v = stream->owner.self;
    const hk_writes *writes = &stream->writes;
    for (int i = 0; i < writes->wire_count && !stream->failed; i++) {
        regions[i] = hk_memory_find(&v->memory, writes->wires[i].queue->rail, memory, bytes);
        if (regions[i] == NULL)
            return 0;
    }
    return stream->failed ? 0 : writes->wire_count;
}

static int knows(void *self, const void *memory, size_t bytes, uint32_t keys[HK_WIRES_MAX])
{
    const hk_ibv_mr *regions[HK_WIRES_MAX];
    int wires = find_regions(self, memory, bytes, regions);
    for (int i = 0; i < wires; i++)
        keys[i] = regions[i]->rkey;
    return wires;
}

static bool write_there(void *self, const void *from, size_t bytes, uint64_t to,
                        const uint32_t keys[HK_WIRES_MAX], uint64_t ticket)
{
    hk_stream *stream = self;
    const hk_ibv_mr *regions[HK_WIRES_MAX];
    int wires = find_regions(stream, from, bytes, regions);
    hk_write_task task = {.from = from, .to = to, .bytes = bytes, .ticket = ticket};
    if (wires == 0)
        return false;
    for (int i = 0; i < wires; i++) {
        task.local_keys[i] = regions[i]->lkey;
        task.remote_keys[i] = keys[i];
    }
    hocket_status status = hk_writes_begin(&stream->writes, &task);
    if (status != HOCKET_OK && status != HOCKET_ERR_NO_MEMORY)
        breaks(stream->owner.self, status);
    return status != HOCKET_ERR_NO_MEMORY;
}

static void turn(void *self)
{
    hk_stream *stream = self;
    verbs *v = stream->owner.self;
    hocket_status status = HOCKET_OK;
    poll_rails(v);
    hk_links_serve(&v->links, stream->peer, &status);
    hk_stream_tick(stream, hk_now(), false);
}

static void cut(void *self)
{
    hk_stream_close(self);
}

static const hk_straight_ops straight_ops = {.knows = knows,
                                             .write = write_there,
                                             .turn = turn,
                                             .cut = cut};

static void written(void *self, uint64_t ticket)
{
    const hk_stream *stream = self;
    verbs *v = stream->owner.self;
    hk_straight_written(&v->links.links[stream->peer], ticket);
}

/* What is sealed must not go by the device, and without a bulk lane there is no room. Where no link
 * can use it no memory is registered. */
static void allow_straight(verbs *v)
{
    for (int i = 0; i < v->links.size; i++) {
        hk_stream *stream = &v->wiring.streams[i];
        hk_link *link = &v->links.links[i];
        if (stream->writes.wire_count == 0 || link->pipe.cipher != NULL)
            continue;
        stream->writes.written = written;
        stream->writes.self = stream;
        link->straight.ops = &straight_ops;
        link->straight.self = stream;
        v->memory.rail_count = v->wiring.rail_count;
    }
}

static hocket_status verbs_alloc(void *self, size_t bytes, void **memory)
{
    return hk_memory_alloc(&((verbs *)self)->memory, bytes, memory);
}

static void verbs_dealloc(void *self, void *memory)
{
    hk_memory_dealloc(&((verbs *)self)->memory, memory);
}

static hocket_status verbs_register(void *self, void *memory, size_t bytes)
{
    return hk_memory_register(&((verbs *)self)->memory, memory, bytes);
}

static hocket_status verbs_unregister(void *self, void *memory)
{
    return hk_memory_unregister(&((verbs *)self)->memory, memory);
}

/* === The end ================================================================================== */

static void free_verbs(verbs *v)
{
    hk_links_fini(&v->links); /* which closes the streams that have links */
    hk_memory_fini(&v->memory);
    hk_wiring_fini(&v->wiring);
    free(v);
}

static bool any_unsent(const verbs *v)
{
    for (int i = 0; i < v->links.size; i++)
        if (v->links.links[i].pipe.fd >= 0 && v->links.links[i].pipe.carrier != NULL &&
            hk_pipe_unsent(&v->links.links[i].pipe))
            return true;
    return false;
}

/* A socket's bytes go on by themselves when the process ends, a queue pair's end with it: who tells
 * others of a failure and ends must not do so before the word is out. RC needs microseconds for
 * that, UC a peer that looks. */
static void let_go_out(verbs *v)
{
    hocket_status status = HOCKET_OK;
    hk_time until = hk_now() + FLUSH_NS;
    while (status == HOCKET_OK && any_unsent(v) && hk_now() < until)
        status = verbs_progress(v, HK_MILLISECOND);
}

static void verbs_close(void *self, bool orderly)
{
    verbs *v = self;
    if (orderly && v->broken.status == HOCKET_OK)
        hk_links_part(&v->links, verbs_progress);
    else
        let_go_out(v);
    free_verbs(v);
}

static const hocket_transport verbs_transport = {
    .size = sizeof(hocket_transport),
    .name = "jaccl",
    .rank = hk_links_rank,
    .world_size = hk_links_world_size,
    .post = hk_links_post,
    .cancel = hk_links_cancel,
    .progress = verbs_progress,
    .wake = hk_links_wake,
    .probe = hk_links_probe,
    .forget = hk_links_forget,
    .close = verbs_close,
    .host_of = hk_links_host_of,
    .alloc = verbs_alloc,
    .dealloc = verbs_dealloc,
    .register_memory = verbs_register,
    .unregister_memory = verbs_unregister,
};

static bool is_lossy(const verbs *v)
{
    for (int i = 0; i < v->links.size; i++)
        if (v->wiring.streams[i].wires > 0 && !v->wiring.streams[i].reliable)
            return true;
    return false;
}

/* === Opening ================================================================================== */

typedef struct verdict { /* of one rank, told to all */
    int32_t status;
    int32_t blames; /* the rank at fault */
    char text[HK_ERROR_TEXT_MAX / 2];
} verdict;

/* A peer that hung up or kept silent: why, it may know itself. */
static bool is_hearsay(int32_t status)
{
    return status == HOCKET_ERR_PEER_LOST || status == HOCKET_ERR_TIMEOUT;
}

/* The rank whose word is the reason; -1: none has failed. */
static int find_witness(const verdict *all, int size)
{
    int first = -1;
    for (int i = 0; i < size; i++) {
        if (all[i].status == HOCKET_OK)
            continue;
        if (!is_hearsay(all[i].status))
            return i;
        if (first < 0)
            first = i;
    }
    return first;
}

static verdict make_verdict(int rank, hocket_status status, const hk_error *why)
{
    verdict own = {.status = (int32_t)status, .blames = rank};
    if (status == HOCKET_OK)
        return own;
    if (is_hearsay(own.status) && why->rank_count > 0)
        own.blames = why->ranks[0];
    snprintf(own.text, sizeof own.text, "%.*s", (int)sizeof own.text - 1, why->text);
    return own;
}

static hocket_status repeat_verdict(int size, int witness, verdict *its)
{
    its->text[sizeof its->text - 1] = '\0';
    if (!hk_status_is_failure(its->status) || its->blames < 0 || its->blames >= size)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, witness,
                            "rank %d says of its RDMA devices what no rank would", witness);
    return hk_fail_rank((hocket_status)its->status, its->blames, "rank %d: %s", witness, its->text);
}

/* Collective, also for ranks that have failed: all go on, or all say why not. What a rank knows of
 * itself goes before what it has heard, and that before nothing. */
static hocket_status all_agree(hk_meeting *meeting, hocket_status mine)
{
    int size = hk_meeting_world_size(meeting), rank = hk_meeting_rank(meeting);
    hk_error why = *hk_error_last();
    verdict own = make_verdict(rank, mine, &why);
    verdict *all = calloc((size_t)size, sizeof *all);
    if (all == NULL)
        return hk_fail_memory((size_t)size * sizeof *all, "what ranks say of their devices");
    hocket_status status = hk_meeting_all_gather(meeting, &own, sizeof own, all);
    int witness = status == HOCKET_OK ? find_witness(all, size) : -1;
    if (witness >= 0 && witness != rank)
        status = repeat_verdict(size, witness, &all[witness]);
    free(all);
    bool knows = mine != HOCKET_OK && !is_hearsay((int32_t)mine);
    return knows || witness == rank ? hk_fail_with(&why) : status;
}

/* As a GID: IPv4 in IPv6's clothes. */
static bool local_gid(const hk_meeting *meeting, uint8_t gid[16])
{
    const struct sockaddr *address = (const struct sockaddr *)&hk_meeting_address(meeting)->storage;
    memset(gid, 0, 16);
    if (address->sa_family == AF_INET6) {
        memcpy(gid, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return true;
    }
    gid[10] = gid[11] = 0xff;
    memcpy(gid + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    return address->sa_family == AF_INET;
}

/* Pipes to peers with wires are carried by their streams from here on. */
static void carry(verbs *v, hk_pipe *pipes)
{
    for (int i = 0; i < v->links.size; i++) {
        if (v->wiring.streams[i].wires > 0)
            hk_pipe_carry(&pipes[i], &hk_stream_carrier, &v->wiring.streams[i]);
        else if (pipes[i].fd >= 0)
            v->only_some = true;
    }
}

static hocket_status wire_up(verbs *v, const hk_opening *opening, hk_pipe *pipes)
{
    const hk_stream_owner owner = {.self = v, .hung_up = peer_hung_up, .broke = breaks};
    hocket_status status = hk_links_meet(&v->links, opening->meeting, opening->settings, pipes);
    if (status != HOCKET_OK)
        return status;
    status =
        hk_wiring_join(&v->wiring, pipes, &owner, hk_meeting_deadline_between(opening->meeting));
    if (status != HOCKET_OK) /* who waits for this rank's word looks up */
        hk_links_close_pipes(&v->links, pipes);
    status = all_agree(opening->meeting, status);
    if (status != HOCKET_OK) {
        hk_links_close_pipes(&v->links, pipes);
        return status;
    }
    carry(v, pipes);
    status = hk_links_adopt(&v->links, pipes, opening->settings->fault);
    if (status == HOCKET_OK)
        allow_straight(v);
    return status;
}

static hocket_status open_all(verbs *v, const hk_opening *opening)
{
    hk_meeting *meeting = opening->meeting;
    int size = hk_meeting_world_size(meeting);
    uint8_t local[16];
    bool known = local_gid(meeting, local);
    hocket_status status = hk_links_init(&v->links, meeting, HK_RAILS_MAX * POLLS_A_RAIL);
    if (status == HOCKET_OK)
        status = hk_wiring_plan(&v->wiring, hk_meeting_rank(meeting), size, known ? local : NULL);
    status = all_agree(meeting, status);
    if (status != HOCKET_OK)
        return status;
    v->links.more_polls = v->wiring.rail_count * POLLS_A_RAIL;
    v->memory.rails = v->wiring.rails;
    hk_pipe *pipes = calloc((size_t)size, sizeof *pipes);
    if (pipes == NULL)
        return hk_fail_memory((size_t)size * sizeof *pipes, "connections");
    status = wire_up(v, opening, pipes);
    free(pipes);
    return status;
}

static hocket_status open_verbs(const hk_opening *opening, const hocket_transport **transport,
                                void **self)
{
    verbs *v = calloc(1, sizeof *v);
    if (v == NULL)
        return hk_fail_memory(sizeof *v, "RDMA");
    v->links.alarm[0] = v->links.alarm[1] = -1;
    hocket_status status = open_all(v, opening);
    if (status != HOCKET_OK) {
        hk_error why = *hk_error_last();
        free_verbs(v);
        return hk_fail_with(&why);
    }
    v->slots = verbs_transport;
    v->slots.unsettled = is_lossy(v) ? verbs_unsettled : NULL;
    *transport = &v->slots;
    *self = v;
    return HOCKET_OK;
}

static hocket_status available(const char *choice)
{
    (void)choice;
    return hk_verbs_available();
}

const hk_backend hk_backend_verbs = {.name = "verbs",
                                     .meets = true,
                                     .available = available,
                                     .open = open_verbs};
