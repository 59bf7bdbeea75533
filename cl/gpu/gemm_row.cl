/* One row of a product whose K is long, on a GPU: the weight gradient of a layer with one output. P[z][N] (float32) is the sum over
 * the z-th `chunk` of rows k of A[k] B[k, :]; gemm_sum ends it. A group reads WG / LANES rows at once, LANES items a row. */
#define WHOLE 1
#include "common.h"
#ifndef AT
#define AT 1
#endif
#ifndef BT
#define BT 1
#endif
#ifndef LANES
#define LANES 8 /* N / VW */
#endif
#define WG 256

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void gemm_row(const __global TYPE(AT) *A, uint a_off, int lda, const __global TYPE(BT) *B, uint b_off, int ldb, __global float *P, int K,
              int chunk)
{
    __local float sums[WG * VW];
    const int id = (int)get_local_id(0), z = (int)(get_global_id(0) / WG), lane = id % LANES, first = z * chunk + id / LANES;
    const int end = min(K, (z + 1) * chunk), step = WG / LANES;
    vec s = TO_VEC(0.0f);
    if (id / LANES < step)
        for (int k = first; k < end; k += step)
            s += LD(AT, A, a_off + (size_t)k * lda) * LDV(BT, B, b_off + (size_t)k * ldb + lane * VW);
    CAT(vstore, VW)(s, id, sums);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = id; i < LANES * VW; i += WG) {
        float t = 0.0f;
        for (int r = 0; r < step; r++) t += sums[r * LANES * VW + i];
        P[(size_t)z * (LANES * VW) + i] = t;
    }
}
