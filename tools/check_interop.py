#!/usr/bin/env python3
"""Our files against transformers, PEFT and bitsandbytes, both ways: check_interop.py BUILD OUT [SOURCE [PART...]].

Needs torch, transformers, peft, bitsandbytes and safetensors (pip). Each check leaves a case folder in OUT that
tn-golden reads: what the libraries made of pixel values, beside the files both sides read. Prints one line a check
and "N passed, N failed"; with PARTs only checks whose name holds one of them. docs/interop.md keeps the outcome."""
import json
import os
import re
import shutil
import subprocess
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import bitsandbytes as bnb
import peft
import torch
import transformers as tf
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute as generic
from safetensors.torch import load_file, save_file

if len(sys.argv) < 3:
    sys.exit(__doc__)
build, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
source = os.path.abspath(sys.argv[3] if len(sys.argv) > 3 else ".")
tracknet, golden = build + "/src/tracknet", build + "/tests/tn-golden"
D, HW, rows = 64, (64, 96), []
torch.manual_seed(11)

CONFIGS = {
    "dinov3_vit": tf.DINOv3ViTConfig(hidden_size=D, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_register_tokens=4, image_size=64),
    "dinov2": tf.Dinov2Config(hidden_size=D, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16, mlp_ratio=2),
    "dinov2_with_registers": tf.Dinov2WithRegistersConfig(hidden_size=D, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16, mlp_ratio=2),
    "dinov3_convnext": tf.DINOv3ConvNextConfig(hidden_sizes=[32, 64], depths=[2, 1], image_size=64),
    "convnext": tf.ConvNextConfig(hidden_sizes=[32, 64], depths=[2, 1], num_stages=2, image_size=64),
    "convnextv2": tf.ConvNextV2Config(hidden_sizes=[32, 64], depths=[2, 1], num_stages=2, image_size=64),
    "vit": tf.ViTConfig(hidden_size=D, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=64),
}


# convolutions: patches, the stem, between stages, and depthwise ones, whose groups divide the rank
CONVOLUTIONS = [("dinov3_vit", ["patch_embeddings", "q_proj"], {}), ("dinov2", ["projection"], {}), ("vit", ["projection", "fc1"], {}),
                ("dinov3_convnext", ["stages.0.downsample_layers.0", "stages.1.downsample_layers.1", "pointwise_conv1"], {}),
                ("convnext", ["patch_embeddings", "downsampling_layer.1", "dwconv", "pwconv2"], {r"stages\.0\..*dwconv": 32, r"stages\.1\..*dwconv": 128})]


def spread(m):
    for n, p in m.named_parameters():
        if p.dim() > 1: p.data.normal_(0, 1.0 / p[0].numel() ** 0.5)
        elif "lambda" in n: p.data.uniform_(0.5, 1.5)
        elif "norm" in n and n.endswith("weight"): p.data.uniform_(0.7, 1.3)
        else: p.data.normal_(0, 0.1)


def run(*args):
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True, cwd=source)
    if r.returncode:
        print(r.stdout[-800:], r.stderr[-800:])
    return r


def forward(model, x, family):
    kw = {"interpolate_pos_encoding": True} if family == "vit" else {}
    with torch.no_grad():
        return model(pixel_values=x, **kw).last_hidden_state


def record(name, y, x):
    """Leaves golden.safetensors in the case, runs tn-golden on it and notes the error."""
    folder = os.path.join(out, name)
    save_file({"pixel_values": x.contiguous(), "last_hidden_state": y.float().contiguous()}, folder + "/golden.safetensors")
    r = run(golden, out, "--case", name)
    m = re.search(r"hidden\s+(\S+)", r.stdout)
    rows.append((name, float(m.group(1)) if m else float("nan"), r.returncode == 0))
    print("%-44s %s %s" % (name, m.group(1) if m else "?", "ok" if r.returncode == 0 else "FAILED " + r.stdout), flush=True)


def base(name, family):
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    m = tf.AutoModel.from_config(CONFIGS[family]).eval()
    spread(m)
    m.save_pretrained(folder)
    return folder, m


def from_peft(family, kind, **lora):
    """An adapter that PEFT wrote, read by us."""
    name = "from_peft_%s_%s" % (family, kind)
    folder, m = base(name, family)
    p = peft.get_peft_model(m, peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "exclude_modules": ".*pooler.*", **lora})).eval()
    for n, q in p.named_parameters():
        if "lora_B" in n or "modules_to_save" in n or (lora.get("bias", "none") != "none" and n.endswith(".bias")):
            q.data += torch.randn_like(q) * 0.05
    p.save_pretrained(folder + "/adapter")
    x = torch.randn(2, 3, *HW)
    record(name, forward(p, x, family), x)


def train_ours(folder, family, *overrides):
    data = os.path.join(out, "data")
    if not os.path.isdir(data):
        run(tracknet, "synth", "--output-dir", data, "--clips", "1", "--frames", "4", "--size", "96x64")
    r = run(tracknet, "train", "--model", "vit_lora_heatmap", "--training", "overfit", "data.root=" + data, "data.split.val_games=[]",
            "data.preprocess.resize=[96,64]", "model.pretrained_model_name=" + folder, "model.heatmap.size=[24,16]",
            "model.decoder.channels=[64,16]", "model.decoder.upsample=[2]", "model.lora.r=4", "training.epochs=3", "training.batch_size=4",
            "training.optimizer.lr=0.02", "training.output_dir=" + folder + "/run", *overrides)
    return r.returncode == 0


def to_peft(family, kind, *overrides, quant=None):
    """An adapter that we trained, read by PEFT; tn-golden then reads the same files."""
    name = "to_peft_%s_%s" % (family, kind)
    folder, m = base(name, family)
    if not train_ours(folder, family, *overrides):
        rows.append((name, float("nan"), False))
        return
    shutil.copytree(folder + "/run/last", folder + "/adapter", ignore=shutil.ignore_patterns("optimizer*", "decoder*"))
    shutil.rmtree(folder + "/run")
    m = tf.AutoModel.from_pretrained(folder).eval()
    p = peft.PeftModel.from_pretrained(m, folder + "/adapter").eval()
    mine = load_file(folder + "/adapter/adapter_model.safetensors")
    loaded = sum(any(q.shape == v.shape and torch.equal(q, v) for v in mine.values()) for n, q in p.named_parameters()
                 if "lora_" in n or "modules_to_save" in n)
    x = torch.randn(2, 3, *HW)
    y = forward(p, x, family)
    moved = (y - forward(tf.AutoModel.from_pretrained(folder).eval(), x, family)).norm() / y.norm()
    if moved < 1e-4 or loaded < 2:
        print("  PEFT loaded %d tensors, and the adapter moves the output by %.1e only" % (loaded, moved))
    record(name, y, x)


def our_quantized(family, kind):
    """A checkpoint that we quantised, loaded by transformers as it is."""
    name = "our_%s_%s" % (kind, family)
    plain, m = base(name + "_float", family)
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    args = ["--quant-type", kind.split("_")[0]] + (["--double-quant"] if "double" in kind else [])
    run(tracknet, "quantize", "--in", plain, "--out", folder, *args)
    q = tf.AutoModel.from_pretrained(folder).eval()
    count = sum(isinstance(k, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)) for k in q.modules())
    print("  transformers made %d %s modules of it" % (count, type(next(k for k in q.modules() if isinstance(k, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)))).__name__))
    x = torch.randn(2, 3, *HW)
    record(name, forward(unpacked(q, plain), x, family), x)


def unpacked(quantised, plain):
    """The quantised model's weights as the library dequantises them, in a float32 model: what its kernels multiply with."""
    m = tf.AutoModel.from_pretrained(plain).eval()
    for n, mod in quantised.named_modules():
        if isinstance(mod, bnb.nn.Linear4bit):
            s = mod.weight.quant_state
            absmax = s.absmax
            if s.nested:
                absmax = bnb.functional.dequantize_blockwise(s.absmax, s.state2) + s.offset
            code = bnb.functional.get_4bit_type(s.quant_type, device="cpu")
            w = generic(mod.weight.data.reshape(-1).view(torch.uint8), absmax.float(), code, s.blocksize, tuple(s.shape), torch.float32)
        elif isinstance(mod, bnb.nn.Linear8bitLt):
            w = bnb.functional.int8_vectorwise_dequant(mod.weight.data, mod.weight.SCB if mod.weight.SCB is not None else mod.state.SCB).float()
        else:
            continue
        m.get_submodule(n).weight.data = w.reshape(m.get_submodule(n).weight.shape)
    return m


def their_quantized(family, kind):
    """A checkpoint that transformers and bitsandbytes wrote, loaded by us."""
    name = "their_%s_%s" % (kind, family)
    plain, m = base(name + "_float", family)
    if kind == "int8":
        config = tf.BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = tf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind.split("_")[0], bnb_4bit_use_double_quant="double" in kind, bnb_4bit_compute_dtype=torch.float32)
    q = tf.AutoModel.from_pretrained(plain, quantization_config=config, dtype=torch.float32, device_map="cpu").eval()
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    q.save_pretrained(folder)
    x = torch.randn(2, 3, *HW)
    record(name, forward(unpacked(q, plain), x, family), x)


def merged(kind, family="dinov3_vit", modules=("q_proj", "v_proj", "up_proj"), **lora):
    """Our merge against PEFT's merge_and_unload."""
    name = "merged_" + kind
    folder, m = base(name + "_base", family)
    p = peft.get_peft_model(m, peft.LoraConfig(r=4, lora_alpha=8, target_modules=list(modules), **lora)).eval()
    for n, q in p.named_parameters():
        if "lora_B" in n: q.data.normal_(0, 0.05)
    p.save_pretrained(folder + "/adapter")
    target = os.path.join(out, name)
    shutil.rmtree(target, ignore_errors=True)
    run(tracknet, "adapter", "merge", "--adapter", folder + "/adapter", "--base", folder, "--out", target)
    x = torch.randn(2, 3, *HW)
    record(name, forward(p.merge_and_unload(), x, family), x)


def averaged(method):
    """Our average of two adapters, loaded by PEFT, against PEFT's add_weighted_adapter."""
    name = "averaged_" + method
    folder, m = base(name, "dinov3_vit")
    p = peft.get_peft_model(m, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"]), adapter_name="first").eval()
    p.add_adapter("second", peft.LoraConfig(r=4 if method == "linear" else 6, lora_alpha=6, target_modules=["q_proj", "v_proj"]))
    for n, q in p.named_parameters():
        if "lora_B" in n: q.data.normal_(0, 0.05)
    p.save_pretrained(folder + "/parts")
    p.add_weighted_adapter(["first", "second"], [0.8, -0.5], "both", combination_type=method)
    p.set_adapter("both")
    run(tracknet, "adapter", "merge", "--adapter", folder + "/parts/first", "--adapter", folder + "/parts/second", "--method", method,
        "--weights", "0.8,-0.5", "--out", folder + "/adapter")
    ours = peft.PeftModel.from_pretrained(tf.AutoModel.from_pretrained(folder), folder + "/adapter").eval()
    x = torch.randn(2, 3, *HW)
    y = forward(p, x, "dinov3_vit")
    off = ((y - forward(ours, x, "dinov3_vit")).norm() / y.norm()).item()
    if not off < 1e-5: print("  PEFT with our average is %.1e off its own" % off)
    record(name, y if off < 1e-5 else y * float("nan"), x)


def attempt(f, *args, **kw):
    if len(sys.argv) > 4 and not any(part in "_".join((f.__name__,) + args[:2]) for part in sys.argv[4:]): return
    try:
        f(*args, **kw)
    except Exception as e:  # a check that cannot run is a failed check
        print("%s%s: %s: %s" % (f.__name__, args, type(e).__name__, str(e)[:300]))
        rows.append((f.__name__ + str(args), float("nan"), False))


os.makedirs(out, exist_ok=True)
for family in CONFIGS:
    attempt(from_peft, family, "lora")
    attempt(to_peft, family, "lora", "model.lora.target_modules=all-linear")
for kind in ("lora", "dora"):
    how, key = dict(use_dora=kind == "dora", exclude_modules=None), "model.lora.use_dora=%s" % str(kind == "dora").lower()
    for family, modules, rank in CONVOLUTIONS:
        attempt(from_peft, family, "conv_" + kind, target_modules=modules, rank_pattern=rank, **how)
        rank = {k: min(r, 64) for k, r in rank.items()}  # no more than there are channels, here
        attempt(to_peft, family, "conv_" + kind, key, "model.lora.target_modules=[%s]" % ",".join(modules),
                "model.lora.rank_pattern={%s}" % ", ".join("%s: %d" % r for r in rank.items()))
attempt(from_peft, "dinov3_vit", "dora", use_dora=True)
attempt(from_peft, "vit", "dora", use_dora=True, target_modules=["q_proj", "fc1"])
attempt(from_peft, "dinov3_vit", "rslora", use_rslora=True)
attempt(from_peft, "dinov3_vit", "patterns", target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"up_proj": 7}, alpha_pattern={r"layer\.1\.attention\.q_proj": 3})
attempt(from_peft, "dinov3_vit", "layers", layers_to_transform=[1], target_modules=["q_proj", "up_proj"], exclude_modules=None)
attempt(from_peft, "vit", "layers", layers_to_transform=0, layers_pattern="layers", target_modules=["q_proj", "fc1"], exclude_modules=None)
attempt(from_peft, "dinov3_vit", "bias_all", bias="all", target_modules=["q_proj"])
attempt(from_peft, "dinov3_vit", "whole", target_modules=["q_proj"], modules_to_save=["norm"])
attempt(from_peft, "dinov3_vit", "pissa", init_lora_weights="pissa", target_modules=["q_proj", "v_proj"])
attempt(from_peft, "dinov3_vit", "olora", init_lora_weights="olora", target_modules=["q_proj", "v_proj"])
attempt(from_peft, "dinov3_vit", "lora_bias", lora_bias=True, target_modules=["q_proj", "v_proj"])
attempt(to_peft, "dinov3_vit", "dora", "model.lora.use_dora=true")
attempt(to_peft, "vit", "dora", "model.lora.use_dora=true")
attempt(to_peft, "dinov3_vit", "rslora", "model.lora.use_rslora=true")
attempt(to_peft, "dinov3_vit", "patterns", "model.lora.target_modules=[q_proj,v_proj]", "model.lora.rank_pattern={v_proj: 7}", "model.lora.alpha_pattern={q_proj: 5}")
attempt(to_peft, "dinov3_vit", "layers", "model.lora.layers_to_transform=[1]", "model.lora.target_modules=[q_proj,v_proj,up_proj]")
attempt(to_peft, "vit", "layers", "model.lora.layers_to_transform=[0]", "model.lora.layers_pattern=[layers]")
attempt(to_peft, "dinov2", "layers", "model.lora.layers_to_transform=1")
attempt(to_peft, "dinov3_vit", "bias_all", "model.lora.bias=all")
attempt(to_peft, "dinov3_vit", "bias_lora_only", "model.lora.bias=lora_only")
attempt(to_peft, "dinov3_vit", "whole", "model.lora.modules_to_save=[norm]", "model.lora.target_modules=[q_proj]")
attempt(to_peft, "dinov3_vit", "pissa", "model.lora.init_lora_weights=pissa")
attempt(to_peft, "dinov3_vit", "olora", "model.lora.init_lora_weights=olora")
attempt(merged, "lora")
attempt(merged, "olora", init_lora_weights="olora")
attempt(merged, "lora_bias", lora_bias=True)
attempt(merged, "dora", use_dora=True)
for kind in ("lora", "dora"):
    attempt(merged, "conv_" + kind, "dinov3_convnext", CONVOLUTIONS[3][1], use_dora=kind == "dora")
attempt(averaged, "linear")
attempt(averaged, "svd")
for kind in ("nf4", "nf4_double", "fp4", "int8"):
    attempt(our_quantized, "dinov3_vit", kind)
    attempt(their_quantized, "dinov3_vit", kind)
attempt(our_quantized, "vit", "nf4_double")
attempt(their_quantized, "dinov2", "nf4_double")

good = sum(ok for _, _, ok in rows)
with open(os.path.join(out, "interop.json"), "w", encoding="utf-8") as f:
    json.dump({"versions": {k.__name__: k.__version__ for k in (torch, tf, peft, bnb)}, "checks": [[n, e, bool(k)] for n, e, k in rows]}, f, indent=1)
print("%d passed, %d failed" % (good, len(rows) - good))
sys.exit(good < len(rows))
