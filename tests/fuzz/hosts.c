/* --hostfile: MLX's launch hostfile and Open MPI's lines. */
#include "run/hosts.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hk_hosts hosts;
    char why[512] = "";
    if (!hk_hosts_parse((const char *)data, size, &hosts, why, sizeof why)) {
        FUZZ_CHECK(why[0] != '\0' && hosts.items == NULL && hosts.envs == NULL);
        return 0;
    }
    FUZZ_CHECK(hosts.count >= 1 && hosts.count <= HK_HOSTS_MAX);
    FUZZ_CHECK(hk_hosts_fill(&hosts, 0) >= hosts.count);
    for (int i = 0; i < hosts.count; i++) {
        const hk_host *host = &hosts.items[i];
        FUZZ_CHECK(host->name[0] != '\0' && host->name[0] != '-' && host->ranks >= 1);
        FUZZ_CHECK(host->ip_count >= 0 && host->ip_count <= HK_HOST_IPS_MAX);
        char address[HK_HOST_NAME_MAX + 8];
        hk_host_address(&hosts, i, address, sizeof address);
        FUZZ_CHECK(address[0] != '\0');
    }
    for (int i = 0; i < hosts.env_count; i++)
        FUZZ_CHECK(strchr(hosts.envs[i], '=') > hosts.envs[i]);
    hk_hosts_free(&hosts);
    return 0;
}
