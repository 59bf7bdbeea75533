/* Executors of linear layers, LoRA and DoRA. */
#include "exec.h"

#include <string.h>

static int first_rank(const tn_gnode *n, int part)
{
    int r = 0;
    for (int i = 0; i < part; i++) r += n->part[i].r;
    return r;
}

/* x as the adapters see it: dropped out into the workspace when there is dropout. */
static int adapter_input(const tn_call *k, tn_tensor *x)
{
    const tn_attr_lora *a = &k->n->a.linear_t;
    if (a->dropout <= 0) return 0;
    tn_tensor src = *x;
    TN_TRY(tn_ws_take(k->c, x, src.dtype, src.rows, src.cols, k->err));
    return tn_dropout(k->c, &src, x, a->dropout, a->salt, false, false, k->err);
}

int tn_exec_linear_t(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), t = tn_call_out(k, 0);
    TN_TRY(adapter_input(k, &x));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(tn_gemm(k->c, false, true, 1, x, tn_call_weight(k, p->a), 0, tn_cols(t, first_rank(n, i), p->r), NULL, k->err));
    }
    return 0;
}

/* y = x W^T + b. Few tokens read a quantised matrix as it lies, many have it unpacked once. */
static int frozen_product(const tn_call *k, const tn_gpart *p, const tn_tensor *x, tn_tensor y)
{
    const tn_stored *s = &k->s->store->s[p->w];
    bool fused = false;
    if (s->place == TN_PLACE_QUANT) TN_TRY(tn_qgemv_pays(k->c, &s->q, x, &fused, k->err));
    if (fused) return tn_qgemv(k->c, x, &s->q, tn_call_weight(k, p->bias).mem, y, k->err);
    tn_tensor w;
    const size_t mark = k->c->ws_used;
    TN_TRY(tn_call_matrix(k, p->w, x->dtype, &w));
    TN_TRY(tn_gemm(k->c, false, true, 1, *x, w, 0, y, tn_call_weight(k, p->bias).mem, k->err));
    k->c->ws_used = mark;
    return 0;
}

int tn_exec_linear(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), t = tn_call_in(k, 1), y = tn_call_out(k, 0);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols)
        TN_TRY(frozen_product(k, &n->part[i], &x, tn_cols(y, col, n->part[i].cols)));
    for (int i = 0, col = 0; n->in[1] >= 0 && i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        if (p->b < 0) continue;
        TN_TRY(tn_gemm(k->c, false, true, p->scale, tn_cols(t, first_rank(n, i), p->r), tn_call_weight(k, p->b), 1,
                       tn_cols(y, col, p->cols), NULL, k->err));
    }
    return 0;
}

int tn_exec_linear_dt(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = tn_call_in(k, 0), dt = tn_call_out(k, 0);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        if (p->b < 0) continue;
        TN_TRY(tn_gemm(k->c, false, false, p->scale, tn_cols(dy, col, p->cols), tn_call_weight(k, p->b), 0,
                       tn_cols(dt, first_rank(n, i), p->r), NULL, k->err));
    }
    return 0;
}

int tn_exec_linear_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), t = tn_call_in(k, 2), bias[TN_NODE_PARTS];
    int cols[TN_NODE_PARTS];
    bool any_bias = false;
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        tn_tensor part = tn_cols(dy, col, p->cols), dw = tn_call_grad(k, p->w), db = tn_call_grad(k, p->b);
        cols[i] = p->cols;
        bias[i] = tn_call_grad(k, p->bias);
        any_bias |= tn_call_trained(k, p->bias);
        if (tn_call_trained(k, p->w)) TN_TRY(tn_gemm(k->c, true, false, 1, part, x, 1, dw, NULL, k->err));
        if (n->in[2] < 0 || !tn_call_trained(k, p->b)) continue;
        TN_TRY(tn_gemm(k->c, true, false, p->scale, part, tn_cols(t, first_rank(n, i), p->r), 1, db, NULL, k->err));
    }
    return any_bias ? tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err) : 0;
}

int tn_exec_linear_t_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dt = tn_call_in(k, 1);
    TN_TRY(adapter_input(k, &x));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (!tn_call_trained(k, p->a)) continue;
        TN_TRY(tn_gemm(k->c, true, false, 1, tn_cols(dt, first_rank(n, i), p->r), x, 1, tn_call_grad(k, p->a), NULL, k->err));
    }
    return 0;
}

int tn_exec_linear_dx(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = tn_call_in(k, 0), dx = tn_call_out(k, 0);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        tn_tensor w;
        const size_t mark = k->c->ws_used;
        TN_TRY(tn_call_matrix(k, n->part[i].w, dy.dtype, &w));
        TN_TRY(tn_gemm(k->c, false, false, 1, tn_cols(dy, col, n->part[i].cols), w, i || n->onto >= 0 ? 1 : 0, dx, NULL, k->err));
        k->c->ws_used = mark;
    }
    return 0;
}

/* The mask falls on the adapters' share alone: beside something to add to, that is made apart first. */
int tn_exec_linear_t_dx(const tn_call *k)
{
    const tn_gnode *n = k->n;
    const tn_attr_lora *a = &n->a.linear_t;
    tn_tensor dt = tn_call_in(k, 0), dx = tn_call_out(k, 0), z = dx;
    const bool drop = a->dropout > 0, add = n->onto >= 0;
    bool started = add && !drop;
    if (drop && add) TN_TRY(tn_ws_take(k->c, &z, dx.dtype, dx.rows, dx.cols, k->err));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(tn_gemm(k->c, false, false, 1, tn_cols(dt, first_rank(n, i), p->r), tn_call_weight(k, p->a), started ? 1 : 0, z,
                       NULL, k->err));
        started = true;
    }
    return drop ? tn_dropout(k->c, &z, &dx, a->dropout, a->salt, add, false, k->err) : 0;
}

/* g of one part: 1 where it has no magnitude. */
static int dora_scale_part(const tn_call *k, const tn_gpart *p, int col, tn_tensor *g, tn_tensor *inv)
{
    const float one = 1;
    uint32_t pattern;
    memcpy(&pattern, &one, 4);
    if (p->m < 0) {
        TN_TRY(tn_op_fill(k->c, g->mem, (size_t)col * 4, (size_t)p->cols * 4, pattern, k->err));
        return tn_op_fill(k->c, inv->mem, (size_t)col * 4, (size_t)p->cols * 4, pattern, k->err);
    }
    tn_tensor w, t, m = tn_call_weight(k, p->m);
    const size_t mark = k->c->ws_used;
    TN_TRY(tn_call_matrix(k, p->w, k->s->store->act, &w));
    TN_TRY(tn_ws_take(k->c, &t, TN_F32, w.rows, w.cols, k->err));
    TN_TRY(tn_gemm(k->c, false, false, p->scale, tn_call_weight(k, p->b), tn_call_weight(k, p->a), 0, t, NULL, k->err));
    TN_TRY(tn_dora_scale(k->c, &w, &t, &m, col, g, inv, k->err));
    k->c->ws_used = mark;
    return 0;
}

int tn_exec_dora_scale(const tn_call *k)
{
    tn_tensor g = tn_call_out(k, 0), inv = tn_call_out(k, 1);
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        TN_TRY(dora_scale_part(k, &k->n->part[i], col, &g, &inv));
    return 0;
}

int tn_exec_dora(const tn_call *k)
{
    tn_tensor u = tn_call_in(k, 0), g = tn_call_in(k, 1), v = tn_call_in(k, 2), y = tn_call_out(k, 0);
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols)
        TN_TRY(tn_dora(k->c,
                       &(tn_dora_part){&u, &g, k->n->in[2] >= 0 ? &v : NULL, tn_call_weight(k, k->n->part[i].bias).mem, col,
                                       k->n->part[i].cols},
                       &y, k->err));
    return 0;
}

int tn_exec_dora_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = tn_call_in(k, 0), u = tn_call_in(k, 1), inv = tn_call_in(k, 2), bias[TN_NODE_PARTS], sums;
    int cols[TN_NODE_PARTS];
    bool any_bias = false;
    for (int i = 0; i < n->n_parts; i++) {
        cols[i] = n->part[i].cols;
        bias[i] = tn_call_grad(k, n->part[i].bias);
        any_bias |= tn_call_trained(k, n->part[i].bias);
    }
    if (any_bias) TN_TRY(tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err));
    if (n->in[1] < 0) return 0;
    TN_TRY(tn_ws_take(k->c, &sums, TN_F32, 1, dy.cols, k->err));
    TN_TRY(tn_op_fill(k->c, sums.mem, 0, tn_tensor_bytes(&sums), 0, k->err));
    TN_TRY(tn_colsum(k->c, &dy, &u, &sums, k->err));
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        tn_tensor dm = tn_call_grad(k, n->part[i].m);
        if (tn_call_trained(k, n->part[i].m)) TN_TRY(tn_dora_magnitude(k->c, &sums, &inv, col, cols[i], &dm, k->err));
    }
    return 0;
}

int tn_exec_dora_du(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), g = tn_call_in(k, 1), du = tn_call_out(k, 0);
    return tn_scale_cols(k->c, &dy, &g, &du, k->err);
}
