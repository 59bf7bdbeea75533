#!/bin/bash
# The command as a person uses it, and every kind of bad input with its one sentence.
# test_cli.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
EVERY_DRIVER=1
. "$(dirname "$0")/lib.sh"

expect 0 "usage: tracknet COMMAND" $T --help
expect 0 "tracknet 0." $T --version
expect 2 "there is no command 'trian'" $T trian
for c in train eval predict devices synth demo; do expect 0 "usage: tracknet $c" $T $c --help; done
expect 2 "unknown option" $T train --lr 3
expect 2 "neither an option nor KEY=VALUE" $T train something
expect 2 "no option" $T synth --checkpoint x

expect 0 '"largest_allocation"' $T devices --json
says "no OpenCL device matches 'no-such-device'" $T devices --device no-such-device
says "matches 2 devices" env POCL_DEVICES="basic pthread" $T devices --device "Portable Computing"
says "does not exist" $T devices --device 99
says "one at a time" $T devices --device 0,1
# threads of a CPU device
units() { "$@" devices --device cpu --json 2>/dev/null | grep -o '"compute_units": [0-9]*' | tr -dc 0-9; }
here=$(units "$T")
[ "$(units env -u POCL_MAX_PTHREAD_COUNT taskset -c 0 "$T")" = 1 ] && ok || bad "the affinity is not taken"
expect 0 "compute    1 units" $T devices --device cpu --threads 1
expect 0 "compute    ${here:-none} units" $T devices --device cpu --threads 100000
for n in 0 -1 x 1.5 ""; do expect 2 "not a value" $T devices --threads "$n"; done
expect 2 "no option" $T labels --threads 1
says "no OpenCL device found" env OCL_ICD_VENDORS=/nonexistent $T devices

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 2 --frames 4 --size 128x64
expect 0 "" $T synth --output-dir "$W/again" --clips 2 --frames 4 --size 128x64
diff -r "$D" "$W/again" >/dev/null && ok || bad "synth is not the same for the same seed"

RUN="--model vit_qlora_random --training overfit data.root=$D data.split.train_games=[game1] data.preprocess.resize=[128,64]"
RUN="$RUN model.heatmap.size=[32,16] training.batch_size=4"
expect 0 "loss" $T train $RUN --output-dir "$W/a" 'data.split.val_games=[game1]' training.epochs=4
for f in best/adapter_config.json best/adapter_model.safetensors last/decoder.safetensors last/optimizer.safetensors \
  last/trainer_state.json last/config.yaml last/run.json log.csv previews/epoch_001/preview_0.png; do
  [ -s "$W/a/$f" ] && ok || bad "training left no $f"
done
[ "$(wc -l <"$W/a/log.csv")" -eq 5 ] && ok || bad "log.csv has not one line an epoch"

# a resumed run equals one that was never stopped, to the bit
expect 0 "loss" $T train $RUN --output-dir "$W/b" 'data.split.val_games=[game1]' training.epochs=4 model.lora.lora_dropout=0.1
[ "$(wc -l <"$W/b/log.csv")" -eq 5 ] && ok || bad "the unbroken run is not whole"
cat >"$W/stop.sh" <<S
$T train $RUN --output-dir $W/c 'data.split.val_games=[game1]' training.epochs=4 model.lora.lora_dropout=0.1 &
p=\$!
while [ ! -e $W/c/last/run.json ] && kill -0 \$p 2>/dev/null; do sleep 0.02; done
kill -INT \$p 2>/dev/null
wait \$p
S
bash "$W/stop.sh" >"$W/out" 2>&1
expect 0 "loss" $T train --output-dir "$W/c" --resume "$W/c/last"
grep -q "other kernels" "$W/out" && bad "a resumed run is said to run other kernels" || ok
for f in adapter_model decoder optimizer; do
  cmp -s "$W/b/last/$f.safetensors" "$W/c/last/$f.safetensors" && ok || bad "resumed $f differs from an unbroken run"
done
# a run that a signal stops ends with its status, after its checkpoint
cat >"$W/stopped.py" <<'P'
import os, signal, subprocess, sys, time
number, out = getattr(signal, sys.argv[1]), sys.argv[2]
p = subprocess.Popen(sys.argv[3:], preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
while not os.path.exists(out + "/last/run.json") and p.poll() is None:
    time.sleep(0.02)
p.send_signal(number)
sys.exit(p.wait() - 128 != number or not os.path.exists(out + "/last/run.json"))
P
for s in SIGINT SIGTERM; do
  python3 "$W/stopped.py" $s "$W/$s" $T train $RUN --output-dir "$W/$s" data.split.val_games=[] training.epochs=1000 >"$W/out" 2>&1 && ok || bad "$s: $(tail -2 "$W/out")"
  grep -qF "stopped; 'tracknet train --resume $W/$s' goes on" "$W/out" && ok || bad "$s is not told: $(tail -2 "$W/out")"
done
# other kernels than the checkpoint's run: said, and recorded
cp -r "$W/c" "$W/v"
expect 0 "run by other kernels than when the checkpoint was written (gemm" $T train --output-dir "$W/v" --resume "$W/v/last" training.epochs=5 --variants gemm=portable
grep -q '"portable"' "$W/v/last/run.json" && ok || bad "run.json names no variant"
# micro-batches: the same model within rounding, and fewer bytes
expect 0 '"micro_batch_size": 2' $T train $RUN --json --output-dir "$W/m" data.split.val_games=[] training.epochs=1 training.micro_batch_size=2
expect 0 "" $T train $RUN --output-dir "$W/l" data.split.val_games=[] training.epochs=1 --memory-limit 16
says "training needs at least" $T train $RUN --output-dir "$W/l2" data.split.val_games=[] --memory-limit 1
for p in bf16 fp16; do expect 0 "loss" $T train $RUN --output-dir "$W/$p" data.split.val_games=[] training.epochs=1 training.precision=$p; done
expect 0 "loss" $T train $RUN --output-dir "$W/full" data.split.val_games=[] training.epochs=2 training.backbone_freeze_epochs=1 \
  model.quantization.enabled=false model.lora.enabled=false model.backbone.freeze=false training.optimizer.name=sgd
[ -s "$W/full/last/backbone/model.safetensors" ] && ok || bad "a trained backbone is not saved"

# weights that do not fit their config.json: missing, misshapen and extra tensors are named
python3 - "$W/full/last/backbone" "$W" <<'P'
import json, os, struct, sys
src, out = sys.argv[1], sys.argv[2]
b = open(src + "/model.safetensors", "rb").read()
n = struct.unpack("<Q", b[:8])[0]
h, data = json.loads(b[8:8 + n]), b[8 + n:]
def write(name, edit):
    g = json.loads(json.dumps(h))
    edit(g)
    os.makedirs(out + "/" + name)
    open(out + "/" + name + "/config.json", "w").write(open(src + "/config.json").read())
    s = json.dumps(g).encode()
    open(out + "/" + name + "/model.safetensors", "wb").write(struct.pack("<Q", len(s)) + s + data)
k = "layer.1.mlp.up_proj.weight"
write("renamed", lambda g: g.__setitem__("layer.1.mlp.other.weight", g.pop(k)))
write("reshaped", lambda g: g[k].__setitem__("shape", g[k]["shape"][::-1]))
write("more", lambda g: g.__setitem__("stranger.weight", {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}))
P
WEIGHTS="$RUN data.split.val_games=[] training.epochs=1 model.backbone.random_init=false"
says "tensor 'layer.1.mlp.up_proj.weight' is missing" $T train $WEIGHTS --output-dir "$W/x" model.pretrained_model_name="$W/renamed"
says "has shape" $T train $WEIGHTS --output-dir "$W/x" model.pretrained_model_name="$W/reshaped"
expect 0 "stranger.weight" $T train $WEIGHTS --output-dir "$W/stranger" model.pretrained_model_name="$W/more"

expect 0 '"pck@3"' $T eval --checkpoint "$W/a/best" --json
expect 0 "PCK@3" $T eval --checkpoint "$W/a/last" --split train
expect 0 "confidence" $T predict --checkpoint "$W/a/best" --image "$D/game1/Clip1" --outdir "$W/pics" --csv "$W/p.csv"
[ "$(wc -l <"$W/p.csv")" -eq 5 ] && [ -s "$W/pics/0000_overlay.png" ] && [ -s "$W/pics/0003_heatmap.png" ] && ok || bad "predict left too little"
expect 0 '"confidence"' $T predict --checkpoint "$W/a/best" --image "$D/game1/Clip1/0000.jpg" --json

# variables are the command's defaults; a path is a path whatever it holds
expect 0 "confidence" env TRACKNET_CACHE="$W/kernels" TRACKNET_GEMM=portable $T predict --checkpoint "$W/a/best" --image "$D/game1/Clip1"
ls "$W/kernels"/*.clbin >/dev/null 2>&1 && ok || bad "TRACKNET_CACHE names no cache"
# kernels that nobody has built yet are built by helpers, once, and are the same
cold() { POCL_CACHE_DIR="$W/pocl" $T predict --cache "$W/cold" --checkpoint "$W/a/best" --image "$D/game1/Clip1" "$@"; }
if [ "$(nproc)" -gt 1 ]; then
  expect 0 "building kernels" cold --csv "$W/cold.csv"
  cmp -s "$W/cold.csv" "$W/p.csv" && ok || bad "kernels built by helpers give other results"
  expect 0 "confidence" cold
  grep -q "building kernels" "$W/out" && bad "kernels are built twice: $(cat "$W/out")" || ok
fi
for f in /dev/null "$W/p.csv" "$T"; do
  $T build-kernels <"$f" >"$W/out" 2>&1
  [ $? -eq 1 ] && grep -q "no list of kernels" "$W/out" && ok || bad "build-kernels takes $f: $(cat "$W/out")"
  $T try-row <"$f" >"$W/out" 2>&1
  [ $? -eq 1 ] && grep -q "asks for no row" "$W/out" && ok || bad "try-row takes $f: $(cat "$W/out")"
done
expect 0 "loss" $T train $RUN --output-dir "$W/it's # [here]: x" data.split.val_games=[] training.epochs=1
expect 0 '"samples"' $T eval --checkpoint "$W/it's # [here]: x/last" --split train --json

$T train $RUN --dry-run data.split.val_games=[] training.optimizer.lr=0.123 >"$W/merged.yaml" 2>"$W/err" && $T train --config "$W/merged.yaml" --dry-run >"$W/merged2.yaml" 2>>"$W/err" &&
  cmp -s "$W/merged.yaml" "$W/merged2.yaml" && grep -q "lr: 0.123" "$W/merged.yaml" && grep -q "memory plan" "$W/merged.yaml" && ok || bad "--dry-run does not load to itself"

# bad input
says "did you mean 'training.optimizer.lr'" $T train $RUN training.optimizer.lrr=1
says "one of vit_heatmap|" $T train $RUN model.model_name=resnet_heatmap
says "huggingface-cli download" $T train $RUN --output-dir "$W/x" data.split.val_games=[] model.backbone.random_init=false model.pretrained_model_name=facebook/no-such-model
says "no model.safetensors" $T train $RUN --output-dir "$W/x" data.split.val_games=[] model.backbone.random_init=false
says "no frames found" $T train $RUN --output-dir "$W/x" 'data.split.train_games=[nothing]'
says "multiples of 16" $T train $RUN --output-dir "$W/x" data.split.val_games=[] 'data.preprocess.resize=[130,64]'
says "larger than the image" $T train $RUN --output-dir "$W/x" data.split.val_games=[] 'model.heatmap.size=[256,16]'
says "matches no linear module or convolution" $T train $RUN --output-dir "$W/x" data.split.val_games=[] 'model.lora.target_modules=[nothing]'
says "larger than layer.0" $T train $RUN --output-dir "$W/x" data.split.val_games=[] model.lora.r=4000
says "cannot be written" $T train $RUN --output-dir /proc/tracknet data.split.val_games=[]
says "no checkpoint" $T eval --checkpoint "$W/nowhere"
says "no frame or folder" $T predict --checkpoint "$W/a/best" --image "$W/nothing.jpg"
says "no --image" $T predict --checkpoint "$W/a/best"
cp -r "$D" "$W/cut"
head -c 900 "$D/game1/Clip1/0001.jpg" >"$W/cut/game1/Clip1/0001.jpg"
expect 0 "1 with an unreadable frame (first $W/cut/game1/Clip1/Label.csv:3: 0001.jpg: the JPEG ends too early)" \
  $T train $RUN --output-dir "$W/cut_run" data.split.val_games=[] training.epochs=1 "data.root=$W/cut"
python3 - "$W/cut/game1/Clip1/0001.jpg" <<'P'
import struct, sys, zlib
chunk = lambda kind, data, bad=0: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ bad)
rows = zlib.compress(b"".join(b"\0" + bytes(3 * 128) for _ in range(64)))
open(sys.argv[1], "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 64, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows, 1) + chunk(b"IEND", b""))
P
says "copy the frame again or remove its row" $T train $RUN --output-dir "$W/x" data.split.val_games=[] "data.root=$W/cut"
cp "$D/game1/Clip1/0001.jpg" "$W/cut/game1/Clip1/0001.jpg"
echo "0000.jpg,1,oops,3,0" >>"$W/cut/game1/Clip2/Label.csv"
says "Label.csv:6:" $T train $RUN --output-dir "$W/x" data.split.val_games=[] "data.root=$W/cut" training.strict_labels=true
cp -r "$W/a/last" "$W/broken"
head -c 200 "$W/a/last/decoder.safetensors" >"$W/broken/decoder.safetensors"
says "decoder.safetensors" $T eval --checkpoint "$W/broken" --split train
says "another configuration" $T eval --checkpoint "$W/a/last" 'model.decoder.channels=[128,32]'
# a full disk: nothing half-written
if [ "$(id -u)" -eq 0 ] && mkdir "$W/small" && mount -t tmpfs -o size=400k none "$W/small" 2>/dev/null; then
  $T train $RUN --output-dir "$W/small/out" data.split.val_games=[] training.epochs=1 >"$W/out" 2>&1
  rc=$?
  [ $rc -eq 1 ] && grep -q "cannot write" "$W/out" && [ ! -e "$W/small/out/last" ] && [ -z "$(find "$W/small" -name '*.tmp*')" ] && ok || bad "full disk: $rc $(tail -1 "$W/out")"
  umount "$W/small"
fi
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
