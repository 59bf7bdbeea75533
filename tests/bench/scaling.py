#!/usr/bin/env python3
"""The tables of docs/scaling.md: what `tracknet plan` predicts for described machines.

    python3 tests/bench/scaling.py build/src/tracknet [laptop|gpus|nodes|memory ...]

Each row is one `tracknet plan --machine FILE --json`, where FILE is one of configs/machines with its counts or memory changed; --say
prints the commands' configuration too.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

SIZES = {"S": ("vit-s", 384), "B": ("vit-b", 768), "L": ("vit-l", 1024)}
FULL = ["model.lora.enabled=false", "model.quantization.enabled=false", "model.backbone.freeze=false"]


def plan(command, size, machine, batch, change=(), extra=(), half=True):
    folder, width = SIZES[size]
    words = [
        "--model", "vit_qlora_heatmap", "model.backbone.random_init=true",
        f"model.pretrained_model_name=configs/backbone/{folder}", f"model.decoder.channels=[{width},256,128,64]",
        "data.preprocess.resize=[512,288]", "model.heatmap.size=[256,144]", f"training.batch_size={batch}",
        "training.precision=" + ("bf16" if half else "fp32"), *extra]
    text = open(f"configs/machines/{machine}.yaml").read()
    for key, value in change:
        text = re.sub(rf"\b{key}: [0-9.]+", f"{key}: {value}", text)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(text)
        f.flush()
        if "--say" in sys.argv:
            print(command, "plan", *words, "--machine", f.name, file=sys.stderr)
        r = subprocess.run([command, "plan", *words, "--machine", f.name, "--json"], capture_output=True, text=True)
    return json.loads(r.stdout) if r.returncode == 0 else r.stderr.strip()


def shape(r):
    """How many replicas of how many stages, or what each takes."""
    kinds = {}
    for v in r["replicas"]:
        kinds.setdefault((len(v["stages"]), v["images"], v["micro_batch"]), []).append(v)
    return "; ".join(f"{len(v)} x {n} stage{'s' * (n > 1)}, {i} images by {m}" for (n, i, m), v in kinds.items())


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |")


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


def laptop(command):
    head("model, batch", "img/s", "gain over the discrete GPU", "images: discrete, integrated, processor", "left out")
    for size in "SB":
        for batch in (4, 8, 32):
            r = plan(command, size, "laptop", batch, half=False)
            images = {s["device"]: v["images"] for v in r["replicas"] for s in v["stages"]}
            stages = max(len(v["stages"]) for v in r["replicas"])
            row(f"ViT-{size}, {batch}", f"{r['images_per_second']:.1f}", f"{r['alone_seconds'] / r['step_seconds']:.2f}",
                ", ".join(str(images.get(i, 0)) for i in range(3)) + (f" ({stages} stages)" if stages > 1 else ""),
                "; ".join(f"{x['name']}: {x['why']}" for x in r["left"]) or "none")


def gpus(command):
    head("model", "batch", *[f"{n} GPU{'s' * (n > 1)}" for n in (1, 2, 4, 8)], "step of 8, ms", "sum of gradients, ms")
    for size in "SBL":
        for batch, each in ((32, False), (32, True)):
            rates = []
            for n in (1, 2, 4, 8):
                r = plan(command, size, "eight-gpus", batch * n if each else batch, [("count", n)])
                rates.append(r["images_per_second"])
            row(f"ViT-{size}", f"{batch} each" if each else f"{batch} in all",
                *[f"{x:.0f} ({100 * x / rates[0] / n:.0f} %)" for x, n in zip(rates, (1, 2, 4, 8))],
                f"{1e3 * r['step_seconds']:.1f}", f"{1e3 * r['exchange_seconds']:.2f}")


def nodes(command):
    counts = (1, 2, 4, 8, 16, 32, 64)
    head("model", "batch", *[f"{n} node{'s' * (n > 1)}" for n in counts], "used of 64")
    for size, extra, what in (("S", (), "QLoRA"), ("L", (), "QLoRA"), ("L", FULL, "all weights")):
        for batch, each in ((256, False), (32, True)):
            rates = []
            for n in counts:
                r = plan(command, size, "nodes-25gbit", batch * n if each else batch, [("nodes", n)], extra)
                rates.append(r["images_per_second"])
            used = sum(len(v["stages"]) for v in r["replicas"])
            row(f"ViT-{size}, {what}", f"{batch} each" if each else f"{batch} in all",
                *[f"{x:.0f} ({100 * x / rates[0] / n:.0f} %)" for x, n in zip(rates, counts)], used)


def memory(command):
    head("memory of each card, GiB", "img/s", "of what 8 could do apart", "plan", "blocks made again")
    for gib in (126, 4, 2, 1, 0.5, 0.25, 0.15, 0.1):
        r = plan(command, "L", "eight-gpus", 64, [("memory_gib", gib)])
        if isinstance(r, str):
            row(gib, "-", "-", r.split(": ", 1)[1], "-")
            continue
        again = sum(s["again"] for v in r["replicas"] for s in v["stages"])
        part = f"{100 * r['efficiency']:.0f} %" if r["efficiency"] else "-"
        row(gib, f"{r['images_per_second']:.0f}", part, shape(r), again)


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    tables = {"laptop": laptop, "gpus": gpus, "nodes": nodes, "memory": memory}
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    for name in words[1:] or tables:
        print(f"\n{name}\n")
        tables[name](words[0])


main()
