#!/bin/bash
# The tests on one OpenCL runtime alone, and its row of the table in docs/devices.md.
# RUNTIME=pocl|rusticl|intel|nvidia tests/runtimes.sh BUILD_DIR [all|brief]
#   all             every suite (meson test) instead of the short list below; on an interpreter of GPUs that takes hours
#   brief           the smallest self-test of a few operations, training and prediction; no row of the table (suite second-runtime)
#   ICD=FILE.so     the runtime's library, where it is not among the system's drivers: Intel's from PyPI (intel-opencl-rt with
#                   intel-cmplr-lib-rt and tbb) is VENV/lib/libintelocl.so, rusticl is Debian's mesa-opencl-icd
#   SECONDS_EACH=N  what one suite may take (default 600)
#   WRITE=0         leave docs/devices.md as it is
# Prints "N passed, N failed"; exit status 77, "skipped", where the runtime is not there.
cd "$(dirname "$0")/.." || exit 2
build=$(realpath "${1:?usage: RUNTIME=NAME tests/runtimes.sh BUILD_DIR [all]}")
runtime=${RUNTIME:-pocl}
each=${SECONDS_EACH:-600}
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT

# the library named by the first of the system's drivers whose file is called so
of_system() { for f in /etc/OpenCL/vendors/*; do case ${f##*/} in $1) head -1 "$f"; return ;; esac; done; }
case $runtime in
  pocl) lib=${ICD:-$(of_system 'pocl*.icd')} ;;
  rusticl) lib=${ICD:-$(of_system 'rusticl*.icd')}; export RUSTICL_ENABLE=${RUSTICL_ENABLE:-llvmpipe} ;;
  intel) lib=${ICD:-$(of_system 'intel-cpu*.icd')}; [ -z "$ICD" ] || export LD_LIBRARY_PATH="$(dirname "$ICD")" ;;
  nvidia) lib=${ICD:-$(of_system 'nvidia*.icd')} ;;
  *) echo "RUNTIME is pocl, rusticl, intel or nvidia, not '$runtime'"; exit 2 ;;
esac
mkdir "$W/vendors"
echo "$lib" > "$W/vendors/one.icd"
export OCL_ICD_VENDORS="$W/vendors" TRACKNET_TEST_DEVICE=0 TRACKNET_CACHE="$W/cache"
if [ -z "$lib" ]; then
  echo "skipped: $runtime is not among the system's drivers (rusticl is Debian's mesa-opencl-icd), and ICD names no library"
  exit 77
fi
if ! "$build/src/tracknet" devices --json --cache off > "$W/devices.json" 2>"$W/why"; then
  echo "skipped: $lib has no device ($(head -1 "$W/why"))"
  exit 77
fi

pass=0 fail=0
declare -A result
# suite NAME command...: what it said last, as the table has it
suite() {
  local name=$1 begin=$SECONDS rc said
  shift
  timeout "$each" "$@" > "$W/$name.log" 2>&1
  rc=$?
  said=$(grep -Eo '[0-9]+ (of [0-9]+ self-test cases )?passed(, [0-9]+ failed)?' "$W/$name.log" | tail -1)
  case $rc in
    0) pass=$((pass + 1)); result[$name]="${said:-passed}, $((SECONDS - begin)) s" ;;
    124) fail=$((fail + 1)); result[$name]="not through in $each s" ;;
    *) fail=$((fail + 1)); result[$name]="FAILED: ${said:-exit $rc}"; echo "$name:"; grep -aE 'FAILED|:F:|:E:|tracknet ' "$W/$name.log" | head -5 ;;
  esac
  echo "$runtime $name: ${result[$name]}"
}
doctor() { "$build/src/tracknet" doctor --out "$W/doctor.txt" && grep 'self-test cases' "$W/doctor.txt"; }
operations() {
  local n=0
  for name in gemm attention layernorm "full convolution" "quantised weights" optimisers; do
    "$build/tests/test-ops" --case "$name" && n=$((n + 1)) || return
  done
  echo "$n passed, 0 failed"
}
# run WIDTH HEIGHT FRAMES: images of this size
run() {
  local t="$build/src/tracknet" c="training.epochs=1 training.batch_size=4 data.preprocess.resize=[$1,$2]"
  c="$c model.heatmap.size=[$(($1 / 4)),$(($2 / 4))]"
  c="$c data.root=$W/data data.split.train_games=[game1] data.split.val_games=[game1] model.pretrained_model_name=configs/backbone/tiny"
  "$t" synth --output-dir "$W/data" --clips 1 --frames "$3" --size 128x64 &&
    "$t" train --model vit_qlora_random --training overfit $c --output-dir "$W/run" &&
    "$t" predict --checkpoint "$W/run/last" --image "$W/data/game1/Clip1" --csv "$W/ball.csv" && [ "$(wc -l < "$W/ball.csv")" -eq $(($3 + 1)) ]
}
export -f doctor operations run
export build W
if [ "$2" = all ]; then
  suite all meson test -C "$build" --no-rebuild --num-processes 2
elif [ "$2" = brief ]; then
  WRITE=0
  suite operations bash -c operations
  suite run bash -c "run 64 32 4"
else
  suite doctor bash -c doctor
  suite run bash -c "run 128 64 8"
  suite device "$build/tests/test-device"
  suite golden "$build/tests/tn-golden" tests/golden/cases
fi

# the runtime's row, in the place of an older one
[ "${WRITE:-1}" = 0 ] || python3 - "$runtime" "$W/devices.json" "${result[doctor]}" "${result[run]}" "${result[device]}" "${result[golden]}" "${result[all]}" <<'P'
import json
import sys

runtime, devices, *results = sys.argv[1:]
d = json.load(open(devices))[0]
row = "| %s | %s | %s | %s |\n" % (runtime, d["driver"], d["name"], " | ".join(r or "-" for r in results))
lines = open("docs/devices.md").read().splitlines(keepends=True)
at = next(i for i, line in enumerate(lines) if line.startswith("| runtime |")) + 2
end = next(i for i in range(at, len(lines) + 1) if i == len(lines) or not lines[i].startswith("|"))
rows = [line for line in lines[at:end] if not line.startswith("| %s |" % runtime)] + [row]
open("docs/devices.md", "w").write("".join(lines[:at] + sorted(rows) + lines[end:]))
P
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
