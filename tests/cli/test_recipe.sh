#!/bin/bash
# The recipe of training: what is frozen, and from when on it trains.
# test_recipe.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 1 --frames 4 --size 128x64
RUN="--model vit_qlora_random --training overfit data.root=$D data.split.train_games=[game1] data.split.val_games=[]"
RUN="$RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.scheduler.name=none"
FULL="model.quantization.enabled=false model.lora.enabled=false model.backbone.freeze=true"
same() { cmp -s "$W/$1/last/$3" "$W/$2/last/$3"; }
B=backbone/model.safetensors

# without adapters and quantisation the backbone trains after its frozen epochs, although it says freeze
FROZEN="$RUN $FULL training.backbone_freeze_epochs=2 data.preprocess.flip_prob=0"
KEPT="features of 4 frames kept on the device"
expect 0 "one epoch alone" $T train $FROZEN --output-dir "$W/one" training.epochs=1
expect 0 "loss" $T train $FROZEN --output-dir "$W/two" training.epochs=2
expect 0 "loss" $T train $FROZEN --output-dir "$W/three" training.epochs=3
expect 0 "$KEPT" $T train $FROZEN --output-dir "$W/four" training.epochs=4
[ -s "$W/one/last/$B" ] && same one two $B && ok || bad "a frozen backbone moved"
same one two decoder.safetensors && bad "the decoder stood still" || ok
[ -s "$W/three/last/$B" ] && ! same two three $B && ok || bad "the backbone does not train after its frozen epochs"

# frames that stay in memory, all, some or none of them, and the number of threads change nothing
KEEP="$RUN $FULL training.epochs=2 --output-dir $W"
expect 0 "decoded frames kept in memory: 9.83e-05 GB of 0.01 GB" $T train $KEEP/kept training.data_loader.cache_gb=0.01
expect 0 "kept in memory: 7.37e-05 GB of 8e-05 GB; the frames beyond are decoded every epoch" $T train $KEEP/some \
  training.data_loader.cache_gb=8e-5 training.data_loader.num_workers=3
expect 0 "loss" $T train $KEEP/none training.data_loader.cache_gb=0 training.data_loader.num_workers=1
grep -q "kept in memory" "$W/out" && bad "a cache that is off is told of" || ok
for n in some none; do same kept $n decoder.safetensors && same kept $n optimizer.safetensors && ok || bad "what is kept changes the run: $n"; done

# resumed in either phase, and at their border
for n in one two three; do
  expect 0 "loss" $T train --output-dir "$W/$n" --resume "$W/$n/last" training.epochs=4
  for f in $B decoder.safetensors optimizer.safetensors; do
    same $n four $f && ok || bad "resumed after epoch $n, $f differs from an unbroken run"
  done
done

# what is kept of the frozen epochs changes no bit, resumed or not (above: epoch 2 of "one" goes on with it), with adapters too
expect 0 "feature_cache is 0" $T train $FROZEN --output-dir "$W/anew" training.epochs=4 training.feature_cache=0
grep -q "$KEPT" "$W/out" && bad "features were kept although there is no room for them" || ok
AT_REST="$RUN data.preprocess.flip_prob=0 training.backbone_freeze_epochs=2 training.epochs=3 model.lora.lora_dropout=0.1"
expect 0 "$KEPT" $T train $AT_REST --output-dir "$W/lora" training.batch_size=3
expect 0 "feature_cache is 0" $T train $AT_REST --output-dir "$W/lora_anew" training.batch_size=3 training.feature_cache=0
for f in $B decoder.safetensors optimizer.safetensors; do
  same anew four $f && ok || bad "with features that were kept, $f differs"
done
for f in adapter_model.safetensors decoder.safetensors optimizer.safetensors; do
  [ -s "$W/lora/last/$f" ] && same lora lora_anew $f && ok || bad "with adapters at rest and features that were kept, $f differs"
done
losses() { cut -d, -f1-4 "$W/$1/log.csv"; }
[ "$(losses anew)" = "$(losses four)" ] && [ "$(losses lora)" = "$(losses lora_anew)" ] && ok || bad "the losses differ"

# what stays frozen: freeze without frozen epochs, and a base of few bits
expect 0 "loss" $T train $RUN $FULL --output-dir "$W/stays" training.epochs=1 training.backbone_freeze_epochs=0
[ -e "$W/stays/last/backbone" ] && bad "freeze alone trains the backbone" || ok
expect 0 "loss" $T train $RUN --output-dir "$W/bits" training.epochs=2 training.backbone_freeze_epochs=1 \
  model.lora.enabled=false model.backbone.freeze=true
[ -e "$W/bits/last/backbone" ] && bad "a quantised base was trained" || ok

# the plan holds the later, larger phase
plan() { "$T" train $RUN $FULL --dry-run --output-dir "$W/plan" "$@" >"$W/out" 2>&1; grep -iE "optimi|gradient" "$W/out"; }
[ "$(plan training.backbone_freeze_epochs=2)" != "$(plan training.backbone_freeze_epochs=0)" ] && ok || bad "the plan leaves out the backbone"
[ "$(plan training.backbone_freeze_epochs=2)" = "$(plan training.backbone_freeze_epochs=0 model.backbone.freeze=false)" ] && ok ||
  bad "the plan of a late start is not that of the backbone's training"

# adapters are at rest for their frozen epochs
AD="training.backbone_freeze_epochs=1 training.scheduler.name=none"
expect 0 "loss" $T train $RUN $AD --output-dir "$W/a1" training.epochs=1
expect 0 "loss" $T train $RUN $AD --output-dir "$W/a1b" training.epochs=1 training.optimizer.lr=0.02
expect 0 "loss" $T train $RUN $AD --output-dir "$W/a2" training.epochs=2
same a1 a1b adapter_model.safetensors && ok || bad "frozen adapters moved"
same a1 a2 adapter_model.safetensors && bad "the adapters do not train after their frozen epochs" || ok

# LoRA+: the first step of SGD takes lora_B, which begins at zero, so many times as far, and all else as far
PLUS="$RUN training.optimizer.name=sgd training.epochs=1 training.grad_clip_norm=0 training.optimizer.weight_decay=0 training.precision=fp32"
expect 0 "loss" $T train $PLUS --output-dir "$W/p1" training.optimizer.loraplus_lr_ratio=1
expect 0 "loss" $T train $PLUS --output-dir "$W/p16" training.optimizer.loraplus_lr_ratio=16
same p1 p16 decoder.safetensors && ok || bad "LoRA+ changes the decoder's rate"
python3 - "$W/p1/last" "$W/p16/last" <<'P' && ok || bad "lora_B did not learn at 16 times the rate"
import array, json, sys
def tensors(folder):
    raw = open(folder + "/adapter_model.safetensors", "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k: array.array("f", raw[8 + n:][slice(*v["data_offsets"])]) for k, v in json.loads(raw[8:8 + n]).items() if k != "__metadata__"}
one, many = map(tensors, sys.argv[1:])
off = {"lora_A": 0, "lora_B": 0}
for k in one:
    times = 16 if "lora_B" in k else 1
    off["lora_B" if "lora_B" in k else "lora_A"] += sum(x * x for x in one[k])
    assert all(abs(b - times * a) <= 1e-6 * abs(b) for a, b in zip(one[k], many[k])), k
assert min(off.values()) > 0, off
P
says "there are no adapters" $T train $RUN --dry-run model.lora.enabled=false training.optimizer.loraplus_lr_ratio=4
says "training.optimizer.loraplus_lr_ratio must be" $T train $RUN --dry-run training.optimizer.loraplus_lr_ratio=0

# early stopping can watch the training loss beside a validation split; no loss falls by 1000
expect 0 "2 epochs without gain" $T train $RUN 'data.split.val_games=[game1]' --output-dir "$W/watch" training.epochs=6 \
  training.early_stopping.monitor=train/loss training.early_stopping.patience=2 training.early_stopping.min_delta=1000
python3 - "$W/watch" <<'P' && ok || bad "the watched value is not the training loss"
import csv, json, sys
first = next(csv.DictReader(open(sys.argv[1] + "/log.csv")))
best = json.load(open(sys.argv[1] + "/last/trainer_state.json"))["early_stopping_best"]
sys.exit(abs(best - float(first["train/loss"])) > 1e-6 * abs(best))
P


# precision: spellings, auto, and amp beside it; limits of both kinds
shows() { # shows TEXT KEY=VALUE...: what the merged configuration says
  local text=$1
  shift
  "$T" train $RUN --dry-run "$@" >"$W/out" 2>&1 && grep -qF -- "$text" "$W/out" && ok || bad "$*: no '$text'"
}
for p in fp32:32 fp32:32-true fp32:float32 fp16:16 fp16:16-MIXED fp16:16-true fp16:float16 bf16:bf16 bf16:BF16-mixed bf16:bf16-true \
  bf16:bfloat16 auto:Auto; do
  shows "precision: \"${p%:*}\"" "training.precision=${p#*:}"
done
shows 'precision: "fp16"' training.amp=true
shows 'precision: "fp32"' training.amp=true training.precision=32
[ "$(grep -c "training.amp is deprecated" "$W/out")" -eq 1 ] && ok || bad "amp beside precision: $(head -3 "$W/out")"
shows "limit_train_batches: 0.1" training.limit_train_batches=0.1
shows "limit_train_batches: 1" training.limit_train_batches=1
shows "limit_val_batches: 0" training.limit_val_batches=1.0
says "fraction of them from 0.0 to 1.0" $T train $RUN --dry-run training.limit_val_batches=1.5
shows "patience: 10" training.early_stopping.monitor=val/l2
shows "patience: 3" training.early_stopping.patience=3
"$T" train $RUN --dry-run 2>/dev/null | grep -q "patience: 0" && ok || bad "early stopping without its section"
expect 0 "training.precision auto: " $T train $RUN 'data.split.val_games=[game1]' --output-dir "$W/auto" training.epochs=1 \
  training.batch_size=2 training.precision=auto training.limit_train_batches=0.5 training.limit_val_batches=1
[ "$(grep -c "training.precision auto: " "$W/out")" -eq 1 ] && ok || bad "auto is not said once"
# a processor multiplies bfloat16 by tiles or in pairs, where its compiler takes kernels of vectors
"$T" devices --device cpu --json >"$W/devices" 2>/dev/null
want=$(python3 - "$W/devices" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
d = d if isinstance(d, list) else d.get("devices", [d])
can = d[0]["capabilities"].split()
print("bf16" if "vectors" in can and ("avx512-bf16" in can or "amx-bf16" in can) else "fp32")
P
)
grep -q "training.precision auto: $want," "$W/out" && ok || bad "auto is not $want"
grep -q '"global_step": 1,' "$W/auto/last/trainer_state.json" && ok || bad "half of two batches is not one"
python3 - "$W/auto" <<'P' && ok || bad "one batch of validation is not two frames"
import csv, sys
row = next(csv.DictReader(open(sys.argv[1] + "/log.csv")))
sys.exit(sum(int(row["val/" + k]) for k in ("tp", "fp1", "fp2", "tn", "fn")) != 2)
P

# what early stopping knows goes on from a checkpoint
ES="training.early_stopping.monitor=train/loss training.early_stopping.patience=3 training.early_stopping.min_delta=1000"
expect 0 "loss" $T train $RUN $ES --output-dir "$W/es" training.epochs=2
expect 0 "3 epochs without gain" $T train --output-dir "$W/es" --resume "$W/es/last" training.epochs=6
grep -q '"epoch": 4,' "$W/es/last/trainer_state.json" && ok || bad "early stopping counts anew after a resume"

# a configuration as the Python project prints it, and what its missing keys mean
cat >"$W/printed.yaml" <<'P'
data:
  root: data
  split: {train_games: [game1], val_games: []}
  sequence: {enabled: false}
model:
  model_name: vit_heatmap
  backbone: {freeze: true, device_map: auto, patch_size: 16}
training:
  optimizer: {name: AdamW}
runtime:
  dry_run: true
  overrides: [training.optimizer.name=AdamW]
  device: {name: cpu, count: 1}
P
expect 1 'name: "adamw"' $T train --config "$W/printed.yaml" --dry-run
grep -q runtime "$W/out" && bad "runtime is told of" || ok
for line in "flip_prob: 0.0" "length: 3" 'compute_dtype: "bf16"' "epochs: 1" "grad_clip_norm: 0.0" "lr: 0.0005" "weight_decay: 0.0" \
  "warmup_epochs: 0" "patience: 0"; do
  grep -qxE " +$line" "$W/out" && ok || bad "a missing key is not $line"
done
says "unknown key 'runtimes'" $T train --config "$W/printed.yaml" --dry-run runtimes.x=1
"$T" train --dry-run >"$W/out" 2>&1
for line in "flip_prob: 0.5" "length: 3" "epochs: 30" "grad_clip_norm: 1.0" "lr: 0.001" "weight_decay: 0.01" "warmup_epochs: 1"; do
  grep -qxE " +$line" "$W/out" && ok || bad "the shipped configurations no longer say $line"
done

# the logs: float16 steps that overflow are counted and said; rows after a checkpoint go when the run goes on from it
LOGS="$RUN data.split.val_games=[game1] training.batch_size=1 training.precision=fp16 model.heatmap.head_std=10 training.loss.name=mse"
expect 0 "skipped steps           12, which overflowed float16" $T train $LOGS --output-dir "$W/logs" training.epochs=3
grep -q "^epoch 2: 4 of 4 steps overflowed float16 and were skipped; the loss scale is now 256$" "$W/out" && ok || bad "skipped steps are not told"
cp -r "$W/logs/best" "$W/logs/first"
printf 13,4 >>"$W/logs/steps.csv" # torn off
expect 0 "loss" $T train --output-dir "$W/logs" --resume "$W/logs/first" training.epochs=2
expect 0 "loss" $T train $RUN --output-dir "$W/clean" training.epochs=1
cat >"$W/logs.py" <<'P'
import csv, glob, math, os, struct, sys
rows = lambda f: list(csv.DictReader(open(sys.argv[1] + "/" + f)))
epochs, steps = rows("logs/log.csv"), rows("logs/steps.csv")
assert [r["epoch"] for r in epochs] == ["1", "2"] and [r["skipped"] for r in epochs] == ["4", "4"], epochs
assert list(steps[0]) == "step epoch loss lr grad_norm loss_scale images_per_second".split(), steps[0]
assert [(r["step"], r["epoch"]) for r in steps] == [(str(i + 1), str(i // 4 + 1)) for i in range(8)], steps
assert [float(r["loss_scale"]) for r in steps] == [2.0 ** (15 - i) for i in range(8)] and steps[0]["grad_norm"] == "", steps
assert abs(sum(float(r["loss"]) for r in steps[4:]) / 4 / float(epochs[1]["train/loss"]) - 1) < 1e-6
clean = rows("clean/steps.csv")
assert len(clean) == 1 and float(clean[0]["grad_norm"]) > 0 and rows("clean/log.csv")[0]["skipped"] == "0", clean

def crc(data):  # CRC-32C, masked
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8): c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF
def varint(b, i):
    v = n = 0
    while True:
        v |= (b[i] & 127) << n
        i, n = i + 1, n + 7
        if b[i - 1] < 128: return v, i
def fields(b):
    i = 0
    while i < len(b):
        tag, i = varint(b, i)
        if tag & 7 == 0: v, i = varint(b, i)
        else:
            n, i = varint(b, i) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], i)
            v, i = b[i:i + n], i + n
        yield tag >> 3, v
def events(path):
    b = open(path, "rb").read()
    while b:
        n = struct.unpack("<Q", b[:8])[0]
        assert struct.unpack("<I", b[8:12])[0] == crc(b[:8]) and struct.unpack("<I", b[12 + n:16 + n])[0] == crc(b[12:12 + n]), path
        yield dict(fields(b[12:12 + n]))
        b = b[16 + n:]
assert crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
files = sorted(glob.glob(sys.argv[1] + "/logs/tb/events.out.tfevents.*"), key=os.path.getmtime)
assert len(files) == 2, files
seen = []
for f in files:
    e = list(events(f))
    assert e[0][3] == b"brain.Event:2" and all(1 in x for x in e), e[0]
    seen.append([(x[2], dict((v[1].decode(), struct.unpack("<f", v[2])[0]) for v in (dict(fields(y)) for _, y in fields(x[5])))) for x in e if 5 in x])
restart = [x for x in events(files[1]) if 7 in x]
assert len(restart) == 1 and restart[0][2] == 5 and dict(fields(restart[0][7])) == {1: 1}, restart
assert [s for s, v in seen[1]] == [5, 6, 7, 8, 8], seen[1]
for r, (step, v) in zip(steps[4:], seen[1]):
    assert step == int(r["step"]) and abs(v["train/loss_step"] / float(r["loss"]) - 1) < 1e-6, (r, v)
last, row = seen[1][-1][1], epochs[1]
assert set(last) == {k for k in row if k.startswith("val/")} | {"train/loss", "lr"}, last
assert all(math.isclose(last[k], float(row[k]), rel_tol=1e-6, abs_tol=1e-9) for k in last), (last, row)
P
python3 "$W/logs.py" "$W" 2>"$W/err" && ok || bad "the logs: $(tail -2 "$W/err")"
chmod -w "$W/clean/log.csv"
if [ ! -w "$W/clean/log.csv" ]; then says "cannot write '$W/clean/log.csv'" $T train --output-dir "$W/clean" --resume "$W/clean/last" training.epochs=2; fi

echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
