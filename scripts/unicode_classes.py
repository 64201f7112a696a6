#!/usr/bin/env python3
"""Prints examples/llm/unicode_classes.h: the ranges of Unicode's letters and numbers, as this Python knows
them."""
import sys
import unicodedata


def ranges(kind):
    start = None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == kind
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            yield start, code - 1
            start = None


print(f"/* Made by scripts/unicode_classes.py from Unicode {unicodedata.unidata_version}. First and last of each\n"
      " * range, ascending. */\n// clang-format off")
for name, kind in (("letters", "L"), ("numbers", "N")):
    print(f"static const unicode_range {name}[] = {{")
    line = "   "
    for first, last in ranges(kind):
        item = f" {{{first:#x}, {last:#x}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
print("// clang-format on")
