/* What a coordinator answers a rank that comes to the meeting: hk_meeting_open as rank 1, against a
 * thread that shakes hands well enough to be listened to. */
#include "input.h"
#include "wire/bytes.h"
#include "wire/meeting.h"
#include "wire/pipe.h"
#include "wire/proof.h"
#include "wire/socket.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { WELCOME_BYTES = 8 + HK_ADDRESS_TEXT_MAX, HEAD_BYTES = 24, SAID_MAX = 4096, POLL_MS = 5 };

#define HEAD_MAGIC UINT32_C(0x6d6b6f68)
#define PATIENCE (20 * HK_MILLISECOND)
#define SECRET "the secret of this job"

typedef struct coordinator {
    int listener, world_size;
    bool seal; /* the coordinator's wish; the rank's is in the settings */
    hk_settings settings;
    hk_key key;
    uint8_t verdict, change_at, change;
    unsigned char said[SAID_MAX]; /* after the handshake */
    size_t said_bytes;
    atomic_bool over;
} coordinator;

/* === The coordinator ========================================================================== */

static bool shake(const coordinator *c, int fd, hk_time limit, hk_peer *peer)
{
    hk_proof proof;
    hk_hello self = {.purpose = HK_PURPOSE_MEETING,
                     .world_size = c->world_size,
                     .peer = -1,
                     .seal = c->seal};
    unsigned char bytes[HK_HELLO_BYTES];
    bool answer;
    hk_proof_begin(&proof, &c->key, &self, false);
    if (hk_socket_recv_all(fd, bytes, HK_HELLO_BYTES, limit) != HOCKET_OK ||
        hk_proof_take_hello(&proof, bytes, &answer) != HOCKET_OK ||
        hk_socket_send_all(fd, proof.hello, HK_HELLO_BYTES, limit) != HOCKET_OK ||
        hk_socket_recv_all(fd, bytes, HK_PROOF_BYTES, limit) != HOCKET_OK)
        return false;
    hk_proof_make_verdict(&proof, (hk_verdict)c->verdict, bytes);
    bytes[c->change_at % HK_VERDICT_BYTES] ^= c->change;
    hocket_status status = hk_socket_send_all(fd, bytes, HK_VERDICT_BYTES, limit);
    hk_proof_peer(&proof, &(hk_address){0}, peer);
    hk_proof_wipe(&proof);
    return status == HOCKET_OK;
}

/* A reset when all is said leaves no connection behind, but takes back what was not read yet: so
 * only after the other has hung up, or has had its time. */
static void serve(const coordinator *c, int fd)
{
    hk_time limit = hk_now() + PATIENCE;
    unsigned char dropped[1];
    hk_peer peer;
    hk_pipe pipe = {.fd = fd};
    if (shake(c, fd, limit, &peer)) {
        bool seal = c->seal || peer.hello.seal;
        FUZZ_CHECK(hk_pipe_open(&pipe, fd, seal ? &peer : NULL) == HOCKET_OK);
        hk_pipe_send_all(&pipe, c->said, c->said_bytes, limit);
    }
    shutdown(fd, SHUT_WR);
    while (!c->over && hk_deadline_left(limit) > 0 &&
           hk_socket_recv_all(fd, dropped, sizeof dropped, limit) == HOCKET_OK)
        ;
    struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    hk_pipe_close(&pipe);
}

static void *coordinate(void *argument)
{
    coordinator *c = argument;
    while (!c->over) {
        struct pollfd door = {.fd = c->listener, .events = POLLIN};
        hk_address address;
        int fd = -1;
        if (poll(&door, 1, POLL_MS) > 0 &&
            hk_socket_accept(c->listener, &fd, &address) == HOCKET_OK && fd >= 0)
            serve(c, fd);
    }
    return NULL;
}

static void open_door(coordinator *c)
{
    hk_address addresses[HK_ADDRESSES_MAX], bound;
    char where[HK_ADDRESS_TEXT_MAX];
    int count;
    if (c->listener > 0)
        return;
    FUZZ_CHECK(hk_address_resolve("127.0.0.1:0", addresses, &count) == HOCKET_OK);
    FUZZ_CHECK(hk_socket_listen(&addresses[0], 0, 0, &c->listener, &bound) == HOCKET_OK);
    hk_address_format(&bound, where);
    c->settings.configured = true;
    c->settings.rank = 1;
    snprintf(c->settings.coordinator, sizeof c->settings.coordinator, "%s", where);
    memcpy(c->settings.secret, SECRET, sizeof SECRET - 1);
    c->settings.secret_length = sizeof SECRET - 1;
    FUZZ_CHECK(hk_key_make(&c->settings, &c->key) == HOCKET_OK);
}

/* === What it says ============================================================================= */

static void append(coordinator *c, const void *bytes, size_t count)
{
    FUZZ_CHECK(count <= SAID_MAX - c->said_bytes);
    memcpy(c->said + c->said_bytes, bytes, count);
    c->said_bytes += count;
}

static void append_head(coordinator *c, uint64_t step, uint64_t bytes)
{
    unsigned char head[HEAD_BYTES];
    hk_put_u32(head, HEAD_MAGIC);
    hk_put_u32(head + 4, 101);
    hk_put_u64(head + 8, step);
    hk_put_u64(head + 16, bytes);
    append(c, head, sizeof head);
}

/* A welcome with the input's address, then the answer to a gather of 8 bytes, perhaps cut. */
static void compose(coordinator *c, fuzz_input *input)
{
    unsigned char welcome[WELCOME_BYTES + 4 * HK_HOST_ID_BYTES] = {0};
    size_t ranks = (size_t)c->world_size;
    uint8_t how = fuzz_byte(input);
    c->said_bytes = 0;
    if (how & 1) {
        c->said_bytes = fuzz_take(input, c->said, SAID_MAX);
        return;
    }
    hk_put_u64(welcome, fuzz_byte(input));
    fuzz_take(input, welcome + 8, how & 2 ? HK_ADDRESS_TEXT_MAX : fuzz_byte(input) % 40);
    append_head(c, 0, WELCOME_BYTES + ranks * HK_HOST_ID_BYTES);
    append(c, welcome, WELCOME_BYTES + ranks * HK_HOST_ID_BYTES);
    append_head(c, 1, ranks * 8);
    append(c, welcome, ranks * 8);
    if (how & 4)
        c->said_bytes = fuzz_number(input, 2) % (c->said_bytes + 1);
}

/* ============================================================================================== */

static void join(const coordinator *c)
{
    hk_meeting *meeting;
    unsigned char mine[8] = {0}, all[4 * 8];
    hocket_status status = hk_meeting_open(&c->settings, hk_now() + PATIENCE / 10, &meeting);
    FUZZ_CHECK((status == HOCKET_OK) == (meeting != NULL));
    if (status != HOCKET_OK)
        return;
    FUZZ_CHECK(c->verdict == HK_VERDICT_WELCOME && c->change == 0);
    FUZZ_CHECK(hk_meeting_job(meeting) != 0 && hk_address_port(hk_meeting_address(meeting)) == 0);
    hk_meeting_all_gather(meeting, mine, sizeof mine, all);
    hk_meeting_close(meeting);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static coordinator c;
    fuzz_input input = {data, size};
    pthread_t thread;
    uint8_t how = fuzz_byte(&input);
    open_door(&c);
    c.settings.world_size = c.world_size = 2 + (how & 1);
    c.verdict = how & 2 ? fuzz_byte(&input) % 6 : HK_VERDICT_WELCOME;
    c.change_at = how & 4 ? fuzz_byte(&input) : 0;
    c.change = how & 4 ? fuzz_byte(&input) : 0;
    c.settings.encrypt = how & 8;
    c.seal = how & 16;
    compose(&c, &input);
    c.over = false;
    FUZZ_CHECK(pthread_create(&thread, NULL, coordinate, &c) == 0);
    join(&c);
    c.over = true;
    pthread_join(thread, NULL);
    return 0;
}
