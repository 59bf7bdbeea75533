#!/usr/bin/env python3
"""What bfloat16 costs the real libraries in each golden case: make_bf16_error.py [CASES [CASE...]] writes CASE/bf16_error.json.

Needs torch, transformers, peft, bitsandbytes, timm and safetensors (pip). Each case runs as the library would in bfloat16
(model.bfloat16(): weights and every stored activation in bfloat16, products summed in float32, which is how we store them; trained
parameters have float32 masters that AdamW moves) and in float64, DRAWS times with pixels and weights that differ by less
than bfloat16 tells apart. Kept is the worst relative error of each tensor of golden.safetensors, and of each trace; tn-golden allows twice
that. Printed is the worst of each kind and, in brackets, under torch.autocast, which leaves the residual stream in float32."""
import ast
import copy
import json
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import torch
import transformers as tf
from safetensors.torch import load_file

DRAWS = 24
torch.set_num_threads(1)  # the models are tiny
root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
cases = sys.argv[1] if len(sys.argv) > 1 else root + "/tests/golden/cases"

# the heatmap model and its losses, without running what makes the cases
tree = ast.parse(open(root + "/tests/golden/make.py").read())
tree.body = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef))]
exec(compile(tree, "make.py", "exec"))
sys.path.insert(0, root + "/tests/golden")
import make_decoders


def relative(a, b, least=0.0):
    a, b = a.double(), b.double()
    return float((a - b).norm() / max(float(b.norm()), least, 1e-300))


def worst(into, name, e):
    into[name] = max(into.get(name, 0.0), e)


def drawn(model, x, draw):
    """A copy of the model and the pixels, every value moved by less than bfloat16 tells apart; draw 0: as they are."""
    model, r = copy.deepcopy(model), torch.Generator().manual_seed(draw)
    moved = lambda v: v * (1 + 2.0**-10 * torch.randn(v.shape, generator=r)) if draw else v
    for q in model.parameters(): q.data = moved(q.data)
    return model, moved(x)


class Autocast(torch.nn.Module):
    def __init__(s, m):
        super().__init__()
        s.m = m

    def forward(s, *args, **kw):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return s.m(*args, **kw)


# ---- backbones ----

def timm_model(folder, config):
    import timm
    kw = dict(config["model_args"], num_classes=config["num_classes"], img_size=config["pretrained_cfg"]["input_size"][1])
    m = timm.create_model(config["architecture"], pretrained=False, dynamic_img_size=True, **kw)
    m.load_state_dict(load_file(folder + "/model.safetensors"))
    return m.eval()


def unpacked(folder, config):
    """The quantised weights as bitsandbytes dequantises them, in a float model: what its kernels multiply with."""
    import bitsandbytes as bnb
    q = tf.AutoModel.from_pretrained(folder, device_map="cpu").eval()
    m = tf.AutoModel.from_config(type(q.config)(**{k: v for k, v in config.items() if k != "quantization_config"})).eval()
    state = {k: v for k, v in q.state_dict().items() if k in m.state_dict() and v.shape == m.state_dict()[k].shape}
    m.load_state_dict(state, strict=False)
    for n, mod in q.named_modules():
        if isinstance(mod, bnb.nn.Linear4bit):
            w = bnb.functional.dequantize_4bit(mod.weight.data, mod.weight.quant_state)
        elif isinstance(mod, bnb.nn.Linear8bitLt):
            scale = mod.weight.SCB if mod.weight.SCB is not None else mod.state.SCB
            w = bnb.functional.int8_vectorwise_dequant(mod.weight.data, scale)
        else:
            continue
        m.get_submodule(n).weight.data = w.float().reshape(m.get_submodule(n).weight.shape)
    return m


def backbone_of(folder):
    config = json.load(open(folder + "/config.json"))
    if "architecture" in config:
        return timm_model(folder, config)
    if "quantization_config" in config:
        return unpacked(folder, config)
    m = tf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if os.path.isdir(folder + "/adapter"):
        import peft
        m = peft.PeftModel.from_pretrained(m, folder + "/adapter").eval()
    return m


def hidden_of(m, x, resized):
    if hasattr(m, "forward_features") or hasattr(getattr(m, "m", None), "forward_features"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=isinstance(m, Autocast)):
            return {"last_hidden_state": getattr(m, "m", m).forward_features(x)}
    o = m(pixel_values=x, output_hidden_states=True, **({"interpolate_pos_encoding": True} if resized else {}))
    out = dict({"hidden_states.%d" % i: h for i, h in enumerate(o.hidden_states or [])}, last_hidden_state=o.last_hidden_state)
    return out if o.pooler_output is None else dict(out, pooler_output=o.pooler_output)


def backbone_case(folder, golden):
    m = backbone_of(folder)
    config = json.load(open(folder + "/config.json"))
    resized = config.get("model_type") == "vit" and isinstance(config["image_size"], int)
    errors, auto = {}, {}
    with torch.no_grad():
        again = hidden_of(copy.deepcopy(m).double(), golden["pixel_values"].double(), resized)
        for k in again:
            if k in golden and relative(golden[k], again[k]) > 1e-5:
                print("  %s: the installed library is %.1e off the case" % (k, relative(golden[k], again[k])))
        for draw in range(DRAWS):
            near, x = drawn(m, golden["pixel_values"], draw)
            want = hidden_of(copy.deepcopy(near).double(), x.double(), resized)
            half, mixed = hidden_of(copy.deepcopy(near).bfloat16(), x.bfloat16(), resized), hidden_of(Autocast(near), x, resized)
            for k in want:
                worst(errors, k, relative(half[k], want[k]))
                worst(auto, k, relative(mixed[k], want[k]))
    return errors, auto


# ---- training ----

LOSSES = {"mse": mse, "focal": focal, "bce": bce, "wbce": wbce}


def training_model(folder, spec):
    bb = tf.AutoModel.from_pretrained(folder + "/backbone", dtype=torch.float32)
    kind = bb.config.model_type
    stride = bb.config.patch_size << len(bb.config.hidden_sizes) - 1 if kind == "convnext" else 16
    if spec["lora"]:
        import peft
        bb = peft.PeftModel.from_pretrained(bb, folder + "/adapter", is_trainable=True)
    if "model" in spec:
        model = make_decoders.model_of(bb, spec["model"], spec["heatmap_hw"], spec.get("heats", 1))
    else:
        d = dict(spec["decoder"])
        model = Heatmap(bb, d.pop("channels"), d.pop("upsample"), tuple(d.pop("out_size_hw")), **d)
        model.stride = stride
        model.skip = 1 + (4 if kind in ("dinov3_vit", "dinov2_with_registers") else 0)
        model.kw = {"interpolate_pos_encoding": True} if kind == "vit" else {}
    missing, unknown = model.load_state_dict(load_file(folder + "/decoder.safetensors"), strict=False)
    assert not unknown and all(n.startswith("backbone") or "num_batches" in n for n in missing)
    for n, q in model.named_parameters():
        if n.startswith("backbone"): q.requires_grad_(("lora_" in n) if spec["lora"] else spec["full_finetune"])
    model.train()  # for BatchNorm; nothing is dropped out
    model.backbone.eval()
    return model


def run(model, spec, x, t, m, kind):
    """Everything a case records; `model` holds the masters. kind: float64, bfloat16 or autocast."""
    masters = [(n, q) for n, q in model.named_parameters() if q.requires_grad]
    acting = copy.deepcopy(model).bfloat16() if kind == "bfloat16" else Autocast(model) if kind == "autocast" else model
    acted = [q for q in acting.parameters() if q.requires_grad]
    x = x.bfloat16() if kind == "bfloat16" else x
    opt = optimizer_of(model, spec)
    out = {"trace.loss": [], "trace.grad_norm": []}
    for step in range(spec["steps"]):
        with torch.no_grad():
            for a, (_, q) in zip(acted, masters): a.copy_(q)
        acting.zero_grad()
        y = acting(x).to(t.dtype)
        loss = LOSSES[spec["loss"]](y, t, m)
        loss.backward()
        for a, (_, q) in zip(acted, masters):
            if a is not q and a.grad is not None: q.grad = a.grad.to(q.dtype)
        if step == 0:
            out["heatmap"] = y.detach()
            for n, f in LOSSES.items(): out["loss." + n] = f(y.detach(), t, m)
            for n, q in masters:
                if q.grad is not None: out["grad." + n] = q.grad.clone()
        out["trace.grad_norm"].append(torch.nn.utils.clip_grad_norm_([q for _, q in masters], spec["grad_clip_norm"]))
        out["trace.loss"].append(loss.detach())
        opt.step()
    for n, q in masters: out["final." + n] = q.detach()
    for n, b in acting.named_buffers():
        if "running" in n: out["buffer." + n.removeprefix("m.")] = b.to(t.dtype)
    return out


def compare(errors, got, want):
    whole = float(want["trace.grad_norm"][0])
    for k in got:
        if k.startswith("trace."):
            for a, b in zip(got[k], want[k]): worst(errors, k, relative(a, b))
        else: worst(errors, k, relative(got[k], want[k], 1e-4 * whole if k.startswith("grad.") else 0))


def training_case(folder, golden):
    spec = json.load(open(folder + "/case.json"))
    model = training_model(folder, spec)
    t, m = golden["target"], golden["mask"]
    errors, auto = {}, {}
    for draw in range(DRAWS):
        near, x = drawn(model, golden["pixel_values"], draw)
        want = run(copy.deepcopy(near).double(), spec, x.double(), t.double(), m.double(), "float64")
        if draw == 0 and relative(golden["heatmap"], want["heatmap"]) > 1e-5:
            print("  the installed library is %.1e off the case" % relative(golden["heatmap"], want["heatmap"]))
        compare(errors, run(copy.deepcopy(near), spec, x, t, m, "bfloat16"), want)
        compare(auto, run(copy.deepcopy(near), spec, x, t, m, "autocast"), want)
    return errors, auto


for name in sys.argv[2:] or sorted(os.listdir(cases)):
    folder = os.path.join(cases, name)
    training = os.path.isfile(folder + "/case.json")
    if not training and not os.path.isfile(folder + "/config.json"):
        continue
    golden = load_file(folder + "/golden.safetensors")
    errors, auto = (training_case if training else backbone_case)(folder, golden)
    errors = {k: v for k, v in errors.items() if k in golden}
    kinds = sorted({k.split(".")[0] for k in errors})
    print("%-28s %s" % (name, "  ".join("%s %.1e (%.1e)" % (g, *(max(v for k, v in e.items() if k in errors and k.split(".")[0] == g)
                                                                for e in (errors, auto))) for g in kinds)), flush=True)
    with open(folder + "/bf16_error.json", "w") as f:
        json.dump({k: float("%.3g" % v) for k, v in errors.items()}, f, indent=1, sort_keys=True)
        f.write("\n")
