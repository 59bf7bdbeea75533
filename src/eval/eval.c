#include "adapter_use.h"
#include "entry.h"
#include "files.h"
#include "metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void tn_heat_peak(const float *heat, int w, int h, bool refine, double *x, double *y, double *value)
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

/* The frame with the heatmap over it, and below it the frame with the target. */
static int preview(const tn_engine *e, const tn_batch *b, int i, const float *heat, const char *dir, int k, tn_error *err)
{
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
        memcpy(part.rgb, b->frames + (size_t)i * bytes, bytes);
        tn_draw_heat(&part, half ? target : heat, hw, hh);
    }
    if (!rc) rc = tn_image_save_png(&pair, path, err);
    free(path);
    free(target);
    tn_image_free(&pair);
    return rc;
}

static void count(const tn_engine *e, const tn_batch *b, const float *heat, tn_eval_result *r, double *l2)
{
    const int w = e->model->heat_w, h = e->model->heat_h;
    for (int i = 0; i < b->n; i++) {
        r->samples++;
        const float *label = b->labels + 3 * i;
        if (label[2] == 0) continue;
        double x, y, v;
        tn_heat_peak(heat + (size_t)i * (size_t)(w * h), w, h, false, &x, &y, &v);
        double d = hypot(x - label[0], y - label[1]);
        r->visible++;
        r->correct += d <= 3;
        *l2 += d;
    }
}

/* Everything but the last read. part: NULL, or where the loss's partials are to go. */
static int enqueue_forward(tn_engine *e, tn_exec *x, const tn_batch *b, const tn_step_constants *now, float *part, tn_error *err)
{
    tn_session *s = e->session;
    TN_TRY(tn_buffer_write_async(s->ctx.constants, TN_QUEUE_MAIN, 0, now, sizeof *now, NULL, NULL, err));
    TN_TRY(tn_session_send(s, x, x->g.pixels, b->frames, err));
    if (part) TN_TRY(tn_session_send(s, x, x->g.labels, b->labels, err));
    TN_TRY(tn_session_run(s, x, err));
    return part ? tn_buffer_read_async(x->mem[x->g.loss], TN_QUEUE_MAIN, 0, part, TN_PARTIALS * sizeof *part, NULL, NULL, err) : 0;
}

int tn_forward(tn_engine *e, const tn_batch *b, float *heat, double *loss, tn_error *err)
{
    tn_session *s = e->session;
    tn_exec *x;
    float part[TN_PARTIALS];
    const tn_step_constants now = {.inv_mask = 1};
    const tn_pass pass = tn_engine_eval_pass(e, b->n, loss != NULL);
    s->loss = tn_engine_loss(e);
    TN_TRY(tn_session_get(&x, s, &pass, err));
    TN_TRY(tn_ctx_step_ready(&s->ctx, err));
    int rc = enqueue_forward(e, x, b, &now, loss ? part : NULL, err);
    if (!rc) rc = tn_session_download(s, x, x->g.heat, heat, err); /* the last of the queue: all before it is done */
    tn_error unread;
    if (rc) (void)tn_dev_finish(e->dev, &unread); /* what is on its way reads and writes this frame's variables */
    else if (loss) *loss = tn_loss_sum(part);
    return rc;
}

int tn_evaluate(tn_engine *e, const tn_dataset *d, tn_loader *l, const char *previews, tn_eval_result *r, tn_error *err)
{
    *r = (tn_eval_result)TN_EVAL_RESULT_INIT;
    const size_t area = (size_t)e->model->heat_w * (size_t)e->model->heat_h;
    int *order = malloc(sizeof *order * (size_t)d->n), shown = 0;
    float *heat = malloc(sizeof *heat * area * (size_t)TN_MAX(e->s->training.batch_size, 1));
    double loss = 0, l2 = 0;
    int rc = order && heat ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < d->n; i++) order[i] = i;
    if (!rc) rc = tn_loader_start(l, order, d->n, 0, err);
    while (!rc) {
        tn_batch b;
        double part = 0;
        rc = tn_loader_next(l, &b, err);
        if (rc || !b.n) break;
        rc = tn_watch_tell(&e->watch, TN_PHASE_VALIDATING, NULL, r->samples, d->n, err);
        if (!rc) rc = tn_forward(e, &b, heat, &part, err);
        loss += part;
        if (!rc) count(e, &b, heat, r, &l2);
        for (int i = 0; !rc && previews && i < b.n && shown < 4; i++)
            if (b.labels[3 * i + 2] > 0) rc = preview(e, &b, i, heat + (size_t)i * area, previews, shown++, err);
    }
    free(order);
    free(heat);
    r->loss = r->visible ? loss / ((double)r->visible * (double)area) : 0;
    r->l2 = r->visible ? l2 / r->visible : 0;
    r->pck = r->visible ? (double)r->correct / r->visible : 0;
    return rc;
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
    if (o->n_adapters > 1) return tn_fail(err, TN_ERR_ARGUMENT, "one adapter at a time is evaluated, not %d", o->n_adapters);
    if (!train && strcmp(split, "val")) return tn_fail(err, TN_ERR_ARGUMENT, "split '%s' is not known; train and val are", split);
    int rc = tn_dataset_read(&d, s->data.root, train ? &s->data.train_games : &s->data.val_games, split, s->training.strict_labels,
                             o->log, err);
    if (!rc) rc = tn_adapters_engine(&e, adapters, &n, s, o, err);
    if (!rc && n) rc = tn_adapters_use(adapters[0], e, o, err);
    if (!rc) {
        tn_prep p = tn_engine_prep(e, false);
        rc = tn_loader_new(&l, &d, &p, TN_MIN(s->training.batch_size, d.n), s->training.workers, s->training.prefetch, 0, err);
    }
    if (!rc) rc = tn_evaluate(e, &d, l, NULL, r, err);
    tn_loader_free(l);
    for (int i = 0; i < n; i++) tn_adapter_close(adapters[i]);
    tn_engine_close(e);
    tn_dataset_free(&d);
    return rc;
}
