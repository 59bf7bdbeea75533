#!/bin/bash
# Frames without a ball, the threshold that tells them, and the figures of papers, as a person gets them.
# test_metrics.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"

# Clips of noise with a bright ball; every third frame of `mixed` shows another bright thing and no ball. `large` is `mixed` in
# frames of twice the size, `late` has frames that the labels leave out.
cat >"$W/draw.py" <<'P'
import os, random, struct, sys, zlib
root, W, H = sys.argv[1], 128, 64
def png(path, pixels, scale):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = [b"\0" + b"".join(bytes(p) * scale for p in pixels[y // scale]) for y in range(H * scale)]
    head = struct.pack(">IIBBBBB", W * scale, H * scale, 8, 2, 0, 0, 0)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))
for game, empty, scale in (("mixed", 3, 1), ("large", 3, 2), ("full", 0, 1), ("empty", 1, 1)):
    rng, d = random.Random("frames"), os.path.join(root, game, "Clip1")
    os.makedirs(d)
    labels = ["file name,visibility,x-coordinate,y-coordinate,status"]
    for i in range(12):
        ball = not empty or i % empty
        x, y = rng.uniform(12, W - 12), rng.uniform(12, H - 12)
        near = lambda px, py: (px - x) ** 2 + (py - y) ** 2 < 16
        thing = (250, 250, 120) if ball else (250, 120, 120)
        png("%s/%04d.png" % (d, i), [[thing if near(px, py) else (40 + rng.randrange(16), 90, 60) for px in range(W)] for py in range(H)], scale)
        labels.append("%04d.png,1,%.1f,%.1f,0" % (i, x * scale, y * scale) if ball else "%04d.png,0,,," % i)
    open(d + "/Label.csv", "w").write("\n".join(labels) + "\n")
P
python3 "$W/draw.py" "$W/data" || bad "no frames drawn"
RUN="--device cpu --model vit_qlora_random --training overfit data.root=$W/data data.split.train_games=[mixed] data.preprocess.flip_prob=0"
RUN="$RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.epochs=20"
check() { # check NAME, Python on standard input: J(file) reads JSON from $W, R(run) rows of a log.csv
  (echo 'import csv, json, math, sys; W = sys.argv[1]; J = lambda f: json.load(open(W + "/" + f)); R = lambda r: list(csv.DictReader(open(W + "/" + r + "/log.csv")))'; cat) >"$W/check.py"
  python3 "$W/check.py" "$W" 2>"$W/err" && ok || bad "$1: $(tail -1 "$W/err")"
}

# ---- ignore and negative ----
for how in ignore negative; do
  for loss in mse focal wbce; do
    [ $how-$loss = ignore-wbce ] && continue # logits as focal's
    expect 0 "F1 " $T train $RUN --output-dir "$W/$how-$loss" 'data.split.val_games=[mixed]' training.loss.invisible=$how training.loss.name=$loss training.loss.pos_weight=4
    [ $how = negative ] || grep -q "4 of the train split's 12 frames show no ball" "$W/out" && ok || bad "nothing is said of frames that are left out"
    $T predict --checkpoint "$W/$how-$loss/last" --image "$W/data/mixed/Clip1" --json >"$W/$how-$loss.json" 2>"$W/err" || bad "predict: $(tail -1 "$W/err")"
    $T eval --checkpoint "$W/$how-$loss/last" --json >"$W/$how-$loss.eval" 2>"$W/err" || bad "eval: $(tail -1 "$W/err")"
  done
done
check "negative makes empty frames empty" <<'P'
for loss in "mse", "focal":
    seen = {how: [r["confidence"] for r in J("%s-%s.json" % (how, loss))] for how in ("ignore", "negative")}
    empty = {how: sum(c[0::3]) / 4 for how, c in seen.items()}
    full = sum(c for i, c in enumerate(seen["negative"]) if i % 3) / 8
    print(loss, empty, full, file=sys.stderr)
    assert empty["negative"] < 0.7 * empty["ignore"] and empty["negative"] < 0.5 * full, (loss, empty, full)
P
# what training wrote of the last epoch is what eval says of it, and what the predictions say
check "eval, log.csv and run.json agree" <<'P'
for run in "ignore-mse", "ignore-focal", "negative-mse", "negative-focal", "negative-wbce":
    e, row, stored, seen = J(run + ".eval"), R(run)[-1], J(run + "/last/run.json")["threshold"], J(run + ".json")
    assert abs(e["threshold"] - stored) < 1e-8 and 0 <= stored <= 1, (stored, e)
    for k in "tp", "fp1", "fp2", "tn", "fn":
        assert int(row["val/" + k]) == e[k], (k, row, e)
    for k in "accuracy", "precision", "recall", "f1", "threshold":
        assert abs(float(row["val/" + k]) - e[k]) < 1e-8, (k, row, e)
    assert abs(float(row["val/l2_frame"]) - e["mean_l2_frame"]) < 1e-6 and e["samples"] == 12 and e["visible"] == 8
    assert e["tp"] + e["fp1"] + e["fn"] == 8 and e["fp2"] + e["tn"] == 4
    n = dict.fromkeys(("tp", "fp1", "fp2", "tn", "fn"), 0)
    labels = [l.split(",") for l in open(W + "/data/mixed/Clip1/Label.csv").read().split("\n")[1:13]]
    for p, l in zip(seen, labels):
        found = p["confidence"] >= stored
        if l[1] == "0": n["fp2" if found else "tn"] += 1
        else: n["fn" if not found else "tp" if math.hypot(p["x"] - float(l[2]), p["y"] - float(l[3])) <= 4 else "fp1"] += 1
    assert n == {k: e[k] for k in n}, (n, e)
    p, r = e["precision"], e["recall"]
    assert abs(e["accuracy"] - (e["tp"] + e["tn"]) / 12) < 1e-8 and abs(e["f1"] - (2 * p * r / (p + r) if p + r else 0)) < 1e-8
assert J("negative-mse.eval")["f1"] == 1
P

# ---- thresholds and tolerances ----
N="$W/negative-mse/last"
expect 0 "at a confidence of 0.000 or more, at most 4 px" $T eval --checkpoint "$N" --threshold 0
grep -q "px of the frame from the middle" "$W/out" && bad "a tolerance of 4 px is called too fine for heatmap pixels of 4"
grep -Eq "^ +8 +0 +4 +0 +0 " "$W/out" && ok || bad "threshold 0 does not find a ball everywhere: $(tail -2 "$W/out")"
expect 0 '"fn": 8' $T eval --checkpoint "$N" --threshold 1 --json
expect 0 '"f1": 0.0' $T eval --checkpoint "$N" --threshold 1 --json
expect 0 '"tp": 0' $T eval --checkpoint "$N" --tolerance 0 --json
grep -q '"fp1": 8' "$W/out" && ok || bad "a tolerance of 0 leaves balls near"
expect 0 "2.8 px of the frame from the middle of the heatmap pixel" $T eval --checkpoint "$N" --tolerance 2
expect 0 "tolerance: 2.5" $T eval --checkpoint "$N" --tolerance 2.5 --dry-run
# frames of twice the size: distances are in their pixels, as predictions are
$T eval --checkpoint "$N" --tolerance 3 --json 'data.split.val_games=[large]' >"$W/large.eval" 2>"$W/err" || bad "$(cat "$W/err")"
$T predict --checkpoint "$N" --image "$W/data/large/Clip1" --json >"$W/large.json" 2>"$W/err" || bad "$(cat "$W/err")"
check "distances are in the frame's own pixels" <<'P'
e, off = J("large.eval"), []
for p, l in zip(J("large.json"), open(W + "/data/large/Clip1/Label.csv").read().split("\n")[1:13]):
    _, visible, x, y, *_ = l.split(",")
    if visible == "1": off.append((math.hypot(p["x"] - float(x), p["y"] - float(y)), p["confidence"] >= e["threshold"]))
assert abs(sum(d for d, _ in off) / 8 - e["mean_l2_frame"]) < 0.01 and e["tolerance"] == 3, (off, e)
assert e["tp"] == sum(d <= 3 for d, found in off if found) and e["fp1"] == sum(d > 3 for d, found in off if found), (off, e)
P
cp -r "$N" "$W/other"
python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); del r["threshold"]; json.dump(r, open(sys.argv[1], "w"))' "$W/other/run.json"
expect 0 '"threshold": 0.0' $T eval --checkpoint "$W/other" --json
rm "$W/other/run.json"
expect 0 '"threshold": 0.0' $T eval --checkpoint "$W/other" --json
echo '{"threshold": 0.125}' >"$W/other/run.json" # an adapter's folder goes before the checkpoint's, also with a threshold of 0
expect 0 '"threshold": 0.125' $T eval --checkpoint "$N" --adapter "$W/other" --json
echo '{}' >"$W/other/run.json"
expect 0 '"threshold": 0.0' $T eval --checkpoint "$N" --adapter "$W/other" --json
for t in 7 '"high"'; do
  echo "{\"threshold\": $t}" >"$W/other/run.json"
  says 'run.json: "threshold" is no number from 0 to 1' $T eval --checkpoint "$W/other"
done
says "the threshold is 2" $T eval --checkpoint "$N" --threshold 2
says "the threshold is -0.5" $T eval --checkpoint "$N" --threshold -0.5
says "training.metrics.tolerance must be" $T eval --checkpoint "$N" --tolerance -1
expect 2 "not a value for this option" $T eval --checkpoint "$N" --threshold high
expect 2 "not a value for this option" $T eval --checkpoint "$N" --tolerance nan
expect 2 "no option" $T train --threshold 1

# ---- splits that show always or never a ball ----
SHORT="$RUN training.epochs=2"
expect 0 "every frame of the val split shows a ball: checkpoints store the threshold 0" $T train $SHORT --output-dir "$W/a" 'data.split.val_games=[full]'
grep -q '"threshold": 0' "$W/a/best/run.json" && ok || bad "a threshold was chosen on frames that all show a ball"
expect 0 "no frame of the val split shows a ball" $T train $SHORT --output-dir "$W/b" 'data.split.val_games=[empty]'
grep -q "L2 - px  PCK@3 -" "$W/out" && ok || bad "a distance without a ball: $(grep epoch "$W/out" | head -1)"
expect 0 "every frame of the train split shows a ball" $T train $SHORT --output-dir "$W/c" 'data.split.val_games=[]' 'data.split.train_games=[full]' training.loss.invisible=negative
expect 0 "no validation split to choose a threshold on" $T train $SHORT --output-dir "$W/d" 'data.split.val_games=[]'
expect 0 "loss -  mean L2 - px (- px of the frame)  PCK@3 - (0 of 0 visible; 12 samples)" $T eval --checkpoint "$W/b/last"
$T eval --checkpoint "$W/b/last" --json >"$W/none" 2>"$W/err" || bad "$(cat "$W/err")"
check "what was not measured is null, and empty in log.csv" <<'P'
e, row = J("none"), R("b")[-1]
assert e["mean_l2"] is None and e["pck@3"] is None and e["mean_l2_frame"] is None and e["loss"] is None, e
assert e["fp2"] == 12 and e["precision"] == e["recall"] == e["f1"] == e["accuracy"] == 0, e
assert row["val/l2"] == row["val/pck"] == row["val/loss"] == row["val/l2_frame"] == "" and row["val/fp2"] == "12", row
rows = R("d")
assert all(v == "" for k, v in rows[-1].items() if k.startswith("val/")) and "val/f1" in rows[0] and None not in rows[-1], rows
P

# ---- F1 as what early stopping follows ----
expect 0 "best" $T train $RUN --output-dir "$W/f1" 'data.split.val_games=[mixed]' training.loss.invisible=negative training.early_stopping.monitor=val/f1
check "early stopping has the largest F1, best the smallest loss" <<'P'
rows = R("f1")
f1 = [float(r["val/f1"]) for r in rows]
assert f1[0] < max(f1) and abs(max(f1) - J("f1/last/trainer_state.json")["early_stopping_best"]) < 1e-8, f1
loss = [float(r["val/loss"]) for r in rows]
assert J("f1/best/trainer_state.json")["epoch"] == 1 + loss.index(min(loss)), loss
P
says "more is better for val/f1" $T train $SHORT --output-dir "$W/x" 'data.split.val_games=[mixed]' training.early_stopping.monitor=val/f1 training.early_stopping.mode=min
says "training.loss.invisible" $T train $SHORT --output-dir "$W/x" training.loss.invisible=yes
says "training.loss.pos_weight" $T train $SHORT --output-dir "$W/x" training.loss.name=bce training.loss.pos_weight=-1
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
