/** How an adapter begins from the weight that it adapts, on the host. */
#ifndef TN_LOFTQ_H
#define TN_LOFTQ_H
#include "quant.h"
#include "svd.h"

/** W [rows, cols] ~ scale B A as tn_low_rank makes it, the scale divided evenly between both factors (PEFT's pissa_init). */
int tn_low_rank_scaled(const float *W, int rows, int cols, int r, float scale, int iterations, uint64_t seed, float *B, float *A,
                       tn_error *err);

/** LoftQ (Li et al. 2024): so many times Q = quantised(W - scale B A), then scale B A ~ W - Q, of rank r. w [s->rows, s->cols]
 * becomes what was quantised last; B [rows, r] and A [r, cols] the last factors. */
int tn_loftq(float *w, const tn_qshape *s, int r, float scale, int iterations, float *B, float *A, tn_error *err);
/** The base alone: w becomes the last Q's values. */
int tn_loftq_base(float *w, const tn_qshape *s, int r, float scale, int iterations, tn_error *err);
#endif
