#include "mlx/collectives.h"

#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>
#include <mlx/scheduler.h>

#include <cstring>

#include "mlx/engine.h"
#include "mlx/guard.h"

namespace hk
{
namespace
{

/* === Order ==================================================================================== */

/* x itself, once `after` has been evaluated. */
class Ordered : public mx::UnaryPrimitive
{
public:
    using UnaryPrimitive::UnaryPrimitive;
    const char *name() const override
    {
        return "HocketOrdered";
    }
    void eval_cpu(const std::vector<mx::array> &inputs, mx::array &output) override
    {
        output.copy_shared_buffer(inputs[0]);
    }
    void eval_gpu(const std::vector<mx::array> &inputs, mx::array &output) override
    {
        output.copy_shared_buffer(inputs[0]);
    }
};

mx::array ordered(mx::array x, After after, mx::Stream stream)
{
    if (!after)
        return x;
    mx::Shape shape = x.shape();
    mx::Dtype dtype = x.dtype();
    return mx::array(std::move(shape), dtype, std::make_shared<Ordered>(stream),
                     {std::move(x), *after});
}

/* === Our primitive ============================================================================ */

enum class Kind { all_reduce, all_gather, reduce_scatter, broadcast, permute, send, recv };

/* What runs on MLX's thread. Pointers are to arrays that MLX keeps until it has run. */
struct Work {
    Kind kind;
    Collective with;
    hocket_dtype dtype;
    const void *from;
    void *to;
    size_t from_count, to_count, item;

    hocket_status run() const
    {
        switch (kind) {
        case Kind::all_reduce:
            return hocket_all_reduce(with.group, from, to, to_count, dtype, with.reduce);
        case Kind::all_gather: return hocket_all_gather(with.group, from, to, from_count, dtype);
        case Kind::reduce_scatter:
            return hocket_reduce_scatter(with.group, from, to, to_count, dtype, with.reduce);
        case Kind::broadcast:
            if (from != to && hocket_rank(with.group) == with.peer && to_count > 0)
                memcpy(to, from, to_count * item);
            return hocket_broadcast(with.group, to, to_count, dtype, with.peer);
        case Kind::permute:
            return hocket_permute(with.group, from, to, to_count, dtype, with.to.data());
        case Kind::send:
            return hocket_send_bytes(with.group, with.peer, with.tag, from, from_count * item);
        case Kind::recv: receive_exactly(with.group, with.peer, with.tag, to, to_count * item);
        }
        return HOCKET_OK;
    }
};

/* Inputs: x (of recv none), then what goes before it. x is row-contiguous. MLX never merges two of
 * these, however alike: is_equivalent stays false. */
class HocketPrimitive : public mx::UnaryPrimitive
{
public:
    HocketPrimitive(mx::Stream stream, Kind kind, Collective with)
        : UnaryPrimitive(stream), kind_(kind), with_(std::move(with))
    {
    }

    const char *name() const override;
    void eval_cpu(const std::vector<mx::array> &inputs, mx::array &output) override;
    void eval_gpu(const std::vector<mx::array> &, mx::array &) override
    {
        throw Failure(HOCKET_ERR_UNSUPPORTED, std::string(name()) + " runs on MLX's cpu stream");
    }

private:
    bool shares(const mx::array &x) const;

    Kind kind_;
    Collective with_;
};

const char *HocketPrimitive::name() const
{
    switch (kind_) {
    case Kind::all_reduce: return "HocketAllReduce";
    case Kind::all_gather: return "HocketAllGather";
    case Kind::reduce_scatter: return "HocketReduceScatter";
    case Kind::broadcast: return "HocketBroadcast";
    case Kind::permute: return "HocketPermute";
    case Kind::send: return "HocketSend";
    case Kind::recv: return "HocketRecv";
    }
    return "Hocket";
}

/* Whether the output may lie in x's memory: a send changes nothing, the others want it to be
 * nobody else's. */
bool HocketPrimitive::shares(const mx::array &x) const
{
    switch (kind_) {
    case Kind::send: return true;
    case Kind::all_reduce:
    case Kind::broadcast:
    case Kind::permute: return x.is_donatable();
    default: return false;
    }
}

void HocketPrimitive::eval_cpu(const std::vector<mx::array> &inputs, mx::array &output)
{
    const mx::array *x = kind_ == Kind::recv ? nullptr : &inputs[0];
    if (x != nullptr && shares(*x))
        output.copy_shared_buffer(*x);
    else
        output.set_data(mx::allocator::malloc(output.nbytes()));

    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream());
    if (x != nullptr)
        encoder.set_input_array(*x);
    encoder.set_output_array(output);
    Work work{kind_,
              with_,
              hocket_dtype_of(output.dtype()),
              x ? x->data<char>() : nullptr,
              output.data<char>(),
              x ? x->size() : 0,
              output.size(),
              output.itemsize()};
    /* MLX goes on after a failure; ranks must not, or they would run different collectives. */
    encoder.dispatch([work = std::move(work), stream = stream()] {
        mx::scheduler::check_error(stream);
        check(work.run());
    });
}

mx::array compose(Kind kind, const Collective &with, mx::array x, mx::Shape shape, After after)
{
    mx::Stream stream = lane().cpu;
    mx::Dtype dtype = x.dtype();
    /* A view of x where it is contiguous already. */
    std::vector<mx::array> inputs{mx::contiguous(x, false, stream)};
    if (after)
        inputs.push_back(*after);
    return mx::array(std::move(shape), dtype, std::make_shared<HocketPrimitive>(stream, kind, with),
                     std::move(inputs));
}

/* === Axes =====================================================================================
 *
 * Groups gather and scatter blocks, which lie along an axis in front. */

std::vector<int> moved(size_t dimensions, int from, int to)
{
    std::vector<int> axes;
    for (size_t i = 0; i < dimensions; i++)
        axes.push_back(static_cast<int>(i));
    axes.erase(axes.begin() + from);
    axes.insert(axes.begin() + to, from);
    return axes;
}

/* [n, ..., d, ...] to [..., n * d, ...]. A scalar of each becomes [n]. */
mx::array join_blocks(mx::array blocks, int axis, mx::Stream stream)
{
    if (blocks.ndim() == 1)
        return blocks;
    mx::Shape shape(blocks.shape().begin() + 1, blocks.shape().end());
    shape[static_cast<size_t>(axis)] *= blocks.shape(0);
    if (axis > 0)
        blocks = mx::transpose(blocks, moved(blocks.ndim(), 0, axis), stream);
    return mx::reshape(blocks, shape, stream);
}

/* [..., n * d, ...] to [n, ..., d, ...]. */
mx::array part_blocks(mx::array x, int axis, int n, mx::Stream stream)
{
    mx::Shape shape = x.shape();
    auto at = shape.begin() + axis;
    if (*at % n != 0)
        throw Failure(HOCKET_ERR_INVALID, "axis " + std::to_string(axis) + " has " +
                                              std::to_string(*at) + " elements, which " +
                                              std::to_string(n) + " ranks do not divide");
    *at /= n;
    shape.insert(at, n);
    return mx::transpose(mx::reshape(x, shape, stream), moved(shape.size(), axis, 0), stream);
}

/* === Over MLX's own transports ================================================================ */

mx::array mlx_all_reduce(const Engine &engine, hocket_reduce reduce, mx::array x)
{
    mx::Stream stream = engine.stream(lane());
    switch (reduce) {
    case HOCKET_MAX: return mx::distributed::all_max(x, engine.group, stream);
    case HOCKET_MIN: return mx::distributed::all_min(x, engine.group, stream);
    case HOCKET_MEAN:
        return mx::divide(mx::distributed::all_sum(x, engine.group, stream),
                          mx::array(static_cast<float>(engine.group.size()), x.dtype()), stream);
    default: return mx::distributed::all_sum(x, engine.group, stream);
    }
}

} // namespace

mx::array compose_all_reduce(const Collective &collective, mx::array x, After after)
{
    std::optional<Engine> engine = engine_of(collective.group);
    if (engine && collective.reduce != HOCKET_PROD && engine->reduces(x.dtype())) {
        watch_evaluations();
        return mlx_all_reduce(*engine, collective.reduce,
                              ordered(std::move(x), after, engine->stream(lane())));
    }
    mx::Shape shape = x.shape();
    return compose(Kind::all_reduce, collective, std::move(x), std::move(shape), after);
}

mx::array compose_all_gather(const Collective &collective, mx::array x, After after)
{
    mx::Stream stream = lane().cpu;
    mx::Shape shape = x.shape();
    shape.insert(shape.begin(), hocket_world_size(collective.group));
    std::optional<Engine> engine = engine_of(collective.group);
    if (engine && engine->gathers(x.dtype())) {
        watch_evaluations();
        stream = engine->stream(lane());
        x = ordered(mx::expand_dims(x, 0, stream), after, stream);
        x = mx::distributed::all_gather(x, engine->group, stream);
    } else {
        x = compose(Kind::all_gather, collective, std::move(x), std::move(shape), after);
    }
    return join_blocks(std::move(x), collective.axis, stream);
}

mx::array compose_reduce_scatter(const Collective &collective, mx::array x, After after)
{
    mx::Stream stream = lane().cpu;
    int n = hocket_world_size(collective.group);
    x = part_blocks(std::move(x), collective.axis, n, stream);
    mx::Shape shape(x.shape().begin() + 1, x.shape().end());
    std::optional<Engine> engine = engine_of(collective.group);
    if (engine && collective.reduce == HOCKET_SUM && engine->scatters() &&
        engine->reduces(x.dtype())) {
        watch_evaluations();
        stream = engine->stream(lane());
        x = ordered(std::move(x), after, stream);
        return mx::reshape(mx::distributed::sum_scatter(x, engine->group, stream), shape, stream);
    }
    return compose(Kind::reduce_scatter, collective, std::move(x), std::move(shape), after);
}

mx::array compose_broadcast(const Collective &collective, mx::array x, After after)
{
    mx::Shape shape = x.shape();
    return compose(Kind::broadcast, collective, std::move(x), std::move(shape), after);
}

mx::array compose_permute(const Collective &collective, mx::array x, After after)
{
    mx::Shape shape = x.shape();
    return compose(Kind::permute, collective, std::move(x), std::move(shape), after);
}

mx::array compose_send(const Collective &collective, mx::array x, After after)
{
    mx::Shape shape = x.shape();
    return compose(Kind::send, collective, std::move(x), std::move(shape), after);
}

mx::array compose_recv(const Collective &collective, const hocket_type &type, After after)
{
    std::vector<mx::array> inputs;
    if (after)
        inputs.push_back(*after);
    auto primitive = std::make_shared<HocketPrimitive>(lane().cpu, Kind::recv, collective);
    return mx::array(mlx_shape(type), mlx_dtype(type.dtype), primitive, std::move(inputs));
}

void receive_exactly(hocket_group *group, int from, uint32_t tag, void *buffer, size_t length)
{
    size_t received = 0;
    hocket_status status = hocket_recv_into(group, from, tag, buffer, length, &received);
    if (status == HOCKET_OK && received != length)
        status = hocket_transport_error(HOCKET_ERR_MISMATCH,
                                        "rank %d sent %zu bytes under tag %u where this rank "
                                        "receives %zu",
                                        from, received, static_cast<unsigned>(tag), length);
    check(status);
}

} // namespace hk
