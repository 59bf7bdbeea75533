/* What the products on any vendor's matrix unit share: the options of shared/gemm.h, of which at most one of PRE, SLOPE and
 * RESIDUAL is set (their matrix is `extra`), and GELU is the only activation. Needs common.h, step.h, and an exp2_fast and a
 * recip_fast. */
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
#define P_END , __global ushort *C, uint c_off, int ldc, float alpha P_EXTRA P_BIAS P_SCALE P_TURN
#define A_END , C, c_off, ldc, alpha A_EXTRA A_BIAS A_SCALE A_TURN

/* The t-th tile: BAND rows of tiles at a time, so that groups that run together share them in the cache. */
#define BAND 4
inline void tile_at(int t, int down, int across, int *m, int *n)
{
    const int first = t / (BAND * across) * BAND, tall = min(down - first, BAND), in_band = t % (BAND * across);
    *m = first + in_band % tall, *n = in_band / tall;
}

/* The normal distribution's upper tail at |x|, for the exact GELU (Abramowitz & Stegun 7.1.26), and exp(-x^2 / 2). */
inline float normal_tail(float x, float *e)
{
    const float t = recip_fast(fma(0.23164189f, fabs(x), 1.0f));
    *e = exp2_fast(-0.72134752f * x * x);
    return *e * t * fma(t, fma(t, fma(t, fma(t, 0.5307027f, -0.7265760f), 0.7107069f), -0.1422484f), 0.1274148f);
}

inline float gelu(float x)
{
    float e;
    return fma(-fabs(x), normal_tail(x, &e), fmax(x, 0.0f));
}

/* From the tail g and e of normal_tail. */
inline float slope_of(float x, float g, float e)
{
    return fma(0.39894228f * x, e, x > 0.0f ? 1.0f - g : g);
}

inline float gelu_slope(float x)
{
    float e;
    const float g = normal_tail(x, &e);
    return slope_of(x, g, e);
}

/* Both from one tail. */
inline float gelu_and_slope(float x, float *slope)
{
    float e;
    const float g = normal_tail(x, &e);
    *slope = slope_of(x, g, e);
    return fma(-fabs(x), g, fmax(x, 0.0f));
}
