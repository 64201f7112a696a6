#!/usr/bin/env python3
"""Compares the logits that examples/llm wrote with those of mlx-lm's llama on the same GGUF file and prompt.

    llm_logits.py MODEL PROMPT LOGITS [...]

Prints the largest difference of each and fails when one is above LIMIT, or another token is the likeliest.
Needs mlx and mlx-lm, and tokenizers, which comes with it."""
import struct
import sys

import mlx.core as mx
from mlx_lm.models import llama
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

LIMIT = 1e-3    # seen: 7e-5; what sums of floats in another order differ by
GROUP = 32
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def renamed(stem):
    parts = stem.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return NAMES[parts[0]] + ".weight"


def unpacked(arrays):
    for name, array in arrays.items():
        stem, _, kind = name.rpartition(".")
        if kind != "weight":
            continue
        if stem + ".scales" in arrays:
            scales, biases = arrays[stem + ".scales"], arrays[stem + ".biases"]
            bits = array.shape[-1] * 32 // (scales.shape[-1] * GROUP)
            array = mx.dequantize(array, scales.astype(mx.float32), biases.astype(mx.float32), GROUP, bits)
        yield renamed(stem), array.astype(mx.float32)


def number(keys, name):
    value = keys[name]
    return value.item() if isinstance(value, mx.array) else value


def make_model(path):
    arrays, keys = mx.load(path, return_metadata=True)
    model = llama.Model(llama.ModelArgs(
        model_type="llama", hidden_size=number(keys, "llama.embedding_length"),
        num_hidden_layers=number(keys, "llama.block_count"),
        intermediate_size=number(keys, "llama.feed_forward_length"),
        num_attention_heads=number(keys, "llama.attention.head_count"),
        num_key_value_heads=number(keys, "llama.attention.head_count_kv"),
        rms_norm_eps=number(keys, "llama.attention.layer_norm_rms_epsilon"),
        vocab_size=number(keys, "llama.vocab_size"), rope_theta=number(keys, "llama.rope.freq_base"),
        rope_traditional=True, tie_word_embeddings="output.weight" not in arrays))
    model.load_weights(list(unpacked(arrays)))
    return model, keys


def encode(keys, text):
    tokens = keys["tokenizer.ggml.tokens"]
    coder = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                                 merges=[tuple(m.split(" ")) for m in keys["tokenizer.ggml.merges"]]))
    coder.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    kinds = keys["tokenizer.ggml.token_type"].tolist()
    coder.add_special_tokens([AddedToken(token, normalized=False, special=True)
                              for token, kind in zip(tokens, kinds) if kind in (3, 4)])
    return coder.encode(text).ids


def main():
    path, prompt = sys.argv[1:3]
    model, keys = make_model(path)
    wanted = model(mx.array([encode(keys, prompt)]))[0, -1].tolist()
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
