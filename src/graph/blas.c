#include "graph/blas.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>

/* CBLAS's own numbers, the same in every implementation. */
enum { ROW_MAJOR = 101, AS_IS = 111, SWAPPED = 112 };

typedef void (*sgemm_fn)(int order, int left, int right, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);
typedef void (*dgemm_fn)(int order, int left, int right, int m, int n, int k, double alpha,
                         const double *a, int lda, const double *b, int ldb, double beta,
                         double *c, int ldc);
typedef void (*sgemv_fn)(int order, int swap, int m, int n, float alpha, const float *a, int lda,
                         const float *x, int incx, float beta, float *y, int incy);
typedef void (*dgemv_fn)(int order, int swap, int m, int n, double alpha, const double *a, int lda,
                         const double *x, int incx, double beta, double *y, int incy);

static struct {
    sgemm_fn sgemm;
    dgemm_fn dgemm;
    sgemv_fn sgemv;
    dgemv_fn dgemv;
} blas;
static bool found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX's way from dlsym's data pointer to a function pointer. */
static bool look_up(void *library, const char *name, void *function)
{
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

static void load(void)
{
    static const char *const names[] = {
        "libopenblas.so.0",
        "libopenblas.dylib",
        "/System/Library/Frameworks/Accelerate.framework/Accelerate",
    };
    for (size_t i = 0; !found && i < sizeof names / sizeof names[0]; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        found = library && look_up(library, "cblas_sgemm", &blas.sgemm) &&
                look_up(library, "cblas_dgemm", &blas.dgemm) &&
                look_up(library, "cblas_sgemv", &blas.sgemv) &&
                look_up(library, "cblas_dgemv", &blas.dgemv);
    }
}

bool hk_has_blas(void)
{
    pthread_once(&once, load);
    return found;
}

static bool fits_blas(const hk_product *p)
{
    return p->m > 0 && p->n > 0 && p->k > 0 && p->m <= INT_MAX && p->n <= INT_MAX &&
           p->k <= INT_MAX && hk_has_blas();
}

/* One row on the left is a matrix times a vector, which BLAS reads the matrix once for. */
#define PRODUCT(suffix, type, gemm, gemv)                                                      \
    void hk_product_##suffix(const hk_product *p, const type *left, const type *right,         \
                             type *result)                                                     \
    {                                                                                          \
        if (!fits_blas(p)) {                                                                   \
            hk_plain_##suffix(p, left, right, result);                                         \
            return;                                                                            \
        }                                                                                      \
        int m = (int)p->m, n = (int)p->n, k = (int)p->k;                                       \
        if (m == 1 && p->swap_right)                                                           \
            blas.gemv(ROW_MAJOR, AS_IS, n, k, 1, right, k, left, 1, 0, result, 1);             \
        else if (m == 1)                                                                       \
            blas.gemv(ROW_MAJOR, SWAPPED, k, n, 1, right, n, left, 1, 0, result, 1);           \
        else                                                                                   \
            blas.gemm(ROW_MAJOR, p->swap_left ? SWAPPED : AS_IS,                               \
                      p->swap_right ? SWAPPED : AS_IS, m, n, k, 1, left,                       \
                      p->swap_left ? m : k, right, p->swap_right ? k : n, 0, result, n);       \
    }

PRODUCT(f32, float, sgemm, sgemv)
PRODUCT(f64, double, dgemm, dgemv)

/* --- Plain loops: the inner one runs along memory, and a panel of the right operand stays in the
 * cache while all rows of the left use it. --- */

enum { PANEL = 64 };

#define PLAIN(suffix, type)                                                                    \
    static void rows_##suffix(const hk_product *p, const type *left, const type *right,        \
                              type *result)                                                    \
    {                                                                                          \
        for (int64_t i = 0; i < p->m * p->n; i++)                                              \
            result[i] = 0;                                                                     \
        for (int64_t panel = 0; panel < p->k; panel += PANEL)                                  \
            for (int64_t i = 0; i < p->m; i++)                                                 \
                for (int64_t l = panel; l < p->k && l < panel + PANEL; l++) {                  \
                    type factor = p->swap_left ? left[l * p->m + i] : left[i * p->k + l];      \
                    for (int64_t j = 0; j < p->n; j++)                                         \
                        result[i * p->n + j] += factor * right[l * p->n + j];                  \
                }                                                                              \
    }                                                                                          \
    static void dots_##suffix(const hk_product *p, const type *left, const type *right,        \
                              type *result)                                                    \
    {                                                                                          \
        for (int64_t panel = 0; panel < p->n; panel += PANEL)                                  \
            for (int64_t i = 0; i < p->m; i++)                                                 \
                for (int64_t j = panel; j < p->n && j < panel + PANEL; j++) {                  \
                    type sum = 0;                                                              \
                    for (int64_t l = 0; l < p->k; l++)                                         \
                        sum += (p->swap_left ? left[l * p->m + i] : left[i * p->k + l]) *      \
                               right[j * p->k + l];                                            \
                    result[i * p->n + j] = sum;                                                \
                }                                                                              \
    }                                                                                          \
    void hk_plain_##suffix(const hk_product *p, const type *left, const type *right,           \
                           type *result)                                                       \
    {                                                                                          \
        if (p->swap_right)                                                                     \
            dots_##suffix(p, left, right, result);                                             \
        else                                                                                   \
            rows_##suffix(p, left, right, result);                                             \
    }

PLAIN(f32, float)
PLAIN(f64, double)
