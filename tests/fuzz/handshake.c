/* Strangers at the door: the acceptor's side over real sockets, the dialer's by the functions that
 * it is made of. Whoever is let in has proven that it knows the secret, with the very hello that it
 * sent. */
#include "input.h"
#include "wire/proof.h"
#include "wire/socket.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

enum { STRANGERS = 5, SELF = 1, WORLD = 4, LOOKS = 2 };

typedef struct stranger {
    int fd, port;
    bool right_key;
    hk_proof proof;
    bool proven; /* it has sent its hello and the proof for it, or as much of them as it has sent */
    size_t sent; /* bytes */
} stranger;

typedef struct door {
    int listener;
    hk_address address;
    hk_key right, wrong, open;
} door;

static void make_key(hk_key *key, const char *secret)
{
    static hk_settings settings;
    memset(&settings, 0, sizeof settings);
    settings.secret_length = strlen(secret);
    memcpy(settings.secret, secret, settings.secret_length);
    FUZZ_CHECK(hk_key_make(&settings, key) == HOCKET_OK);
}

static const door *the_door(void)
{
    static door d = {.listener = -1};
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    if (d.listener >= 0)
        return &d;
    make_key(&d.right, "the secret of this job");
    make_key(&d.wrong, "the secret of another job");
    make_key(&d.open, "");
    FUZZ_CHECK(hk_address_resolve("127.0.0.1:0", addresses, &count) == HOCKET_OK);
    FUZZ_CHECK(hk_socket_listen(&addresses[0], 0, 0, &d.listener, &d.address) == HOCKET_OK);
    return &d;
}

/* === The acceptor ============================================================================= */

static hk_hello make_hello(fuzz_input *input)
{
    uint8_t odd = fuzz_byte(input);
    return (hk_hello){
        .purpose = odd & 1 ? HK_PURPOSE_MESH : HK_PURPOSE_MEETING,
        .rank = odd & 2 ? (int)fuzz_number(input, 4) : 2,
        .peer = odd & 4 ? (int)fuzz_number(input, 4) : SELF,
        .world_size = odd & 8 ? (int)fuzz_number(input, 4) : WORLD,
        .channel = (uint32_t)odd,
        .job = odd & 16 ? 7 : 0,
        .seal = odd & 32,
    };
}

static void leave(stranger *one)
{
    if (one->fd < 0)
        return;
    struct linger at_once = {.l_onoff = 1}; /* a reset leaves no connection behind */
    setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    hk_socket_close(one->fd);
    one->fd = -1;
}

static void come(stranger *one, const door *d, bool open, fuzz_input *input)
{
    if (one->fd >= 0)
        return;
    memset(one, 0, sizeof *one);
    one->right_key = fuzz_byte(input) & 1;
    hk_hello hello = make_hello(input);
    hk_address own;
    const hk_key *key = !one->right_key ? &d->wrong : open ? &d->open : &d->right;
    FUZZ_CHECK(hk_socket_connect_once(&d->address, 0, hk_now() + HK_SECOND, &one->fd) == HOCKET_OK);
    FUZZ_CHECK(hk_address_local(one->fd, &own) == HOCKET_OK);
    one->port = hk_address_port(&own);
    hk_proof_begin(&one->proof, key, &hello, true);
}

/* What follows a whole proof is no part of the handshake. */
static bool is_done(const stranger *one)
{
    return one->proven && one->sent >= HK_HELLO_BYTES + HK_PROOF_BYTES;
}

static void say(stranger *one, const unsigned char *bytes, size_t count)
{
    size_t done = 0;
    if (one->fd >= 0 && count > 0)
        hk_socket_send_some(one->fd, bytes, count, &done);
    one->sent += done;
}

/* known: the proof is for what was sent, not for what should have been. */
static void say_hello(stranger *one, fuzz_input *input)
{
    uint8_t how = fuzz_byte(input), changed[HK_HELLO_BYTES];
    memcpy(changed, one->proof.hello, sizeof changed);
    for (int i = how & 3; i > 0; i--)
        changed[fuzz_byte(input) % HK_HELLO_BYTES] ^= fuzz_byte(input);
    bool known = how & 4, done = is_done(one);
    if (known && one->sent == 0)
        memcpy(one->proof.hello, changed, sizeof changed);
    say(one, changed, how & 8 ? fuzz_byte(input) % HK_HELLO_BYTES : HK_HELLO_BYTES);
    one->proven = done || (one->sent == HK_HELLO_BYTES &&
                           memcmp(one->proof.hello, changed, sizeof changed) == 0);
}

static void say_proof(stranger *one, fuzz_input *input)
{
    unsigned char bytes[HK_HELLO_BYTES], proof[HK_PROOF_BYTES];
    size_t got = 0;
    bool answer, honest = one->proven && one->sent == HK_HELLO_BYTES;
    if (one->fd < 0 || is_done(one) ||
        hk_socket_recv_some(one->fd, bytes, sizeof bytes, &got) != HOCKET_OK || got < sizeof bytes)
        return;
    honest = honest && hk_proof_take_hello(&one->proof, bytes, &answer) == HOCKET_OK;
    hk_proof_make(&one->proof, proof);
    uint8_t how = fuzz_byte(input), mask = 0;
    if (how & 1)
        proof[fuzz_byte(input) % HK_PROOF_BYTES] ^= mask = fuzz_byte(input);
    say(one, proof, sizeof proof);
    one->proven = honest && mask == 0 && one->sent == HK_HELLO_BYTES + HK_PROOF_BYTES;
}

static void say_raw(stranger *one, fuzz_input *input)
{
    unsigned char bytes[256];
    size_t count = fuzz_take(input, bytes, fuzz_byte(input));
    one->proven = is_done(one) || (one->proven && count == 0);
    say(one, bytes, count);
}

static void hear_verdict(stranger *one)
{
    unsigned char bytes[HK_VERDICT_BYTES];
    size_t got = 0;
    hk_verdict verdict = HK_VERDICT_STRANGER;
    if (one->fd < 0 || !is_done(one))
        return;
    if (hk_socket_recv_some(one->fd, bytes, sizeof bytes, &got) == HOCKET_OK && got == sizeof bytes)
        FUZZ_CHECK((hk_proof_check_verdict(&one->proof, bytes, &verdict) == HOCKET_OK) ==
                   one->right_key);
}

static void check_guest(const stranger *strangers, const hk_peer *peer)
{
    FUZZ_CHECK(peer->hello.purpose == HK_PURPOSE_MEETING && peer->hello.peer == SELF);
    FUZZ_CHECK(peer->hello.world_size == WORLD && peer->hello.job == 0);
    FUZZ_CHECK(peer->hello.rank >= 0 && peer->hello.rank < WORLD && peer->hello.rank != SELF);
    for (int i = 0; i < STRANGERS; i++)
        if (strangers[i].port == hk_address_port(&peer->address)) {
            FUZZ_CHECK(strangers[i].right_key && strangers[i].proven);
            return;
        }
    FUZZ_CHECK(!"a guest who never came");
}

static void look(hk_reception *reception, const stranger *strangers)
{
    for (int i = 0; i < LOOKS; i++) {
        int fd;
        hk_peer peer;
        char why[64];
        hocket_status status = hk_reception_next(reception, 0, &fd, &peer);
        FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_TIMEOUT ||
                   status == HOCKET_ERR_MISMATCH);
        if (status == HOCKET_OK)
            check_guest(strangers, &peer);
        hk_socket_close(fd);
        for (int rank = -1; rank <= WORLD; rank++)
            hk_reception_rejected(reception, rank, why, sizeof why);
    }
}

static void accept_side(fuzz_input *input, bool open)
{
    const door *d = the_door();
    stranger strangers[STRANGERS];
    hk_reception *reception;
    hk_hello self = {.purpose = HK_PURPOSE_MEETING, .rank = SELF, .world_size = WORLD};
    memset(strangers, 0, sizeof strangers);
    for (int i = 0; i < STRANGERS; i++)
        strangers[i].fd = -1;
    FUZZ_CHECK(hk_reception_open(dup(d->listener), &self, open ? &d->open : &d->right,
                                 &reception) == HOCKET_OK);
    while (input->left > 0) {
        uint8_t what = fuzz_byte(input);
        stranger *one = &strangers[(what >> 3) % STRANGERS];
        switch (what & 7) {
        case 0: come(one, d, open, input); break;
        case 1: say_hello(one, input); break;
        case 2: say_proof(one, input); break;
        case 3: say_raw(one, input); break;
        case 4: hear_verdict(one); break;
        case 5: leave(one); break;
        default: look(reception, strangers); break;
        }
    }
    look(reception, strangers);
    for (int i = 0; i < STRANGERS; i++)
        leave(&strangers[i]);
    look(reception, strangers); /* nobody stays in the queue for the next input */
    hk_reception_close(reception);
}

/* === The dialer =============================================================================== */

static void dial_side(fuzz_input *input)
{
    const door *d = the_door();
    hk_proof dialer, acceptor;
    hk_hello self = {.purpose = HK_PURPOSE_MEETING, .rank = 2, .peer = SELF, .world_size = WORLD};
    hk_hello other = make_hello(input);
    bool answer, right_key = fuzz_byte(input) & 1;
    unsigned char hello[HK_HELLO_BYTES], bytes[HK_VERDICT_BYTES], before[HK_VERDICT_BYTES];
    hk_proof_begin(&dialer, &d->right, &self, true);
    hk_proof_begin(&acceptor, right_key ? &d->right : &d->wrong, &other, false);
    for (int i = fuzz_byte(input) & 3; i > 0; i--)
        acceptor.hello[fuzz_byte(input) % HK_HELLO_BYTES] ^= fuzz_byte(input);
    memcpy(hello, acceptor.hello, sizeof hello);
    if (hk_proof_take_hello(&acceptor, dialer.hello, &answer) != HOCKET_OK ||
        hk_proof_take_hello(&dialer, hello, &answer) != HOCKET_OK)
        return;
    FUZZ_CHECK(dialer.other.world_size >= 1 && dialer.other.world_size <= HK_WORLD_MAX);
    FUZZ_CHECK(dialer.other.rank >= 0 && dialer.other.rank < dialer.other.world_size);
    hk_proof_make(&dialer, bytes);
    FUZZ_CHECK(hk_proof_check(&acceptor, bytes) == right_key);
    hk_proof_make_verdict(&acceptor, (hk_verdict)(fuzz_byte(input) % 6), bytes);
    memcpy(before, bytes, sizeof before);
    for (int i = fuzz_byte(input) & 3; i > 0; i--)
        bytes[fuzz_byte(input) % HK_VERDICT_BYTES] ^= fuzz_byte(input);
    hk_verdict verdict;
    if (hk_proof_check_verdict(&dialer, bytes, &verdict) == HOCKET_OK)
        FUZZ_CHECK(right_key && memcmp(before, bytes, sizeof before) == 0 &&
                   verdict != HK_VERDICT_STRANGER);
    hk_proof_wipe(&dialer);
    hk_proof_wipe(&acceptor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    uint8_t side = fuzz_byte(&input) % 4;
    if (side == 3)
        dial_side(&input);
    else
        accept_side(&input, side == 2);
    return 0;
}
