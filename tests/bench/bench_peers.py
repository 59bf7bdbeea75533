#!/usr/bin/env python3
"""tracknet bench beside what others wrote, on one device and in one go: clpeak (Debian's package), cuBLAS, PyTorch with PEFT and bitsandbytes.

bench_peers.py [TRACKNET] [--device D] [--budget SECONDS] [--json FILE] [--size s] [--python PYTHON]

Reading and launching: clpeak's figures and ours by its definitions (docs/bench.md), in rounds that take turns; the best of the rounds
counts on either side, so that what else the machine does has no say. More than a tenth apart is marked with !. Products: bfloat16 on a
ViT's layers by our fastest variant, with the values that it has before it is tuned, and by cuBLAS (peer_products.py), both on the device's
clock. Steps: bench_step.py. What is not here, or has no time within the budget, is left out, and said."""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LAUNCHES, READING = {"GPU": 0.06, "CPU": 0.15}, {"GPU": 0.2, "CPU": 0.5}  # of the budget, until then
PRODUCTS = 0.35  # of what is left
MOST_ROUNDS, FEWEST_ROUNDS = 6, 2


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tracknet", nargs="?", default=os.path.join(ROOT, "build/src/tracknet"))
    p.add_argument("--device", help="as tracknet takes it (one)")
    p.add_argument("--budget", type=float, default=240, metavar="SECONDS", help="of all (240)")
    p.add_argument("--json", metavar="FILE", help="the rows are written there, after each part")
    p.add_argument("--size", default="s", help="of the steps: t, s, b or l, as bench_step.py has them (s)")
    p.add_argument("--python", default=sys.executable, help="that has torch, transformers and peft")
    o = p.parse_args()
    o.begin = time.monotonic()
    o.tracknet = os.path.abspath(o.tracknet)
    return o


class Late(Exception):
    """A program that was not done in its time."""


def run(command, seconds, accepts=(0,), **more):
    """What a program prints; it and its children are ended when the time is over, or by Ctrl-C."""
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more)
    try:
        out, errors = p.communicate(timeout=max(seconds, 1))
    except BaseException as e:
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()
        if isinstance(e, subprocess.TimeoutExpired):
            raise Late("%s was not done in %.0f s" % (os.path.basename(command[0]), seconds)) from None
        raise
    if p.returncode not in accepts:
        raise RuntimeError("%s: %s" % (os.path.basename(command[0]), (errors.strip() or "exit status %d" % p.returncode).splitlines()[-1]))
    return out


class Peers:
    def __init__(self, o):
        self.o, self.rows, self.left_out, self.identity, self.step_table = o, [], [], None, ""

    def left(self, share=1.0):
        return self.o.begin + share * self.o.budget - time.monotonic()

    def bench(self, parts, seconds, *more):
        """Figures of `tracknet bench --only PARTS`, by id."""
        device = ["--device", self.o.device] if self.o.device else []
        out = run([self.o.tracknet, "bench", "--only", parts, "--budget", str(max(1, int(seconds))), *more, *device, "--json"],
                  seconds * 1.1 + 20, accepts=(0, 1), cwd=ROOT)  # 1: a figure that failed has no value
        if not out.strip():
            raise RuntimeError("tracknet bench --only %s says nothing" % parts)
        (d,) = json.loads(out)["devices"]
        self.identity = d["identity"]
        return {m["id"]: m["value"] for m in d["measurements"] if "value" in m}

    def add(self, what, peer, ours, theirs, unit, scale, better="more", near=False):
        ratio = ours / theirs if better == "more" else theirs / ours
        self.rows.append({"what": what, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "scale": scale, "better": better,
                          "ratio": ratio, "apart": near and not 0.9 <= ratio <= 1 / 0.9})

    # ---- clpeak ----

    def theirs(self, what):
        """clpeak's figures of our device, by its name: {"float16": B/s, ...} or {"latency": seconds}."""
        out = run(["clpeak", what], self.left())
        for block in out.split("Device: ")[1:]:
            if block.split("\n", 1)[0].strip() == self.identity["name"]:
                found = {w: 1e9 * float(v) for w, v in re.findall(r"^ +(float\d*) *: ([\d.]+)", block, re.M)}
                latency = re.search(r"Kernel launch latency : ([\d.]+) us", block)
                return {**found, **({"latency": 1e-6 * float(latency[1])} if latency else {})}
        raise RuntimeError("clpeak does not list a device '%s'" % self.identity["name"])

    def in_turn(self, part, what, share, most):
        """The best of rounds of either side, by name, and how many rounds there were."""
        best, longest, n = ({}, {}), 0, 0
        choose = min if part == "clpeak-launch" else max
        while n < most and (n < FEWEST_ROUNDS or self.left(share) > longest):
            begin = time.monotonic()
            mine = {k.rpartition(".")[2]: v for k, v in self.bench(part, self.left(share) / FEWEST_ROUNDS / 2, "--quick").items()}
            for side, figures in zip(best, (mine, self.theirs(what))):
                for k, v in figures.items():
                    side[k] = choose(side.get(k, v), v)
            longest = max(longest, time.monotonic() - begin)
            n += 1
        return (*best, n)

    def clpeak(self):
        if not shutil.which("clpeak"):
            raise RuntimeError("there is no clpeak here (Debian: apt install clpeak)")
        self.bench("launches", 5)  # what device it is
        kind = "CPU" if self.identity["type"] == "CPU" else "GPU"
        mine, other, n = self.in_turn("clpeak-launch", "--kernel-latency", LAUNCHES[kind], 3 * MOST_ROUNDS)
        if mine and other:
            self.add("launch latency, least of %d rounds" % n, "clpeak", mine["latency"], other["latency"], "us", 1e6, "less", near=True)
        mine, other, n = self.in_turn("clpeak-read", "--global-bandwidth", READING[kind], MOST_ROUNDS)
        if mine and other:
            self.add("reading, best of %d rounds" % n, "clpeak", max(mine.values()), max(other.values()), "GB/s", 1e-9, near=True)
        for w in other:
            if w in mine:
                self.add("reading, " + w, "clpeak", mine[w], other[w], "GB/s", 1e-9, near=True)

    # ---- cuBLAS ----

    def products(self):
        probe = "import torch; assert torch.cuda.is_available(), 'PyTorch sees no CUDA device'"
        run([self.o.python, "-c", probe], self.left())
        best = {}
        for name, rate in self.bench("products", PRODUCTS * self.left(), "--full").items():
            m = re.match(r"gemm\.bfloat16\.(\d+)x(\d+)x(\d+)\.(.+)$", name)
            if m and rate > best.get(m.groups()[:3], (0, ""))[0]:
                best[m.groups()[:3]] = (rate, m[4])
        shapes = sorted(best, key=lambda s: [int(v) for v in s])
        with tempfile.TemporaryFile("w+") as f:
            f.write("".join("%s %s %s 1\n" % s for s in shapes))
            f.seek(0)
            out = run([self.o.python, os.path.join(HERE, "peer_products.py")], self.left(), stdin=f)
        for line in out.splitlines():
            m, n, k, _, us = line.split()
            rate, variant = best[(m, n, k)]
            self.add("bfloat16 %s x %s x %s, %s" % (m, n, k, variant), "cuBLAS", rate, 2.0 * int(m) * int(n) * int(k) / (1e-6 * float(us)),
                     "TFLOP/s", 1e-12)

    # ---- steps ----

    def steps(self):
        """bench_step.py writes after each measurement, so that what it was not done with costs no more than itself."""
        device = "cpu" if self.identity and self.identity["type"] == "CPU" else self.o.device or "gpu"
        with tempfile.TemporaryDirectory() as folder:
            path, why = os.path.join(folder, "steps.json"), None
            try:
                self.step_table = run([sys.executable, os.path.join(HERE, "bench_step.py"), "--tracknet", self.o.tracknet, "--device",
                                       device, "--sizes", self.o.size, "--rows", "train,predict", "--peers", "qlora,lora", "--precision",
                                       "bf16", "--seconds", "1.5", "--python", self.o.python, "--json", path], self.left())
            except (Late, RuntimeError) as e:
                why = e
            results = json.load(open(path))["results"] if os.path.exists(path) else []
        for key in dict.fromkeys((r["row"], r["batch"]) for r in results):
            here = [r for r in results if (r["row"], r["batch"]) == key and "error" not in r]
            for peer in here[1:] if here and here[0]["side"].startswith("ours") else []:
                rates = [r["batch"] / r["step_seconds"] for r in (here[0], peer)]
                self.add("%s, ViT-%s, batch %d" % (key[0], self.o.size.upper(), key[1]), peer["side"], *rates, "img/s", 1)
        for r in results:
            if "error" in r:
                self.left_out.append("%s, %s: %s" % (r["row"], r["side"], r["error"]))
        if why:
            raise why
        if results and not any(not r["side"].startswith("ours") for r in results):
            self.left_out.append("steps beside PyTorch: no peer can run here, as the title of the table says")

    # ---- all ----

    def part(self, name, what):
        if self.left() < 5:
            self.left_out.append("%s: no time is left" % name)
            return
        try:
            what()
        except (Late, RuntimeError, OSError, ValueError) as e:
            self.left_out.append("%s: %s" % (name, e))
        self.write()

    def write(self):
        if self.o.json:
            with open(self.o.json, "w") as f:
                json.dump({"device": self.identity, "budget": self.o.budget, "seconds": time.monotonic() - self.o.begin, "rows": self.rows,
                           "left_out": self.left_out}, f, indent=1)

    def show(self):
        name = self.identity["name"] + ", driver " + self.identity["driver"] if self.identity else "no device"
        print("%s; %.0f s of %.0f\n" % (name, time.monotonic() - self.o.begin, self.o.budget))
        if self.rows:
            print("| what | tracknet | peer | | ours / peer |\n|---|---|---|---|---|")
        for r in self.rows:
            print("| %s | %.4g %s | %.4g %s | %s | %.2f%s |" % (r["what"], r["ours"] * r["scale"], r["unit"], r["theirs"] * r["scale"],
                                                                r["unit"], r["peer"], r["ratio"], " !" if r["apart"] else ""))
        for why in self.left_out:
            print("left out: " + why)
        if self.step_table:
            print("\n" + self.step_table.strip())

    def all(self):
        self.part("clpeak", self.clpeak)
        if not self.identity:
            self.part("device", lambda: self.bench("launches", 5))
        if self.identity and self.identity["type"] != "CPU":
            self.part("products beside cuBLAS", self.products)
        self.part("steps beside PyTorch", self.steps)
        self.write()
        self.show()
        return 0 if self.rows else 1


if __name__ == "__main__":
    sys.exit(Peers(options()).all())
