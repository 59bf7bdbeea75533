#!/bin/bash
# Installs what is missing, builds, and runs every test. The last line is "N passed, N failed".
set -e
cd "$(dirname "$0")"
tools/install.sh --test
if [ -f build/build.ninja ]; then
    meson configure build -Djoined=false # demo.sh's build; tests look at files' own objects
else
    meson setup build
fi
ninja -C build
set +e
meson test -C build --num-processes 2 --print-errorlogs
status=$?
# the counts of every suite, added up; a suite that printed none counts as one failure
python3 - build/meson-logs/testlog.json $status <<'P'
import json
import re
import sys
passed = failed = 0
for line in open(sys.argv[1]):
    t = json.loads(line)
    counts = re.findall(r"^(\d+) passed, (\d+) failed$", t.get("stdout") or "", re.M)
    skipped = t["result"] == "SKIP"  # it said why
    good = skipped or t["result"] == "OK"
    p, f = (int(counts[-1][0]), int(counts[-1][1])) if counts else (0, 0 if skipped else 1)
    if not good and f == 0:
        f = 1
    print("%-22s %5d passed, %d failed  (%.0f s)" % (t["name"], p, f, t["duration"]))
    passed += p
    failed += f
if int(sys.argv[2]) and not failed:
    failed = 1
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0 or passed == 0)
P
