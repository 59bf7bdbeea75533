#!/bin/bash
# Values as people type them: texts that are no YAML, folders under home and relative ones, bytes that are no UTF-8, numbers where
# the decimal point is a comma. test_values.sh TRACKNET SOURCE_DIR TN_LOCALE; prints "N passed, N failed".
LOCALE=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

CONFIGS="$PWD/configs"
expect 0 "" $T synth --output-dir "$W/data" --clips 1 --frames 4 --size 128x64
cp -r configs/backbone/tiny "$W/base"
RUN="--config-dir $CONFIGS --model vit_qlora_random --training overfit data.split.train_games=[game1] data.split.val_games=
  data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.epochs=1"
line() { grep -m1 -- "^ *$1:" "$2" | sed 's/^ *//'; } # line KEY FILE: the first of that name in a configuration

# --output-dir and KEY=VALUE mean the folder of that name, and --resume finds it again
for name in "o'brien" "run #1: [a] {b}" " both ends " $'caf\xe9' '"quoted' "*x"; do
  expect 0 "loss" $T train $RUN "data.root=$W/data" --output-dir "$W/$name"
  [ -s "$W/$name/last/config.yaml" ] && ok || bad "'$name' is not the folder of the run"
  expect 0 "loss" $T train --output-dir "$W/$name" --resume "training.epochs=2"
done
[ "$(find "$W" -mindepth 1 -maxdepth 1 -name '[^d]*' -type d | wc -l)" -eq 7 ] && ok || bad "folders that nobody named: $(ls -b "$W")"
ODD=$W/$'it\'s #1: [caf\xe9]'
mkdir "$ODD" && cp -r "$W/data" "$W/base" "$ODD"
expect 0 "loss" $T train $RUN "data.root=$ODD/data" "model.pretrained_model_name=$ODD/base" training.output_dir="$ODD/run" --json
python3 -c 'import json, sys; json.load(open(sys.argv[1], encoding="utf-8"))' "$ODD/run/best/adapter_config.json" && ok || bad "adapter_config.json is no JSON"
expect 0 "x " $T predict --checkpoint "$ODD/run/best" --image "$ODD/data/game1/Clip1/0000.jpg"
expect 0 "4 samples" $T eval --checkpoint "$ODD/run/best" --split train

# a backbone that a configuration names: a folder from here, else from its file, in whatever folder the command runs
says "training needs at least" env -C "$W" $T demo --config-dir "$CONFIGS" --memory-limit 1 --output-dir "$W/de'mo"
[ -d "$W/de'mo/data/hard" ] && ok || bad "the demonstration drew elsewhere"
says "there is no data configuration 'tracknet'" $T demo --config-dir "$W/base" --output-dir "$W/undrawn"
[ -e "$W/undrawn" ] && bad "the demonstration drew for no configuration" || ok
expect 0 "memory plan" env -C "$W" $T train $RUN data.root=data --dry-run
[ "$(line pretrained_model_name "$W/out")" = "pretrained_model_name: \"$(realpath "$CONFIGS")/backbone/tiny\"" ] && ok || bad "$(grep pretrained "$W/out")"
cp "$W/out" "$W/elsewhere.yaml"
expect 0 "memory plan" env -C / $T train --config "$W/elsewhere.yaml" data.root="$W/data" --dry-run
mkdir -p "$W/here/work" "$W/here/backbone" && cp -r "$W/base" "$W/here/backbone/tiny"
expect 0 "memory plan" env -C "$W/here/work" $T train $RUN data.root="$W/data" --dry-run
[ "$(line pretrained_model_name "$W/out")" = 'pretrained_model_name: "../backbone/tiny"' ] && ok || bad "the working folder's does not come first"
says "'../backbone/none' is" env -C "$W" $T train $RUN data.root=data model.pretrained_model_name=../backbone/none --dry-run
says "'../backbone/tiny' is" env -C "$W" $T train $RUN data.root=data model.pretrained_model_name=../backbone/tiny --dry-run

# a configuration that was printed reads back to itself
$T train $RUN "data.root=$ODD" training.seed=18446744073709551615 --dry-run >"$W/one.yaml" 2>/dev/null
$T train --config "$W/one.yaml" --dry-run >"$W/two.yaml" 2>/dev/null
cmp -s "$W/one.yaml" "$W/two.yaml" && grep -q '^  root: !!binary' "$W/one.yaml" && ok || bad "a printed configuration is not itself"
[ "$(line seed "$W/two.yaml")" = "seed: 18446744073709551615" ] && ok || bad "the seed is $(line seed "$W/two.yaml")"

# one document a file
printf 'training:\n  epochs: 3\n---\ntraining:\n  epochs: 7\n' >"$W/second.yaml"
says "second.yaml:3:" $T train --config "$W/second.yaml" --dry-run
printf 'training:\n  epochs: 3\n...\n}{ not: [yaml\n' >"$W/junk.yaml"
says "junk.yaml:4:" $T train --config "$W/junk.yaml" --dry-run
printf 'training:\n  optimizer: {name: caf\xe9}\n' >"$W/latin.yaml"
says "latin.yaml:2:" $T train --config "$W/latin.yaml" --dry-run
cat >"$W/yaml.yaml" <<'Y'
---
x-shared: {lora: &lora {r: 4, lora_alpha: 010, enabled: Yes}}
data: {root: data, split: {train_games: [game1], val_games: }}
model:
  lora: {<<: *lora, r: 0x8}
  quantization: {load_in_4bit: On, bnb_4bit_quant_type: FP4, bnb_4bit_use_double_quant: False, bnb_4bit_compute_dtype: torch.bfloat16, llm_int8_threshold: 6.0}
training:
  optimizer: {name: AdamW, lr: "1e-4"}
  grad_clip_norm: null
...
Y
expect 1 "llm_int8_threshold' is accepted and not used" $T train --config "$W/yaml.yaml" --dry-run
for want in 'r: 8' 'lora_alpha: 8.0' 'val_games: []' 'quant_type: "fp4"' 'compress_statistics: false' 'compute_dtype: "bfloat16"' \
  'name: "adamw"' 'lr: 0.0001' 'grad_clip_norm: 0.0'; do
  grep -qF -- " $want" "$W/out" && ok || bad "the configuration has no '$want'"
done

# numbers that what was chosen beside them does not read: one warning each, with its place; none for a default or where they are read
cat >"$W/unread.yaml" <<'Y'
training:
  loss: {name: mse, alpha: 2, beta: 4.0,
    pos_weight: 5}
  optimizer: {name: adamw, momentum: 0.8}
Y
warned() { # WHAT N ARGS: train --dry-run gives N warnings of keys without effect, one of which has WHAT
  local what=$1 n=$2
  shift 2
  $T train "$@" --dry-run >/dev/null 2>"$W/err"
  [ "$(grep -c "^warning: .* has no effect: " "$W/err")" -eq "$n" ] && { [ "$n" -eq 0 ] || grep -qF -- "$what" "$W/err"; } && ok || bad "$n warnings of '$what': $(cat "$W/err")"
}
warned "unread.yaml:3:5: key 'training.loss.pos_weight' has no effect: training.loss.name is mse, and what reads the key is bce, wbce" 2 --config "$W/unread.yaml"
warned "unread.yaml:4:28: key 'training.optimizer.momentum' has no effect: training.optimizer.name is adamw" 2 --config "$W/unread.yaml" --seed 3 --output-dir "$W/unread"
warned "" 0 --config "$W/unread.yaml" training.loss.name=wbce training.optimizer.name=sgd
warned "command line: key 'training.loss.alpha' has no effect: training.loss.name is bce, and what reads the key is focal" 1 $RUN training.loss.name=bce training.loss.pos_weight=3 training.loss.alpha=3
warned "" 0 $RUN training.loss.name=focal training.loss.alpha=3 training.loss.beta=1 training.loss.pos_weight=1
for f in "$CONFIGS"/model/*.yaml; do warned "" 0 --config-dir "$CONFIGS" --model "$(basename "$f" .yaml)"; done
for f in "$CONFIGS"/training/*.yaml; do warned "" 0 --config-dir "$CONFIGS" --training "$(basename "$f" .yaml)"; done

# a section in whose place a value stands: which keys it takes, whatever is said of them later
says "command line: data.preprocess.color_jitter is a section and cannot be '0.5'; give data.preprocess.color_jitter.brightness, or another of its keys: brightness, contrast, saturation, hue" $T train --dry-run data.preprocess.color_jitter=0.5
says "command line: model.lora is a section and cannot be 'true'; give model.lora.enabled, or another of its keys: enabled, r, lora_alpha, " $T train --dry-run model.lora=true model.lora.r=8
says "model.lora is a section and cannot be '5'" $T train --dry-run training.lora=5
says "training.data_loader is a section and cannot be a list; give training.data_loader.num_workers, or another of its keys: num_workers, prefetch_factor, cache_gb, drop_last" $T train --dry-run training.data_loader=[1,2]
printf 'model:\n  fpn: wide\ntraining: {loss: }\n' >"$W/section.yaml"
says "section.yaml:2:3: model.fpn is a section and cannot be 'wide'; give model.fpn.in_channels, or another of its keys: in_channels, lateral_dim, fuse" $T train --config "$W/section.yaml" --dry-run
printf 'data: 3\n' >"$W/section.yaml"
says "section.yaml:1:1: data is a section and cannot be '3'; give data.root, or another of its keys: root, split, preprocess, sequence" $T train --config "$W/section.yaml" --dry-run

# ~ where the shell leaves it, in options and in keys; a base named from another folder
export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache} HOME=$W/home # kernels stay built
mkdir "$HOME" && cp -r "$W/data" "$W/base" "$HOME"
expect 0 "loss" $T train $RUN 'data.root=~/data' model.pretrained_model_name='~/base' --output-dir='~/run'
expect 0 "loss" $T train $RUN 'data.root=~/data' training.init_from='~/run/best' training.output_dir='~/next'
[ -s "$HOME/run/best/config.yaml" ] && [ -s "$HOME/next/best/config.yaml" ] && [ ! -e "$SRC/~" ] && ok || bad "~ is no home folder"
expect 0 "x " $T predict --checkpoint='~/run/best' --image='~/data/game1/Clip1/0000.jpg' --outdir='~/pictures' --csv='~/balls.csv'
[ -s "$HOME/balls.csv" ] && [ -s "$HOME/pictures/0000_overlay.png" ] && ok || bad "predict wrote elsewhere"
expect 0 "rank" $T adapter info --adapter='~/run/best'
expect 0 "" $T train --config='~/run/best/config.yaml' --dry-run --overwrite
(cd "$W" && $T train $RUN data.root=data model.pretrained_model_name=base --output-dir relative >/dev/null 2>&1)
expect 0 "x " $T predict --checkpoint "$W/relative/best" --image "$W/data/game1/Clip1/0000.jpg"
expect 0 "4 samples" $T eval --checkpoint "$W/relative/best" --split train
expect 0 "" $T synth --output-dir "$W/s" --clips 1 --frames 1 --size 128x64 --seed 7
cmp -s "$W/s/game1/Clip1/0000.jpg" "$W/data/game1/Clip1/0000.jpg" && bad "synth takes no --seed" || ok
expect 2 "not a value for this option: '7 # x'" $T train --seed '7 # x'
expect 2 "not a value" $T train --seed 18446744073709551616

# a program that set its locale: the same numbers go in and out, and its callbacks see the locale that it set
LC_ALL=C $LOCALE "$W/data" "$W/point" >"$W/point.txt" 2>"$W/err" && ok || bad "tn-locale: $(tail -1 "$W/err")"
if command -v localedef >/dev/null && localedef -i de_DE -f UTF-8 "$W/de_DE.UTF-8" >/dev/null 2>&1; then
  LOCPATH=$W LC_ALL=de_DE.UTF-8 $LOCALE "$W/data" "$W/comma" >"$W/comma.txt" 2>"$W/err" && ok || bad "with commas: $(tail -1 "$W/err")"
  [ "$(head -1 "$W/err")" = "0,5" ] && ok || bad "the locale has no comma"
  sed -i "s|$W/comma|$W/point|" "$W/comma.txt"
  cmp -s "$W/point.txt" "$W/comma.txt" && ok || bad "with commas: $(diff "$W/point.txt" "$W/comma.txt" | head -3)"
  cmp -s <(cut -d, -f1-7 "$W/point/log.csv") <(cut -d, -f1-7 "$W/comma/log.csv") && ok || bad "log.csv: $(tail -1 "$W/comma/log.csv")"
  cmp -s "$W/point/balls.csv" "$W/comma/balls.csv" && ok || bad "predictions: $(tail -1 "$W/comma/balls.csv")"
  cmp -s "$W/point/last/trainer_state.json" "$W/comma/last/trainer_state.json" && ok || bad "trainer_state.json differs"
else
  echo "no localedef and de_DE here (packages locales): commas are not tried"
fi
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
