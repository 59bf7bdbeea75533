#!/bin/bash
# A video through predict: its table, the video that is written, damage, Ctrl-C, memory.
# test_video.sh TRACKNET SOURCE_DIR TN_CLIP; prints "N passed, N failed".
MAKE=$(realpath "$3")
. "$(dirname "$0")/lib.sh"
expect 0 "" $T synth --output-dir "$W/data" --clips 1 --frames 24 --size 256x144
clip() { "$MAKE" "$@" && ok || bad "tn-clip makes no $1"; }
C="$W/data/game1/Clip1"
RUN="--device cpu --model vit_qlora_random --training overfit data.root=$W/data data.split.train_games=[game1] data.split.val_games=[]"
expect 0 "loss" $T train $RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.epochs=2 --output-dir "$W/run"
P="$T predict --device cpu --checkpoint $W/run/last"
clip "$W/a.mkv" ffv1 30 1 "$C"/*.jpg
clip "$W/b.mp4" mpeg4 25 1 "$C"/*.jpg
clip "$W/uneven.mkv" mpeg4 0 0 "$C"/*.jpg
check() { # check NAME: Python on standard input; C(file) reads rows from $W, J(file) JSON
  (echo 'import csv, json, sys; W = sys.argv[1] + "/"; C = lambda f: list(csv.DictReader(open(W + f))); J = lambda f: json.load(open(W + f))'; cat) >"$W/check.py"
  python3 "$W/check.py" "$W" 2>"$W/err" && ok || bad "$1: $(tail -1 "$W/err")"
}

# ---- a lossless video and its frames are the same frames
expect 0 "24 frames, the ball visible in 24" $P --video "$W/a.mkv" --csv "$W/a.csv" --out "$W/a_out.mp4" --batch 5
expect 0 "" $P --image "$C" --csv "$W/frames.csv" --batch 5
$P --video "$W/a.mkv" --json --batch 5 >"$W/a.json" 2>"$W/err" && ok || bad "--json: $(cat "$W/err")"
check "the video's rows and the pictures'" <<'P'
rows, frames, seen = C("a.csv"), C("frames.csv"), J("a.json")
assert list(rows[0]) == ["Frame", "Visibility", "X", "Y", "Confidence", "Time"], rows[0]
assert len(rows) == len(frames) == len(seen) == 24
for i, (r, f, s) in enumerate(zip(rows, frames, seen)):
    assert (r["X"], r["Y"], r["Confidence"]) == (f["x"], f["y"], f["confidence"]), (r, f)
    assert int(r["Frame"]) == s["frame"] == i and r["Visibility"] == "1" and abs(float(r["Time"]) - i / 30) < 0.001
    assert abs(s["x"] - float(r["X"])) < 0.01 and s["visible"] is True and abs(s["time"] - float(r["Time"])) < 1e-6
P
# ---- what is written: every frame at its time, the sound as it was
"$MAKE" --tell "$W/a_out.mp4" >"$W/told"
"$MAKE" --tell "$W/a.mkv" | sed -n 's/^video ffv1/video h264/p' >"$W/want"
grep -q "packets 24 size 256x144 rate 30.000" "$W/want" && grep ^video "$W/told" | sed 's/mpeg4/h264/' | cmp -s - "$W/want" && ok || bad "$(cat "$W/told")"
expect 0 "24 frames" $P --video "$W/b.mp4" --out "$W/new/b_out.mkv"
"$MAKE" --tell "$W/b.mp4" | grep ^sound >"$W/want"
"$MAKE" --tell "$W/new/b_out.mkv" | grep ^sound | cmp -s - "$W/want" && [ -s "$W/want" ] && ok || bad "the sound is not the source's"
expect 0 "24 frames" $P --video "$W/uneven.mkv" --out "$W/uneven.mp4" --csv "$W/uneven.csv"
check "uneven times" <<'P'
at = [(40 * i + i % 3 * 7) / 1000 for i in range(24)]
assert all(abs(float(r["Time"]) - t) < 0.0011 for r, t in zip(C("uneven.csv"), at)), C("uneven.csv")[:4]
P
expect 0 "24 frames" $P --video "$W/uneven.mp4" --csv "$W/again.csv"
check "uneven times, written and read" <<'P'
assert all(abs(float(a["Time"]) - float(b["Time"])) < 0.0011 for a, b in zip(C("uneven.csv"), C("again.csv")))
P
[ -z "$(find "$W" -name '*.tmp.*')" ] && ok || bad "temporary files are left: $(find "$W" -name '*.tmp.*')"

# ---- the drawing: one that shows no ball has no trail, and is nearer to its source
expect 0 "visible in 0" $P --video "$W/a.mkv" --threshold 1 --out "$W/none.mkv" --csv "$W/none.csv"
check "no ball" <<'P'
assert all((r["Visibility"], float(r["X"]), float(r["Y"])) == ("0", 0, 0) for r in C("none.csv"))
P
[ "$("$MAKE" --differ "$W/a.mkv" "$W/none.mkv")" -lt 100 ] && [ "$("$MAKE" --differ "$W/a.mkv" "$W/a_out.mp4")" -gt 140 ] && ok ||
  bad "drawn: $("$MAKE" --differ "$W/a.mkv" "$W/none.mkv") and $("$MAKE" --differ "$W/a.mkv" "$W/a_out.mp4")"

# ---- repair: what is marked is what differs, the rest is as it was
expect 0 "24 frames" $P --video "$W/a.mkv" --smooth --csv "$W/smooth.csv" --out "$W/smooth.mp4" --batch 5
expect 0 "" $P --image "$C" --smooth --csv "$W/smooth_frames.csv" --outdir "$W/smooth" --batch 5
$P --video "$W/a.mkv" --smooth --max-gap 0 --json --batch 5 >"$W/smooth.json" 2>"$W/err" && ok || bad "--json: $(cat "$W/err")"
check "a repaired track" <<'P'
plain, smooth, frames, dropped = C("a.csv"), C("smooth.csv"), C("smooth_frames.csv"), J("smooth.json")
assert list(smooth[0]) == ["Frame", "Visibility", "X", "Y", "Confidence", "Time", "Repaired"]
assert list(frames[0]) == ["image", "visibility", "x", "y", "confidence", "repaired"]
assert len(smooth) == len(frames) == len(dropped) == 24
for p, s, f, d in zip(plain, smooth, frames, dropped):
    assert (s["Frame"], s["Confidence"], s["Time"]) == (p["Frame"], p["Confidence"], p["Time"])
    assert (s["X"] != p["X"] or s["Y"] != p["Y"]) <= (s["Repaired"] == "1")
    assert [f[k] for k in ("visibility", "x", "y", "confidence", "repaired")] == [s[k] for k in ("Visibility", "X", "Y", "Confidence", "Repaired")]
    assert d["repaired"] == (not d["visible"]), d  # nothing is filled
P
[ "$(ls "$W/smooth" | wc -l)" -eq 48 ] && "$MAKE" --tell "$W/smooth.mp4" | grep -q "packets 24 " && ok || bad "pictures of a repaired track"
expect 0 "24 frames" $P --video "$W/uneven.mkv" --smooth --max-gap 100 --csv "$W/smooth.csv"
grep -q damaged "$W/out" && bad "uneven times: $(cat "$W/out")" || ok
says "0 to 100 can" $P --video "$W/a.mkv" --smooth --max-gap 101
says "goes with --smooth" $P --video "$W/a.mkv" --max-gap 3
says "whole number" $P --video "$W/a.mkv" --smooth --max-gap 2.5

# ---- damage: what can be read is predicted, and said
head -c $(($(stat -c %s "$W/a.mkv") / 2)) "$W/a.mkv" >"$W/cut.mkv"
expect 0 "is damaged" $P --video "$W/cut.mkv" --csv "$W/cut.csv" --out "$W/cut_out.mp4" --batch 5
check "half a video" <<'P'
whole, half = C("a.csv"), C("cut.csv")
assert 6 < len(half) < 20 and all(abs(float(a["X"]) - float(b["X"])) < 0.02 for a, b in zip(whole, half)), len(half)
P
head -c $(($(stat -c %s "$W/b.mp4") / 2)) "$W/b.mp4" >"$W/cut.mp4"
says "cut.mp4" $P --video "$W/cut.mp4" --csv "$W/x.csv" --out "$W/x.mp4"
says "cannot open the video" $P --video "$C/../Clip1/Label.csv"
says "there is no video" $P --video "$W/none.mp4"
says "would be written over" $P --video "$W/b.mp4" --out "$W/b.mp4"
says "does not end as a kind of video file" $P --video "$W/b.mp4" --out "$W/b.nothing"
says "a video is predicted alone" $P --video "$W/b.mp4" --image "$C"
says "--out goes with --video" $P --image "$C" --out "$W/x.mp4"
[ ! -e "$W/x.mp4" ] && [ ! -e "$W/b.nothing" ] && ok || bad "a refused run leaves a video"

# ---- joined and damaged recordings: one time line, and sound that is damaged stops nothing
tell() { "$MAKE" --tell "$1"; }
sound() { tell "$1" | grep ^sound; }
clip "$W/j.ts" mpeg2video 25 1 "$C"/*.jpg
cat "$W/j.ts" "$W/j.ts" "$W/j.ts" >"$W/jjj.ts"
expect 0 "step back or leap at 2 places" $P --video "$W/jjj.ts" --csv "$W/j.csv" --out "$W/jjj.mp4"
grep -q "is damaged" "$W/out" && bad "a joined file is called damaged: $(cat "$W/out")" || ok
check "joined files" <<'P'
at = [float(r["Time"]) for r in C("j.csv")]
assert len(at) == 72 and all(abs(t - i / 25) < 0.0001 for i, t in enumerate(at)), at
P
n=$(sound "$W/jjj.mp4" | sed 's/.*packets \([0-9]*\).*/\1/') one=$(sound "$W/j.ts" | sed 's/.*packets \([0-9]*\).*/\1/')
[ "$n" -gt $((3 * one - 9)) ] && [ "$n" -le $((3 * one)) ] && ok || bad "sound of joined files: $n packets of three times $one"
python3 - "$W/jjj.ts" "$W/noise.ts" <<'P'
import random, sys
b, r = bytearray(open(sys.argv[1], "rb").read()), random.Random(3)
for i in range(188 * 12, len(b), 188):
    if r.random() < 0.08: b[i:i + 188] = r.randbytes(188)
open(sys.argv[2], "wb").write(b)
P
expect 0 "is damaged" $P --video "$W/noise.ts" --csv "$W/j.csv" --out "$W/noise.mp4"
tell "$W/noise.mp4" | grep -q "^sound aac packets" && [ "$(grep -c warning "$W/out")" -le 3 ] && ok || bad "noise: $(cat "$W/out")"
check "noise" <<'P'
at = [float(r["Time"]) for r in C("j.csv")]
assert len(at) > 40 and all(b - a > 0.03 for a, b in zip(at, at[1:])) and at[-1] < 5, at
P
clip "$W/whole.mov" ffv1 25 0 "$C"/*.jpg
python3 - "$W/whole.mov" "$W/nothing.mov" <<'P'
import sys
b = bytearray(open(sys.argv[1], "rb").read())
for i in range(b.index(b"mdat") + 4, b.index(b"moov") - 4): b[i] ^= 0x5a
open(sys.argv[2], "wb").write(b)
P
says "not one frame could be read" $P --video "$W/nothing.mov" --out "$W/x.mp4"
[ ! -e "$W/x.mp4" ] && ! grep -q warning "$W/out" && ok || bad "nothing to read: $(cat "$W/out")"

# ---- sound: all of it, wherever it begins and ends, in what takes it
clip "$W/longer.mp4" mpeg4 25 aac:3 "$C"/*.jpg
clip "$W/late.mkv" mpeg4 25 aac:0.5:5 "$C"/*.jpg
clip "$W/flac.mkv" mpeg4 25 flac "$C"/*.jpg
clip "$W/nelly.flv" flv 25 nellymoser "$C"/*.jpg
copied() { # copied FROM TO: the sound is in the output whole, nothing is called damaged
  expect 0 "24 frames" $P --video "$1" --out "$2"
  [ -n "$(sound "$1")" ] && [ "$(sound "$2")" = "$(sound "$1")" ] && ! grep -qE "damaged|left out" "$W/out" && ok || bad "$2: $(sound "$2") of $(sound "$1"); $(cat "$W/out")"
}
copied "$W/longer.mp4" "$W/longer_out.mp4"
copied "$W/late.mkv" "$W/late_out.mp4"
copied "$W/flac.mkv" "$W/flac_out.mp4"
expect 0 "the sound (flac) has no place in '$W/flac.mov' and is left out; .mkv takes it" $P --video "$W/flac.mkv" --out "$W/flac.mov"
expect 0 "has no place in '$W/nelly.mkv' and is left out" $P --video "$W/nelly.flv" --out "$W/nelly.mkv"
grep -q "takes it" "$W/out" && bad "what does not take it does: $(cat "$W/out")" || ok

# ---- containers: those without times have a rate that is right, those that are no file are refused before anything is touched
expect 0 "24 frames" $P --video "$W/b.mp4" --out "$W/b.avi"
tell "$W/b.avi" | grep -q "packets 24 size 256x144 rate 25.000 from 0.000 to 0.920" && ok || bad "avi: $(tell "$W/b.avi")"
clip "$W/hundred.mkv" mpeg4 25@100 0 "$C"/*.jpg
expect 0 "24 frames" $P --video "$W/hundred.mkv" --out "$W/hundred.avi"
grep -q damaged "$W/out" && bad "a film that begins late: $(cat "$W/out")" || ok
tell "$W/hundred.avi" | grep -q "rate 25.000 from 0.000 to 0.920" && ok || bad "avi of 100 s: $(tell "$W/hundred.avi")"
expect 0 "24 frames" $P --video "$W/hundred.avi" --csv "$W/avi.csv"
grep -q damaged "$W/out" && bad "an own .avi: $(cat "$W/out")" || ok
expect 0 "the sound begins 5.0 s behind the pictures" $P --video "$W/late.mkv" --out "$W/late.avi"
says "do not keep one" $P --video "$W/uneven.mkv" --out "$W/uneven.avi"
for e in ts mpg; do
  expect 0 "24 frames" $P --video "$W/b.mp4" --out "$W/b_out.$e"
  expect 0 "24 frames" $P --video "$W/b_out.$e" --csv "$W/x.csv"
done
mkdir "$W/kept" && echo kept >"$W/kept/pic.png" && cp "$W/kept/pic.png" "$W/kept/t.csv"
K="$P --video $W/b.mp4 --csv $W/kept/t.csv --out"
says "is not one video file" $K "$W/kept/pic.png"
says "is not one video file" $K "$W/kept/x.m3u8"
says "does not end as" $K "$W/kept/new/x.nothing"
says "neither H.264 nor MPEG-4" $K "$W/kept/new/x.ogv"
says "is a folder" $K "$W/kept/dir.mp4/"
says "cannot be the table and the video" $K "$W/kept/t.csv"
says "cannot be the table and the video" $P --video "$W/b.mp4" --csv "$W/kept/new/x.mkv" --out "$W/kept/./new//y/../x.mkv"
[ "$(cat "$W"/kept/*)" = "$(printf 'kept\nkept')" ] && [ "$(ls "$W/kept" | wc -l)" -eq 2 ] && ok || bad "a refused --out leaves $(ls "$W/kept")"

# ---- whole files are not called damaged
clip "$W/trim.mp4" mpeg4 25@-0.2 0 "$C"/*.jpg
expect 0 "19 frames" $P --video "$W/trim.mp4" --csv "$W/trim.csv"
grep -q damaged "$W/out" && bad "an edit list: $(cat "$W/out")" || ok

# ---- names and leftovers
cp "$W/b.mp4" "$W/2024-01-01T12:30:05.mp4"
(cd "$W" && $P --video 2024-01-01T12:30:05.mp4 --out a:b.mkv --csv c:d.csv >"$W/out" 2>&1) && [ -s "$W/a:b.mkv" ] && ok || bad "a colon in a name: $(cat "$W/out")"
sh -c 'echo $$' >"$W/dead"
: >"$W/swept.mkv.tmp.$(cat "$W/dead")"
expect 0 "24 frames" $P --video "$W/b.mp4" --out "$W/swept.mkv"
[ -z "$(find "$W" -name '*.tmp.*')" ] && ok || bad "left: $(find "$W" -name '*.tmp.*')"

# ---- ten minutes: rows come as they are made, memory does not grow, Ctrl-C leaves whole files
LONG=()
for i in {1..100}; do LONG+=("$C"/*.jpg); done
clip "$W/long.mp4" mpeg4 4 1 "${LONG[@]}"
peak() { python3 -c 'import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], stdout=2).returncode; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r)' "$@" 2>"$W/err"; }
short=$(peak $P --video "$W/b.mp4" --csv "$W/x.csv" --out "$W/x.mp4")
long=$(peak $P --video "$W/long.mp4" --csv "$W/long.csv" --out "$W/long_out.mp4")
[ "$(wc -l <"$W/long.csv")" -eq 2401 ] && [ "$long" -lt $((short + 40000)) ] && ok || bad "KiB of 24 frames $short, of 2400 $long; $(tail -1 "$W/err")"
# background jobs of a shell ignore SIGINT; one that python starts does not
cat >"$W/stop.py" <<'P'
import signal, subprocess, sys, time
p = subprocess.Popen(sys.argv[2:], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
for _ in range(500):
    try: n = open(sys.argv[1]).read().count("\n")
    except OSError: n = 0
    if n > 100: break
    time.sleep(0.02)
p.send_signal(signal.SIGINT)
p.wait()
sys.exit(not 100 < n < 2401)
P
python3 "$W/stop.py" "$W/stop.csv" $P --video "$W/long.mp4" --csv "$W/stop.csv" --out "$W/stop.mp4" >"$W/out" 2>&1 && ok || bad "rows do not come as they are made: $(tail -2 "$W/out")"
rows=$(($(wc -l <"$W/stop.csv") - 1))
tones=$(sound "$W/stop.mp4" | sed 's/.*packets \([0-9]*\).*/\1/') # a second of either is 4 frames and 43 packets
[ "$tones" -gt $((rows * 10)) ] && [ "$tones" -lt $((rows * 45 / 4 + 50)) ] && ok || bad "stopped after $rows rows, $tones packets of sound"
tail -c 1 "$W/stop.csv" | od -c | grep -q '\\n' && "$MAKE" --tell "$W/stop.mp4" | grep -q "^video .* packets $rows " && ok ||
  bad "stopped after $rows rows: $("$MAKE" --tell "$W/stop.mp4" 2>&1)"

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
