#!/bin/bash
# A device that has less than PoCL's: what it says it has not is not used, and the run is right all the same. tests/layer stands
# between the command and the driver, lies about limits and refuses what goes beyond them.
# test_limits.sh TRACKNET SOURCE_DIR LAYER.so; prints "N passed, N failed".
layer=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 1 --frames 8 --size 128x64
RUN="--model vit_qlora_random --training overfit data.root=$D data.split.train_games=[game1] data.split.val_games=[game1]"
RUN="$RUN model.pretrained_model_name=$SRC/configs/backbone/tiny data.preprocess.resize=[128,64] model.heatmap.size=[32,16]"
RUN="$RUN training.batch_size=4 training.micro_batch_size=2 training.epochs=1"

with() { OPENCL_LAYERS="$layer" TRACKNET_LAYER="$1" "${@:2}"; }
losses() { cut -d, -f1,3 "$W/$1/log.csv"; }
alike() {
  paste -d, <(losses "$1") <(losses "$2") | awk -F, 'NR > 1 { d = $2 - $4; if (d < 0) d = -d; if (d > 1e-4 * $2) bad = 1 } END { exit bad || NR < 2 }'
}
refused() { grep -q "^layer:" "$W/out"; }

# the layer refuses what it says that it refuses; what the plan sees does not come to that
expect 1 "more than the device gives at once" with alloc=1000000 $T train $RUN --output-dir "$W/none"
expect 1 "arguments of" with args=16 $T train $RUN --output-dir "$W/none"
[ -e "$W/none" ] && bad "a refused run leaves a folder" || ok

expect 0 "loss" $T train $RUN --output-dir "$W/plain"
less="local=32 group=64 alloc=4 nohalf nosubgroups unified kernel=64 args=1024 constant=64"
for limits in "${less/ kernel=64/}" kernel=64; do # all at once; and what is learnt by being refused once
  limit=$(echo $limits | tr ' ' ,)
  expect 0 "loss" with $limit $T train $RUN --output-dir "$W/$limit"
  refused && bad "$limit: the device had to refuse something"
  alike plain "$limit" && ok || bad "$limit: trains otherwise"
done

# a GPU of all these, which learns the size of groups by being refused one: kernels that CPUs do not run
# (its kernels are built by PoCL without passes, which take longer than they do; in caches of their own)
hasty() { POCL_EXTRA_BUILD_FLAGS=-cl-opt-disable POCL_CACHE_DIR="$W/pocl" with "$@" --cache "$W/cache"; }
all=gpu,$(echo ${less/group=64 /} | tr ' ' ,)
expect 0 "loss" hasty $all $T train $RUN --output-dir "$W/gpu"
grep "^layer:" "$W/out" | grep -v ": a group of" && bad "the device had to refuse more than a size of groups" || ok
alike plain gpu && ok || bad "a small GPU trains otherwise"
expect 0 "0001" hasty $all $T predict --checkpoint "$W/plain/last" --image "$D/game1/Clip1/0001.jpg" --csv /dev/stdout
refused && bad "a size of groups was not remembered"
says "CL_INVALID_WORK_GROUP_SIZE" with gpu,kernel=16 $T predict --checkpoint "$W/plain/last" --image "$D/game1/Clip1/0001.jpg" --cache "$W/c16"

# memory that is the host's: frames go up once, not by way of memory of the device's own
copied() { awk '$1 == "writes" || $1 == "copies" { n += $2 } END { print n }' "$W/$1.count"; }
for m in unified apart; do
  expect 0 "loss" with $m,count="$W/$m.count" $T train $RUN --output-dir "$W/c$m"
done
[ "$(copied unified)" -lt "$(copied apart)" ] && ok || bad "$(copied unified) copies with unified memory, $(copied apart) without"
# activations in several buffers, none of which is larger than the device gives; rests between pieces of work
expect 0 "loss" with alloc=8000 $T train $RUN --output-dir "$W/parts"
alike plain parts && ok || bad "activations in parts: trains otherwise"
expect 0 "loss" $T train $RUN --nice 2 --output-dir "$W/nice"
alike plain nice && ok || bad "with rests: trains otherwise"
expect 2 "not a value for this option" $T train $RUN --nice soon

# one device through two platforms is listed as such and used once: by the platforms' order
two() { POCL_DEVICES="pthread pthread" with "$@"; }
for word in gpu,twin gpu,twin,pci twin; do
  expect 0 "duplicate  of device 0" two $word $T devices --cache off
  [ "$(grep -c duplicate "$W/out")" -eq 1 ] && ok || bad "$word: not one duplicate"
done
grep -q "order, without a measurement" "$W/out" && ok || bad "without a cache nothing is measured"
# or by a measurement, made once; a driver that crashes in it costs the measurement
expect 0 "measuring it through Twin" two twin,slow=first $T devices --cache "$W/fast"
[ "$(awk '/^[0-9]/ { at = $1 } /duplicate/ { print at, $4 }' "$W/out")" = "0 1" ] && grep -q "GFLOP/s" "$W/out" && ok || bad "the slower is taken: $(cat "$W/out")"
expect 0 "it is device 1 seen through another platform" two twin $T plan $RUN --device all --cache "$W/fast"
grep -q "measuring it through" "$W/out" && bad "measured again" || ok
expect 0 "the process that measured it crashed" two twin,crash=gemm_panel $T devices --cache "$W/crash"
grep -q "duplicate  of device 0.*without a measurement" "$W/out" && ok || bad "a crash decides: $(cat "$W/out")"
expect 0 "duplicate  of device 0" two twin,slow=twin $T devices # the next lines' cache
expect 0 "is left out: it is device 0 seen through another platform" two twin $T train $RUN --device all --output-dir "$W/all"
expect 0 "loss" two twin $T train $RUN --device 1 --output-dir "$W/named"
says "names one piece of hardware twice" two gpu,twin $T train $RUN --device 0,1 --output-dir "$W/x"
expect 0 "" two gpu $T devices
grep -q duplicate "$W/out" && bad "two devices of a platform are taken for one" || ok
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
