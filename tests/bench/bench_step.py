#!/usr/bin/env python3
"""Training steps and predictions of TrackNet beside PyTorch's on one machine, as a Markdown table.

  bench_step.py [--device gpu] [--sizes s,b,l] [--rows train,memory,predict,frame] [--peers all] [--precision bf16] [--batch 32] ...
  bench_step.py --device cpu [--sizes s,b] [--precision float32,bf16] [--threads N] [--isa avx512|avx2] ...

DINOv3 ViTs of random weights, frames 288 x 512, heatmaps 144 x 256, LoRA r = 16 on every linear layer, dropout 0.05. Sizes ct and cb
are DINOv3 ConvNeXts with a feature pyramid (convnext_fpn_heatmap), heatmaps 72 x 128 and LoRA on the pointwise convolutions.
Rows: train and memory are QLoRA nf4 steps without and with gradient checkpointing; predict has the adapters merged; frame is a
batch of one. Both sides upload fresh random frames in every step and, predicting, read the heatmaps back; neither clips gradients.
Figures are medians of bursts after a warm-up. On a GPU one side's bursts follow the other's, and memory is the device's; on a CPU
the sides take turns, burst by burst, and memory is that of the process. The peers (peer_step.py) need torch, transformers, peft
and, for qlora, bitsandbytes; without them our side is measured alone."""
import argparse
import json
import os
import sys

import machine
from sides import BURST, DROPOUT, PEERS, PRECISIONS, PREDICTS, ROWS, SIZES, Case, Ended, Ours, Peer, about, look_at_ours

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OF_ROW = {"train": ("qlora", "lora", "compile"), "memory": ("qlora", "lora"), "predict": tuple(PREDICTS), "frame": tuple(PREDICTS)}


def told(sentence):
    print(sentence, file=sys.stderr, flush=True)


def names_in(choices, text):
    names = text.split(",")
    for n in names:
        if n not in choices:
            raise argparse.ArgumentTypeError("%r is none of %s" % (n, ", ".join(choices)))
    return names


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("%r is not a positive number" % text)
    return int(text)


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tracknet", default=os.path.join(ROOT, "build/src/tracknet"), help="the command")
    p.add_argument("--sizes", type=lambda s: names_in(SIZES, s), help="of s, b, l (a CPU: s, b), ct, cb; t is a tiny ViT for trials")
    p.add_argument("--rows", default=",".join(ROWS), type=lambda s: names_in(ROWS, s), help="of " + ", ".join(ROWS))
    p.add_argument("--peers", help="none, all, or of %s (lora: eager); all, on a CPU qlora,lora" % ", ".join(PEERS))
    p.add_argument("--precision", type=lambda s: names_in(PRECISIONS, s), help="of float32, bf16; bf16, on a CPU both")
    p.add_argument("--python", default=sys.executable, help="that has the peers' libraries")
    p.add_argument("--seconds", default=2.0, type=float, help="of every measurement, in bursts of %s or one step" % BURST)
    p.add_argument("--device", default="gpu", help="as tracknet takes it; the peers run on CUDA, for cpu on the CPU")
    p.add_argument("--threads", type=positive, help="of a CPU, for both sides (the cores of the affinity mask)")
    p.add_argument("--isa", default="native", choices=machine.ISAS, help="a CPU's instructions, for both sides")
    p.add_argument("--passive", action="store_true", help="the peers' OpenMP threads sleep while they wait, instead of spinning: where "
                   "others use the processors too")
    p.add_argument("--batch", type=positive, help="of every row but frame (32; on a CPU ViT-S and ConvNeXt-T 4, the Bs 2, predictions 8)")
    p.add_argument("--json", help="everything measured is written there after each measurement")
    p.add_argument("--profile", action="store_true", help="our kernels' shares of each row, after the table")
    o = p.parse_args()
    o.cpu = o.device == "cpu"
    o.sizes = o.sizes or (["s", "b"] if o.cpu else ["s", "b", "l"])
    o.precision = o.precision or (list(PRECISIONS) if o.cpu else ["bf16"])
    o.threads = o.threads or machine.cores()
    every = ["qlora", "lora"] if o.cpu else list(PEERS)
    try:
        o.peers = {"none": [], "all": list(PEERS), None: every}[o.peers] if o.peers in ("none", "all", None) else names_in(PEERS, o.peers)
    except argparse.ArgumentTypeError as e:
        p.error("argument --peers: %s" % e)
    o.repeat = max(1, round(o.seconds / BURST))
    o.environment = {**os.environ, **(machine.ISAS[o.isa] if o.cpu else {}), **({"OMP_WAIT_POLICY": "passive"} if o.passive else {})}
    return o


# ---- measuring ----


def median(v):
    v = sorted(v)
    return (v[len(v) // 2] + v[(len(v) - 1) // 2]) / 2


class Measurement:
    """Bursts of one side, kept; after an error it does nothing more."""

    def __init__(self, side, energy):
        self.side, self.energy, self.result, self.took, self.joules, self.busy = side, energy, {}, [], 0, 0

    def attempt(self, what):
        if "error" not in self.result:
            try:
                what()
            except Ended as e:
                self.result = {"error": str(e)}

    def start(self):
        self.attempt(self.side.start)

    def burst(self):
        def one():
            pid = self.side.process.pid
            self.energy.since()
            before = machine.processor_seconds(pid)
            self.took.append(self.side.burst())
            self.busy += machine.processor_seconds(pid) - before
            self.joules += self.energy.since() or 0
        self.attempt(one)

    def end(self):
        self.attempt(self.finish)
        self.side.stop()

    def finish(self):
        case, pid = self.side.case, self.side.process.pid
        resident = machine.most_resident(pid)
        r = self.side.end()
        if r["result"] is None:
            raise Ended("what it computes is not finite")
        r["step_seconds"] = median(self.took) / r["burst"]
        r["rounds"] = [t / r["burst"] for t in self.took]
        r["joules"] = self.joules / (len(self.took) * r["burst"] * case.batch) if self.joules else None
        if case.o.cpu:
            r["peak_bytes"], r["empty_bytes"] = resident, self.side.empty()
            r["processor_seconds"] = self.busy / (len(self.took) * r["burst"] * case.o.threads)
        self.result = r


def measure(sides, energy, rounds):
    """A measurement of each side, burst by burst in turn."""
    ms = [Measurement(s, energy) for s in sides]
    for m in ms:
        m.start()
    for _ in range(rounds):
        for m in ms:
            m.burst()
    for m in ms:
        m.end()
    return ms


# ---- what is printed ----


def cell(value, form="%.0f"):
    return "-" if value is None else form % value


def mib(value):
    return cell(value / 2**20 if value else None)


def beside(our, r, what):
    """Ours over a peer's, where both are known."""
    return our[what] / r[what] if our and our is not r and "error" not in our and our.get(what) and r.get(what) else None


def speed(our, r, what="step_seconds"):
    ratio = beside(our, r, what)
    return 1 / ratio if ratio else None


def speeds(our, r):
    by = speed(our, r, "processor_seconds")
    return cell(speed(our, r), "%.2f") + (" (%.2f)" % by if by else "")


# heading, for which devices, what stands there: of a case, a measurement's result and ours
COLUMNS = [
    ("img/s", "cpu gpu", lambda c, r, our: cell(c.batch / r["step_seconds"], "%.1f" if c.batch / r["step_seconds"] > 20 else "%.2f")),
    ("ms", "cpu gpu", lambda c, r, our: cell(1e3 * r["step_seconds"], "%.2f" if r["step_seconds"] < 0.1 else "%.0f")),
    ("processor ms", "cpu", lambda c, r, our: cell(1e3 * r["processor_seconds"])),
    ("ours / peer (by processor)", "cpu", lambda c, r, our: speeds(our, r)),
    ("device: img/s", "gpu", lambda c, r, our: cell(c.batch / r["device_seconds"] if r.get("device_seconds") else None, "%.1f")),
    ("device idle", "gpu", lambda c, r, our: cell(100 * r["idle"] if "idle" in r else None, "%.0f %%")),
    ("peak MiB", "cpu gpu", lambda c, r, our: mib(r["peak_bytes"])),
    ("above empty", "cpu", lambda c, r, our: mib(r["peak_bytes"] - r["empty_bytes"] if r.get("empty_bytes") else None)),
    ("peak: ours / peer", "cpu", lambda c, r, our: cell(beside(our, r, "peak_bytes"), "%.2f")),
    ("J / image", "cpu", lambda c, r, our: cell(r["joules"], "%.2f")),
    ("ours / peer", "gpu", lambda c, r, our: cell(speed(our, r), "%.2f")),
]


def columns(o):
    return [c for c in COLUMNS if ("cpu" if o.cpu else "gpu") in c[1].split()]


def title(o, r, hello, lacking, energy):
    versions = ", ".join("%s %s" % v for v in hello.get("versions", {}).items())
    print("%s, driver %s; %s" % (r["device"], r["driver"], versions or "no peers"))
    if o.cpu:
        print("%s, %d threads, instructions: %s (ours may use: %s); load average %.1f"
              % (machine.processor(), o.threads, o.isa, o.ours_may_use, os.getloadavg()[0]))
    print("288 x 512, %s; LoRA r = 16 on all linear layers, dropout %s;" % (about(o.sizes), DROPOUT))
    print("medians of %d bursts of %s s%s." % (o.repeat, BURST, " or a step, the sides in turn" if o.cpu else ""))
    if o.cpu:
        print("Processor: time that the threads ran, over their number: less than ms where they waited or others ran; the peers' threads %s."
              % ("sleep while they wait" if o.passive else "spin while they wait"))
        print("Peak: of the process, resident; above empty: over what it has with its libraries loaded and no model.")
        if energy.why:
            print("No energy: %s." % energy.why)
    else:
        print("Device: without transfers and the host's waits (ours: the sum of the commands' times).")
    for why in sorted({w for w in lacking.values() if w}):
        without = ", ".join(p for p in o.peers if lacking[p] == why)
        print("%s: %s." % ("Ours alone" if all(lacking.values()) else "Without " + without, why))
    headings = ["backbone", "what", "side"] + [c[0] for c in columns(o)]
    print("\n| %s |\n|%s" % (" | ".join(headings), "---|" * len(headings)), flush=True)


def print_shares(name, rows):
    """rows: of kernels, where what is only a part of an operation has no GB/s and TFLOP/s, or of whole operations."""
    print("\n| %s | share | ms | launches | GB/s | TFLOP/s | of the roofline |\n|---|---|---|---|---|---|---|" % name)
    for k in rows:
        s = k["seconds"] or 1
        who = " ".join(x for x in (k.get(name), k.get("variant") and "(%s)" % k["variant"]) if x)
        print("| %s | %.1f %% | %.3f | %d | %s | %s | %s |" %
              (who, 100 * k["share"], 1e3 * k["seconds"], k["entries"], cell(k["bytes"] / s / 1e9 or None, "%.1f"),
               cell(k["flops"] / s / 1e12 or None, "%.2f"), cell(100 * k["roofline"] or None, "%.0f %%")))


def print_profile(case, r):
    best = r["roofline"]
    print("\n%s, %s, %s: %d launches, %.3f ms of commands, %.3f ms on the clock; roofline %.0f GB/s copied by %s, %.1f TFLOP/s by %s"
          % (SIZES[case.size], case.name(), case.precision, r["launches"], 1e3 * r["seconds"], 1e3 * r["step_seconds"],
             best["bytes_per_second"] / 1e9, best["copied_by"], best["flops_per_second"] / 1e12, best["multiplied_by"]))
    print_shares("kernel", r["kernels"])
    print_shares("operation", r["operations"])


class Bench:
    def __init__(self, o):
        self.o, self.energy, self.results, self.titled = o, machine.Energy(), [], False
        self.peer = Peer(o) if o.peers else None  # of a GPU's cases, and what says what there is
        self.hello = self.peer.hello if self.peer else {}
        self.lacking = {p: self.peer.lacks(p) for p in o.peers}
        if o.cpu and self.peer:
            self.peer.close()
        o.ours_empty, o.ours_may_use = look_at_ours(o) if o.cpu else (None, "")

    def keep(self, m):
        case = m.side.case
        self.results.append((case, m))
        if self.o.json:
            rows = [{"size": c.size, "row": c.row, "precision": c.precision, "batch": c.batch, "side": m.side.side, **m.result}
                    for c, m in self.results]
            with open(self.o.json, "w") as f:
                json.dump({"versions": self.hello.get("versions", {}), "threads": self.o.threads, "isa": self.o.isa, "results": rows}, f,
                          indent=1)

    def show(self, m, our):
        case, r = m.side.case, m.result
        self.keep(m)
        if "error" in r:
            told("%s, %s, %s: %s" % (SIZES[case.size], case.name(), m.side.side, r["error"]))
            return
        if not self.titled:
            first = {"device": self.hello.get("name"), "driver": "-", **r}  # a peer's, where ours failed
            title(self.o, first, self.hello, self.lacking, self.energy)
            self.titled = True
        cells = [SIZES[case.size], case.name(), m.side.side] + [c[2](case, r, our) for c in columns(self.o)]
        print("| %s |" % " | ".join(cells), flush=True)

    def row(self, size, row, precision):
        o, case = self.o, Case(self.o, size, row, precision)
        peers = [p for p in OF_ROW[row] if p in o.peers and not self.lacking[p]]
        if o.cpu:
            ms = measure([Ours(case)] + [Peer(o).use(case, p) for p in peers], self.energy, o.repeat)
        else:  # one after the other: a device's memory is each one's alone
            ms = measure([Ours(case)], self.energy, o.repeat)
            for p in peers:
                ms += measure([self.asked().use(case, p)], self.energy, o.repeat)
        for m in ms:
            self.show(m, ms[0].result)

    def asked(self):
        """The peers' process; a new one when it has died."""
        if self.peer.process.poll() is not None:
            self.peer = Peer(self.o)
        return self.peer

    def run(self):
        o = self.o
        for size in o.sizes:
            for row in o.rows:
                for precision in o.precision:
                    self.row(size, row, precision)
        if self.peer and not o.cpu:
            self.peer.close()
        for case, m in self.results if o.profile else []:
            if isinstance(m.side, Ours) and "error" not in m.result:
                print_profile(case, m.result)
        return 1 if any("error" in m.result for _, m in self.results) else 0


if __name__ == "__main__":
    sys.exit(Bench(options()).run())
