#!/usr/bin/env python3
"""PyTorch's attention on the shapes of bench_attention, bfloat16: the faster of flash and cuDNN, microseconds of bursts of ten calls.

usage: peer_attention.py [images]
"""
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attend

SHAPES = [(581, 6, 1), (581, 12, 1), (581, 16, 1), (2309, 6, 1), (2309, 12, 1), (2309, 16, 2)]


def median_us(call, burst=10, rounds=7):
    times = []
    for i in range(rounds + 2):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(burst):
            call()
        b.record()
        torch.cuda.synchronize()
        if i > 1:
            times.append(1e3 * a.elapsed_time(b) / burst)
    return sorted(times)[len(times) // 2]


def main():
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    for n, heads, part in SHAPES:
        q, k, v, g = (torch.randn(images // part, heads, n, 64, device="cuda", dtype=torch.bfloat16) for _ in range(4))
        for t in (q, k, v):
            t.requires_grad_()
        best = [float("inf")] * 2
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            with sdpa_kernel(backend):
                try:
                    with torch.no_grad():
                        forward = median_us(lambda: attend(q, k, v))
                    out = attend(q, k, v)
                    backward = median_us(lambda: torch.autograd.grad(out, (q, k, v), g, retain_graph=True))
                except RuntimeError:
                    continue
            best = [min(best[0], forward), min(best[1], backward)]
        flop = 4e-6 * (images // part) * heads * n * n * 64
        print(f"{n} tokens, {heads} heads, {images // part} images: forward {best[0]:.1f} us {flop / best[0]:.0f} TFLOP/s; "
              f"backward {best[1]:.1f} us {2.5 * flop / best[1]:.0f} TFLOP/s", flush=True)


main()
