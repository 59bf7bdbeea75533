#include "ops.h"

#include <math.h>

int tn_heatmap_loss(tn_ctx *c, const tn_tensor *heat, const tn_tensor *target, const tn_tensor *mask, const tn_loss_spec *s,
                    tn_tensor *dheat, tn_tensor *partial, tn_error *err)
{
    int n = heat->rows, sample = heat->rows / mask->rows;
    tn_arg args[] = {TN_BUF(heat->mem),     TN_BUF(target->mem), TN_BUF(mask->mem), TN_BUF(dheat->mem),
                     TN_BUF(partial->mem),  TN_INT(n),           TN_INT(sample),    TN_FLT(s->inv_mask),
                     TN_FLT(s->grad_scale), TN_FLT(s->alpha),    TN_FLT(s->beta)};
    size_t g = TN_PARTIALS, l = 64;
    tn_options o;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "the loss", TN_LIST(heat), TN_LIST(heat, target, mask, dheat, partial), err));
    TN_TRY(tn_options_set(&o, err, "-DFOCAL=%d -DITEMS=%d", s->focal, TN_PARTIALS));
    return tn_op_run(c, "portable/loss.cl", "heatmap_loss", o.s, args, TN_COUNT(args), 1, &g, &l, err);
}

/* The optimisers' kernels count elements in an int and begin at a uint. */
static int check_range(const char *op, size_t off, size_t n, tn_error *err)
{
    TN_TRY(tn_countable(op, n, err));
    return off <= UINT32_MAX ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "%s: begins beyond %u elements", op, UINT32_MAX);
}

int tn_adamw(tn_ctx *c, cl_mem p, cl_mem g, cl_mem m, cl_mem v, size_t off, size_t n, const tn_adam_spec *s, tn_error *err)
{
    TN_TRY(check_range("AdamW", off, n, err));
    float c1 = (float)(1.0 - pow(s->beta1, s->step)), c2 = (float)sqrt(1.0 - pow(s->beta2, s->step));
    tn_arg args[] = {TN_BUF(p),        TN_BUF(g),
                     TN_BUF(m),        TN_BUF(v),
                     TN_UINT(off),     TN_INT(n),
                     TN_FLT(s->lr),    TN_FLT(s->weight_decay),
                     TN_FLT(s->beta1), TN_FLT(s->beta2),
                     TN_FLT(s->eps),   TN_FLT(c1),
                     TN_FLT(c2),       TN_FLT(s->grad_scale)};
    size_t l = 64;
    return tn_op_run(c, "portable/optim.cl", "adamw", "", args, TN_COUNT(args), 1, &n, &l, err);
}

int tn_sgd(tn_ctx *c, cl_mem p, cl_mem g, cl_mem buf, size_t off, size_t n, float lr, float decay, float momentum, bool first,
           float grad_scale, tn_error *err)
{
    TN_TRY(check_range("SGD", off, n, err));
    tn_arg args[] = {TN_BUF(p),  TN_BUF(g),     TN_BUF(buf),      TN_UINT(off),  TN_INT(n),
                     TN_FLT(lr), TN_FLT(decay), TN_FLT(momentum), TN_INT(first), TN_FLT(grad_scale)};
    size_t l = 64;
    return tn_op_run(c, "portable/optim.cl", "sgd", "", args, TN_COUNT(args), 1, &n, &l, err);
}

int tn_sum_squares(tn_ctx *c, cl_mem g, size_t off, size_t n, double *out, tn_error *err)
{
    tn_tensor p;
    tn_options o;
    size_t mark = c->ws_used;
    TN_TRY(check_range("a sum of squares", off, n, err));
    TN_TRY(tn_options_set(&o, err, "-DITEMS=%d", TN_PARTIALS));
    TN_TRY(tn_ws_take(c, &p, TN_F32, TN_PARTIALS, 1, err));
    tn_arg args[] = {TN_BUF(g), TN_BUF(p.mem), TN_UINT(off), TN_INT(n)};
    size_t global = TN_PARTIALS, l = 64;
    TN_TRY(tn_op_run(c, "portable/optim.cl", "sum_squares", o.s, args, TN_COUNT(args), 1, &global, &l, err));
    float part[TN_PARTIALS] = {0};
    if (!c->dry) TN_TRY(tn_tensor_get(c->dev, &p, part, err));
    *out = 0;
    for (int i = 0; i < TN_PARTIALS; i++) *out += part[i];
    c->ws_used = mark;
    return 0;
}
