#include "core/mpi_life.h"

#include <dlfcn.h>
#include <stddef.h>

#ifdef __APPLE__
#define LIBRARIES "libmpi.40.dylib", "libmpi.12.dylib", "libmpich.12.dylib"
#else
#define LIBRARIES "libmpi.so.40", "libmpi.so.12", "libmpich.so.12"
#endif

/* dlsym's result is data to C; the union is POSIX's way to a function. These have the same shape in
 * every MPI, and may be called before it is initialised and afterwards. */
typedef union question {
    void *symbol;
    int (*ask)(int *flag);
} question;

/* Also where only a plugin has loaded it, whose names nobody else sees. */
static void *find(const char *name)
{
    static const char *const libraries[] = {LIBRARIES};
    void *symbol = dlsym(RTLD_DEFAULT, name);
    for (size_t i = 0; symbol == NULL && i < sizeof libraries / sizeof *libraries; i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library != NULL) {
            symbol = dlsym(library, name);
            dlclose(library); /* it stays: it was not loaded for us */
        }
    }
    return symbol;
}

hk_mpi_life hk_mpi_look(void)
{
    question initialized = {find("MPI_Initialized")}, finalized = {find("MPI_Finalized")};
    int begun = 0, over = 0;
    if (initialized.symbol == NULL || finalized.symbol == NULL)
        return HK_MPI_NONE;
    initialized.ask(&begun);
    finalized.ask(&over);
    return over ? HK_MPI_OVER : begun ? HK_MPI_RUNNING : HK_MPI_ASLEEP;
}
