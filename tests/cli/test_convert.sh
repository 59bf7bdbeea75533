#!/bin/bash
# Quantising, adapters, import and export as a person uses them, with every kind of bad input.
# test_convert.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"
C=tests/golden/cases
for c in quantize adapter import export; do expect 0 "usage: tracknet $c" $T $c --help; done

# ---- quantize
for q in nf4 fp4 int4 int4_asym int8 mxfp4 nvfp4; do
  expect 0 "18 of 18 matrices quantised" $T quantize --in $C/dinov3 --out "$W/$q" --quant-type $q
done
expect 0 "SQNR dB" $T quantize --in $C/dinov3 --out "$W/double" --double-quant --skip down_proj --report
expect 0 '"sqnr_db"' $T quantize --in $C/dinov3 --out "$W/j" --json
grep -q '"bnb_4bit_use_double_quant": true' "$W/double/config.json" && ok || bad "config.json says nothing of double quantisation"
says "is there already" $T quantize --in $C/dinov3 --out "$W/nf4"
says "quant_type 'q5' is not known; there are nf4" $T quantize --in $C/dinov3 --out "$W/x" --quant-type q5
says "powers of two from 32 to 4096" $T quantize --in $C/dinov3 --out "$W/x" --block-size 48
says "blocks of 32" $T quantize --in $C/dinov3 --out "$W/x" --quant-type mxfp4 --block-size 64
says "has no double quantisation" $T quantize --in $C/dinov3 --out "$W/x" --quant-type int4 --double-quant
says "neither a folder nor in the local hub cache" $T quantize --in "$W/none" --out "$W/x"
[ -e "$W/x" ] && bad "a failed quantize left something behind" || ok
ls "$W" | grep -q tmp && bad "a temporary folder was left behind" || ok

# shards stay shards
python3 - $C/dinov3 "$W/shards" <<'P'
import json, os, struct, sys
src, dst = sys.argv[1:]
os.makedirs(dst)
raw = open(src + "/model.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
h = json.loads(raw[8:8 + n])
h.pop("__metadata__", None)
names, wm = sorted(h), {}
for k, part in enumerate((names[::2], names[1::2])):
    body, head = b"", {"__metadata__": {"format": "pt"}}
    for t in part:
        b, e = h[t]["data_offsets"]
        head[t] = dict(h[t], data_offsets=[len(body), len(body) + e - b])
        body += raw[8 + n + b:8 + n + e]
    f = "model-%05d-of-00002.safetensors" % (k + 1)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(dst + "/" + f, "wb").write(struct.pack("<Q", len(text)) + text + body)
    wm.update({t: f for t in part})
json.dump({"metadata": {"total_size": 0}, "weight_map": wm}, open(dst + "/model.safetensors.index.json", "w"))
open(dst + "/config.json", "w").write(open(src + "/config.json").read())
# a NaN in a weight, and head classes' prefixes
bad = bytearray(raw)
at = 8 + n + h["layer.1.mlp.up_proj.weight"]["data_offsets"][0]
bad[at:at + 4] = struct.pack("<f", float("nan"))
os.makedirs(dst + "_nan")
open(dst + "_nan/model.safetensors", "wb").write(bad)
open(dst + "_nan/config.json", "w").write(open(src + "/config.json").read())
P
expect 0 "18 of 18" $T quantize --in "$W/shards" --out "$W/qshards"
[ -s "$W/qshards/model-00002-of-00002.safetensors" ] && [ -s "$W/qshards/model.safetensors.index.json" ] && ok || bad "shards were not kept"
# shards, head classes' prefixes and transformers 5's own names give the same hidden states
G=$(dirname "$(dirname "$T")")/tests/tn-golden
mkdir "$W/forms"
cp -r "$W/shards" "$W/forms/shards"
cp $C/dinov3/golden.safetensors "$W/forms/shards/"
python3 - $C "$W/forms" <<'P'
import json, os, struct, sys
cases, out = sys.argv[1:]
def rename(case, name, f, extra=()):
    raw = open("%s/%s/model.safetensors" % (cases, case), "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    h = json.loads(raw[8:8 + n])
    end = max(v["data_offsets"][1] for k, v in h.items() if k != "__metadata__")
    h = {k if k == "__metadata__" else f(k): v for k, v in h.items()}
    tail = b""
    for k in extra:
        h[k] = {"dtype": "F32", "shape": [4], "data_offsets": [end + len(tail), end + len(tail) + 16]}
        tail += b"\0" * 16
    t = json.dumps(h).encode()
    t += b" " * (-len(t) % 8)
    d = os.path.join(out, name)
    os.makedirs(d)
    open(d + "/model.safetensors", "wb").write(struct.pack("<Q", len(t)) + t + raw[8 + n:] + tail)
    for k in ("config.json", "golden.safetensors"):
        open(d + "/" + k, "wb").write(open("%s/%s/%s" % (cases, case, k), "rb").read())
rename("vit", "vit_classifier", lambda k: "vit." + k, ["classifier.bias"])
rename("dinov2", "dinov2_classifier", lambda k: "dinov2." + k, ["classifier.bias"])
rename("dinov2_registers", "registers_classifier", lambda k: "dinov2_with_registers." + k, ["classifier.bias"])
rename("dinov3", "dinov3_v5", lambda k: k.replace("layer.", "model.layer.", 1) if k.startswith("layer.") else k)
def v5(k):
    for a, b in (("encoder.layer.", "layers."), ("attention.attention.query", "attention.q_proj"), ("attention.attention.key", "attention.k_proj"),
                 ("attention.attention.value", "attention.v_proj"), ("attention.output.dense", "attention.o_proj"), ("intermediate.dense", "mlp.fc1"), (".output.dense", ".mlp.fc2")):
        k = k.replace(a, b)
    return k
rename("vit", "vit_v5", v5)
P
expect 0 "6 passed, 0 failed" "$G" "$W/forms" --device cpu
says "layer.1.mlp.up_proj.weight" $T quantize --in "$W/shards_nan" --out "$W/x"

# ---- training and prediction on quantised checkpoints, and on every format
D="$W/data"
$T synth --output-dir "$D" --clips 1 --frames 4 --size 96x64 2>/dev/null
IMG="$D/game1/Clip1"
RUN="--training overfit data.root=$D data.split.val_games=[] data.preprocess.resize=[96,64] model.heatmap.size=[24,16]
 model.decoder.channels=[64,16] model.decoder.upsample=[2] training.batch_size=4 training.epochs=1 model.lora.r=4"
L="--model vit_lora_heatmap $RUN --overwrite"
Q="--model vit_qlora_heatmap $RUN --overwrite"
expect 0 "loss" $T train $L model.pretrained_model_name="$W/double" --output-dir "$W/r1"
grep -q "to nf4 (blocks of 64, double quantisation)" "$W/out" && ok || bad "a quantised checkpoint was not taken as it is: $(cat "$W/out")"
expect 0 "quantised in another format" $T train $Q model.quantization.quant_type=fp4 model.pretrained_model_name="$W/nf4" --output-dir "$W/r1"
for q in nf4 fp4 int4 int4_asym int8 mxfp4 nvfp4; do
  expect 0 "to $q" $T train $Q model.pretrained_model_name=$C/dinov3 model.quantization.quant_type=$q --output-dir "$W/$q.run"
done
expect 0 "to int8 (a scale for each row)" $T train $L model.pretrained_model_name=$C/dinov3 model.quantization.load_in_8bit=true --output-dir "$W/r1"
expect 0 "by skip_modules: layer.0.mlp.down_proj" $T train $Q model.pretrained_model_name=$C/dinov3 'model.quantization.skip_modules=[down_proj]' --output-dir "$W/r1"
expect 0 "blocks do not divide their rows" $T train $Q model.pretrained_model_name=$C/dinov3 model.quantization.quant_type=int4 model.quantization.group_size=128 --output-dir "$W/r1"
# mode manual and mode hf mean the same; so do the older keys under training
dry() { $T train $Q model.pretrained_model_name=$C/dinov3 --dry-run "$@" 2>/dev/null | grep '^#'; }
[ "$(dry model.quantization.mode=manual model.quantization.compress_statistics=false)" = "$(dry model.quantization.mode=hf model.quantization.use_double_quant=false)" ] && ok || bad "mode hf and manual differ"
large() { dry model.pretrained_model_name=configs/backbone/vit-s model.backbone.random_init=true 'model.decoder.channels=[384,16]' "$@"; } # a difference of many MiB
[ "$(large model.quantization.mode=manual)" != "$(large model.quantization.mode=hf model.quantization.use_double_quant=false)" ] && ok || bad "double quantisation changes nothing"
[ "$(dry training.quantization.quant_type=int8)" = "$(dry model.quantization.quant_type=int8)" ] && ok || bad "training.quantization is not honoured"
says "must be one of nf4|fp4" $T train $Q model.quantization.quant_type=q5
says "power of two" $T train $Q model.quantization.block_size=48
says "exclude each other" $T train $Q model.quantization.load_in_8bit=true model.quantization.load_in_4bit=true
python3 - "$W/nf4/model.safetensors" <<'P'
import sys
p = sys.argv[1]
b = open(p, "rb").read()
open(p, "wb").write(b.replace(b'"shape": [64, 64]', b'"shape": [64, 96]', 1))
P
says "quant_state disagrees with its shapes" $T train $L model.pretrained_model_name="$W/nf4" --output-dir "$W/r1"

# ---- LoRA options
M="model.pretrained_model_name=$C/dinov3"
expect 0 "loss" $T train $L $M --output-dir "$W/a" 'model.lora.target_modules=layer\.[01]\..*(q|v)_proj' 'model.lora.rank_pattern={v_proj: 2}' 'model.lora.alpha_pattern={"layer.0.attention.q_proj": 5}'
expect 0 "rank        2 to 4" $T adapter info --adapter "$W/a/last"
[ "$(grep -c '_proj ' "$W/out")" -eq 4 ] && ok || bad "the regular expression chose others: $(cat "$W/out")"
expect 0 "loss" $T train $L $M --output-dir "$W/b" model.lora.target_modules=all-linear 'model.lora.exclude_modules=[down_proj]' model.lora.use_dora=true 'model.lora.modules_to_save=[norm]'
expect 0 "DoRA" $T adapter info --adapter "$W/b/last"
grep -q "base_model.model.norm.weight" "$W/out" && ! grep -q down_proj "$W/out" && ok || bad "modules_to_save or exclude_modules: $(cat "$W/out")"
for i in gaussian pissa pissa_niter_2; do expect 0 "loss" $T train $L $M --output-dir "$W/i" model.lora.init_lora_weights=$i; done
expect 0 "loss" $T train $Q $M --output-dir "$W/i" model.lora.init_lora_weights=loftq model.lora.loftq_iter=3
adapted() { $T adapter info --adapter "$W/$1/last" | grep -oE 'layer\.[0-9]+\.[a-z_.]*' | tr '\n' ' '; }
expect 0 "loss" $T train $L $M --output-dir "$W/a1" 'model.lora.target_modules=[q_proj,layer.1.mlp.up_proj]' 'model.lora.layers_to_transform=[0,2]'
[ "$(adapted a1)" = "layer.0.attention.q_proj layer.1.mlp.up_proj layer.2.attention.q_proj " ] && ok || bad "layers_to_transform chose $(adapted a1)"
expect 0 "loss" $T train $L $M --output-dir "$W/a2" 'model.lora.target_modules=[q_proj]' model.lora.layers_to_transform=1 model.lora.layers_pattern=layer
[ "$(adapted a2)" = "layer.1.attention.q_proj " ] && ok || bad "layers_to_transform 1 chose $(adapted a2)"
edited() { # edited RUN PYTHON: a copy of the run's adapter in $W/ad, its adapter_config.json c changed
  rm -rf "$W/ad" && cp -r "$W/$1/last" "$W/ad" && python3 -c "import json, sys; f = sys.argv[1]; c = json.load(open(f)); $2; json.dump(c, open(f, 'w'))" "$W/ad/adapter_config.json"
}
edited a2 'assert [c[k] for k in ("target_modules", "layers_to_transform", "layers_pattern")] == [["q_proj"], [1], ["layer"]], c' && ok || bad "adapter_config.json does not say which layers"
edited a2 'c["layers_to_transform"], c["layers_pattern"] = 1, "layer"'
expect 0 "layer.1.attention.q_proj" $T adapter info --adapter "$W/ad"
edited a2 'c["layers_to_transform"] = [0]'
says "leaves out 'model.layer.1.attention.q_proj'" $T adapter info --adapter "$W/ad"
edited a2 'c["layers_to_transform"] = "1"'
says "layers_to_transform in its adapter_config.json is not a whole number" $T adapter info --adapter "$W/ad"
edited a2 'c["layers_pattern"] = 3'
says "layers_pattern in its adapter_config.json is not a text" $T adapter info --adapter "$W/ad"
edited a2 'c["target_modules"] = ".*q_proj"'
says "which PEFT refuses" $T adapter info --adapter "$W/ad"
says "names layer 7, and the backbone's layers are 0 to 2" $T train $L $M 'model.lora.layers_to_transform=[1,7]'
says "finds no number of a layer in paths such as" $T train $L $M model.lora.layers_to_transform=1 model.lora.layers_pattern=blocks
says "goes with a list of names" $T train $L $M model.lora.layers_to_transform=1 'model.lora.target_modules=.*q_proj'
says "goes with a list of names" $T train $L $M model.lora.layers_to_transform=1 model.lora.target_modules=all-linear
says "needs model.lora.layers_to_transform" $T train $L $M model.lora.layers_pattern=layer
says "is no regular expression" $T train $L $M model.lora.layers_to_transform=1 'model.lora.layers_pattern=(layer'
says "a whole number" $T train $L $M model.lora.layers_to_transform=-1
says "a list of at most 64 whole numbers" $T train $L $M 'model.lora.layers_to_transform={a: 1}'
says "matches no linear module or convolution; there are: patch_embeddings, q_proj" $T train $L $M 'model.lora.target_modules=[nothing]'
says "matches no linear module or convolution" $T train $L $M 'model.lora.target_modules=.*nothing.*'
says "is no regular expression" $T train $L $M 'model.lora.target_modules=(q_proj'
says "larger than" $T train $L $M model.lora.r=100
says "a number from 0 to 0.95" $T train $L $M model.lora.lora_dropout=1.5
says "must be above 0" $T train $L $M model.lora.lora_alpha=0
says "is not known; kaiming" $T train $L $M model.lora.init_lora_weights=magic
says "loftq makes up for quantisation" $T train $L $M model.lora.init_lora_weights=loftq
says "names no module" $T train $L $M 'model.lora.modules_to_save=[nothing]'
for f in dinov2 dinov2_registers dinov2_swiglu vit dinov3_gated; do
  for t in '[query,key,value,dense]' '[q_proj,k_proj,v_proj,o_proj,up_proj,down_proj]' null; do
    expect 0 "loss" $T train $L model.pretrained_model_name=$C/$f "model.lora.target_modules=$t" --output-dir "$W/f"
  done
  $T adapter info --adapter "$W/f/last" >"$W/out"
  n=$(grep -cE '^[a-z.]*layers?\.' "$W/out")
  [ "$n" -ge 12 ] && ok || bad "$f: detection found only $n modules"
done
expect 0 "loss" $T train --model vit_heatmap $RUN model.pretrained_model_name=$C/timm_dinov2_reg4 model.backbone.patch_size=14 'data.preprocess.resize=[98,70]' --output-dir "$W/p14"
says "has patches of 14" $T train --model vit_heatmap $RUN model.pretrained_model_name=$C/timm_dinov2_reg4

# ---- adapters: swapped, merged, converted
same() { python3 - "$W/$1.csv" "$W/$2.csv" <<'P'
import csv, sys
a, b = (list(csv.reader(open(f)))[1:] for f in sys.argv[1:])
sys.exit(len(a) != len(b) or any(abs(float(p) - float(q)) > 0.02 for x, y in zip(a, b) for p, q in zip(x[1:4], y[1:4])))
P
}
expect 0 "confidence" $T predict --adapter "$W/a/last" --image "$IMG" --csv "$W/a.csv"
expect 0 "confidence" $T predict --adapter "$W/b/last" --image "$IMG" --csv "$W/b.csv"
expect 0 "confidence" $T predict --checkpoint "$W/a/last" --image "$IMG" --csv "$W/own.csv"
cut -d, -f1-4 "$W/a.csv" | cmp -s - "$W/own.csv" && ok || bad "an adapter alone and its checkpoint disagree"
expect 0 "confidence" $T predict --adapter "$W/a/last" --adapter "$W/b/last" --adapter "$W/a/last" --image "$IMG" --csv "$W/ab.csv"
alone() { tail -n +2 "$W/$1.csv"; }
cmp -s <(tail -n +2 "$W/ab.csv" | cut -d, -f1-4) <(alone a | cut -d, -f1-4; alone b | cut -d, -f1-4; alone a | cut -d, -f1-4) && ok || bad "an adapter's own base weights outlive it"
says "PiSSA changes the base" $T predict --adapter "$W/a/last" --adapter "$C/from_peft_dinov3_vit_pissa/adapter" --image "$IMG"
expect 0 "loss" $T train $L $M --output-dir "$W/c" model.lora.use_dora=true model.lora.r=3 model.lora.use_rslora=true
expect 0 "confidence" $T predict --adapter "$W/c/last" --image "$IMG" --csv "$W/c.csv"
expect 0 "confidence" $T predict --adapter "$W/a/last" --adapter "$W/c/last" --adapter "$W/a/last" --image "$IMG" --csv "$W/ac.csv" --outdir "$W/pics"
tail -n +2 "$W/a.csv" >"$W/want"
tail -n +2 "$W/c.csv" >>"$W/want"
tail -n +2 "$W/a.csv" >>"$W/want"
python3 - "$W/ac.csv" "$W/want" <<'P' && ok || bad "swapped adapters do not predict as each alone"
import csv, sys
a = list(csv.reader(open(sys.argv[1])))[1:]
b = list(csv.reader(open(sys.argv[2])))
sys.exit(len(a) != len(b) or any(x[0] != y[0] or any(abs(float(p) - float(q)) > 0.02 for p, q in zip(x[1:4], y[1:4])) for x, y in zip(a, b)))
P
expect 0 "matrices" $T adapter merge --adapter "$W/c/last" --base $C/dinov3 --out "$W/m"
expect 0 "confidence" $T predict --checkpoint "$W/c/last" --image "$IMG" --csv "$W/mine.csv"
expect 0 "confidence" $T predict --checkpoint "$W/c/last" model.lora.enabled=false model.pretrained_model_name="$W/m" --image "$IMG" --csv "$W/merged.csv"
same mine merged && ok || bad "the merged model predicts otherwise"
expect 0 "18 of 18 matrices quantised" $T adapter merge --adapter "$W/c/last" --base $C/dinov3 --out "$W/mq" --quant-type nf4 --double-quant

# LoftQ: the base that it began from is made again, by merge and by predict
expect 0 "loss" $T train $Q $M --output-dir "$W/lq" model.lora.init_lora_weights=loftq model.lora.loftq_iter=3 training.precision=fp32 'model.quantization.skip_modules=[down_proj]'
expect 0 "matrices" $T adapter merge --adapter "$W/lq/last" --base $C/dinov3 --out "$W/lqm"
cp -r "$W/lq/last" "$W/lqp"
sed -i 's/"loftq_iter": 3/"loftq_iter": 1/' "$W/lqp/adapter_config.json"
expect 0 "matrices" $T adapter merge --adapter "$W/lqp" --base $C/dinov3 --out "$W/lqpm"
FULL="model.lora.enabled=false model.quantization.enabled=false"
expect 0 "confidence" $T predict --checkpoint "$W/lq/last" --image "$IMG" --csv "$W/lq.csv"
expect 0 "confidence" $T predict --checkpoint "$W/lq/last" $FULL model.pretrained_model_name="$W/lqm" --image "$IMG" --csv "$W/lqm.csv"
expect 0 "confidence" $T predict --checkpoint "$W/lq/last" $FULL model.pretrained_model_name="$W/lqpm" --image "$IMG" --csv "$W/lqpm.csv"
expect 0 "confidence" $T predict --adapter "$W/lq/last" --image "$IMG" --csv "$W/lqa.csv"
same lq lqm && ok || bad "a LoftQ adapter merged predicts otherwise"
same lq lqa && ok || bad "a LoftQ adapter alone predicts otherwise"
same lq lqpm && bad "another start's base makes no difference: the two checks above prove nothing" || ok
says "began from LoftQ on a base in nf4, block_size 64, with double quantisation" $T predict --adapter "$W/lq/last" model.quantization.quant_type=fp4 --image "$IMG"
says "LoftQ changes the base" $T predict --adapter "$W/lq/last" --adapter "$W/a/last" --image "$IMG"
says "merge it" $T adapter convert --adapter "$W/lq/last" --plain --base $C/dinov3 --out "$W/x"
sed -i 's/"init_lora_weights": true/"init_lora_weights": "loftq"/; s/"quant_type"/"q"/' "$W/lqp/adapter_config.json"
says "names no quant_type" $T adapter merge --adapter "$W/lqp" --base $C/dinov3 --out "$W/x"
expect 0 "$W/v4" $T adapter convert --adapter "$W/c/last" --out "$W/v4" --spelling v4 --model-type dinov3_vit --dtype BF16
expect 0 "layer.0.attention" $T adapter info --adapter "$W/v4"
expect 0 "confidence" $T predict --checkpoint "$W/c/last" --adapter "$W/v4" --image "$IMG"
expect 0 "loss" $T train $L $M --output-dir "$W/pi" model.lora.init_lora_weights=pissa model.lora.lora_dropout=0
expect 0 "$W/plain" $T adapter convert --adapter "$W/pi/last" --out "$W/plain" --plain --base $C/dinov3
expect 0 "confidence" $T predict --checkpoint "$W/pi/last" --image "$IMG" --csv "$W/p1.csv"
expect 0 "confidence" $T predict --checkpoint "$W/pi/last" --adapter "$W/plain" --image "$IMG" --csv "$W/p2.csv"
python3 - "$W/p1.csv" "$W/p2.csv" <<'P' && ok || bad "PiSSA made plain predicts otherwise"
import csv, sys
a, b = (list(csv.reader(open(f)))[1:] for f in sys.argv[1:])
sys.exit(len(a) != len(b) or any(abs(float(p) - float(q)) > 0.02 for x, y in zip(a, b) for p, q in zip(x[1:4], y[1:4])))
P
# ---- averages of adapters, beside what PEFT made of the same (tools/make_average_fixtures.py)
V=tests/data/average
average() { # average NAME METHOD ADAPTER,... options...: into $W/NAME
  local name=$1 method=$2 list=()
  for a in ${3//,/ }; do list+=(--adapter "$a"); done
  shift 3
  "$T" adapter merge "${list[@]}" --method "$method" --out "$W/$name" "$@"
}
cat >"$W/same_average.py" <<'P'
import array, json, sys
def read(path):
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k: (v["shape"], array.array("f", raw[8 + n:][slice(*v["data_offsets"])])) for k, v in json.loads(raw[8:8 + n]).items() if k != "__metadata__"}
def product(t, name, scale=1):
    (r, n), a = t[name + ".lora_A.weight"]
    (m, _), b = t[name + ".lora_B.weight"]
    return [scale * sum(b[i * r + k] * a[k * n + j] for k in range(r)) for i in range(m) for j in range(n)]
def check(got, want, bound, what):
    size = sum(x * x for x in want) ** .5
    off = sum((x - y) ** 2 for x, y in zip(got, want)) ** .5
    assert len(got) == len(want) and size > 0 and off <= bound * size, (what, off / size)
folder, kind, want = sys.argv[1], sys.argv[2], read(sys.argv[3])
mine, c = read(folder + "/adapter_model.safetensors"), json.load(open(folder + "/adapter_config.json"))
assert c["lora_alpha"] == c["r"] and not c["use_rslora"] and not c["rank_pattern"], c
modules = {k.rsplit(".lora_", 1)[0] for k in mine}
assert {"base_model.model." + k for k in c["target_modules"]} == modules
if kind == "tensors":
    assert mine.keys() == want.keys()
    for k in want: check(mine[k][1], want[k][1], 1e-6, k)
elif kind == "sum":
    assert modules == want.keys()
    for k in want: check(product(mine, k), want[k][1], 1e-5, k)
else:
    for k in modules: check(product(mine, k), product(want, k, 2), 1e-5, k)
P
same_average() { python3 "$W/same_average.py" "$@" 2>"$W/err" && ok || bad "$1: $(tail -1 "$W/err")"; }
expect 0 "$W/linear" average linear linear $V/first,$V/second --weights 0.6,-0.3
same_average "$W/linear" tensors $V/linear.safetensors
expect 0 "$W/svd" average svd svd $V/first,$V/third --weights 0.7,0.5
same_average "$W/svd" sum $V/svd.safetensors
expect 0 "$W/svd2" average svd2 svd $V/first,$V/third --weights 0.7,0.5 --rank 2
same_average "$W/svd2" sum $V/svd2.safetensors
expect 0 "rank        2 to 2" $T adapter info --adapter "$W/svd2"
expect 0 "$W/alone" average alone svd $V/first --rank 5
same_average "$W/alone" product $V/first/adapter_model.safetensors # at its scale of 2
expect 0 "" average half1 linear $V/first,$V/second
expect 0 "" average half2 linear $V/first,$V/second --weights .5,5e-1
cmp -s "$W/half1/adapter_model.safetensors" "$W/half2/adapter_model.safetensors" && ok || bad "two adapters do not have weights of a half each"
expect 0 "" average mixed linear "$W/a1/last,$W/a2/last" --weights 2,1
expect 0 "confidence" $T predict --checkpoint "$W/a1/last" --adapter "$W/mixed" --image "$IMG"
expect 0 "matrices" $T adapter merge --adapter "$W/mixed" --base $C/dinov3 --out "$W/mixed_base"
expect 0 "" $T adapter convert --adapter $V/first --out "$W/first_v4" --spelling v4 --model-type dinov3_vit
expect 0 "" $T adapter convert --adapter $V/second --out "$W/second16" --dtype BF16
expect 0 "" average in32 linear "$V/first,$W/second16"
expect 0 ", F32" $T adapter info --adapter "$W/in32"
says "differ in rank, and linear adds adapters of one rank" average x linear $V/first,$V/third
says "are one module in two spellings" average x svd "$W/first_v4,$V/third"
says "differ in shape: the adapters were made for two bases" average x svd "$V/first,$W/a1/last"
# two models of one size: only their names tell them apart; no name, or a folder of that name, is no other base
based() { # based NAME BASE ADAPTER: the adapter with that base_model_name_or_path in $W/NAME
  cp -r "$3" "$W/$1" && sed -i "s|\"base_model_name_or_path\": null|\"base_model_name_or_path\": $2|" "$W/$1/adapter_config.json"
}
based of_small '"facebook/dinov3-vits16"' $V/first
based of_plus '"facebook/dinov3-vits16plus"' $V/second
based of_plus_third '"facebook/dinov3-vits16plus"' $V/third
based of_other '"other/dinov3-vits16"' $V/second
based of_folder '"/models/dinov3-vits16/"' $V/second
based of_cache '"/hub/models--facebook--dinov3-vits16/snapshots/0123abcd"' $V/second
based of_none '""' $V/second
says "tracknet adapter: '$W/of_small/adapter_config.json' names the base 'facebook/dinov3-vits16' and '$W/of_plus/adapter_config.json' the base 'facebook/dinov3-vits16plus', and adapters of two bases do not add up; merge each into its own, or give both files one base_model_name_or_path" average x linear "$W/of_small,$W/of_plus"
says "the base 'facebook/dinov3-vits16plus', and adapters of two bases do not add up" average x svd "$W/of_small,$W/of_plus_third"
says "the base 'facebook/dinov3-vits16plus', and adapters of two bases do not add up" average x linear "$V/first,$W/of_small,$W/of_plus"
says "the base 'other/dinov3-vits16', and adapters of two bases" average x linear "$W/of_small,$W/of_other"
for b in of_folder of_cache of_none; do expect 0 "" average "same_$b" linear "$W/of_small,$W/$b"; done
expect 0 "" average unnamed linear "$V/second,$W/of_small"
grep -q '"base_model_name_or_path": "facebook/dinov3-vits16"' "$W/unnamed/adapter_config.json" && ok || bad "an average of an unnamed and a named base forgot the name"
says "DoRA's magnitudes do not add up" average x svd "$W/c/last,$V/first"
says "its start changed the base; make it plain" average x svd "$V/first,$C/from_peft_dinov3_vit_pissa/adapter"
says "LoftQ changed its base" average x svd "$W/lq/last,$V/first"
says "it holds more than LoRA's factors: base_model.model.norm" average x svd "$C/from_peft_dinov3_vit_whole/adapter,$V/first"
says "the rank is 33, larger than 'model.layer.0.attention.q_proj' [32, 32]" average x svd $V/first,$V/third --rank 33
says "a rank goes with --method svd" average x linear $V/first,$V/second --rank 3
for w in 1 1,2,3 1,x 1, ,1 1,nan; do says "is not 2 numbers with commas between them" average x linear $V/first,$V/second --weights $w; done
says "takes no --base; merge the outcome" average x svd $V/first,$V/third --base $C/dinov3
says "go with --method" $T adapter merge --adapter $V/first --base $C/dinov3 --weights 1 --out "$W/x"
says "say by --method how several become one" $T adapter merge --adapter $V/first --adapter $V/second --base $C/dinov3 --out "$W/x"
says "is there already" average linear linear $V/first,$V/second
says "give --out" $T adapter merge --adapter $V/first --adapter $V/second --method svd
expect 2 "not a value for this option: 'mean', for --method, which is one of linear svd;" $T adapter merge --adapter $V/first --method mean --out "$W/x"
expect 2 "not a value for this option" $T adapter merge --adapter $V/first --method svd --rank 0 --out "$W/x"
[ -e "$W/x" ] && bad "a refused average left a folder" || ok
says "powers of two from 32 to 4096" $T adapter merge --adapter "$W/c/last" --base $C/dinov3 --out "$W/x" --quant-type nf4 --block-size 48
says "it was made for another base" $T adapter merge --adapter "$W/c/last" --base $C/vit --out "$W/x"
says "it was made for another base" $T predict --checkpoint "$W/c/last" --adapter "$C/from_peft_vit_dora/adapter" --image "$IMG"
says "is no adapter" $T adapter info --adapter "$C/vit"
says "say info, merge or convert" $T adapter
says "needs --model-type" $T adapter convert --adapter "$W/c/last" --out "$W/x" --spelling v4

# ---- adapters of convolutions: patches, the stem, between stages, depthwise
N="model.pretrained_model_name=$C/convnext"
PATCH='model.lora.target_modules=[patch_embeddings,q_proj]'
DOWN='model.lora.target_modules=[patch_embeddings,downsampling_layer.1,pwconv1]'
DW='model.lora.target_modules=[dwconv]'
WIDTHS='model.lora.rank_pattern={stages\.0\..*dwconv: 16, stages\.1\..*dwconv: 32, stages\.2\..*dwconv: 48, stages\.3\..*dwconv: 64}'
expect 0 "loss" $T train $L $M "$PATCH" training.epochs=3 training.optimizer.lr=0.02 --output-dir "$W/cp"
expect 0 "embeddings.patch_embeddings" $T adapter info --adapter "$W/cp/last"
for how in lora dora; do
  expect 0 "loss" $T train $L $N "$DOWN" model.lora.use_dora=$([ $how = dora ] && echo true || echo false) training.epochs=3 training.optimizer.lr=0.02 --output-dir "$W/cd_$how"
  expect 0 "matrices" $T adapter merge --adapter "$W/cd_$how/last" --base $C/convnext --out "$W/cm_$how"
  expect 0 "confidence" $T predict --checkpoint "$W/cd_$how/last" --image "$IMG" --csv "$W/cd.csv"
  expect 0 "confidence" $T predict --checkpoint "$W/cd_$how/last" model.lora.enabled=false model.pretrained_model_name="$W/cm_$how" --image "$IMG" --csv "$W/cm.csv"
  same cd cm && ok || bad "a merged $how of convolutions predicts otherwise"
  expect 0 "confidence" $T predict --checkpoint "$W/cd_$how/last" model.lora.enabled=false --image "$IMG" --csv "$W/base.csv"
  same cd base && bad "$how of convolutions changes nothing: the check above proves nothing" || ok
done
expect 0 "loss" $T train $L $N "$DW" "$WIDTHS" training.epochs=3 training.optimizer.lr=0.02 --output-dir "$W/cw"
expect 0 "loss" $T train $L $N "$DW" "$WIDTHS" model.lora.use_dora=true training.epochs=2 --output-dir "$W/cwd"
# beside another adapter, whose ranks are larger
$T predict --checkpoint "$W/cw/last" --image "$IMG" --csv "$W/cw.csv" >/dev/null 2>&1 || bad "predict with adapters of depthwise convolutions"
python3 - "$W/cw/last" "$W/cw2" <<'P' || bad "no adapter of twice the rank"
import array, json, os, sys
src, out = sys.argv[1:]
os.makedirs(out)
raw = open(src + "/adapter_model.safetensors", "rb").read()
n = int.from_bytes(raw[:8], "little")
head, at, data = json.loads(raw[8:8 + n]), 0, b""
head.pop("__metadata__", None)
for k, v in head.items():  # every rank of every group is followed by one of zeros
    a, shape = array.array("f", raw[8 + n:][slice(*v["data_offsets"])]), v["shape"]
    if ".lora_A." in k:
        size = len(a) // shape[0]
        a = sum((a[i * size:(i + 1) * size] + array.array("f", [0.0] * size) for i in range(shape[0])), array.array("f"))
        shape[0] *= 2
    else:
        a = sum((a[i:i + 1] + array.array("f", [0.0]) for i in range(len(a))), array.array("f"))
        shape[1] *= 2
    v["data_offsets"] = [at, at + 4 * len(a)]
    at, data = at + 4 * len(a), data + a.tobytes()
text = json.dumps(head).encode()
open(out + "/adapter_model.safetensors", "wb").write(len(text).to_bytes(8, "little") + text + data)
c = json.load(open(src + "/adapter_config.json"))
c["r"], c["lora_alpha"] = 2 * c["r"], 2 * c["lora_alpha"]
c["rank_pattern"] = {k: 2 * v for k, v in c["rank_pattern"].items()}
c["alpha_pattern"] = {k: 2 * v for k, v in c["alpha_pattern"].items()}
json.dump(c, open(out + "/adapter_config.json", "w"))
P
expect 0 "confidence" $T predict --checkpoint "$W/cw/last" --adapter "$W/cw2" --adapter "$W/cw/last" --image "$IMG" --csv "$W/cww.csv"
for h in head tail; do (head -1 "$W/cww.csv"; tail -n +2 "$W/cww.csv" | $h -4) >"$W/cw_$h.csv"; same cw_$h cw && ok || bad "a swapped adapter of depthwise convolutions predicts otherwise ($h)"; done
expect 0 "" average clin linear "$W/cw/last,$W/cw/last" --weights 0.5,0.5
expect 0 "confidence" $T predict --checkpoint "$W/cw/last" --adapter "$W/clin" --image "$IMG"
expect 0 "" average csvd svd "$W/cd_lora/last" --rank 8 # of one, whose rank is 4: the same sums
expect 0 "confidence" $T predict --checkpoint "$W/cd_lora/last" --adapter "$W/csvd" --image "$IMG" --csv "$W/csvd.csv"
$T predict --checkpoint "$W/cd_lora/last" --image "$IMG" --csv "$W/cd.csv" >/dev/null 2>&1
same csvd cd && ok || bad "an adapter of convolutions, cut to more than its rank, predicts otherwise"
says "a convolution of 16 groups, whose adapters add up by linear alone" average x svd "$W/cw/last"
says "a convolution of 16 groups, into which an adapter cannot be merged" $T adapter merge --adapter "$W/cw/last" --base $C/convnext --out "$W/x"
says "has no ONNX form" $T export --checkpoint "$W/cwd/last" --out "$W/x.onnx"
expect 0 "$W/cw.onnx" $T export --checkpoint "$W/cw/last" --out "$W/cw.onnx"
says "is a convolution of 16 groups, which must divide it" $T train $L $N "$DW"
says "is a convolution; begin with kaiming" $T train $L $N "$DOWN" model.lora.init_lora_weights=pissa
says "larger than embeddings.patch_embeddings [16, 48]; use at most 16" $T train $L $N "$DOWN" model.lora.r=20

# ---- import, export
expect 0 "$W/pl" $T export --checkpoint "$W/c/last" --out "$W/pl"
expect 0 "predict --checkpoint" $T import --in "$W/pl" --out "$W/back" --config "$W/pl/config.yaml"
expect 0 "confidence" $T predict --checkpoint "$W/back" --image "$IMG" --csv "$W/back.csv"
cmp -s "$W/mine.csv" "$W/back.csv" && ok || bad "a checkpoint that went through Lightning's names predicts otherwise"
expect 0 "$W/m.onnx" $T export --checkpoint "$W/c/last" --out "$W/m.onnx"
grep -aq "LayerNormalization" "$W/m.onnx" && ok || bad "the ONNX file holds no LayerNormalization"
says "give --checkpoint and --out" $T export --out "$W/x"
says "is there already" $T import --in "$W/pl" --out "$W/back" --config "$W/pl/config.yaml"
says "holds LoRA adapters" $T import --in "$W/pl" --out "$W/x" --config "$W/pl/config.yaml" model.lora.enabled=false
says "holds no .safetensors file" $T import --in "$D" --out "$W/x" --config "$W/pl/config.yaml"
says "nothing in it is" $T import --in $C/vit --out "$W/x" --config "$W/pl/config.yaml" model.lora.enabled=false

python3 tools/config_table.py | cmp -s - docs/configuration.md && ok || bad "docs/configuration.md is not what tools/config_table.py makes"
# the libraries themselves, where they are installed
if python3 -c "import onnx, onnxruntime, numpy" 2>/dev/null; then
  python3 tools/check_onnx.py "$(dirname "$(dirname "$T")")" "$W/onnx" . >"$W/out" 2>&1 && ok || bad "onnxruntime: $(grep FAILED "$W/out")"
fi
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
