/* How hocket's operations on MLX's arrays fail: what comes out of eval, and that the process lives
 * on. The argument says what happens; whoever lives on prints "lives on". */
#include "ranks.hpp"

#include <csignal>
#include <cstring>
#include <unistd.h>

namespace
{

namespace hm = hocket::mlx;
using hm::GroupRef;

bool has(const std::string &text, const std::string &part)
{
    return text.find(part) != std::string::npos;
}

/* What body throws, with what is known of it. */
hm::Error error_of_body(const std::function<void()> &body)
{
    try {
        body();
    } catch (const std::exception &caught) {
        std::optional<hm::Error> error = hm::error_of(caught);
        if (!error)
            throw std::runtime_error("not known as hocket's: " + std::string(caught.what()));
        return *error;
    }
    throw std::runtime_error("nothing failed");
}

void expect_error(const hm::Error &error, hocket_status status, const std::string &part,
                  const std::vector<int> &ranks)
{
    if (error.status() != status || !has(error.what(), part) || error.ranks() != ranks)
        throw std::runtime_error(std::string("another failure: ") +
                                 hocket_status_name(error.status()) + ": " + error.what());
}

/* MLX itself goes on, on the stream where something failed too. */
void expect_mlx_works()
{
    expect_same("afterwards", mx::add(mx::ones({2}), mx::ones({2})), mx::full({2}, 2.0f));
}

void arguments(std::shared_ptr<hocket_group> &world)
{
    const GroupRef group(world);
    const int n = group.size();
    const mx::array x = mx::ones({2, 3}), scalar(1.0f);
    const std::vector<std::pair<std::function<void()>, std::string>> wrong = {
        {[&] { hm::all_gather(x, group, 2); }, "all_gather: axis is 2, x has 2 dimensions"},
        {[&] { hm::all_gather(scalar, group, 1); }, "all_gather: axis is 1, x has 0 dimensions"},
        {[&] { hm::reduce_scatter(scalar, group); },
         "reduce_scatter: axis is 0, x has 0 dimensions"},
        {[&] {
             hm::reduce_scatter(mx::ones({2, n + 1}), group, 1);
         },
         "axis 1 has " + std::to_string(n + 1) + " elements, which " + std::to_string(n) +
             " ranks do not divide"},
        {[&] { hm::all_to_all(x, group, -3); }, "all_to_all: axis is -3"},
        {[&] { hm::broadcast(x, group, n); },
         "broadcast: there is no rank " + std::to_string(n) + " in a group of"},
        {[&] { hm::reduce_to(x, group, -1); }, "reduce_to: there is no rank -1"},
        {[&] { hm::send(x, group, -1); }, "send: there is no rank -1"},
        {[&] { hm::recv({1}, mx::float32, group, n); }, "recv: there is no rank"},
        {[&] {
             hm::permute(x, group, {0, 1, 2, 3, 4, 5, 6, 7});
         },
         "permute: to has 8 entries"},
        {[&] { hm::group(nullptr); }, "the group is NULL"},
        {[&] { hm::all_reduce(x, mx::distributed::init(false, "ring")); },
         "this MLX group is not one of hocket's"},
        {[&] { hm::group(group).split(-1); }, "a color must not be negative"},
    };
    for (auto &[body, sentence] : wrong)
        expect_error(error_of_body(body), HOCKET_ERR_INVALID, sentence, {});

    hm::detail::check_version("0.32.4", "0.32.4.dev20260101+abc");
    for (const char *runs : {"0.32.3", "0.32", "0.32.41", "1.32.4"})
        expect_error(error_of_body([&] { hm::detail::check_version("0.32.4", runs); }),
                     HOCKET_ERR_UNAVAILABLE, "compiled with MLX 0.32.4 and runs with", {});

    /* What only the group can see comes out of eval, on every rank, and the group lives on. */
    mx::array mean = hm::all_reduce(mx::ones({2}, mx::int32), group, HOCKET_MEAN);
    expect_error(error_of_body([&] { mean.eval(); }), HOCKET_ERR_INVALID, "mean", {});
    expect_mlx_works();
    expect_same("the group", hm::all_reduce(x, group, HOCKET_MEAN), x);

    /* The rest of that evaluation does not run. */
    mean = hm::all_reduce(mx::ones({2}, mx::int32), group, HOCKET_MEAN);
    mx::array sent = hm::send(x, group, group.rank(), 9, {.after = mean});
    expect_error(error_of_body([&] { sent.eval(); }), HOCKET_ERR_INVALID, "mean", {});
    hm::check(hocket_set_timeout(group.get(), 0.2));
    int source;
    size_t length;
    EXPECT(hocket_probe(group.get(), group.rank(), 9, &source, &length) == HOCKET_ERR_TIMEOUT);
}

/* The last rank leaves, or dies, and all the others say so: at once, backwards, through MLX, again.
 */
void lost(std::shared_ptr<hocket_group> &world, bool killed)
{
    const int n = hocket_world_size(world.get()), last = n - 1;
    const mx::array x = mx::ones({1000});
    hm::all_reduce(x, world).eval();
    if (hocket_rank(world.get()) == last) {
        if (killed)
            kill(getpid(), SIGKILL);
        return;
    }
    const std::string sentence = "rank " + std::to_string(last);
    auto dies = [&](const std::function<void()> &body) {
        expect_error(error_of_body(body), HOCKET_ERR_PEER_LOST, sentence, {last});
        expect_mlx_works();
    };
    dies([&] { hm::all_reduce(x, world).eval(); });
    dies([&] {
        auto loss = [&](const mx::array &a) { return mx::sum(hm::all_gather(a, world)); };
        mx::grad(loss)(x).eval();
    });
    dies([&] { mx::distributed::all_sum(x, hm::group(world)).eval(); });
    dies([&] { hm::recv({1}, mx::float32, world, last).eval(); });
}

void mismatch(std::shared_ptr<hocket_group> &world)
{
    const int rank = hocket_rank(world.get());
    mx::array y = hm::all_reduce(mx::ones({rank == 0 ? 4 : 5}), world);
    const hm::Error error = error_of_body([&] { y.eval(); });
    EXPECT(error.status() == HOCKET_ERR_MISMATCH);
    EXPECT(has(error.what(), "4 elements") && has(error.what(), "5 elements"));
    expect_mlx_works();
}

void lengths(std::shared_ptr<hocket_group> &world)
{
    const int n = hocket_world_size(world.get()), rank = hocket_rank(world.get());
    const int last = (rank + n - 1) % n;
    mx::eval(hm::send(mx::ones({2}), world, (rank + 1) % n, 1),
             hm::send(mx::ones({2}), world, (rank + 1) % n, 2));
    expect_error(error_of_body([&] { hm::recv({3}, mx::float32, world, last, 1).eval(); }),
                 HOCKET_ERR_MISMATCH,
                 "rank " + std::to_string(last) +
                     " sent 8 bytes under tag 1 where this rank receives 12",
                 {last});
    expect_error(error_of_body([&] { hm::recv({1}, mx::float32, world, last, 2).eval(); }),
                 HOCKET_ERR_INVALID, "8 bytes", {});
    expect_same("it stays", hm::recv({2}, mx::float32, world, last, 2), mx::ones({2}));
    expect_same("the group", hm::all_reduce(mx::ones({2}), world, HOCKET_MEAN), mx::ones({2}));
}

void aborted(std::shared_ptr<hocket_group> &world)
{
    const int last = hocket_world_size(world.get()) - 1;
    if (hocket_rank(world.get()) == last)
        hm::check(hocket_abort(world.get(), "the test says so: 100%s"));
    expect_error(error_of_body([&] { hm::all_reduce(mx::ones({2}), world).eval(); }),
                 HOCKET_ERR_ABORTED, "the test says so: 100%s", {last});
    expect_mlx_works();
}

} // namespace

int main(int count, char **arguments_)
{
    return as_rank([&](std::shared_ptr<hocket_group> &world) {
        const std::string what = count > 1 ? arguments_[1] : "";
        if (what == "arguments")
            arguments(world);
        else if (what == "leave" || what == "kill")
            lost(world, what == "kill");
        else if (what == "mismatch")
            mismatch(world);
        else if (what == "lengths")
            lengths(world);
        else if (what == "abort")
            aborted(world);
        else
            throw std::runtime_error("there is no failure '" + what + "'");
        puts("lives on");
    });
}
