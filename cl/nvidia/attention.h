/* What the attention kernels for NVIDIA's matrix units share; comes after ptx.h. Head width 64, 16-bit storage, float32 sums.
 *
 * qkv, dqkv [B*N, 3*D]: q | k | v, D = heads * 64. o, dO [B*N, D]. lse [B*heads, N]: log of the softmax's denominator.
 * A group owns a block of rows of one head, a warp 16 (or 32) of them as left operands; the rows of the other side stream through
 * local memory. In attention_mma.cl items are (ITEMS * blocks, B * heads), in attention_wgmma.cl a group takes one block after
 * another. The N x N matrix never leaves the registers: the accumulators of  scores = rows . streamed^T  are, register for
 * register, a left operand of the product with them that follows.
 *
 * Here a block is 16 rows of one warp. Lane 4r+q holds of an accumulator x[8][4], 16 x 64: in x[j][0], x[j][1] columns 8j+2q,
 * 8j+2q+1 of row r, in x[j][2], x[j][3] those of row r+8; pairs such as top[2] are numbers of these two rows.
 *
 * Backward: attn_dq, then attn_dkv, which reads the two numbers a row that attn_dq leaves: lse in base 2, and delta = dO . O. No
 * atomics: one warp sums each output in a fixed order. The price is that both take the scores: 7 products where 5 would do. */
#ifndef TN_NVIDIA_ATTENTION_H
#define TN_NVIDIA_ATTENTION_H
#define ROW   128 /* bytes of a streamed row: 64 numbers of 16 bits */
#define LOG2E 1.4426950408889634f
#define NEG   (-1.0e30f)
/* A lane's sum of a row's probabilities from which the row's reference is raised. A probability is at most such a sum, and the
 * storage must hold it. */
#ifndef LIMIT
#if ACT == 2
#define LIMIT 0x1p15f
#else
#define LIMIT 0x1p60f
#endif
#endif

/* ---- lanes ---- */

/* The four lanes of a quad hold one row of an accumulator between them. */
inline float quad_max(float x)
{
    x = fmax(x, from_lane(x, 1));
    return fmax(x, from_lane(x, 2));
}

inline float quad_sum(float x)
{
    x += from_lane(x, 1);
    return x + from_lane(x, 2);
}

/* ---- where things lie ---- */

typedef struct {
    int bh;         /* head of the batch */
    int d, ld;      /* elements from row to row: of o, of qkv */
    int row;        /* the warp's first row */
    size_t in, out; /* the head's first element: in qkv, in o */
} place;

/* Of row `row` of head bh. */
inline place place_at(int bh, int row, int n, int heads)
{
    place p;
    p.bh = bh;
    p.d = heads * 64;
    p.ld = 3 * p.d;
    p.row = row;
    p.in = (size_t)(bh / heads) * n * p.ld + bh % heads * 64;
    p.out = (size_t)(bh / heads) * n * p.d + bh % heads * 64;
    return p;
}

inline place find_place(int n, int heads, const int items, const int warp_rows)
{
    const int bh = GROUP_ID(1, 1), block = GROUP_ID(0, items);
    return place_at(bh, (block * (items / 32) + (int)get_local_id(0) / 32) * warp_rows, n, heads);
}

/* Two operands whose rows stream through local memory side by side. */
typedef struct {
    const __global ushort *a, *b; /* the item's next pieces */
    int lda, ldb;                 /* elements from row to row */
    int n;                        /* rows; those outside [0, n) become zeros */
} stream;

inline stream stream_from(const __global ushort *a, int lda, const __global ushort *b, int ldb, int first, int n)
{
    const int item = (int)get_local_id(0);
    const stream s = {a + (long)(item / 8 + first) * lda + item % 8 * 8, b + (long)(item / 8 + first) * ldb + item % 8 * 8, lda,
                      ldb, n};
    return s;
}

/* The next rows of one operand, of which the item's first is `row`. The 16-byte piece c of row r lies at piece c ^ (r % 8): 8 rows
 * of one column share no bank, and it is the hardware's 128-byte swizzle for tiles at multiples of 1024. */
inline void stream_operand(uint to, const __global ushort *from, int ld, int row, int n, const int rows, const int items)
{
    const int item = (int)get_local_id(0);
    to += item / 8 * ROW + ((item % 8 ^ item / 8 % 8) << 4);
    UNROLL
    for (int r = 0; r < rows; r += items / 8) copy16(to + r * ROW, from + (long)r * ld, (uint)(row + r) < (uint)n ? 16 : 0);
}

/* Asks for the next rows of both; the first is `first`, b's lie `other` bytes after a's. */
inline void fetch(stream *s, uint to, const uint other, int first, const int rows, const int items)
{
    const int row = first + (int)get_local_id(0) / 8;
    stream_operand(to, s->a, s->lda, row, s->n, rows, items);
    stream_operand(to + other, s->b, s->ldb, row, s->n, rows, items);
    s->a += (long)rows * s->lda;
    s->b += (long)rows * s->ldb;
}

/* 16 rows of one head as left operands: a[k] covers columns 16k .. 16k+15. */
inline void load_rows(uint a[4][4], const __global ushort *from, int ld, int first, int n)
{
    const int lane = (int)get_local_id(0) % 32;
    UNROLL
    for (int k = 0; k < 4; k++) UNROLL
    for (int e = 0; e < 4; e++) {
        const int r = first + lane / 4 + (e & 1) * 8, c = 16 * k + lane % 4 * 2 + (e >> 1) * 8;
        a[k][e] = r < n ? *(const __global uint *)(from + (size_t)r * ld + c) : 0;
    }
}

/* acc * (f0 or f1, for the lane's two rows) into 16 rows of one head. */
inline void store_rows(__global ushort *to, int ld, int first, int n, float acc[8][4], float f0, float f1)
{
    const int lane = (int)get_local_id(0) % 32;
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int r = first + i * 8 + lane / 4;
        const float f = i ? f1 : f0;
        if (r < n) UNROLL
        for (int j = 0; j < 8; j++)
            *(__global uint *)(to + (size_t)r * ld + j * 8 + lane % 4 * 2) = pack16(acc[j][2 * i] * f, acc[j][2 * i + 1] * f);
    }
}

/* TURN: q and k were turned by a table (rotary embedding), their gradients are turned back as they are stored. */
#ifdef TURN
#define P_TURN , const __global float *restrict table, int skip

/* store_rows, turned back: a lane holds column c and c + 32, a pair of the embedding, in acc[j] and acc[j + 4]. */
inline void store_turned(__global ushort *to, int ld, int first, int n, float acc[8][4], float f,
                         const __global float *restrict table, int skip)
{
    const int lane = (int)get_local_id(0) % 32;
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int r = first + i * 8 + lane / 4, at = r - skip;
        if (r < n) UNROLL
        for (int j = 0; j < 4; j++) {
            const __global float4 *t = (const __global float4 *)table + max(at, 0) * 16 + 4 * j + lane % 4;
            const float4 w = at < 0 ? (float4)(1.0f, 0.0f, 1.0f, 0.0f) : *t; /* cos, sin, cos, sin */
            const float a = acc[j][2 * i] * f, b = acc[j][2 * i + 1] * f;
            const float c = acc[j + 4][2 * i] * f, d = acc[j + 4][2 * i + 1] * f;
            __global uint *p = (__global uint *)(to + (size_t)r * ld + j * 8 + lane % 4 * 2);
            p[0] = pack16(a * w.x + c * w.y, b * w.z + d * w.w);
            p[16] = pack16(c * w.x - a * w.y, d * w.z - b * w.w);
        }
    }
}
#define STORE_TURNED(to, ld, first, n, acc, f) store_turned(to, ld, first, n, acc, f, table, skip)
#else
#define P_TURN
#define STORE_TURNED(to, ld, first, n, acc, f) store_rows(to, ld, first, n, acc, f, f)
#endif

/* ---- accumulators ---- */

inline void clear(float x[8][4])
{
    UNROLL
    for (int j = 0; j < 8; j++) UNROLL
    for (int e = 0; e < 4; e++) x[j][e] = 0.0f;
}

/* Columns 16k .. 16k+15 as a left operand: the layouts agree. */
inline void pack_step(uint p[4], float x[8][4], const int k)
{
    UNROLL
    for (int e = 0; e < 4; e++) p[e] = pack16(x[2 * k + e / 2][e % 2 * 2], x[2 * k + e / 2][e % 2 * 2 + 1]);
}

/* Scores of columns outside [from, to) count for nothing. */
inline void keep_columns(float s[8][4], int from, int to, const int cols)
{
    const int c = (int)get_local_id(0) % 4 * 2;
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
    for (int e = 0; e < 4; e++) s[j][e] = c + 8 * j + e % 2 >= from && c + 8 * j + e % 2 < to ? s[j][e] : NEG;
}

/* Where a lane reads inside 16 rows of a tile, as they lie and transposed; column block k is at this ^ k << 5. */
inline uint straight(void)
{
    const uint lane = (uint)get_local_id(0) % 32, r = lane % 8 + lane / 16 * 8;
    return r * ROW + ((lane / 8 % 2 ^ r % 8) << 4);
}

inline uint transposed(void)
{
    const uint lane = (uint)get_local_id(0) % 32;
    return lane % 16 * ROW + ((lane / 16 ^ lane % 8) << 4);
}

/* ---- the softmax ---- */

/* The rows' references, in base 2, become at least the maxima of these scores. */
inline void raise_top(float s[8][4], float acc[8][4], float top[2], float sum[2], float scale2, const int cols)
{
    UNROLL
    for (int i = 0; i < 2; i++) {
        float high = s[0][2 * i];
        UNROLL
        for (int j = 0; j < cols / 8; j++) high = fmax(high, fmax(s[j][2 * i], s[j][2 * i + 1]));
        const float next = fmax(top[i], quad_max(high) * scale2), f = exp2_fast(top[i] - next);
        top[i] = next;
        sum[i] *= f;
        UNROLL
        for (int j = 0; j < 8; j++) {
            acc[j][2 * i] *= f;
            acc[j][2 * i + 1] *= f;
        }
    }
}

/* Scores to probabilities p = 2^(s * scale2 - top). */
inline void exp_rows(float s[8][4], float scale2, const float top[2], const int cols)
{
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
    for (int e = 0; e < 4; e++) s[j][e] = exp2_fast(fma(s[j][e], scale2, -top[e / 2]));
}

/* The same with sums. Any reference gives the same quotient, and the storage holds LIMIT as well as 1, so after the first tile no
 * maximum is taken as long as the sums stay below LIMIT; a tile after which one does not is done again with its maxima. */
inline void exp_sum_rows(float s[8][4], float scale2, const float top[2], float sum[2], const int cols)
{
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
    for (int e = 0; e < 4; e++) {
        s[j][e] = exp2_fast(fma(s[j][e], scale2, -top[e / 2]));
        sum[e / 2] += s[j][e];
    }
}

/* Leaves lse of the lane's two rows, and 1 / sum in their place. */
inline void finish_rows(const float top[2], float sum[2], __global float *lse, int first, int n)
{
    const int lane = (int)get_local_id(0) % 32;
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int r = first + i * 8 + lane / 4;
        const float s = quad_sum(sum[i]);
        if (lane % 4 == 0 && r < n) lse[r] = (top[i] + log2(s)) / LOG2E;
        sum[i] = 1.0f / s;
    }
}

/* ---- the backward's numbers a row ---- */

/* lse in base 2 of rows g and y. lse: the head's. */
inline void load_low(float low[2], const __global float *lse, int first, int n)
{
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int r = first + i * 8 + (int)get_local_id(0) % 32 / 4;
        low[i] = r < n ? lse[r] * LOG2E : 0.0f;
    }
}

/* dot = dO . O of rows g and y; also left in memory, as low is. base2 and delta: the head's. */
inline void row_numbers(const float low[2], float dot[2], uint g[4][4], uint y[4][4], __global float *base2, __global float *delta,
                        int first, int n)
{
    const int lane = (int)get_local_id(0) % 32;
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int r = first + i * 8 + lane / 4;
        float x = 0.0f;
        UNROLL
        for (int k = 0; k < 4; k++) UNROLL
        for (int e = i; e < 4; e += 2) {
            const float2 u = unpack16(g[k][e]), v = unpack16(y[k][e]);
            x = fma(u.x, v.x, x);
            x = fma(u.y, v.y, x);
        }
        dot[i] = quad_sum(x);
        if (lane % 4 == 0 && r < n) {
            base2[r] = low[i];
            delta[r] = dot[i];
        }
    }
}

/* ds = p * (ds - dot) */
inline void slope_rows(float p[8][4], float ds[8][4], const float dot[2], const int cols)
{
    UNROLL
    for (int j = 0; j < cols / 8; j++) UNROLL
    for (int e = 0; e < 4; e++) ds[j][e] = p[j][e] * (ds[j][e] - dot[e / 2]);
}
#endif
