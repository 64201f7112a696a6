/* The border between C and MLX's C++: no exception leaves libhocket-mlx.
 *
 * Inside, failures are exceptions. Each function that C calls runs its body in `guard`, which makes
 * them this thread's last error and a status.
 *
 * A failure inside an evaluation happens on a thread of MLX, and MLX carries nothing but its text
 * to the thread that waits. hocket/mlx/error.hpp keeps status and ranks, and `report` asks it. */
#ifndef HK_MLX_GUARD_H
#define HK_MLX_GUARD_H

#include <hocket/mlx/error.hpp>
#include <hocket/transport.h>

#include <string>

namespace hk
{

using Failure = hocket::mlx::Error;
using hocket::mlx::check;

/* What MLX said when its ring lost a peer, "" before. The ring is of no use afterwards, and would
 * not say so again: what is asked of it then waits for ever. */
std::string lost_connection();

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
