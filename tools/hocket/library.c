#include "library.h"

#include "platform.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hk_library_own(char *path, size_t size)
{
    Dl_info info;
    char real[PATH_MAX];
    void *symbol = dlsym(RTLD_DEFAULT, "hocket_version");
    bool found = symbol && dladdr(symbol, &info) && info.dli_fname;
    snprintf(path, size, "%s",
             !found                           ? ""
             : realpath(info.dli_fname, real) ? real
                                              : info.dli_fname);
}

bool hk_library_beside(const char *name, char *path, size_t size)
{
    char own[PATH_MAX];
    hk_library_own(own, sizeof own);
    const char *slash = strrchr(own, '/');
    int folder = slash ? (int)(slash - own) + 1 : 0;
    return (size_t)snprintf(path, size, "%.*s%s%s", folder, own, name, hk_library_suffix) < size;
}
