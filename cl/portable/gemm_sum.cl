/* The last step of a product whose sum lies in float32 parts, and a masked copy: what is left of a product when a kernel
 * cannot do all of it at once. Options: shared/gemm.h. */
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifdef PAIR
#define P_PAIR , const __global float *P2 /* the pair's product [M][N] */
#else
#define P_PAIR
#endif

#define DEPTH 8 /* parts read before any is added */

/* C = alpha * sum over z of P[batch][z][M][N], the pair's product, and the epilogue. Items (M * N / VW, batch). */
__kernel void gemm_sum(const __global float *P, int splits, __global TYPE(CT) *C, uint c_off, int ldc, uint c_step, int M, int N,
                       float alpha, float beta P_STEP P_PAIR P_MASK_E P_EPILOGUE)
{
    const uint count = (uint)M * (uint)N, i = (uint)get_global_id(0) * VW;
    if (i >= count) return;
    const size_t item = get_global_id(1);
    const int m = (int)(i / (uint)N), n = (int)(i % (uint)N);
    const __global float *from = P + item * splits * count + i;
    vec s = TO_VEC(0.0f);
    int z = 0;
    for (; z + DEPTH <= splits; z += DEPTH) {
        vec v[DEPTH];
        for (int k = 0; k < DEPTH; k++) v[k] = LDV(0, from, (size_t)(z + k) * count);
        for (int k = 0; k < DEPTH; k++) s += v[k];
    }
    for (; z < splits; z++) s += LDV(0, from, (size_t)z * count);
    s *= alpha;
#ifdef PAIR
    vec pair = LDV(0, P2, i);
#ifdef MASK_E
    pair *= KEEP(tn_hash(step->seed, e_salt), (uint)i, e_threshold, e_keep);
#endif
    s += pair;
#endif
    EPILOGUE(s, m, n, VW)
    const size_t at = c_off + item * c_step + (size_t)m * ldc + n;
    if (beta != 0.0f) s += beta * LDV(CT, C, at);
    STV(CT, C, at, s);
}

/* out [rows, cols], dense, is A with its dropout; in float32, since 1 / (1 - p) is no power of two. Items (rows * cols). */
__kernel void gemm_masked(const __global TYPE(AT) *A, uint a_off, int lda, __global float *out, int cols, uint n,
                          const __global tn_step *step, uint salt, uint threshold, float keep_scale)
{
    const uint i = (uint)get_global_id(0);
    if (i >= n) return;
    const float keep = tn_keeps(tn_hash(step->seed, salt), i, threshold) ? keep_scale : 0.0f;
    out[i] = keep * LD(AT, A, a_off + (size_t)(i / (uint)cols) * lda + i % (uint)cols);
}
