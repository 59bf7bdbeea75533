#!/bin/bash
# The kernels for Intel's and AMD's matrix units by the vendors' own compilers, without such a GPU: the hot loop (the block with the most
# of them) has as many matrix instructions as its tile takes, nothing is spilled, and no compiler warns. What was counted is written to BUILD_DIR/matrix_units.txt.
# Intel: ocloc, dg2 and pvc, with 2D block reads and for bmg where it knows them. AMD: gfx90a by clang 15, gfx1100 too (that compiler gives
# a WMMA kernel 128 registers and spills the rest: not judged), gfx942 and gfx1200 where a clang of 19 or later is installed.
# matrix_units.sh SOURCE_DIR BUILD_DIR; prints "N passed, N failed".
export LC_ALL=C
BUILD=$(realpath "$2")
cd "$1" || exit 2
export tmp
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
: >"$tmp/jobs"

# Matrix instructions (pattern $3) of the block that has the most of them, in kernel $2 of assembly $1 (blocks begin at a label or "// B").
# (One that writes nowhere is a workaround for DG2.) An attention kernel has no others than its loop's, which branches cut into several blocks: all of them.
hot() {
  awk -v entry="$2" -v pattern="$3" -v name="$4" '
    entry != "" && $0 ~ "^" entry ":" { on = 1 } entry == "" { on = 1 } /^\.Lfunc_end/ { on = 0 }
    on && entry !~ /^attn/ && name !~ /^attn/ && (/^\.?L[A-Za-z0-9_]*:/ || /^\/\/ B[0-9]/) { n = 0 }
    on && $0 ~ pattern && !/\) +null:f/ { if (++n > most) most = n }
    END { print most + 0 }' "$1"
}
flat() { # a source with its includes
  awk -v own="$(dirname "$1")" '/^#include "/ { gsub(/"/, "", $2); f = own "/" $2; if ((getline line < f) < 0) f = "cl/shared/" $2; else print line
    while ((getline line < f) > 0) print line; next } { print }' "$1"
}
row() { # good name device compiler found expected registers spilled local
  printf '%-100s %-8s %-10s %5s of %-3s %9s %8s %7s\n' "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" >"$tmp/$JOB.row"
  [ "$1" = 0 ] && touch "$tmp/$JOB.pass" || { touch "$tmp/$JOB.fail" && echo "FAILED: $(cat "$tmp/$JOB.row")"; }
}
intel() { # file entry device expected options
  local dump=$tmp/$JOB.dump asm
  mkdir "$dump"
  flat "cl/intel/$1" >"$dump/k.cl"
  IGC_ShaderDumpEnable=1 IGC_DumpToCustomDir=$dump ocloc compile -file "$dump/k.cl" -device "$3" -options "-cl-std=CL1.2 $BUILT $5" \
    -out_dir "$dump/out" >"$dump/log" 2>&1
  asm=$(grep -l "^//.kernel $2$" "$dump"/*.asm 2>/dev/null | head -1)
  if [ -z "$asm" ] || grep -qi warning "$dump/log"; then grep -iE "error|warning" "$dump/log" | head -3; row 1 "$1 $2 $5" "$3" ocloc none "$4" - - -; return; fi
  local found spilled size=0
  grep -q __local "$dump/k.cl" && size="?"
  found=$(hot "$asm" "" 'dpas\.8x8' "$2")
  spilled=$(sed -n 's/^\/\/\.spill size //p' "$asm" | head -1)
  [ "$found" -ge "$4" ] && [ $((found % $4)) -eq 0 ] && [ -z "$spilled" ]
  row $? "$1 $2 $5" "$3" ocloc "$found" "$4" "$(sed -n 's/.*numGRF=\([0-9]*\).*/\1/p' "$asm" | head -1)" "${spilled:-0}" $size
  rm -r "$dump"
}
amd() { # file entry cpu expected options clang
  local s=$tmp/$JOB.s
  if ! "$6" -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=amdgcn-amd-amdhsa -mcpu="$3" --rocm-device-lib-path="$tmp/lib" \
    -Icl/amd -Icl/shared $5 -O2 -S -o "$s" "cl/amd/$1" 2>"$tmp/$JOB.log" || grep -q warning "$tmp/$JOB.log"; then
    grep -E "error|warning" "$tmp/$JOB.log" | head -3
    row 1 "$1 $2 $5" "$3" "$6" none "$4" - - -
    return
  fi
  local found registers scratch size judged=1
  found=$(hot "$s" "$2" '^[ \t]*v_(mfma|wmma)_')
  of() { sed -n "/^$2:/,/^; Occupancy/s/^; $1: *\([0-9]*\).*/\1/p" "$s" | head -1; }
  registers=$(of NumVgprs "$2")+$(of NumAgprs "$2") scratch=$(of ScratchSize "$2") size=$(of LDSByteSize "$2")
  [ "$6" = clang-15 ] && [ "$3" != gfx90a ] && judged=0
  [ "$found" -ge "$4" ] && [ $((found % $4)) -eq 0 ] && { [ "$scratch" = 0 ] || [ $judged = 0 ]; }
  row $? "$1 $2 $5" "$3" "$6" "$found" "$4" "${registers%+}" "$scratch$([ $judged = 0 ] && echo "*")" "$size"
}
export -f hot flat row intel amd
job() { n=$((n + 1)) && printf 'JOB=%03d %s\n' $n "$(printf '%q ' "$@")" >>"$tmp/jobs"; }

knows() { # device macro: does the compiler define it?
  printf '#ifndef %s\n#error no\n#endif\n__kernel void f(void) {}\n' "$2" >"$tmp/probe.cl"
  ocloc compile -file "$tmp/probe.cl" -device "$1" -options -cl-std=CL1.2 -out_dir "$tmp/probe" -q >/dev/null 2>&1
}
ends=("" "-DBIAS -DPRE -DACTIVATE -DPAIR=1" "-DBIAS -DSCALE -DRESIDUAL -DPAIR=3" "-DBIAS -DTURN -DPAIR=3")
back="-DTB=0 -DSLOPE -DPAIR=3 -DMASK_E"
if command -v ocloc >/dev/null; then
  BUILT=$(sed -n 's/^#define TN_DPAS_OPTIONS "\(.*\)"/\1/p' src/ops/dpas.h)
  export BUILT
  products() { # device expected options
    for e in "${ends[@]}"; do job intel gemm_dpas.cl gemm_dpas "$1" "$2" "-DACT=1 $3 $e"; done
    job intel gemm_dpas.cl gemm_dpas "$1" "$2" "-DACT=2 $3 $back"
    [[ $3 == *IO2D* && $1 == pvc ]] && return # attention has none of them
    local sg=${3% -DIO2D=1} dq=24 dkv=32
    [ "$sg" = -DSG=16 ] && dq=12 dkv=16
    for act in 1 2; do job intel attention_dpas.cl attn_forward "$1" 16 "-DACT=$act $sg"; done
    job intel attention_dpas_back.cl attn_dq "$1" $dq "-DACT=1 $sg -DTURN"
    job intel attention_dpas_back.cl attn_dkv "$1" $dkv "-DACT=1 $sg -DTURN"
  }
  products dg2 32 -DSG=8
  products pvc 16 -DSG=16
  if knows pvc cl_intel_subgroup_2d_block_io; then products pvc 32 "-DSG=16 -DIO2D=1"; else echo "skipped: 2D block reads, which this ocloc does not know"; fi
  if ocloc compile --help 2>&1 | grep -q '\bbmg\b'; then products bmg 32 "-DSG=16 -DIO2D=1"; else echo "skipped: bmg, which this ocloc does not know"; fi
else
  echo "skipped: Intel, since ocloc is not installed (Debian's package intel-opencl-icd)"
fi
libs=/usr/lib/x86_64-linux-gnu/amdgcn/bitcode
if command -v clang-15 >/dev/null && [ -f $libs/ocml.bc ]; then
  mkdir "$tmp/lib" && ln -s $libs/*.bc "$tmp/lib/"
  newest=$(ls $libs/oclc_isa_version_1*.bc | tail -1) # a constant, which these kernels do not read
  for isa in 942 1100 1200; do [ -e "$tmp/lib/oclc_isa_version_$isa.bc" ] || ln -s "$newest" "$tmp/lib/oclc_isa_version_$isa.bc"; done
  products() { # cpu unit expected clang
    for e in "${ends[@]}"; do job amd gemm_matrix.cl gemm_matrix "$1" "$3" "-DACT=1 -DUNIT=$2 $e" "$4"; done
    job amd gemm_matrix.cl gemm_matrix "$1" "$3" "-DACT=2 -DUNIT=$2 $back" "$4"
    for act in 1 2; do job amd attention_matrix.cl attn_forward "$1" $(($2 == 12 ? 64 : 32)) "-DACT=$act -DUNIT=$2" "$4"; done
    job amd attention_matrix_back.cl attn_dq "$1" $(($2 == 9 ? 24 : 12)) "-DACT=1 -DUNIT=$2 -DTURN" "$4"
    job amd attention_matrix_back.cl attn_dkv "$1" $(($2 == 9 ? 32 : 16)) "-DACT=1 -DUNIT=$2 -DTURN" "$4"
  }
  products gfx90a 9 16 clang-15
  products gfx1100 11 32 clang-15
  later=
  for v in 19 20 21 22 23; do command -v clang-$v >/dev/null && later=clang-$v; done
  if [ -n "$later" ]; then
    products gfx942 9 16 $later
    products gfx1100 11 32 $later
    products gfx1200 12 32 $later
  else
    echo "skipped: gfx942, gfx1200 and the registers of gfx1100, which need clang 19 or later"
  fi
else
  echo "skipped: AMD, since clang 15 or its device libraries are not installed (Debian's packages clang-15, rocm-device-libs)"
fi
if [ $n -eq 0 ]; then
  echo "0 passed, 0 failed"
  exit 0
fi
xargs -P 2 -d '\n' -I{} bash -c '{}' <"$tmp/jobs" 2>&1
table=$BUILD/matrix_units.txt
{
  printf '%-100s %-8s %-10s %12s %9s %8s %7s\n' "file, kernel and options" device compiler instructions registers spilled local
  cat "$tmp"/*.row
  echo "instructions: matrix instructions of the hot loop, and how many its tile takes. spilled, local: bytes. *: not judged, see the script."
} >"$table"
pass=$(find "$tmp" -maxdepth 1 -name '*.pass' | wc -l) fail=$(find "$tmp" -maxdepth 1 -name '*.fail' | wc -l)
echo "the table is in $table"
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -eq "$n" ]
