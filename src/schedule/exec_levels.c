/* Executors of features of several levels and of deformable attention. */
#include "exec.h"

int tn_exec_levels_join(const tn_call *k)
{
    tn_tensor x = tn_call_out(k, 0);
    const tn_levels *l = &k->n->a.levels_join;
    for (int i = 0; i < l->n; i++) {
        tn_tensor map = tn_call_in(k, i);
        TN_TRY(tn_grid_put(k->c, &map, k->e->g.batch, tn_levels_rows(l, i), false, &x, k->err));
    }
    return 0;
}

int tn_exec_level_positions(const tn_call *k)
{
    tn_tensor pos = tn_call_in(k, 0), y = tn_call_out(k, 0), embed = tn_call_weight(k, k->n->w[0]);
    return tn_level_positions(k->c, &k->n->a.level_positions, &pos, &embed, &y, k->err);
}

int tn_exec_level_grad(const tn_call *k)
{
    tn_tensor dpos = tn_call_in(k, 0), embed = tn_call_grad(k, k->n->w[0]);
    return tn_level_grad(k->c, &dpos, &k->n->a.level_grad, &embed, k->err);
}

int tn_exec_add_positions(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), pos = tn_call_in(k, 1), y = tn_call_out(k, 0);
    return tn_add_positions(k->c, &x, &pos, &y, k->err);
}

int tn_exec_positions_sum(const tn_call *k)
{
    tn_tensor dy = tn_call_in(k, 0), dpos = tn_call_out(k, 0);
    if (k->n->onto < 0) TN_TRY(tn_op_fill(k->c, dpos.mem, 0, tn_tensor_bytes(&dpos), 0, k->err));
    return tn_token_grad(k->c, &dy, k->e->g.batch, 0, dpos.rows, &dpos, k->err);
}

static tn_deform exec_deform(const tn_call *k, const tn_tensor *value, const tn_tensor *samples)
{
    const tn_attr_deform *a = &k->n->a.deform_attention;
    return (tn_deform){value, samples, &a->levels, a->heads, a->points};
}

int tn_exec_deform_attention(const tn_call *k)
{
    tn_tensor value = tn_call_in(k, 0), samples = tn_call_in(k, 1), o = tn_call_out(k, 0);
    const tn_deform f = exec_deform(k, &value, &samples);
    return tn_deform_forward(k->c, &f, &o, k->err);
}

int tn_exec_deform_dsamples(const tn_call *k)
{
    tn_tensor value = tn_call_in(k, 0), samples = tn_call_in(k, 1), d_o = tn_call_in(k, 2), dsamples = tn_call_out(k, 0);
    const tn_deform f = exec_deform(k, &value, &samples);
    return tn_deform_dsamples(k->c, &f, &d_o, &dsamples, k->err);
}

int tn_exec_deform_dvalue(const tn_call *k)
{
    tn_tensor samples = tn_call_in(k, 0), d_o = tn_call_in(k, 1), dvalue = tn_call_out(k, 0);
    const tn_deform f = exec_deform(k, NULL, &samples);
    return tn_deform_dvalue(k->c, &f, &d_o, &dvalue, k->err);
}
