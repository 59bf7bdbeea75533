/* The feature pyramid decoder of convnext_fpn_heatmap: the levels of the pyramid, resized to the heatmap and added, or side by side
 * through a 1x1 convolution. */
#include "pyramid.h"

#include <stdio.h>

static int fpn_slots(tn_model *m, const tn_feature_list *in, tn_error *err)
{
    const tn_fpn *d = &m->dec.fpn;
    const tn_parts own = {m, TN_GROUP_HEAD, "decoder.", err}, fpn = {m, TN_GROUP_HEAD, "decoder.fpn.", err};
    TN_TRY(tn_features_check(in, d->in_channels, d->n_in, "model.fpn.in_channels", err));
    TN_TRY(tn_pyramid_slots(&fpn, in, d->lateral));
    if (!d->concat) return 0;
    TN_TRY(tn_parts_conv(&own, "reduce", d->lateral, d->lateral * in->n, 1, true));
    tn_parts_plain(&own, d->lateral * in->n);
    return 0;
}

static int fpn_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *in, tn_map_list *out, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    snprintf(e.prefix, sizeof e.prefix, "decoder.fpn.");
    tn_pyramid_emit(&e, in, out);
    out->reduce = tn_model_slot(m, "decoder.reduce.weight");
    return g->oom ? tn_oom(err) : 0;
}

static int fpn_width(const tn_model *m)
{
    return m->dec.fpn.lateral;
}

const tn_decoder_kind tn_decoder_fpn = {"fpn", true, fpn_slots, fpn_emit, fpn_width};
