/* The product on AMX tiles, for CPU devices: bfloat16 operands, sums and what ends them in float32. B is made into tiles first
 * (tiles_pack), A band by band in an item's own scratch. Options: shared/gemm.h; A, B, A2 and B2 are bfloat16, TA is 0.
 *
 * AT 0: they are float32, and multiplied in three parts of bfloat16 each, six products for one: where tiles are ten times as fast as
 * vectors that is still the shorter way, and as precise.
 * TURN: C is q | k | v in heads of 64 columns, and q and k are turned (rotary embedding, Su et al. 2021, in halves). */
#define VW 16
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#include "vectors.h"
#include "tiles.h"
#define WIDTH 64 /* columns that are ended together */
#if AT == 0
#define PLANES    PARTS
#define SUM_TILES PARTS_PRODUCT
#else
#define PLANES    1
#define SUM_TILES TILES_PRODUCT
#endif
#ifdef MASK_E
#define PAIR_APART /* what is dropped out is a sum */
#endif
typedef TYPE(AT) amx_t;

/* ---- pairs of operands, in PLANES parts ---- */

#if AT == 0
/* The first n of 32 elements, times `scale`; nothing beyond the n-th is touched. */
inline void pairs_at(uint16 t[PLANES], const __global amx_t *p, int n, char32 kept, float scale)
{
    const float16 a = masked16(ldn_0(p, 0, n), kept.lo) * scale, b = masked16(ldn_0(p, 16, n - 16), kept.hi) * scale;
    cut_pairs(t, (float16)(a.even, b.even), (float16)(a.odd, b.odd));
}

/* Rows k and k + 1 of 32 columns become row k/2 of two right tiles. */
inline void rows_at(uint16 left[PLANES], uint16 right[PLANES], const __global amx_t *x, const __global amx_t *y, int n_x, int n_y,
                    char32 kept_x, char32 kept_y)
{
    cut_pairs(left, masked16(ldn_0(x, 0, n_x), kept_x.lo), masked16(ldn_0(y, 0, n_y), kept_y.lo));
    cut_pairs(right, masked16(ldn_0(x, 16, n_x - 16), kept_x.hi), masked16(ldn_0(y, 16, n_y - 16), kept_y.hi));
}
#else
inline void pairs_at(uint16 t[PLANES], const __global amx_t *p, int n, char32 kept, float scale)
{
    const uint16 v = masked_pairs(first_pairs(p, n), kept);
    t[0] = scale == 1.0f ? v : round_pairs(as_float16(v << 16) * scale, as_float16(v & 0xffff0000u) * scale);
}

inline void rows_at(uint16 left[PLANES], uint16 right[PLANES], const __global amx_t *x, const __global amx_t *y, int n_x, int n_y,
                    char32 kept_x, char32 kept_y)
{
    pair_rows(left, right, masked_pairs(first_pairs(x, n_x), kept_x), masked_pairs(first_pairs(y, n_y), kept_y));
}
#endif
#define ALL ((char32)(-1))

inline void planes_put(__global uint *to, uint16 t[PLANES][16])
{
    for (int p = 0; p < PLANES; p++) tile_put(to + p * TILE, t[p]);
}

/* ---- packing ---- */

/* Items (K tiles, groups of WIDTH columns, batch). P [batch][groups * 4][K tiles][PLANES] of tiles, zeros beyond N and K. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void tiles_pack(const __global amx_t *B, uint b_off, int ldb, uint b_step,
                                                                        __global uint *P, int N, int K, int depth,
                                                                        int groups P_STEP P_MASK_B)
{
    const int kt = (int)get_global_id(0), group = (int)get_global_id(1), k0 = 32 * kt, n0 = WIDTH * group;
    const size_t item = get_global_id(2);
    const __global amx_t *b = B + b_off + item * b_step;
    __global uint *to = P + ((item * groups + group) * 4 * depth + kt) * PLANES * TILE;
    const size_t across = (size_t)depth * PLANES * TILE;
#ifdef MASK_B
    const uint seed = tn_hash(step->seed, b_salt);
#define KEPT(row, col) kept32(seed, (uint)(row)*b_width + (uint)(col), b_threshold)
#else
#define KEPT(row, col) ALL
#endif
#if TB
    for (int s = 0; s < 4; s++) {
        uint16 t[PLANES][16];
        UNROLL(r, 16)
        {
            const int n = n0 + 16 * s + r, row = min(n, N - 1);
            uint16 v[PLANES];
            pairs_at(v, b + (size_t)row * ldb + k0, n < N ? K - k0 : 0, KEPT(row, k0), 1.0f);
            UNROLL(p, PLANES) t[p][r] = v[p];
        }
        for (int p = 0; p < PLANES; p++) transpose_pairs(t[p]);
        planes_put(to + s * across, t);
    }
#else
    for (int s = 0; s < 4; s += 2) {
        const int n = n0 + 16 * s;
        uint16 left[PLANES][16], right[PLANES][16];
        UNROLL(r, 16)
        {
            const int k = k0 + 2 * r, row = min(k, K - 1), next = min(k + 1, K - 1);
            uint16 x[PLANES], y[PLANES];
            rows_at(x, y, b + (size_t)row * ldb + n, b + (size_t)next * ldb + n, k < K ? N - n : 0, k + 1 < K ? N - n : 0,
                    KEPT(row, n), KEPT(next, n));
            UNROLL(p, PLANES) left[p][r] = x[p], right[p][r] = y[p];
        }
        planes_put(to + s * across, left);
        planes_put(to + (s + 1) * across, right);
    }
#endif
}

/* ---- a band of A ---- */

#ifdef MASK_A
#define P_KEPT , uint seed, uint threshold, uint width
#define A_KEPT , tn_hash(step->seed, a_salt), a_threshold, a_width
#else
#define P_KEPT
#define A_KEPT
#endif

/* `rows` rows from row m0 on become left tiles [`tall` tiles][depth][PLANES]; rows beyond are the last one once more. */
inline void band_tiles(__global uint *to, const __global amx_t *A, int lda, int m0, int rows, int tall, int K, int depth P_KEPT)
{
    for (int i = 0; i < tall; i++)
        for (int k = 0; k < depth; k++) {
            uint16 t[PLANES][16];
            UNROLL(r, 16)
            {
                const int m = m0 + min(16 * i + r, rows - 1);
                uint16 v[PLANES];
#ifdef MASK_A
                pairs_at(v, A + (size_t)m * lda + 32 * k, K - 32 * k, kept32(seed, (uint)m * width + 32u * (uint)k, threshold), 1.0f);
#else
                pairs_at(v, A + (size_t)m * lda + 32 * k, K - 32 * k, ALL, 1.0f);
#endif
                UNROLL(p, PLANES) t[p][r] = v[p];
            }
            planes_put(to + (size_t)(i * depth + k) * PLANES * TILE, t);
        }
}

#ifdef PAIR
/* The same of A2's `rank` columns, times `scale`: of bfloat16 a power of two, which rounds nothing. With any other scale, or dropout,
 * the pair's product stays apart until the end (PAIR_APART). */
inline void pair_tiles(__global uint *to, const __global amx_t *A2, int ld, int m0, int rows, int tall, int rank, float scale)
{
    const int depth = (rank + 31) / 32;
    for (int i = 0; i < tall; i++)
        for (int k = 0; k < depth; k++) {
            uint16 t[PLANES][16];
            UNROLL(r, 16)
            {
                uint16 v[PLANES];
                pairs_at(v, A2 + (size_t)(m0 + min(16 * i + r, rows - 1)) * ld + 32 * k, rank - 32 * k, ALL, scale);
                UNROLL(p, PLANES) t[p][r] = v[p];
            }
            planes_put(to + (size_t)(i * depth + k) * PLANES * TILE, t);
        }
}
#define P_PAIR , const __global amx_t *A2, uint a2_off, int lda2, const __global uint *P2, int K2, int part, float pair_scale
#else
#define P_PAIR
#endif

/* ---- the end ---- */

/* Whole vectors the short way. The result is rounded to bfloat16: so short are the polynomials of GELU (to 2e-5) and of its slope
 * (to 7e-5), odd ones in x on [-4.5, 4.5], centred in x^2. */
#undef LDN
#undef STN
#define LDN(t, p, i, cnt)    ((cnt) >= 16 ? LDV(t, p, i) : CAT(ldn_, t)(p, i, cnt))
#define STN(t, p, i, v, cnt)                                                                                                       \
    if ((cnt) >= 16) ROUND(t, p, i, v);                                                                                            \
    else CAT(stn_, t)(p, i, v, cnt)

#if FN == 0 && CT == 1
#define ODD(x)                                                                                                                     \
    const float16 low = (x) > 4.5f ? (float16)(4.5f) : (x), c = low < -4.5f ? (float16)(-4.5f) : low;                              \
    const float16 u = fma(c * c, (float16)(0.098765432f), (float16)(-1.0f))
inline float16 gelu_16(float16 x)
{
    ODD(x);
    float16 p = fma(u, (float16)(-1.82134401e-3f), (float16)(4.96591635e-3f));
    p = fma(u, p, (float16)(-6.29239147e-3f));
    p = fma(u, p, (float16)(9.64602398e-3f));
    p = fma(u, p, (float16)(-1.83355558e-2f));
    p = fma(u, p, (float16)(2.88623913e-2f));
    p = fma(u, p, (float16)(-4.02729544e-2f));
    p = fma(u, p, (float16)(5.46365464e-2f));
    p = fma(u, p, (float16)(-7.71835931e-2f));
    p = fma(u, p, (float16)(1.56906072e-1f));
    return x * fma(p, c, (float16)(0.5f));
}
inline float16 gelu_slope_16(float16 x)
{
    ODD(x);
    float16 p = fma(u, (float16)(-2.68104534e-2f), (float16)(5.76559729e-2f));
    p = fma(u, p, (float16)(-4.19337064e-2f));
    p = fma(u, p, (float16)(4.50445014e-2f));
    p = fma(u, p, (float16)(-8.96731359e-2f));
    p = fma(u, p, (float16)(1.06333871e-1f));
    p = fma(u, p, (float16)(-9.50115209e-2f));
    p = fma(u, p, (float16)(8.59946244e-2f));
    p = fma(u, p, (float16)(-8.99389602e-2f));
    p = fma(u, p, (float16)(1.59449918e-1f));
    return fma(p, c, (float16)(0.5f));
}
#define fn       gelu_16
#define fn_slope gelu_slope_16
#endif

#ifdef TURN
#define TURN_WIDTH WIDTH
#include "turn.h"
#define P_TURN , const __global float2 *table, int tokens, int skip, int turned
#else
#define P_TURN
#endif

/* A block's rows lie a row of C apart, which no prefetcher follows: they are asked for while the tiles multiply. */
#define PREFETCH_ROW(p)                                                                                                            \
    for (int l_ = 0; l_ < WIDTH * (int)sizeof(*(p)) / 64; l_++) PREFETCH((const __global char *)(p) + 64 * l_)

/* ---- the product ---- */

/* Items (bands of `band` rows, groups of `cols` columns, batch); band is a multiple of 32, cols of WIDTH. Scratch, in words: a tile's
 * configuration 16, two blocks 32 x WIDTH, the band's tiles: PLANES * band/16 of K, and of the second pair as many * parts of its rank. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_amx(const __global amx_t *A, uint a_off, int lda, const __global uint *P, __global TYPE(CT) *C, uint c_off, int ldc, int M,
         int N, int K, int band, int cols, float alpha, float beta, uint a_step, uint p_step,
         uint c_step P_STEP P_MASK_A P_PAIR P_MASK_E P_EPILOGUE P_TURN P_SCRATCH)
{
    const int m0 = (int)get_global_id(0) * band, rows = min(band, M - m0), tall = (rows + 31) / 32 * 2, depth = (K + 31) / 32;
    const int n_first = (int)get_global_id(1) * cols, n_last = min(N, n_first + cols);
    const size_t item = get_global_id(2), c_at = c_off + item * c_step;
    const int slot = slot_take(busy, slots);
    __global uint *config = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats), *left = config + 16 + 2 * 32 * WIDTH;
    __global float *block = (__global float *)(config + 16);
    tiles_begin(config);
    band_tiles(left, A + a_off + item * a_step, lda, m0, rows, tall, K, depth A_KEPT);
#ifdef PAIR
    const int depth2 = (K2 + 31) / 32, parts = (N + part - 1) / part;
    __global uint *left2 = left + (size_t)tall * depth * PLANES * TILE;
#ifdef PAIR_APART
    __global float *block2 = block + 32 * WIDTH;
    const float left_scale = 1.0f;
#else
    const float left_scale = pair_scale;
#endif
#ifdef MASK_E
    const uint e_seed = tn_hash(step->seed, e_salt);
    const float end_scale = e_keep * pair_scale;
#elif defined(PAIR_APART)
    const float end_scale = pair_scale;
#endif
    for (int p = 0; p < parts; p++)
        pair_tiles(left2 + (size_t)p * tall * depth2 * PLANES * TILE, A2 + a2_off + p * K2, lda2, m0, rows, tall, K2, left_scale);
#endif
    for (int n0 = n_first; n0 < n_last; n0 += WIDTH)
        for (int i = 0; i < tall; i += 2) {
            const int in_block = min(32, rows - 16 * i), first = m0 + 16 * i;
            for (int r = 0; r < in_block; r++) {
                const size_t row = (size_t)(first + r);
#ifdef SLOPE
                PREFETCH_ROW(slope + slope_off + row * slope_ld + n0);
#endif
#ifdef RESIDUAL
                PREFETCH_ROW(residual + residual_off + row * residual_ld + n0);
#endif
                if (beta != 0.0f) PREFETCH_ROW(C + c_at + row * ldc + n0);
            }
            for (int h = 0; h < 2 && n0 + 32 * h < N; h++) {
                const __global uint *right = P + item * p_step + (size_t)(n0 / 16 + 2 * h) * depth * PLANES * TILE;
                TILES_ZERO();
                SUM_TILES(left + (size_t)i * depth * PLANES * TILE, depth * PLANES, right, depth * PLANES, depth)
#ifdef PAIR
                const __global uint *a2 = left2 + (size_t)(n0 / part * tall + i) * depth2 * PLANES * TILE,
                                    *b2 = P2 + (size_t)(n0 / 16 + 2 * h) * depth2 * PLANES * TILE;
#ifdef PAIR_APART
                TILES_STORE(block + 32 * h, WIDTH);
                TILES_ZERO();
                SUM_TILES(a2, depth2 * PLANES, b2, depth2 * PLANES, depth2)
                TILES_STORE(block2 + 32 * h, WIDTH);
#else
                SUM_TILES(a2, depth2 * PLANES, b2, depth2 * PLANES, depth2)
#endif
#endif
#ifndef PAIR_APART
                TILES_STORE(block + 32 * h, WIDTH);
#endif
            }
            for (int r = 0; r < in_block; r++) {
                const int m = first + r;
                float16 v[WIDTH / 16];
                UNROLL(j, WIDTH / 16) v[j] = VEC(block + r * WIDTH, j);
#ifdef MASK_E
                UNROLL(h, WIDTH / 32)
                {
                    const char32 kept = kept32(e_seed, (uint)m * (uint)N + (uint)(n0 + 32 * h), e_threshold);
                    v[2 * h] = fma(masked16(VEC(block2 + r * WIDTH, 2 * h), kept.lo), (float16)(end_scale), v[2 * h]);
                    v[2 * h + 1] =
                        fma(masked16(VEC(block2 + r * WIDTH, 2 * h + 1), kept.hi), (float16)(end_scale), v[2 * h + 1]);
                }
#elif defined(PAIR_APART)
                UNROLL(j, WIDTH / 16) v[j] = fma(VEC(block2 + r * WIDTH, j), (float16)(end_scale), v[j]);
#endif
                UNROLL(j, WIDTH / 16) v[j] *= alpha;
#ifdef TURN
                UNROLL(j, WIDTH / 16) { E_BIAS(v[j], n0 + 16 * j, 16) }
                const int token = m % tokens - skip;
                if (n0 < turned && token >= 0) turn_columns(v, table + (size_t)token * (WIDTH / 2), 1.0f);
                UNROLL(j, WIDTH / 16) ROUND(CT, C, c_at + (size_t)m * ldc + n0 + 16 * j, v[j]);
#else
                UNROLL(j, WIDTH / 16)
                {
                    const int n = n0 + 16 * j, cnt = min(16, N - n);
                    const size_t at = c_at + (size_t)m * ldc + n;
                    if (cnt > 0) {
                        float16 s = v[j];
                        EPILOGUE(s, m, n, cnt)
                        if (beta != 0.0f) s += beta * LDN(CT, C, at, cnt);
                        STN(CT, C, at, s, cnt);
                    }
                }
#endif
            }
        }
    TILES_END();
    slot_leave(busy, slot);
}
