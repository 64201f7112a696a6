/* Headers of GGUF files. */
#include "graph/gguf.h"
#include "input.h"

#include <unistd.h>

enum { PATH_BYTES = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) {
        FILE *file = tmpfile();
        FUZZ_CHECK(file != NULL && (fd = dup(fileno(file))) >= 0);
        fclose(file);
    }
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    FUZZ_CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    hocket_status status = hk_gguf_check(path);
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID ||
               status == HOCKET_ERR_UNSUPPORTED || status == HOCKET_ERR_NO_MEMORY);
    return 0;
}
