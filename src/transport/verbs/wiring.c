#include "transport/verbs/wiring.h"

#include "core/launcher.h"
#include "core/log.h"
#include "transport/verbs/matrix.h"
#include "wire/bytes.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)32 << 10) /* of a bulk frame */
#define SMALL_DEPTH 48                 /* frames under way on a wire, small and bulk */
#define BULK_DEPTH 16
#define DEPTH_LEAST 4
#define ARENA_MAX ((size_t)64 << 20) /* where depth would take more there is less of it */

/* === The plan ================================================================================= */

static hocket_status find_rail(hk_wiring *w, const char *name, const uint8_t *local, int *number)
{
    for (*number = 0; *number < w->rail_count; (*number)++)
        if (strcmp(w->rails[*number].device.name, name) == 0)
            return HOCKET_OK;
    if (w->rail_count == HK_RAILS_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "rank %d uses more than %d devices", w->rank,
                       HK_RAILS_MAX);
    return hk_rail_open(&w->rails[w->rail_count++], name, local);
}

static hocket_status open_rails(hk_wiring *w, const uint8_t *local)
{
    hocket_status status = HOCKET_OK;
    for (int peer = 0; peer < w->size; peer++)
        for (int wire = 0; wire < w->row[peer].count && status == HOCKET_OK; wire++)
            status = find_rail(w, w->row[peer].names[wire], local, &w->rail_of[peer][wire]);
    return status;
}

static hocket_status read_kind(int *forced)
{
    const char *text = hk_variable("HOCKET_VERBS_KIND");
    *forced = text == NULL              ? 0
              : strcmp(text, "rc") == 0 ? HK_IBV_QPT_RC
              : strcmp(text, "uc") == 0 ? HK_IBV_QPT_UC
                                        : -1;
    return *forced >= 0 ? HOCKET_OK
                        : hk_fail(HOCKET_ERR_INVALID,
                                  "HOCKET_VERBS_KIND is \"%.64s\": it must be rc or uc", text);
}

hocket_status hk_wiring_plan(hk_wiring *w, int rank, int size, const uint8_t *local)
{
    *w = (hk_wiring){.rank = rank, .size = size};
    size_t count = (size_t)size;
    w->rails = calloc(HK_RAILS_MAX, sizeof *w->rails);
    w->row = calloc(count, sizeof *w->row);
    w->rail_of = calloc(count, sizeof *w->rail_of);
    w->streams = calloc(count, sizeof *w->streams);
    if (w->rails == NULL || w->row == NULL || w->rail_of == NULL || w->streams == NULL)
        return hk_fail_memory(count * sizeof *w->streams, "wires");
    hocket_status status = read_kind(&w->forced);
    if (status == HOCKET_OK)
        status = hk_matrix_read(rank, size, w->row);
    return status == HOCKET_OK ? open_rails(w, local) : status;
}

void hk_wiring_fini(hk_wiring *w)
{
    for (int i = 0; w->streams != NULL && i < w->size; i++)
        hk_stream_close(&w->streams[i]);
    for (int i = 0; w->rails != NULL && i < w->rail_count; i++)
        hk_rail_close(&w->rails[i]);
    free(w->rails);
    free(w->row);
    free(w->rail_of);
    free(w->streams);
    *w = (hk_wiring){.rails = NULL};
}

/* === What both have =========================================================================== */

typedef struct end { /* of a wire */
    hk_ibv_gid gid;
    bool has_gid;
    uint16_t lid;
    uint32_t mtu;
    bool rc, uc, reads;
} end;

typedef struct offer {
    int wires;
    uint64_t key; /* of what this end will send */
    bool bulk;
    int small_depth, bulk_depth;
    end ends[HK_WIRES_MAX];
} offer;

#define OFFER_MAGIC 0x76726b68u /* "hkrv" */
#define END_BYTES 28
#define OFFER_BYTES (28 + HK_WIRES_MAX * END_BYTES)
#define PAIR_BYTES 8 /* of a queue pair: number, first packet */
#define PAIRS_BYTES (HK_WIRES_MAX * HK_STREAM_LANES * PAIR_BYTES)

static void pack_offer(const offer *o, uint8_t bytes[OFFER_BYTES])
{
    memset(bytes, 0, OFFER_BYTES);
    hk_put_u32(bytes, OFFER_MAGIC);
    hk_put_u32(bytes + 4, (uint32_t)o->wires);
    hk_put_u64(bytes + 8, o->key);
    hk_put_u32(bytes + 16, o->bulk);
    hk_put_u32(bytes + 20, (uint32_t)o->small_depth);
    hk_put_u32(bytes + 24, (uint32_t)o->bulk_depth);
    for (int i = 0; i < o->wires; i++) {
        const end *one = &o->ends[i];
        uint8_t *at = bytes + 28 + (size_t)i * END_BYTES;
        memcpy(at, one->gid.raw, sizeof one->gid.raw);
        hk_put_u32(at + 16, one->lid);
        hk_put_u32(at + 20, one->mtu);
        at[24] = one->has_gid;
        at[25] = one->rc;
        at[26] = one->uc;
        at[27] = one->reads;
    }
}

static bool unpack_offer(const uint8_t bytes[OFFER_BYTES], offer *o)
{
    uint32_t wires = hk_get_u32(bytes + 4), small = hk_get_u32(bytes + 20);
    uint32_t bulk = hk_get_u32(bytes + 24);
    if (hk_get_u32(bytes) != OFFER_MAGIC || wires > HK_WIRES_MAX || small < DEPTH_LEAST ||
        small > SMALL_DEPTH || bulk < DEPTH_LEAST || bulk > BULK_DEPTH)
        return false;
    *o = (offer){.wires = (int)wires,
                 .key = hk_get_u64(bytes + 8),
                 .bulk = hk_get_u32(bytes + 16) != 0,
                 .small_depth = (int)small,
                 .bulk_depth = (int)bulk};
    for (int i = 0; i < o->wires; i++) {
        end *one = &o->ends[i];
        const uint8_t *at = bytes + 28 + (size_t)i * END_BYTES;
        memcpy(one->gid.raw, at, sizeof one->gid.raw);
        one->lid = (uint16_t)hk_get_u32(at + 16);
        one->mtu = hk_get_u32(at + 20);
        one->has_gid = at[24] != 0;
        one->rc = at[25] != 0;
        one->uc = at[26] != 0;
        one->reads = at[27] != 0;
        if (hk_verbs_mtu_bytes(one->mtu) == 0)
            return false;
    }
    return true;
}

/* Wires that this rank has on the rail. */
static int wires_on(const hk_wiring *w, int rail)
{
    int wires = 0;
    for (int peer = 0; peer < w->size; peer++)
        for (int wire = 0; wire < w->row[peer].count; wire++)
            wires += w->rail_of[peer][wire] == rail;
    return wires;
}

static hk_queue_shape shape_of(hk_stream_lane lane, bool reliable, int depth)
{
    bool small = lane == HK_STREAM_SMALL;
    int spare = small ? HK_STREAM_SPARE : reliable ? 0 : HK_STREAM_REPEATS;
    return (hk_queue_shape){.reliable = reliable,
                            .slot_bytes = small ? HK_VERBS_FRAME : CHUNK_BYTES,
                            .receives = depth + spare,
                            .spare = spare,
                            .sends = depth + (small ? HK_STREAM_KEPT_BACK : 0),
                            .writes = reliable && !small};
}

static size_t bytes_of_wire(int small_depth, int bulk_depth, bool bulk)
{
    hk_queue_shape small = shape_of(HK_STREAM_SMALL, false, small_depth);
    hk_queue_shape large = shape_of(HK_STREAM_BULK, false, bulk_depth);
    return hk_queue_bytes(&small) + (bulk ? hk_queue_bytes(&large) : 0);
}

/* Frames of the deepest queue. */
static int deepest(const offer *o, bool reliable)
{
    int most = 0;
    for (int lane = 0; lane < (o->bulk ? HK_STREAM_LANES : 1); lane++) {
        int depth = lane == HK_STREAM_SMALL ? o->small_depth : o->bulk_depth, sends, receives;
        hk_queue_shape shape = shape_of((hk_stream_lane)lane, reliable, depth);
        hk_queue_depths(&shape, &sends, &receives);
        most = sends > most ? sends : most;
        most = receives > most ? receives : most;
    }
    return most;
}

/* Depth and bulk lane, as the rail's memory and queue pairs allow. */
static void limit(const hk_wiring *w, int rail, offer *o)
{
    const hk_verbs_device *device = &w->rails[rail].device;
    int wires = wires_on(w, rail);
    o->bulk =
        o->bulk && HK_STREAM_LANES * wires <= device->max_qp && device->max_message >= CHUNK_BYTES;
    while (o->small_depth / 2 >= DEPTH_LEAST && o->bulk_depth / 2 >= DEPTH_LEAST &&
           ((size_t)wires * bytes_of_wire(o->small_depth, o->bulk_depth, o->bulk) > ARENA_MAX ||
            deepest(o, device->rc) > device->max_depth)) {
        o->small_depth /= 2;
        o->bulk_depth /= 2;
    }
}

static offer make_offer(const hk_wiring *w, int peer)
{
    offer o = {.wires = w->row[peer].count,
               .bulk = true,
               .small_depth = SMALL_DEPTH,
               .bulk_depth = BULK_DEPTH};
    randombytes_buf(&o.key, sizeof o.key);
    for (int i = 0; i < o.wires; i++) {
        const hk_rail *rail = &w->rails[w->rail_of[peer][i]];
        limit(w, w->rail_of[peer][i], &o);
        o.ends[i] = (end){.gid = rail->gid.gid,
                          .has_gid = rail->gid.index >= 0,
                          .lid = rail->port.lid,
                          .mtu = rail->port.active_mtu,
                          .rc = rail->device.rc && w->forced != HK_IBV_QPT_UC,
                          .uc = rail->device.uc && w->forced != HK_IBV_QPT_RC,
                          .reads = rail->device.reads};
    }
    return o;
}

/* What both ends come to by themselves from the two offers. */
typedef struct deal {
    int wires;
    bool reliable, bulk, writes;
    int small_depth, bulk_depth;
} deal;

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static hocket_status strike_deal(const hk_wiring *w, int peer, const offer *mine,
                                 const offer *theirs, deal *d)
{
    bool rc = true, uc = true, reads = true;
    *d = (deal){.wires = smaller(mine->wires, theirs->wires),
                .bulk = mine->bulk && theirs->bulk,
                .small_depth = smaller(mine->small_depth, theirs->small_depth),
                .bulk_depth = smaller(mine->bulk_depth, theirs->bulk_depth)};
    for (int i = 0; i < d->wires; i++) {
        rc = rc && mine->ends[i].rc && theirs->ends[i].rc;
        uc = uc && mine->ends[i].uc && theirs->ends[i].uc;
        reads = reads && mine->ends[i].reads && theirs->ends[i].reads;
    }
    d->reliable = rc;
    d->writes = rc && d->bulk && reads; /* each write needs a read, see writes.h */
    if (d->wires == 0 || rc || uc)
        return HOCKET_OK;
    return hk_fail_rank(HOCKET_ERR_UNAVAILABLE, peer,
                        "device %s of rank %d and rank %d's have no kind of queue pair in common%s",
                        w->row[peer].names[0], w->rank, peer,
                        w->forced != 0 ? " (HOCKET_VERBS_KIND)" : "");
}

/* === With all peers =========================================================================== */

typedef struct joining {
    hk_wiring *wiring;
    hk_pipe *pipes;
    hk_time deadline;
    offer *mine, *theirs; /* by rank */
    deal *deals;
} joining;

/* Who fails is the peer, as far as this rank can see. */
static hocket_status blame(int peer)
{
    hk_error why = *hk_error_last();
    hk_error_add_rank(&why, peer);
    hk_fail_with(&why);
    return hk_fail_prefix("telling rank %d of RDMA devices: ", peer);
}

/* To all, then from all: a few hundred bytes each, which every connection has room for. */
static hocket_status exchange(joining *j, size_t bytes, void (*pack)(joining *, int, uint8_t *),
                              hocket_status (*take)(joining *, int, const uint8_t *))
{
    uint8_t block[OFFER_BYTES > PAIRS_BYTES ? OFFER_BYTES : PAIRS_BYTES];
    hocket_status status = HOCKET_OK;
    int peer = 0;
    for (; peer < j->wiring->size && status == HOCKET_OK; peer++) {
        if (j->pipes[peer].fd < 0)
            continue;
        pack(j, peer, block);
        if (hk_pipe_send_all(&j->pipes[peer], block, bytes, j->deadline) != HOCKET_OK)
            status = blame(peer);
    }
    for (peer = 0; peer < j->wiring->size && status == HOCKET_OK; peer++) {
        if (j->pipes[peer].fd < 0)
            continue;
        if (hk_pipe_recv_all(&j->pipes[peer], block, bytes, j->deadline) != HOCKET_OK)
            status = blame(peer);
        else
            status = take(j, peer, block);
    }
    return status;
}

static void put_offer(joining *j, int peer, uint8_t *block)
{
    j->mine[peer] = make_offer(j->wiring, peer);
    pack_offer(&j->mine[peer], block);
}

static hocket_status take_offer(joining *j, int peer, const uint8_t *block)
{
    if (!unpack_offer(block, &j->theirs[peer]))
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, peer,
                            "rank %d says of its RDMA devices what this rank does not understand",
                            peer);
    return strike_deal(j->wiring, peer, &j->mine[peer], &j->theirs[peer], &j->deals[peer]);
}

static void put_pairs(joining *j, int peer, uint8_t *block)
{
    const hk_stream *stream = &j->wiring->streams[peer];
    memset(block, 0, PAIRS_BYTES);
    for (int i = 0; i < HK_WIRES_MAX * HK_STREAM_LANES; i++) {
        const hk_queue *queue = &stream->queues[i / HK_STREAM_LANES][i % HK_STREAM_LANES];
        if (queue->qp == NULL)
            continue;
        hk_queue_end one = hk_queue_get_end(queue);
        hk_put_u32(block + i * PAIR_BYTES, one.number);
        hk_put_u32(block + i * PAIR_BYTES + 4, one.first_packet);
    }
}

static hocket_status take_pairs(joining *j, int peer, const uint8_t *block)
{
    hk_stream *stream = &j->wiring->streams[peer];
    hocket_status status = HOCKET_OK;
    for (int i = 0; i < HK_WIRES_MAX * HK_STREAM_LANES && status == HOCKET_OK; i++) {
        int wire = i / HK_STREAM_LANES;
        hk_queue *queue = &stream->queues[wire][i % HK_STREAM_LANES];
        if (queue->qp == NULL)
            continue;
        const end *mine = &j->mine[peer].ends[wire], *theirs = &j->theirs[peer].ends[wire];
        hk_queue_end one = {.number = hk_get_u32(block + i * PAIR_BYTES),
                            .first_packet = hk_get_u32(block + i * PAIR_BYTES + 4)};
        hk_queue_path path = {.gid = theirs->gid,
                              .has_gid = theirs->has_gid,
                              .lid = theirs->lid,
                              .mtu = mine->mtu < theirs->mtu ? mine->mtu : theirs->mtu};
        status = hk_queue_connect(queue, &one, &path);
    }
    return status;
}

/* === Queues =================================================================================== */

static hk_queue_shape agreed_shape(const deal *d, hk_stream_lane lane)
{
    int depth = lane == HK_STREAM_SMALL ? d->small_depth : d->bulk_depth;
    hk_queue_shape shape = shape_of(lane, d->reliable, depth);
    shape.writes = shape.writes && d->writes;
    return shape;
}

static int lanes_of(const deal *d)
{
    return d->bulk ? HK_STREAM_LANES : 1;
}

/* All that the rails must hold, which is known only when all deals are. */
static hocket_status furnish(joining *j)
{
    hk_wiring *w = j->wiring;
    hocket_status status = HOCKET_OK;
    for (int rail = 0; rail < w->rail_count && status == HOCKET_OK; rail++) {
        size_t bytes = 0;
        int entries = 0, queues = 0;
        for (int peer = 0; peer < w->size; peer++) {
            const deal *d = &j->deals[peer];
            for (int i = 0; i < d->wires * lanes_of(d); i++) {
                if (w->rail_of[peer][i / lanes_of(d)] != rail)
                    continue;
                hk_queue_shape shape = agreed_shape(d, (hk_stream_lane)(i % lanes_of(d)));
                bytes += hk_queue_bytes(&shape);
                entries += shape.receives + shape.sends + 2 * HK_QUEUE_WRITES;
                queues++;
            }
        }
        if (queues > 0)
            status = hk_rail_furnish(&w->rails[rail], bytes, entries, queues);
    }
    return status;
}

static hocket_status open_stream(joining *j, int peer, const hk_stream_owner *owner)
{
    hk_wiring *w = j->wiring;
    const deal *d = &j->deals[peer];
    hk_stream *stream = &w->streams[peer];
    hocket_status status = hk_stream_open(stream, peer, j->pipes[peer].fd, d->reliable, owner);
    stream->key_out = j->mine[peer].key;
    stream->key_in = j->theirs[peer].key;
    stream->bulk = d->bulk;
    for (int i = 0; i < d->wires * lanes_of(d) && status == HOCKET_OK; i++) {
        int wire = i / lanes_of(d), lane = i % lanes_of(d);
        hk_queue_shape shape = agreed_shape(d, (hk_stream_lane)lane);
        status = hk_queue_open(&stream->queues[wire][lane], &w->rails[w->rail_of[peer][wire]], peer,
                               &shape, stream);
    }
    stream->wires = d->wires;
    hk_writes_init(&stream->writes);
    for (int i = 0; i < d->wires && status == HOCKET_OK && d->writes; i++)
        hk_writes_add_wire(&stream->writes, &stream->queues[i][HK_STREAM_BULK]);
    if (status == HOCKET_OK)
        hk_log(HK_LOG_INFO, -1, "rank %d to rank %d: %d wire%s, the first on %s, %s%s", w->rank,
               peer, d->wires, d->wires == 1 ? "" : "s", w->row[peer].names[0],
               d->reliable ? "RC" : "UC", d->bulk ? "" : ", without a bulk lane");
    return status;
}

static hocket_status join(joining *j, const hk_stream_owner *owner)
{
    hk_wiring *w = j->wiring;
    hocket_status status = exchange(j, OFFER_BYTES, put_offer, take_offer);
    if (status == HOCKET_OK)
        status = furnish(j);
    for (int peer = 0; peer < w->size && status == HOCKET_OK; peer++)
        if (j->deals[peer].wires > 0)
            status = open_stream(j, peer, owner);
    if (status == HOCKET_OK)
        status = exchange(j, PAIRS_BYTES, put_pairs, take_pairs);
    return status;
}

hocket_status hk_wiring_join(hk_wiring *w, hk_pipe *pipes, const hk_stream_owner *owner,
                             hk_time deadline)
{
    size_t size = (size_t)w->size;
    joining j = {.wiring = w, .pipes = pipes, .deadline = deadline};
    j.mine = calloc(size, sizeof *j.mine);
    j.theirs = calloc(size, sizeof *j.theirs);
    j.deals = calloc(size, sizeof *j.deals);
    hocket_status status = HOCKET_OK;
    if (j.mine == NULL || j.theirs == NULL || j.deals == NULL)
        status = hk_fail_memory(size * sizeof *j.mine, "what ranks say of their devices");
    else
        status = join(&j, owner);
    free(j.mine);
    free(j.theirs);
    free(j.deals);
    return status;
}
