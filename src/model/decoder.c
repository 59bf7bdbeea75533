/* The upsampling decoder and the head of vit_heatmap. Two things are done in another order than they are written in
 * PyTorch, with the same result: a 1x1 convolution without bias commutes with bilinear upsampling (the weights of each
 * target pixel sum to 1, so the head's bias does too), and is done first, on a quarter of the pixels. */
#include "model.h"

#include <stdio.h>
#include <string.h>

static int decoder_add(tn_model *m, const char *name, int ndim, const int *shape, tn_init init, bool buffer, tn_error *err)
{
    tn_slot s = {.ndim = ndim, .group = TN_GROUP_HEAD, .trainable = !buffer, .buffer = buffer, .init = init};
    memcpy(s.shape, shape, sizeof *shape * (size_t)ndim);
    s.init_fan = s.shape[0] * (ndim > 3 ? s.shape[2] * s.shape[3] : 1);
    return tn_model_add(m, s, name) < 0 ? tn_oom(err) : 0;
}

static int decoder_conv(tn_model *m, const char *prefix, const char *name, int out, int in, int k, bool bias, tn_error *err)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    TN_TRY(decoder_add(m, full, 4, (int[]){out, in, k, k}, TN_INIT_KAIMING_OUT, false, err));
    if (!bias) return 0;
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    return decoder_add(m, full, 1, &out, TN_INIT_CONV_BIAS, false, err);
}

static int decoder_norm(tn_model *m, const char *prefix, int c, tn_error *err)
{
    char n[128];
    snprintf(n, sizeof n, "%snorm.weight", prefix);
    TN_TRY(decoder_add(m, n, 1, &c, TN_INIT_ONE, false, err));
    snprintf(n, sizeof n, "%snorm.bias", prefix);
    TN_TRY(decoder_add(m, n, 1, &c, TN_INIT_ZERO, false, err));
    if (!m->dec.batch_norm) return 0;
    snprintf(n, sizeof n, "%snorm.running_mean", prefix);
    TN_TRY(decoder_add(m, n, 1, &c, TN_INIT_ZERO, true, err));
    snprintf(n, sizeof n, "%snorm.running_var", prefix);
    return decoder_add(m, n, 1, &c, TN_INIT_ONE, true, err);
}

static int squeezed(const tn_decoder *d, int c)
{
    return TN_MAX(1, c / d->se_reduction);
}

int tn_decoder_slots(tn_model *m, tn_error *err)
{
    const tn_decoder *d = &m->dec;
    if (d->n_channels < 2 || d->channels[0] != m->vit.hidden)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.decoder.channels must start with the backbone's width %d and have a stage "
                       "after it (it starts with %d and has %d entries)",
                       m->vit.hidden, d->channels[0], d->n_channels);
    for (int s = 0; s + 1 < d->n_channels; s++) {
        const int a = d->channels[s], c = d->channels[s + 1];
        char p[96];
        snprintf(p, sizeof p, "decoder.stages.%d.", s);
        if (a != c) TN_TRY(decoder_conv(m, p, "proj", c, a, 1, false, err));
        for (int b = 0; b < d->blocks; b++) {
            snprintf(p, sizeof p, "decoder.stages.%d.blocks.%d.", s, b);
            TN_TRY(decoder_conv(m, p, "dw", c, d->depthwise ? 1 : c, 3, false, err));
            TN_TRY(decoder_norm(m, p, c, err));
            TN_TRY(decoder_conv(m, p, "pw", c, c, 1, false, err));
            if (!d->se) continue;
            TN_TRY(decoder_conv(m, p, "se.fc.0", squeezed(d, c), c, 1, true, err));
            TN_TRY(decoder_conv(m, p, "se.fc.2", c, squeezed(d, c), 1, true, err));
        }
    }
    TN_TRY(decoder_conv(m, "", "head.conv", m->heats, d->channels[d->n_channels - 1], 1, true, err));
    m->slots[m->n_slots - 2].init_std = d->head_std;
    return 0;
}

/* ---- forward ---- */

typedef struct {
    tn_graph *g;
    const tn_model *m;
    const tn_pass *p;
    tn_trained trained;
    int h, w; /* of the current grid */
    uint32_t salt;
    char prefix[96];
} decoder_emitter;

static int decoder_slot(const decoder_emitter *e, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", e->prefix, name);
    return tn_model_slot(e->m, full);
}

static void decoder_mark(decoder_emitter *e, const tn_gnode *n)
{
    tn_gnode copy = *n;
    tn_graph_mark(e->g, &copy, tn_is_trained, &e->trained);
}

static int decoder_rows_of(const decoder_emitter *e)
{
    return e->p->batch * e->h * e->w;
}

static int decoder_linear(decoder_emitter *e, int x, const char *module, const char *name)
{
    char n[64];
    snprintf(n, sizeof n, "%s.weight", module);
    tn_gpart part = {.w = decoder_slot(e, n), .a = -1, .b = -1, .m = -1};
    snprintf(n, sizeof n, "%s.bias", module);
    part.bias = decoder_slot(e, n);
    part.cols = e->m->slots[part.w].rows;
    part.in = e->m->slots[part.w].cols;
    int y = tn_graph_tensor(e->g, TN_G_ACT, e->g->t[x].dtype, e->g->t[x].rows, part.cols, name);
    tn_gnode *l = tn_graph_node(e->g, TN_OP_LINEAR);
    l->in[0] = x, l->out[0] = y, l->n_parts = 1;
    l->part[0] = part;
    decoder_mark(e, l);
    return y;
}

/* To the size and by the factors of `to`, from what the emitter is at. y: the tensor that it becomes. */
static int decoder_resize(decoder_emitter *e, int x, int y, tn_attr_resize to)
{
    tn_gnode *n = tn_graph_node(e->g, TN_OP_BILINEAR);
    n->in[0] = x, n->out[0] = y;
    to.in_h = e->h, to.in_w = e->w;
    n->a.bilinear = to;
    decoder_mark(e, n);
    e->h = to.out_h, e->w = to.out_w;
    return y;
}

/* One input, one output of the same shape. */
static tn_gnode *decoder_unary(decoder_emitter *e, tn_opcode op, int x, const char *name)
{
    tn_gtensor t = e->g->t[x];
    int y = tn_graph_tensor(e->g, TN_G_ACT, t.dtype, t.rows, t.cols, name);
    tn_gnode *n = tn_graph_node(e->g, op);
    n->in[0] = x, n->out[0] = y;
    return n;
}

static int decoder_activation(decoder_emitter *e, int x, tn_fn fn, const char *name)
{
    tn_gnode *n = decoder_unary(e, TN_OP_ACT, x, name);
    n->a.act.fn = fn;
    decoder_mark(e, n);
    return n->out[0];
}

/* GroupNorm takes the largest power of two up to 32 that divides the width. */
static int decoder_groups_of(int c)
{
    int g = 32;
    while (g > 1 && c % g) g /= 2;
    return g;
}

static int decoder_normalise(decoder_emitter *e, int x)
{
    const bool bn = e->m->dec.batch_norm;
    const int c = e->g->t[x].cols, unit = bn ? decoder_rows_of(e) : e->h * e->w, groups = bn ? c : decoder_groups_of(c);
    int stats = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, decoder_rows_of(e) / unit * groups, 2, "stats");
    tn_gnode *n = decoder_unary(e, TN_OP_NORM2D, x, "norm");
    n->out[1] = stats;
    n->w[0] = decoder_slot(e, "norm.weight"), n->w[1] = decoder_slot(e, "norm.bias");
    n->w[2] = decoder_slot(e, "norm.running_mean"), n->w[3] = decoder_slot(e, "norm.running_var");
    n->a.norm2d = (tn_attr_norm2d){unit, groups, TN_STATS_OWN};
    if (bn) n->a.norm2d.stats = e->p->training ? TN_STATS_TRACKED : TN_STATS_RUNNING;
    decoder_mark(e, n);
    return n->out[0];
}

static int squeeze_excite(decoder_emitter *e, int x)
{
    int s = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, e->p->batch, e->g->t[x].cols, "se.mean");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_SAMPLE_MEAN);
    n->in[0] = x, n->out[0] = s, n->a.sample_mean.rows = e->h * e->w;
    decoder_mark(e, n);
    s = decoder_activation(e, decoder_linear(e, s, "se.fc.0", "se.fc0"), TN_RELU, "se.relu");
    s = decoder_activation(e, decoder_linear(e, s, "se.fc.2", "se.fc2"), TN_SIGMOID, "se.sigmoid");
    n = decoder_unary(e, TN_OP_SCALE_CHANNELS, x, "se");
    n->in[1] = s, n->a.scale_channels.rows = e->h * e->w;
    decoder_mark(e, n);
    return n->out[0];
}

static int decoder_block(decoder_emitter *e, int x)
{
    const tn_decoder *d = &e->m->dec;
    tn_gnode *n = decoder_unary(e, d->depthwise ? TN_OP_DWCONV : TN_OP_CONV3, x, "dw");
    n->w[0] = decoder_slot(e, "dw.weight");
    n->a.dwconv = (tn_attr_size){e->h, e->w};
    decoder_mark(e, n);
    int y = decoder_activation(e, decoder_normalise(e, n->out[0]), d->relu ? TN_RELU : TN_GELU, "act");
    y = decoder_linear(e, y, "pw", "pw");
    if (d->se) y = squeeze_excite(e, y);
    if (d->dropout > 0 && e->p->training) {
        n = decoder_unary(e, TN_OP_DROPOUT2D, y, "dropout");
        n->a.dropout2d = (tn_attr_dropout2d){d->dropout, 100000u + e->salt++, e->h * e->w};
        decoder_mark(e, n);
        y = n->out[0];
    }
    n = decoder_unary(e, TN_OP_RESIDUAL, x, "block");
    n->in[1] = y;
    decoder_mark(e, n);
    return n->out[0];
}

static int decoder_stage(decoder_emitter *e, int x, int s)
{
    const tn_decoder *d = &e->m->dec;
    const int up = s < d->n_upsample ? d->upsample[s] : 1;
    snprintf(e->prefix, sizeof e->prefix, "decoder.stages.%d.", s);
    if (d->channels[s] != d->channels[s + 1]) x = decoder_linear(e, x, "proj", "proj");
    if (up != 1) {
        const float inv = 1.0f / (float)up;
        const tn_attr_resize to = {.out_h = e->h * up, .out_w = e->w * up, .sy = inv, .sx = inv};
        const int y = tn_graph_tensor(e->g, TN_G_ACT, e->p->act, decoder_rows_of(e) * up * up, e->g->t[x].cols, "upsampled");
        x = decoder_resize(e, x, y, to);
    }
    for (int b = 0; b < d->blocks; b++) {
        snprintf(e->prefix, sizeof e->prefix, "decoder.stages.%d.blocks.%d.", s, b);
        x = decoder_block(e, x);
    }
    return x;
}

int tn_grid_emit(tn_graph *g, const tn_model *m, const tn_pass *p, int tokens)
{
    static const tn_gkind kinds[] = {TN_G_ACT, TN_G_OUTPUT, TN_G_INPUT};
    const int cells = (m->image_h / m->vit.patch) * (m->image_w / m->vit.patch);
    const tn_trained trained = {m, p->groups};
    tn_graph_layer(g, "grid", 0);
    g->grid = tn_graph_tensor(g, kinds[p->stretch], p->act, p->batch * cells, m->vit.hidden, "grid");
    if (tokens < 0) return g->grid;
    tn_gnode *n = tn_graph_node(g, TN_OP_GRID);
    n->in[0] = tokens, n->out[0] = g->grid, n->a.grid.skip = 1 + m->vit.registers;
    const tn_gnode copy = *n;
    tn_graph_mark(g, &copy, tn_is_trained, &trained);
    return g->grid;
}

int tn_decoder_emit(tn_graph *g, const tn_model *m, const tn_pass *p, int grid, tn_error *err)
{
    decoder_emitter e = {g, m, p, {m, p->groups}, m->image_h / m->vit.patch, m->image_w / m->vit.patch, 0, ""};
    int x = grid;
    for (int s = 0; s + 1 < m->dec.n_channels; s++) {
        char name[32];
        snprintf(name, sizeof name, "decoder.%d", s);
        tn_graph_layer(g, name, p->recompute);
        x = decoder_stage(&e, x, s);
    }
    tn_graph_layer(g, "head", 0);
    e.prefix[0] = 0;
    x = decoder_linear(&e, x, "head.conv", "head");
    const float sy = (float)e.h / (float)m->heat_h, sx = (float)e.w / (float)m->heat_w;
    const tn_attr_resize to = {.out_h = m->heat_h, .out_w = m->heat_w, .sy = sy, .sx = sx};
    g->heat = tn_graph_tensor(g, TN_G_OUTPUT, TN_F32, p->batch * m->heat_h * m->heat_w, g->t[x].cols, "heatmap");
    decoder_resize(&e, x, g->heat, to);
    return g->oom ? tn_oom(err) : 0;
}
