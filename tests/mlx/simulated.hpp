/* hocket's operations computed on one rank from all ranks' inputs, in plain C++: what the
 * derivatives are measured against. */
#ifndef SIMULATED_HPP
#define SIMULATED_HPP

#include "ranks.hpp"

#include <algorithm>
#include <vector>

struct Tensor {
    std::vector<int> shape;
    std::vector<double> values;
};

using Ranks = std::vector<Tensor>; /* one of each rank */

inline size_t product(std::vector<int>::const_iterator from, std::vector<int>::const_iterator to)
{
    size_t result = 1;
    for (; from != to; ++from)
        result *= static_cast<size_t>(*from);
    return result;
}

/* The same values on every rank that calls it, between -1 and 1, no two alike. */
inline Tensor values(std::vector<int> shape, int seed)
{
    Tensor x{shape, {}};
    const size_t size = product(shape.begin(), shape.end());
    for (size_t i = 0; i < size; i++)
        x.values.push_back(std::sin(12.9898 * static_cast<double>(i + 1) + 78.233 * (seed + 1)));
    return x;
}

inline Ranks values_of_ranks(const std::vector<int> &shape, int ranks, int seed)
{
    Ranks all;
    for (int r = 0; r < ranks; r++)
        all.push_back(values(shape, seed + 100 * r));
    return all;
}

inline mx::array array_of(const Tensor &x)
{
    return mx::array(x.values.begin(), mx::Shape(x.shape.begin(), x.shape.end()), mx::float64);
}

/* Part `which` of `parts` along an axis. */
inline Tensor part(const Tensor &x, int which, int parts, int axis)
{
    Tensor y{x.shape, {}};
    y.shape[static_cast<size_t>(axis)] /= parts;
    const size_t rows = product(x.shape.begin(), x.shape.begin() + axis);
    const size_t row = product(y.shape.begin() + axis, y.shape.end());
    for (size_t i = 0; i < rows; i++) {
        auto from =
            x.values.begin() +
            static_cast<long>((i * static_cast<size_t>(parts) + static_cast<size_t>(which)) * row);
        y.values.insert(y.values.end(), from, from + static_cast<long>(row));
    }
    return y;
}

inline Tensor join(const Ranks &parts, int axis)
{
    Tensor y{parts[0].shape, {}};
    y.shape[static_cast<size_t>(axis)] *= static_cast<int>(parts.size());
    const size_t rows = product(y.shape.begin(), y.shape.begin() + axis);
    const size_t row = parts[0].values.size() / rows;
    for (size_t i = 0; i < rows; i++)
        for (const Tensor &x : parts)
            y.values.insert(y.values.end(), x.values.begin() + static_cast<long>(i * row),
                            x.values.begin() + static_cast<long>((i + 1) * row));
    return y;
}

inline Tensor scaled(Tensor x, double factor)
{
    for (double &value : x.values)
        value *= factor;
    return x;
}

inline Tensor sum(Tensor x, const Tensor &y)
{
    for (size_t i = 0; i < x.values.size(); i++)
        x.values[i] += y.values[i];
    return x;
}

inline Tensor reduced(const Ranks &all, hocket_reduce reduce)
{
    Tensor y = all[0];
    for (size_t r = 1; r < all.size(); r++) {
        for (size_t i = 0; i < y.values.size(); i++) {
            double &value = y.values[i];
            const double other = all[r].values[i];
            switch (reduce) {
            case HOCKET_MAX: value = std::max(value, other); break;
            case HOCKET_MIN: value = std::min(value, other); break;
            case HOCKET_PROD: value *= other; break;
            default: value += other;
            }
        }
    }
    return reduce == HOCKET_MEAN ? scaled(y, 1.0 / static_cast<double>(all.size())) : y;
}

inline Ranks everywhere(const Tensor &x, size_t ranks)
{
    return Ranks(ranks, x);
}

inline Ranks permuted(const Ranks &all, const std::vector<int> &to)
{
    Ranks y = everywhere(scaled(all[0], 0), all.size());
    for (size_t r = 0; r < all.size(); r++)
        if (to[r] >= 0)
            y[static_cast<size_t>(to[r])] = all[r];
    return y;
}

#endif
