/* libhocket-mlx that does not load: the reason is told, and nothing else stops working. Each case
 * is a process of its own, since the answer is kept. */
#include "core/plugin.h"
#include "core/status.h"

#include <hocket/graph.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Whether asking for the device gives UNAVAILABLE and these words, twice, and the cpu still works.
 */
static bool is_refused(const char *library, const char *words)
{
    float one = 1;
    setenv("HOCKET_MLX_LIB", library, 1);
    for (int i = 0; i < 2; i++) {
        hocket_tensor *tensor;
        hk_fail(HOCKET_OK, "something else");
        hocket_status status =
            hocket_tensor_create("mlx", HOCKET_FLOAT32, 0, NULL, &one, &tensor);
        if (status != HOCKET_ERR_UNAVAILABLE || tensor || !strstr(hocket_last_error(), words) ||
            !strstr(hocket_last_error(), "device 'mlx': ")) {
            fprintf(stderr, "%s: '%s' lacks '%s'\n", hocket_status_name(status),
                    hocket_last_error(), words);
            return false;
        }
        if (hocket_tensor_create("cpu", HOCKET_FLOAT32, 0, NULL, &one, &tensor) != HOCKET_OK)
            return false;
        hocket_tensor_free(tensor);
    }
    return true;
}

static void refused_in_its_own_process(const char *library, const char *words)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        _exit(is_refused(library, words) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_missing_library_is_unavailable_with_its_path(void **state)
{
    (void)state;
    refused_in_its_own_process("/nowhere/libhocket-mlx.so", "/nowhere/libhocket-mlx.so");
}

static void a_path_too_long_is_unavailable(void **state)
{
    (void)state;
    static char path[8192];
    memset(path, 'x', sizeof path - 1);
    refused_in_its_own_process(path, "is too long or unknown");
}

static void another_library_lacks_the_symbol(void **state)
{
    (void)state;
#ifdef __APPLE__
    refused_in_its_own_process("libSystem.dylib", "hocket_mlx_plugin");
#else
    refused_in_its_own_process("libm.so.6", "hocket_mlx_plugin");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_library_is_unavailable_with_its_path),
        cmocka_unit_test(a_path_too_long_is_unavailable),
        cmocka_unit_test(another_library_lacks_the_symbol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
