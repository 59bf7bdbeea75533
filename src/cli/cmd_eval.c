#include "cli.h"

#include <math.h>
#include <stdio.h>

const char *tn_figure(char buf[32], int digits, double v)
{
    if (isnan(v)) return "-";
    snprintf(buf, 32, "%.*f", digits, v);
    return buf;
}

static int print_eval_json(const tn_eval_result *r, tn_error *err)
{
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:i, s:i, s:i}", "loss", tn_json_real(r->loss), "mean_l2", tn_json_real(r->l2),
                          "mean_l2_frame", tn_json_real(r->l2_frame), "pck@3", tn_json_real(r->pck), "samples", r->samples,
                          "visible", r->visible, "correct@3", r->correct);
    json_t *more = json_pack("{s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "threshold", r->threshold, "tolerance",
                             r->tolerance, "tp", r->tp, "fp1", r->fp1, "fp2", r->fp2, "tn", r->tn, "fn", r->fn, "accuracy",
                             r->accuracy, "precision", r->precision, "recall", r->recall, "f1", r->f1);
    if (j && more) json_object_update(j, more);
    json_decref(more);
    return tn_cli_print_json(j, err);
}

static void print_eval(const tn_eval_result *r)
{
    char loss[32], l2[32], frame[32], pck[32];
    printf("loss %s  mean L2 %s px (%s px of the frame)  PCK@3 %s (%d of %d visible; %d samples)\n", tn_figure(loss, 6, r->loss),
           tn_figure(l2, 3, r->l2), tn_figure(frame, 2, r->l2_frame), tn_figure(pck, 4, r->pck), r->correct, r->visible,
           r->samples);
    printf("at a confidence of %.3f or more, at most %g px of the frame off:\n", r->threshold, r->tolerance);
    printf("%6s %6s %6s %6s %6s   %9s %9s %9s %9s\n", "TP", "FP1", "FP2", "TN", "FN", "accuracy", "precision", "recall", "F1");
    printf("%6d %6d %6d %6d %6d   %9.4f %9.4f %9.4f %9.4f\n", r->tp, r->fp1, r->fp2, r->tn, r->fn, r->accuracy, r->precision,
           r->recall, r->f1);
}

static int run_eval(const tn_config *cfg, tn_cli *c, tn_error *err)
{
    tn_eval_result r = TN_EVAL_RESULT_INIT;
    const float threshold = (float)c->threshold.value;
    if (c->threshold.given) c->run.threshold = &threshold;
    const int rc = tn_eval(cfg, &c->run, c->split ? c->split : "val", &r, err);
    c->run.threshold = NULL;
    tn_bar_clear();
    if (rc) return rc;
    if (c->json) return print_eval_json(&r, err);
    print_eval(&r);
    return 0;
}

int tn_cmd_eval(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    int rc = tn_cli_find_checkpoint(c, err);
    if (!rc) rc = tn_cli_config(&cfg, c, err);
    if (!rc && c->tolerance.given) rc = tn_config_set_real(cfg, "training.metrics.tolerance", c->tolerance.value, err);
    if (!rc) rc = c->dry_run ? tn_cli_print_config(cfg, err) : run_eval(cfg, c, err);
    tn_config_free(cfg);
    return rc;
}
