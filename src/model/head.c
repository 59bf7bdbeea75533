/* The head: a 1x1 convolution to the heatmap, over the sum of a decoder's maps. A 1x1 convolution commutes with bilinear resizing
 * and with sums (the weights of each target pixel sum to 1, so the bias does too), so each map goes through it first: its
 * one channel is resized, not all of the map's. */
#include "emit.h"

#include <stdio.h>
#include <string.h>

tn_map_list tn_map_alone(const tn_feature *f)
{
    return (tn_map_list){.f = {*f}, .conv = {-1}, .reduce = -1, .n = 1};
}

int tn_head_slots(tn_model *m, tn_error *err)
{
    const tn_parts p = {m, TN_GROUP_HEAD, "", err};
    TN_TRY(tn_parts_conv(&p, "head.conv", 1, m->dec.kind->width(m), 1, true));
    if (m->dec.head_std > 0 || !m->dec.kind->scales) m->slots[m->n_slots - 2].init_std = m->dec.head_std;
    else tn_parts_plain(&p, m->dec.kind->width(m));
    return 0;
}

/* The map behind the convolution that was left to the head. */
static tn_feature finish(tn_emitter *e, const tn_map_list *maps, int i)
{
    char module[160];
    if (maps->conv[i] < 0) return maps->f[i];
    const char *weight = e->m->slots[maps->conv[i]].name;
    snprintf(module, sizeof module, "%.*s", (int)(strlen(weight) - strlen(".weight")), weight);
    return tn_emit_conv(e, &maps->f[i], module, 1, 1, "level");
}

/* The map's share of the heatmap, float32. The bias is in one map's share alone. */
static int share_emit(tn_emitter *e, const tn_map_list *maps, int i)
{
    tn_gpart part = tn_emit_part(e, "head.conv");
    if (i) part.bias = -1;
    tn_feature y = finish(e, maps, i);
    y.tensor = tn_emit_linear(e, y.tensor, &part, 1, "head");
    y.channels = part.cols;
    const int to = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch * e->m->heat_h * e->m->heat_w, part.cols, "heatmap");
    return tn_emit_resize(e, &y, e->m->heat_h, e->m->heat_w, to, NULL);
}

int tn_head_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_map_list *maps, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    tn_graph_layer(g, "head", 0);
    g->heat = share_emit(&e, maps, 0);
    for (int i = 1; i < maps->n; i++) g->heat = tn_emit_residual(&e, g->heat, share_emit(&e, maps, i), -1, "heatmap");
    g->t[g->heat].kind = TN_G_OUTPUT;
    return g->oom ? tn_oom(err) : 0;
}
