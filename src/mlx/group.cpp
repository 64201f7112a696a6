/* hocket_mlx_group: what hocket/mlx.hpp has for C++, by C's names. */
#include <hocket/mlx.h>

#include "mlx/engine.h"
#include "mlx/guard.h"

hocket_status hocket_mlx_group(hocket_group *group, void **mlx_group)
{
    using hk::mx::distributed::Group;
    if (mlx_group == nullptr)
        return hocket_transport_error(HOCKET_ERR_INVALID, "hocket_mlx_group: mlx_group is NULL");
    *mlx_group = nullptr;
    if (group == nullptr)
        return hocket_transport_error(HOCKET_ERR_INVALID, "hocket_mlx_group: group is NULL");
    return hk::guard("hocket_mlx_group", [&] {
        std::optional<hk::Engine> engine = hk::engine_of(group);
        *mlx_group = new Group(engine ? engine->group : hocket::mlx::group(group));
    });
}

void hocket_mlx_group_free(void *mlx_group)
{
    delete static_cast<hk::mx::distributed::Group *>(mlx_group);
}
