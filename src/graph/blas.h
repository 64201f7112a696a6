/* Matrix products of float and double, by a BLAS that is found at run time, else by plain loops. */
#ifndef HK_GRAPH_BLAS_H
#define HK_GRAPH_BLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* result [m, n] = left [m, k] times right [k, n], contiguous. A swapped operand is stored with its
 * dimensions changed: left [k, m], right [n, k]. The result overlaps nothing. */
typedef struct hk_product {
    int64_t m, n, k;
    bool swap_left, swap_right;
} hk_product;

void hk_product_f32(const hk_product *shape, const float *left, const float *right, float *result);
void hk_product_f64(const hk_product *shape, const double *left, const double *right,
                    double *result);

/* The plain loops, which the above use where there is no BLAS. */
void hk_plain_f32(const hk_product *shape, const float *left, const float *right, float *result);
void hk_plain_f64(const hk_product *shape, const double *left, const double *right,
                  double *result);

bool hk_has_blas(void);

#endif
