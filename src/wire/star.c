#include "wire/star.h"

#include "wire/bytes.h"
#include "wire/socket.h"
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD_MAGIC UINT32_C(0x6d6b6f68)
#define ANSWER_RESULT UINT32_C(101)
#define ANSWER_FAILURE UINT32_C(102)
#define FAILURE_BYTES (4 + 4 + 4 * HK_ERROR_RANKS_MAX + HK_ERROR_TEXT_MAX)

#define POLL_MS_MAX 60000
#define LET_IN_SLICE (10 * HK_MILLISECOND) /* at the door before the links are looked at again */
#define GRACE HK_SECOND                    /* for rank 0 to say which rank was late */
#define LATE_LOOK (250 * HK_MILLISECOND)   /* of it, for those who are there to say so */
#define LAST_LOOK (50 * HK_MILLISECOND)    /* where rank 0 is late itself */
#define LATE_PATIENCE (500 * HK_MILLISECOND)
#define DRAIN (200 * HK_MILLISECOND)
#define LISTED_RANKS 16 /* in a sentence */

static hocket_status break_star(hk_star *star)
{
    star->broken = true;
    star->fault = *hk_error_last();
    return star->fault.status;
}

static hk_time with_grace(hk_time deadline)
{
    return deadline < HK_FOREVER - GRACE ? deadline + GRACE : HK_FOREVER;
}

/* === Links ==================================================================================== */

hocket_status hk_star_link_open(const hk_star *star, hk_star_link *link, int fd,
                                const hk_peer *peer)
{
    bool seal = star->seal || peer->hello.seal;
    *link = (hk_star_link){.address = peer->address};
    hocket_status status = hk_pipe_open(&link->pipe, fd, seal ? peer : NULL);
    if (status != HOCKET_OK)
        hk_socket_close(fd);
    return status;
}

/* === Heads ==================================================================================== */

static void put_head(unsigned char *head, uint32_t kind, uint64_t step, size_t bytes)
{
    hk_put_u32(head, HEAD_MAGIC);
    hk_put_u32(head + 4, kind);
    hk_put_u64(head + 8, step);
    hk_put_u64(head + 16, bytes);
}

static const char *step_name(uint32_t kind)
{
    switch (kind) {
    case HK_STEP_ARRIVE: return "arrival";
    case HK_STEP_GATHER: return "all_gather";
    case HK_STEP_BROADCAST: return "broadcast";
    default: return "unknown step";
    }
}

static hocket_status check_head(const hk_star *star, const hk_step *step, int rank)
{
    const unsigned char *head = star->links[rank].head;
    uint32_t kind = hk_get_u32(head + 4);
    uint64_t number = hk_get_u64(head + 8), bytes = hk_get_u64(head + 16);
    if (hk_get_u32(head) != HEAD_MAGIC)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, rank,
                            "rank %d sends rank 0 what is no step of a "
                            "meeting",
                            rank);
    if (kind != (uint32_t)step->kind || number != star->step || bytes != step->bytes)
        return hk_fail_rank(HOCKET_ERR_MISMATCH, rank,
                            "rank %d is at step %llu of the meeting, %s of %llu bytes; rank 0 is "
                            "at step %llu, %s of %zu bytes",
                            rank, (unsigned long long)number, step_name(kind),
                            (unsigned long long)bytes, (unsigned long long)star->step,
                            step_name((uint32_t)step->kind), step->bytes);
    return HOCKET_OK;
}

/* === Failures told to all ===================================================================== */

static void put_error(unsigned char *bytes, const hk_error *error)
{
    memset(bytes, 0, FAILURE_BYTES);
    hk_put_u32(bytes, (uint32_t)error->status);
    hk_put_u32(bytes + 4, (uint32_t)error->rank_count);
    for (int i = 0; i < error->rank_count && i < HK_ERROR_RANKS_MAX; i++)
        hk_put_u32(bytes + 8 + 4 * i, (uint32_t)error->ranks[i]);
    memcpy(bytes + 8 + 4 * HK_ERROR_RANKS_MAX, error->text, strlen(error->text));
}

static hocket_status take_error(const hk_star *star, unsigned char *bytes)
{
    uint32_t status = hk_get_u32(bytes), count = hk_get_u32(bytes + 4);
    char *text = (char *)bytes + 8 + 4 * HK_ERROR_RANKS_MAX;
    text[HK_ERROR_TEXT_MAX - 1] = '\0';
    if (!hk_status_is_failure(status) || count > HK_WORLD_MAX)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, 0, "rank 0 tells of a failure that cannot be");
    hk_error error;
    hk_error_set(&error, (hocket_status)status, "%s", text);
    for (uint32_t i = 0; i < count && i < HK_ERROR_RANKS_MAX; i++) {
        uint32_t rank = hk_get_u32(bytes + 8 + 4 * i);
        if (rank < (uint32_t)star->world_size)
            hk_error_add_rank(&error, (int)rank);
    }
    return hk_fail_with(&error);
}

static int poll_links(hk_star *star, short events, hk_time deadline)
{
    for (int r = 0; r < star->world_size; r++)
        star->polls[r] = (struct pollfd){.fd = star->links[r].pipe.fd, .events = events};
    return poll(star->polls, (nfds_t)star->world_size, hk_deadline_poll_ms(deadline, POLL_MS_MAX));
}

/* One more piece of head and data to one rank. */
static hocket_status write_some(hk_star_link *link, const unsigned char *head, const void *data,
                                size_t bytes)
{
    size_t done;
    do {
        bool in_head = link->done < HK_STAR_HEAD_BYTES;
        const unsigned char *from = in_head ? head : data;
        size_t offset = in_head ? link->done : link->done - HK_STAR_HEAD_BYTES;
        size_t left = (in_head ? HK_STAR_HEAD_BYTES : bytes) - offset;
        if (left == 0)
            return HOCKET_OK;
        hocket_status status = hk_pipe_send_some(&link->pipe, from + offset, left, &done);
        if (status != HOCKET_OK)
            return status;
        link->done += done;
    } while (done > 0);
    return HOCKET_OK;
}

/* Head and data to all ranks at once, so that a slow one delays no other. *lost: ranks whose link
 * broke, which is closed; *late: ranks that did not take it all before the limit. */
static void write_all(hk_star *star, const unsigned char *head, const void *data, size_t bytes,
                      hk_time limit, hk_error *lost, hk_error *late)
{
    hk_error_set(lost, HOCKET_ERR_PEER_LOST, "%s", "");
    hk_error_set(late, HOCKET_ERR_TIMEOUT, "%s", "");
    for (int r = 0; r < star->world_size; r++)
        star->links[r].done = 0;
    for (bool over = false;; over = hk_deadline_left(limit) == 0) {
        int left = 0;
        for (int r = 0; r < star->world_size; r++) {
            hk_star_link *link = &star->links[r];
            if (link->pipe.fd < 0 || link->done == HK_STAR_HEAD_BYTES + bytes)
                continue;
            if (write_some(link, head, data, bytes) != HOCKET_OK) {
                hk_error_add_rank(lost, r);
                hk_pipe_close(&link->pipe);
            } else if (link->done < HK_STAR_HEAD_BYTES + bytes) {
                left++;
                if (over)
                    hk_error_add_rank(late, r);
            }
        }
        if (left == 0 || over)
            return;
        for (int r = 0; r < star->world_size; r++) {
            hk_star_link *link = &star->links[r];
            bool full = link->pipe.fd >= 0 && link->done < HK_STAR_HEAD_BYTES + bytes;
            star->polls[r] = (struct pollfd){.fd = full ? link->pipe.fd : -1, .events = POLLOUT};
        }
        poll(star->polls, (nfds_t)star->world_size, hk_deadline_poll_ms(limit, POLL_MS_MAX));
    }
}

/* Closing a socket that has unread bytes may take back what was sent last. So what comes is read,
 * sealed or not, and dropped until the other has read its failure and hung up. */
static void drain(hk_star *star)
{
    hk_time limit = hk_now() + DRAIN;
    for (int r = 0; r < star->world_size; r++)
        if (star->links[r].pipe.fd >= 0)
            shutdown(star->links[r].pipe.fd, SHUT_WR);
    for (;;) {
        bool any = false;
        for (int r = 0; r < star->world_size; r++) {
            char dropped[4096];
            size_t done = sizeof dropped;
            while (star->links[r].pipe.fd >= 0 && done == sizeof dropped) {
                if (hk_socket_recv_some(star->links[r].pipe.fd, dropped, sizeof dropped, &done) ==
                    HOCKET_OK)
                    continue;
                hk_pipe_close(&star->links[r].pipe);
            }
            any = any || star->links[r].pipe.fd >= 0;
        }
        if (!any || hk_deadline_left(limit) == 0)
            return;
        poll_links(star, POLLIN, limit);
    }
}

/* Who comes a moment too late for a meeting that has failed is told why as well. */
static void tell_latecomers(hk_star *star, const unsigned char *head, const unsigned char *bytes)
{
    hk_time limit = hk_now() + LATE_PATIENCE;
    if (star->deadline < limit)
        limit = star->deadline;
    int absent = 0;
    for (int r = 1; r < star->world_size; r++)
        absent += star->links[r].pipe.fd < 0;
    while (absent > 0 && hk_deadline_left(limit) > 0) {
        int fd;
        hk_peer peer;
        hocket_status status = hk_reception_next(star->reception, limit, &fd, &peer);
        if (status == HOCKET_ERR_SYSTEM)
            return;
        if (status != HOCKET_OK)
            continue;
        hk_star_link *link = &star->links[peer.hello.rank];
        if (link->pipe.fd >= 0) {
            hk_socket_close(fd);
            continue;
        }
        if (hk_star_link_open(star, link, fd, &peer) == HOCKET_OK)
            write_some(link, head, bytes, FAILURE_BYTES);
        sodium_memzero(&peer, sizeof peer);
        absent--;
    }
}

/* Rank 0: this thread's last error becomes the fault of the meeting, and every rank's. */
static hocket_status fail_all(hk_star *star)
{
    break_star(star);
    unsigned char head[HK_STAR_HEAD_BYTES], bytes[FAILURE_BYTES];
    put_head(head, ANSWER_FAILURE, star->step, FAILURE_BYTES);
    put_error(bytes, &star->fault);
    hk_error lost, late;
    write_all(star, head, bytes, sizeof bytes, hk_now() + GRACE, &lost, &late);
    if (star->reception != NULL)
        tell_latecomers(star, head, bytes);
    drain(star);
    hk_star_close(star);
    return hk_fail_with(&star->fault);
}

/* === Sentences ================================================================================ */

/* "rank 2", "ranks 2 and 3", "ranks 1, 2, 5 and 40 more" */
static void print_ranks(const hk_error *error, char *text, size_t size)
{
    int count = error->rank_count;
    int listed = count <= LISTED_RANKS ? count : LISTED_RANKS;
    size_t used = (size_t)snprintf(text, size, count == 1 ? "rank" : "ranks");
    for (int i = 0; i < listed && used < size; i++) {
        const char *before = i == 0 ? "" : i == count - 1 ? " and" : ",";
        used += (size_t)snprintf(text + used, size - used, "%s %d", before, error->ranks[i]);
    }
    if (listed < count && used < size)
        snprintf(text + used, size - used, " and %d more", count - listed);
}

/* Names the ranks in error, whose text is not set yet. */
static hocket_status fail_ranks(const hk_star *star, const hk_error *error, const char *what,
                                const char *more)
{
    char ranks[256];
    print_ranks(error, ranks, sizeof ranks);
    hk_error full = *error;
    snprintf(full.text, sizeof full.text, "rank 0 waited %.1f s at %s for %s of %d %s%s",
             hk_to_seconds(hk_now() - star->opened), star->where, ranks, star->world_size, what,
             more);
    return hk_fail_with(&full);
}

static hocket_status fail_missing(const hk_star *star)
{
    hk_error missing;
    hk_error_set(&missing, HOCKET_ERR_TIMEOUT, "%s", "");
    char why[400] = "";
    for (int r = 1; r < star->world_size; r++) {
        if (star->links[r].delivered)
            continue;
        hk_error_add_rank(&missing, r);
        char reason[320];
        hocket_status rejected = HOCKET_OK;
        if (star->reception != NULL && why[0] == '\0')
            rejected = hk_reception_rejected(star->reception, r, reason, sizeof reason);
        if (rejected == HOCKET_OK)
            continue;
        snprintf(why, sizeof why, "; one that calls itself %s", reason);
        if (rejected == HOCKET_ERR_AUTH || rejected == HOCKET_ERR_PROTOCOL)
            missing.status = rejected;
    }
    if (star->reception != NULL)
        return fail_ranks(star, &missing, "to arrive", why);
    return fail_ranks(star, &missing, "in the meeting", why);
}

static hocket_status fail_lost(const hk_star *star, int rank)
{
    char address[HK_ADDRESS_TEXT_MAX];
    hk_address_format(&star->links[rank].address, address);
    return hk_fail_rank(HOCKET_ERR_PEER_LOST, rank, "rank %d at %s left during the meeting", rank,
                        address);
}

/* === Rank 0 collects ========================================================================== */

/* Reads what one rank has sent, which is checked at the end of its head. A failure: its link is at
 * an end. */
static hocket_status read_some(hk_star_link *link, const hk_step *step, unsigned char *block)
{
    size_t done, total = HK_STAR_HEAD_BYTES + step->block_bytes;
    do {
        if (link->delivered) { /* nothing more may come before the answer */
            unsigned char extra;
            hocket_status status = hk_pipe_recv_some(&link->pipe, &extra, 1, &done);
            return status == HOCKET_OK && done > 0 ? HOCKET_ERR_PEER_LOST : status;
        }
        bool in_head = link->done < HK_STAR_HEAD_BYTES;
        unsigned char *to =
            in_head ? link->head + link->done : block + (link->done - HK_STAR_HEAD_BYTES);
        size_t left = (in_head ? HK_STAR_HEAD_BYTES : total) - link->done;
        hocket_status status = hk_pipe_recv_some(&link->pipe, to, left, &done);
        if (status != HOCKET_OK)
            return status;
        link->done += done;
        if (in_head && link->done == HK_STAR_HEAD_BYTES)
            return HOCKET_OK;
        link->delivered = link->done == total;
    } while (done > 0);
    return HOCKET_OK;
}

static hocket_status fail_forged(const hk_star *star, int rank)
{
    char address[HK_ADDRESS_TEXT_MAX];
    hk_address_format(&star->links[rank].address, address);
    return hk_fail_rank(HOCKET_ERR_AUTH, rank, "from rank %d at %s: %s", rank, address,
                        hocket_last_error());
}

static hocket_status hear_link(hk_star *star, const hk_step *step, int rank, void *blocks)
{
    hk_star_link *link = &star->links[rank];
    unsigned char *block = (unsigned char *)blocks + (size_t)rank * step->block_bytes;
    size_t before = link->done;
    if (step->block_bytes == 0)
        block = link->head; /* not written to */
    hocket_status status = read_some(link, step, block);
    if (status == HOCKET_ERR_AUTH)
        return fail_forged(star, rank);
    if (status != HOCKET_OK) {
        if (star->reception == NULL || link->delivered)
            return fail_lost(star, rank);
        hk_pipe_close(&link->pipe); /* it had not arrived yet and may come again */
        return HOCKET_OK;
    }
    if (before >= HK_STAR_HEAD_BYTES || link->done < HK_STAR_HEAD_BYTES)
        return HOCKET_OK;
    status = check_head(star, step, rank);
    link->delivered = step->block_bytes == 0;
    /* The block may lie in the pipe already, opened with its head, where no poll sees it. */
    if (status == HOCKET_OK && !link->delivered)
        return hear_link(star, step, rank, blocks);
    return status;
}

static hocket_status fail_duplicate(hk_star *star, int rank, int fd, const hk_peer *peer)
{
    char first[HK_ADDRESS_TEXT_MAX], second[HK_ADDRESS_TEXT_MAX];
    hk_address_format(&star->links[rank].address, first);
    hk_address_format(&peer->address, second);
    hocket_status status = hk_star_link_open(star, &star->links[0], fd, peer);
    if (status != HOCKET_OK) /* else it is told with the others */
        return status;
    return hk_fail_rank(HOCKET_ERR_MISMATCH, rank,
                        "two processes say that they are rank %d: at %s and at %s", rank, first,
                        second);
}

static hocket_status let_in(hk_star *star, const hk_step *step, void *blocks, int fd,
                            const hk_peer *peer)
{
    int rank = peer->hello.rank;
    hk_star_link *link = &star->links[rank];
    hocket_status status = HOCKET_OK;
    if (link->pipe.fd >= 0) /* whoever dials again has hung up before */
        status = hear_link(star, step, rank, blocks);
    if (status == HOCKET_OK && link->pipe.fd >= 0)
        return fail_duplicate(star, rank, fd, peer);
    hk_address local;
    if (status == HOCKET_OK)
        status = hk_address_local(fd, &local);
    if (status != HOCKET_OK) {
        hk_socket_close(fd);
        return status;
    }
    status = hk_star_link_open(star, link, fd, peer);
    if (status != HOCKET_OK)
        return status;
    if (star->outward.length == 0 || hk_address_is_loopback(&star->outward))
        star->outward = local;
    return HOCKET_OK;
}

/* Takes the next rank in, if one comes before the limit. */
static hocket_status stand_at_door(hk_star *star, const hk_step *step, void *blocks, hk_time limit)
{
    int fd;
    hk_peer peer;
    hocket_status status = hk_reception_next(star->reception, limit, &fd, &peer);
    if (status == HOCKET_ERR_TIMEOUT)
        return HOCKET_OK;
    if (status != HOCKET_OK)
        return status;
    status = let_in(star, step, blocks, fd, &peer);
    sodium_memzero(&peer, sizeof peer);
    return status;
}

static void count_links(const hk_star *star, int *absent, int *owing)
{
    *absent = *owing = 0;
    for (int r = 1; r < star->world_size; r++) {
        *absent += star->links[r].pipe.fd < 0;
        *owing += !star->links[r].delivered;
    }
}

/* At the deadline some that are there have not said what they have to: they wait for one that is
 * not, or rank 0 comes late itself and has read nothing. A moment later it shows who is missing. */
static hk_time late_end(const hk_star *star)
{
    hk_time late = star->deadline + LATE_LOOK, last = hk_now() + LAST_LOOK;
    return late > last ? late : last;
}

/* One look at the door and at all links. */
static hocket_status collect_round(hk_star *star, const hk_step *step, void *blocks, int absent,
                                   hk_time end)
{
    hk_time slice = hk_now() + LET_IN_SLICE, limit = end;
    if (star->reception != NULL) {
        limit = slice < end ? slice : end;
        hk_time at_door = absent > 0 ? limit : 0;
        limit = absent > 0 ? 0 : limit;
        hocket_status status = stand_at_door(star, step, blocks, at_door);
        if (status != HOCKET_OK)
            return status;
    }
    int ready = poll_links(star, POLLIN, limit);
    if (ready < 0 && errno != EINTR)
        return hk_fail_errno(errno, "rank 0 cannot wait for the other ranks");
    for (int r = 1; r < star->world_size && ready > 0; r++) {
        if (star->polls[r].fd < 0 || star->polls[r].revents == 0)
            continue;
        hocket_status status = hear_link(star, step, r, blocks);
        if (status != HOCKET_OK)
            return status;
    }
    return HOCKET_OK;
}

hocket_status hk_star_collect(hk_star *star, const hk_step *step, void *blocks)
{
    if (star->broken)
        return hk_fail_with(&star->fault);
    for (int r = 1; r < star->world_size; r++) {
        star->links[r].done = 0;
        star->links[r].delivered = false;
    }
    hocket_status status = HOCKET_OK;
    hk_time end = star->deadline;
    for (int absent, owing; status == HOCKET_OK;) {
        count_links(star, &absent, &owing);
        if (owing == 0)
            break;
        if (end == star->deadline && owing > absent && hk_deadline_left(end) == 0)
            end = late_end(star);
        if (hk_deadline_left(end) == 0)
            status = fail_missing(star);
        else
            status = collect_round(star, step, blocks, absent, end);
    }
    if (status != HOCKET_OK)
        status = fail_all(star);
    hk_reception_close(star->reception); /* once all have arrived, nobody listens */
    star->reception = NULL;
    return status;
}

hocket_status hk_star_answer(hk_star *star, const hk_step *step, const void *result)
{
    unsigned char head[HK_STAR_HEAD_BYTES];
    put_head(head, ANSWER_RESULT, star->step, step->result_bytes);
    hk_error lost, late;
    write_all(star, head, result, step->result_bytes, star->deadline, &lost, &late);
    star->step++;
    for (int r = 1; r < star->world_size; r++)
        if (star->links[r].done < HK_STAR_HEAD_BYTES + step->result_bytes)
            hk_pipe_close(&star->links[r].pipe); /* amid an answer nothing else can be said */
    hocket_status status = HOCKET_OK;
    if (lost.rank_count > 0) {
        fail_lost(star, lost.ranks[0]);
        status = fail_all(star);
    } else if (late.rank_count > 0) {
        fail_ranks(star, &late, "to take in what the ranks exchange", "");
        status = fail_all(star);
    }
    return status;
}

/* === The others ask =========================================================================== */

static hocket_status fail_coordinator(const hk_star *star)
{
    hocket_status status = hk_error_last()->status;
    double seconds = hk_to_seconds(hk_now() - star->opened);
    if (status == HOCKET_ERR_TIMEOUT)
        return hk_fail_rank(status, 0,
                            "rank %d waited %.1f s for rank 0 at %s, which is there but "
                            "does not answer",
                            star->rank, seconds, star->where);
    if (status == HOCKET_ERR_PEER_LOST)
        return hk_fail_rank(status, 0, "rank 0 at %s left during the meeting", star->where);
    if (status == HOCKET_ERR_AUTH)
        return hk_fail_rank(status, 0, "from rank 0 at %s: %s", star->where, hocket_last_error());
    return status;
}

static hocket_status read_answer(hk_star *star, const hk_step *step, void *result)
{
    hk_pipe *pipe = &star->links[0].pipe;
    unsigned char *head = star->links[0].head;
    hk_time limit = with_grace(star->deadline);
    hocket_status status = hk_pipe_recv_all(pipe, head, HK_STAR_HEAD_BYTES, limit);
    if (status != HOCKET_OK)
        return fail_coordinator(star);
    uint32_t kind = hk_get_u32(head + 4);
    uint64_t number = hk_get_u64(head + 8), bytes = hk_get_u64(head + 16);
    bool result_here = kind == ANSWER_RESULT && number == star->step && bytes == step->result_bytes;
    bool failure_here = kind == ANSWER_FAILURE && bytes == FAILURE_BYTES;
    if (hk_get_u32(head) != HEAD_MAGIC || (!result_here && !failure_here))
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, 0,
                            "rank 0 at %s answers another step than rank "
                            "%d asked for",
                            star->where, star->rank);
    unsigned char failure[FAILURE_BYTES];
    status = result_here ? hk_pipe_recv_all(pipe, result, step->result_bytes, limit)
                         : hk_pipe_recv_all(pipe, failure, sizeof failure, limit);
    if (status != HOCKET_OK)
        return fail_coordinator(star);
    return result_here ? HOCKET_OK : take_error(star, failure);
}

hocket_status hk_star_ask(hk_star *star, const hk_step *step, const void *block, void *result)
{
    if (star->broken)
        return hk_fail_with(&star->fault);
    unsigned char head[HK_STAR_HEAD_BYTES];
    put_head(head, (uint32_t)step->kind, star->step, step->bytes);
    hk_pipe *pipe = &star->links[0].pipe;
    hk_time limit = with_grace(star->deadline);
    hocket_status status = hk_pipe_send_all(pipe, head, sizeof head, limit);
    if (status == HOCKET_OK)
        status = hk_pipe_send_all(pipe, block, step->block_bytes, limit);
    /* A rank 0 that takes in no more may have said why. */
    if (status == HOCKET_OK || status == HOCKET_ERR_PEER_LOST)
        status = read_answer(star, step, result);
    else
        status = fail_coordinator(star);
    if (status == HOCKET_OK) {
        star->step++;
        return HOCKET_OK;
    }
    break_star(star);
    hk_star_close(star);
    return hk_fail_with(&star->fault);
}

/* Rank 0's only word between steps is a failure. A sealed pipe holds none of it: an answer ends
 * with its record. */
static hocket_status look_at_coordinator(hk_star *star)
{
    bool any;
    hocket_status status = hk_socket_peek(star->links[0].pipe.fd, &any);
    if (status == HOCKET_OK && !any)
        return HOCKET_OK;
    const hk_step none = {.result_bytes = SIZE_MAX};
    status = status == HOCKET_OK ? read_answer(star, &none, NULL) : fail_coordinator(star);
    break_star(star);
    hk_star_close(star);
    return status;
}

hocket_status hk_star_look(hk_star *star)
{
    if (star->broken)
        return hk_fail_with(&star->fault);
    if (star->rank != 0)
        return look_at_coordinator(star);
    for (int r = 1; r < star->world_size; r++) {
        bool any;
        if (hk_socket_peek(star->links[r].pipe.fd, &any) == HOCKET_OK)
            continue;
        fail_lost(star, r);
        return fail_all(star);
    }
    return HOCKET_OK;
}

void hk_star_close(hk_star *star)
{
    hk_reception_close(star->reception);
    star->reception = NULL;
    int count = star->links == NULL ? 0 : star->rank == 0 ? star->world_size : 1;
    for (int i = 0; i < count; i++)
        hk_pipe_close(&star->links[i].pipe);
}
