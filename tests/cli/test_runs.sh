#!/bin/bash
# A run's folder is that run's: what goes on in it, what replaces it, and what is left after a kill or a failure.
# test_runs.sh TRACKNET SOURCE_DIR KILL_AT.so; prints "N passed, N failed".
SHIM=$(realpath "$3")
. "$(dirname "$0")/lib.sh"
cd "$W" || exit 2

expect 0 "" $T synth --output-dir data --clips 1 --frames 4 --size 128x64
D="--config-dir $SRC/configs --model vit_qlora_random --training overfit data.root=$W/data data.split.train_games=[game1] data.split.val_games=[]"
D="$D data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 model.pretrained_model_name=$SRC/configs/backbone/tiny"
run() { $T train $D training.epochs=1 "$@"; }
sum() { (cd "$1" && find . -type f ! -path './overwritten*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum); } # of a folder's files
same() { [ "$(sum "$1")" = "$2" ] && ok || bad "$1 changed: $3"; }

# a checkpoint of another run does not go on in the folder that it was copied into
for n in A two; do expect 0 "loss" run --output-dir r/$n; done
before=$(sum r/two/best) log=$(cat r/two/log.csv)
cp -r r/A/last r/two/mine
expect 0 "this run goes to $W/runs/" $T train --resume r/two/mine training.epochs=2
same r/two/best "$before" "a copied checkpoint wrote there"
[ "$(cat r/two/log.csv)" = "$log" ] && [ -s "$(echo runs/*/last/run.json)" ] && ok || bad "a copied checkpoint: $(ls r/two runs)"
says "holds a run already" $T train --resume r/two/mine --output-dir r/two training.epochs=2
says "holds a run already" $T train --resume r/A/last --output-dir r/two training.epochs=2
says "holds a run already" $T train --resume r/A/last training.log_dir=r/two training.epochs=2
mkdir home && cp -r r/A/best home/mybest
expect 0 "this run goes to $W/runs/" $T train --resume home/mybest training.epochs=2
[ "$(ls home)" = mybest ] && ok || bad "beside a copied checkpoint: $(ls home)"
cp -r r/A/last r/A/first # its own, by what it says
expect 0 "loss" $T train --resume r/A/first training.epochs=2
[ "$(wc -l <r/A/log.csv)" -eq 3 ] && ok || bad "a run's own copy does not go on"
mv r/A r/moved
expect 0 "loss" $T train --resume r/moved training.epochs=3
[ "$(wc -l <r/moved/log.csv)" -eq 4 ] && [ ! -e r/A ] && ok || bad "a moved run does not go on in place"

# checkpoints elsewhere: the run's folder never shows those of the run before
shows() { # shows OUT CKPT: best and last there are CKPT's
  [ r/$1/best -ef r/$2/best ] && [ r/$1/last -ef r/$2/last ] && ok || bad "r/$1 does not show r/$2's: $(ls -l r/$1)"
}
expect 0 "loss" run --output-dir r/B
says "holds a run already" run --output-dir r/B training.ckpt_dir=r/C2 training.log_dir=r/L2
[ ! -e r/C2 ] && [ ! -e r/L2 ] && ok || bad "a refused run left folders: $(ls r)"
says "holds a run already" $T train --resume r/B training.ckpt_dir=r/C training.epochs=2
expect 0 "loss" run --output-dir r/B training.ckpt_dir=r/C --overwrite
shows B C
expect 0 "loss" run --output-dir r/B3 training.ckpt_dir=r/C3 training.log_dir=r/L3
before=$(sum r/C3)
says "holds a run already" run --output-dir r/B3 training.ckpt_dir=r/D3 training.log_dir=r/M3
expect 0 "loss" run --output-dir r/B3 training.ckpt_dir=r/D3 training.log_dir=r/M3 --overwrite
shows B3 D3
same r/C3 "$before" "links to it were replaced"
expect 0 "loss" run --output-dir r/B3 --overwrite
[ ! -L r/B3/best ] && [ -s r/B3/best/run.json ] && [ -s r/D3/last/run.json ] && ok || bad "links replaced by folders: $(ls -l r/B3)"
says "holds a run already" run --output-dir r/new training.log_dir=r/B
says "holds a run already" run --output-dir r/new training.ckpt_dir=r/C

# what --overwrite replaces goes whole, wherever it lay; not what links point to
expect 0 "loss" run --output-dir r/P 'data.split.val_games=[game1]' training.epochs=2
mkdir r/far && mv r/P/previews r/far && ln -s "$W/r/far/previews" r/P/previews
expect 0 "loss" run --output-dir r/P training.log_dir=r/LP --overwrite
[ "$(LC_ALL=C ls r/P | tr '\n' ' ')" = "best last " ] && [ -e r/far/previews/epoch_002 ] && ok || bad "of the old run stays: $(ls r/P)"
says "lies in the run that --overwrite replaces" run --output-dir r/P --overwrite model.pretrained_model_name=r/P/best
expect 0 "loss" run --output-dir r/P --overwrite training.init_from=r/P/best

# a kill while a run replaces another leaves one of them whole
expect 0 "loss" run --output-dir r/old training.epochs=3
names() { python3 -c 'import json, sys
print(*{json.load(open(sys.argv[1] + "/" + n + "/trainer_state.json"))["epoch"] for n in ("best", "last")}, len(list(open(sys.argv[1] + "/log.csv"))) - 1)' "$1" 2>&1; }
kills() { # each call from when the checkpoints make way, as far as they differ; further KEY=VALUE
  local n rc seen=
  for n in ${RUNS_KILLS:-1 67 70 95}; do
    rm -rf r/k r/kc && cp -r r/old r/k
    env LD_PRELOAD="$SHIM" KILL_AT=$n KILL_FROM=$W/r/k/overwritten/best $T train $D training.epochs=1 --output-dir r/k --overwrite "$@" >/dev/null 2>&1
    rc=$?
    "$T" train --resume r/k --dry-run >"$W/out" 2>&1 || bad "killed at call $n ($*): $(tail -1 "$W/out")"
    case "$(names r/k)" in "3 3") seen=${seen}o ;; "1 1") seen=${seen}n ;; *) bad "killed at call $n ($*): $(names r/k) $(ls r/k)" ;; esac
    [ $rc -eq 137 ] || break
  done 2>/dev/null
  case $seen in o*n) ok ;; *) bad "kills $*: only $seen" ;; esac
  expect 0 "run folder" $T train --resume r/k training.epochs=4
  [ "$(wc -l <r/k/log.csv)" -eq 5 ] && [ "$(LC_ALL=C ls r/k | tr '\n' ' ')" = "best last log.csv steps.csv tb " ] && ok || bad "gone on after a kill ($*): $(ls r/k)"
}
kills training.epochs=1
kills training.ckpt_dir=$W/r/kc

# without a ball there is nothing to learn from, trained or not
cp -r data blind
sed -i -E '2,$s/^([^,]*),[^,]*,/\1,0,/' blind/game1/Clip1/Label.csv
for loss in ignore negative; do
  says "none of the train split's 4 labelled frames shows a ball" run --output-dir r/blind data.root=$W/blind training.loss.invisible=$loss
  says "none of the train split's 4 labelled frames shows a ball" run --dry-run data.root=$W/blind training.loss.invisible=$loss
done
[ ! -e r/blind ] && ok || bad "a run that learned nothing left $(ls r/blind)"

# what training would refuse the dry run refuses, and writes nothing
expect 0 "loss" run --output-dir r/dry
: >r/file
both() { # both TEXT WORD...: of both, without a trace
  local text=$1 before=$(find r runs | sort)
  shift
  says "$text" $T train --dry-run "$@"
  [ "$(find r runs | sort)" = "$before" ] && ok || bad "--dry-run $* writes"
  says "$text" $T train "$@"
}
both "there is no checkpoint folder '/nonexist'" $D --output-dir r/dry2 training.init_from=/nonexist
both "cannot be written" $D --output-dir r/file
both "cannot be written" $D --output-dir r/dry2 training.ckpt_dir=r/file/below
grep -q "choose another training.ckpt_dir" "$W/out" && grep -q "not a folder\|Not a directory" "$W/out" && ok || bad "a bad ckpt_dir: $(cat "$W/out")"
both "holds a run already" $D --output-dir r/dry
both "another configuration" --resume r/dry/last model.lora.r=3
both "another configuration" $D --output-dir r/dry2 training.init_from=r/dry/best model.lora.r=3
expect 0 "memory plan" $T train --resume r/dry/last --dry-run training.epochs=2
expect 0 "memory plan" run --output-dir r/dry --overwrite --dry-run

# two runs at once in one folder, of whatever kind
$T train $D training.epochs=100000 --output-dir r/live training.log_dir=r/L training.ckpt_dir=r/CL >"$W/live" 2>&1 &
live=$!
while [ ! -e r/CL/last/run.json ] && kill -0 $live 2>/dev/null; do sleep 0.05; done
says "another run is writing to '$W/r/L' now; choose another training.log_dir" run --output-dir r/live2 training.log_dir=r/L --overwrite
says "another run is writing to '$W/r/CL' now; choose another training.ckpt_dir" run --output-dir r/live2 training.ckpt_dir=r/CL --overwrite
says "another run is writing to '$W/r/live' now; choose another --output-dir" run --output-dir r/live training.ckpt_dir=r/CL2 training.log_dir=r/L2 --overwrite
says "another run is writing to" run --dry-run --output-dir r/live --overwrite
kill -INT $live && wait $live
[ ! -e r/live2 ] && [ ! -e r/CL2 ] && [ -s r/CL/last/run.json ] && [ -s r/L/log.csv ] && ok || bad "two runs at once: $(ls r)"

# a run whose checkpoints lie below it goes on in place wherever it is moved; one that was moved apart says so
expect 0 "loss" run --output-dir r/G training.ckpt_dir=r/G/ck training.log_dir=r/G/lg
mv r/G r/H
for at in r/H/ck r/H; do expect 0 "run folder              $W/r/H" $T train --resume $at training.epochs=$(wc -l <r/H/lg/log.csv); done
[ ! -e r/G ] && [ "$(readlink r/H/last)" = ck/last ] && [ "$(wc -l <r/H/lg/log.csv)" -eq 4 ] && ok || bad "a moved run: $(ls r r/H)"
expect 0 "this run goes to $W/runs/" $T train --resume r/H/ck/last training.epochs=4 training.output_dir=
expect 0 "loss" run --output-dir r/I training.ckpt_dir=r/IC
mv r/IC r/IC2
says "this checkpoint was moved: its run kept checkpoints in '$W/r/IC'" $T train --resume r/IC2 training.epochs=2
expect 0 "loss" $T train --resume r/IC2 training.epochs=2 --output-dir r/I training.ckpt_dir=r/IC2
shows I IC2
mv r/I r/J
says "the folder of this run, '$W/r/I', is no longer there" $T train --resume r/IC2 training.epochs=3
expect 0 "run folder              $W/r/J" $T train --resume r/J training.epochs=3
[ ! -e r/I ] && [ "$(wc -l <r/J/log.csv)" -eq 4 ] && ok || bad "a moved run with its checkpoints elsewhere: $(ls r)"
expect 0 "loss" $T train --resume r/J --output-dir r/K training.epochs=4 # a run of its own
[ ! -L r/K/last ] && [ "$(wc -l <r/J/log.csv)" -eq 4 ] && grep -q '"epoch": 3,' r/IC2/last/trainer_state.json && ok || bad "begun from a checkpoint: $(ls -l r/K)"

rm -r r/K/best && ln -s nowhere r/K/best # a link that was left behind
expect 0 "loss" $T train --resume r/K training.epochs=5
[ -s r/K/best/run.json ] && ok || bad "a dead link: $(ls -l r/K)"

# a disk that is full at the first checkpoint leaves no run; logs without a checkpoint are nothing to go on with
full() (trap '' XFSZ; ulimit -f 256; "$@")
says "cannot write" full $T train $D training.epochs=1 --output-dir r/full
[ ! -e r/full ] && ok || bad "a full disk leaves $(ls r/full)"
mkdir r/left && echo epoch >r/left/log.csv
says "'$W/r/left' holds what is left of a run, without a checkpoint to go on with; replace it (--overwrite)" run --output-dir r/left
grep -q "(--resume)" "$W/out" && bad "there is nothing to resume: $(cat "$W/out")" || ok
before=$(sum r/dry)
says "cannot write" full $T train $D training.epochs=1 --output-dir r/dry --overwrite
same r/dry "$before" "a full disk, and --overwrite"

# a list of what was replaced that came with a stranger's folder undoes nothing elsewhere
mkdir -p stranger/overwritten overwritten victim && cp -r r/dry/best stranger/best && touch victim/file
printf -- '-%s\0-../victim\0--../victim\0-.\0' "$W/victim" >stranger/overwritten/list
expect 0 "confidence" $T predict --checkpoint stranger/best --image data/game1/Clip1/0000.jpg
[ -e victim/file ] && [ -e stranger/best/run.json ] && ok || bad "a stranger's list removed $(ls . victim stranger)"

# a finished run says so; what takes one value takes it once
expect 0 "this run is finished: training.epochs is 1; 'tracknet train --resume $W/r/dry training.epochs=2' goes on" $T train --resume r/dry
grep -q "0.000000" "$W/out" && bad "a finished run: $(cat "$W/out")" || ok
expect 0 '"first_loss": null' $T train --resume r/dry --json
for o in "predict --video a --video b" "predict --csv a --csv=b" "train --output-dir a --output-dir a" "train --resume a --resume b" \
  "predict --threshold 0.1 --threshold 0.2"; do
  expect 2 "given twice" $T $o
done
expect 0 "lr: 0.25" run --dry-run training.optimizer.lr=0.5 training.optimizer.lr=0.25

echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
