#!/bin/bash
# Every portable kernel must compile for GPUs that are not here: Intel (ocloc, tgllp and dg2) and AMD (clang, gfx906,
# gfx90a, gfx1030), in every storage type; and every kernel for CPUs must for CPUs with and without AVX-512, and for Arm.
# compile.sh SOURCE_DIR; prints "N passed, N failed".
cd "$1" || exit 2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
pass=0 fail=0
check() { # name command...
  local name=$1
  shift
  if "$@" >"$tmp/log" 2>&1 && ! grep -qiE "^error|Build failed" "$tmp/log"; then
    pass=$((pass + 1))
  else
    fail=$((fail + 1))
    echo "FAILED: $name"
    grep -iE "error" "$tmp/log" | head -3
  fi
}
libs=/usr/lib/x86_64-linux-gnu/amdgcn/bitcode
for f in cl/portable/*.cl; do
  name=$(basename "$f" .cl)
  for act in 0 1 2; do
    for cpu in gfx906 gfx90a gfx1030; do
      check "$name, storage $act, $cpu" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header \
        --target=amdgcn-amd-amdhsa -mcpu=$cpu --rocm-device-lib-path=$libs -Icl/shared -DACT=$act -DOUT=$act -O2 -S -o /dev/null "$f"
    done
  done
  awk '/^#include "/ { gsub(/"/, "", $2); while ((getline line < ("cl/shared/" $2)) > 0) print line; next } { print }' "$f" >"$tmp/$name.cl"
  for dev in tgllp dg2; do
    for act in 0 1; do
      check "$name, storage $act, Intel $dev" ocloc compile -file "$tmp/$name.cl" -device $dev -options "-cl-std=CL1.2 -DACT=$act -DOUT=$act" -out_dir "$tmp/out" -q
    done
  done
done
# every quantisation format's storage
for name in quant qgemv; do
  for o in "-DQSCALE=1" "-DQSCALE=2 -DQLOW=1" "-DQSCALE=3 -DQLOW=1" "-DQBITS=8 -DROUNDS=1" "-DQLOW=1 -DROUNDS=1" "-DQLOW=1 -DROUNDS=1 -DQZERO=1"; do
    check "$name $o, gfx1030" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=amdgcn-amd-amdhsa \
      -mcpu=gfx1030 --rocm-device-lib-path=$libs -Icl/shared -DACT=0 $o -O2 -S -o /dev/null cl/portable/$name.cl
    check "$name $o, Intel dg2" ocloc compile -file "$tmp/$name.cl" -device dg2 -options "-cl-std=CL1.2 -DACT=0 $o" -out_dir "$tmp/out" -q
  done
done
for f in cl/cpu/*.cl; do
  name=$(basename "$f" .cl)
  for act in 0 1 2; do
    for cpu in "x86_64 -march=x86-64-v2" "x86_64 -march=haswell" "x86_64 -march=skylake-avx512" "aarch64 -march=armv8-a"; do
      check "cpu/$name, storage $act, $cpu" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=${cpu%% *} \
        ${cpu#* } -Icl/cpu -Icl/shared -DACT=$act -DOUT=$act -DLOOKUP=1 -O2 -emit-llvm -S -o /dev/null "$f"
    done
  done
done
echo "$pass passed, $fail failed"
[ $fail -eq 0 ] && [ $pass -gt 0 ]
