#include "wire/proof.h"

#include "core/log.h"
#include "wire/bytes.h"
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

/* A hello, little-endian: */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_ROLE = 12,
    AT_FLAGS = 16,
    AT_PURPOSE = 20,
    AT_RANK = 24,
    AT_PEER = 28,
    AT_WORLD = 32,
    AT_CHANNEL = 36,
    AT_JOB = 40,
    AT_NONCE = 48,
    NONCE_BYTES = 32
};

_Static_assert(AT_NONCE + NONCE_BYTES == HK_HELLO_BYTES, "a hello ends with its nonce");

#define ROLE_DIALER UINT32_C(1)
#define ROLE_ACCEPTOR UINT32_C(2)
#define FLAG_OPEN UINT32_C(1) /* has no secret */
#define FLAG_SEAL UINT32_C(2)
#define NOBODY UINT32_MAX /* the peer in an acceptor's hello */

static const unsigned char magic[8] = {'h', 'o', 'c', 'k', 'e', 't', '\r', '\n'};

/* === The key ================================================================================== */

hocket_status hk_key_make(const hk_settings *settings, hk_key *key)
{
    static const unsigned char purpose[] = "hocket: the key of a job";
    memset(key, 0, sizeof *key);
    if (sodium_init() < 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "libsodium does not start");
    key->insecure = settings->insecure;
    key->open = settings->secret_length == 0;
    key->advice = settings->advice;
    if (!key->open)
        crypto_generichash(key->bytes, sizeof key->bytes, settings->secret, settings->secret_length,
                           purpose, sizeof purpose - 1);
    /* Jobs that have worked out their ports by themselves may come upon each other's, also those
     * that share a secret. */
    unsigned char job[8], plain[HK_KEY_BYTES];
    hk_put_u64(job, settings->job);
    memcpy(plain, key->bytes, sizeof plain);
    if (settings->job != 0)
        crypto_generichash(key->bytes, sizeof key->bytes, job, sizeof job, plain, sizeof plain);
    sodium_memzero(plain, sizeof plain);
    return HOCKET_OK;
}

void hk_key_wipe(hk_key *key)
{
    sodium_memzero(key, sizeof *key);
}

hocket_status hk_key_allows(const hk_key *key, const hk_address *address, int rank)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (!key->open || hk_address_is_loopback(address))
        return HOCKET_OK;
    char text[HK_ADDRESS_TEXT_MAX];
    hk_address_format(address, text);
    if (!key->insecure)
        return hk_fail(HOCKET_ERR_AUTH,
                       "%s is not loopback and the job has no secret: set HOCKET_SECRET_FILE or "
                       "HOCKET_SECRET on all ranks (HOCKET_INSECURE=1 goes without)%s%s",
                       text, key->advice != NULL ? "; " : "",
                       key->advice != NULL ? key->advice : "");
    if (!atomic_flag_test_and_set(&warned))
        hk_log(HK_LOG_WARN, rank,
               "no secret, and HOCKET_INSECURE=1: whoever reaches %s can join or read this job",
               text);
    return HOCKET_OK;
}

/* === Hellos =================================================================================== */

void hk_proof_begin(hk_proof *proof, const hk_key *key, const hk_hello *self, bool dialer)
{
    memset(proof, 0, sizeof *proof);
    proof->dialer = dialer;
    proof->key = key;
    proof->self = *self;
    unsigned char *hello = proof->hello;
    memcpy(hello + AT_MAGIC, magic, sizeof magic);
    hk_put_u32(hello + AT_VERSION, HK_WIRE_VERSION);
    hk_put_u32(hello + AT_ROLE, dialer ? ROLE_DIALER : ROLE_ACCEPTOR);
    hk_put_u32(hello + AT_FLAGS, (key->open ? FLAG_OPEN : 0) | (self->seal ? FLAG_SEAL : 0));
    hk_put_u32(hello + AT_PURPOSE, (uint32_t)self->purpose);
    hk_put_u32(hello + AT_RANK, (uint32_t)self->rank);
    hk_put_u32(hello + AT_PEER, dialer ? (uint32_t)self->peer : NOBODY);
    hk_put_u32(hello + AT_WORLD, (uint32_t)self->world_size);
    hk_put_u32(hello + AT_CHANNEL, self->channel);
    hk_put_u64(hello + AT_JOB, self->job);
    randombytes_buf(hello + AT_NONCE, NONCE_BYTES);
}

/* The hash of both hellos, the dialer's first, is what all MACs are over. */
static void hash_transcript(hk_proof *proof, const unsigned char *theirs)
{
    const unsigned char *first = proof->dialer ? proof->hello : theirs;
    const unsigned char *second = proof->dialer ? theirs : proof->hello;
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, sizeof proof->transcript);
    crypto_generichash_update(&hash, first, HK_HELLO_BYTES);
    crypto_generichash_update(&hash, second, HK_HELLO_BYTES);
    crypto_generichash_final(&hash, proof->transcript, sizeof proof->transcript);
}

static hocket_status check_numbers(const hk_proof *proof, const unsigned char *bytes)
{
    uint32_t world = hk_get_u32(bytes + AT_WORLD), rank = hk_get_u32(bytes + AT_RANK);
    uint32_t peer = hk_get_u32(bytes + AT_PEER), flags = hk_get_u32(bytes + AT_FLAGS);
    uint32_t purpose = hk_get_u32(bytes + AT_PURPOSE);
    bool right = world >= 1 && world <= HK_WORLD_MAX && rank < world &&
                 flags <= (FLAG_OPEN | FLAG_SEAL) && purpose >= HK_PURPOSE_MEETING &&
                 purpose <= HK_PURPOSE_MESH && (proof->dialer ? peer == NOBODY : peer < world);
    if (!right)
        return hk_fail(HOCKET_ERR_PROTOCOL, "says hello with numbers out of range");
    return HOCKET_OK;
}

hocket_status hk_proof_take_hello(hk_proof *proof, const unsigned char bytes[HK_HELLO_BYTES],
                                  bool *answer)
{
    *answer = false;
    if (memcmp(bytes + AT_MAGIC, magic, sizeof magic) != 0)
        return hk_fail(HOCKET_ERR_PROTOCOL, "does not speak hocket's protocol");
    proof->other_version = hk_get_u32(bytes + AT_VERSION);
    if (hk_get_u32(bytes + AT_ROLE) != (proof->dialer ? ROLE_ACCEPTOR : ROLE_DIALER))
        return hk_fail(HOCKET_ERR_PROTOCOL, "plays this side's part of the handshake");
    *answer = true;
    if (proof->other_version != HK_WIRE_VERSION)
        return hk_fail(HOCKET_ERR_PROTOCOL,
                       "speaks version %u of the protocol, this rank version %u: run the same "
                       "hocket on all ranks",
                       proof->other_version, (unsigned)HK_WIRE_VERSION);
    hocket_status status = check_numbers(proof, bytes);
    if (status != HOCKET_OK ||
        memcmp(bytes + AT_NONCE, proof->hello + AT_NONCE, NONCE_BYTES) == 0) {
        *answer = false;
        return status != HOCKET_OK ? status
                                   : hk_fail(HOCKET_ERR_PROTOCOL, "sends this rank's own nonce");
    }
    proof->other = (hk_hello){
        .purpose = (hk_purpose)hk_get_u32(bytes + AT_PURPOSE),
        .rank = (int)hk_get_u32(bytes + AT_RANK),
        .peer = proof->dialer ? -1 : (int)hk_get_u32(bytes + AT_PEER),
        .world_size = (int)hk_get_u32(bytes + AT_WORLD),
        .channel = hk_get_u32(bytes + AT_CHANNEL),
        .job = hk_get_u64(bytes + AT_JOB),
        .seal = (hk_get_u32(bytes + AT_FLAGS) & FLAG_SEAL) != 0,
    };
    if (((hk_get_u32(bytes + AT_FLAGS) & FLAG_OPEN) != 0) != proof->key->open)
        return hk_fail(HOCKET_ERR_AUTH,
                       proof->key->open ? "has a secret and this rank has none: set "
                                          "HOCKET_SECRET_FILE or HOCKET_SECRET here too"
                                        : "has no secret: set HOCKET_SECRET_FILE or HOCKET_SECRET "
                                          "there too");
    hash_transcript(proof, bytes);
    return HOCKET_OK;
}

/* === Proofs =================================================================================== */

/* Labels keep the uses of the one key apart: a proof of one role is of no use in the other's. */
static void mac(const hk_proof *proof, const char *label, const unsigned char *more,
                size_t more_bytes, unsigned char *out)
{
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, proof->key->bytes, HK_KEY_BYTES, HK_PROOF_BYTES);
    crypto_generichash_update(&hash, (const unsigned char *)label, strlen(label) + 1);
    crypto_generichash_update(&hash, proof->transcript, sizeof proof->transcript);
    crypto_generichash_update(&hash, more, more_bytes);
    crypto_generichash_final(&hash, out, HK_PROOF_BYTES);
}

void hk_proof_make(const hk_proof *proof, unsigned char bytes[HK_PROOF_BYTES])
{
    mac(proof, "the dialer knows", NULL, 0, bytes);
}

bool hk_proof_check(const hk_proof *proof, const unsigned char bytes[HK_PROOF_BYTES])
{
    unsigned char expected[HK_PROOF_BYTES];
    hk_proof_make(proof, expected);
    return sodium_memcmp(expected, bytes, sizeof expected) == 0;
}

hk_verdict hk_proof_judge(const hk_proof *proof)
{
    const hk_hello *self = &proof->self, *other = &proof->other;
    if (other->peer != self->rank || other->rank == self->rank || other->job != self->job ||
        other->purpose != self->purpose)
        return HK_VERDICT_ASTRAY;
    return other->world_size == self->world_size ? HK_VERDICT_WELCOME : HK_VERDICT_WORLD;
}

void hk_proof_make_verdict(const hk_proof *proof, hk_verdict verdict,
                           unsigned char bytes[HK_VERDICT_BYTES])
{
    memset(bytes, 0, HK_VERDICT_BYTES);
    hk_put_u32(bytes, (uint32_t)verdict);
    if (verdict != HK_VERDICT_STRANGER) /* who has proven nothing gets nothing to guess against */
        mac(proof, "the acceptor knows", bytes, 4, bytes + 4);
}

hocket_status hk_proof_check_verdict(const hk_proof *proof,
                                     const unsigned char bytes[HK_VERDICT_BYTES],
                                     hk_verdict *verdict)
{
    unsigned char expected[HK_PROOF_BYTES];
    mac(proof, "the acceptor knows", bytes, 4, expected);
    if (sodium_memcmp(expected, bytes + 4, sizeof expected) != 0)
        return hk_fail(HOCKET_ERR_AUTH,
                       proof->key->open ? "is of another job"
                                        : "does not know this job's secret, or has another one");
    *verdict = (hk_verdict)hk_get_u32(bytes);
    return HOCKET_OK;
}

void hk_proof_peer(const hk_proof *proof, const hk_address *address, hk_peer *peer)
{
    static const char *const labels[] = {"dialer to acceptor", "acceptor to dialer"};
    peer->hello = proof->other;
    peer->address = *address;
    mac(proof, labels[proof->dialer ? 0 : 1], NULL, 0, peer->send_key);
    mac(proof, labels[proof->dialer ? 1 : 0], NULL, 0, peer->recv_key);
}

void hk_proof_wipe(hk_proof *proof)
{
    sodium_memzero(proof, sizeof *proof);
}

bool hk_proof_is_answer(hocket_status failed)
{
    return failed == HOCKET_ERR_AUTH || failed == HOCKET_ERR_PROTOCOL;
}

bool hk_proof_tells(hocket_status before, hocket_status now)
{
    return hk_proof_is_answer(now) || !hk_proof_is_answer(before);
}
