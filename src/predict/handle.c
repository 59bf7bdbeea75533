/* A model that stays open between frames. */
#include "handle.h"
#include "adapter_use.h"
#include "asking.h"
#include "entry.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { OFTEN_AT_ONCE = 8 }; /* what room is kept for; a video's */

struct tn_model_handle {
    tn_config *config; /* the engine's settings lie in it */
    tn_engine *e;
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n_adapters, in_place; /* in_place: -1 when none is */
    char *checkpoint;         /* brings decoder and head to an adapter without; or NULL */
    tn_asking *asking;        /* what has begun, and frames of before */
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
    int rc = o->checkpoint && !(m->checkpoint = strdup(o->checkpoint)) ? tn_oom(err) : take_config(m, c, o, err);
    if (!rc) rc = tn_adapters_engine(&m->e, m->adapters, &m->n_adapters, tn_config_settings(m->config), o, err);
    if (!rc) rc = m->n_adapters ? tn_model_use_adapter(m, 0, err) : tn_engine_merge(m->e, OFTEN_AT_ONCE, err);
    if (!rc) rc = tn_asking_new(&m->asking, m->e, err);
    if (rc) tn_model_close(m);
    else *out = m;
    return rc;
}

void tn_model_close(tn_model_handle *m)
{
    if (!m) return;
    tn_asking_free(m->asking);
    tn_engine_close(m->e);
    for (int i = 0; i < m->n_adapters; i++) tn_adapter_close(m->adapters[i]);
    tn_config_free(m->config);
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

int tn_model_restart(tn_model_handle *m, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(m, "the model", err));
    tn_asking_restart(m->asking);
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
    TN_TRY(tn_asking_begin(m->asking, frames, n, err));
    return tn_asking_end(m->asking, balls, heat, err);
}

int tn_handle_begin(tn_model_handle *m, const tn_rgb *frames, int n, tn_error *err)
{
    return tn_asking_begin(m->asking, frames, n, err);
}

int tn_handle_end(tn_model_handle *m, tn_ball *balls, float *heat, tn_error *err)
{
    return tn_asking_end(m->asking, balls, heat, err);
}
