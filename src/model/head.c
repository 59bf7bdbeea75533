/* The head: a 1x1 convolution to the heatmaps, over the sum of a decoder's maps. A 1x1 convolution commutes with bilinear resizing
 * and with sums (the weights of each target pixel sum to 1, so the bias does too), so each map goes through it first: its
 * few channels are resized, not all of the map's. */
#include "emit.h"

int tn_head_slots(tn_model *m, tn_error *err)
{
    const tn_parts p = {m, TN_GROUP_HEAD, "", err};
    TN_TRY(tn_parts_conv(&p, "head.conv", m->heats, m->dec.kind->width(m), 1, true));
    m->slots[m->n_slots - 2].init_std = m->dec.head_std;
    return 0;
}

/* The map's share of the heatmap, float32. The bias is in one map's share alone. */
static int share_emit(tn_emitter *e, const tn_feature *map, bool bias)
{
    tn_gpart part = tn_emit_part(e, "head.conv");
    if (!bias) part.bias = -1;
    tn_feature y = *map;
    y.tensor = tn_emit_linear(e, map->tensor, &part, 1, "head");
    y.channels = part.cols;
    const int to = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch * e->m->heat_h * e->m->heat_w, part.cols, "heatmap");
    return tn_emit_resize(e, &y, e->m->heat_h, e->m->heat_w, to, NULL);
}

int tn_head_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *maps, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    tn_graph_layer(g, "head", 0);
    g->heat = share_emit(&e, &maps->f[0], true);
    for (int i = 1; i < maps->n; i++) g->heat = tn_emit_residual(&e, g->heat, share_emit(&e, &maps->f[i], false), -1, "heatmap");
    g->t[g->heat].kind = TN_G_OUTPUT;
    return g->oom ? tn_oom(err) : 0;
}
