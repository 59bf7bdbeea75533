/* LayerNorm and the adapters' thin product of what it writes, on the matrix unit while it is still in registers:
 * forward T = dropout(y) A^T, backward dt = alpha dx B, or of scale * dx. A group takes 16 rows, each of its WARPS warps all of
 * them and a part of the columns.
 *
 * Lane 4r+q has rows r and r+8, of these 8 columns of every 32, as pairs in words. Since a sum over k may go in any order, those
 * are two fragments as they are: what the unit takes for columns 2q, 2q+1, 2q+8 and 2q+9 are four columns that follow each other,
 * and the adapters' matrix is read in the same order. Of its N columns lanes hold neighbours too: places 2j and 2j+1 of 8 have the
 * even and the odd ones of 16.
 *
 *   BACK 1: the backward kernel, else the forward one.
 *   ACT: storage of everything but gamma, beta, scale and the statistics.   COLS: WARPS * 32 * a number.   N: a multiple of 8.
 *   MASK_A: as shared/gemm.h; BITS: its draws are read (gpu/dropout_bits.cl).
 *   ADDS: dx += instead of =.   SCALED: scaled = scale * dx beside it, and the product is of that. */
#define VW 1
#include "ptx.h"
#include "common.h"
#include "drop.h"
#include "step.h"
#include "gemm.h"
#ifndef COLS
#define COLS 384
#endif
#ifndef N
#define N 16
#endif
#ifndef WARPS
#define WARPS 4
#endif
#ifndef BACK
#define BACK 0
#endif
#define ITEMS  (WARPS * 32)
#define ROWS   16
#define RUNS   (COLS / ITEMS) /* of 8 columns, which a lane has of a row */
#define TILES  (N / 8)
#define STRIDE (N <= 16 ? 16 : 48)          /* of rows of partial sums: two of them on different banks */
#define COL    (warp * (RUNS * 32) + q * 8) /* of run 0; one run on: 32 more */
/* Of both rows i, all runs k, and all words e of a run. */
#define EACH_ROW  UNROLL for (int i = 0; i < 2; i++)
#define EACH_RUN  UNROLL for (int k = 0; k < RUNS; k++)
#define EACH_WORD UNROLL for (int e = 0; e < 4; e++)

/* Words that stay words: their numbers are unpacked once more instead of being kept in twice as many registers. The compiler takes
 * what is behind SEEN for other words; its assembler does not where the arithmetic is the same, but it knows no more than the
 * compiler that a square has no sign, and before s is there nothing can be unpacked. */
#define SEEN(h)      EACH_ROW EACH_RUN EACH_WORD __asm volatile("" : "+r"(h[i][k][e]))
#define FORGET(h, s) EACH_ROW EACH_RUN EACH_WORD h[i][k][e] ^= as_uint(s[i] * s[i]) >> 31

inline void load_run(uint *w, const __global ushort *from)
{
    const uint4 v = *(const __global uint4 *)from;
    w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}

inline void store_run(__global ushort *to, const uint *w)
{
    *(__global uint4 *)to = (uint4)(w[0], w[1], w[2], w[3]);
}

/* 8 numbers that stand for columns: gamma, beta, scale. */
inline void load_eight(float2 *v, const __global float *from)
{
    const float4 low = ((const __global float4 *)from)[0], high = ((const __global float4 *)from)[1];
    v[0] = low.xy, v[1] = low.zw, v[2] = high.xy, v[3] = high.zw;
}

/* Both rows' sums over a warp's columns, from those of its lanes; then over all warps, in their order. */
inline float quad_sum(float v)
{
    v += from_lane(v, 1);
    return v + from_lane(v, 2);
}
inline void row_sums(float *s, __local float *part, int warp, int r, int q)
{
    EACH_ROW s[i] = quad_sum(s[i]);
    if (q == 0) EACH_ROW part[warp * ROWS + r + i * 8] = s[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    EACH_ROW s[i] = part[r + i * 8];
    UNROLL for (int w = 1; w < WARPS; w++) EACH_ROW s[i] += part[w * ROWS + r + i * 8];
}

/* A run of both rows times a tile's columns: two fragments each. */
inline void multiply(float (*acc)[4], const uint *upper, const uint *lower, const uint *b)
{
    MMA16816(*acc, upper[0], lower[0], upper[1], lower[1], b[0], b[1]);
    MMA16816(*acc, upper[2], lower[2], upper[3], lower[3], b[2], b[3]);
}

/* The warps' sums of rows m0 on become the product. */
inline void finish(float (*acc)[4], __local float4 *part, __global ushort *C, int m0, int rows, float alpha, int id)
{
    const int warp = id / 32, r = id % 32 / 4, q = id % 4;
    EACH_ROW
    {
        __local float4 *to = part + (warp * ROWS + r + i * 8) * (STRIDE / 4);
        UNROLL for (int j = 0; j + 1 < TILES; j += 2) to[j * 2 + q] =
            (float4)(acc[j][2 * i], acc[j + 1][2 * i], acc[j][2 * i + 1], acc[j + 1][2 * i + 1]);
#if TILES % 2
        ((__local float2 *)(to + (TILES - 1) * 2))[q] = (float2)(acc[TILES - 1][2 * i], acc[TILES - 1][2 * i + 1]);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = id; e < ROWS * (N / 4); e += ITEMS) {
        const int m = e / (N / 4), c = e % (N / 4);
        float4 s = part[m * (STRIDE / 4) + c];
        UNROLL for (int w = 1; w < WARPS; w++) s += part[(w * ROWS + m) * (STRIDE / 4) + c];
        s *= alpha;
        if (m0 + m < rows) ((__global uint2 *)C)[(size_t)(m0 + m) * (N / 4) + c] = (uint2)(pack16(s.x, s.y), pack16(s.z, s.w));
    }
}

#ifdef MASK_A
/* What is kept of 8 columns of rows r and r+8, by the four words of a quad's lanes: word e has columns 2e and 2e+1 as pair 2q (+1). */
inline void drop_run(uint *upper, uint *lower, uint2 two, int q)
{
    UNROLL for (int e = 0; e < 4; e++)
    {
        const uint spread = take_bytes(e < 2 ? two.x : two.y, 0, e % 2 ? 0x4342u : 0x4140u);
        upper[e] = keep_pair(upper[e], spread, 2 * q);
        lower[e] = keep_pair(lower[e], spread, 2 * q + 1);
    }
}

/* A quad's words, each lane's own being `word`. */
inline uint2 quad_words(uint word, int q)
{
    const uint next = word_from_lane(word, 1), mine = q & 1 ? next | word << 16 : word | next << 16, others = word_from_lane(mine, 2);
    return (uint2)(q & 2 ? others : mine, q & 2 ? mine : others);
}
#endif

#define CLEAR(acc) UNROLL for (int j = 0; j < TILES; j++) EACH_WORD acc[j][e] = 0.0f

#if !BACK
/* y = (x - mean) rstd gamma + beta, stats[row] = (mean, rstd), T [rows, N] = dropout(y) A^T with A [N, COLS]. */
__kernel GROUP(ITEMS) void ln_forward_thin(const __global ushort *restrict x, const __global float *restrict gamma,
                                           const __global float *restrict beta, __global ushort *restrict y,
                                           __global float2 *restrict stats, float eps, int rows, const __global ushort *restrict A,
                                           uint a_off, int lda, __global ushort *restrict T, float alpha P_STEP P_MASK_A P_BITS)
{
    __local float sums[WARPS * ROWS], squares[WARPS * ROWS];
    __local float4 part[WARPS * ROWS * STRIDE / 4];
    const int id = (int)get_local_id(0), warp = id / 32, r = id % 32 / 4, q = id % 4;
#ifdef MASK_A
#ifndef BITS
    const uint seed = tn_hash(step->seed, a_salt);
#endif
    alpha *= a_keep;
#endif
    A += a_off + COL;
    const int m0 = (int)get_global_id(0) / ITEMS * ROWS;
    size_t at[2];
    uint h[2][RUNS][4];
    float mean[2] = {0.0f, 0.0f}, rstd[2] = {0.0f, 0.0f}, acc[TILES][4];
    EACH_ROW at[i] = (size_t)min(m0 + r + i * 8, rows - 1) * COLS + COL; /* past the end the last row once more */
    EACH_ROW EACH_RUN load_run(h[i][k], x + at[i] + k * 32);
    EACH_ROW EACH_RUN EACH_WORD
    {
        const float2 v = unpack16(h[i][k][e]);
        mean[i] += v.x + v.y;
    }
    row_sums(mean, sums, warp, r, q);
    SEEN(h);
    EACH_ROW mean[i] *= 1.0f / COLS;
    EACH_ROW EACH_RUN EACH_WORD
    {
        const float2 v = unpack16(h[i][k][e]) - mean[i];
        rstd[i] += v.x * v.x + v.y * v.y;
    }
    row_sums(rstd, squares, warp, r, q);
    SEEN(h);
    EACH_ROW rstd[i] = rsqrt(rstd[i] * (1.0f / COLS) + eps);
    EACH_RUN
    {
        float2 g[4], b[4];
        load_eight(g, gamma + COL + k * 32);
        load_eight(b, beta + COL + k * 32);
        EACH_ROW EACH_WORD
        {
            const float2 v = (unpack16(h[i][k][e]) - mean[i]) * rstd[i] * g[e] + b[e];
            h[i][k][e] = pack16(v.x, v.y);
        }
    }
    EACH_ROW
    {
        if (m0 + r + i * 8 >= rows) continue;
        EACH_RUN store_run(y + at[i] + k * 32, h[i][k]);
        if (id == r * 4) stats[m0 + r + i * 8] = (float2)(mean[i], rstd[i]);
    }
#ifdef BITS
#define KEPT(k) *(const __global uint2 *)(bits_block(m0, COL + (k)*32, rows, COLS A_BITS) + 4 * r)
#else
#define KEPT(k) quad_words(bits_drawn(m0 + r, COL - q * 8 + (k)*32, COLS, seed, a_threshold), q)
#endif
#ifdef MASK_A
    EACH_RUN drop_run(h[0][k], h[1][k], KEPT(k), q);
#endif
    CLEAR(acc);
    EACH_RUN UNROLL for (int j = 0; j < TILES; j++)
    {
        const int n = TILES % 2 && j == TILES - 1 ? j * 8 + r : j / 2 * 16 + 2 * r + j % 2;
        uint b[4];
        load_run(b, A + (size_t)n * lda + k * 32);
        multiply(&acc[j], h[0][k], h[1][k], b);
    }
    finish(acc, part, T, m0, rows, alpha, id);
}
#else
#ifdef SCALED
#define P_SCALED , const __global float *restrict scale, __global ushort *restrict scaled
#else
#define P_SCALED
#endif
/* dx (+)= rstd (g dy - mean(g dy) - xhat mean(g dy xhat)); dt [rows, N] = alpha dx B with B [COLS, N]. */
__kernel GROUP(ITEMS) void ln_backward_thin(const __global ushort *restrict x,
                                            const __global float *gamma, /* not kept, but read twice */
                                            const __global float2 *restrict stats, const __global ushort *restrict dy,
                                            __global ushort *restrict dx, int rows, const __global ushort *restrict B, uint b_off,
                                            int ldb, __global ushort *restrict dt, float alpha P_SCALED)
{
    __local float sums[WARPS * ROWS], products[WARPS * ROWS];
    __local float4 part[WARPS * ROWS * STRIDE / 4];
    const int id = (int)get_local_id(0), warp = id / 32, r = id % 32 / 4, q = id % 4;
    const int m0 = (int)get_global_id(0) / ITEMS * ROWS;
    size_t at[2];
    float2 stat[2];
    uint h[2][RUNS][4], d[2][RUNS][4];
    float m1[2] = {0.0f, 0.0f}, m2[2] = {0.0f, 0.0f}, acc[TILES][4];
    EACH_ROW
    {
        const int from = min(m0 + r + i * 8, rows - 1);
        at[i] = (size_t)from * COLS + COL;
        stat[i] = stats[from];
        EACH_RUN load_run(h[i][k], x + at[i] + k * 32);
        EACH_RUN load_run(d[i][k], dy + at[i] + k * 32);
    }
#ifdef ADDS
    uint before[2][RUNS][4];
    EACH_ROW EACH_RUN load_run(before[i][k], dx + at[i] + k * 32);
#endif
    EACH_RUN
    {
        float2 g[4];
        load_eight(g, gamma + COL + k * 32);
        EACH_ROW EACH_WORD
        {
            const float2 gd = unpack16(d[i][k][e]) * g[e], c = gd * (unpack16(h[i][k][e]) - stat[i].x);
            m1[i] += gd.x + gd.y;
            m2[i] += c.x + c.y;
        }
    }
    EACH_ROW m1[i] = quad_sum(m1[i]); /* the second sums' barrier is these ones' as well */
    if (q == 0) EACH_ROW sums[warp * ROWS + r + i * 8] = m1[i];
    row_sums(m2, products, warp, r, q);
    FORGET(h, m2);
    FORGET(d, m2);
    EACH_ROW
    {
        m1[i] = sums[r + i * 8];
        UNROLL for (int w = 1; w < WARPS; w++) m1[i] += sums[w * ROWS + r + i * 8];
        m2[i] *= stat[i].y * stat[i].y * stat[i].y * (-1.0f / COLS);
        m1[i] = m1[i] * stat[i].y * (-1.0f / COLS) - stat[i].x * m2[i];
    }
    EACH_RUN
    {
        float2 g[4];
        load_eight(g, gamma + COL + k * 32);
#ifdef SCALED
        float2 s[4];
        load_eight(s, scale + COL + k * 32);
#endif
        EACH_ROW
        {
            const bool in = m0 + r + i * 8 < rows;
            uint w[4];
            EACH_WORD
            {
                float2 v = unpack16(d[i][k][e]) * (g[e] * stat[i].y) + (unpack16(h[i][k][e]) * m2[i] + m1[i]);
#ifdef ADDS
                v += unpack16(before[i][k][e]);
#endif
                w[e] = d[i][k][e] = pack16(v.x, v.y);
#ifdef SCALED
                d[i][k][e] = pack16(v.x * s[e].x, v.y * s[e].y);
#endif
            }
            if (in) store_run(dx + at[i] + k * 32, w);
#ifdef SCALED
            if (in) store_run(scaled + at[i] + k * 32, d[i][k]);
#endif
        }
    }
    B += b_off + (size_t)COL * ldb;
    CLEAR(acc);
    EACH_RUN
    {
        const __global ushort *from = B + k * 32 * ldb;
        UNROLL for (int j = 0; j + 1 < TILES; j += 2)
        {
            uint w[8], even[4], odd[4];
            UNROLL for (int e = 0; e < 8; e++) w[e] = *(const __global uint *)(from + e * ldb + j * 8 + 2 * r);
            EACH_WORD even[e] = take_bytes(w[2 * e], w[2 * e + 1], 0x5410u), odd[e] = take_bytes(w[2 * e], w[2 * e + 1], 0x7632u);
            multiply(&acc[j], d[0][k], d[1][k], even);
            multiply(&acc[j + 1], d[0][k], d[1][k], odd);
        }
#if TILES % 2
        uint b[4];
        EACH_WORD b[e] = from[2 * e * ldb + N - 8 + r] | (uint)from[(2 * e + 1) * ldb + N - 8 + r] << 16;
        multiply(&acc[TILES - 1], d[0][k], d[1][k], b);
#endif
    }
    finish(acc, part, dt, m0, rows, alpha, id);
}
#endif
