/* Rows through affine maps, and the convolutions to one channel that they make. */
#include "ref.h"
#include "selftest.h"

#define ACT (t->act)
#define ERR (t->err)

/* The row is a part of one tensor with its constant behind it, or lies apart. */
typedef struct {
    int n, m, before, after; /* entries of the row's tensor that are none of it */
    bool together, constant, bias;
} row_shape;

static int row_one(tn_trial *t, const row_shape *z)
{
    const int n = z->n, m = z->m, len = z->before + n + z->after + z->together;
    tn_tensor *v, *k, *w, *b, *d, *out, *dw, *db, *dv, *dk, none = {0};
    float *hv, *hk, *hw, *hb, *hd, *hdw, *hdb, *hdv, *hdk, *want = tn_trial_host(t, (size_t)m + 1);
    TN_TRY(tn_trial_in(t, TN_F32, 1, len, &v, &hv));
    TN_TRY(tn_trial_in(t, TN_F32, 1, 1, &k, &hk));
    TN_TRY(tn_trial_in(t, TN_F32, n, m, &w, &hw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, n, &b, &hb));
    TN_TRY(tn_trial_in(t, TN_F32, 1, m + 1, &d, &hd));
    TN_TRY(tn_trial_in(t, TN_F32, n, m, &dw, &hdw));
    TN_TRY(tn_trial_in(t, TN_F32, 1, n, &db, &hdb));
    TN_TRY(tn_trial_in(t, TN_F32, 1, len, &dv, &hdv));
    TN_TRY(tn_trial_in(t, TN_F32, 1, 1, &dk, &hdk));
    TN_TRY(tn_trial_out(t, TN_F32, 1, m + 1, &out));
    if (!want) return tn_oom(ERR);
    const float *last = z->together ? &hv[len - 1] : hk;
    float *dlast = z->together ? &hdv[len - 1] : hdk;
    const tn_row row = {v, !z->constant ? &none : z->together ? v : k, z->before, w, z->bias ? b : &none};
    const tn_ref_row_map ref = {hv + z->before, hw, z->bias ? hb : NULL, z->constant ? *last : 0, n, m};
    TN_TRY(tn_row_through(t->c, &row, out, ERR));
    tn_ref_row(&ref, want);
    TN_TRY(tn_trial_compare(t, out, want));
    tn_tensor *to = !z->constant ? &none : z->together ? dv : dk;
    TN_TRY(tn_row_backward(t->c, &row, &(tn_row_grads){d, dw, z->bias ? db : &none, dv, to}, ERR));
    tn_ref_row_backward(&ref, hd, hdw, z->bias ? hdb : NULL, hdv + z->before, z->constant ? dlast : NULL);
    TN_TRY(tn_trial_compare(t, dw, hdw));
    TN_TRY(tn_trial_compare(t, db, hdb));
    TN_TRY(tn_trial_compare(t, dv, hdv));
    TN_TRY(tn_trial_compare(t, dk, hdk));
    TN_TRY(tn_row_backward(t->c, &row, &(tn_row_grads){d, &none, &none, &none, to}, ERR)); /* the constant's alone */
    if (z->constant) *dlast += hd[m];
    TN_TRY(tn_trial_compare(t, dv, hdv));
    return tn_trial_compare(t, dk, hdk);
}

static int rows(tn_trial *t)
{
    const int n = 5 + 40 * t->size, m = 7 + 300 * t->size, mark = t->n;
    const row_shape shapes[] = {{n, m, 0, 0, false, true, true},
                                {n, m, n, 3, true, true, true},
                                {n, m, 2, 0, true, false, true},
                                {n, m, 0, 0, false, false, false},
                                {1, m, 0, 1, true, true, false}};
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        TN_TRY(row_one(t, &shapes[i]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

static int one_channel(tn_trial *t, int B, int h, int w, int C, int kernel, int pad)
{
    const tn_conv s = {B, {h, w}, {tn_conv_size(h, kernel, 1, pad), tn_conv_size(w, kernel, 1, pad)}, kernel, 1, pad, 1};
    const int X = B * h * w, Y = B * s.out.h * s.out.w, K = C * kernel * kernel;
    tn_tensor *x, *row, *dy, *y, *dx, *drow, none = {0};
    float *hx, *hrow, *hdy, *want = tn_trial_host(t, (size_t)TN_MAX(X * C, Y)), *grad = tn_trial_host(t, (size_t)K + 1);
    TN_TRY(tn_trial_in(t, ACT, X, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, K + 1, &row, &hrow));
    TN_TRY(tn_trial_in(t, TN_F32, Y, 1, &dy, &hdy));
    TN_TRY(tn_trial_out(t, TN_F32, Y, 1, &y));
    TN_TRY(tn_trial_out(t, ACT, X, C, &dx));
    TN_TRY(tn_trial_out(t, TN_F32, 1, K + 1, &drow));
    if (!want || !grad) return tn_oom(ERR);
    for (int i = 0; i < K; i++) hrow[i] = tn_rounded(hrow[i], ACT); /* as the products' operands are */
    for (int i = 0; i < Y; i++) hdy[i] = tn_rounded(hdy[i], ACT);
    TN_TRY(tn_trial_given(t, row, hrow));
    TN_TRY(tn_trial_given(t, dy, hdy));
    const tn_ref_conv ref = {hx, hrow, hrow + K, B, h, w, s.out.h, s.out.w, C, 1, kernel, 1, pad, 1};
    TN_TRY(tn_conv_one_forward(t->c, &s, x, row, y, ERR));
    tn_ref_convolve(&ref, want);
    TN_TRY(tn_trial_compare(t, y, want));
    for (int i = 0; i <= K; i++) grad[i] = 0;
    TN_TRY(tn_conv_one_backward(t->c, &s, &(tn_conv_one_grads){x, row, dy, dx, drow}, ERR));
    tn_ref_convolve_backward(&ref, hdy, want, grad, grad + K);
    TN_TRY(tn_trial_compare(t, dx, want));
    TN_TRY(tn_trial_compare(t, drow, grad));
    TN_TRY(tn_trial_poison(t, dx)); /* each alone */
    TN_TRY(tn_trial_poison(t, drow));
    TN_TRY(tn_conv_one_backward(t->c, &s, &(tn_conv_one_grads){&none, row, dy, dx, &none}, ERR));
    TN_TRY(tn_conv_one_backward(t->c, &s, &(tn_conv_one_grads){x, row, dy, &none, drow}, ERR));
    TN_TRY(tn_trial_compare(t, dx, want));
    return tn_trial_compare(t, drow, grad);
}

/* Kernels that look beyond the border, or not at all; images of one pixel, and several. */
static int one_channel_conv(tn_trial *t)
{
    static const int sizes[][6] = {{1, 1, 1, 5, 3, 1}, {2, 3, 4, 7, 3, 1},  {2, 5, 4, 16, 3, 1},
                                   {3, 6, 5, 8, 1, 0}, {1, 7, 9, 12, 5, 1}, {2, 11, 14, 32, 3, 1}};
    const int mark = t->n;
    for (int i = 2 * t->size; i < 2 * t->size + 2; i++) {
        const int *z = sizes[i];
        TN_TRY(one_channel(t, z[0], z[1], z[2], z[3], z[4], z[5]));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

const tn_case tn_cases_row[] = {
    {"rows through affine maps", rows, true, {NULL}},
    {"convolution to one channel", one_channel_conv, false, {NULL}},
    {0},
};
