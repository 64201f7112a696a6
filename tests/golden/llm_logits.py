#!/usr/bin/env python3
"""Compares the logits that examples/llm wrote with those of mlx-lm's llama on the same GGUF file and prompt.

    llm_logits.py MODEL PROMPT LOGITS [...]

Prints the largest difference of each and fails when one is above LIMIT, or another token is the likeliest.
Needs mlx and mlx-lm."""
import os
import struct
import sys

import mlx.core as mx

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../mlx_programs"))
import smollm2

LIMIT = 1e-3    # seen: 7e-5; what sums of floats in another order differ by


def main():
    path, prompt = sys.argv[1:3]
    model, keys = smollm2.make_model(path)
    wanted = model(mx.array([smollm2.make_tokenizer(keys).encode(prompt).ids]))[0, -1].tolist()
    bad = 0
    for name in sys.argv[3:]:
        data = open(name, "rb").read()
        got = struct.unpack(f"<{len(data) // 4}f", data)
        worst = max(abs(a - b) for a, b in zip(got, wanted)) if len(got) == len(wanted) else float("inf")
        first = max(range(len(got)), key=got.__getitem__) == max(range(len(wanted)), key=wanted.__getitem__)
        good = worst <= LIMIT and first
        bad += not good
        print(f"{name.rpartition('/')[2]}: largest difference {worst:.2g} of logits up to {max(wanted):.3g}, "
              f"likeliest token {'the same' if first else 'another'}: {'ok' if good else 'TOO LARGE'}")
    sys.exit(bad > 0)


main()
