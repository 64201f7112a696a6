/* MLX's own distributed backends: ring, mpi, jaccl, nccl. */
#ifndef HK_MLX_ENGINE_H
#define HK_MLX_ENGINE_H

#include "mlx/lanes.h"

#include <mlx/distributed/distributed.h>

#include <optional>
#include <string>

namespace hk
{

enum class Backend { ring, mpi, jaccl, nccl };
const char *backend_name(Backend backend);

/* A group of MLX's and what its backend can do. */
struct Engine {
    Backend backend;
    mx::distributed::Group group;

    /* Where its operations run when this lane composes them. */
    mx::Stream stream(const Lane &lane) const
    {
        return backend == Backend::nccl ? lane.compute : lane.cpu;
    }
    /* Whether it adds up, and moves, elements of this dtype. */
    bool reduces(mx::Dtype dtype) const;
    bool gathers(mx::Dtype dtype) const
    {
        return reduces(dtype);
    }
    /* Whether it has sum_scatter. */
    bool scatters() const
    {
        return backend == Backend::jaccl || backend == Backend::nccl;
    }
    /* "" where this rank can exchange messages with peer, else MLX's reason. */
    std::string no_way_to(int peer) const;
};

/* "any" or one backend's name. HOCKET_ERR_INVALID for another. */
std::vector<Backend> backends_of(const std::string &choice);

/* Whether MLX has this backend here: "" or the reason why not. Nothing is started. */
std::string why_unavailable(Backend backend);

/* Whether the environment describes a world for this backend: "" or what is missing. */
std::string why_unconfigured(Backend backend);

/* The world of a backend: of the first call in this process, the same ever after, since MLX cannot
 * let go of one. Blocks until all ranks have met, or throws HOCKET_ERR_TIMEOUT after so many
 * seconds; MLX then goes on waiting on a thread of its own. */
Engine open_engine(Backend backend, double timeout_s);

/* The engine under a group of hocket's, where one of MLX's own carries it. */
std::optional<Engine> engine_of(const hocket_group *group);

} // namespace hk

#endif
