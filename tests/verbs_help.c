#include "verbs_help.h"

#include <dirent.h>
#include <dlfcn.h>
#include <unistd.h>

#ifdef __APPLE__
#define SUFFIX ".dylib"
#else
#define SUFFIX ".so"
#endif

static char folder[64];

const char *verbs_folder(void)
{
    return folder;
}

bool verbs_are_real(void)
{
    return getenv("HOCKET_TEST_DEVICES") != NULL;
}

const char *verbs_device(int i)
{
    static char names[HARNESS_RANKS_MAX][24];
    const char *real = getenv("HOCKET_TEST_DEVICES");
    for (int skipped = 0; real != NULL && skipped < i; skipped++) {
        real += strcspn(real, ",");
        real += real[0] == ',';
    }
    if (real != NULL && real[0] == '\0')
        harness_fail(__FILE__, __LINE__, "HOCKET_TEST_DEVICES names fewer than %d devices", i + 1);
    if (real != NULL)
        snprintf(names[i], sizeof names[i], "%.*s", (int)strcspn(real, ","), real);
    else
        snprintf(names[i], sizeof names[i], "fake%d", i);
    return names[i];
}

void verbs_begin(const char *settings)
{
    char text[512];
    const char *build = getenv("HOCKET_BUILD_DIR");
    snprintf(folder, sizeof folder, "/tmp/hocket-verbs-XXXXXX");
    if (mkdtemp(folder) == NULL)
        harness_fail(__FILE__, __LINE__, "no folder like %s can be made", folder);
    if (verbs_are_real())
        return;
    snprintf(text, sizeof text, "%s/tests/libfake-verbs" SUFFIX, build != NULL ? build : "build");
    setenv("HOCKET_VERBS_LIBRARY", text, 1);
    snprintf(text, sizeof text, "dir=%s%s%s", folder, settings[0] != '\0' ? "," : "", settings);
    setenv("HOCKET_FAKE_VERBS", text, 1);
}

void verbs_own_devices(int size)
{
    verbs_own_wires(size, 1);
}

static void put_cell(FILE *file, int first, int wires)
{
    for (int i = 0; i < wires; i++)
        fprintf(file, "%s\"%s\"", i == 0 ? "[" : ", ", verbs_device(first + i));
    fputs("]", file);
}

void verbs_own_wires(int size, int wires)
{
    char path[sizeof folder + 16];
    snprintf(path, sizeof path, "%s/matrix", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        harness_fail(__FILE__, __LINE__, "%s cannot be written", path);
    for (int row = 0; row < size; row++) {
        fputs(row == 0 ? "[[" : "], [", file);
        for (int column = 0; column < size; column++) {
            fputs(column > 0 ? ", " : "", file);
            if (column == row)
                fputs("null", file);
            else
                put_cell(file, row * wires, wires);
        }
    }
    fputs("]]\n", file);
    fclose(file);
    setenv("HOCKET_VERBS_DEVICES", path, 1);
}

void verbs_begin_uc(int size, const char *settings)
{
    verbs_begin(settings);
    verbs_own_devices(size);
    setenv("HOCKET_VERBS_KIND", "uc", 1);
}

void verbs_counts_of(int i, unsigned long counts[FAKE_COUNTS])
{
    fake_counts_fn *count = NULL;
    void *library = dlopen(getenv("HOCKET_VERBS_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "fake_counts") : NULL;
    if (symbol == NULL)
        harness_fail(__FILE__, __LINE__, "the tests' own libibverbs does not count");
    memcpy(&count, &symbol, sizeof symbol);
    count(i, counts);
    dlclose(library);
}

void verbs_end(void)
{
    DIR *open = opendir(folder);
    struct dirent *entry;
    char path[sizeof folder + 256];
    while (open != NULL && (entry = readdir(open)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (open != NULL)
        closedir(open);
    rmdir(folder);
    unsetenv("HOCKET_VERBS_LIBRARY");
    unsetenv("HOCKET_FAKE_VERBS");
    unsetenv("HOCKET_VERBS_DEVICES");
    unsetenv("HOCKET_VERBS_KIND");
}

/* === Variants ================================================================================= */

static void *begin_rc(int size)
{
    verbs_begin("");
    verbs_own_devices(size);
    return NULL;
}

static void *begin_wires(int size)
{
    char names[64];
    (void)size;
    verbs_begin("");
    snprintf(names, sizeof names, "%s,%s", verbs_device(0), verbs_device(1));
    setenv("HOCKET_VERBS_DEVICES", names, 1);
    return NULL;
}

static void *begin_uc(int size)
{
    verbs_begin_uc(size, "");
    return NULL;
}

static void *begin_lossy(int size)
{
    verbs_begin_uc(size, "loss=2,seed=9");
    return NULL;
}

static void *begin_apple(int size)
{
    verbs_begin("apple");
    setenv("HOCKET_VERBS_PROFILE", "apple", 1);
    verbs_own_devices(size);
    return NULL;
}

static void *begin_sealed(int size)
{
    setenv("HOCKET_ENCRYPT", "1", 1);
    setenv("HOCKET_FAULT", "seed=6,short=0.1", 1);
    return begin_rc(size);
}

static void *begin_ring(int size)
{
    setenv("HOCKET_VERBS_RING", "1", 1);
    return begin_rc(size);
}

static void end(void *arena)
{
    (void)arena;
    verbs_end();
    unsetenv("HOCKET_VERBS_PROFILE");
    unsetenv("HOCKET_VERBS_RING");
    unsetenv("HOCKET_ENCRYPT");
    unsetenv("HOCKET_FAULT");
}

static hocket_status open_jaccl(struct member *me, hocket_group **world)
{
    hocket_config config = member_config(me);
    config.backend = "jaccl";
    return hocket_init(&config, world);
}

#define VARIANT(of, says, duplicate)                                                               \
    {                                                                                              \
        .name = says, .variant = #of, .begin = begin_##of, .end = end, .open = open_jaccl,         \
        .duplicates = duplicate                                                                    \
    }

static const struct harness_backend variants[] = {
    VARIANT(rc, "jaccl", true),    VARIANT(wires, "jaccl", true),
    VARIANT(uc, "jaccl", true),    VARIANT(apple, "jaccl", true),
    VARIANT(ring, "jaccl", true),  VARIANT(sealed, "fault(jaccl)", false),
    VARIANT(lossy, "jaccl", true),
};

const struct harness_backend *const verbs_backends[] = {&variants[0], &variants[1], &variants[2],
                                                        &variants[3], &variants[4], &variants[5],
                                                        &variants[6], NULL};

const struct harness_backend *verbs_variant(const char *name)
{
    for (int i = 0; verbs_backends[i] != NULL; i++)
        if (strcmp(verbs_backends[i]->variant, name) == 0)
            return verbs_backends[i];
    return NULL;
}
