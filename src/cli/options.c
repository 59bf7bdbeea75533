/* The options of all commands: one row each says what it takes and where that goes. */
#include "cli.h"
#include "files.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    OPT_FLAG,
    OPT_TEXT,
    OPT_COUNT,
    OPT_NUMBER,
    OPT_LIST,
    OPT_MEBIBYTES,
    OPT_SIZE,
    OPT_RESUME,
    OPT_JSON,
    OPT_HELP
} opt_kind;

typedef struct opt_row {
    const char *name;
    opt_kind kind;
    size_t at;                   /* of its field in tn_cli */
    const char *choices;         /* OPT_TEXT: the values there are, separated by spaces; NULL: any */
    long min;                    /* OPT_COUNT: the least */
    size_t n_at, max;            /* OPT_LIST: where its count stands, and its room */
    bool path;                   /* a leading ~ is a home folder, where the shell left it: --out=~/x, quotes */
    bool (*check)(const char *); /* OPT_TEXT: whether it is a value; NULL: any */
} opt_row;

#define AT(f)        offsetof(tn_cli, f)
#define ROW(n, k, f) .name = (n), .kind = OPT_##k, .at = AT(f)
#define ROOM(f)      (sizeof((tn_cli *)0)->f / sizeof(const char *))

/* A whole number of 64 bits. */
static bool opt_is_seed(const char *s)
{
    errno = 0;
    (void)strtoull(s, NULL, 10);
    return s[0] && strspn(s, "0123456789") == strlen(s) && !errno;
}

static const opt_row opt_rows[] = {
    {ROW("data", TEXT, source.data), .path = true},
    {ROW("model", TEXT, source.model), .path = true},
    {ROW("training", TEXT, source.training), .path = true},
    {ROW("config", TEXT, source.merged), .path = true},
    {ROW("config-dir", TEXT, source.config_dir), .path = true},
    {ROW("seed", TEXT, seed), .check = opt_is_seed},
    {ROW("device", TEXT, run.device)},
    {ROW("stages", TEXT, run.stages)},
    {ROW("threads", COUNT, threads), .min = 1},
    {ROW("memory-limit", MEBIBYTES, run.memory_limit)},
    {ROW("nice", COUNT, run.nice)},
    {ROW("gemm", TEXT, gemm), .choices = "portable native clblast"},
    {ROW("variants", TEXT, variants)},
    {ROW("cache", TEXT, run.cache), .path = true},
    {ROW("output-dir", TEXT, output_dir), .path = true},
    {ROW("resume", RESUME, run.resume), .path = true},
    {ROW("overwrite", FLAG, run.overwrite)},
    {ROW("dry-run", FLAG, dry_run)},
    {ROW("json", JSON, json), .path = true},
    {ROW("checkpoint", TEXT, run.checkpoint), .path = true},
    {ROW("threshold", NUMBER, threshold)},
    {ROW("tolerance", NUMBER, tolerance)},
    {ROW("split", TEXT, split), .choices = "val train all"},
    {ROW("image", LIST, images), .n_at = AT(n_images), .max = ROOM(images), .path = true},
    {ROW("outdir", TEXT, outdir), .path = true},
    {ROW("csv", TEXT, csv), .path = true},
    {ROW("video", TEXT, video), .path = true},
    {ROW("smooth", FLAG, smooth)},
    {ROW("max-gap", NUMBER, max_gap)},
    {ROW("self-test", FLAG, self_test)},
    {ROW("tune", FLAG, tune)},
    {ROW("tune-seconds", COUNT, run.tune_seconds), .min = 1},
    {ROW("verbose", FLAG, verbose)},
    {ROW("game", TEXT, synth.game)},
    {ROW("look", COUNT, synth.look)},
    {ROW("clips", COUNT, synth.clips), .min = 1},
    {ROW("frames", COUNT, synth.frames), .min = 1},
    {ROW("size", SIZE, synth)},
    {ROW("bars", COUNT, synth.bars)},
    {ROW("adapter", LIST, adapters), .n_at = AT(run.n_adapters), .max = ROOM(adapters), .path = true},
    {ROW("in", TEXT, in), .path = true},
    {ROW("out", TEXT, out), .path = true},
    {ROW("base", TEXT, base), .path = true},
    {ROW("quant-type", TEXT, quant_type)},
    {ROW("block-size", COUNT, block_size), .min = 1},
    {ROW("double-quant", FLAG, double_quant)},
    {ROW("skip", LIST, skip), .n_at = AT(n_skip), .max = ROOM(skip)},
    {ROW("report", FLAG, report)},
    {ROW("spelling", TEXT, spelling)},
    {ROW("model-type", TEXT, model_type)},
    {ROW("dtype", TEXT, dtype)},
    {ROW("plain", FLAG, plain)},
    {ROW("method", TEXT, method), .choices = "linear svd"},
    {ROW("weights", TEXT, weights)},
    {ROW("rank", COUNT, rank), .min = 1},
    {ROW("batch", COUNT, batch), .min = 1},
    {ROW("repeat", COUNT, repeat), .min = 1},
    {ROW("paced", FLAG, paced)},
    {ROW("by", TEXT, by)},
    {ROW("trace", TEXT, trace), .path = true},
    {ROW("measure", FLAG, measure)},
    {ROW("machine", TEXT, machine), .path = true},
    {ROW("svg", TEXT, svg), .path = true},
    {ROW("quick", FLAG, quick)},
    {ROW("full", FLAG, full)},
    {ROW("only", TEXT, only)},
    {ROW("sizes", TEXT, sizes)},
    {ROW("html", TEXT, html), .path = true},
    {ROW("help", HELP, help)},
};
enum { OPT_ROWS = sizeof opt_rows / sizeof *opt_rows, OPT_FIRST = 256 };

/* Whether `word` is one of the words of `list`. */
static bool opt_among(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = list; s; s = strchr(s, ' '), s = s ? s + 1 : NULL)
        if (!strncmp(s, word, n) && (s[n] == ' ' || !s[n])) return true;
    return false;
}

bool tn_cli_takes(const tn_command *k, const char *option)
{
    return opt_among(k->options, option);
}

static bool opt_to_long(const char *s, long min, long *out)
{
    char *end;
    *out = strtol(s, &end, 10);
    return end != s && !*end && *out >= min && *out < 2147483647;
}

static bool opt_to_number(const char *s, tn_cli_number *out)
{
    char *end;
    *out = (tn_cli_number){true, strtod(s, &end)};
    return end != s && !*end && isfinite(out->value);
}

static bool opt_add(char *base, const opt_row *r, const char *v)
{
    int *n = (int *)(base + r->n_at);
    if ((size_t)*n == r->max) return false;
    ((const char **)(base + r->at))[(*n)++] = v;
    return true;
}

static bool opt_set(tn_cli *c, const opt_row *r, const char *v)
{
    char *base = (char *)c, *field = base + r->at;
    long n = 0;
    if (r->path && v && !(v = tn_expand_home(v))) return false; /* lives as long as the command */
    switch (r->kind) {
    case OPT_HELP:
    case OPT_FLAG: return *(bool *)field = true;
    case OPT_TEXT: *(const char **)field = v; return (!r->choices || opt_among(r->choices, v)) && (!r->check || r->check(v));
    case OPT_COUNT: return opt_to_long(v, r->min, &n) ? *(int *)field = (int)n, true : false;
    case OPT_NUMBER: return opt_to_number(v, (tn_cli_number *)field);
    case OPT_LIST: return opt_add(base, r, v);
    case OPT_MEBIBYTES: return opt_to_long(v, 1, &n) ? *(size_t *)field = (size_t)n << 20, true : false;
    case OPT_SIZE: return sscanf(v, "%dx%d", &c->synth.width, &c->synth.height) == 2;
    case OPT_RESUME: *(const char **)field = v ? v : ""; return true;
    case OPT_JSON: c->json_file = v; return *(bool *)field = true;
    }
    return false;
}

/* Only a profile's and a benchmark's JSON goes to a file. */
static bool opt_takes_json_file(const tn_command *k)
{
    return !strcmp(k->name, "profile") || !strcmp(k->name, "bench");
}

/* Whether a second one would silently take the place of the first. */
static bool opt_is_single(opt_kind kind, const tn_command *k)
{
    if (kind == OPT_JSON) return opt_takes_json_file(k);
    return kind != OPT_FLAG && kind != OPT_HELP && kind != OPT_LIST;
}

static int opt_usage(const tn_command *k, const char *what, const char *arg)
{
    fprintf(stderr, "tracknet %s: %s '%s'; see 'tracknet %s --help'\n", k->name, what, arg, k->name);
    return 2;
}

static int opt_bad_value(const tn_command *k, const opt_row *r, const char *arg)
{
    fprintf(stderr, "tracknet %s: not a value for this option: '%s', for --%s%s%s; see 'tracknet %s --help'\n", k->name, arg,
            r->name, r->choices ? ", which is one of " : "", r->choices ? r->choices : "", k->name);
    return 2;
}

static void opt_long_options(struct option out[OPT_ROWS + 1])
{
    for (int i = 0; i < OPT_ROWS; i++) {
        const opt_kind kind = opt_rows[i].kind;
        const int takes = kind == OPT_FLAG || kind == OPT_HELP ? 0 : kind == OPT_RESUME || kind == OPT_JSON ? 2 : 1;
        out[i] = (struct option){opt_rows[i].name, takes, 0, OPT_FIRST + i};
    }
    out[OPT_ROWS] = (struct option){0};
}

/* An option whose value may be left out takes the next word, unless that is an option or KEY=VALUE. */
static void opt_take_next(const opt_row *r, const tn_command *k, int argc, char **argv)
{
    const bool may_have = r->kind == OPT_RESUME || (r->kind == OPT_JSON && opt_takes_json_file(k));
    if (may_have && !optarg && optind < argc && argv[optind][0] != '-' && !strchr(argv[optind], '=')) optarg = argv[optind++];
}

static int opt_words(tn_cli *c, const tn_command *k, int argc, char **argv)
{
    const bool bench = !strcmp(k->name, "bench"), acts = bench || !strcmp(k->name, "adapter") || !strcmp(k->name, "profile");
    if (acts && optind < argc && !strchr(argv[optind], '=')) c->action = argv[optind++];
    for (; bench && optind < argc && c->n_files < (int)ROOM(files); optind++) c->files[c->n_files++] = argv[optind];
    for (int i = optind; i < argc; i++) {
        const bool room = c->source.n_overrides < (int)(sizeof c->overrides / sizeof *c->overrides);
        if (!room || !strchr(argv[i], '=')) return opt_usage(k, "neither an option nor KEY=VALUE:", argv[i]);
        c->overrides[c->source.n_overrides++] = argv[i];
    }
    return 0;
}

int tn_cli_parse(tn_cli *c, const tn_command *k, int argc, char **argv)
{
    struct option options[OPT_ROWS + 1];
    bool given[OPT_ROWS] = {false};
    opt_long_options(options);
    opterr = 0;
    for (;;) {
        const int at = optind, opt = getopt_long(argc, argv, "h", options, NULL);
        if (opt == -1) return opt_words(c, k, argc, argv);
        if (opt == '?') return opt_usage(k, "unknown option, or one without its value:", argv[at < argc ? at : argc - 1]);
        if (opt == 'h') {
            c->help = true;
            continue;
        }
        const opt_row *r = &opt_rows[opt - OPT_FIRST];
        if (r->kind != OPT_HELP && !opt_among(k->options, r->name)) return opt_usage(k, "this command has no option", argv[at]);
        if (given[opt - OPT_FIRST] && opt_is_single(r->kind, k))
            return opt_usage(k, "this option takes one value and is given twice:", argv[at]);
        given[opt - OPT_FIRST] = true;
        opt_take_next(r, k, argc, argv);
        if (r->kind == OPT_JSON && optarg && !opt_takes_json_file(k)) return opt_usage(k, "this option takes no value:", argv[at]);
        if (!opt_set(c, r, optarg)) return opt_bad_value(k, r, argv[optind - 1]);
    }
}
