/* libhocket-blas: products of one row and others, as OpenBLAS and plain sums have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { ROW_MAJOR = 101, COLUMN_MAJOR = 102, AS_IS = 111, SWAPPED = 112 };

typedef void (*sgemm_fn)(int order, int left, int right, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);

static sgemm_fn ours;

static int load(void **state)
{
    (void)state;
    const char *build = getenv("HOCKET_BUILD_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/lib/libhocket-blas.so", build != NULL ? build : "build");
    if (dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL) == NULL) {
        print_message("OpenBLAS is not here, and there is nothing to put before it\n");
        return 0;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        print_error("%s\n", dlerror());
        return -1;
    }
    *(void **)&ours = dlsym(library, "cblas_sgemm");
    return ours != NULL ? 0 : -1;
}

#define MOST 70
#define PADDING 3

/* Where element (row, column) of a matrix is that may lie swapped, or by columns. */
static int at(int order, int swap, int row, int column, int stride)
{
    bool by_rows = (order == ROW_MAJOR) == (swap == AS_IS);
    return by_rows ? row * stride + column : column * stride + row;
}

static int stride_of(int order, int swap, int rows, int columns)
{
    bool by_rows = (order == ROW_MAJOR) == (swap == AS_IS);
    return (by_rows ? columns : rows) + PADDING;
}

static void fill(float *values, size_t count, unsigned *seed)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (float)((*seed = *seed * 1103515245u + 12345u) >> 16 & 255) / 64 - 2;
}

static void check_product(int order, int left, int right, int m, int n, int k, float beta)
{
    static float a[(MOST + PADDING) * MOST], b[(MOST + PADDING) * MOST];
    static float before[(MOST + PADDING) * MOST], c[(MOST + PADDING) * MOST];
    const float alpha = 1.5f;
    unsigned seed = (unsigned)(m * 31 + n * 7 + k);
    int lda = stride_of(order, left, m, k), ldb = stride_of(order, right, k, n);
    int ldc = stride_of(order, AS_IS, m, n);
    fill(a, sizeof a / sizeof *a, &seed);
    fill(b, sizeof b / sizeof *b, &seed);
    fill(before, sizeof before / sizeof *before, &seed);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        c[i] = beta == 0 ? NAN : before[i]; /* what is not used may be anything */
    ours(order, left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += (double)a[at(order, left, i, l, lda)] * b[at(order, right, l, j, ldb)];
            int place = at(order, AS_IS, i, j, ldc);
            double wanted = alpha * sum + (beta == 0 ? 0 : beta * before[place]);
            if (fabs(c[place] - wanted) > 1e-3 || isnan(c[place]))
                fail_msg("%d x %d x %d, order %d, %d %d, beta %g: [%d, %d] is %g, not %g", m, n, k,
                         order, left, right, (double)beta, i, j, (double)c[place], wanted);
        }
}

static void products_are_right(void **state)
{
    static const int rows[] = {1, 2, 5}, others[] = {1, 2, 9, 64};
    static const int orders[] = {ROW_MAJOR, COLUMN_MAJOR}, ways[] = {AS_IS, SWAPPED};
    (void)state;
    if (ours == NULL)
        skip();
    for (int i = 0; i < 3 * 4 * 4 * 2 * 2 * 2 * 2; i++) {
        int rest = i, m = rows[rest % 3], n = others[(rest /= 3) % 4], k = others[(rest /= 4) % 4];
        int order = orders[(rest /= 4) % 2], left = ways[(rest /= 2) % 2];
        int right = ways[(rest /= 2) % 2];
        check_product(order, left, right, m, n, k, (rest / 2) % 2 ? 0.5f : 0);
    }
}

/* Of nothing: what is there times beta, or left alone. */
static void empty_products_are_right(void **state)
{
    (void)state;
    if (ours == NULL)
        skip();
    check_product(ROW_MAJOR, AS_IS, AS_IS, 1, 4, 0, 0.5f);
    check_product(ROW_MAJOR, AS_IS, SWAPPED, 1, 0, 4, 0.5f);
    check_product(ROW_MAJOR, AS_IS, SWAPPED, 0, 4, 4, 0.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(empty_products_are_right),
    };
    return cmocka_run_group_tests_name("libhocket-blas", tests, load, NULL);
}
