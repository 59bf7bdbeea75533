#!/bin/bash
# Everything that is worth knowing of a GPU in one go: gpu_check.sh TRACKNET TN_GOLDEN OUT
# Self-test, tuning, golden cases, the volleyball run, the memory table, and training speed beside the PyTorch peer.
set -u
T=$1 G=$2 OUT=$3
mkdir -p "$OUT"
echo "== devices"; $T devices --device gpu --self-test --tune
echo "== golden"; $G tests/golden/cases --device gpu | tee "$OUT/golden.txt" | grep -E "passed|LARGE|FAILED"
$G tests/golden/cases --device gpu --recompute 4 | tail -1
echo "== volleyball, QLoRA, random DINOv3"
$T train --device gpu --model vit_qlora_random --training overfit --output-dir "$OUT/vb" data.root=tests/data/volleyball \
  'data.split.train_games=[game1]' 'data.split.val_games=[]' data.preprocess.flip_prob=0 2>>"$OUT/errors.txt"
$T eval --device gpu --checkpoint "$OUT/vb/last" --split train
cp "$OUT/vb/log.csv" "$OUT/volleyball_gpu.csv"
echo "== memory, allocated by the driver"
nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader
python3 tools/memory_table.py "$T" --device gpu --batch 1 32 | tee "$OUT/memory.md"
echo "== training speed, 288x512, random weights, beside PyTorch"
for s in vit-s vit-b; do
  w=384; [ $s = vit-b ] && w=768
  for p in fp32 bf16; do
    $T train --device gpu --json --output-dir "$OUT/speed" data.root=tests/data/volleyball 'data.split.train_games=[game1]' \
      'data.split.val_games=[]' 'data.preprocess.resize=[512,288]' 'model.heatmap.size=[256,144]' \
      model.pretrained_model_name=configs/backbone/$s model.backbone.random_init=true "model.decoder.channels=[$w,256,128,64]" \
      'model.decoder.upsample=[2,2,2]' model.lora.enabled=true model.lora.lora_dropout=0 model.quantization.enabled=true \
      training.precision=$p training.epochs=6 training.batch_size=21 2>>"$OUT/errors.txt" | python3 -c "
import json,sys; j=json.load(sys.stdin); print('ours $s QLoRA $p batch 21: %.1f img/s with start-up, peak %.0f MiB' % (j['images_per_second'], j['allocated_peak']/2**20))"
    tail -1 "$OUT/speed/log.csv" | awk -F, '{print "     last epoch " $9 " img/s"}'; rm -rf "$OUT/speed"
  done
  python3 tests/bench/peer_train.py $s 21 2>/dev/null; python3 tests/bench/peer_train.py $s 21 --amp 2>>"$OUT/errors.txt"
done
rm -rf "$OUT/vb"
