#!/usr/bin/env python3
"""The peer of a TrackNet training step: DINOv3 ViT + LoRA through PyTorch, transformers and PEFT, random weights.

peer_train.py SIZE BATCH [--amp]: prints images/s (median of 10 steps after 5) and the peak of GPU memory."""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers as tf
from peft import LoraConfig, get_peft_model

size, batch, amp = sys.argv[1], int(sys.argv[2]), "--amp" in sys.argv
d, layers, heads = {"vit-s": (384, 12, 6), "vit-b": (768, 12, 12), "vit-l": (1024, 24, 16)}[size]
torch.backends.cuda.matmul.allow_tf32 = False
cfg = tf.DINOv3ViTConfig(hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * d,
                         num_register_tokens=4, patch_size=16)
bb = get_peft_model(tf.DINOv3ViTModel(cfg), LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=[
    "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
        self.norm, self.pw = nn.GroupNorm(32, c), nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x):
        return x + self.pw(F.gelu(self.norm(self.dw(x))))


ch = [d, 256, 128, 64]
proj = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(ch, ch[1:]))
blocks = nn.ModuleList(Block(b) for b in ch[1:])
head = nn.Conv2d(64, 1, 1)
net = nn.ModuleList([bb, proj, blocks, head]).cuda()
opt = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3, fused=True)
x, t = torch.randn(batch, 3, 288, 512, device="cuda"), torch.rand(batch, 1, 144, 256, device="cuda")


def step():
    opt.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=amp):
        h = bb(pixel_values=x).last_hidden_state[:, 5:].unflatten(1, (18, 32)).permute(0, 3, 1, 2)
        for p, b in zip(proj, blocks):
            h = b(p(F.interpolate(h, scale_factor=2, mode="bilinear")))
        loss = F.mse_loss(head(h).float(), t)
    loss.backward()
    opt.step()


times = []
for i in range(15):
    torch.cuda.synchronize()
    s = time.time()
    step()
    torch.cuda.synchronize()
    times.append(time.time() - s)
m = sorted(times[5:])[5]
print("peer PyTorch %s %s batch %d: %.1f img/s, peak %.0f MiB" % (size, "bf16 autocast" if amp else "float32", batch, batch / m,
                                                              torch.cuda.max_memory_allocated() / 2**20))
