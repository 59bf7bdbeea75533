#!/usr/bin/env python3
"""The peer of bench_products: cuBLAS through torch.matmul in bfloat16, on the shapes read from standard input ("M N K tb" a line).
Prints "M N K tb us" for each: the median of seven replays of a CUDA graph of `calls` products on random data; with --sustained what
one takes over 0.4 s without a pause, after as long a time of the same (bench_tiles' `sustained`)."""
import sys
import time

import torch

CALLS = 20


def matrix(rows, cols, turned=False, device="cuda"):
    v = torch.randn(cols if turned else rows, rows if turned else cols, device=device, dtype=torch.bfloat16)
    return v.t() if turned else v


def microseconds(m, n, k, tb):
    a, b = matrix(m, k), matrix(k, n, tb)
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        torch.matmul(a, b, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            torch.matmul(a, b, out=out)
    taken = []
    for i in range(8):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        if i:
            taken.append(begin.elapsed_time(end) * 1e3 / CALLS)
    return sorted(taken)[len(taken) // 2]


def sustained(m, n, k, tb):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = [matrix(m, k, device=device) for _ in range(3)]  # more than a cache holds
    b = matrix(k, n, tb, device)
    out = torch.empty(m, n, device=device, dtype=torch.bfloat16)
    for _ in range(2):
        begin, calls = time.monotonic(), 0
        while time.monotonic() - begin < 0.4:
            for i in range(CALLS * 3):
                torch.matmul(a[i % 3], b, out=out)
            if device == "cuda":
                torch.cuda.synchronize()
            calls += CALLS * 3
        took = time.monotonic() - begin
    return took * 1e6 / calls


measure = sustained if "--sustained" in sys.argv[1:] else microseconds
for line in sys.stdin:
    shape = [int(v) for v in line.split()]
    print(*shape, "%.2f" % measure(*shape), flush=True)
