#!/usr/bin/env python3
"""The peer of bench_conv: torch's convolutions in channels_last, forward, towards the input and of the kernel. A line asks for one
timing, "DIRECTION TYPE BATCH HEIGHT WIDTH C O KERNEL STRIDE PAD GROUPS BIAS DOUBLED SECONDS", and is answered with the milliseconds of one call and
of processor time that it took, the means over as many calls as fit into those seconds. DOUBLED: 1: images come half as high and as wide and are enlarged first; the
backward pass has what that made. Usage: peer_conv.py cpu|cuda THREADS"""
import sys
import time

import torch

DEVICE, TYPES = sys.argv[1], {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
torch.set_num_threads(int(sys.argv[2]))
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = False  # float32 is float32 on both sides


def call(direction, dtype, batch, height, width, c, o, kernel, stride, pad, groups, bias, doubled):
    """A function that runs it once."""
    def random(*shape):
        t = torch.randn(*shape, device=DEVICE, dtype=TYPES[dtype])
        return t.to(memory_format=torch.channels_last) if len(shape) == 4 else t

    x, w, b = random(batch, c, height, width), random(o, c // groups, kernel, kernel), random(o) if bias else None
    y = torch.nn.functional.conv2d(x, w, b, stride, pad, 1, groups)
    if direction == "forward" and doubled:
        small = random(batch, c, height // 2, width // 2)
        return lambda: torch.nn.functional.conv2d(
            torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear"), w, b, stride, pad, 1, groups)
    if direction == "forward":
        return lambda: torch.nn.functional.conv2d(x, w, b, stride, pad, 1, groups)
    dy = torch.randn_like(y, memory_format=torch.channels_last)
    mask = [direction in ("dx", "both"), direction in ("dw", "both"), bool(bias) and direction in ("dw", "both")]

    def backward():
        grads = torch.ops.aten.convolution_backward(dy, x, w, [o], [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask)
        if doubled and mask[0]:
            torch.ops.aten.upsample_bilinear2d_backward(
                grads[0], [height, width], [batch, c, height // 2, width // 2], False, 2.0, 2.0)

    return backward


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


print("torch", torch.__version__, flush=True)
asked = run = None
with torch.no_grad():
    for line in sys.stdin:
        *shape, seconds = line.split()
        if shape != asked:
            asked, run = shape, call(shape[0], shape[1], *map(int, shape[2:]))
            for _ in range(3):
                run()
            wait()
        n, begin, worked = 0, time.perf_counter(), time.process_time()
        while n == 0 or (time.perf_counter() - begin < float(seconds) and n < 400):
            run()
            n += 1
        wait()
        print("%.6f %.6f" % ((time.perf_counter() - begin) / n * 1e3, (time.process_time() - worked) / n * 1e3), flush=True)
