#!/bin/bash
# tracknet plan: devices in lists, divisions by hand, described machines, the picture; every bad input is one sentence.
# test_plan.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"
export TRACKNET_CACHE="$W/cache" POCL_DEVICES="pthread pthread"

TINY="--model vit_qlora_random --training overfit data.preprocess.resize=[128,64] model.heatmap.size=[32,16] training.batch_size=4"
BIG="--model vit_qlora_heatmap model.backbone.random_init=true model.pretrained_model_name=configs/backbone/vit-l"
BIG="$BIG model.decoder.channels=[1024,256,128,64] data.preprocess.resize=[512,288] model.heatmap.size=[256,144] training.precision=bf16"
json() { python3 -c "import json, sys; r = json.load(open('$W/out')); s = [s for v in r['replicas'] for s in v['stages']]; assert $1, ($1)"; }

expect 0 "usage: tracknet plan" $T plan --help

# devices are timed once; two on one processor are no more than one
expect 0 "timing layers and copies" $T plan $TINY --device 0
expect 0 "img/s with a batch of 4 in float32" $T plan $TINY --device 0
grep -q "timing layers" "$W/out" && bad "timed a second time" || ok
expect 0 "is left out: it computes on the cores of a device that the plan uses" $T plan $TINY --device all
expect 0 '"replicas"' $T plan $TINY --device 0 --json
json "len(s) == 1 and s[0]['first'] == 'embeddings' and s[0]['last'] == 'head' and s[0]['keeps_all'] and r['batch'] == 4" && ok || bad "$(cat "$W/out")"
planned=$($T plan $TINY --device 0 training.micro_batch_size=4 2>&1 | awk '/embeddings-head/ {print $(NF-4)}')
really=$($T train $TINY --device 0 training.micro_batch_size=4 --dry-run data.root=. 2>&1 | awk '/^#   total/ {print $3}')
awk -v a="$planned" -v b="$really" 'BEGIN {exit !(a > 0.97 * b && a < 1.03 * b)}' && ok || bad "planned $planned MiB, training takes $really"

# by hand
HAND="--stages 0:embeddings-layer.1,1:layer.2-head"
expect 0 '"0:embeddings-layer.1,1:layer.2-head@4/2"' $T plan $TINY --device 0,1 $HAND --svg "$W/plan.svg"
python3 - "$W/plan.svg" <<'P' && ok || bad "the picture: $(head -c 300 "$W/plan.svg")"
import sys, xml.etree.ElementTree as E
root = E.parse(sys.argv[1]).getroot()
tag = "{http://www.w3.org/2000/svg}"
text = [t.text for t in root.iter(tag + "text")]
titles = [t.text for t in root.iter(tag + "title")]
assert root.tag == tag + "svg" and any("layer.2-head" in t for t in text) and "the plan" in text
assert sum(t.startswith("forward") for t in titles) == 4 and sum(t.startswith("backward") for t in titles) == 4
assert sum(t.startswith("transfer") for t in titles) == 4
P
says "the split leaves layers 'layer.2' to 'head' out" $T plan $TINY --device 0,1 --stages "0:embeddings-head@2/2;1:embeddings-layer.1@2/1"
says "the split leaves layer 'layer.2' out, between device 0 and device 1" $T plan $TINY --device 0,1 --stages 0:embeddings-layer.1,1:layer.3-head
says "the split has layer 'layer.1' twice" $T plan $TINY --device 0,1 --stages 0:embeddings-layer.1,1:layer.1-head
says "the split names device 0 twice" $T plan $TINY --device 0,1 --stages 0:embeddings-layer.1,0:layer.2-head
says "the model has no layer 'layer.7'" $T plan $TINY --device 0,1 --stages 0:embeddings-layer.7,1:layer.2-head
says "in the wrong order" $T plan $TINY --device 0,1 --stages 1:layer.2-head,0:embeddings-layer.1

# lists
says "the device list '0,0' names device 0" $T plan $TINY --device 0,0
says "no OpenCL device matches 'pthraed'" $T plan $TINY --device 0,pthraed
says "device index 7 does not exist" $T plan $TINY --device 0,7
says "has an empty entry" $T plan $TINY --device 0,
says "which takes every device and stands alone" $T plan $TINY --device all,0
says "the model fits no division of these devices: one image at a time" $T plan $TINY --device 0 --memory-limit 1

# described machines
for m in laptop eight-gpus nodes-25gbit; do expect 0 "img/s with a batch of 64" $T plan $BIG training.batch_size=64 --machine configs/machines/$m.yaml; done
expect 0 '"n_devices": 64' $T plan $BIG training.batch_size=64 --machine configs/machines/nodes-25gbit.yaml --json
json "sum(v['images'] for v in r['replicas']) == 64 and r['planning_seconds'] < 5" && ok || bad "nodes: $(head -c 400 "$W/out")"
sed 's/memory_gib: 126/memory_gib: 0.25/' configs/machines/eight-gpus.yaml >"$W/small.yaml"
expect 0 '"stages"' $T plan $BIG training.batch_size=16 --machine "$W/small.yaml" --json
json "len(r['replicas'][0]['stages']) > 1 and all(x['weights'] + x['optimizer'] + x['activations'] <= x['memory'] for x in s)" && ok ||
  bad "small cards: $(head -c 400 "$W/out")"
expect 0 "blocks again" $T plan $BIG training.batch_size=16 --machine "$W/small.yaml"
sed 's/memory_gib: 126/memory_gib: 0.01/' configs/machines/eight-gpus.yaml >"$W/small.yaml"
says "the model fits no division of these devices" $T plan $BIG --machine "$W/small.yaml"
printf 'devices:\n  - name: a\n    memory_gib: 1\n' >"$W/m.yaml"
says "$W/m.yaml:2:5: 'product_tflops' is missing" $T plan $TINY --machine "$W/m.yaml"
sed 's/launch_us: 7/launch_us: -7/' configs/machines/eight-gpus.yaml >"$W/m.yaml"
says "'launch_us' is a positive number" $T plan $TINY --machine "$W/m.yaml"
sed 's/launch_us/lunch_us/' configs/machines/eight-gpus.yaml >"$W/m.yaml"
says "'lunch_us' is no key of a described machine" $T plan $TINY --machine "$W/m.yaml"
sed '/^network/d' configs/machines/nodes-25gbit.yaml >"$W/m.yaml"
says "several nodes have a 'network'" $T plan $TINY --machine "$W/m.yaml"
says "stages by hand name devices of this machine" $T plan $TINY $HAND --machine configs/machines/laptop.yaml
says "no-such.yaml" $T plan $TINY --machine "$W/no-such.yaml"

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ] && [ "$pass" -gt 0 ]
