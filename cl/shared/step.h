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
#define KEEP(seed, i, threshold, scale) (tn_keeps(seed, i, threshold) ? (scale) : 0.0f)
#else
#if VW == 16
#define LANES ((uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif VW == 8
#define LANES ((uint8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANES ((uint4)(0, 1, 2, 3))
#endif
#if VW == 4
#define SHARED_WORDS uint2
#define FIRST_WORDS  ((uint2)(0, 1))
#else
#define SHARED_WORDS uint4
#define FIRST_WORDS  ((uint4)(0, 1, 2, 3))
#endif
DECIDED(uvec, tn_decided_each)
DECIDED(SHARED_WORDS, tn_decided_shared)

/* The top bit of each lane: element i and those that follow, each one's word for itself. */
inline uvec decided_each(uint seed, uint i, uint threshold)
{
    const uvec at = (uvec)(i) + LANES;
    return tn_decided_each(seed, WORD_OF(at), threshold) << (24 - BYTE_OF(at));
}

/* The same where i is a multiple of VW, so that elements share words. */
inline uvec decided_shared(uint seed, uint i, uint threshold)
{
    const SHARED_WORDS w = tn_decided_shared(seed, (SHARED_WORDS)(WORD_OF(i)) + FIRST_WORDS, threshold);
    uvec r;
#if VW == 16
    const ushort8 pairs = as_ushort8(w); /* of a word, the one that comes first and the one 8 on */
    r = as_uint16(__builtin_convertvector(as_char16(pairs.s02461357), int16));
#else
    const SHARED_WORDS pairs = w << (16 - BYTE_OF(i));
    r.even = pairs << 8, r.odd = pairs;
#endif
    return r;
}

inline vec keep_v(uint seed, uint i, uint threshold, float scale)
{
    const uvec d = !ALIGNED && i % VW ? decided_each(seed, i, threshold) : decided_shared(seed, i, threshold);
    return select((vec)(0.0f), (vec)(scale), d ^ FLIPPED(threshold));
}
#define KEEP(seed, i, threshold, scale) keep_v(seed, i, threshold, scale)
#endif
