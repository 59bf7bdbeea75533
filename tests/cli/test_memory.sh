#!/bin/bash
# A limit of device memory, halved until the least that a run takes: what is kept, made again, cut up and streamed.
# test_memory.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"

D="$W/data"
expect 0 "" $T synth --output-dir "$D" --clips 1 --frames 5 --size 128x64
mkdir "$W/backbone"
cat >"$W/backbone/config.json" <<'C'
{"model_type": "dinov3_vit", "hidden_size": 256, "intermediate_size": 520, "num_hidden_layers": 8, "num_attention_heads": 4,
 "num_register_tokens": 4, "patch_size": 16, "use_gated_mlp": true, "hidden_act": "silu"}
C
RUN="--model vit_qlora_random --training overfit model.pretrained_model_name=$W/backbone model.decoder.channels=[256,32,16]"
RUN="$RUN model.lora.r=2 model.heatmap.size=[32,16] data.preprocess.resize=[128,64] data.root=$D data.split.train_games=[game1]"
RUN="$RUN data.split.val_games=[game1] training.batch_size=4 training.epochs=1 --device cpu"

# trains LIMIT KEY=VALUE...: the run's JSON in $W/run.json, its lines in $W/err; the exit status
trains() {
  local limit=$1
  shift
  "$T" train $RUN --json --overwrite --output-dir "$W/run" ${limit:+--memory-limit $limit} "$@" >"$W/run.json" 2>"$W/err"
}
value() { python3 -c "import json,sys; j=json.load(open('$W/run.json')); print($1)"; }
# what was taken is what was planned, within 3 %, and no more
as_planned() {
  [ "$(value "0.97 * j['memory']['total'] <= j['allocated_peak'] <= j['memory']['total']")" = True ] && ok || bad "$1: planned $(value "j['memory']"), took $(value "j['allocated_peak']")"
}

for quantised in true false; do
  K="model.quantization.enabled=$quantised"
  trains "" $K && as_planned "no limit" || bad "no limit: $(tail -1 "$W/err")"
  [ "$(value "j['memory']['streamed']")" = 0 ] && ok || bad "weights stream where there is no limit"
  first=$(value "j['first_loss']")
  limit=64 least=
  while [ -z "$least" ]; do
    if trains $limit $K; then
      as_planned "$limit MiB"
      python3 -c "import sys; sys.exit(abs($(value "j['first_loss']") - $first) > 1e-6 * $first)" && ok || bad "$limit MiB: the first loss is $(value "j['first_loss']"), not $first"
    else
      least=$(sed -n "s/^tracknet train: training needs at least \([0-9]*\) MiB on '.*': .*there are $limit MiB.*/\1/p" "$W/err")
      [ "${least:-0}" -gt $limit ] && [ "$least" -le $((2 * limit)) ] && ok || bad "$limit MiB: $(tail -2 "$W/err")"
      least=${least:-failed}
    fi
    limit=$((limit / 2))
  done
  trains "$least" $K && as_planned "the least" || bad "the least, $least MiB: $(tail -1 "$W/err")"
  grep -q "stay in the host.s memory and pass through a window of [23] layers" "$W/err" && ok || bad "the least, $least MiB, streams no weights: $(cat "$W/err")"
  trains $((least - 1)) $K && bad "a run takes less than the least, $least MiB" || ok
  grep -q "needs at least $least MiB" "$W/err" && ok || bad "$((least - 1)) MiB: $(tail -1 "$W/err")"
  expect 0 "MiB of frozen weights stay in the host's memory" $T train $RUN $K --dry-run --output-dir "$W/dry" --memory-limit "$least"
  expect 0 "copy of weights" $T profile train $RUN $K --repeat 1 --memory-limit "$least"
done

# evaluation and prediction stream too, and say the same
loss() { "$T" eval --checkpoint "$W/run/last" --device cpu --json "$@" 2>"$W/err" | sed -n 's/.*"loss": \([0-9.]*\).*/\1/p'; }
trains "" model.heatmap.head_std=0.3 || bad "$(tail -1 "$W/err")"
whole=$(loss)
grep -q "pass through a window" "$W/err" && bad "an evaluation without a limit streams" || ok
some=$(loss --memory-limit 4)
grep -q "pass through a window" "$W/err" && ok || bad "evaluation streams nothing: $(cat "$W/err")"
python3 -c "import sys; sys.exit(abs($some - $whole) > 1e-6 * $whole)" && ok || bad "the loss is $some with a limit, not $whole"
expect 0 "" $T predict --checkpoint "$W/run/last" --device cpu --image "$D/game1/Clip1" --csv "$W/whole.csv"
expect 0 "pass through a window" $T predict --checkpoint "$W/run/last" --device cpu --image "$D/game1/Clip1" --csv "$W/some.csv" --memory-limit 4
cmp "$W/whole.csv" "$W/some.csv" && ok || bad "predictions differ with a limit"
says "over the limit" $T predict --checkpoint "$W/run/last" --device cpu --image "$D/game1/Clip1" --csv "$W/none.csv" --memory-limit 1

echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
