/* hocket's operations on MLX's arrays beside their derivatives: dtypes, vmap, compile, order,
 * memory; and MLX's own operations over groups of hocket's and splits of them. */
#include "simulated.hpp"

namespace
{

namespace hm = hocket::mlx;
using hm::GroupRef;
using mx::distributed::Group;

/* === hocket's operations ====================================================================== */

void every_dtype(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank();
    for (mx::Dtype dtype :
         {mx::bool_, mx::int8, mx::int16, mx::int32, mx::int64, mx::uint8, mx::uint16, mx::uint32,
          mx::uint64, mx::float16, mx::bfloat16, mx::float32, mx::float64, mx::complex64}) {
        mx::array x = mx::astype(mx::full({2, 3}, rank + 1, mx::int32), dtype);
        const int all = dtype == mx::bool_ ? 1 : n * (n + 1) / 2;
        expect_same("sum", mx::astype(hm::all_reduce(x, group), mx::float32),
                    mx::full({2, 3}, all, mx::float32));
        mx::array gathered = hm::all_gather(x, group, -1);
        EXPECT(gathered.dtype() == dtype && gathered.shape(1) == 3 * n);
        expect_same("broadcast", mx::astype(hm::broadcast(x, group, 0), mx::float32),
                    mx::ones({2, 3}));
    }
}

void shapes(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank();
    const float own = static_cast<float>(rank);
    mx::array ranks = mx::arange(0.0, n, mx::float32);
    expect_same("scalars", hm::all_gather(mx::array(own), group), ranks);
    expect_same("nothing", hm::all_reduce(mx::zeros({0, 3}), group), mx::zeros({0, 3}));
    /* Neither contiguous nor evaluated. */
    mx::array x =
        mx::transpose(mx::add(mx::reshape(mx::arange(6.0, mx::float32), {2, 3}), mx::array(own)));
    mx::array wanted = mx::transpose(mx::reshape(mx::arange(6.0, mx::float32), {2, 3}));
    expect_same("transposed", hm::broadcast(x, group, 0), wanted);
    expect_same("strided", hm::all_reduce(mx::slice(x, {0, 0}, {3, 2}, {2, 1}), group, HOCKET_MIN),
                mx::slice(wanted, {0, 0}, {3, 2}, {2, 1}));
    expect_same("reduce_to", hm::reduce_to(mx::array(own), group, n - 1),
                mx::array(rank == n - 1 ? static_cast<float>(n * (n - 1) / 2) : 0.0f));
    /* x is somebody else's too, so it must stay what it is. */
    mx::array kept = mx::full({4}, own + 1, mx::float32);
    kept.eval();
    mx::eval(hm::all_reduce(kept, group), hm::all_to_all(mx::repeat(kept, n, 0), group),
             hm::permute(kept, group, std::vector<int>(static_cast<size_t>(n), -1)),
             hm::reduce_to(kept, group, 0));
    expect_same("kept", kept, mx::full({4}, own + 1, mx::float32));
}

/* Messages to oneself, to others, and one after the other under one tag. */
void messages(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank(), next = (rank + 1) % n;
    mx::array x = mx::full({3}, rank, mx::int32);
    mx::array first = hm::send(x, group, next);
    mx::array second = hm::send(mx::add(x, mx::array(10)), group, next, 0, {.after = first});
    mx::array a = hm::recv({3}, mx::int32, group, (rank + n - 1) % n, 0, {.after = second});
    mx::array b = hm::recv_like(x, group, (rank + n - 1) % n, 0, {.after = a});
    b.eval();
    expect_same("the first", a, mx::full({3}, (rank + n - 1) % n, mx::int32));
    expect_same("the second", b, mx::full({3}, (rank + n - 1) % n + 10, mx::int32));
    expect_same("what send gives", second, mx::full({3}, rank + 10, mx::int32));
}

/* Two collectives that do not depend on each other, evaluated in another order on each rank. */
void order(const GroupRef &group)
{
    const int n = group.size();
    for (int round = 0; round < 3; round++) {
        mx::array ones = hm::all_reduce(mx::ones({2}), group);
        mx::array tens = hm::all_reduce(mx::full({2}, 10.0f), group, HOCKET_SUM, {.after = ones});
        if (group.rank() % 2 == 0)
            ones.eval();
        else
            tens.eval();
        mx::eval(ones, tens);
        expect_same("ones", ones, mx::full({2}, static_cast<float>(n)));
        expect_same("tens", tens, mx::full({2}, 10.0f * static_cast<float>(n)));
    }
}

/* === Transforms =============================================================================== */

using Operation = std::function<mx::array(const mx::array &)>;

std::vector<std::pair<std::string, Operation>> operations(const GroupRef &group)
{
    const int n = group.size(), rank = group.rank(), next = (rank + 1) % n;
    std::vector<int> to;
    for (int r = 0; r < n; r++)
        to.push_back((r + 1) % n);
    return {{"all_reduce", [=](const mx::array &x) { return hm::all_reduce(x, group); }},
            {"all_reduce max",
             [=](const mx::array &x) { return hm::all_reduce(x, group, HOCKET_MAX); }},
            {"all_reduce prod",
             [=](const mx::array &x) { return hm::all_reduce(x, group, HOCKET_PROD); }},
            {"reduce_to", [=](const mx::array &x) { return hm::reduce_to(x, group, n - 1); }},
            {"all_gather", [=](const mx::array &x) { return hm::all_gather(x, group, 0); }},
            {"all_gather 1", [=](const mx::array &x) { return hm::all_gather(x, group, 1); }},
            {"reduce_scatter", [=](const mx::array &x) { return hm::reduce_scatter(x, group, 0); }},
            {"reduce_scatter 1",
             [=](const mx::array &x) { return hm::reduce_scatter(x, group, 1, HOCKET_MAX); }},
            {"broadcast", [=](const mx::array &x) { return hm::broadcast(x, group, 0); }},
            {"all_to_all", [=](const mx::array &x) { return hm::all_to_all(x, group, 0); }},
            {"all_to_all 1", [=](const mx::array &x) { return hm::all_to_all(x, group, 1); }},
            {"permute", [=](const mx::array &x) { return hm::permute(x, group, to); }},
            {"messages", [=](const mx::array &x) {
                 mx::array sent = hm::send(x, group, next, 3);
                 return hm::recv_like(sent, group, (rank + n - 1) % n, 3);
             }}};
}

/* f on each slice, one after the other. */
mx::array by_loop(const Operation &f, const mx::array &x, int axis)
{
    std::vector<mx::array> found;
    for (int i = 0; i < x.shape(axis); i++) {
        found.push_back(f(mx::take(x, i, axis)));
        found.back().eval();
    }
    return mx::stack(found, axis);
}

void vmap_is_a_loop(const GroupRef &group)
{
    const int n = group.size();
    const std::vector<int> shapes[] = {{3, 2 * n, 2 * n}, {2 * n, 3, 2 * n}, {2 * n, 2 * n, 3}};
    for (auto &[name, f] : operations(group)) {
        Operation loss_of_one = [f = f](const mx::array &x) {
            mx::array y = f(x);
            return mx::sum(mx::multiply(y, mx::square(y)));
        };
        Operation slope = mx::grad(loss_of_one);
        for (int axis = 0; axis < 3; axis++) {
            mx::array x = array_of(values(shapes[axis], 3 + group.rank()));
            expect_near("vmap of " + name, mx::vmap(f, axis, axis)(x), by_loop(f, x, axis), 1e-12);
            expect_near("vmap of the gradient of " + name, mx::vmap(slope, axis, axis)(x),
                        by_loop(slope, x, axis), 1e-12);
        }
    }
}

/* A message goes as one where only what it comes after is mapped. */
void vmap_of_what_comes_after(const GroupRef &group)
{
    const int rank = group.rank();
    auto f = [&](const mx::array &x) {
        mx::array sent = hm::send(mx::full({2}, 5.0f), group, rank, 2, {.after = x});
        mx::array got = hm::recv({2}, mx::float32, group, rank, 2, {.after = sent});
        return mx::add(got, hm::all_reduce(mx::ones({2}), group, HOCKET_MEAN, {.after = x}));
    };
    expect_same("mapped after", mx::vmap(f)(mx::ones({3, 4})), mx::full({3, 2}, 6.0f));
}

/* Without fused kernels: MLX writes these to a folder that all processes share, and a rank may load
 * one that another has not yet written to its end. */
void compiled(const GroupRef &group)
{
    const int n = group.size();
    mx::set_compile_mode(mx::CompileMode::no_fuse);
    for (auto &[name, f] : operations(group)) {
        Operation loss = [f = f](const mx::array &x) {
            mx::array y = f(x);
            return mx::sum(mx::multiply(y, mx::square(y)));
        };
        Operation slope = mx::grad(loss);
        auto both = [slope, f = f](const std::vector<mx::array> &x) {
            return std::vector<mx::array>{f(x[0]), slope(x[0])};
        };
        auto fast = mx::compile(both);
        for (int round = 0; round < 3; round++) {
            mx::array x = array_of(values({2 * n, 2 * n}, round + group.rank()));
            std::vector<mx::array> found = fast({x});
            mx::eval(found);
            expect_near("compiled " + name, found[0], f(x), 1e-12);
            expect_near("compiled gradient of " + name, found[1], slope(x), 1e-12);
        }
        /* The gradient of what is compiled, again and again. */
        auto inner = mx::compile(
            [f = f](const std::vector<mx::array> &x) { return std::vector<mx::array>{f(x[0])}; });
        Operation outer = [&](const mx::array &x) {
            mx::array y = inner({x})[0];
            return mx::sum(mx::multiply(y, mx::square(y)));
        };
        for (int round = 0; round < 5; round++) {
            mx::array x = array_of(values({2 * n, 2 * n}, round + group.rank()));
            expect_near("gradient of compiled " + name, mx::grad(outer)(x), slope(x), 1e-12);
        }
    }
    auto loose = mx::compile(
        [&](const std::vector<mx::array> &x) {
            return std::vector<mx::array>{hm::all_reduce(x[0], group, HOCKET_MEAN)};
        },
        true);
    for (int size : {2, 5})
        expect_same("shapeless", loose({mx::ones({size})})[0], mx::ones({size}));
}

/* === MLX's operations over groups of hocket's ================================================= */

void operations_of_mlx(const Group &group)
{
    const int n = group.size(), rank = group.rank();
    const float own = static_cast<float>(rank), ranks = static_cast<float>(n);
    mx::array x = mx::add(mx::arange(2.0 * n, mx::float32), mx::array(own));
    mx::array first = mx::arange(2.0 * n, mx::float32);
    mx::array total =
        mx::add(mx::multiply(first, mx::array(ranks)), mx::array(ranks * (ranks - 1) / 2));
    expect_same("all_sum", mx::distributed::all_sum(x, group), total);
    expect_same("all_max", mx::distributed::all_max(x, group),
                mx::add(first, mx::array(ranks - 1)));
    expect_same("all_min", mx::distributed::all_min(x, group), first);
    mx::array one = mx::full({1, 2}, own);
    expect_same("all_gather", mx::distributed::all_gather(one, group),
                mx::repeat(mx::reshape(mx::arange(0.0, n, mx::float32), {n, 1}), 2, 1));
    expect_same("sum_scatter", mx::distributed::sum_scatter(x, group),
                mx::slice(total, {2 * rank}, {2 * rank + 2}));
    if (n == 1)
        return;
    mx::array sent = mx::distributed::send(x, (rank + 1) % n, group);
    sent.eval();
    const int last = (rank + n - 1) % n;
    expect_same("recv", mx::distributed::recv({2 * n}, mx::float32, last, group),
                mx::add(first, mx::array(static_cast<float>(last))));
}

mx::array ones_summed(const Group &group)
{
    return mx::distributed::all_sum(mx::ones({2}), group);
}

/* Splits of splits, and every group let go of in another order on each rank, also before the work
 * on it is done. */
void splits(std::shared_ptr<hocket_group> world)
{
    const int n = hocket_world_size(world.get()), rank = hocket_rank(world.get());
    const int even = (n + 1) / 2, size = rank % 2 == 0 ? even : n - even;
    hocket_group *split = nullptr;
    hm::check(hocket_split(world.get(), 0, rank, &split));
    std::shared_ptr<hocket_group> all = hm::owned(split);
    std::optional<Group> outer = hm::group(all);
    std::optional<Group> half = outer->split(rank % 2);
    std::optional<Group> backwards = half->split(0, size - 1 - half->rank());
    std::optional<Group> alone = backwards->split(backwards->rank());
    EXPECT(outer->size() == n && half->size() == size && half->rank() == rank / 2);
    EXPECT(backwards->size() == size && backwards->rank() == size - 1 - half->rank());
    EXPECT(alone->size() == 1);
    operations_of_mlx(*outer);
    operations_of_mlx(*half);
    operations_of_mlx(*backwards);
    operations_of_mlx(*alone);
    expect_same("hocket's on MLX's group", hm::all_reduce(mx::ones({1}), *half),
                mx::full({1}, static_cast<float>(size)));

    mx::array in_half = ones_summed(*half), in_backwards = ones_summed(*backwards);
    mx::async_eval({in_half});
    const bool forwards = rank % 2 == 0;
    (forwards ? all : world).reset();
    (forwards ? outer : half).reset();
    (forwards ? half : outer).reset();
    mx::async_eval({in_backwards});
    backwards.reset();
    (forwards ? world : all).reset();
    expect_same("in half", in_half, mx::full({2}, static_cast<float>(size)));
    expect_same("in backwards", in_backwards, mx::full({2}, static_cast<float>(size)));
    expect_same("alone", ones_summed(*alone), mx::ones({2}));
    mx::array late = hm::all_reduce(mx::ones({2}), *alone);
    alone.reset();
    expect_same("late", late, mx::ones({2}));
}

} // namespace

int main()
{
    return as_rank([](std::shared_ptr<hocket_group> &world) {
        every_dtype(world);
        shapes(world);
        messages(world);
        order(world);
        vmap_is_a_loop(world);
        vmap_of_what_comes_after(world);
        compiled(world);
        operations_of_mlx(hm::group(world));
        splits(std::move(world));
    });
}
