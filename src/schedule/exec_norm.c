/* Executors of norms over tokens, which may make an adapter's thin product of what they write. */
#include "exec_adapters.h"
#include "layernorm_thin.h"

int tn_exec_layernorm(const tn_call *k)
{
    const tn_attr_layernorm *l = &k->n->a.layernorm;
    tn_layernorm_args a = {.x = tn_call_in(k, 0), .y = tn_call_out(k, 0), .stats = tn_call_out(k, 1), .eps = l->eps};
    a.gamma = tn_call_weight(k, k->n->w[0]), a.beta = tn_call_weight(k, k->n->w[1]);
    const tn_tensor t = tn_call_out(k, 2);
    tn_gemm_args g;
    if (t.rows && tn_adapters_down_at_once(k, &l->adapters, a.y.cols, &t, &g)) {
        tn_adapters_bits(k, &l->adapters, 1, &g);
        return tn_layernorm_thin_forward(k->c, &a, &g, k->err);
    }
    TN_TRY(tn_layernorm_forward(k->c, &a.x, &a.gamma, &a.beta, a.eps, &a.y, &a.stats, k->err));
    return t.rows ? tn_adapters_down(k, &l->adapters, &a.y, &t) : 0;
}

int tn_exec_layernorm_grad(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), st = tn_call_in(k, 1), dy = tn_call_in(k, 2), dg = tn_call_grad(k, k->n->w[0]),
              db = tn_call_grad(k, k->n->w[1]);
    return tn_layernorm_grad(k->c, &x, &st, &dy, &dg, &db, k->err);
}

int tn_exec_layernorm_dx(const tn_call *k)
{
    tn_layernorm_args a = {.x = tn_call_in(k, 0), .stats = tn_call_in(k, 1), .dy = tn_call_in(k, 2), .dx = tn_call_out(k, 0)};
    a.gamma = tn_call_weight(k, k->n->w[0]), a.scale = tn_call_weight(k, k->n->w[1]), a.scaled = tn_call_out(k, 1);
    a.accumulate = k->n->onto >= 0;
    const tn_tensor dt = tn_call_out(k, 2);
    if (dt.rows) {
        const tn_gemm_args g = tn_adapters_dt(k, 0, &dt);
        return tn_layernorm_thin_backward(k->c, &a, &g, k->err);
    }
    const tn_layernorm_back b = {&a.x, &a.gamma, &a.stats, &a.dy, &a.scale, a.scaled.rows ? &a.scaled : NULL};
    return tn_layernorm_backward(k->c, &b, &a.dx, a.accumulate, k->err);
}
