/* What two peers say of their RDMA devices and queue pairs before there is a stream: hk_wiring_join
 * as one of three ranks. It fails with the rank and a reason, or both ends have come to the deal
 * that the two offers allow. */
#include "device.h"
#include "transport/verbs/wiring.h"
#include "wire/bytes.h"
#include "wire/socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RANKS = 3, SELF = 1, RAILS = 2, DEPTH_LEAST = 4, SMALL_DEPTH = 48, BULK_DEPTH = 16 };

enum { AT_WIRES = 4, AT_KEY = 8, AT_BULK = 16, AT_SMALL = 20, AT_DEPTH = 24, AT_ENDS = 28 };
enum { END_BYTES = 28, AT_MTU = 20, AT_RC = 25, AT_UC = 26, PAIR_BYTES = 8 };
enum { OFFER_BYTES = AT_ENDS + HK_WIRES_MAX * END_BYTES };
enum { PAIRS_BYTES = HK_WIRES_MAX * HK_STREAM_LANES * PAIR_BYTES };

#define OFFER_MAGIC 0x76726b68u
#define PATIENCE (5 * HK_SECOND) /* the peers have hung up: nobody waits */

typedef struct words { /* an offer, and queue pairs */
    uint8_t offer[OFFER_BYTES], pairs[PAIRS_BYTES];
} words;

typedef struct world {
    hk_wiring wiring;
    hk_pipe pipes[RANKS];
    int ends[RANKS];                   /* the peers', of their connections */
    words said[RANKS];                 /* by them */
    uint8_t heard[RANKS][OFFER_BYTES]; /* of this rank's offers */
    size_t said_bytes[RANKS];
} world;

/* === This rank ================================================================================ */

static void choose_device(hk_rail *rail, fuzz_input *input)
{
    static const int pairs_max[] = {64, 10, 4, 1};
    uint8_t how = fuzz_byte(input);
    fuzz_open_rail(rail, "memory");
    rail->device.rc = !(how & 1);
    rail->device.uc = !(how & 2);
    rail->device.max_qp = pairs_max[how >> 2 & 3];
    rail->device.max_depth = how & 16 ? 1 << (how >> 5) : 1 << 14;
    if (how & 128) {
        rail->gid.index = 0;
        rail->port.active_mtu = 1 + (uint32_t)(how >> 5 & 3);
    }
}

static void open_wiring(hk_wiring *w, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input);
    *w = (hk_wiring){.rank = SELF, .size = RANKS, .rail_count = RAILS};
    w->rails = calloc(HK_RAILS_MAX, sizeof *w->rails);
    w->row = calloc(RANKS, sizeof *w->row);
    w->rail_of = calloc(RANKS, sizeof *w->rail_of);
    w->streams = calloc(RANKS, sizeof *w->streams);
    FUZZ_CHECK(w->rails != NULL && w->row != NULL && w->rail_of != NULL && w->streams != NULL);
    w->forced = how & 1 ? HK_IBV_QPT_RC : how & 2 ? HK_IBV_QPT_UC : 0;
    for (int i = 0; i < RAILS; i++)
        choose_device(&w->rails[i], input);
    for (int peer = 0; peer < RANKS; peer++) {
        uint8_t wires = peer != SELF ? fuzz_byte(input) : 0;
        w->row[peer].count = wires % (HK_WIRES_MAX + 1);
        for (int i = 0; i < w->row[peer].count; i++)
            w->rail_of[peer][i] = wires >> i & 1;
    }
    if (how >= 0xe0)
        fuzz_device.calls_left = 1 + fuzz_byte(input);
}

/* === The peers ================================================================================ */

/* One that is right, but for what the input makes of it. */
static void compose_offer(uint8_t *offer, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input), wires = fuzz_byte(input), kinds = fuzz_byte(input);
    hk_put_u32(offer, OFFER_MAGIC);
    hk_put_u32(offer + AT_WIRES, wires % (HK_WIRES_MAX + (how & 1 ? 2 : 1)));
    hk_put_u64(offer + AT_KEY, fuzz_byte(input));
    hk_put_u32(offer + AT_BULK, !(how & 2));
    hk_put_u32(offer + AT_SMALL, how & 4 ? fuzz_byte(input) : SMALL_DEPTH);
    hk_put_u32(offer + AT_DEPTH, how & 8 ? fuzz_byte(input) : BULK_DEPTH);
    for (int i = 0; i < HK_WIRES_MAX; i++) {
        uint8_t *end = offer + AT_ENDS + i * END_BYTES;
        hk_put_u32(end + AT_MTU, how & 16 ? fuzz_byte(input) : FUZZ_MTU_MOST);
        end[AT_RC] = !(kinds >> (2 * i % 8) & 1);
        end[AT_UC] = !(kinds >> (2 * i % 8) & 2);
    }
    for (int i = how >> 6; i > 0; i--) {
        size_t at = fuzz_number(input, 2) % OFFER_BYTES;
        offer[at] ^= fuzz_byte(input);
    }
}

static void speak(world *w, int peer, fuzz_input *input)
{
    words *said = &w->said[peer];
    uint8_t how = fuzz_byte(input);
    compose_offer(said->offer, input);
    fuzz_take(input, said->pairs, fuzz_byte(input) % (PAIRS_BYTES + 1));
    size_t bytes = sizeof *said;
    if (how & 1)
        bytes = fuzz_number(input, 2) % (bytes + 1);
    w->said_bytes[peer] = bytes;
    FUZZ_CHECK(bytes == 0 || send(w->ends[peer], said, bytes, HK_SEND_FLAGS) == (ssize_t)bytes);
    shutdown(w->ends[peer], SHUT_WR);
}

static void open_world(world *w, fuzz_input *input)
{
    memset(w, 0, sizeof *w);
    fuzz_device_begin();
    open_wiring(&w->wiring, input);
    for (int i = 0; i < RANKS; i++) {
        int pair[2];
        w->pipes[i].fd = -1;
        if (i == SELF)
            continue;
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        FUZZ_CHECK(hk_pipe_open(&w->pipes[i], pair[0], NULL) == HOCKET_OK);
        w->ends[i] = pair[1];
        speak(w, i, input);
    }
}

static void hear_offers(world *w)
{
    for (int i = 0; i < RANKS; i++)
        if (i != SELF)
            FUZZ_CHECK(recv(w->ends[i], w->heard[i], OFFER_BYTES, MSG_DONTWAIT) == OFFER_BYTES);
}

/* === What came of it ========================================================================== */

static int smaller(const uint8_t *a, const uint8_t *b, size_t at)
{
    uint32_t mine = hk_get_u32(a + at), theirs = hk_get_u32(b + at);
    return (int)(mine < theirs ? mine : theirs);
}

static bool all_have(const uint8_t *mine, const uint8_t *theirs, int wires, int at)
{
    for (int i = 0; i < wires; i++)
        if (mine[AT_ENDS + i * END_BYTES + at] == 0 || theirs[AT_ENDS + i * END_BYTES + at] == 0)
            return false;
    return true;
}

static bool is_sound(const uint8_t *offer)
{
    uint32_t wires = hk_get_u32(offer + AT_WIRES), small = hk_get_u32(offer + AT_SMALL);
    uint32_t bulk = hk_get_u32(offer + AT_DEPTH);
    if (hk_get_u32(offer) != OFFER_MAGIC || wires > HK_WIRES_MAX || small < DEPTH_LEAST ||
        small > SMALL_DEPTH || bulk < DEPTH_LEAST || bulk > BULK_DEPTH)
        return false;
    for (uint32_t i = 0; i < wires; i++) {
        uint32_t mtu = hk_get_u32(offer + AT_ENDS + i * END_BYTES + AT_MTU);
        if (mtu < FUZZ_MTU_LEAST || mtu > FUZZ_MTU_MOST)
            return false;
    }
    return true;
}

static void check_queue(const hk_queue *queue, const uint8_t *pair, bool reliable, int depth)
{
    FUZZ_CHECK(queue->qp != NULL && queue->qp->state == HK_IBV_QPS_RTS);
    FUZZ_CHECK(queue->qp->qp_type == (reliable ? HK_IBV_QPT_RC : HK_IBV_QPT_UC));
    FUZZ_CHECK(fuzz_pair_of(queue)->peer == hk_get_u32(pair));
    FUZZ_CHECK(fuzz_pair_of(queue)->receives.count == queue->shape.receives);
    FUZZ_CHECK(queue->shape.receives >= depth && queue->shape.sends >= depth);
    FUZZ_CHECK(queue->shape.receives <= depth + HK_STREAM_SPARE);
    FUZZ_CHECK(reliable || queue->shape.receives >= depth + HK_STREAM_REPEATS);
}

/* The poorer end's wires and depths; RC where both have it on all of them, else UC. */
static void check_deal(const world *w, int peer)
{
    const hk_stream *stream = &w->wiring.streams[peer];
    FUZZ_CHECK(w->said_bytes[peer] == sizeof(words));
    const uint8_t *mine = w->heard[peer], *theirs = w->said[peer].offer;
    int wires = smaller(mine, theirs, AT_WIRES);
    FUZZ_CHECK(stream->wires == wires && is_sound(theirs));
    if (wires == 0)
        return;
    bool bulk = hk_get_u32(mine + AT_BULK) != 0 && hk_get_u32(theirs + AT_BULK) != 0;
    bool reliable = all_have(mine, theirs, wires, AT_RC);
    FUZZ_CHECK(stream->bulk == bulk && stream->reliable == reliable);
    FUZZ_CHECK(reliable || all_have(mine, theirs, wires, AT_UC));
    FUZZ_CHECK(stream->key_out == hk_get_u64(mine + AT_KEY));
    FUZZ_CHECK(stream->key_in == hk_get_u64(theirs + AT_KEY));
    for (int i = 0; i < wires * HK_STREAM_LANES; i++) {
        int lane = i % HK_STREAM_LANES;
        const hk_queue *queue = &stream->queues[i / HK_STREAM_LANES][lane];
        int depth = smaller(mine, theirs, lane == HK_STREAM_SMALL ? AT_SMALL : AT_DEPTH);
        FUZZ_CHECK(depth >= DEPTH_LEAST);
        if (lane == HK_STREAM_SMALL || bulk)
            check_queue(queue, w->said[peer].pairs + i * PAIR_BYTES, reliable, depth);
        else
            FUZZ_CHECK(queue->qp == NULL);
    }
}

static bool nothing_in_common(const world *w, int peer)
{
    const uint8_t *mine = w->heard[peer], *theirs = w->said[peer].offer;
    int wires = smaller(mine, theirs, AT_WIRES);
    return !all_have(mine, theirs, wires, AT_RC) && !all_have(mine, theirs, wires, AT_UC);
}

/* What is held against a peer is so. */
static void check_failure(const world *w, hocket_status status)
{
    const hk_error *error = hk_error_last();
    int peer = error->rank_count > 0 ? error->ranks[0] : -1;
    if (status == HOCKET_ERR_PROTOCOL)
        FUZZ_CHECK(peer >= 0 && !is_sound(w->said[peer].offer));
    if (strstr(error->text, "in common") != NULL)
        FUZZ_CHECK(peer >= 0 && nothing_in_common(w, peer));
    if (status == HOCKET_ERR_PEER_LOST)
        FUZZ_CHECK(peer >= 0 && w->said_bytes[peer] < sizeof(words));
    FUZZ_CHECK(hk_status_is_failure(status) && error->status == status);
    FUZZ_CHECK(memchr(error->text, 0, sizeof error->text) != NULL && error->text[0] != '\0');
    for (int i = 0; i < error->rank_count; i++)
        FUZZ_CHECK(error->ranks[i] >= 0 && error->ranks[i] < RANKS && error->ranks[i] != SELF);
}

static void poll_nothing(void *self)
{
    (void)self;
}

static void broke(void *self, hocket_status status)
{
    (void)self;
    FUZZ_CHECK(status != HOCKET_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input input = {data, size};
    const hk_stream_owner owner = {.self = &w, .hung_up = poll_nothing, .broke = broke};
    open_world(&w, &input);
    hocket_status status = hk_wiring_join(&w.wiring, w.pipes, &owner, hk_now() + PATIENCE);
    hear_offers(&w);
    if (status != HOCKET_OK)
        check_failure(&w, status);
    for (int peer = 0; peer < RANKS && status == HOCKET_OK; peer++)
        if (peer != SELF)
            check_deal(&w, peer);
    hk_wiring_fini(&w.wiring);
    FUZZ_CHECK(fuzz_device.pairs == 0 && fuzz_device.regions == 0);
    for (int peer = 0; peer < RANKS; peer++) {
        hk_pipe_close(&w.pipes[peer]);
        if (peer != SELF)
            close(w.ends[peer]);
    }
    return 0;
}
