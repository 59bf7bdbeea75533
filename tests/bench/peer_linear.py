#!/usr/bin/env python3
"""The peer of bench_quant's few tokens: torch.nn.functional.linear on unquantised weights of the same shapes, waiting for
each call as bench_quant does; the best of 21. Run it on the same GPU, right after `bench_quant gpu`."""
import time

import torch

ROUNDS = 21


def seconds(x, w):
    taken = []
    for i in range(-3, ROUNDS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        torch.nn.functional.linear(x, w)
        torch.cuda.synchronize()
        if i >= 0:
            taken.append(time.perf_counter() - begin)
    return min(taken)


print("PyTorch", torch.__version__, torch.cuda.get_device_name())
for tokens in (1, 2, 4, 8):
    for n, k in ((1536, 384), (4096, 1024)):
        row = f"{tokens:2d} tokens x {n:5d} x {k:<5d}"
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(tokens, k, device="cuda", dtype=dtype)
            w = torch.randn(n, k, device="cuda", dtype=dtype)
            row += f"   {str(dtype)[6:]} {1e6 * seconds(x, w):6.1f} us"
        print(row)
