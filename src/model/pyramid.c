#include "pyramid.h"

#include <stdio.h>

static int pyramid_conv(const tn_parts *p, const char *blocks, int level, int out, int in, int kernel)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%d.0", blocks, level);
    TN_TRY(tn_parts_conv(p, name, out, in, kernel, true));
    tn_slot *weight = &p->m->slots[p->m->n_slots - 2], *bias = weight + 1;
    weight->init = TN_INIT_UNIFORM_IN, weight->init_fan = in * kernel * kernel;
    bias->init = TN_INIT_ZERO;
    return 0;
}

int tn_pyramid_slots(const tn_parts *p, const tn_feature_list *in, int channels)
{
    for (int i = 0; i < in->n; i++) TN_TRY(pyramid_conv(p, "inner_blocks", i, channels, in->f[i].channels, 1));
    for (int i = 0; i < in->n; i++) TN_TRY(pyramid_conv(p, "layer_blocks", i, channels, channels, 3));
    return 0;
}

/* x and the coarser map at the nearest position of x's size. */
static int upsample_add(tn_emitter *e, const tn_feature *x, const tn_feature *coarse)
{
    const float sy = (float)coarse->h / (float)x->h, sx = (float)coarse->w / (float)x->w;
    tn_gnode *n = tn_emit_like(e, TN_OP_UPSAMPLE_ADD, x->tensor, "inner");
    const int y = n->out[0];
    n->in[1] = coarse->tensor;
    n->a.upsample_add = (tn_attr_resize){.in_h = coarse->h, .in_w = coarse->w, .out_h = x->h, .out_w = x->w, .sy = sy, .sx = sx};
    tn_emit_mark(e, n);
    return y;
}

void tn_pyramid_emit(tn_emitter *e, const tn_feature_list *in, tn_map_list *out)
{
    char name[64];
    *out = (tn_map_list){.n = in->n, .reduce = -1};
    for (int i = in->n - 1; i >= 0; i--) {
        tn_feature *f = &out->f[i];
        snprintf(name, sizeof name, "fpn.%d", i);
        tn_graph_layer(e->g, name, e->p->recompute);
        snprintf(name, sizeof name, "inner_blocks.%d.0", i);
        *f = tn_emit_project(e, &in->f[i], name, "lateral");
        if (i + 1 < in->n) f->tensor = upsample_add(e, f, f + 1);
        snprintf(name, sizeof name, "layer_blocks.%d.0", i);
        out->conv[i] = tn_emit_slot(e, name, "weight");
    }
}
