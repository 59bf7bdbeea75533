/* Sums down the columns of [rows, C], in two steps so that the result never depends on timing.
 *   MODE 0: sum a           MODE 1: sum a*b
 *   MODE 2: sum a  and  sum a*(b - mean)*rstd      MODE 3: sum (a - mean)^2
 * Statistics of element (r, c) stand at stats[(r / stat_rows) * groups + c / group_cols] as (mean, rstd). */
#include "common.h"
#ifndef MODE
#define MODE 0
#endif

/* p0, p1: [chunks][C] float32. Items (C/VW, chunks). */
__kernel void colreduce(const __global act_t *a, const __global act_t *b, const __global float2 *stats,
                        __global float *p0, __global float *p1, int rows, int C, int chunk_rows, int stat_rows,
                        int groups, int group_cols, float alpha)
{
    const int c = (int)get_global_id(0) * VW, chunk = (int)get_global_id(1);
    if (c >= C || (size_t)chunk * chunk_rows >= (size_t)rows) return;
    const int last = min(rows, (chunk + 1) * chunk_rows);
    vec s0 = TO_VEC(0.0f), s1 = TO_VEC(0.0f);
#if MODE >= 2
    vec mean, rstd;
    int unit = -1;
#endif
    for (int r = chunk * chunk_rows; r < last; r++) {
        const size_t at = (size_t)r * C + c;
        const vec va = LDV(ACT, a, at);
#if MODE == 0
        s0 += va;
#elif MODE == 1
        s0 += va * LDV(ACT, b, at);
#else
        if (r / stat_rows != unit) {
            unit = r / stat_rows;
            const __global float2 *st = stats + (size_t)unit * groups;
#if VW == 1
            mean = st[c / group_cols].x;
            rstd = st[c / group_cols].y;
#else
            float m[VW], q[VW];
            for (int k = 0; k < VW; k++) {
                m[k] = st[(c + k) / group_cols].x;
                q[k] = st[(c + k) / group_cols].y;
            }
            mean = CAT(vload, VW)(0, m);
            rstd = CAT(vload, VW)(0, q);
#endif
        }
#if MODE == 2
        s0 += va;
        s1 += va * (LDV(ACT, b, at) - mean) * rstd;
#else
        s0 += (va - mean) * (va - mean);
#endif
#endif
    }
    STV(0, p0, (size_t)chunk * C + c, alpha * s0);
#if MODE == 2
    STV(0, p1, (size_t)chunk * C + c, alpha * s1);
#endif
}

/* out[c] += sum over chunks of p[chunk * ld + off + c]. Items (C). */
__kernel void colreduce_sum(const __global float *p, int off, int ld, __global float *out, int C, int chunks)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    float s = 0.0f;
    for (int i = 0; i < chunks; i++) s += p[(size_t)i * ld + off + c];
    out[c] += s;
}
