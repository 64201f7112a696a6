/* The border between C and MLX's C++: no exception leaves libhocket-mlx.
 *
 * Inside, failures are exceptions. Each function that C calls runs its body in `guard`, which makes
 * them this thread's last error and a status.
 *
 * A failure of a group inside an evaluation happens on a thread of MLX, and MLX carries nothing but
 * its text to the thread that waits. `throw_last_error` therefore remembers status and ranks beside
 * the text, and `guard` finds them again. */
#ifndef HK_MLX_GUARD_H
#define HK_MLX_GUARD_H

#include <hocket/transport.h>

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>

namespace hk
{

/* A failure that knows its status. */
class Failure : public std::runtime_error
{
public:
    Failure(hocket_status status, const std::string &text) : runtime_error(text), status_(status)
    {
    }
    hocket_status status() const
    {
        return status_;
    }

private:
    hocket_status status_;
};

/* This thread's last error, as an exception that may cross MLX. */
[[noreturn]] void throw_last_error(hocket_status status);

/* What MLX said when its ring lost a peer, "" before. The ring is of no use afterwards, and would
 * not say so again: what is asked of it then waits for ever. */
std::string lost_connection();

/* throw_last_error, unless status is HOCKET_OK. */
void check(hocket_status status);

/* Inside a catch block: makes what is caught this thread's last error and returns its status. */
hocket_status report(const char *what) noexcept;

/* Runs body; what (may be NULL) goes before the text of a failure that is MLX's own. */
template <typename Body> hocket_status guard(const char *what, Body &&body) noexcept
{
    try {
        body();
        return HOCKET_OK;
    } catch (...) {
        return report(what);
    }
}

} // namespace hk

#endif
