/* C[M,N] = alpha * A[M] B[N], a product of depth one: what a layer with one output sends back. LANES items a row, VW columns each;
 * a group walks SPAN times WG / LANES rows, neighbours in memory. a_step: A's elements are so far apart. */
#define WHOLE 1
#include "common.h"
#ifndef AT
#define AT 0
#endif
#ifndef BT
#define BT 1
#endif
#ifndef CT
#define CT 1
#endif
#ifndef LANES
#define LANES 8 /* N / VW */
#endif
#define WG   256
#define ROWS (WG / LANES)
#define SPAN 8

__kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void gemm_outer(const __global TYPE(AT) * A, uint a_off, int a_step,
                                                                         const __global TYPE(BT) * B, uint b_off,
                                                                         __global TYPE(CT) * C, uint c_off, int ldc, int M,
                                                                         float alpha)
{
    const int id = (int)get_local_id(0), lane = id % LANES, first = (int)(get_global_id(0) / WG) * ROWS * SPAN + id / LANES;
    if (id / LANES >= ROWS) return;
    const vec b = alpha * LDV(BT, B, b_off + lane * VW);
    float a[SPAN];
    _Pragma("unroll") for (int i = 0; i < SPAN; i++) a[i] = LD(AT, A, a_off + (size_t)min(first + i * ROWS, M - 1) * a_step);
    _Pragma("unroll") for (int i = 0; i < SPAN; i++) if (first + i * ROWS < M)
        STV(CT, C, c_off + (size_t)(first + i * ROWS) * ldc + lane * VW, a[i] * b);
}
