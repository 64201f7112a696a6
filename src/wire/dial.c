/* The dialer's half of the handshake. */
#include "core/log.h"
#include "wire/proof.h"
#include "wire/socket.h"
#include <string.h>
#include <time.h>

#define RETRY_FIRST (2 * HK_MILLISECOND)
#define RETRY_LAST (100 * HK_MILLISECOND)

typedef struct dialing {
    const char *where;
    const hk_hello *hello;
    const hk_key *key;
    size_t buffer_bytes;
    hk_error reason; /* of the attempt that tells most about why it does not work */
    bool warned;
} dialing;

/* Trouble that trying again cannot mend, because the other end has proven who it is. */
static hocket_status judge_verdict(const hk_proof *proof, hk_verdict verdict, bool *final)
{
    const hk_hello *self = &proof->self, *other = &proof->other;
    *final = verdict == HK_VERDICT_WORLD;
    switch (verdict) {
    case HK_VERDICT_WELCOME:
        if (other->rank == self->peer && other->world_size == self->world_size &&
            other->job == self->job && other->purpose == self->purpose)
            return HOCKET_OK;
        return hk_fail(HOCKET_ERR_PROTOCOL,
                       "lets this rank in as rank %d of %d, but is not who "
                       "was called",
                       other->rank, other->world_size);
    case HK_VERDICT_WORLD:
        return hk_fail_rank(HOCKET_ERR_MISMATCH, other->rank,
                            "says that there are %d ranks; this is rank %d of %d",
                            other->world_size, self->rank, self->world_size);
    case HK_VERDICT_ASTRAY:
        return hk_fail(HOCKET_ERR_PROTOCOL, "is rank %d of another job, or of another part of it",
                       other->rank);
    case HK_VERDICT_STRANGER: break;
    }
    return hk_fail(HOCKET_ERR_PROTOCOL, "answers with an unknown verdict");
}

/* What fails here is told as "rank 0 at ... <text>". */
static hocket_status shake(const dialing *dial, int fd, hk_proof *proof, hk_time deadline,
                           bool *final)
{
    unsigned char bytes[HK_HELLO_BYTES];
    hk_proof_begin(proof, dial->key, dial->hello, true);
    hocket_status status = hk_socket_send_all(fd, proof->hello, HK_HELLO_BYTES, deadline);
    if (status == HOCKET_OK)
        status = hk_socket_recv_all(fd, bytes, HK_HELLO_BYTES, deadline);
    if (status != HOCKET_OK)
        return hk_fail_prefix("did not finish its hello: ");
    bool answer;
    status = hk_proof_take_hello(proof, bytes, &answer);
    if (status != HOCKET_OK)
        return status;
    hk_proof_make(proof, bytes);
    status = hk_socket_send_all(fd, bytes, HK_PROOF_BYTES, deadline);
    if (status == HOCKET_OK)
        status = hk_socket_recv_all(fd, bytes, HK_VERDICT_BYTES, deadline);
    if (status != HOCKET_OK)
        return hk_fail_prefix("did not answer this rank's proof: ");
    hk_verdict verdict;
    status = hk_proof_check_verdict(proof, bytes, &verdict);
    return status == HOCKET_OK ? judge_verdict(proof, verdict, final) : status;
}

static hocket_status attempt(const dialing *dial, const hk_address *address, hk_time deadline,
                             int *fd, hk_peer *peer, bool *final)
{
    hk_time limit = hk_now() + HK_HANDSHAKE_PATIENCE;
    if (deadline < limit)
        limit = deadline;
    hocket_status status = hk_key_allows(dial->key, address, dial->hello->rank);
    *final = status != HOCKET_OK;
    hk_address target = *address;
    hk_address_any_to_loopback(&target);
    if (status == HOCKET_OK)
        status = hk_socket_connect_once(&target, dial->buffer_bytes, limit, fd);
    if (status != HOCKET_OK)
        return status;
    hk_proof proof;
    status = shake(dial, *fd, &proof, limit, final);
    if (status == HOCKET_OK) {
        if (peer != NULL)
            hk_proof_peer(&proof, &target, peer);
    } else {
        char text[HK_ADDRESS_TEXT_MAX];
        hk_address_format(&target, text);
        hk_fail_prefix("rank %d at %s ", dial->hello->peer, text);
        hk_socket_close(*fd);
        *fd = -1;
    }
    hk_proof_wipe(&proof);
    return status;
}

static void keep_reason(dialing *dial, hocket_status status)
{
    if (hk_proof_tells(dial->reason.status, status))
        dial->reason = *hk_error_last();
}

/* Each address of the name once. final: it is no use to try again. */
static hocket_status try_name(dialing *dial, const char *where, hk_time deadline, int *fd,
                              hk_peer *peer, bool *final)
{
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    hocket_status status = hk_address_resolve(where, addresses, &count);
    *final = status == HOCKET_ERR_INVALID;
    if (status != HOCKET_OK)
        keep_reason(dial, status);
    bool all_final = count > 0;
    for (int i = 0; i < count; i++) {
        bool this_final = false;
        status = attempt(dial, &addresses[i], deadline, fd, peer, &this_final);
        if (status == HOCKET_OK)
            return HOCKET_OK;
        keep_reason(dial, status);
        if (status == HOCKET_ERR_MISMATCH) {
            *final = true;
            return status;
        }
        all_final = all_final && this_final;
    }
    *final = *final || all_final;
    return status;
}

/* Each port that it may be. */
static hocket_status try_all(dialing *dial, hk_time deadline, int *fd, hk_peer *peer, bool *final)
{
    char one[HK_COORDINATOR_MAX];
    hocket_status status = HOCKET_ERR_INVALID;
    bool all_final = true;
    for (int i = 0; hk_address_choice(dial->where, i, one, sizeof one); i++) {
        bool this_final = false;
        status = try_name(dial, one, deadline, fd, peer, &this_final);
        *final = status == HOCKET_ERR_MISMATCH && this_final;
        if (status == HOCKET_OK || *final)
            return status;
        all_final = all_final && this_final;
    }
    *final = all_final;
    return status;
}

static hocket_status fail_late(const dialing *dial, hk_time since)
{
    hocket_status status = dial->reason.status;
    int peer = dial->hello->peer;
    if (status == HOCKET_ERR_UNAVAILABLE || status == HOCKET_ERR_PEER_LOST)
        status = HOCKET_ERR_TIMEOUT;
    return hk_fail_rank(status, peer, "rank %d waited %.1f s for rank %d at %s: %s",
                        dial->hello->rank, hk_to_seconds(hk_now() - since), peer, dial->where,
                        dial->reason.text);
}

hocket_status hk_dial(const char *where, const hk_hello *hello, const hk_key *key,
                      size_t buffer_bytes, hk_time deadline, const hk_lookout *lookout, int *fd,
                      hk_peer *peer)
{
    dialing dial = {.where = where, .hello = hello, .key = key, .buffer_bytes = buffer_bytes};
    hk_time since = hk_now(), pause = RETRY_FIRST;
    *fd = -1;
    for (;;) {
        bool final = false;
        hocket_status status = try_all(&dial, deadline, fd, peer, &final);
        if (status == HOCKET_OK || final)
            return status;
        if (lookout != NULL && (status = lookout->look(lookout->owner)) != HOCKET_OK)
            return status;
        hk_time left = hk_deadline_left(deadline);
        if (left == 0)
            return fail_late(&dial, since);
        if (hk_proof_is_answer(dial.reason.status) && !dial.warned)
            hk_log(HK_LOG_WARN, hello->rank, "%s; trying again", dial.reason.text);
        dial.warned = hk_proof_is_answer(dial.reason.status);
        hk_time span = pause < left ? pause : left;
        struct timespec nap = {.tv_sec = 0, .tv_nsec = (long)span};
        nanosleep(&nap, NULL);
        pause = pause * 2 < RETRY_LAST ? pause * 2 : RETRY_LAST;
    }
}
