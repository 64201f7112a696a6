/* Who started this rank, as the variables in its environment say, and where its ranks can meet. */
#ifndef HK_CORE_LAUNCHER_H
#define HK_CORE_LAUNCHER_H

#include "core/status.h"

#define HK_PORT_FIRST                                                                              \
    20480 /* derived ports: below those that Linux and macOS hand out themselves */
#define HK_PORT_COUNT 12288
#define HK_PORT_CHOICES 4 /* of one job: another program may have one of them */

/* What a launcher keeps for its ranks, who can leave each other words there before they have met.
 */
typedef enum hk_store_kind { HK_STORE_NONE, HK_STORE_PMI, HK_STORE_PMIX } hk_store_kind;

/* One way of starting ranks. Names are of variables; NULL: there is none. */
typedef struct hk_launcher {
    const char *name; /* "Open MPI" */
    const char *rank, *size;
    const char *hostfile;    /* MLX's, which gives the size and the coordinator */
    const char *devices;     /* jaccl's file, which gives the size */
    const char *needs;       /* counts only where this is set, too */
    const char *where;       /* the coordinator, "host:port" */
    const char *host, *port; /* the same in two */
    bool derives;           /* the port is the launcher's own: the ranks' is derived from the job */
    const char *local_size; /* how many ranks are on this host */
    const char *jobs[4];    /* what tells this job from others, the same on all its ranks */
    const char *socket;     /* the number of a descriptor to the launcher's process on this host */
    bool nodes;             /* SLURM_STEP_NODELIST says which hosts */
    hk_store_kind store;    /* where its variables are there, too */
    const char *pass;       /* how to give all ranks a coordinator */
    const char *share;      /* how to give them a secret */
} hk_launcher;

/* The first of the table whose rank and size (or file) are set; NULL: there is none. */
const hk_launcher *hk_launcher_find(void);

/* Where the world_size ranks can meet, into coordinator: "host:port" of the launcher, or
 * "host:port, port..." that all ranks derive alike from the job's number, which goes into *job
 * (else 0). "" where the variables do not determine it. INVALID: it is too long, or the list of
 * nodes is none. */
hocket_status hk_launcher_coordinator(const hk_launcher *launcher, int world_size,
                                      char *coordinator, size_t size, uint64_t *job);

/* The launcher's key-value store, for all of its ranks, which are world_size. NONE: it has none, or
 * a world of another size. */
hk_store_kind hk_launcher_store(const hk_launcher *launcher, int world_size);

/* The variable's value; NULL where it is unset or empty. name may be NULL. */
const char *hk_variable(const char *name);

#endif
