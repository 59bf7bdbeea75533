/* Between a backbone and a decoder: maps without the tokens in front of them. */
#include "emit.h"

#include <stdio.h>

size_t tn_feature_bytes(const tn_feature *f, tn_dtype act)
{
    return (size_t)f->h * (size_t)f->w * (size_t)f->channels * tn_dtype_size(act);
}

static void put_channels(tn_text *t, const int *channels, int n)
{
    for (int i = 0; i < n; i++) tn_text_addf(t, "%s%d", i ? ", " : "", channels[i]);
}

int tn_features_check(const tn_feature_list *f, const int *channels, int n, const char *key, tn_error *err)
{
    int want[TN_MAX_FEATURES];
    bool same = n == f->n;
    for (int i = 0; i < f->n; i++) {
        want[i] = f->f[i].channels;
        same = same && channels[i] == want[i];
    }
    if (!n || same) return 0;
    tn_text have = {0}, must = {0};
    put_channels(&have, channels, n);
    put_channels(&must, want, f->n);
    int rc = have.oom || must.oom
                 ? tn_oom(err)
                 : tn_fail(err, TN_ERR_CONFIG,
                           "%s is [%s], but the backbone's maps have [%s] channels: write that, or leave the key out", key, have.s,
                           must.s);
    tn_text_free(&have);
    tn_text_free(&must);
    return rc;
}

/* One without tokens is handed on as it is. */
static void map_emit(tn_emitter *e, tn_feature *f, const char *name)
{
    static const tn_gkind kinds[] = {TN_G_ACT, TN_G_OUTPUT, TN_G_INPUT};
    const tn_gkind kind = kinds[e->p->stretch];
    const int x = f->tensor;
    if (x >= 0 && !f->skip) {
        if (kind == TN_G_OUTPUT) e->g->t[x].kind = kind;
        return;
    }
    f->tensor = tn_graph_tensor(e->g, kind, e->p->act, e->p->batch * f->h * f->w, f->channels, name);
    if (x >= 0) {
        tn_gnode *n = tn_graph_node(e->g, TN_OP_GRID);
        n->in[0] = x, n->out[0] = f->tensor, n->a.grid = (tn_attr_map){f->skip, f->h, f->w};
        tn_emit_mark(e, n);
    }
    f->skip = 0;
}

void tn_features_emit(tn_graph *g, const tn_model *m, const tn_pass *p, tn_feature_list *f)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    bool any = false;
    for (int i = 0; i < f->n; i++) any |= f->f[i].skip || f->f[i].tensor < 0;
    if (any) tn_graph_layer(g, "grid", 0);
    for (int i = 0; i < f->n; i++) {
        char name[32];
        snprintf(name, sizeof name, f->n > 1 ? "feature.%d" : "grid", i);
        map_emit(&e, &f->f[i], name);
        g->feature[i] = f->f[i].tensor;
    }
    g->n_features = f->n;
}
