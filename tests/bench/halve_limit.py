#!/usr/bin/env python3
"""What a run does with less and less device memory, as a Markdown table: the limit is halved until the least that a run takes, which comes last.

  halve_limit.py [--device cpu] [--first 2048] [--batch 8] [--backbone configs/backbone/vit-s] [KEY=VALUE ...]

QLoRA nf4 on random weights, frames 512 x 288, heatmaps 256 x 144. Memory in MiB, planned and taken by `tracknet train` in a step of the
batch and a validation; with --time images a second by `tracknet profile train`, in steps of a micro-batch. Made again: activations, in the
backward pass; window: layers whose weights are on the device at once, where they stream."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = ("limit", "micro-batch", "made again", "window", "planned", "allocated")


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tracknet", default=os.path.join(ROOT, "build/src/tracknet"), help="the command")
    p.add_argument("--device", default="cpu", help="as tracknet takes it")
    p.add_argument("--first", default=2048, type=int, help="MiB to begin with")
    p.add_argument("--batch", default=8, type=int, help="of a step")
    p.add_argument("--time", action="store_true", help="time steps too")
    p.add_argument("--repeat", default=3, type=int, help="steps that are timed")
    p.add_argument("--backbone", default=os.path.join(ROOT, "configs/backbone/vit-s"), help="folder of a config.json")
    p.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the configuration, after those of the table")
    return p.parse_args()


def arguments(o, limit):
    width = json.load(open(os.path.join(o.backbone, "config.json")))["hidden_size"]
    return ["--model", "vit_qlora_random", "--training", "overfit", "--config-dir", os.path.join(ROOT, "configs"), "--device", o.device,
            "--memory-limit", str(limit), "model.pretrained_model_name=" + o.backbone, "model.decoder.channels=[%d,256,128,64]" % width,
            "model.decoder.upsample=[2,2,2]", "model.heatmap.size=[256,144]", "data.preprocess.resize=[512,288]",
            "data.root=" + os.path.join(ROOT, "tests/data/volleyball"), "data.split.train_games=[game1]", "data.split.val_games=[game1]",
            "training.batch_size=%d" % o.batch] + o.keys


def run(o, what, limit, *more):
    r = subprocess.run([o.tracknet] + what + arguments(o, limit) + list(more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return r.returncode, r.stdout, r.stderr.replace("\r", "\n")


def found(pattern, text, otherwise):
    m = re.search(pattern, text)
    return m.group(1) if m else otherwise


def images_a_second(o, limit):
    rc, out, err = run(o, ["profile", "train", "--repeat", str(o.repeat), "--json"], limit)
    if rc:
        sys.exit(err)
    r = json.loads(out)
    return ("%.2f" % (r["batch"] / r["step_seconds"]),)


def row(o, limit):
    """A row of the table, or the least in MiB where the limit is below it."""
    with tempfile.TemporaryDirectory() as folder:
        rc, out, err = run(o, ["train", "--json", "--output-dir", folder + "/run"], limit, "training.epochs=1", "training.limit_train_batches=1",
                           "training.limit_val_batches=1")
    if rc:
        least = found(r"needs at least (\d+) MiB", err, "")
        return int(least) if least else sys.exit(err)
    trained = json.loads(out)
    again = found(r"made again in the backward pass, (.+?): ", err, "-")
    return (limit, trained["memory"]["micro_batch_size"], again, found(r"through a window of (\d+)", err, "-"),
            "%.1f" % (trained["memory"]["total"] / 2**20), "%.1f" % (trained["allocated_peak"] / 2**20)) + (images_a_second(o, limit) if o.time else ())


def main():
    o = options()
    head = HEAD + (("images/s",) if o.time else ())
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    limit, last = o.first, False
    while True:
        r = row(o, limit)
        if isinstance(r, int):
            if last or r <= limit:
                sys.exit("with %d MiB a run was to work, and wants %d" % (limit, r))
            limit, last = r, True
            continue
        print("| " + " | ".join(str(x) for x in r) + " |", flush=True)
        if last:
            return
        limit //= 2


if __name__ == "__main__":
    main()
