/* The row `mlx` of the table of backends: choosing among MLX's own, and the slots of the vtable. */
#include <algorithm>
#include <cmath>
#include <ctime>

#include "mlx/guard.h"
#include "mlx/tables.h"
#include "mlx/transport.h"

namespace hk
{
namespace
{

MlxTransport &self_of(void *self)
{
    return *static_cast<MlxTransport *>(self);
}

int rank(void *self)
{
    return self_of(self).rank;
}

int world_size(void *self)
{
    return self_of(self).size;
}

hocket_status post(void *self, hocket_op *op)
{
    return self_of(self).post(op);
}

void cancel(void *self, hocket_op *op)
{
    self_of(self).cancel(op);
}

hocket_status progress(void *self, int64_t wait_ns)
{
    return self_of(self).progress(wait_ns);
}

bool probe(void *self, int from, uint64_t context, uint32_t tag, size_t *length)
{
    return self_of(self).probe(from, context, tag, length);
}

void close(void *self, bool orderly)
{
    self_of(self).close(orderly);
    delete &self_of(self);
}

/* The transport's name is its backend's, so each has a vtable of its own. */
void fill(MlxTransport &transport)
{
    transport.vtable = {};
    transport.vtable.size = sizeof(hocket_transport);
    transport.vtable.name = transport.name.c_str();
    transport.vtable.flags = HOCKET_TRANSPORT_DELEGATE;
    transport.vtable.rank = rank;
    transport.vtable.world_size = world_size;
    transport.vtable.post = post;
    transport.vtable.cancel = cancel;
    transport.vtable.progress = progress;
    transport.vtable.probe = probe;
    transport.vtable.close = close;
    transport.vtable.collectives = &mlx_collectives;
}

std::string choice_of(const char *choice)
{
    return choice == nullptr || choice[0] == '\0' ? "any" : choice;
}

/* The first backend that passes, or why none does. */
Backend choose(const std::string &choice, std::string (*why_not)(Backend))
{
    std::string reasons;
    for (Backend backend : backends_of(choice)) {
        const std::string reason = why_not(backend);
        if (reason.empty())
            return backend;
        reasons += (reasons.empty() ? "" : "; ") + reason;
    }
    throw Failure(HOCKET_ERR_UNAVAILABLE, reasons);
}

std::string why_not_open(Backend backend)
{
    const std::string reason = why_unavailable(backend);
    return reason.empty() ? why_unconfigured(backend) : reason;
}

hocket_status available(const char *choice)
{
    return guard(nullptr, [&] { choose(choice_of(choice), why_unavailable); });
}

double seconds_left(int64_t deadline)
{
    if (deadline == HK_FOREVER)
        return static_cast<double>(INFINITY);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t left = deadline - (now.tv_sec * HK_SECOND + now.tv_nsec);
    return static_cast<double>(std::max<int64_t>(left, 0)) / static_cast<double>(HK_SECOND);
}

/* MLX goes by its own variables; where hocket's say something else, two worlds would be mixed. */
void check_world(const hk_settings &settings, const MlxTransport &transport)
{
    if (!settings.configured ||
        (settings.rank == transport.rank && settings.world_size == transport.size))
        return;
    throw Failure(HOCKET_ERR_MISMATCH,
                  transport.name + " says that this is rank " + std::to_string(transport.rank) +
                      " of " + std::to_string(transport.size) + ", hocket's settings rank " +
                      std::to_string(settings.rank) + " of " + std::to_string(settings.world_size));
}

hocket_status open(const hk_opening *opening, const hocket_transport **transport, void **self)
{
    return guard("hocket_init", [&] {
        Backend backend = choose(choice_of(opening->choice), why_not_open);
        auto opened =
            std::make_unique<MlxTransport>(open_engine(backend, seconds_left(opening->deadline)));
        check_world(*opening->settings, *opened);
        fill(*opened);
        *transport = &opened->vtable;
        *self = opened.release();
    });
}

} // namespace

const hk_backend mlx_backend = {
    .name = "mlx",
    .meets = false,
    .available = available,
    .suits = nullptr,
    .open = open,
};

} // namespace hk
