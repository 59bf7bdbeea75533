#!/bin/bash
# One run on several devices: the same figures as on one; checkpoints that go on anywhere; a device that fails in mid-run.
# test_devices.sh TRACKNET SOURCE_DIR LOSE_DEVICE.so; prints "N passed, N failed".
lose=$(realpath "$3")
EVERY_DRIVER=1
. "$(dirname "$0")/lib.sh"
export POCL_DEVICES="pthread pthread pthread"

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 2 --frames 12 --size 128x64
RUN="--model vit_qlora_random --training overfit data.root=$D data.split.train_games=[game1] data.split.val_games=[game1]"
RUN="$RUN model.pretrained_model_name=$SRC/configs/backbone/tiny data.preprocess.resize=[128,64] model.heatmap.size=[32,16]"
RUN="$RUN training.batch_size=8 training.micro_batch_size=2 model.lora.lora_dropout=0.1 training.epochs=3"

TWO="--stages 0:embeddings-layer.1,1:layer.2-head" THREE="--stages 0:embeddings-layer.0,1:layer.1-layer.2,2:layer.3-head"

# epoch,train/loss of a run's log
losses() { cut -d, -f1,3 "$W/$1/log.csv"; }
# within 1e-5 of each other, line by line
alike() {
  paste -d, <(losses "$1") <(losses "$2") | awk -F, 'NR > 1 { d = $2 - $4; if (d < 0) d = -d; if (d > 1e-5 * $2) bad = 1 } END { exit bad || NR < 2 }'
}

expect 0 "loss" $T train $RUN --device 0 --output-dir "$W/one"
expect 0 "layer.2 to head" $T train $RUN $TWO --output-dir "$W/two"
alike one two && ok || bad "two devices train otherwise than one"
expect 0 "device 2" $T train $RUN --stages "1:embeddings-layer.0,0:layer.1-head@4/2;2:embeddings-head@4/2" --output-dir "$W/mixed"
alike one mixed && ok || bad "replicas train otherwise than one device"

# checkpoints know nothing of devices
expect 0 "loss" $T train $RUN training.epochs=2 $THREE --output-dir "$W/begun"
expect 0 "loss" $T train $RUN --resume "$W/begun/last" --output-dir "$W/begun" --device 1
alike one begun && ok || bad "a run begun on three devices goes on otherwise on one"
expect 0 "pck" $T eval --checkpoint "$W/two/last" $TWO --json
grep '"loss"' "$W/out" > "$W/a"
expect 0 "pck" $T eval --checkpoint "$W/two/last" --device 2 --json
grep '"loss"' "$W/out" > "$W/b"
cmp -s "$W/a" "$W/b" && ok || bad "evaluation on two devices gives another loss"

# a device that fails: in loading, in the first step, later, in the last evaluation, one after the other
lost() { LD_PRELOAD="$lose" LOSE_DEVICE=$1 "${@:2}"; }
expect 1 "CL_DEVICE_NOT_AVAILABLE" lost 1:10 $T train $RUN $TWO --output-dir "$W/early"
for at in 1:400 0:2000 1:3000 1:1500,2:2500; do
  expect 0 "goes on without it" lost $at $T train $RUN $THREE --output-dir "$W/lost$at"
  alike one "lost$at" && ok || bad "a run that loses device $at goes on otherwise"
done
says "CL_DEVICE_NOT_AVAILABLE" lost 0:1500 $T train $RUN --device 0 --output-dir "$W/alone"

# a device that becomes slow is noticed
expect 0 "by hand and stays" env LD_PRELOAD="$lose" SLOW_DEVICE=1:2500 $T train $RUN $TWO training.epochs=4 --output-dir "$W/slow"
grep -q "device 1, .* times as long" "$W/out" && ok || bad "the wrong device is slow" # device 0 may be too, where others compute

# devices that would take each other's cores are left out
expect 0 "no faster" $T train $RUN --device all --output-dir "$W/all"
alike one all && ok || bad "a planned run trains otherwise"

# a profile is of one device
expect 1 "a profile is of one device" $T profile train $RUN $TWO
grep -q '"first": "layer.2"' "$W/two/last/run.json" && ok || bad "the checkpoint does not tell of its stages"

# what cannot be
expect 1 "twice" $T train $RUN --device 0,0 --output-dir "$W/x"
expect 1 "" $T train $RUN --device 0,nowhere --output-dir "$W/x"
expect 1 "layer.1" $T train $RUN --stages 0:embeddings-layer.0,1:layer.2-head --output-dir "$W/x"
expect 1 "" $T train $RUN --stages 0:embeddings-layer.0,0:layer.1-head --output-dir "$W/x"
[ -e "$W/x" ] && bad "a refused run leaves a folder" || ok
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
