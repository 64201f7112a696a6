/* The objects whose addresses are handles, and the types made of them. */
#include "mlx_mpi/mpi.h"

#include <pthread.h>

#define TYPES_MAX 16 /* of MPI_Type_contiguous; MLX makes one kind */

#define TYPE(of, bytes)                                                                            \
    {                                                                                              \
        .kind = HK_MPI_TYPE, .dtype = (of), .count = 1, .size = (bytes)                            \
    }

const struct hk_mpi_type ompi_mpi_c_bool = TYPE(HOCKET_BOOL, 1);
const struct hk_mpi_type ompi_mpi_int8_t = TYPE(HOCKET_INT8, 1);
const struct hk_mpi_type ompi_mpi_uint8_t = TYPE(HOCKET_UINT8, 1);
const struct hk_mpi_type ompi_mpi_int16_t = TYPE(HOCKET_INT16, 2);
const struct hk_mpi_type ompi_mpi_uint16_t = TYPE(HOCKET_UINT16, 2);
const struct hk_mpi_type ompi_mpi_int32_t = TYPE(HOCKET_INT32, 4);
const struct hk_mpi_type ompi_mpi_uint32_t = TYPE(HOCKET_UINT32, 4);
const struct hk_mpi_type ompi_mpi_int64_t = TYPE(HOCKET_INT64, 8);
const struct hk_mpi_type ompi_mpi_uint64_t = TYPE(HOCKET_UINT64, 8);
const struct hk_mpi_type ompi_mpi_float = TYPE(HOCKET_FLOAT32, 4);
const struct hk_mpi_type ompi_mpi_double = TYPE(HOCKET_FLOAT64, 8);
const struct hk_mpi_type ompi_mpi_c_complex = TYPE(HOCKET_COMPLEX64, 8);

struct hk_mpi_op ompi_mpi_op_sum = {.kind = HK_MPI_OP, .reduce = HOCKET_SUM};
struct hk_mpi_op ompi_mpi_op_max = {.kind = HK_MPI_OP, .reduce = HOCKET_MAX};
struct hk_mpi_op ompi_mpi_op_min = {.kind = HK_MPI_OP, .reduce = HOCKET_MIN};

struct hk_mpi_comm ompi_mpi_comm_world = {.kind = HK_MPI_COMM, .size = 1};

void hk_mpi_check_type(const char *function, MPI_Datatype type, hocket_group *group)
{
    if (type == NULL || type->kind != HK_MPI_TYPE)
        hk_mpi_end_refused(group, "%s: its datatype is none that this library gave out", function);
}

/* === Derived types ============================================================================ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hk_mpi_type types[TYPES_MAX];
static int type_count;

/* The widest dtype that all of it is made of: what a function of the program's reduces has one
 * element then, where there is a dtype of that width. */
static struct hk_mpi_type contiguous(size_t size)
{
    struct hk_mpi_type type = {.kind = HK_MPI_TYPE, .derived = true, .count = 1, .size = size};
    switch (size) {
    case 2: type.dtype = HOCKET_UINT16; break;
    case 4: type.dtype = HOCKET_UINT32; break;
    case 8: type.dtype = HOCKET_UINT64; break;
    default:
        type.dtype = HOCKET_UINT8;
        type.count = size;
        break;
    }
    return type;
}

/* Types of one size are one type: which 2 bytes are a float16 and which a bfloat16 only the
 * reductions know. So a program that starts MPI again and again makes no more of them. */
int MPI_Type_contiguous(int count, MPI_Datatype of, MPI_Datatype *made)
{
    hk_mpi_check_type("MPI_Type_contiguous", of, NULL);
    if (count <= 0)
        hk_mpi_end_refused(NULL, "MPI_Type_contiguous: a type of %d elements", count);
    size_t size = (size_t)count * of->size;
    int i = 0;
    pthread_mutex_lock(&lock);
    while (i < type_count && types[i].size != size)
        i++;
    if (i == type_count && i < TYPES_MAX)
        types[type_count++] = contiguous(size);
    pthread_mutex_unlock(&lock);
    if (i == TYPES_MAX)
        hk_mpi_end_refused(NULL, "MPI_Type_contiguous: more than %d types", TYPES_MAX);
    *made = &types[i];
    return MPI_SUCCESS;
}

int MPI_Type_commit(MPI_Datatype *type)
{
    hk_mpi_check_type("MPI_Type_commit", *type, NULL);
    return MPI_SUCCESS;
}
