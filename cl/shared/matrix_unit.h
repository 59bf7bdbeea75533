/* What the products on any vendor's matrix unit share: the options of shared/gemm.h, of which at most one of PRE, SLOPE and
 * RESIDUAL is set (their matrix is `extra`), and GELU is the only activation. Needs common.h, step.h, and exp2_fast
 * and fma_held. */
#if defined(SLOPE) || defined(RESIDUAL)
#define READS 1
#else
#define READS 0
#endif
#if READS || defined(PRE)
#define P_EXTRA , __global ushort *extra, uint e_off, int lde
#define A_EXTRA , extra, e_off, lde
#else
#define P_EXTRA
#define A_EXTRA
#endif
#ifdef BIAS
#define P_BIAS , const __global float *restrict bias
#define A_BIAS , bias
#else
#define P_BIAS
#define A_BIAS
#endif
#ifdef SCALE
#define P_SCALE , const __global float *restrict scale
#define A_SCALE , scale
#else
#define P_SCALE
#define A_SCALE
#endif
#ifdef MASK_E
#define P_MASK , const __global tn_step *step, uint e_salt, uint e_threshold, float e_keep
#else
#define P_MASK
#endif
#ifdef TURN /* q and k are turned: the first `turned` columns, in heads of 64 */
#define P_TURN , const __global float *restrict table, int tokens, int skip, int turned
#define A_TURN , table, tokens, skip, turned
#else
#define P_TURN
#define A_TURN
#endif
/* Of NVIDIA's kernels alone (epilogue.h). NORM: A's rows are taken as a layer norm makes them; ROW_SUMS: those of C are left. */
#ifdef NORM
#define P_NORM , const __global float *restrict column_sums
#define A_NORM , column_sums
#else
#define P_NORM
#define A_NORM
#endif
#ifdef ROW_SUMS
#define P_SUMS , __global float *sums
#define A_SUMS , sums
#else
#define P_SUMS
#define A_SUMS
#endif
#define P_END , __global ushort *C, uint c_off, int ldc, float alpha P_EXTRA P_BIAS P_SCALE P_TURN P_NORM P_SUMS
#define A_END , C, c_off, ldc, alpha A_EXTRA A_BIAS A_SCALE A_TURN A_NORM A_SUMS

/* The t-th tile: BAND rows of tiles at a time, so that groups that run together share them in the cache. */
#define BAND 4
inline void tile_at(int t, int down, int across, int *m, int *n)
{
    const int first = t / (BAND * across) * BAND, tall = min(down - first, BAND), in_band = t % (BAND * across);
    *m = first + in_band % tall, *n = in_band / tall;
}

/* What of the normal distribution lies below x; y = x^2. Own fit of its odd part: to 5e-5, 4e-5 in what GELU makes of it, which 16
 * bits do not hold. Beyond 4.4 it leaves [0, 1], where the last step holds it. */
inline float normal_below(float x, float y)
{
    float p = fma(3.57229746e-11f, y, -3.75634258e-09f);
    p = fma(fma(fma(p, y, 1.74160394e-07f), y, -4.72619776e-06f), y, 8.43064310e-05f);
    p = fma(fma(fma(fma(p, y, -1.05507069e-03f), y, 9.64328061e-03f), y, -6.60768416e-02f), y, 3.98761881e-01f);
    return fma_held(x, p, 0.5f);
}

inline float gelu(float x)
{
    return x * normal_below(x, x * x);
}

/* From y = x^2 and normal_below. */
inline float slope_of(float x, float y, float below)
{
    return fma(0.39894228f * x, exp2_fast(-0.72134752f * y), below);
}

inline float gelu_slope(float x)
{
    const float y = x * x;
    return slope_of(x, y, normal_below(x, y));
}

inline float gelu_and_slope(float x, float *slope)
{
    const float y = x * x, below = normal_below(x, y);
    *slope = slope_of(x, y, below);
    return x * below;
}
