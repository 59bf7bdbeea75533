#include "exec_adapters.h"

int tn_adapters_rank(const tn_gnode *n, int part)
{
    int r = 0;
    for (int i = 0; i < part; i++) r += n->part[i].r;
    return r;
}

bool tn_adapters_follow(const tn_call *k, const int *slots, const size_t *count, int n)
{
    const tn_stored *s = k->s->store->s;
    for (int i = 0; i < n; i++) {
        if (slots[i] < 0 || s[slots[i]].place != TN_PLACE_PARAM) return false;
        if (i && s[slots[i]].off != s[slots[i - 1]].off + count[i - 1]) return false;
    }
    return true;
}

bool tn_adapters_join(const tn_call *k, int in)
{
    int slots[TN_NODE_PARTS];
    size_t count[TN_NODE_PARTS];
    for (int i = 0; i < k->n->n_parts; i++) {
        slots[i] = k->n->part[i].a;
        count[i] = (size_t)k->n->part[i].r * (size_t)in;
    }
    return k->n->n_parts > 1 && tn_adapters_follow(k, slots, count, k->n->n_parts);
}

tn_tensor tn_adapters_operand(const tn_call *k, int slot, int rows)
{
    tn_tensor t = tn_store_operand(k->s->store, slot);
    t.rows = rows;
    return t;
}

static tn_gemm_args down(const tn_call *k, const tn_attr_lora *l, int slot, tn_tensor t)
{
    return (tn_gemm_args){
        .tb = true, .alpha = 1, .B = tn_adapters_operand(k, slot, t.cols), .C = t, .mask_a = {l->dropout, l->salt}};
}

void tn_adapters_bits(const tn_call *k, const tn_attr_lora *l, int input, tn_gemm_args *g)
{
    if (k->n->in[input] < 0 || l->dropout <= 0) return;
    g->drawn = 1 + k->n->in[input];
    g->bits = tn_call_in(k, input).mem, g->bits_at = (size_t)l->bits_at;
}

bool tn_adapters_down_at_once(const tn_call *k, const tn_attr_lora *l, int in, const tn_tensor *t, tn_gemm_args *g)
{
    int adapted = 0, last = 0;
    for (int i = 0; i < k->n->n_parts; i++)
        if (k->n->part[i].a >= 0) adapted++, last = i;
    if (adapted != 1 && !tn_adapters_join(k, in)) return false;
    *g = down(k, l, k->n->part[adapted == 1 ? last : 0].a, *t);
    return true;
}

int tn_adapters_down(const tn_call *k, const tn_attr_lora *l, const tn_tensor *x, const tn_tensor *t)
{
    const tn_gnode *n = k->n;
    tn_gemm_args g;
    const bool at_once = tn_adapters_down_at_once(k, l, x->cols, t, &g);
    for (int i = 0; i < (at_once ? 1 : n->n_parts); i++) {
        const tn_gpart *p = &n->part[i];
        if (!at_once && p->a < 0) continue;
        if (!at_once) g = down(k, l, p->a, tn_cols(*t, tn_adapters_rank(n, i), p->r));
        g.A = *x;
        if (n->op == TN_OP_LINEAR_T) tn_adapters_bits(k, l, 1, &g);
        TN_TRY(tn_gemm_run(k->c, &g, k->err));
    }
    return 0;
}

tn_gemm_args tn_adapters_dt(const tn_call *k, int part, const tn_tensor *dt)
{
    const tn_gpart *p = &k->n->part[part];
    return (tn_gemm_args){
        .alpha = p->scale, .B = tn_adapters_operand(k, p->b, p->cols), .C = tn_cols(*dt, tn_adapters_rank(k->n, part), p->r)};
}
