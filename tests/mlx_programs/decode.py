"""mlx-lm's llama goes on with a prompt, its layers shared by the ranks of the world; rank 0 prints what it said
and how fast, as JSON.

    decode.py MODEL PROMPT TOKENS [NAME=VALUE ...]      the values are printed, too"""
import json
import sys
import time

import mlx.core as mx
from mlx_lm.generate import generate_step

import smollm2

mx.set_default_device(mx.cpu)
path, prompt, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
world = mx.distributed.init()
model, keys = smollm2.make_model(path)
if world.size() > 1:
    model.shard(world)
mx.eval(model.parameters())
coder = smollm2.make_tokenizer(keys)
ids = mx.array(coder.encode(prompt).ids)

# The first tokens show what is slow once.
for _ in generate_step(ids, model, max_tokens=2):
    pass
began = time.perf_counter()
tokens, times = [], []
for token, _ in generate_step(ids, model, max_tokens=count):
    tokens.append(int(token))
    times.append(time.perf_counter())
if world.rank() == 0:
    rate = (count - 1) / (times[-1] - times[0]) if count > 1 else 0
    print(json.dumps({**dict(more.split("=", 1) for more in sys.argv[4:]), "ranks": world.size(),
                      "tokens": tokens, "text": coder.decode(tokens), "first_s": times[0] - began,
                      "tokens_per_s": rate}), flush=True)
