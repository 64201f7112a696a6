#!/usr/bin/env python3
"""Prints llm-tokens.txt: texts and the tokens that Hugging Face's tokenizers makes of them, with the vocabulary
and merges of SmolLM2's GGUF file. Needs `pip install tokenizers`.

    tests/golden/llm_tokens.py .deps/models/smollm2.gguf > tests/golden/llm-tokens.txt

A line is: rule, tokens with commas between, the text with \\n, \\t, \\r and \\\\ written so; tabs in between."""
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXTS = [
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they've seen it; we'll say it's what you'd like. DON'T SHOUT: IT'S I'M",
    "In 2024, 3.14159 and 1,000,000 are numbers; so are ½, Ⅷ, ٣٤ and ².",
    "  two blanks before,   three inside, and some after   ",
    "\n\nlines\n\n\n  and blanks \n\t tabs\t\tand\r\nreturns\r\n\r\n",
    "Grüße aus Österreich, naïve café, Ελληνικά, Кириллица, עברית, العربية",
    "日本語のテキスト、中文字符，한국어 문장",
    "emoji 😀🎉👩‍👩‍👧‍👦 and flags 🇦🇹, math ∑∫√ and 𝒳𝟙",
    "combining: e\u0301 n\u0303, no-break\u00a0space, em\u2003space, zero\u200bwidth, line\u2028end\u0085",
    "<|im_start|>user\nWhat is a hocket?<|im_end|>\n<|im_start|>assistant\n",
    "no special: <|im_start <|im_startx|> <im_end>",
    "<|endoftext|><|endoftext|> in a row<|im_end|>",
    "def f(x):\n    return x ** 2  # squared\n\nif __name__ == '__main__':\n    print(f(10))\n",
    "https://example.org/a/b?c=d&e=f#g user@example.org C:\\path\\file",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                                                       x",
    "!!!???...---===+++***///",
    "1", " 1", "1 ", "12 34", " ", "\n", "'", "'s", " 's", "a", "\u00e9", "I'LL 'RE 'x",
    "mixed123abc456def 7g8h9 x1y2",
    "tab\tand  double\n\n  indented\n",
]


def read_keys(path):
    file = open(path, "rb")
    sizes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def number(form):
        return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0]

    def text():
        return file.read(number("Q")).decode("utf-8", "surrogateescape")

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = number("I"), number("Q")
            return [value(inner) for _ in range(count)]
        return number(sizes[kind])

    assert file.read(4) == b"GGUF"
    number("I"), number("Q")
    return {text(): value(number("I")) for _ in range(number("Q"))}


def make(keys, rule):
    tokens = keys["tokenizer.ggml.tokens"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=rule == "llama-bpe"))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.pre_tokenizer = {
        "gpt-2": gpt2,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
        "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), plain]),
    }[rule]
    kinds = keys["tokenizer.ggml.token_type"]
    made.add_special_tokens([AddedToken(token, normalized=False, special=True)
                             for token, kind in zip(tokens, kinds) if kind in (3, 4)])
    return made


def main():
    keys = read_keys(sys.argv[1])
    for rule in ("smollm", "gpt-2", "llama-bpe"):
        tokenizer = make(keys, rule)
        for text in TEXTS:
            ids = ",".join(map(str, tokenizer.encode(text).ids))
            shown = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
            print(rule, ids, shown, sep="\t")


main()
