#!/bin/bash
# Every portable kernel must compile for GPUs that are not here: Intel (ocloc, tgllp and dg2) and AMD (clang, gfx906,
# gfx90a, gfx1030), in every storage type; every kernel for CPUs must for CPUs with and without AVX-512, and for Arm; those for AMX
# tiles must assemble; and those for NVIDIA's matrix units must become PTX, which its assembler must take where that is installed.
# None of them warns, as compilers do by default: NVIDIA's counts warnings on the standard error output of who runs it.
# Every kernel is compiled in every storage type for one GPU of each vendor (gfx1030, dg2) and for a CPU with AVX-512, and once for the
# others of their kind, which differ from those in what the compiler makes of it, not in what it takes. Where a text has no storage
# type, they are one program. What Intel's compiler is to compile it compiles in one process, whose start takes longer than a kernel.
# compile.sh SOURCE_DIR [--every]; --every: every type and set of options for every device. Prints "N passed, N failed".
cd "$1" || exit 2
every=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
pass=0 fail=0
check() { # name command...
  local name=$1
  shift
  if "$@" >"$tmp/log" 2>&1 && ! grep -qiE "^error|Build failed|warning" "$tmp/log"; then
    pass=$((pass + 1))
  else
    fail=$((fail + 1))
    echo "FAILED: $name"
    grep -iE "error|fatal|warning" "$tmp/log" | head -3
  fi
}
# a compiler that knows no name of a warning, as NVIDIA's does not know the newer ones: none is named, of which it would warn
for f in cl/*/*.cl; do
  check "$f names no warning" bash -o pipefail -c "clang-15 -E -x cl -cl-std=CL1.2 '-D__has_warning(x)=0' -Wno-builtin-macro-redefined \
    -I$(dirname "$f") -Icl/shared $f | awk '/pragma clang diagnostic/ { n++; print \"error: \" \$0 } END { exit n }'"
done
# what kernels are given instead of all declarations: as clang has them, and of each function all
check "functions" clang-15 -cl-std=CL1.2 -x cl --target=x86_64 -fsyntax-only cl/shared/functions.h
check "functions' types" python3 tests/portability/functions.py clang-15 cl/shared/functions.h
libs=/usr/lib/x86_64-linux-gnu/amdgcn/bitcode
# the devices for a storage type
amd_gpus() { [ -z "$every" ] && [ "$1" != 1 ] && echo gfx1030 || echo gfx906 gfx90a gfx1030; }
intel_gpus() { [ -z "$every" ] && [ "$1" != 1 ] && echo dg2 || echo tgllp dg2; }
# all passes once a source, in storage 1 for one GPU: the others are taken or refused alike
level() { [ -z "$every" ] && [ "$1 $2" != "1 gfx1030" ] && echo -O1 || echo -O2; } # ACT GPU
storages() { grep -qwE "ACT|OUT|act_t" "$1" && echo 0 1 2 || echo 1; }
flat() { # a source with its includes, as a file of its own
  local to=$tmp/${1//\//_}
  [ -f "$to" ] || awk '/^#include "/ { gsub(/"/, "", $2); f = "cl/shared/" $2; if ((getline line < f) < 0) f = "cl/gpu/" $2; else print line
    while ((getline line < f) > 0) print line; next } { print }' "$1" >"$to"
  echo "$to"
}
names=()
intel() { # name device file options: compiled with all others by intel_all
  names+=("$1")
  echo "-file $(flat "$3") -device $2 -options \"-cl-std=CL1.2 $4\" -out_dir $tmp/out" >>"$tmp/intel.txt"
}
intel_all() {
  local i
  (cd "$tmp" && ocloc multi intel.txt >intel.log 2>&1)
  awk -v to="$tmp/intel" '/^Command number [0-9]+: *$/ { out = to (0 + $3) } /^Build command 0:/ { exit } { print >out }' "$tmp/intel.log"
  for i in "${!names[@]}"; do check "${names[$i]}" grep -v "spilled around" "$tmp/intel$((i + 1))"; done # of registers, which is no fault
}
for f in cl/portable/*.cl; do
  name=$(basename "$f" .cl)
  for act in $(storages "$f"); do
    for cpu in $(amd_gpus $act); do
      check "$name, storage $act, $cpu" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header \
        --target=amdgcn-amd-amdhsa -mcpu=$cpu --rocm-device-lib-path=$libs -Icl/shared -DACT=$act -DOUT=$act $(level $act $cpu) -S -o /dev/null "$f"
    done
    [ $act = 2 ] && continue
    for dev in $(intel_gpus $act); do intel "$name, storage $act, Intel $dev" $dev "$f" "-DACT=$act -DOUT=$act"; done
  done
done
# one kernel with options of its own, for an AMD and an Intel GPU
with_options() { # name options...
  local name=$1
  shift
  check "$name $*, gfx1030" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=amdgcn-amd-amdhsa \
    -mcpu=gfx1030 --rocm-device-lib-path=$libs -Icl/shared "$@" $(level 0 gfx1030) -S -o /dev/null "cl/portable/$name.cl"
  intel "$name $*, Intel dg2" dg2 "cl/portable/$name.cl" "$*"
}
with_options bandwidth -DVEC=float16
# products: every transposition, epilogue, mask and second pair, with storage types that differ
gemm_types="-DAT=1 -DBT=1 -DCT=1 -DWG=16"
gemm_pair="-DPAIR -DA2T=1 -DB2T=0"
epilogues=(
  "-DBIAS"
  "-DBIAS -DPRE -DPT=1 -DACTIVATE -DFN=0"
  "-DBIAS -DPRE -DPT=0 -DACTIVATE -DFN=1 -DSCALE"
  "-DACTIVATE -DFN=2 -DRESIDUAL -DRT=0"
  "-DSLOPE -DLT=1 -DFN=0"
  "-DSLOPE -DLT=2 -DFN=3 -DSCALE -DRESIDUAL -DRT=1"
  "-DMASK_E -DBIAS -DSCALE -DRESIDUAL -DRT=1"
)
for ta in 0 1; do for tb in 0 1; do with_options gemm $gemm_types -DTA=$ta -DTB=$tb -DBATCH -DMASK_A -DMASK_B; done; done
for e in "${epilogues[@]}"; do
  with_options gemm $gemm_types -DTA=0 -DTB=1 $e
  with_options gemm_sum -DVW=4 -DCT=1 $e
done
for tb2 in 0 1; do
  with_options gemm -DAT=0 -DBT=2 -DCT=0 -DWG=8 -DTA=0 -DTB=1 $gemm_pair -DTB2=$tb2 ${epilogues[2]} -DMASK_E
  with_options gemm -DAT=1 -DBT=0 -DSPLIT=1 -DWG=16 -DTA=1 -DTB=0 $gemm_pair -DTB2=$tb2 -DMASK_A
done
with_options gemm_sum -DVW=1 -DCT=2 -DPAIR -DMASK_E ${epilogues[3]}
for hd in 32 80 128; do with_options attention -DACT=1 -DHD=$hd; with_options rope -DACT=1 -DHD=$hd -DDIR=-1; done
with_options rope -DACT=1 -DHD=64 -DDIR=-1
with_options quant -DQSCALE=1 -DQBITS=4 -DOUT=1 -DPARTS=3
with_options optim -DSHADOW=1
with_options loss -DLOGITS=1 -DITEMS=64
# rows: groups of several parts, and an item that has a whole run, as on a CPU
with_options affine_rows -DWG=64 -DVW=1 -DPARTS=8 -DLANES=16 -DRUN=1
for vw in 1 4 16; do with_options affine_rows -DWG=1 -DVW=$vw -DPARTS=1 -DLANES=1 -DRUN=8; done
# every quantisation format's storage
for name in quant qgemv; do
  for o in "-DQSCALE=1" "-DQSCALE=2 -DQLOW=1" "-DQSCALE=3 -DQLOW=1" "-DQBITS=8 -DROUNDS=1" "-DQLOW=1 -DROUNDS=1" "-DQLOW=1 -DROUNDS=1 -DQZERO=1"; do
    with_options $name -DACT=0 $o
    [ $name = quant ] && with_options quant_operand -DOUT=2 -DTURNED=1 -DLANES=8 $o
  done
done
for l in "-DTURNED=1 -DLANES=0" "-DTURNED=0 -DLANES=8" "-DTURNED=1 -DLANES=8" "-DTURNED=0 -DLANES=16" "-DTURNED=1 -DLANES=16"; do
  for parts in 1 3; do with_options quant_operand -DOUT=1 -DQSCALE=1 -DSHIFT=6 -DPARTS=$parts $l; done
done
# kernels for GPUs of any vendor, in the widths that each of their files has; the portable ones that go with them in 16 bytes too
declare -A compiled
for_gpus() { # file options...
  local f=$1
  shift
  local act=0
  [[ $* == *-DACT=1* && (-n $every || -z ${compiled[$f]}) ]] && act=1 && compiled[$f]=1
  for cpu in $(amd_gpus $act); do
    check "$f $*, $cpu" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=amdgcn-amd-amdhsa -mcpu=$cpu \
      --rocm-device-lib-path=$libs -Icl/shared "$@" $(level $act $cpu) -S -o /dev/null "$f"
  done
  intel "$f $*, Intel dg2" dg2 "$f" "$*"
}
for vw in "-DACT=0 -DVW=4" "-DACT=1 -DVW=8" "-DACT=2 -DVW=8"; do
  for f in cl/gpu/layernorm.cl cl/gpu/norm2d.cl cl/portable/elementwise.cl cl/portable/tokens.cl cl/portable/rope.cl; do
    [[ "$f $vw" == *portable*VW=4 ]] || for_gpus $f $vw # which was compiled above
  done
  for mode in 0 1 2 3 4; do for_gpus cl/gpu/colreduce.cl $vw -DMODE=$mode; done
  for_gpus cl/gpu/colreduce.cl ${vw/8/4} -DMODE=2 -DFN=0; for_gpus cl/gpu/norm2d.cl $vw -DFN=0 -DKEEP=2; for_gpus cl/gpu/norm2d.cl ${vw/8/4} -DFN=0
done
for vw in 1 2; do for act in 0 1 2; do for_gpus cl/gpu/dwconv.cl -DACT=$act -DVW=$vw -DEVEN=1; done; done
for vw in 1 2; do for act in 0 1 2; do for_gpus cl/gpu/dwconv_near.cl -DACT=$act -DVW=$vw -DROWS=$vw; done; done
for vw in 1 2; do for act in 0 1 2; do for_gpus cl/gpu/dwdouble.cl -DACT=$act -DVW=$vw -DCOLS=$vw -DWT=$((act * (vw - 1))); done; done
for_gpus cl/gpu/dwdouble.cl -DACT=1 -DCOLS=4 -DDX=0; for_gpus cl/gpu/dwdouble.cl -DACT=1 -DDW=0 -DSTATS=1
for_gpus cl/gpu/dwconv_near.cl -DACT=1 -DK=7 -DWT=1
for k in 5 7; do for_gpus cl/gpu/dwconv.cl -DACT=1 -DK=$k -DDX=0 -DWT=1; done
for vw in "-DACT=0 -DVW=4" "-DACT=1 -DVW=8" "-DACT=2 -DVW=8"; do for_gpus cl/gpu/upsample.cl $vw; done
for_gpus cl/gpu/upsample.cl -DACT=1 -DOUT=0 -DVW=1
for_gpus cl/portable/tokens.cl -DACT=1 -DVW=8 -DRUNS=2
for_gpus cl/portable/row_sums.cl -DACT=1 -DVW=8
for_gpus cl/gpu/norm2d.cl -DVW=1
for_gpus cl/gpu/gemm_small.cl -DTB=1; for_gpus cl/gpu/gemm_small.cl -DTA=1
levels="-DLEVELS=3 -DH0=20 -DW0=13 -DH1=10 -DW1=7 -DH2=5 -DW2=4"
for vw in "-DACT=0 -DVW=4" "-DACT=1 -DVW=8" "-DACT=2 -DVW=8"; do
  for f in levels deform deform_value; do for_gpus cl/portable/$f.cl $vw $levels; done
done
for hd in 20 21; do for_gpus cl/portable/deform_value.cl -DHD=$hd -DVW=1 -DHEADS=1 -DPOINTS=1 -DSIDE=1; done
for_gpus cl/gpu/colreduce.cl -DVW=1
for_gpus cl/portable/gemm_sum.cl -DVW=8 -DWHOLE=1 -DCT=1 ${epilogues[3]}
for f in cl/cpu/*.cl; do
  name=$(basename "$f" .cl)
  [[ $name == *_amx* ]] && continue
  for act in $(storages "$f"); do
    for cpu in "x86_64 -march=skylake-avx512" "x86_64 -march=x86-64-v2" "x86_64 -march=haswell" "aarch64 -march=armv8-a"; do
      [ -z "$every" ] && [ $act != 1 ] && [[ $cpu != *avx512 ]] && continue
      check "cpu/$name, storage $act, $cpu" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=${cpu%% *} \
        ${cpu#* } -Icl/cpu -Icl/shared -DACT=$act -DOUT=$act -DLOOKUP=1 -O2 -emit-llvm -S -o /dev/null "$f"
    done
  done
done
check "cpu/dwconv of a doubled map" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=x86_64 -march=haswell \
  -Icl/cpu -Icl/shared -DACT=1 -DK=3 -DDOUBLED=1 -O2 -emit-llvm -S -o /dev/null cl/cpu/dwconv.cl
# products on a CPU: packing, panels, second pair, masks and epilogues
cpu_gemm() { # file options...
  local file=$1
  shift
  for march in haswell skylake-avx512; do
    check "cpu/$file $*, $march" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=x86_64 -march=$march \
      -Icl/cpu -Icl/shared "$@" -O2 -emit-llvm -S -o /dev/null "cl/cpu/$file.cl"
  done
}
for tb in 0 1; do for bt in 0 1 2; do cpu_gemm gemm_pack -DTB=$tb -DBT=$bt -DNRV=2 -DMASK_B; done; done
for e in "${epilogues[@]}"; do cpu_gemm gemm -DTA=0 -DAT=1 -DCT=1 -DMR=6 -DNRV=2 $e; done
for tb2 in 0 1; do cpu_gemm gemm -DTA=0 -DAT=0 -DCT=0 -DMR=12 -DNRV=2 -DPAIR -DTB2=$tb2 -DA2T=0 -DMASK_E ${epilogues[2]}; done
cpu_gemm gemm -DTA=1 -DAT=1 -DSPLIT=1 -DBATCH -DMASK_A -DMR=6 -DNRV=1
# AMX tiles and pairs of bfloat16: the assembler takes the instructions that the compiler does not know
assembled() { # file options...
  local file=$1
  shift
  check "cpu/$file $*" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=x86_64 -march=skylake-avx512 \
    -Icl/cpu -Icl/shared "-Dinline=static inline __attribute__((always_inline))" "$@" -O2 -c -o "$tmp/amx.o" "cl/cpu/$file.cl"
}
for tb in 0 1; do for at in 0 1; do assembled gemm_amx -DAT=$at -DCT=0 -DTB=$tb -DMASK_A -DMASK_B; done; done
for e in "${epilogues[@]}"; do assembled gemm_amx -DAT=1 -DCT=1 -DPAIR $e; done
for f in norm2d layernorm rope upsample; do assembled $f -DACT=1 -DROUNDS_BF16 -DACTIVATE -DKEPT -DSLOPE; done
assembled gemm_amx -DAT=0 -DCT=0 -DPAIR ${epilogues[1]}
assembled gemm_amx -DAT=1 -DCT=1 -DPAIR -DPAIR_APART ${epilogues[4]}
for at in 0 1; do assembled gemm_amx -DAT=$at -DCT=$at -DPAIR -DBIAS -DTURN; done
for m in "" "-DMASK_A -DMASK_B" "-DCUT"; do assembled gemm_amx_grad $m; done
for e in "" "-DBIAS"; do assembled conv_amx $e; assembled conv -DACT=1 -DWIDE=1 -DDOT -DMR=6 -DNRV=4 $e; done
for hd in 32 64 96 128; do assembled attention_amx -DHD=$hd -DTURN; done
for hd in 32 64 96 128; do assembled attention -DACT=1 -DWIDE=1 -DHD=$hd -DDOT -DTURN; done
# NVIDIA's matrix units: inline PTX. The functions of OpenCL are libclc's, and all of our own are inlined, as the driver does; what
# Hopper alone has is rewritten as the library does it (src/device/ptx.c). Clang 15 writes no .reqntid and knows targets up to sm_80.
clc=/usr/lib/clc/nvptx64--nvidiacl.bc
nvidia() { # file architecture items options...
  local file=$1 arch=$2 items=$3 ptx=$tmp/nvidia.ptx link=()
  shift 3
  [ -f $clc ] && link=(-Xclang -mlink-builtin-bitcode -Xclang $clc -Wno-linker-warnings)
  check "nvidia/$file $*" clang-15 -cl-std=CL1.2 -x cl -Xclang -finclude-default-header --target=nvptx64-nvidia-nvcl \
    -Xclang -target-cpu -Xclang sm_80 -Xclang -target-feature -Xclang +ptx75 -Icl/nvidia -Icl/shared "${link[@]}" \
    "-Dinline=static inline __attribute__((always_inline))" "$@" -O3 -S -o "$ptx" "cl/nvidia/$file.cl"
  [ -f $clc ] && command -v ptxas >/dev/null || return
  sed -i "/minnctapersm/d; s/^{\$/.reqntid $items, 1, 1\n{/; s,//@@ ,,; s/^\.version .*/.version 8.3/; s/^\.target .*/.target sm_$arch/" "$ptx"
  check "nvidia/$file $*, ptxas" ptxas -arch=sm_$arch "$ptx" -o "$tmp/nvidia.cubin"
}
nvidia address 80 1
for act in 1 2; do
  nvidia attention_mma 90a 128 -DACT=$act -DHD=64
  for o in "" -DTURN; do nvidia attention_wgmma 90a 256 -DACT=$act $o; done
  nvidia tensor_map 90a 1 -DACT=$act
  for cols in 1 2 4; do nvidia ../gpu/dwdouble 80 128 -DACT=$act -DCOLS=$cols -DPACKS=1 -DSTATS=1; done
  for o in "-DTB=1 -DBIAS -DPRE -DACTIVATE -DPAIR=1" "-DTB=1 -DBIAS -DPAIR=3 -DTURN -DALPHA_ONE" "-DTB=0 -DSLOPE -DPAIR=1 -DMASK_E" "-DTB=1 -DBN=64 -DMI=1 -DBIAS -DSCALE -DRESIDUAL" "-DTB=0 -DBN=192" "-DTB=1 -DBN=160 -DBIAS -DACTIVATE" "-DTB=1 -DBIAS -DACTIVATE -DNORM=16" "-DTB=1 -DBIAS -DTURN -DNORM=6" "-DTB=1 -DBIAS -DRESIDUAL -DROW_SUMS"; do
    nvidia gemm_wgmma 90a 384 -DACT=$act $o
    nvidia gemm_mma 90a 128 -DACT=$act ${o//-DBN=*/}
  done
  for o in "-DBIAS" "-DBN=192" "-DBN=64 -DMI=1"; do nvidia gemm_wgmma 90a 384 -DACT=$act -DPATCHES $o; done
  for o in "" "-DBN=64 -DMI=1"; do nvidia conv_grad_wgmma 90a 384 -DACT=$act $o; done
  for tb in 0 1; do
    for o in "-DNT=1 -DPIECES" "-DNT=2 -DBIAS" "-DNT=3 -DWR=4 -DDEPTH=3 -DPIECES -DMASK_A" "-DNT=4 -DWR=4 -DDEPTH=3 -DMASK_A -DBIAS"; do
      for ct in 0 $act; do nvidia thin 80 128 -DACT=$act -DCT=$ct -DTB=$tb $o; done
    done
  done
  for o in "" -DBITS; do nvidia thin_grads 80 128 -DACT=$act $o; done
  for o in "-DCW=48 -DROWS=32" "-DCW=128 -DSLICED"; do nvidia thin_both 90a 256 -DACT=$act $o; done
  for o in "-DCOLS=384 -DN=48 -DMASK_A" "-DN=16 -DMASK_A -DBITS" "-DN=8" "-DBACK=1 -DADDS -DSCALED" "-DBACK=1 -DN=24 -DADDS"; do
    nvidia layernorm 80 128 -DACT=$act -DWARPS=4 $o
  done
  nvidia layernorm 80 512 -DACT=$act -DWARPS=16 -DCOLS=1024 -DBACK=1
  for tile in "-DMI=1 -DNI=4 -DWM=1 -DWN=4" "-DMI=3 -DNI=4 -DWM=1 -DWN=4" "-DMI=4 -DNI=4 -DWM=1 -DWN=4" "-DMI=2 -DNI=2 -DWM=4 -DWN=1" "-DMI=2 -DNI=8 -DWM=4 -DWN=1"; do
    for m in "" -DMASK_B; do nvidia thin_grad 80 128 -DACT=$act $tile $m; done
  done
done
intel_all
echo "$pass passed, $fail failed"
[ $fail -eq 0 ] && [ $pass -gt 0 ]
