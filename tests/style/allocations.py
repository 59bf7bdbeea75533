#!/usr/bin/env python3
"""What malloc, calloc or realloc gave is neither offset nor read or written before it was looked at: not in the rest of its
statement, and not in the next one. Usage: allocations.py SOURCE_DIR; prints what is wrong."""
import pathlib
import re
import sys

ALLOCATION = re.compile(r"(?:\*\s*|\b)([A-Za-z_][\w>.-]*)\s*=\s*(?:\w+ \? )?(?:m|c|re)alloc\(")
LOOKS = re.compile(r"\bif\b|\bfor\b|\breturn\b|&&|\?")


def call_end(text, at):
    """Behind the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    return len(text)


def faults(text):
    for m in ALLOCATION.finditer(text):
        name = r"(?<![\w>.])" + re.escape(m[1])
        used = re.compile(name + r"(?:\s*\+|\[|->)|mem(?:cpy|set|move)\(\s*" + name + r"\b")
        behind = call_end(text, m.end() - 1)
        stop = text.index(";", behind)
        follows = text[stop + 1 : text.find(";", stop + 1)]
        checked = "if (" in text[text.rfind(";", 0, m.start()) + 1 : m.start()]  # if (!(p = malloc(...))) return ...;
        same = text[behind:stop]
        if (used.search(same) and not LOOKS.search(same)) or (not checked and used.search(follows) and not LOOKS.search(follows)):
            yield text.count("\n", 0, m.start()) + 1, m[1]


def main():
    root = pathlib.Path(sys.argv[1])
    bad = count = 0
    for f in sorted(root.glob("src/**/*.c")):
        text = f.read_text()
        count += len(ALLOCATION.findall(text))
        for line, name in faults(text):
            bad += 1
            print(f"{f.relative_to(root)}:{line}: '{name}' is used before it was looked at")
    print(f"{count - bad} passed, {bad} failed")
    sys.exit(bad > 0 or count < 100)


main()
