#include "backends.h"

#include "words.h"

#include <stddef.h>
#include <string.h>

#define BACKENDS_MAX 32

const hk_backend hk_backends[] = {
    {.name = "any"},
    {.name = "local",
     .cannot = "its ranks are threads of one process; tcp is for processes of one host"},
    {.name = "tcp"},
    {.name = "ring", .mlx_ring = true},
    {.name = "shm"},
    {.name = "jaccl", .jaccl = true},
    {.name = "mpi",
     .cannot = "MPI's ranks start under mpirun: `mpirun -n 4 PROGRAM`, with "
               "HOCKET_BACKEND=mpi"},
    {.name = "nccl"},
    {.name = "mlx", .mlx_ring = true},
    {.name = "mlx:any", .mlx_ring = true},
    {.name = "mlx:ring", .mlx_ring = true},
    {.name = "mlx:mpi", .cannot = "MLX's mpi starts under mpirun: `mpirun -n 4 PROGRAM`"},
    {.name = "mlx:jaccl",
     .jaccl = true,
     .cannot = "MLX's jaccl wants a host with RDMA over Thunderbolt for each rank, not one host "
               "for all"},
    {.name = "mlx:nccl"},
    {.name = NULL},
};

const hk_backend *hk_backend_find(const char *command, const char *name)
{
    const char *names[BACKENDS_MAX];
    int count = 0;
    for (const hk_backend *backend = hk_backends; backend->name; backend++) {
        if (strcmp(backend->name, name) == 0)
            return backend;
        if (count < BACKENDS_MAX)
            names[count++] = backend->name;
    }
    const char *near = hk_closest(name, names, count);
    if (near)
        hk_complain(command, "There is no backend '%s'. Did you mean '%s'?", name, near);
    else
        hk_complain(command, "There is no backend '%s'. `hocket doctor` lists them.", name);
    return NULL;
}

const hk_promise hk_promises[] = {
    {.text = "Every wait has a deadline.",
     .mlx = "a call ends when MLX's does",
     .mpi = "but MPI starting, the world opening and a split, which wait inside MPI",
     .nccl = "a call ends when NCCL's does"},
    {.text = "A rank's death is an error on every other rank, and all name the same rank.",
     .mlx = "MLX's ring fails on the neighbours of the dead rank, without its number; jaccl waits",
     .mpi = "mpirun ends the other ranks; one that it lets live waits for its deadline",
     .nccl = "errors of the network are seen, without the rank's number"},
    {.text = "Ranks that disagree about a collective are told.",
     .mlx = "unlike sizes hang or give wrong numbers",
     .mpi = "of MPI's own collectives those that wait; else MPI's error or wrong numbers",
     .nccl = "unlike sizes hang or give wrong numbers"},
    {.text = "Every rank gets the same bits, whatever the timing.",
     .mpi = "as the MPI's own algorithms have it",
     .nccl = "on the same machines, as NCCL's own algorithms have it"},
    {.text = "Connections prove that they know the job's secret.",
     .mlx = "anyone who reaches the port can connect",
     .mpi = "as the MPI's launcher has it",
     .nccl = "anyone who reaches the port can connect"},
    {.text = "Memory is bounded: what lies unread of one sender.",
     .mpi = "messages above 2 KiB; how many shorter ones wait is up to MPI"},
    {.text = "A message goes from any rank to any rank.",
     .mlx = "MLX's ring: to neighbours only; MLX's nccl: none"},
    {.text = "A group can be split.", .mlx = "MLX's mpi only"},
    {.text = "Nothing aborts the program.",
     .mlx = "MLX's nccl exits on errors",
     .mpi = "MPI's own start may; Open MPI installs handlers of signals"},
    {.text = NULL},
};
