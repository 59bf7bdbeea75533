#include "pictures.h"
#include "apart.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Adapters by the names of their folders; "." and ".." by what they are. */
static int pictures_folders(tn_strs *out, const tn_run_options *o, tn_error *err)
{
    tn_strs paths = {0};
    int rc = 0;
    for (int i = 0; !rc && i < o->n_adapters; i++) {
        const char *s = o->adapters[i], *last = s + strlen(s);
        while (last > s && strchr("./", last[-1])) last--;
        char *real = *last && (last == s || *last == '/') ? realpath(s, NULL) : NULL;
        if (!tn_strs_add(&paths, real ? real : s)) rc = tn_oom(err);
        free(real);
    }
    if (!rc && paths.n) rc = tn_names_apart(out, (const char *const *)paths.v, paths.n, false, err);
    tn_strs_free(&paths);
    return rc;
}

int tn_pictures_begin(tn_pictures *out, const char *outdir, const tn_strs *images, const tn_run_options *o, tn_error *err)
{
    *out = (tn_pictures){.outdir = outdir};
    if (!outdir) return 0;
    TN_TRY(tn_check_writable_dir(outdir, "--outdir", err));
    TN_TRY(pictures_folders(&out->folders, o, err));
    for (int i = 0; i < out->folders.n; i++) {
        char *dir = tn_path(outdir, out->folders.v[i]);
        int rc = dir ? tn_mkdirs(dir, err) : tn_oom(err);
        free(dir);
        TN_TRY(rc);
    }
    return tn_names_apart(&out->names, (const char *const *)images->v, images->n, true, err);
}

void tn_pictures_free(tn_pictures *p)
{
    tn_strs_free(&p->names);
    tn_strs_free(&p->folders);
}

static int pictures_heat(const tn_pictures *p, const float *heat, const char *path, tn_error *err)
{
    tn_image im;
    TN_TRY(tn_image_new(&im, p->heat_width, p->heat_height, err));
    for (int i = 0; i < im.w * im.h; i++) {
        const double v = fmin(fmax(heat[i], 0), 1);
        im.rgb[3 * i] = im.rgb[3 * i + 1] = im.rgb[3 * i + 2] = (uint8_t)(255 * v + 0.5);
    }
    int rc = tn_image_save_png(&im, path, err);
    tn_image_free(&im);
    return rc;
}

/* The heatmap over the frame and, where a ball is visible, a ring round it. */
static void pictures_overlay(tn_image *im, const tn_sight *a, int heat_width, int heat_height)
{
    static const uint8_t ring[] = {255, 40, 220};
    tn_draw_heat(im, a->heat, heat_width, heat_height);
    if (a->visible) tn_draw_ring(im, a->ball.x + 0.5, a->ball.y + 0.5, fmax(6, im->w / 60.0), ring);
}

int tn_pictures_save(const tn_pictures *p, int adapter, tn_shot *s, const tn_sight *a, tn_error *err)
{
    const char *folder = adapter < 0 ? "." : p->folders.v[adapter], *name = p->names.v[s->index];
    char *heat = tn_strf("%s/%s/%s_heatmap.png", p->outdir, folder, name);
    char *over = tn_strf("%s/%s/%s_overlay.png", p->outdir, folder, name);
    int rc = heat && over ? pictures_heat(p, a->heat, heat, err) : tn_oom(err);
    if (!rc) {
        pictures_overlay(&s->im, a, p->heat_width, p->heat_height);
        rc = tn_image_save_png(&s->im, over, err);
    }
    free(heat);
    free(over);
    return rc;
}
