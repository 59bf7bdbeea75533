/* The HRNet decoder of convnext_hrnet_heatmap: a branch for each map, which units convolve and then exchange, after HRNet's fusion
 * (Sun et al. 2019, "Deep High-Resolution Representation Learning"). Only the finest branch leaves the last unit, so that the rows
 * of its exchange that make the others are slots which nothing reads: they are neither computed nor trained, as PyTorch, which
 * computes them, has no gradient for them. */
#include "emit.h"

#include <stdio.h>

/* ---- slots ---- */

/* Convolution, BatchNorm and (without slots) ReLU. */
static int cbr_slots(const tn_parts *p, const char *module, int out, int in, int kernel, bool read)
{
    char name[96];
    const int first = p->m->n_slots;
    snprintf(name, sizeof name, "%s.0", module);
    TN_TRY(tn_parts_conv(p, name, out, in, kernel, false));
    snprintf(name, sizeof name, "%s.1", module);
    TN_TRY(tn_parts_batch_norm(p, name, out));
    for (int i = first; i < p->m->n_slots; i++) p->m->slots[i].trainable &= read;
    return 0;
}

/* What branch i gives to branch k: 1x1 from a coarser one, as many 3x3 with stride 2 as it is finer. */
static int exchange_slots(const tn_parts *p, int unit, int k, int i, bool read)
{
    const int *w = p->m->dec.hrnet.widths;
    char module[64];
    snprintf(module, sizeof module, "units.%d.fuse_layers.%d.%d", unit, k, i);
    if (i > k) return cbr_slots(p, module, w[k], w[i], 1, read);
    for (int d = 0; d < k - i; d++) {
        snprintf(module, sizeof module, "units.%d.fuse_layers.%d.%d.%d", unit, k, i, d);
        TN_TRY(cbr_slots(p, module, w[k], d ? w[k] : w[i], 3, read));
    }
    return 0;
}

static int unit_slots(const tn_parts *p, int unit)
{
    const tn_hrnet *d = &p->m->dec.hrnet;
    char module[64];
    for (int i = 0; i < d->n_widths; i++) {
        snprintf(module, sizeof module, "units.%d.branch_ops.%d", unit, i);
        TN_TRY(cbr_slots(p, module, d->widths[i], d->widths[i], 3, true));
    }
    for (int k = 0; k < d->n_widths; k++)
        for (int i = 0; i < d->n_widths; i++) TN_TRY(exchange_slots(p, unit, k, i, k == 0 || unit + 1 < d->units));
    return 0;
}

static int hrnet_width(const tn_model *m)
{
    return m->dec.hrnet.out ? m->dec.hrnet.out : m->dec.hrnet.widths[0];
}

static int hrnet_slots(tn_model *m, const tn_feature_list *in, tn_error *err)
{
    const tn_hrnet *d = &m->dec.hrnet;
    const tn_parts p = {m, TN_GROUP_HEAD, "decoder.", err};
    char module[32];
    TN_TRY(tn_features_check(in, d->in_channels, d->n_in, "model.hrnet.in_channels", err));
    if (d->n_widths != in->n)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.hrnet.widths has %d entries, but the backbone hands out %d maps: give a width for each", d->n_widths,
                       in->n);
    for (int i = 0; i < in->n; i++) {
        snprintf(module, sizeof module, "lateral.%d", i);
        TN_TRY(cbr_slots(&p, module, d->widths[i], in->f[i].channels, 1, i == 0 || d->units > 0));
    }
    for (int u = 0; u < d->units; u++) TN_TRY(unit_slots(&p, u));
    TN_TRY(tn_parts_conv(&p, "head", hrnet_width(m), d->widths[0], 3, true));
    tn_parts_plain(&p, d->widths[0] * 9);
    return 0;
}

/* ---- forward ---- */

static tn_feature cbr(tn_emitter *e, const tn_feature *f, const char *module, int kernel, int stride)
{
    char name[96];
    snprintf(name, sizeof name, "%s.0", module);
    tn_feature y = kernel == 1 ? tn_emit_project(e, f, name, "conv") : tn_emit_conv(e, f, name, stride, 1, "conv");
    snprintf(name, sizeof name, "%s.1", module);
    y.tensor = tn_emit_norm2d(e, y.tensor, name, y.h, y.w, true, "norm");
    y.tensor = tn_emit_act(e, y.tensor, TN_RELU, "relu");
    return y;
}

/* Branch i's part of branch k, of the size of `to`. */
static int exchanged(tn_emitter *e, const tn_feature *x, const tn_feature *to, int unit, int k, int i)
{
    char module[64];
    tn_feature y = *x;
    snprintf(module, sizeof module, "units.%d.fuse_layers.%d.%d", unit, k, i);
    if (i > k) y = cbr(e, x, module, 1, 1);
    for (int d = 0; d < k - i; d++) {
        snprintf(module, sizeof module, "units.%d.fuse_layers.%d.%d.%d", unit, k, i, d);
        y = cbr(e, &y, module, 3, 2);
    }
    return y.h == to->h && y.w == to->w ? y.tensor : tn_emit_resize(e, &y, to->h, to->w, -1, "resized");
}

/* The first `outs` branches behind a unit. */
static void unit_emit(tn_emitter *e, tn_feature_list *x, int unit, int outs)
{
    tn_feature_list in = *x;
    char module[64];
    for (int i = 0; i < in.n; i++) {
        snprintf(module, sizeof module, "units.%d.branch_ops.%d", unit, i);
        in.f[i] = cbr(e, &x->f[i], module, 3, 1);
    }
    for (int k = 0; k < outs; k++) {
        x->f[k] = in.f[k];
        x->f[k].tensor = exchanged(e, &in.f[0], &in.f[k], unit, k, 0);
        for (int i = 1; i < in.n; i++)
            x->f[k].tensor = tn_emit_residual(e, x->f[k].tensor, exchanged(e, &in.f[i], &in.f[k], unit, k, i), -1, "exchange");
    }
}

static int hrnet_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *in, tn_map_list *out, tn_error *err)
{
    const tn_hrnet *d = &m->dec.hrnet;
    tn_emitter e = tn_emit_begin(g, m, p);
    tn_feature_list x = *in;
    char name[32];
    snprintf(e.prefix, sizeof e.prefix, "decoder.");
    tn_graph_layer(g, "lateral", p->recompute);
    for (int i = 0; i < (d->units ? in->n : 1); i++) {
        snprintf(name, sizeof name, "lateral.%d", i);
        x.f[i] = cbr(&e, &in->f[i], name, 1, 1);
    }
    for (int u = 0; u < d->units; u++) {
        snprintf(name, sizeof name, "unit.%d", u);
        tn_graph_layer(g, name, p->recompute);
        unit_emit(&e, &x, u, u + 1 < d->units ? x.n : 1);
    }
    *out = tn_map_alone(&x.f[0]);
    out->conv[0] = tn_emit_slot(&e, "head", "weight");
    return g->oom ? tn_oom(err) : 0;
}

const tn_decoder_kind tn_decoder_hrnet = {"hrnet", true, hrnet_slots, hrnet_emit, hrnet_width};
