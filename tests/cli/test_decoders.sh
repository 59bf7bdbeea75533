#!/bin/bash
# Decoders of several scales: the shipped models of ConvNeXt, over a ViT too; out and in again; on several devices; what they refuse.
# test_decoders.sh TRACKNET SOURCE_DIR; prints "N passed, N failed".
. "$(dirname "$0")/lib.sh"
export POCL_DEVICES="pthread pthread"

C=tests/golden/cases
expect 0 "" $T synth --output-dir "$W/data" --clips 2 --frames 6 --size 96x64
RUN="--training overfit data.root=$W/data data.split.train_games=[game1] data.split.val_games=[game1] data.preprocess.resize=[96,64]"
RUN="$RUN training.epochs=3 training.batch_size=4 training.micro_batch_size=2"
TINY="model.backbone.random_init=true model.pretrained_model_name=$C/dinov3_convnext model.heatmap.size=[30,20]"
FPN="--model convnext_fpn_heatmap $TINY model.fpn.in_channels=[16,32,48,64] model.fpn.lateral_dim=24"
HRNET="--model convnext_hrnet_heatmap $TINY model.hrnet.in_channels=null model.hrnet.widths=[8,12,16,20] model.hrnet.out_channels=10"
VIT="--model vit_heatmap model.backbone.random_init=true model.pretrained_model_name=$C/dinov3 model.heatmap.size=[30,20]"

# what is shipped loads, and is printed; the model itself need not be there for that
prints() { # prints TEXT options...
  "$T" train --dry-run "${@:2}" >"$W/out" 2>&1
  grep -qF -- "$1" "$W/out" && grep -q "^  heatmap:" "$W/out" && ok || bad "--dry-run ${*:2} does not print $1"
}
for m in fpn hrnet; do
  prints 'model_name: "convnext_'$m'_heatmap"' --model convnext_${m}_heatmap
  prints 'return_stages: [1, 2, 3, 4]' --model convnext_${m}_heatmap
done
expect 0 "memory plan" $T train --dry-run $RUN $FPN
# files of the Python project, some of whose keys mean nothing here
printf 'fpn: { lateral_dim: 64, use_p2: false, fuse: concat }\nbackbone: { device_map: auto, local_files_only: true }\n' >"$W/theirs.yaml"
prints 'lateral_dim: 64' --model "$W/theirs.yaml"
grep -q "'model.fpn.use_p2' is accepted and not used" "$W/out" && ok || bad "use_p2 is passed over silently"

# every kind learns, evaluates and finds
first() { cut -d, -f3 "$W/$1/log.csv" | sed -n 2p; }
last() { cut -d, -f3 "$W/$1/log.csv" | tail -1; }
learns() { # learns NAME options...
  local name=$1
  shift
  expect 0 "loss" $T train $RUN "$@" --output-dir "$W/$name"
  awk "BEGIN { exit !($(last "$name") < $(first "$name")) }" && ok || bad "$name does not learn: $(first "$name") to $(last "$name")"
}
trains() { # trains NAME options...: and evaluates, and predicts
  learns "$@"
  local name=$1
  expect 0 "PCK" $T eval --checkpoint "$W/$name/last"
  expect 0 "confidence" $T predict --checkpoint "$W/$name/last" --image "$W/data/game1/Clip1/0000.jpg" --csv "$W/$name.csv"
}
trains fpn $FPN
trains concat $FPN model.fpn.fuse=concat training.precision=bf16
trains hrnet $HRNET
learns lora $FPN model.lora.enabled=true model.lora.r=2
learns whole $HRNET model.backbone.freeze=false
trains vit_fpn $VIT model.decoder.kind=fpn model.fpn.lateral_dim=16
learns vit_hrnet $VIT model.decoder.kind=hrnet model.hrnet.widths=[8,8,8,8] training.memory_optimization.gradient_checkpointing=true
# the same over windows, with a heatmap of each of their frames
WINDOWS="data.sequence.enabled=true data.sequence.length=3 model.frames=concat model.heatmaps=all"
trains fpn_windows $FPN $WINDOWS
learns concat_windows $FPN $WINDOWS model.fpn.fuse=concat
trains hrnet_windows $HRNET $WINDOWS

# twice, and with activations made again: the same bits
log() { cut -d, -f1-3 "$W/$1/log.csv"; }
same() { cmp -s <(log "$1") <(log "$2") && ok || bad "$3"; }
expect 0 "loss" $T train $RUN $HRNET --output-dir "$W/hrnet2"
same hrnet hrnet2 "two runs of hrnet differ"
expect 0 "loss" $T train $RUN $FPN --output-dir "$W/fpn2"
same fpn fpn2 "two runs of fpn differ"
expect 0 "loss" $T train $RUN $HRNET training.epochs=2 --output-dir "$W/begun"
expect 0 "loss" $T train $RUN $HRNET --resume "$W/begun/last" --output-dir "$W/begun"
same hrnet begun "a run of hrnet that went on differs from one that was never stopped"

# under Lightning's names and back: the same decoder
for name in concat hrnet vit_fpn concat_windows; do
  expect 0 "$W/$name.pl" $T export --checkpoint "$W/$name/last" --out "$W/$name.pl"
  expect 0 "$W/$name.back" $T import --in "$W/$name.pl" --out "$W/$name.back" --config "$W/$name.pl/config.yaml"
  cmp -s "$W/$name/last/decoder.safetensors" "$W/$name.back/decoder.safetensors" && ok || bad "$name comes back otherwise"
  expect 0 "$W/$name.onnx" $T export --checkpoint "$W/$name/last" --out "$W/$name.onnx"
done
# as PyTorch has it, with a count of batches beside BatchNorm's statistics
python3 - "$W/hrnet.pl/model.safetensors" <<'P'
import json, sys
raw = open(sys.argv[1], "rb").read()
n = int.from_bytes(raw[:8], "little")
h, data = json.loads(raw[8:8 + n]), raw[8 + n:]
h["decoder.lateral.0.1.num_batches_tracked"] = {"dtype": "I64", "shape": [], "data_offsets": [len(data), len(data) + 8]}
h = json.dumps(h).encode()
h += b" " * (-len(h) % 8)
open(sys.argv[1], "wb").write(len(h).to_bytes(8, "little") + h + data + (7).to_bytes(8, "little"))
P
expect 0 "" $T import --in "$W/hrnet.pl" --out "$W/counted" --config "$W/hrnet.pl/config.yaml"
grep -q "left out" "$W/out" && bad "a count of batches is missed: $(cat "$W/out")" || ok
cmp -s "$W/hrnet/last/decoder.safetensors" "$W/counted/decoder.safetensors" && ok || bad "hrnet comes back otherwise with a count of batches"
for key in decoder.fpn.inner_blocks.3.0.weight decoder.fpn.layer_blocks.0.0.bias decoder.reduce.weight head.conv.bias; do
  grep -aq "\"$key\"" "$W/concat.pl/model.safetensors" && ok || bad "the exported file has no $key"
done
for key in lateral.0.0.weight units.1.branch_ops.3.1.running_var units.1.fuse_layers.3.0.2.0.weight units.0.fuse_layers.0.1.1.bias head.bias; do
  grep -aq "\"decoder.$key\"" "$W/hrnet.pl/model.safetensors" && ok || bad "the exported file has no decoder.$key"
done

# divided among devices between any two parts: the same figures
alike() { # within 1e-5, line by line
  paste -d, <(log "$1") <(log "$2") | awk -F, 'NR > 1 { d = $3 - $6; if (d < 0) d = -d; if (d > 1e-5 * $3) bad = 1 } END { exit bad || NR < 2 }'
}
for at in layer.1,layer.2 layer.4,fpn.3 fpn.0,head; do
  expect 0 "loss" $T train $RUN $FPN --stages "0:embeddings-${at%,*},1:${at#*,}-head" --output-dir "$W/fpn.$at"
  alike fpn "fpn.$at" && ok || bad "fpn divided between $at trains otherwise"
done
for at in lateral,unit.0 unit.0,unit.1; do
  expect 0 "loss" $T train $RUN $HRNET --stages "0:embeddings-${at%,*},1:${at#*,}-head" --output-dir "$W/hrnet.$at"
  alike hrnet "hrnet.$at" && ok || bad "hrnet divided between $at trains otherwise"
done
expect 0 "unit.1" $T profile train --by layer --repeat 1 $RUN $HRNET
expect 0 "upsample_add" $T profile train --by operation --repeat 1 $RUN $FPN

# what does not fit the backbone, in one sentence each
no() { says "$1" $T train $RUN --output-dir "$W/x" "${@:2}"; }
no "model.fpn.in_channels is [96, 192, 384, 768], but the backbone's maps have [16, 32, 48, 64] channels" $FPN model.fpn.in_channels=[96,192,384,768]
no "model.fpn.in_channels is [16, 32, 48], but the backbone's maps have [16, 32, 48, 64]" $FPN model.fpn.in_channels=[16,32,48]
no "model.hrnet.in_channels is [64], but the backbone's maps have [64, 64, 64, 64]" $VIT model.decoder.kind=hrnet model.hrnet.in_channels=[64]
no "model.hrnet.widths has 3 entries, but the backbone hands out 4 maps" $HRNET model.hrnet.widths=[8,8,8]
no "model.fpn.lateral_dim must be a whole number" $FPN model.fpn.lateral_dim=0
no "model.fpn.fuse must be one of sum|concat" $FPN model.fpn.fuse=mean
no "model.hrnet.num_units must be a whole number" $HRNET model.hrnet.num_units=-1
DEFORMABLE="--model convnext_deformable_fpn_heatmap $TINY model.deformable_encoder.in_channels=null"
no "model.deformable_encoder.num_feature_levels is 3, but the backbone hands out 4 maps: set it to 4, or leave the key out" $DEFORMABLE model.deformable_encoder.num_feature_levels=3
no "model.deformable_encoder.d_model must be a whole number from 4 to 2048, not '65536'" $DEFORMABLE model.deformable_encoder.d_model=65536
[ -e "$W/x" ] && bad "a refused run leaves a folder" || ok
says "was made with another configuration" $T eval --checkpoint "$W/fpn/last" model.fpn.fuse=concat
says "was it made with another configuration" $T eval --checkpoint "$W/hrnet/last" model.hrnet.widths=[8,12,16,24]
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
