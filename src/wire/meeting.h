/* The meeting: all ranks come together at the coordinator, learn that all are there, and exchange
 * small blocks until each transport has what it needs. Rank 0 is the middle of a star; all talk to
 * it alone.
 *
 *     hk_meeting_open(&settings, deadline, &meeting);
 *     hk_meeting_all_gather(meeting, &mine, sizeof mine, all);   where each rank listens
 *     hk_meeting_close(meeting);
 *
 * Every rank makes the same calls. When a rank dies, stays away or disagrees, rank 0 tells all the
 * others, so that every rank gets the same status, sentence and ranks at fault; the meeting is then
 * over and later calls say the same. All waits end at the deadline given to hk_meeting_open (and a
 * second later on ranks that wait for rank 0's word). Functions are called by one thread at a time.
 *
 * The connection between a rank and rank 0 is sealed when either of the two has settings->encrypt.
 */
#ifndef HK_WIRE_MEETING_H
#define HK_WIRE_MEETING_H

#include "wire/handshake.h"
#include "wire/host.h"

#define HK_MEETING_BYTES_MAX (1 << 20) /* a block of a gather, the data of a broadcast */

typedef struct hk_meeting hk_meeting;

/* Returns when all ranks are there. A world of one needs no coordinator and opens no socket. Where
 * the settings name a store and leave coordinator or secret open, rank 0's notice there tells them.
 * Errors: TIMEOUT naming the ranks that stayed away (on the others rank 0, when it does not
 * answer), AUTH (also to encrypt without a secret, and what was changed on its way), PROTOCOL,
 * MISMATCH (another world size, two with the same rank), PEER_LOST, SYSTEM (the coordinator's port
 * is taken), INVALID (no coordinator, a bad one). The settings may be wiped afterwards. */
hocket_status hk_meeting_open(const hk_settings *settings, hk_time deadline, hk_meeting **meeting);

/* all: world size * bytes, block r from rank r. bytes is the same on all ranks, else MISMATCH. */
hocket_status hk_meeting_all_gather(hk_meeting *meeting, const void *mine, size_t bytes, void *all);

/* Rank 0's data to everyone's. bytes is the same on all ranks, else MISMATCH. */
hocket_status hk_meeting_broadcast(hk_meeting *meeting, void *data, size_t bytes);

/* Returns when all ranks have called it. */
hocket_status hk_meeting_barrier(hk_meeting *meeting);

/* Between steps, without waiting: HOCKET_OK, or why the meeting is over. For who waits meanwhile
 * for something else, for which all ranks must be alive. */
hocket_status hk_meeting_look(hk_meeting *meeting);

/* Does not wait for the others. NULL is fine. */
void hk_meeting_close(hk_meeting *meeting);

int hk_meeting_rank(const hk_meeting *meeting);
int hk_meeting_world_size(const hk_meeting *meeting);
hk_time hk_meeting_deadline(const hk_meeting *meeting);

/* For what ranks do between two steps: a little before, so that they can still tell each other how
 * it went. */
hk_time hk_meeting_deadline_between(const hk_meeting *meeting);

/* The address, with port 0, at which other ranks can reach this one: to listen on, and to tell
 * them. Loopback when all are on one host. */
const hk_address *hk_meeting_address(const hk_meeting *meeting);

/* A random number of this job, the same on all ranks, never 0: what hk_hello.job is for. */
uint64_t hk_meeting_job(const hk_meeting *meeting);

/* The job's key, for connections that the transports open. Lives as long as the meeting. */
const hk_key *hk_meeting_key(const hk_meeting *meeting);

/* hk_host_id of each rank: world size * HK_HOST_ID_BYTES. */
const unsigned char *hk_meeting_hosts(const hk_meeting *meeting);

#endif
