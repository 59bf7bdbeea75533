/* Executors of DoRA: the row norms of W + s B A, the scaling by them, and its gradients. */
#include "exec.h"
#include "gemm.h"

#include <string.h>

static tn_tensor reshaped(tn_tensor t, int rows, int cols)
{
    t.rows = rows, t.cols = t.ld = cols;
    return t;
}

/* g of one part: 1 where it has no magnitude. With several groups B A is what PEFT takes it for: B's values in their order as
 * [cols / groups, r], and the product's as the kernel's. */
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
    const tn_tensor a = tn_call_weight(k, p->a), b = tn_call_weight(k, p->b);
    const int rows = (int)(tn_tensor_count(&b) / (size_t)a.rows); /* fewer than w's beside a convolution of several groups */
    const tn_gemm_args product = {.alpha = p->scale, .A = reshaped(b, rows, a.rows), .B = a, .C = reshaped(t, rows, a.cols)};
    TN_TRY(tn_gemm_run(k->c, &product, k->err));
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
    for (int i = 0, col = 0; i < k->n->n_parts; col += k->n->part[i++].cols) {
        tn_buffer *bias = tn_call_weight(k, k->n->part[i].bias).mem;
        const tn_dora_part part = {&u, &g, k->n->in[2] >= 0 ? &v : NULL, bias, col, k->n->part[i].cols};
        TN_TRY(tn_dora(k->c, &part, &y, k->err));
    }
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
