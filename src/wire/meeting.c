#include "wire/meeting.h"

#include "wire/bytes.h"
#include "wire/notice.h"
#include "wire/socket.h"
#include "wire/star.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHARE_LEFT 8 /* of the time, for the last word */
#define LEFT_MAX HK_SECOND
#define PORT_PATIENCE (2 * HK_SECOND) /* for the last job to let go of the coordinator's port */

/* Rank 0's answer to the arrivals, before the hosts' ids. */
#define WELCOME_BYTES (8 + HK_ADDRESS_TEXT_MAX)

struct hk_meeting {
    hk_star star;
    hk_key key;
    int listener; /* rank 0's, from before the meeting, or -1 */
    char where[HK_COORDINATOR_MAX];
    hk_address address;
    uint64_t job;
    unsigned char *hosts;
    unsigned char host[HK_HOST_ID_BYTES]; /* this rank's */
};

/* === Rank 0 listens =========================================================================== */

static hocket_status listen_at(const char *where, const hk_key *key, hk_time last, int *listener)
{
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    hocket_status status = hk_address_resolve(where, addresses, &count);
    for (int i = 0; i < count; i++) {
        hk_time patience = i + 1 < count ? 0 : last;
        status = hk_key_allows(key, &addresses[i], 0);
        if (status == HOCKET_OK)
            status = hk_socket_listen(&addresses[i], 0, patience, listener, NULL);
        if (status == HOCKET_OK)
            return HOCKET_OK;
    }
    return status;
}

/* A host often knows its own name as another address than its peers do (127.0.1.1 on Debian). So
 * for a name rank 0 listens everywhere, unless the job has no secret to show at the door. */
static hocket_status listen_by_name(const char *where, const hk_key *key, hk_time patience,
                                    int *listener)
{
    hk_host_port name;
    hocket_status status = hk_address_parse(where, &name);
    if (status != HOCKET_OK)
        return status;
    if (name.port == 0)
        return hk_fail(HOCKET_ERR_INVALID,
                       "the coordinator is \"%s\": its port must be one that all ranks know, not 0",
                       where);
    bool everywhere = !hk_address_is_number(&name) && strcasecmp(name.host, "localhost") != 0 &&
                      (!key->open || key->insecure);
    if (everywhere) {
        char any[HK_ADDRESS_TEXT_MAX];
        hk_address both = {.length = sizeof(struct sockaddr_in6)};
        both.storage.ss_family = AF_INET6;
        hk_address_set_port(&both, name.port);
        hk_address_format(&both, any);
        status = listen_at(any, key, patience, listener);
        if (status == HOCKET_OK)
            return HOCKET_OK;
    }
    return listen_at(where, key, patience, listener);
}

/* Of several ports the first that is free; only for the last is it worth to wait. */
static hocket_status listen_as_coordinator(const char *where, const hk_key *key, int *listener)
{
    char one[HK_COORDINATOR_MAX], next[HK_COORDINATOR_MAX] = "";
    hocket_status status = HOCKET_ERR_INVALID;
    bool more = hk_address_choice(where, 0, one, sizeof one);
    for (int i = 1; more; i++) {
        more = hk_address_choice(where, i, next, sizeof next);
        status = listen_by_name(one, key, more ? 0 : hk_now() + PORT_PATIENCE, listener);
        if (status != HOCKET_ERR_SYSTEM)
            return status;
        memcpy(one, next, sizeof one);
    }
    return status;
}

static hocket_status open_reception(hk_meeting *meeting)
{
    hk_star *star = &meeting->star;
    int listener = meeting->listener;
    meeting->listener = -1;
    hocket_status status = HOCKET_OK;
    if (listener < 0)
        status = listen_as_coordinator(meeting->where, &meeting->key, &listener);
    if (status == HOCKET_ERR_SYSTEM)
        return hk_fail(status,
                       "rank 0 of %d %s; if another program has the port, choose another for "
                       "HOCKET_COORDINATOR",
                       star->world_size, hocket_last_error());
    if (status != HOCKET_OK)
        return status;
    hk_hello self = {.purpose = HK_PURPOSE_MEETING,
                     .rank = 0,
                     .world_size = star->world_size,
                     .seal = star->seal};
    return hk_reception_open(listener, &self, &meeting->key, &star->reception);
}

/* === Arriving ================================================================================= */

static void keep_address(hk_meeting *meeting, const hk_address *address)
{
    meeting->address = *address;
    hk_address_set_port(&meeting->address, 0);
}

static hocket_status receive_all(hk_meeting *meeting, const hk_step *step, unsigned char *welcome)
{
    hk_star *star = &meeting->star;
    hocket_status status = open_reception(meeting);
    if (status == HOCKET_OK)
        status = hk_star_collect(star, step, meeting->hosts);
    if (status != HOCKET_OK)
        return status;
    memcpy(meeting->hosts, meeting->host, sizeof meeting->host);
    keep_address(meeting, &star->outward);
    while (meeting->job == 0)
        randombytes_buf(&meeting->job, sizeof meeting->job);
    hk_put_u64(welcome, meeting->job);
    char text[HK_ADDRESS_TEXT_MAX] = "";
    hk_address_format(&meeting->address, text);
    memcpy(welcome + 8, text, sizeof text);
    memcpy(welcome + WELCOME_BYTES, meeting->hosts, step->result_bytes - WELCOME_BYTES);
    return hk_star_answer(star, step, welcome);
}

/* A rank that reached rank 0 over loopback shares its host; when others come from further away,
 * they reach it where they reach rank 0. */
static hocket_status take_welcome(hk_meeting *meeting, unsigned char *welcome, size_t bytes)
{
    hk_star *star = &meeting->star;
    meeting->job = hk_get_u64(welcome);
    memcpy(meeting->hosts, welcome + WELCOME_BYTES, bytes - WELCOME_BYTES);
    char *text = (char *)welcome + 8;
    text[HK_ADDRESS_TEXT_MAX - 1] = '\0';
    hk_host_port name;
    hk_address coordinator[HK_ADDRESSES_MAX];
    int count;
    hocket_status status = hk_address_parse(text, &name);
    if (status == HOCKET_OK && !hk_address_is_number(&name))
        status = HOCKET_ERR_PROTOCOL; /* a name server must not be asked on a peer's word */
    if (status == HOCKET_OK)
        status = hk_address_resolve(text, coordinator, &count);
    if (status != HOCKET_OK || meeting->job == 0)
        return hk_fail_rank(HOCKET_ERR_PROTOCOL, 0, "rank 0 at %s sends a welcome that cannot be",
                            star->where);
    bool near = hk_address_is_loopback(&star->outward) && !hk_address_is_loopback(&coordinator[0]);
    keep_address(meeting, near ? &coordinator[0] : &star->outward);
    return HOCKET_OK;
}

static hocket_status arrive(hk_meeting *meeting, const hk_step *step, unsigned char *welcome)
{
    hk_star *star = &meeting->star;
    hk_hello self = {.purpose = HK_PURPOSE_MEETING,
                     .rank = star->rank,
                     .peer = 0,
                     .world_size = star->world_size,
                     .seal = star->seal};
    hk_peer peer;
    int fd;
    hocket_status status =
        hk_dial(meeting->where, &self, &meeting->key, 0, star->deadline, NULL, &fd, &peer);
    if (status == HOCKET_OK)
        status = hk_star_link_open(star, &star->links[0], fd, &peer);
    sodium_memzero(&peer, sizeof peer);
    if (status == HOCKET_OK)
        status = hk_address_local(fd, &star->outward);
    if (status != HOCKET_OK)
        return status;
    status = hk_star_ask(star, step, meeting->host, welcome);
    return status == HOCKET_OK ? take_welcome(meeting, welcome, step->result_bytes) : status;
}

static hocket_status meet(hk_meeting *meeting)
{
    hk_star *star = &meeting->star;
    size_t hosts_bytes = (size_t)star->world_size * HK_HOST_ID_BYTES;
    hk_step step = {.kind = HK_STEP_ARRIVE,
                    .bytes = HK_HOST_ID_BYTES,
                    .block_bytes = HK_HOST_ID_BYTES,
                    .result_bytes = WELCOME_BYTES + hosts_bytes};
    unsigned char *welcome = calloc(1, step.result_bytes);
    if (welcome == NULL)
        return hk_fail_memory(step.result_bytes, "the meeting");
    hocket_status status =
        star->rank == 0 ? receive_all(meeting, &step, welcome) : arrive(meeting, &step, welcome);
    free(welcome);
    return status;
}

static hocket_status meet_oneself(hk_meeting *meeting)
{
    hk_address addresses[HK_ADDRESSES_MAX];
    int count;
    memcpy(meeting->hosts, meeting->host, sizeof meeting->host);
    while (meeting->job == 0)
        randombytes_buf(&meeting->job, sizeof meeting->job);
    hocket_status status = hk_address_resolve("127.0.0.1:0", addresses, &count);
    if (status == HOCKET_OK)
        keep_address(meeting, &addresses[0]);
    return status;
}

/* === The public half ========================================================================== */

static hocket_status make(const hk_settings *settings, hk_time deadline, int listener,
                          hk_meeting **meeting)
{
    size_t world = (size_t)settings->world_size;
    *meeting = calloc(1, sizeof **meeting);
    if (*meeting == NULL) {
        hk_socket_close(listener);
        return hk_fail_memory(sizeof **meeting, "the meeting");
    }
    hk_meeting *new = *meeting;
    new->listener = listener;
    memcpy(new->where, settings->coordinator, sizeof new->where);
    new->star = (hk_star){.rank = settings->rank,
                          .world_size = settings->world_size,
                          .opened = hk_now(),
                          .deadline = deadline,
                          .where = new->where,
                          .seal = settings->encrypt};
    hk_host_id(settings->host, new->host);
    new->hosts = calloc(world, HK_HOST_ID_BYTES);
    new->star.links = calloc(world, sizeof *new->star.links);
    new->star.polls = calloc(world, sizeof *new->star.polls);
    if (new->hosts == NULL || new->star.links == NULL || new->star.polls == NULL)
        return hk_fail_memory(world * (HK_HOST_ID_BYTES + sizeof *new->star.links), "the meeting");
    for (size_t i = 0; i < world; i++)
        new->star.links[i].pipe.fd = -1;
    hocket_status status = hk_key_make(settings, &new->key);
    if (status == HOCKET_OK && settings->encrypt && new->key.open &&world > 1)
        return hk_fail(HOCKET_ERR_AUTH, "HOCKET_ENCRYPT=1 needs a secret: set HOCKET_SECRET_FILE");
    return status;
}

static hocket_status open_meeting(const hk_settings *settings, hk_time deadline, int listener,
                                  hk_meeting **meeting)
{
    hk_meeting *new;
    hocket_status status = make(settings, deadline, listener, &new);
    if (status == HOCKET_OK)
        status = settings->world_size == 1 ? meet_oneself(new) : meet(new);
    if (status == HOCKET_OK)
        *meeting = new;
    else
        hk_meeting_close(new);
    return status;
}

hocket_status hk_meeting_open(const hk_settings *settings, hk_time deadline, hk_meeting **meeting)
{
    *meeting = NULL;
    hocket_status status = hk_settings_need_coordinator(settings);
    if (status != HOCKET_OK)
        return status;
    if (!hk_notice_wanted(settings))
        return open_meeting(settings, deadline, -1, meeting);
    hk_settings *told = malloc(sizeof *told);
    if (told == NULL)
        return hk_fail_memory(sizeof *told, "settings");
    int listener = -1;
    *told = *settings;
    status = hk_notice_settle(told, deadline, &listener);
    if (status == HOCKET_OK)
        status = open_meeting(told, deadline, listener, meeting);
    else
        hk_socket_close(listener);
    hk_settings_wipe(told);
    free(told);
    return status;
}

void hk_meeting_close(hk_meeting *meeting)
{
    if (meeting == NULL)
        return;
    hk_socket_close(meeting->listener);
    hk_star_close(&meeting->star);
    hk_key_wipe(&meeting->key);
    free(meeting->star.links);
    free(meeting->star.polls);
    free(meeting->hosts);
    free(meeting);
}

hocket_status hk_meeting_all_gather(hk_meeting *meeting, const void *mine, size_t bytes, void *all)
{
    hk_star *star = &meeting->star;
    if (bytes > HK_MEETING_BYTES_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "%zu bytes are too many for a meeting: at most %d",
                       bytes, HK_MEETING_BYTES_MAX);
    hk_step step = {.kind = HK_STEP_GATHER,
                    .bytes = bytes,
                    .block_bytes = bytes,
                    .result_bytes = bytes * (size_t)star->world_size};
    if (star->rank != 0)
        return hk_star_ask(star, &step, mine, all);
    hocket_status status = hk_star_collect(star, &step, all);
    if (status == HOCKET_OK && bytes > 0)
        memmove(all, mine, bytes);
    return status == HOCKET_OK ? hk_star_answer(star, &step, all) : status;
}

hocket_status hk_meeting_broadcast(hk_meeting *meeting, void *data, size_t bytes)
{
    hk_star *star = &meeting->star;
    if (bytes > HK_MEETING_BYTES_MAX)
        return hk_fail(HOCKET_ERR_INVALID, "%zu bytes are too many for a meeting: at most %d",
                       bytes, HK_MEETING_BYTES_MAX);
    hk_step step = {.kind = HK_STEP_BROADCAST, .bytes = bytes, .result_bytes = bytes};
    if (star->rank != 0)
        return hk_star_ask(star, &step, NULL, data);
    hocket_status status = hk_star_collect(star, &step, NULL);
    return status == HOCKET_OK ? hk_star_answer(star, &step, data) : status;
}

hocket_status hk_meeting_barrier(hk_meeting *meeting)
{
    return hk_meeting_broadcast(meeting, NULL, 0);
}

hocket_status hk_meeting_look(hk_meeting *meeting)
{
    return hk_star_look(&meeting->star);
}

int hk_meeting_rank(const hk_meeting *meeting)
{
    return meeting->star.rank;
}

int hk_meeting_world_size(const hk_meeting *meeting)
{
    return meeting->star.world_size;
}

hk_time hk_meeting_deadline(const hk_meeting *meeting)
{
    return meeting->star.deadline;
}

hk_time hk_meeting_deadline_between(const hk_meeting *meeting)
{
    hk_time deadline = hk_meeting_deadline(meeting), left = hk_deadline_left(deadline);
    if (deadline == HK_FOREVER)
        return deadline;
    left /= SHARE_LEFT;
    return deadline - (left < LEFT_MAX ? left : LEFT_MAX);
}

const hk_address *hk_meeting_address(const hk_meeting *meeting)
{
    return &meeting->address;
}

uint64_t hk_meeting_job(const hk_meeting *meeting)
{
    return meeting->job;
}

const hk_key *hk_meeting_key(const hk_meeting *meeting)
{
    return &meeting->key;
}

const unsigned char *hk_meeting_hosts(const hk_meeting *meeting)
{
    return meeting->hosts;
}
