/* Executors of tokens and attention. */
#include "exec.h"
#include "gemm.h"

int tn_exec_patchify(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    const tn_attr_patchify *a = &k->n->a.patchify;
    const tn_patches p = {a->height, a->width, a->patch, a->normalize, a->frames};
    return tn_patchify(k->c, &x, &p, &y, k->err);
}

static tn_tensor positions_weight(const tn_call *k, tn_tensor t, int rows)
{
    t.cols = t.ld = t.cols * t.rows / rows;
    t.rows = rows;
    return t;
}

/* positions [1+P', D] = R [1+P', 1+P] x stored [1+P, D] */
int tn_exec_positions(const tn_call *k)
{
    tn_tensor r = tn_call_in(k, 0), y = tn_call_out(k, 0);
    const tn_tensor w = positions_weight(k, tn_call_weight(k, k->n->w[0]), r.cols);
    return tn_gemm_run(k->c, &(tn_gemm_args){.alpha = 1, .A = r, .B = w, .C = y}, k->err);
}

int tn_exec_positions_grad(const tn_call *k)
{
    tn_tensor r = tn_call_in(k, 0), dy = tn_call_in(k, 1);
    const tn_tensor dw = positions_weight(k, tn_call_grad(k, k->n->w[0]), r.cols);
    return tn_gemm_run(k->c, &(tn_gemm_args){.ta = true, .alpha = 1, .A = r, .B = dy, .beta = 1, .C = dw}, k->err);
}

int tn_exec_tokens(const tn_call *k)
{
    tn_tensor p = tn_call_in(k, 0), pos = tn_call_in(k, 1), x = tn_call_out(k, 0), cls = tn_call_weight(k, k->n->w[0]),
              reg = tn_call_weight(k, k->n->w[1]);
    const tn_tokens t = {&p, &cls, &reg, k->n->in[1] >= 0 ? &pos : NULL, k->n->a.tokens.registers};
    return tn_tokens_forward(k->c, &t, k->e->g.batch, &x, k->err);
}

int tn_exec_tokens_grad(const tn_call *k)
{
    tn_tensor dx = tn_call_in(k, 0), cls = tn_call_grad(k, k->n->w[0]), reg = tn_call_grad(k, k->n->w[1]), pos = tn_call_out(k, 0);
    const int B = k->e->g.batch, n_reg = k->n->a.tokens.registers, N = dx.rows / B;
    if (tn_call_trained(k, k->n->w[0])) TN_TRY(tn_token_grad(k->c, &dx, B, 0, 1, &cls, k->err));
    if (n_reg && tn_call_trained(k, k->n->w[1])) TN_TRY(tn_token_grad(k->c, &dx, B, 1, n_reg, &reg, k->err));
    if (k->n->out[0] < 0) return 0;
    TN_TRY(tn_op_fill(k->c, pos.mem, 0, tn_tensor_bytes(&pos), 0, k->err));
    TN_TRY(tn_token_grad(k->c, &dx, B, 0, 1, &pos, k->err));
    /* row 0 is CLS; the patches' rows are summed behind it */
    tn_tensor rest;
    TN_TRY(tn_ws_take(k->c, &rest, TN_F32, N - 1 - n_reg, dx.cols, k->err));
    TN_TRY(tn_op_fill(k->c, rest.mem, 0, tn_tensor_bytes(&rest), 0, k->err));
    TN_TRY(tn_token_grad(k->c, &dx, B, 1 + n_reg, N - 1 - n_reg, &rest, k->err));
    return tn_op_copy(k->c, rest.mem, pos.mem, (size_t)dx.cols * 4, tn_tensor_bytes(&rest), k->err);
}

int tn_exec_tokens_dx(const tn_call *k)
{
    tn_tensor dx = tn_call_in(k, 0), dp = tn_call_out(k, 0);
    return tn_grid_forward(k->c, &dx, k->e->g.batch, 1 + k->n->a.tokens.registers, &dp, k->err);
}

int tn_exec_grid(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), y = tn_call_out(k, 0);
    return tn_grid_forward(k->c, &x, k->e->g.batch, k->n->a.grid.skip, &y, k->err);
}

int tn_exec_grid_back(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), dx = tn_call_out(k, 0);
    const int skip = k->n->a.grid_back.skip;
    if (k->n->onto >= 0) return tn_grid_put(k->c, &dy, k->e->g.batch, skip, true, &dx, k->err);
    return tn_grid_backward(k->c, &dy, k->e->g.batch, skip, &dx, k->err);
}

/* The kernel turns what lies in the output's storage, which is the input's. */
static int exec_turn(const tn_call *k, int direction)
{
    tn_tensor qkv = tn_call_out(k, 0), table = tn_call_in(k, 1);
    const tn_attr_rope *a = &k->n->a.rope;
    return tn_rope(k->c, &qkv, &table, k->e->g.batch, a->heads, a->skip, direction, k->err);
}

int tn_exec_rope(const tn_call *k)
{
    return exec_turn(k, 1);
}

int tn_exec_rope_back(const tn_call *k)
{
    return exec_turn(k, -1);
}

int tn_exec_attention(const tn_call *k)
{
    tn_tensor qkv = tn_call_in(k, 0), o = tn_call_out(k, 0), lse = tn_call_out(k, 1);
    return tn_attention_forward(k->c, &qkv, k->e->g.batch, k->n->a.attention.heads, &o, &lse, k->err);
}

int tn_exec_attention_back(const tn_call *k)
{
    tn_tensor qkv = tn_call_in(k, 0), o = tn_call_in(k, 1), lse = tn_call_in(k, 2), d_o = tn_call_in(k, 3),
              dqkv = tn_call_out(k, 0), delta = tn_call_out(k, 1);
    const tn_attr_rope *a = &k->n->a.attention_back;
    const tn_tensor table = tn_call_in(k, 4);
    const tn_attention f = {&qkv, &o, &lse, k->e->g.batch, a->heads, table.rows ? &table : NULL, a->skip};
    return tn_attention_backward(k->c, &f, &d_o, &delta, &dqkv, k->err);
}
