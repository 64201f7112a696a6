/* Groups of hocket's for MLX: who owns them, and as MLX's own kind of group. A part of
 * hocket/mlx.hpp, which is the manual. */
#ifndef HOCKET_MLX_GROUP_HPP
#define HOCKET_MLX_GROUP_HPP

#include <hocket/mlx/error.hpp>

#include <mlx/backend/cpu/encoder.h>
#include <mlx/distributed/distributed_impl.h>
#include <mlx/mlx.h>
#include <mlx/scheduler.h>
#include <mlx/version.h>

#include <memory>
#include <string>
#include <utility>

namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE
{

namespace mx = ::mlx::core;

/* The dtype's number in hocket. Throws HOCKET_ERR_UNSUPPORTED for one that hocket has not. */
inline hocket_dtype dtype_of(mx::Dtype dtype)
{
    switch (dtype.val()) {
    case mx::Dtype::Val::bool_: return HOCKET_BOOL;
    case mx::Dtype::Val::int8: return HOCKET_INT8;
    case mx::Dtype::Val::int16: return HOCKET_INT16;
    case mx::Dtype::Val::int32: return HOCKET_INT32;
    case mx::Dtype::Val::int64: return HOCKET_INT64;
    case mx::Dtype::Val::uint8: return HOCKET_UINT8;
    case mx::Dtype::Val::uint16: return HOCKET_UINT16;
    case mx::Dtype::Val::uint32: return HOCKET_UINT32;
    case mx::Dtype::Val::uint64: return HOCKET_UINT64;
    case mx::Dtype::Val::float16: return HOCKET_FLOAT16;
    case mx::Dtype::Val::bfloat16: return HOCKET_BFLOAT16;
    case mx::Dtype::Val::float32: return HOCKET_FLOAT32;
    case mx::Dtype::Val::float64: return HOCKET_FLOAT64;
    case mx::Dtype::Val::complex64: return HOCKET_COMPLEX64;
    }
    throw Error(HOCKET_ERR_UNSUPPORTED, "this version of MLX has a dtype that hocket has not");
}

namespace detail
{

/* hocket's work is on host memory (on Apple's machines that is the GPU's too), so it goes to a
 * stream of the cpu, whatever was asked for. */
inline mx::Stream cpu_stream(mx::StreamOrDevice asked)
{
    mx::Stream stream = mx::to_stream(asked, mx::Device::cpu);
    return stream.device == mx::Device::cpu ? stream : mx::default_stream(mx::Device::cpu);
}

/* Lets work run on MLX's thread, where it throws what fails. input and output may be NULL; MLX
 * keeps their memory until it has run. MLX goes on after a failure; ranks must not, or they would
 * run different collectives. */
template <typename Work>
void enqueue(mx::Stream stream, const mx::array *input, mx::array *output, Work work)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    if (input != nullptr)
        encoder.set_input_array(*input);
    if (output != nullptr)
        encoder.set_output_array(*output);
    encoder.dispatch([work = std::move(work), stream] {
        mx::scheduler::check_error(stream);
        work();
    });
}

/* Receives a message that must have exactly this length. */
inline void receive_exactly(hocket_group *group, int from, uint32_t tag, void *buffer,
                            size_t length)
{
    size_t received = 0;
    check(hocket_recv_into(group, from, tag, buffer, length, &received));
    if (received != length)
        fail(Error(HOCKET_ERR_MISMATCH,
                   "rank " + std::to_string(from) + " sent " + std::to_string(received) +
                       " bytes under tag " + std::to_string(tag) + " where this rank receives " +
                       std::to_string(length),
                   {from}));
}

/* MLX's interface of a group, over one of hocket's. */
class Bridge : public mx::distributed::detail::GroupImpl
{
public:
    explicit Bridge(std::shared_ptr<hocket_group> group) : group_(std::move(group))
    {
    }
    const std::shared_ptr<hocket_group> &group() const
    {
        return group_;
    }

    mx::Stream communication_stream(mx::StreamOrDevice stream) override
    {
        return cpu_stream(stream);
    }
    int rank() override
    {
        return hocket_rank(group_.get());
    }
    int size() override
    {
        return hocket_world_size(group_.get());
    }
    std::shared_ptr<GroupImpl> split(int color, int key) override;

    void all_sum(const mx::array &input, mx::array &output, mx::Stream stream) override
    {
        all_reduce(input, output, stream, HOCKET_SUM);
    }
    void all_max(const mx::array &input, mx::array &output, mx::Stream stream) override
    {
        all_reduce(input, output, stream, HOCKET_MAX);
    }
    void all_min(const mx::array &input, mx::array &output, mx::Stream stream) override
    {
        all_reduce(input, output, stream, HOCKET_MIN);
    }
    void all_gather(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void sum_scatter(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void send(const mx::array &input, int to, mx::Stream stream) override;
    void recv(mx::array &output, int from, mx::Stream stream) override;

private:
    void all_reduce(const mx::array &input, mx::array &output, mx::Stream stream,
                    hocket_reduce reduce);

    std::shared_ptr<hocket_group> group_;
};

/* In MLX a negative key means the rank. */
inline std::shared_ptr<mx::distributed::detail::GroupImpl> Bridge::split(int color, int key)
{
    hocket_group *subgroup = nullptr;
    check(hocket_split(group_.get(), color, key < 0 ? rank() : key, &subgroup));
    if (subgroup == nullptr)
        throw Error(HOCKET_ERR_INVALID, "split: MLX has no way to be in no group, so a color must "
                                        "not be negative");
    return std::make_shared<Bridge>(std::shared_ptr<hocket_group>(subgroup, hocket_free));
}

/* The lambdas hold the group: whoever asked may have let go of it before MLX's thread is there. */
inline void Bridge::all_reduce(const mx::array &input, mx::array &output, mx::Stream stream,
                               hocket_reduce reduce)
{
    enqueue(stream, &input, &output,
            [group = group_, from = input.data<char>(), to = output.data<char>(),
             count = input.size(), dtype = dtype_of(input.dtype()),
             reduce] { check(hocket_all_reduce(group.get(), from, to, count, dtype, reduce)); });
}

inline void Bridge::all_gather(const mx::array &input, mx::array &output, mx::Stream stream)
{
    enqueue(stream, &input, &output,
            [group = group_, from = input.data<char>(), to = output.data<char>(),
             count = input.size(), dtype = dtype_of(input.dtype())] {
                check(hocket_all_gather(group.get(), from, to, count, dtype));
            });
}

inline void Bridge::sum_scatter(const mx::array &input, mx::array &output, mx::Stream stream)
{
    enqueue(stream, &input, &output,
            [group = group_, from = input.data<char>(), to = output.data<char>(),
             count = output.size(), dtype = dtype_of(input.dtype())] {
                check(hocket_reduce_scatter(group.get(), from, to, count, dtype, HOCKET_SUM));
            });
}

constexpr uint32_t kTagOfMlx = 0; /* MLX's messages have none */

inline void Bridge::send(const mx::array &input, int to, mx::Stream stream)
{
    enqueue(stream, &input, nullptr,
            [group = group_, to, bytes = input.data<char>(), length = input.nbytes()] {
                check(hocket_send_bytes(group.get(), to, kTagOfMlx, bytes, length));
            });
}

inline void Bridge::recv(mx::array &output, int from, mx::Stream stream)
{
    enqueue(stream, nullptr, &output,
            [group = group_, from, buffer = output.data<char>(), length = output.nbytes()] {
                receive_exactly(group.get(), from, kTagOfMlx, buffer, length);
            });
}

/* The headers that this was compiled with and the library that runs must be the same: GroupImpl has
 * gained functions between versions of MLX. A version in development has more behind the numbers.
 */
inline void check_version(const std::string &compiled, const std::string &runs)
{
    const bool same = runs.compare(0, compiled.size(), compiled) == 0;
    if (!same || runs.find_first_of("0123456789", compiled.size()) == compiled.size())
        throw Error(HOCKET_ERR_UNAVAILABLE, "hocket/mlx.hpp was compiled with MLX " + compiled +
                                                " and runs with " + runs +
                                                "; compile again with this one");
}

} // namespace detail

/* A group in an argument. Of a hocket_group * whoever calls stays the owner: it must live until all
 * that was composed with it is evaluated or gone. A shared pointer is held as long as that. An MLX
 * group must be one of hocket::mlx::group or a split of it. */
class GroupRef
{
public:
    GroupRef(hocket_group *group) : group_(std::shared_ptr<void>(), group)
    {
        check_there();
    }
    GroupRef(std::shared_ptr<hocket_group> group) : group_(std::move(group))
    {
        check_there();
    }
    GroupRef(const mx::distributed::Group &group)
    {
        auto bridge = dynamic_cast<detail::Bridge *>(group.raw_group().get());
        if (bridge == nullptr)
            throw Error(HOCKET_ERR_INVALID, "this MLX group is not one of hocket's");
        group_ = bridge->group();
    }
    const std::shared_ptr<hocket_group> &pointer() const
    {
        return group_;
    }
    hocket_group *get() const
    {
        return group_.get();
    }
    int rank() const
    {
        return hocket_rank(get());
    }
    int size() const
    {
        return hocket_world_size(get());
    }

private:
    void check_there() const
    {
        if (group_ == nullptr)
            throw Error(HOCKET_ERR_INVALID, "the group is NULL");
    }

    std::shared_ptr<hocket_group> group_;
};

/* A group that frees itself when nobody needs it any more. */
inline std::shared_ptr<hocket_group> owned(hocket_group *group)
{
    return std::shared_ptr<hocket_group>(group, hocket_free);
}

/* The same group for MLX's operations and everything built on them. Throws HOCKET_ERR_UNAVAILABLE
 * where another MLX runs than this was compiled with. */
inline mx::distributed::Group group(const GroupRef &group)
{
    detail::check_version(std::to_string(MLX_VERSION_MAJOR) + "." +
                              std::to_string(MLX_VERSION_MINOR) + "." +
                              std::to_string(MLX_VERSION_PATCH),
                          mx::version());
    return mx::distributed::Group(std::make_shared<detail::Bridge>(group.pointer()));
}

} // namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE

#endif
