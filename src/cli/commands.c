/* The commands: what each takes and what its help says. */
#include "cli.h"

#include <string.h>

#define CONFIG_HELP                                                                                                                \
    "  --data NAME         configs/data/NAME.yaml, or a path        (default tracknet)\n"                                          \
    "  --model NAME        configs/model/NAME.yaml, or a path       (default vit_heatmap)\n"                                       \
    "  --training NAME     configs/training/NAME.yaml, or a path    (default default)\n"                                           \
    "  --config FILE       one merged file, as --dry-run prints it, instead of the three\n"                                        \
    "  --config-dir DIR    where the three are looked for           (default ./configs, then the installed ones)\n"                \
    "  --seed N            training.seed=N\n"                                                                                      \
    "  KEY=VALUE           any key of the configuration, e.g. training.optimizer.lr=1e-4 model.lora.r=8\n"
#define DEVICE_HELP                                                                                                                \
    "  --device D          index, part of a name, cpu or gpu        (default: the GPU with the most memory, or the CPU);\n"        \
    "                      a list of them, 0,1, or all: the layers are divided among them\n"                                       \
    "  --stages LIST       which layers where, by hand: 0:embeddings-layer.5,1:layer.6-head\n"                                     \
    "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"    \
    "  --memory-limit MB   take no more device memory than this\n"                                                                 \
    "  --nice MS           rest so long after each 100 ms of work, for a desktop that stays usable     (default 0)\n"              \
    "  --gemm NAME         portable, native or clblast instead of the measured choice\n"                                           \
    "  --variants LIST     the same for any operation: attention=portable,unpack=wide ('devices --verbose' lists them); first: "   \
    "the\n"                                                                                                                        \
    "                      first that is right where none was measured, for runs too short to measure in\n"                        \
    "  --cache DIR         built kernels and measurements; off: none    (default tracknet in $XDG_CACHE_HOME or ~/.cache)\n"

#define CONFIG_OPTIONS "data model training config config-dir seed"
#define DEVICE_OPTIONS "device stages threads memory-limit nice gemm variants cache"

const tn_command tn_commands[] = {
    {"train", "train a model as the configuration says",
     "usage: tracknet train [options] [KEY=VALUE ...]\n\n" CONFIG_HELP DEVICE_HELP
     "  --output-dir DIR    training.output_dir=DIR                  (default runs/<model>-<time>)\n"
     "  --overwrite         DIR may hold a run, which this one replaces\n"
     "  --resume [DIR]      go on from a run's last checkpoint       (default: the newest run's, in output_dir or below runs/)\n"
     "                      in that run's folder; a copy of a checkpoint begins a run of its own\n"
     "  --dry-run           print the merged configuration as YAML and stop; fails where it cannot train\n"
     "  --json              print the summary as JSON\n\n"
     "'mpirun -n N tracknet train ...' trains with N devices, of one machine or several (docs/ranks.md).\n"
     "Writes <output_dir>/log.csv, steps.csv, tb/ (TensorBoard), previews/, best/ and last/ (adapter in PEFT's files, decoder\n"
     "and head, optimiser state, configuration, record of versions and device).\n",
     CONFIG_OPTIONS " " DEVICE_OPTIONS " output-dir overwrite resume dry-run json", tn_cmd_train},
    {"eval", "loss, mean distance, PCK@3 and F1 over a split",
     "usage: tracknet eval [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last; brings its own configuration    (default: the newest best)\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own\n"
     "  --split NAME        val or train                             (default val)\n"
     "  --threshold T       a ball is predicted from this confidence on, 0 to 1    (default: what the checkpoint stores)\n"
     "  --tolerance PX      training.metrics.tolerance=PX: how far off a found ball may be, pixels of the frame\n" CONFIG_HELP
         DEVICE_HELP "  --json              print the result as JSON\n\n"
     "Without --checkpoint the newest run's best is taken, from training.output_dir or below runs/; of the named model, where\n"
     "one is named. Where there is none the model is evaluated as configured, untrained. mean L2 and PCK@3 are in heatmap pixels. "
     "TP, FP1, FP2, TN, FN\n"
     "and what is made of them are TrackNetV2's and V3's (docs/metrics.md).\n",
     "checkpoint adapter split threshold tolerance " CONFIG_OPTIONS " " DEVICE_OPTIONS " json dry-run", tn_cmd_eval},
    {"predict", "find the ball in pictures or a video",
     "usage: tracknet predict --image FILE-or-FOLDER [options] [KEY=VALUE ...]\n"
     "       tracknet predict --video FILE [--out FILE] [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last               (default: the newest best, as for eval)\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own; several are swapped over one base\n"
     "  --image PATH        a .jpg or .png, or a folder of them; may be given several times\n"
     "  --outdir DIR        write NAME_heatmap.png and NAME_overlay.png there\n"
     "  --csv FILE          write image,x,y,confidence (pixels of the image); with a threshold visibility behind image, and\n"
     "                      0,0,0 for no ball\n"
     "  --video FILE        a video, as FFmpeg reads it; --csv is then Frame,Visibility,X,Y,Confidence,Time, row by row\n"
     "  --out FILE          write the video with the ball and its trail drawn, and the sound, as .mp4, .mkv ...\n"
     "  --batch N           frames that go to the device together    (default 8 of a video, 1 image)\n"
     "  --threshold T       a ball is visible from this confidence on, 0 to 1      (default: what the checkpoint "
     "stores)\n"
     "  --smooth            one track: drop outliers, fill short gaps; the table gets a column repaired\n"
     "  --max-gap N         frames of a gap that --smooth fills      (default 5; 0 fills none)\n" CONFIG_HELP DEVICE_HELP
     "  --json              print the predictions as JSON\n",
     "checkpoint adapter image outdir csv video out batch threshold smooth max-gap " CONFIG_OPTIONS " " DEVICE_OPTIONS " json",
     tn_cmd_predict},
    {"profile", "where the time of a training step or a prediction goes",
     "usage: tracknet profile train|predict [options] [KEY=VALUE ...]\n\n"
     "  --batch N           images of the pass              (default: train the micro-batch it would take, predict 1)\n"
     "  --repeat N          steps and passes that are timed; each time is their median     (default 5)\n"
     "  --paced             print the seconds of each burst of steps and wait for a line of standard input: to measure in turn\n"
     "                      with another program\n"
     "  --by NAME           one table, by kernel, operation, layer or entry   (default: by kernel, then by layer)\n"
     "  --json [FILE]       the report as JSON, entry by entry; without FILE it is printed instead of the tables\n"
     "  --trace FILE        a Chrome trace: chrome://tracing and ui.perfetto.dev draw it\n"
     "  --checkpoint DIR    a checkpoint's configuration, and for predict its weights\n"
     "  --adapter DIR       predict: with this PEFT adapter\n" CONFIG_HELP DEVICE_HELP
     "\nSteps run on random frames; no data set is read and nothing is written but FILE.\n",
     "batch repeat paced by json trace checkpoint adapter " CONFIG_OPTIONS " " DEVICE_OPTIONS, tn_cmd_profile},
    {"bench", "what a device is worth for this work: bandwidths, kernels, steps; results compared",
     "usage: tracknet bench [options]\n"
     "       tracknet bench compare A.json B.json ... [--json [FILE]] [--html FILE]\n"
     "       tracknet bench show A.json [--json [FILE]] [--html FILE]\n\n"
     "  --device D          index, part of a name, cpu or gpu, a list of them, or all   (default: as elsewhere, one)\n"
     "  --quick | --full    under a minute a device, or up to ten, instead of four; what there is no time for is left out, and\n"
     "                      named. Kernels that are built for the first time may add two minutes, with --full nothing\n"
     "  --budget SECONDS    another time, all included\n"
     "  --only LIST         some of links,kernels,work,clpeak        (default: the first three; all with --full)\n"
     "  --sizes LIST        backbones whose steps are measured, folders of configs/backbone: vit-s,vit-b   (default: vit-s,\n"
     "                      vit-b, vit-l; fewer with --quick and on a processor)\n"
     "  --json [FILE]       the result as JSON (docs/bench.md has its schema); without FILE it is printed instead of the tables\n"
     "  --html FILE         one page with roofline, step breakdown, comparison and the machine's facts\n"
     "  --config-dir DIR    the folder of configurations           (default ./configs, then the installed ones)\n"
     "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"
     "  --memory-limit MB   take no more device memory than this\n"
     "  --cache DIR         built kernels and measurements; off: none\n\n"
     "Every kernel is checked against plain C on random data before it is timed; the exit status is 1 when a check fails.\n",
     "device quick full budget only sizes json html config-dir threads memory-limit gemm variants cache", tn_cmd_bench},
    {"plan", "which device would run which layers, and how fast a training step would be",
     "usage: tracknet plan [options] [KEY=VALUE ...]\n\n"
     "  --device LIST       devices that may be used: indices or names separated by commas, or all    (default: one, as "
     "elsewhere)\n"
     "  --machine FILE      plan for a described machine instead (configs/machines/, docs/scaling.md)\n"
     "  --measure           run the plan too, on random frames, and set what came of it beside what was predicted\n"
     "  --svg FILE          draw the timeline of a step; with --measure what ran below it\n"
     "  --json              print the plan as JSON\n"
     "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"
     "  --memory-limit MB   take no more memory of each device than this\n"
     "  --gemm NAME, --variants LIST, --cache DIR    as for train\n" CONFIG_HELP
     "\nDevices are timed once with two of the model's blocks and random frames; the times are kept in the cache. Prints for each\n"
     "device its layers, the memory they take, how long it computes, its share of the arithmetic, how long it waits, and why "
     "other\n"
     "devices are left out.\n",
     "machine measure svg json " CONFIG_OPTIONS " " DEVICE_OPTIONS, tn_cmd_plan},
    {"devices", "list every OpenCL device",
     "usage: tracknet devices [options]\n\n"
     "  --device D          only this one\n"
     "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"
     "  --self-test         run every kernel against plain C first\n"
     "  --tune              check and measure every kernel variant (CLBlast's are slow to build on a CPU)\n"
     "  --tune-seconds N    search CLBlast's parameters for so long (default: 120 where it is near the fastest)\n"
     "  --verbose           capabilities, and what is known of the variants: time, error, chosen or why refused\n"
     "  --cache DIR         where the measurements are               (default tracknet in $XDG_CACHE_HOME or ~/.cache)\n"
     "  --json              print JSON\n",
     DEVICE_OPTIONS " self-test tune tune-seconds verbose json", tn_cmd_devices},
    {"doctor", "write what a bug report needs of every OpenCL device",
     "usage: tracknet doctor [options]\n\n"
     "  --out FILE          the report                               (default tracknet-doctor.txt)\n"
     "  --device D          only this one\n"
     "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"
     "  --tune              every storage type, and every kernel variant checked and measured: minutes\n"
     "  --cache DIR         where kernels and measurements are       (default tracknet in $XDG_CACHE_HOME or ~/.cache)\n\n"
     "Runs the self-test on each device in a process of its own, and writes versions, drivers, limits, quirks applied, what "
     "failed\n"
     "and how, what is known of the kernel variants, and a small timing. No path, user or host name goes in. The exit status is 0\n"
     "where a device works. docs/devices.md tells what to do with the file.\n",
     DEVICE_OPTIONS " out tune", tn_cmd_doctor},
    {"labels", "check a data set's labels and draw them",
     "usage: tracknet labels [options] [KEY=VALUE ...]\n\n"
     "  --split NAME        train, val or all                        (default all)\n"
     "  --out FILE.png|DIR  the contact sheet: frames chosen evenly, labels drawn (default labels.png; in DIR that name)\n"
     "  --json              print the check as JSON\n" CONFIG_HELP
     "\nFor each clip: pictures in its folder, frames with a label, and rows of its label file that are set aside, with\n"
     "the first one's line (docs/data.md tells the formats). The exit status is 1 when nothing can be used, or when a row\n"
     "is set aside and training.strict_labels=true.\n",
     "split out json " CONFIG_OPTIONS, tn_cmd_labels},
    {"synth", "draw labelled clips",
     "usage: tracknet synth --output-dir DIR [options]\n\n"
     "  --output-dir DIR    clips go to DIR/<game>/Clip<i>/\n"
     "  --game NAME         game folder                              (default game1)\n"
     "  --look N            0: blue court by day; 1: clay at dusk    (default 0)\n"
     "  --clips N           (default 4)\n"
     "  --frames N          of each clip (default 40)\n"
     "  --size WxH          (default 512x288)\n"
     "  --bars N            opaque bars that hide the ball for a frame or two (default 0)\n"
     "  --seed N            (default 42)\n",
     "output-dir game look clips frames size bars seed", tn_cmd_synth},
    {"quantize", "write a checkpoint with its linear layers in few bits",
     "usage: tracknet quantize --in DIR --out DIR [options]\n\n"
     "  --in DIR            Hugging Face model folder, or a hub id in the local cache\n"
     "  --out DIR           must not exist yet\n"
     "  --quant-type NAME   nf4, fp4, int8 (bitsandbytes' files, which transformers loads), int4, int4_asym, mxfp4,\n"
     "                      nvfp4 (read here only)                   (default nf4)\n"
     "  --block-size N      elements that share a scale              (default: the format's own)\n"
     "  --double-quant      scales in 8 bits too (nf4, fp4)\n"
     "  --skip NAME         leave modules whose name holds NAME in float; may be given several times\n"
     "  --report            bits, signal to noise and largest error of every layer\n"
     "  --json              the report as JSON\n\n"
     "One tensor is in memory at a time. Shards stay shards.\n",
     "in out quant-type block-size double-quant skip report json", tn_cmd_quantize},
    {"adapter", "describe, merge or convert a LoRA adapter",
     "usage: tracknet adapter info --adapter DIR [--json]\n"
     "       tracknet adapter merge --adapter DIR --base DIR --out DIR [--quant-type NAME ...]\n"
     "       tracknet adapter merge --adapter DIR --adapter DIR ... --method linear|svd [--weights W,W,...] [--rank R] --out DIR\n"
     "       tracknet adapter convert --adapter DIR --out DIR [options]\n\n"
     "  --adapter DIR       PEFT's adapter_config.json and adapter_model.safetensors (or .bin), or a checkpoint of ours\n"
     "  --base DIR          Hugging Face folder that the adapter was trained on\n"
     "  --out DIR           must not exist yet\n"
     "merge writes the base with the adapter added, in the base's dtype, or quantised with\n"
     "  --quant-type NAME --block-size N --double-quant --skip NAME --report     as in 'tracknet quantize'\n"
     "With --method it writes one adapter of several over the same base, as PEFT's add_weighted_adapter does:\n"
     "  --method linear     A and B of sqrt(weight * scale) each are added; the adapters have one rank\n"
     "  --method svd        the weighted sum of what the adapters add to a matrix, cut to rank R\n"
     "  --weights W,W,...   one for each --adapter                   (default: the same, 1 in all)\n"
     "  --rank R            svd: the outcome's                       (default: the largest of the adapters')\n"
     "convert changes\n"
     "  --spelling v4|v5    module paths as transformers 4 or 5 has them (needs --model-type)\n"
     "  --model-type NAME   of the base's config.json (dinov3_vit, convnext, ...)\n"
     "  --dtype NAME        F32, F16 or BF16\n"
     "  --plain             a PiSSA or OLoRA adapter into LoRA of twice the rank over the unchanged base (needs --base)\n",
     "adapter base out quant-type block-size double-quant skip report spelling model-type dtype plain method weights rank json",
     tn_cmd_adapter},
    {"import", "turn a PyTorch Lightning TrackNet checkpoint into ours",
     "usage: tracknet import --in DIR --out DIR [options] [KEY=VALUE ...]\n\n"
     "  --in DIR            Lightning's .ckpt, or its state_dict as safetensors (backbone.model.*, decoder.*, head.*), or a\n"
     "                      folder with one of them; a config.json beside it describes the backbone, else\n"
     "                      pretrained_model_name does\n"
     "  --out DIR           checkpoint folder of ours, backbone included; must not exist yet\n"
     "The configuration is the one it was trained with:\n" CONFIG_HELP DEVICE_HELP,
     "in out " CONFIG_OPTIONS " " DEVICE_OPTIONS, tn_cmd_import},
    {"export", "write a checkpoint as ONNX, or under Lightning's names",
     "usage: tracknet export --checkpoint DIR --out FILE.onnx|DIR [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own\n"
     "  --out FILE.onnx     ONNX, opset 17: adapters merged, pixel_values [batch, 3, H, W] -> heatmap [batch, 1, h, w];\n"
     "                      of windows of T frames 3 T channels in, and as many heatmaps as the model has\n"
     "  --out DIR           model.safetensors with the Python project's names, config.json and config.yaml\n"
     "  --spelling v4|v5    backbone names as transformers 4 or 5 has them  (DIR; default v4)\n" CONFIG_HELP DEVICE_HELP,
     "checkpoint adapter out spelling " CONFIG_OPTIONS " " DEVICE_OPTIONS, tn_cmd_export},
    {"demo", "the whole way on synthetic clips: pretrain, quantise, adapt, evaluate, draw",
     "usage: tracknet demo [options]\n\n"
     "  --output-dir DIR    (default demo)\n"
     "  --device D          index, part of a name, cpu or gpu\n"
     "  --threads N         threads of a CPU device                  (default: all that its affinity and control group leave)\n"
     "  --config-dir DIR    the folder of configurations           (default ./configs, then the installed ones)\n"
     "  --seed N            (default 42)\n",
     "output-dir config-dir seed " DEVICE_OPTIONS, tn_cmd_demo},
    {0},
};

const tn_command *tn_cli_command(const char *name)
{
    for (const tn_command *k = tn_commands; k->name; k++)
        if (!strcmp(k->name, name)) return k;
    return NULL;
}
