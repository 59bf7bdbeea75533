#!/usr/bin/env python3
"""Golden cases of quantised matrices from bitsandbytes itself: make_quant_fixtures.py OUT [SEED] [--big].

Needs torch and bitsandbytes (pip install torch bitsandbytes); the tests that read the cases need no Python. A case is a
folder with golden.safetensors (X.weight: what was quantised, X.dequantized: what the library makes of it again, both
float32) and model.safetensors (X in the library's own serialisation). tn-golden quantises X.weight on the host and on
the device and compares every byte, and unpacks model.safetensors and compares the values."""
import json
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import bitsandbytes
import bitsandbytes.functional as F
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute as generic
from safetensors.torch import save_file

SIZES = {"odd": (37, 53), "tile": (64, 96), "wide": (20, 1000), "single": (1, 1)}


def matrices(g):
    rand = lambda *s: torch.randn(*s, generator=g)
    out = {"random_" + k: rand(*s) * 0.05 for k, s in SIZES.items()}
    out["constant"] = torch.full((33, 64), 0.25)
    out["zeros"] = torch.zeros(8, 80)
    out["zero_rows"] = rand(48, 64) * (torch.arange(48) % 3 > 0).unsqueeze(1)
    out["denormal"] = rand(16, 64) * 1e-40
    out["tiny"] = rand(16, 100) * 1e-30
    out["huge"] = rand(16, 64).clamp(-3, 3) * 1e38
    out["mixed"] = rand(64, 64) * torch.logspace(-6, 3, 64).unsqueeze(1)
    # values on the thresholds themselves: ties must fall as the library lets them
    for name in ("nf4", "fp4"):
        code = torch.sort(F.get_4bit_type(name, device="cpu"))[0]
        mid = (code[:-1] + code[1:]) / 2
        out["ties_" + name] = torch.cat([torch.ones(1), code, mid, torch.zeros(32)]).reshape(1, -1)
    return out


def four_bit(x, kind, block, nested):
    q, state = F.quantize_4bit(x, blocksize=block, quant_type=kind, compress_statistics=nested)
    parts = {"weight": q}
    parts.update({"weight." + k: v for k, v in state.as_dict(packed=True).items()})
    # code * scale as the library defines it: its AVX-512 kernel (0.50.2) takes wrong scales where blocks straddle rows
    absmax = state.absmax
    if nested:
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    code = F.get_4bit_type(kind, device="cpu")
    return parts, generic(q.reshape(-1), absmax.float(), code, block, tuple(x.shape), torch.float32)


def eight_bit(x):
    q, scb, _ = F.int8_vectorwise_quant(x.clone())
    parts = {"weight": q, "SCB": scb, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return parts, F.int8_vectorwise_dequant(q, scb).float()


def write(out, name, made):
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    model, golden = {}, {}
    for layer, (x, (parts, back)) in made.items():
        golden[layer + ".weight"] = x.clone()
        golden[layer + ".dequantized"] = back.reshape(x.shape).clone()
        for k, v in parts.items():
            model[layer + "." + k] = v.clone()
    save_file(model, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    save_file(golden, os.path.join(folder, "golden.safetensors"), metadata={"format": "pt"})


def main():
    out, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    m = matrices(torch.Generator().manual_seed(seed))
    for kind in ("nf4", "fp4"):
        for block, nested in ((64, False), (64, True), (32, True), (4096, False), (128, True)):
            name = "quant_%s_%d%s" % (kind, block, "_nested" if nested else "")
            # the mean of huge scales overflows, and the library writes a state that is no JSON
            layers = {k: x for k, x in m.items() if not (nested and k == "huge")}
            write(out, name, {k: (x, four_bit(x, kind, block, nested)) for k, x in layers.items()})
    rows = {k: x for k, x in m.items() if k not in ("zeros", "zero_rows", "denormal")}  # 0/0 in the library
    write(out, "quant_int8", {k: (x, eight_bit(x)) for k, x in rows.items()})
    big = torch.randn(1100, 2048, generator=torch.Generator().manual_seed(seed + 1)) * 0.02  # over 32,768 scales
    if "--big" in sys.argv:
        write(out, "quant_nf4_big", {"big": (big, four_bit(big, "nf4", 64, True))})
    with open(os.path.join(out, "quant_versions.json"), "w", encoding="utf-8") as f:
        json.dump({"torch": torch.__version__, "bitsandbytes": bitsandbytes.__version__, "seed": seed}, f, indent=1)


main()
