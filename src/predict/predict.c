#include "entry.h"
#include "files.h"
#include "handle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Files as given; a folder gives its pictures in order. */
static int collect(tn_strs *out, const tn_predict_options *p, tn_error *err)
{
    for (int i = 0; i < p->n_images; i++) {
        if (!tn_is_dir(p->images[i])) {
            if (!tn_is_file(p->images[i])) return tn_fail(err, TN_ERR_IO, "there is no frame or folder '%s'", p->images[i]);
            if (!tn_strs_add(out, p->images[i])) return tn_oom(err);
            continue;
        }
        tn_strs names = {0};
        int rc = tn_list_dir(&names, p->images[i], err);
        for (int k = 0; !rc && k < names.n; k++) {
            char *path = tn_image_named(names.v[k]) ? tn_path(p->images[i], names.v[k]) : NULL;
            if (path && !tn_strs_add(out, path)) rc = tn_oom(err);
            free(path);
        }
        tn_strs_free(&names);
        TN_TRY(rc);
    }
    return out->n ? 0 : tn_fail(err, TN_ERR_IO, "no frames found: give .jpg or .png files, or a folder that holds some");
}

static char *picture_name(const char *dir, const char *image, const char *suffix)
{
    const char *base = strrchr(image, '/');
    base = base ? base + 1 : image;
    const char *dot = strrchr(base, '.');
    return tn_strf("%s/%.*s%s.png", dir, dot ? (int)(dot - base) : (int)strlen(base), base, suffix);
}

static int save_heat(const tn_model_info *m, const float *heat, const char *path, tn_error *err)
{
    const int w = m->heat_width, h = m->heat_height;
    tn_image im;
    TN_TRY(tn_image_new(&im, w, h, err));
    for (int i = 0; i < w * h; i++) {
        double v = fmin(fmax(heat[i], 0), 1);
        im.rgb[3 * i] = im.rgb[3 * i + 1] = im.rgb[3 * i + 2] = (uint8_t)(255 * v + 0.5);
    }
    int rc = tn_image_save_png(&im, path, err);
    tn_image_free(&im);
    return rc;
}

static int save_pictures(const tn_model_info *m, tn_image *im, const float *heat, const tn_prediction *p, const char *dir,
                         tn_error *err)
{
    static const uint8_t ring[] = {255, 40, 220};
    char *a = picture_name(dir, p->image, "_heatmap"), *b = picture_name(dir, p->image, "_overlay");
    int rc = a && b ? save_heat(m, heat, a, err) : tn_oom(err);
    if (!rc) {
        tn_draw_heat(im, heat, m->heat_width, m->heat_height);
        tn_draw_ring(im, p->x + 0.5, p->y + 0.5, fmax(6, im->w / 60.0), ring);
        rc = tn_image_save_png(im, b, err);
    }
    free(a);
    free(b);
    return rc;
}

/* With several adapters each one's pictures have a folder of its name. */
static int save_in(const tn_model_info *m, tn_image *im, const float *heat, const tn_prediction *p, const char *outdir,
                   const char *adapter, tn_error *err)
{
    if (!adapter) return save_pictures(m, im, heat, p, outdir, err);
    const size_t n = strlen(adapter);
    size_t end = n;
    while (end > 1 && adapter[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && adapter[begin - 1] != '/') begin--;
    char *dir = tn_strf("%s/%.*s", outdir, (int)(end - begin), adapter + begin);
    int rc = dir ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc) rc = save_pictures(m, im, heat, p, dir, err);
    free(dir);
    return rc;
}

typedef struct {
    tn_model_handle *m;
    tn_model_info info;
    const tn_predict_options *p;
    const tn_strs *images;
    float *heat;
    tn_text csv;
    int done, total;
} predict_task;

static int one(predict_task *t, const char *image, const char *adapter, tn_prediction *p, tn_error *err)
{
    tn_image im;
    tn_ball ball;
    TN_TRY(tn_watch_tell(tn_handle_watch(t->m), TN_PHASE_PREDICTING, image, t->done, t->total, err));
    TN_TRY(tn_image_load(&im, image, err));
    const tn_rgb frame = {im.rgb, im.w, im.h, 0};
    int rc = tn_model_predict(t->m, &frame, 1, &ball, t->heat, err);
    if (!rc) {
        *p = (tn_prediction){.image = image, .x = ball.x, .y = ball.y, .confidence = ball.confidence, .adapter = adapter};
        if (t->p->outdir) rc = save_in(&t->info, &im, t->heat, p, t->p->outdir, adapter, err);
    }
    tn_image_free(&im);
    return rc;
}

/* Every image with the weights that are in place. */
static int all_images(predict_task *t, const char *adapter, tn_error *err)
{
    for (int i = 0; i < t->images->n; i++) {
        tn_prediction r;
        TN_TRY(one(t, t->images->v[i], adapter, &r, err));
        tn_text_addf(&t->csv, "%s,%.2f,%.2f,%.4f", r.image, r.x, r.y, r.confidence);
        tn_text_addf(&t->csv, adapter ? ",%s\n" : "\n", adapter);
        t->done++;
        if (t->p->each && TN_CALLBACK(t->p->each(t->p->user, &r, t->done, t->total))) return tn_cancelled(TN_PHASE_PREDICTING, err);
    }
    return 0;
}

static int predict_run(predict_task *t, const tn_run_options *o, tn_error *err)
{
    TN_TRY(tn_model_describe(t->m, &t->info, err));
    t->heat = malloc(sizeof *t->heat * (size_t)t->info.heat_width * (size_t)t->info.heat_height);
    if (!t->heat) return tn_oom(err);
    t->total = t->images->n * TN_MAX(o->n_adapters, 1);
    tn_text_addf(&t->csv, o->n_adapters ? "image,x,y,confidence,adapter\n" : "image,x,y,confidence\n");
    if (!o->n_adapters) TN_TRY(all_images(t, NULL, err));
    for (int i = 0; i < o->n_adapters; i++) {
        TN_TRY(tn_model_use_adapter(t->m, i, err));
        TN_TRY(all_images(t, o->adapters[i], err));
    }
    if (!t->p->csv) return 0;
    return t->csv.oom ? tn_oom(err) : tn_write_file(t->p->csv, t->csv.s, t->csv.len, err);
}

static int check(const tn_predict_options *p, tn_error *err)
{
    TN_TRY(tn_struct(p, TN_PREDICT_OPTIONS_VERSION, "tn_predict_options", err));
    if (p->n_images) TN_TRY(tn_required(p->images, "tn_predict_options.images", err));
    for (int i = 0; i < p->n_images; i++) TN_TRY(tn_required(p->images[i], "an entry of tn_predict_options.images", err));
    return 0;
}

int tn_predict(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_predict's configuration", err));
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(check(p, err));
    tn_strs images = {0};
    predict_task t = {.p = p, .images = &images, .info = TN_MODEL_INFO_INIT};
    int rc = collect(&images, p, err);
    if (!rc && p->outdir) rc = tn_check_writable_dir(p->outdir, err);
    if (!rc) rc = tn_model_open(&t.m, c, o, err);
    if (!rc) rc = predict_run(&t, o, err);
    free(t.heat);
    tn_text_free(&t.csv);
    tn_strs_free(&images);
    tn_model_close(t.m);
    return rc;
}
