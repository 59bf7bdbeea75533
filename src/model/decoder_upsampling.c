/* The upsampling decoder of vit_heatmap. Some things are done in another order than they are written in PyTorch, with the same
 * result: a 1x1 convolution without bias commutes with bilinear upsampling, and is done first, on a quarter of the pixels; and
 * nothing but the head's 1x1 convolution reads the last block's sum x + pw(a), so that the head takes x and a apart (head.c), a
 * by the product of both matrices; the next stage's projection does so with the last sum of its own. */
#include "emit.h"

#include <stdio.h>
#include <string.h>

static int squeezed(const tn_upsampling *d, int c)
{
    return TN_MAX(1, c / d->se_reduction);
}

static int block_slots(const tn_parts *p, const tn_upsampling *d, int c)
{
    TN_TRY(tn_parts_conv(p, "dw", c, d->depthwise ? 1 : c, 3, false));
    TN_TRY(d->batch_norm ? tn_parts_batch_norm(p, "norm", c) : tn_parts_norm(p, "norm", c));
    TN_TRY(tn_parts_conv(p, "pw", c, c, 1, false));
    if (!d->se) return 0;
    TN_TRY(tn_parts_conv(p, "se.fc.0", squeezed(d, c), c, 1, true));
    return tn_parts_conv(p, "se.fc.2", c, squeezed(d, c), 1, true);
}

/* Heatmaps are no larger than the image: far beyond it factors are a mistake, and positions too many to count. */
static int check_factors(const tn_model *m, const tn_feature *f, tn_error *err)
{
    const tn_upsampling *d = &m->dec.upsampling;
    long long h = f->h, w = f->w;
    for (int s = 0; s + 1 < d->n_channels && s < d->n_upsample && h <= 2LL * m->image_h; s++)
        h *= d->upsample[s], w *= d->upsample[s];
    if (h <= 2LL * m->image_h && w <= 2LL * m->image_w) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "model.decoder.upsample makes a map of %lld x %lld or more of the backbone's %d x %d, and the image is %d x %d; "
                   "give fewer or smaller factors",
                   w, h, f->w, f->h, m->image_w, m->image_h);
}

static int upsampling_slots(tn_model *m, const tn_feature_list *in, tn_error *err)
{
    const tn_upsampling *d = &m->dec.upsampling;
    const tn_feature *f = &in->f[in->n - 1];
    const int wide = f->channels;
    char prefix[96];
    const tn_parts p = {m, TN_GROUP_HEAD, prefix, err};
    if (d->n_channels < 2 || d->channels[0] != wide)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.decoder.channels must start with the backbone's width %d and have a stage "
                       "after it (it starts with %d and has %d entries)",
                       wide, d->channels[0], d->n_channels);
    TN_TRY(check_factors(m, f, err));
    for (int s = 0; s + 1 < d->n_channels; s++) {
        const int a = d->channels[s], c = d->channels[s + 1];
        snprintf(prefix, sizeof prefix, "decoder.stages.%d.", s);
        if (a != c) TN_TRY(tn_parts_conv(&p, "proj", c, a, 1, false));
        for (int b = 0; b < d->blocks; b++) {
            snprintf(prefix, sizeof prefix, "decoder.stages.%d.blocks.%d.", s, b);
            TN_TRY(block_slots(&p, d, c));
        }
    }
    return 0;
}

/* ---- forward ---- */

typedef struct {
    tn_emitter e;
    int h, w;       /* of the current map */
    uint32_t drops; /* dropouts so far */
    bool projected; /* the next stage's map has gone through its projection */
} upsampler;

static int squeeze_excite(upsampler *u, int x)
{
    tn_emitter *e = &u->e;
    int s = tn_emit_sample_mean(e, x, u->h * u->w, "se.mean");
    s = tn_emit_act(e, tn_emit_module(e, s, "se.fc.0", "se.fc0"), TN_RELU, "se.relu");
    s = tn_emit_act(e, tn_emit_module(e, s, "se.fc.2", "se.fc2"), TN_SIGMOID, "se.sigmoid");
    tn_gnode *n = tn_emit_like(e, TN_OP_SCALE_CHANNELS, x, "se");
    const int y = n->out[0];
    n->in[1] = s, n->a.scale_channels.rows = u->h * u->w;
    tn_emit_mark(e, n);
    return y;
}

static int channel_dropout(upsampler *u, int x, float p)
{
    tn_gnode *n = tn_emit_like(&u->e, TN_OP_DROPOUT2D, x, "dropout");
    const int y = n->out[0];
    n->a.dropout2d = (tn_attr_dropout2d){p, 100000u + u->drops++, u->h * u->w};
    tn_emit_mark(&u->e, n);
    return y;
}

static tn_feature map_of(const upsampler *u, int x)
{
    return (tn_feature){.tensor = x, .h = u->h, .w = u->w, .channels = u->e.g->t[x].cols};
}

/* What the block's 1x1 convolution reads. */
static int activation(upsampler *u, int x)
{
    tn_emitter *e = &u->e;
    const tn_upsampling *d = &e->m->dec.upsampling;
    const tn_feature in = map_of(u, x);
    const int y = tn_emit_norm2d(e, tn_emit_conv(e, &in, "dw", 1, 1, "dw").tensor, "norm", u->h, u->w, d->batch_norm, "norm");
    return tn_emit_act(e, y, d->relu ? TN_RELU : TN_GELU, "act");
}

static int upsampling_block(upsampler *u, int x)
{
    tn_emitter *e = &u->e;
    const tn_upsampling *d = &e->m->dec.upsampling;
    int y = tn_emit_module(e, activation(u, x), "pw", "pw");
    if (d->se) y = squeeze_excite(u, y);
    if (d->dropout > 0 && e->p->training) y = channel_dropout(u, y, d->dropout);
    return tn_emit_residual(e, x, y, -1, "block");
}

/* Can a block's branches be taken apart by what reads their sum? Not where more than a 1x1 convolution comes before the sum. */
static bool parts(const tn_emitter *e)
{
    const tn_upsampling *d = &e->m->dec.upsampling;
    return !d->se && !(d->dropout > 0 && e->p->training);
}

/* Is stage s's last sum for the next one's projection alone, and large enough to pay for the two matrices' product? */
static bool joins_next(const upsampler *u, int s)
{
    enum { LEAST = 32768 };
    const tn_upsampling *d = &u->e.m->dec.upsampling;
    const bool projects = s + 2 < d->n_channels && d->channels[s + 1] != d->channels[s + 2];
    return projects && parts(&u->e) && (u->e.p->training || u->e.p->batch * u->h * u->w >= LEAST);
}

/* W' (x + Q a) = W' x + (W' Q) a, W' the next stage's projection: x of the size that it has before it is enlarged. */
static int joined_block(upsampler *u, const tn_feature *small, int x, int s)
{
    tn_emitter *e = &u->e;
    const int a = activation(u, x), q = tn_emit_slot(e, "pw", "weight");
    tn_feature f = e->m->dec.upsampling.blocks == 1 ? *small : map_of(u, x);
    snprintf(e->prefix, sizeof e->prefix, "decoder.stages.%d.", s + 1);
    f.tensor = tn_emit_module(e, f.tensor, "proj", "proj");
    f.channels = e->g->t[f.tensor].cols;
    if (f.h != u->h || f.w != u->w) f.tensor = tn_emit_resize(e, &f, u->h, u->w, -1, "upsampled");
    const int w = tn_emit_slot(e, "proj", "weight"), m = tn_emit_tensor(e, f.channels, e->m->slots[q].cols, "joined");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_SLOTS_PRODUCT);
    n->out[0] = m, n->w[0] = w, n->w[1] = q;
    tn_emit_mark(e, n);
    const int y = tn_emit_tensor(e, e->g->t[x].rows, f.channels, "block");
    n = tn_graph_node(e->g, TN_OP_LINEAR_BY);
    n->in[0] = a, n->in[1] = m, n->in[2] = f.tensor, n->out[0] = y;
    tn_emit_mark(e, n);
    u->projected = true;
    return y;
}

/* The last block's branches; what was enlarged to the heatmap's size is handed over as it was before. */
static void last_block(upsampler *u, const tn_feature *small, int x, tn_map_list *out)
{
    tn_emitter *e = &u->e;
    const tn_upsampling *d = &e->m->dec.upsampling;
    const bool whole = u->h == e->m->heat_h && u->w == e->m->heat_w;
    const tn_feature in = map_of(u, x);
    out->f[0] = whole && d->blocks == 1 ? *small : in;
    out->f[1] = tn_emit_conv(e, &in, "dw", 1, 1, "dw");
    out->norm[1] = tn_emit_norm_of(e, "norm", &out->f[1], d->batch_norm);
    out->norm[1].a.act = true, out->norm[1].a.fn = d->relu ? TN_RELU : TN_GELU;
    out->conv[0] = -1, out->conv[1] = tn_emit_slot(e, "pw", "weight");
    out->n = 2;
}

static void upsampling_stage(upsampler *u, int s, tn_map_list *maps)
{
    tn_emitter *e = &u->e;
    const tn_upsampling *d = &e->m->dec.upsampling;
    const int up = s < d->n_upsample ? d->upsample[s] : 1;
    const bool last = s + 2 == d->n_channels && parts(e) && e->m->heats <= TN_FEW_OUTPUTS;
    int x = maps->f[0].tensor;
    snprintf(e->prefix, sizeof e->prefix, "decoder.stages.%d.", s);
    if (d->channels[s] != d->channels[s + 1] && !u->projected) x = tn_emit_module(e, x, "proj", "proj");
    u->projected = false;
    const tn_feature small = map_of(u, x);
    if (up != 1) {
        u->h *= up, u->w *= up;
        x = tn_emit_resize(e, &small, u->h, u->w, -1, "upsampled");
    }
    const bool joins = joins_next(u, s);
    for (int b = 0; b < d->blocks; b++) {
        const bool end = b + 1 == d->blocks;
        snprintf(e->prefix, sizeof e->prefix, "decoder.stages.%d.blocks.%d.", s, b);
        if (last && end) last_block(u, &small, x, maps);
        else maps->f[0] = map_of(u, x = joins && end ? joined_block(u, &small, x, s) : upsampling_block(u, x));
    }
}

/* Over the coarsest map, where there are several. */
static int upsampling_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *in, tn_map_list *out,
                           tn_error *err)
{
    const tn_feature *f = &in->f[in->n - 1];
    upsampler u = {.e = tn_emit_begin(g, m, p), .h = f->h, .w = f->w};
    *out = tn_map_alone(f);
    for (int s = 0; s + 1 < m->dec.upsampling.n_channels; s++) {
        char name[32];
        snprintf(name, sizeof name, "decoder.%d", s);
        tn_graph_layer(g, name, p->recompute);
        upsampling_stage(&u, s, out);
    }
    return g->oom ? tn_oom(err) : 0;
}

static int upsampling_width(const tn_model *m)
{
    return m->dec.upsampling.channels[m->dec.upsampling.n_channels - 1];
}

const tn_decoder_kind tn_decoder_upsampling = {"upsampling", false, upsampling_slots, upsampling_emit, upsampling_width};
