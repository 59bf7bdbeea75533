/* Executors of rows: what leads through several affine maps to one output. */
#include "exec.h"

/* The row is a tensor, or the slots of what comes last. */
typedef struct {
    tn_tensor v, k, w, b;
    tn_row row;
} row_call;

static void exec_row(const tn_call *k, row_call *r)
{
    const tn_attr_row *a = &k->n->a.affine_row;
    const bool slots = k->n->in[0] < 0;
    *r = (row_call){.v = slots ? tn_call_weight(k, k->n->w[2]) : tn_call_in(k, 0), .w = tn_call_weight(k, k->n->w[0])};
    r->b = tn_call_weight(k, k->n->w[1]);
    if (slots && a->constant) r->k = tn_call_weight(k, k->n->w[3]);
    r->row = (tn_row){&r->v, slots || !a->constant ? &r->k : &r->v, a->first, &r->w, &r->b};
}

int tn_exec_affine_row(const tn_call *k)
{
    row_call r;
    tn_tensor out = tn_call_out(k, 0);
    exec_row(k, &r);
    return tn_row_through(k->c, &r.row, &out, k->err);
}

int tn_exec_affine_row_back(const tn_call *k)
{
    row_call r;
    tn_tensor d = tn_call_in(k, 1), dv = tn_call_out(k, 0), dk = {0};
    tn_tensor dw = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    exec_row(k, &r);
    if (dv.rows) TN_TRY(tn_op_fill(k->c, dv.mem, 0, tn_tensor_bytes(&dv), 0, k->err));
    if (k->n->in[0] < 0) dv = tn_call_grad(k, k->n->w[2]), dk = tn_call_grad(k, k->n->w[3]);
    else if (k->n->a.affine_row.constant) dk = dv;
    return tn_row_backward(k->c, &r.row, &(tn_row_grads){&d, &dw, &db, &dv, &dk}, k->err);
}
