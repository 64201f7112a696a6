#include "mlx/lanes.h"

#include <mlx/primitives.h>
#include <mlx/scheduler.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <thread>
#include <unordered_map>
#include <unordered_set>

namespace hk
{
namespace
{

/* MLX keeps its streams in a table without a lock, so all are made before the first is used. One
 * costs a few bytes until work goes to it. Threads beyond this number share lanes. */
constexpr size_t kLanes = 64;

struct Lanes {
    std::mutex lock;
    std::deque<Lane> all;
    std::vector<size_t> users; /* of each lane */
    std::unordered_map<int, Lane *> by_stream;

    Lanes() : users(kLanes)
    {
        const bool cpu_only = mx::default_device() == mx::Device::cpu;
        for (size_t i = 0; i < kLanes; i++) {
            mx::Stream cpu = mx::new_thread_unsafe_stream(mx::Device::cpu);
            mx::Stream compute =
                cpu_only ? cpu : mx::new_thread_unsafe_stream(mx::default_device());
            Lane &made = all.emplace_back(compute, cpu);
            made.number = i;
            by_stream.emplace(cpu.index, &made);
            by_stream.emplace(compute.index, &made);
        }
    }
};

/* Never destroyed: threads of MLX may still run when the process ends. */
Lanes &lanes()
{
    static Lanes &made = *new Lanes;
    return made;
}

struct Lease {
    Lane *lane = &lane_take();
    ~Lease()
    {
        if (!lane->stuck)
            lane_give(*lane);
    }
};

std::atomic<bool> watching = false;
constexpr int kSpins = 100; /* looks before a wait sleeps between them */
constexpr auto kLook = std::chrono::microseconds(20);
/* Whatever is still not done so long after a failure is taken for stuck. */
constexpr auto kAfterFailure = std::chrono::milliseconds(200);

/* Throws what has failed on the lanes as soon as it has, even where something after it hangs. */
void check_lanes(const std::vector<Lane *> &lanes, const std::function<bool()> &done)
{
    try {
        for (Lane *lane : lanes)
            mx::scheduler::check_error(lane->cpu);
    } catch (...) {
        const auto until = std::chrono::steady_clock::now() + kAfterFailure;
        while (!done() && std::chrono::steady_clock::now() < until)
            std::this_thread::sleep_for(kLook);
        for (Lane *lane : lanes)
            lane->stuck = lane->stuck || !done();
        throw;
    }
}

void wait_watching(const std::vector<mx::array> &arrays, const std::vector<Lane *> &lanes)
{
    auto done = [&] {
        return std::all_of(arrays.begin(), arrays.end(),
                           [](const mx::array &array) { return array.is_available(); });
    };
    for (int looks = 0; !done(); looks++) {
        check_lanes(lanes, done);
        if (looks < kSpins)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(kLook);
    }
    for (mx::array array : arrays)
        array.wait(); /* throws what went wrong */
}

/* The lanes that evaluating these arrays dispatches to: those of all that is not yet evaluated. */
std::vector<Lane *> lanes_of(const std::vector<mx::array> &arrays)
{
    std::vector<Lane *> found;
    std::unordered_set<std::uintptr_t> seen;
    std::vector<mx::array> open = arrays;
    const auto &by_stream = lanes().by_stream;
    while (!open.empty()) {
        mx::array array = std::move(open.back());
        open.pop_back();
        if (array.status() != mx::array::Status::unscheduled || !array.has_primitive() ||
            !seen.insert(array.id()).second)
            continue;
        auto known = by_stream.find(array.primitive().stream().index);
        if (known != by_stream.end() &&
            std::find(found.begin(), found.end(), known->second) == found.end())
            found.push_back(known->second);
        for (const mx::array &input : array.inputs())
            open.push_back(input);
    }
    /* Everyone locks in the same order. */
    std::sort(found.begin(), found.end(),
              [](const Lane *a, const Lane *b) { return a->number < b->number; });
    return found;
}

} // namespace

Lane &lane_take()
{
    Lanes &table = lanes();
    std::lock_guard lock(table.lock);
    auto least = std::min_element(table.users.begin(), table.users.end());
    ++*least;
    return table.all[static_cast<size_t>(least - table.users.begin())];
}

void lane_give(Lane &lane)
{
    Lanes &table = lanes();
    std::lock_guard lock(table.lock);
    --table.users[lane.number];
}

Lane &lane()
{
    static thread_local Lease lease;
    if (lease.lane->stuck)
        lease.lane = &lane_take();
    return *lease.lane;
}

void watch_evaluations()
{
    watching = true;
}

void evaluate(std::vector<mx::array> arrays)
{
    const std::vector<Lane *> lanes = lanes_of(arrays);
    std::vector<std::unique_lock<std::mutex>> locks;
    for (Lane *each : lanes)
        locks.emplace_back(each->dispatching);
    if (!watching) {
        mx::eval(std::move(arrays));
        return;
    }
    mx::async_eval(arrays);
    wait_watching(arrays, lanes);
}

} // namespace hk
