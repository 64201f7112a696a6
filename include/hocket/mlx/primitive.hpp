/* The primitive behind each of hocket's operations on MLX's arrays, and its derivatives. A part of
 * hocket/mlx.hpp, which is the manual. */
#ifndef HOCKET_MLX_PRIMITIVE_HPP
#define HOCKET_MLX_PRIMITIVE_HPP

#include <hocket/mlx/group.hpp>

#include <mlx/primitives.h>

#include <atomic>
#include <cstring>

namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE::detail
{

/* === Axes =====================================================================================
 *
 * Groups gather and scatter blocks, which lie along an axis in front: all_gather gives [n, ...],
 * reduce_scatter takes it, all_to_all both. */

inline std::vector<int> moved(size_t dimensions, int from, int to)
{
    std::vector<int> axes;
    for (size_t i = 0; i < dimensions; i++)
        axes.push_back(static_cast<int>(i));
    axes.erase(axes.begin() + from);
    axes.insert(axes.begin() + to, from);
    return axes;
}

/* [n, ..., d, ...] to [..., n * d, ...]. A scalar of each becomes [n]. */
inline mx::array join_blocks(mx::array blocks, int axis, mx::Stream stream)
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
inline mx::array part_blocks(mx::array x, int axis, int n, mx::Stream stream)
{
    mx::Shape shape = x.shape();
    auto at = shape.begin() + axis;
    if (*at % n != 0)
        throw Error(HOCKET_ERR_INVALID, "axis " + std::to_string(axis) + " has " +
                                            std::to_string(*at) + " elements, which " +
                                            std::to_string(n) + " ranks do not divide");
    *at /= n;
    shape.insert(at, n);
    return mx::transpose(mx::reshape(x, shape, stream), moved(shape.size(), axis, 0), stream);
}

/* The axis counted from the first. */
inline int axis_of(const char *what, const mx::array &x, int axis)
{
    const int dimensions = static_cast<int>(x.ndim());
    if (axis < -dimensions || axis >= dimensions)
        throw Error(HOCKET_ERR_INVALID, std::string(what) + ": axis is " + std::to_string(axis) +
                                            ", x has " + std::to_string(dimensions) +
                                            " dimensions");
    return axis < 0 ? axis + dimensions : axis;
}

/* === Calls ==================================================================================== */

enum class Kind {
    all_reduce,
    reduce_to,
    all_gather,
    reduce_scatter,
    broadcast,
    all_to_all,
    permute,
    send,
    recv
};

/* Above so many bits of a tag lies which differentiations made the message (see derived). */
constexpr int kTagBits = 28, kDifferentiations = 3;

/* What an operation needs to know besides its input. */
struct Call {
    Kind kind;
    std::shared_ptr<hocket_group> group;
    hocket_reduce reduce = HOCKET_SUM;
    int peer = 0;            /* root, or the other side of a message */
    uint32_t tag = 0;        /* of a message */
    uint32_t derivative = 0; /* which differentiations made this message, one bit each */
    /* How often it was differentiated itself. */
    std::shared_ptr<std::atomic<int>> differentiated = std::make_shared<std::atomic<int>>(0);
    std::vector<int> to = {};      /* of permute */
    mx::Shape shape = {};          /* of recv */
    mx::Dtype dtype = mx::float32; /* of recv */

    int size() const
    {
        return hocket_world_size(group.get());
    }
    uint32_t tag_on_the_way() const
    {
        return derivative << kTagBits | tag;
    }
    bool has_input() const
    {
        return kind != Kind::recv;
    }
    bool reduces() const
    {
        return kind == Kind::all_reduce || kind == Kind::reduce_to || kind == Kind::reduce_scatter;
    }
    /* Whether its tangent is the same operation on the tangent of its input. */
    bool linear() const
    {
        return !reduces() || reduce == HOCKET_SUM || reduce == HOCKET_MEAN;
    }
    Call as(Kind other, hocket_reduce other_reduce = HOCKET_SUM) const
    {
        Call call = *this;
        call.kind = other;
        call.reduce = other_reduce;
        return call;
    }
    mx::Shape output_shape(const mx::Shape &input) const;
};

inline mx::Shape Call::output_shape(const mx::Shape &input) const
{
    if (kind == Kind::recv)
        return shape;
    mx::Shape output = input;
    if (kind == Kind::all_gather)
        output.insert(output.begin(), size());
    if (kind == Kind::reduce_scatter)
        output.erase(output.begin());
    return output;
}

/* === Order ==================================================================================== */

inline mx::array ordered(mx::array x, std::vector<mx::array> after, mx::Stream stream);

/* inputs[0] itself, once the others have been evaluated. So it is with derivatives: those of the
 * others are 0, but what they came of backwards comes after this, and forwards before it. */
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
    std::vector<mx::Shape> output_shapes(const std::vector<mx::array> &inputs) override
    {
        return {inputs[0].shape()};
    }
    std::vector<mx::array> vjp(const std::vector<mx::array> &primals,
                               const std::vector<mx::array> &cotangents,
                               const std::vector<int> &argnums,
                               const std::vector<mx::array> &) override
    {
        std::vector<mx::array> found;
        for (int i : argnums)
            found.push_back(i == 0 ? cotangents[0]
                                   : zero_after(primals[static_cast<size_t>(i)], cotangents));
        return found;
    }
    std::vector<mx::array> jvp(const std::vector<mx::array> &primals,
                               const std::vector<mx::array> &tangents,
                               const std::vector<int> &argnums) override
    {
        if (argnums[0] != 0)
            return {zero_after(primals[0], tangents)};
        return {ordered(tangents[0], {tangents.begin() + 1, tangents.end()}, stream())};
    }
    std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array> &inputs,
                                                             const std::vector<int> &axes) override;

private:
    mx::array zero_after(const mx::array &like, const std::vector<mx::array> &after)
    {
        return ordered(mx::zeros_like(like, stream()), after, stream());
    }
};

inline mx::array ordered(mx::array x, std::vector<mx::array> after, mx::Stream stream)
{
    if (after.empty())
        return x;
    mx::Shape shape = x.shape();
    mx::Dtype dtype = x.dtype();
    after.insert(after.begin(), std::move(x));
    return mx::array(std::move(shape), dtype, std::make_shared<Ordered>(stream), std::move(after));
}

/* How many vmap has of whatever is mapped. */
inline mx::ShapeElem mapped_size(const std::vector<mx::array> &inputs, const std::vector<int> &axes)
{
    for (size_t i = 0; i < inputs.size(); i++)
        if (axes[i] >= 0)
            return inputs[i].shape(axes[i]);
    return 1;
}

/* inputs[0] with the mapped axis in front; repeated along it where only others are mapped. */
inline mx::array mapped_in_front(const std::vector<mx::array> &inputs, const std::vector<int> &axes,
                                 mx::Stream stream)
{
    if (axes[0] >= 0)
        return mx::moveaxis(inputs[0], axes[0], 0, stream);
    mx::Shape shape = inputs[0].shape();
    shape.insert(shape.begin(), mapped_size(inputs, axes));
    return mx::broadcast_to(mx::expand_dims(inputs[0], 0, stream), shape, stream);
}

inline std::pair<std::vector<mx::array>, std::vector<int>> Ordered::vmap(
    const std::vector<mx::array> &inputs, const std::vector<int> &axes)
{
    mx::array x = mapped_in_front(inputs, axes, stream());
    return {{ordered(x, {inputs.begin() + 1, inputs.end()}, stream())}, {0}};
}

/* === The primitive ============================================================================ */

/* What runs on MLX's thread. Pointers are to arrays that MLX keeps until it has run. */
struct Work {
    std::shared_ptr<const Call> call;
    hocket_dtype dtype;
    const void *from;
    void *to;
    size_t from_count, to_count, item;

    void operator()() const;
};

inline void Work::operator()() const
{
    hocket_group *group = call->group.get();
    const bool is_root = hocket_rank(group) == call->peer;
    switch (call->kind) {
    case Kind::all_reduce:
        return check(hocket_all_reduce(group, from, to, to_count, dtype, call->reduce));
    case Kind::reduce_to:
        check(hocket_reduce_to(group, from, to, to_count, dtype, call->reduce, call->peer));
        if (!is_root && to_count > 0)
            memset(to, 0, to_count * item);
        return;
    case Kind::all_gather: return check(hocket_all_gather(group, from, to, from_count, dtype));
    case Kind::reduce_scatter:
        return check(hocket_reduce_scatter(group, from, to, to_count, dtype, call->reduce));
    case Kind::broadcast:
        if (from != to && is_root && to_count > 0)
            memcpy(to, from, to_count * item);
        return check(hocket_broadcast(group, to, to_count, dtype, call->peer));
    case Kind::all_to_all: {
        const size_t ranks = static_cast<size_t>(call->size());
        return check(hocket_all_to_all(group, from, to, to_count / ranks, dtype));
    }
    case Kind::permute:
        return check(hocket_permute(group, from, to, to_count, dtype, call->to.data()));
    case Kind::send:
        return check(
            hocket_send_bytes(group, call->peer, call->tag_on_the_way(), from, from_count * item));
    case Kind::recv:
        return receive_exactly(group, call->peer, call->tag_on_the_way(), to, to_count * item);
    }
}

/* Inputs: x (of recv none), then what goes before it. x is row-contiguous. MLX never merges two of
 * these, however alike: is_equivalent stays false. */
class Collective : public mx::UnaryPrimitive
{
public:
    Collective(mx::Stream stream, std::shared_ptr<const Call> call)
        : UnaryPrimitive(stream), call_(std::move(call))
    {
    }

    const char *name() const override;
    void eval_cpu(const std::vector<mx::array> &inputs, mx::array &output) override;
    void eval_gpu(const std::vector<mx::array> &, mx::array &) override
    {
        throw Error(HOCKET_ERR_UNSUPPORTED, std::string(name()) + " runs on MLX's cpu stream");
    }
    std::vector<mx::Shape> output_shapes(const std::vector<mx::array> &inputs) override
    {
        return {call_->has_input() ? call_->output_shape(inputs[0].shape()) : call_->shape};
    }
    std::vector<mx::array> vjp(const std::vector<mx::array> &primals,
                               const std::vector<mx::array> &cotangents,
                               const std::vector<int> &argnums,
                               const std::vector<mx::array> &outputs) override;
    std::vector<mx::array> jvp(const std::vector<mx::array> &primals,
                               const std::vector<mx::array> &tangents,
                               const std::vector<int> &argnums) override;
    std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array> &inputs,
                                                             const std::vector<int> &axes) override;

private:
    bool shares(const mx::array &x) const;
    mx::array scaled(const mx::array &x, const mx::array &y, const mx::array &v);
    mx::array carried_back(const std::vector<mx::array> &primals, const mx::array &cotangent,
                           const mx::array &y);

    std::shared_ptr<const Call> call_;
};

inline const char *Collective::name() const
{
    switch (call_->kind) {
    case Kind::all_reduce: return "HocketAllReduce";
    case Kind::reduce_to: return "HocketReduceTo";
    case Kind::all_gather: return "HocketAllGather";
    case Kind::reduce_scatter: return "HocketReduceScatter";
    case Kind::broadcast: return "HocketBroadcast";
    case Kind::all_to_all: return "HocketAllToAll";
    case Kind::permute: return "HocketPermute";
    case Kind::send: return "HocketSend";
    case Kind::recv: return "HocketRecv";
    }
    return "Hocket";
}

/* Whether the output may lie in x's memory: a send changes nothing, the others want it to be
 * nobody else's. */
inline bool Collective::shares(const mx::array &x) const
{
    switch (call_->kind) {
    case Kind::send: return true;
    case Kind::all_gather:
    case Kind::reduce_scatter: return false;
    default: return x.is_donatable();
    }
}

inline void Collective::eval_cpu(const std::vector<mx::array> &inputs, mx::array &output)
{
    const mx::array *x = call_->has_input() ? &inputs[0] : nullptr;
    if (x != nullptr && shares(*x))
        output.copy_shared_buffer(*x);
    else
        output.set_data(mx::allocator::malloc(output.nbytes()));
    enqueue(stream(), x, &output,
            Work{call_, dtype_of(output.dtype()), x ? x->data<char>() : nullptr,
                 output.data<char>(), x ? x->size() : 0, output.size(), output.itemsize()});
}

/* The lazy array of a call: x (of recv none), and what goes before it. */
inline mx::array compose(Call call, const std::optional<mx::array> &x, std::vector<mx::array> after,
                         mx::Stream stream)
{
    mx::Shape shape = call.output_shape(x ? x->shape() : mx::Shape{});
    mx::Dtype dtype = x ? x->dtype() : call.dtype;
    if (x) /* a view of it where it is contiguous already */
        after.insert(after.begin(), mx::contiguous(*x, false, stream));
    auto shared = std::make_shared<const Call>(std::move(call));
    return mx::array(std::move(shape), dtype, std::make_shared<Collective>(stream, shared),
                     std::move(after));
}

/* === Derivatives ==============================================================================
 *
 * What a reduction does to a small change of x is, element by element, a factor: 1 for a sum, 1/n
 * for a mean, of a maximum a rank's share among those that hold it, of a product the product of the
 * others' values. So the tangent is the sum over ranks of factor times tangent, and the cotangent
 * of x is the factor times what the cotangents of y come to where x went. */

/* Messages that carry derivatives have tags of their own, or one could be taken for another that is
 * under way beside it. Each differentiation of a graph, vjp or jvp, goes over all that is in it by
 * then, also over what earlier ones have put there; so a message is known by the set of those that
 * made it what it is. Three of them have a bit above the tag, and then it begins anew: what a
 * compiled function holds may be differentiated without end, by one after the other. */
inline Call derived(Call call)
{
    if (call.kind != Kind::send && call.kind != Kind::recv)
        return call;
    if (call.tag >> kTagBits != 0)
        throw Error(HOCKET_ERR_INVALID, "the tag of a message that is differentiated must be below "
                                        "2^28, and this one is " +
                                            std::to_string(call.tag));
    int made_by = 0; /* the last one that it comes of, or 0 for what was there before all */
    for (int i = 0; i < kDifferentiations; i++)
        if (call.derivative & 1u << i)
            made_by = i + 1;
    call.derivative |= 1u << (made_by + call.differentiated->fetch_add(1)) % kDifferentiations;
    call.differentiated = std::make_shared<std::atomic<int>>(0);
    return call;
}

/* The product of all ranks' x but the own. */
inline mx::array product_of_others(const Call &call, const mx::array &x, const mx::array &after,
                                   mx::Stream stream)
{
    if (x.dtype() == mx::complex64)
        throw Error(HOCKET_ERR_UNSUPPORTED, "a product of complex numbers has no derivative here");
    mx::array all = compose(call.as(Kind::all_gather), x, {after}, stream);
    std::vector<int> others;
    for (int rank = 0; rank < call.size(); rank++)
        if (rank != hocket_rank(call.group.get()))
            others.push_back(rank);
    if (others.empty())
        return mx::ones_like(x, stream);
    mx::array which(others.begin(), {static_cast<int>(others.size())}, mx::int32);
    return mx::prod(mx::take(all, which, 0, stream), 0, false, stream);
}

/* v, where x holds the extreme value y, divided by the number of ranks that do. */
inline mx::array shared_among_holders(const Call &call, mx::array x, mx::array y,
                                      const mx::array &v, const mx::array &after, mx::Stream stream)
{
    x = mx::stop_gradient(x, stream);
    y = mx::stop_gradient(y, stream);
    mx::array both_nan = mx::logical_and(mx::isnan(x, stream), mx::isnan(y, stream), stream);
    mx::array holds = mx::logical_or(mx::equal(x, y, stream), both_nan, stream);
    mx::array holders =
        compose(call.as(Kind::all_reduce), mx::astype(holds, v.dtype(), stream), {after}, stream);
    return mx::where(holds, mx::divide(v, holders, stream), mx::zeros_like(v, stream), stream);
}

/* factor times v. Of max and min, y is the extreme value where x is. */
inline mx::array Collective::scaled(const mx::array &x, const mx::array &y, const mx::array &v)
{
    mx::array after = mx::stop_gradient(v, stream());
    switch (call_->reduce) {
    case HOCKET_SUM: return v;
    case HOCKET_MEAN:
        return mx::divide(v, mx::array(static_cast<float>(call_->size()), v.dtype()), stream());
    case HOCKET_MAX:
    case HOCKET_MIN: return shared_among_holders(*call_, x, y, v, after, stream());
    case HOCKET_PROD:
        return mx::multiply(v, product_of_others(*call_, x, after, stream()), stream());
    default: break;
    }
    throw Error(HOCKET_ERR_UNSUPPORTED, "a reduction of your own has no derivative");
}

/* Where each rank's block goes back to. */
inline std::vector<int> inverse(const std::vector<int> &to)
{
    std::vector<int> from(to.size(), -1);
    for (size_t rank = 0; rank < to.size(); rank++)
        if (to[rank] >= 0 && to[rank] < static_cast<int>(to.size()))
            from[static_cast<size_t>(to[rank])] = static_cast<int>(rank);
    return from;
}

/* The cotangent of x. Of messages it also comes after what the message came after, so that vmap
 * maps both or none. */
inline mx::array Collective::carried_back(const std::vector<mx::array> &primals,
                                          const mx::array &cotangent, const mx::array &y)
{
    auto run = [this](const Call &call, const mx::array &x) {
        return compose(call, x, {}, stream());
    };
    /* What a reduction gave lies elsewhere, or is cut up; its factors and cotangents are wanted
     * where, and in the shape that, x is. */
    auto reduction = [&](Kind way_back) {
        const bool extreme = call_->reduce == HOCKET_MAX || call_->reduce == HOCKET_MIN;
        mx::array all = run(call_->as(way_back), cotangent);
        mx::array there = !extreme || way_back == Kind::all_reduce
                              ? y
                              : compose(call_->as(way_back), mx::stop_gradient(y, stream()),
                                        {mx::stop_gradient(all, stream())}, stream());
        return scaled(primals[0], there, all);
    };
    Call call = derived(*call_);
    switch (call.kind) {
    case Kind::all_reduce:
        return call.linear() ? run(call, cotangent) : reduction(Kind::all_reduce);
    case Kind::reduce_to: return reduction(Kind::broadcast);
    case Kind::reduce_scatter: return reduction(Kind::all_gather);
    case Kind::all_gather: return run(call.as(Kind::reduce_scatter), cotangent);
    case Kind::broadcast: return run(call.as(Kind::reduce_to), cotangent);
    case Kind::permute: call.to = inverse(call.to); [[fallthrough]];
    case Kind::all_to_all: return run(call, cotangent);
    case Kind::send: {
        call.kind = Kind::recv;
        call.shape = cotangent.shape();
        call.dtype = cotangent.dtype();
        std::vector<mx::array> after = primals;
        after.push_back(cotangent);
        return mx::add(cotangent, compose(call, std::nullopt, after, stream()), stream());
    }
    case Kind::recv: call.kind = Kind::send; break;
    }
    return compose(call, cotangent, primals, stream());
}

/* What went before this in the forward direction goes after it backwards: its cotangent is 0, once
 * this one has been carried back. It is carried back whichever derivatives were asked for on this
 * rank, since the others may want theirs. */
inline std::vector<mx::array> Collective::vjp(const std::vector<mx::array> &primals,
                                              const std::vector<mx::array> &cotangents,
                                              const std::vector<int> &argnums,
                                              const std::vector<mx::array> &outputs)
{
    mx::array back = carried_back(primals, cotangents[0], outputs[0]);
    std::vector<mx::array> found;
    for (int i : argnums) {
        if (i == 0 && call_->has_input())
            found.push_back(back);
        else
            found.push_back(ordered(mx::zeros_like(primals[static_cast<size_t>(i)], stream()),
                                    {back}, stream()));
    }
    return found;
}

inline std::vector<mx::array> Collective::jvp(const std::vector<mx::array> &primals,
                                              const std::vector<mx::array> &tangents,
                                              const std::vector<int> &argnums)
{
    const size_t first = call_->has_input() ? 1 : 0;
    std::optional<mx::array> t;
    std::vector<mx::array> after(primals.begin() + static_cast<long>(first), primals.end());
    for (size_t i = 0; i < argnums.size(); i++) {
        const size_t which = static_cast<size_t>(argnums[i]);
        if (which >= first)
            after[which - first] = tangents[i];
        else
            t = tangents[i];
    }
    if (call_->has_input() && !t)
        t = mx::zeros_like(primals[0], stream());
    Call call = derived(*call_);
    if (call.linear())
        return {compose(call, t, after, stream())};

    /* y again, since MLX does not hand it over, and where x is. */
    const mx::array &x = primals[0];
    mx::array y = compose(call.as(Kind::all_reduce, call.reduce), mx::stop_gradient(x, stream()),
                          after, stream());
    mx::array changes = scaled(x, y, ordered(*t, {y}, stream()));
    return {compose(call.as(call.kind), changes, {}, stream())};
}

/* One operation on all that is mapped, as soon as anything is that this one depends on. */
inline std::pair<std::vector<mx::array>, std::vector<int>> Collective::vmap(
    const std::vector<mx::array> &inputs, const std::vector<int> &axes)
{
    Call call = *call_;
    if (!call.has_input()) {
        call.shape.insert(call.shape.begin(), mapped_size(inputs, axes));
        return {{compose(call, std::nullopt, inputs, stream())}, {0}};
    }
    mx::array x = mapped_in_front(inputs, axes, stream());
    const std::vector<mx::array> after(inputs.begin() + 1, inputs.end());
    /* What is mapped lies within the blocks. */
    if (call.kind == Kind::reduce_scatter || call.kind == Kind::all_to_all)
        x = mx::moveaxis(x, 0, 1, stream());
    const bool in_blocks = call.kind == Kind::all_gather || call.kind == Kind::all_to_all;
    return {{compose(call, x, after, stream())}, {in_blocks ? 1 : 0}};
}

} // namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE::detail

#endif
