/* The words of HOCKET_FAULT. */
#include "input.h"
#include "transport/wrap.h"

#include <hocket/hocket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    char *spec = fuzz_text(&input, '\0');
    hocket_status status = hk_fault_check(spec);
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID);
    FUZZ_CHECK(status == HOCKET_OK || strlen(hocket_last_error()) > 0);
    free(spec);
    return 0;
}
