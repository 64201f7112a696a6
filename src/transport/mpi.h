/* The modules that know an MPI: libhocket-openmpi and libhocket-mpich, each compiled from
 * src/transport/mpi against its own mpi.h, since the two agree on names but on no numbers. */
#ifndef HK_TRANSPORT_MPI_H
#define HK_TRANSPORT_MPI_H

#include <hocket/transport.h>

typedef struct hk_mpi_module {
    size_t size;         /* sizeof(hk_mpi_module) as the module was built */
    const char *version; /* hocket_version() as the module was built: both must be the same */

    /* Collective over MPI_COMM_WORLD. Initialises MPI where nobody has, which then ends with the
     * process. rank and world_size are what hocket's settings say, or world_size is 0. UNAVAILABLE:
     * MPI has ended; INVALID: MPI says another rank or size; BACKEND. */
    hocket_status (*open)(int rank, int world_size, const hocket_transport **transport,
                          void **self);
} hk_mpi_module;

/* The one symbol that a module exports: `const hk_mpi_module *hocket_mpi_module(void)`. */
#define HK_MPI_SYMBOL "hocket_mpi_module"
typedef const hk_mpi_module *(*hk_mpi_module_fn)(void);

#endif
