/* A world over MPI: what the files of this module share.
 *
 * MPI is called by whichever thread called hocket. That is free with MPI_THREAD_MULTIPLE, which we
 * ask for where we initialise MPI. Where the program has initialised it with less, calls take turns
 * (SERIALIZED), or must all come from the thread that called hocket_init (SINGLE, FUNNELED).
 *
 * Whatever MPI works on is memory of this module: MPI cannot take back what it has begun, and
 * hocket's callers have their memory back when a call fails. */
#ifndef HK_TRANSPORT_MPI_WORLD_H
#define HK_TRANSPORT_MPI_WORLD_H

#include <hocket/transport.h>

#include <mpi.h>
#include <pthread.h>

typedef struct parcel parcel; /* a message on its way out */
typedef struct letter letter; /* a message that is known here and unread */

typedef struct peer {
    hocket_op *wanted, *last_wanted; /* posted receives, oldest first */
    letter *letters, **end;          /* oldest first */
    size_t unread;                   /* bytes of them that are here or arriving */
} peer;

typedef struct world {
    MPI_Comm comm; /* a duplicate of MPI_COMM_WORLD, for messages alone */
    int rank, size, tag_max, level;
    pthread_t opener;
    int *hosts; /* by rank */
    peer *peers;
    parcel *parcels; /* oldest first */
    uint32_t bodies; /* numbered so far */
    hocket_status failed;
    char failure[MPI_MAX_ERROR_STRING + 64];
} world;

/* A turn at MPI. UNSUPPORTED: this thread may not call it. Each one that is OK needs a leave. */
hocket_status world_enter(const world *w);
void world_leave(const world *w);

/* HOCKET_OK, or BACKEND with MPI's words for the code. */
hocket_status world_check(int code, const char *what);

/* messages.c: slots of the vtable. */
hocket_status message_post(void *self, hocket_op *op);
void message_cancel(void *self, hocket_op *op);
hocket_status message_progress(void *self, int64_t wait_ns);
bool message_probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length);
void message_forget(void *self, uint64_t context);
/* Waits for what is on its way out while orderly, then lets go of all memory that MPI has left. */
void message_end(world *w, bool orderly);

/* collectives.c */
extern const hocket_collectives mpi_collectives;

#endif
