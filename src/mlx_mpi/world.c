/* The world and its parts: who opens and who frees them. */
#include "mlx_mpi/mpi.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the world's beginning and end */
static pid_t owner; /* a process that was forked off holds the same connections: not its own */

/* MLX takes a library for what it needs when this text contains "Open MPI". */
int MPI_Get_library_version(char *version, int *length)
{
    *length = snprintf(version, MPI_MAX_LIBRARY_VERSION_STRING,
                       "hocket %s (libhocket-mpi), in the place of Open MPI for MLX alone",
                       hocket_version());
    return MPI_SUCCESS;
}

/* === The world ================================================================================ */

/* MPI below would be this library again, whose names MLX has made everyone's. */
static void refuse_backend(const char *name, hocket_group *world)
{
    if (name != NULL && (strncmp(name, "mpi", 3) == 0 || strncmp(name, "mlx", 3) == 0))
        hk_mpi_end_refused(world,
                           "HOCKET_BACKEND is %s: MLX runs over hocket here, so hocket cannot run "
                           "over MLX or MPI; leave it out",
                           name);
}

/* MLX's servers wait for prompts as long as it takes. */
static hocket_config configuration(void)
{
    const char *timeout = getenv("HOCKET_TIMEOUT");
    hocket_config config = {.size = sizeof config};
    if (timeout == NULL || timeout[0] == '\0')
        config.timeout_s = INFINITY;
    return config;
}

int MPI_Init(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    refuse_backend(getenv("HOCKET_BACKEND"), NULL);
    hocket_config config = configuration();
    MPI_Comm world = &ompi_mpi_comm_world;
    pthread_mutex_lock(&lock);
    bool again = world->group != NULL;
    hocket_status status = again ? HOCKET_OK : hocket_init(&config, &world->group);
    if (status == HOCKET_OK) {
        world->rank = hocket_rank(world->group);
        world->size = hocket_world_size(world->group);
        owner = getpid();
    }
    pthread_mutex_unlock(&lock);
    hk_mpi_need(NULL, status);
    if (again)
        hk_mpi_end_refused(NULL, "MPI_Init is called a second time");
    refuse_backend(hocket_backend(world->group), world->group);
    return MPI_SUCCESS;
}

/* MLX calls it when the process ends, from the destructor of something static; nothing here may
 * depend on another such destructor. Groups that were split off live on until they are freed. */
int MPI_Finalize(void)
{
    pthread_mutex_lock(&lock);
    hocket_group *group = ompi_mpi_comm_world.group;
    ompi_mpi_comm_world.group = NULL;
    bool mine = owner == getpid();
    pthread_mutex_unlock(&lock);
    if (mine)
        hocket_free(group);
    return MPI_SUCCESS;
}

/* === Groups =================================================================================== */

static MPI_Comm check_comm(const char *function, MPI_Comm comm)
{
    if (comm == NULL || comm->kind != HK_MPI_COMM)
        hk_mpi_end_refused(NULL, "%s: its group is none that this library gave out", function);
    return comm;
}

hocket_group *hk_mpi_group(const char *function, MPI_Comm comm)
{
    hocket_group *group = check_comm(function, comm)->group;
    if (group == NULL)
        hk_mpi_end_refused(NULL, "%s before MPI_Init or after MPI_Finalize", function);
    return group;
}

int MPI_Comm_rank(MPI_Comm comm, int *rank)
{
    *rank = check_comm("MPI_Comm_rank", comm)->rank;
    return MPI_SUCCESS;
}

int MPI_Comm_size(MPI_Comm comm, int *size)
{
    *size = check_comm("MPI_Comm_size", comm)->size;
    return MPI_SUCCESS;
}

int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *made)
{
    hocket_group *group = hk_mpi_group("MPI_Comm_split", comm);
    if (color < 0)
        hk_mpi_end_refused(group, "MPI_Comm_split: color %d is negative", color);
    MPI_Comm part = calloc(1, sizeof *part);
    if (part == NULL)
        hk_mpi_end_refused(group, "MPI_Comm_split: no memory");
    hk_mpi_need(group, hocket_split(group, color, key, &part->group));
    part->kind = HK_MPI_COMM;
    part->rank = hocket_rank(part->group);
    part->size = hocket_world_size(part->group);
    *made = part;
    return MPI_SUCCESS;
}

int MPI_Comm_free(MPI_Comm *comm)
{
    MPI_Comm part = check_comm("MPI_Comm_free", *comm);
    if (part == &ompi_mpi_comm_world)
        hk_mpi_end_refused(NULL, "MPI_Comm_free: the world is freed by MPI_Finalize");
    if (owner == getpid())
        hocket_free(part->group);
    free(part);
    *comm = NULL;
    return MPI_SUCCESS;
}
