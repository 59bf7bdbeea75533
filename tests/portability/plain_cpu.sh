#!/bin/bash
# No illegal instruction on older processors: the command and the rows for CPU devices under an emulator (qemu-user) of one with AVX2
# but without AVX-512, and of one with SSE3 alone. PoCL compiles under it too, for the processor that it sees.
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
one() { # MODEL WHAT
  local log="$W/$1 $2" program=("$PLAIN" "$2")
  [ "$2" = devices ] && program=("$T" devices --verbose)
  if qemu-x86_64 -cpu "$1" "${program[@]}" >"$log" 2>&1; then touch "$log.pass"; else
    echo "FAILED ($?): $2 on $1"
    grep -v "TCG doesn't support\|warnings generated" "$log" | head -5
    touch "$log.fail"
  fi
}
export -f one
# the first are the longest
printf '%s\n' "Haswell gemm" "Haswell conv-grad" "Haswell conv" "Haswell qgemv" "Haswell attention-back" "Haswell dwconv-grad" \
  "Haswell dwconv" "qemu64 attention" "Haswell layernorm-back" "Haswell unpack" "Haswell attention" "Haswell layernorm" \
  "Haswell devices" "qemu64 devices" |
  xargs -P 2 -I{} bash -c 'one {}'
pass=$(find "$W" -name '*.pass' | wc -l) fail=$(find "$W" -name '*.fail' | wc -l)
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
for op in $rows; do [ -e "$W/Haswell $op.pass" ] || [ -e "$W/Haswell $op.fail" ] || { fail=$((fail + 1)) && echo "FAILED: nothing runs $op"; }; done
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
