#!/bin/bash
# Every kernel on small sizes under oclgrind: no data race, no uninitialised or out-of-bounds access, no API misuse.
# oclgrind.sh TEST_OPS. (Its LLVM lacks "freeze", so kernels are compiled without optimisation.)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
TRACKNET_CACHE=off TRACKNET_TEST_SMALL=1 TRACKNET_TEST_DEVICE=0 CK_RUN_CASE=kernels \
  oclgrind --data-races --uninitialized --check-api --max-errors 20 --build-options -cl-opt-disable "$1" >"$log" 2>&1
rc=$?
if grep -qE "Invalid|Uninitialized value|data race|Oclgrind: |OCLGRIND" "$log" || [ $rc -ne 0 ]; then
  head -60 "$log"
  echo "0 passed, 1 failed"
  exit 1
fi
grep -E "Checks" "$log"
tail -1 "$log"
