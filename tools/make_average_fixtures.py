#!/usr/bin/env python3
"""Averages of adapters as PEFT makes them: make_average_fixtures.py [OUT], by default tests/data/average.

Needs torch, transformers, peft and safetensors (pip). Writes three adapters over one small DINOv3 (the third with rsLoRA, of another rank and
over other modules) and what PEFT's add_weighted_adapter makes of them: linear.safetensors, the tensors of 0.6 first - 0.3 second;
svd.safetensors, what 0.7 first + 0.5 third adds to each matrix, at the third's rank; svd2.safetensors, the same at rank 2."""
import os
import shutil
import sys

import torch
import transformers as tf
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
out = sys.argv[1] if len(sys.argv) > 1 else root + "/tests/data/average"
torch.manual_seed(3)
config = tf.DINOv3ViTConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32)
how = {"first": LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "up_proj"]),
       "second": LoraConfig(r=3, lora_alpha=9, target_modules=["q_proj", "up_proj"]),
       "third": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"])}
p = get_peft_model(tf.DINOv3ViTModel(config), how["first"], adapter_name="first")
for name in ("second", "third"): p.add_adapter(name, how[name])
for n, q in p.named_parameters():
    if "lora_B" in n: q.data.normal_(0, 0.1)
shutil.rmtree(out, ignore_errors=True)
p.save_pretrained(out)
os.remove(out + "/README.md")


def added(name):
    """What an adapter adds to each matrix."""
    return {n: m.get_delta_weight(name).contiguous() for n, m in p.named_modules() if name in getattr(m, "lora_A", {})}


with torch.no_grad():
    p.add_weighted_adapter(["first", "second"], [0.6, -0.3], "linear", combination_type="linear")
    p.add_weighted_adapter(["first", "third"], [0.7, 0.5], "svd", combination_type="svd")
    p.add_weighted_adapter(["first", "third"], [0.7, 0.5], "svd2", combination_type="svd", svd_rank=2)
    save_file(get_peft_model_state_dict(p, adapter_name="linear"), out + "/linear.safetensors")
    for name in "svd", "svd2": save_file(added(name), "%s/%s.safetensors" % (out, name))
