#include "cli.h"

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

static void say(void *user, tn_log_level level, const char *line)
{
    (void)user;
    if (level == TN_LOG_DEBUG && !getenv("TRACKNET_DEBUG")) return;
    tn_bar_clear();
    fprintf(stderr, "%s%s\n", level == TN_LOG_WARN ? "warning: " : "", line);
}

const tn_log tn_cli_log = {say, NULL};

int tn_cli_print_json(json_t *v, tn_error *err)
{
    char *s = v ? json_dumps(v, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    if (s) {
        puts(s);
    } else {
        err->status = TN_ERR_MEMORY;
        snprintf(err->message, sizeof err->message,
                 "the result cannot be written as JSON: out of memory, or a number is not finite");
    }
    free(s);
    json_decref(v);
    return s ? 0 : err->status;
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
    const char *own = c->run.resume       ? c->run.resume
                      : c->run.checkpoint ? c->run.checkpoint
                      : c->run.n_adapters ? c->adapters[0]
                                          : NULL;
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

/* What of the options the library takes together: --gemm is one of --variants. */
static void set_run(tn_cli *c)
{
    const bool gemm = c->gemm && c->gemm[0], others = c->variants && c->variants[0];
    c->run.adapters = c->adapters;
    if (gemm || others)
        snprintf(c->run_variants, sizeof c->run_variants, "%s%s%s%s", others ? c->variants : "", others && gemm ? "," : "",
                 gemm ? "gemm=" : "", gemm ? c->gemm : "");
    c->run.variants = gemm || others ? c->run_variants : NULL;
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
    const tn_command *k = tn_cli_command(argv[1]);
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
    int rc = tn_cli_parse(&c, k, argc - 1, argv + 1);
    if (rc) return rc;
    if (c.help) {
        fputs(k->help, stdout);
        return 0;
    }
    set_run(&c);
    signal(SIGINT, on_interrupt);
    tn_error err = {0};
    rc = k->run(&c, &err);
    tn_bar_clear();
    if (rc) fprintf(stderr, "tracknet %s: %s\n", k->name, err.message);
    return rc ? 1 : 0;
}
