#include "adapter_use.h"
#include "files.h"
#include "metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_picture(const char *name)
{
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    size_t n = strlen(name);
    for (size_t i = 0; i < TN_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        if (n > k && !strcasecmp(name + n - k, ends[i])) return true;
    }
    return false;
}

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
            char *path = is_picture(names.v[k]) ? tn_path(p->images[i], names.v[k]) : NULL;
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

static int save_heat(const tn_engine *e, const float *heat, const char *path, tn_error *err)
{
    const int w = e->model->heat_w, h = e->model->heat_h;
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

static int save_pictures(const tn_engine *e, tn_image *im, const float *heat, const tn_prediction *p, const char *dir,
                         tn_error *err)
{
    static const uint8_t ring[] = {255, 40, 220};
    char *a = picture_name(dir, p->image, "_heatmap"), *b = picture_name(dir, p->image, "_overlay");
    int rc = a && b ? save_heat(e, heat, a, err) : tn_oom(err);
    if (!rc) {
        tn_draw_heat(im, heat, e->model->heat_w, e->model->heat_h);
        tn_draw_ring(im, p->x + 0.5, p->y + 0.5, fmax(6, im->w / 60.0), ring);
        rc = tn_image_save_png(im, b, err);
    }
    free(a);
    free(b);
    return rc;
}

/* With several adapters each one's pictures have a folder of its name. */
static int save_in(const tn_engine *e, tn_image *im, const float *heat, const tn_prediction *p, const char *outdir,
                   const char *adapter, tn_error *err)
{
    if (!adapter) return save_pictures(e, im, heat, p, outdir, err);
    const size_t n = strlen(adapter);
    size_t end = n;
    while (end > 1 && adapter[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && adapter[begin - 1] != '/') begin--;
    char *dir = tn_strf("%s/%.*s", outdir, (int)(end - begin), adapter + begin);
    int rc = dir ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc) rc = save_pictures(e, im, heat, p, dir, err);
    free(dir);
    return rc;
}

static int forward(tn_engine *e, const tn_image *im, float *heat, tn_error *err)
{
    tn_image small;
    tn_exec *x;
    tn_pass pass = tn_engine_eval_pass(e, 1, false);
    TN_TRY(tn_session_get(&x, e->session, &pass, err));
    TN_TRY(tn_image_resize(&small, im, e->image_w, e->image_h, err));
    int rc = tn_session_upload(e->session, x, x->g.pixels, small.rgb, err);
    tn_image_free(&small);
    TN_TRY(rc);
    TN_TRY(tn_session_run(e->session, x, err));
    return tn_session_download(e->session, x, x->g.heat, heat, err);
}

static int one(tn_engine *e, const char *image, const tn_predict_options *o, const char *adapter, float *heat, tn_prediction *p,
               tn_error *err)
{
    tn_image im;
    const int hw = e->model->heat_w, hh = e->model->heat_h;
    TN_TRY(tn_image_load(&im, image, err));
    int rc = forward(e, &im, heat, err);
    if (!rc) {
        const bool focal = !strcmp(e->s->training.loss, "focal");
        for (int i = 0; focal && i < hw * hh; i++) heat[i] = 1 / (1 + expf(-heat[i]));
        *p = (tn_prediction){.image = image};
        tn_heat_peak(heat, hw, hh, true, &p->x, &p->y, &p->confidence);
        p->x *= (double)im.w / hw;
        p->y *= (double)im.h / hh;
        p->confidence = fmin(fmax(p->confidence, 0), 1);
        if (o->outdir) rc = save_in(e, &im, heat, p, o->outdir, adapter, err);
    }
    tn_image_free(&im);
    return rc;
}

typedef struct {
    tn_engine *e;
    const tn_predict_options *p;
    const tn_strs *images;
    float *heat;
    tn_text csv;
    int done, total;
} task;

/* Every image with the weights that are in place. */
static int all_images(task *t, const char *adapter, tn_error *err)
{
    for (int i = 0; i < t->images->n; i++) {
        tn_prediction r;
        TN_TRY(one(t->e, t->images->v[i], t->p, adapter, t->heat, &r, err));
        r.adapter = adapter;
        tn_text_addf(&t->csv, "%s,%.2f,%.2f,%.4f", r.image, r.x, r.y, r.confidence);
        tn_text_addf(&t->csv, adapter ? ",%s\n" : "\n", adapter);
        if (t->p->each && t->p->each(t->p->user, &r, ++t->done, t->total)) return tn_fail(err, TN_ERR_CANCELLED, "stopped");
    }
    return 0;
}

static int run(task *t, tn_adapter *const *adapters, int n, const tn_run_options *o, tn_error *err)
{
    const tn_engine *e = t->e;
    t->heat = malloc(sizeof *t->heat * (size_t)e->model->heat_w * (size_t)e->model->heat_h);
    if (!t->heat) return tn_oom(err);
    t->total = t->images->n * TN_MAX(n, 1);
    tn_text_addf(&t->csv, n ? "image,x,y,confidence,adapter\n" : "image,x,y,confidence\n");
    if (!n) TN_TRY(all_images(t, NULL, err));
    for (int i = 0; i < n; i++) {
        TN_TRY(tn_adapters_use(adapters[i], t->e, o, err));
        TN_TRY(all_images(t, adapters[i]->dir, err));
    }
    if (!t->p->csv) return 0;
    return t->csv.oom ? tn_oom(err) : tn_write_file(t->p->csv, t->csv.s, t->csv.len, err);
}

int tn_predict(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err)
{
    tn_strs images = {0};
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    task t = {.p = p, .images = &images};
    int n = 0, rc = collect(&images, p, err);
    if (!rc && p->outdir) rc = tn_check_writable_dir(p->outdir, err);
    if (!rc) rc = tn_adapters_engine(&t.e, adapters, &n, tn_config_settings(c), o, err);
    if (!rc) rc = run(&t, adapters, n, o, err);
    for (int i = 0; i < n; i++) tn_adapter_close(adapters[i]);
    free(t.heat);
    tn_text_free(&t.csv);
    tn_strs_free(&images);
    tn_engine_close(t.e);
    return rc;
}
