#!/bin/bash
# OpenCL's types are seen by the device room, by CLBlast's caller and by the measurements only. Usage: rooms.sh SOURCE_DIR
cd "$1" || exit 1
bad=$(grep -rlE 'CL/cl|dev_cl\.h|\bcl_(mem|event|kernel|command_queue)\b' src include tests --include='*.c' --include='*.h' |
      grep -vE '^(src/device/|src/ops/gemm_clblast\.c|tests/bench/)')
[ -z "$bad" ] || { echo "OpenCL's types outside src/device:"; echo "$bad"; echo "0 passed, 1 failed"; exit 1; }
grep -q dev_cl.h src/ops/gemm_clblast.c || { echo "the check looks at nothing"; echo "0 passed, 1 failed"; exit 1; }
echo "1 passed, 0 failed"
