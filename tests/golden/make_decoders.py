"""Golden cases of the decoders of several scales, made by transformers, torchvision and torch in float64 on the CPU.

make_decoders.py OUTDIR SEED [heats]
Over a plain ViT, whose one map is resized to four scales, sizes that are no multiples of each other. Otherwise in the form of make.py's
cases, with `model` of case.json the section of a configuration; model_of builds the model of such a section over any backbone.
"""
import json, os, sys
from collections import OrderedDict
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.ops import FeaturePyramidNetwork
import transformers as tf
from transformers.models.deformable_detr import modeling_deformable_detr as detr


def resize(x, size): return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def levels_of(fpn, maps, size):
    return [resize(m, size) for m in fpn(OrderedDict((str(i), m) for i, m in enumerate(maps))).values()]


class Pyramid(nn.Module):
    def __init__(self, channels, dim, fuse, size):
        super().__init__()
        self.size = size
        self.fpn = FeaturePyramidNetwork(channels, dim)
        if fuse == "concat": self.reduce = nn.Conv2d(len(channels) * dim, dim, 1)

    def forward(self, maps):
        levels = levels_of(self.fpn, maps, self.size)
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
    def __init__(self, inputs, widths, units, channels, size):
        super().__init__()
        self.size = size
        self.lateral = nn.ModuleList([conv_norm_relu(c, w, 1) for c, w in zip(inputs, widths)])
        self.units = nn.ModuleList([Unit(widths) for _ in range(units)])
        self.head = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, maps):
        maps = [op(x) for op, x in zip(self.lateral, maps)]
        for u in self.units: maps = u(maps)
        return resize(self.head(maps[0]), self.size)


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads, levels, points):
        super().__init__()
        config = tf.DeformableDetrConfig(d_model=dim, num_feature_levels=levels, disable_custom_kernels=True)
        self.self_attn = detr.DeformableDetrMultiscaleDeformableAttention(config, num_heads=heads, n_points=points)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x, pos, reference, sizes):
        start = torch.tensor([0] + [h * w for h, w in sizes]).cumsum(0)[:-1]
        y = self.self_attn(x, encoder_hidden_states=x, position_embeddings=pos, reference_points=reference,
                           spatial_shapes=torch.tensor(sizes), spatial_shapes_list=sizes, level_start_index=start)[0]
        x = self.norm1(x + y)
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class Encoder(nn.Module):
    """Deformable DETR's encoder over all maps, without dropout, and the pyramid over what comes out."""

    def __init__(self, channels, dim, heads, layers, points, lateral, size):
        super().__init__()
        levels = len(channels)
        self.size = size
        self.level_embed = nn.Parameter(torch.randn(levels, dim))
        self.input_proj = nn.ModuleList([nn.Conv2d(c, dim, 1) for c in channels])
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([EncoderLayer(dim, heads, levels, points) for _ in range(layers)])
        self.output_proj = nn.Conv2d(dim, lateral, 1)
        self.fpn = FeaturePyramidNetwork([lateral] * levels, lateral)
        self.sine = detr.DeformableDetrSinePositionEmbedding(dim // 2, normalize=True)

    def forward(self, maps):
        maps = [p(x) for p, x in zip(self.input_proj, maps)]
        rows = lambda x: x.flatten(2).transpose(1, 2)
        pos = torch.cat([rows(self.sine(x.shape, x.device, x.dtype)) + e for x, e in zip(maps, self.level_embed)], 1)
        sizes = [tuple(x.shape[-2:]) for x in maps]
        middles = [torch.cartesian_prod((torch.arange(h).double() + 0.5) / h, (torch.arange(w).double() + 0.5) / w).flip(-1)
                   for h, w in sizes]
        reference = torch.cat(middles)[None, :, None].expand(len(maps[0]), -1, len(maps), 2).to(maps[0].dtype)
        x = torch.cat([rows(m) for m in maps], 1)
        for layer in self.encoder.layers: x = layer(x, pos, reference, sizes)
        levels = zip(x.split([h * w for h, w in sizes], 1), sizes)
        maps = [self.output_proj(l.transpose(1, 2).unflatten(2, s)) for l, s in levels]
        return sum(levels_of(self.fpn, maps, self.size))


def vit_maps(backbone, x):
    config = backbone.config
    tokens = backbone(pixel_values=x).last_hidden_state[:, 1 + config.num_register_tokens:]
    h, w = x.shape[-2] // config.patch_size, x.shape[-1] // config.patch_size
    grid = tokens.unflatten(1, (h, w)).permute(0, 3, 1, 2)
    return [resize(grid, (max(1, 4 * h >> i), max(1, 4 * w >> i))) for i in range(4)]


class Model(nn.Module):
    def __init__(self, backbone, decoder, channels, heats):
        super().__init__()
        self.backbone, self.decoder, self.head = backbone, decoder, nn.Module()
        self.head.conv = nn.Conv2d(channels, heats, 1)

    def forward(self, x):
        if hasattr(self.backbone.config, "patch_size"): maps = vit_maps(self.backbone, x)
        else: maps = self.backbone(pixel_values=x, output_hidden_states=True).hidden_states[1:]
        return self.head.conv(self.decoder(maps))


def model_of(backbone, section, size, heats=1):
    """The heatmap model of a configuration's section `model`; size: of the heatmap, rows first; heats: so many of them."""
    c = backbone.config
    channels = [c.hidden_size] * 4 if hasattr(c, "patch_size") else list(c.hidden_sizes)
    if "hrnet" in section:
        d = section["hrnet"]
        return Model(backbone, Branches(channels, d["widths"], d["num_units"], d["out_channels"], size), d["out_channels"], heats)
    if "deformable_encoder" in section:
        d = section["deformable_encoder"]
        encoder = Encoder(channels, *(d[k] for k in ("d_model", "nhead", "num_encoder_layers", "n_points", "lateral_dim")), size)
        return Model(backbone, encoder, d["lateral_dim"], heats)
    d = section["fpn"]
    return Model(backbone, Pyramid(channels, d["lateral_dim"], d["fuse"], size), d["lateral_dim"], heats)


def f32(d): return {k: v.detach().to(torch.float32).contiguous() for k, v in d.items()}


def stir(name, p):
    if "sampling_offsets" in name: p.data.normal_(0, 0.1 if p.dim() > 1 else 1.5)
    elif p.dim() > 1: p.data.normal_(0, 0.7 / p[0].numel() ** 0.5)
    elif name.endswith("weight") and ("norm" in name or ".1." in name): p.data.uniform_(0.7, 1.3)
    elif "lambda" in name: p.data.uniform_(0.5, 1.5)
    else: p.data.normal_(0, 0.1)


def targets(batch, size):
    xy = torch.rand(batch, 2) * torch.tensor([size[1], size[0]])
    yy, xx = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    t = torch.exp(-((xx - xy[:, 0, None, None]) ** 2 + (yy - xy[:, 1, None, None]) ** 2) / (2 * 1.5 ** 2))[:, None]
    m = torch.ones_like(t)
    t[-1] = m[-1] = 0
    return t, m


def case(path, section, size, full, batch=2, image=(48, 80), steps=5, heats=1):
    os.makedirs(path, exist_ok=True)
    config = tf.DINOv3ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                num_register_tokens=4, patch_size=16, image_size=64)
    model = model_of(tf.DINOv3ViTModel(config), section, size, heats)
    for n, p in model.named_parameters(): stir(n, p)
    model.backbone.save_pretrained(path + "/backbone")
    state = {n: v for n, v in model.state_dict().items() if not n.startswith("backbone") and v.is_floating_point()}
    save_file(f32(state), path + "/decoder.safetensors")
    model = model.double().train()
    model.backbone.eval().requires_grad_(full)
    x = torch.randn(batch, 3, *image)
    t, m = (v.view(batch, heats, *size) for v in targets(batch * heats, size))
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
    spec = dict(model=section, heatmap_hw=size, loss="mse", steps=steps, lr=1e-3, weight_decay=0.05, grad_clip_norm=1.0, lora=None,
                full_finetune=full)
    if heats > 1: spec["heats"] = heats
    json.dump(spec, open(path + "/case.json", "w"), indent=1)
    print(path, tuple(y.shape), [round(float(v), 5) for v in loss])


if __name__ == "__main__":
    out = sys.argv[1]
    torch.manual_seed(int(sys.argv[2]))
    fpn = lambda dim, fuse: dict(decoder=dict(kind="fpn"), fpn=dict(lateral_dim=dim, fuse=fuse))
    hrnet = dict(in_channels=[32] * 4, widths=[8, 12, 16, 20], num_units=2, out_channels=12)
    if "heats" in sys.argv:  # three heatmaps, as of the frames of a window
        hrnet = dict(in_channels=[32] * 4, widths=[4, 6, 6, 8], num_units=1, out_channels=6)
        case(out + "/train_vit_fpn_heats", fpn(6, "sum"), (11, 17), False, heats=3)
        case(out + "/train_vit_fpn_concat_heats", fpn(6, "concat"), (12, 20), False, heats=3)
        case(out + "/train_vit_hrnet_heats", dict(decoder=dict(kind="hrnet"), hrnet=hrnet), (11, 17), False, heats=3)
        sys.exit()
    case(out + "/train_vit_fpn", fpn(24, "sum"), (11, 17), True)
    case(out + "/train_vit_fpn_concat", fpn(16, "concat"), (12, 20), True)
    case(out + "/train_vit_hrnet", dict(decoder=dict(kind="hrnet"), hrnet=hrnet), (11, 17), False)
    encoder = dict(d_model=24, nhead=3, num_encoder_layers=2, n_points=3, lateral_dim=12)
    case(out + "/train_vit_deformable", dict(decoder=dict(kind="deformable_fpn"), deformable_encoder=encoder), (11, 17), True)
