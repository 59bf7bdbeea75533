/* Executors of element-wise operations, images and the loss. */
#include "exec.h"

int tn_exec_residual(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_in(k, 1), o = tn_call_out(k, 0), s = tn_call_weight(k, k->n->w[0]);
    return tn_residual(k->c, &x, &y, k->n->w[0] >= 0 ? &s : NULL, &o, k->err);
}

int tn_exec_scale_cols(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), o = tn_call_out(k, 0), s = tn_call_weight(k, k->n->w[0]);
    return tn_scale_cols(k->c, &x, &s, &o, k->err);
}

int tn_exec_scale_grad(const tn_call *k)
{
    tn_tensor d = tn_call_in(k, 0), y = tn_call_in(k, 1), g = tn_call_grad(k, k->n->w[0]);
    return tn_colsum(k->c, &d, &y, &g, k->err);
}

int tn_exec_add(const tn_call *k)
{
    tn_tensor a = tn_call_in(k, 0), b = tn_call_in(k, 1), sum = tn_call_out(k, 0);
    return tn_residual(k->c, &a, &b, NULL, &sum, k->err);
}

int tn_exec_copy(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    return tn_op_copy(k->c, x.mem, y.mem, 0, tn_tensor_bytes(&x), k->err);
}

int tn_exec_act(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    return tn_act_forward(k->c, k->n->a.act.fn, &x, &y, k->err);
}

int tn_exec_act_back(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), dx = tn_call_out(k, 0);
    return tn_act_backward(k->c, k->n->a.act.fn, &x, &dy, &dx, k->err);
}

int tn_exec_glu(const tn_call *k)
{
    tn_tensor u = tn_call_in(k, 0), y = tn_call_out(k, 0);
    return tn_glu_forward(k->c, k->n->a.glu.fn, &u, &y, k->err);
}

int tn_exec_glu_back(const tn_call *k)
{
    tn_tensor u = tn_call_in(k, 0), dy = tn_call_in(k, 1), du = tn_call_out(k, 0);
    return tn_glu_backward(k->c, k->n->a.glu.fn, &u, &dy, &du, k->err);
}

static int exec_dropout(const tn_call *k, bool add)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    const tn_attr_dropout *a = &k->n->a.dropout;
    return tn_dropout(k->c, &x, &y, (tn_mask){a->p, a->salt}, add, a->rest, k->err);
}

int tn_exec_dropout(const tn_call *k)
{
    return exec_dropout(k, false);
}

int tn_exec_dropout_back(const tn_call *k)
{
    return exec_dropout(k, k->n->onto >= 0);
}

int tn_exec_dropout2d(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    const tn_attr_dropout2d *a = &k->n->a.dropout2d;
    return tn_dropout2d(k->c, &x, &y, (tn_mask){a->p, a->salt}, a->rows, k->err);
}

/* The same channels fall away. */
int tn_exec_dropout2d_back(const tn_call *k)
{
    return tn_exec_dropout2d(k);
}

static tn_resize exec_resize(const tn_attr_resize *a)
{
    return (tn_resize){{a->in_h, a->in_w}, {a->out_h, a->out_w}, a->sy, a->sx};
}

int tn_exec_bilinear(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    const tn_resize r = exec_resize(&k->n->a.bilinear);
    return tn_bilinear_forward(k->c, &x, k->e->g.batch, &r, &y, k->err);
}

int tn_exec_bilinear_back(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), dx = tn_call_out(k, 0), more;
    const tn_resize r = exec_resize(&k->n->a.bilinear);
    const bool two = k->n->in[1] >= 0;
    if (two) more = tn_call_in(k, 1);
    return tn_bilinear_backward(k->c, &dy, two ? &more : NULL, k->e->g.batch, &r, &dx, k->err);
}

int tn_exec_upsample_add(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), z = tn_call_in(k, 1), y = tn_call_out(k, 0);
    const tn_resize r = exec_resize(&k->n->a.upsample_add);
    return tn_upsample_add(k->c, &x, &z, &r, &y, k->err);
}

int tn_exec_nearest_back(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), dz = tn_call_out(k, 0);
    const tn_resize r = exec_resize(&k->n->a.nearest_back);
    return tn_nearest_backward(k->c, &dy, &r, &dz, k->n->onto >= 0, k->err);
}

static tn_conv exec_conv_shape(const tn_call *k)
{
    const tn_attr_conv *a = &k->n->a.conv;
    return (tn_conv){k->e->g.batch, {a->in_h, a->in_w}, {a->out_h, a->out_w}, a->kernel, a->stride, a->pad, a->groups, a->doubled};
}

/* With its adapters in it where the pass wants it so. */
static tn_tensor exec_kernel(const tn_call *k)
{
    const tn_stored *s = &k->s->store->s[k->n->w[0]];
    return k->e->pass.merged && s->merged.rows ? s->merged : s->t;
}

#define NORM2D_EPS 1e-5f

int tn_exec_conv(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0), w = exec_kernel(k), b = tn_call_weight(k, k->n->w[1]);
    const tn_conv s = exec_conv_shape(k);
    if (k->n->out[1] < 0) return tn_conv_forward(k->c, &s, &x, &w, &b, &y, k->err);
    tn_tensor stats = tn_call_out(k, 1);
    return tn_conv_forward_stats(k->c, &s, &x, &w, &b, &y, &(tn_conv_norm){k->n->a.conv.norm_groups, NORM2D_EPS, &stats}, k->err);
}

int tn_exec_conv_dx(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), dx = tn_call_out(k, 0), w = tn_call_weight(k, k->n->w[0]), none = {0};
    const tn_conv s = exec_conv_shape(k);
    return tn_conv_backward(k->c, &s, &(tn_conv_grads){&none, &w, &dy, &dx, &none, &none}, k->err);
}

int tn_exec_conv_grad(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), dx = tn_call_out(k, 0), w = tn_call_weight(k, k->n->w[0]);
    tn_tensor dw = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    const tn_conv s = exec_conv_shape(k);
    return tn_conv_backward(k->c, &s, &(tn_conv_grads){&x, &w, &dy, &dx, &dw, &db}, k->err);
}

int tn_exec_conv_few(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), rows = tn_call_in(k, 1), y = tn_call_out(k, 0);
    const tn_conv s = exec_conv_shape(k);
    return tn_conv_few_forward(k->c, &s, &x, &rows, &y, k->err);
}

int tn_exec_conv_few_back(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), rows = tn_call_in(k, 1), dy = tn_call_in(k, 2), dx = tn_call_out(k, 0),
              drows = tn_call_out(k, 1);
    const tn_conv s = exec_conv_shape(k);
    return tn_conv_few_backward(k->c, &s, &(tn_conv_few_grads){&x, &rows, &dy, &dx, &drows}, k->err);
}

/* The statistics of x that the node normalises by: in[given] where that is there, else made in out[1]. */
static int norm2d_stats(const tn_call *k, const tn_attr_norm2d *a, int given, tn_tensor *st)
{
    tn_tensor x = tn_call_in(k, 0), mean = tn_call_weight(k, k->n->w[2]), var = tn_call_weight(k, k->n->w[3]);
    *st = k->n->in[given] >= 0 ? tn_call_in(k, given) : tn_call_out(k, 1);
    if (k->n->in[given] >= 0) return 0;
    if (a->stats == TN_STATS_RUNNING) return tn_batchnorm_stats(k->c, &mean, &var, NORM2D_EPS, st, k->err);
    TN_TRY(tn_norm2d_stats(k->c, &x, a->unit_rows, a->groups, NORM2D_EPS, st, k->err));
    if (a->stats == TN_STATS_OWN) return 0;
    return tn_batchnorm_track(k->c, st, &mean, &var, NORM2D_EPS, 0.1f, x.rows, k->err);
}

int tn_exec_norm2d(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0), g = tn_call_weight(k, k->n->w[0]), b = tn_call_weight(k, k->n->w[1]), st;
    const int unit = k->n->a.norm2d.unit_rows, groups = k->n->a.norm2d.groups;
    TN_TRY(norm2d_stats(k, &k->n->a.norm2d, 1, &st));
    tn_tensor kept;
    tn_norm_end end = {.fn = k->n->a.norm2d.fn, .slope = k->n->a.norm2d.keeps_slope};
    if (k->n->out[2] >= 0) kept = tn_call_out(k, 2), end.kept = &kept;
    return tn_norm2d_apply(k->c, &(tn_norm2d){&x, &st, &g, &b, unit, groups}, k->n->a.norm2d.act ? &end : NULL, &y, k->err);
}

int tn_exec_norm2d_back(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), st = tn_call_in(k, 1), dy = tn_call_in(k, 2), dx = tn_call_out(k, 0);
    tn_tensor g = tn_call_weight(k, k->n->w[0]), dg = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    const tn_attr_norm2d *a = &k->n->a.norm2d_back;
    tn_tensor b = tn_call_weight(k, k->n->w[1]);
    const tn_norm2d n = {&x, &st, &g, &b, a->unit_rows, a->groups};
    return tn_norm2d_backward(k->c, &n, a->act ? &a->fn : NULL, &dy, &dx, &dg, &db, k->err);
}

int tn_exec_norm2d_few(const tn_call *k)
{
    const tn_attr_norm2d *a = &k->n->a.norm2d_few;
    tn_tensor x = tn_call_in(k, 0), rows = tn_call_in(k, 1), y = tn_call_out(k, 0), st;
    tn_tensor g = tn_call_weight(k, k->n->w[0]), b = tn_call_weight(k, k->n->w[1]);
    TN_TRY(norm2d_stats(k, a, 2, &st));
    return tn_norm_few_forward(k->c, &(tn_norm_few){{&x, &st, &g, &b, a->unit_rows, a->groups}, a->fn, &rows}, &y, k->err);
}

int tn_exec_norm2d_few_back(const tn_call *k)
{
    const tn_attr_norm2d *a = &k->n->a.norm2d_few_back;
    tn_tensor x = tn_call_in(k, 0), st = tn_call_in(k, 1), rows = tn_call_in(k, 2), dy = tn_call_in(k, 3);
    tn_tensor g = tn_call_weight(k, k->n->w[0]), b = tn_call_weight(k, k->n->w[1]);
    tn_tensor dx = tn_call_out(k, 0), drows = tn_call_out(k, 1), dg = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    const tn_norm_few n = {{&x, &st, &g, &b, a->unit_rows, a->groups}, a->fn, &rows};
    return tn_norm_few_backward(k->c, &n, &(tn_norm_few_grads){&dy, &dx, &drows, &dg, &db}, k->err);
}

#define GRN_EPS 1e-6f

int tn_exec_grn(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0), norms = tn_call_out(k, 1), g = tn_call_weight(k, k->n->w[0]),
              b = tn_call_weight(k, k->n->w[1]);
    return tn_grn_forward(k->c, &(tn_grn){&x, &norms, &g, &b, k->n->a.grn.rows, GRN_EPS}, &y, k->err);
}

int tn_exec_grn_back(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), norms = tn_call_in(k, 1), dy = tn_call_in(k, 2), dx = tn_call_out(k, 0);
    tn_tensor g = tn_call_weight(k, k->n->w[0]), dg = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    const tn_grn n = {&x, &norms, &g, NULL, k->n->a.grn_back.rows, GRN_EPS};
    return tn_grn_backward(k->c, &n, &dy, &dx, &dg, &db, k->err);
}

int tn_exec_sample_mean(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), s = tn_call_out(k, 0);
    return tn_sample_sum(k->c, &x, NULL, k->n->a.sample_mean.rows, 1.0f / (float)k->n->a.sample_mean.rows, &s, k->err);
}

int tn_exec_sample_mean_back(const tn_call *k)
{
    tn_tensor ds = tn_call_in(k, 0), dx = tn_call_out(k, 0);
    const int rows = k->n->a.sample_mean.rows;
    return tn_spread_channels(k->c, &ds, 1.0f / (float)rows, rows, &dx, k->n->onto >= 0, k->err);
}

int tn_exec_scale_channels(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), z = tn_call_in(k, 1), y = tn_call_out(k, 0);
    return tn_scale_channels(k->c, &x, &z, k->n->a.scale_channels.rows, &y, k->err);
}

int tn_exec_scale_channels_dx(const tn_call *k)
{
    return tn_exec_scale_channels(k);
}

int tn_exec_scale_channels_dz(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), dz = tn_call_out(k, 0);
    return tn_sample_sum(k->c, &dy, &x, k->n->a.scale_channels.rows, 1, &dz, k->err);
}

int tn_exec_target(const tn_call *k)
{
    tn_tensor labels = tn_call_in(k, 0), t = tn_call_out(k, 0), mask = tn_call_out(k, 1);
    const tn_attr_target *a = &k->n->a.target;
    const tn_target_spec s = {a->height, a->width, a->sigma, a->negative};
    return tn_heatmap_target(k->c, &labels, &s, &t, &mask, k->err);
}

int tn_exec_loss(const tn_call *k)
{
    tn_tensor heat = tn_call_in(k, 0), target = tn_call_in(k, 1), mask = tn_call_in(k, 2), d = tn_call_out(k, 0),
              part = tn_call_out(k, 1);
    return tn_heatmap_loss(k->c, &heat, &target, &mask, &k->s->loss, &d, &part, k->err);
}
