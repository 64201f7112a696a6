/* The MPI that MLX's mpi backend loads at run time, and no more of MPI than that: 14 functions and
 * 16 objects whose addresses are handles. MLX brings declarations of its own for them, after Open
 * MPI's; what is below agrees with those in all that MLX passes or reads.
 *
 * MLX looks at no return code. So no function here returns a failure: it ends the process (end.c).
 */
#ifndef HK_MLX_MPI_MPI_H
#define HK_MLX_MPI_MPI_H

#include <hocket/hocket.h>

#include <stdatomic.h>

/* The status of a process that this library has ended, having said why on standard error. */
#define HK_MLX_MPI_EXIT 70

#define MPI_SUCCESS 0
#define MPI_ANY_TAG (-1)
#define MPI_IN_PLACE ((void *)1)
#define MPI_MAX_LIBRARY_VERSION_STRING 256

/* What a handle points to begins with its kind, so that another's handle is told apart. */
typedef enum hk_mpi_kind { HK_MPI_COMM = 0x686b6301, HK_MPI_TYPE, HK_MPI_OP } hk_mpi_kind;

/* A group of hocket's. */
typedef struct hk_mpi_comm {
    hk_mpi_kind kind;
    hocket_group *group; /* NULL: the world before MPI_Init or after MPI_Finalize */
    int rank, size;      /* stay when the world is gone */
} * MPI_Comm;

/* count elements of dtype, which is the only thing that the transports move. */
typedef const struct hk_mpi_type {
    hk_mpi_kind kind;
    bool derived; /* made by MPI_Type_contiguous: dtype is only as wide as what it stands for */
    hocket_dtype dtype;
    size_t count, size; /* size: bytes of all of it */
} * MPI_Datatype;

typedef void MPI_User_function(void *in, void *inout, int *count, MPI_Datatype *type);

/* A reduction of ours, or a function of the program's. What the latter means is known from its
 * first use on, when its type is. */
typedef struct hk_mpi_op {
    hk_mpi_kind kind;
    hocket_reduce reduce;        /* of the function: what calls it */
    MPI_User_function *function; /* NULL: one of ours */
    bool commutes;

    _Atomic(MPI_Datatype) type; /* that it reduces; the last of these to be set */
    hocket_dtype dtype;         /* as which its elements are reduced, and how */
    hocket_reduce meaning;
} * MPI_Op;

/* MPI_Recv's; nobody reads it. */
typedef struct MPI_Status MPI_Status;

/* === What MLX looks up ======================================================================== */

HOCKET_API int MPI_Get_library_version(char *version, int *length);
HOCKET_API int MPI_Init(int *argc, char ***argv);
HOCKET_API int MPI_Finalize(void);
HOCKET_API int MPI_Comm_rank(MPI_Comm comm, int *rank);
HOCKET_API int MPI_Comm_size(MPI_Comm comm, int *size);
HOCKET_API int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *made);
HOCKET_API int MPI_Comm_free(MPI_Comm *comm);
HOCKET_API int MPI_Allreduce(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op,
                             MPI_Comm comm);
HOCKET_API int MPI_Allgather(const void *send, int send_count, MPI_Datatype send_type, void *recv,
                             int recv_count, MPI_Datatype recv_type, MPI_Comm comm);
HOCKET_API int MPI_Send(const void *send, int count, MPI_Datatype type, int to, int tag,
                        MPI_Comm comm);
HOCKET_API int MPI_Recv(void *recv, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
                        MPI_Status *status);
HOCKET_API int MPI_Type_contiguous(int count, MPI_Datatype of, MPI_Datatype *made);
HOCKET_API int MPI_Type_commit(MPI_Datatype *type);
HOCKET_API int MPI_Op_create(MPI_User_function *function, int commutes, MPI_Op *made);

HOCKET_API extern struct hk_mpi_comm ompi_mpi_comm_world;
HOCKET_API extern struct hk_mpi_op ompi_mpi_op_sum, ompi_mpi_op_max, ompi_mpi_op_min;
HOCKET_API extern const struct hk_mpi_type ompi_mpi_c_bool, ompi_mpi_int8_t, ompi_mpi_uint8_t,
    ompi_mpi_int16_t, ompi_mpi_uint16_t, ompi_mpi_int32_t, ompi_mpi_uint32_t, ompi_mpi_int64_t,
    ompi_mpi_uint64_t, ompi_mpi_float, ompi_mpi_double, ompi_mpi_c_complex;

/* === Between the files ======================================================================== */

/* world.c: the group of a handle; ends the process where it is none. */
hocket_group *hk_mpi_group(const char *function, MPI_Comm comm);

/* objects.c: ends the process where the handle is none of a type. group may be NULL. */
void hk_mpi_check_type(const char *function, MPI_Datatype type, hocket_group *group);

/* functions.c: as which elements op reduces those of this type, and how. */
typedef struct hk_mpi_reduction {
    hocket_dtype dtype;
    hocket_reduce reduce;
} hk_mpi_reduction;

hk_mpi_reduction hk_mpi_meaning(MPI_Op op, MPI_Datatype type, hocket_group *group);

/* end.c: after a call of hocket's on this group (NULL: on none yet) that failed. */
_Noreturn void hk_mpi_end_failed(hocket_group *group, hocket_status status);
/* end.c: for what is asked of this library and not served. The other ranks are told: of this group,
 * where it is not NULL, and of the world. */
_Noreturn void hk_mpi_end_refused(hocket_group *group, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void hk_mpi_need(hocket_group *group, hocket_status status)
{
    if (__builtin_expect(status != HOCKET_OK, 0))
        hk_mpi_end_failed(group, status);
}

#endif
