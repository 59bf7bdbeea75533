/* Convolutions with what stands beside their kernels, as peft's _ConvNd has it: LoRA's A is a convolution of the same kernel,
 * stride and padding without groups, its B one of 1x1 pixels with the groups of the convolution; DoRA scales the sum of both. */
#include "emit.h"

/* f through the convolution of module `part`. */
typedef struct {
    const tn_feature *f;
    tn_attr_conv a;
    tn_gpart part;
} beside_conv;

static int convolve(tn_emitter *e, const tn_attr_conv *a, int x, int w, int bias, const char *name)
{
    const int y = tn_graph_tensor(e->g, TN_G_ACT, e->g->t[x].dtype, e->p->batch * a->out_h * a->out_w, e->m->slots[w].rows, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_CONV);
    n->in[0] = x, n->out[0] = y, n->a.conv = *a;
    n->w[0] = w, n->w[1] = bias;
    tn_emit_mark(e, n);
    return y;
}

/* W x + bias + s B A kept. */
static int lora_conv(tn_emitter *e, const beside_conv *c, int x, int kept, int bias, const char *name)
{
    tn_attr_conv down = c->a;
    down.groups = 1;
    const int y = convolve(e, &c->a, x, c->part.w, bias, "conv"), t = convolve(e, &down, kept, c->part.a, -1, "lora");
    tn_gnode *n = tn_emit_like(e, TN_OP_ADAPT, y, name);
    const int o = n->out[0];
    n->in[1] = t, n->n_parts = 1, n->a.adapt.groups = c->a.groups;
    n->part[0] = (tn_gpart){-1, -1, -1, c->part.b, -1, c->part.cols, c->part.in, c->part.r, c->part.scale};
    tn_emit_mark(e, n);
    return o;
}

/* W (x - x') + g (W x' + s B A x') + bias with x' = dropout(x). */
static int dora_conv(tn_emitter *e, const beside_conv *c, const char *name)
{
    int kept = c->f->tensor, v = -1;
    if (tn_emit_drops(e)) {
        const uint32_t salt = e->salt++;
        v = convolve(e, &c->a, tn_emit_dropout(e, kept, salt, true), c->part.w, -1, "dora.rest");
        kept = tn_emit_dropout(e, kept, salt, false);
    }
    return tn_emit_dora(e, lora_conv(e, c, kept, kept, -1, "dora.u"), v, &c->part, 1, name);
}

static int adapted_conv(tn_emitter *e, const beside_conv *c, const char *name)
{
    const int x = c->f->tensor;
    if (c->part.m >= 0) return dora_conv(e, c, name);
    return lora_conv(e, c, x, tn_emit_drops(e) ? tn_emit_dropout(e, x, e->salt++, false) : x, c->part.bias, name);
}

tn_feature tn_emit_conv(tn_emitter *e, const tn_feature *f, const char *module, int stride, int pad, const char *name)
{
    beside_conv c = {.f = f, .part = tn_emit_part(e, module)};
    const int *shape = e->m->slots[c.part.w].shape; /* [out, in of a group, k, k] */
    c.a = tn_conv_attributes(f->h, f->w, shape[2], stride, pad, f->channels / shape[1]);
    tn_feature y = {.h = c.a.out_h, .w = c.a.out_w, .channels = shape[0], .stride = f->stride * stride};
    y.tensor = c.part.a >= 0 ? adapted_conv(e, &c, name) : convolve(e, &c.a, f->tensor, c.part.w, c.part.bias, name);
    return y;
}
