/* LayerNorm for GPUs: LANES items share a row, which stays in their registers between the passes over it: it is read once.
 * A group of WG items takes WG / LANES rows of COLS columns. stats[row] = (mean, 1/sqrt(var + eps)). */
#define WHOLE 1
#include "common.h"
#ifndef COLS
#define COLS 384
#endif
#ifndef LANES
#define LANES 16 /* a power of two, 4 at least */
#endif
#ifndef WG
#define WG 128
#endif
#define RUNS        ((COLS / VW + LANES - 1) / LANES) /* vectors an item */
#define COL(k)      (((k) * LANES + lane) * VW)
#define IN(k)       (COLS == RUNS * LANES * VW || COL(k) < COLS)
#define FOR_RUNS(k) _Pragma("unroll") for (int k = 0; k < RUNS; k++) if (IN(k))

/* The sums of a row's items; each call has its own `s` [WG]: then one barrier is enough. */
inline float row_sum(float v, __local float4 *s)
{
    const int l = (int)get_local_id(0);
    ((__local float *)s)[l] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    s += l / LANES * (LANES / 4);
    float4 t = s[0];
    for (int i = 1; i < LANES / 4; i++) t += s[i];
    return hsum4(t);
}
inline float2 row_sums(float2 v, __local float4 *s)
{
    const int l = (int)get_local_id(0);
    ((__local float2 *)s)[l] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    s += l / LANES * (LANES / 2);
    float4 t = s[0];
    for (int i = 1; i < LANES / 2; i++) t += s[i];
    return t.lo + t.hi;
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void ln_forward(const __global act_t *x, const __global float *gamma, const __global float *beta, __global act_t *y,
                __global float2 *stats, int cols, float eps, int rows)
{
    __local float4 sums[WG / 4], squares[WG / 4];
    const int row = (int)(get_global_id(0) / LANES), lane = (int)get_local_id(0) % LANES;
    const size_t base = (size_t)min(row, rows - 1) * COLS; /* past the end the last row once more, up to the store */
    vec v[RUNS], s = TO_VEC(0.0f);
    FOR_RUNS(k) v[k] = LDV(ACT, x, base + COL(k));
    FOR_RUNS(k) s += v[k];
    const float mean = row_sum(HSUM(s), sums) * (1.0f / COLS);
    s = TO_VEC(0.0f);
    FOR_RUNS(k)
    {
        v[k] -= mean;
        s += v[k] * v[k];
    }
    const float rstd = rsqrt(row_sum(HSUM(s), squares) * (1.0f / COLS) + eps);
    if (row >= rows) return;
    FOR_RUNS(k) STV(ACT, y, base + COL(k), v[k] * rstd * LDV(0, gamma, COL(k)) + LDV(0, beta, COL(k)));
    if (lane == 0) stats[row] = (float2)(mean, rstd);
}

/* dx (+)= rstd * (g dy - mean(g dy) - xhat mean(g dy xhat)); SCALED: scaled = scale * dx beside it. */
#ifdef SCALED
#define P_SCALED , const __global float *scale, __global act_t *scaled
#else
#define P_SCALED
#endif
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void ln_backward(const __global act_t *x, const __global float *gamma, const __global float2 *stats,
                 const __global act_t *dy, __global act_t *dx, int cols, int accumulate, int rows P_SCALED)
{
    __local float4 sums[WG / 2];
    const int row = (int)(get_global_id(0) / LANES), lane = (int)get_local_id(0) % LANES, from = min(row, rows - 1);
    const size_t base = (size_t)from * COLS;
    const float2 stat = stats[from];
    vec xhat[RUNS], g[RUNS], s1 = TO_VEC(0.0f), s2 = TO_VEC(0.0f);
    FOR_RUNS(k)
    {
        xhat[k] = LDV(ACT, x, base + COL(k));
        g[k] = LDV(ACT, dy, base + COL(k));
    }
    FOR_RUNS(k)
    {
        xhat[k] = (xhat[k] - stat.x) * stat.y;
        g[k] *= LDV(0, gamma, COL(k));
        s1 += g[k];
        s2 += g[k] * xhat[k];
    }
    const float2 m = row_sums((float2)(HSUM(s1), HSUM(s2)), sums) * (1.0f / COLS);
    if (row >= rows) return;
    FOR_RUNS(k) g[k] = stat.y * (g[k] - m.x - xhat[k] * m.y);
    if (accumulate) FOR_RUNS(k) g[k] += LDV(ACT, dx, base + COL(k));
    FOR_RUNS(k) STV(ACT, dx, base + COL(k), g[k]);
#ifdef SCALED
    FOR_RUNS(k) STV(ACT, scaled, base + COL(k), g[k] * LDV(0, scale, COL(k)));
#endif
}
