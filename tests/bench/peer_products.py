#!/usr/bin/env python3
"""The peer of bench_products: cuBLAS through torch.matmul in bfloat16, on the shapes read from standard input ("M N K tb" a line).
Prints "M N K tb us" for each: the median of seven replays of a CUDA graph of `calls` products on random data."""
import sys

import torch

CALLS = 20


def microseconds(m, n, k, tb):
    a = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(n, k, device="cuda", dtype=torch.bfloat16).t() if tb else torch.randn(k, n, device="cuda", dtype=torch.bfloat16)
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


for line in sys.stdin:
    shape = [int(v) for v in line.split()]
    print(*shape, "%.2f" % microseconds(*shape), flush=True)
