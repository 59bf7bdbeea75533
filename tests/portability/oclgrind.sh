#!/bin/bash
# Every kernel on its smallest size under oclgrind: no data race, no uninitialised or out-of-bounds access, no API misuse.
# oclgrind.sh TEST_OPS; prints "N passed, N failed". oclgrind 21.10's LLVM lacks "freeze", so kernels are compiled without
# optimisation; its shadow memory is not safe with several threads; and a host write hides later kernel writes from it, so
# `test-ops --case` leaves outputs unpoisoned (the same cases run poisoned in the suites `ops-*`). "quantised product" and "gemm
# quantised" are run without the check for unwritten values: what one kernel unpacks and the next multiplies counts as unwritten
# there even after a fill of it; both kernels are checked by "quantised weights" and "gemm". So are "deformable attention",
# "convolution to few channels" and "norm to few outputs", whose counts and sums begin as a fill with zeros, and "doubled depthwise
# convolution" and "layernorm and thin product", which poison what one kernel writes and another reads.
export TRACKNET_CACHE=off TRACKNET_TEST_DEVICE=0 TEST_OPS=$(realpath "$1")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export OUT_DIR=$out
one() {
  log="$OUT_DIR/$(echo "$1" | tr ' ' _)"
  unwritten=--uninitialized
  case "$1" in
    "quantised product" | "gemm quantised" | "deformable attention" | "convolution to few channels" | "norm to few outputs" | "doubled depthwise convolution" | \
      "layernorm and thin product") unwritten= ;;
  esac
  timeout 400 oclgrind --num-threads 1 --data-races $unwritten --check-api --max-errors 5 --build-options -cl-opt-disable \
    "$TEST_OPS" --case "$1" >"$log" 2>&1
  if [ $? -eq 0 ] && ! grep -qE "Invalid|ninitialized|data race|Oclgrind|OCLGRIND|Kernel:" "$log"; then
    touch "$log.pass"
  else
    echo "FAILED: $1"
    head -20 "$log"
    touch "$log.fail"
  fi
}
export -f one
"$TEST_OPS" --list | xargs -P 2 -I{} bash -c 'one "{}"'
pass=$(find "$out" -name '*.pass' | wc -l) fail=$(find "$out" -name '*.fail' | wc -l)
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
