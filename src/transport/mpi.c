/* The backend mpi: finds out which MPI this process runs under, and loads the module for it. */
#include "transport/mpi.h"

#include "core/plugin.h"
#include "core/status.h"
#include "transport/table.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#define SUFFIX ".dylib"
#else
#define SUFFIX ".so"
#endif

#define VERSION_TEXT_MAX 16384 /* above MPI_MAX_LIBRARY_VERSION_STRING of both */

typedef struct flavour {
    const char *name, *file;
    const char *says;    /* in its MPI_Get_library_version */
    const char *rank[2]; /* what its launcher sets */
    int how;             /* of dlopen: Open MPI loads parts of its own, which look for its names */
} flavour;

static const flavour flavours[] = {
    {"Open MPI",
     "libhocket-openmpi" SUFFIX,
     "Open MPI",
     {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"},
     RTLD_NOW | RTLD_GLOBAL},
    {"MPICH", "libhocket-mpich" SUFFIX, "MPICH", {"PMI_RANK", NULL}, RTLD_NOW | RTLD_LOCAL},
};
enum { FLAVOURS = sizeof flavours / sizeof *flavours };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const hk_mpi_module *loaded[FLAVOURS];

/* === Which MPI ================================================================================ */

/* dlsym's result is data to C; the union is POSIX's way to a function. These two may be called
 * before MPI is initialised, and have the same shape in every MPI. */
typedef union entry {
    void *symbol;
    int (*get_version)(char *text, int *length);
    int (*initialized)(int *flag);
    hk_mpi_module_fn module;
} entry;

static bool is_set(const char *name)
{
    const char *value = name == NULL ? NULL : getenv(name);
    return value != NULL && value[0] != '\0';
}

static bool launched(const flavour *one)
{
    return is_set(one->rank[0]) || is_set(one->rank[1]);
}

/* The MPI that is in this process already: of the program, or of a module. -1: none is. *known:
 * there is one, also where it is none of these. */
static int find_present(bool *known, bool *begun)
{
    entry version = {dlsym(RTLD_DEFAULT, "MPI_Get_library_version")};
    entry initialized = {dlsym(RTLD_DEFAULT, "MPI_Initialized")};
    int length = 0, flag = 0, found = -1;
    *known = version.symbol != NULL && initialized.symbol != NULL;
    *begun = false;
    if (!*known)
        return -1;
    char *text = calloc(1, VERSION_TEXT_MAX);
    if (text == NULL)
        return -1;
    initialized.initialized(&flag);
    *begun = flag != 0;
    version.get_version(text, &length);
    text[VERSION_TEXT_MAX - 1] = '\0';
    for (int i = 0; i < FLAVOURS && found < 0; i++)
        if (strstr(text, flavours[i].says) != NULL)
            found = i;
    free(text);
    return found;
}

static hocket_status find_flavour(int *found)
{
    bool known, begun, started = false;
    int present = find_present(&known, &begun), by_launcher = -1;
    for (int i = FLAVOURS - 1; i >= 0; i--)
        if (launched(&flavours[i]))
            by_launcher = i;
    started = begun || by_launcher >= 0;
    *found = known ? present : by_launcher;
    if (!started)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "this process runs under no MPI: start the ranks with mpirun, or initialise "
                       "MPI before hocket");
    if (*found < 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "the MPI in this process is neither Open MPI nor MPICH");
    return HOCKET_OK;
}

/* === The module =============================================================================== */

static hocket_status load(const flavour *one, const hk_mpi_module **module)
{
    char path[PATH_MAX];
    if (!hk_plugin_path("HOCKET_MPI_LIB", one->file, path, sizeof path))
        return hk_fail(HOCKET_ERR_UNAVAILABLE, "the path of %s is too long or unknown", one->file);
    void *library = dlopen(path, one->how);
    entry symbol = {library != NULL ? dlsym(library, HK_MPI_SYMBOL) : NULL};
    if (symbol.symbol == NULL) {
        const char *reason = dlerror();
        hk_fail(HOCKET_ERR_UNAVAILABLE, "%s does not load: %s. It is built where %s is (make deps)",
                path, reason != NULL ? reason : "it is no module", one->name);
        if (library != NULL)
            dlclose(library);
        return HOCKET_ERR_UNAVAILABLE;
    }
    const hk_mpi_module *made = symbol.module(); /* it stays: MPI does */
    if (made->size != sizeof *made || strcmp(made->version, hocket_version()) != 0)
        return hk_fail(HOCKET_ERR_UNAVAILABLE,
                       "%s is not of this libhocket, which is %s; build both together", path,
                       hocket_version());
    *module = made;
    return HOCKET_OK;
}

static hocket_status get_module(const hk_mpi_module **module)
{
    int which;
    hocket_status status = find_flavour(&which);
    if (status != HOCKET_OK)
        return status;
    pthread_mutex_lock(&lock);
    if (loaded[which] == NULL)
        status = load(&flavours[which], &loaded[which]);
    *module = loaded[which];
    pthread_mutex_unlock(&lock);
    return status;
}

/* === The backend ============================================================================== */

static hocket_status available(const char *choice)
{
    (void)choice;
    const hk_mpi_module *module;
    return get_module(&module);
}

static hocket_status open_mpi(const hk_opening *opening, const hocket_transport **transport,
                              void **self)
{
    const hk_settings *settings = opening->settings;
    const hk_mpi_module *module;
    hocket_status status = get_module(&module);
    if (status != HOCKET_OK)
        return status;
    return module->open(settings->rank, settings->configured ? settings->world_size : 0, transport,
                        self);
}

const hk_backend hk_backend_mpi = {.name = "mpi", .available = available, .open = open_mpi};
