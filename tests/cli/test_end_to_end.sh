#!/bin/bash
# The main job, from labels that are not all right to a video with the ball drawn: QLoRA on the real volleyball frames with a DINOv3
# of random weights. The loss falls by 90 %, every ball is found, and what predict writes reads back.
# test_end_to_end.sh TRACKNET SOURCE_DIR TN_CLIP [DEVICE]; prints "N passed, N failed".
MAKE=$(realpath "$3") DEVICE=${4:-cpu}
. "$(dirname "$0")/lib.sh"
cp -r tests/data/volleyball "$W/data"
C="$W/data/game1/Clip1"
FRAMES=("$C"/*.jpg) # before others are added
cp "$C/0000.jpg" "$C/0022.jpg" && cp "$C/0000.jpg" "$C/0023.jpg"
printf '0021.jpg,1,576,300,0\n\n0022.jpg,1,,,0\n0023.jpg,1,5000,100,0\n' >>"$C/Label.csv" # no such frame, a ball nowhere, one outside

D="--device $DEVICE"
expect 0 "rows set aside" $T labels --data tracknet data.root="$W/data" 'data.split.train_games=[game1]' 'data.split.val_games=[]' --out "$W/sheet.png"
expect 0 "loss" $T train $D --model vit_qlora_random --training overfit --output-dir "$W/run" data.root="$W/data" \
  'data.split.train_games=[game1]' 'data.split.val_games=[]' data.preprocess.flip_prob=0
grep -q "Label.csv:23" "$W/out" && ok || bad "the first bad row is not named: $(grep -i label "$W/out")"
expect 0 "F1" $T eval $D --checkpoint "$W/run" --split train --tolerance 20
$T eval $D --checkpoint "$W/run/last" --split train --tolerance 20 --json >"$W/eval.json" 2>"$W/err" && ok || bad "eval: $(cat "$W/err")"

"$MAKE" "$W/in.mkv" ffv1 25 1 "${FRAMES[@]}" && ok || bad "no video"
expect 0 "21 frames, the ball visible in 21" $T predict $D --checkpoint "$W/run/last" --video "$W/in.mkv" --out "$W/out.mp4" --csv "$W/ball.csv"
expect 0 "21 frames" $T predict $D --checkpoint "$W/run/last" --video "$W/out.mp4" --csv "$W/again.csv"
"$MAKE" --tell "$W/out.mp4" >"$W/told"
grep -q "packets 21 size 1280x720 rate 25.000" "$W/told" && grep -q ^sound "$W/told" && ok || bad "the video reads back as $(cat "$W/told")"

python3 - "$W" <<'P' && ok || bad "what was learned or written is not right"
import csv, json, math, sys
W = sys.argv[1] + "/"
rows = lambda f: list(csv.DictReader(open(W + f)))
log, e, ball, again = rows("run/log.csv"), json.load(open(W + "eval.json")), rows("ball.csv"), rows("again.csv")
first, last = float(log[0]["train/loss"]), float(log[-1]["train/loss"])
labels = [l.split(",") for l in open(W + "data/game1/Clip1/Label.csv").read().split("\n")[1:22]]
off = [math.hypot(float(r["X"]) - float(l[2]), float(r["Y"]) - float(l[3])) for r, l in zip(ball, labels)]
print("loss of the first epoch %.5f, of the last %.5f; PCK@3 %.3f and F1 %.3f on %d frames; in the video at most %.1f px off" %
      (first, last, e["pck@3"], e["f1"], e["visible"], max(off)))
assert last < 0.1 * first and e["pck@3"] == 1 and e["f1"] == 1 and (e["visible"], e["tp"]) == (21, 21), e
assert list(ball[0]) == ["Frame", "Visibility", "X", "Y", "Confidence", "Time"] and len(ball) == len(again) == 21
assert max(off) < 20 and all(abs(float(r["Time"]) - i / 25) < 0.001 for i, r in enumerate(ball))
P
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
