/* The one symbol that libhocket looks up. */
#include "core/plugin.h"
#include "mlx/tables.h"

#define TEXT(number) #number
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

extern "C" HOCKET_API const hk_plugin *hocket_mlx_plugin(void)
{
    static const hk_plugin plugin = {
        .size = sizeof(hk_plugin),
        .version = VERSION(HOCKET_VERSION_MAJOR, HOCKET_VERSION_MINOR, HOCKET_VERSION_PATCH),
        .device = &hk::mlx_device,
        .transport = &hk::mlx_backend,
        .gguf = &hk::mlx_gguf,
    };
    return &plugin;
}
