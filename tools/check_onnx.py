#!/usr/bin/env python3
"""Our ONNX export and Lightning's names against onnxruntime and our own predictions: check_onnx.py BUILD OUT [SOURCE].

Needs numpy, onnx, onnxruntime, safetensors (pip). Trains small models of every family and decoder option, exports them,
and compares onnxruntime's heatmap with the one that `tracknet predict` draws from (relative error, bound 1e-4), through
tn-heat, which prints raw heatmaps. Prints "N passed, N failed"."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort

if len(sys.argv) < 3:
    sys.exit(__doc__)
build, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
source = os.path.abspath(sys.argv[3] if len(sys.argv) > 3 else ".")
T = build + "/src/tracknet"
rows = []


def run(*a):
    r = subprocess.run([str(x) for x in a], capture_output=True, text=True, cwd=source)
    if r.returncode:
        print(" ".join(str(x) for x in a), r.stderr[-600:])
    return r


def heat(checkpoint, shape):
    """Pixels that we choose, and the raw heatmap of our engine for them."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal(shape).astype(np.float32)
    x.tofile(out + "/pixels.bin")
    r = run(build + "/tests/tn-heat", checkpoint, out + "/pixels.bin", out + "/heat.bin")
    return x, (np.fromfile(out + "/heat.bin", np.float32) if r.returncode == 0 else None)


def one(name, base, width, *keys, image=(96, 64), frames=1):
    d, shape = os.path.join(out, name), (2, 3 * frames, image[1], image[0])
    if frames > 1:
        keys += ("model.frames=concat", "model.heatmaps=all", "data.sequence.enabled=true", "data.sequence.length=%d" % frames)
    shutil.rmtree(d, ignore_errors=True)
    r = run(T, "train", "--model", "vit_heatmap", "--training", "overfit", "data.root=" + out + "/data", "data.split.val_games=[]",
            "data.preprocess.resize=[%d,%d]" % image, "model.pretrained_model_name=" + base, "model.heatmap.size=[24,16]",
            "model.decoder.channels=[%d,32,16]" % width, "model.decoder.upsample=[2]", "training.epochs=2", "training.batch_size=4",
            "training.optimizer.lr=0.01", "training.output_dir=" + d, *keys)
    good = r.returncode == 0 and run(T, "export", "--checkpoint", d + "/last", "--out", d + "/model.onnx").returncode == 0
    error = float("nan")
    if good:
        onnx.checker.check_model(d + "/model.onnx", full_check=True)
        x, want = heat(d + "/last", shape)
        got = ort.InferenceSession(d + "/model.onnx", providers=["CPUExecutionProvider"]).run(None, {"pixel_values": x})[0]
        error = float(np.linalg.norm(got.transpose(0, 2, 3, 1).ravel() - want) / np.linalg.norm(want))
    rows.append((name, error, error < 1e-4))
    print("%-32s onnxruntime %.2e %s" % (name, error, "ok" if error < 1e-4 else "FAILED"), flush=True)
    # out under Lightning's names and in again: the same heatmap
    shutil.rmtree(d + "/pl", ignore_errors=True)
    run(T, "export", "--checkpoint", d + "/last", "--out", d + "/pl")
    run(T, "import", "--in", d + "/pl", "--out", d + "/back", "--config", d + "/pl/config.yaml")
    x, want = heat(d + "/last", shape)
    x, got = heat(d + "/back", shape)
    error = float(np.linalg.norm(got - want) / np.linalg.norm(want)) if got is not None and want is not None else float("nan")
    bound = 1e-6 if "quant" not in name else 1e-3  # quantised again on the way in
    rows.append((name + " through Lightning", error, error <= bound))
    print("%-32s Lightning   %.2e %s" % (name, error, "ok" if error <= bound else "FAILED"), flush=True)


os.makedirs(out, exist_ok=True)
run(T, "synth", "--output-dir", out + "/data", "--clips", "1", "--frames", "4", "--size", "96x64")
cases = source + "/tests/golden/cases/"
one("dinov3", cases + "dinov3", 64)
one("dinov3_gated", cases + "dinov3_gated", 64, "model.backbone.freeze=false")
one("dinov2", cases + "dinov2", 64, "model.decoder.activation=relu")
one("dinov2_swiglu", cases + "dinov2_swiglu", 64)
one("dinov2_registers", cases + "dinov2_registers", 64, "model.decoder.norm=bn")
one("vit", cases + "vit", 64, "model.decoder.use_depthwise=false", "model.decoder.use_se=true")
one("lora", cases + "dinov3", 64, "model.lora.enabled=true", "model.lora.r=4", "model.lora.target_modules=all-linear")
one("dora", cases + "vit", 64, "model.lora.enabled=true", "model.lora.r=4", "model.lora.use_dora=true")
one("qlora_quant", cases + "dinov3", 64, "model.lora.enabled=true", "model.lora.r=4", "model.quantization.enabled=true")
one("dora_patches", cases + "dinov3", 64, "model.lora.enabled=true", "model.lora.r=4", "model.lora.use_dora=true", "model.lora.target_modules=[patch_embeddings,q_proj]")
conv = ["model.lora.enabled=true", "model.lora.r=4", "model.lora.target_modules=[patch_embeddings,downsampling_layer.1,dwconv,pwconv1]",
        "model.lora.rank_pattern={stages\\.0\\..*dwconv: 16, stages\\.1\\..*dwconv: 32, stages\\.2\\..*dwconv: 48, stages\\.3\\..*dwconv: 64}"]
one("lora_convolutions", cases + "convnext", 64, "training.optimizer.lr=0.05", *conv)
one("dora_convolutions", cases + "convnext", 64, *conv[:2], "model.lora.use_dora=true", "model.lora.target_modules=[patch_embeddings,downsampling_layer.1]")
one("timm", cases + "timm_vit", 64)
deformable = ["model.decoder.kind=deformable_fpn", "model.deformable_encoder.d_model=24", "model.deformable_encoder.nhead=3",
              "model.deformable_encoder.num_encoder_layers=2", "model.deformable_encoder.n_points=3",
              "model.deformable_encoder.lateral_dim=12"]
one("deformable_vit", cases + "dinov3", 64, *deformable)
one("deformable_convnext", cases + "dinov3_convnext", 64, *deformable)
fpn = ["model.decoder.kind=fpn", "model.fpn.lateral_dim=16"]
lora = ["model.lora.enabled=true", "model.lora.r=4"]
one("convnext", cases + "convnext", 64, "model.backbone.freeze=false")
one("convnext_odd", cases + "dinov3_convnext_odd", 22, *fpn, "model.backbone.freeze=false", image=(107, 70))
one("convnextv2", cases + "convnextv2", 64, *fpn, "model.backbone.freeze=false", image=(97, 66))
one("convnext_stages", cases + "convnextv2", 64, *fpn, "model.backbone.return_stages=[0,2]")
one("convnext_dora", cases + "dinov3_convnext", 64, *fpn, *lora, "model.lora.use_dora=true")
one("convnext_qlora_quant", cases + "dinov3_convnext", 64, *fpn, *lora, "model.quantization.enabled=true")
one("vit_stages", cases + "dinov3", 64, *fpn, "model.backbone.return_stages=[1,2]")
fpn, hrnet = ["model.decoder.kind=fpn", "model.fpn.lateral_dim=24"], ["model.decoder.kind=hrnet", "model.hrnet.widths=[8,12,16,20]"]
one("fpn", cases + "dinov3", 64, *fpn)
one("fpn_concat", cases + "dinov3", 64, *fpn, "model.fpn.fuse=concat", "model.heatmap.size=[19,11]", image=(80, 48))  # 1x2 to 3x5
one("hrnet", cases + "dinov3", 64, *hrnet, "model.heatmap.size=[19,11]", image=(80, 48))
one("fpn_windows", cases + "dinov3", 64, *fpn, frames=3)
one("fpn_concat_windows", cases + "dinov3", 64, *fpn, "model.fpn.fuse=concat", frames=3)
one("hrnet_windows", cases + "dinov3", 64, *hrnet, frames=2)
one("convnext_fpn", cases + "dinov3_convnext", 64, *fpn, "model.backbone.freeze=false")
one("convnext_fpn_lora", cases + "convnext", 64, *fpn, "model.lora.enabled=true", "model.lora.r=4", "model.fpn.fuse=concat")
one("convnext_hrnet", cases + "dinov3_convnext", 64, *hrnet, "model.hrnet.out_channels=10")
good = sum(k for _, _, k in rows)
with open(os.path.join(out, "onnx.json"), "w", encoding="utf-8") as f:
    json.dump({"versions": {"onnx": onnx.__version__, "onnxruntime": ort.__version__}, "checks": [[n, e, bool(k)] for n, e, k in rows]}, f, indent=1)
print("%d passed, %d failed" % (good, len(rows) - good))
sys.exit(good < len(rows))
