"""What mx.distributed promises, on any number of ranks that is even: reductions and gathers of every dtype,
split groups, messages, sharded layers, gradients, donated memory. Prints a line when all of it holds.

    behaviours.py [NAME ...]      only those"""
import sys
import threading

import mlx.core as mx
import mlx.nn as nn
from mlx.nn.layers.distributed import shard_inplace, shard_linear
from mlx.nn.utils import average_gradients, clip_grad_norm_sharded
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_flatten, tree_map

mx.set_default_device(mx.cpu)
world = mx.distributed.init(strict=True)    # of `any`: what the launcher has prepared
rank, size = world.rank(), world.size()
FLOATS = {mx.float64: 1e-12, mx.float32: 1e-6, mx.float16: 5e-3, mx.bfloat16: 5e-2, mx.complex64: 1e-6}
INTEGERS = [mx.int8, mx.uint8, mx.int16, mx.uint16, mx.int32, mx.uint32, mx.int64, mx.uint64]
done = 0


def check(condition, what):
    global done
    done += 1
    if not condition:
        raise AssertionError(f"rank {rank} of {size}: {what}")


def close(got, wanted, what, tolerance=1e-5):
    check(got.shape == wanted.shape and got.dtype == wanted.dtype, f"{what}: {got.shape} of {got.dtype}")
    error = mx.abs(got - wanted).max().item() if got.size else 0
    check(error <= tolerance * (1 + mx.abs(wanted).max().item()), f"{what}: off by {error}")


def values(dtype, shape, of):
    """What that rank has; every rank can tell."""
    numbers = mx.random.uniform(-4, 4, shape, key=mx.random.key(of))
    if dtype == mx.bool_:
        return numbers > 3
    if dtype == mx.complex64:
        # Few different real parts, so that the imaginary ones count in max and min.
        return mx.round(numbers) + 1j * mx.random.uniform(-4, 4, shape, key=mx.random.key(of + 100))
    if dtype in FLOATS:
        return numbers.astype(dtype)
    return mx.abs(numbers * 3).astype(dtype) if dtype in INTEGERS[1::2] else (numbers * 3).astype(dtype)


def of_ranks(dtype, shape, members=None):
    return [values(dtype, shape, of) for of in (members if members is not None else range(size))]


def first_of(arrays, better):
    """Complex numbers are ordered by their real parts, then by the imaginary ones."""
    best = arrays[0]
    for array in arrays[1:]:
        real, other = mx.real(array), mx.real(best)
        takes = better(real, other) | ((real == other) & better(mx.imag(array), mx.imag(best)))
        best = mx.where(takes, array, best)
    return best


def extreme(arrays, dtype, name):
    if dtype == mx.complex64:
        return first_of(arrays, mx.greater if name == "max" else mx.less)
    return getattr(mx, name)(mx.stack(arrays), axis=0)


def test_all_reduce():
    """Integers, max and min exactly; sums of halves are rounded once, in whatever order they are added."""
    for shape in [(7,), (10, 3), (1024,), (64, 1024)]:
        for dtype in INTEGERS + list(FLOATS):
            arrays = of_ranks(dtype, shape)
            wide = {mx.float16: mx.float32, mx.bfloat16: mx.float32}.get(dtype, dtype)
            total = sum((a.astype(wide) for a in arrays[1:]), arrays[0].astype(wide))
            close(mx.distributed.all_sum(arrays[rank]).astype(wide), total, f"sum of {dtype}",
                  FLOATS.get(dtype, 0))
            for name, function in [("max", mx.distributed.all_max), ("min", mx.distributed.all_min)]:
                got = function(arrays[rank])
                check(mx.array_equal(got, extreme(arrays, dtype, name)).item(), f"{name} of {dtype} {shape}")
        arrays = of_ranks(mx.bool_, shape)
        check(mx.array_equal(mx.distributed.all_sum(arrays[rank]), extreme(arrays, mx.bool_, "max")).item(),
              "sum of bool")


def test_rounding():
    """A sum of halves whose steps would all be lost."""
    for dtype, big in [(mx.float16, 2048), (mx.bfloat16, 256)]:
        x = mx.array([big if rank == 0 else 1], dtype)
        exact = mx.array([big + size - 1], mx.float32).astype(dtype)
        check(mx.distributed.all_sum(x).item() == exact.item(), f"a small addend of {dtype} is lost")


def test_large():
    """The extremes of a bfloat16, which as bits of a float16 would be no numbers; and what is no number."""
    for value, wanted in [(3e38, 3e38), (-3e38, -3e38), (float("nan"), None)]:
        for who in range(size):
            for dtype in [mx.bfloat16, mx.float32]:
                x = mx.array([value if rank == who else 1.0]).astype(dtype)
                got = (mx.distributed.all_min if value < 0 else mx.distributed.all_max)(x)
                same = mx.isnan(got) if wanted is None else got == mx.array([wanted]).astype(dtype)
                check(same.item(), f"{value} of rank {who} as {dtype}: {got.item()}")


def test_all_gather():
    for dtype in INTEGERS + list(FLOATS) + [mx.bool_]:
        arrays = of_ranks(dtype, (2, 2, 4))
        got = mx.distributed.all_gather(arrays[rank])
        check(got.shape == (2 * size, 2, 4) and mx.array_equal(got, mx.concatenate(arrays)).item(),
              f"gather of {dtype}")


def test_views():
    """What does not lie in memory as it is seen."""
    x = values(mx.float32, (6, 8), rank)
    arrays = of_ranks(mx.float32, (6, 8))
    close(mx.distributed.all_sum(x.T), sum(a.T for a in arrays), "sum of a transposed array")
    got = mx.distributed.all_gather(x[::2, 1:5])
    check(mx.array_equal(got, mx.concatenate([a[::2, 1:5] for a in arrays])).item(), "gather of a slice")


def test_groups():
    parts = [(rank % 2, rank, [r for r in range(size) if r % 2 == rank % 2]),
             (rank // 2, -1, [rank // 2 * 2, rank // 2 * 2 + 1]),
             (3, size - rank, list(range(size))[::-1])]
    made = []
    for color, key, members in parts:
        part = world.split(color, key)
        made.append((part, members))
        check(part.size() == len(members), f"a group of {part.size()}")
        check(part.rank() == members.index(rank), f"rank {part.rank()} of {members}")
        for dtype in [mx.int16, mx.uint16, mx.complex64, mx.float16]:
            arrays = of_ranks(dtype, (33,), members)
            close(mx.distributed.all_sum(values(dtype, (33,), rank), group=part), sum(arrays[1:], arrays[0]),
                  f"sum of {dtype} in a part", FLOATS.get(dtype, 0))
            got = mx.distributed.all_gather(values(dtype, (33,), rank), group=part)
            check(mx.array_equal(got, mx.concatenate(arrays)).item(), f"gather of {dtype} in a part")
    # The sum over one group goes into a gather over another, in one evaluation.
    (odd, members), (pair, neighbours) = made[0], made[1]
    got = mx.distributed.all_gather(mx.distributed.all_sum(mx.array([rank + 1.0]), group=odd), group=pair)
    wanted = [sum(m + 1.0 for m in range(n % 2, size, 2)) for n in neighbours]
    check(got.tolist() == wanted, f"mixed groups: {got.tolist()}")
    inner = odd.split(0)
    made.clear()
    del odd, pair, part
    check(mx.distributed.all_sum(mx.array([1]), group=inner).item() == size // 2, "a part of a part")


def test_send_recv():
    pair = rank ^ 1
    x = mx.ones(10)
    for _ in range(10):
        if rank % 2 == 0:
            mx.eval(mx.distributed.send(2 * x, pair))
            x = mx.distributed.recv_like(x, pair)
        else:
            x = mx.distributed.recv_like(x, pair)
            mx.eval(mx.distributed.send(x + 1, pair))
        mx.eval(x)
    # x becomes 2x on the even rank, 2x + 1 on the odd one and goes back.
    wanted = 1.0
    for i in range(10):
        wanted = 2 * wanted + (i < 9 or rank % 2 == 0)
    check((x == wanted).all().item(), f"ten times there and back: {x[0].item()}, not {wanted}")
    right, left = (rank + 1) % size, (rank - 1) % size
    for dtype in INTEGERS + list(FLOATS) + [mx.bool_]:
        for shape in [(1,), (3, 5), (1000,), (300, 300)]:
            mine = values(dtype, shape, rank)
            if rank % 2 == 0:
                mx.eval(mx.distributed.send(mine, right))
            got = mx.distributed.recv(shape, dtype, left)
            mx.eval(got)
            if rank % 2 == 1:
                mx.eval(mx.distributed.send(mine, right))
            check(mx.array_equal(got, values(dtype, shape, left)).item(), f"round the ring: {dtype} {shape}")
    far = (rank + size // 2) % size
    got = mx.distributed.recv((4,), mx.int32, far)
    other = mx.arange(100).sum()
    mx.eval(mx.distributed.send(mx.full((4,), rank), far))
    mx.eval(got, other)
    check(got.tolist() == [far] * 4 and other.item() == 4950, "across, beside another computation")


def test_donation():
    """A sum that is used once is made in place."""
    def peak(function):
        x = mx.zeros((1 << 20,))
        mx.eval(x)
        mx.reset_peak_memory()
        before = mx.get_peak_memory() + mx.get_active_memory()
        for _ in range(3):
            x = function(x)
            mx.eval(x)
        return mx.get_peak_memory() - before
    alone = peak(lambda x: mx.exp(mx.exp(x) - 1) - 1)
    summed = peak(lambda x: mx.distributed.all_sum(mx.distributed.all_sum(mx.exp(x) - 1)) * 0)
    check(summed <= alone, f"{summed} bytes more than before at the most, and {alone} without any sum")


def unsharded(layer, x):
    return layer(x), nn.value_and_grad(layer, lambda x: (layer(x) ** 2).mean())(x)[1]


def part_of(array, axis):
    return mx.split(array, size, axis=axis)[rank]


def test_shard_linear():
    inputs, hidden = 32 * size, 32 * size
    mx.random.seed(7)
    x = mx.random.normal((4, inputs))
    for make in [lambda layer: layer, lambda layer: layer.to_quantized(group_size=32, bits=4),
                 lambda layer: layer.to_quantized(group_size=32, bits=8, mode="mxfp8")]:
        for bias in [True, False]:
            layer = nn.Linear(inputs, hidden, bias=bias)
            if bias and make(layer) is not layer:
                layer.bias = mx.random.normal((hidden,))
            layer = make(layer)
            wide = shard_linear(layer, "all-to-sharded")
            close(wide(x), part_of(layer(x), -1), "a layer whose outputs are shared", 1e-4)
            narrow = shard_linear(layer, "sharded-to-all")
            close(narrow(part_of(x, -1)), layer(x), "a layer whose inputs are shared", 1e-4)


def test_shard_gradients():
    """Two layers, the first with its outputs shared and the second with its inputs."""
    width = 8 * size
    mx.random.seed(9)
    x, y = mx.random.normal((4, width)), mx.random.normal((4, width))
    model = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
    shared = nn.Sequential(shard_linear(model.layers[0], "all-to-sharded"),
                           shard_linear(model.layers[1], "sharded-to-all"))

    def loss(model, x, y):
        return ((model(x) - y) ** 2).mean()

    value, grads = nn.value_and_grad(model, loss)(model, x, y)
    got, parts = nn.value_and_grad(shared, loss)(shared, x, y)
    close(got, value, "the loss of a shared model")
    for i, (of, part) in enumerate(zip(grads["layers"], parts["layers"])):
        close(part["weight"], part_of(of["weight"], i), f"gradient of weight {i}")
        close(part["bias"], of["bias"] if i else part_of(of["bias"], 0), f"gradient of bias {i}")
    into = mx.grad(lambda x: loss(model, x, y))(x)
    close(mx.grad(lambda x: loss(shared, x, y))(x), into, "gradient of the input")


def test_shard_predicate():
    """A convolution whose channels are shared as a function of ours says, and a sum that joins them."""
    class Joined(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.inside = inside

        def __call__(self, x):
            return mx.distributed.all_sum(self.inside(x))

    mx.random.seed(11)
    first, second = nn.Conv1d(4, 4 * size, 3, padding=1), nn.Conv1d(4 * size, 8, 3, padding=1, bias=False)
    x = mx.random.normal((2, 16, 4))
    wanted = second(nn.relu(first(x)))
    shard_inplace(first, lambda path, weight: 0)
    shard_inplace(second, lambda path, weight: (-1, [0.5]))
    # The channels of the second are shared in two segments, so those of the first are taken likewise.
    full = mx.distributed.all_gather(nn.relu(first(x)).moveaxis(-1, 0)).moveaxis(0, -1)
    halves = mx.split(full, 2, axis=-1)
    mine = mx.concatenate([part_of(half, -1) for half in halves], axis=-1)
    close(Joined(second)(mine), wanted, "a shared convolution", 1e-4)
    check(first.weight.shape[0] == 4, "the share of a convolution")


def test_average_gradients():
    """In as few sums as the size of a bucket allows."""
    calls, real = [], mx.distributed.all_sum

    def counting(x, **more):
        calls.append(x.size)
        return real(x, **more)

    tree = [mx.full((10, 10), float(rank)) for _ in range(10)]
    mean = (size - 1) / 2
    mx.distributed.all_sum = counting
    try:
        for bucket, dtype, wanted in [(32 << 20, mx.float32, 1), (2 * 50 * 4 * 5, mx.float32, 2), (0, mx.float32, 10),
                                      (32 << 20, mx.bfloat16, 1)]:
            calls.clear()
            got = average_gradients(tree_map(lambda x: x.astype(dtype), tree), all_reduce_size=bucket)
            mx.eval(got)
            check(len(calls) == wanted, f"{len(calls)} sums of a bucket of {bucket} bytes, not {wanted}")
            check(all((g == mean).all().item() for g in got), f"the mean of {dtype}")
        calls.clear()
        mixed = tree[:5] + [x.astype(mx.float16) for x in tree[5:]]
        check(all((g == mean).all().item() for g in average_gradients(mixed)) and len(calls) == 10, "mixed dtypes")
    finally:
        mx.distributed.all_sum = real


def test_clip_grad_norm():
    mx.random.seed(13)
    full = {"a": mx.random.normal((4 * size, 3)), "b": [mx.random.normal((2 * size,))]}
    for most in [0.5, 1e6]:
        wanted, norm = clip_grad_norm(full, most)
        got, same = clip_grad_norm_sharded(tree_map(lambda g: part_of(g, 0), full), most)
        close(same, norm, "the norm over all shares")
        for (name, g), (_, w) in zip(tree_flatten(got), tree_flatten(wanted)):
            close(g, part_of(w, 0), f"the clipped share of {name}")


def test_threads():
    """One after the other, threads of the program evaluate on streams of their own."""
    for i in range(4):
        stream, got = mx.new_stream(mx.cpu), []
        thread = threading.Thread(target=lambda: got.append(
            mx.distributed.all_sum(mx.array([rank + i]), stream=mx.cpu).item()))
        thread.start()
        thread.join()
        check(got == [size * (size - 1) // 2 + size * i] and stream is not None, f"thread {i}: {got}")


def test_empty():
    check(mx.distributed.all_sum(mx.zeros((0, 3))).shape == (0, 3), "the sum of nothing")
    check(mx.distributed.all_gather(mx.zeros((0, 3))).shape == (0, 3), "the gather of nothing")


names = sys.argv[1:] or [name for name in globals() if name.startswith("test_")]
for name in names:
    globals()[name]()
# print() gives a terminal, such as mpirun has for each rank, the end of the line by itself: another's may come between.
sys.stdout.write(f"rank {rank} of {size}: {len(names)} behaviours, {done} checks\n")
