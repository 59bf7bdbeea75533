/* Pictures in, a table and pictures out. */
#include "adapter_use.h"
#include "collect.h"
#include "csv.h"
#include "entry.h"
#include "files.h"
#include "log.h"
#include "pictures.h"
#include "table.h"
#include "video.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD = 5 }; /* pictures that cannot be read are told one by one */

typedef struct {
    const tn_predict_options *p;
    const tn_run_options *o;
    tn_strs images;
    tn_pictures pictures;
    tn_model_handle *m;
    tn_table table;
    float thresholds[TN_MAX_ADAPTERS];
    bool thresholded; /* there is one: the table says what is visible */
    int at, adapter;  /* the next image; the adapter in place, or -1 */
    int before;       /* the image that was read last; -1: none was */
    int done, total;
    int damaged; /* pictures that could not be read; why the first could not */
    tn_error first;
} predict_task;

/* Pictures of one folder that follow each other are a clip's. */
static bool begins_clip(const predict_task *t, const char *image)
{
    const char *last = t->before < 0 ? NULL : t->images.v[t->before], *slash = strrchr(image, '/');
    const char *other = last ? strrchr(last, '/') : NULL;
    const ptrdiff_t here = slash ? slash - image : -1, there = other ? other - last : -1;
    return !last || here != there || (here > 0 && memcmp(image, last, (size_t)here));
}

/* A picture that cannot be read is set aside, as damage within a video is. */
static int predict_load(predict_task *t, tn_image *im, const char *image, bool *read, tn_error *err)
{
    const int rc = tn_image_load(im, image, err);
    *read = !rc;
    if (!rc || rc == TN_ERR_MEMORY) return rc;
    if (!t->damaged++) t->first = *err;
    if (t->damaged <= TOLD) tn_logf(t->o->log, TN_LOG_WARN, "%s; it is left out", err->message);
    return 0;
}

static int predict_next(void *user, tn_shot *s, bool *end, tn_error *err)
{
    predict_task *t = user;
    for (bool read = false; !read; t->done += !read) {
        if (t->at == t->images.n) return *end = true, 0;
        s->at = (double)(s->index = t->at++);
        const char *image = t->images.v[s->index];
        TN_TRY(tn_watch_tell(tn_handle_watch(t->m), TN_PHASE_PREDICTING, image, t->done, t->total, err));
        s->first = begins_clip(t, image);
        TN_TRY(predict_load(t, &s->im, image, &read, err));
        if (read) t->before = (int)s->index;
    }
    return 0;
}

/* No ball is 0, 0 as TrackNetV3's tables have it. */
static int predict_row(const predict_task *t, const tn_prediction *p, tn_error *err)
{
    tn_text row = {0};
    tn_csv_add(&row, p->image);
    if (t->thresholded) tn_text_addf(&row, ",%d", p->visible);
    tn_text_addf(&row, ",%.2f,%.2f,%.4f", p->visible ? p->x : 0, p->visible ? p->y : 0, p->confidence);
    if (t->p->smooth) tn_text_addf(&row, ",%d", p->repaired);
    if (t->o->n_adapters > 1) {
        tn_text_add(&row, ",", 1);
        tn_csv_add(&row, p->adapter);
    }
    tn_text_add(&row, "\n", 1);
    return tn_table_row(&t->table, &row, err);
}

static int predict_answer(void *user, tn_shot *s, const tn_sight *a, tn_error *err)
{
    predict_task *t = user;
    const tn_prediction r = {.image = t->images.v[s->index],
                             .x = a->ball.x,
                             .y = a->ball.y,
                             .confidence = a->ball.confidence,
                             .adapter = t->adapter < 0 ? NULL : t->o->adapters[t->adapter],
                             .visible = a->visible,
                             .repaired = a->repaired};
    if (t->p->outdir) TN_TRY(tn_pictures_save(&t->pictures, t->adapter, s, a, err));
    TN_TRY(predict_row(t, &r, err));
    t->done++;
    if (t->p->each && TN_CALLBACK(t->p->each(t->p->user, &r, t->done, t->total))) return tn_cancelled(TN_PHASE_PREDICTING, err);
    return 0;
}

/* Every image with the weights that are in place. */
static int predict_all_images(predict_task *t, int adapter, tn_error *err)
{
    const tn_flow flow = {.m = t->m,
                          .batch = TN_MIN(TN_MAX(t->p->batch, 1), t->images.n),
                          .threshold = t->thresholds[TN_MAX(adapter, 0)],
                          .smooth = t->p->smooth,
                          .max_gap = t->p->max_gap,
                          .pictures = t->p->outdir != NULL,
                          .next = predict_next,
                          .answer = predict_answer,
                          .user = t};
    t->at = 0;
    t->before = -1;
    t->adapter = adapter;
    return tn_flow_run(&flow, err);
}

/* Nothing read at all is the first one's error. */
static int predict_end(const predict_task *t, tn_error *err)
{
    if (!t->damaged) return 0;
    if (t->damaged == t->total) return *err = t->first, err->status;
    tn_logf(t->o->log, TN_LOG_WARN, "%d of %d pictures could not be read", t->damaged, t->total);
    return 0;
}

static int predict_run(predict_task *t, tn_error *err)
{
    tn_model_info info = TN_MODEL_INFO_INIT;
    TN_TRY(tn_model_describe(t->m, &info, err));
    t->pictures.heat_width = info.heat_width;
    t->pictures.heat_height = info.heat_height;
    t->total = t->images.n * TN_MAX(t->o->n_adapters, 1);
    char header[96];
    snprintf(header, sizeof header, "image%s,x,y,confidence%s%s\n", t->thresholded ? ",visibility" : "",
             t->p->smooth ? ",repaired" : "", t->o->n_adapters > 1 ? ",adapter" : "");
    TN_TRY(tn_table_open(&t->table, t->p->csv, header, err));
    if (!t->o->n_adapters) TN_TRY(predict_all_images(t, -1, err));
    for (int i = 0; i < t->o->n_adapters; i++) {
        TN_TRY(tn_model_use_adapter(t->m, i, err));
        TN_TRY(predict_all_images(t, i, err));
    }
    return predict_end(t, err);
}

static int predict_check(const tn_predict_options *p, tn_error *err)
{
    TN_TRY(tn_struct(p, TN_PREDICT_OPTIONS_VERSION, "tn_predict_options", err));
    if (p->batch < 0) return tn_fail(err, TN_ERR_ARGUMENT, "a batch of %d frames", p->batch);
    if (p->max_gap < 0 || p->max_gap > TN_PREDICT_LONGEST_GAP)
        return tn_fail(err, TN_ERR_ARGUMENT, "gaps of %d frames cannot be filled: 0 to %d can", p->max_gap, TN_PREDICT_LONGEST_GAP);
    if (p->n_images) TN_TRY(tn_required(p->images, "tn_predict_options.images", err));
    for (int i = 0; i < p->n_images; i++) TN_TRY(tn_required(p->images[i], "an entry of tn_predict_options.images", err));
    return 0;
}

static int predict_thresholds(predict_task *t, tn_error *err)
{
    const int n = TN_MIN(TN_MAX(t->o->n_adapters, 1), TN_MAX_ADAPTERS);
    t->thresholded = t->o->threshold || t->p->smooth; /* an outlier is no ball */
    for (int i = 0; i < n; i++) {
        TN_TRY(tn_run_threshold(&t->thresholds[i], t->o, t->o->n_adapters ? t->o->adapters[i] : NULL, err));
        t->thresholded |= t->thresholds[i] > 0;
    }
    return 0;
}

static int predict_apart(const predict_task *t, tn_error *err)
{
    for (int i = 0; t->p->csv && i < t->images.n; i++)
        if (tn_same_file(t->p->csv, t->images.v[i]))
            return tn_fail(err, TN_ERR_ARGUMENT, "'%s' would be written over: name another file for the table", t->images.v[i]);
    return tn_check_table(t->p->csv, err);
}

int tn_predict(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_predict's configuration", err));
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(predict_check(p, err));
    if (p->video) return tn_predict_video(c, o, p, err);
    predict_task t = {.p = p, .o = o};
    int rc = tn_collect_images(&t.images, p, o->log, err);
    if (!rc) rc = predict_thresholds(&t, err);
    if (!rc) rc = predict_apart(&t, err);
    if (!rc) rc = tn_pictures_begin(&t.pictures, p->outdir, &t.images, o, err);
    if (!rc) rc = tn_model_open(&t.m, c, o, err);
    if (!rc) rc = predict_run(&t, err);
    tn_pictures_free(&t.pictures);
    const int closed = tn_table_close(&t.table, rc ? &(tn_error){0} : err);
    if (!rc) rc = closed;
    tn_strs_free(&t.images);
    tn_model_close(t.m);
    return rc;
}
