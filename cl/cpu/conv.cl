/* Convolutions on CPU devices: products of the pixels that each output depends on, cut row by row into an item's own scratch, with the
 * kernel in panels (gemm_pack.cl), MR x NR sums in registers. No row is ever in memory as a whole: dw reads x again instead. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "patches.h"
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

/* acc += `depth` steps of rows of A, `lda` apart, and rows of B, NR floats each. */
#define STEPS(A, lda, B, depth)                                                                                                    \
    for (int k = 0; k < (depth); k++) {                                                                                            \
        float16 b_[NRV];                                                                                                           \
        UNROLL(j, NRV) b_[j] = GVEC((B) + (size_t)k * NR, j);                                                                      \
        UNROLL(i, MR)                                                                                                              \
        {                                                                                                                          \
            const float16 a_ = (float16)((A)[(size_t)i * (lda) + k]);                                                              \
            UNROLL(j, NRV) acc[i][j] = fma(a_, b_[j], acc[i][j]);                                                                  \
        }                                                                                                                          \
    }

/* MR rows' sums to and from scratch. */
#define SUMS_LOAD(S)  UNROLL(i, MR) UNROLL(j, NRV) acc[i][j] = VEC((S) + i * NR, j)
#define SUMS_STORE(S) UNROLL(i, MR) UNROLL(j, NRV) VEC((S) + i * NR, j) = acc[i][j]

/* C = rows P^T (+ bias); C's rows are pixels `ldc` apart. Items (bands of `band` rows, groups of `group` panels); band is a multiple of
 * MR. DEPTH rows of a panel stay in the first cache while the band's rows pass by. Scratch in floats: `band` rows of lda and of NR,
 * and of 2 for where they go. */
#define DEPTH 128
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv_panels(P_PATCHES, const __global float *P, __global act_t *C, uint c_off, int ldc, int M, int N, int band, int group,
            int lda P_PLACE P_BIAS P_SCRATCH)
{
    const patches p = PATCHES;
    const int K = kh * kw * channels, first = (int)get_global_id(0) * band, rows = min(band, M - first);
    const int panel = (int)get_global_id(1) * group, end = min((N + NR - 1) / NR, panel + group);
    const int slot = slot_take(busy, slots);
    __global float *A = slot_at(scratch, (size_t)slot * slot_floats), *sums = A + (size_t)band * lda;
    __global size_t *to = (__global size_t *)(sums + (size_t)band * NR);
    patch_place at = place_of(&p, first);
    for (int r = 0; r < rows; r++, next_place(&p, &at)) {
        cut_row(A + (size_t)r * lda, &p, at, (patch_column){0, 0, 0}, K);
        to[r] = PLACE_AT(at) * ldc + c_off;
    }
    for (int q = panel; q < end; q++)
        for (int k0 = 0; k0 < K; k0 += DEPTH)
            for (int m = 0; m < rows; m += MR) { /* rows beyond the last have what was there, which stays in their own sums */
                const __global float *B = P + ((size_t)q * K + k0) * NR;
                float16 acc[MR][NRV];
                if (k0 == 0) CLEAR(acc, MR, NRV);
                else SUMS_LOAD(sums + m * NR);
                STEPS(A + (size_t)m * lda + k0, lda, B, min(DEPTH, K - k0))
                if (k0 + DEPTH < K) {
                    SUMS_STORE(sums + m * NR);
                    continue;
                }
                UNROLL(i, MR)
                if (m + i < rows) UNROLL(j, NRV)
                    {
                        const int n = q * NR + 16 * j, cnt = min(16, N - n);
                        if (cnt > 0) {
                            E_BIAS(acc[i][j], n, cnt)
                            STN(ACT, C, to[m + i] + n, acc[i][j], cnt);
                        }
                    }
            }
    slot_leave(busy, slot);
}

/* partial [splits][N][K]: the sum over a part of the rows of dy (its columns) times what they depend on. Items (groups of BLOCKS blocks of
 * NR columns of K, splits); `rows` rows to a split. CHUNK rows of a block stay in the first cache while dy's columns pass by. Scratch in
 * floats: BLOCKS times CHUNK rows and `whole` sums of NR, and CHUNK rows of `pitch`; whole: N rounded up to MR. */
#define CHUNK  64
#define BLOCKS 4
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv_grad(P_PATCHES, const __global act_t *dy, uint dy_off, int ldy,
                                                                       __global float *partial, int M, int N, int rows, int whole,
                                                                       int pitch P_SCRATCH)
{
    const patches p = PATCHES;
    const int K = kh * kw * channels, k0 = (int)get_global_id(0) * BLOCKS * NR, blocks = min(BLOCKS, (K - k0 + NR - 1) / NR);
    const int z = (int)get_global_id(1), first = z * rows, last = min(M, first + rows), slot = slot_take(busy, slots);
    __global float *X = slot_at(scratch, (size_t)slot * slot_floats), *sums = X + BLOCKS * CHUNK * NR, *Y = sums + (size_t)BLOCKS * whole * NR;
    patch_place at = place_of(&p, first);
    for (int i = 0; i < blocks * whole * NRV; i++) VEC(sums, i) = (float16)(0.0f);
    for (int i = 0; i < BLOCKS * CHUNK * NRV; i++) VEC(X, i) = (float16)(0.0f);
    for (int i = 0; i < CHUNK * pitch; i++) Y[i] = 0.0f;
    for (int m = first; m < last; m += CHUNK) {
        const int depth = min(CHUNK, last - m);
        for (int r = 0; r < depth; r++, next_place(&p, &at)) {
            for (int q = 0, k = k0; q < blocks; q++, k += NR)
                cut_row(X + (q * CHUNK + r) * NR, &p, at, column_of(&p, k), min(NR, K - k));
            copy_channels(Y + r * pitch, dy + dy_off + (size_t)(m + r) * ldy, N);
        }
        for (int q = 0; q < blocks; q++)
            for (int i0 = 0; i0 < whole; i0 += MR) {
                __global float *S = sums + (size_t)(q * whole + i0) * NR;
                const __global float *B = X + q * CHUNK * NR;
                float16 acc[MR][NRV];
                SUMS_LOAD(S);
                for (int r = 0; r < depth; r++) {
                    float16 b[NRV];
                    UNROLL(j, NRV) b[j] = VEC(B + r * NR, j);
                    UNROLL(i, MR)
                    {
                        const float16 a = (float16)(Y[r * pitch + i0 + i]);
                        UNROLL(j, NRV) acc[i][j] = fma(a, b[j], acc[i][j]);
                    }
                }
                SUMS_STORE(S);
            }
    }
    for (int q = 0; q < blocks; q++)
        for (int i = 0; i < N; i++)
            for (int j = 0, k = k0 + q * NR; j < NR && k + j < K; j += 16)
                STN(0, partial, ((size_t)z * N + i) * K + k + j, VEC(sums + (size_t)(q * whole + i) * NR, j / 16), K - k - j);
    slot_leave(busy, slot);
}
