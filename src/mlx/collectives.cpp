#include "mlx/collectives.h"

#include "mlx/engine.h"

namespace hk
{
namespace
{

/* x for an op of MLX's, in its place in the graph's order. */
mx::array in_order(const Collective &collective, const mx::array &x, mx::Stream stream)
{
    watch_evaluations();
    if (!collective.after)
        return x;
    return hocket::mlx::detail::ordered(x, {*collective.after}, stream);
}

mx::array mlx_all_reduce(const Engine &engine, const Collective &collective, mx::array x)
{
    mx::Stream stream = engine.stream(lane());
    x = in_order(collective, x, stream);
    switch (collective.reduce) {
    case HOCKET_MAX: return mx::distributed::all_max(x, engine.group, stream);
    case HOCKET_MIN: return mx::distributed::all_min(x, engine.group, stream);
    case HOCKET_MEAN:
        return mx::divide(mx::distributed::all_sum(x, engine.group, stream),
                          mx::array(static_cast<float>(engine.group.size()), x.dtype()), stream);
    default: return mx::distributed::all_sum(x, engine.group, stream);
    }
}

} // namespace

mx::array compose_all_reduce(const Collective &collective, const mx::array &x)
{
    std::optional<Engine> engine = engine_of(collective.group);
    if (engine && collective.reduce != HOCKET_PROD && engine->reduces(x.dtype()))
        return mlx_all_reduce(*engine, collective, x);
    return hocket::mlx::all_reduce(x, collective.group, collective.reduce, collective.options());
}

mx::array compose_all_gather(const Collective &collective, const mx::array &x)
{
    std::optional<Engine> engine = engine_of(collective.group);
    if (!engine || !engine->gathers(x.dtype()))
        return hocket::mlx::all_gather(x, collective.group, collective.axis, collective.options());
    mx::Stream stream = engine->stream(lane());
    mx::array blocks = in_order(collective, mx::expand_dims(x, 0, stream), stream);
    blocks = mx::distributed::all_gather(blocks, engine->group, stream);
    return hocket::mlx::detail::join_blocks(blocks, collective.axis, stream);
}

mx::array compose_reduce_scatter(const Collective &collective, const mx::array &x)
{
    std::optional<Engine> engine = engine_of(collective.group);
    if (!engine || collective.reduce != HOCKET_SUM || !engine->scatters() ||
        !engine->reduces(x.dtype()))
        return hocket::mlx::reduce_scatter(x, collective.group, collective.axis, collective.reduce,
                                           collective.options());
    mx::Stream stream = engine->stream(lane());
    mx::array blocks =
        hocket::mlx::detail::part_blocks(x, collective.axis, hocket_world_size(collective.group),
                                         lane().cpu);
    mx::Shape shape(blocks.shape().begin() + 1, blocks.shape().end());
    blocks = in_order(collective, blocks, stream);
    return mx::reshape(mx::distributed::sum_scatter(blocks, engine->group, stream), shape, stream);
}

} // namespace hk
