"""What `hocket bench` measures, by MLX over whatever its backend (ring, mpi) stands on: all_sum of f32,
timed as tools/hocket/bench/measure.c does it and printed in the same form.

    hocket run -n 2 --backend mlx:ring -- python3 all_sum.py NAME ring SIZES SECONDS

An all_sum of MLX is lazy; what is timed is one with its evaluation.
"""

import json
import statistics
import sys
import time

import mlx.core as mx

PERIOD = 251
RANGE = 4
WARM_UP_S = 0.02
BATCH_S = 1e-3
LONG_ENOUGH = 2
GROWTH_MAX = 16
ITERATIONS_MAX = 1_000_000
BATCHES_MIN, BATCHES_MAX = 5, 2000
UNITS = {"K": 10, "M": 20, "G": 30}


def values(rank, count):
    return ((mx.arange(count) % PERIOD * 7 + rank * 5) % RANGE).astype(mx.float32)


def run(data, times):
    for _ in range(times):
        result = mx.distributed.all_sum(data)
        mx.eval(result)
    return result


def agree(numbers):
    result = mx.distributed.all_max(mx.array(numbers, dtype=mx.float32))
    mx.eval(result)
    return result.tolist()


def time_batch(data, iterations):
    agree([0])
    start = time.perf_counter()
    run(data, iterations)
    return time.perf_counter() - start


def choose(data, seconds):
    iterations, spent, in_a_row = 1, 0, 0
    while True:
        batch = agree([time_batch(data, iterations)])[0]
        spent += batch
        long_enough = batch >= BATCH_S or iterations >= ITERATIONS_MAX
        in_a_row = in_a_row + 1 if long_enough else 0
        if in_a_row >= LONG_ENOUGH and spent >= WARM_UP_S:
            break
        if not long_enough:
            growth = min(1.5 * BATCH_S / batch if batch > 0 else GROWTH_MAX, GROWTH_MAX)
            iterations = min(int(iterations * growth + 1), ITERATIONS_MAX)
    return iterations, max(BATCHES_MIN, min(BATCHES_MAX, int(seconds / batch) if batch > 0 else BATCHES_MAX))


def check(result, group, count):
    wanted = sum(values(rank, count) for rank in range(group.size()))
    if not mx.array_equal(result, wanted).item():
        sys.exit(f"all_sum: rank {group.rank()} has a wrong sum of {4 * count} bytes")


def measure(group, name, size, seconds):
    count = max(1, size // 4)
    data = values(group.rank(), count)
    mx.eval(data)
    check(run(data, 1), group, count)
    iterations, batches = choose(data, seconds)
    times = sorted(t / iterations * 1e6
                   for t in agree([time_batch(data, iterations) for _ in range(batches)]))
    check(run(data, 1), group, count)
    if group.rank() == 0:
        median = statistics.median(times)
        speed = 4 * count / median / 1000
        print(json.dumps({
            "operation": "all_reduce", "backend": name, "ranks": group.size(), "dtype": "f32",
            "reduce": "sum", "memory": "mlx", "round": 1, "bytes": 4 * count,
            "median_us": median, "min_us": times[0], "max_us": times[-1],
            "iterations": iterations, "batches": batches, "alg_gb_s": speed,
            "bus_gb_s": speed * 2 * (group.size() - 1) / group.size(), "memory_bytes": 0,
        }), flush=True)


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: all_sum.py NAME BACKEND SIZES SECONDS")
    mx.set_default_device(mx.cpu)
    group = mx.distributed.init(strict=True, backend=sys.argv[2])
    for word in sys.argv[3].split(","):
        size = int(word.rstrip("KMG")) << UNITS.get(word[-1], 0)
        measure(group, sys.argv[1], size, float(sys.argv[4]))


main()
