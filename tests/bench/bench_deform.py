#!/usr/bin/env python3
"""bench_deform.py BENCH_DEFORM [cpu|gpu]: our deformable attention (build/tests/bench_deform) and PyTorch's, as transformers has it
without a kernel of its own (MultiScaleDeformableAttention over F.grid_sample), on the same device in one run. From offsets and logits,
as they leave their linear layers, to the output, and back to the gradients of value, offsets and logits. Medians in milliseconds."""
import statistics
import subprocess
import sys
import time

import torch
from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

BATCH, HEADS, WIDTH, POINTS, SHAPES = 4, 8, 256, 4, [(72, 128), (36, 64), (18, 32), (9, 16)]
CELLS, EACH = sum(h * w for h, w in SHAPES), len(SHAPES) * POINTS
bench, device = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "gpu"
cuda = device != "cpu"
dev = "cuda" if cuda else "cpu"
rounds = 15 if cuda else 3


def ours():
    lines = subprocess.run([bench, device], capture_output=True, text=True, check=True).stdout.splitlines()
    return {f[0]: [float(x) for x in f[2::2]] for f in map(str.split, lines[1:])}


def references(dtype):
    ref = []
    for h, w in SHAPES:
        y, x = torch.meshgrid((torch.arange(h, device=dev) + 0.5) / h, (torch.arange(w, device=dev) + 0.5) / w, indexing="ij")
        ref.append(torch.stack([x.flatten(), y.flatten()], -1))
    return torch.cat(ref)[None, :, None, None, None].to(dtype)


def starts():
    """As Deformable DETR starts: a head looks along a direction, a point farther than the one before it."""
    angle = torch.arange(HEADS) * (2.0 * torch.pi / HEADS)
    g = torch.stack([angle.cos(), angle.sin()], -1)
    g = (g / g.abs().max(-1, keepdim=True)[0]).view(HEADS, 1, 1, 2).repeat(1, len(SHAPES), POINTS, 1)
    return (g * torch.arange(1, POINTS + 1).view(1, 1, POINTS, 1)).to(dev)


def theirs(dtype):
    attention, ref = MultiScaleDeformableAttention(), references(dtype)
    shapes = torch.tensor(SHAPES, device=dev)
    size = shapes.flip(-1)[None, None, None, :, None].to(dtype)
    value = torch.randn(BATCH, CELLS, HEADS, WIDTH // HEADS, device=dev, dtype=dtype, requires_grad=True)
    offsets = (torch.randn(BATCH, CELLS, HEADS, len(SHAPES), POINTS, 2, device=dev) + starts()).to(dtype).requires_grad_()
    logits = torch.randn(BATCH, CELLS, HEADS, EACH, device=dev, dtype=dtype, requires_grad=True)
    d_o = torch.randn(BATCH, CELLS, WIDTH, device=dev, dtype=dtype)

    def forward():
        share = logits.softmax(-1).view(BATCH, CELLS, HEADS, len(SHAPES), POINTS)
        return attention(value, shapes, SHAPES, None, ref + offsets / size, share, 64)

    def seconds(run):
        taken = []
        for i in range(-3 if cuda else -1, rounds):
            if cuda:
                torch.cuda.synchronize()
            begin = time.perf_counter()
            run()
            if cuda:
                torch.cuda.synchronize()
            taken += [time.perf_counter() - begin] if i >= 0 else []
        return 1e3 * statistics.median(taken)

    with torch.no_grad():
        once = seconds(forward)
    return once, seconds(lambda: torch.autograd.grad(forward(), [value, offsets, logits], d_o))


print("PyTorch", torch.__version__, torch.cuda.get_device_name() if cuda else "%d threads" % torch.get_num_threads())
before = ours()
for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
    torch.manual_seed(0)
    once, both = theirs(dtype)
    after = ours()
    a, b = before[name], after[name]
    mine = [(x + y) / 2 for x, y in zip(a, b)]
    print("%-9s forward: ours %.3f, PyTorch %.3f (%.1f times as fast)" % (name, mine[0], once, once / mine[0]))
    print("%-9s forward and backward: ours %.3f (samples %.3f, value %.3f), PyTorch %.3f (%.1f times as fast)"
          % ("", sum(mine), mine[1], mine[2], both, both / sum(mine)))
