#!/usr/bin/env python3
"""The peers of bench_step.py: a DINOv3 ViT of random weights with TrackNet's decoder, or a DINOv3 ConvNeXt with a feature pyramid, by
PyTorch, transformers, PEFT, bitsandbytes.

First prints {"versions", "missing", "cuda", "name"}; then reads cases, one a line, and answers lines with lines:
  case    {"row": train|memory|predict|frame, "peer": qlora|lora|compile, "precision": float32|bf16, "config": of the backbone,
           "image", "heat": [w, h], "decoder": {"channels": [...]} or a pyramid's {"lateral": channels}, "batch": n,
           "device": cuda|cpu, "threads": of a CPU or null, "lr": rate, "dropout": of the adapters}
          answer {"ready": true} after a warm-up
  burst   answer {"seconds"}: of so many steps as 0.3 s hold, at least one
  end     answer {"burst": steps of one, "device_seconds" (a GPU's predictions only: without transfers), "result" (the loss, or the
          mean of the heatmaps; null where they are not finite), "peak_bytes" (a GPU's; else null)}
Any answer may be {"error": sentence}, which ends the case."""
import gc
import importlib
import json
import math
import os
import sys
import time

WARM_UP, BURST, LONGEST = 5, 0.3, 1000  # steps (a CUDA graph is recorded in the second), seconds, steps
TARGETS = {"dinov3_vit": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
           "dinov3_convnext": ["pointwise_conv1", "pointwise_conv2"]}
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
    from torch.utils.checkpoint import checkpoint

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high" if torch.cuda.is_available() else "highest")

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
            self.norm, self.pw = nn.GroupNorm(32, c), nn.Conv2d(c, c, 1, bias=False)

        def forward(self, x):
            return x + self.pw(F.gelu(self.norm(self.dw(x))))

    class Upsampling(nn.Module):
        """The last hidden state of a ViT, doubled stage by stage."""

        def __init__(self, c):
            super().__init__()
            ch, patch = c["decoder"]["channels"], c["config"]["patch_size"]
            self.grid = (c["image"][1] // patch, c["image"][0] // patch)
            self.special = 1 + c["config"]["num_register_tokens"]
            self.proj = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(ch, ch[1:]))
            self.blocks = nn.ModuleList(Block(b) for b in ch[1:])
            self.width = ch[-1]

        def forward(self, backbone, x):
            h = backbone(pixel_values=x).last_hidden_state[:, self.special:].unflatten(1, self.grid).permute(0, 3, 1, 2)
            for p, b in zip(self.proj, self.blocks):
                h = b(p(F.interpolate(h, scale_factor=2, mode="bilinear")))
            return h

    class Pyramid(nn.Module):
        """The stages of a ConvNeXt through torchvision.ops.FeaturePyramidNetwork, written out so that torchvision takes no memory and
        need not be there; its levels are resized to the heatmap and added."""

        def __init__(self, c):
            super().__init__()
            self.width, self.again = c["decoder"]["lateral"], c["row"] == "memory"
            self.size = (c["heat"][1], c["heat"][0])
            self.inner = nn.ModuleList(nn.Conv2d(n, self.width, 1) for n in c["config"]["hidden_sizes"])
            self.layer = nn.ModuleList(nn.Conv2d(self.width, self.width, 3, padding=1) for _ in self.inner)

        def stage(self, stage, x):
            for down in stage.downsample_layers:
                x = down(x)
            for block in stage.layers:  # transformers has no checkpointing of this model
                x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
            return x

        def resized(self, x):
            return x if x.shape[-2:] == self.size else F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)

        def forward(self, backbone, x):
            maps = []
            for stage in backbone.model.stages:
                x = self.stage(stage, x)
                maps.append(x)
            inner = self.inner[-1](maps[-1])
            total = self.resized(self.layer[-1](inner))
            for i in reversed(range(len(maps) - 1)):
                inner = self.inner[i](maps[i]) + F.interpolate(inner, size=maps[i].shape[-2:], mode="nearest")
                total = total + self.resized(self.layer[i](inner))
            return total

    class Net(nn.Module):
        """Frames [n, 3, h, w] of bytes to heatmaps [n, 1, h / 2, w / 2], of a pyramid [n, 1, h / 4, w / 4]."""

        def __init__(self, backbone, c):
            super().__init__()
            self.backbone, self.decoder = backbone, Upsampling(c) if "channels" in c["decoder"] else Pyramid(c)
            self.head = nn.Conv2d(self.decoder.width, 1, 1)
            self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

        def forward(self, frames):
            x = (frames.to(self.mean.dtype) - self.mean) / self.std
            return self.head(self.decoder(self.backbone, x))


def is_convnext(c):
    return c["config"]["model_type"] == "dinov3_convnext"


def dtype_of(c):
    return torch.float32 if c["precision"] == "float32" else torch.bfloat16


def quantise(model, dtype, targets):
    """The linear layers of a model as transformers' load_in_4bit makes them: nf4, double quantisation, arithmetic in dtype."""
    bnb = loaded["bitsandbytes"].nn
    for name, old in list(model.named_modules()):
        if name.rpartition(".")[2] not in targets:
            continue
        new = bnb.Linear4bit(old.in_features, old.out_features, old.bias is not None, compute_dtype=dtype,
                             compress_statistics=True, quant_type="nf4")
        new.weight = bnb.Params4bit(old.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=new)
        new.bias = old.bias
        model.set_submodule(name, new)
    model.is_loaded_in_4bit = True


def backbone_of(c):
    """transformers' model of a config.json, of random weights in the precision."""
    tf, config = loaded["transformers"], {k: v for k, v in c["config"].items() if k != "model_type"}
    if is_convnext(c):
        return tf.DINOv3ConvNextModel(tf.DINOv3ConvNextConfig(**config)).to(dtype_of(c))
    return tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**config)).to(dtype_of(c))


def build(c):
    """The model on its device: frozen weights in the precision or nf4, adapters and decoder in float32; all in the precision, merged,
    to predict. Convolutions of a ConvNeXt are channels last."""
    peft, backbone, targets = loaded["peft"], backbone_of(c), TARGETS[c["config"]["model_type"]]
    form = torch.channels_last if is_convnext(c) else torch.preserve_format
    if c["peer"] == "qlora":
        quantise(backbone, dtype_of(c), targets)
    if c["row"] == "memory" and not is_convnext(c):
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    adapters = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=c["dropout"], target_modules=targets)
    backbone = peft.get_peft_model(backbone, adapters)
    if c["row"] not in ("train", "memory"):
        return Net(backbone.merge_and_unload(), c).to(c["device"], dtype_of(c), memory_format=form).eval()
    whole = backbone.get_base_model() if is_convnext(c) else backbone  # whose stages the pyramid asks one by one
    net = Net(whole, c).to(c["device"]).to(memory_format=form).train()
    if c["peer"] == "qlora" and not any(p.dtype == torch.uint8 for p in net.parameters()):
        raise RuntimeError("bitsandbytes left the weights as they were")
    return net


def frames_of(c):
    """Two batches of noise in pinned memory, so that every step has other frames than the last."""
    w, h = c["image"]
    v = [torch.randint(0, 256, (c["batch"], 3, h, w), dtype=torch.uint8) for _ in range(2)]
    return [x.pin_memory() for x in v] if c["device"] == "cuda" else v


def wait(c):
    if c["device"] == "cuda":
        torch.cuda.synchronize()


class Bursts:
    """As many steps in a row as BURST holds, timed: as tracknet profile does it."""

    def __init__(self, c, step):
        self.c, self.step, self.made = c, step, 0
        for _ in range(WARM_UP):
            seconds = self.run(1)
        self.steps = int(min(max(BURST / seconds, 1), LONGEST))
        if self.steps > 1:
            self.run(self.steps)

    def run(self, n):
        begin = time.perf_counter()
        for _ in range(n):
            self.step(self.made)
            self.made += 1
        wait(self.c)
        return time.perf_counter() - begin


def finite(values):
    return all(bool(torch.isfinite(v).all()) for v in values)


def train(c):
    """A step, and what to say at the end."""
    net, frames = build(c), frames_of(c)
    weights = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(weights, lr=c["lr"], fused=True)
    w, h = c["heat"]
    target, loss = torch.rand(c["batch"], 1, h, w, device=c["device"]), [None]

    def forward(x):
        with torch.autocast(c["device"], torch.bfloat16, enabled=c["precision"] == "bf16"):
            return F.mse_loss(net(x).float(), target)

    if c["peer"] == "compile":
        forward = torch.compile(forward, dynamic=False)

    def step(i):
        opt.zero_grad(set_to_none=True)
        loss[0] = forward(frames[i % 2].to(c["device"], non_blocking=True))
        loss[0].backward()
        opt.step()

    return step, lambda: {"result": float(loss[0].detach()) if finite([loss[0], *weights]) else math.nan}


def predict(c):
    """The same of a prediction."""
    net, frames = build(c), frames_of(c)
    if c["peer"] == "compile":
        net = torch.compile(net, dynamic=False, mode="reduce-overhead" if c["row"] == "frame" else "default")  # CUDA graphs
    w, h = c["heat"]
    quiet = torch.no_grad if c["device"] == "cuda" else torch.inference_mode
    heat = torch.empty(c["batch"], 1, h, w, pin_memory=c["device"] == "cuda")

    @quiet()
    def step(i):
        heat.copy_(net(frames[i % 2].to(c["device"], non_blocking=True)).float(), non_blocking=True)
        wait(c)

    @quiet()
    def end():
        r = {"result": float(heat.mean()) if finite([heat]) else math.nan}
        if c["device"] == "cuda":
            there = frames[0].to(c["device"])
            again = Bursts(c, lambda i: net(there))
            took = sorted(again.run(again.steps) for _ in range(7))
            r["device_seconds"] = took[3] / again.steps
        return r

    return step, end


def clean():
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def say(what):
    print(json.dumps(what), file=replies, flush=True)


def serve(c, lines):
    torch.manual_seed(1)
    if c["threads"]:
        torch.set_num_threads(c["threads"])
    step, end = train(c) if c["row"] in ("train", "memory") else predict(c)
    bursts = Bursts(c, step)
    say({"ready": True})
    for line in lines:
        if line.strip() != "burst":
            break
        say({"seconds": bursts.run(bursts.steps)})
    r = {"burst": bursts.steps, **end()}
    r["result"] = r["result"] if math.isfinite(r["result"]) else None
    r["peak_bytes"] = torch.cuda.max_memory_allocated() if c["device"] == "cuda" else None
    say(r)


def main():
    cuda = "torch" in loaded and torch.cuda.is_available()
    versions = {n: m.__version__ for n, m in loaded.items()}
    if cuda:
        versions["CUDA"] = torch.version.cuda
    say({"versions": versions, "missing": missing, "cuda": cuda, "name": torch.cuda.get_device_name() if cuda else "CPU"})
    lines = iter(sys.stdin.readline, "")
    for line in lines:
        try:
            serve(json.loads(line), lines)
        except Exception as e:
            say({"error": "%s: %s" % (type(e).__name__, (str(e).strip() or "?").splitlines()[0])})
        clean()  # the other side finds the memory free


if __name__ == "__main__":
    main()
