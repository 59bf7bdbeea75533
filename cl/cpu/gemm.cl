/* The product for CPU devices: no local memory, one work-item a work-group, float16 accumulators in registers.
 *
 * B lies in panels (gemm_pack.cl); an item makes an MR x NR block of C, broadcasting A. NRV is NR/16. Items next to each other
 * share a panel (it stays in L2) and walk down A. Options: shared/gemm.h. */
#define VW 16
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifndef MR
#define MR 6
#endif
#ifndef NRV
#define NRV 4
#endif
#define NR (16 * NRV)
#ifdef PAIR
#define P_PAIR                                                                                                                     \
    , const __global TYPE(A2T) *A2, uint a2_off, int lda2, const __global float *P2, uint p2_panel, int p2_row, uint p2_off,       \
        int K2, int part, float pair_scale
#else
#define P_PAIR
#endif

#define EACH_ROW                                                                                                                   \
    _Pragma("unroll") for (int i = 0; i < MR; i++)
#define EACH_VECTOR                                                                                                                \
    _Pragma("unroll") for (int j = 0; j < NRV; j++)

/* One k: the panel's row at p, and A's elements A_OF(i). */
#define STEP(p, A_OF)                                                                                                              \
    {                                                                                                                              \
        float16 b[NRV];                                                                                                            \
        EACH_VECTOR b[j] = vload16(j, p);                                                                                          \
        EACH_ROW                                                                                                                   \
        {                                                                                                                          \
            const float16 a = (float16)(A_OF);                                                                                     \
            EACH_VECTOR acc[i][j] = fma(a, b[j], acc[i][j]);                                                                       \
        }                                                                                                                          \
    }

/* Items (m_inner blocks of MR rows, panels, outer row blocks * splits * batch). p_panel and p_row are P's strides, so that a
 * row-major B whose width is a multiple of NR is used where it lies. */
__kernel void gemm_panel(const __global TYPE(AT) *A, uint a_off, int lda, const __global float *P, uint p_off, uint p_panel,
                         int p_row, __global TYPE(CT) *C, uint c_off, int ldc, int M, int N, int K, int k_chunk, int inner,
                         int outers, float alpha, float beta P_BATCH P_STEP P_MASK_A P_PAIR P_MASK_E P_EPILOGUE)
{
    const int zb = (int)get_global_id(2) / outers, outer = (int)get_global_id(2) % outers;
    const int m0 = (outer * inner + (int)get_global_id(0)) * MR;
    const int panel = (int)get_global_id(1), n0 = panel * NR;
    size_t a_at = a_off, p_at = p_off, c_at = c_off;
    int z = zb;
    if (m0 >= M) return;
#ifdef BATCH
    const int item = zb / splits;
    z = zb % splits;
    a_at += (size_t)item * a_step, p_at += (size_t)item * b_step, c_at += (size_t)item * c_step;
#endif
    const int k_begin = SPLIT ? z * k_chunk : 0, k_end = SPLIT ? min(K, k_begin + k_chunk) : K;
    const __global float *p = P + p_at + (size_t)panel * p_panel + (size_t)k_begin * p_row;
    size_t row[MR];
    float16 acc[MR][NRV];
    EACH_ROW EACH_VECTOR acc[i][j] = (float16)(0.0f);

#ifdef PAIR
    if (!SPLIT || z == 0) {
        const __global float *p2 = P2 + p2_off + (size_t)panel * p2_panel;
        EACH_ROW row[i] = a2_off + (size_t)min(m0 + i, M - 1) * lda2 + (TB2 ? n0 / part * K2 : 0); /* a panel lies in one part */
        for (int k = 0; k < K2; k++, p2 += p2_row) STEP(p2, LD(A2T, A2, row[i] + k))
#ifdef MASK_E
        const uint e_seed = tn_hash(step->seed, e_salt);
        EACH_ROW EACH_VECTOR acc[i][j] *= KEEP(e_seed, (uint)(m0 + i) * (uint)N + (uint)(n0 + 16 * j), e_threshold, e_keep);
#endif
        EACH_ROW EACH_VECTOR acc[i][j] *= pair_scale;
    }
#endif
    EACH_ROW
    row[i] = a_at +
             (TA ? (size_t)min(m0 + i, M - 1) + (size_t)k_begin * lda : (size_t)min(m0 + i, M - 1) * lda + k_begin);
#ifdef MASK_A
    const uint a_seed = tn_hash(step->seed, a_salt);
    for (int k0 = k_begin; k0 < k_end; k0 += 16) { /* sixteen masks at once */
        float masked[MR][16];
        const int kn = min(16, k_end - k0);
        EACH_ROW vstore16(LDN(AT, A, row[i] + (k0 - k_begin), kn) *
                              KEEP(a_seed, (uint)min(m0 + i, M - 1) * a_width + (uint)k0, a_threshold, a_keep),
                          0, masked[i]);
        for (int k = 0; k < kn; k++, p += p_row) STEP(p, masked[i][k])
    }
#else
    for (int k = k_begin; k < k_end; k++, p += p_row) {
        STEP(p, LD(AT, A, row[i]))
        EACH_ROW row[i] += TA ? lda : 1;
    }
#endif
    for (int i = 0; i < MR; i++) {
        if (m0 + i >= M) continue;
        for (int j = 0; j < NRV; j++) {
            const int m = m0 + i, n = n0 + 16 * j, cnt = min(16, N - n);
            if (cnt <= 0) continue;
#if SPLIT
            STN(0, (__global float *)C, ((size_t)zb * M + m) * N + n, acc[i][j], cnt);
#else
            const size_t at = c_at + (size_t)m * ldc + n;
            float16 s = alpha * acc[i][j];
            EPILOGUE(s, m, n, cnt)
            if (beta != 0.0f) s += beta * LDN(CT, C, at, cnt);
            STN(CT, C, at, s, cnt);
#endif
        }
    }
}
