/* The one table of backends. */
#ifndef HK_TRANSPORT_TABLE_H
#define HK_TRANSPORT_TABLE_H

#include "core/settings.h"
#include "transport/choices.h"
#include "wire/meeting.h"
#include <hocket/transport.h>

/* What a backend is opened with. */
typedef struct hk_opening {
    const hk_settings *settings;
    const char *choice;  /* what followed the colon ("ring" of "mlx:ring"), or "" */
    hk_meeting *meeting; /* open, when the backend meets; closed by the caller after open */
    hk_time deadline;
    hk_choices *choices; /* rank 0's own rows, for all who meet */
} hk_opening;

typedef struct hk_backend {
    const char *name;
    bool meets; /* its ranks meet at the coordinator */

    /* HOCKET_OK, or UNAVAILABLE with the reason as this thread's error. choice as in hk_opening. */
    hocket_status (*available)(const char *choice);

    /* Optional: whether it is worth choosing for these ranks. Asked on rank 0 of `any`. */
    bool (*suits)(const hk_meeting *meeting);

    /* Collective. Gives the vtable and what its slots get; the endpoint closes it. */
    hocket_status (*open)(const hk_opening *opening, const hocket_transport **transport,
                          void **self);
} hk_backend;

/* Each transport's one symbol. */
extern const hk_backend hk_backend_local;
extern const hk_backend hk_backend_tcp;
extern const hk_backend hk_backend_shm;
extern const hk_backend hk_backend_verbs;
extern const hk_backend hk_backend_mpi; /* where the process runs under an MPI that has a module */

/* INVALID, with the names that there are, when that is none. */
hocket_status hk_backend_known(const char *name);

/* HOCKET_OK when the backend of that name ("any", "mlx:ring") is there; INVALID: there is none of
 * that name. */
hocket_status hk_backend_available(const char *name);

/* Opens the backend that the settings ask for. Of "any", and of names that stand for several, it is
 * rank 0's choice, and so are the own rows of the table of choices. */
hocket_status hk_backend_open(const hk_settings *settings, hk_time deadline,
                              const hocket_transport **transport, void **self, hk_choices *choices);

#endif
