#!/usr/bin/env python3
"""Prints docs/configuration.md from the schema table, src/config/schema.c: config_table.py > docs/configuration.md"""
import os
import re

src = open(os.path.join(os.path.dirname(__file__), "../src/config/schema.c"), encoding="utf-8").read()
src = re.sub(r'"\n +"', "", src)  # a text of several lines
src = re.sub(r"\n {5}", " ", src)
KINDS = {"BOOL": "true/false", "INT": "whole number", "FLOAT": "number", "STR": "text", "PATH": "path", "SEED": "whole number of 64 bits", "STRS": "list of names", "INTS": "list of numbers", "LAYERS": "whole number, or a list of them",
         "PAIR": "[W, H]", "RANGE": "[least, most]", "NAMES": "list of names, or a pattern", "PAIRS": "mapping to numbers",
         "LIMIT": "whole number or fraction"}
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
`training.quantization.*` mean the keys of the same name under `model`, and bitsandbytes' names (`bnb_4bit_quant_type`,
`bnb_4bit_use_double_quant`, `bnb_4bit_compute_dtype`, `llm_int8_skip_modules`, a `quantization_config` section) the ones here; a section
`runtime`, which that project prints, is passed over. So is, with a warning that names its place, another value than the default of a key that
what was chosen beside it does not read: `training.loss.alpha`, `.beta` and `.pos_weight` and `training.optimizer.momentum` under another
name, `model.backbone.patch_size` and `.rope_augment` with another backbone than the table says. The defaults are what a key means that no file gives, as in that project; the
shipped files in configs/ say more.

## How values are written

A file is one YAML document with YAML 1.1's values as PyYAML reads them, aliases and merge keys too (`010` is 8, `Yes` is true); where
a number belongs, `1e-4` and `"1e-4"` are one. A null list is empty, a null number the default. Keys that begin with `x-` or a
point may hold what anchors name. Names of choices may be written in any case.

As KEY=VALUE, a text or a path is taken as it is (apostrophes, `#`, colons, brackets, bytes that are not UTF-8). It is YAML only
when it begins and ends with the same quote; where null is allowed, `null` or nothing is null. Lists are written `[a,b]`, one name
needs no brackets. What options such as `--output-dir` take is never YAML. A printed configuration holds bytes that are not UTF-8 as
`!!binary`.

`~` and `~name` at the beginning of a path are home folders, and relative paths are from the working folder; a
`model.pretrained_model_name` that is no folder there may be one from the folder of the file that names it, as in the shipped
configurations. A checkpoint keeps `data.root` and a `model.pretrained_model_name` that is a folder by their whole names, so that it
can be used from anywhere.

## bitsandbytes' names

BitsAndBytesConfig's fields stand in `model.quantization` (or `quantization_config`, or directly in `model`). What a later file or
KEY=VALUE says under one name replaces what was said under the other; two that differ in one file are an error.

| there | here |
|---|---|
| `load_in_4bit: true` | `enabled: true`; the format stays `quant_type`'s (nf4 and double quantisation unless said, not fp4) |
| `load_in_8bit: true` | `enabled: true` and `quant_type: int8`; `bnb_4bit_quant_type` and `bnb_4bit_use_double_quant` beside it do not count |
| `bnb_4bit_quant_type` | `quant_type` |
| `bnb_4bit_use_double_quant` | `compress_statistics` and `use_double_quant`, whatever `mode` is |
| `bnb_4bit_compute_dtype` | `compute_dtype`; `torch.bfloat16` is `bfloat16` |
| `llm_int8_skip_modules` | `skip_modules` (substrings of module names) |

## The losses

`training.loss.name`, of a heatmap p and its target t (a Gaussian of peak 1 at the ball), summed over the pixels of the frames that count
(`training.loss.invisible`) and divided by their number. All but `mse` take p for logits: q = sigmoid(p), so that `predict` and `eval` put heatmaps
through a sigmoid, and an ONNX model says that its output is logits.

| name | of a pixel | source |
|---|---|---|
| `mse` | (p - t)^2 | the Python project |
| `focal` | -t (1 - q)^alpha log q - (1 - t)^(beta + 1) q^alpha log(1 - q), q kept to 1e-6 from 0 and 1 | the Python project, after CornerNet (Law and Deng, ECCV 2018) |
| `bce` | -pos_weight t log q - (1 - t) log(1 - q) | `torch.nn.BCEWithLogitsLoss` |
| `wbce` | -pos_weight t (1 - q)^2 log q - (1 - t) q^2 log(1 - q) | TrackNetV2 (Sun et al., ICPAI 2020), `WBCELoss` in TrackNetV3's code, with pos_weight 1 |

TrackNetV2 teaches a disc of ones, and keeps q to 1e-7 from 0 in its logarithms; from logits no logarithm needs it.

## The keys

| key | type | default | meaning |
|---|---|---|---|""" % ", ".join("`%s`" % u for u in unused))
print("\n".join(rows))
