/* Nodes that backbones and decoders have alike. */
#include "emit.h"

#include <stdio.h>
#include <string.h>

tn_emitter tn_emit_begin(tn_graph *g, const tn_model *m, const tn_pass *p)
{
    return (tn_emitter){.g = g, .m = m, .p = p, .trained = {m, p->groups}, .salt = 1};
}

int tn_emit_slot(const tn_emitter *e, const char *module, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s%s%s%s", e->prefix, module, suffix ? "." : "", suffix ? suffix : "");
    return tn_model_slot(e->m, name);
}

int tn_emit_tensor(tn_emitter *e, int rows, int cols, const char *name)
{
    return tn_graph_tensor(e->g, TN_G_ACT, e->p->act, rows, cols, name);
}

void tn_emit_mark(tn_emitter *e, const tn_gnode *n)
{
    const tn_gnode copy = *n; /* marking may move the nodes */
    tn_graph_mark(e->g, &copy, tn_is_trained, &e->trained);
}

tn_gnode *tn_emit_like(tn_emitter *e, tn_opcode op, int x, const char *name)
{
    const tn_gtensor t = e->g->t[x];
    const int y = tn_graph_tensor(e->g, TN_G_ACT, t.dtype, t.rows, t.cols, name);
    tn_gnode *n = tn_graph_node(e->g, op);
    n->in[0] = x, n->out[0] = y;
    return n;
}

int tn_emit_act(tn_emitter *e, int x, tn_fn fn, const char *name)
{
    tn_gnode *n = tn_emit_like(e, TN_OP_ACT, x, name);
    const int y = n->out[0];
    n->a.act.fn = fn;
    tn_emit_mark(e, n);
    return y;
}

int tn_emit_sample_mean(tn_emitter *e, int x, int rows, const char *name)
{
    const int s = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch, e->g->t[x].cols, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_SAMPLE_MEAN);
    n->in[0] = x, n->out[0] = s, n->a.sample_mean.rows = rows;
    tn_emit_mark(e, n);
    return s;
}

int tn_emit_layernorm(tn_emitter *e, int x, const char *module, float eps, const char *name)
{
    const int stats = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->g->t[x].rows, 2, "stats");
    tn_gnode *n = tn_emit_like(e, TN_OP_LAYERNORM, x, name);
    const int y = n->out[0];
    n->out[1] = stats;
    n->w[0] = tn_emit_slot(e, module, "weight"), n->w[1] = tn_emit_slot(e, module, "bias");
    n->a.layernorm.eps = eps;
    tn_emit_mark(e, n);
    return y;
}

int tn_emit_residual(tn_emitter *e, int x, int y, int scale, const char *name)
{
    tn_gnode *n = tn_emit_like(e, TN_OP_RESIDUAL, x, name);
    const int o = n->out[0];
    n->in[1] = y, n->w[0] = scale;
    tn_emit_mark(e, n);
    return o;
}

int tn_emit_resize(tn_emitter *e, const tn_feature *f, int h, int w, int y, const char *name)
{
    const float sy = (float)f->h / (float)h, sx = (float)f->w / (float)w;
    const tn_gtensor *t = &e->g->t[f->tensor];
    if (y < 0) y = tn_graph_tensor(e->g, TN_G_ACT, t->dtype, e->p->batch * h * w, f->channels, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_BILINEAR);
    n->in[0] = f->tensor, n->out[0] = y;
    n->a.bilinear = (tn_attr_resize){.in_h = f->h, .in_w = f->w, .out_h = h, .out_w = w, .sy = sy, .sx = sx};
    tn_emit_mark(e, n);
    return y;
}

int tn_emit_dropout(tn_emitter *e, int x, uint32_t salt, bool rest)
{
    tn_gnode *n = tn_emit_like(e, TN_OP_DROPOUT, x, rest ? "dropped" : "kept");
    const int y = n->out[0];
    n->a.dropout = (tn_attr_dropout){e->m->lora.dropout, salt, rest};
    tn_emit_mark(e, n);
    return y;
}

bool tn_emit_drops(const tn_emitter *e)
{
    return e->p->training && (e->p->groups & TN_GROUP_LORA) && e->m->lora.dropout > 0;
}

static int groups_of(int channels)
{
    int g = 32;
    while (g > 1 && channels % g) g /= 2;
    return g;
}

tn_map_norm tn_emit_norm_of(const tn_emitter *e, const char *module, const tn_feature *f, bool batch_norm)
{
    static const char *const names[TN_NODE_SLOTS] = {"weight", "bias", "running_mean", "running_var"};
    tn_map_norm n = {.wanted = true, .a = {.unit_rows = f->h * f->w, .groups = groups_of(f->channels), .stats = TN_STATS_OWN}};
    for (int i = 0; i < TN_NODE_SLOTS; i++) n.w[i] = tn_emit_slot(e, module, names[i]);
    if (!batch_norm) return n;
    n.a.unit_rows *= e->p->batch, n.a.groups = f->channels;
    n.a.stats = e->p->training ? TN_STATS_TRACKED : TN_STATS_RUNNING;
    return n;
}

int tn_emit_stats(tn_emitter *e, const tn_attr_norm2d *a, int rows)
{
    return tn_graph_tensor(e->g, TN_G_ACT, TN_F32, rows / a->unit_rows * a->groups, 2, "stats");
}

int tn_emit_norm2d(tn_emitter *e, int x, const char *module, int h, int w, bool batch_norm, const char *name)
{
    const tn_map_norm norm = tn_emit_norm_of(e, module, &(tn_feature){.h = h, .w = w, .channels = e->g->t[x].cols}, batch_norm);
    const int stats = tn_emit_stats(e, &norm.a, e->g->t[x].rows);
    tn_gnode *n = tn_emit_like(e, TN_OP_NORM2D, x, name);
    const int y = n->out[0];
    n->out[1] = stats;
    memcpy(n->w, norm.w, sizeof n->w);
    n->a.norm2d = norm.a;
    tn_emit_mark(e, n);
    return y;
}

int tn_emit_patches(tn_emitter *e, int side)
{
    const tn_model *m = e->m;
    const int B = e->p->batch, T = m->frames, h = m->image_h, w = m->image_w;
    e->g->pixels = e->p->frames ? tn_graph_tensor(e->g, TN_G_INPUT, TN_U8, B * T * h, 3 * w, "frames")
                                : tn_graph_tensor(e->g, TN_G_INPUT, TN_F32, B * T * 3 * h, w, "pixel_values");
    const int cols = tn_emit_tensor(e, B * (h / side) * (w / side), T * 3 * side * side, "patches");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_PATCHIFY);
    n->in[0] = e->g->pixels, n->out[0] = cols;
    n->a.patchify = (tn_attr_patchify){h, w, side, e->p->normalize, T};
    return cols;
}

int tn_emit_policy(const tn_pass *p, int i)
{
    return i < 64 && p->kept >> i & 1 ? tn_recompute_less(p->recompute) : p->recompute;
}
