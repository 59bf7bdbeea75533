#!/usr/bin/env python3
"""Golden cases of timm's Vision Transformers under timm's own names: make_timm_fixtures.py OUT. Needs torch and timm."""
import json
import os
import sys

import timm
import torch
from safetensors.torch import save_file

out = sys.argv[1]
torch.manual_seed(3)
CASES = {
    "timm_vit": ("vit_tiny_patch16_224", dict(img_size=64, num_classes=5)),
    "timm_dinov2_reg4": ("vit_small_patch14_reg4_dinov2", dict(img_size=56, num_classes=0)),
}
for name, (arch, kw) in CASES.items():
    size = dict(embed_dim=64, depth=2, num_heads=2)
    m = timm.create_model(arch, pretrained=False, dynamic_img_size=True, **kw, **size).eval()
    for n, p in m.named_parameters():
        if p.dim() > 1: p.data.normal_(0, 1.0 / p[0].numel() ** 0.5)
        elif "gamma" in n: p.data.uniform_(0.5, 1.5)
        elif "norm" in n and n.endswith("weight"): p.data.uniform_(0.7, 1.3)
        else: p.data.normal_(0, 0.1)
    patch = m.patch_embed.patch_size[0]
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.contiguous() for k, v in m.state_dict().items()}, folder + "/model.safetensors", metadata={"format": "pt"})
    config = {"architecture": arch, "num_classes": kw["num_classes"], "model_args": size, "pretrained_cfg": {"input_size": [3, kw["img_size"], kw["img_size"]]}}
    json.dump(config, open(folder + "/config.json", "w"), indent=1)
    x = torch.randn(2, 3, 3 * patch, 5 * patch)
    with torch.no_grad():
        y = m.double().forward_features(x.double())
    save_file({"pixel_values": x, "last_hidden_state": y.float().contiguous()}, folder + "/golden.safetensors")
