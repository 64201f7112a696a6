#include "mlx/guard.h"

#include <array>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace hk
{
namespace
{

struct Remembered {
    std::string text;
    hocket_status status = HOCKET_OK;
    std::vector<int> ranks;
};

/* Failures under way from MLX's threads to those that wait. A text stays the same as long as its
 * group is broken, so the table stays small; old entries give way to new ones. */
constexpr size_t kRemembered = 64;
std::mutex remembered_lock;
std::array<Remembered, kRemembered> remembered;
size_t remembered_next;
std::string lost_text;

void remember(const Remembered &failure)
{
    std::lock_guard lock(remembered_lock);
    for (Remembered &known : remembered) {
        if (known.text == failure.text) {
            known = failure;
            return;
        }
    }
    remembered[remembered_next++ % kRemembered] = failure;
}

bool recall(const std::string &text, Remembered &failure)
{
    std::lock_guard lock(remembered_lock);
    for (const Remembered &known : remembered) {
        if (known.status != HOCKET_OK && known.text == text) {
            failure = known;
            return true;
        }
    }
    return false;
}

hocket_status set_error(hocket_status status, const std::vector<int> &ranks, const char *text)
{
    return hocket_transport_error_ranks(status, ranks.data(), static_cast<int>(ranks.size()), "%s",
                                        text);
}

hocket_status report_text(const char *what, const char *text)
{
    Remembered failure;
    if (recall(text, failure))
        return set_error(failure.status, failure.ranks, text);
    /* The one failure of MLX's backends that says what happened; it does not say to whom. */
    const bool lost = strstr(text, "connection to a peer was lost") != nullptr;
    if (lost) {
        std::lock_guard lock(remembered_lock);
        lost_text = text;
    }
    return hocket_transport_error(lost ? HOCKET_ERR_PEER_LOST : HOCKET_ERR_BACKEND, "%s%sMLX: %s",
                                  what ? what : "", what ? ": " : "", text);
}

} // namespace

std::string lost_connection()
{
    std::lock_guard lock(remembered_lock);
    return lost_text;
}

void throw_last_error(hocket_status status)
{
    Remembered failure{hocket_last_error(), status, {}};
    failure.ranks.resize(static_cast<size_t>(hocket_last_error_ranks(nullptr, 0)));
    hocket_last_error_ranks(failure.ranks.data(), static_cast<int>(failure.ranks.size()));
    if (failure.text.empty())
        failure.text = hocket_status_name(status);
    remember(failure);
    throw Failure(status, failure.text);
}

void check(hocket_status status)
{
    if (status != HOCKET_OK)
        throw_last_error(status);
}

hocket_status report(const char *what) noexcept
{
    try {
        throw;
    } catch (const Failure &failure) {
        Remembered known;
        try {
            if (recall(failure.what(), known))
                return set_error(failure.status(), known.ranks, failure.what());
        } catch (...) {
            /* Without memory for the ranks the text must do. */
        }
        return hocket_transport_error(failure.status(), "%s", failure.what());
    } catch (const std::bad_alloc &) {
        return hocket_transport_error(HOCKET_ERR_NO_MEMORY, "%s%sout of memory", what ? what : "",
                                      what ? ": " : "");
    } catch (const std::exception &error) {
        try {
            return report_text(what, error.what());
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
