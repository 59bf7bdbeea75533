#!/bin/bash
# QLoRA on the real volleyball frames with a DINOv3 of random weights: the loss falls by 90 % and every ball is found.
# test_overfit.sh TRACKNET SOURCE_DIR [DEVICE]
T=$(realpath "$1") DEVICE=${3:-cpu}
cd "$2" || exit 2
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
$T train --device "$DEVICE" --model vit_qlora_random --training overfit --output-dir "$W" data.root=tests/data/volleyball \
  'data.split.train_games=[game1]' 'data.split.val_games=[]' data.preprocess.flip_prob=0 || exit 1
$T eval --device "$DEVICE" --checkpoint "$W/last" --split train --json >"$W/eval.json" || exit 1
python3 - "$W" <<'P'
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/log.csv")))
e = json.load(open(sys.argv[1] + "/eval.json"))
first, last = float(rows[0]["train/loss"]), float(rows[-1]["train/loss"])
print("loss of the first epoch %.5f, of the last %.5f; PCK@3 %.3f on %d frames" % (first, last, e["pck@3"], e["visible"]))
ok = last < 0.1 * first and e["pck@3"] == 1.0 and e["visible"] == 21
print("%d passed, %d failed" % (ok, not ok))
sys.exit(not ok)
P
