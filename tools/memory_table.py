#!/usr/bin/env python3
"""Writes the table of docs/memory.md: peak device memory as planned, as allocated, and as full fine-tuning in float32.

memory_table.py TRACKNET [--device D] [--batch N ...]   (run in the project's folder)
"Allocated" is what one optimiser step really took from the device, by our allocator; when nvidia-smi is there, its
reading is added."""
import argparse
import json
import subprocess

p = argparse.ArgumentParser()
p.add_argument("tracknet")
p.add_argument("--device", default="cpu")
p.add_argument("--batch", type=int, nargs="+", default=[1])
p.add_argument("--data", default="tests/data/volleyball")
a = p.parse_args()

rows = [
    ("full float32", ["model.backbone.freeze=false"]),
    ("LoRA bf16", ["model.lora.enabled=true", "training.precision=bf16"]),
    ("QLoRA nf4", ["model.lora.enabled=true", "model.quantization.enabled=true", "training.precision=bf16",
                   "training.memory_optimization.gradient_checkpointing=true"]),
]
mib = lambda b: b / 2**20
print("| backbone | run | batch | weights | parameters, gradients, optimiser | activations | work space | planned | allocated | full float32 | share |")
print("|---|---|---|---|---|---|---|---|---|---|---|")
for name, width in (("vit-s", 384), ("vit-b", 768), ("vit-l", 1024)):
    for label, keys in rows:
        for batch in a.batch:
            cmd = [a.tracknet, "train", "--json", "--device", a.device, "--output-dir", "/tmp/tracknet-memory",
                   f"data.root={a.data}", "data.split.train_games=[game1]", "data.split.val_games=[]",
                   "data.preprocess.resize=[512,288]", "model.heatmap.size=[256,144]",
                   f"model.pretrained_model_name=configs/backbone/{name}", "model.backbone.random_init=true",
                   f"model.decoder.channels=[{width},256,128,64]", "model.decoder.upsample=[2,2,2]",
                   "training.epochs=1", "training.limit_train_batches=1", f"training.batch_size={batch}"] + keys
            r = subprocess.run(cmd, capture_output=True, text=True)
            if r.returncode:
                print(f"| {name} | {label} | {batch} | {r.stderr.strip().splitlines()[-1]} |")
                continue
            j = json.loads(r.stdout)
            m = j["memory"]
            state = m["parameters"] + m["gradients"] + m["optimizer"]
            note = "" if m["micro_batch_size"] == batch else f" (micro {m['micro_batch_size']})"
            print("| %s | %s | %d%s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f %% |" % (
                name, label, batch, note, mib(m["weights"]), mib(state), mib(m["activations"]), mib(m["workspace"]),
                mib(m["total"]), mib(j["allocated_peak"]), mib(m["full_float32"]), 100 * m["total"] / m["full_float32"]), flush=True)
