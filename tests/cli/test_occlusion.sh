#!/bin/bash
# A ball that nothing in its frame shows is found from the frames around it: a model of three frames against one of single frames,
# trained with as many steps on the same clips and measured on others. The figures are in docs/data.md.
# test_occlusion.sh TRACKNET SOURCE_DIR TN_OCCLUDE TN_CLIP; HEATMAPS=last, SPOTS=N and SEED=N vary it. Prints "N passed, N failed".
OCCLUDE=$(realpath "$3") MAKE=$(realpath "$4")
. "$(dirname "$0")/lib.sh"
HEATMAPS=${HEATMAPS:-all} SPOTS=${SPOTS:-3}

D=$W/data
"$OCCLUDE" "$D/train" 1 60 24 "$SPOTS" && "$OCCLUDE" "$D/test" 2 20 24 "$SPOTS" && ok || bad "no clips"
# The test's clips twice more: a ball counts only where it is hidden, or only where it is seen. Windows lie as they did.
for c in "$D"/test/*; do
  for game in hidden:1 seen:3; do
    copy=$D/${game%:*}/${c##*/}
    mkdir -p "$copy"
    ln -s "$c"/*.png "$copy"
    sed "s/,${game#*:},/,0,/" "$c/Label.csv" >"$copy/Label.csv"
  done
done

mkdir "$W/vit"
cat >"$W/vit/config.json" <<'P'
{"model_type": "dinov3_vit", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_register_tokens": 0, "patch_size": 8, "image_size": 128, "layerscale_value": 1.0, "use_gated_mlp": false, "hidden_act": "gelu"}
P
RUN="--device cpu --seed ${SEED:-42} --model vit_demo --training demo model.pretrained_model_name=$W/vit model.backbone.patch_size=8
  model.decoder.channels=[64,48,32] model.heatmap.size=[64,32] data.root=$D data.split.train_games=[train] data.split.val_games=[]
  data.preprocess.resize=[128,64] training.batch_size=8 training.limit_train_batches=160 training.epochs=6 training.precision=fp32"
WINDOWS="model.frames=concat data.sequence.enabled=true data.sequence.length=3 model.heatmaps=$HEATMAPS"
expect 0 "loss" $T train $RUN --output-dir "$W/one"
expect 0 "loss" $T train $RUN $WINDOWS --output-dir "$W/three"

# of the balls of a game: "found all", to 4 pixels of the frame
found() { # found MODEL GAME
  $T eval --checkpoint "$W/$1/last" --device cpu --threshold 0 --tolerance 4 --json "data.split.val_games=[$2]" 2>"$W/err" |
    sed -n 's/.*"tp": *\([0-9]*\).*/\1/p; s/.*"visible": *\([0-9]*\).*/\1/p' | sort -n | tr '\n' ' '
}
for m in one three; do
  read -r "${m}_hidden" hidden <<<"$(found $m hidden)"
  read -r "${m}_seen" seen <<<"$(found $m seen)"
done
echo "hidden balls found: $one_hidden of $hidden from one frame, $three_hidden from three; of those to be seen $one_seen of $seen and $three_seen"
[ "${hidden:-0}" -ge 50 ] && [ "$seen" -ge 300 ] && ok || bad "too few balls to tell: $(cat "$W/err")"
[ "$three_hidden" -ge $((hidden / 2)) ] && [ "$three_hidden" -ge $((2 * one_hidden)) ] && ok || bad "three frames do not find what is hidden"
[ "$three_seen" -ge $((seen * 4 / 5)) ] && [ "$three_seen" -ge "$one_seen" ] && ok || bad "three frames do not find what is seen"


# predicting lays windows over clips as evaluation does, whatever goes to the device together: it finds the same hidden balls
IMAGES=()
for c in "$D"/test/*; do IMAGES+=(--image "$c"); done
P="$T predict --checkpoint $W/three/last --device cpu"
expect 0 "480/480" $P "${IMAGES[@]}" --csv "$W/all.csv" --batch 8
expect 0 "480/480" $P "${IMAGES[@]}" --csv "$W/each.csv"
tail -qn +2 "$D"/test/*/Label.csv | paste -d, "$W/all.csv" <(echo && cat) >"$W/beside.csv" # both in the shell's order of clips
again=$(awk -F, '$6 == 3 && ($2 - $7) ^ 2 + ($3 - $8) ^ 2 <= 16' "$W/beside.csv" | wc -l)
[ "$again" -eq "$three_hidden" ] && ok || bad "predicting finds $again hidden balls, evaluating $three_hidden"
off=$(paste -d, "$W/all.csv" "$W/each.csv" | tail -n +2 | awk -F, '($2 - $6) ^ 2 + ($3 - $7) ^ 2 > 0.01' | wc -l)
[ "$off" -le 2 ] && ok || bad "$off frames are answered otherwise in batches" # of two peaks as high, either

# a video is a clip: the last one's table is that of its frames; two frames are fewer than a window, which repeats the first
"$MAKE" "$W/in.mkv" ffv1 25 0 "$c"/*.png && ok || bad "no video"
expect 0 "24 frames" $P --video "$W/in.mkv" --csv "$W/video.csv"
cmp -s <(tail -n +2 "$W/video.csv" | cut -d, -f3,4) <(tail -n 24 "$W/all.csv" | cut -d, -f2,3) && ok || bad "a video is answered unlike its frames"
"$MAKE" "$W/short.mkv" ffv1 25 0 "$c/0000.png" "$c/0001.png" && ok || bad "no video"
expect 0 "2 frames" $P --video "$W/short.mkv" --csv "$W/short.csv"

# no clip is as long as that
says "data.sequence.length is 25, but the longest clip of the train split, train/Clip1, has 24 frames; set it to 24 or less" \
  $T train $RUN $WINDOWS data.sequence.length=25 --output-dir "$W/long"
says "model.frames is concat, but there are no windows of frames" $T train $RUN model.frames=concat --output-dir "$W/long"
says "model.heatmaps is all, but model.frames is single" $T train $RUN model.heatmaps=all --output-dir "$W/long"

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
