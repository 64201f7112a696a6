#include "core/plugin.h"

#include "core/status.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#define LIBRARY_FILE "libhocket-mlx.dylib"
#else
#define LIBRARY_FILE "libhocket-mlx.so"
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const hk_plugin *loaded;
static hk_error failure;

bool hk_plugin_path(const char *variable, const char *file, char *path, size_t capacity)
{
    const char *chosen = variable != NULL ? getenv(variable) : NULL;
    if (chosen && chosen[0] != '\0')
        return (size_t)snprintf(path, capacity, "%s", chosen) < capacity;
    Dl_info self;
    if (dladdr((const void *)&once, &self) == 0 || self.dli_fname == NULL)
        return false;
    const char *slash = strrchr(self.dli_fname, '/');
    int folder = slash ? (int)(slash - self.dli_fname) + 1 : 0;
    return (size_t)snprintf(path, capacity, "%.*s%s", folder, self.dli_fname, file) < capacity;
}

/* The wheel of MLX for Linux is bound to the reference BLAS, which is some 30 times slower than
 * OpenBLAS. The first library that exports cblas_sgemm to all wins, so OpenBLAS is opened before
 * MLX, and before that what is faster still for products of one row (src/mlx_blas). Where it is not
 * installed, MLX works without; HOCKET_BLAS=reference leaves it so, and HOCKET_BLAS=openblas leaves
 * it at that, to measure the differences. */
static void open_fast_blas(void)
{
#ifdef __linux__
    const char *choice = getenv("HOCKET_BLAS");
    char rows[PATH_MAX];
    if ((choice != NULL && strcmp(choice, "reference") == 0) ||
        dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL) == NULL)
        return;
    if ((choice == NULL || strcmp(choice, "openblas") != 0) &&
        hk_plugin_path(NULL, "libhocket-blas.so", rows, sizeof rows))
        dlopen(rows, RTLD_NOW | RTLD_GLOBAL);
    dlopen("libopenblas.so.0", RTLD_NOW | RTLD_GLOBAL);
#endif
}

static void load(void)
{
    char path[PATH_MAX];
    if (!hk_plugin_path("HOCKET_MLX_LIB", LIBRARY_FILE, path, sizeof path)) {
        hk_error_set(&failure, HOCKET_ERR_UNAVAILABLE, "the path of %s is too long or unknown",
                     LIBRARY_FILE);
        return;
    }
    open_fast_blas();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    /* dlsym's result is data to C; the union is POSIX's way to a function. */
    union {
        void *symbol;
        hk_plugin_fn function;
    } entry = {library ? dlsym(library, HK_PLUGIN_SYMBOL) : NULL};
    const char *reason = entry.symbol ? NULL : dlerror();
    const hk_plugin *plugin = entry.symbol ? entry.function() : NULL;
    if (plugin == NULL)
        hk_error_set(&failure, HOCKET_ERR_UNAVAILABLE,
                     "%s does not load: %s. It is built where MLX is (make deps)", path,
                     reason ? reason : hocket_last_error());
    else if (plugin->size != sizeof *plugin || strcmp(plugin->version, hocket_version()) != 0)
        hk_error_set(&failure, HOCKET_ERR_UNAVAILABLE,
                     "%s is not of this libhocket, which is %s; build both together", path,
                     hocket_version());
    else
        loaded = plugin;
    if (library && entry.symbol == NULL)
        dlclose(library); /* once its code has run it stays: MLX has threads */
}

hocket_status hk_plugin_mlx(const hk_plugin **plugin)
{
    pthread_once(&once, load);
    *plugin = loaded;
    return loaded ? HOCKET_OK : hk_fail_with(&failure);
}
