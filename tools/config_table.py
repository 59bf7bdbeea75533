#!/usr/bin/env python3
"""Prints docs/configuration.md from the schema table, src/config/schema.c: config_table.py > docs/configuration.md"""
import os
import re

src = open(os.path.join(os.path.dirname(__file__), "../src/config/schema.c"), encoding="utf-8").read()
src = re.sub(r'"\n +"', "", src)  # a text of several lines
src = re.sub(r"\n {5}", " ", src)
KINDS = {"BOOL": "true/false", "INT": "whole number", "FLOAT": "number", "STR": "text", "STRS": "list of names", "INTS": "list of numbers",
         "PAIR": "[W, H]", "NAMES": "list of names, or a pattern", "PAIRS": "mapping to numbers", "LIMIT": "whole number or fraction"}
rows, unused = [], []
for line in re.findall(r'^    \{("[a-z_.0-9]+", TN_S_.*)\},$', src, re.M):
    f = re.findall(r'"(?:[^"\\]|\\.)*"|[^,\s][^,]*', line)
    name, kind = f[0].strip('"'), f[1].strip()[5:]
    if kind == "UNUSED":
        unused.append(name)
        continue
    text = lambda s: s.strip()[1:-1].replace('\\"', '"')
    choices = "" if f[6].strip() == "NULL" else " (%s)" % text(f[6]).replace("|", "\\|")
    rows.append("| `%s` | %s%s | `%s` | %s |" % (name, KINDS[kind], choices, text(f[3]), text(f[8]).replace("|", "\\|")))
print("""# Every configuration key

Made from the schema table by tools/config_table.py. Keys of the Python project that are not needed here are accepted with one
warning: %s. `training.lora.*` and
`training.quantization.*` mean the keys of the same name under `model`; a section `runtime`, which that project prints, is passed over.
Choices are taken in any case. The defaults are what a key means that no file gives, as in that project; the shipped files in configs/
say more.

| key | type | default | meaning |
|---|---|---|---|""" % ", ".join("`%s`" % u for u in unused))
print("\n".join(rows))
