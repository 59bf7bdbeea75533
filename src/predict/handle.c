/* A model that stays open between frames. */
#include "handle.h"
#include "adapter_use.h"
#include "entry.h"
#include "recent.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_AT_ONCE = 32, OFTEN_AT_ONCE = 8 }; /* OFTEN: what room is kept for; a video's */

struct tn_model_handle {
    tn_config *config; /* the engine's settings lie in it */
    tn_engine *e;
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n_adapters, in_place; /* in_place: -1 when none is */
    char *checkpoint;         /* brings decoder and head to an adapter without; or NULL */
    int at_once;              /* samples in a batch; less after the device refused more */
    tn_recent recent;         /* of a model of several frames */
};

const tn_watch *tn_handle_watch(const tn_model_handle *m)
{
    return &m->e->watch;
}

int tn_handle_answers(const tn_model_handle *m)
{
    return m->e->model->heats;
}

/* ---- opening ---- */

static int take_config(tn_model_handle *m, const tn_config *c, const tn_run_options *o, tn_error *err)
{
    const char *from = o->checkpoint ? o->checkpoint : o->n_adapters ? o->adapters[0] : NULL;
    if (c) return tn_config_copy(&m->config, c, err);
    if (from) return tn_checkpoint_config(&m->config, from, NULL, 0, o->log, err);
    return tn_fail(err, TN_ERR_ARGUMENT, "tn_model_open needs a configuration, or a checkpoint or adapter that brings one");
}

int tn_model_open(tn_model_handle **out, const tn_config *c, const tn_run_options *o, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_model_open's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    tn_model_handle *m = calloc(1, sizeof *m);
    if (!m) return tn_oom(err);
    m->in_place = -1;
    m->at_once = MOST_AT_ONCE;
    int rc = o->checkpoint && !(m->checkpoint = strdup(o->checkpoint)) ? tn_oom(err) : take_config(m, c, o, err);
    if (!rc) rc = tn_adapters_engine(&m->e, m->adapters, &m->n_adapters, tn_config_settings(m->config), o, err);
    if (!rc) rc = m->n_adapters ? tn_model_use_adapter(m, 0, err) : tn_engine_merge(m->e, OFTEN_AT_ONCE, err);
    if (rc) tn_model_close(m);
    else *out = m;
    return rc;
}

void tn_model_close(tn_model_handle *m)
{
    if (!m) return;
    tn_engine_close(m->e);
    for (int i = 0; i < m->n_adapters; i++) tn_adapter_close(m->adapters[i]);
    tn_config_free(m->config);
    tn_recent_free(&m->recent);
    free(m->checkpoint);
    free(m);
}

int tn_model_use_adapter(tn_model_handle *m, int index, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(m, "the model", err));
    if (index < 0 || index >= m->n_adapters)
        return tn_fail(err, TN_ERR_ARGUMENT, "there is no adapter %d: the model was opened with %d", index, m->n_adapters);
    if (m->in_place == index) return 0;
    m->in_place = -1; /* half of it, when it fails */
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .checkpoint = m->checkpoint};
    TN_TRY(tn_adapters_use(m->adapters[index], m->e, &o, err));
    TN_TRY(tn_engine_merge(m->e, OFTEN_AT_ONCE, err));
    m->in_place = index;
    return 0;
}

int tn_model_describe(const tn_model_handle *m, tn_model_info *info, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(m, "the model", err));
    TN_TRY(tn_struct(info, TN_MODEL_INFO_VERSION, "tn_model_info", err));
    *info = (tn_model_info){.version = TN_MODEL_INFO_VERSION,
                            .image_width = m->e->image_w,
                            .image_height = m->e->image_h,
                            .heat_width = m->e->model->heat_w,
                            .heat_height = m->e->model->heat_h,
                            .parameters = tn_model_count(m->e->model, 7, false),
                            .device_bytes = m->e->dev->allocated,
                            .adapters = m->n_adapters,
                            .adapter = m->in_place,
                            .frames = m->e->model->frames};
    snprintf(info->device, sizeof info->device, "%s", m->e->dev->info.name);
    return 0;
}

/* ---- predicting ---- */

static int check_frames(const tn_rgb *f, int n, tn_error *err)
{
    for (int i = 0; i < n; i++) {
        TN_TRY(tn_required(f[i].pixels, "tn_rgb.pixels", err));
        if (f[i].width < 1 || f[i].height < 1 || f[i].width > INT_MAX / 3)
            return tn_fail(err, TN_ERR_ARGUMENT, "frame %d is %d x %d pixels", i, f[i].width, f[i].height);
        if (f[i].stride && f[i].stride < 3 * (size_t)f[i].width)
            return tn_fail(err, TN_ERR_ARGUMENT, "frame %d: a stride of %zu bytes is less than a row's %d", i, f[i].stride,
                           3 * f[i].width);
    }
    return 0;
}

/* Resized to the model's size. */
static int shrink(tn_image *out, const tn_engine *e, const tn_rgb *f, tn_error *err)
{
    tn_image whole;
    const size_t row = 3 * (size_t)f->width;
    if (!f->stride || f->stride == row) {
        const tn_image same = {f->width, f->height, (uint8_t *)f->pixels};
        return tn_image_resize(out, &same, e->image_w, e->image_h, err);
    }
    TN_TRY(tn_image_new(&whole, f->width, f->height, err));
    for (int y = 0; y < f->height; y++) memcpy(whole.rgb + (size_t)y * row, f->pixels + (size_t)y * f->stride, row);
    int rc = tn_image_resize(out, &whole, e->image_w, e->image_h, err);
    tn_image_free(&whole);
    return rc;
}

static void read_ball(tn_ball *b, const tn_engine *e, const tn_rgb *f, float *heat)
{
    const int w = e->model->heat_w, h = e->model->heat_h;
    tn_heat_ball(heat, w, h, tn_heat_logits(e->s), b);
    b->x *= (double)f->width / w;
    b->y *= (double)f->height / h;
}

static int shrink_all(const tn_asked *a, const tn_engine *e, const tn_rgb *f, tn_error *err)
{
    for (int i = 0; i < a->n; i++) {
        tn_image small;
        TN_TRY(shrink(&small, e, &f[i], err));
        memcpy(tn_asked_frame(a, i), small.rgb, a->frame);
        tn_image_free(&small);
    }
    return 0;
}

/* heat: of the n new frames; where windows have more, they come to a place of their own first. */
static int run_windows(tn_engine *e, const tn_asked *a, float *heat, tn_error *err)
{
    const tn_batch b = {.n = a->n_windows, .frames = a->windows};
    const size_t area = (size_t)e->model->heat_w * (size_t)e->model->heat_h;
    if (a->answers == 1) return tn_forward(e, &b, heat, NULL, err);
    float *all = malloc(sizeof *all * (size_t)a->n_windows * tn_engine_heat_size(e));
    const int rc = all ? tn_forward(e, &b, all, NULL, err) : tn_oom(err);
    for (int i = 0; !rc && i < a->n; i++)
        memcpy(heat + (size_t)i * area, all + (size_t)tn_asked_answer(a, i) * area, area * sizeof *heat);
    free(all);
    return rc;
}

/* Frames that go to the device together; heat is room for them all. */
static int predict_batch(tn_model_handle *m, const tn_rgb *f, int n, tn_ball *balls, float *heat, tn_error *err)
{
    tn_engine *e = m->e;
    const size_t area = (size_t)e->model->heat_w * (size_t)e->model->heat_h;
    tn_asked a;
    TN_TRY(tn_asked_new(&a, e, n, err));
    int rc = shrink_all(&a, e, f, err);
    if (!rc) {
        tn_asked_windows(&a, &m->recent);
        rc = run_windows(e, &a, heat, err);
    }
    if (!rc) rc = tn_recent_add(&m->recent, &a, err);
    for (int i = 0; !rc && i < n; i++) read_ball(&balls[i], e, &f[i], heat + (size_t)i * area);
    tn_asked_free(&a);
    return rc;
}

static int predict_all(tn_model_handle *m, const tn_rgb *f, int n, tn_ball *balls, float *heat, bool keep, tn_error *err)
{
    const size_t area = (size_t)m->e->model->heat_w * (size_t)m->e->model->heat_h;
    for (int i = 0, k; i < n; i += k) {
        k = TN_MIN(n - i, m->at_once * m->e->model->heats);
        int rc = predict_batch(m, f + i, k, balls + i, keep ? heat + (size_t)i * area : heat, err);
        const int windows = TN_CEIL_DIV(k, m->e->model->heats);
        if (rc == TN_ERR_MEMORY && windows > 1) {
            m->at_once = windows / 2;
            k = 0;
            continue;
        }
        TN_TRY(rc);
    }
    return 0;
}

int tn_model_restart(tn_model_handle *m, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(m, "the model", err));
    tn_recent_restart(&m->recent);
    return 0;
}

int tn_model_predict(tn_model_handle *m, const tn_rgb *frames, int n, tn_ball *balls, float *heat, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(m, "the model", err));
    if (n < 1) return n ? tn_fail(err, TN_ERR_ARGUMENT, "tn_model_predict was given %d frames", n) : 0;
    TN_TRY(tn_required(frames, "tn_model_predict's frames", err));
    TN_TRY(tn_required(balls, "tn_model_predict's balls", err));
    TN_TRY(check_frames(frames, n, err));
    const size_t area = (size_t)m->e->model->heat_w * (size_t)m->e->model->heat_h;
    float *own = heat ? NULL : malloc(sizeof *own * area * (size_t)TN_MIN(n, m->at_once * m->e->model->heats));
    if (!heat && !own) return tn_oom(err);
    int rc = predict_all(m, frames, n, balls, heat ? heat : own, heat != NULL, err);
    free(own);
    return rc;
}
