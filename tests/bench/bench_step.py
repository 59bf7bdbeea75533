#!/usr/bin/env python3
"""Training steps and predictions of TrackNet beside PyTorch's, one after the other on one machine, as a Markdown table.

  bench_step.py [--tracknet build/src/tracknet] [--sizes s,b,l] [--rows train,memory,predict,frame] [--peers all] [--device gpu]
                [--batch 32] [--seconds 2] [--json FILE] [--profile]

DINOv3 ViTs of random weights, frames 288 x 512, heatmaps 144 x 256, bf16, LoRA r = 16 on every linear layer, dropout 0.05.
Rows: train and memory are QLoRA nf4 steps without and with gradient checkpointing; predict has the adapters merged; frame is a
batch of one. Both sides upload fresh random frames in every step and, predicting, read the heatmaps back; neither clips gradients.
Figures are medians of bursts after a warm-up. The peers (peer_step.py) need torch, transformers, peft and,
for qlora, bitsandbytes; without them our side is measured alone."""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
IMAGE, DECODER, LR, DROPOUT = (512, 288), [256, 128, 64], 1e-4, 0.05
BURST = 0.3  # seconds, as both sides have it
SIZES = {"t": "tiny", "s": "vit-s", "b": "vit-b", "l": "vit-l"}  # tiny: to try this program
ROWS = {"train": "QLoRA step, speed mode", "memory": "QLoRA step, memory mode", "predict": "prediction, adapters merged",
        "frame": "one frame"}
TRAINS = ("train", "memory")
PEERS = {"qlora": "bitsandbytes nf4 QLoRA", "lora": "PEFT LoRA bf16", "compile": "PEFT LoRA bf16, torch.compile"}
PREDICTS = {"lora": "PyTorch bf16", "compile": "PyTorch bf16, torch.compile"}
OF_ROW = {"train": ("qlora", "lora", "compile"), "memory": ("qlora", "lora"), "predict": tuple(PREDICTS), "frame": tuple(PREDICTS)}
NEEDS = ("torch", "transformers", "peft")


def told(sentence):
    print(sentence, file=sys.stderr, flush=True)


def names_in(choices, text):
    names = text.split(",")
    for n in names:
        if n not in choices:
            raise argparse.ArgumentTypeError("%r is none of %s" % (n, ", ".join(choices)))
    return names


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tracknet", default=os.path.join(ROOT, "build/src/tracknet"), help="the command")
    p.add_argument("--sizes", default="s,b,l", type=lambda s: names_in(SIZES, s), help="of s, b, l; t is a tiny one for trials")
    p.add_argument("--rows", default=",".join(ROWS), type=lambda s: names_in(ROWS, s), help="of " + ", ".join(ROWS))
    p.add_argument("--peers", default="all", help="none, all, or of %s (lora: eager)" % ", ".join(PEERS))
    p.add_argument("--python", default=sys.executable, help="that has the peers' libraries")
    p.add_argument("--seconds", default=2.0, type=float, help="of every measurement, in bursts of %s or one step" % BURST)
    p.add_argument("--device", default="gpu", help="as tracknet takes it; the peers run on CUDA, for cpu on the CPU")
    p.add_argument("--batch", default=32, type=int)
    p.add_argument("--json", help="everything measured is written there after each measurement")
    p.add_argument("--profile", action="store_true", help="our kernels' shares of each row, after the table")
    o = p.parse_args()
    try:
        o.peers = {"none": [], "all": list(PEERS)}[o.peers] if o.peers in ("none", "all") else names_in(PEERS, o.peers)
    except argparse.ArgumentTypeError as e:
        p.error("argument --peers: %s" % e)
    o.repeat = max(1, round(o.seconds / BURST))
    return o


def config_of(size):
    with open(os.path.join(ROOT, "configs/backbone", SIZES[size], "config.json")) as f:
        return json.load(f)


def batch_of(o, row):
    return 1 if row == "frame" else o.batch


# ---- our side ----


def settings(size, row):
    train = row in TRAINS
    return ["--model", "vit_qlora_heatmap", "--training", "default", "data.preprocess.resize=[%d,%d]" % IMAGE,
            "model.pretrained_model_name=configs/backbone/" + SIZES[size], "model.backbone.random_init=true",
            "model.heatmap.size=[%d,%d]" % (IMAGE[0] // 2, IMAGE[1] // 2), "model.heatmap.head_std=0.01",
            "model.decoder.channels=%s" % [config_of(size)["hidden_size"], *DECODER], "model.decoder.upsample=[2,2,2]",
            "model.lora.r=16", "model.lora.lora_dropout=%s" % DROPOUT,
            # merged adapters leave a plain model
            "model.lora.enabled=%s" % str(train).lower(), "model.quantization.enabled=%s" % str(train).lower(),
            "training.precision=bf16", "training.optimizer.lr=%s" % LR, "training.grad_clip_norm=0",
            "training.memory_optimization.gradient_checkpointing=%s" % str(row == "memory").lower()]


def ours(o, size, row):
    """The report of tracknet profile, or {"error": sentence}."""
    command = [os.path.abspath(o.tracknet), "profile", "train" if row in TRAINS else "predict", "--json", "--device", o.device,
               "--batch", str(batch_of(o, row)), "--repeat", str(o.repeat), *settings(size, row)]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as e:
        return {"error": str(e)}
    if done.returncode:
        return {"error": (done.stderr.strip() or "it ended with status %d" % done.returncode).splitlines()[-1]}
    r = json.loads(done.stdout)
    r["device_seconds"] = r["seconds"]
    del r["entries"]  # thousands of them
    return r


# ---- the peers' side ----


class Peers:
    """A process of peer_step.py, which waits while our side runs; a new one when it has died."""

    def __init__(self, o):
        self.o, self.process, self.hello = o, None, {}
        if o.peers:
            self.start()

    def start(self):
        command = [self.o.python, os.path.join(HERE, "peer_step.py")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.hello = json.loads(self.process.stdout.readline() or '{"missing": ["torch"]}')

    def lacks(self, peer):
        """What keeps a peer from running here, or None."""
        gone = [n for n in NEEDS if n in self.hello["missing"]]
        if not gone and peer == "qlora" and "bitsandbytes" in self.hello["missing"]:
            gone = ["bitsandbytes"]
        if gone:
            return "%s cannot import %s" % (self.o.python, " and ".join(gone))
        return None if self.hello.get("cuda") or self.o.device == "cpu" else "PyTorch sees no CUDA device"

    def measure(self, size, row, peer):
        config = config_of(size)
        case = {"row": row, "peer": peer, "config": config, "image": IMAGE, "channels": [config["hidden_size"], *DECODER],
                "batch": batch_of(self.o, row), "repeat": self.o.repeat, "device": "cpu" if self.o.device == "cpu" else "cuda",
                "lr": LR, "dropout": DROPOUT}
        if self.process.poll() is not None:
            self.start()
        try:
            print(json.dumps(case), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the peer's process ended with status %s" % self.process.wait()}

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


# ---- what is printed ----


def title(o, r, peers):
    versions = ", ".join("%s %s" % v for v in peers.hello.get("versions", {}).items())
    print("%s, driver %s; %s" % (r["device"], r["driver"], versions or "no peers"))
    print("288 x 512, heatmap 144 x 256, decoder [D, 256, 128, 64], batch %d, bf16, LoRA r = 16 on all linear layers, dropout %s;"
          % (o.batch, DROPOUT))
    print("medians of %d bursts of %s s. Device: without transfers and the host's waits (ours: the sum of the commands' times)."
          % (o.repeat, BURST))
    lacking = {p: peers.lacks(p) for p in o.peers}
    for why in sorted({w for w in lacking.values() if w}):
        without = ", ".join(p for p in o.peers if lacking[p] == why)
        print("%s: %s." % ("Ours alone" if all(lacking.values()) else "Without " + without, why))
    print("\n| backbone | what | side | img/s | ms | device: img/s | device idle | peak MiB | ours / peer |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)


def cell(value, form="%.0f"):
    return "-" if value is None else form % value


def line(o, size, row, side, r, our):
    """One line of the table. our: our report, beside a peer's; None: this is ours."""
    n, step, peak = batch_of(o, row), r["step_seconds"], r["peak_bytes"]
    cells = [SIZES[size], ROWS[row], side, cell(n / step, "%.1f"), cell(1e3 * step, "%.2f"),
             cell(n / r["device_seconds"] if r.get("device_seconds") else None, "%.1f"),
             cell(100 * r["idle"] if "idle" in r else None, "%.0f %%"), cell(peak / 2**20 if peak else None),
             cell(step / our["step_seconds"] if our and "error" not in our else None, "%.2f")]
    print("| %s |" % " | ".join(cells), flush=True)


def checked(r):
    """An answer whose loss is not finite is none."""
    if "error" not in r and r["result"] is None:
        return {"error": "what it computes is not finite"}
    return r


def print_shares(name, rows):
    """rows: of kernels, where what is only a part of an operation has no GB/s and TFLOP/s, or of whole operations."""
    print("\n| %s | share | ms | launches | GB/s | TFLOP/s | of the roofline |\n|---|---|---|---|---|---|---|" % name)
    for k in rows:
        s = k["seconds"] or 1
        who = " ".join(x for x in (k.get(name), k.get("variant") and "(%s)" % k["variant"]) if x)
        print("| %s | %.1f %% | %.3f | %d | %s | %s | %s |" %
              (who, 100 * k["share"], 1e3 * k["seconds"], k["entries"], cell(k["bytes"] / s / 1e9 or None, "%.1f"),
               cell(k["flops"] / s / 1e12 or None, "%.2f"), cell(100 * k["roofline"] or None, "%.0f %%")))


def print_profile(size, row, r):
    best = r["roofline"]
    print("\n%s, %s: %d launches, %.3f ms of commands, %.3f ms on the clock; roofline %.0f GB/s copied by %s, %.1f TFLOP/s by %s"
          % (SIZES[size], ROWS[row], r["launches"], 1e3 * r["seconds"], 1e3 * r["step_seconds"], best["bytes_per_second"] / 1e9,
             best["copied_by"], best["flops_per_second"] / 1e12, best["multiplied_by"]))
    print_shares("kernel", r["kernels"])
    print_shares("operation", r["operations"])


class Bench:
    def __init__(self, o):
        self.o, self.peers, self.results, self.titled = o, Peers(o), [], False

    def keep(self, size, row, side, r):
        self.results.append({"size": size, "row": row, "side": side, "batch": batch_of(self.o, row), **r})
        if self.o.json:
            with open(self.o.json, "w") as f:
                json.dump({"versions": self.peers.hello.get("versions", {}), "results": self.results}, f, indent=1)

    def show(self, size, row, side, r, our):
        r = checked(r)
        self.keep(size, row, side, r)
        if "error" in r:
            told("%s, %s, %s: %s" % (SIZES[size], ROWS[row], side, r["error"]))
            return r
        if not self.titled:
            title(self.o, {"device": self.peers.hello.get("name"), "driver": "-", **r}, self.peers)  # a peer's, where ours failed
            self.titled = True
        line(self.o, size, row, side, r, our)
        return r

    def row(self, size, row):
        our = self.show(size, row, "ours", ours(self.o, size, row), None)
        for peer in OF_ROW[row]:
            if peer in self.o.peers and not self.peers.lacks(peer):
                side = (PEERS if row in TRAINS else PREDICTS)[peer]
                self.show(size, row, side, self.peers.measure(size, row, peer), our)

    def run(self):
        for size in self.o.sizes:
            for row in self.o.rows:
                self.row(size, row)
        self.peers.close()
        for r in self.results if self.o.profile else []:
            if r["side"] == "ours" and "error" not in r:
                print_profile(r["size"], r["row"], r)
        return 1 if any("error" in r for r in self.results) else 0


if __name__ == "__main__":
    sys.exit(Bench(options()).run())
