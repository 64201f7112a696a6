/* The one list of backends that the command knows, and what each kind of them promises. */
#ifndef HK_TOOL_BACKENDS_H
#define HK_TOOL_BACKENDS_H

#include <stdbool.h>

typedef struct hk_backend {
    const char *name;
    bool mlx_ring;      /* its ranks meet through MLX's ring hostfile */
    bool jaccl;         /* they meet through MLX's device matrix, where the hostfile has one */
    const char *cannot; /* why `hocket run` cannot start its ranks on this host; NULL: it can */
} hk_backend;

extern const hk_backend hk_backends[]; /* ends with a NULL name */

/* NULL after a complaint in the name of the command. */
const hk_backend *hk_backend_find(const char *command, const char *name);

/* A promise of docs and header that hocket's own transports keep. What the engine behind a
 * delegating backend gives instead is text; NULL means that the promise holds there too. */
typedef struct hk_promise {
    const char *text;
    const char *mlx, *mpi, *nccl;
} hk_promise;

extern const hk_promise hk_promises[]; /* ends with a NULL text */

#endif
