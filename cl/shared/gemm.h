/* What the kernels of a product share: their options, and what is done to a sum before it is stored. Needs common.h, act.h
 * and step.h.
 *
 *   TA 0: A is [M,K]; 1: A is [K,M].   TB 0: B is [K,N]; 1: B is [N,K] (a linear layer's weight).
 *   AT, BT, CT: storage types.  SPLIT 1: parts of the sum over k go to C[batch][split][M][N] (float32).
 *   BATCH 1: several products of one shape, their matrices a fixed step apart.
 *   PAIR 1: A2 [M, parts * K2] (A2T) times B2 (B2T) is part of the sum; TB2 as TB.
 *   BIAS, PRE (PT), ACTIVATE, SLOPE (LT), SCALE, RESIDUAL (RT): tn_epilogue's members, in that order; FN as act.h has it.
 *   PRE_SLOPE: PRE is the activation's slope; READY: SLOPE is one.
 *   MASK_A, MASK_B, MASK_E: dropout of A, of B, of the pair's product.
 * What is switched off has no argument and no instruction. */
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 0
#endif
#ifndef TB2
#define TB2 0
#endif
#ifndef AT
#define AT 0
#endif
#ifndef BT
#define BT 0
#endif
#ifndef CT
#define CT 0
#endif
#ifndef A2T
#define A2T 0
#endif
#ifndef B2T
#define B2T 0
#endif
#ifndef PT
#define PT 0
#endif
#ifndef LT
#define LT 0
#endif
#ifndef RT
#define RT 0
#endif
#ifndef SPLIT
#define SPLIT 0
#endif

/* cnt of VW elements: all but the last columns of a matrix take the fast way. */
#if VW == 1
#define LDN(t, p, i, cnt)    LD(t, p, i)
#define STN(t, p, i, v, cnt) ST(t, p, i, v)
#else
#define LOADS(t)                                                                                                                   \
    inline vec CAT(ldn_, t)(const __global TYPE(t) * p, size_t i, int cnt)                                                         \
    {                                                                                                                              \
        float x[VW];                                                                                                               \
        if (cnt >= VW) return LDV(t, p, i);                                                                                        \
        for (int k = 0; k < VW; k++) x[k] = k < cnt ? LD(t, p, i + k) : 0.0f;                                                      \
        return CAT(vload, VW)(0, x);                                                                                               \
    }                                                                                                                              \
    inline void CAT(stn_, t)(__global TYPE(t) * p, size_t i, vec v, int cnt)                                                       \
    {                                                                                                                              \
        float x[VW];                                                                                                               \
        if (cnt >= VW) {                                                                                                           \
            STV(t, p, i, v);                                                                                                       \
            return;                                                                                                                \
        }                                                                                                                          \
        CAT(vstore, VW)(v, 0, x);                                                                                                  \
        for (int k = 0; k < cnt; k++) ST(t, p, i + k, x[k]);                                                                       \
    }
LOADS(0)
LOADS(1)
LOADS(2)
#define LDN(t, p, i, cnt)    CAT(ldn_, t)(p, i, cnt)
#define STN(t, p, i, v, cnt) CAT(stn_, t)(p, i, v, cnt)
#endif

#ifdef BATCH
#define P_BATCH , int splits, uint a_step, uint b_step, uint c_step
#else
#define P_BATCH
#endif
#if defined(MASK_A) || defined(MASK_B) || defined(MASK_E)
#define P_STEP , const __global tn_step *step
#else
#define P_STEP
#endif
#ifdef MASK_A
#define P_MASK_A , uint a_salt, uint a_threshold, float a_keep, uint a_width
#else
#define P_MASK_A
#endif
#ifdef MASK_B
#define P_MASK_B , uint b_salt, uint b_threshold, float b_keep, uint b_width
#else
#define P_MASK_B
#endif
#ifdef MASK_E
#define P_MASK_E , uint e_salt, uint e_threshold, float e_keep
#else
#define P_MASK_E
#endif

#ifdef BIAS
#define P_BIAS            , const __global float *bias
#define E_BIAS(s, n, cnt) s += LDN(0, bias, n, cnt);
#else
#define P_BIAS
#define E_BIAS(s, n, cnt)
#endif
#ifdef PRE
#define P_PRE               , __global TYPE(PT) *pre, uint pre_off, int pre_ld
#ifdef PRE_SLOPE
#define E_PRE(s, m, n, cnt) STN(PT, pre, pre_off + (size_t)(m)*pre_ld + (n), fn_slope(s), cnt);
#else
#define E_PRE(s, m, n, cnt) STN(PT, pre, pre_off + (size_t)(m)*pre_ld + (n), s, cnt);
#endif
#else
#define P_PRE
#define E_PRE(s, m, n, cnt)
#endif
#ifdef ACTIVATE
#define E_ACT(s) s = fn(s);
#else
#define E_ACT(s)
#endif
#ifdef SLOPE
#define P_SLOPE               , const __global TYPE(LT) *slope, uint slope_off, int slope_ld
#ifdef READY
#define E_SLOPE(s, m, n, cnt) s *= LDN(LT, slope, slope_off + (size_t)(m)*slope_ld + (n), cnt);
#else
#define E_SLOPE(s, m, n, cnt) s *= fn_slope(LDN(LT, slope, slope_off + (size_t)(m)*slope_ld + (n), cnt));
#endif
#else
#define P_SLOPE
#define E_SLOPE(s, m, n, cnt)
#endif
#ifdef SCALE
#define P_SCALE            , const __global float *scale
#define E_SCALE(s, n, cnt) s *= LDN(0, scale, n, cnt);
#else
#define P_SCALE
#define E_SCALE(s, n, cnt)
#endif
#ifdef RESIDUAL
#define P_RESIDUAL               , const __global TYPE(RT) *residual, uint residual_off, int residual_ld
#define E_RESIDUAL(s, m, n, cnt) s += LDN(RT, residual, residual_off + (size_t)(m)*residual_ld + (n), cnt);
#else
#define P_RESIDUAL
#define E_RESIDUAL(s, m, n, cnt)
#endif

#define P_EPILOGUE P_BIAS P_PRE P_SLOPE P_SCALE P_RESIDUAL
/* The sum s (vec) of columns n to n + cnt of row m becomes what is stored, but for beta C. */
#define EPILOGUE(s, m, n, cnt)                                                                                                     \
    E_BIAS(s, n, cnt)                                                                                                              \
    E_PRE(s, m, n, cnt) E_ACT(s) E_SLOPE(s, m, n, cnt) E_SCALE(s, n, cnt) E_RESIDUAL(s, m, n, cnt)
