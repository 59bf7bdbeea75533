#!/bin/bash
# Label files with bad rows: what is trained on, what is said, and tracknet labels.
# test_labels.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"

D="$W/data" L="$W/data/game1/Clip1/Label.csv"
expect 0 "" $T synth --output-dir "$D" --clips 2 --frames 12 --size 128x64
DATA="data.root=$D data.split.train_games=[game1] data.split.val_games=[]"
RUN="--model vit_qlora_random --training overfit data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4"
RUN="$RUN training.epochs=1 $DATA"
evaluated() { $T eval $RUN --split train --json 2>"$W/err" | tr -d ' ,' | grep '^"samples"'; }
[ "$(evaluated)" = '"samples":24' ] && ok || bad "not 24 samples: $(evaluated) $(cat "$W/err")"

# two rows that a real clip may have: the clip is trained on without them, and is told of once
cp "$L" "$W/good.csv"
sed -i -e '5s/.*/0003.jpg,1,,,0/' -e '9s/.*/0007.jpg,1,900,20,0/' "$L"
expect 0 "loss" $T train $RUN --output-dir "$W/run"
[ "$(grep -c '^warning: .*label rows' "$W/out")" -eq 1 ] && ok || bad "not one warning: $(cat "$W/out")"
grep -qF "2 label rows count as not labelled: 1 visible without coordinates (first $L:5: " "$W/out" && grep -qF "1 outside the frame (first $L:9: " "$W/out" &&
  ok || bad "the warning does not tell what and where: $(cat "$W/out")"
[ "$(evaluated)" = '"samples":22' ] && ok || bad "bad rows are evaluated: $(evaluated)"
says "$L:5: the ball is visible but has no coordinates" $T train $RUN --output-dir "$W/strict" training.strict_labels=true
[ ! -e "$W/strict/last" ] && ok || bad "a strict run trained"
says "$L:5: " $T eval $RUN --split train training.strict_labels=true

# the check
here=$PWD
in_work() { (cd "$W" && "$@" --config-dir "$here/configs"); } # where labels.png goes
expect 0 "usage: tracknet labels" $T labels --help
expect 0 "game1/Clip1       12        10" in_work $T labels $DATA
grep -qF "1 outside the frame: first $L:9: the ball at (900, 20) is outside the frame of 128 x 64 pixels" "$W/out" && grep -qE '^total +24 +22 ' "$W/out" && ok ||
  bad "labels does not tell: $(cat "$W/out")"
[ "$(head -c 8 "$W/labels.png" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] && ok || bad "no contact sheet labels.png"
expect 0 "pictures/labels.png" $T labels $DATA --out "$W/pictures/"
[ -s "$W/pictures/labels.png" ] && ok || bad "no contact sheet in the folder named"
says "$L:5: " in_work $T labels $DATA training.strict_labels=true
grep -qE '^total +24 +22 ' "$W/out" && ok || bad "a strict check prints no table"
says "no frames found" in_work $T labels $DATA --split val
expect 2 "not a value" in_work $T labels $DATA --split test
in_work $T labels $DATA --split train --json >"$W/json" 2>"$W/err"
python3 - "$W/json" "$L" <<'P' && ok || bad "labels --json: $(cat "$W/json")"
import json, sys
r = json.load(open(sys.argv[1]))
assert (r["frames"], r["labelled"], r["set_aside"], r["unlabelled"]) == (24, 22, 2, 2)
assert r["visible"] + r["invisible"] == 22 and r["split"] == "train" and r["strict"] is False and r["sheet"] == "labels.png"
assert [(f["kind"], f["rows"], f["file"], f["line"]) for f in r["faults"]] == [
    ("visible without coordinates", 1, sys.argv[2], 5), ("outside the frame", 1, sys.argv[2], 9)]
assert [c["name"] for c in r["clips"]] == ["game1/Clip1", "game1/Clip2"] and r["clips"][1]["faults"] == []
P

# nothing left; a file in UTF-16; a frame that is no picture
sed -i '2,$s/,.*/,1,,,/' "$L" && cp "$L" "$D/game1/Clip2/Label.csv"
says "no label of the train split can be used, of 24 rows; the first: $L:2: " $T train $RUN --output-dir "$W/none"
says "no label of the all split can be used" in_work $T labels $DATA
cp "$W/good.csv" "$L" && cp "$W/good.csv" "$D/game1/Clip2/Label.csv"
echo "no picture" >"$D/game1/Clip1/0002.jpg"
[ "$(evaluated)" = '"samples":23' ] && grep -qF "$L:4: 0002.jpg: neither JPEG nor PNG" "$W/err" && ok || bad "a frame that is no picture: $(cat "$W/err")"
printf '\377\376f\0' >"$L"
says "UTF-16" in_work $T labels $DATA

# frames in the order of their numbers
mkdir "$W/frames"
for n in 0 1 2 10 11; do cp "$D/game1/Clip2/0001.jpg" "$W/frames/f$n.JPG"; done
order=$($T predict --checkpoint "$W/run/last" --image "$W/frames" --json 2>"$W/err" | grep -o 'f[0-9]*\.JPG' | tr '\n' ' ')
[ "$order" = "f0.JPG f1.JPG f2.JPG f10.JPG f11.JPG " ] && ok || bad "order: $order $(cat "$W/err")"

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
