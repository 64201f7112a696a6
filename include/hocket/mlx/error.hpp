/* Failures of hocket's as exceptions. A part of hocket/mlx.hpp; needs nothing of MLX.
 *
 * MLX evaluates on threads of its own and carries nothing but the text of a failure to the thread
 * that waits: what eval throws is a std::runtime_error with hocket's sentence. Status and ranks are
 * kept beside the text, and error_of finds them again. */
#ifndef HOCKET_MLX_ERROR_HPP
#define HOCKET_MLX_ERROR_HPP

#include <hocket/hocket.h>

#include <array>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

/* Libraries in one process may be compiled with different versions of this: the version is part of
 * every name, which none has to write. */
#define HOCKET_MLX_PASTE(major, minor, patch) v##major##_##minor##_##patch
#define HOCKET_MLX_VERSIONED(major, minor, patch) HOCKET_MLX_PASTE(major, minor, patch)
#define HOCKET_MLX_NAMESPACE                                                                       \
    HOCKET_MLX_VERSIONED(HOCKET_VERSION_MAJOR, HOCKET_VERSION_MINOR, HOCKET_VERSION_PATCH)

namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE
{

/* What failed: the sentence, its status, and the ranks at fault, ascending, as they are numbered in
 * the group that was called. */
class Error : public std::runtime_error
{
public:
    Error(hocket_status status, const std::string &text, std::vector<int> ranks = {})
        : runtime_error(text), status_(status),
          ranks_(std::make_shared<const std::vector<int>>(std::move(ranks)))
    {
    }
    hocket_status status() const noexcept
    {
        return status_;
    }
    const std::vector<int> &ranks() const noexcept
    {
        return *ranks_;
    }

private:
    hocket_status status_;
    std::shared_ptr<const std::vector<int>> ranks_; /* so that a copy cannot fail */
};

namespace detail
{

/* Failures under way from MLX's threads to those that wait. A text stays the same as long as its
 * group is broken, so the table stays small; old entries give way to new ones. */
struct Remembered {
    std::mutex lock;
    std::array<std::optional<Error>, 64> failures;
    size_t next = 0;
};

/* Never destroyed: threads of MLX may still run when the process ends. */
inline Remembered &remembered()
{
    static Remembered &made = *new Remembered;
    return made;
}

inline std::optional<Error> recall(const std::string &text)
{
    Remembered &table = remembered();
    std::lock_guard lock(table.lock);
    for (const std::optional<Error> &known : table.failures)
        if (known && text == known->what())
            return known;
    return std::nullopt;
}

/* Throws it, so that its status survives MLX. */
[[noreturn]] inline void fail(const Error &error)
{
    Remembered &table = remembered();
    {
        std::lock_guard lock(table.lock);
        std::optional<Error> *place = nullptr;
        for (std::optional<Error> &known : table.failures)
            if (known && std::string(known->what()) == error.what())
                place = &known;
        if (place == nullptr)
            place = &table.failures[table.next++ % table.failures.size()];
        place->emplace(error);
    }
    throw error;
}

} // namespace detail

/* Throws this thread's hocket_last_error, unless status is HOCKET_OK. */
inline void check(hocket_status status)
{
    if (status == HOCKET_OK)
        return;
    std::string text = hocket_last_error();
    std::vector<int> ranks(static_cast<size_t>(hocket_last_error_ranks(nullptr, 0)));
    hocket_last_error_ranks(ranks.data(), static_cast<int>(ranks.size()));
    detail::fail(Error(status, text.empty() ? hocket_status_name(status) : text, std::move(ranks)));
}

/* Status and ranks of what was caught, from eval or elsewhere; nothing where it is not hocket's, or
 * where it came of an array from a library that keeps its copy of this header to itself (compiled
 * with hidden visibility, as libhocket-mlx is). */
inline std::optional<Error> error_of(const std::exception &caught)
{
    if (auto error = dynamic_cast<const Error *>(&caught))
        return *error;
    return detail::recall(caught.what());
}

} // namespace hocket::mlx::inline HOCKET_MLX_NAMESPACE

#endif
