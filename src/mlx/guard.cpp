#include "mlx/guard.h"

#include <cstring>
#include <mutex>
#include <new>

namespace hk
{
namespace
{

std::mutex lost_lock;
std::string lost_text;

hocket_status set_error(const Failure &failure)
{
    return hocket_transport_error_ranks(failure.status(), failure.ranks().data(),
                                        static_cast<int>(failure.ranks().size()), "%s",
                                        failure.what());
}

hocket_status report_exception(const char *what, const std::exception &error)
{
    if (std::optional<Failure> failure = hocket::mlx::error_of(error))
        return set_error(*failure);
    /* The one failure of MLX's backends that says what happened; it does not say to whom. */
    const bool lost = strstr(error.what(), "connection to a peer was lost") != nullptr;
    if (lost) {
        std::lock_guard lock(lost_lock);
        lost_text = error.what();
    }
    return hocket_transport_error(lost ? HOCKET_ERR_PEER_LOST : HOCKET_ERR_BACKEND, "%s%sMLX: %s",
                                  what ? what : "", what ? ": " : "", error.what());
}

} // namespace

std::string lost_connection()
{
    std::lock_guard lock(lost_lock);
    return lost_text;
}

hocket_status report(const char *what) noexcept
{
    try {
        throw;
    } catch (const Failure &failure) {
        return set_error(failure);
    } catch (const std::bad_alloc &) {
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "%s%sout of memory", what ? what : "",
                                      what ? ": " : "");
    } catch (const std::exception &error) {
        try {
            return report_exception(what, error);
        } catch (...) {
            return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "out of memory");
        }
    } catch (...) {
        return hocket_transport_error(HOCKET_ERR_BACKEND,
                                      "%s%sMLX threw something that is no std::exception",
                                      what ? what : "", what ? ": " : "");
    }
}

} // namespace hk
