/* Ranks as threads, for tests of wire/. cmocka's asserts work in the main thread only, so each rank
 * leaves what it saw for the main thread to look at. */
#ifndef WIRE_HELP_H
#define WIRE_HELP_H

#include "wire/meeting.h"

#define WIRE_RANKS_MAX 16
#define WIRE_SECRET "a secret for tests only"
#define WIRE_SECONDS 20.0 /* for what must come; no test waits that long when all is well */

typedef struct wire_rank {
    hk_settings settings;
    hk_time deadline;
    int index;      /* of the thread; the rank is settings.rank */
    void *context;  /* the test's */
    double seconds; /* that the body took */
    hk_error error; /* the body's last failure */
    hocket_status status;
} wire_rank;

typedef hocket_status (*wire_body)(wire_rank *rank);

/* A "host:port" that was free a moment ago. host: "127.0.0.1", "[::1]". */
void wire_free_port(const char *host, char where[HK_COORDINATOR_MAX]);

/* secret may be NULL. */
void wire_settings(hk_settings *settings, int rank, int world_size, const char *where,
                   const char *secret);

/* Settings of ranks 0 to count-1 of a world of count. */
void wire_make_ranks(wire_rank *ranks, int count, const char *where, const char *secret,
                     double seconds, void *context);

/* Runs body once a rank, each in a thread, and waits for all. */
void wire_run(wire_rank *ranks, int count, wire_body body);

/* A plain connection to where, from nobody; -1 when there is none within a second. */
int wire_stranger(const char *where);

#endif
