/* A row (v, k), v being N entries from `first` on and k a constant (at k_at; -1: 0), through an affine map W [N, K], b [N]:
 * (v W, v b + k), K + 1 entries. What comes after a map and has one output alone is such a row. All of it is float32. */
#include "common.h"
#include "row_sum.h"

/* A group takes LANES runs of RUN * VW columns, of which each of its PARTS adds up every PARTS-th entry of v; one more group makes the
 * constant. K is a multiple of VW. Groups (K / VW / RUN / LANES, rounded up, + 1) of LANES * PARTS. */
__kernel __attribute__((reqd_work_group_size(LANES *PARTS, 1, 1))) void
row_through(const __global float *v, const __global float *k, const __global float *w, const __global float *b, __global float *out,
            int first, int k_at, int N, int K, int biased)
{
    const int lane = (int)get_local_id(0) % LANES, part = (int)get_local_id(0) / LANES;
    const int e = ((int)get_group_id(0) * LANES + lane) * RUN * VW, runs = clamp((K - e) / VW, 0, RUN);
    const bool last = get_group_id(0) + 1 == get_num_groups(0);
    vec s[RUN];
#pragma unroll
    for (int i = 0; i < RUN; i++) s[i] = TO_VEC(0.0f);
    if (last && biased)
        for (int n = part; n < N; n += PARTS) s[0] += TO_VEC(v[first + n] * b[n]);
    else if (runs == RUN)
        for (int n = part; n < N; n += PARTS) {
#pragma unroll
            for (int i = 0; i < RUN; i++) s[i] += v[first + n] * LDV(0, w, (size_t)n * K + e + i * VW);
        }
    else
        for (int i = 0; i < runs; i++)
            for (int n = part; n < N; n += PARTS) s[i] += v[first + n] * LDV(0, w, (size_t)n * K + e + i * VW);
#if PARTS > 1 /* a run each */
    __local vec sums[PARTS * LANES];
    sums[get_local_id(0)] = s[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (part) return;
    for (int p = 1; p < PARTS; p++) s[0] += sums[p * LANES + lane];
#endif
    if (last && lane == 0) out[K] = HSUM(s[0]) / VW + (k_at >= 0 ? k[k_at] : 0.0f);
    for (int i = 0; !last && i < runs; i++) STV(0, out, e + i * VW, s[i]);
}

/* dw += v d, db += v d[K], those that are wanted. Items (K + 1, N). */
__kernel void row_outer(const __global float *v, const __global float *d, __global float *dw, __global float *db, int first, int N,
                        int K, int weight, int bias)
{
    const int e = (int)get_global_id(0), n = (int)get_global_id(1);
    if (e > K || n >= N) return;
    const float g = v[first + n] * d[e];
    if (e < K && weight) dw[(size_t)n * K + e] += g;
    if (e == K && bias) db[n] += g;
}

/* dv += W d + b d[K], where that is wanted, and dk += d[K], each entry by a group of WG items. K is a multiple of VW. Groups (N + 1). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void row_back(const __global float *w, const __global float *b,
                                                                       const __global float *d, __global float *dv,
                                                                       __global float *dk, int first, int k_at, int N, int K,
                                                                       int biased, int wanted)
{
    SHARED
    const int n = (int)get_global_id(0) / WG, l = (int)get_local_id(0);
    vec v = TO_VEC(0.0f);
    for (int e = l * VW; n < N && e < K; e += WG * VW) v += LDV(0, w, (size_t)n * K + e) * LDV(0, d, e);
    float s = HSUM(v);
    if (biased && l == 0 && n < N) s += b[n] * d[K];
    s = ROW_SUM(s);
    if (l == 0 && n < N && wanted) dv[first + n] += s;
    if (l == 0 && n == N && k_at >= 0) dk[k_at] += d[K];
}
