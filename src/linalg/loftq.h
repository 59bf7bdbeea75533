/** How an adapter begins from the weight that it adapts, on the host. */
#ifndef TN_LOFTQ_H
#define TN_LOFTQ_H
#include "quant.h"
#include "svd.h"

/** W ~ scale B A as tn_low_rank makes it, the scale divided evenly between both factors (PEFT's pissa_init). */
int tn_low_rank_scaled(const tn_low_rank_of *x, float scale, float *B, float *A, tn_error *err);

/** How LoftQ goes about it (Li et al. 2024): so many times Q = quantised(W - scale B A), then scale B A ~ W - Q, of rank r. */
typedef struct tn_loftq_spec {
    tn_qshape shape;
    int r, iterations;
    float scale;
} tn_loftq_spec;
/** w [rows, cols] becomes what was quantised last; B [rows, r] and A [r, cols] the last factors. */
int tn_loftq(float *w, const tn_loftq_spec *s, float *B, float *A, tn_error *err);
/** The base alone: w becomes the last Q's values. */
int tn_loftq_base(float *w, const tn_loftq_spec *s, tn_error *err);
#endif
