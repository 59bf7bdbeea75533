#include "ops.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_ "portable/optim.cl"

int tn_heatmap_target(tn_ctx *c, const tn_tensor *labels, const tn_target_spec *s, tn_tensor *target, tn_tensor *mask,
                      tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DHEATS=%d", mask->cols));
    tn_arg args[] = {TN_BUF(labels->mem), TN_BUF(target->mem), TN_BUF(mask->mem), TN_INT(s->height),
                     TN_INT(s->width),    TN_INT(mask->rows),  TN_FLT(s->sigma),  TN_INT(s->negative)};
    const tn_range range = {2, {(size_t)(s->height * s->width * mask->cols), (size_t)mask->rows}, {64, 1}};
    return tn_op_run(c, "portable/target.cl", "heatmap_target", o.s, args, TN_COUNT(args), &range, err);
}

bool tn_loss_logits(const char *name)
{
    return strcmp(name, "mse") != 0;
}

tn_loss_spec tn_loss_named(const char *name, double alpha, double beta, double pos_weight)
{
    const bool focal = !strcmp(name, "focal"), weighted = !strcmp(name, "wbce");
    return (tn_loss_spec){.logits = tn_loss_logits(name),
                          .alpha = focal      ? (float)alpha
                                   : weighted ? 2
                                              : 0,
                          .beta = focal ? (float)beta : 0,
                          .pos_weight = focal ? 1 : (float)pos_weight,
                          .bound = focal ? (float)log((1 - 1e-6) / 1e-6) : FLT_MAX};
}

bool tn_loss_same(const tn_loss_spec *a, const tn_loss_spec *b)
{
    return a->logits == b->logits && a->alpha == b->alpha && a->beta == b->beta && a->pos_weight == b->pos_weight &&
           a->bound == b->bound;
}

int tn_heatmap_loss(tn_ctx *c, const tn_tensor *heat, const tn_tensor *target, const tn_tensor *mask, const tn_loss_spec *s,
                    tn_tensor *dheat, tn_tensor *partial, tn_error *err)
{
    const int n = heat->rows * heat->cols, sample = n / mask->rows;
    const int wg = c->dev->info.type == TN_DEVICE_CPU ? 1 : (int)TN_MIN(c->dev->info.max_work_group, 128u);
    tn_options o;
    tn_dtype act;
    TN_TRY(tn_ctx_step_ready(c, err));
    TN_TRY(tn_storage(&act, "the loss", TN_LIST(heat), TN_LIST(target, mask, dheat, partial), err));
    TN_TRY(tn_options_set(&o, err, "-DLOGITS=%d -DITEMS=%d -DWG=%d -DHEATS=%d", s->logits, TN_PARTIALS, wg, mask->cols));
    tn_arg args[] = {TN_BUF(heat->mem), TN_BUF(target->mem),  TN_BUF(mask->mem), TN_BUF(dheat->mem), TN_BUF(partial->mem),
                     TN_INT(n),         TN_INT(sample),       TN_FLT(s->alpha),  TN_FLT(s->beta),    TN_FLT(s->pos_weight),
                     TN_FLT(s->bound),  TN_BUF(c->constants), TN_BUF(c->state)};
    const tn_range range = {1, {(size_t)TN_PARTIALS * (size_t)wg}, {wg > 1 ? (size_t)wg : 64}};
    return tn_op_run(c, "portable/loss.cl", "heatmap_loss", o.s, args, TN_COUNT(args), &range, err);
}

/* Kernels count in 32 bits. */
static int check_range(const char *what, size_t off, size_t n, tn_error *err)
{
    if (off + n <= UINT32_MAX) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "%s of elements %zu to %zu: beyond the %u that a kernel counts to", what, off, off + n,
                   UINT32_MAX);
}

/* Launches over a range; the shadow comes last. */
static int over_range(tn_ctx *c, const char *entry, const tn_optim_range *r, const tn_arg *args, int n, tn_error *err)
{
    char opts[32] = ""; /* without a shadow they share a program with the norm */
    tn_arg all[16];
    const tn_range range = {1, {TN_ROUND_UP(r->n, (size_t)64)}, {64}};
    TN_TRY(check_range(entry, r->off, r->n, err));
    if (!r->n) return 0;
    for (int i = 0; i < n; i++) all[i] = args[i];
    if (r->shadow) snprintf(opts, sizeof opts, "-DSHADOW=%d", (int)r->shadow_type);
    if (r->shadow) all[n++] = TN_BUF(r->shadow);
    return tn_op_run(c, FILE_, entry, opts, all, n, &range, err);
}

int tn_adamw(tn_ctx *c, const tn_optim_range *r, const tn_adam_spec *s, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    const tn_arg args[] = {TN_BUF(r->p),     TN_BUF(r->g),     TN_BUF(r->m),         TN_BUF(r->v),     TN_UINT(r->off),
                           TN_UINT(r->n),    TN_INT(r->group), TN_BUF(c->constants), TN_BUF(c->state), TN_FLT(s->beta1),
                           TN_FLT(s->beta2), TN_FLT(s->eps),   TN_FLT(r->rate)};
    return over_range(c, "adamw", r, args, TN_COUNT(args), err);
}

int tn_sgd(tn_ctx *c, const tn_optim_range *r, float momentum, tn_error *err)
{
    TN_TRY(tn_ctx_step_ready(c, err));
    const tn_arg args[] = {TN_BUF(r->p),     TN_BUF(r->g),         TN_BUF(r->m),     TN_UINT(r->off),  TN_UINT(r->n),
                           TN_INT(r->group), TN_BUF(c->constants), TN_BUF(c->state), TN_FLT(momentum), TN_FLT(r->rate)};
    return over_range(c, "sgd", r, args, TN_COUNT(args), err);
}

enum { WG = 64 }; /* of the kernels that sum */

int tn_grad_norm(tn_ctx *c, tn_buffer *g, size_t off, size_t n, tn_buffer *sums, int *parts, tn_error *err)
{
    enum { LEAST = 16 * WG };
    const size_t chunk = TN_MAX((size_t)LEAST, TN_ROUND_UP(TN_CEIL_DIV(n, (size_t)TN_PARTIALS), (size_t)WG));
    const size_t made = TN_CEIL_DIV(n, chunk);
    const tn_range range = {1, {made * WG}, {WG}};
    TN_TRY(check_range("the gradient's norm", off, n, err));
    if (parts) *parts = (int)made;
    tn_arg args[] = {TN_BUF(g), TN_BUF(sums), TN_UINT(off), TN_UINT(n), TN_UINT(chunk)};
    return made ? tn_op_run(c, FILE_, "grad_norm", "", args, TN_COUNT(args), &range, err) : 0;
}

int tn_clip_sums(tn_ctx *c, tn_buffer *sums, int parts, const tn_adam_spec *s, tn_error *err)
{
    const tn_range one = {1, {WG}, {WG}};
    TN_TRY(tn_ctx_step_ready(c, err));
    tn_arg args[] = {TN_BUF(sums),
                     TN_INT(parts),
                     TN_BUF(c->constants),
                     TN_BUF(c->state),
                     TN_FLT(log((double)s->beta1)),
                     TN_FLT(log((double)s->beta2))};
    return tn_op_run(c, FILE_, "clip", "", args, TN_COUNT(args), &one, err);
}

int tn_clip(tn_ctx *c, tn_buffer *g, size_t off, size_t n, const tn_adam_spec *s, tn_error *err)
{
    tn_tensor p;
    int parts;
    const size_t mark = c->ws_used;
    TN_TRY(tn_ws_take(c, &p, TN_F32, TN_PARTIALS, 1, err));
    int rc = tn_grad_norm(c, g, off, n, p.mem, &parts, err);
    if (!rc) rc = tn_clip_sums(c, p.mem, parts, s, err);
    c->ws_used = mark;
    return rc;
}
