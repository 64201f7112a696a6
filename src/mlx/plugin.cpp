/* The one symbol that libhocket looks up. */
#include "core/plugin.h"
#include "mlx/tables.h"

#include <mlx/device.h>
#include <mlx/version.h>
#include <string>

#define TEXT(number) #number
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

namespace
{

const char *describe()
{
    static const std::string text = [] {
        const char *where = mlx::core::default_device() == mlx::core::Device::gpu ? "gpu" : "cpu";
        return std::string(mlx::core::version()) + ", computes on the " + where;
    }();
    return text.c_str();
}

} // namespace

extern "C" HOCKET_API const hk_plugin *hocket_mlx_plugin(void)
{
    static const hk_plugin plugin = {
        .size = sizeof(hk_plugin),
        .version = VERSION(HOCKET_VERSION_MAJOR, HOCKET_VERSION_MINOR, HOCKET_VERSION_PATCH),
        .device = &hk::mlx_device,
        .transport = &hk::mlx_backend,
        .gguf = &hk::mlx_gguf,
        .describe = describe,
    };
    return &plugin;
}
