/* The backward pass of attention_matrix.cl: attn_dq, then attn_dkv, which reads the delta = dO . O that attn_dq leaves. No atomics: one
 * wave sums each output in a fixed order. The price is that both take the scores: 7 products where 5 would do.
 *
 * dq: a wave owns U queries, a lane one of them. S^T = K Q^T and dP^T = V dO^T as in the forward pass, dQ^T = K^T dS^T. dkv: it owns U
 * keys. S = Q K^T and dP = dO V^T, so that a lane has one key, and P and dS are right operands of dV^T = dO^T P and dK^T = Q^T dS.
 * TURN: q and k were turned by a table (rotary embedding), their gradients are turned back as they are stored. */
#define VW 1
#include "common.h"
#include "words.h"
#include "units.h"
#include "attention.h"
#define ROWS   (WAVES * U)
#define KT     32       /* rows of the other side a tile */
#define TURNED (KT + 8) /* words in a row of a turned tile */
#define ACROSS (64 / U) /* blocks of U columns in a head */
#define TILE(name, size) __local ushort name[size] __attribute__((aligned(16)))

/* The lane's row of a head as right operands; rows from n on repeat the last. */
inline void load_row(operand x[4], const __global ushort *from, int ld, int row, int n, int half_wave)
{
    from += (size_t)min(row, n - 1) * ld;
    UNROLL for (int t = 0; t < 4; t++) x[t] = OPERAND(__global, from + 16 * t);
}

/* The product of two such rows, in both halves. */
inline float dot_rows(const operand x[4], const operand y[4])
{
    float s = 0.0f;
    UNROLL for (int t = 0; t < 4; t++)
        UNROLL for (int i = 0; i < (UNIT == 11 ? 16 : 8); i++) s = fma(from_word(x[t][i]), from_word(y[t][i]), s);
    return UNIT == 11 ? s : s + as_float(SWAP_HALVES(as_uint(s)));
}

/* tile . a: U of a tile's rows against the lane's row. */
inline sums scores(const __local ushort *tile, const operand a[4], int lane, int half_wave)
{
    sums s = (sums)(0.0f);
    UNROLL for (int t = 0; t < 4; t++) s = MAD(OPERAND(__local, tile + lane * PITCH + 16 * t), a[t], s);
    return s;
}

/* acc += tile^T . s, for U of a turned tile's rows. */
inline void accumulate(sums acc[ACROSS], const __local ushort *turned, sums s, int lane, int half_wave)
{
    operand p[PARTS];
    uint w[COUNT / 2];
    UNROLL for (int e = 0; e < COUNT; e += 2) w[e / 2] = to_pair(s[e], s[e + 1]);
    pack_words(p, w, half_wave);
    UNROLL for (int x = 0; x < PARTS; x++)
        UNROLL for (int i = 0; i < ACROSS; i++)
            acc[i] = MAD(OPERAND(__local, turned + (i * U + lane) * TURNED + 16 * x), p[x], acc[i]);
}

/* acc * f, the lane's row of a head, to `to`, where `in`; turn: turned back, as the sample's row `row`. */
inline void store_row(__global ushort *to, sums acc[ACROSS], float f, bool in, int half_wave, int row, int turn P_TURN_BACK)
{
#ifdef TURN
    if (turn && in && row >= skip)
        UNROLL for (int i = 0; i < ACROSS / 2; i++)
            UNROLL for (int e = 0; e < COUNT; e++) {
                const float2 t = *(const __global float2 *)(table + (size_t)(row - skip) * 64 + 2 * (i * U + ROW_OF(e))); /* cos, sin */
                const float x = acc[i][e], y = acc[i + ACROSS / 2][e];
                acc[i][e] = x * t.x + y * t.y, acc[i + ACROSS / 2][e] = y * t.x - x * t.y;
            }
#endif
    UNROLL for (int i = 0; i < ACROSS; i++) store_block(to + i * U, acc[i], f, in, half_wave);
}

/* Items (ITEMS * ceil(N / ROWS), B*heads). */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attn_dq(const __global ushort *restrict qkv, const __global ushort *restrict o, const __global ushort *restrict d_o,
        const __global float *restrict lse, __global float *restrict delta, __global ushort *restrict dqkv, int n, int heads,
        float scale P_TURN_BACK)
{
    TILE(k_tile, KT * PITCH);
    TILE(v_tile, KT * PITCH);
    TILE(k_turned, 64 * TURNED);
    const int id = (int)get_local_id(0), lane = id % U, half_wave = id / U % (WAVE / U), bh = GROUP_ID(1, 1);
    const int d = heads * 64, ld = 3 * d, row = (GROUP_ID(0, ITEMS) * WAVES + id / WAVE) * U + lane;
    const size_t in = (size_t)(bh / heads) * n * ld + bh % heads * 64, out = (size_t)(bh / heads) * n * d + bh % heads * 64;
    const float c = scale * LOG2E, low = lse[(size_t)bh * n + min(row, n - 1)] * LOG2E;

    operand q[4], g[4], y[4];
    sums acc[ACROSS];
    load_row(q, qkv + in, ld, row, n, half_wave);
    load_row(g, d_o + out, d, row, n, half_wave);
    load_row(y, o + out, d, row, n, half_wave);
    const float dot = dot_rows(g, y);
    if (half_wave == 0 && row < n) delta[(size_t)bh * n + row] = dot;
    UNROLL for (int i = 0; i < ACROSS; i++) acc[i] = (sums)(0.0f);
    for (int k0 = 0; k0 < n; k0 += KT) {
        barrier(CLK_LOCAL_MEM_FENCE);
        put_straight(k_tile, qkv + in + d, ld, k0, n, KT);
        put_straight(v_tile, qkv + in + 2 * d, ld, k0, n, KT);
        put_turned(k_turned, qkv + in + d, ld, k0, n, KT);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int kb = 0; kb < KT; kb += U) {
            const sums s = scores(k_tile + kb * PITCH, q, lane, half_wave);
            sums ds = scores(v_tile + kb * PITCH, g, lane, half_wave);
            UNROLL for (int e = 0; e < COUNT; e++) { /* the probability of what is no key may be infinite */
                const float x = native_exp2(s[e] * c - low) * (ds[e] - dot);
                ds[e] = k0 + kb + ROW_OF(e) < n ? x : 0.0f;
            }
            accumulate(acc, k_turned + kb, ds, lane, half_wave);
        }
    }
    store_row(dqkv + in + (size_t)row * ld, acc, scale, row < n, half_wave, row, 1 A_TURN_BACK);
}

/* Items (ITEMS * ceil(N / ROWS), B*heads). Queries from n on are zeros in q, dO and both numbers, so they add nothing. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attn_dkv(const __global ushort *restrict qkv, const __global ushort *restrict d_o, const __global float *restrict lse,
         const __global float *restrict delta, __global ushort *restrict dqkv, int n, int heads, float scale P_TURN_BACK)
{
    TILE(q_tile, KT * PITCH);
    TILE(g_tile, KT * PITCH);
    TILE(q_turned, 64 * TURNED);
    TILE(g_turned, 64 * TURNED);
    __local float numbers[2 * KT]; /* of each query: lse in base 2; delta */
    const int id = (int)get_local_id(0), lane = id % U, half_wave = id / U % (WAVE / U), bh = GROUP_ID(1, 1);
    const int d = heads * 64, ld = 3 * d, row = (GROUP_ID(0, ITEMS) * WAVES + id / WAVE) * U + lane;
    const size_t in = (size_t)(bh / heads) * n * ld + bh % heads * 64, out = (size_t)(bh / heads) * n * d + bh % heads * 64;
    const float c = scale * LOG2E;

    operand k[4], v[4];
    sums dk[ACROSS], dv[ACROSS];
    load_row(k, qkv + in + d, ld, row, n, half_wave);
    load_row(v, qkv + in + 2 * d, ld, row, n, half_wave);
    UNROLL for (int i = 0; i < ACROSS; i++) dk[i] = dv[i] = (sums)(0.0f);
    for (int q0 = 0; q0 < n; q0 += KT) {
        barrier(CLK_LOCAL_MEM_FENCE);
        put_straight(q_tile, qkv + in, ld, q0, n, KT);
        put_straight(g_tile, d_o + out, d, q0, n, KT);
        put_turned(q_turned, qkv + in, ld, q0, n, KT);
        put_turned(g_turned, d_o + out, d, q0, n, KT);
        if (id < KT) {
            numbers[id] = q0 + id < n ? lse[(size_t)bh * n + q0 + id] * LOG2E : 0.0f;
            numbers[KT + id] = q0 + id < n ? delta[(size_t)bh * n + q0 + id] : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int qb = 0; qb < KT; qb += U) {
            sums p = scores(q_tile + qb * PITCH, k, lane, half_wave);
            sums ds = scores(g_tile + qb * PITCH, v, lane, half_wave);
            UNROLL for (int e = 0; e < COUNT; e++) {
                p[e] = native_exp2(p[e] * c - numbers[qb + ROW_OF(e)]);
                ds[e] = p[e] * (ds[e] - numbers[KT + qb + ROW_OF(e)]);
            }
            accumulate(dv, g_turned + qb, p, lane, half_wave);
            accumulate(dk, q_turned + qb, ds, lane, half_wave);
        }
    }
    __global ushort *to = dqkv + in + (size_t)row * ld;
    store_row(to + d, dk, scale, row < n, half_wave, row, 1 A_TURN_BACK);
    store_row(to + 2 * d, dv, 1.0f, row < n, half_wave, row, 0 A_TURN_BACK);
}
