/* Several scales of a plain ViT's one map, or of its maps of several blocks, which are all of one size, as the simple feature
 * pyramid of ViTDet (Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection") but without parameters:
 * four times as large, twice, as it is, and half, each bilinearly (half is then the mean of 2x2 positions). Nothing is emitted
 * here: a decoder's first 1x1 convolution goes before the resizing. */
#include "model.h"

void tn_scales_of(tn_feature_list *f)
{
    enum { SCALES = 4, FINEST = 4 };
    const tn_feature_list own = *f;
    for (int i = 1; i < f->n; i++)
        if (f->f[i].stride != f->f[0].stride || f->f[0].stride <= FINEST)
            return; /* a ConvNeXt's stem is as large as its first stage */
    if (f->n == 1) f->n = SCALES;
    for (int i = 0; i < f->n; i++) {
        const tn_feature map = own.f[own.n > 1 ? i : 0];
        tn_feature *to = &f->f[i];
        *to = map;
        to->own_h = map.h, to->own_w = map.w;
        to->h = TN_MAX(1, FINEST * map.h >> i), to->w = TN_MAX(1, FINEST * map.w >> i);
        to->stride = TN_MAX(1, (map.stride << i) / FINEST);
    }
}
