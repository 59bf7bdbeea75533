#!/bin/bash
# tracknet bench: what it measures on a small model, writes, compares and refuses; its page in a browser where there is one.
# test_bench.sh TRACKNET SOURCE_DIR END_AT_KERNEL (a library); prints "N passed, N failed".
ends=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

check() { python3 tests/cli/check_bench.py "$@" >"$W/out" 2>&1 && ok || bad "check_bench.py $1: $(tail -1 "$W/out")"; }

expect 0 "usage: tracknet bench" $T bench --help
says "say --quick or --full" $T bench --quick --full
says "there is no 'bench run'" $T bench run
says "no part 'colours'" $T bench --only links,colours
says "no backbone 'vit-xxl'" $T bench --sizes vit-xxl
says "there is no folder for" $T bench --quick --json "$W/nowhere/x.json"
says "there is no folder for" $T bench --quick --html "$W"
says "name the files" $T bench compare
says "one result file" $T bench show
says "cannot" $T bench compare "$W/none.json" "$W/none.json"
echo '{"some": "thing"}' >"$W/foreign.json"
says "no result of 'tracknet bench --json'" $T bench show "$W/foreign.json"
echo '{"some": ' >"$W/cut.json"
says "cut.json" $T bench show "$W/cut.json"
says "training needs at least" $T bench --quick --only work --sizes tiny --memory-limit 1

# a processor package that takes 30 W, by a counter that soon begins anew
R=$W/sysroot/sys/class/powercap/intel-rapl:0
mkdir -p "$R"
echo package-0 >"$R/name"
echo 200000000 >"$R/max_energy_range_uj"
python3 tests/cli/count_joules.py "$R/energy_uj" 30 200 &
counts=$!
TRACKNET_SYSROOT=$W/sysroot $T bench --quick --only links,work --sizes tiny --json "$W/a.json" --html "$W/a.html" >"$W/table" 2>"$W/err" && ok || bad "bench: $(tail -1 "$W/err")"
kill $counts
check result "$W/a.json" "$W/a.html"
check table "$W/a.json" "$W/table"
$T bench show "$W/a.json" --html "$W/again.html" | cmp -s - "$W/table" && ok || bad "bench show prints something else"
cmp -s "$W/a.html" "$W/again.html" && bad "a page of a file does not name it" || ok

# a driver that ends the process: at a figure, between two, at a variant that it may refuse, which is tried once; all else is measured
LD_PRELOAD=$ends END_AT_KERNEL=read_all,fetch_near,gemm_panel $T bench --quick --only memory,launches,clpeak-launch,products --json "$W/ended.json" >"$W/out" 2>&1
[ $? -eq 1 ] && grep -q "2 measurement(s) failed" "$W/out" && ok || bad "a driver that ends the process: $(tail -1 "$W/out")"
check ended "$W/ended.json"
# a time in which not all can be done
expect 0 "left out for time" $T bench --full --budget 1 --only launches,products --json "$W/short.json"
check short "$W/short.json" 1

# the same twice is noise all over, twice as fast is not
python3 - "$W" <<'P'
import json, sys
j = json.load(open(sys.argv[1] + "/a.json"))
j["devices"][0]["identity"]["name"] = "<b>another</b> & more"
j["devices"][0]["others"] = 0
for m in j["devices"][0]["measurements"]:
    for k in "value", "low", "high":
        m[k] *= 0.25 if m["better"] == "less" else 4
    m["drifts"] = False
json.dump(j, open(sys.argv[1] + "/b.json", "w"))
j["version"] = 2
json.dump(j, open(sys.argv[1] + "/new.json", "w"))
P
$T bench compare "$W/a.json" "$W/b.json" "$W/a.json" --json "$W/c.json" --html "$W/c.html" >"$W/out" 2>&1 && ok || bad "bench compare: $(tail -1 "$W/out")"
python3 - "$W/c.json" <<'P' 2>"$W/err" && ok || bad "bench compare: $(tail -1 "$W/err")"
import json, sys
j = json.load(open(sys.argv[1]))
assert len(j["columns"]) == 3 and j["columns"][1].startswith("b.json: <b>")
for r in j["rows"]:
    a, b, c = r["figures"]
    assert abs(b["ratio"] - 4) < 1e-6 and c["ratio"] == 1 and c["noise"], r
assert sum(not r["figures"][1]["noise"] for r in j["rows"]) > len(j["rows"]) / 2
P
check page "$W/c.html"
expect 0 "4.00" $T bench compare "$W/a.json" "$W/b.json"
says "version 2 of the schema" $T bench compare "$W/a.json" "$W/new.json"
says "name a second result" $T bench compare "$W/a.json"

# in a browser: light, dark and as narrow as a phone; a picture each, and nothing in its console
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
look() { # look NAME WIDTH option...: what the page looks like is not empty, and nothing was complained of
  local name=$1 width=$2
  shift 2
  "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$W/profile" --enable-logging=stderr --hide-scrollbars "$@" \
    --window-size="$width,1600" --screenshot="$W/$name.png" "file://$W/c.html" >"$W/log" 2>&1
  [ "$(stat -c %s "$W/$name.png" 2>/dev/null || echo 0)" -gt 20000 ] && ! grep -q CONSOLE "$W/log" && ok || bad "in a browser, $name: $(grep -m1 CONSOLE "$W/log")"
}
if [ -n "$browser" ]; then
  look light 1000
  look dark 1000 --blink-settings=preferredColorScheme=0
  look phone 500
  cmp -s "$W/light.png" "$W/dark.png" && bad "dark looks as light does" || ok
  "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$W/profile" --dump-dom "file://$W/c.html" >"$W/dom.html" 2>/dev/null
  check page "$W/dom.html"
else
  echo "without chromium the page is only parsed, not looked at in a browser"
fi
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
