/* MLX's ring hostfiles. */
#include "core/hostfile.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hk_hostfile hostfile;
    hocket_status status = hk_hostfile_parse((const char *)data, size, "fuzz", &hostfile);
    if (status != HOCKET_OK) {
        FUZZ_CHECK(status == HOCKET_ERR_INVALID || status == HOCKET_ERR_NO_MEMORY);
        FUZZ_CHECK(hostfile.ranks == NULL && hostfile.rank_count == 0);
        return 0;
    }
    FUZZ_CHECK(hostfile.rank_count >= 1 && hostfile.rank_count <= HK_HOSTFILE_RANKS_MAX);
    for (int r = 0; r < hostfile.rank_count; r++) {
        const hk_hostfile_rank *rank = &hostfile.ranks[r];
        FUZZ_CHECK(rank->address_count >= 1 && rank->address_count <= HK_HOSTFILE_ADDRESSES_MAX);
        for (int i = 0; i < rank->address_count; i++) {
            FUZZ_CHECK(strchr(rank->addresses[i], ':') != NULL);
            FUZZ_CHECK(strlen(rank->addresses[i]) < HK_HOSTFILE_TEXT_MAX);
        }
    }
    hk_hostfile_close(&hostfile);
    return 0;
}
