/* op(B)[K,N] in panels for cpu/gemm.cl, zeros beyond N: P[batch][ceil(N/NR)][K][NR] of float32, or with DOT of pairs of
 * bfloat16, [K/2][NR] (K even). NRV is NR/16. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifndef NRV
#define NRV 4
#endif
#define NR (16 * NRV)

#define ROWS (16 * PER) /* along K, of one item */

#ifdef MASK_B
#define WEIGHT(row, col) *KEEP(seed, (uint)(row)*b_width + (uint)(col), b_threshold, b_keep)
#else
#define WEIGHT(row, col)
#endif

/* `count` elements from (row, col) on as B lies, then zeros. */
#define LOAD(row, col, count) (LDN(BT, B, from + (size_t)(row)*ldb + (col), count) WEIGHT(row, col))

/* Items (ceil(K/ROWS), panels, batch). */
__kernel void gemm_pack(const __global TYPE(BT) *B, uint b_off, int ldb, uint b_step, __global word *P, int N, int K,
                        int panels P_STEP P_MASK_B)
{
    const int k0 = (int)get_global_id(0) * ROWS, panel = (int)get_global_id(1), n0 = panel * NR, kn = min(ROWS, K - k0);
    const size_t item = get_global_id(2), from = b_off + item * b_step;
    __global float *out = (__global float *)P + ((item * panels + panel) * (size_t)K + k0) / PER * NR;
#ifdef MASK_B
    const uint seed = tn_hash(step->seed, b_salt);
#endif
    for (int s = 0; s < NRV; s++) {
        const int n = n0 + 16 * s, nn = min(16, N - n);
        float16 t[16];
#ifdef DOT
        for (int r = 0; r < 16; r++) { /* pairs: as they lie, or two rows interleaved */
#if TB
            const size_t at = from + (size_t)(n + r) * ldb + k0;
            const float16 lo = r < nn ? LDN(BT, B, at, kn) : (float16)(0.0f);
            const float16 hi = r < nn && kn > 16 ? LDN(BT, B, at + 16, kn - 16) : (float16)(0.0f);
            const uint16 even = as_uint16((float16)(lo.even, hi.even)), odd = as_uint16((float16)(lo.odd, hi.odd));
#else
            const bool there = 2 * r < kn && nn > 0;
            const uint16 even = as_uint16(there ? LOAD(k0 + 2 * r, n, nn) : (float16)(0.0f));
            const uint16 odd = as_uint16(there ? LOAD(k0 + 2 * r + 1, n, nn) : (float16)(0.0f));
#endif
            t[r] = as_float16(even >> 16 | odd);
        }
#elif TB
        for (int r = 0; r < 16; r++) t[r] = r < nn ? LOAD(n + r, k0, kn) : (float16)(0.0f);
#else
        for (int r = 0; r < 16; r++) t[r] = r < kn && nn > 0 ? LOAD(k0 + r, n, nn) : (float16)(0.0f);
#endif
        if (TB) transpose16(t);
        for (int r = 0; r * PER < kn; r++) GVEC(out + (size_t)r * NR, s) = t[r];
    }
}
