#!/bin/bash
# A driver that computes wrong is found out before a run uses it, and `doctor` says what there is to say. tests/layer plants the faults.
# test_doctor.sh TRACKNET SOURCE_DIR LAYER.so; prints "N passed, N failed".
layer=$(realpath "$3")
EVERY_DRIVER=1
. "$(dirname "$0")/lib.sh"
with() { OPENCL_LAYERS="$layer" TRACKNET_LAYER="$1" "${@:2}"; }
has() { grep -qF -- "$2" "$W/$1" && ok || bad "$1 does not say '$2'"; }

expect 0 "works" $T doctor --out "$W/good.txt"
for what in "self-test cases passed" "GFLOP/s" "driver" "extensions" "quirks applied"; do has good.txt "$what"; done
for private in "$HOME" "/$USER/" "$(uname -n)" uuid "$SRC"; do
  [ ${#private} -gt 3 ] && grep -qF -- "$private" "$W/good.txt" && bad "the report has '$private'" || ok
done
expect 1 "FAILS" with skip=rope $T doctor --out "$W/wrong.txt"
has wrong.txt "FAILED rope, float32"
expect 1 "signal 6" with crash=rope $T doctor --out "$W/crash.txt"
has crash.txt "its process ended with signal 6"
expect 1 "no OpenCL device found" env OCL_ICD_VENDORS="$W/nowhere" $T doctor --out "$W/none.txt"
has none.txt "no OpenCL device found"
expect 1 "" $T doctor --out "$W/no/such/folder/x.txt"

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 1 --frames 8 --size 128x64
RUN="--model vit_qlora_random --training overfit data.root=$D data.split.train_games=[game1] data.split.val_games=[game1]"
RUN="$RUN model.pretrained_model_name=$SRC/configs/backbone/tiny data.preprocess.resize=[128,64] model.heatmap.size=[32,16]"
RUN="$RUN training.batch_size=4 training.epochs=1"

# a kernel that every run needs: the device is refused, now and the next time, and the report says why
says "is not used: the self-test case 'groupnorm'" with skip=norm_apply $T train $RUN --cache "$W/a" --output-dir "$W/x"
says "is not used: the self-test case 'groupnorm'" $T train $RUN --cache "$W/a" --output-dir "$W/x"
grep -q "FAILED 'groupnorm'" "$W"/a/refused-0.txt && ok || bad "no report of a refused device"
[ -e "$W/x" ] && bad "a refused run leaves a folder" || ok

# a variant: another one takes its place
expect 0 "unpack variant cpu is not used" with skip=unpack16 $T train $RUN --cache "$W/b" --output-dir "$W/y"
grep -q "loss" "$W/out" && ok || bad "a run without a variant does not end"
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
