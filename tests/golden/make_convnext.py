"""Golden cases of ConvNeXt backbones, and of several hidden states of a ViT, made by the real libraries in float64 on the CPU.

make_convnext.py OUTDIR SEED
Sides that neither 4 nor 32 divides, three stages, widths that no vector fills; a checkpoint in shards and one under a head class's
prefix. Training cases: a feature pyramid over what `return_stages` names of hidden_states, the backbone trained whole (`final.*` has what
lies behind the last of them only where that is the last there is).
In the form of make.py's cases, with `model` of case.json the section of a configuration.
"""
import json, os, sys
from collections import OrderedDict
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.ops import FeaturePyramidNetwork
import transformers as tf

BATCH, IMAGE = 2, (70, 106)


def f32(d): return {k: v.detach().to(torch.float32).contiguous() for k, v in d.items()}


def stir(module):
    for n, p in module.named_parameters():
        if p.squeeze().dim() > 1: p.data.normal_(0, 1 / p[0].numel() ** 0.5)
        elif "gamma" in n or "layer_scale" in n: p.data.uniform_(0.5, 1.5)
        elif "grn" in n: p.data.normal_(0, 0.5)
        elif "norm" in n and n.endswith("weight"): p.data.uniform_(0.7, 1.3)
        else: p.data.normal_(0, 0.1)


def sizes(widths, depths, **more): return dict(hidden_sizes=widths, depths=depths, **more)


def backbone_case(name, model, **saving):
    """model: a backbone, or a head class around one."""
    path = os.path.join(out, name)
    stir(model)
    model.eval().save_pretrained(path, **saving)
    body = (model.base_model if hasattr(model, "classifier") else model).double()
    x = torch.randn(BATCH, 3, *IMAGE)
    with torch.no_grad(): o = body(pixel_values=x.double(), output_hidden_states=True)
    g = {"pixel_values": x, "last_hidden_state": o.last_hidden_state, "pooler_output": o.pooler_output}
    save_file(f32(g | {f"hidden_states.{i}": h for i, h in enumerate(o.hidden_states)}), path + "/golden.safetensors")
    print(name, [tuple(h.shape) for h in o.hidden_states])


def resize(x, size): return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    def __init__(self, channels, dim, size, fuse="sum"):
        super().__init__()
        self.fpn, self.size = FeaturePyramidNetwork(channels, dim), size
        if fuse == "concat": self.reduce = nn.Conv2d(len(channels) * dim, dim, 1)

    def forward(self, maps):
        levels = [resize(m, self.size) for m in self.fpn(OrderedDict(enumerate(maps))).values()]
        return self.reduce(torch.cat(levels, 1)) if hasattr(self, "reduce") else sum(levels)


class Model(nn.Module):
    """states: of hidden_states; None: every stage, or a ViT's last four times. A ViT's maps are all of one size: the i-th is resized to
    4 / 2^i of it."""

    def __init__(self, backbone, states, dim, size, fuse="sum"):
        super().__init__()
        config = backbone.config
        self.tokens = getattr(config, "num_attention_heads", 0) and 1 + config.num_register_tokens
        self.last = config.num_hidden_layers if self.tokens else len(config.depths)
        self.states = states or ([self.last] * 4 if self.tokens else list(range(1, 1 + self.last)))
        widths = [config.hidden_size if self.tokens else config.hidden_sizes[max(0, i - 1)] for i in self.states]
        self.backbone, self.decoder, self.head = backbone, Pyramid(widths, dim, size, fuse), nn.Module()
        self.head.conv = nn.Conv2d(dim, 1, 1)

    def maps(self, x):
        o = self.backbone(pixel_values=x, output_hidden_states=True)
        config = self.backbone.config
        if not self.tokens: return [o.hidden_states[i] for i in self.states]
        h, w = (s // config.patch_size for s in x.shape[-2:])
        maps = [o.last_hidden_state if i == self.last else o.hidden_states[i] for i in self.states]
        maps = [m[:, self.tokens:].unflatten(1, (h, w)).permute(0, 3, 1, 2) for m in maps]
        return [resize(m, (4 * h >> i, 4 * w >> i)) for i, m in enumerate(maps)]

    def forward(self, x): return self.head.conv(self.decoder(self.maps(x)))


def targets(size):
    xy = torch.rand(BATCH, 2) * torch.tensor([size[1], size[0]])
    yy, xx = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    t = torch.exp(-((xx - xy[:, 0, None, None]) ** 2 + (yy - xy[:, 1, None, None]) ** 2) / (2 * 1.5 ** 2))[:, None]
    m = torch.ones_like(t)
    t[-1] = m[-1] = 0
    return t, m


def training_case(name, backbone, states, dim, size, image=IMAGE, steps=4):
    path = os.path.join(out, name)
    model = Model(backbone, states, dim, size)
    stir(model)
    backbone.save_pretrained(path + "/backbone")
    save_file(f32({n: v for n, v in model.state_dict().items() if not n.startswith("backbone")}), path + "/decoder.safetensors")
    model = model.double().eval()
    x = torch.randn(BATCH, 3, *image)
    t, m = targets(size)
    params = list(model.named_parameters())
    optimizer = torch.optim.AdamW([p for _, p in params], lr=1e-4, weight_decay=0.05)
    g, loss, norm = {"pixel_values": x, "target": t, "mask": m}, [], []
    for step in range(steps):
        optimizer.zero_grad()
        y = model(x.double())
        l = ((y - t.double()) ** 2 * m).sum() / m.sum()
        l.backward()
        if step == 0:
            g |= {"heatmap": y, "loss.mse": l.reshape(1)} | {"grad." + n: p.grad.clone() for n, p in params if p.grad is not None}
            kept = params if states[-1] == model.last else [(n, p) for n, p in params if p.grad is not None]
        norm.append(torch.nn.utils.clip_grad_norm_([p for _, p in params], 1.0))
        loss.append(l.detach())
        optimizer.step()
    g |= {"trace.loss": torch.stack(loss), "trace.grad_norm": torch.stack(norm)} | {"final." + n: p for n, p in kept}
    save_file(f32(g), path + "/golden.safetensors")
    section = dict(backbone=dict(return_stages=states), decoder=dict(kind="fpn"), fpn=dict(lateral_dim=dim, fuse="sum"))
    json.dump(dict(model=section, heatmap_hw=size, loss="mse", steps=steps, lr=1e-4, weight_decay=0.05, grad_clip_norm=1.0,
                   full_finetune=True), open(path + "/case.json", "w"), indent=1)
    print(name, tuple(y.shape), [round(float(v), 5) for v in loss])


if __name__ == "__main__":
    out, seed = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(seed)
    odd, more = sizes([10, 13, 22], [2, 1, 2]), sizes([12, 20, 24, 36], [1, 2, 1, 1])
    backbone_case("dinov3_convnext_odd", tf.DINOv3ConvNextModel(tf.DINOv3ConvNextConfig(**odd, hidden_act="silu", layer_norm_eps=1e-3)))
    backbone_case("convnext_prefixed", tf.ConvNextForImageClassification(tf.ConvNextConfig(**odd, num_stages=3, layer_norm_eps=1e-3, num_labels=5)))
    backbone_case("convnextv2_shards", tf.ConvNextV2Model(tf.ConvNextV2Config(**more, hidden_act="relu")), max_shard_size="40KB")
    training_case("train_convnext_stages", tf.ConvNextModel(tf.ConvNextConfig(**more, layer_scale_init_value=0.0)), [0, 1, 3], 12, (19, 30))
    training_case("train_convnextv2", tf.ConvNextV2Model(tf.ConvNextV2Config(**more)), [1, 2, 3, 4], 16, (17, 26))
    vit = tf.DINOv3ViTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48, num_register_tokens=3, patch_size=16)
    training_case("train_vit_stages", tf.DINOv3ViTModel(vit), [1, 3, 4], 12, (11, 17), image=(48, 80))
    training_case("train_vit_first_stages", tf.DINOv3ViTModel(vit), [1, 2], 12, (11, 17), image=(48, 80))
