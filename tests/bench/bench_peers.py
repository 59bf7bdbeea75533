#!/usr/bin/env python3
"""Memory bandwidth and launch latency by tracknet bench and by clpeak (Debian's package) on the same device, in turn.

bench_peers.py [TRACKNET] [--device D] [--rounds N]

Bandwidth: the best of the rounds on either side, reading alone (clpeak's best vector width). Latency: the least of the rounds' figures (ours the
median of 200 launches, clpeak's a mean), from enqueueing to the start by events on both sides. More than a tenth apart is marked."""
import argparse
import json
import re
import shutil
import subprocess
import sys


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tracknet", nargs="?", default="build/src/tracknet")
    p.add_argument("--device", default=None)
    p.add_argument("--rounds", type=int, default=5)
    return p.parse_args()


def ours(o):
    """The device's name, B/s read, seconds of a launch."""
    device = ["--device", o.device] if o.device else []
    out = subprocess.run([o.tracknet, "bench", "--only", "links", "--json", *device], check=True, stdout=subprocess.PIPE).stdout
    (d,) = json.loads(out)["devices"]
    figures = {m["id"]: m.get("value") for m in d["measurements"]}
    read = max(v for k, v in figures.items() if k.startswith("memory.read."))
    return d["identity"]["name"], read, figures.get("launch.queued")


def theirs(name):
    """The same by clpeak, of the device with this name."""
    out = subprocess.run(["clpeak", "--global-bandwidth", "--kernel-latency"], capture_output=True, text=True, check=True).stdout
    for block in out.split("Device: ")[1:]:
        if block.split("\n", 1)[0].strip() == name:
            widths = re.findall(r"^ +float\d* *: ([\d.]+)", block, re.M)
            latency = re.search(r"Kernel launch latency : ([\d.]+) us", block)
            return max(1e9 * float(w) for w in widths), 1e-6 * float(latency[1])
    sys.exit("bench_peers.py: clpeak does not list a device '%s'" % name)


def row(what, a, b, unit, scale):
    if not a or not b:
        return "| %s | - | - | - |" % what
    return "| %s | %.1f %s | %.1f %s | %.2f%s |" % (what, a * scale, unit, b * scale, unit, a / b, "" if abs(a / b - 1) <= 0.1 else " !")


def main():
    o = options()
    if not shutil.which("clpeak"):
        sys.exit("bench_peers.py: there is no clpeak here: apt install clpeak")
    reads, waits, their_reads, their_waits = [], [], [], []
    for _ in range(o.rounds):
        name, read, wait = ours(o)
        their_read, their_wait = theirs(name)
        reads.append(read)
        waits.append(wait or 0)
        their_reads.append(their_read)
        their_waits.append(their_wait)
    print("%s, %d rounds in turn; ! is more than a tenth apart\n" % (name, o.rounds))
    print("| what | tracknet bench | clpeak | ratio |\n|---|---|---|---|")
    print(row("reading global memory", max(reads), max(their_reads), "GB/s", 1e-9))
    print(row("from a launch to its start", min(waits), min(their_waits), "us", 1e6))


main()
