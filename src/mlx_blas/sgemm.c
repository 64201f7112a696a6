/* cblas_sgemm for MLX on Linux: OpenBLAS's, but for the products of a language model's steps.
 *
 *     C = alpha * A * B + beta * C,   A one row:   sgemm   copies B into panels, then reads them
 *                                                  sgemv   reads B, which is all that is needed
 *
 * With one row the copy is never read twice, so sgemm takes two to three times as long. It becomes
 * libhocket-blas, which is only put before OpenBLAS, and where that can be opened: by
 * `hocket run --mlx` in LD_PRELOAD (tools/hocket/platform_linux.c), for libhocket-mlx by
 * core/plugin.c. Of the names that MLX looks up it has this one. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

/* CBLAS's own numbers, the same in every implementation. */
enum { ROW_MAJOR = 101, AS_IS = 111, SWAPPED = 112 };

typedef void (*sgemm_fn)(int order, int left, int right, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);
typedef void (*sgemv_fn)(int order, int swap, int m, int n, float alpha, const float *a, int lda,
                         const float *x, int incx, float beta, float *y, int incy);

static sgemm_fn sgemm;
static sgemv_fn sgemv;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Should OpenBLAS have gone meanwhile, what stands behind this serves. */
static void load(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void *place = library != NULL ? library : RTLD_NEXT;
    *(void **)&sgemm = dlsym(place, "cblas_sgemm");
    *(void **)&sgemv = dlsym(place, "cblas_sgemv");
}

__attribute__((visibility("default"))) void cblas_sgemm(int order, int left, int right, int m,
                                                        int n, int k, float alpha, const float *a,
                                                        int lda, const float *b, int ldb,
                                                        float beta, float *c, int ldc);

void cblas_sgemm(int order, int left, int right, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc)
{
    pthread_once(&once, load);
    int step = left == SWAPPED ? lda : 1; /* of A, a column then */
    if (order != ROW_MAJOR || m != 1 || n < 1 || k < 1)
        sgemm(order, left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    else if (right == AS_IS)
        sgemv(ROW_MAJOR, SWAPPED, k, n, alpha, b, ldb, a, step, beta, c, 1);
    else
        sgemv(ROW_MAJOR, AS_IS, n, k, alpha, b, ldb, a, step, beta, c, 1);
}
