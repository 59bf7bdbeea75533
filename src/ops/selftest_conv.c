/* Convolutions by every row. */
#include "args.h"
#include "ref.h"
#include "selftest.h"

#include <math.h>

#define ACT (t->act)
#define ERR (t->err)

/* A convolution of B images of h x w from C to O channels. halves: the kernel is stored as the activations are, as a frozen one;
 * doubled: images come half as high and as wide. */
typedef struct {
    int B, h, w, C, O, kernel, stride, pad, groups;
    bool bias, halves, doubled;
} conv_shape;

static tn_conv conv_of(const conv_shape *z)
{
    const tn_size2 in = {z->h, z->w},
                   out = {tn_conv_size(z->h, z->kernel, z->stride, z->pad), tn_conv_size(z->w, z->kernel, z->stride, z->pad)};
    return (tn_conv){z->B, in, out, z->kernel, z->stride, z->pad, z->groups, z->doubled};
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
    float *hdy, *hdw, *hdb, *hdu, *want; /* hdu: of the enlarged images, where they are */
} conv_trial;

static tn_ref_resize doubling(const conv_shape *z)
{
    return (tn_ref_resize){z->B, z->h / 2, z->w / 2, z->h, z->w, z->C, 0.5f, 0.5f};
}

/* Multiples of a half, of which few are added: a row may store the enlarged map and its gradient as activations are, and neither is
 * rounded then. */
static int coarse(tn_trial *t, const tn_tensor *x, float *v, float most)
{
    for (size_t i = 0; ACT != TN_F32 && i < tn_tensor_count(x); i++) v[i] = fminf(fmaxf(rintf(2 * v[i]), -most), most) / 2;
    return tn_trial_given(t, x, v);
}

/* What the convolution sees of x, and room for its gradient. */
static int enlarge(tn_trial *t, const conv_shape *z, conv_trial *v, float **x, float *w)
{
    const tn_ref_resize r = doubling(z);
    const size_t n = (size_t)z->B * (size_t)(z->h * z->w) * (size_t)z->C;
    float *u = tn_trial_host(t, n);
    v->hdu = tn_trial_host(t, n);
    if (!u || !v->hdu) return tn_oom(ERR);
    TN_TRY(coarse(t, v->x, *x, 7));
    TN_TRY(coarse(t, v->w, w, 3));
    TN_TRY(coarse(t, v->dy, v->hdy, 3));
    tn_ref_bilinear(&r, *x, u);
    *x = u;
    return 0;
}

static int conv_new(tn_trial *t, const conv_shape *z, conv_trial *v)
{
    v->s = conv_of(z);
    const int X = z->B * tn_conv_given(&v->s), C = z->C, O = z->O, K = C / z->groups * z->kernel * z->kernel;
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
    if (z->doubled) TN_TRY(enlarge(t, z, v, &hx, hw));
    v->ref =
        (tn_ref_conv){hx, hw, z->bias ? hb : NULL, z->B, z->h, z->w, out.h, out.w, C, O, z->kernel, z->stride, z->pad, z->groups};
    return v->want ? 0 : tn_oom(ERR);
}

static int conv_forward(tn_trial *t, const conv_shape *z, conv_trial *v)
{
    TN_TRY(tn_conv_forward(t->c, &v->s, v->x, v->w, z->bias ? v->b : &(tn_tensor){0}, v->y, ERR));
    if (t->c->dry) return 0;
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
    if (t->c->dry) return 0;
    float *d = z->doubled ? v->hdu : v->want;
    tn_ref_convolve_backward(&v->ref, v->hdy, dx ? d : NULL, dw ? v->hdw : NULL, db ? v->hdb : NULL);
    const tn_ref_resize r = doubling(z);
    if (dx && z->doubled) tn_ref_bilinear_backward(&r, d, v->want);
    if (dx) TN_TRY(tn_trial_compare(t, v->dx, v->want));
    TN_TRY(tn_trial_compare(t, v->dw, v->hdw));
    return tn_trial_compare(t, v->db, v->hdb);
}

/* The statistics of what stands in y, as it is stored. */
static int conv_stats(tn_trial *t, const conv_shape *z, conv_trial *v)
{
    const int groups = z->O % 3 ? z->O % 2 ? 1 : z->O / 2 : z->O / 3, unit = v->s.out.h * v->s.out.w, width = z->O / groups;
    float *y = tn_trial_host(t, (size_t)z->B * (size_t)unit * (size_t)z->O), *want = tn_trial_host(t, 2 * (size_t)(z->B * groups));
    tn_tensor *stats;
    TN_TRY(tn_trial_out(t, TN_F32, z->B * groups, 2, &stats));
    TN_TRY(tn_trial_poison(t, v->y));
    if (!y || !want) return tn_oom(ERR);
    TN_TRY(tn_conv_forward_stats(t->c, &v->s, v->x, v->w, z->bias ? v->b : &(tn_tensor){0}, v->y,
                                 &(tn_conv_norm){groups, 1e-5f, stats}, ERR));
    if (t->c->dry) return 0;
    TN_TRY(tn_tensor_get(t->c->dev, v->y, y, ERR));
    for (int i = 0; i < z->B * groups; i++) {
        double sums[2] = {0}, mean = 0;
        for (int pass = 0; pass < 2; pass++, mean = sums[0] / unit / width)
            for (int e = 0; e < unit * width; e++) {
                const double d = y[(i / groups * unit + e / width) * z->O + i % groups * width + e % width] - mean;
                sums[pass] += pass ? d * d : d;
            }
        want[2 * i] = (float)(sums[0] / unit / width);
        want[2 * i + 1] = (float)(1 / sqrt(sums[1] / unit / width + (double)1e-5f));
    }
    tn_ref_convolve(&v->ref, v->want);
    TN_TRY(tn_trial_compare(t, v->y, v->want));
    return tn_trial_compare(t, stats, want);
}

static int conv_one(tn_trial *t, const conv_shape *z)
{
    conv_trial v;
    TN_TRY(conv_new(t, z, &v));
    TN_TRY(conv_forward(t, z, &v));
    if (z->groups > 1) TN_TRY(conv_stats(t, z, &v));
    TN_TRY(conv_backward(t, z, &v, true, true));
    TN_TRY(conv_backward(t, z, &v, true, false));
    return conv_backward(t, z, &v, false, true);
}

/* What of a depthwise convolution the trial is about. */
static int dwconv_one(tn_trial *t, const conv_shape *z)
{
    const tn_conv s = conv_of(z);
    const tn_variant_op *op = z->doubled ? &tn_dwdouble_op : &tn_dwconv_op,
                        *grad_op = z->doubled ? &tn_dwdouble_grad_op : &tn_dwconv_grad_op;
    const tn_tensor row = tn_view(NULL, TN_F32, 1, z->C), none = {0},
                    w = tn_view(NULL, z->halves ? ACT : TN_F32, z->C, z->kernel * z->kernel);
    const tn_tensor x = tn_view(NULL, ACT, z->B * tn_conv_given(&s), z->C), y = tn_view(NULL, ACT, z->B * s.out.h * s.out.w, z->C);
    const tn_dwdouble_args forward = {.of = {s, x, w, z->bias ? row : none, y, false, ACT}},
                           back = {.of = {s, y, w, none, x, true, ACT}},
                           stats = {.of = forward.of, .stats = tn_view(NULL, TN_F32, z->B, 2), .groups = 1};
    const tn_dwconv_grad_args grad = {s, x, y, w, none, w, z->bias ? row : none, ACT},
                              both = {s, x, y, w, x, w, z->bias ? row : none, ACT};
    const bool on[] = {tn_trial_wants(t, op, &forward), tn_trial_wants(t, grad_op, &both), tn_trial_wants(t, op, &back),
                       tn_trial_wants(t, grad_op, &grad), z->doubled && tn_trial_wants(t, op, &stats)};
    conv_trial v;
    if (!on[0] && !on[1] && !on[2] && !on[3] && !on[4]) return 0;
    TN_TRY(conv_new(t, z, &v));
    if (on[0]) TN_TRY(conv_forward(t, z, &v));
    if (on[4]) TN_TRY(conv_stats(t, z, &v));
    if (on[1]) TN_TRY(conv_backward(t, z, &v, true, true));
    if (on[2]) TN_TRY(conv_backward(t, z, &v, true, false));
    return on[3] ? conv_backward(t, z, &v, false, true) : 0;
}

static int conv_each(tn_trial *t, int (*one)(tn_trial *, const conv_shape *), const conv_shape *z, int n)
{
    const int mark = t->n;
    for (int i = 0; i < n; i++) {
        if (!tn_trial_leaves(t, i)) TN_TRY(one(t, &z[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

/* Like the one that is to be checked: of its kernel, on odd sizes. */
static int dwconv_alike(tn_trial *t)
{
    const bool grad = tn_trial_is_of(t, &tn_dwconv_grad_op) || tn_trial_is_of(t, &tn_dwdouble_grad_op);
    const tn_dwconv_args *a = grad ? NULL : t->like;
    const tn_dwconv_grad_args *g = grad ? t->like : NULL;
    const tn_conv s = grad ? g->s : a->s;
    const int like = grad ? g->x.cols : a->to.cols, C = like % 16 ? (t->size ? 136 : 35) : t->size ? 144 : 48;
    const conv_shape z = {2,
                          s.doubled ? (t->size ? 42 : 10)
                          : t->size ? 21
                                    : 9,
                          s.doubled ? (t->size ? 76 : 10)
                          : t->size ? 75
                                    : 10,
                          C,
                          C,
                          s.kernel,
                          s.stride,
                          s.pad,
                          C,
                          (grad ? g->db : a->bias).rows > 0,
                          (grad ? g->w : a->w).dtype != TN_F32,
                          s.doubled};
    return dwconv_one(t, &z);
}

/* The last size is cut into runs of rows and several tiles of channels and columns, unlike in the last column of its items. */
static int depthwise(tn_trial *t)
{
    static const conv_shape small[] = {{1, 3, 3, 5, 5, 3, 1, 1, 5, false, false, false},
                                       {2, 4, 5, 6, 6, 7, 1, 3, 6, true, true, false}},
                            middle[] = {{2, 7, 8, 16, 16, 3, 1, 1, 16, false, false, false},
                                        {2, 9, 10, 16, 16, 5, 1, 2, 16, true, false, false},
                                        {1, 9, 12, 32, 32, 7, 1, 3, 32, true, false, false},
                                        {2, 9, 8, 12, 12, 3, 2, 1, 12, false, true, false}},
                            large[] = {{1, 12, 19, 32, 32, 3, 1, 1, 32, true, true, false},
                                       {2, 26, 22, 136, 136, 3, 1, 1, 136, false, false, false},
                                       {1, 15, 75, 48, 48, 7, 1, 3, 48, true, false, false},
                                       {2, 17, 9, 136, 136, 5, 1, 2, 136, false, false, false},
                                       {1, 6, 6, 16, 16, 4, 2, 1, 16, true, false, false},
                                       {1, 17, 14, 32, 32, 5, 1, 0, 32, true, true, false}};
    if (t->like) return dwconv_alike(t);
    if (t->size == 0) return conv_each(t, dwconv_one, small, TN_COUNT(small));
    return t->size == 1 ? conv_each(t, dwconv_one, middle, TN_COUNT(middle)) : conv_each(t, dwconv_one, large, TN_COUNT(large));
}

/* Maps of one row or column, of two, and such as are cut into runs; of odd numbers of columns and of whole items. */
static int doubled(tn_trial *t)
{
    static const conv_shape small[] = {{2, 2, 2, 5, 5, 3, 1, 1, 5, false, false, true},
                                       {1, 6, 10, 6, 6, 3, 1, 1, 6, true, true, true}},
                            middle[] = {{2, 4, 8, 16, 16, 3, 1, 1, 16, false, false, true},
                                        {1, 2, 16, 12, 12, 3, 1, 1, 12, false, true, true},
                                        {2, 12, 4, 32, 32, 3, 1, 1, 32, true, false, true}},
                            large[] = {{2, 46, 24, 136, 136, 3, 1, 1, 136, false, false, true},
                                       {1, 6, 140, 16, 16, 3, 1, 1, 16, false, false, true},
                                       {1, 38, 18, 48, 48, 3, 1, 1, 48, true, true, true}};
    if (t->like) return dwconv_alike(t);
    if (t->size == 0) return conv_each(t, dwconv_one, small, TN_COUNT(small));
    return t->size == 1 ? conv_each(t, dwconv_one, middle, TN_COUNT(middle)) : conv_each(t, dwconv_one, large, TN_COUNT(large));
}

/* ---- rows of the pixels that outputs depend on, and their product ---- */

/* What the rows are on the host: [batch * grid, taps * channels]. */
static float *host_rows(tn_trial *t, const tn_conv_rows *r, const float *x)
{
    const int K = r->kh * r->kw * r->channels, M = r->batch * r->grid.h * r->grid.w;
    float *v = tn_trial_host(t, (size_t)M * (size_t)K);
    for (int e = 0; v && e < M * K; e++) {
        const int m = e / K, tap = e % K / r->channels, c = e % r->channels;
        const int i = m / r->grid.w % r->grid.h * r->stride + r->top + tap / r->kw,
                  j = m % r->grid.w * r->stride + r->left + tap % r->kw;
        if (i < 0 || i >= r->size.h || j < 0 || j >= r->size.w) continue;
        v[e] = x[((m / r->grid.w / r->grid.h * r->size.h + i) * r->size.w + j) * r->image.cols + r->from + c];
    }
    return v;
}

/* n, or less that fills vectors and tiles as n does. */
static int conv_reduced(int n)
{
    return n <= 80 ? n : 64 + n % 64;
}

/* Images like those of `like`, and smaller: of odd grids, the channels between others at the second size. */
static int rows_alike(tn_trial *t, tn_conv_rows *r, float **host)
{
    const int wide = t->size ? 16 : 0;
    tn_tensor *x;
    r->batch = 2;
    r->grid = t->size ? (tn_size2){11, 23} : (tn_size2){5, 7};
    r->size = (tn_size2){r->grid.h * r->stride - r->stride / 2, r->grid.w * r->stride - r->stride / 2};
    r->channels = conv_reduced(r->channels);
    r->from = wide;
    TN_TRY(tn_trial_in(t, ACT, r->batch * r->size.h * r->size.w, r->channels + 2 * wide, &x, host));
    r->image = *x;
    *host = host_rows(t, r, *host);
    return *host ? 0 : tn_oom(ERR);
}

static int conv_alike(tn_trial *t)
{
    tn_conv_args a = *(const tn_conv_args *)t->like;
    tn_tensor *W, *C, *b = NULL;
    float *rows, *hw, *hc, *hb = NULL;
    if (!tn_trial_wants(t, &tn_conv_op, &a) || ACT != a.C.dtype) return 0;
    TN_TRY(rows_alike(t, &a.rows, &rows));
    const int M = a.rows.batch * a.rows.grid.h * a.rows.grid.w, K = a.rows.kh * a.rows.kw * a.rows.channels,
              N = conv_reduced(a.C.cols);
    const int at = t->size ? 8 : 0, ld = N + 2 * at;
    a.to = (tn_size2){a.rows.grid.h * a.step, a.rows.grid.w * a.step};
    TN_TRY(tn_trial_in(t, ACT, N, K, &W, &hw));
    TN_TRY(tn_trial_in(t, ACT, a.rows.batch * a.to.h * a.to.w, ld, &C, &hc));
    if (a.bias) TN_TRY(tn_trial_in(t, TN_F32, 1, N, &b, &hb));
    a.W = *W, a.C = tn_cols(*C, at, N), a.bias = b ? b->mem : NULL;
    float *product = tn_trial_host(t, (size_t)M * (size_t)N), *want = tn_trial_copy(t, hc, tn_tensor_count(C));
    if (!product || !want) return tn_oom(ERR);
    tn_ref_gemm(
        &(tn_ref_product){
            .tb = true, .M = M, .N = N, .K = K, .alpha = 1, .A = rows, .lda = K, .B = hw, .ldb = K, .bias = hb, .ldc = N},
        product);
    for (int e = 0; e < M * N; e++) {
        const int m = e / N, i = m / a.rows.grid.w % a.rows.grid.h * a.step + a.y, j = m % a.rows.grid.w * a.step + a.x;
        want[((m / a.rows.grid.w / a.rows.grid.h * a.to.h + i) * a.to.w + j) * ld + at + e % N] = product[e];
    }
    TN_TRY(tn_variant_run(t->c, &tn_conv_op, &a, ERR));
    return tn_trial_compare(t, C, want);
}

static int conv_grad_alike(tn_trial *t)
{
    tn_conv_grad_args a = *(const tn_conv_grad_args *)t->like;
    tn_tensor *dy, *sum;
    float *rows, *hdy, *want;
    if (!tn_trial_wants(t, &tn_conv_grad_op, &a) || ACT != a.dy.dtype) return 0;
    TN_TRY(rows_alike(t, &a.rows, &rows));
    const int M = a.rows.batch * a.rows.grid.h * a.rows.grid.w, K = a.rows.kh * a.rows.kw * a.rows.channels,
              N = conv_reduced(a.dy.cols);
    const int at = t->size ? 8 : 0, ld = N + 2 * at;
    TN_TRY(tn_trial_in(t, ACT, M, ld, &dy, &hdy));
    TN_TRY(tn_trial_in(t, TN_F32, N, K, &sum, &want));
    a.dy = tn_cols(*dy, at, N), a.sum = *sum, a.add = t->size > 0;
    if (!a.add) TN_TRY(tn_trial_poison(t, sum));
    tn_ref_gemm(
        &(tn_ref_product){
            .ta = true, .M = N, .N = K, .K = M, .alpha = 1, .beta = a.add, .A = hdy + at, .lda = ld, .B = rows, .ldb = K, .ldc = K},
        want);
    TN_TRY(tn_variant_run(t->c, &tn_conv_grad_op, &a, ERR));
    return tn_trial_compare(t, sum, want);
}

/* Kernels of every kind of size and stride; the last sizes' patches are cut from several images. */
static int full_conv(tn_trial *t)
{
    static const conv_shape small[] = {{1, 3, 3, 5, 9, 3, 1, 1, 1, false, false, false},
                                       {2, 5, 4, 4, 6, 2, 2, 0, 2, true, false, false}},
                            middle[] = {{2, 7, 5, 16, 8, 3, 1, 1, 1, true, true, false},
                                        {2, 7, 9, 8, 12, 3, 2, 1, 1, false, false, false},
                                        {1, 9, 8, 3, 16, 4, 4, 0, 1, true, false, false},
                                        {2, 5, 6, 6, 10, 1, 1, 0, 2, true, true, false}},
                            large[] = {{1, 12, 19, 32, 16, 3, 1, 1, 1, false, false, false},
                                       {2, 13, 18, 32, 48, 2, 2, 0, 1, true, true, false},
                                       {2, 11, 14, 24, 32, 3, 2, 1, 1, true, false, false},
                                       {1, 9, 10, 16, 32, 7, 2, 3, 1, false, true, false},
                                       {2, 9, 9, 32, 32, 1, 2, 0, 1, true, false, false},
                                       {1, 10, 9, 32, 64, 1, 1, 0, 1, true, false, false}};
    if (t->like) return tn_trial_is_of(t, &tn_conv_op) ? conv_alike(t) : conv_grad_alike(t);
    if (t->size == 0) return conv_each(t, conv_one, small, TN_COUNT(small));
    return t->size == 1 ? conv_each(t, conv_one, middle, TN_COUNT(middle)) : conv_each(t, conv_one, large, TN_COUNT(large));
}

const tn_case tn_cases_conv[] = {
    {"depthwise convolution", depthwise, false, {&tn_dwconv_op, &tn_dwconv_grad_op}},
    {"doubled depthwise convolution", doubled, false, {&tn_dwdouble_op, &tn_dwdouble_grad_op}},
    {"full convolution", full_conv, false, {&tn_conv_op, &tn_conv_grad_op}},
    {0},
};
