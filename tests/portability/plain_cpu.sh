#!/bin/bash
# No illegal instruction on older processors: the command and the rows for CPU devices under an emulator (qemu-user) of one with AVX2
# but without AVX-512, and of one with SSE3 alone. What PoCL makes for such a processor it makes before that, without the emulator,
# which takes an eighth of the time; anything else, and all of it where that fails, it compiles under it, for the processor it sees.
# plain_cpu.sh TRACKNET TN_PLAIN_CPU; prints "N passed, N failed".
T=$(realpath "$1") PLAIN=$(realpath "$2") W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
skip() {
  echo "skipped: $1"
  echo "0 passed, 0 failed"
  exit 0
}
command -v qemu-x86_64 >/dev/null || skip "qemu-x86_64 is not installed (Debian's package qemu-user)"
[ "$(uname -m)" = x86_64 ] || skip "the emulator runs x86-64 programs, and these are for $(uname -m)"
export TRACKNET_CACHE=off POCL_CACHE_DIR=$W T PLAIN W
[ -f /etc/OpenCL/vendors/pocl.icd ] && export OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd
one() { # MODEL NAME WHAT...: `devices`, or operations
  local model=$1 name=$2 log="$W/$1 $2" rc made_for=sse2
  shift 2
  [ "$model" = Haswell ] && made_for=avx2
  [ "$name" = devices ] || POCL_KERNELLIB_NAME=$made_for "$PLAIN" "$@" >/dev/null 2>&1
  if [ "$name" = devices ]; then qemu-x86_64 -cpu "$model" "$T" devices --verbose >"$log" 2>&1; else
    qemu-x86_64 -cpu "$model" "$PLAIN" "$@" >"$log" 2>&1
  fi
  rc=$?
  [ $rc -eq 0 ] || { echo "FAILED ($rc): $* on $model" && grep -v "TCG doesn't support\|warnings generated" "$log" | tail -5; }
  echo $rc >"$log.rc"
}
export -f one
# a process starts for a second here: one for several operations
printf '%s\n' "Haswell 1 conv-grad gemm dwconv attention-back layernorm dwdouble-grad" "Haswell 2 conv qgemv dwconv-grad layernorm-back unpack attention dwdouble" \
  "qemu64 1 attention" "Haswell devices" "qemu64 devices" | xargs -P 2 -I{} bash -c 'one {}'
pass=$(grep -h ': good$' "$W"/*\ [12] | wc -l) fail=$(grep -Lx 0 "$W"/*.rc | wc -l)
has() { # MODEL CAPABILITIES: exactly these
  if grep -qx " *variants may use  $2" "$W/$1 devices"; then pass=$((pass + 1)); else
    fail=$((fail + 1))
    echo "FAILED: $1 has not just '$2': $(grep "variants may use" "$W/$1 devices")"
  fi
}
has Haswell "cpu avx2 vectors"
has qemu64 "cpu vectors"
# every operation that has rows there is in the list above
rows=$(qemu-x86_64 -cpu Haswell "$PLAIN" 2>/dev/null | sed 1d)
for op in $rows; do grep -qx "$op: good" "$W"/Haswell\ [12] || { fail=$((fail + 1)) && echo "FAILED: no good $op on Haswell"; }; done
grep -qx "attention: good" "$W/qemu64 1" || { fail=$((fail + 1)) && echo "FAILED: no good attention on qemu64"; }
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
