#include "cli.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t tn_interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    tn_interrupted = 1;
    signal(SIGINT, SIG_DFL); /* a second Ctrl-C ends at once */
}

#define CONFIG_HELP                                                                                                                \
    "  --data NAME         configs/data/NAME.yaml, or a path        (default tracknet)\n"                                          \
    "  --model NAME        configs/model/NAME.yaml, or a path       (default vit_heatmap)\n"                                       \
    "  --training NAME     configs/training/NAME.yaml, or a path    (default default)\n"                                           \
    "  --config FILE       one merged file, as --dry-run prints it, instead of the three\n"                                        \
    "  --config-dir DIR    where the three are looked for           (default ./configs, then the installed ones)\n"                \
    "  --seed N            training.seed=N\n"                                                                                      \
    "  KEY=VALUE           any key of the configuration, e.g. training.optimizer.lr=1e-4 model.lora.r=8\n"
#define DEVICE_HELP                                                                                                                \
    "  --device D          index, part of a name, cpu or gpu        (default: the GPU with the most memory, or the CPU)\n"         \
    "  --memory-limit MB   take no more device memory than this\n"                                                                 \
    "  --gemm NAME         portable, native or clblast instead of the measured choice\n"

const tn_command tn_commands[] = {
    {"train", "train a model as the configuration says",
     "usage: tracknet train [options] [KEY=VALUE ...]\n\n" CONFIG_HELP DEVICE_HELP "  --output-dir DIR    training.output_dir=DIR\n"
     "  --resume [DIR]      go on from a checkpoint              (default <output_dir>/last)\n"
     "  --dry-run           print the merged configuration as YAML and stop\n"
     "  --json              print the summary as JSON\n\n"
     "Writes <output_dir>/log.csv, previews/, best/ and last/ (adapter in PEFT's files, decoder and head, optimiser\n"
     "state, configuration, record of versions and device).\n",
     "data model training config config-dir seed device memory-limit gemm output-dir resume dry-run json", tn_cmd_train},
    {"eval", "loss, mean distance and PCK@3 over a split",
     "usage: tracknet eval --checkpoint DIR [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last; brings its own configuration\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own\n"
     "  --split NAME        val or train                             (default val)\n" CONFIG_HELP DEVICE_HELP
     "  --json              print the result as JSON\n\n"
     "Without --checkpoint the model is evaluated as configured. Distances are heatmap pixels.\n",
     "checkpoint adapter split data model training config config-dir seed device memory-limit gemm json dry-run", tn_cmd_eval},
    {"predict", "find the ball in pictures",
     "usage: tracknet predict --checkpoint DIR --image FILE-or-FOLDER [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own; several are swapped over one base\n"
     "  --image PATH        a .jpg or .png, or a folder of them; may be given several times\n"
     "  --outdir DIR        write NAME_heatmap.png and NAME_overlay.png there\n"
     "  --csv FILE          write image,x,y,confidence (pixels of the image)\n" CONFIG_HELP DEVICE_HELP
     "  --json              print the predictions as JSON\n",
     "checkpoint adapter image outdir csv data model training config config-dir seed device memory-limit gemm json",
     tn_cmd_predict},
    {"profile", "where the time of a training step or a prediction goes",
     "usage: tracknet profile train|predict [options] [KEY=VALUE ...]\n\n"
     "  --batch N           images of the pass              (default: train the micro-batch it would take, predict 1)\n"
     "  --repeat N          steps and passes that are timed; each time is their median     (default 5)\n"
     "  --by NAME           one table, by kernel, operation, layer or entry   (default: by kernel, then by layer)\n"
     "  --json [FILE]       the report as JSON, entry by entry; without FILE it is printed instead of the tables\n"
     "  --trace FILE        a Chrome trace: chrome://tracing and ui.perfetto.dev draw it\n"
     "  --checkpoint DIR    a checkpoint's configuration, and for predict its weights\n"
     "  --adapter DIR       predict: with this PEFT adapter\n" CONFIG_HELP DEVICE_HELP
     "\nSteps run on random frames; no data set is read and nothing is written but FILE.\n",
     "batch repeat by json trace checkpoint adapter data model training config config-dir seed device memory-limit gemm",
     tn_cmd_profile},
    {"devices", "list every OpenCL device",
     "usage: tracknet devices [options]\n\n"
     "  --device D          only this one\n"
     "  --self-test         run every kernel against plain C first\n"
     "  --tune              check and measure every kernel variant (CLBlast's are slow to build on a CPU)\n"
     "  --verbose           capabilities, and what is known of the variants: time, error, chosen or why refused\n"
     "  --json              print JSON\n",
     "device self-test tune verbose json", tn_cmd_devices},
    {"synth", "draw labelled clips",
     "usage: tracknet synth --output-dir DIR [options]\n\n"
     "  --output-dir DIR    clips go to DIR/<game>/Clip<i>/\n"
     "  --game NAME         game folder                              (default game1)\n"
     "  --look N            0: blue court by day; 1: clay at dusk    (default 0)\n"
     "  --clips N           (default 4)\n"
     "  --frames N          of each clip (default 40)\n"
     "  --size WxH          (default 512x288)\n"
     "  --seed N            (default 42)\n",
     "output-dir game look clips frames size seed", tn_cmd_synth},
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
     "       tracknet adapter convert --adapter DIR --out DIR [options]\n\n"
     "  --adapter DIR       PEFT's adapter_config.json and adapter_model.safetensors, or a checkpoint of ours\n"
     "  --base DIR          Hugging Face folder that the adapter was trained on\n"
     "  --out DIR           must not exist yet\n"
     "merge writes the base with the adapter added, in the base's dtype, or quantised with\n"
     "  --quant-type NAME --block-size N --double-quant --skip NAME --report     as in 'tracknet quantize'\n"
     "convert changes\n"
     "  --spelling v4|v5    module paths as transformers 4 or 5 has them (needs --model-type)\n"
     "  --model-type NAME   dinov3_vit, dinov2, dinov2_with_registers or vit\n"
     "  --dtype NAME        F32, F16 or BF16\n"
     "  --plain             a PiSSA adapter into LoRA of twice the rank over the unchanged base (needs --base)\n",
     "adapter base out quant-type block-size double-quant skip report spelling model-type dtype plain json", tn_cmd_adapter},
    {"import", "turn a PyTorch Lightning TrackNet checkpoint into ours",
     "usage: tracknet import --in DIR --out DIR [options] [KEY=VALUE ...]\n\n"
     "  --in DIR            folder or file with the state_dict saved as safetensors (backbone.model.*, decoder.*, head.*);\n"
     "                      a config.json beside it describes the backbone, else pretrained_model_name does\n"
     "  --out DIR           checkpoint folder of ours, backbone included; must not exist yet\n"
     "The configuration is the one it was trained with:\n" CONFIG_HELP DEVICE_HELP,
     "in out data model training config config-dir seed device memory-limit gemm", tn_cmd_import},
    {"export", "write a checkpoint as ONNX, or under Lightning's names",
     "usage: tracknet export --checkpoint DIR --out FILE.onnx|DIR [options] [KEY=VALUE ...]\n\n"
     "  --checkpoint DIR    <output_dir>/best or /last\n"
     "  --adapter DIR       a PEFT adapter instead of the checkpoint's own\n"
     "  --out FILE.onnx     ONNX, opset 17: adapters merged, pixel_values [batch, 3, H, W] -> heatmap [batch, 1, h, w]\n"
     "  --out DIR           model.safetensors with the Python project's names, config.json and config.yaml\n"
     "  --spelling v4|v5    backbone names as transformers 4 or 5 has them  (DIR; default v4)\n" CONFIG_HELP DEVICE_HELP,
     "checkpoint adapter out spelling data model training config config-dir seed device memory-limit gemm", tn_cmd_export},
    {"demo", "the whole way on synthetic clips: pretrain, quantise, adapt, evaluate, draw",
     "usage: tracknet demo [options]\n\n"
     "  --output-dir DIR    (default demo)\n"
     "  --device D          index, part of a name, cpu or gpu\n"
     "  --config-dir DIR    where configs/ is\n"
     "  --seed N            (default 42)\n",
     "output-dir device config-dir seed gemm memory-limit", tn_cmd_demo},
    {0},
};

static void say(void *user, tn_log_level level, const char *line)
{
    (void)user;
    if (level == TN_LOG_DEBUG && !getenv("TRACKNET_DEBUG")) return;
    tn_bar_clear();
    fprintf(stderr, "%s%s\n", level == TN_LOG_WARN ? "warning: " : "", line);
}

const tn_log tn_cli_log = {say, NULL};

void tn_cli_print_json(json_t *v)
{
    char *s = v ? json_dumps(v, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    if (s) puts(s);
    free(s);
    json_decref(v);
}

/* --seed and --output-dir, when the configuration is there. */
static int set_options(tn_config *cfg, const tn_cli *c, tn_error *err)
{
    int rc = c->seed ? tn_config_set_int(cfg, "training.seed", strtoll(c->seed, NULL, 10), err) : 0;
    if (!rc && c->output_dir) rc = tn_config_set_str(cfg, "training.output_dir", c->output_dir, err);
    return rc;
}

int tn_cli_config(tn_config **out, tn_cli *c, tn_error *err)
{
    const bool named = c->source.merged || c->source.model || c->source.training || c->source.data;
    const char *own = c->run.resume ? c->run.resume : c->checkpoint ? c->checkpoint : c->run.n_adapters ? c->adapters[0] : NULL;
    c->source.log = c->run.log;
    c->source.overrides = c->overrides;
    int rc = own && (c->run.resume || !named) ? tn_checkpoint_config(out, own, c->overrides, c->source.n_overrides, c->run.log, err)
                                              : tn_config_load(out, &c->source, err);
    return rc ? rc : set_options(*out, c, err);
}

static void print_help(FILE *f)
{
    fprintf(f,
            "tracknet %s: fine-tune a quantised Vision Transformer to find a ball, on any OpenCL device\n\n"
            "usage: tracknet COMMAND [options]\n\n",
            tn_version());
    for (const tn_command *k = tn_commands; k->name; k++) fprintf(f, "  %-10s %s\n", k->name, k->summary);
    fprintf(f, "\n'tracknet COMMAND --help' tells more; 'tracknet --version' prints the version. TRACKNET_GEMM is a default for\n"
               "--gemm, TRACKNET_CACHE the folder of built kernels and measurements, or off.\n");
}

static int usage(const tn_command *k, const char *what, const char *arg)
{
    fprintf(stderr, "tracknet %s: %s '%s'; see 'tracknet %s --help'\n", k->name, what, arg, k->name);
    return 2;
}

enum {
    DATA = 256,
    MODEL,
    TRAINING,
    CONFIG,
    CONFIG_DIR,
    SEED,
    DEVICE,
    MEMORY,
    GEMM,
    OUTPUT,
    RESUME,
    DRY,
    JSON,
    CHECKPOINT,
    SPLIT,
    IMAGE,
    OUTDIR,
    CSV,
    SELF_TEST,
    TUNE,
    VERBOSE,
    GAME,
    LOOK,
    CLIPS,
    FRAMES,
    SIZE,
    ADAPTER,
    IN,
    OUT,
    BASE,
    QUANT_TYPE,
    BLOCK_SIZE,
    DOUBLE_QUANT,
    SKIP,
    REPORT,
    SPELLING,
    MODEL_TYPE,
    DTYPE,
    PLAIN,
    BATCH,
    REPEAT,
    BY,
    TRACE,
    HELP
};

static const struct option long_options[] = {
    {"data", 1, 0, DATA},
    {"model", 1, 0, MODEL},
    {"training", 1, 0, TRAINING},
    {"config", 1, 0, CONFIG},
    {"config-dir", 1, 0, CONFIG_DIR},
    {"seed", 1, 0, SEED},
    {"device", 1, 0, DEVICE},
    {"memory-limit", 1, 0, MEMORY},
    {"gemm", 1, 0, GEMM},
    {"output-dir", 1, 0, OUTPUT},
    {"resume", 2, 0, RESUME},
    {"dry-run", 0, 0, DRY},
    {"json", 2, 0, JSON},
    {"checkpoint", 1, 0, CHECKPOINT},
    {"split", 1, 0, SPLIT},
    {"image", 1, 0, IMAGE},
    {"outdir", 1, 0, OUTDIR},
    {"csv", 1, 0, CSV},
    {"self-test", 0, 0, SELF_TEST},
    {"tune", 0, 0, TUNE},
    {"verbose", 0, 0, VERBOSE},
    {"game", 1, 0, GAME},
    {"look", 1, 0, LOOK},
    {"clips", 1, 0, CLIPS},
    {"frames", 1, 0, FRAMES},
    {"size", 1, 0, SIZE},
    {"adapter", 1, 0, ADAPTER},
    {"in", 1, 0, IN},
    {"out", 1, 0, OUT},
    {"base", 1, 0, BASE},
    {"quant-type", 1, 0, QUANT_TYPE},
    {"block-size", 1, 0, BLOCK_SIZE},
    {"double-quant", 0, 0, DOUBLE_QUANT},
    {"skip", 1, 0, SKIP},
    {"report", 0, 0, REPORT},
    {"spelling", 1, 0, SPELLING},
    {"model-type", 1, 0, MODEL_TYPE},
    {"dtype", 1, 0, DTYPE},
    {"plain", 0, 0, PLAIN},
    {"batch", 1, 0, BATCH},
    {"repeat", 1, 0, REPEAT},
    {"by", 1, 0, BY},
    {"trace", 1, 0, TRACE},
    {"help", 0, 0, HELP},
    {0},
};

static bool takes(const tn_command *k, const char *option)
{
    size_t n = strlen(option);
    if (!strcmp(option, "help")) return true;
    for (const char *s = k->options; s; s = strchr(s, ' '), s = s ? s + 1 : NULL)
        if (!strncmp(s, option, n) && (s[n] == ' ' || !s[n])) return true;
    return false;
}

/* A whole number of at least min, or false. */
static bool main_to_int(const char *s, long min, int *out)
{
    char *end;
    long v = strtol(s, &end, 10);
    *out = (int)v;
    return end != s && !*end && v >= min && v < 2147483647;
}

static bool set_option(tn_cli *c, int opt, const char *v)
{
    int n = 0;
    switch (opt) {
    case DATA: c->source.data = v; return true;
    case MODEL: c->source.model = v; return true;
    case TRAINING: c->source.training = v; return true;
    case CONFIG: c->source.merged = v; return true;
    case CONFIG_DIR: c->source.config_dir = v; return true;
    case SEED:
        c->seed = v;
        c->synth.seed = (uint64_t)strtoull(v, NULL, 10);
        return main_to_int(v, 0, &n);
    case DEVICE: c->run.device = v; return true;
    case MEMORY: c->run.memory_limit = (size_t)strtoull(v, NULL, 10) << 20; return main_to_int(v, 1, &n);
    case GEMM: c->gemm = v; return !strcmp(v, "portable") || !strcmp(v, "native") || !strcmp(v, "clblast");
    case OUTPUT: c->output_dir = v; return true;
    case RESUME: c->run.resume = v ? v : ""; return true;
    case DRY: return c->dry_run = true;
    case JSON: c->json_file = v; return c->json = true;
    case CHECKPOINT: c->checkpoint = c->run.checkpoint = v; return true;
    case SPLIT: c->split = v; return !strcmp(v, "train") || !strcmp(v, "val");
    case IMAGE:
        if (c->n_images < (int)(sizeof c->images / sizeof *c->images)) c->images[c->n_images++] = v;
        return true;
    case OUTDIR: c->outdir = v; return true;
    case CSV: c->csv = v; return true;
    case SELF_TEST: return c->self_test = true;
    case TUNE: return c->tune = true;
    case VERBOSE: return c->verbose = true;
    case GAME: c->synth.game = v; return true;
    case LOOK: return main_to_int(v, 0, &c->synth.look);
    case CLIPS: return main_to_int(v, 1, &c->synth.clips);
    case FRAMES: return main_to_int(v, 1, &c->synth.frames);
    case SIZE: return sscanf(v, "%dx%d", &c->synth.width, &c->synth.height) == 2;
    case ADAPTER:
        if (c->run.n_adapters == (int)(sizeof c->adapters / sizeof *c->adapters)) return false;
        c->adapters[c->run.n_adapters++] = v;
        c->run.adapters = c->adapters;
        return true;
    case IN: c->in = v; return true;
    case OUT: c->out = v; return true;
    case BASE: c->base = v; return true;
    case QUANT_TYPE: c->quant_type = v; return true;
    case BLOCK_SIZE: return main_to_int(v, 1, &c->block_size);
    case DOUBLE_QUANT: return c->double_quant = true;
    case SKIP:
        if (c->n_skip == (int)(sizeof c->skip / sizeof *c->skip)) return false;
        c->skip[c->n_skip++] = v;
        return true;
    case REPORT: return c->report = true;
    case SPELLING: c->spelling = v; return true;
    case MODEL_TYPE: c->model_type = v; return true;
    case DTYPE: c->dtype = v; return true;
    case PLAIN: return c->plain = true;
    case BATCH: return main_to_int(v, 1, &c->batch);
    case REPEAT: return main_to_int(v, 1, &c->repeat);
    case BY: c->by = v; return true;
    case TRACE: c->trace = v; return true;
    case HELP: return c->help = true;
    default: return false;
    }
}

static bool add_override(tn_cli *c, const char *text)
{
    if (c->source.n_overrides >= (int)(sizeof c->overrides / sizeof *c->overrides)) return false;
    c->overrides[c->source.n_overrides++] = text;
    return true;
}

/* Only a profile's JSON goes to a file. */
static bool takes_json_file(const tn_command *k)
{
    return !strcmp(k->name, "profile");
}

static int parse(tn_cli *c, const tn_command *k, int argc, char **argv)
{
    opterr = 0;
    for (;;) {
        const int at = optind;
        int index = -1, opt = getopt_long(argc, argv, "h", long_options, &index);
        if (opt == -1) break;
        if (opt == 'h') opt = HELP, index = -1;
        if (opt == '?') return usage(k, "unknown option, or one without its value:", argv[at < argc ? at : argc - 1]);
        if (index >= 0 && !takes(k, long_options[index].name)) return usage(k, "this command has no option", argv[at]);
        const bool may_have = opt == RESUME || (opt == JSON && takes_json_file(k));
        if (may_have && !optarg && optind < argc && argv[optind][0] != '-' && !strchr(argv[optind], '=')) optarg = argv[optind++];
        if (opt == JSON && optarg && !takes_json_file(k)) return usage(k, "this option takes no value:", argv[at]);
        if (!set_option(c, opt, optarg)) return usage(k, "not a value for this option:", argv[optind - 1]);
    }
    if ((!strcmp(k->name, "adapter") || !strcmp(k->name, "profile")) && optind < argc && !strchr(argv[optind], '='))
        c->action = argv[optind++];
    for (int i = optind; i < argc; i++)
        if (!strchr(argv[i], '=') || !add_override(c, argv[i])) return usage(k, "neither an option nor KEY=VALUE:", argv[i]);
    return 0;
}

static const tn_command *find_command(const char *name)
{
    for (const tn_command *k = tn_commands; k->name; k++)
        if (!strcmp(k->name, name)) return k;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("tracknet %s\n", tn_version());
        return 0;
    }
    const tn_command *k = find_command(argv[1]);
    if (!k) {
        fprintf(stderr, "tracknet: there is no command '%s'; 'tracknet --help' lists them\n", argv[1]);
        return 2;
    }
    static tn_cli c = {.source = TN_CONFIG_SOURCE_INIT, .run = TN_RUN_OPTIONS_INIT, .synth = TN_SYNTH_OPTIONS_INIT};
    c.run.log = &tn_cli_log;
    c.run.progress = tn_cli_progress;
    c.run.user = &c;
    c.gemm = getenv("TRACKNET_GEMM");
    c.run.cache = getenv("TRACKNET_CACHE");
    c.synth.seed = 42;
    int rc = parse(&c, k, argc - 1, argv + 1);
    if (rc) return rc;
    if (c.help) {
        fputs(k->help, stdout);
        return 0;
    }
    if (c.gemm && c.gemm[0]) {
        snprintf(c.gemm_variant, sizeof c.gemm_variant, "gemm=%s", c.gemm);
        c.run.variants = c.gemm_variant;
    }
    signal(SIGINT, on_interrupt);
    tn_error err = {0};
    rc = k->run(&c, &err);
    tn_bar_clear();
    if (rc) fprintf(stderr, "tracknet %s: %s\n", k->name, err.message);
    return rc ? 1 : 0;
}
