#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double train_cmd_mib(size_t bytes)
{
    return (double)bytes / 1048576;
}

static int train_cmd_on_step(void *user, const tn_step *s)
{
    const tn_cli *c = user;
    char left[32];
    if (!c->json && !c->silent)
        tn_bar_show((double)s->step / (double)s->steps, false,
                    "epoch %d/%d  step %lld/%lld  loss %.5f  lr %.2e  %.1f img/s  %s left", s->epoch, s->epochs, s->step, s->steps,
                    s->loss, s->lr, s->images_per_second, tn_clock(left, s->seconds_left));
    return tn_interrupted;
}

static void print_validation(const tn_eval_result *r)
{
    fprintf(stderr, "  val loss %s", tn_figure((char[32]){0}, 6, r->loss));
    fprintf(stderr, "  L2 %s px", tn_figure((char[32]){0}, 2, r->l2));
    fprintf(stderr, "  PCK@3 %s  F1 %.3f", tn_figure((char[32]){0}, 3, r->pck), r->f1);
}

static int on_epoch(void *user, const tn_epoch *e)
{
    const tn_cli *c = user;
    if (c->json || c->silent) return tn_interrupted;
    tn_bar_clear();
    fprintf(stderr, "epoch %3d  train loss %.6f  lr %.2e", e->epoch, e->train_loss, e->lr);
    if (e->validated) print_validation(e->val);
    fprintf(stderr, "  %.1f s%s\n", e->seconds, e->best ? "  best" : "");
    return tn_interrupted;
}

static json_t *memory_json(const tn_memory *m)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "weights", (json_int_t)m->weights,
                     "weights_float32", (json_int_t)m->weights_float32, "parameters", (json_int_t)m->parameters, "gradients",
                     (json_int_t)m->gradients, "optimizer", (json_int_t)m->optimizer, "activations", (json_int_t)m->activations,
                     "workspace", (json_int_t)m->workspace, "total", (json_int_t)m->total, "full_float32",
                     (json_int_t)m->full_float32, "streamed", (json_int_t)m->streamed, "micro_batch_size", m->micro_batch);
}

static void train_cmd_print_summary(const tn_train_summary *s)
{
    const tn_memory *m = &s->planned;
    printf("device                  %s\n", s->device);
    printf("trainable parameters    %lld of %lld (%.2f %%)\n", s->trainable, s->parameters,
           100.0 * (double)s->trainable / (double)s->parameters);
    if (s->quantized_modules)
        printf("frozen weights          %.2f MiB (%d layers in 4 bits, %d skipped); %.2f MiB in float32\n",
               train_cmd_mib(m->weights), s->quantized_modules, s->skipped_modules, train_cmd_mib(m->weights_float32));
    printf("peak device memory      %.1f MiB allocated, %.1f MiB planned; full float32 fine-tuning: %.1f MiB\n",
           train_cmd_mib(s->allocated_peak), train_cmd_mib(m->total), train_cmd_mib(m->full_float32));
    if (s->images_per_second > 0)
        printf("loss                    %.6f -> %.6f in %d epochs, %.1f s, %.1f img/s\n", s->first_loss, s->last_loss,
               s->epochs_run, s->seconds, s->images_per_second);
    printf("run folder              %s\n", s->output_dir);
    if (s->skipped_steps) printf("skipped steps           %lld, which overflowed float16\n", s->skipped_steps);
}

static int print_summary_json(const tn_train_summary *s, tn_error *err)
{
    const bool trained = s->images_per_second > 0;
    json_t *j =
        json_pack("{s:o, s:I, s:I, s:i, s:i, s:o, s:I, s:f, s:f, s:o, s:o, s:i, s:b}", "device", tn_json_text(s->device),
                  "trainable_parameters", (json_int_t)s->trainable, "parameters", (json_int_t)s->parameters, "quantized_modules",
                  s->quantized_modules, "skipped_modules", s->skipped_modules, "memory", memory_json(&s->planned), "allocated_peak",
                  (json_int_t)s->allocated_peak, "seconds", s->seconds, "images_per_second", s->images_per_second, "first_loss",
                  tn_json_real(trained ? s->first_loss : NAN), "last_loss", tn_json_real(trained ? s->last_loss : NAN), "epochs",
                  s->epochs_run, "stopped_early", s->stopped_early);
    json_object_set_new(j, "skipped_steps", json_integer(s->skipped_steps));
    json_object_set_new(j, "output_dir", tn_json_text(s->output_dir));
    return tn_cli_print_json(j, err);
}

int tn_cli_print_config(const tn_config *cfg, tn_error *err)
{
    char *yaml = NULL;
    int rc = tn_config_dump(cfg, &yaml, err);
    if (!rc) fputs(yaml, stdout);
    free(yaml);
    return rc;
}

/* What a run would say of its progress is not to be read yet, what is amiss with its settings is. */
static void warnings_only(void *user, tn_log_level level, const char *line)
{
    const tn_log *to = user;
    if (level == TN_LOG_WARN && to && to->fn) to->fn(to->user, level, line);
}

/* Below the YAML, as comments, so that the output loads again: what training would take on this device. Fails where it cannot. */
static int print_plan(const tn_config *cfg, const tn_run_options *o, tn_error *err)
{
    tn_memory m = TN_MEMORY_INIT;
    tn_run_options quiet = *o;
    const tn_log warnings = {warnings_only, (void *)o->log};
    quiet.log = &warnings;
    const int rc = tn_train_check(cfg, &quiet, &m, err);
    if (!m.total) {
        printf("# no memory plan: %s\n", err->message);
        return rc;
    }
    printf("# memory plan, MiB (micro-batch %d)\n#   frozen weights  %10.1f  (%.1f in float32)\n#   parameters      %10.1f\n"
           "#   gradients       %10.1f\n#   optimiser       %10.1f\n#   activations     %10.1f\n#   workspace       %10.1f\n"
           "#   total           %10.1f  (full fine-tuning in float32: %.1f)\n"
           "# linear layers: %d quantised, %d left in float by name, %d because blocks do not divide their rows\n",
           m.micro_batch, train_cmd_mib(m.weights), train_cmd_mib(m.weights_float32), train_cmd_mib(m.parameters),
           train_cmd_mib(m.gradients), train_cmd_mib(m.optimizer), train_cmd_mib(m.activations), train_cmd_mib(m.workspace),
           train_cmd_mib(m.total), train_cmd_mib(m.full_float32), m.quantized_modules, m.skipped_modules, m.indivisible_modules);
    if (m.streamed)
        printf("# streamed: %.1f MiB of frozen weights stay in the host's memory and pass through the device\n",
               train_cmd_mib(m.streamed));
    return rc;
}

/* Nothing is left to do for a run that is resumed after its last epoch. */
static void say_finished(const tn_config *cfg, const tn_train_summary *s)
{
    long long epochs = 0;
    tn_error unread;
    (void)tn_config_get_int(cfg, "training.epochs", &epochs, &unread);
    fprintf(stderr, "this run is finished: training.epochs is %lld; 'tracknet train --resume %s training.epochs=%lld' goes on\n",
            epochs, s->output_dir, epochs + 1);
}

/* A rank is stopped by its launcher, for the user or because another one ended. There may be a second until it is killed. */
static void say_stopped(const tn_cli *c, const tn_train_summary *s)
{
    const char *what = c->run.ranks ? "stopped with the other processes of the job" : "stopped";
    if (s->epochs_run || c->run.ranks)
        fprintf(stderr, "%s; %s%s%s\n", what, s->epochs_run ? "'tracknet train --resume " : "no epoch was whole yet",
                s->epochs_run ? s->output_dir : "", s->epochs_run ? "' goes on from the last whole epoch" : "");
}

/* A run that Ctrl-C stopped ends well: its last whole epoch is there to go on from. */
static int run_training(const tn_config *cfg, tn_cli *c, tn_error *err)
{
    const tn_train_callbacks cb = {TN_TRAIN_CALLBACKS_VERSION, train_cmd_on_step, on_epoch, c};
    tn_train_summary s = TN_TRAIN_SUMMARY_INIT;
    int rc = tn_train(cfg, &c->run, &cb, &s, err);
    const bool stopped = rc == TN_ERR_CANCELLED && tn_interrupted;
    tn_bar_clear();
    if (rc && !stopped) return rc;
    if (c->silent) return 0;
    if (stopped && c->run.ranks) return say_stopped(c, &s), 0;
    rc = 0;
    if (!s.parameters) fprintf(stderr, "nothing was trained yet: %s\n", err->message);
    else if (c->json) rc = print_summary_json(&s, err);
    else train_cmd_print_summary(&s);
    if (!rc && !stopped && !s.epochs_run) say_finished(cfg, &s);
    if (stopped) say_stopped(c, &s);
    return rc;
}

int tn_cmd_train(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    int rc = tn_cli_find_resume(c, err);
    if (!rc) rc = tn_cli_config(&cfg, c, err);
    if (!rc && c->dry_run && c->silent) {
        tn_config_free(cfg);
        return 0;
    }
    if (!rc && c->dry_run) {
        rc = tn_cli_print_config(cfg, err);
        if (!rc) rc = print_plan(cfg, &c->run, err);
    } else if (!rc) {
        rc = run_training(cfg, c, err);
    }
    tn_config_free(cfg);
    return rc;
}
