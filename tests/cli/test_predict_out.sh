#!/bin/bash
# What predict leaves: rows of any file name, pictures of equal names, frames without a ball.
# test_predict_out.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"
expect 0 "" $T synth --output-dir "$W/data" --clips 1 --frames 4 --size 128x64
RUN="--device cpu --model vit_qlora_random --training overfit data.root=$W/data data.split.train_games=[game1] data.split.val_games=[]"
expect 0 "loss" $T train $RUN data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4 training.epochs=1 --output-dir "$W/run"
C="$W/data/game1/Clip1" P="$T predict --device cpu --checkpoint $W/run/last"
check() { # check NAME: Python on standard input; C(file) and J(file) read rows from $W
  (echo 'import csv, json, os, sys; W = sys.argv[1] + "/"; C = lambda f: list(csv.DictReader(open(W + f, newline="", errors="surrogateescape"))); J = lambda f: json.load(open(W + f, encoding="utf-8"))'; cat) >"$W/check.py"
  python3 "$W/check.py" "$W" 2>"$W/err" && ok || bad "$1: $(tail -1 "$W/err")"
}
pictures() { (cd "$W/$1" && find . -name '*_overlay.png' | LC_ALL=C sort | tr '\n' ' '); }
leaves() { [ "$(pictures "$1")" = "$2" ] && ok || bad "$1 holds $(pictures "$1")"; } # leaves FOLDER "PICTURES "

# ---- names of any bytes
mkdir "$W/odd"
i=0
for name in 'a,b' 'say "hi"' "$(printf 'two\nlines')" ' blanks ' "$(printf 'latin-\xe9')" "$(printf 'cut-\xf0\x9f\x8e.\xed\xa0\x80')" $'\u7403'; do
  cp "$C/000$((i++ % 4)).jpg" "$W/odd/$name.jpg"
done
expect 0 "" $P --image "$W/odd" --csv "$W/odd.csv" --outdir "$W/odd/pics"
check "odd names in the table" <<'P'
rows = C("odd.csv")
assert len(rows) == 7 and all(os.path.exists(r["image"]) and len(r) == 4 and None not in r for r in rows), rows
P
$P --image "$W/odd" --json >"$W/odd.json" 2>"$W/err" && ok || bad "--json: $(cat "$W/err")"
check "odd names as JSON" <<'P'
names = [os.path.basename(r["image"]) for r in J("odd.json")]
want = [os.fsencode(n).decode("utf-8", "replace") for n in os.listdir(W + "odd") if n.endswith(".jpg")]
assert sorted(names) == sorted(want) and "latin-\ufffd.jpg" in names, (names, want)
assert all(r["visible"] is True and r["x"] >= 0 for r in J("odd.json"))
P
mv "$W/run" "$W/$(printf 'run-\xe9')" && ln -s "$(printf 'run-\xe9')" "$W/run"
$T adapter info --adapter "$W/$(printf 'run-\xe9')/last" --json >"$W/info.json" 2>"$W/err" && ok || bad "adapter info: $(cat "$W/err")"
$P --adapter "$W/$(printf 'run-\xe9')/last" --adapter "$W/run/last" --image "$C/0000.jpg" --json >"$W/adapter.json" 2>"$W/err" && ok || bad "--adapter: $(cat "$W/err")"
check "a folder that is not UTF-8" <<'P'
assert J("info.json")["adapter"].endswith("run-\ufffd/last") and J("info.json")["modules"]
assert J("adapter.json")[0]["adapter"].endswith("run-\ufffd/last")
P

# ---- equal names
mkdir -p "$W/c1" "$W/c2" "$W/r1" "$W/r2"
cp "$C/0000.jpg" "$C/0001.jpg" "$W/c1"
cp "$C/0002.jpg" "$W/c2/0000.jpg"
python3 - "$W" <<'P'
import struct, sys, zlib
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = b"".join(b"\0" + bytes([90]) * 96 for _ in range(32))
open(sys.argv[1] + "/c2/0001.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
P
cp "$C/0003.jpg" "$W/c2/0001.jpg"
cp "$C/0003.jpg" "$W/c2/0002.jpg"
expect 0 "" $P --image "$W/c1" --image "$W/c2/" --image "$W/c2/0002.jpg" --outdir "$W/apart"
leaves apart "./0002-2_overlay.png ./0002_overlay.png ./c1_0000_overlay.png ./c1_0001_overlay.png ./c2_0000_overlay.png ./c2_0001.jpg_overlay.png ./c2_0001.png_overlay.png "
cp -r "$W/run/last" "$W/r1/best"
cp -r "$W/run/last" "$W/r2/best"
expect 0 "" $P --adapter "$W/r1/best" --adapter "$W/r2/best/" --image "$W/c1/0000.jpg" --outdir "$W/adapters"
leaves adapters "./r1_best/0000_overlay.png ./r2_best/0000_overlay.png "
expect 0 "" env -C "$W/r1/best" $P --adapter . model.pretrained_model_name="$PWD/configs/backbone/tiny" --image "$W/c1/0000.jpg" --outdir "$W/here"
leaves here "./best/0000_overlay.png "

# a folder's own pictures are no frames of it, but a frame may be called as one
cp "$C/0003.jpg" "$W/c1/of_heatmap.jpg"
for i in 1 2; do expect 0 "" $P --image "$W/c1" --outdir "$W/c1/."; done
grep -q "6 pictures in '$W/c1/.' that an earlier prediction drew are not predicted" "$W/out" && ok || bad "$(cat "$W/out")"
leaves c1 "./0000_overlay.png ./0001_overlay.png ./of_heatmap_overlay.png "

# ---- what cannot be written is said before the first frame
touch "$W/file"
says "file" $P --image "$W/c2" --csv "$W/file/o.csv"
! grep -q confidence "$W/out" && ok || bad "frames are predicted for a table that cannot be written"
says "is a folder" $P --image "$W/c2" --csv "$W/c2"
expect 0 "" $P --image "$W/c2" --csv "$W/new/folder/o.csv"
[ -s "$W/new/folder/o.csv" ] && ok || bad "no table in a new folder"
says "there is no frame or folder" $P --image "$W/c2" --image "$W/none.jpg"
says "picture's name" $P --image "$W/c2" --csv "$W/c2/new.jpg"
ln -s c2/0000.jpg "$W/link.csv"
says "would be written over" $P --image "$W/c2" --csv "$W/link.csv"

# a damaged picture is set aside, and what there is of a run that fails is told
mkdir "$W/some_bad" "$W/bad" "$W/many"
cp "$C/0000.jpg" "$W/some_bad/0.jpg" && cp "$C/0001.jpg" "$W/some_bad/2.jpg"
head -c 300 "$C/0001.jpg" | tee "$W/some_bad/1.jpg" "$W/bad/1.jpg" >"$W/bad/2.jpg"
expect 0 "1 of 3 pictures could not be read" $P --image "$W/some_bad" --csv "$W/bad.csv"
grep -q "some_bad/1.jpg: .*; it is left out" "$W/out" && [ "$(wc -l <"$W/bad.csv")" -eq 3 ] && ok || bad "a damaged picture: $(cat "$W/out" "$W/bad.csv")"
expect 1 "tracknet predict: $W/bad/1.jpg: not a readable JPEG" $P --image "$W/bad" --csv "$W/bad.csv"
for i in {1..400}; do ln -s "$C/000$((i % 4)).jpg" "$W/many/$i.jpg"; done
cat >"$W/stop.py" <<'P'
import json, signal, subprocess, sys, time
out, table, command = sys.argv[1], sys.argv[2], sys.argv[3:]
p = subprocess.Popen(command, stdout=open(out, "w"), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
rows = lambda: open(table).read().count("\n") if __import__("os").path.exists(table) else 0
while rows() < 5 and p.poll() is None: time.sleep(0.01)
p.send_signal(signal.SIGINT)
p.wait()
seen = json.load(open(out))
sys.exit(not (p.returncode == 130 and 4 <= len(seen) == rows() - 1 < 400))
P
python3 "$W/stop.py" "$W/stop.json" "$W/stop.csv" $P --image "$W/many" --csv "$W/stop.csv" --json 2>"$W/err" && ok || bad "stopped: $(wc -l "$W/stop.csv"), $(tail -2 "$W/err")"
# a pipe is written to, and a link stays one
mkfifo "$W/fifo" && cat "$W/fifo" >"$W/piped" &
expect 0 "" $P --image "$W/c1/0000.jpg" --csv "$W/fifo"
wait
touch "$W/target" && ln -s target "$W/to.csv"
expect 0 "" $P --image "$W/c1/0000.jpg" --csv "$W/to.csv"
[ -p "$W/fifo" ] && [ -L "$W/to.csv" ] && cmp -s "$W/piped" "$W/target" && [ -s "$W/target" ] && ok || bad "a pipe or a link is replaced"

# ---- no ball is an answer
$P --image "$W/c2" --json >"$W/all.json" 2>"$W/err" || bad "$(cat "$W/err")"
T0=$(python3 -c 'import json, sys; c = sorted(r["confidence"] for r in json.load(open(sys.argv[1]))); print((c[1] + c[2]) / 2)' "$W/all.json")
expect 0 "no ball" $P --image "$W/c2" --threshold "$T0" --csv "$W/some.csv" --outdir "$W/some"
$P --image "$W/c2" --threshold "$T0" --json >"$W/some.json" 2>"$W/err" || bad "$(cat "$W/err")"
check "the threshold" <<'P'
whole, rows, seen = J("all.json"), C("some.csv"), J("some.json")
assert list(rows[0]) == ["image", "visibility", "x", "y", "confidence"], rows[0]
assert {r["visibility"] for r in rows} == {"0", "1"}, rows
for w, r, s in zip(whole, rows, seen):
    visible = r["visibility"] == "1"
    assert s["visible"] == visible and abs(w["confidence"] - s["confidence"]) < 1e-5
    if visible: assert abs(float(r["x"]) - w["x"]) < 0.01 and s["x"] == w["x"] and s["y"] == w["y"]
    else: assert float(r["x"]) == float(r["y"]) == 0 and s["x"] is None and s["y"] is None
assert sum(s["visible"] for s in seen) == sum(float(w["confidence"]) >= sorted(x["confidence"] for x in whole)[2] for w in whole)
P
# a frame without a ball has no ring: its overlay is that of the heatmap alone
expect 0 "" $P --image "$W/c2" --threshold 0 --outdir "$W/every"
expect 0 "" $P --image "$W/c2" --threshold 0 --outdir "$W/again"
python3 - "$W" <<'P' && ok || bad "overlays do not follow the threshold"
import json, os, sys
W = sys.argv[1]
names = ["0000", "0001.jpg", "0001.png", "0002"]
for name, s in zip(names, json.load(open(W + "/some.json"))):
    read = lambda d: open("%s/%s/%s_overlay.png" % (W, d, name), "rb").read()
    assert read("every") == read("again") and (read("some") == read("every")) == s["visible"], name
P
says "confidences go from 0 to 1" $P --image "$W/c2" --threshold 1.5
python3 - "$W/run/last/run.json" <<'P'
import json, sys
r = json.load(open(sys.argv[1]))
r["threshold"] = 1
json.dump(r, open(sys.argv[1], "w"))
P
expect 0 "no ball" $P --image "$W/c2" --csv "$W/stored.csv"
head -1 "$W/stored.csv" | grep -q visibility && ok || bad "the checkpoint's own threshold is not used"

# what cannot be written is an error
if [ -c /dev/full ]; then
  for what in "devices" "devices --json" "predict --device cpu --checkpoint $W/run/last --image $C/0000.jpg" \
    "predict --device cpu --checkpoint $W/run/last --image $C/0000.jpg --json" "train --dry-run" "--version" "--help" "predict --help"; do
    $T $what >/dev/full 2>"$W/err"
    [ $? -eq 1 ] && grep -q "cannot write to standard output" "$W/err" && ok || bad "$what to a full disk: $(cat "$W/err")"
  done
fi
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
