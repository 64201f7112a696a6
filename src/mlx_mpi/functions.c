/* Reductions that the program brings as functions. MLX has one for each of sum, max and min of
 * float16 and bfloat16, and for max and min of complex numbers, and does not say which is which.
 * They are asked: what a function makes of known values tells it. */
#include "mlx_mpi/mpi.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

#define OPS_MAX 64 /* of MPI_Op_create; MLX makes 8 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hk_mpi_op ops[OPS_MAX];
static int op_count;

/* === Asking =================================================================================== */

/* Values of two ranks. All of them, and what is made of a pair, are exact in every type that is
 * asked for; no sum is 0, which has two signs. Complex numbers have one of these as real part and
 * the next as imaginary part, so some pairs agree in the real part.
 *
 * The last ones are LARGE, and no float16: their bits as a bfloat16 are those of a float16 that is
 * no number. Max and min of the two types differ in nothing else, since both order their bits
 * alike; and no function for float16 makes of all four pairs what one for bfloat16 does. */
#define LARGE 0x1p125F /* bfloat16 0x7e00 */
static const float lefts[] = {1.5F,  -2.0F, 3.0F,   -0.25F, 8.0F,  0.5F, -16.0F, 6.0F, 6.0F, -5.0F,
                              40.0F, 0.0F,  -0.75F, 2.0F,   LARGE, 1.0F, -LARGE, 1.0F, 1.0F};
static const float rights[] = {2.25F, -1.0F, -4.5F,  0.5F, 8.0F, -64.0F, -3.0F, 6.0F,   1.0F, -5.0F,
                               12.0F, 7.0F,  -1.75F, 1.0F, 1.0F, LARGE,  1.0F,  -LARGE, 1.0F};
enum {
    VALUES = sizeof lefts / sizeof *lefts,
    ASKED = VALUES - 1, /* pairs: the last value is an imaginary part */
    LARGE_PAIRS = 4,
    ELEMENT_MAX = 8
};

typedef struct complex {
    float real, imaginary;
} complex;

static complex left_at(int i)
{
    return (complex){lefts[i], lefts[i + 1]};
}

static complex right_at(int i)
{
    return (complex){rights[i], rights[i + 1]};
}

/* The real part alone where the dtype has no other. */
static bool less(complex a, complex b, hocket_dtype dtype)
{
    if (a.real != b.real || dtype != HOCKET_COMPLEX64)
        return a.real < b.real;
    return a.imaginary < b.imaginary;
}

static complex reduced(complex a, complex b, hocket_dtype dtype, hocket_reduce reduce)
{
    switch (reduce) {
    case HOCKET_MAX: return less(a, b, dtype) ? b : a;
    case HOCKET_MIN: return less(b, a, dtype) ? b : a;
    default: return (complex){a.real + b.real, a.imaginary + b.imaginary};
    }
}

/* Only for values that a float16 holds exactly, and no tiny ones. */
static uint16_t float16_bits(uint32_t bits)
{
    uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 0xff, mantissa = bits >> 13;
    if (exponent == 0)
        return (uint16_t)sign;
    return (uint16_t)(sign | (exponent - 127 + 15) << 10 | (mantissa & 0x3ff));
}

static void encode(complex value, hocket_dtype dtype, unsigned char *element)
{
    uint32_t bits;
    memcpy(&bits, &value.real, sizeof bits);
    uint16_t half = dtype == HOCKET_FLOAT16 ? float16_bits(bits) : (uint16_t)(bits >> 16);
    if (dtype == HOCKET_COMPLEX64)
        memcpy(element, &value, sizeof value);
    else
        memcpy(element, &half, sizeof half);
}

/* Whether the function, on elements of this type that are of this dtype, is one of ours. */
static bool recognise(MPI_Op op, MPI_Datatype type, hocket_dtype dtype)
{
    static const hocket_reduce known[] = {HOCKET_SUM, HOCKET_MAX, HOCKET_MIN};
    const int asked = dtype == HOCKET_FLOAT16 ? ASKED - LARGE_PAIRS : ASKED;
    _Alignas(16) unsigned char in[ASKED * ELEMENT_MAX], inout[ASKED * ELEMENT_MAX];
    for (int i = 0; i < asked; i++) {
        encode(left_at(i), dtype, in + (size_t)i * type->size);
        encode(right_at(i), dtype, inout + (size_t)i * type->size);
    }
    int count = asked;
    op->function(in, inout, &count, &type);
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        bool same = true;
        for (int i = 0; same && i < asked; i++) {
            unsigned char wanted[ELEMENT_MAX];
            encode(reduced(left_at(i), right_at(i), dtype, known[k]), dtype, wanted);
            same = memcmp(wanted, inout + (size_t)i * type->size, type->size) == 0;
        }
        if (same) {
            op->dtype = dtype;
            op->meaning = known[k];
            return true;
        }
    }
    return false;
}

/* === Meaning ================================================================================== */

/* A function that is none of ours is called as it is, on whole elements. */
static void take_as_it_is(MPI_Op op, MPI_Datatype type, hocket_group *group)
{
    if (type->count != 1)
        hk_mpi_end_refused(group,
                           "MPI_Allreduce: a function of the program's on elements of %zu bytes; "
                           "1, 2, 4 and 8 are served",
                           type->size);
    op->dtype = type->dtype;
    op->meaning = op->reduce;
}

/* The first use. A function has one type: that is how MLX uses them, and what makes it possible to
 * know the function by its answers. */
static void find_meaning(MPI_Op op, MPI_Datatype type, hocket_group *group)
{
    static const hocket_dtype halves[] = {HOCKET_BFLOAT16, HOCKET_FLOAT16};
    pthread_mutex_lock(&lock);
    MPI_Datatype known = atomic_load_explicit(&op->type, memory_order_relaxed);
    if (known == NULL) {
        bool found = false;
        for (size_t i = 0; !found && type->derived && type->size == 2 && i < 2; i++)
            found = recognise(op, type, halves[i]);
        if (!found && type->dtype == HOCKET_COMPLEX64)
            found = recognise(op, type, HOCKET_COMPLEX64);
        if (!found)
            take_as_it_is(op, type, group);
        atomic_store_explicit(&op->type, type, memory_order_release);
        known = type;
    }
    pthread_mutex_unlock(&lock);
    if (known != type)
        hk_mpi_end_refused(group, "MPI_Allreduce: one function of the program's for two types");
}

hk_mpi_reduction hk_mpi_meaning(MPI_Op op, MPI_Datatype type, hocket_group *group)
{
    hk_mpi_check_type("MPI_Allreduce", type, group);
    if (op == NULL || op->kind != HK_MPI_OP)
        hk_mpi_end_refused(group,
                           "MPI_Allreduce: its operation is none that this library gave out");
    if (op->function == NULL) {
        if (type->derived)
            hk_mpi_end_refused(group, "MPI_Allreduce: a reduction of MPI's own on a derived type");
        return (hk_mpi_reduction){type->dtype, op->reduce};
    }
    if (atomic_load_explicit(&op->type, memory_order_acquire) != type)
        find_meaning(op, type, group);
    return (hk_mpi_reduction){op->dtype, op->meaning};
}

/* === Making =================================================================================== */

/* How hocket calls it: a piece of the data, whose length MPI's functions take as an int. */
static void call(const void *in, void *inout, size_t count, void *context)
{
    MPI_Op op = context;
    MPI_Datatype type = atomic_load_explicit(&op->type, memory_order_relaxed);
    for (size_t done = 0; done < count;) {
        int piece = count - done < INT_MAX ? (int)(count - done) : INT_MAX;
        op->function((unsigned char *)in + done * type->size,
                     (unsigned char *)inout + done * type->size, &piece, &type);
        done += (size_t)piece;
    }
}

/* The same function is the same operation: a program that starts MPI again makes no more of them.
 * Hocket's number is taken here and not at the first use, since ranks make operations in the same
 * order but, with several groups, need not use them so. */
int MPI_Op_create(MPI_User_function *function, int commutes, MPI_Op *made)
{
    if (function == NULL)
        hk_mpi_end_refused(NULL, "MPI_Op_create: no function");
    int i = 0;
    hocket_status status = HOCKET_OK;
    pthread_mutex_lock(&lock);
    while (i < op_count && (ops[i].function != function || ops[i].commutes != (commutes != 0)))
        i++;
    if (i == op_count && i < OPS_MAX) {
        ops[i].kind = HK_MPI_OP;
        ops[i].function = function;
        ops[i].commutes = commutes != 0;
        status = hocket_reduce_create(call, &ops[i], commutes != 0, &ops[i].reduce);
        op_count++;
    }
    pthread_mutex_unlock(&lock);
    hk_mpi_need(NULL, status);
    if (i == OPS_MAX)
        hk_mpi_end_refused(NULL, "MPI_Op_create: more than %d functions", OPS_MAX);
    *made = &ops[i];
    return MPI_SUCCESS;
}
