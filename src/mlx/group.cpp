#include "mlx/group.h"

#include <hocket/mlx.h>
#include <mlx/backend/cpu/encoder.h>

#include "mlx/collectives.h"
#include "mlx/engine.h"
#include "mlx/guard.h"

namespace hk
{
namespace
{

constexpr uint32_t kTag = 0; /* MLX's messages have none */

} // namespace

GroupInMlx::~GroupInMlx()
{
    if (owned_)
        hocket_free(group_);
}

/* Always the cpu: hocket's collectives work on host memory, which on Apple's machines is the
 * GPU's. */
mx::Stream GroupInMlx::communication_stream(mx::StreamOrDevice stream)
{
    return mx::to_stream(stream, mx::Device::cpu);
}

int GroupInMlx::rank()
{
    return hocket_rank(group_);
}

int GroupInMlx::size()
{
    return hocket_world_size(group_);
}

/* In MLX a negative key means the rank. */
std::shared_ptr<mx::distributed::detail::GroupImpl> GroupInMlx::split(int color, int key)
{
    hocket_group *subgroup = nullptr;
    check(hocket_split(group_, color, key < 0 ? rank() : key, &subgroup));
    if (subgroup == nullptr)
        throw Failure(HOCKET_ERR_INVALID, "split: MLX has no way to be in no group, so a color "
                                          "must not be negative");
    return std::make_shared<GroupInMlx>(subgroup, true);
}

void GroupInMlx::all_reduce(const mx::array &input, mx::array &output, mx::Stream stream,
                            hocket_reduce reduce)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    encoder.set_input_array(input);
    encoder.set_output_array(output);
    encoder.dispatch([group = group_, from = input.data<char>(), to = output.data<char>(),
                      count = input.size(), dtype = hocket_dtype_of(input.dtype()),
                      reduce] { check(hocket_all_reduce(group, from, to, count, dtype, reduce)); });
}

void GroupInMlx::all_sum(const mx::array &input, mx::array &output, mx::Stream stream)
{
    all_reduce(input, output, stream, HOCKET_SUM);
}

void GroupInMlx::all_max(const mx::array &input, mx::array &output, mx::Stream stream)
{
    all_reduce(input, output, stream, HOCKET_MAX);
}

void GroupInMlx::all_min(const mx::array &input, mx::array &output, mx::Stream stream)
{
    all_reduce(input, output, stream, HOCKET_MIN);
}

void GroupInMlx::all_gather(const mx::array &input, mx::array &output, mx::Stream stream)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    encoder.set_input_array(input);
    encoder.set_output_array(output);
    encoder.dispatch([group = group_, from = input.data<char>(), to = output.data<char>(),
                      count = input.size(), dtype = hocket_dtype_of(input.dtype())] {
        check(hocket_all_gather(group, from, to, count, dtype));
    });
}

void GroupInMlx::sum_scatter(const mx::array &input, mx::array &output, mx::Stream stream)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    encoder.set_input_array(input);
    encoder.set_output_array(output);
    encoder.dispatch([group = group_, from = input.data<char>(), to = output.data<char>(),
                      count = output.size(), dtype = hocket_dtype_of(input.dtype())] {
        check(hocket_reduce_scatter(group, from, to, count, dtype, HOCKET_SUM));
    });
}

void GroupInMlx::send(const mx::array &input, int to, mx::Stream stream)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    encoder.set_input_array(input);
    encoder.dispatch([group = group_, to, bytes = input.data<char>(), length = input.nbytes()] {
        check(hocket_send_bytes(group, to, kTag, bytes, length));
    });
}

void GroupInMlx::recv(mx::array &output, int from, mx::Stream stream)
{
    mx::cpu::CommandEncoder &encoder = mx::cpu::get_command_encoder(stream);
    encoder.set_output_array(output);
    encoder.dispatch(
        [group = group_, from, buffer = output.data<char>(), capacity = output.nbytes()] {
            receive_exactly(group, from, kTag, buffer, capacity);
        });
}

} // namespace hk

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
        *mlx_group = engine ? new Group(engine->group)
                            : new Group(std::make_shared<hk::GroupInMlx>(group, false));
    });
}

void hocket_mlx_group_free(void *mlx_group)
{
    delete static_cast<hk::mx::distributed::Group *>(mlx_group);
}
