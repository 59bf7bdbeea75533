/* op(B)[K,N] in panels P[batch][ceil(N/NR)][K][NR] for cpu/gemm.cl, zeros beyond N. NRV is NR/16. */
#define VW 1
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifndef NRV
#define NRV 4
#endif
#define NR (16 * NRV)
#define KB 16

/* Items (ceil(K/KB), panels, batch). */
__kernel void gemm_pack(const __global TYPE(BT) *B, uint b_off, int ldb, uint b_step, __global float *P, int N, int K,
                        int panels P_STEP P_MASK_B)
{
    const int k0 = (int)get_global_id(0) * KB, panel = (int)get_global_id(1), n0 = panel * NR;
    const size_t item = get_global_id(2), from = b_off + item * b_step;
    const int kn = min(KB, K - k0), nn = min(NR, N - n0);
    __global float *out = P + ((item * panels + panel) * K + k0) * NR;
#ifdef MASK_B
    const uint seed = tn_hash(step->seed, b_salt);
#define WEIGHT(row, col) *KEEP(seed, (uint)(row)*b_width + (uint)(col), b_threshold, b_keep)
#else
#define WEIGHT(row, col)
#endif
#if TB
    float t[KB][NR];
    for (int n = 0; n < NR; n++) {
        const int row = n0 + min(n, nn - 1);
        const size_t at = from + (size_t)row * ldb + k0;
        const float keep = n < nn ? 1.0f : 0.0f;
        for (int k = 0; k < KB; k++) t[k][n] = k < kn ? keep * LD(BT, B, at + k) WEIGHT(row, k0 + k) : 0.0f;
    }
    for (int k = 0; k < kn; k++)
        for (int n = 0; n < NR; n++) out[k * NR + n] = t[k][n];
#else
    for (int k = 0; k < kn; k++) {
        const size_t at = from + (size_t)(k0 + k) * ldb + n0;
        if (nn == NR)
            for (int n = 0; n < NR; n++) out[k * NR + n] = LD(BT, B, at + n) WEIGHT(k0 + k, n0 + n);
        else
            for (int n = 0; n < NR; n++)
                out[k * NR + n] = n < nn ? LD(BT, B, at + min(n, nn - 1)) WEIGHT(k0 + k, n0 + n) : 0.0f;
    }
#endif
}
