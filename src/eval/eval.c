#include "adapter.h"
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

static int preview(const tn_engine *e, const tn_frame *f, const float *heat, const float *target, const char *dir, int k,
                   tn_error *err)
{
    tn_image full, im;
    const int w = e->image_w, h = e->image_h;
    TN_TRY(tn_image_load(&full, f->path, err));
    int rc = tn_image_resize(&im, &full, w, h, err);
    tn_image_free(&full);
    TN_TRY(rc);
    tn_image pair = {0};
    rc = tn_image_new(&pair, w, 2 * h, err);
    for (int half = 0; !rc && half < 2; half++) {
        tn_image part = {w, h, pair.rgb + (size_t)half * (size_t)w * (size_t)h * 3};
        memcpy(part.rgb, im.rgb, (size_t)w * (size_t)h * 3);
        tn_draw_heat(&part, half ? target : heat, e->model->heat_w, e->model->heat_h);
    }
    char *path = tn_strf("%s/preview_%d.png", dir, k);
    if (!rc) rc = path ? tn_image_save_png(&pair, path, err) : tn_oom(err);
    free(path);
    tn_image_free(&pair);
    tn_image_free(&im);
    return rc;
}

static void count(const tn_engine *e, const tn_batch *b, const float *heat, tn_eval_result *r, double *l2)
{
    const int w = e->model->heat_w, h = e->model->heat_h;
    for (int i = 0; i < b->n; i++) {
        r->samples++;
        if (b->mask[i] == 0) continue;
        double x, y, v;
        tn_heat_peak(heat + (size_t)i * (size_t)(w * h), w, h, false, &x, &y, &v);
        double d = hypot(x - b->ball[2 * i], y - b->ball[2 * i + 1]);
        r->visible++;
        r->correct += d <= 3;
        *l2 += d;
    }
}

static int run_batch(tn_engine *e, const tn_batch *b, float *heat, double *loss, tn_error *err)
{
    tn_session *s = e->session;
    tn_exec *x;
    tn_pass pass = tn_engine_eval_pass(e, b->n, true);
    TN_TRY(tn_session_get(&x, s, &pass, err));
    s->loss = (tn_loss_spec){!strcmp(e->s->training.loss, "focal"), (float)e->s->training.alpha, (float)e->s->training.beta};
    const tn_step_constants now = {.inv_mask = 1};
    TN_TRY(tn_ctx_step(&s->ctx, &now, err));
    TN_TRY(tn_session_upload(s, x, x->g.pixels, b->pixels, err));
    TN_TRY(tn_session_upload(s, x, x->g.target, b->target, err));
    TN_TRY(tn_session_upload(s, x, x->g.mask, b->mask, err));
    TN_TRY(tn_session_run(s, x, err));
    TN_TRY(tn_session_loss(s, x, loss, err));
    return tn_session_download(s, x, x->g.heat, heat, err);
}

int tn_evaluate(tn_engine *e, const tn_dataset *d, tn_loader *l, const char *previews, tn_eval_result *r, tn_error *err)
{
    *r = (tn_eval_result){0};
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
        rc = run_batch(e, &b, heat, &part, err);
        loss += part;
        if (!rc) count(e, &b, heat, r, &l2);
        for (int i = 0; !rc && previews && i < b.n && shown < 4; i++)
            if (b.mask[i] > 0)
                rc = preview(e, &d->f[b.index[i]], heat + (size_t)i * area, b.target + (size_t)i * area, previews, shown++, err);
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
    const tn_settings *s = tn_config_settings(c);
    const bool train = !strcmp(split, "train");
    tn_engine *e = NULL;
    tn_dataset d = {0};
    tn_loader *l = NULL;
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n = 0;
    if (o->n_adapters > 1) return tn_fail(err, TN_ERR_ARGUMENT, "one adapter at a time is evaluated, not %d", o->n_adapters);
    if (!train && strcmp(split, "val")) return tn_fail(err, TN_ERR_ARGUMENT, "split '%s' is not known; train and val are", split);
    int rc = tn_dataset_read(&d, s->data.root, train ? &s->data.train_games : &s->data.val_games, split, o->log, err);
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
