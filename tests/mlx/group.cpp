/* MLX's own operations over groups of hocket's (hocket_mlx_group): a group of one, and two ranks
 * that are threads of this process. */
#include <hocket/mlx.h>
#include <mlx/mlx.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

namespace mx = mlx::core;
using mx::distributed::Group;

static void ok(hocket_status status)
{
    if (status != HOCKET_OK)
        throw std::runtime_error(hocket_last_error());
}

static void expect(bool condition, const char *what)
{
    if (!condition)
        throw std::runtime_error(std::string("not true: ") + what);
}
#define EXPECT(condition) expect(condition, #condition)

static bool same(const mx::array &a, const mx::array &b)
{
    return mx::array_equal(a, b).item<bool>();
}

static void operations(Group group, int rank)
{
    EXPECT(group.rank() == rank && group.size() == 2);
    const float own = static_cast<float>(rank);
    mx::array x = mx::add(mx::array({1.0f, 2.0f, 3.0f, 4.0f}), mx::array(own));
    EXPECT(same(mx::distributed::all_sum(x, group), mx::array({3.0f, 5.0f, 7.0f, 9.0f})));
    EXPECT(same(mx::distributed::all_max(x, group), mx::array({2.0f, 3.0f, 4.0f, 5.0f})));
    EXPECT(same(mx::distributed::all_min(x, group), mx::array({1.0f, 2.0f, 3.0f, 4.0f})));
    EXPECT(same(mx::distributed::all_gather(mx::array({own}), group), mx::array({0.0f, 1.0f})));
    mx::array scattered = mx::distributed::sum_scatter(x, group);
    EXPECT(same(scattered, rank == 0 ? mx::array({3.0f, 5.0f}) : mx::array({7.0f, 9.0f})));
    /* Not contiguous, and halves. */
    mx::array t = mx::transpose(mx::astype(mx::reshape(x, {2, 2}), mx::bfloat16));
    mx::array sum = mx::astype(mx::distributed::all_sum(t, group), mx::float32);
    EXPECT(same(sum, mx::reshape(mx::array({3.0f, 7.0f, 5.0f, 9.0f}), {2, 2})));
    if (rank == 0)
        mx::eval(mx::distributed::send(x, 1, group));
    else
        EXPECT(same(mx::distributed::recv({4}, mx::float32, 0, group),
                    mx::array({1.0f, 2.0f, 3.0f, 4.0f})));
    Group alone = group.split(rank);
    EXPECT(alone.size() == 1);
    EXPECT(same(mx::distributed::all_sum(x, alone), x));
}

/* What happens to the group comes out of eval, and this thread goes on. */
static void failure(Group group, hocket_group *hocket)
{
    mx::array y = mx::distributed::all_sum(mx::array({1.0f}), group);
    hocket_abort(hocket, "the test says so: 100%s");
    std::string text;
    try {
        y.eval();
    } catch (const std::exception &error) {
        text = error.what();
    }
    EXPECT(text.find("the test says so: 100%s") != std::string::npos);
}

static void run(int rank, std::string *failed)
{
    try {
        hocket_config config{};
        config.size = sizeof config;
        config.backend = "local";
        config.rank = rank;
        config.world_size = 2;
        config.coordinator = "mlx-group";
        config.timeout_s = 20;
        hocket_group *group;
        void *handle;
        ok(hocket_init(&config, &group));
        ok(hocket_mlx_group(group, &handle));
        operations(*static_cast<Group *>(handle), rank);
        ok(hocket_barrier(group));
        failure(*static_cast<Group *>(handle), group);
        hocket_mlx_group_free(handle);
        hocket_free(group);
    } catch (const std::exception &error) {
        *failed = "rank " + std::to_string(rank) + ": " + error.what();
    }
}

int main()
{
    std::string failed[2];
    std::thread ranks[2] = {std::thread(run, 0, &failed[0]), std::thread(run, 1, &failed[1])};
    for (std::thread &rank : ranks)
        rank.join();
    for (const std::string &text : failed)
        if (!text.empty())
            fprintf(stderr, "%s\n", text.c_str());
    return !failed[0].empty() || !failed[1].empty();
}
