#include "wire/mesh.h"

#include "wire/socket.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define LOOK (20 * HK_MILLISECOND) /* at the door, between two looks at the meeting */
#define NONE UINT32_MAX

typedef struct door { /* where a rank listens */
    char where[HK_ADDRESS_TEXT_MAX];
    uint8_t encrypt; /* 0 or 1 */
} door;

typedef struct mesh {
    hk_meeting *meeting;
    int rank, size;
    hk_time deadline; /* a little before the meeting's */
    hk_hello self;
    size_t buffer_bytes;
    door *doors;
    hk_mesh_end *ends;
    uint32_t lacks; /* the first rank that could not be reached, or NONE */
} mesh;

static hocket_status look(void *meeting)
{
    return hk_meeting_look(meeting);
}

/* What the others say is looked at before it is used: a name server must not be asked on a peer's
 * word. All ranks see the same doors and judge alike. */
static hocket_status check_doors(mesh *m)
{
    for (int i = 0; i < m->size; i++) {
        door *one = &m->doors[i];
        hk_host_port name;
        one->where[HK_ADDRESS_TEXT_MAX - 1] = '\0';
        if (one->encrypt > 1 || hk_address_parse(one->where, &name) != HOCKET_OK ||
            !hk_address_is_number(&name))
            return hk_fail_rank(HOCKET_ERR_PROTOCOL, i,
                                "rank %d does not say at which address it listens", i);
    }
    return HOCKET_OK;
}

/* Whoever dials again has given its first connection up. */
static void keep(mesh *m, int rank, int fd, const hk_peer *peer)
{
    hk_socket_close(m->ends[rank].fd);
    m->ends[rank].fd = fd;
    m->ends[rank].peer = *peer;
}

static hocket_status dial(mesh *m, int rank)
{
    hk_hello hello = m->self;
    hello.peer = rank;
    hk_peer peer;
    int fd;
    hk_lookout lookout = {.look = look, .owner = m->meeting};
    hocket_status status = hk_dial(m->doors[rank].where, &hello, hk_meeting_key(m->meeting),
                                   m->buffer_bytes, m->deadline, &lookout, &fd, &peer);
    if (status == HOCKET_OK)
        keep(m, rank, fd, &peer);
    sodium_memzero(&peer, sizeof peer);
    return status;
}

/* Each rank dials those below it. Rank 0 dials nobody, so the first steps are always possible. */
static hocket_status dial_lower(mesh *m)
{
    for (int i = 0; i < m->rank && m->lacks == NONE; i++) {
        hocket_status status = dial(m, i);
        if (status != HOCKET_OK && hk_deadline_left(m->deadline) > 0)
            return status;
        if (status != HOCKET_OK)
            m->lacks = (uint32_t)i;
    }
    return HOCKET_OK;
}

static uint32_t first_missing(const mesh *m)
{
    for (int i = m->rank + 1; i < m->size; i++)
        if (m->ends[i].fd < 0)
            return (uint32_t)i;
    return NONE;
}

/* ... and is dialled by those above. */
static hocket_status accept_higher(mesh *m, hk_reception *reception)
{
    while (m->lacks == NONE && first_missing(m) != NONE) {
        hk_peer peer;
        int fd;
        hk_time slice = hk_now() + LOOK;
        hk_time limit = slice < m->deadline ? slice : m->deadline;
        hocket_status status = hk_reception_next(reception, limit, &fd, &peer);
        if (status == HOCKET_OK && peer.hello.rank > m->rank)
            keep(m, peer.hello.rank, fd, &peer);
        else if (status == HOCKET_OK)
            hk_socket_close(fd);
        sodium_memzero(&peer, sizeof peer);
        if (status != HOCKET_OK && status != HOCKET_ERR_TIMEOUT)
            return status;
        if (status == HOCKET_ERR_TIMEOUT)
            status = hk_meeting_look(m->meeting);
        if (status != HOCKET_OK)
            return status;
        if (hk_deadline_left(m->deadline) == 0)
            m->lacks = first_missing(m);
    }
    return HOCKET_OK;
}

/* The ranks' last word: who lacks whom. */
static hocket_status compare(mesh *m)
{
    uint32_t *lacks = calloc((size_t)m->size, sizeof *lacks);
    if (lacks == NULL)
        return hk_fail_memory((size_t)m->size * sizeof *lacks, "the state of the connections");
    hk_error own = *hk_error_last();
    hocket_status status = hk_meeting_all_gather(m->meeting, &m->lacks, sizeof m->lacks, lacks);
    for (int i = 0; i < m->size && status == HOCKET_OK; i++) {
        if (lacks[i] == NONE)
            continue;
        int lacked = lacks[i] < (uint32_t)m->size ? (int)lacks[i] : i;
        bool mine = i == m->rank && lacked < i; /* dialling, it learned why */
        status = mine ? hk_fail_with(&own)
                      : hk_fail_rank(HOCKET_ERR_TIMEOUT, lacked,
                                     "rank %d has no connection to rank %d at %.*s in time", i,
                                     lacked, HK_ADDRESS_TEXT_MAX - 1, m->doors[lacked].where);
    }
    free(lacks);
    return status;
}

static hocket_status join(mesh *m, bool *encrypt)
{
    hk_address here = *hk_meeting_address(m->meeting), bound;
    hk_reception *reception = NULL;
    door mine = {.encrypt = *encrypt};
    int listener;
    hocket_status status = hk_socket_listen(&here, m->buffer_bytes, 0, &listener, &bound);
    if (status == HOCKET_OK)
        status = hk_reception_open(listener, &m->self, hk_meeting_key(m->meeting), &reception);
    if (status == HOCKET_OK)
        hk_address_format(&bound, mine.where);
    if (status == HOCKET_OK)
        status = hk_meeting_all_gather(m->meeting, &mine, sizeof mine, m->doors);
    if (status == HOCKET_OK)
        status = check_doors(m);
    for (int i = 0; i < m->size && status == HOCKET_OK; i++)
        *encrypt |= m->doors[i].encrypt != 0;
    if (status == HOCKET_OK)
        status = dial_lower(m);
    if (status == HOCKET_OK)
        status = accept_higher(m, reception);
    if (status == HOCKET_OK)
        status = compare(m);
    hk_reception_close(reception);
    return status;
}

hocket_status hk_mesh_open(hk_meeting *meeting, size_t buffer_bytes, bool *encrypt,
                           hk_mesh_end *ends)
{
    int size = hk_meeting_world_size(meeting), rank = hk_meeting_rank(meeting);
    mesh m = {.meeting = meeting,
              .rank = rank,
              .size = size,
              .deadline = hk_meeting_deadline_between(meeting),
              .self = {.purpose = HK_PURPOSE_MESH,
                       .rank = rank,
                       .peer = -1,
                       .world_size = size,
                       .job = hk_meeting_job(meeting)},
              .buffer_bytes = buffer_bytes,
              .ends = ends,
              .lacks = NONE};
    memset(ends, 0, (size_t)size * sizeof *ends);
    for (int i = 0; i < size; i++)
        ends[i].fd = -1;
    m.doors = calloc((size_t)size, sizeof *m.doors);
    if (m.doors == NULL)
        return hk_fail_memory((size_t)size * sizeof *m.doors, "addresses");
    hocket_status status = join(&m, encrypt);
    free(m.doors);
    for (int i = 0; i < size && status != HOCKET_OK; i++) {
        hk_socket_close(ends[i].fd);
        ends[i].fd = -1;
    }
    if (status != HOCKET_OK)
        sodium_memzero(ends, (size_t)size * sizeof *ends);
    return status;
}
