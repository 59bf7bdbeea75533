#!/usr/bin/env python3
"""Writes the table of docs/memory.md: peak device memory as planned, as allocated, and as full fine-tuning in float32.

memory_table.py TRACKNET [--device D] [--batch N ...] [--models ...] [--runs ...] [--seconds S]   (in the project's folder)
"Allocated" is what one optimiser step really took from the device, by our allocator. Where nvidia-smi is there, "driver"
is the most that the driver showed in use during the run, less what was in use before it. Frames are drawn by synth."""
import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

p = argparse.ArgumentParser()
p.add_argument("tracknet")
p.add_argument("--device", default="cpu")
p.add_argument("--batch", type=int, nargs="+", default=[1])
p.add_argument("--models", nargs="+", default=["vit-s", "vit-b", "vit-l"])
p.add_argument("--runs", nargs="+", default=["full", "lora", "qlora"])
p.add_argument("--seconds", type=float, default=1e9, help="begin no further run after this long")
a = p.parse_args()

width = {"vit-s": 384, "vit-b": 768, "vit-l": 1024}
pytorch = {"vit-s": 7351, "vit-b": 12097, "vit-l": 27578}  # full fine-tuning at batch 32, MiB, PyTorch 2.11 on an H200
runs = {
    "full": ("full float32", ["model.backbone.freeze=false"]),
    "lora": ("LoRA bf16", ["model.lora.enabled=true", "training.precision=bf16"]),
    "qlora": ("QLoRA nf4", ["model.lora.enabled=true", "model.quantization.enabled=true", "training.precision=bf16",
                            "training.memory_optimization.gradient_checkpointing=true"]),
}
mib = lambda b: b / 2**20


class Driver(threading.Thread):
    """The largest memory.used that nvidia-smi shows while a run goes on."""

    def __init__(self):
        super().__init__(daemon=True)
        self.before, self.peak, self.stop = self.used(), 0, False

    @staticmethod
    def used():
        if not shutil.which("nvidia-smi"):
            return 0
        r = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True)
        return float(r.stdout.split()[0]) if r.returncode == 0 and r.stdout.split() else 0

    def run(self):
        while not self.stop and shutil.which("nvidia-smi"):
            self.peak = max(self.peak, self.used())
            time.sleep(0.05)


data = tempfile.mkdtemp()
subprocess.run([a.tracknet, "synth", "--output-dir", data, "--clips", "1", "--frames", "32", "--size", "512x288"], check=True, capture_output=True)
begin = time.time()
print("| backbone | run | batch | weights | parameters | gradients | optimiser | activations | work space | planned | allocated | driver | full float32 | share | of PyTorch's full |")
print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
for batch in a.batch:
    for key in a.runs:
        for name in a.models:
            if time.time() - begin > a.seconds:
                continue
            label, keys = runs[key]
            out = tempfile.mkdtemp()
            cmd = [a.tracknet, "train", "--json", "--device", a.device, "--output-dir", out,
                   f"data.root={data}", "data.split.train_games=[game1]", "data.split.val_games=[]",
                   "data.preprocess.resize=[512,288]", "model.heatmap.size=[256,144]",
                   f"model.pretrained_model_name=configs/backbone/{name}", "model.backbone.random_init=true",
                   f"model.decoder.channels=[{width[name]},256,128,64]", "model.decoder.upsample=[2,2,2]", "training.epochs=1",
                   "training.limit_train_batches=1", f"training.batch_size={batch}", f"training.micro_batch_size={batch}"] + keys
            driver = Driver()
            driver.start()
            r = subprocess.run(cmd, capture_output=True, text=True)
            driver.stop = True
            shutil.rmtree(out, ignore_errors=True)
            if r.returncode:
                print(f"| {name} | {label} | {batch} | {r.stderr.strip().splitlines()[-1]} |", flush=True)
                continue
            j = json.loads(r.stdout)
            m = j["memory"]
            seen = "%.0f" % (driver.peak - driver.before) if driver.peak else "-"
            theirs = "%.0f %%" % (100 * mib(j["allocated_peak"]) / pytorch[name]) if batch == 32 else "-"
            note = "" if m["micro_batch_size"] == batch else f" (micro {m['micro_batch_size']})"
            print("| %s | %s | %d%s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %s | %.0f | %.0f %% | %s |" % (
                name, label, batch, note, mib(m["weights"]), mib(m["parameters"]), mib(m["gradients"]), mib(m["optimizer"]),
                mib(m["activations"]), mib(m["workspace"]), mib(m["total"]), mib(j["allocated_peak"]), seen,
                mib(m["full_float32"]), 100 * m["total"] / m["full_float32"], theirs), flush=True)
shutil.rmtree(data, ignore_errors=True)
