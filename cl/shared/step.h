/* What changes from step to step, in two small buffers, so that the kernels' arguments never do; the layouts of src/ops/step.h.
 * And the masks of dropout that are drawn from it. */
typedef struct {
    uint seed;                        /* of this micro-batch's masks */
    float inv_mask;                   /* 1 / the sum of the loss's mask over the whole batch */
    float lr, weight_decay, max_norm; /* max_norm 0: no clipping */
    uint groups;                      /* bit g: group g is trained in this step */
    uint scaling;                     /* 1: the loss scale adapts */
    uint unused;
} tn_step;

typedef struct {
    float norm, factor;   /* of the last step; what gradients are multiplied by */
    uint finite, skipped; /* of the last step; steps skipped so far */
    float loss_scale;
    uint good_steps;    /* since the loss scale changed */
    uint steps[3];      /* taken by each group: Adam's t */
    float c1[3], c2[3]; /* 1 - beta1^t, sqrt(1 - beta2^t) */
    uint unused;
} tn_optim;

/* Keep (1 / (1 - p)) or drop (0) elements i and following. */
#if VW == 1
#define KEEP(seed, i, threshold, scale) (tn_draw16(seed, i) >= (threshold) ? (scale) : 0.0f)
#else
#if VW == 16
#define LANES ((uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif VW == 8
#define LANES ((uint8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANES ((uint4)(0, 1, 2, 3))
#endif
inline vec keep_v(uint seed, uint i, uint threshold, float scale)
{
    const uvec at = (uvec)(i) + LANES;
    uvec x = (at >> 1) * 0x9E3779B9u + seed; /* tn_draw16, every lane its own */
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    x = (x ^ (x >> 16)) >> (at & 1) * 16 & 0xffffu;
    return select((vec)(0.0f), (vec)(scale), x >= (uvec)(threshold));
}
#define KEEP(seed, i, threshold, scale) keep_v(seed, i, threshold, scale)
#endif
