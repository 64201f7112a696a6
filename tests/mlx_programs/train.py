"""A small model learns on a batch of which each rank has a part; rank 0 prints the losses on all of it, as JSON.

    train.py STEPS"""
import json
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
from mlx.nn.utils import average_gradients

mx.set_default_device(mx.cpu)
BATCH, INPUTS, HIDDEN = 48, 16, 64
world = mx.distributed.init()
mx.random.seed(3)
x = mx.random.normal((BATCH, INPUTS))
y = mx.sin(x.sum(axis=1, keepdims=True))
part = slice(world.rank() * BATCH // world.size(), (world.rank() + 1) * BATCH // world.size())
model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
optimizer = optimizers.SGD(learning_rate=0.05, momentum=0.9)


def loss(x, y):
    return ((model(x) - y) ** 2).mean()


step = nn.value_and_grad(model, loss)
losses = []
for _ in range(int(sys.argv[1])):
    value, grads = step(x[part], y[part])
    optimizer.update(model, average_gradients(grads))
    losses.append((mx.distributed.all_sum(value) / world.size()).item())
    mx.eval(model.parameters(), optimizer.state)
if world.rank() == 0:
    print(json.dumps(losses))
