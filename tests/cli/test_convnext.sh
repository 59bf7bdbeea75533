#!/bin/bash
# ConvNeXt backbones from folders, shards and the hub's cache, under every spelling of their names; trained whole, with adapters and in
# few bits, on one device and on several; hidden states by number; every bad input is one sentence. Usage: test_convnext.sh TRACKNET SOURCE_DIR
. "$(dirname "$0")/lib.sh"
export POCL_DEVICES="pthread pthread"
CASES=$SRC/tests/golden/cases
gen() { python3 "$SRC/tests/cli/foreign_files.py" "$@"; }
cd "$W" || exit 2
$T synth --output-dir data --clips 1 --frames 4 --size 106x70 >/dev/null 2>&1 || bad "synth"
cat >config.yaml <<C
data: {root: $W/data, split: {train_games: [game1], val_games: [game1]}, preprocess: {resize: [106, 70]}}
model:
  model_name: convnext_fpn_heatmap
  pretrained_model_name: $CASES/dinov3_convnext
  heatmap: {size: [26, 17]}
  fpn: {lateral_dim: 12}
training: {epochs: 3, batch_size: 4, optimizer: {lr: 0.001}, grad_clip_norm: 1.0}
C
train() { # NAME ARGS: run NAME
  local name=$1
  shift
  $T train --config config.yaml --output-dir "$name" "$@" >"$name.log" 2>&1 || bad "train $name: $(tail -2 "$name.log")"
}
base() { echo "model.pretrained_model_name=$1"; }
found() { $T predict --checkpoint "$@" --image data/game1/Clip1/0000.jpg --json 2>err | sed 's/"adapter":[^,}]*,*//'; }
same() { # WHAT A B: two files that must be there and alike
  [ -s "$2" ] && cmp -s "$2" "$3" && ok || bad "$1: $(cat "$2" "$3" err)"
}
near() { # WHAT A B TOLERANCE EPOCHS: the first losses of two logs
  python3 - "$2.log" "$3.log" "$4" "$5" <<'P' && ok || bad "$1: $(tail -n 2 "$2.log" "$3.log")"
import re, sys
n = int(sys.argv[4])
a, b = (re.findall(r"epoch +\d+ +train loss ([\d.]+)", open(f).read())[:n] for f in sys.argv[1:3])
sys.exit(len(a) != n or len(b) != n or any(abs(float(x) - float(y)) > float(sys.argv[3]) * float(x) for x, y in zip(a, b)))
P
}

# ---- keys that ViTs alone read: a warning each, with its place, whatever else the command line sets; defaults say nothing
sed '/^model:/a\  backbone: {patch_size: 14, rope_augment: true}' config.yaml >vit_keys.yaml
for how in --dry-run "--seed 3 training.epochs=1"; do
  $T train --config vit_keys.yaml --output-dir vit_keys $how 2>err >out || bad "ViT's keys $how: $(cat err)"
  grep -qF "warning: vit_keys.yaml:3:14: key 'model.backbone.patch_size' has no effect: '$CASES/dinov3_convnext' is no ViT" err && ok || bad "patch_size $how: $(cat err)"
  grep -qF "warning: vit_keys.yaml:3:30: key 'model.backbone.rope_augment' has no effect: '$CASES/dinov3_convnext' has no rotary" err && ok || bad "rope_augment $how: $(cat err)"
  [ "$(grep -c "has no effect" err)" -eq 2 ] && ok || bad "not two warnings $how: $(cat err)"
done
$T train --config config.yaml --dry-run model.backbone.patch_size=16 model.backbone.rope_augment=false 2>err >out
grep -q "has no effect" err && bad "a default is told of: $(cat err)" || ok
# ---- names: transformers 4 and 5, wrappers, a head class; shards; the hub's cache
train names
found names/last >want
gen prefix "$CASES/dinov3_convnext" v5 model.
found names/last "$(base "$W/v5")" >got && same "model.stages" got want
gen prefix "$CASES/dinov3_convnext" compiled _orig_mod.module.
found names/last "$(base "$W/compiled")" >got && same "_orig_mod.module." got want
train head "$(base "$CASES/convnext_prefixed")"
grep -q "are not part of this model" head.log && bad "a classifier is told of: $(cat head.log)" || ok
mkdir bare && cp "$CASES/convnext_prefixed/config.json" bare
python3 - "$CASES/convnext_prefixed" bare "$SRC" <<'P' && found head/last >want && found head/last "$(base "$W/bare")" >got && same "without the head class" got want
import sys
sys.path.insert(0, sys.argv[3] + "/tests/cli")
from foreign_files import read, write
t = read(sys.argv[1] + "/model.safetensors")
write(sys.argv[2] + "/model.safetensors", {k.removeprefix("convnext."): v for k, v in t.items() if not k.startswith("classifier")})
P
H=hub/models--someone--shards
mkdir -p $H/snapshots/aaaa $H/refs && cp "$CASES"/convnextv2_shards/* $H/snapshots/aaaa && printf aaaa >$H/refs/main
train shards "$(base "$CASES/convnextv2_shards")"
found shards/last >want
HF_HUB_CACHE=$W/hub found shards/last "$(base someone/shards)" >got && same "the hub's cache" got want
rm $H/snapshots/aaaa/model-00003-of-00005.safetensors
HF_HUB_CACHE=$W/hub says "model-00003-of-00005.safetensors" $T predict --checkpoint shards/last "$(base someone/shards)" --image data/game1/Clip1/0000.jpg

# ---- trained whole; what is kept, made again or divided changes nothing
train whole model.backbone.freeze=false
train again model.backbone.freeze=false training.memory_optimization.gradient_checkpointing=true
same "made again" again/last/backbone/model.safetensors whole/last/backbone/model.safetensors
train two model.backbone.freeze=false --device 0,1 --stages 0:embeddings-layer.1,1:layer.2-head
near "two stages" whole two 1e-5 3
train cached training.feature_cache=-1
train uncached training.feature_cache=0
grep -q "features of 4 frames kept" cached.log && ok || bad "no features are kept: $(cat cached.log)"
same "features kept" cached/last/decoder.safetensors uncached/last/decoder.safetensors
found whole/last >want
found whole/last "$(base "$W/whole/last/backbone")" >got && same "a trained backbone's folder" got want
grep -q whole/last/backbone/model.safetensors <<<"$(echo whole/last/backbone/*)" && ok || bad "no trained backbone"
expect 0 "img/s with a batch of 4" $T plan --config config.yaml --device 0 data.root="$W/data"
expect 0 "full fine-tuning in float32" $T train --config config.yaml --dry-run
expect 0 "layer.4" $T profile train --config config.yaml

# ---- adapters and few bits
train lora model.lora.enabled=true model.lora.r=4
python3 - lora/last/adapter_config.json <<'P' && ok || bad "$(cat lora/last/adapter_config.json)"
import json, sys
sys.exit(json.load(open(sys.argv[1]))["target_modules"] != ["pointwise_conv1", "pointwise_conv2"])
P
found lora/last training.precision=fp32 >want
for v in v4 v5; do
  $T adapter convert --adapter lora/last --out "a$v" --spelling $v --model-type dinov3_convnext >err 2>&1 || bad "convert $v: $(cat err)"
  $T adapter merge --adapter "a$v" --base "$CASES/dinov3_convnext" --out "m$v" >err 2>&1 || bad "merge $v: $(cat err)"
done
cmp -s av4/adapter_model.safetensors av5/adapter_model.safetensors && bad "both spellings are one" || ok
same "merged from either spelling" mv4/model.safetensors mv5/model.safetensors
train qlora model.lora.enabled=true model.lora.r=4 model.quantization.enabled=true
grep -q "quantised 10 linear layers" qlora.log && ok || bad "in few bits: $(cat qlora.log)"
near "QLoRA" lora qlora 0.01 1
$T quantize --in "$CASES/convnextv2" --out q >err 2>&1 || bad "quantize: $(cat err)"
expect 0 "quantised 10 linear layers" $T eval --config config.yaml "$(base "$W/q")"
train v2 "$(base "$CASES/convnextv2")" model.lora.enabled=true model.lora.target_modules=all-linear model.lora.bias=all
python3 - v2/last/adapter_config.json <<'P' && ok || bad "$(cat v2/last/adapter_config.json)"
import json, sys
names = json.load(open(sys.argv[1]))["target_modules"]
sys.exit(not all("pwconv" in n for n in names) and names != "all-linear")
P

# ---- hidden states by number
train three "model.backbone.return_stages=[1,2,3]"
found three/last >want
[ -s want ] && ok || bad "three stages: $(cat err)"
expect 0 "train loss" $T train --config config.yaml --output-dir stem "$(base "$CASES/convnext")" "model.backbone.return_stages=[0,1,4]"
expect 0 "train loss" $T train --config config.yaml --output-dir vit "$(base "$CASES/dinov3")" "model.backbone.return_stages=[1,3]" "data.preprocess.resize=[96,64]"
dry() { $T train --config config.yaml --dry-run "$@"; }
says "return_stages [0, 2]: this dinov3_convnext has hidden states 1 to 4" dry "model.backbone.return_stages=[0,2]"
says "return_stages [1, 5]: this convnext has hidden states 0 to 4" dry "$(base "$CASES/convnext")" "model.backbone.return_stages=[1,5]"
says "return_stages [2, 2]: this dinov3_convnext has" dry "model.backbone.return_stages=[2,2]"
says "return_stages [3, 1]: this dinov3_convnext has" dry "model.backbone.return_stages=[3,1]"
says "return_stages [0]: this dinov3_vit has hidden states 0 to 3" dry "$(base "$CASES/dinov3")" "model.backbone.return_stages=[0]"
says "model.backbone.return_stages must be a whole number from 0" dry "model.backbone.return_stages=[-1]"
says "model.backbone.return_stages must be a list" dry "model.backbone.return_stages=x"

# ---- refused
says "resize [106, 31] is too small for this backbone" dry "data.preprocess.resize=[106,31]" "model.heatmap.size=[26,7]"
bent() { # TEXT KEY VALUE: config.json with another value
  rm -rf bent && mkdir bent
  python3 - "$CASES/dinov3_convnext/config.json" "$2" "$3" >bent/config.json <<'P'
import json, sys
c = json.load(open(sys.argv[1]))
c[sys.argv[2]] = json.loads(sys.argv[3])
print(json.dumps(c))
P
  says "$1" dry "$(base "$W/bent")"
}
bent "hidden_sizes and depths must be lists of as many whole numbers" depths "[1, 2]"
bent "hidden_sizes and depths must be lists of as many whole numbers" hidden_sizes "[16, 32, 48.5, 64]"
bent "hidden_sizes and depths must be lists of as many whole numbers" depths '"many"'
bent "stage 2 of width 32 and depth 0 makes no ConvNeXt" depths "[1, 0, 1, 1]"
bent "patch_size must be a whole number from 1 to 256, the same both ways" patch_size "[4, 8]"
bent "num_channels 4; only 3 (RGB)" num_channels 4
bent "hidden_act 'mish' is not known" hidden_act '"mish"'
rm -rf bent && cp -r "$CASES/convnext" bent && cp "$CASES/convnextv2/config.json" bent
says "grn" $T train --config config.yaml --output-dir bent_run "$(base "$W/bent")"

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
