#!/usr/bin/env python3
"""A training step of a model whose weights the device cannot hold: what it takes beside the computing alone and the copies alone.

  bench_stream.py [--device gpu] [--limit 2048] [--batch 8] [--backbone configs/backbone/vit-7b] [--rank 16] [KEY=VALUE ...]

QLoRA nf4 on random weights, frames 512 x 288, heatmaps 256 x 144, bfloat16, LoRA on every linear layer. `tracknet profile train`
takes the largest micro-batch that fits beside a window of two layers and gives the step by the clock, and then every command of it timed
alone: copies of weights are the operation `weights`, all else is the computing; the copies alone are what they move at the bandwidth of the
middle one. The step goes on computing while it copies, so
the larger of both is the least it could take; the goal is at most 1.2 times that. Exits with 1 where it takes more."""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOAL = 1.2


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tracknet", default=os.path.join(ROOT, "build/src/tracknet"), help="the command")
    p.add_argument("--device", default="gpu", help="as tracknet takes it")
    p.add_argument("--limit", default=2048, type=int, help="MiB of device memory")
    p.add_argument("--batch", default=8, type=int, help="of a step, which is cut up until it fits")
    p.add_argument("--backbone", default=os.path.join(ROOT, "configs/backbone/vit-7b"), help="folder of a config.json")
    p.add_argument("--rank", default=16, type=int, help="of the adapters")
    p.add_argument("--repeat", default=5, type=int, help="steps and passes that are timed")
    p.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the configuration, after those above")
    return p.parse_args()


def command(o, report):
    width = json.load(open(os.path.join(o.backbone, "config.json")))["hidden_size"]
    keys = ["model.pretrained_model_name=" + o.backbone, "model.backbone.random_init=true", "model.decoder.channels=[%d,256,128,64]" % width,
            "model.decoder.upsample=[2,2,2]", "model.heatmap.size=[256,144]", "data.preprocess.resize=[512,288]", "model.lora.r=%d" % o.rank,
            "training.precision=bf16", "training.batch_size=%d" % o.batch]
    return [o.tracknet, "profile", "train", "--model", "vit_qlora_random", "--training", "overfit", "--config-dir", os.path.join(ROOT, "configs"),
            "--device", o.device, "--memory-limit", str(o.limit), "--repeat", str(o.repeat), "--json", report] + keys + o.keys


def main():
    o = options()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        begin = time.monotonic()
        run = subprocess.run(command(o, path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            sys.exit(run.stderr[-2000:])
        r = json.load(open(path))
        took = time.monotonic() - begin
    for line in run.stderr.replace("\r", "\n").splitlines():
        if re.search("pass through a window|made again|not pinned", line):
            print(line)
    copies = [e for e in r["entries"] if e["operation"] == "weights" and e["bytes"] > 0]
    waits = [e for e in r["entries"] if e["operation"] == "weights" and e["bytes"] <= 0]
    if not copies:
        sys.exit("nothing streams with %d MiB; a smaller --limit makes it" % o.limit)
    moved, rate = sum(e["bytes"] for e in copies), statistics.median(e["bytes"] / max(e["seconds"], 1e-9) for e in copies)
    copying = moved / rate
    computing = r["seconds"] - sum(e["seconds"] for e in copies + waits)
    least = max(computing, copying)
    ratio = r["step_seconds"] / least
    print("%s: %d images, peak %.0f MiB of %d; %.0f s in all" % (r["device"], r["batch"], r["peak_bytes"] / 2**20, o.limit, took))
    print("step %.1f ms; computing alone %.1f ms; %d copies of weights alone %.1f ms (%.2f GB at %.1f GB/s)"
          % (1e3 * r["step_seconds"], 1e3 * computing, len(copies), 1e3 * copying, 1e-9 * moved, 1e-9 * rate))
    print("step / larger of both: %.2f (goal: at most %.1f); one after the other they would take %.2f" % (ratio, GOAL, (computing + copying) / least))
    return ratio > GOAL


if __name__ == "__main__":
    sys.exit(main())
