/* The head: a 1x1 convolution to the heatmaps, over the sum of a decoder's maps. A 1x1 convolution commutes with bilinear resizing
 * and with sums (the weights of each target pixel sum to 1, so the bias does too), so each map goes through it first: its
 * few channels are resized, not all of the map's. A convolution before it becomes one to as few, of so many less products. */
#include "emit.h"

#include <string.h>

tn_map_list tn_map_alone(const tn_feature *f)
{
    return (tn_map_list){.f = {*f}, .conv = {-1}, .reduce = -1, .n = 1};
}

int tn_head_slots(tn_model *m, tn_error *err)
{
    const tn_parts p = {m, TN_GROUP_HEAD, "", err};
    TN_TRY(tn_parts_conv(&p, "head.conv", m->heats, m->dec.kind->width(m), 1, true));
    if (m->dec.head_std > 0 || !m->dec.kind->scales) m->slots[m->n_slots - 2].init_std = m->dec.head_std;
    else tn_parts_plain(&p, m->dec.kind->width(m));
    return 0;
}

/* A row [K + 1] for each heatmap, which stands for it behind the module of slot `weight`: from `first` on of those in `rows`, or of
 * the head's own (-1). */
static int rows_emit(tn_emitter *e, int rows, int weight, int first, bool constant)
{
    const tn_slot *w = &e->m->slots[weight];
    const int out = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->m->heats, w->cols + 1, "rows");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_AFFINE_ROWS);
    n->in[0] = rows, n->out[0] = out;
    n->w[0] = weight, n->w[1] = tn_model_beside(e->m, w, "bias");
    if (rows < 0) n->w[2] = tn_emit_slot(e, "head.conv", "weight"), n->w[3] = tn_emit_slot(e, "head.conv", "bias");
    n->a.affine_rows = (tn_attr_rows){first, constant};
    tn_emit_mark(e, n);
    return out;
}

/* The map through a convolution of which a channel for each heatmap is wanted, float32. */
static tn_feature conv_few_emit(tn_emitter *e, const tn_feature *f, int rows, int kernel)
{
    tn_feature y = *f;
    y.channels = e->m->heats;
    y.tensor = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch * f->h * f->w, y.channels, "share");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_CONV_FEW);
    n->in[0] = f->tensor, n->in[1] = rows, n->out[0] = y.tensor;
    n->a.conv_few = tn_conv_attributes(f->h, f->w, kernel, 1, kernel / 2, 1);
    tn_emit_mark(e, n);
    return y;
}

/* The same behind a normalisation and an activation, of 1x1 pixels. */
static tn_feature norm_few_emit(tn_emitter *e, const tn_feature *f, const tn_map_norm *norm, int rows)
{
    tn_feature y = *f;
    y.channels = e->m->heats;
    y.tensor = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch * f->h * f->w, y.channels, "share");
    const int stats = tn_emit_stats(e, &norm->a, e->g->t[f->tensor].rows);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_NORM2D_FEW);
    n->in[0] = f->tensor, n->in[1] = rows, n->out[0] = y.tensor, n->out[1] = stats;
    memcpy(n->w, norm->w, sizeof n->w);
    n->a.norm2d_few = norm->a;
    tn_emit_mark(e, n);
    return y;
}

/* The map behind its convolution, the reduction of all maps and the head's own, each of them linear: their matrices are multiplied
 * first, from the head's few rows on. all: the rows of the reduction, -1: there is none. */
static tn_feature projected(tn_emitter *e, const tn_map_list *maps, int i, int all)
{
    const int conv = maps->conv[i];
    if (conv >= 0) {
        const tn_slot *w = &e->m->slots[conv];
        const int rows = rows_emit(e, all, conv, all >= 0 ? i * w->rows : 0, i == 0);
        if (maps->norm[i].wanted) return norm_few_emit(e, &maps->f[i], &maps->norm[i], rows);
        return conv_few_emit(e, &maps->f[i], rows, w->shape[2]);
    }
    tn_gpart part = tn_emit_part(e, "head.conv");
    if (i) part.bias = -1;
    tn_feature y = maps->f[i];
    y.tensor = tn_emit_linear(e, y.tensor, &part, 1, "head");
    y.channels = part.cols;
    return y;
}

/* The map's share of the heatmap, float32. The constants are in one map's share alone. */
static int share_emit(tn_emitter *e, const tn_map_list *maps, int i, int all)
{
    const tn_feature y = projected(e, maps, i, all);
    if (y.h == e->m->heat_h && y.w == e->m->heat_w && e->g->t[y.tensor].dtype == TN_F32) return y.tensor;
    const int to = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch * e->m->heat_h * e->m->heat_w, y.channels, "heatmap");
    return tn_emit_resize(e, &y, e->m->heat_h, e->m->heat_w, to, NULL);
}

int tn_head_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_map_list *maps, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    tn_graph_layer(g, "head", 0);
    const int all = maps->reduce >= 0 ? rows_emit(&e, -1, maps->reduce, 0, true) : -1;
    g->heat = share_emit(&e, maps, 0, all);
    for (int i = 1; i < maps->n; i++) g->heat = tn_emit_residual(&e, g->heat, share_emit(&e, maps, i, all), -1, "heatmap");
    g->t[g->heat].kind = TN_G_OUTPUT;
    return g->oom ? tn_oom(err) : 0;
}
