/* The frames of a meeting, plain or sealed: what other ranks send rank 0, and what rank 0 answers
 * them. All that a peer will ever say lies in its socket before the step begins, so nothing waits.
 */
#include "input.h"
#include "wire/bytes.h"
#include "wire/socket.h"
#include "wire/star.h"

#include <fcntl.h>
#include <sys/socket.h>

enum { WORLD_MAX = 4, STEPS_MAX = 4, BLOCK_MAX = 96, ANSWER_RESULT = 101, ANSWER_FAILURE = 102 };
enum { FAILURE_BYTES = 4 + 4 + 4 * HK_ERROR_RANKS_MAX + HK_ERROR_TEXT_MAX };

#define HEAD_MAGIC UINT32_C(0x6d6b6f68)

typedef struct world {
    hk_star star;
    hk_star_link links[WORLD_MAX];
    struct pollfd polls[WORLD_MAX];
    hk_pipe ends[WORLD_MAX];
    hk_step steps[STEPS_MAX];
    int step_count;
} world;

static void open_world(world *w, fuzz_input *input)
{
    memset(w, 0, sizeof *w);
    uint8_t how = fuzz_byte(input);
    static const hk_peer peer; /* both ways have the same key */
    const hk_peer *keys = how & 128 ? &peer : NULL;
    w->star = (hk_star){.rank = how & 1,
                        .world_size = 2 + (how >> 1) % (WORLD_MAX - 1),
                        .opened = hk_now(),
                        .deadline = hk_now() + HK_SECOND,
                        .where = "here",
                        .links = w->links,
                        .polls = w->polls};
    for (int i = 0; i < WORLD_MAX; i++) {
        int pair[2];
        w->ends[i].fd = w->links[i].pipe.fd = -1;
        if (w->star.rank == 0 ? i == 0 || i >= w->star.world_size : i > 0)
            continue;
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        fcntl(pair[1], F_SETFL, O_NONBLOCK);
        FUZZ_CHECK(hk_pipe_open(&w->links[i].pipe, pair[0], keys) == HOCKET_OK);
        FUZZ_CHECK(hk_pipe_open(&w->ends[i], pair[1], keys) == HOCKET_OK);
    }
    w->step_count = 1 + (how >> 4) % STEPS_MAX;
    for (int i = 0; i < w->step_count; i++) {
        size_t bytes = fuzz_byte(input) % BLOCK_MAX;
        w->steps[i] = (hk_step){.kind = (hk_step_kind)(1 + bytes % 3),
                                .bytes = bytes,
                                .block_bytes = bytes & 1 ? bytes : 0,
                                .result_bytes = bytes};
    }
}

/* What an honest peer says in that step, unless the input says otherwise. */
static void say_step(world *w, int peer, int at, fuzz_input *input)
{
    static uint8_t bytes[HK_STAR_HEAD_BYTES + FAILURE_BYTES];
    const hk_step *step = &w->steps[at];
    uint8_t how = fuzz_byte(input);
    bool asks = w->star.rank == 0;
    uint32_t kind = asks ? (uint32_t)step->kind : ANSWER_RESULT;
    size_t body = asks ? step->block_bytes : step->result_bytes;
    if (!asks && (how & 1)) {
        kind = ANSWER_FAILURE;
        body = FAILURE_BYTES;
    }
    memset(bytes, 0, sizeof bytes);
    hk_put_u32(bytes, HEAD_MAGIC);
    hk_put_u32(bytes + 4, kind);
    hk_put_u64(bytes + 8, (uint64_t)at);
    hk_put_u64(bytes + 16, asks ? step->bytes : body);
    if (how & 2)
        fuzz_take(input, bytes + HK_STAR_HEAD_BYTES, fuzz_byte(input));
    if (how & 4) /* a text without an end */
        memset(bytes + HK_STAR_HEAD_BYTES + body / 2, 'x', body - body / 2);
    if (how & 8)
        bytes[fuzz_byte(input) % HK_STAR_HEAD_BYTES] ^= fuzz_byte(input);
    size_t length = HK_STAR_HEAD_BYTES + body;
    if (how & 16)
        length -= fuzz_byte(input) % (length + 1);
    hk_pipe_send_some(&w->ends[peer], bytes, length, &length);
}

static void say_all(world *w, fuzz_input *input)
{
    uint8_t raw[256];
    for (int peer = 0; peer < WORLD_MAX; peer++) {
        if (w->ends[peer].fd < 0)
            continue;
        for (int at = 0; at < w->step_count; at++)
            say_step(w, peer, at, input);
        size_t count = fuzz_take(input, raw, fuzz_byte(input));
        ssize_t sent = send(w->ends[peer].fd, raw, count, HK_SEND_FLAGS);
        (void)sent;
        shutdown(w->ends[peer].fd, SHUT_WR);
    }
}

static hocket_status take_step(world *w, const hk_step *step)
{
    static uint8_t blocks[WORLD_MAX * BLOCK_MAX], result[BLOCK_MAX];
    if (w->star.rank != 0)
        return hk_star_ask(&w->star, step, blocks, result);
    hocket_status status = hk_star_collect(&w->star, step, blocks);
    return status == HOCKET_OK ? hk_star_answer(&w->star, step, result) : status;
}

static void check_fault(const world *w, hocket_status status)
{
    const hk_error *error = hk_error_last();
    FUZZ_CHECK(status >= HOCKET_ERR_INVALID && status <= HOCKET_ERR_ABORTED);
    FUZZ_CHECK(error->status == status && w->star.broken && w->star.fault.status == status);
    FUZZ_CHECK(memchr(error->text, 0, sizeof error->text) != NULL);
    for (int i = 0; i < error->rank_count && i < HK_ERROR_RANKS_MAX; i++)
        FUZZ_CHECK(error->ranks[i] >= 0 && error->ranks[i] < w->star.world_size);
    for (int i = 0; i < WORLD_MAX; i++)
        FUZZ_CHECK(w->links[i].pipe.fd < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input input = {data, size};
    open_world(&w, &input);
    say_all(&w, &input);
    hocket_status status = HOCKET_OK;
    for (int at = 0; at < w.step_count && status == HOCKET_OK; at++)
        status = take_step(&w, &w.steps[at]);
    if (status != HOCKET_OK) {
        check_fault(&w, status);
        FUZZ_CHECK(take_step(&w, &w.steps[0]) == status);
    }
    hk_star_close(&w.star);
    for (int i = 0; i < WORLD_MAX; i++)
        hk_pipe_close(&w.ends[i]);
    return 0;
}
