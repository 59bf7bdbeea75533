/* What samples are: of a split, of a batch, and of the loss. */
#include "engine.h"

#include <string.h>

bool tn_engine_teaches_empty(const tn_engine *e)
{
    return !strcmp(e->s->training.invisible, "negative");
}

double tn_engine_counted(const tn_engine *e, const float *labels, int n)
{
    const bool empty = tn_engine_teaches_empty(e);
    int counted = 0;
    for (int i = 0; i < n * e->model->heats; i++) counted += labels[3 * i + 2] > 0 || (empty && labels[3 * i + 2] >= 0);
    return counted;
}

size_t tn_engine_image_bytes(const tn_engine *e)
{
    return 3 * (size_t)e->model->frames * (size_t)e->image_w * (size_t)e->image_h;
}

size_t tn_engine_heat_size(const tn_engine *e)
{
    return (size_t)e->model->heats * (size_t)e->model->heat_w * (size_t)e->model->heat_h;
}

int tn_engine_frames(const tn_settings *s)
{
    return strcmp(s->model.frames, "concat") ? 1 : s->data.sequence_length;
}

static tn_sequence sequence_of(const tn_settings *s, bool training)
{
    const int frames = tn_engine_frames(s);
    const bool all = !strcmp(s->model.heatmaps, "all");
    return (tn_sequence){frames, training ? s->data.sequence_stride : all ? frames : 1, all, !training};
}

int tn_samples_read(tn_dataset *d, const tn_settings *s, bool train, bool training, const tn_log *log, tn_error *err)
{
    const char *what = train ? "train" : "val";
    const tn_strs *games = train ? &s->data.train_games : &s->data.val_games;
    const tn_sequence q = sequence_of(s, training);
    TN_TRY(tn_dataset_read(d, s->data.root, games, what, s->training.strict_labels, log, err));
    int rc = training ? tn_dataset_check_ball(d, what, err) : 0;
    if (!rc) rc = tn_dataset_window(d, &q, what, log, err);
    if (rc) tn_dataset_free(d);
    return rc;
}

tn_prep tn_engine_prep(const tn_engine *e, bool training)
{
    const tn_settings *s = e->s;
    tn_prep p = {.width = e->image_w,
                 .height = e->image_h,
                 .heat_w = e->model->heat_w,
                 .heat_h = e->model->heat_h,
                 .seed = (uint64_t)s->training.seed};
    if (!training) return p;
    p.flip_prob = s->data.flip_prob;
    if (s->data.crop.set && s->data.crop.least < 1) p.crop[0] = s->data.crop.least, p.crop[1] = s->data.crop.most;
    p.jitter[TN_BRIGHTNESS] = s->data.jitter.brightness;
    p.jitter[TN_CONTRAST] = s->data.jitter.contrast;
    p.jitter[TN_SATURATION] = s->data.jitter.saturation;
    p.jitter[TN_HUE] = s->data.jitter.hue;
    return p;
}
