#include "mlx/engine.h"

#include <chrono>
#include <cmath>
#include <csignal>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <thread>

#include "mlx/guard.h"

namespace hk
{
namespace
{

bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value != nullptr && value[0] != '\0';
}

/* "" when of each pair (a variable, and another that serves as well) one is set. */
std::string missing(const char *backend,
                    std::initializer_list<std::pair<const char *, const char *>> variables)
{
    std::string names;
    for (auto [name, other] : variables)
        if (!is_set(name) && (other == nullptr || !is_set(other)))
            names += (names.empty() ? "" : ", ") + std::string(name);
    if (names.empty())
        return "";
    return "mlx:" + std::string(backend) + " needs " + names + " in the environment";
}

/* MLX's init waits for the other ranks without a limit, so it has a thread that can be left. */
struct Opening {
    std::mutex lock;
    std::condition_variable ended;
    bool done = false;
    std::exception_ptr failure;
    std::optional<mx::distributed::Group> group;
};

mx::distributed::Group init(Backend backend)
{
    const std::string name = backend_name(backend);
    mx::distributed::Group group = mx::distributed::init(true, name);
    if (group.size() > 1)
        return group;
    /* After somebody's init that failed quietly, MLX keeps a group of one under the name. */
    mx::distributed::clear_backends();
    return mx::distributed::init(true, name);
}

void open_on_thread(Backend backend, std::shared_ptr<Opening> opening)
{
    /* MLX's ring writes to sockets whose peer may have gone. The threads that it starts here
     * inherit this, so that they get an error where the process would get a signal. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    std::exception_ptr failure;
    std::optional<mx::distributed::Group> group;
    try {
        group = init(backend);
    } catch (...) {
        failure = std::current_exception();
    }
    std::lock_guard lock(opening->lock);
    opening->group = std::move(group);
    opening->failure = failure;
    opening->done = true;
    opening->ended.notify_all();
}

} // namespace

const char *backend_name(Backend backend)
{
    switch (backend) {
    case Backend::ring: return "ring";
    case Backend::mpi: return "mpi";
    case Backend::jaccl: return "jaccl";
    case Backend::nccl: return "nccl";
    }
    return "";
}

std::vector<Backend> backends_of(const std::string &choice)
{
    /* MLX's own order for any. */
    const std::vector<Backend> all{Backend::nccl, Backend::ring, Backend::mpi, Backend::jaccl};
    if (choice == "any")
        return all;
    for (Backend backend : all)
        if (choice == backend_name(backend))
            return {backend};
    throw Failure(HOCKET_ERR_INVALID,
                  "there is no backend mlx:" + choice + "; MLX has any, ring, mpi, jaccl and nccl");
}

std::string why_unavailable(Backend backend)
{
    if (mx::distributed::is_available(backend_name(backend)))
        return "";
    switch (backend) {
    case Backend::ring: return "this MLX was built without its ring";
    case Backend::mpi:
        return "MLX found no Open MPI: neither what MLX_MPI_LIBNAME names nor its default libmpi";
    case Backend::jaccl:
        return "this MLX has no jaccl, which takes macOS 26.2 and RDMA over Thunderbolt 5";
    case Backend::nccl: return "this MLX was not built for CUDA";
    }
    return "";
}

std::string why_unconfigured(Backend backend)
{
    switch (backend) {
    case Backend::ring: return missing("ring", {{"MLX_RANK", nullptr}, {"MLX_HOSTFILE", nullptr}});
    case Backend::jaccl:
        return missing("jaccl", {{"MLX_RANK", "JACCL_RANK"},
                                 {"MLX_IBV_DEVICES", "JACCL_IBV_DEVICES"},
                                 {"MLX_JACCL_COORDINATOR", "JACCL_COORDINATOR"}});
    case Backend::nccl:
        return missing("nccl", {{"MLX_RANK", nullptr},
                                {"MLX_WORLD_SIZE", nullptr},
                                {"NCCL_HOST_IP", nullptr},
                                {"NCCL_PORT", nullptr}});
    case Backend::mpi:
        if (is_set("OMPI_COMM_WORLD_SIZE") || is_set("PMIX_RANK") || is_set("PMI_RANK") ||
            is_set("MLX_MPI_LIBNAME"))
            return "";
        return "mlx:mpi needs mpirun: its variables (OMPI_COMM_WORLD_SIZE) are not set";
    }
    return "";
}

Engine open_engine(Backend backend, double timeout_s)
{
    static std::mutex lock;
    static std::map<Backend, std::shared_ptr<Opening>> &openings =
        *new std::map<Backend, std::shared_ptr<Opening>>;

    std::shared_ptr<Opening> opening;
    {
        std::lock_guard guard(lock);
        std::shared_ptr<Opening> &known = openings[backend];
        if (known == nullptr) {
            known = std::make_shared<Opening>();
            std::thread(open_on_thread, backend, known).detach();
        }
        opening = known;
    }

    std::unique_lock waiting(opening->lock);
    auto is_done = [&] { return opening->done; };
    if (std::isinf(timeout_s))
        opening->ended.wait(waiting, is_done);
    else if (!opening->ended.wait_for(waiting, std::chrono::duration<double>(timeout_s), is_done))
        throw Failure(HOCKET_ERR_TIMEOUT, "mlx:" + std::string(backend_name(backend)) +
                                              ": MLX has not met all other ranks in " +
                                              std::to_string(timeout_s) + " seconds");
    /* After a failure the next try may find other variables. MPI must see its group go before the
     * process ends, or mpirun takes the end for a crash; MLX knows the group under its name. The
     * others are kept, so that no destructor waits for another rank at exit. */
    if (opening->failure || backend == Backend::mpi) {
        std::lock_guard guard(lock);
        if (openings[backend] == opening)
            openings.erase(backend);
    }
    if (opening->failure)
        std::rethrow_exception(opening->failure);
    return Engine{backend, *opening->group};
}

bool Engine::reduces(mx::Dtype dtype) const
{
    if (backend != Backend::nccl)
        return true;
    return dtype != mx::bool_ && dtype != mx::int16 && dtype != mx::uint16 &&
           dtype != mx::complex64;
}

std::string Engine::no_way_to(int peer) const
{
    /* group's functions are not const in every version of MLX. */
    mx::distributed::Group all = group;
    const int n = all.size(), self = all.rank();
    const bool neighbours = peer == (self + 1) % n || peer == (self + n - 1) % n;
    if (backend == Backend::nccl)
        return "[nccl] Send not supported in NCCL backend.";
    if (backend == Backend::ring && !neighbours)
        return "[ring] Send only supported to direct neighbors but tried to send to " +
               std::to_string(peer) + " from " + std::to_string(self);
    return "";
}

} // namespace hk
