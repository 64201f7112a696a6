#include "mlx_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

bool mlx_is_built(void)
{
    static const char *const files[] = {"libhocket-mlx.so", "libhocket-mlx.dylib"};
    const char *folder = getenv("HOCKET_BUILD_DIR");
    char path[4096];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/lib/%s", folder ? folder : "build", files[i]);
        if (access(path, R_OK) == 0)
            return true;
    }
    printf("skipped: there is no libhocket-mlx, since no MLX was found when this was built\n");
    return false;
}

void mlx_check_status(hocket_status status, const char *what, const char *file, int line)
{
    if (status == HOCKET_OK)
        return;
    print_error("%s: %s: %s\n", what, hocket_status_name(status), hocket_last_error());
    _assert_true(0, what, file, line);
}
