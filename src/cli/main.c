#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t tn_interrupted;

static void stop_at(int sig)
{
    tn_interrupted = sig;
    signal(sig, SIG_DFL); /* a second Ctrl-C ends at once */
}

/* For a job that a script's shell put behind &: the terminal's Ctrl-C is not for it, but who names it (kill -INT) means it.
 * LLVM, which PoCL compiles with, raises a signal once more when it is through with it. */
static void stop_if_sent(int sig, siginfo_t *from, void *context)
{
    (void)context;
    if (from->si_code != SI_KERNEL) stop_at(sig);
}

/* A signal that was ignored when the program began stays so, but for the above. */
static void stop_cleanly_at(int sig)
{
    struct sigaction was, now = {.sa_handler = stop_at, .sa_flags = SA_RESTART};
    if (sigaction(sig, NULL, &was)) return;
    if (was.sa_handler == SIG_IGN && sig != SIGINT) return;
    if (was.sa_handler == SIG_IGN) now = (struct sigaction){.sa_sigaction = stop_if_sent, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigaction(sig, &now, NULL);
}

/* What was printed must have arrived. A reader that went away is no failure worth a sentence. */
static int flush_output(int status)
{
    errno = 0;
    const bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed) return status;
    if (errno != EPIPE)
        fprintf(stderr, "tracknet: cannot write to standard output%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
    return status ? status : 1;
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
    if (s) puts(s);
    free(s);
    json_decref(v);
    return s ? 0 : tn_fail(err, TN_ERR_MEMORY, "the result cannot be written as JSON: out of memory, or a number is not finite");
}

/* --seed and --output-dir, when the configuration is there. */
static int set_options(tn_config *cfg, const tn_cli *c, tn_error *err)
{
    int rc = 0;
    if (c->seed) {
        char text[64];
        snprintf(text, sizeof text, "training.seed=%llu", strtoull(c->seed, NULL, 10));
        rc = tn_config_set(cfg, text, err);
    }
    if (!rc && c->output_dir) rc = tn_config_set_str(cfg, "training.output_dir", c->output_dir, err);
    return rc;
}

int tn_cli_config(tn_config **out, tn_cli *c, tn_error *err)
{
    const bool named = c->source.merged || c->source.model || c->source.training || c->source.data;
    tn_cli_settle_names(c);
    const char *own = c->run.resume       ? c->run.resume
                      : c->run.checkpoint ? c->run.checkpoint
                      : c->run.n_adapters ? c->adapters[0]
                                          : NULL;
    c->source.log = c->run.log;
    c->source.overrides = c->overrides;
    int rc = own && (c->run.resume || !named) ? tn_checkpoint_config(out, own, c->overrides, c->source.n_overrides, c->run.log, err)
                                              : tn_config_load(out, &c->source, err);
    if (!rc) rc = set_options(*out, c, err);
    return rc ? rc : tn_cli_resume_in_place(*out, c, err);
}

static void print_help(FILE *f)
{
    fprintf(f,
            "tracknet %s: fine-tune a quantised vision backbone to find a ball, on any OpenCL device\n\n"
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

/* The words of the command, for what keeps them. */
static void keep_line(tn_cli *c, int argc, char **argv)
{
    size_t n = (size_t)snprintf(c->line, sizeof c->line, "tracknet");
    for (int i = 1; i < argc && n < sizeof c->line; i++) n += (size_t)snprintf(c->line + n, sizeof c->line - n, " %s", argv[i]);
}

/* This command, as a helper of another one (tn_run_options.helper): what it is to do is its input. */
static bool help_out(const char *name, int *rc)
{
    tn_error err = {0};
    if (!strcmp(name, "build-kernels")) *rc = tn_device_build_ahead(STDIN_FILENO, &err);
    else if (!strcmp(name, "try-row")) *rc = tn_device_try_row(STDIN_FILENO, STDOUT_FILENO, &err);
    else if (!strcmp(name, "rate-device")) *rc = tn_device_rate(STDIN_FILENO, STDOUT_FILENO, &err);
    else if (!strcmp(name, "try-clblast")) *rc = tn_device_try_clblast(STDIN_FILENO, STDOUT_FILENO, &err);
    else return false;
    if (*rc) fprintf(stderr, "tracknet %s: %s\n", name, err.message);
    return true;
}

/* Where this program lies; NULL where the system does not tell. */
static const char *own_path(void)
{
    static char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    return n > 0 ? path : NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return flush_output(argc < 2 ? 2 : 0);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("tracknet %s\n", tn_version());
        return flush_output(0);
    }
    int rc = 0;
    if (help_out(argv[1], &rc)) return rc ? 1 : 0;
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
    c.run.helper = own_path();
    c.synth.seed = 42;
    keep_line(&c, argc, argv);
    rc = tn_cli_parse(&c, k, argc - 1, argv + 1);
    if (rc) return rc;
    if (c.help) {
        fputs(k->help, stdout);
        return flush_output(0);
    }
    set_run(&c);
    stop_cleanly_at(SIGINT);
    stop_cleanly_at(SIGTERM);
    tn_error err = {0};
    const bool job = tn_cli_job_begins(k);
    rc = tn_cpu_threads(c.threads, &err); /* sets the environment: here, while there is one thread */
    if (!rc && job) rc = tn_cli_join(&c, &err);
    if (!rc && tn_cli_takes(k, "device")) rc = tn_device_compare(&c.run, &err);
    if (!rc) rc = k->run(&c, &err);
    tn_bar_clear();
    if (c.run.ranks) tn_cli_job_ends(&c, k->name, rc, &err);
    else if (rc) fprintf(stderr, "tracknet %s: %s\n", k->name, err.message);
    return flush_output(tn_interrupted ? 128 + tn_interrupted : rc ? 1 : 0);
}
