#!/bin/bash
# tracknet profile: what it prints, writes and refuses.
# test_profile.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"

RUN="--model vit_qlora_random --training overfit data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=2"
expect 0 "usage: tracknet profile train|predict" $T profile --help
says "say train or predict" $T profile
says "say train or predict" $T profile eval $RUN
says "--by takes kernel" $T profile train $RUN --by colour
expect 2 "not a value" $T profile train $RUN --repeat 0
expect 2 "takes no value" $T devices --json=x
says "cannot write" $T profile predict $RUN --repeat 1 --json "$W/nowhere/x.json"

# what is printed and what is written must agree: check.py TABLES JSON TRACE
cat >"$W/check.py" <<'P'
import json, re, sys
tables, report, trace = open(sys.argv[1]).read(), json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))
entries = report["entries"]
def near(a, b, by): assert abs(a - b) <= by, (a, b)
near(sum(e["seconds"] for e in entries), report["seconds"], 1e-6 * report["seconds"])
for view in "kernels", "operations", "layers":
    near(sum(r["share"] for r in report[view]), 1, 1e-6)
    near(sum(r["seconds"] for r in report[view]), report["seconds"], 1e-6 * report["seconds"])
    assert sum(r["entries"] for r in report[view]) == len(entries), view
assert all(e["seconds"] >= 0 and e["layer"] and e["operation"] and e["kernel"] for e in entries)
assert sum(e["seconds"] > 0 for e in entries) > 0.9 * len(entries)
launched = sum(e["kernel"] not in ("fill", "copy") for e in entries)
assert launched == report["launches"], (launched, report["launches"])
assert report["blocking"] > 0 and report["step_seconds"] > 0 and report["burst"] > 0 and report["driver"]
near(report["idle"], max(0, 1 - report["seconds"] / report["step_seconds"]), 1e-6)
assert isinstance(report["result"], float) and report["result"] != 0 and report["peak_bytes"] > 1 << 20
assert report["roofline"]["bytes_per_second"] > 1e8 and report["roofline"]["flops_per_second"] > 1e8
assert ("optimiser" in [r["layer"] for r in report["layers"]]) == (report["what"] == "train")
# the tables: shares of each sum to 100 within what rounding to a tenth can do; the same total
blocks = [b.split("\n") for b in tables.split("\n\n")]
assert len(blocks) == 3, len(blocks)
for b in blocks[:2]:
    rows = [re.search(r"(\d+) +([\d.]+) +([\d.]+)%", l) for l in b[1:]]
    assert len(rows) > 3 and all(rows), b
    total = rows.pop()
    near(sum(float(r[3]) for r in rows), 100, 0.05 * len(rows) + 0.01)
    near(float(total[2]), 1e3 * report["seconds"], 0.001)
    assert int(total[1]) == len(entries)
assert "%.1f img/s" % (report["batch"] / report["step_seconds"]) in tables
assert "%d launches and %d blocking calls" % (report["launches"], report["blocking"]) in tables
# the trace: whole events, end to end
events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
assert len(events) == len(entries)
at = 0
for e, x in zip(entries, events):
    assert x["name"] == e["kernel"] and x["args"]["layer"] == e["layer"] and x["args"]["flops"] == e["flops"]
    assert isinstance(x["pid"], int) and isinstance(x["tid"], int)
    near(x["ts"], at, 1e-3 + 1e-6 * at)
    at = x["ts"] + x["dur"]
near(at, 1e6 * report["seconds"], 1e-3 + 1e-6 * at)
assert {e["name"] for e in trace["traceEvents"] if e["ph"] == "M"} == {"process_name", "thread_name"}
P
for what in train predict; do
  $T profile $what $RUN --repeat 2 --json "$W/p.json" --trace "$W/t.json" >"$W/tables" 2>"$W/err" || bad "profile $what: $(tail -1 "$W/err")"
  python3 "$W/check.py" "$W/tables" "$W/p.json" "$W/t.json" 2>"$W/err" && ok || bad "profile $what: $(tail -1 "$W/err")"
done
$T profile train $RUN --repeat 1 --batch 1 --json training.precision=bf16 training.optimizer.name=sgd >"$W/p.json" 2>"$W/err" &&
  python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); assert r["batch"] == 1 and r["storage"] == "bfloat16" and any(e["kernel"] == "sgd" for e in r["entries"])' "$W/p.json" 2>>"$W/err" &&
  ok || bad "--json without a file: $(tail -1 "$W/err")"
for by in kernel operation layer; do expect 0 "$by " $T profile predict $RUN --repeat 1 --by $by; done
expect 0 "others" $T profile predict $RUN --repeat 1 --by entry

# a line for each burst, and none before the line that it waits for
cat >"$W/paced.py" <<'P'
import json, select, subprocess, sys
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
for i in range(3):
    word, seconds = p.stdout.readline().split()
    assert word == "burst" and (i == 0 or 0 < float(seconds) < 100), (i, word, seconds)
    assert not select.select([p.stdout], [], [], 0.2)[0], "it did not wait"
    print(file=p.stdin, flush=True)
assert json.loads(p.stdout.read())["repeat"] == 3 and p.wait() == 0
P
python3 "$W/paced.py" $T profile predict $RUN --repeat 3 --paced --json 2>"$W/err" && ok || bad "--paced: $(tail -1 "$W/err")"
[ "$($T profile predict $RUN --repeat 2 --paced </dev/null 2>/dev/null | grep -c '^burst ')" -eq 2 ] && ok || bad "--paced waits at the end of its input"

# a checkpoint brings its configuration and weights
expect 0 "" $T synth --output-dir "$W/data" --clips 1 --frames 2 --size 128x64
expect 0 "loss" $T train $RUN data.root="$W/data" 'data.split.train_games=[game1]' data.split.val_games=[] training.epochs=1 --output-dir "$W/a"
expect 0 "1 image, float32" $T profile predict --checkpoint "$W/a/last" --repeat 1
expect 0 "2 images, float32" $T profile train --checkpoint "$W/a/last" --repeat 1
expect 0 "1 image, float32" $T profile predict $RUN --adapter "$W/a/last" --repeat 1
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
