/* The collectives of a graph that MLX's own transports have ops for. Over these it is MLX's op;
 * over a transport of hocket's, or where MLX has none, it is that of hocket/mlx.hpp. */
#ifndef HK_MLX_COLLECTIVES_H
#define HK_MLX_COLLECTIVES_H

#include "mlx/lanes.h"

#include <optional>

namespace hk
{

/* What a collective of a graph needs to know besides its input. after is the collective that goes
 * before this one in the graph: whatever is evaluated first, the two run in the graph's order. */
struct Collective {
    hocket_group *group;
    hocket_reduce reduce = HOCKET_SUM;
    int axis = 0; /* of all_gather and reduce_scatter, not negative */
    std::optional<mx::array> after;

    hocket::mlx::Options options() const
    {
        return {after, lane().cpu};
    }
};

mx::array compose_all_reduce(const Collective &collective, const mx::array &x);
mx::array compose_all_gather(const Collective &collective, const mx::array &x);
mx::array compose_reduce_scatter(const Collective &collective, const mx::array &x);

} // namespace hk

#endif
