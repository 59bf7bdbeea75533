/* Executors of rows: what leads through several affine maps to few outputs. */
#include "exec.h"

/* The rows are a tensor, or the slots of what comes last. */
typedef struct {
    tn_tensor v, k, w, b;
    tn_affine_rows rows;
} rows_call;

static void exec_rows(const tn_call *k, rows_call *r)
{
    const tn_attr_rows *a = &k->n->a.affine_rows;
    const bool slots = k->n->in[0] < 0;
    *r = (rows_call){.v = slots ? tn_call_weight(k, k->n->w[2]) : tn_call_in(k, 0), .w = tn_call_weight(k, k->n->w[0])};
    r->b = tn_call_weight(k, k->n->w[1]);
    if (slots && a->constant) r->k = tn_call_weight(k, k->n->w[3]);
    r->rows = (tn_affine_rows){&r->v, slots || !a->constant ? &r->k : &r->v, a->first, &r->w, &r->b};
}

int tn_exec_affine_rows(const tn_call *k)
{
    rows_call r;
    tn_tensor out = tn_call_out(k, 0);
    exec_rows(k, &r);
    return tn_affine_rows_forward(k->c, &r.rows, &out, k->err);
}

int tn_exec_affine_rows_back(const tn_call *k)
{
    rows_call r;
    tn_tensor d = tn_call_in(k, 1), dv = tn_call_out(k, 0), dk = {0};
    tn_tensor dw = tn_call_grad(k, k->n->w[0]), db = tn_call_grad(k, k->n->w[1]);
    exec_rows(k, &r);
    if (dv.rows) TN_TRY(tn_op_fill(k->c, dv.mem, 0, tn_tensor_bytes(&dv), 0, k->err));
    if (k->n->in[0] < 0) dv = tn_call_grad(k, k->n->w[2]), dk = tn_call_grad(k, k->n->w[3]);
    else if (k->n->a.affine_rows.constant) dk = dv;
    return tn_affine_rows_backward(k->c, &r.rows, &(tn_affine_rows_grads){&d, &dw, &db, &dv, &dk}, k->err);
}
