/* From a node of the graph to a call of an operation. */
#include "session.h"

#include <string.h>

typedef struct {
    tn_session *s;
    tn_exec *e;
    const tn_gnode *n;
    tn_ctx *c;
    tn_error *err;
} call;

static tn_tensor tensor(const call *k, int id)
{
    if (id < 0) return (tn_tensor){0};
    const tn_gtensor *t = &k->e->g.t[id];
    return tn_view(k->e->mem[id], t->dtype, t->rows, t->cols);
}

static tn_tensor in(const call *k, int i)
{
    return tensor(k, k->n->in[i]);
}

static tn_tensor out(const call *k, int i)
{
    return tensor(k, k->n->out[i]);
}

static bool trained(const call *k, int slot)
{
    tn_trained t = {k->s->m, k->e->pass.groups};
    return slot >= 0 && tn_is_trained(&t, slot);
}

/* A slot that is used as it lies (vectors, convolution kernels, LoRA matrices). */
static tn_tensor weight(const call *k, int slot)
{
    return slot < 0 ? (tn_tensor){0} : k->s->store->s[slot].t;
}

/* Where the slot's gradient accumulates; nothing when it is not trained. */
static tn_tensor grad(const call *k, int slot)
{
    return trained(k, slot) ? k->s->store->s[slot].grad : (tn_tensor){0};
}

/* A linear layer's matrix, unpacked into the workspace when it is quantised. */
static int matrix(const call *k, int slot, tn_tensor *w)
{
    const tn_stored *s = &k->s->store->s[slot];
    if (s->place != TN_PLACE_QUANT) {
        *w = s->t;
        return 0;
    }
    TN_TRY(tn_ws_take(k->c, w, k->s->store->act, s->q.s.rows, s->q.s.cols, k->err));
    return tn_unpack(k->c, &s->q, w, k->err);
}

static int first_rank(const tn_gnode *n, int part)
{
    int r = 0;
    for (int i = 0; i < part; i++) r += n->part[i].r;
    return r;
}

/* x as the adapters see it: dropped out into the workspace when there is dropout. */
static int adapter_input(const call *k, tn_tensor *x)
{
    if (k->n->f[0] <= 0) return 0;
    tn_tensor src = *x;
    TN_TRY(tn_ws_take(k->c, x, src.dtype, src.rows, src.cols, k->err));
    return tn_dropout(k->c, &src, x, k->n->f[0], (uint32_t)k->n->i[0], false, false, k->err);
}

/* y = x W^T + b. Few tokens read a quantised matrix as it lies, many have it unpacked once. */
static int frozen_product(const call *k, const tn_gpart *p, const tn_tensor *x, tn_tensor y)
{
    const tn_stored *s = &k->s->store->s[p->w];
    bool fused = false;
    if (s->place == TN_PLACE_QUANT) TN_TRY(tn_qgemv_pays(k->c, &s->q, x, &fused, k->err));
    if (fused) return tn_qgemv(k->c, x, &s->q, weight(k, p->bias).mem, y, k->err);
    tn_tensor w;
    const size_t mark = k->c->ws_used;
    TN_TRY(matrix(k, p->w, &w));
    TN_TRY(tn_gemm(k->c, false, true, 1, *x, w, 0, y, weight(k, p->bias).mem, k->err));
    k->c->ws_used = mark;
    return 0;
}

static int linear(const call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = in(k, 0), y = out(k, 0), t = out(k, 1);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        TN_TRY(frozen_product(k, &n->part[i], &x, tn_cols(y, col, n->part[i].cols)));
    }
    if (n->out[1] < 0) return 0;
    TN_TRY(adapter_input(k, &x));
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        tn_tensor tp = tn_cols(t, first_rank(n, i), p->r);
        TN_TRY(tn_gemm(k->c, false, true, 1, x, weight(k, p->a), 0, tp, NULL, k->err));
        TN_TRY(tn_gemm(k->c, false, true, p->scale, tp, weight(k, p->b), 1, tn_cols(y, col, p->cols), NULL, k->err));
    }
    return 0;
}

static int linear_dt(const call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = in(k, 0), dt = out(k, 0);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(tn_gemm(k->c, false, false, p->scale, tn_cols(dy, col, p->cols), weight(k, p->b), 0,
                       tn_cols(dt, first_rank(n, i), p->r), NULL, k->err));
    }
    return 0;
}

static int lora_grads(const call *k, tn_tensor x, tn_tensor dy)
{
    const tn_gnode *n = k->n;
    tn_tensor t = in(k, 2), dt = in(k, 3);
    TN_TRY(adapter_input(k, &x));
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        if (!trained(k, p->a)) continue;
        const int r = first_rank(n, i);
        TN_TRY(tn_gemm(k->c, true, false, 1, tn_cols(dt, r, p->r), x, 1, grad(k, p->a), NULL, k->err));
        TN_TRY(
            tn_gemm(k->c, true, false, p->scale, tn_cols(dy, col, p->cols), tn_cols(t, r, p->r), 1, grad(k, p->b), NULL, k->err));
    }
    return 0;
}

static int linear_grad(const call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = in(k, 0), dy = in(k, 1), bias[TN_NODE_PARTS];
    int cols[TN_NODE_PARTS];
    bool any_bias = false, any_lora = false;
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        cols[i] = p->cols;
        bias[i] = grad(k, p->bias);
        any_bias |= trained(k, p->bias);
        any_lora |= trained(k, p->a);
        if (trained(k, p->w)) TN_TRY(tn_gemm(k->c, true, false, 1, tn_cols(dy, col, p->cols), x, 1, grad(k, p->w), NULL, k->err));
    }
    if (any_bias) TN_TRY(tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err));
    return any_lora ? lora_grads(k, x, dy) : 0;
}

static int linear_dx(const call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = in(k, 0), dt = in(k, 1), dx = out(k, 0), z = dx;
    const bool drop = n->f[0] > 0;
    bool started = n->accumulate, z_started = false;
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        tn_tensor w;
        size_t mark = k->c->ws_used;
        TN_TRY(matrix(k, n->part[i].w, &w));
        TN_TRY(tn_gemm(k->c, false, false, 1, tn_cols(dy, col, n->part[i].cols), w, started ? 1 : 0, dx, NULL, k->err));
        k->c->ws_used = mark;
        started = true;
    }
    if (n->in[1] < 0) return 0;
    if (drop) TN_TRY(tn_ws_take(k->c, &z, dx.dtype, dx.rows, dx.cols, k->err));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(tn_gemm(k->c, false, false, 1, tn_cols(dt, first_rank(n, i), p->r), weight(k, p->a), !drop || z_started ? 1 : 0, z,
                       NULL, k->err));
        z_started = true;
    }
    return drop ? tn_dropout(k->c, &z, &dx, n->f[0], (uint32_t)n->i[0], true, false, k->err) : 0;
}

static int dropout(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    return tn_dropout(k->c, &x, &y, k->n->f[0], (uint32_t)k->n->i[0], k->n->accumulate, k->n->i[1], k->err);
}

/* g of one part: 1 where it has no magnitude. */
static int dora_scale_part(const call *k, const tn_gpart *p, int col, tn_tensor *g, tn_tensor *inv)
{
    const float one = 1;
    uint32_t pattern;
    memcpy(&pattern, &one, 4);
    if (p->m < 0) {
        if (k->c->dry) return 0;
        TN_TRY(tn_buffer_fill(k->c->dev, g->mem, (size_t)col * 4, (size_t)p->cols * 4, pattern, k->err));
        return tn_buffer_fill(k->c->dev, inv->mem, (size_t)col * 4, (size_t)p->cols * 4, pattern, k->err);
    }
    tn_tensor w, t, m = weight(k, p->m);
    const size_t mark = k->c->ws_used;
    TN_TRY(matrix(k, p->w, &w));
    TN_TRY(tn_ws_take(k->c, &t, TN_F32, w.rows, w.cols, k->err));
    TN_TRY(tn_gemm(k->c, false, false, p->scale, weight(k, p->b), weight(k, p->a), 0, t, NULL, k->err));
    TN_TRY(tn_dora_scale(k->c, &w, &t, &m, col, g, inv, k->err));
    k->c->ws_used = mark;
    return 0;
}

static int dora_scale(const call *k)
{
    tn_tensor g = out(k, 0), inv = out(k, 1);
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        TN_TRY(dora_scale_part(k, &k->n->part[i], col, &g, &inv));
    return 0;
}

static int dora(const call *k)
{
    tn_tensor u = in(k, 0), g = in(k, 1), v = in(k, 2), y = out(k, 0);
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        TN_TRY(tn_dora(k->c, &u, &g, k->n->in[2] >= 0 ? &v : NULL, weight(k, k->n->part[i].bias).mem, col, k->n->part[i].cols, &y,
                       k->err));
    return 0;
}

static int dora_grad(const call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = in(k, 0), u = in(k, 1), inv = in(k, 2), bias[TN_NODE_PARTS], sums;
    int cols[TN_NODE_PARTS];
    bool any_bias = false;
    for (int i = 0; i < n->n_parts; i++) {
        cols[i] = n->part[i].cols;
        bias[i] = grad(k, n->part[i].bias);
        any_bias |= trained(k, n->part[i].bias);
    }
    if (any_bias) TN_TRY(tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err));
    if (n->in[1] < 0) return 0;
    TN_TRY(tn_ws_take(k->c, &sums, TN_F32, 1, dy.cols, k->err));
    if (!k->c->dry) TN_TRY(tn_buffer_fill(k->c->dev, sums.mem, 0, tn_tensor_bytes(&sums), 0, k->err));
    TN_TRY(tn_colsum(k->c, &dy, &u, &sums, k->err));
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        tn_tensor dm = grad(k, n->part[i].m);
        if (trained(k, n->part[i].m)) TN_TRY(tn_dora_magnitude(k->c, &sums, &inv, col, cols[i], &dm, k->err));
    }
    return 0;
}

static int dora_du(const call *k)
{
    tn_tensor dy = in(k, 0), g = in(k, 1), du = out(k, 0);
    return tn_scale_cols(k->c, &dy, &g, &du, k->err);
}

static int patchify(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    return tn_patchify(k->c, &x, k->e->g.batch, k->n->i[0], k->n->i[1], k->n->i[2], &y, k->err);
}

static tn_tensor positions_weight(const call *k, tn_tensor t, int rows)
{
    t.cols = t.ld = t.cols * t.rows / rows;
    t.rows = rows;
    return t;
}

/* positions [1+P', D] = R [1+P', 1+P] x stored [1+P, D] */
static int positions(const call *k)
{
    tn_tensor r = in(k, 0), y = out(k, 0);
    return tn_gemm(k->c, false, false, 1, r, positions_weight(k, weight(k, k->n->w[0]), r.cols), 0, y, NULL, k->err);
}

static int positions_grad(const call *k)
{
    tn_tensor r = in(k, 0), dy = in(k, 1);
    return tn_gemm(k->c, true, false, 1, r, dy, 1, positions_weight(k, grad(k, k->n->w[0]), r.cols), NULL, k->err);
}

static int tokens(const call *k)
{
    tn_tensor p = in(k, 0), pos = in(k, 1), x = out(k, 0), cls = weight(k, k->n->w[0]), reg = weight(k, k->n->w[1]);
    return tn_tokens_forward(k->c, &p, &cls, &reg, k->n->in[1] >= 0 ? &pos : NULL, k->e->g.batch, k->n->i[0], &x, k->err);
}

static int tokens_grad(const call *k)
{
    tn_tensor dx = in(k, 0), cls = grad(k, k->n->w[0]), reg = grad(k, k->n->w[1]), pos = out(k, 0);
    const int B = k->e->g.batch, n_reg = k->n->i[0], N = dx.rows / B;
    if (trained(k, k->n->w[0])) TN_TRY(tn_token_grad(k->c, &dx, B, 0, 1, &cls, k->err));
    if (n_reg && trained(k, k->n->w[1])) TN_TRY(tn_token_grad(k->c, &dx, B, 1, n_reg, &reg, k->err));
    if (k->n->out[0] < 0) return 0;
    if (!k->c->dry) TN_TRY(tn_buffer_fill(k->c->dev, pos.mem, 0, tn_tensor_bytes(&pos), 0, k->err));
    TN_TRY(tn_token_grad(k->c, &dx, B, 0, 1, &pos, k->err));
    /* row 0 is CLS; the patches' rows are summed behind it */
    tn_tensor rest;
    TN_TRY(tn_ws_take(k->c, &rest, TN_F32, N - 1 - n_reg, dx.cols, k->err));
    if (k->c->dry) return 0;
    TN_TRY(tn_buffer_fill(k->c->dev, rest.mem, 0, tn_tensor_bytes(&rest), 0, k->err));
    TN_TRY(tn_token_grad(k->c, &dx, B, 1 + n_reg, N - 1 - n_reg, &rest, k->err));
    return tn_buffer_copy(k->c->dev, rest.mem, 0, pos.mem, (size_t)dx.cols * 4, tn_tensor_bytes(&rest), k->err);
}

static int tokens_dx(const call *k)
{
    tn_tensor dx = in(k, 0), dp = out(k, 0);
    return tn_grid_forward(k->c, &dx, k->e->g.batch, k->n->i[0], &dp, k->err);
}

static int layernorm(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0), st = out(k, 1), g = weight(k, k->n->w[0]), b = weight(k, k->n->w[1]);
    return tn_layernorm_forward(k->c, &x, &g, &b, k->n->f[0], &y, &st, k->err);
}

static int layernorm_grad(const call *k)
{
    tn_tensor x = in(k, 0), st = in(k, 1), dy = in(k, 2), dg = grad(k, k->n->w[0]), db = grad(k, k->n->w[1]);
    return tn_layernorm_grad(k->c, &x, &st, &dy, &dg, &db, k->err);
}

static int layernorm_dx(const call *k)
{
    tn_tensor x = in(k, 0), st = in(k, 1), dy = in(k, 2), dx = out(k, 0), g = weight(k, k->n->w[0]);
    return tn_layernorm_backward(k->c, &x, &g, &st, &dy, &dx, k->n->accumulate, k->err);
}

static int rope(const call *k)
{
    tn_tensor qkv = out(k, 0), table = in(k, 1);
    int dir = k->n->op == TN_OP_ROPE ? 1 : -1;
    return tn_rope(k->c, &qkv, &table, k->e->g.batch, k->n->i[0], k->n->i[1], dir, k->err);
}

static int attention(const call *k)
{
    tn_tensor qkv = in(k, 0), o = out(k, 0), lse = out(k, 1);
    return tn_attention_forward(k->c, &qkv, k->e->g.batch, k->n->i[0], &o, &lse, k->err);
}

static int attention_back(const call *k)
{
    tn_tensor qkv = in(k, 0), o = in(k, 1), lse = in(k, 2), d_o = in(k, 3), dqkv = out(k, 0), delta = out(k, 1);
    return tn_attention_backward(k->c, &qkv, &o, &lse, &d_o, k->e->g.batch, k->n->i[0], &delta, &dqkv, k->err);
}

static int residual(const call *k)
{
    tn_tensor x = in(k, 0), y = in(k, 1), o = out(k, 0), s = weight(k, k->n->w[0]);
    return tn_residual(k->c, &x, &y, k->n->w[0] >= 0 ? &s : NULL, &o, k->err);
}

static int scale_cols(const call *k)
{
    tn_tensor x = in(k, 0), o = out(k, 0), s = weight(k, k->n->w[0]);
    return tn_scale_cols(k->c, &x, &s, &o, k->err);
}

static int scale_grad(const call *k)
{
    tn_tensor d = in(k, 0), y = in(k, 1), g = grad(k, k->n->w[0]);
    return tn_colsum(k->c, &d, &y, &g, k->err);
}

static int add_into(const call *k)
{
    tn_tensor src = in(k, 0), dst = out(k, 0);
    return tn_add_into(k->c, &dst, &src, k->err);
}

static int act(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    return k->n->op == TN_OP_ACT ? tn_act_forward(k->c, (tn_fn)k->n->i[0], &x, &y, k->err)
                                 : tn_glu_forward(k->c, (tn_fn)k->n->i[0], &x, &y, k->err);
}

static int act_back(const call *k)
{
    tn_tensor x = in(k, 0), dy = in(k, 1), dx = out(k, 0);
    return k->n->op == TN_OP_ACT_BACK ? tn_act_backward(k->c, (tn_fn)k->n->i[0], &x, &dy, &dx, k->err)
                                      : tn_glu_backward(k->c, (tn_fn)k->n->i[0], &x, &dy, &dx, k->err);
}

static int grid(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    return k->n->op == TN_OP_GRID ? tn_grid_forward(k->c, &x, k->e->g.batch, k->n->i[0], &y, k->err)
                                  : tn_grid_backward(k->c, &x, k->e->g.batch, k->n->i[0], &y, k->err);
}

static int bilinear(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    const tn_gnode *n = k->n;
    tn_size2 small = {n->i[0], n->i[1]}, large = {n->i[2], n->i[3]};
    const bool fwd = n->op == TN_OP_BILINEAR;
    return fwd ? tn_bilinear_forward(k->c, &x, k->e->g.batch, small, large, n->f[0], n->f[1], &y, k->err)
               : tn_bilinear_backward(k->c, &x, k->e->g.batch, small, large, n->f[0], n->f[1], &y, k->err);
}

static int conv(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0), w = weight(k, k->n->w[0]);
    tn_size2 s = {k->n->i[0], k->n->i[1]};
    return k->n->op == TN_OP_DWCONV ? tn_dwconv_forward(k->c, &x, &w, k->e->g.batch, s, &y, k->err)
                                    : tn_conv3_forward(k->c, &x, &w, k->e->g.batch, s, &y, k->err);
}

static int conv_back(const call *k)
{
    tn_tensor x = in(k, 0), dy = in(k, 1), dx = out(k, 0), w = weight(k, k->n->w[0]), dw = grad(k, k->n->w[0]);
    tn_size2 s = {k->n->i[0], k->n->i[1]};
    dw.rows = w.rows, dw.cols = dw.ld = w.cols;
    return k->n->op == TN_OP_DWCONV_BACK ? tn_dwconv_backward(k->c, &x, &w, &dy, k->e->g.batch, s, &dx, &dw, k->err)
                                         : tn_conv3_backward(k->c, &x, &w, &dy, k->e->g.batch, s, &dx, &dw, k->err);
}

#define NORM2D_EPS 1e-5f

static int norm2d(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0), st = out(k, 1), g = weight(k, k->n->w[0]), b = weight(k, k->n->w[1]);
    tn_tensor mean = weight(k, k->n->w[2]), var = weight(k, k->n->w[3]);
    const int unit = k->n->i[0], groups = k->n->i[1], track = k->n->i[2];
    if (track == 2) TN_TRY(tn_batchnorm_stats(k->c, &mean, &var, NORM2D_EPS, &st, k->err));
    else TN_TRY(tn_norm2d_stats(k->c, &x, unit, groups, NORM2D_EPS, &st, k->err));
    if (track == 1) TN_TRY(tn_batchnorm_track(k->c, &st, &mean, &var, NORM2D_EPS, 0.1f, x.rows, k->err));
    return tn_norm2d_apply(k->c, &x, &st, &g, &b, unit, groups, &y, k->err);
}

static int norm2d_back(const call *k)
{
    tn_tensor x = in(k, 0), st = in(k, 1), dy = in(k, 2), dx = out(k, 0);
    tn_tensor g = weight(k, k->n->w[0]), dg = grad(k, k->n->w[0]), db = grad(k, k->n->w[1]);
    return tn_norm2d_backward(k->c, &x, &st, &g, &dy, k->n->i[0], k->n->i[1], &dx, &dg, &db, k->err);
}

static int sample_mean(const call *k)
{
    tn_tensor x = in(k, 0), s = out(k, 0);
    return tn_sample_sum(k->c, &x, NULL, k->n->i[0], 1.0f / (float)k->n->i[0], &s, k->err);
}

static int sample_mean_back(const call *k)
{
    tn_tensor ds = in(k, 0), dx = out(k, 0);
    return tn_add_channels(k->c, &dx, &ds, 1.0f / (float)k->n->i[0], k->n->i[0], k->err);
}

static int scale_channels(const call *k)
{
    tn_tensor x = in(k, 0), z = in(k, 1), y = out(k, 0);
    return tn_scale_channels(k->c, &x, &z, k->n->i[0], &y, k->err);
}

static int scale_channels_back(const call *k)
{
    tn_tensor x = in(k, 0), z = in(k, 1), dy = in(k, 2), dx = out(k, 0), dz = out(k, 1);
    TN_TRY(tn_sample_sum(k->c, &dy, &x, k->n->i[0], 1, &dz, k->err));
    return tn_scale_channels(k->c, &dy, &z, k->n->i[0], &dx, k->err);
}

static int dropout2d(const call *k)
{
    tn_tensor x = in(k, 0), y = out(k, 0);
    return tn_dropout2d(k->c, &x, &y, k->n->f[0], (uint32_t)k->n->i[1], k->n->i[0], k->err);
}

static int loss(const call *k)
{
    tn_tensor heat = in(k, 0), target = in(k, 1), mask = in(k, 2), d = out(k, 0), part = out(k, 1);
    return tn_heatmap_loss(k->c, &heat, &target, &mask, &k->s->loss, &d, &part, k->err);
}

int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err)
{
    static int (*const table[TN_OP_COUNT])(const call *) = {
        [TN_OP_PATCHIFY] = patchify,
        [TN_OP_LINEAR] = linear,
        [TN_OP_POSITIONS] = positions,
        [TN_OP_TOKENS] = tokens,
        [TN_OP_LAYERNORM] = layernorm,
        [TN_OP_ROPE] = rope,
        [TN_OP_ATTENTION] = attention,
        [TN_OP_RESIDUAL] = residual,
        [TN_OP_ACT] = act,
        [TN_OP_GLU] = act,
        [TN_OP_GRID] = grid,
        [TN_OP_BILINEAR] = bilinear,
        [TN_OP_DWCONV] = conv,
        [TN_OP_CONV3] = conv,
        [TN_OP_NORM2D] = norm2d,
        [TN_OP_SAMPLE_MEAN] = sample_mean,
        [TN_OP_SCALE_CHANNELS] = scale_channels,
        [TN_OP_DROPOUT2D] = dropout2d,
        [TN_OP_LOSS] = loss,
        [TN_OP_LINEAR_DT] = linear_dt,
        [TN_OP_LINEAR_GRAD] = linear_grad,
        [TN_OP_LINEAR_DX] = linear_dx,
        [TN_OP_POSITIONS_GRAD] = positions_grad,
        [TN_OP_TOKENS_GRAD] = tokens_grad,
        [TN_OP_TOKENS_DX] = tokens_dx,
        [TN_OP_LAYERNORM_GRAD] = layernorm_grad,
        [TN_OP_LAYERNORM_DX] = layernorm_dx,
        [TN_OP_ROPE_BACK] = rope,
        [TN_OP_ATTENTION_BACK] = attention_back,
        [TN_OP_SCALE_COLS] = scale_cols,
        [TN_OP_SCALE_GRAD] = scale_grad,
        [TN_OP_ADD_INTO] = add_into,
        [TN_OP_ACT_BACK] = act_back,
        [TN_OP_GLU_BACK] = act_back,
        [TN_OP_GRID_BACK] = grid,
        [TN_OP_BILINEAR_BACK] = bilinear,
        [TN_OP_DWCONV_BACK] = conv_back,
        [TN_OP_CONV3_BACK] = conv_back,
        [TN_OP_NORM2D_BACK] = norm2d_back,
        [TN_OP_DROPOUT] = dropout,
        [TN_OP_DROPOUT_BACK] = dropout,
        [TN_OP_DORA_SCALE] = dora_scale,
        [TN_OP_DORA] = dora,
        [TN_OP_DORA_GRAD] = dora_grad,
        [TN_OP_DORA_DU] = dora_du,
        [TN_OP_SAMPLE_MEAN_BACK] = sample_mean_back,
        [TN_OP_SCALE_CHANNELS_BACK] = scale_channels_back,
    };
    call k = {s, e, n, &s->ctx, err};
    /* the kernels' storage type follows the node's first input: squeeze-excitation's small tensors are float32 */
    int rc = table[n->op](&k);
    return rc;
}
