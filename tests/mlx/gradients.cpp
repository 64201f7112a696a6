/* The derivatives of hocket's operations against finite differences of the same function computed
 * on one rank. */
#include "simulated.hpp"

namespace
{

using hocket::mlx::GroupRef;
namespace hm = hocket::mlx;

/* An operation over the group, and what it gives on each rank. */
struct Case {
    std::string name;
    std::vector<int> shape;
    std::function<mx::array(const mx::array &, const GroupRef &)> run;
    std::function<Ranks(const Ranks &)> simulate;
};

/* Not linear, and exact in MLX (its sin of a float64 is no better than that of a float32). */
double cube(double y)
{
    return y * y * y;
}

mx::array cube(const mx::array &y)
{
    return mx::multiply(y, mx::square(y));
}

std::string name_of(hocket_reduce reduce)
{
    static const char *const names[] = {"sum", "mean", "max", "min", "prod"};
    return names[reduce];
}

void add_reductions(std::vector<Case> &cases, int n, int root)
{
    for (hocket_reduce reduce : {HOCKET_SUM, HOCKET_MEAN, HOCKET_MAX, HOCKET_MIN, HOCKET_PROD}) {
        cases.push_back(
            {"all_reduce " + name_of(reduce),
             {2, 3},
             [=](const mx::array &x, const GroupRef &g) { return hm::all_reduce(x, g, reduce); },
             [=](const Ranks &x) { return everywhere(reduced(x, reduce), x.size()); }});
        cases.push_back({"reduce_to " + name_of(reduce),
                         {3},
                         [=](const mx::array &x, const GroupRef &g) {
                             return hm::reduce_to(x, g, root, reduce);
                         },
                         [=](const Ranks &x) {
                             Ranks y = everywhere(scaled(x[0], 0), x.size());
                             y[static_cast<size_t>(root)] = reduced(x, reduce);
                             return y;
                         }});
        for (int axis : {0, 1}) {
            std::vector<int> shape{2, 3};
            shape[static_cast<size_t>(axis)] *= n;
            cases.push_back(
                {"reduce_scatter " + name_of(reduce) + " of axis " + std::to_string(axis), shape,
                 [=](const mx::array &x, const GroupRef &g) {
                     return hm::reduce_scatter(x, g, axis - 2, reduce);
                 },
                 [=](const Ranks &x) {
                     Ranks y;
                     for (int r = 0; r < n; r++)
                         y.push_back(part(reduced(x, reduce), r, n, axis));
                     return y;
                 }});
        }
    }
}

void add_moves(std::vector<Case> &cases, int n, int root)
{
    cases.push_back(
        {"broadcast",
         {2, 2},
         [=](const mx::array &x, const GroupRef &g) { return hm::broadcast(x, g, root); },
         [=](const Ranks &x) { return everywhere(x[static_cast<size_t>(root)], x.size()); }});
    for (int axis : {0, 1}) {
        cases.push_back(
            {"all_gather along axis " + std::to_string(axis),
             {2, 3},
             [=](const mx::array &x, const GroupRef &g) { return hm::all_gather(x, g, axis); },
             [=](const Ranks &x) { return everywhere(join(x, axis), x.size()); }});
        std::vector<int> shape{2, 3};
        shape[static_cast<size_t>(axis)] *= n;
        cases.push_back(
            {"all_to_all of axis " + std::to_string(axis), shape,
             [=](const mx::array &x, const GroupRef &g) { return hm::all_to_all(x, g, axis); },
             [=](const Ranks &x) {
                 Ranks y;
                 for (int r = 0; r < n; r++) {
                     Ranks blocks;
                     for (const Tensor &of : x)
                         blocks.push_back(part(of, r, n, axis));
                     y.push_back(join(blocks, axis));
                 }
                 return y;
             }});
    }
    std::vector<int> to, round;
    for (int r = 0; r < n; r++) {
        to.push_back(r == n - 1 ? -1 : r + 1);
        round.push_back((r + 1) % n);
    }
    cases.push_back({"permute",
                     {3},
                     [=](const mx::array &x, const GroupRef &g) { return hm::permute(x, g, to); },
                     [=](const Ranks &x) { return permuted(x, to); }});
    cases.push_back({"send and recv_like",
                     {2, 2},
                     [=](const mx::array &x, const GroupRef &g) {
                         const int next = (g.rank() + 1) % n, last = (g.rank() + n - 1) % n;
                         mx::array sent = hm::send(x, g, next, 5);
                         mx::array y = hm::recv_like(sent, g, last, 5);
                         return mx::add(y, mx::multiply(sent, mx::array(2.0, mx::float64)));
                     },
                     [=](const Ranks &x) {
                         Ranks y = permuted(x, round);
                         for (size_t r = 0; r < x.size(); r++)
                             y[r] = sum(y[r], scaled(x[r], 2));
                         return y;
                     }});
}

/* More than one in a function, in an order that is said. */
void add_compositions(std::vector<Case> &cases, int n, int root)
{
    cases.push_back({"two in a row",
                     {2 * n},
                     [=](const mx::array &x, const GroupRef &g) {
                         mx::array y = hm::all_reduce(cube(x), g, HOCKET_MAX);
                         return hm::all_reduce(mx::multiply(y, x), g, HOCKET_MEAN);
                     },
                     [=](const Ranks &x) {
                         Ranks y = x;
                         for (Tensor &of : y)
                             for (double &value : of.values)
                                 value = cube(value);
                         const Tensor most = reduced(y, HOCKET_MAX);
                         for (size_t r = 0; r < x.size(); r++)
                             for (size_t i = 0; i < most.values.size(); i++)
                                 y[r].values[i] = most.values[i] * x[r].values[i];
                         return everywhere(reduced(y, HOCKET_MEAN), x.size());
                     }});
    cases.push_back(
        {"one after another",
         {2},
         [=](const mx::array &x, const GroupRef &g) {
             mx::array a = hm::all_reduce(x, g);
             mx::array b = hm::broadcast(x, g, root, {.after = a});
             mx::array c = hm::send(x, g, g.rank(), 1, {.after = b});
             mx::array d = hm::recv({2}, mx::float64, g, g.rank(), 1, {.after = c});
             return mx::add(mx::add(a, b), d);
         },
         [=](const Ranks &x) {
             Ranks y;
             for (const Tensor &own : x)
                 y.push_back(sum(sum(reduced(x, HOCKET_SUM), x[static_cast<size_t>(root)]), own));
             return y;
         }});
}

std::vector<Case> cases_for(int n)
{
    std::vector<Case> cases;
    const int root = n - 1;
    add_reductions(cases, n, root);
    add_moves(cases, n, root);
    add_compositions(cases, n, root);
    return cases;
}

/* === What is differentiated: on each rank the sum of w * y * y * y =============================
 */

constexpr int kWeights = 7, kTangents = 31, kOthers = 57; /* seeds */

double loss_of_all(const Case &one, const Ranks &x)
{
    const Ranks y = one.simulate(x);
    double loss = 0;
    for (size_t r = 0; r < y.size(); r++) {
        const Tensor w = values(y[r].shape, kWeights + 100 * static_cast<int>(r));
        for (size_t i = 0; i < w.values.size(); i++)
            loss += w.values[i] * cube(y[r].values[i]);
    }
    return loss;
}

mx::array own_loss(const Case &one, const GroupRef &group, const mx::array &x)
{
    mx::array y = one.run(x, group);
    std::vector<int> shape(y.shape().begin(), y.shape().end());
    mx::array w = array_of(values(shape, kWeights + 100 * group.rank()));
    return mx::sum(mx::multiply(w, cube(y)));
}

/* The derivative of f by all elements of one rank's x. */
Tensor differences(const std::function<double(const Ranks &)> &f, Ranks x, int rank, double step)
{
    Tensor found = x[static_cast<size_t>(rank)];
    for (size_t i = 0; i < found.values.size(); i++) {
        double &value = x[static_cast<size_t>(rank)].values[i];
        const double at = value;
        value = at + step;
        const double above = f(x);
        value = at - step;
        found.values[i] = (above - f(x)) / (2 * step);
        value = at;
    }
    return found;
}

Ranks moved(Ranks x, const Ranks &tangents, double step)
{
    for (size_t r = 0; r < x.size(); r++)
        x[r] = sum(x[r], scaled(tangents[r], step));
    return x;
}

constexpr double kStep = 1e-5, kTolerance = 1e-7;
constexpr double kStepTwice = 2e-4, kToleranceTwice = 1e-5;

void check_case(const Case &one, const GroupRef &group)
{
    const int n = group.size(), rank = group.rank();
    const size_t own = static_cast<size_t>(rank);
    const Ranks x = values_of_ranks(one.shape, n, 1), t = values_of_ranks(one.shape, n, kTangents),
                v = values_of_ranks(one.shape, n, kOthers);
    const mx::array xs = array_of(x[own]), ts = array_of(t[own]), vs = array_of(v[own]);
    auto run = [&](const mx::array &a) { return one.run(a, group); };
    auto loss = [&](const mx::array &a) { return own_loss(one, group, a); };

    expect_near(one.name, run(xs), array_of(one.simulate(x)[own]), 1e-12);

    auto all = [&](const Ranks &at) { return loss_of_all(one, at); };
    expect_near("vjp of " + one.name, mx::grad(loss)(xs),
                array_of(differences(all, x, rank, kStep)), kTolerance);

    const Ranks above = one.simulate(moved(x, t, kStep)), below = one.simulate(moved(x, t, -kStep));
    expect_near("jvp of " + one.name, mx::jvp(run, xs, ts).second,
                array_of(scaled(sum(above[own], scaled(below[own], -1)), 0.5 / kStep)), kTolerance);

    /* Twice: by all elements of x, how loss changes along v. */
    auto along = [&](const Ranks &at) {
        return (all(moved(at, v, kStepTwice)) - all(moved(at, v, -kStepTwice))) / (2 * kStepTwice);
    };
    const mx::array twice = array_of(differences(along, x, rank, kStepTwice));
    auto slope = [&](const mx::array &a) { return mx::sum(mx::multiply(vs, mx::grad(loss)(a))); };
    expect_near("vjp of the vjp of " + one.name, mx::grad(slope)(xs), twice, kToleranceTwice);
    auto gradient = [&](const mx::array &a) { return mx::grad(loss)(a); };
    expect_near("jvp of the vjp of " + one.name, mx::jvp(gradient, xs, vs).second, twice,
                kToleranceTwice);
}

/* === What differences cannot tell ==============================================================
 */

void ties_share(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank();
    const float most = rank % 2 == 0 ? 5.0f : 2.0f; /* all even ranks hold the maximum */
    const float nan = rank == n - 1 ? NAN : 0.0f;
    const mx::array x({1.0f, most, static_cast<float>(rank), nan});
    const float own = static_cast<float>(rank + 1);
    const float all = static_cast<float>(n * (n + 1) / 2);
    const float even = static_cast<float>((n + 1) / 2), each = static_cast<float>(n);
    const float holds = rank % 2 == 0 ? 1.0f : 0.0f, last = rank == n - 1 ? 1.0f : 0.0f;
    const mx::array wanted({all / each, holds * all / even, last * all, last * all});
    auto weighted = [&](const mx::array &y) { return mx::sum(mx::multiply(y, mx::array(own))); };
    auto max = [&](const mx::array &a) { return hm::all_reduce(a, group, HOCKET_MAX); };
    auto min = [&](const mx::array &a) {
        return mx::negative(hm::all_reduce(mx::negative(a), group, HOCKET_MIN));
    };
    for (auto op : {std::function<mx::array(const mx::array &)>(max),
                    std::function<mx::array(const mx::array &)>(min)}) {
        auto loss = [&](const mx::array &a) { return weighted(op(a)); };
        mx::array shares = mx::grad(loss)(x);
        expect_near("ties", shares, wanted, 1e-6);
        expect_near("the sum of the shares", hm::all_reduce(shares, group),
                    mx::full({4}, all, mx::float32), 1e-5);
        expect_near("the mean of the holders' tangents",
                    mx::jvp(op, x, mx::full({4}, own, mx::float32)).second,
                    mx::array({all / each, even /* (1 + 3 + ...) / even */, static_cast<float>(n),
                               static_cast<float>(n)}),
                    1e-6);
    }
    /* The same in blocks. */
    auto scattered = [&](const mx::array &a) {
        return weighted(hm::reduce_scatter(a, group, 0, HOCKET_MAX));
    };
    mx::array same = mx::grad(scattered)(mx::ones({n}));
    mx::array blocks = mx::divide(mx::arange(1.0, n + 1.0, mx::float32), mx::array(each));
    expect_near("ties in blocks", same, blocks, 1e-6);
}

void zeros_in_products(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank();
    /* One zero, and as many as there are ranks. */
    const mx::array x({rank == 0 ? 0.0f : 2.0f, 0.0f});
    auto loss = [&](const mx::array &a) { return mx::sum(hm::all_reduce(a, group, HOCKET_PROD)); };
    const float others = static_cast<float>(std::pow(2, n - 1)), all = static_cast<float>(n);
    expect_near("zeros", mx::grad(loss)(x),
                mx::array({rank == 0 ? all * others : 0.0f, n == 1 ? 1.0f : 0.0f}), 1e-6);
}

void halves(const GroupRef &group)
{
    for (mx::Dtype dtype : {mx::float16, mx::bfloat16}) {
        auto loss = [&](const mx::array &a) {
            return mx::sum(hm::all_reduce(a, group, HOCKET_MEAN));
        };
        mx::array slope = mx::grad(loss)(mx::ones({3}, dtype));
        EXPECT(slope.dtype() == dtype);
        expect_near("halves", slope, mx::ones({3}), 1e-2);
    }
}

void what_has_none(const GroupRef &group)
{
    hocket_reduce own = HOCKET_SUM;
    auto nothing = [](const void *, void *, size_t, void *) {};
    hm::check(hocket_reduce_create(nothing, nullptr, true, &own));
    auto loss = [&](const mx::array &a) { return mx::sum(hm::all_reduce(a, group, own)); };
    EXPECT(failure_of([&] { mx::grad(loss)(mx::ones({2})); }) ==
           "a reduction of your own has no derivative");
    hocket_reduce_free(own);
    auto deep = [&](const mx::array &a) {
        return mx::sum(hm::send(a, group, group.rank(), UINT32_C(7) << 28));
    };
    EXPECT(failure_of([&] { mx::grad(deep)(mx::ones({2})); }).find("below 2^28") !=
           std::string::npos);
    auto complex = [&](const mx::array &a) {
        return mx::sum(mx::real(hm::all_reduce(mx::astype(a, mx::complex64), group, HOCKET_PROD)));
    };
    EXPECT(failure_of([&] { mx::grad(complex)(mx::ones({2})); }) ==
           "a product of complex numbers has no derivative here");
}

/* Where the ranks evaluate in another order each, forwards and backwards. */
void order_holds_backwards(const GroupRef &group)
{
    const float own = static_cast<float>(group.rank() + 1);
    const float all = static_cast<float>(group.size() * (group.size() + 1) / 2);
    auto f = [&](const std::vector<mx::array> &x) {
        mx::array a = hm::all_reduce(x[0], group);
        mx::array b = hm::all_reduce(x[1], group, HOCKET_SUM, {.after = a});
        mx::array weight(own);
        return mx::add(mx::multiply(weight, mx::sum(a)),
                       mx::multiply(mx::multiply(mx::array(10.0f), weight), mx::sum(b)));
    };
    for (int round = 0; round < 3; round++) {
        std::vector<mx::array> slopes = mx::grad(f, {0, 1})({mx::ones({2}), mx::ones({2})});
        const size_t first = static_cast<size_t>(group.rank() % 2);
        slopes[first].eval();
        slopes[1 - first].eval();
        expect_near("the first's slope", slopes[0], mx::full({2}, all, mx::float32), 0);
        expect_near("the second's slope", slopes[1], mx::full({2}, 10 * all, mx::float32), 0);
    }
}

} // namespace

int main()
{
    return as_rank([](const std::shared_ptr<hocket_group> &world) {
        for (const Case &one : cases_for(hocket_world_size(world.get())))
            check_case(one, world);
        ties_share(world);
        zeros_in_products(world);
        halves(world);
        what_has_none(world);
        order_holds_backwards(world);
    });
}
