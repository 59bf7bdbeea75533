"""Files of other programs, made without them: a one-layer DINOv2, PEFT adapters over it, PyTorch's zips, bitsandbytes' matrices.
model DIR | adapter DIR KIND | prefix IN OUT PREFIX | torch IN OUT | shards IN DIR | storage IN OUT DTYPE | head IN OUT | biases EXPORT MERGED | grow ADAPTER_FILE | same A B | check KIND BASE ADAPTER MERGED"""
import collections, io, json, math, os, pickle, random, shutil, struct, sys, types, zipfile

D, F, R, S = 64, 128, 4, 2.0  # width, MLP, rank, alpha / r
L = "encoder.layer.0."
LINEAR = {"attention.attention.query": (D, D), "attention.attention.key": (D, D), "attention.attention.value": (D, D),
          "attention.output.dense": (D, D), "mlp.fc1": (F, D), "mlp.fc2": (D, F)}
ADAPTED = {"attention.attention.query": "attention.q_proj", "mlp.fc1": "mlp.fc1"}


def read(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    head, data = json.loads(b[8:8 + n]), b[8 + n:]
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in head.items()}


def write(path, tensors):
    head, at = {}, 0
    for k, (dtype, shape, b) in tensors.items():
        head[k] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(b)]}
        at += len(b)
    s = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(s)) + s + b"".join(t[2] for t in tensors.values()))


def f32(shape, v):
    return "F32", list(shape), struct.pack("<%df" % len(v), *v)


def values(t):
    return list(struct.unpack("<%df" % (len(t[2]) // 4), t[2]))


def model(d):
    g, t = random.Random(1), {}
    os.makedirs(d, exist_ok=True)

    def add(name, *shape, k=.05, one=0.):
        t[name] = f32(shape, [one + g.gauss(0, k) for _ in range(math.prod(shape))])
    add("embeddings.cls_token", 1, 1, D)
    add("embeddings.mask_token", 1, D)
    add("embeddings.patch_embeddings.projection.weight", D, 3, 16, 16)
    add("embeddings.patch_embeddings.projection.bias", D)
    add("embeddings.position_embeddings", 1, 17, D)
    for m, shape in LINEAR.items():
        add(L + m + ".weight", *shape, k=.1)
        add(L + m + ".bias", shape[0])
    for n in ("norm1", "norm2"):
        add(L + n + ".weight", D, one=1.)
        add(L + n + ".bias", D)
    for n in ("layer_scale1", "layer_scale2"):
        add(L + n + ".lambda1", D, one=1.)
    add("layernorm.weight", D, one=1.)
    add("layernorm.bias", D)
    write(d + "/model.safetensors", t)
    json.dump({"model_type": "dinov2", "hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2,
               "patch_size": 16, "image_size": 64, "num_channels": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
               "layerscale_value": 1.0, "qkv_bias": True, "use_swiglu_ffn": False}, open(d + "/config.json", "w"))


def adapter(d, kind):
    g, t = random.Random(2), {}
    os.makedirs(d, exist_ok=True)
    c = {"peft_type": "LORA", "r": R, "lora_alpha": S * R, "lora_dropout": 0.0, "bias": "none", "init_lora_weights": True,
         "target_modules": ["q_proj", "fc1"], "modules_to_save": None, "lora_bias": False, "peft_version": "0.17.0", "corda_config": None,
         "a_key_of_tomorrow": {}}
    for m, short in ADAPTED.items():
        (o, i), n = LINEAR[m], "base_model.model." + L + short
        t[n + ".lora_A.weight"] = f32((R, i), [g.gauss(0, .1) for _ in range(R * i)])
        t[n + ".lora_B.weight"] = f32((o, R), [g.gauss(0, .1) for _ in range(R * o)])
        bias = f32((o,), [g.gauss(0, .5) for _ in range(o)])
        if kind in ("lora_bias", "bias_unsaid"):
            t[n + ".lora_B.bias"] = bias
        if kind == "magnitude_unsaid":
            t[n + ".lora_magnitude_vector"] = bias
    c["lora_bias"] = kind in ("lora_bias", "bias_missing")
    c["use_dora"] = kind == "magnitude_missing"
    if kind in ("olora", "corda", "lora_ga"):
        c["init_lora_weights"] = kind
    if kind in ("classifier", "stranger"):
        c["modules_to_save"] = ["classifier"] if kind == "classifier" else None
        t["base_model.model.classifier.weight"] = f32((3, D), [.01] * (3 * D))
        t["base_model.model.classifier.bias"] = f32((3,), [0.] * 3)
    if kind == "mask_token":
        c["modules_to_save"] = ["embeddings"]
        t["base_model.model.embeddings.mask_token"] = f32((1, D), [.5] * D)
    if kind == "pooler":
        t["base_model.model.pooler.dense.lora_A.weight"] = f32((R, D), [.1] * (R * D))
        t["base_model.model.pooler.dense.lora_B.weight"] = f32((D, R), [.1] * (R * D))
    if kind == "convolution":
        t["base_model.model.embeddings.patch_embeddings.projection.lora_A.weight"] = f32((R, 3, 2, 2), [.1] * (R * 12))
        t["base_model.model.embeddings.patch_embeddings.projection.lora_B.weight"] = f32((D, R, 1, 1), [.1] * (R * D))
    P = "base_model.model.embeddings.patch_embeddings.projection."
    if kind == "kernel_pair":  # the second kernel is one of a pixel
        t[P + "lora_A.weight"], t[P + "lora_B.weight"] = f32((R, 3, 16, 16), [.1] * (R * 768)), f32((D, R, 3, 3), [.1] * (R * D * 9))
    if kind == "groups":  # of 3 columns a group, which do not divide the rank
        t[P + "lora_A.weight"], t[P + "lora_B.weight"] = f32((R, 3, 16, 16), [.1] * (R * 768)), f32((D, 3, 1, 1), [.1] * (3 * D))
    if kind == "kernel_of_a_matrix":
        n = "base_model.model." + L + "attention.v_proj."
        t[n + "lora_A.weight"], t[n + "lora_B.weight"] = f32((R, D, 1, 1), [.1] * (R * D)), f32((D, R, 1, 1), [.1] * (R * D))
    rename = {"default_keys": lambda k: k.replace("A.weight", "A.default.weight").replace("B.weight", "B.mine.weight"),
              "orig_mod": lambda k: "module." + k.replace("model.encoder", "model._orig_mod.encoder")}.get(kind)
    if kind == "two":
        t.update({k.replace(".weight", ".other.weight"): v for k, v in list(t.items())})
    if kind == "other_base":
        t["base_model.model.encoder.layer.7.norm1.weight"] = f32((D,), [1.] * D)
    if "=" in kind:
        key, value = kind.split("=", 1)
        c[key] = json.loads(value)
    write(d + "/adapter_model.safetensors", {rename(k): v for k, v in t.items()} if rename else t)
    json.dump(c, open(d + "/adapter_config.json", "w"))


# ---- PyTorch's zip: classes that only have the right names

STORAGE = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2), "U8": ("ByteStorage", 1)}


class Tensor:
    def __init__(self, key, t, transposed):
        self.key, self.t, self.transposed = key, t, transposed

    def __reduce__(self):
        _, shape, b = self.t
        stride = [math.prod(shape[k + 1:]) for k in range(len(shape))]
        if self.transposed:
            stride = [1, shape[0]]
        return rebuild, (Storage(self), 0, tuple(shape), tuple(stride), False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


def named(module, name):
    modules = sys.modules.setdefault(module, types.ModuleType(module))
    f = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(modules, name, f)
    return f


def rebuild_of():
    m = sys.modules.setdefault("torch._utils", types.ModuleType("torch._utils"))

    def _rebuild_tensor_v2(*args):
        return None
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    m._rebuild_tensor_v2 = _rebuild_tensor_v2
    return _rebuild_tensor_v2


torch = sys.modules.setdefault("torch", types.ModuleType("torch"))
rebuild = rebuild_of()
CLASSES = {k: named("torch", v[0]) for k, v in STORAGE.items()}
Namespace = named("argparse_of_yesterday", "Namespace")


class Pickler(pickle.Pickler):
    def persistent_id(self, x):
        if not isinstance(x, Storage):
            return None
        dtype, _, b = x.tensor.t
        return "storage", CLASSES[dtype], x.tensor.key, "cpu", len(b) // STORAGE[dtype][1]


def save(path, tensors, wrap=lambda d: d):
    data, parts = io.BytesIO(), {}
    d = collections.OrderedDict()
    for i, (k, t) in enumerate(tensors.items()):
        turned = len(t[1]) == 2 and t[0] == "F32" and i % 2
        d[k] = Tensor(str(i), t, turned)
        if turned:
            v, (r, c) = values(t), t[1]
            parts[str(i)] = struct.pack("<%df" % len(v), *(v[a * c + b] for b in range(c) for a in range(r)))
        else:
            parts[str(i)] = t[2]
    Pickler(data, 2).dump(wrap(d))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", data.getvalue())
        z.writestr("archive/byteorder", "little")
        for k, b in parts.items():
            z.writestr("archive/data/" + k, b)


def lightning(d):
    class_of = Namespace()
    class_of.__dict__["lr"] = 1e-3
    return {"epoch": 3, "hyper_parameters": class_of, "state_dict": d, "optimizer_states": [{"state": {}}], "pytorch-lightning_version": "2.4"}


# ---- checks

def matrix(t):
    v, (r, c) = values(t), t[1]
    return [v[i * c:(i + 1) * c] for i in range(r)]


def mul(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(r, c)) for c in columns] for r in a]


def leading_qr(w):
    q = []
    for c in list(map(list, zip(*w)))[:R]:
        for u in q + q:
            k = sum(x * y for x, y in zip(u, c))
            c = [x - k * y for x, y in zip(c, u)]
        n = math.sqrt(sum(x * x for x in c))
        q.append([x / n for x in c])
    return mul(list(map(list, zip(*q))), mul(q, w))


def check(kind, base, ad, merged):
    b, a, m = read(base + "/model.safetensors"), read(ad + "/adapter_model.safetensors"), read(merged + "/model.safetensors")
    worst = 0.
    for mod, short in ADAPTED.items():
        n = "base_model.model." + L + short
        w, ba = matrix(b[L + mod + ".weight"]), mul(matrix(a[n + ".lora_B.weight"]), matrix(a[n + ".lora_A.weight"]))
        start = leading_qr(w) if kind == "olora" else [[0.] * len(w[0])] * len(w)
        got = matrix(m[L + mod + ".weight"])
        worst = max(worst, max(abs(w[i][j] + S * (ba[i][j] - start[i][j]) - got[i][j]) for i in range(len(w)) for j in range(len(w[0]))))
        want = values(b[L + mod + ".bias"])
        if kind == "lora_bias":
            want = [x + S * y for x, y in zip(want, values(a[n + ".lora_B.bias"]))]
        worst = max(worst, max(abs(x - y) for x, y in zip(want, values(m[L + mod + ".bias"]))))
    print("largest difference %.3g" % worst)
    return worst > 1e-5


def main(what, *a):
    if what == "model":
        model(*a)
    elif what == "adapter":
        adapter(*a)
    elif what == "unpacked":
        return any(k.endswith(a[1] + ".weight") and t[0] != "F32" for k, t in read(a[0] + "/model.safetensors").items())
    elif what == "prefix":
        os.makedirs(a[1])
        shutil.copy(a[0] + "/config.json", a[1])
        write(a[1] + "/model.safetensors", {a[2] + k: v for k, v in read(a[0] + "/model.safetensors").items()})
    elif what == "torch":
        t = read(a[0])
        save(a[1], t, lightning if a[1].endswith(".ckpt") else lambda d: d)
    elif what == "shards":
        t, names = read(a[0]), {}
        for i in range(2):
            part = {k: v for n, (k, v) in enumerate(t.items()) if n % 2 == i}
            names.update({k: "pytorch_model-0000%d-of-00002.bin" % (i + 1) for k in part})
            save(a[1] + "/pytorch_model-0000%d-of-00002.bin" % (i + 1), part)
        json.dump({"weight_map": names}, open(a[1] + "/pytorch_model.bin.index.json", "w"))
    elif what == "storage":
        size = {"U8": 1, "I8": 1, "BF16": 2, "F16": 2, "F32": 4}[a[2]]
        shutil.copytree(a[0], a[1])
        t = read(a[0] + "/model.safetensors")
        packed = [k for k in t if k + ".absmax" in t]
        assert packed
        t.update({k: (a[2], [len(t[k][2]) // size, 1], t[k][2]) for k in packed})
        write(a[1] + "/model.safetensors", t)
    elif what == "head":  # the base's own classifier, of another size than the adapter's
        shutil.copytree(a[0], a[1])
        t = read(a[0] + "/model.safetensors")
        t["classifier.weight"] = f32((7, D), [.5] * (7 * D))
        write(a[1] + "/model.safetensors", t)
    elif what == "biases":  # an export with the adapter in place has the merged model's
        x, m = read(a[0] + "/model.safetensors"), read(a[1] + "/model.safetensors")
        for mod in ADAPTED:
            name = next(k for k in x if k.endswith(L + mod + ".base_layer.bias"))
            if max(abs(p - q) for p, q in zip(values(x[name]), values(m[L + mod + ".bias"]))) > 1e-6:
                return 1
    elif what == "grow":  # a bias of lora_B that no configuration here makes
        t = read(a[0])
        name = next(k for k in t if k.endswith("lora_B.weight"))
        t[name.replace(".weight", ".bias")] = f32((t[name][1][0],), [1.] * t[name][1][0])
        write(a[0], t)
    elif what == "same":
        x, y = read(a[0] + "/model.safetensors"), read(a[1] + "/model.safetensors")
        return x != y
    elif what == "check":
        return check(*a)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
