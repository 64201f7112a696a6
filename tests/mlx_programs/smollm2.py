"""SmolLM2 out of its GGUF file, for mlx-lm: as a model, as a tokenizer, and as the folder that mlx-lm loads.

    smollm2.py MODEL FOLDER      writes the folder"""
import json
import os
import sys

import mlx.core as mx
from mlx_lm.models import llama
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

GROUP = 32
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def renamed(stem):
    parts = stem.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}"
    return NAMES[parts[0]]


def unpacked(arrays):
    """The weights in float32: on a CPU the fastest."""
    for name, array in arrays.items():
        stem, _, kind = name.rpartition(".")
        if kind != "weight":
            continue
        if stem + ".scales" in arrays:
            scales, biases = arrays[stem + ".scales"], arrays[stem + ".biases"]
            bits = array.shape[-1] * 32 // (scales.shape[-1] * GROUP)
            array = mx.dequantize(array, scales.astype(mx.float32), biases.astype(mx.float32), GROUP, bits)
        yield renamed(stem) + ".weight", array.astype(mx.float32)


def number(keys, name):
    value = keys[name]
    return value.item() if isinstance(value, mx.array) else value


def arguments(arrays, keys):
    return dict(
        model_type="llama", hidden_size=number(keys, "llama.embedding_length"),
        num_hidden_layers=number(keys, "llama.block_count"),
        intermediate_size=number(keys, "llama.feed_forward_length"),
        num_attention_heads=number(keys, "llama.attention.head_count"),
        num_key_value_heads=number(keys, "llama.attention.head_count_kv"),
        rms_norm_eps=number(keys, "llama.attention.layer_norm_rms_epsilon"),
        vocab_size=number(keys, "llama.vocab_size"), rope_theta=number(keys, "llama.rope.freq_base"),
        rope_traditional=True, tie_word_embeddings="output.weight" not in arrays)


def load(path):
    return mx.load(path, return_metadata=True)


def make_model(path):
    arrays, keys = load(path)
    model = llama.Model(llama.ModelArgs(**arguments(arrays, keys)))
    model.load_weights(list(unpacked(arrays)))
    return model, keys


def make_tokenizer(keys):
    tokens = keys["tokenizer.ggml.tokens"]
    coder = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                                 merges=[tuple(m.split(" ")) for m in keys["tokenizer.ggml.merges"]]))
    coder.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    coder.decoder = decoders.ByteLevel()
    kinds = keys["tokenizer.ggml.token_type"].tolist()
    coder.add_special_tokens([AddedToken(token, normalized=False, special=True)
                              for token, kind in zip(tokens, kinds) if kind in (3, 4)])
    return coder


def write_folder(path, folder):
    arrays, keys = load(path)
    os.makedirs(folder, exist_ok=True)
    mx.save_safetensors(os.path.join(folder, "model.safetensors"), dict(unpacked(arrays)), {"format": "mlx"})
    make_tokenizer(keys).save(os.path.join(folder, "tokenizer.json"))
    last = number(keys, "tokenizer.ggml.eos_token_id")
    for name, content in {
            "config.json": {**arguments(arrays, keys), "eos_token_id": last},
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                      "eos_token": keys["tokenizer.ggml.tokens"][last],
                                      "chat_template": keys["tokenizer.chat_template"]}}.items():
        with open(os.path.join(folder, name), "w") as file:
            json.dump(content, file)


if __name__ == "__main__":
    write_folder(*sys.argv[1:3])
