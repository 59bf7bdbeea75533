#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

/** A norm's backward: what it reads and leaves, and on the host. */
typedef struct {
    const tn_norm2d *n;
    const tn_ref_norm *ref;
    tn_tensor *dy, *dx, *dg, *db;
    float *hdy, *hdg, *hdb;
} norm2d_grads;

/* y, as it was before (u), and then a function of that, with nothing, u or the slope there kept. */
static int norm2d_with_function(tn_trial *t, const tn_norm2d *n, tn_tensor *y, const float *u)
{
    const size_t count = tn_tensor_count(y);
    tn_norm_end end = {.fn = t->size == 1 ? TN_RELU : TN_GELU};
    float *want = tn_trial_host(t, count);
    tn_tensor *kept;
    TN_TRY(tn_trial_out(t, y->dtype, y->rows, y->cols, &kept));
    if (!want) return tn_oom(ERR);
    for (int k = 0; k < 3; k++) {
        end.kept = k ? kept : NULL, end.slope = k == 2;
        TN_TRY(tn_trial_poison(t, y));
        TN_TRY(tn_trial_poison(t, kept));
        TN_TRY(tn_norm2d_apply(t->c, n, &end, y, ERR));
        for (size_t i = 0; i < count; i++) want[i] = (float)tn_ref_act((int)end.fn, u[i]);
        TN_TRY(tn_trial_compare(t, y, want));
        for (size_t i = 0; k == 2 && i < count; i++) want[i] = (float)tn_ref_act_slope((int)end.fn, u[i]);
        if (k) TN_TRY(tn_trial_compare(t, kept, k == 1 ? u : want));
    }
    return 0;
}

/* The norm's backward from the gradient hda of such a function of it, u being the norm. */
static int norm2d_back_of_function(tn_trial *t, const norm2d_grads *d, const float *u)
{
    const size_t count = tn_tensor_count(d->dy);
    const tn_fn fn = t->size == 1 ? TN_RELU : TN_GELU;
    float *du = tn_trial_host(t, count), *want = tn_trial_host(t, count);
    if (!du || !want) return tn_oom(ERR);
    for (size_t i = 0; i < count; i++) du[i] = d->hdy[i] * (float)tn_ref_act_slope((int)fn, u[i]);
    TN_TRY(tn_norm2d_backward(t->c, d->n, &fn, d->dy, d->dx, d->dg, d->db, ERR));
    tn_ref_norm2d_backward(d->ref, du, want, d->hdg, d->hdb);
    TN_TRY(tn_trial_compare(t, d->dx, want));
    TN_TRY(tn_trial_compare_as(t, d->dg, d->hdg, ACT));
    return tn_trial_compare_as(t, d->db, d->hdb, ACT);
}

/* ends: with a function. */
static int norm2d_one(tn_trial *t, bool batch_norm, bool ends)
{
    static const int sizes[3][4] = {{2, 3, 5, 6}, {3, 7, 5, 32}, {2, 29, 31, 80}}; /* batch, h, w, c */
    const int *z = sizes[t->size], R = z[0] * z[1] * z[2], C = z[3];
    const int unit = batch_norm ? R : z[1] * z[2], G = batch_norm ? C : C % 16 ? 2 : 16;
    tn_tensor *x, *g, *b, *dy, *y, *st, *dx, *dg, *db;
    float *hx, *hg, *hb, *hdy, *hdg, *hdb, *want = tn_trial_host(t, (size_t)R * (size_t)C);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &g, &hg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &b, &hb));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &dg, &hdg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &db, &hdb));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, ACT, R, C, &dx));
    TN_TRY(tn_trial_out(t, TN_F32, R / unit * G, 2, &st));
    if (!want) return tn_oom(ERR);
    const tn_norm2d n = {x, st, g, b, unit, G};
    const tn_ref_norm ref = {hx, hg, hb, 1e-5f, R, C, unit, G};
    TN_TRY(tn_norm2d_stats(t->c, x, unit, G, 1e-5f, st, ERR));
    TN_TRY(tn_norm2d_apply(t->c, &n, NULL, y, ERR));
    tn_ref_norm2d(&ref, want);
    TN_TRY(tn_trial_compare(t, y, want));
    if (ends) {
        TN_TRY(norm2d_with_function(t, &n, y, want));
        return norm2d_back_of_function(t, &(norm2d_grads){&n, &ref, dy, dx, dg, db, hdy, hdg, hdb}, want);
    }
    tn_tensor frozen = {0};
    TN_TRY(tn_norm2d_backward(t->c, &n, NULL, dy, dx, dg, db, ERR));
    tn_ref_norm2d_backward(&ref, hdy, want, hdg, hdb);
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_poison(t, dx));
    TN_TRY(tn_norm2d_backward(t->c, &n, NULL, dy, dx, &frozen, &frozen, ERR));
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare(t, dg, hdg));
    return tn_trial_compare(t, db, hdb);
}

static int groupnorm(tn_trial *t)
{
    return norm2d_one(t, false, false);
}

/* A case of its own: an activation's program is wanted as well. */
static int norm_ends(tn_trial *t)
{
    return norm2d_one(t, false, true);
}

/* Makes a channel's norm so large that its activation is the norm itself, or nothing. */
static int far_out(tn_trial *t, const tn_tensor *gamma, float *values)
{
    values[gamma->cols - 1] = 60;
    return tn_trial_given(t, gamma, values);
}

/* A few outputs of what the norm ends with, forward and backward. The activation is as good as its input's type (act.h). */
static int norm_few_one(tn_trial *t, bool far)
{
    static const int sizes[3][5] = {{2, 3, 5, 6, 1}, {3, 7, 5, 32, 3}, {2, 29, 31, 80, 1}}; /* batch, h, w, c, outputs */
    const int *z = sizes[t->size], unit = z[1] * z[2], R = z[0] * unit, C = z[3], O = z[4], G = C % 16 ? 2 : 16;
    const tn_fn fn = t->size == 1 ? TN_RELU : TN_GELU;
    tn_tensor *x, *g, *b, *w, *dy, *y, *st, *dx, *dg, *db, *dw;
    float *hx, *hg, *hb, *hw, *hdy, *hdg, *hdb, *want = tn_trial_host(t, (size_t)R * (size_t)C);
    float *hdw = tn_trial_host(t, (size_t)O * ((size_t)C + 1));
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &g, &hg));
    if (far) TN_TRY(far_out(t, g, hg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &b, &hb));
    TN_TRY(tn_trial_in(t, TN_F32, O, C + 1, &w, &hw));
    TN_TRY(tn_trial_in(t, TN_F32, R, O, &dy, &hdy));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &dg, &hdg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &db, &hdb));
    TN_TRY(tn_trial_out(t, TN_F32, R, O, &y));
    TN_TRY(tn_trial_out(t, TN_F32, O, C + 1, &dw));
    TN_TRY(tn_trial_out(t, ACT, R, C, &dx));
    TN_TRY(tn_trial_out(t, TN_F32, R / unit * G, 2, &st));
    if (!want || !hdw) return tn_oom(ERR);
    memset(hdw, 0, sizeof *hdw * (size_t)O * ((size_t)C + 1));
    const tn_norm_few few = {{x, st, g, b, unit, G}, fn, w};
    const tn_ref_norm ref = {hx, hg, hb, 1e-5f, R, C, unit, G};
    TN_TRY(tn_norm2d_stats(t->c, x, unit, G, 1e-5f, st, ERR));
    TN_TRY(tn_norm_few_forward(t->c, &few, y, ERR));
    tn_ref_norm_few(&ref, (int)fn, hw, O, want);
    TN_TRY(tn_trial_compare_as(t, y, want, ACT));
    TN_TRY(tn_norm_few_backward(t->c, &few, &(tn_norm_few_grads){dy, dx, dw, dg, db}, ERR));
    tn_ref_norm_few_backward(&ref, (int)fn, hw, O, &(tn_ref_few_grads){hdy, want, hdw, hdg, hdb});
    tn_tensor frozen = {0};
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_poison(t, dx));
    TN_TRY(tn_norm_few_backward(t->c, &few, &(tn_norm_few_grads){dy, dx, &frozen, &frozen, &frozen}, ERR));
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare_as(t, dw, hdw, ACT));
    TN_TRY(tn_trial_compare_as(t, dg, hdg, ACT));
    return tn_trial_compare_as(t, db, hdb, ACT);
}

static int norm_few(tn_trial *t)
{
    const int mark = t->n;
    TN_TRY(norm_few_one(t, false));
    tn_trial_rewind(t, mark);
    return norm_few_one(t, true);
}

static int batchnorm(tn_trial *t)
{
    TN_TRY(norm2d_one(t, true, false));
    /* running statistics: torch's momentum 0.1 and unbiased variance; then back to (mean, rstd) */
    const int C = 5, n = 12;
    float st[2 * 5], mean[5], var[5], want_m[5], want_v[5], want_s[10];
    for (int c = 0; c < C; c++) {
        st[2 * c] = (float)tn_rng_normal(&t->rng);
        double v = 0.5 + tn_rng_uniform(&t->rng);
        st[2 * c + 1] = (float)(1 / sqrt(v + 1e-5));
        mean[c] = (float)tn_rng_normal(&t->rng), var[c] = 1;
        want_m[c] = mean[c] + 0.1f * (st[2 * c] - mean[c]);
        want_v[c] = (float)(1 + 0.1 * (v * n / (n - 1.0) - 1));
        want_s[2 * c] = want_m[c], want_s[2 * c + 1] = (float)(1 / sqrt(want_v[c] + 1e-5));
    }
    tn_tensor *s, *m, *v, *back;
    TN_TRY(tn_trial_put(t, TN_F32, C, 2, st, &s));
    TN_TRY(tn_trial_put(t, TN_F32, 1, C, mean, &m));
    TN_TRY(tn_trial_put(t, TN_F32, 1, C, var, &v));
    TN_TRY(tn_trial_out(t, TN_F32, C, 2, &back));
    TN_TRY(tn_batchnorm_track(t->c, s, m, v, 1e-5f, 0.1f, n, ERR));
    TN_TRY(tn_trial_compare(t, m, want_m));
    TN_TRY(tn_trial_compare(t, v, want_v));
    TN_TRY(tn_batchnorm_stats(t->c, m, v, 1e-5f, back, ERR));
    return tn_trial_compare(t, back, want_s);
}

/* A channel that is zero all over among them. */
static int response_norm(tn_trial *t)
{
    static const int sizes[3][4] = {{2, 3, 5, 6}, {3, 7, 5, 32}, {2, 29, 31, 80}}; /* batch, h, w, c */
    const int *z = sizes[t->size], unit = z[1] * z[2], R = z[0] * unit, C = z[3];
    tn_tensor *x, *g, *b, *dy, *y, *norms, *dx, *dg, *db;
    float *hx, *hg, *hb, *hdy, *hdg, *hdb, *want = tn_trial_host(t, (size_t)R * (size_t)C);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &g, &hg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &b, &hb));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &dg, &hdg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &db, &hdb));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, ACT, R, C, &dx));
    TN_TRY(tn_trial_out(t, TN_F32, 2 * z[0], C, &norms));
    if (!want) return tn_oom(ERR);
    for (int r = 0; r < unit; r++) hx[r * C + C / 2] = 0;
    TN_TRY(tn_trial_given(t, x, hx));
    const tn_grn n = {x, norms, g, b, unit, 1e-6f};
    const tn_ref_norm ref = {hx, hg, hb, 1e-6f, R, C, unit, 0};
    TN_TRY(tn_grn_forward(t->c, &n, y, ERR));
    tn_ref_grn(&ref, want);
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_grn_backward(t->c, &n, dy, dx, dg, db, ERR));
    tn_ref_grn_backward(&ref, hdy, want, hdg, hdb);
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare(t, dg, hdg));
    return tn_trial_compare(t, db, hdb);
}

typedef struct {
    int h, w, H, W, channels;
    bool widens; /* y is float32 however x is stored */
} resize_shape;

/* sum: the backward pass of a sum alone. */
static int bilinear_one(tn_trial *t, const resize_shape *s, bool sum)
{
    const int B = 2, h = s->h, w = s->w, H = s->H, W = s->W, C = s->channels;
    const float sy = (float)h / (float)H, sx = (float)w / (float)W;
    const tn_dtype to = s->widens ? TN_F32 : ACT;
    tn_tensor *x, *dy, *y, *dx, *more;
    float *hx, *hdy, *hmore, *want = tn_trial_host(t, (size_t)(B * TN_MAX(h * w, H * W) * C));
    TN_TRY(tn_trial_in(t, ACT, B * h * w, C, &x, &hx));
    TN_TRY(tn_trial_in(t, to, B * H * W, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, to, B * H * W, C, &y));
    TN_TRY(tn_trial_out(t, ACT, B * h * w, C, &dx));
    if (!want) return tn_oom(ERR);
    const tn_resize r = {{h, w}, {H, W}, sy, sx};
    const tn_ref_resize ref = {B, h, w, H, W, C, sy, sx};
    TN_TRY(tn_bilinear_forward(t->c, x, B, &r, y, ERR));
    tn_ref_bilinear(&ref, hx, want);
    TN_TRY(tn_trial_compare(t, y, want));
    if (!sum) {
        TN_TRY(tn_bilinear_backward(t->c, dy, NULL, B, &r, dx, ERR));
        tn_ref_bilinear_backward(&ref, hdy, want);
        return tn_trial_compare(t, dx, want);
    }
    TN_TRY(tn_trial_in(t, to, B * H * W, C, &more, &hmore));
    TN_TRY(tn_bilinear_backward(t->c, dy, more, B, &r, dx, ERR));
    for (int i = 0; i < B * H * W * C; i++) hdy[i] += hmore[i];
    tn_ref_bilinear_backward(&ref, hdy, want);
    return tn_trial_compare(t, dx, want);
}

/* Any factor, exactly 2 and 1; channels that fill 16 bytes, a half of them, or nothing even. */
static int bilinear_all(tn_trial *t, bool sum)
{
    const int h = 4 + t->size, w = 7 + t->size;
    const resize_shape shapes[] = {{h, w, 13, 9, 3, true},
                                   {h, w, 3, 20, 8, false},
                                   {h, w, 2 * h, 2 * w, 3, true},
                                   {h, w, 2 * h, 2 * w, 4, false},
                                   {3 * h, w, 6 * h, 2 * w, 16, false},
                                   {h, w, h, w, 1, true},
                                   {h, w, h, w, 12, false}};
    const int mark = t->n;
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        TN_TRY(bilinear_one(t, &shapes[i], sum));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

static int bilinear(tn_trial *t)
{
    return bilinear_all(t, false);
}

/* A case of its own: the sum's program may be wanted as well. */
static int bilinear_sum(tn_trial *t)
{
    return bilinear_all(t, true);
}

static int nearest_one(tn_trial *t, const resize_shape *s)
{
    const int B = 2, h = s->h, w = s->w, H = s->H, W = s->W, C = s->channels;
    tn_tensor *x, *z, *dy, *y, *dz;
    float *hx, *hz, *hdy, *want = tn_trial_host(t, (size_t)(B * TN_MAX(h * w, H * W) * C));
    TN_TRY(tn_trial_in(t, ACT, B * H * W, C, &x, &hx));
    TN_TRY(tn_trial_in(t, ACT, B * h * w, C, &z, &hz));
    TN_TRY(tn_trial_in(t, ACT, B * H * W, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, ACT, B * H * W, C, &y));
    TN_TRY(tn_trial_out(t, ACT, B * h * w, C, &dz));
    if (!want) return tn_oom(ERR);
    const tn_resize r = {{h, w}, {H, W}, (float)h / (float)H, (float)w / (float)W};
    const tn_ref_resize ref = {B, h, w, H, W, C, r.sy, r.sx};
    TN_TRY(tn_upsample_add(t->c, x, z, &r, y, ERR));
    tn_ref_upsample_add(&ref, hx, hz, want);
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_nearest_backward(t->c, dy, &r, dz, false, ERR));
    memset(want, 0, sizeof *want * (size_t)(B * h * w * C));
    tn_ref_nearest_backward(&ref, hdy, want);
    TN_TRY(tn_trial_compare(t, dz, want));
    TN_TRY(tn_nearest_backward(t->c, dy, &r, z, true, ERR));
    tn_ref_nearest_backward(&ref, hdy, hz);
    return tn_trial_compare(t, z, hz);
}

/* Sizes that are no multiples of each other (the float quotient's rounding decides at some), twice, the same, and towards fewer. */
static int nearest(tn_trial *t)
{
    const int h = 4 + t->size, w = 7 + t->size;
    const resize_shape shapes[] = {{h, w, 13, 25, 3, false}, {h, w, 2 * h, 2 * w, 8, false}, {h, w, 2 * h - 1, 2 * w + 1, 5, false},
                                   {h, w, h, w, 4, false},   {3 * h, w, h, 3, 16, false},    {29, 41, 58 + t->size, 107, 4, false}};
    const int mark = t->n;
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        TN_TRY(nearest_one(t, &shapes[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

static int patchify(tn_trial *t)
{
    const int B = 2, T = 1 + t->size % 3, p = 3 + t->size, H = 2 * p + p / 2, W = 3 * p + p - 1;
    tn_tensor *px, *cols;
    float *h, *want = tn_trial_host(t, (size_t)(B * T * 3 * H * W));
    TN_TRY(tn_trial_in(t, TN_F32, B * T * 3 * H, W, &px, &h));
    TN_TRY(tn_trial_out(t, ACT, B * 6, T * 3 * p * p, &cols));
    if (!want) return tn_oom(ERR);
    const tn_patches s = {H, W, p, false, T};
    TN_TRY(tn_patchify(t->c, px, &s, cols, ERR));
    tn_ref_patchify(&(tn_ref_patches){B, T, H, W, p}, h, want);
    return tn_trial_compare(t, cols, want);
}

/* Images that are below and at the right larger than whole patches. */
static int patchify_bytes_one(tn_trial *t, int T, int p, int below, int right, bool normalize)
{
    enum { B = 2, MAX_FRAMES = 3, MAX_PATCH = 16, MAX_BYTES = B * MAX_FRAMES * 3 * 3 * 4 * MAX_PATCH * MAX_PATCH };
    const int H = 2 * p + below, W = 3 * p + right, n = B * T * 3 * H * W;
    const tn_patches s = {H, W, p, normalize, T};
    tn_tensor *frames, *cols;
    uint8_t bytes[MAX_BYTES];
    float values[MAX_BYTES], *want = tn_trial_host(t, (size_t)n);
    for (int i = 0; i < n; i++) values[i] = bytes[i] = (uint8_t)tn_rng_below(&t->rng, 256);
    TN_TRY(tn_trial_put(t, TN_U8, B * T * H, 3 * W, values, &frames));
    TN_TRY(tn_trial_out(t, ACT, B * 6, T * 3 * p * p, &cols));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_patchify(t->c, frames, &s, cols, ERR));
    tn_ref_patchify_bytes(&(tn_ref_patches){B, T, H, W, p}, bytes, normalize, want);
    return tn_trial_compare(t, cols, want);
}

static int patchify_bytes(tn_trial *t)
{
    for (int normalize = 0; normalize < 2; normalize++) {
        const int T = 1 + (t->size + normalize) % 3;
        TN_TRY(patchify_bytes_one(t, T, 3 + t->size, 1, 2, normalize));
        TN_TRY(patchify_bytes_one(t, T % 3 + 1, t->size == 2 ? 16 : 8, 0, 0, normalize));
        TN_TRY(patchify_bytes_one(t, T, 8, 3, 0, normalize));
    }
    return 0;
}

static int tokens(tn_trial *t)
{
    static const int cols[3] = {10, 40, 48};
    const int B = 3, reg = 2, P = 5 + t->size, N = 1 + reg + P, D = cols[t->size], skip = 1 + reg;
    tn_tensor *patches, *cls, *regs, *pos, *x, *grid, *dcls;
    float *hp, *hc, *hr, *hpos, *hd, *want = tn_trial_host(t, (size_t)(B * N * D));
    TN_TRY(tn_trial_in(t, ACT, B * P, D, &patches, &hp));
    TN_TRY(tn_trial_in(t, TN_F32, 1, D, &cls, &hc));
    TN_TRY(tn_trial_in(t, TN_F32, reg, D, &regs, &hr));
    TN_TRY(tn_trial_in(t, TN_F32, 1 + P, D, &pos, &hpos));
    TN_TRY(tn_trial_in(t, TN_F32, reg, D, &dcls, &hd));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &x));
    TN_TRY(tn_trial_out(t, ACT, B * P, D, &grid));
    if (!want) return tn_oom(ERR);
    TN_TRY(tn_tokens_forward(t->c, &(tn_tokens){patches, cls, regs, pos, reg}, B, x, ERR));
    for (int i = 0; i < B * N * D; i++) {
        int n = i / D % N, c = i % D, b = i / D / N;
        want[i] = n == 0     ? hc[c] + hpos[c]
                  : n < skip ? hr[(n - 1) * D + c]
                             : hp[(b * P + n - skip) * D + c] + hpos[(n - reg) * D + c];
    }
    TN_TRY(tn_trial_compare(t, x, want));
    if (t->c->dry) return 0;
    TN_TRY(tn_tensor_get(t->c->dev, x, want, ERR)); /* as stored: what follows only moves values */
    TN_TRY(tn_token_grad(t->c, x, B, 1, reg, dcls, ERR));
    for (int i = 0; i < reg * D; i++)
        for (int b = 0; b < B; b++) hd[i] += want[(b * N + 1) * D + i];
    TN_TRY(tn_trial_compare(t, dcls, hd));
    TN_TRY(tn_grid_forward(t->c, x, B, skip, grid, ERR));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &x));
    TN_TRY(tn_grid_backward(t->c, grid, B, skip, x, ERR));
    for (int i = 0; i < B * N * D; i++)
        if (i / D % N < skip) want[i] = 0;
    return tn_trial_compare(t, x, want);
}

const tn_case tn_cases_spatial[] = {
    {"groupnorm", groupnorm, false, {NULL}},
    {"batchnorm", batchnorm, false, {NULL}},
    {"norm and activation", norm_ends, false, {NULL}},
    {"norm to few outputs", norm_few, false, {NULL}},
    {"global response norm", response_norm, false, {NULL}},
    {"bilinear resize", bilinear, false, {NULL}},
    {"bilinear resize of a sum", bilinear_sum, false, {NULL}},
    {"nearest resize", nearest, false, {NULL}},
    {"patchify", patchify, false, {NULL}},
    {"patchify of bytes", patchify_bytes, false, {NULL}},
    {"tokens and grid", tokens, false, {NULL}},
    {0},
};
