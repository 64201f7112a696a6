/* The words of HOCKET_FAULT, and what they ask of a rank's connections. */
#include "core/random.h"
#include "input.h"
#include "transport/wrap.h"

#include <hocket/hocket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    char *spec = fuzz_text(&input, '\0');
    int rank = (int)fuzz_number(&input, 2), peer = (int)fuzz_number(&input, 2);
    hk_stutter stutter = {.chance = 0}, again;
    hocket_status status = hk_fault_check(spec);
    FUZZ_CHECK(status == HOCKET_OK || status == HOCKET_ERR_INVALID);
    FUZZ_CHECK(status == HOCKET_OK || strlen(hocket_last_error()) > 0);
    FUZZ_CHECK(hk_fault_stutter(spec, rank, peer, &stutter) == status);
    FUZZ_CHECK(stutter.chance <= HK_MILLION);
    if (status == HOCKET_OK) {
        hk_fault_stutter(spec, rank, peer, &again);
        FUZZ_CHECK(again.chance == stutter.chance && again.random == stutter.random);
    }
    free(spec);
    return 0;
}
