#include "prepare.h"
#include "numeric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- drawing ---- */

static tn_rng stream(const tn_prep *p, int epoch, long long place, const char *purpose)
{
    return tn_rng_named(p->seed + (uint64_t)epoch * 7919u + (uint64_t)place * 104729u, purpose);
}

static double between(tn_rng *r, double low, double high)
{
    return low + (high - low) * tn_rng_uniform(r);
}

static void draw_crop(tn_variation *v, const tn_prep *p, int epoch, long long place)
{
    v->x = v->y = 0, v->w = p->width, v->h = p->height;
    if (p->crop[0] <= 0) return;
    tn_rng r = stream(p, epoch, place, "crop");
    const double side = sqrt(between(&r, p->crop[0], p->crop[1]));
    v->w = TN_MAX(1, (int)lround(p->width * side)), v->h = TN_MAX(1, (int)lround(p->height * side));
    v->x = (int)tn_rng_below(&r, (uint32_t)(p->width - v->w + 1));
    v->y = (int)tn_rng_below(&r, (uint32_t)(p->height - v->h + 1));
}

/* In any order, since a step's result depends on those before it. */
static void draw_jitter(tn_variation *v, const tn_prep *p, int epoch, long long place)
{
    tn_rng r = stream(p, epoch, place, "jitter");
    for (int i = 0; i < TN_JITTER_STEPS; i++) {
        const double far = p->jitter[i];
        v->order[i] = (tn_jitter_step)i;
        v->factor[i] = i == TN_HUE ? between(&r, -far, far) : between(&r, fmax(1 - far, 0), 1 + far);
    }
    for (int i = TN_JITTER_STEPS - 1; i > 0; i--) {
        const int k = (int)tn_rng_below(&r, (uint32_t)i + 1);
        const tn_jitter_step swap = v->order[i];
        v->order[i] = v->order[k];
        v->order[k] = swap;
    }
}

tn_variation tn_vary(const tn_prep *p, int epoch, long long place)
{
    tn_variation v = {0};
    tn_rng r = stream(p, epoch, place, "flip");
    v.flip = p->flip_prob > 0 && tn_rng_uniform(&r) < p->flip_prob;
    draw_crop(&v, p, epoch, place);
    draw_jitter(&v, p, epoch, place);
    return v;
}

bool tn_prep_varies(const tn_prep *p)
{
    bool varies = p->flip_prob > 0 || p->crop[0] > 0;
    for (int i = 0; i < TN_JITTER_STEPS; i++) varies |= p->jitter[i] > 0;
    return varies;
}

/* ---- doing ---- */

void tn_vary_room_free(tn_vary_room *r)
{
    tn_resizer_free(&r->resizer);
    free(r->whole);
    *r = (tn_vary_room){0};
}

static int cut(tn_image *im, const tn_variation *v, tn_vary_room *room, tn_error *err)
{
    const size_t row = 3 * (size_t)im->w;
    if (v->w == im->w && v->h == im->h) return 0;
    if (!room->whole && !(room->whole = malloc(row * (size_t)im->h))) return tn_oom(err);
    memcpy(room->whole, im->rgb, row * (size_t)im->h);
    const uint8_t *from = room->whole + (size_t)v->y * row + 3 * (size_t)v->x;
    TN_TRY(tn_resizer_begin(&room->resizer, v->w, v->h, im->w, im->h, im->rgb, err));
    for (int y = 0; y < v->h; y += TN_RESIZE_ROWS)
        tn_resizer_rows(&room->resizer, from + (size_t)y * row, row, TN_MIN((int)TN_RESIZE_ROWS, v->h - y));
    return 0;
}

int tn_vary_frame(tn_image *im, const tn_prep *p, const tn_variation *v, tn_vary_room *room, tn_error *err)
{
    TN_TRY(cut(im, v, room, err));
    if (v->flip) tn_image_flip(im);
    for (int i = 0; i < TN_JITTER_STEPS; i++)
        if (p->jitter[v->order[i]] > 0) tn_jitter_frame(im, v->order[i], v->factor[v->order[i]]);
    return 0;
}

void tn_vary_label(float label[3], const tn_prep *p, const tn_variation *v, const tn_frame *f, int w, int h)
{
    double x = (f->x * p->width / w - v->x) * p->width / v->w, y = (f->y * p->height / h - v->y) * p->height / v->h;
    const bool cropped = v->w != p->width || v->h != p->height;
    const bool inside = !cropped || (x >= 0 && y >= 0 && x < p->width && y < p->height);
    if (v->flip) x = p->width - 1 - x;
    label[0] = (float)(x * p->heat_w / p->width);
    label[1] = (float)(y * p->heat_h / p->height);
    label[2] = f->visible && inside ? 1 : 0;
}

void tn_sample_labels(float *labels, const tn_dataset *d, int i, const tn_prep *p, int epoch, long long place)
{
    const tn_variation v = tn_vary(p, epoch, place);
    for (int k = 0; k < tn_sample_answers(d); k++) {
        const int frame = tn_sample_label(d, i, k);
        float *label = labels + 3 * (size_t)k;
        label[0] = label[1] = 0, label[2] = -1;
        if (frame >= 0) tn_vary_label(label, p, &v, &d->f[frame], d->f[frame].w, d->f[frame].h);
    }
}
