#include "adapter_use.h"
#include "entry.h"
#include "files.h"
#include "metrics.h"
#include "predictor.h"
#include "report.h"
#include "score.h"
#include "sightings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In heatmap pixels. refine: soft-argmax (beta 100) over the 5 x 5 pixels round it. */
static void heat_peak(const float *heat, int w, int h, bool refine, double *x, double *y, double *value)
{
    int best = 0;
    for (int i = 1; i < w * h; i++)
        if (heat[i] > heat[best]) best = i;
    const int bx = best % w, by = best / w;
    *x = bx, *y = by, *value = heat[best];
    if (!refine) return;
    double sx = 0, sy = 0, s = 0;
    for (int j = TN_MAX(0, by - 2); j <= TN_MIN(h - 1, by + 2); j++)
        for (int i = TN_MAX(0, bx - 2); i <= TN_MIN(w - 1, bx + 2); i++) {
            double e = exp(100.0 * (heat[j * w + i] - heat[best]));
            s += e, sx += e * i, sy += e * j;
        }
    *x = sx / s, *y = sy / s;
}

void tn_heat_ball(float *heat, int w, int h, bool logits, tn_ball *ball)
{
    for (int i = 0; logits && i < w * h; i++) heat[i] = 1 / (1 + expf(-heat[i]));
    heat_peak(heat, w, h, true, &ball->x, &ball->y, &ball->confidence);
    ball->confidence = fmin(fmax(ball->confidence, 0), 1);
}

bool tn_heat_logits(const tn_settings *s)
{
    return tn_loss_logits(s->training.loss);
}

/* Answer i of the batch's: the frame with the heatmap over it, and below it the frame with the target. */
static int preview(const tn_engine *e, const tn_batch *b, int i, const float *heat, const char *dir, int k, tn_error *err)
{
    const int frames = e->model->frames, heats = e->model->heats, frame = i / heats * frames + frames - heats + i % heats;
    tn_image pair;
    const int w = e->image_w, h = e->image_h, hw = e->model->heat_w, hh = e->model->heat_h;
    const size_t bytes = (size_t)w * (size_t)h * 3;
    char *path = tn_strf("%s/preview_%d.png", dir, k);
    float *target = malloc((size_t)hw * (size_t)hh * sizeof *target);
    int rc = tn_image_new(&pair, w, 2 * h, err);
    if (!rc && (!path || !target)) rc = tn_oom(err);
    if (!rc) tn_gaussian(target, hw, hh, b->labels[3 * i], b->labels[3 * i + 1], e->s->model.sigma);
    for (int half = 0; !rc && half < 2; half++) {
        tn_image part = {w, h, pair.rgb + (size_t)half * bytes};
        memcpy(part.rgb, b->frames + (size_t)frame * bytes, bytes);
        tn_draw_heat(&part, half ? target : heat, hw, hh);
    }
    if (!rc) rc = tn_image_save_png(&pair, path, err);
    free(path);
    free(target);
    tn_image_free(&pair);
    return rc;
}

/* ---- a pass over a data set ---- */

typedef struct {
    tn_engine *e;
    tn_predictor *predictor;
    const tn_dataset *d;
    const char *previews;
    tn_eval_result *r;
    tn_sighting *seen;                  /* [total], r->samples so far */
    int total;                          /* labels that are looked at */
    float *heat;                        /* of a batch */
    double loss, counted, l2, l2_frame; /* sums; counted: frames of the loss */
    int shown;
} evaluation;

/* What answer i of the batch shows of frame f; its heatmap becomes one of 0 to 1. */
static void look(evaluation *v, const tn_batch *b, int i, const tn_frame *f, float *heat)
{
    const int w = v->e->model->heat_w, h = v->e->model->heat_h;
    const float *label = b->labels + 3 * i;
    double x, y, top;
    tn_ball ball;
    heat_peak(heat, w, h, false, &x, &y, &top);
    tn_heat_ball(heat, w, h, tn_heat_logits(v->e->s), &ball);
    const double sx = (double)b->stored[2 * i] / w, sy = (double)b->stored[2 * i + 1] / h;
    const double off = hypot(x - label[0], y - label[1]);
    const double off_frame = hypot(ball.x * sx - f->x, ball.y * sy - f->y);
    v->r->resolution = fmax(v->r->resolution, hypot(sx, sy) / 2);
    v->seen[v->r->samples++] =
        (tn_sighting){(float)ball.confidence, f->visible, f->visible && off_frame <= v->e->s->training.tolerance};
    if (!f->visible) return;
    v->r->visible++;
    v->r->correct += off <= 3;
    v->l2 += off;
    v->l2_frame += off_frame;
}

static int evaluate_batch(evaluation *v, const tn_batch *b, tn_error *err)
{
    const size_t area = (size_t)v->e->model->heat_w * (size_t)v->e->model->heat_h;
    double part;
    const int answers = tn_sample_answers(v->d);
    TN_TRY(tn_watch_tell(&v->e->watch, TN_PHASE_VALIDATING, NULL, v->r->samples, v->total, err));
    TN_TRY(tn_predictor_run(v->predictor, b, v->heat, &part, err));
    v->loss += part;
    v->counted += tn_engine_counted(v->e, b->labels, b->n);
    for (int i = 0; i < b->n * answers; i++) {
        float *heat = v->heat + (size_t)i * area;
        const int frame = tn_sample_label(v->d, b->index[i / answers], i % answers);
        if (frame < 0) continue;
        look(v, b, i, &v->d->f[frame], heat);
        if (v->previews && v->shown < 4 && b->labels[3 * i + 2] > 0)
            TN_TRY(preview(v->e, b, i, heat, v->previews, v->shown++, err));
    }
    return 0;
}

/* Samples `first` on, n of them. */
static int evaluate_part(evaluation *v, tn_loader *l, int first, int n, tn_error *err)
{
    int *order = malloc(sizeof *order * (size_t)TN_MAX(n, 1));
    if (!order) return tn_oom(err);
    for (int i = 0; i < n; i++) order[i] = first + i;
    tn_batch b = {.n = 1};
    int rc = tn_loader_start(l, order, n, 0, err);
    free(order);
    while (!rc && b.n) {
        rc = tn_loader_next(l, &b, err);
        if (!rc && b.n) rc = evaluate_batch(v, &b, err);
    }
    return rc;
}

/* A rank has whole batches, so that their samples are run as by a process alone. */
static int evaluate_all(evaluation *v, tn_loader *l, tn_ranks *r, tn_error *err)
{
    const int n = tn_samples(v->d), batch = TN_MIN(v->e->s->training.batch_size, n), batches = TN_CEIL_DIV(n, batch);
    const int most = batch * TN_CEIL_DIV(batches, tn_ranks_count(r)), first = TN_MIN(most * tn_ranks_number(r), n);
    TN_TRY(evaluate_part(v, l, first, TN_MIN(most, n - first), err));
    double sums[] = {v->loss, v->counted, v->l2, v->l2_frame, v->r->visible, v->r->correct};
    TN_TRY(tn_ranks_add(r, sums, TN_COUNT(sums), err));
    v->loss = sums[0], v->counted = sums[1], v->l2 = sums[2], v->l2_frame = sums[3];
    v->r->visible = (int)sums[4], v->r->correct = (int)sums[5];
    return tn_sightings_join(v->seen, &v->r->samples, most * tn_sample_answers(v->d), &v->r->resolution, r, err);
}

static int labels_of(const tn_dataset *d)
{
    int n = 0;
    for (int i = 0; i < tn_samples(d); i++)
        for (int k = 0; k < tn_sample_answers(d); k++) n += tn_sample_label(d, i, k) >= 0;
    return n;
}

static double mean(double sum, double n)
{
    return n > 0 ? sum / n : NAN;
}

int tn_evaluate(tn_engine *e, const tn_dataset *d, tn_loader *l, const tn_evaluate_options *o, tn_eval_result *r, tn_error *err)
{
    evaluation v = {.e = e, .d = d, .previews = o->previews, .r = r, .total = labels_of(d)};
    *r = (tn_eval_result){.version = TN_EVAL_RESULT_VERSION, .tolerance = e->s->training.tolerance};
    v.seen = malloc(sizeof *v.seen * ((size_t)v.total + 1));
    v.heat = malloc(sizeof *v.heat * tn_engine_heat_size(e) * (size_t)TN_MAX(e->s->training.batch_size, 1));
    int rc = v.seen && v.heat ? tn_predictor_new(&v.predictor, e, err) : tn_oom(err);
    if (!rc) rc = evaluate_all(&v, l, o->ranks, err);
    if (!rc) tn_score(r, v.seen, r->samples, o->threshold ? *o->threshold : tn_best_threshold(v.seen, r->samples));
    tn_predictor_free(v.predictor);
    free(v.seen);
    free(v.heat);
    r->loss = mean(v.loss, v.counted * e->model->heat_w * e->model->heat_h);
    r->l2 = mean(v.l2, r->visible);
    r->l2_frame = mean(v.l2_frame, r->visible);
    r->pck = mean(r->correct, r->visible);
    return rc;
}

/* ---- tn_eval ---- */

int tn_run_threshold(float *out, const tn_run_options *o, const char *adapter, tn_error *err)
{
    *out = 0;
    if (o->threshold && !(*o->threshold >= 0 && *o->threshold <= 1))
        return tn_fail(err, TN_ERR_ARGUMENT, "the threshold is %g; confidences go from 0 to 1", (double)*o->threshold);
    if (o->threshold) return *out = *o->threshold, 0;
    char *record = adapter ? tn_path(adapter, "run.json") : NULL;
    if (adapter && !record) return tn_oom(err);
    const char *dir = record && tn_is_file(record) ? adapter : o->checkpoint;
    free(record);
    return dir ? tn_checkpoint_threshold(out, dir, err) : 0;
}

int tn_eval(const tn_config *c, const tn_run_options *o, const char *split, tn_eval_result *r, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_eval's configuration", err));
    TN_TRY(tn_required(split, "tn_eval's split", err));
    TN_TRY(tn_struct(r, TN_EVAL_RESULT_VERSION, "tn_eval_result", err));
    TN_TRY(tn_run_check(&o, err));
    const tn_settings *s = tn_config_settings(c);
    const bool train = !strcmp(split, "train");
    tn_engine *e = NULL;
    tn_dataset d = {0};
    tn_loader *l = NULL;
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n = 0;
    float threshold;
    if (o->n_adapters > 1) return tn_fail(err, TN_ERR_ARGUMENT, "one adapter at a time is evaluated, not %d", o->n_adapters);
    if (!train && strcmp(split, "val")) return tn_fail(err, TN_ERR_ARGUMENT, "split '%s' is not known; train and val are", split);
    TN_TRY(tn_run_threshold(&threshold, o, o->n_adapters ? o->adapters[0] : NULL, err));
    int rc = tn_samples_read(&d, s, train, false, o->log, err);
    if (!rc) rc = tn_adapters_engine(&e, adapters, &n, s, o, err);
    if (!rc && n) rc = tn_adapters_use(adapters[0], e, o, err);
    const int batch = TN_MIN(s->training.batch_size, tn_samples(&d));
    if (!rc) rc = tn_engine_merge(e, batch, err);
    if (!rc) {
        tn_prep p = tn_engine_prep(e, false);
        rc = tn_loader_new(&l, &d, &p, batch, s->training.workers, s->training.prefetch, 0, err);
    }
    if (!rc) rc = tn_evaluate(e, &d, l, &(tn_evaluate_options){.threshold = &threshold}, r, err);
    if (!rc) tn_metric_resolution_note(r, o->log);
    tn_loader_free(l);
    for (int i = 0; i < n; i++) tn_adapter_close(adapters[i]);
    tn_engine_close(e);
    tn_dataset_free(&d);
    return rc;
}
