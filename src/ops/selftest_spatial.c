#include "args.h"
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

static int norm2d_one(tn_trial *t, bool batch_norm)
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
    TN_TRY(tn_norm2d_apply(t->c, &n, y, ERR));
    tn_ref_norm2d(&ref, want);
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_norm2d_backward(t->c, &n, dy, dx, dg, db, ERR));
    tn_ref_norm2d_backward(&ref, hdy, want, hdg, hdb);
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare(t, dg, hdg));
    return tn_trial_compare(t, db, hdb);
}

static int groupnorm(tn_trial *t)
{
    return norm2d_one(t, false);
}

static int batchnorm(tn_trial *t)
{
    TN_TRY(norm2d_one(t, true));
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

/* A convolution of B images of h x w from C to O channels. halves: the kernel is stored as the activations are, as a frozen one. */
typedef struct {
    int B, h, w, C, O, kernel, stride, pad, groups;
    bool bias, halves;
} conv_shape;

static tn_conv conv_of(const conv_shape *z)
{
    const tn_size2 in = {z->h, z->w},
                   out = {tn_conv_size(z->h, z->kernel, z->stride, z->pad), tn_conv_size(z->w, z->kernel, z->stride, z->pad)};
    return (tn_conv){z->B, in, out, z->kernel, z->stride, z->pad, z->groups};
}

/* Kernels are rounded as the products' operands are. */
static int conv_kernel(tn_trial *t, const conv_shape *z, int cols, tn_tensor **w, float **hw)
{
    if (z->halves) return tn_trial_in(t, ACT, z->O, cols, w, hw);
    TN_TRY(tn_trial_in(t, TN_F32, z->O, cols, w, hw));
    for (int i = 0; i < z->O * cols; i++) (*hw)[i] = tn_rounded((*hw)[i], ACT);
    return tn_trial_given(t, *w, *hw);
}

/* A convolution's tensors on the device and on the host. */
typedef struct {
    tn_conv s;
    tn_ref_conv ref;
    tn_tensor *x, *w, *b, *dy, *y, *dx, *dw, *db;
    float *hdy, *hdw, *hdb, *want;
} conv_trial;

static int conv_new(tn_trial *t, const conv_shape *z, conv_trial *v)
{
    const int X = z->B * z->h * z->w, C = z->C, O = z->O, K = C / z->groups * z->kernel * z->kernel;
    v->s = conv_of(z);
    const tn_size2 out = v->s.out;
    const int Y = z->B * out.h * out.w;
    float *hx, *hw, *hb;
    v->want = tn_trial_host(t, TN_MAX((size_t)X * (size_t)C, (size_t)Y * (size_t)O));
    TN_TRY(tn_trial_in(t, ACT, X, C, &v->x, &hx));
    TN_TRY(conv_kernel(t, z, K, &v->w, &hw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, O, &v->b, &hb));
    TN_TRY(tn_trial_in(t, ACT, Y, O, &v->dy, &v->hdy));
    TN_TRY(tn_trial_in(t, TN_F32, O, K, &v->dw, &v->hdw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, O, &v->db, &v->hdb));
    TN_TRY(tn_trial_out(t, ACT, Y, O, &v->y));
    TN_TRY(tn_trial_out(t, ACT, X, C, &v->dx));
    v->ref =
        (tn_ref_conv){hx, hw, z->bias ? hb : NULL, z->B, z->h, z->w, out.h, out.w, C, O, z->kernel, z->stride, z->pad, z->groups};
    return v->want ? 0 : tn_oom(ERR);
}

static int conv_forward(tn_trial *t, const conv_shape *z, conv_trial *v)
{
    TN_TRY(tn_conv_forward(t->c, &v->s, v->x, v->w, z->bias ? v->b : &(tn_tensor){0}, v->y, ERR));
    tn_ref_convolve(&v->ref, v->want);
    return tn_trial_compare(t, v->y, v->want);
}

/* The gradients asked for: all at once and each alone are different paths. */
static int conv_backward(tn_trial *t, const conv_shape *z, conv_trial *v, bool dx, bool dw)
{
    tn_tensor none = {0};
    const bool db = dw && z->bias;
    TN_TRY(tn_trial_poison(t, v->dx));
    const tn_conv_grads g = {dw ? v->x : &none, v->w, v->dy, dx ? v->dx : &none, dw ? v->dw : &none, db ? v->db : &none};
    TN_TRY(tn_conv_backward(t->c, &v->s, &g, ERR));
    tn_ref_convolve_backward(&v->ref, v->hdy, dx ? v->want : NULL, dw ? v->hdw : NULL, db ? v->hdb : NULL);
    if (dx) TN_TRY(tn_trial_compare(t, v->dx, v->want));
    TN_TRY(tn_trial_compare(t, v->dw, v->hdw));
    return tn_trial_compare(t, v->db, v->hdb);
}

static int conv_one(tn_trial *t, const conv_shape *z)
{
    conv_trial v;
    TN_TRY(conv_new(t, z, &v));
    TN_TRY(conv_forward(t, z, &v));
    TN_TRY(conv_backward(t, z, &v, true, true));
    TN_TRY(conv_backward(t, z, &v, true, false));
    return conv_backward(t, z, &v, false, true);
}

/* What of a depthwise convolution the trial is about. */
static int dwconv_one(tn_trial *t, const conv_shape *z)
{
    const tn_conv s = conv_of(z);
    const tn_tensor row = tn_view(NULL, TN_F32, 1, z->C), none = {0},
                    w = tn_view(NULL, z->halves ? ACT : TN_F32, z->C, z->kernel * z->kernel);
    const tn_tensor x = tn_view(NULL, ACT, z->B * z->h * z->w, z->C), y = tn_view(NULL, ACT, z->B * s.out.h * s.out.w, z->C);
    const tn_dwconv_args forward = {s, x, w, z->bias ? row : none, y, false, ACT}, back = {s, y, w, none, x, true, ACT};
    const tn_dwconv_grad_args grad = {s, x, y, w, none, w, z->bias ? row : none, ACT},
                              both = {s, x, y, w, x, w, z->bias ? row : none, ACT};
    const bool on[] = {tn_trial_wants(t, &tn_dwconv_op, &forward), tn_trial_wants(t, &tn_dwconv_grad_op, &both),
                       tn_trial_wants(t, &tn_dwconv_op, &back), tn_trial_wants(t, &tn_dwconv_grad_op, &grad)};
    conv_trial v;
    if (!on[0] && !on[1] && !on[2] && !on[3]) return 0;
    TN_TRY(conv_new(t, z, &v));
    if (on[0]) TN_TRY(conv_forward(t, z, &v));
    if (on[1]) TN_TRY(conv_backward(t, z, &v, true, true));
    if (on[2]) TN_TRY(conv_backward(t, z, &v, true, false));
    return on[3] ? conv_backward(t, z, &v, false, true) : 0;
}

static int conv_each(tn_trial *t, int (*one)(tn_trial *, const conv_shape *), const conv_shape *z, int n)
{
    const int mark = t->n;
    for (int i = 0; i < n; i++) {
        TN_TRY(one(t, &z[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

/* Like the one that is to be checked: of its kernel, on odd sizes. */
static int dwconv_alike(tn_trial *t)
{
    const bool grad = tn_trial_is_of(t, &tn_dwconv_grad_op);
    const tn_dwconv_args *a = grad ? NULL : t->like;
    const tn_dwconv_grad_args *g = grad ? t->like : NULL;
    const tn_conv s = grad ? g->s : a->s;
    const int like = grad ? g->x.cols : a->to.cols, C = like % 16 ? (t->size ? 136 : 35) : t->size ? 144 : 48;
    const conv_shape z = {2,
                          t->size ? 21 : 9,
                          t->size ? 75 : 10,
                          C,
                          C,
                          s.kernel,
                          s.stride,
                          s.pad,
                          C,
                          (grad ? g->db : a->bias).rows > 0,
                          (grad ? g->w : a->w).dtype != TN_F32};
    return dwconv_one(t, &z);
}

/* The last size is cut into runs of rows and several tiles of channels and columns, unlike in the last column of its items. */
static int depthwise(tn_trial *t)
{
    static const conv_shape small[] = {{1, 3, 3, 5, 5, 3, 1, 1, 5, false, false}, {2, 4, 5, 6, 6, 7, 1, 3, 6, true, true}},
                            middle[] = {{2, 7, 8, 16, 16, 3, 1, 1, 16, false, false},
                                        {2, 9, 10, 16, 16, 5, 1, 2, 16, true, false},
                                        {1, 9, 12, 32, 32, 7, 1, 3, 32, true, false},
                                        {2, 9, 8, 12, 12, 3, 2, 1, 12, false, true}},
                            large[] = {
                                {1, 12, 19, 32, 32, 3, 1, 1, 32, true, true},  {2, 26, 22, 136, 136, 3, 1, 1, 136, false, false},
                                {1, 15, 75, 48, 48, 7, 1, 3, 48, true, false}, {2, 17, 9, 136, 136, 5, 1, 2, 136, false, true},
                                {1, 6, 6, 16, 16, 4, 2, 1, 16, true, false},   {1, 17, 14, 32, 32, 5, 1, 0, 32, true, true}};
    if (t->like) return dwconv_alike(t);
    if (t->size == 0) return conv_each(t, dwconv_one, small, TN_COUNT(small));
    return t->size == 1 ? conv_each(t, dwconv_one, middle, TN_COUNT(middle)) : conv_each(t, dwconv_one, large, TN_COUNT(large));
}

/* Kernels of every kind of size and stride; the last sizes' patches are cut from several images. */
static int full_conv(tn_trial *t)
{
    static const conv_shape small[] = {{1, 3, 3, 5, 3, 3, 1, 1, 1, false, false}, {2, 5, 4, 4, 6, 2, 2, 0, 2, true, false}},
                            middle[] = {{2, 7, 5, 16, 8, 3, 1, 1, 1, true, true},
                                        {2, 7, 9, 8, 12, 3, 2, 1, 1, false, false},
                                        {1, 9, 8, 3, 16, 4, 4, 0, 1, true, false},
                                        {2, 5, 6, 6, 10, 1, 1, 0, 2, true, true}},
                            large[] = {{1, 12, 19, 32, 16, 3, 1, 1, 1, false, false}, {2, 13, 18, 32, 48, 2, 2, 0, 1, true, true},
                                       {2, 11, 14, 24, 32, 3, 2, 1, 1, true, false},  {1, 9, 10, 16, 32, 7, 2, 3, 1, false, true},
                                       {2, 9, 9, 32, 32, 1, 2, 0, 1, true, false},    {1, 10, 9, 32, 64, 1, 1, 0, 1, true, false}};
    if (t->size == 0) return conv_each(t, conv_one, small, TN_COUNT(small));
    return t->size == 1 ? conv_each(t, conv_one, middle, TN_COUNT(middle)) : conv_each(t, conv_one, large, TN_COUNT(large));
}

typedef struct {
    int h, w, H, W, channels;
    bool widens; /* y is float32 however x is stored */
} resize_shape;

static int bilinear_one(tn_trial *t, const resize_shape *s)
{
    const int B = 2, h = s->h, w = s->w, H = s->H, W = s->W, C = s->channels;
    const float sy = (float)h / (float)H, sx = (float)w / (float)W;
    const tn_dtype to = s->widens ? TN_F32 : ACT;
    tn_tensor *x, *dy, *y, *dx;
    float *hx, *hdy, *want = tn_trial_host(t, (size_t)(B * TN_MAX(h * w, H * W) * C));
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
    TN_TRY(tn_bilinear_backward(t->c, dy, B, &r, dx, ERR));
    tn_ref_bilinear_backward(&ref, hdy, want);
    return tn_trial_compare(t, dx, want);
}

/* Any factor, exactly 2 and 1; channels that fill 16 bytes, a half of them, or nothing even. */
static int bilinear(tn_trial *t)
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
        TN_TRY(bilinear_one(t, &shapes[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
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
    {"global response norm", response_norm, false, {NULL}},
    {"depthwise convolution", depthwise, false, {&tn_dwconv_op, &tn_dwconv_grad_op}},
    {"full convolution", full_conv, false, {NULL}},
    {"bilinear resize", bilinear, false, {NULL}},
    {"nearest resize", nearest, false, {NULL}},
    {"patchify", patchify, false, {NULL}},
    {"patchify of bytes", patchify_bytes, false, {NULL}},
    {"tokens and grid", tokens, false, {NULL}},
    {0},
};
