/* The backward pass, emitted from the forward list read in reverse. Nothing is emitted that nobody needs: a tensor
 * without a trainable slot above it gets no gradient. Nothing is overwritten here: merge.c decides what may share storage. */
#include "autodiff.h"

#include <stdlib.h>

/* Only first outputs have gradients: one that reached another output would be lost. */
static int check_outputs(const tn_autodiff *p, const tn_gnode *f, tn_error *err)
{
    for (int k = 1; k < TN_NODE_OUT; k++)
        if (f->out[k] >= 0 && p->g->t[f->out[k]].grad >= 0)
            return tn_fail(err, TN_ERR_ARGUMENT, "operation %s has no gradient for '%s'", tn_opcode_name(f->op),
                           p->g->t[f->out[k]].name);
    return 0;
}

static int backward_of(tn_autodiff *p, int i, tn_error *err)
{
    const tn_gnode *f = &p->g->n[i];
    TN_TRY(check_outputs(p, f, err));
    if (p->done[i]) return 0;
    if (f->op != TN_OP_LOSS && (!p->g->t[f->out[0]].needs_grad || p->g->t[f->out[0]].grad < 0)) {
        p->done[i] = true;
        return 0;
    }
    TN_TRY(tn_autodiff_rule(p, i, err));
    return p->g->oom ? tn_oom(err) : 0;
}

int tn_graph_backward(tn_graph *g, tn_trainable_fn trained, const void *user, tn_error *err)
{
    tn_autodiff p = {g, trained, user, tn_operations, calloc((size_t)g->n_n + 1, sizeof *p.done)};
    int rc = p.done ? 0 : tn_oom(err);
    g->n_forward = g->n_n;
    g->in_backward = true;
    for (int i = g->n_forward - 1; !rc && i >= 0; i--) rc = backward_of(&p, i, err);
    free(p.done);
    return rc ? rc : tn_graph_check(g, err);
}
