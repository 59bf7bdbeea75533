/** The command `tracknet`: a table of commands, shared options, and what they print. */
#ifndef TN_CLI_H
#define TN_CLI_H
#include "jsonio.h"
#include <signal.h>
#include <stdbool.h>
#include <tracknet/tracknet.h>

typedef struct tn_cli_number {
    bool given;
    double value;
} tn_cli_number;

/** Options shared by the commands that run a model. */
typedef struct tn_cli {
    tn_config_source source;
    const char *overrides[128];
    tn_run_options run;
    const char *output_dir, *seed, *outdir, *csv, *video, *split, *gemm, *variants;
    const char *images[4096];
    int n_images;
    tn_cli_number threshold, tolerance, max_gap;
    bool smooth, dry_run, json, help, tune, verbose, self_test;
    /* files in, files out */
    const char *adapters[16], *action, *in, *out, *base, *quant_type, *spelling, *dtype, *model_type;
    const char *skip[64];
    int n_skip, block_size;
    bool report, double_quant, plain;
    const char *method, *weights;
    int rank;
    /* profile */
    const char *json_file, *trace, *by;
    int batch, repeat;
    bool paced;
    bool silent; /* a rank behind the first, which speaks for all */
    /* plan */
    const char *machine, *svg;
    bool measure;
    /* bench */
    bool quick, full;
    const char *only, *sizes, *html, *files[32];
    int n_files, budget;
    char line[512]; /* the command as it was given */
    int threads;    /* of a CPU device; 0: one a processor */
    /* synth */
    tn_synth_options synth;
    char found[4300];       /* a checkpoint that was not named whole */
    char run_variants[512]; /* run.variants: --variants and --gemm */
} tn_cli;

typedef struct tn_command {
    const char *name, *summary, *help;
    const char *options; /* the long options it takes, separated by spaces */
    int (*run)(tn_cli *c, tn_error *err);
} tn_command;
extern const tn_command tn_commands[];
/** The command of that name, or NULL. */
const tn_command *tn_cli_command(const char *name);
/** Has the command this option? */
bool tn_cli_takes(const tn_command *k, const char *option);
/** Reads the words behind the command's name (argv[0]) into c. Returns 0, or 2 after a line to standard error. */
int tn_cli_parse(tn_cli *c, const tn_command *k, int argc, char **argv);

int tn_cmd_train(tn_cli *c, tn_error *err);
int tn_cmd_eval(tn_cli *c, tn_error *err);
int tn_cmd_predict(tn_cli *c, tn_error *err);
int tn_cmd_profile(tn_cli *c, tn_error *err);
int tn_cmd_plan(tn_cli *c, tn_error *err);
int tn_cmd_bench(tn_cli *c, tn_error *err);
int tn_cmd_devices(tn_cli *c, tn_error *err);
int tn_cmd_doctor(tn_cli *c, tn_error *err);
int tn_cmd_labels(tn_cli *c, tn_error *err);
int tn_cmd_synth(tn_cli *c, tn_error *err);
int tn_cmd_demo(tn_cli *c, tn_error *err);
int tn_cmd_quantize(tn_cli *c, tn_error *err);
int tn_cmd_adapter(tn_cli *c, tn_error *err);
int tn_cmd_import(tn_cli *c, tn_error *err);
int tn_cmd_export(tn_cli *c, tn_error *err);

/** Prints warnings and information to standard error. */
extern const tn_log tn_cli_log;
/** Whether a launcher has started several processes of this command that belong together; they share the processors of their host
 * from now on. First of all: before the library makes threads. */
bool tn_cli_job_begins(const tn_command *k);
/** c->run.ranks becomes the job; ranks behind the first fall silent. */
int tn_cli_join(tn_cli *c, tn_error *err);
/** Waits for the other ranks, shows this one's failure unless another has shown it, and leaves the job or ends it. */
void tn_cli_job_ends(tn_cli *c, const char *command, int status, tn_error *err);
/** Loads the configuration that the options name, or a checkpoint's own. */
int tn_cli_config(tn_config **out, tn_cli *c, tn_error *err);
/** run.resume "" becomes the newest run's last: where training.ckpt_dir or output_dir say, else below runs/. */
int tn_cli_find_resume(tn_cli *c, tn_error *err);
/** Without --checkpoint and --adapter run.checkpoint becomes the newest best, of the model that was named if one was; one line
 * says which, or that the weights are untrained. */
int tn_cli_find_checkpoint(tn_cli *c, tn_error *err);
/** --checkpoint and --resume may name a run's folder instead of the checkpoint in it. */
void tn_cli_settle_names(tn_cli *c);
/** The value of KEY=VALUE among the words, the last one's; NULL where there is none. */
const char *tn_cli_word(const tn_cli *c, const char *key);
/** A run goes on in its own folders, wherever they were moved, unless others are named; a copy of a checkpoint begins a run in a
 * folder of its own. Fails where a run's folders were moved apart. */
int tn_cli_resume_in_place(tn_config *cfg, const tn_cli *c, tn_error *err);
/** Prints the configuration as YAML. */
int tn_cli_print_config(const tn_config *cfg, tn_error *err);
/** The number with so many digits behind the point, or "-" for what was not measured. */
const char *tn_figure(char buf[32], int digits, double v);
/** Prints a JSON value to standard output and releases it. NULL: it could not be made, which is the error. */
int tn_cli_print_json(json_t *v, tn_error *err);

/** The line of the terminal that is redrawn; elsewhere it is printed now and then. There is one. */
void tn_bar_show(double fraction, bool force, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void tn_bar_clear(void);
/** A tn_progress_fn (user: tn_cli): shows what has no callback of its own, unless --json; Ctrl-C stops. */
int tn_cli_progress(void *user, const tn_progress *p);
/** "1:23" or "2:03:04". */
const char *tn_clock(char buf[32], double seconds);
/** The signal (Ctrl-C, SIGTERM) that asks to stop, or 0; callbacks stop the run cleanly. */
extern volatile sig_atomic_t tn_interrupted;
#endif
