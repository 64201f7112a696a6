/* hocket for C++ programs on MLX: groups for MLX's own operations, and hocket's operations on MLX's
 * arrays, lazy like MLX's and with gradients. C++20; link libhocket and libmlx.
 *
 *     #include <hocket/mlx.hpp>
 *     #include <iostream>
 *     namespace mx = mlx::core;
 *
 *     int main()
 *     try {
 *         hocket_group *world;
 *         hocket::mlx::check(hocket_init(nullptr, &world));
 *         auto group = hocket::mlx::owned(world);
 *
 *         // Any of MLX's operations, and all that is built on them.
 *         mx::array total = mx::distributed::all_sum(mx::array({1.0f, 2.0f}),
 *                                                    hocket::mlx::group(group));
 *         // hocket's own, in a function that is differentiated.
 *         auto loss = [&](const mx::array &w) {
 *             return mx::sum(mx::square(hocket::mlx::all_reduce(w, group, HOCKET_MEAN)));
 *         };
 *         std::cout << total << mx::grad(loss)(mx::array({3.0f, 4.0f})) << "\n";
 *     } catch (const std::exception &failure) {
 *         std::cerr << failure.what() << "\n";
 *         return 1;
 *     }
 *
 * Groups. Wherever a group is wanted (GroupRef), there may be a hocket_group *, which stays the
 * caller's and must live until all that was composed with it has been evaluated or is gone; a
 * std::shared_ptr<hocket_group>, which is held as long as that (owned makes one); or an MLX group
 * that came from hocket::mlx::group or a split of such a one. An MLX group holds a shared pointer
 * likewise, and its splits are groups of their own that free themselves: all of them may go in any
 * order. In MLX's split no color may be negative. MLX's messages go under tag 0.
 *
 * Shapes. n is the group's size. Ranks call with the same shapes, dtypes and arguments; an axis may
 * be negative. all_gather makes an axis n times as long (a scalar becomes [n]); reduce_scatter cuts
 * one into n blocks and leaves block r of the result on rank r; all_to_all cuts one into n blocks
 * and puts those that it got together along the same one. All others give x's shape. Results are
 * hocket.h's: of max and min, of bools, of halves, and the same bits on every rank.
 *
 * Laziness. Composing communicates nothing, evaluating does it once, and no two operations are ever
 * merged. An input that nobody else needs is reduced in place. The work is done on a cpu stream
 * (one of the GPU that is asked for is replaced by this thread's default cpu stream).
 *
 * Order. Ranks must run the collectives of a group in the same order, and the two ends of a message
 * what comes before it. MLX evaluates equal graphs in equal order; where ranks compose different
 * ones, or evaluate them piece by piece, say what comes first: Options::after is an array, usually
 * the result of the operation before, that is evaluated before this one. Backwards, the derivative
 * of what came first comes last. Two messages to one rank under one tag need an order, too.
 *
 * Errors. A wrong argument throws Error where it is composed. What goes wrong later comes out of
 * eval (or whatever waits) as a std::runtime_error with hocket's sentence; error_of finds status
 * and ranks of either. The process and other groups live on; the group is as hocket.h says. After a
 * failure the rest of that evaluation fails, too.
 *
 * Threads. MLX ties streams, and so lazy arrays, to the thread that composed them. Ranks that are
 * threads of one process each compose and evaluate their own.
 *
 * Transforms. mx::vmap, mx::compile (shapeless too), mx::checkpoint and MLX's other transforms take
 * all of these. vmap makes one operation of all that is mapped, as soon as anything is that it
 * depends on: map alike on all ranks.
 *
 * Gradients. A cotangent is the derivative of the sum, over all ranks, of what each computes:
 *
 *     operation               cotangent of x (c: that of the result), and jvp
 *     all_reduce sum, mean    the same of c; the same of the tangents
 *     all_reduce max, min     the sum of all c on the ranks that hold the extreme value, shared
 *                             equally among ties, so that the shares add up to that sum (a NaN
 *                             holds a NaN); the mean of the holders' tangents
 *     all_reduce prod         the sum of all c, times the other ranks' product (zeros are fine; it
 *                             gathers x); not of complex numbers
 *     reduce_to               the same with root's c for the sum of all c
 *     reduce_scatter          the same with all ranks' c, block by block, for the sum
 *     all_gather              the sums of all ranks' c for the own block
 *     broadcast               on root the sum of all c, 0 elsewhere
 *     all_to_all              all_to_all of c
 *     permute                 permute of c by the inverse
 *     send                    c and what comes from the receiver, added up
 *     recv                    none; its c is sent to the sender
 *
 * jvp of those without a word on it is the same operation on the tangents. They can be
 * differentiated again. A reduction of the user's has no derivative: HOCKET_ERR_UNSUPPORTED.
 *
 * The gradient of an operation is an operation of all its ranks: each must differentiate through
 * it, and evaluate what comes of it. So use a result that only some ranks need on the others, too
 * (times 0 will do), let x depend on what is differentiated on every rank, and let the result of
 * send, which is x, be part of the loss. A recv has no x: MLX differentiates it where it comes
 * after something that is differentiated, as recv_like does. Messages that carry derivatives have
 * tags from 2^28 to 2^31: of what is differentiated keep yours below, and differentiate it at most
 * three times over.
 *
 * MLX's own operations on hocket::mlx::group keep MLX's gradients, which are others: that of
 * all_sum, for one, is c as it is, as if only this rank's loss counted.
 *
 * Versions. MLX's interfaces for such code change from version to version, so this compiles with
 * those it was tested with and refuses others; hocket::mlx::group throws where the MLX that runs is
 * another than the one it was compiled with. Everything here is inline, and the version of hocket
 * is part of its names, so libraries of one process may have different ones. */
#ifndef HOCKET_MLX_HPP
#define HOCKET_MLX_HPP

#include <mlx/version.h>

#define HOCKET_MLX_OLDEST 32002 /* the first where a stream can be asked for its failure */
#define HOCKET_MLX_NEWEST 32004
#if !defined(MLX_VERSION_NUMERIC) || MLX_VERSION_NUMERIC < HOCKET_MLX_OLDEST ||                    \
    MLX_VERSION_NUMERIC > HOCKET_MLX_NEWEST
#error "hocket/mlx.hpp was tested with MLX 0.32.2 to 0.32.4; this is another version of MLX"
#else

#include <hocket/mlx/error.hpp>
#include <hocket/mlx/group.hpp>
#include <hocket/mlx/primitive.hpp>

namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE
{

struct Options {
    std::optional<mx::array> after = std::nullopt; /* is evaluated before this operation */
    mx::StreamOrDevice stream = {};                /* of the cpu; this thread's default */
};

namespace detail
{

inline mx::array composed(Call call, const mx::array &x, const Options &options)
{
    std::vector<mx::array> after;
    if (options.after)
        after.push_back(*options.after);
    return compose(std::move(call), x, std::move(after), cpu_stream(options.stream));
}

/* x cut into blocks along axis, ready for a call; axis becomes positive. */
inline mx::array in_blocks(const char *what, const mx::array &x, const GroupRef &group, int &axis,
                           const Options &options)
{
    axis = axis_of(what, x, axis);
    return part_blocks(x, axis, group.size(), cpu_stream(options.stream));
}

inline int checked_rank(const char *what, const GroupRef &group, int rank)
{
    if (rank < 0 || rank >= group.size())
        throw Error(HOCKET_ERR_INVALID, std::string(what) + ": there is no rank " +
                                            std::to_string(rank) + " in a group of " +
                                            std::to_string(group.size()));
    return rank;
}

} // namespace detail

inline mx::array all_reduce(const mx::array &x, const GroupRef &group,
                            hocket_reduce reduce = HOCKET_SUM, const Options &options = {})
{
    return detail::composed({detail::Kind::all_reduce, group.pointer(), reduce}, x, options);
}

/* The reduction on root, zeros elsewhere. */
inline mx::array reduce_to(const mx::array &x, const GroupRef &group, int root,
                           hocket_reduce reduce = HOCKET_SUM, const Options &options = {})
{
    detail::checked_rank("reduce_to", group, root);
    return detail::composed({detail::Kind::reduce_to, group.pointer(), reduce, root}, x, options);
}

inline mx::array all_gather(const mx::array &x, const GroupRef &group, int axis = 0,
                            const Options &options = {})
{
    if (x.ndim() > 0 || axis != 0) /* scalars are put side by side */
        axis = detail::axis_of("all_gather", x, axis);
    mx::array blocks = detail::composed({detail::Kind::all_gather, group.pointer()}, x, options);
    return detail::join_blocks(blocks, axis, detail::cpu_stream(options.stream));
}

/* HOCKET_ERR_INVALID where n does not divide the axis. */
inline mx::array reduce_scatter(const mx::array &x, const GroupRef &group, int axis = 0,
                                hocket_reduce reduce = HOCKET_SUM, const Options &options = {})
{
    mx::array blocks = detail::in_blocks("reduce_scatter", x, group, axis, options);
    return detail::composed({detail::Kind::reduce_scatter, group.pointer(), reduce}, blocks,
                            options);
}

/* root's x; the others' x has its shape and dtype. */
inline mx::array broadcast(const mx::array &x, const GroupRef &group, int root,
                           const Options &options = {})
{
    detail::checked_rank("broadcast", group, root);
    return detail::composed({detail::Kind::broadcast, group.pointer(), HOCKET_SUM, root}, x,
                            options);
}

/* HOCKET_ERR_INVALID where n does not divide the axis. */
inline mx::array all_to_all(const mx::array &x, const GroupRef &group, int axis = 0,
                            const Options &options = {})
{
    mx::array blocks = detail::in_blocks("all_to_all", x, group, axis, options);
    blocks = detail::composed({detail::Kind::all_to_all, group.pointer()}, blocks, options);
    return detail::join_blocks(blocks, axis, detail::cpu_stream(options.stream));
}

/* x of rank r goes to rank to[r], or nowhere where that is -1; who gets none gets zeros. */
inline mx::array permute(const mx::array &x, const GroupRef &group, std::vector<int> to,
                         const Options &options = {})
{
    if (to.size() != static_cast<size_t>(group.size()))
        throw Error(HOCKET_ERR_INVALID, "permute: to has " + std::to_string(to.size()) +
                                            " entries, the group " + std::to_string(group.size()) +
                                            " ranks");
    detail::Call call{detail::Kind::permute, group.pointer()};
    call.to = std::move(to);
    return detail::composed(std::move(call), x, options);
}

/* Sends x and gives it back: evaluate that, and put it into the loss. */
inline mx::array send(const mx::array &x, const GroupRef &group, int to, uint32_t tag = 0,
                      const Options &options = {})
{
    detail::checked_rank("send", group, to);
    return detail::composed({detail::Kind::send, group.pointer(), HOCKET_SUM, to, tag}, x, options);
}

/* A message of exactly this shape and dtype; another length is HOCKET_ERR_MISMATCH, or, where it is
 * longer, HOCKET_ERR_INVALID. */
inline mx::array recv(mx::Shape shape, mx::Dtype dtype, const GroupRef &group, int from,
                      uint32_t tag = 0, const Options &options = {})
{
    detail::checked_rank("recv", group, from);
    detail::Call call{detail::Kind::recv, group.pointer(), HOCKET_SUM, from, tag};
    call.shape = std::move(shape);
    call.dtype = dtype;
    std::vector<mx::array> after;
    if (options.after)
        after.push_back(*options.after);
    return detail::compose(std::move(call), std::nullopt, std::move(after),
                           detail::cpu_stream(options.stream));
}

/* One of x's shape and dtype, once x has been evaluated. */
inline mx::array recv_like(const mx::array &x, const GroupRef &group, int from, uint32_t tag = 0,
                           const Options &options = {})
{
    mx::Stream stream = detail::cpu_stream(options.stream);
    mx::array after = options.after ? detail::ordered(x, {*options.after}, stream) : x;
    return recv(x.shape(), x.dtype(), group, from, tag, {after, stream});
}

} // namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE

#endif /* the version */
#endif
