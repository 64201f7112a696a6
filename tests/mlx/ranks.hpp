/* What the programs of this folder share: each is one rank of a world that the environment
 * describes, and exits with 0 when all that it expected was so. */
#ifndef RANKS_HPP
#define RANKS_HPP

#include <hocket/mlx.hpp>

#include <cmath>
#include <cstdio>
#include <functional>

namespace mx = mlx::core;
using hocket::mlx::Options;

#define EXPECT(condition) expect(condition, #condition, __LINE__)

inline void expect(bool condition, const char *what, int line)
{
    if (!condition)
        throw std::runtime_error("line " + std::to_string(line) + ": not true: " + what);
}

inline std::string text_of(mx::array x)
{
    std::string text;
    x = mx::astype(mx::contiguous(x), mx::float64);
    x.eval();
    for (size_t i = 0; i < x.size(); i++)
        text += " " + std::to_string(x.data<double>()[i]);
    return text;
}

/* Throws where they differ in shape, or in an element by more than tolerance. */
inline void expect_near(const std::string &what, const mx::array &got, const mx::array &wanted,
                        double tolerance)
{
    if (got.shape() != wanted.shape())
        throw std::runtime_error(what + ": another shape");
    mx::array close = mx::allclose(mx::astype(got, mx::float64), mx::astype(wanted, mx::float64),
                                   tolerance, tolerance, true);
    if (!close.item<bool>())
        throw std::runtime_error(what + ": got" + text_of(got) + ", wanted" + text_of(wanted));
}

inline void expect_same(const std::string &what, const mx::array &got, const mx::array &wanted)
{
    expect_near(what, got, wanted, 0);
}

/* What failed, or "" */
inline std::string failure_of(const std::function<void()> &body)
{
    try {
        body();
    } catch (const std::exception &error) {
        return error.what();
    }
    return "";
}

/* Runs body as a rank of the world, whose only holder body gets. */
template <typename Body> int as_rank(Body body)
{
    int rank = -1;
    try {
        mx::set_default_device(mx::Device::cpu);
        hocket_group *world = nullptr;
        hocket::mlx::check(hocket_init(nullptr, &world));
        rank = hocket_rank(world);
        std::shared_ptr<hocket_group> held = hocket::mlx::owned(world);
        body(held);
        return 0;
    } catch (const std::exception &error) {
        fprintf(stderr, "rank %d: %s\n", rank, error.what());
        return 1;
    }
}

#endif
