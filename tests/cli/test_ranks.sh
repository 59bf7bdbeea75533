#!/bin/bash
# Training by several processes that mpirun starts: as one process trains, or one sentence.
# test_ranks.sh TRACKNET SOURCE_DIR MPIRUN; prints "N passed, N failed". MPIRUN "none": the build has no MPI.
MPIRUN=$3
. "$(dirname "$0")/lib.sh"
export OMPI_MCA_orte_tmpdir_base="$W" # two jobs that begin at once would fight over one folder in /tmp

expect 0 "" $T synth --output-dir "$W/data" --clips 2 --frames 5 --size 128x64
RUN="--model vit_qlora_random --training overfit data.split.train_games=[game1] data.split.val_games=[game1]"
RUN="$RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.micro_batch_size=1"
RUN="$RUN training.scheduler.name=none model.lora.lora_dropout=0.1 training.epochs=2"
HERE="data.root=$W/data"
FOREVER="training.epochs=4000 training.data_loader.cache_gb=0"

# whoever starts it: without MPI, or with another one's launcher, the processes would train apart into one folder
MISTAKEN="env PMI_SIZE=2 $T train $RUN $HERE --output-dir $W/apart"
if [ "$MPIRUN" = none ]; then
  says "built without MPI, so the processes of a job would train apart into one folder" $MISTAKEN
  [ ! -e "$W/apart" ] && ok || bad "it trained all the same"
  echo "the rest is skipped: this build has no MPI (libopenmpi-dev and openmpi-bin, or libmpich-dev and mpich)"
  echo "$pass passed, $fail failed"
  [ $fail -eq 0 ]
  exit
fi

case $("$MPIRUN" --version 2>&1) in
  *"Open MPI"*) many="--oversubscribe" ;;
  *) many="" ;;
esac
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
ranks() { # ranks N word...: training by N processes
  local n=$1
  shift
  timeout 120 "$MPIRUN" $many -n "$n" "$T" train $RUN "$@"
}
apart() { # apart "words of rank 0" "words of rank 1"
  timeout 120 "$MPIRUN" $many -n 1 "$T" train $RUN $1 : -n 1 "$T" train $RUN $2
}
# told TEXT command...: is to fail with TEXT in its one sentence; a launcher takes seconds to end a job that fails, so several do at once
texts=() jobs=()
told() {
  texts+=("$1")
  shift
  "$@" >"$W/told${#texts[@]}" 2>&1 &
  jobs+=($!)
}
all_told() {
  for i in "${!texts[@]}"; do
    local out="$W/told$((i + 1))"
    wait "${jobs[$i]}" && bad "no failure: ${texts[$i]}"
    [ "$(grep -c '^tracknet ' "$out")" -eq 1 ] && grep '^tracknet ' "$out" | grep -qF -- "${texts[$i]}" && ok ||
      { bad "no '${texts[$i]}':"; head -5 "$out"; }
  done
}
trace() { # the losses of every step and epoch are the same to 1e-5, validation to 1e-6
  python3 - "$W/$1" "$W/$2" <<'P' && ok || bad "$1 and $2 have other losses"
import csv, sys
read = lambda d, f: list(csv.DictReader(open(d + "/" + f)))
for f, keys, bound in (("steps.csv", ("loss", "grad_norm"), 1e-5), ("log.csv", ("train/loss", "val/loss"), 1e-5), ("log.csv", ("val/l2",), 1e-5)):
    a, b = read(sys.argv[1], f), read(sys.argv[2], f)
    assert len(a) == len(b) > 1 and [r["epoch"] for r in a] == [r["epoch"] for r in b], (len(a), len(b))
    for x, y in zip(a, b):
        for k in keys:
            assert abs(float(x[k]) - float(y[k])) <= bound * abs(float(x[k])), (f, k, x, y)
P
}
same() { cmp -s "$W/$1/last/$3" "$W/$2/last/$3"; }

# 1, 2 and 4 of them; the last batch of an epoch has two frames, so that some ranks of four have none
expect 0 "loss" $T train $RUN $HERE --output-dir "$W/one"
expect 0 "shared by 2 ranks" ranks 2 $HERE --output-dir "$W/two"
[ "$(grep -c '^run folder ' "$W/out")" -eq 1 ] && [ "$(grep -c '^epoch   1 ' "$W/out")" -eq 1 ] && ok || bad "not rank 0 alone speaks"
expect 0 "micro-batches of 1" ranks 4 $HERE --output-dir "$W/four"
trace one two
trace one four
files() { (cd "$W/$1" && find . ! -name 'events.out*' | sort); }
[ "$(files two)" = "$(files one)" ] && ok || bad "other files: $(files two)"

# the same ranks give the same bits
expect 0 "loss" ranks 2 $HERE --output-dir "$W/again"
for f in adapter_model.safetensors decoder.safetensors optimizer.safetensors; do
  [ -s "$W/two/last/$f" ] && same two again $f && ok || bad "$f: other bits"
done

# gone on with by another number of them
expect 0 "loss" ranks 2 $HERE --output-dir "$W/on" training.epochs=1
expect 0 "loss" ranks 4 --resume "$W/on/last" --output-dir "$W/on" $HERE
trace one on

# ranks that are about to train something else
NO="$HERE --output-dir $W/no"
told "rank 1 on $(hostname): the configuration is not that of rank 0: here it is 'lr: 0.5', there 'lr: 0.002'" \
  apart "${NO}1" "${NO}1 training.optimizer.lr=0.5"
cp -r "$W/data" "$W/other"
sed -i '2s/1/0/' "$W/other/game1/Clip2/Label.csv"
told "the data set is not that of rank 0: here it is 'train, clip game1/Clip2: labels of " \
  apart "${NO}2" "data.root=$W/other --output-dir $W/no2"
cp -r configs/backbone/tiny "$W/tiny"
sed -i 's/"layerscale_value": 1.0/"layerscale_value": 0.5/' "$W/tiny/config.json"
told "what the weights are read from is not that of rank 0: here it is 'config.json (" \
  apart "${NO}3" "${NO}3 model.pretrained_model_name=$W/tiny"
told "rank 1 on $(hostname): no frames found for the train split" apart "${NO}4" "data.root=$W --output-dir $W/no4"
told "unknown key 'training.nope'" ranks 2 ${NO}5 training.nope=1
told "holds a run already" ranks 2 $HERE --output-dir "$W/two"
told "2 processes were started, but each sees a job of 1" $MISTAKEN
all_told
ls -d "$W"/no* >"$W/out" 2>/dev/null && grep -v noted "$W/out" | grep -q . && bad "something was written: $(cat "$W/out")" || ok

# begun FOLDER: waits until the job $job has written a checkpoint there
begun() {
  for _ in $(seq 600); do { [ -e "$1/last/run.json" ] || ! kill -0 $job 2>/dev/null; } && break; sleep 0.1; done
}

# a rank that fails while the others wait for it, as its frames are gone: its sentence, and the end of all
cp -r "$W/data" "$W/gone"
apart "$HERE --output-dir $W/fails $FOREVER" "data.root=$W/gone --output-dir $W/fails $FOREVER" >"$W/failed" 2>&1 &
job=$!
begun "$W/fails"
rm "$W"/gone/game1/Clip*/*.jpg
wait $job
rc=$?
grep '^tracknet ' "$W/failed" >"$W/sentence"
[ $rc -ne 0 ] && [ $rc -ne 124 ] && [ "$(wc -l <"$W/sentence")" -eq 1 ] && ok || bad "a rank that fails gave $rc: $(cat "$W/sentence")"
grep -q "^tracknet train: rank 1 on $(hostname): .*$W/gone/game1/Clip" "$W/sentence" && ok || { bad "not its own:"; tail -5 "$W/failed"; }
expect 0 "loss" $T eval --checkpoint "$W/fails/last"

# one that dies leaves a whole checkpoint. It writes its own number down, and is ended only while that number is its own
cat >"$W/noted" <<'N'
#!/bin/bash
echo $$ >"$1.tmp" && mv "$1.tmp" "$1"
shift
exec "$@"
N
chmod +x "$W/noted"
LONG="train $RUN $HERE $FOREVER --output-dir $W/dies"
timeout 120 "$MPIRUN" $many -n 1 "$T" $LONG : -n 1 "$W/noted" "$W/pid" "$T" $LONG >"$W/out" 2>&1 &
job=$!
begun "$W/dies"
victim=$(cat "$W/pid")
grep -qF -- "$W/dies" "/proc/$victim/cmdline" && kill -9 "$victim" && ok || bad "the rank to end is not there: $(tail -3 "$W/out")"
wait $job
rc=$?
[ $rc -ne 0 ] && [ $rc -ne 124 ] && grep -qiE "rank 1|EXIT CODE: 9|signal 9|Killed" "$W/out" && ok || { bad "a killed rank: $rc"; tail -5 "$W/out"; }
expect 0 "loss" $T eval --checkpoint "$W/dies/last"
ls "$W/dies" | grep -q tmp && bad "it leaves $(ls "$W/dies")" || ok

echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
