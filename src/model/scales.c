/* Several scales of a plain ViT's one map, as the simple feature pyramid of ViTDet (Li et al. 2022, "Exploring Plain Vision
 * Transformer Backbones for Object Detection") but without parameters: four times as large, twice, as it is, and half, each
 * bilinearly (half is then the mean of 2x2 positions). Nothing is emitted here: a decoder's first 1x1 convolution goes before the
 * resizing. */
#include "model.h"

void tn_scales_of(tn_feature_list *f)
{
    enum { SCALES = 4, FINEST = 4 };
    const tn_feature map = f->f[0];
    if (f->n > 1) return;
    f->n = SCALES;
    for (int i = 0; i < SCALES; i++) {
        tn_feature *to = &f->f[i];
        *to = map;
        to->own_h = map.h, to->own_w = map.w;
        to->h = TN_MAX(1, FINEST * map.h >> i), to->w = TN_MAX(1, FINEST * map.w >> i);
        to->stride = TN_MAX(1, (map.stride << i) / FINEST);
    }
}
