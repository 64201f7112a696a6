/* A hocket group as MLX's own kind of group, for MLX's ops and everything built on them. */
#ifndef HK_MLX_GROUP_H
#define HK_MLX_GROUP_H

#include "mlx/types.h"

#include <mlx/distributed/distributed_impl.h>

namespace hk
{

/* Over a group of the caller's, or, where owned, over one that is freed with this. Errors of the
 * group are thrown on MLX's thread and come out of eval. Messages go under tag 0. */
class GroupInMlx : public mx::distributed::detail::GroupImpl
{
public:
    GroupInMlx(hocket_group *group, bool owned) : group_(group), owned_(owned)
    {
    }
    ~GroupInMlx() override;
    GroupInMlx(const GroupInMlx &) = delete;
    GroupInMlx &operator=(const GroupInMlx &) = delete;

    mx::Stream communication_stream(mx::StreamOrDevice stream) override;
    int rank() override;
    int size() override;
    std::shared_ptr<GroupImpl> split(int color, int key) override;

    void all_sum(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void all_max(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void all_min(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void all_gather(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void sum_scatter(const mx::array &input, mx::array &output, mx::Stream stream) override;
    void send(const mx::array &input, int to, mx::Stream stream) override;
    void recv(mx::array &output, int from, mx::Stream stream) override;

private:
    void all_reduce(const mx::array &input, mx::array &output, mx::Stream stream,
                    hocket_reduce reduce);

    hocket_group *group_;
    bool owned_;
};

} // namespace hk

#endif
