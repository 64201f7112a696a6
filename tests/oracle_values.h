/* The oracle's arithmetic: values of every dtype, and what a reduction of them must give, written
 * without looking at the library: numbers are doubles or 64-bit integers, one at a time.
 *
 * The element of rank r at position i is sample (r, i % ORACLE_PERIOD): with a prime period no
 * block of a usual size begins where another one does, so exchanged blocks show.
 */
#ifndef TESTS_ORACLE_VALUES_H
#define TESTS_ORACLE_VALUES_H

#include "harness.h"

#define ORACLE_PERIOD 1021
#define ORACLE_ITEM_MAX 8

enum { ORACLE_DTYPES = HOCKET_COMPLEX64 + 1 };

/* What is done to the elements. MOVE is for collectives that only move: any bits. */
enum oracle_op {
    ORACLE_SUM, ORACLE_MEAN, ORACLE_MAX, ORACLE_MIN, ORACLE_PROD,
    ORACLE_USER_ADD,    /* commutative: adds the bits of elements as integers */
    ORACLE_USER_AFFINE, /* not commutative: see oracle_values.c */
    ORACLE_MOVE
};
#define ORACLE_OPS ORACLE_MOVE

struct oracle_number {
    double real, imaginary, magnitude; /* magnitude: what rounding errors are relative to */
    uint64_t bits;                     /* of integers and of user's elements */
};

/* What all ranks put in and get out, for one dtype, operation and number of ranks. */
struct oracle_table {
    hocket_dtype dtype;
    enum oracle_op op;
    int ranks;
    size_t item;
    unsigned char input[HARNESS_RANKS_MAX][ORACLE_PERIOD * ORACLE_ITEM_MAX]; /* item by item */
    struct oracle_number fold[ORACLE_PERIOD];
    double low[ORACLE_PERIOD][2], high[ORACLE_PERIOD][2]; /* bounds of floats: real, imaginary */
};

/* Makes the user's reductions: once, before any rank runs. */
void oracle_open(void);
void oracle_close(void);

const char *oracle_op_name(enum oracle_op op);
bool oracle_defined(enum oracle_op op, hocket_dtype dtype);
/* The number of op in the API; the user's have one for each size of element. */
hocket_reduce oracle_reduce(enum oracle_op op, hocket_dtype dtype);

void oracle_fill_table(struct oracle_table *table, enum oracle_op op, hocket_dtype dtype,
                       int ranks);

/* Writes count elements of a rank from position start on. */
void oracle_fill(const struct oracle_table *table, void *to, int rank, size_t start, size_t count);
/* Checks that they are there, bit for bit. */
void oracle_check_input(const struct oracle_table *table, const void *at, int rank, size_t start,
                        size_t count);
/* Checks count elements from position start on against the fold.
 *
 * Integers, bool, max, min and user's: exact. float32, complex64: within 1e-6 * n of the magnitude
 * (of the sum of absolute values; of the product). float64: 1e-15 * n. float16, bfloat16: half a
 * unit in the last place, for the one rounding, beside the error of float32. */
void oracle_check_fold(const struct oracle_table *table, const void *at, size_t start,
                       size_t count);

#endif
