#!/bin/bash
# OpenCL's types are seen by the device room, by CLBlast's callers, by the measurements and by what stands between tests and
# a driver only, MPI's by the ranks room; the files of a room call each other one way, and what they show is used (calls.py).
# Usage: rooms.sh SOURCE_DIR BUILD_DIR
build=$(realpath "$2")
cd "$1" || exit 1
failed=0
bad=$(grep -rlE 'CL/cl|dev_cl\.h|\bcl_(mem|event|kernel|command_queue)\b' src include tests --include='*.c' --include='*.h' |
      grep -vE '^(src/device/|src/ops/(gemm_clblast|clblast_override)\.c|tests/bench/|tests/tools/(lose_device|end_at_kernel|ptx_driver|unfilled)\.c|tests/layer/)')
[ -z "$bad" ] || { echo "OpenCL's types outside src/device:"; echo "$bad"; failed=$((failed + 1)); }
grep -q dev_cl.h src/ops/gemm_clblast.c || { echo "the check looks at nothing"; failed=$((failed + 1)); }
bad=$(grep -rl '<mpi\.h>' src include tests --include='*.c' --include='*.h' | grep -v '^src/ranks/')
[ -z "$bad" ] || { echo "MPI outside src/ranks:"; echo "$bad"; failed=$((failed + 1)); }
python3 tests/style/calls.py "$build" || failed=$((failed + 1))
echo "$((4 - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
