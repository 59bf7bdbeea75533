/* Convolutions on CPU devices: products of the pixels that each output depends on, cut row by row into an item's own scratch, with the
 * kernel in panels (gemm_pack.cl), MR x NR sums in registers. No row is ever in memory as a whole: dw reads x again instead.
 * DOT: pixels and kernel in bfloat16, multiplied in pairs along a row (AVX512-BF16); rows are of even length. */
#undef VW
#define VW 16
#ifdef DOT
#define PIECE_16
#endif
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


/* MR rows' sums to and from scratch. */
#define SUMS_LOAD(S)  UNROLL(i, MR) UNROLL(j, NRV) acc[i][j] = VEC((S) + i * NR, j)
#define SUMS_STORE(S) UNROLL(i, MR) UNROLL(j, NRV) VEC((S) + i * NR, j) = acc[i][j]

/* C = rows P^T (+ bias); C's rows are pixels `ldc` apart. Items (bands of `band` rows, groups of `group` panels); band is a multiple of
 * MR. DEPTH rows of a panel stay in the first cache while the band's rows pass by; lda: words of a row. Scratch in floats: `band` rows
 * of lda and of NR, and of 2 for where they go. */
#define DEPTH 128
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv_panels(P_PATCHES, const __global word *P, __global act_t *C, uint c_off, int ldc, int M, int N, int band, int group,
            int lda P_PLACE P_BIAS P_SCRATCH)
{
    const patches p = PATCHES;
    const int K = kh * kw * channels, depth = K / PER, first = (int)get_global_id(0) * band, rows = min(band, M - first);
    const int panel = (int)get_global_id(1) * group, end = min((N + NR - 1) / NR, panel + group);
    const int slot = slot_take(busy, slots);
    __global float *own = slot_at(scratch, (size_t)slot * slot_floats), *sums = own + (size_t)band * lda;
    __global word *A = (__global word *)own;
    __global size_t *to = (__global size_t *)(sums + (size_t)band * NR);
    patch_place at = place_of(&p, first);
    for (int r = 0; r < rows; r++, next_place(&p, &at)) {
        cut_row((__global piece *)(A + (size_t)r * lda), &p, at, (patch_column){0, 0, 0}, K);
        to[r] = PLACE_AT(at) * ldc + c_off;
    }
    for (int q = panel; q < end; q++)
        for (int k0 = 0; k0 < depth; k0 += DEPTH)
            for (int m = 0; m < rows; m += MR) { /* rows beyond the last have what was there, which stays in their own sums */
                const __global word *B = P + ((size_t)q * depth + k0) * NR;
                float16 acc[MR][NRV];
                if (k0 == 0) CLEAR(acc, MR, NRV);
                else SUMS_LOAD(sums + m * NR);
                const __global word *left = A + (size_t)m * lda + k0;
                PRODUCT(word16, ADD_WORDS, acc, MR, NRV, min(DEPTH, depth - k0), left[(size_t)i * lda + k], LOOSE_WORDS(B + (size_t)k * NR, j))
                if (k0 + DEPTH < depth) {
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
 * NR columns of K, splits); `rows` rows to a split. CHUNK rows of a block stay in the first cache while dy's columns pass by; with DOT
 * they lie in pairs, row beside row. Scratch in floats: BLOCKS times CHUNK rows and `whole` sums of NR, CHUNK rows of `pitch`, and with
 * DOT two rows on their way; whole: N rounded up to MR. */
#define CHUNK  64
#define BLOCKS 4

/* A chunk's rows, cut: BLOCKS blocks of x and the columns of dy. */
typedef struct {
    __global word *X, *Y;
    int k0, K, blocks, N, pitch;
} chunk;

#ifdef DOT
/* n columns, and more up to whole vectors, of two rows. */
inline void zip(__global word *to, const __global ushort *even, const __global ushort *odd, int n)
{
    for (int i = 0; i < n; i += 16)
        ((__global uint16 *)to)[i / 16] = convert_uint16(((const __global loose_half *)(even + i))->v) |
                                          convert_uint16(((const __global loose_half *)(odd + i))->v) << 16;
}

/* The next row, blocks and then columns of dy, or zeros for one that is not there. */
inline void half_pair(__global ushort *to, const chunk *c, const patches *p, patch_place *at, const __global act_t *dy, bool there)
{
    if (!there) {
        clear_channels(to, BLOCKS * NR + c->N);
        return;
    }
    for (int q = 0, k = c->k0; q < c->blocks; q++, k += NR) cut_row(to + q * NR, p, *at, column_of(p, k), min(NR, c->K - k));
    copy_channels(to + BLOCKS * NR, dy, c->N);
    next_place(p, at);
}

inline void cut_chunk(const chunk *c, const patches *p, patch_place *at, const __global act_t *dy, int ldy, int depth)
{
    __global ushort *even = (__global ushort *)(c->Y + CHUNK / PER * c->pitch), *odd = even + BLOCKS * NR + c->pitch;
    for (int r = 0; r < depth; r += 2) {
        half_pair(even, c, p, at, dy + (size_t)r * ldy, true);
        half_pair(odd, c, p, at, dy + (size_t)(r + 1) * ldy, r + 1 < depth);
        for (int q = 0; q < c->blocks; q++) zip(c->X + (q * CHUNK + r) / 2 * NR, even + q * NR, odd + q * NR, NR);
        zip(c->Y + r / 2 * c->pitch, even + BLOCKS * NR, odd + BLOCKS * NR, c->N);
    }
}
#else
inline void cut_chunk(const chunk *c, const patches *p, patch_place *at, const __global act_t *dy, int ldy, int depth)
{
    for (int r = 0; r < depth; r++, next_place(p, at)) {
        for (int q = 0, k = c->k0; q < c->blocks; q++, k += NR)
            cut_row(c->X + (q * CHUNK + r) * NR, p, *at, column_of(p, k), min(NR, c->K - k));
        copy_channels(c->Y + r * c->pitch, dy + (size_t)r * ldy, c->N);
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv_grad(P_PATCHES, const __global act_t *dy, uint dy_off, int ldy,
                                                                       __global float *partial, int M, int N, int rows, int whole,
                                                                       int pitch P_SCRATCH)
{
    const patches p = PATCHES;
    const int K = kh * kw * channels, k0 = (int)get_global_id(0) * BLOCKS * NR, blocks = min(BLOCKS, (K - k0 + NR - 1) / NR);
    const int z = (int)get_global_id(1), first = z * rows, last = min(M, first + rows), slot = slot_take(busy, slots);
    __global float *sums = slot_at(scratch, (size_t)slot * slot_floats), *cut = sums + (size_t)BLOCKS * whole * NR;
    const int all = BLOCKS * CHUNK * NR + CHUNK * pitch + BLOCKS * NR + pitch; /* of what is cut */
    const chunk c = {(__global word *)cut, (__global word *)cut + BLOCKS * CHUNK * NR / PER, k0, K, blocks, N, pitch};
    patch_place at = place_of(&p, first);
    for (int i = 0; i < blocks * whole * NRV; i++) VEC(sums, i) = (float16)(0.0f);
    for (int i = 0; i < all / 16; i++) VEC(cut, i) = (float16)(0.0f);
    for (int m = first; m < last; m += CHUNK) {
        const int depth = min(CHUNK, last - m);
        cut_chunk(&c, &p, &at, dy + dy_off + (size_t)m * ldy, ldy, depth);
        for (int q = 0; q < blocks; q++)
            for (int i0 = 0; i0 < whole; i0 += MR) {
                __global float *S = sums + (size_t)(q * whole + i0) * NR;
                const __global word *B = c.X + q * (CHUNK / PER) * NR, *Y = c.Y + i0;
                float16 acc[MR][NRV];
                SUMS_LOAD(S);
                PRODUCT(word16, ADD_WORDS, acc, MR, NRV, (depth + PER - 1) / PER, Y[k * pitch + i], WVEC(B + k * NR, j))
                SUMS_STORE(S);
            }
    }
    for (int q = 0; q < blocks; q++)
        for (int i = 0; i < N; i++)
            for (int j = 0, k = k0 + q * NR; j < NR && k + j < K; j += 16)
                STN(0, partial, ((size_t)z * N + i) * K + k + j, VEC(sums + (size_t)(q * whole + i) * NR, j / 16), K - k - j);
    slot_leave(busy, slot);
}
