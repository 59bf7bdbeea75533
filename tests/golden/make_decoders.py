"""Golden cases of the decoders of several scales over a plain ViT, made by torchvision and torch in float64 on the CPU.

make_decoders.py OUTDIR SEED
The ViT's one map at four scales, bilinearly, whose sizes are no multiples of each other; otherwise in the form of make.py's cases, with
`model` of case.json the section of a configuration.
"""
import json, os, sys
from collections import OrderedDict
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.ops import FeaturePyramidNetwork
import transformers as tf

out, seed = sys.argv[1], int(sys.argv[2])
torch.manual_seed(seed)
BATCH, IMAGE, PATCH, WIDTH = 2, (48, 80), 16, 32
REGISTERS = 4


def f32(d): return {k: v.detach().to(torch.float32).contiguous() for k, v in d.items()}


def resize(x, size): return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def scales(x):
    h, w = x.shape[-2:]
    return [resize(x, (max(1, 4 * h >> i), max(1, 4 * w >> i))) for i in range(4)]


class Pyramid(nn.Module):
    def __init__(self, dim, fuse, size):
        super().__init__()
        self.size = size
        self.fpn = FeaturePyramidNetwork([WIDTH] * 4, dim)
        if fuse == "concat": self.reduce = nn.Conv2d(4 * dim, dim, 1)

    def forward(self, maps):
        levels = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps))).values()
        levels = [resize(m, self.size) for m in levels]
        return self.reduce(torch.cat(levels, 1)) if hasattr(self, "reduce") else sum(levels)


def conv_norm_relu(a, b, kernel, stride=1):
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def transfer(widths, i, k):
    if i == k: return nn.Identity()
    if i > k: return conv_norm_relu(widths[i], widths[k], 1)
    return nn.Sequential(*[conv_norm_relu(widths[k] if d else widths[i], widths[k], 3, 2) for d in range(k - i)])


class Unit(nn.Module):
    def __init__(self, widths):
        super().__init__()
        n = range(len(widths))
        self.branch_ops = nn.ModuleList([conv_norm_relu(w, w, 3) for w in widths])
        self.fuse_layers = nn.ModuleList([nn.ModuleList([transfer(widths, i, k) for i in n]) for k in n])

    def forward(self, maps):
        maps = [op(x) for op, x in zip(self.branch_ops, maps)]
        return [sum(resize(t(x), y.shape[-2:]) for t, x in zip(row, maps)) for row, y in zip(self.fuse_layers, maps)]


class Branches(nn.Module):
    def __init__(self, widths, units, channels, size):
        super().__init__()
        self.size = size
        self.lateral = nn.ModuleList([conv_norm_relu(WIDTH, w, 1) for w in widths])
        self.units = nn.ModuleList([Unit(widths) for _ in range(units)])
        self.head = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, maps):
        maps = [op(x) for op, x in zip(self.lateral, maps)]
        for u in self.units: maps = u(maps)
        return resize(self.head(maps[0]), self.size)


class Model(nn.Module):
    def __init__(self, backbone, decoder, channels):
        super().__init__()
        self.backbone, self.decoder, self.head = backbone, decoder, nn.Module()
        self.head.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        tokens = self.backbone(pixel_values=x).last_hidden_state[:, 1 + REGISTERS:]
        grid = tokens.unflatten(1, (IMAGE[0] // PATCH, IMAGE[1] // PATCH)).permute(0, 3, 1, 2)
        return self.head.conv(self.decoder(scales(grid)))


def stir(name, p):
    if p.dim() > 1: p.data.normal_(0, 0.7 / p[0].numel() ** 0.5)
    elif name.endswith("weight") and ("norm" in name or ".1." in name): p.data.uniform_(0.7, 1.3)
    elif "lambda" in name: p.data.uniform_(0.5, 1.5)
    else: p.data.normal_(0, 0.1)


def targets(size):
    xy = torch.rand(BATCH, 2) * torch.tensor([size[1], size[0]])
    yy, xx = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    t = torch.exp(-((xx - xy[:, 0, None, None]) ** 2 + (yy - xy[:, 1, None, None]) ** 2) / (2 * 1.5 ** 2))[:, None]
    m = torch.ones_like(t)
    t[-1] = m[-1] = 0
    return t, m


def case(name, decoder, channels, size, section, full, steps=5):
    path = os.path.join(out, name)
    os.makedirs(path, exist_ok=True)
    config = tf.DINOv3ViTConfig(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * WIDTH,
                                num_register_tokens=REGISTERS, patch_size=PATCH, image_size=64)
    model = Model(tf.DINOv3ViTModel(config), decoder, channels)
    for n, p in model.named_parameters(): stir(n, p)
    model.backbone.save_pretrained(path + "/backbone")
    state = {n: v for n, v in model.state_dict().items() if not n.startswith("backbone") and v.is_floating_point()}
    save_file(f32(state), path + "/decoder.safetensors")
    model = model.double().train()
    model.backbone.eval().requires_grad_(full)
    x = torch.randn(BATCH, 3, *IMAGE)
    t, m = targets(size)
    params = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([p for _, p in params], lr=1e-3, weight_decay=0.05)
    g, loss, norm = {"pixel_values": x, "target": t, "mask": m}, [], []
    for step in range(steps):
        optimizer.zero_grad()
        y = model(x.double())
        l = ((y - t.double()) ** 2 * m).sum() / m.sum()
        l.backward()
        if step == 0:
            g |= {"heatmap": y, "loss.mse": l.reshape(1)}
            g |= {"grad." + n: p.grad.clone() for n, p in params if p.grad is not None}
        norm.append(torch.nn.utils.clip_grad_norm_([p for _, p in params], 1.0))
        loss.append(l.detach())
        optimizer.step()
    g |= {"trace.loss": torch.stack(loss), "trace.grad_norm": torch.stack(norm)}
    g |= {"final." + n: p for n, p in params}
    g |= {"buffer." + n: b for n, b in model.named_buffers() if "running" in n}
    save_file(f32(g), path + "/golden.safetensors")
    spec = dict(model=section, heatmap_hw=size, loss="mse", steps=steps, lr=1e-3, weight_decay=0.05, grad_clip_norm=1.0,
                full_finetune=full)
    json.dump(spec, open(path + "/case.json", "w"), indent=1)
    print(name, tuple(y.shape), [round(float(v), 5) for v in loss])


def fpn(dim, fuse): return dict(decoder=dict(kind="fpn"), fpn=dict(lateral_dim=dim, fuse=fuse))


widths, small, large = [8, 12, 16, 20], (11, 17), (12, 20)
case("train_vit_fpn", Pyramid(24, "sum", small), 24, small, fpn(24, "sum"), True)
case("train_vit_fpn_concat", Pyramid(16, "concat", large), 16, large, fpn(16, "concat"), True)
case("train_vit_hrnet", Branches(widths, 2, 12, small), 12, small,
     dict(decoder=dict(kind="hrnet"), hrnet=dict(in_channels=[WIDTH] * 4, widths=widths, num_units=2, out_channels=12)), False)
