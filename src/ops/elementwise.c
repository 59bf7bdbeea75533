#include "ops.h"

#include <math.h>

#define FILE_ "portable/elementwise.cl"

/* A kernel of this file: `options` are further ones, `width` the elements that an item takes. */
typedef struct {
    const char *entry, *options;
    tn_dtype act;
    int width;
} vector_kernel;

static int vectors(tn_ctx *c, const vector_kernel *k, size_t count, const tn_arg *args, int n, tn_error *err)
{
    tn_options o;
    const tn_range range = {1, {count / (size_t)k->width}, {c->dev->row_wg > 1 ? (size_t)c->dev->row_wg : 64}};
    TN_TRY(tn_countable(k->entry, range.global[0], err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d %s", (int)k->act, k->width, k->options));
    return tn_op_run(c, FILE_, k->entry, o.s, args, n, &range, err);
}

static const char *fn_option(tn_fn f)
{
    static const char *const o[] = {"-DFN=0", "-DFN=1", "-DFN=2", "-DFN=3"};
    return o[f];
}

int tn_act_forward(tn_ctx *c, tn_fn f, const tn_tensor *x, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "an activation", TN_LIST(x, y), NULL, err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(y->mem), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"act_forward", fn_option(f), act, vw}, n, args, TN_COUNT(args), err);
}

int tn_act_keep(tn_ctx *c, tn_fn f, tn_tensor *u, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "an activation", TN_LIST(u, y), NULL, err));
    const size_t n = tn_tensor_count(u);
    const int vw = tn_run_width(c, act, u->cols);
    const tn_arg args[] = {TN_BUF(u->mem), TN_BUF(y->mem), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"act_keep", fn_option(f), act, vw}, n, args, TN_COUNT(args), err);
}

int tn_act_backward(tn_ctx *c, tn_fn f, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dx, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "an activation's backward", TN_LIST(x, dy, dx), NULL, err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(dy->mem), TN_BUF(dx->mem), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"act_backward", fn_option(f), act, vw}, n, args, TN_COUNT(args), err);
}

int tn_glu_forward(tn_ctx *c, tn_fn f, const tn_tensor *u, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a gated unit", TN_LIST(u, y), NULL, err));
    size_t n = tn_tensor_count(y);
    int vw = tn_run_width(c, act, y->cols);
    tn_arg args[] = {TN_BUF(u->mem), TN_BUF(y->mem), TN_INT(y->cols), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"glu_forward", fn_option(f), act, vw}, n, args, TN_COUNT(args), err);
}

int tn_glu_backward(tn_ctx *c, tn_fn f, const tn_tensor *u, const tn_tensor *dy, tn_tensor *du, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a gated unit's backward", TN_LIST(u, dy, du), NULL, err));
    size_t n = tn_tensor_count(dy);
    int vw = tn_run_width(c, act, dy->cols);
    tn_arg args[] = {TN_BUF(u->mem), TN_BUF(dy->mem), TN_BUF(du->mem), TN_INT(dy->cols), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"glu_backward", fn_option(f), act, vw}, n, args, TN_COUNT(args), err);
}

int tn_residual(tn_ctx *c, const tn_tensor *x, const tn_tensor *y, const tn_tensor *scale, tn_tensor *o, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a residual", TN_LIST(x, y, o), TN_LIST(scale), err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(y->mem), TN_BUF(o->mem), TN_INT(n / (size_t)vw), TN_BUF(scale ? scale->mem : NULL),
                     TN_INT(x->cols)};
    const vector_kernel k = {scale ? "residual_scaled" : "residual", "", act, vw};
    return vectors(c, &k, n, args, scale ? 6 : 4, err);
}

int tn_scale_cols(tn_ctx *c, const tn_tensor *x, const tn_tensor *scale, tn_tensor *o, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a scale", TN_LIST(x, o), TN_LIST(scale), err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(scale->mem), TN_BUF(o->mem), TN_INT(x->cols), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"scale_cols", "", act, vw}, n, args, TN_COUNT(args), err);
}

uint32_t tn_drop_threshold(float p)
{
    return (uint32_t)lround((double)p * 65536.0);
}

/* `entry`: dropout or dropout2d, which take two numbers of their own. */
static int drop_out(tn_ctx *c, const char *entry, const tn_tensor *x, tn_tensor *y, tn_mask m, const int own[2], tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, entry, TN_LIST(x, y), NULL, err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    TN_TRY(tn_ctx_step_ready(c, err));
    tn_arg args[] = {TN_BUF(x->mem),
                     TN_BUF(y->mem),
                     TN_BUF(c->constants),
                     TN_UINT(m.salt),
                     TN_UINT(tn_drop_threshold(m.p)),
                     TN_FLT(1.0f / (1.0f - m.p)),
                     TN_INT(own[0]),
                     TN_INT(own[1]),
                     TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){entry, "", act, vw}, n, args, TN_COUNT(args), err);
}

int tn_dropout(tn_ctx *c, const tn_tensor *x, tn_tensor *y, tn_mask m, bool add, bool rest, tn_error *err)
{
    TN_TRY(tn_countable("dropout", tn_tensor_count(x), err)); /* an element's draw is told by 32 bits */
    return drop_out(c, "dropout", x, y, m, (const int[]){add, rest}, err);
}

int tn_dropout2d(tn_ctx *c, const tn_tensor *x, tn_tensor *y, tn_mask m, int sample_rows, tn_error *err)
{
    return drop_out(c, "dropout2d", x, y, m, (const int[]){x->cols, sample_rows}, err);
}

int tn_dora(tn_ctx *c, const tn_dora_part *d, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "DoRA", TN_LIST(d->u, y, d->v), TN_LIST(d->g), err));
    tn_options o;
    const size_t n = (size_t)d->u->rows * (size_t)d->part;
    TN_TRY(tn_options_set(&o, err, "-DHAS_V=%d -DHAS_BIAS=%d", d->v != NULL, d->bias != NULL));
    tn_arg args[] = {TN_BUF(d->u->mem),
                     TN_BUF(d->g->mem),
                     TN_BUF(d->v ? d->v->mem : d->u->mem),
                     TN_BUF(d->bias ? d->bias : d->g->mem),
                     TN_BUF(y->mem),
                     TN_INT(d->u->cols),
                     TN_INT(d->first),
                     TN_INT(d->part),
                     TN_INT(n)};
    return vectors(c, &(vector_kernel){"dora", o.s, act, 1}, n, args, TN_COUNT(args), err);
}

int tn_dora_scale(tn_ctx *c, const tn_tensor *w, const tn_tensor *t, const tn_tensor *m, int first, tn_tensor *g, tn_tensor *inv,
                  tn_error *err)
{
    tn_dtype act;
    tn_tensor whole = *w; /* it may be a part of a buffer */
    whole.off = 0;
    TN_TRY(tn_storage(&act, "DoRA's scale", TN_LIST(&whole), TN_LIST(t, m, g, inv), err));
    tn_options o;
    const size_t n = (size_t)w->rows;
    TN_TRY(tn_options_set(&o, err, "-DW=%d", (int)act));
    tn_arg args[] = {TN_BUF(w->mem),   TN_UINT(w->off), TN_BUF(t->mem), TN_BUF(m->mem), TN_BUF(g->mem),
                     TN_BUF(inv->mem), TN_INT(w->cols), TN_INT(n),      TN_INT(first)};
    return vectors(c, &(vector_kernel){"dora_scale", o.s, act, 1}, n, args, TN_COUNT(args), err);
}

int tn_dora_magnitude(tn_ctx *c, const tn_tensor *sums, const tn_tensor *inv, int first, int part, tn_tensor *dm, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "DoRA's magnitude", TN_LIST(sums, inv, dm), TN_LIST(sums, inv, dm), err));
    tn_arg args[] = {TN_BUF(sums->mem), TN_BUF(inv->mem), TN_BUF(dm->mem), TN_INT(part), TN_INT(first)};
    return vectors(c, &(vector_kernel){"dora_magnitude", "", act, 1}, (size_t)part, args, TN_COUNT(args), err);
}

int tn_scale_channels(tn_ctx *c, const tn_tensor *x, const tn_tensor *z, int sample_rows, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a scale of channels", TN_LIST(x, y), TN_LIST(z), err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(z->mem), TN_BUF(y->mem), TN_INT(x->cols), TN_INT(sample_rows), TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"scale_channels", "", act, vw}, n, args, TN_COUNT(args), err);
}

int tn_spread_channels(tn_ctx *c, const tn_tensor *z, float k, int sample_rows, tn_tensor *x, bool add, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a sum by channels", TN_LIST(x), TN_LIST(z), err));
    size_t n = tn_tensor_count(x);
    int vw = tn_run_width(c, act, x->cols);
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(z->mem),        TN_FLT(k), TN_INT(x->cols), TN_INT(sample_rows),
                     TN_INT(add),    TN_INT(n / (size_t)vw)};
    return vectors(c, &(vector_kernel){"spread_channels", "", act, vw}, n, args, TN_COUNT(args), err);
}
