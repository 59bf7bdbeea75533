/* What every executor asks of its call. */
#include "exec.h"

static tn_tensor tensor(const tn_call *k, int id)
{
    if (id < 0) return (tn_tensor){0};
    const tn_gtensor *t = &k->e->g.t[id];
    return tn_view(k->e->mem[id], t->dtype, t->rows, t->cols);
}

tn_tensor tn_call_in(const tn_call *k, int i)
{
    return tensor(k, k->n->in[i]);
}

tn_tensor tn_call_out(const tn_call *k, int i)
{
    return tensor(k, k->n->out[i]);
}

bool tn_call_trained(const tn_call *k, int slot)
{
    tn_trained t = {k->s->m, k->e->pass.groups};
    return slot >= 0 && tn_is_trained(&t, slot);
}

tn_tensor tn_call_weight(const tn_call *k, int slot)
{
    return slot < 0 ? (tn_tensor){0} : k->s->store->s[slot].t;
}

tn_tensor tn_call_grad(const tn_call *k, int slot)
{
    return tn_call_trained(k, slot) ? k->s->store->s[slot].grad : (tn_tensor){0};
}

bool tn_call_dense(const tn_call *k, int slot, tn_tensor *w)
{
    const tn_stored *s = &k->s->store->s[slot];
    if ((k->e->pass.merged || k->s->store->unpacked) && s->merged.rows) return *w = s->merged, true;
    if (s->place == TN_PLACE_QUANT) return false;
    const tn_tensor shadow = tn_store_operand(k->s->store, slot);
    *w = shadow.dtype == s->t.dtype ? s->t : shadow; /* a region of its own where there is no shadow */
    return true;
}

int tn_call_matrix(const tn_call *k, int slot, tn_dtype to, tn_tensor *w)
{
    const tn_stored *s = &k->s->store->s[slot];
    if (tn_call_dense(k, slot, w)) return 0;
    TN_TRY(tn_ws_take(k->c, w, to, s->q.s.rows, s->q.s.cols, k->err));
    return tn_unpack(k->c, &s->q, w, k->err);
}
