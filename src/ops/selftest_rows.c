/* Rows through affine maps, and the convolutions to few channels that they make. */
#include "ref.h"
#include "selftest.h"

#define ACT (t->act)
#define ERR (t->err)

/* The rows are parts of one tensor with their constants behind them, or lie apart. */
typedef struct {
    int rows, n, m, before, after; /* entries of a row of the tensor that are none of it */
    bool together, constant, bias;
} rows_shape;

/* What goes into rows_one: the tensors and what the host has of them. */
typedef struct {
    tn_tensor *v, *k, *w, *b, *d, *out, *dw, *db, *dv, *dk;
    float *hv, *hk, *hw, *hb, *hd, *hdw, *hdb, *hdv, *hdk, *want;
} rows_data;

static int rows_draw(tn_trial *t, const rows_shape *z, int ld, rows_data *x)
{
    x->want = tn_trial_host(t, (size_t)z->rows * ((size_t)z->m + 1));
    TN_TRY(tn_trial_in(t, TN_F32, z->rows, ld, &x->v, &x->hv));
    TN_TRY(tn_trial_in(t, TN_F32, 1, z->rows, &x->k, &x->hk));
    TN_TRY(tn_trial_in(t, TN_F32, z->n, z->m, &x->w, &x->hw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, z->n, &x->b, &x->hb));
    TN_TRY(tn_trial_in(t, TN_F32, z->rows, z->m + 1, &x->d, &x->hd));
    TN_TRY(tn_trial_in(t, TN_F32, z->n, z->m, &x->dw, &x->hdw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, z->n, &x->db, &x->hdb));
    TN_TRY(tn_trial_in(t, TN_F32, z->rows, ld, &x->dv, &x->hdv));
    TN_TRY(tn_trial_in(t, TN_F32, 1, z->rows, &x->dk, &x->hdk));
    TN_TRY(tn_trial_out(t, TN_F32, z->rows, z->m + 1, &x->out));
    return x->want ? 0 : tn_oom(ERR);
}

static int rows_one(tn_trial *t, const rows_shape *z)
{
    const int ld = z->before + z->n + z->after + z->together, step = z->together ? ld : 1;
    tn_tensor none = {0};
    rows_data x;
    TN_TRY(rows_draw(t, z, ld, &x));
    const float *k = z->together ? &x.hv[ld - 1] : x.hk;
    float *hdk = z->together ? &x.hdv[ld - 1] : x.hdk;
    const tn_affine_rows rows = {x.v, !z->constant ? &none : z->together ? x.v : x.k, z->before, x.w, z->bias ? x.b : &none};
    const tn_ref_rows_map ref = {
        x.hv + z->before, z->constant ? k : NULL, x.hw, z->bias ? x.hb : NULL, z->rows, ld, step, z->n, z->m};
    TN_TRY(tn_affine_rows_forward(t->c, &rows, x.out, ERR));
    tn_ref_rows(&ref, x.want);
    TN_TRY(tn_trial_compare(t, x.out, x.want));
    tn_tensor *to = !z->constant ? &none : z->together ? x.dv : x.dk;
    TN_TRY(tn_affine_rows_backward(t->c, &rows, &(tn_affine_rows_grads){x.d, x.dw, z->bias ? x.db : &none, x.dv, to}, ERR));
    tn_ref_rows_backward(&ref, x.hd, x.hdw, z->bias ? x.hdb : NULL, x.hdv + z->before, z->constant ? hdk : NULL);
    TN_TRY(tn_trial_compare(t, x.dw, x.hdw));
    TN_TRY(tn_trial_compare(t, x.db, x.hdb));
    TN_TRY(tn_trial_compare(t, x.dv, x.hdv));
    TN_TRY(tn_trial_compare(t, x.dk, x.hdk));
    TN_TRY(tn_affine_rows_backward(t->c, &rows, &(tn_affine_rows_grads){x.d, &none, &none, &none, to}, ERR)); /* constants alone */
    for (int i = 0; z->constant && i < z->rows; i++) hdk[i * step] += x.hd[i * (z->m + 1) + z->m];
    TN_TRY(tn_trial_compare(t, x.dv, x.hdv));
    return tn_trial_compare(t, x.dk, x.hdk);
}

/* Widths that are whole vectors too, whose results' rows then begin at no multiple of one. */
static int rows(tn_trial *t)
{
    const int n = 5 + 40 * t->size, m = 7 + 300 * t->size, whole = 16 + 288 * t->size, mark = t->n;
    const rows_shape shapes[] = {
        {1, n, m, 0, 0, false, true, true},  {1, n, m, n, 3, true, true, true},     {3, n, m, 2, 0, true, false, true},
        {3, n, m, 0, 0, false, true, false}, {1, n, m, 0, 0, false, false, false},  {1, 1, m, 0, 1, true, true, false},
        {3, n, m, n, 3, true, true, true},   {3, n, whole, 1, 0, true, true, true}, {1, n, whole, 0, 0, false, true, true},
    };
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        TN_TRY(rows_one(t, &shapes[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

/* Between rows [O, K + 1] and kernels [O, K] with the constants [O] behind them all, as src/ref has them. */
static void parted(const float *rows, int O, int K, float *apart)
{
    for (int i = 0; i < O * (K + 1); i++) apart[i % (K + 1) < K ? i / (K + 1) * K + i % (K + 1) : O * K + i / (K + 1)] = rows[i];
}

static void joined(const float *apart, int O, int K, float *rows)
{
    for (int i = 0; i < O * (K + 1); i++) rows[i] = apart[i % (K + 1) < K ? i / (K + 1) * K + i % (K + 1) : O * K + i / (K + 1)];
}

typedef struct {
    int batch, h, w, C, kernel, pad, O;
} few_shape;

/* The tensors, what the host has of them, and its results. */
typedef struct {
    tn_tensor *x, *rows, *dy, *y, *dx, *drows;
    float *hx, *hrows, *hdy, *apart, *grad, *want, *want_rows;
} few_data;

/* The products' operands are rounded as activations are stored: so are the kernels and dy from the start. */
static int few_draw(tn_trial *t, const tn_conv *s, const few_shape *z, few_data *d)
{
    const int X = z->batch * z->h * z->w, Y = z->batch * s->out.h * s->out.w, K = z->C * z->kernel * z->kernel, O = z->O;
    TN_TRY(tn_trial_in(t, ACT, X, z->C, &d->x, &d->hx));
    TN_TRY(tn_trial_in(t, TN_F32, O, K + 1, &d->rows, &d->hrows));
    TN_TRY(tn_trial_in(t, TN_F32, Y, O, &d->dy, &d->hdy));
    TN_TRY(tn_trial_out(t, TN_F32, Y, O, &d->y));
    TN_TRY(tn_trial_out(t, ACT, X, z->C, &d->dx));
    TN_TRY(tn_trial_out(t, TN_F32, O, K + 1, &d->drows));
    const size_t n = (size_t)O * ((size_t)K + 1);
    d->apart = tn_trial_host(t, n), d->grad = tn_trial_host(t, n), d->want_rows = tn_trial_host(t, n);
    d->want = tn_trial_host(t, (size_t)TN_MAX(X * z->C, Y * O));
    if (!d->apart || !d->grad || !d->want_rows || !d->want) return tn_oom(ERR);
    for (int i = 0; i < O * (K + 1); i++)
        if (i % (K + 1) < K) d->hrows[i] = tn_rounded(d->hrows[i], ACT);
    for (int i = 0; i < Y * O; i++) d->hdy[i] = tn_rounded(d->hdy[i], ACT);
    TN_TRY(tn_trial_given(t, d->rows, d->hrows));
    TN_TRY(tn_trial_given(t, d->dy, d->hdy));
    parted(d->hrows, O, K, d->apart);
    for (size_t i = 0; i < n; i++) d->grad[i] = 0;
    return 0;
}

static int few_channels(tn_trial *t, const few_shape *z)
{
    const tn_size2 out = {tn_conv_size(z->h, z->kernel, 1, z->pad), tn_conv_size(z->w, z->kernel, 1, z->pad)};
    const tn_conv s = {z->batch, {z->h, z->w}, out, z->kernel, 1, z->pad, 1, false};
    const int K = z->C * z->kernel * z->kernel, O = z->O;
    tn_tensor none = {0};
    few_data d;
    TN_TRY(few_draw(t, &s, z, &d));
    const tn_ref_conv ref = {d.hx, d.apart, d.apart + O * K, z->batch, z->h, z->w, out.h, out.w, z->C, O, z->kernel, 1, z->pad, 1};
    TN_TRY(tn_conv_few_forward(t->c, &s, d.x, d.rows, d.y, ERR));
    tn_ref_convolve(&ref, d.want);
    TN_TRY(tn_trial_compare(t, d.y, d.want));
    TN_TRY(tn_conv_few_backward(t->c, &s, &(tn_conv_few_grads){d.x, d.rows, d.dy, d.dx, d.drows}, ERR));
    tn_ref_convolve_backward(&ref, d.hdy, d.want, d.grad, d.grad + O * K);
    joined(d.grad, O, K, d.want_rows);
    TN_TRY(tn_trial_compare(t, d.dx, d.want));
    TN_TRY(tn_trial_compare(t, d.drows, d.want_rows));
    TN_TRY(tn_trial_poison(t, d.dx)); /* each alone */
    TN_TRY(tn_trial_poison(t, d.drows));
    TN_TRY(tn_conv_few_backward(t->c, &s, &(tn_conv_few_grads){&none, d.rows, d.dy, d.dx, &none}, ERR));
    TN_TRY(tn_conv_few_backward(t->c, &s, &(tn_conv_few_grads){d.x, d.rows, d.dy, &none, d.drows}, ERR));
    TN_TRY(tn_trial_compare(t, d.dx, d.want));
    return tn_trial_compare(t, d.drows, d.want_rows);
}

/* Kernels that look beyond the border, or not at all; images of one pixel, and several; one channel, and several. */
static int few_channels_conv(tn_trial *t)
{
    static const few_shape sizes[][3] = {{{1, 1, 1, 5, 3, 1, 1}, {2, 3, 4, 7, 3, 1, 1}, {2, 3, 5, 7, 3, 1, 3}},
                                         {{2, 5, 4, 16, 3, 1, 1}, {3, 6, 5, 8, 1, 0, 1}, {3, 6, 5, 8, 1, 0, 3}},
                                         {{1, 7, 9, 12, 5, 1, 1}, {2, 11, 14, 32, 3, 1, 1}, {2, 11, 14, 32, 3, 1, 5}}};
    const int mark = t->n;
    for (int i = 0; i < 3; i++) {
        TN_TRY(few_channels(t, &sizes[t->size][i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

const tn_case tn_cases_rows[] = {
    {"rows through affine maps", rows, true, {NULL}},
    {"convolution to few channels", few_channels_conv, false, {NULL}},
    {0},
};
