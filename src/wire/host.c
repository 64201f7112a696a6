#include "wire/host.h"

#include <sodium.h>
#include <string.h>
#include <unistd.h>

void hk_host_id(const char *name, unsigned char id[HK_HOST_ID_BYTES])
{
    char boot[128], own[256] = "";
    hk_host_boot_id(boot, sizeof boot);
    /* The name too: containers share a boot, not what else makes a host. */
    if (gethostname(own, sizeof own - 1) != 0)
        own[0] = '\0';
    if (name[0] == '\0')
        name = own;
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, HK_HOST_ID_BYTES);
    crypto_generichash_update(&hash, (const unsigned char *)boot, strlen(boot) + 1);
    crypto_generichash_update(&hash, (const unsigned char *)name, strlen(name) + 1);
    crypto_generichash_final(&hash, id, HK_HOST_ID_BYTES);
}
