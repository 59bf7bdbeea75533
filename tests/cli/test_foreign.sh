#!/bin/bash
# Files that other programs wrote, taken whole or refused: PEFT's adapters of every kind, wrapped names, PyTorch's zips, bitsandbytes'
# storage dtypes, a hub cache without refs. Usage: test_foreign.sh TRACKNET SOURCE_DIR
. "$(dirname "$0")/lib.sh"
G=$SRC/tests/cli/foreign_files.py
gen() { python3 "$G" "$@"; }
cd "$W" || exit 2
gen model base
$T synth --output-dir data --clips 1 --frames 4 --size 128x64 >/dev/null 2>&1 || bad "synth"
cat >config.yaml <<C
data: {root: $W/data, split: {train_games: [game1], val_games: []}, preprocess: {resize: [128, 64]}}
model:
  pretrained_model_name: $W/base
  heatmap: {size: [32, 16]}
  decoder: {channels: [64, 32, 16], upsample: [2, 2]}
training: {epochs: 1, batch_size: 4}
C
$T train --config config.yaml --output-dir ck >/dev/null 2>&1 || bad "training"
IMG=data/game1/Clip1/0000.jpg
merge() { rm -rf m; $T adapter merge --adapter "$1" --base base --out m >out 2>&1; }
merged() { # KIND: merges to PEFT's values
  gen adapter "$1" "$1"
  merge "$1" && gen check "$1" base "$1" m >>out && ok || bad "$1: $(cat out)"
}
predicts() { $T predict --checkpoint ck/best "$@" --image $IMG --json training.precision=fp32 2>warned | grep -v '"adapter"'; }

# ---- adapters that are computed
for kind in plain lora_bias olora default_keys orig_mod mask_token pooler classifier; do
  ref=$kind
  case $kind in default_keys | orig_mod | mask_token | pooler | classifier) ref=plain ;; esac
  gen adapter $kind $kind
  merge $kind && gen check $ref base $ref m >>out && ok || bad "$kind: $(cat out)"
done
grep -q "2 of its tensors and modules are heads that the backbone lacks and are left aside" out && ok || bad "merge is silent about a head: $(cat out)"
gen head base bhead
rm -rf m && $T adapter merge --adapter classifier --base bhead --out m >out 2>&1 && gen check plain bhead classifier m >>out && ok || bad "the base's own head: $(cat out)"

# predict, eval and the merged model agree
predicts --adapter plain >want
for kind in mask_token pooler classifier; do
  predicts --adapter $kind | cmp -s - want && ok || bad "$kind beside the adapter changes the prediction"
  [ "$(grep -c 'left aside' warned)" -eq 1 ] && ok || bad "predict warns of $kind otherwise than once: $(cat warned)"
done
for kind in lora_bias olora; do
  merge $kind || bad "merge $kind"
  predicts --adapter $kind >own
  predicts model.pretrained_model_name="$W/m" >whole
  python3 - own whole want <<'P' && ok || bad "$kind: predict and the merged model disagree, or it is as without: $(cat own whole want)"
import json, re, sys
own, whole, plain = (json.loads(open(f).read()) for f in sys.argv[1:])
far = lambda a, b: max(abs(a[0][k] - b[0][k]) for k in ("x", "y", "confidence"))
sys.exit(far(own, whole) > 1e-2 or far(own, plain) < 1e-2)
P
done
merge lora_bias
$T export --checkpoint ck/best --adapter lora_bias --out ex >out 2>&1 && gen biases ex m >>out 2>&1 && ok || bad "export and merge disagree on lora_bias: $(cat out)"
# the biases of one adapter do not outlive it
predicts --adapter plain --adapter lora_bias --adapter plain >three
python3 - three want <<'P' && ok || bad "an adapter's bias outlives it: $(cat three)"
import json, sys
three, one = (json.load(open(f)) for f in sys.argv[1:])
sys.exit(three[0] != one[0] or three[2] != one[0])
P
says "OLoRA changes the base" $T predict --checkpoint ck/best --adapter plain --adapter olora --image $IMG
$T adapter convert --adapter olora --plain --base base --out oplain >out 2>&1 || bad "convert --plain: $(cat out)"
merge oplain && gen check olora base olora m >>out && ok || bad "OLoRA made plain: $(cat out)"
expect 0 "loss" $T train --config config.yaml model.lora.enabled=true model.lora.init_lora_weights=olora --output-dir ol
grep -q '"init_lora_weights": "olora"' ol/best/adapter_config.json && ok || bad "a run from OLoRA does not say so"

gen grow ol/best/adapter_model.safetensors
says "nothing in this configuration takes" $T predict --checkpoint ol/best --image $IMG

# ---- adapters that are refused, each in one sentence
refuse() { # TEXT KIND: by merge and by predict alike
  rm -rf bad m
  gen adapter bad "$2"
  says "$1" $T adapter merge --adapter bad --base base --out m
  says "$1" $T predict --checkpoint ck/best --adapter bad --image $IMG
}
refuse "init_lora_weights 'corda'" corda
refuse "init_lora_weights 'lora_ga'" lora_ga
refuse "lora_alpha in its adapter_config.json is not a number" 'lora_alpha="32"'
refuse "alpha_pattern in its adapter_config.json is not a mapping" 'alpha_pattern={"fc1": "16"}'
refuse "alpha_pattern in its adapter_config.json is not a mapping" 'alpha_pattern=[1]'
refuse "use_rslora in its adapter_config.json is not true or false" 'use_rslora="true"'
refuse "use_dora in its adapter_config.json is not true or false" use_dora=1
refuse "says 7" r=7
refuse "'[' in its alpha_pattern is no regular expression" 'alpha_pattern={"[": 2}'
refuse "it was made for another base" convolution
refuse "lora_A and lora_B do not go together at" kernel_pair
refuse "lora_A and lora_B do not go together at" groups
refuse "it was made for another base" kernel_of_a_matrix
refuse "sets use_qalora" use_qalora=true
refuse "sets kasa_config" 'kasa_config={"beta": 1}'
refuse "sets layer_replication" 'layer_replication=[[0, 1]]'
refuse "sets alora_invocation_tokens" 'alora_invocation_tokens=[1]'
refuse "sets a_key_of_tomorrow" a_key_of_tomorrow=1
rm -rf bad && gen adapter bad lora_bias
says "its lora_B have biases" $T adapter merge --adapter bad --method linear --out m
refuse "lora_bias is not set, yet" bias_unsaid
refuse "lora_bias is set, and" bias_missing
refuse "use_dora is not set, yet" magnitude_unsaid
refuse "magnitude vector is missing" magnitude_missing
refuse "nothing here takes its tensor" stranger
refuse "of two adapters" two
refuse "it was made for another base" other_base
gen adapter harmless 'velora_config={"scale": 1}'
merge harmless && ok || bad "a key that leaves the arithmetic alone: $(cat out)"

# ---- wrapped names of a whole checkpoint
$T eval --config config.yaml --split train >want 2>/dev/null || bad "eval"
for p in _orig_mod. module. module._orig_mod. model._orig_mod.; do
  gen prefix base "p$p" $p
  $T eval --config config.yaml model.pretrained_model_name="$W/p$p" --split train >got 2>out && cmp -s got want && ok || bad "$p: $(tail -1 out)"
done
$T quantize --in base --out q >/dev/null 2>&1 && $T quantize --in pmodule._orig_mod. --out qp >/dev/null 2>&1 && gen same q qp && ok || bad "quantize keeps wrapped names"

# ---- bitsandbytes' storage dtypes
$T eval --config config.yaml model.pretrained_model_name="$W/q" --split train >want4 2>/dev/null || bad "eval of 4 bits"
$T quantize --in q --out q8 --quant-type int8 >/dev/null 2>&1
for s in I8 BF16 F16 F32; do
  gen storage q "s$s" $s
  $T eval --config config.yaml model.pretrained_model_name="$W/s$s" --split train >got 2>out && cmp -s got want4 && ok || bad "$s: $(tail -1 out)"
  rm -rf s8
  $T quantize --in "s$s" --out s8 --quant-type int8 >out 2>&1 && gen same q8 s8 && ok || bad "$s quantised again: $(tail -1 out)"
done
# layers that it keeps in float stay so, without being named again
$T quantize --in base --out qskip --skip fc2 >/dev/null 2>&1 || bad "quantize --skip"
gen unpacked qskip fc2 && ok || bad "fc2 is not in float"
$T eval --config config.yaml model.pretrained_model_name="$W/qskip" model.quantization.skip_modules='[fc2]' --split train >want5 2>/dev/null || bad "eval of qskip"
expect 0 "quantised 5 linear layers" $T eval --config config.yaml model.pretrained_model_name="$W/qskip" --split train
$T eval --config config.yaml model.pretrained_model_name="$W/qskip" --split train 2>/dev/null | cmp -s - want5 && ! cmp -s want4 want5 && ok || bad "a layer in float is quantised again"
# a start taken out of a quantised base leaves one that is quantised again, for predict and merge alike
rm -rf m && $T adapter merge --adapter olora --base q --out m >out 2>&1 || bad "olora over 4 bits: $(cat out)"
predicts --adapter olora model.pretrained_model_name="$W/q" >own
predicts model.pretrained_model_name="$W/m" >whole
python3 - own whole <<'P' && ok || bad "OLoRA over 4 bits: predict and merge disagree: $(cat own whole)"
import json, sys
own, whole = (json.load(open(f))[0] for f in sys.argv[1:])
sys.exit(max(abs(own[k] - whole[k]) for k in ("x", "y", "confidence")) > 1e-2)
P

# ---- PyTorch's zips
mkdir tb ts tl
cp base/config.json tb && cp base/config.json ts
gen torch base/model.safetensors tb/pytorch_model.bin
gen shards base/model.safetensors ts
for d in tb ts; do
  $T eval --config config.yaml model.pretrained_model_name="$W/$d" --split train >got 2>out && cmp -s got want && ok || bad "$d: $(tail -1 out)"
done
rm -rf qt && $T quantize --in tb --out qt >/dev/null 2>&1 && gen same q qt && ok || bad "a quantised pytorch_model.bin differs"
cp -r plain binary && gen torch plain/adapter_model.safetensors binary/adapter_model.bin && rm binary/adapter_model.safetensors
merge binary && gen check plain base plain m >>out && ok || bad "adapter_model.bin: $(cat out)"
$T export --checkpoint ck/best --out li >/dev/null 2>&1 || bad "export"
gen torch li/model.safetensors tl/last.ckpt
cp li/config.json tl
expect 0 "im" $T import --in tl/last.ckpt --out im --config li/config.yaml
predicts >want
$T predict --checkpoint im --image $IMG --json training.precision=fp32 2>/dev/null | cmp -s - want && ok || bad "an imported .ckpt predicts otherwise"
head -c 3000 tb/pytorch_model.bin >tl/short.ckpt
says "fully downloaded" $T import --in tl/short.ckpt --out im2 --config li/config.yaml
printf '\200\002\212\012l\374\234F\371 j\250P\031.' >tl/old.ckpt
says "torch.save(torch.load(" $T import --in tl/old.ckpt --out im2 --config li/config.yaml

# ---- the hub's cache
export HF_HUB_CACHE=$W/hub
H=hub/models--someone--tiny
mkdir -p $H/snapshots/aaaa && cp base/* $H/snapshots/aaaa
hub() { $T eval --config config.yaml model.pretrained_model_name=someone/tiny --split train; }
expect 0 "its only snapshot is used: aaaa" hub
mkdir $H/refs && : >$H/refs/main
expect 0 "its only snapshot is used: aaaa" hub
echo bbbb >$H/refs/main
says "aaaa" hub
says "bbbb" hub
rm $H/refs/main && cp -r $H/snapshots/aaaa $H/snapshots/cccc
says "aaaa, cccc" hub
echo aaaa >$H/refs/main
expect 0 "mean" hub
ln -sf ../../blobs/gone $H/snapshots/aaaa/model.safetensors
says "is a link to a file that is not there" hub
unset HF_HUB_CACHE
rm -rf $H/snapshots/aaaa && echo cccc >$H/refs/main
export TRANSFORMERS_CACHE=$W/hub
expect 0 "mean" hub
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
