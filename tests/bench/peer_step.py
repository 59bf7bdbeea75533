#!/usr/bin/env python3
"""The peers of bench_step.py: a DINOv3 ViT of random weights with TrackNet's decoder, by PyTorch, transformers, PEFT, bitsandbytes.

First prints {"versions", "missing", "cuda", "name"}; then answers each line of standard input, a case, by a line:
  case    {"row": train|memory|predict|frame, "peer": qlora|lora|compile, "config": of the backbone, "image": [w, h],
           "channels": [...], "batch": n, "repeat": bursts, "device": cuda|cpu, "lr": rate, "dropout": of the adapters}
  answer  {"step_seconds", "device_seconds" (predictions only: without transfers), "result" (the loss, or the mean of the heatmaps;
           null where they are not finite), "peak_bytes" (null on a CPU), "burst"} or {"error": sentence}"""
import gc
import importlib
import json
import math
import os
import sys
import time

WARM_UP, BURST, LONGEST = 5, 0.3, 1000  # steps (a CUDA graph is recorded in the second), seconds, steps
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
NAMES = ("torch", "transformers", "peft", "bitsandbytes")
loaded, missing = {}, []
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is no answer
for name in NAMES:
    try:
        loaded[name] = importlib.import_module(name)
    except Exception as e:  # bitsandbytes raises whatever its binaries do
        missing.append(name)
        print("%s: %s" % (name, e), file=sys.stderr)
if "torch" in loaded:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
            self.norm, self.pw = nn.GroupNorm(32, c), nn.Conv2d(c, c, 1, bias=False)

        def forward(self, x):
            return x + self.pw(F.gelu(self.norm(self.dw(x))))

    class Net(nn.Module):
        """Frames [n, 3, h, w] of bytes to heatmaps [n, 1, h / 2, w / 2]."""

        def __init__(self, backbone, c):
            super().__init__()
            ch, patch = c["channels"], c["config"]["patch_size"]
            self.grid = (c["image"][1] // patch, c["image"][0] // patch)
            self.special = 1 + c["config"]["num_register_tokens"]
            self.backbone = backbone
            self.proj = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(ch, ch[1:]))
            self.blocks = nn.ModuleList(Block(b) for b in ch[1:])
            self.head = nn.Conv2d(ch[-1], 1, 1)
            self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

        def forward(self, frames):
            x = (frames.to(self.mean.dtype) - self.mean) / self.std
            h = self.backbone(pixel_values=x).last_hidden_state[:, self.special:].unflatten(1, self.grid).permute(0, 3, 1, 2)
            for p, b in zip(self.proj, self.blocks):
                h = b(p(F.interpolate(h, scale_factor=2, mode="bilinear")))
            return self.head(h)


def quantise(model):
    """The linear layers of a bf16 model as transformers' load_in_4bit makes them: nf4, double quantisation, bf16 arithmetic."""
    bnb = loaded["bitsandbytes"].nn
    for name, old in list(model.named_modules()):
        if name.rpartition(".")[2] not in TARGETS:
            continue
        new = bnb.Linear4bit(old.in_features, old.out_features, old.bias is not None, compute_dtype=torch.bfloat16,
                             compress_statistics=True, quant_type="nf4")
        new.weight = bnb.Params4bit(old.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=new)
        new.bias = old.bias
        model.set_submodule(name, new)
    model.is_loaded_in_4bit = True


def build(c):
    """The model on its device: frozen weights in bf16 or nf4, adapters and decoder in float32; merged and all bf16 to predict."""
    peft, config = loaded["peft"], {k: v for k, v in c["config"].items() if k != "model_type"}
    backbone = loaded["transformers"].DINOv3ViTModel(loaded["transformers"].DINOv3ViTConfig(**config)).to(torch.bfloat16)
    if c["peer"] == "qlora":
        quantise(backbone)
    if c["row"] == "memory":
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    adapters = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=c["dropout"], target_modules=TARGETS)
    backbone = peft.get_peft_model(backbone, adapters)
    if c["row"] in ("train", "memory"):
        return Net(backbone, c).to(c["device"]).train()
    return Net(backbone.merge_and_unload(), c).to(c["device"], torch.bfloat16).eval()


def frames_of(c):
    """Two batches of noise in pinned memory, so that every step has other frames than the last."""
    w, h = c["image"]
    v = [torch.randint(0, 256, (c["batch"], 3, h, w), dtype=torch.uint8) for _ in range(2)]
    return [x.pin_memory() for x in v] if c["device"] == "cuda" else v


def wait(c):
    if c["device"] == "cuda":
        torch.cuda.synchronize()


def time_bursts(c, step):
    """Seconds of a step, the median of bursts, and the steps of a burst: as tracknet profile does it."""
    n = [0]

    def burst(k):
        begin = time.perf_counter()
        for _ in range(k):
            step(n[0])
            n[0] += 1
        wait(c)
        return time.perf_counter() - begin

    for _ in range(WARM_UP):
        seconds = burst(1)
    k = int(min(max(BURST / seconds, 1), LONGEST))
    if k > 1:
        burst(k)
    took = sorted(burst(k) for _ in range(c["repeat"]))
    return (took[len(took) // 2] + took[(len(took) - 1) // 2]) / 2 / k, k


def finite(values):
    return all(bool(torch.isfinite(v).all()) for v in values)


def train(c):
    net, frames = build(c), frames_of(c)
    weights = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(weights, lr=c["lr"], fused=True)
    w, h = c["image"]
    target, loss = torch.rand(c["batch"], 1, h // 2, w // 2, device=c["device"]), [None]

    def forward(x):
        with torch.autocast(c["device"], torch.bfloat16):
            return F.mse_loss(net(x).float(), target)

    if c["peer"] == "compile":
        forward = torch.compile(forward, dynamic=False)

    def step(i):
        opt.zero_grad(set_to_none=True)
        loss[0] = forward(frames[i % 2].to(c["device"], non_blocking=True))
        loss[0].backward()
        opt.step()

    seconds, burst = time_bursts(c, step)
    return {"step_seconds": seconds, "burst": burst, "result": float(loss[0].detach()) if finite([loss[0], *weights]) else math.nan}


@(torch.no_grad() if "torch" in loaded else lambda f: f)
def predict(c):
    net, frames = build(c), frames_of(c)
    if c["peer"] == "compile":
        net = torch.compile(net, dynamic=False, mode="reduce-overhead" if c["row"] == "frame" else "default")  # CUDA graphs
    w, h = c["image"]
    heat = torch.empty(c["batch"], 1, h // 2, w // 2, pin_memory=c["device"] == "cuda")

    def step(i):
        heat.copy_(net(frames[i % 2].to(c["device"], non_blocking=True)).float(), non_blocking=True)
        wait(c)

    seconds, burst = time_bursts(c, step)
    there = frames[0].to(c["device"])
    return {"step_seconds": seconds, "burst": burst, "device_seconds": time_bursts(c, lambda i: net(there))[0],
            "result": float(heat.mean()) if finite([heat]) else math.nan}


def clean():
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def answer(c):
    torch.manual_seed(1)
    try:
        r = train(c) if c["row"] in ("train", "memory") else predict(c)
    except Exception as e:
        return {"error": "%s: %s" % (type(e).__name__, (str(e).strip() or "?").splitlines()[0])}
    r["result"] = r["result"] if math.isfinite(r["result"]) else None
    r["peak_bytes"] = torch.cuda.max_memory_allocated() if c["device"] == "cuda" else None
    return r


def say(what):
    print(json.dumps(what), file=replies, flush=True)


def main():
    cuda = "torch" in loaded and torch.cuda.is_available()
    versions = {n: m.__version__ for n, m in loaded.items()}
    if cuda:
        versions["CUDA"] = torch.version.cuda
    say({"versions": versions, "missing": missing, "cuda": cuda, "name": torch.cuda.get_device_name() if cuda else "CPU"})
    for line in sys.stdin:
        say(answer(json.loads(line)))
        clean()  # the other side finds the memory free


if __name__ == "__main__":
    main()
