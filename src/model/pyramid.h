/**
 * A feature pyramid as torchvision.ops.FeaturePyramidNetwork (Lin et al. 2017): every map through a 1x1 convolution, each level's
 * sum with the next coarser one, enlarged to the nearest position, and a 3x3 convolution over that. Several decoders end with one.
 */
#ifndef TN_PYRAMID_H
#define TN_PYRAMID_H
#include "emit.h"

/** <prefix>inner_blocks.i.0 [channels, in's, 1, 1] and <prefix>layer_blocks.i.0 [channels, channels, 3, 3] with biases, i from the
 * finest map on; they start as torchvision's. */
int tn_pyramid_slots(const tn_parts *p, const tn_feature_list *in, int channels);
/** Emits it, a layer fpn.i for each level, the coarsest first. *out: as many maps of the sizes of `in`, the finest first, whose 3x3
 * convolutions are left to the head; they are added unless the caller says otherwise. */
void tn_pyramid_emit(tn_emitter *e, const tn_feature_list *in, tn_map_list *out);
#endif
