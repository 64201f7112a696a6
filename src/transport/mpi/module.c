/* Opening and closing a world over MPI. */
#include "transport/mpi.h"
#include "transport/mpi/world.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DRAIN_BYTES 4096
#define DRAIN_LOOKS 20000 /* two seconds */
#define DRAIN_LOOK_NS 100000

#define TEXT(number) #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
#define VERSION DOTTED(HOCKET_VERSION_MAJOR, HOCKET_VERSION_MINOR, HOCKET_VERSION_PATCH)

/* One of all worlds, for MPI's sake. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool failed_once, finalised;
static MPI_Comm last_comm = MPI_COMM_NULL; /* of the world that was opened last */

hocket_status world_enter(const world *w)
{
    if (atomic_load(&finalised)) /* MPI would abort the program */
        return hocket_transport_error(HOCKET_ERR_UNAVAILABLE, "MPI has been finalised");
    if (w->level >= MPI_THREAD_MULTIPLE)
        return HOCKET_OK;
    if (w->level < MPI_THREAD_SERIALIZED && !pthread_equal(w->opener, pthread_self()))
        return hocket_transport_error(
            HOCKET_ERR_UNSUPPORTED,
            "the program has initialised MPI for one thread, and this is another than the one that "
            "called hocket_init: nonblocking calls and calls from several threads need "
            "MPI_Init_thread with MPI_THREAD_SERIALIZED or MPI_THREAD_MULTIPLE");
    pthread_mutex_lock(&turn);
    return HOCKET_OK;
}

void world_leave(const world *w)
{
    if (w->level < MPI_THREAD_MULTIPLE)
        pthread_mutex_unlock(&turn);
}

hocket_status world_check(int code, const char *what)
{
    if (code == MPI_SUCCESS)
        return HOCKET_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return hocket_transport_error(HOCKET_ERR_BACKEND, "MPI: %s: %s", what, text);
}

/* === MPI itself =============================================================================== */

/* Takes in, unread, what ranks sent to those that had left, until all have come here: MPICH warns
 * of every message that nobody has received. */
static void drain(MPI_Comm comm)
{
    char bytes[DRAIN_BYTES];
    MPI_Request all_here;
    int done = MPI_Ibarrier(comm, &all_here) != MPI_SUCCESS;
    for (int i = 0; i < DRAIN_LOOKS && !done; i++) {
        const struct timespec pause = {.tv_nsec = DRAIN_LOOK_NS};
        int there = 0;
        if (MPI_Test(&all_here, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS ||
            MPI_Iprobe(MPI_ANY_SOURCE, 0, comm, &there, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return;
        if (there && MPI_Recv(bytes, sizeof bytes, MPI_BYTE, MPI_ANY_SOURCE, 0, comm,
                              MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return;
        done = done && !there;
        if (!done && !there)
            nanosleep(&pause, NULL);
    }
}

/* MPI_Finalize, whoever calls it, begins with deleting what hangs on MPI_COMM_SELF. */
static int before_the_end(MPI_Comm self, int keyval, void *value, void *state)
{
    (void)self, (void)keyval, (void)value, (void)state;
    if (last_comm != MPI_COMM_NULL && !atomic_load(&failed_once))
        drain(last_comm);
    atomic_store(&finalised, true);
    return MPI_SUCCESS;
}

static void watch_the_end(void)
{
    static bool watching;
    int keyval;
    if (!watching &&
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, before_the_end, &keyval, NULL) == MPI_SUCCESS)
        watching = MPI_Comm_set_attr(MPI_COMM_SELF, keyval, NULL) == MPI_SUCCESS;
}

/* MPI can be started once in the life of a process, so it ends with the process. After a failure it
 * would wait there for ranks that are gone. */
static void finalise(void)
{
    int over = 0;
    if (MPI_Finalized(&over) == MPI_SUCCESS && !over && !atomic_load(&failed_once))
        MPI_Finalize();
}

static hocket_status start_mpi(int *level)
{
    int begun = 0, over = 0;
    MPI_Finalized(&over);
    if (over)
        return hocket_transport_error(HOCKET_ERR_UNAVAILABLE,
                                      "MPI has been finalised and cannot be started again");
    MPI_Initialized(&begun);
    if (begun)
        return world_check(MPI_Query_thread(level), "MPI_Query_thread");
    hocket_status status =
        world_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, level), "MPI_Init_thread");
    if (status == HOCKET_OK)
        atexit(finalise);
    return status;
}

/* === Opening and closing ====================================================================== */

/* A host is named by the lowest rank on it, then numbered in that order. */
static hocket_status find_hosts(world *w)
{
    MPI_Comm near;
    int first = w->rank, hosts = 0;
    hocket_status status =
        world_check(MPI_Comm_split_type(w->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &near),
                    "the hosts");
    if (status != HOCKET_OK)
        return status;
    status = world_check(MPI_Bcast(&first, 1, MPI_INT, 0, near), "the hosts");
    MPI_Comm_free(&near);
    if (status == HOCKET_OK)
        status = world_check(MPI_Allgather(&first, 1, MPI_INT, w->hosts, 1, MPI_INT, w->comm),
                             "the hosts");
    for (int r = 0; status == HOCKET_OK && r < w->size; r++)
        w->hosts[r] = w->hosts[r] == r ? hosts++ : w->hosts[w->hosts[r]];
    return status;
}

static hocket_status open_comm(world *w)
{
    int *tag_max = NULL, there = 0;
    hocket_status status = world_check(MPI_Comm_dup(MPI_COMM_WORLD, &w->comm), "MPI_Comm_dup");
    if (status != HOCKET_OK)
        return status;
    MPI_Comm_set_errhandler(w->comm, MPI_ERRORS_RETURN);
    last_comm = w->comm;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &tag_max, &there);
    w->tag_max = there ? *tag_max : 32767; /* what every MPI has at least */
    return find_hosts(w);
}

static void free_world(world *w)
{
    free(w->hosts);
    free(w->peers);
    free(w);
}

static int world_rank(void *self)
{
    return ((const world *)self)->rank;
}

static int world_size(void *self)
{
    return ((const world *)self)->size;
}

static int world_host_of(void *self, int rank)
{
    return ((const world *)self)->hosts[rank];
}

/* The communicator stays: to free it is collective, and ranks leave when they like. */
static void world_close(void *self, bool orderly)
{
    world *w = self;
    if (!orderly)
        atomic_store(&failed_once, true);
    message_end(w, orderly);
    free_world(w);
}

static const hocket_transport vtable = {
    .size = sizeof(hocket_transport),
    .name = "mpi",
    .rank = world_rank,
    .world_size = world_size,
    .post = message_post,
    .cancel = message_cancel,
    .progress = message_progress,
    .probe = message_probe,
    .forget = message_forget,
    .close = world_close,
    .host_of = world_host_of,
    .collectives = &mpi_collectives,
};

static hocket_status make_world(int level, world **made)
{
    world *w = calloc(1, sizeof *w);
    if (w == NULL)
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a world over MPI");
    w->level = level;
    w->opener = pthread_self();
    MPI_Comm_rank(MPI_COMM_WORLD, &w->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &w->size);
    w->hosts = calloc((size_t)w->size, sizeof *w->hosts);
    w->peers = calloc((size_t)w->size, sizeof *w->peers);
    if (w->hosts == NULL || w->peers == NULL) {
        free_world(w);
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "no memory for a world over MPI");
    }
    for (int r = 0; r < w->size; r++)
        w->peers[r].end = &w->peers[r].letters;
    *made = w;
    return HOCKET_OK;
}

static hocket_status open_world(int rank, int size, const hocket_transport **transport, void **self)
{
    int level = MPI_THREAD_SINGLE;
    world *w = NULL;
    pthread_mutex_lock(&starting);
    hocket_status status = start_mpi(&level);
    if (status == HOCKET_OK)
        watch_the_end();
    pthread_mutex_unlock(&starting);
    if (status == HOCKET_OK)
        status = make_world(level, &w);
    if (status != HOCKET_OK)
        return status;
    if (size != 0 && (w->rank != rank || w->size != size))
        status = hocket_transport_error(HOCKET_ERR_INVALID,
                                        "MPI says that this is rank %d of %d, the settings say "
                                        "rank %d of %d",
                                        w->rank, w->size, rank, size);
    if (status == HOCKET_OK)
        status = open_comm(w);
    if (status != HOCKET_OK) {
        free_world(w);
        return status;
    }
    *transport = &vtable;
    *self = w;
    return HOCKET_OK;
}

HOCKET_API const hk_mpi_module *hocket_mpi_module(void);

const hk_mpi_module *hocket_mpi_module(void)
{
    static const hk_mpi_module module = {.size = sizeof(hk_mpi_module),
                                         .version = VERSION,
                                         .open = open_world};
    return &module;
}
