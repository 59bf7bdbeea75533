#!/bin/bash
# A step of a frozen backbone's second epoch, with its features kept and without: both sides in turn, the medians at the end.
# Usage: frozen.sh TRACKNET SOURCE_DIR [DEVICE [ROUNDS [KEY=VALUE ...]]]
T=$(realpath "$1")
cd "$2" || exit 2
device=${3:-cpu} rounds=${4:-3}
shift $(($# < 4 ? $# : 4))
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
for ((i = 0; i < rounds; i++)); do
  for cache in -1 0; do
    "$T" train --device "$device" --model vit_heatmap --training default --output-dir "$W/run" --overwrite \
      model.pretrained_model_name=configs/backbone/vit-s model.backbone.random_init=true data.root=tests/data/volleyball \
      'data.split.train_games=[game1]' 'data.split.val_games=[]' data.preprocess.flip_prob=0 training.batch_size=4 \
      training.epochs=3 training.feature_cache=$cache "$@" >"$W/out" 2>&1 || { cat "$W/out"; exit 1; }
    python3 - "$W/run/log.csv" <<'P' >>"$W/$cache"
import csv, sys
one, two = list(csv.DictReader(open(sys.argv[1])))[:2]
print(1000 * float(two["seconds"]) / (int(two["step"]) - int(one["step"])))
P
  done
done
python3 - "$W/-1" "$W/0" <<'P'
import statistics, sys
kept, anew = ([float(x) for x in open(f)] for f in sys.argv[1:])
print("ms a step, features kept: " + " ".join(f"{x:.1f}" for x in kept) + "; computed anew: " + " ".join(f"{x:.1f}" for x in anew))
print(f"medians {statistics.median(kept):.1f} and {statistics.median(anew):.1f}, ratio {statistics.median(anew) / statistics.median(kept):.2f}")
P
