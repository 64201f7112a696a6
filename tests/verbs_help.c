#include "verbs_help.h"

#include "harness.h"

#include <dirent.h>
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

void verbs_begin(const char *settings)
{
    char text[512];
    const char *build = getenv("HOCKET_BUILD_DIR");
    snprintf(folder, sizeof folder, "/tmp/hocket-verbs-XXXXXX");
    if (mkdtemp(folder) == NULL)
        harness_fail(__FILE__, __LINE__, "no folder like %s can be made", folder);
    snprintf(text, sizeof text, "%s/tests/libfake-verbs" SUFFIX, build != NULL ? build : "build");
    setenv("HOCKET_VERBS_LIBRARY", text, 1);
    snprintf(text, sizeof text, "dir=%s%s%s", folder, settings[0] != '\0' ? "," : "", settings);
    setenv("HOCKET_FAKE_VERBS", text, 1);
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
}
