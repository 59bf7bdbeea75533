#!/bin/bash
# A kill at any moment leaves a folder that loads, and nothing that stays behind.
# test_kills.sh TRACKNET SOURCE_DIR KILL_AT.so TN_FOLDER; prints "N passed, N failed".
SHIM=$(realpath "$3") F=$(realpath "$4")
. "$(dirname "$0")/lib.sh"

# each call that changes the disk in turn, twice over: the second writer meets what the first left
folder() { # NAME=VALUE of the environment, or nothing
  local n=1 rc=137 got
  while [ $rc -eq 137 ]; do
    rm -rf "$W/k" && mkdir "$W/k" && "$F" write "$W/k/last" one
    env $1 LD_PRELOAD="$SHIM" KILL_AT=$n "$F" write "$W/k/last" two 2>/dev/null
    rc=$?
    [ $rc -eq 137 ] && env $1 LD_PRELOAD="$SHIM" KILL_AT=$n "$F" write "$W/k/last" three 2>/dev/null
    got=$("$F" read "$W/k/last" 2>&1)
    case $got in one | two | three) ok ;; *) bad "killed at call $n ($1): $got" ;; esac
    "$F" write "$W/k/last" four && [ "$(ls "$W/k")" = last ] || bad "after a kill at call $n ($1) there is $(ls "$W/k")"
    n=$((n + 1))
  done 2>/dev/null
  [ $n -gt 15 ] && [ "$got" = two ] && ok || bad "only $n calls were tried, then $got"
}
folder A=B
folder NO_EXCHANGE=1

# never what a living process writes, and never what only looks like it
mkdir -p "$W/s/last" "$W/s/last.tmp.$$" "$W/s/last.tmp.x1" "$W/s/last.old" "$W/s/mylast.tmp.999999" "$W/s/last.tmp.999999"
"$F" write "$W/s/last" one
[ "$(LC_ALL=C ls "$W/s" | tr '\n' ' ')" = "last last.old last.tmp.$$ last.tmp.x1 mylast.tmp.999999 " ] && ok || bad "swept: $(ls "$W/s")"

# training itself
expect 0 "" $T synth --output-dir "$W/data" --clips 1 --frames 4 --size 128x64
RUN="--model vit_qlora_random --training overfit data.root=$W/data data.split.train_games=[game1] data.split.val_games=[]"
RUN="$RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.epochs=4"
for mode in A=B NO_EXCHANGE=1; do
  calls="3 12 21 30 36 42"
  [ $mode = A=B ] || calls="12 30 42"
  for n in $calls; do
    out="$W/r$n"
    env $mode LD_PRELOAD="$SHIM" KILL_AT=$n KILL_FROM="$out/last" $T train $RUN --output-dir "$out" >/dev/null 2>&1
    [ $? -eq 137 ] && ok || bad "$mode: training was not killed at call $n"
    expect 0 "loss" $T train --resume "$out/last"
    ls "$out" | grep -q tmp && bad "$mode: a kill at call $n left $(ls "$out")" || ok
    rm -rf "$out"
  done
done 2>/dev/null

# a kernel cache that is damaged, of other bytes, unwritable or left half-written
C="$W/cache"
FIRST="$T predict --cache $C --checkpoint $W/p/last --image $W/data/game1/Clip1/0000.jpg --json"
expect 0 "loss" $T train $RUN --output-dir "$W/p" --cache "$C"
$FIRST >"$W/want" 2>/dev/null
if ls "$C"/*.clbin >/dev/null 2>&1; then
  touch "$C/0.clbin.tmp.999999"
  i=0
  for f in "$C"/*.clbin; do
    i=$((i + 1))
    case $((i % 4)) in
      0) truncate -s $(($(stat -c %s "$f") / 2)) "$f" ;;
      1) printf 'XXXX' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") - 300)) conv=notrunc 2>/dev/null ;;
      2) : >"$f" ;;
      3) head -c 100 "$f" >>"$f.more" && cat "$f.more" >>"$f" && rm "$f.more" ;;
    esac
  done
  $FIRST >"$W/got" 2>"$W/out" && cmp -s "$W/want" "$W/got" && ok || bad "a damaged cache: $(cat "$W/out")"
  ls "$C" | grep -q tmp && bad "the cache keeps $(ls "$C" | grep tmp)" || ok
fi
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
