/* Rows (v, k), v being N entries from `first` on of a line of `ld` and k a constant (at k_at, the next row's k_step behind; k_at
 * -1: 0), through an affine map W [N, K], b [N]: (v W, v b + k), K + 1 entries each. What comes after a map and has few outputs is
 * such rows, one for each output. All of it is float32. */
#include "common.h"
#include "row_sum.h"
#ifndef LANES
#define LANES 16
#endif
#ifndef PARTS
#define PARTS 8
#endif
#ifndef RUN
#define RUN 1
#endif
#define GROUP (LANES * PARTS)

/* A group takes LANES runs of RUN * VW columns of a row, of which each of its PARTS adds up every PARTS-th entry of v; one more
 * group makes the constant. K is a multiple of VW. Groups (K / VW / RUN / LANES, rounded up, + 1; rows) of LANES * PARTS. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void rows_forward(const __global float *v, const __global float *k,
                                                                              const __global float *w, const __global float *b,
                                                                              __global float *out, int first, int ld, int k_at,
                                                                              int k_step, int N, int K, int biased)
{
    const int lane = (int)get_local_id(0) % LANES, part = (int)get_local_id(0) / LANES, row = (int)get_global_id(1);
    const int from = (int)get_global_id(0) / GROUP * LANES * RUN * VW, e = from + lane * RUN * VW,
              runs = clamp((K - e) / VW, 0, RUN);
    const bool last = from >= K;
    vec s[RUN];
    v += (size_t)row * ld + first, out += (size_t)row * (K + 1);
#pragma unroll
    for (int i = 0; i < RUN; i++) s[i] = TO_VEC(0.0f);
    if (last && biased)
        for (int n = part; n < N; n += PARTS) s[0] += TO_VEC(v[n] * b[n]);
    else if (runs == RUN)
        for (int n = part; n < N; n += PARTS) {
#pragma unroll
            for (int i = 0; i < RUN; i++) s[i] += v[n] * LDV(0, w, (size_t)n * K + e + i * VW);
        }
    else
        for (int i = 0; i < runs; i++)
            for (int n = part; n < N; n += PARTS) s[i] += v[n] * LDV(0, w, (size_t)n * K + e + i * VW);
#if PARTS > 1 /* a run each */
    __local vec sums[GROUP];
    sums[get_local_id(0)] = s[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (part) return;
    for (int p = 1; p < PARTS; p++) s[0] += sums[p * LANES + lane];
#endif
    if (last && lane == 0) out[K] = HSUM(s[0]) / VW + (k_at >= 0 ? k[k_at + row * k_step] : 0.0f);
    for (int i = 0; !last && i < runs; i++) STV(0, out, e + i * VW, s[i]);
}

/* dw += v d, db += v d[K], those that are wanted, summed over the rows. Items (K + 1, N). */
__kernel void rows_outer(const __global float *v, const __global float *d, __global float *dw, __global float *db, int first,
                         int ld, int rows, int N, int K, int weight, int bias)
{
    const int e = (int)get_global_id(0), n = (int)get_global_id(1);
    if (e > K || n >= N) return;
    float g = v[first + n] * d[e];
    for (int row = 1; row < rows; row++) g += v[(size_t)row * ld + first + n] * d[(size_t)row * (K + 1) + e];
    if (e < K && weight) dw[(size_t)n * K + e] += g;
    if (e == K && bias) db[n] += g;
}

/* dv += W d + b d[K], where that is wanted, and dk += d[K], each entry by a group of WG items. K is a multiple of VW. Groups (N +
 * 1; rows).
 */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void rows_back(const __global float *w, const __global float *b,
                                                                        const __global float *d, __global float *dv,
                                                                        __global float *dk, int first, int ld, int k_at, int k_step,
                                                                        int N, int K, int biased, int wanted)
{
    SHARED
    const int n = (int)get_global_id(0) / WG, l = (int)get_local_id(0), row = (int)get_global_id(1);
    vec v = TO_VEC(0.0f);
    d += (size_t)row * (K + 1);
    for (int e = l * VW; n < N && e < K; e += WG * VW) v += LDV(0, w, (size_t)n * K + e) * LDV(0, d, e);
    float s = HSUM(v);
    if (biased && l == 0 && n < N) s += b[n] * d[K];
    s = ROW_SUM(s);
    if (l == 0 && n < N && wanted) dv[(size_t)row * ld + first + n] += s;
    if (l == 0 && n == N && k_at >= 0) dk[k_at + row * k_step] += d[K];
}
