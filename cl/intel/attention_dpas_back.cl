/* The backward pass of attention_dpas.cl: attn_dq, then attn_dkv, which reads the delta = dO . O that attn_dq leaves. No atomics: one
 * sub-group sums each output in a fixed order. The price is that both take the scores: 7 products where 5 would do.
 *
 * dq: a sub-group owns queries, and scores are S = Q K^T as in the forward pass. dkv: it owns keys, and they are S^T = K Q^T, so that
 * P^T and dS^T are left operands as they stand; lane l then has query l, and its two numbers.
 * TURN: q and k were turned by a table (rotary embedding), their gradients are turned back as they are stored. */
#define VW 1
#include "common.h"
#include "words.h"
#include "dpas.h"
#define MB 1
#include "attention.h"

/* out [B*heads][parts][steps][512], packed (attention.h). KEYS 1, for attn_dkv: q and dO across, then both down. 0, for attn_dq: k and
 * v across, then k down. A word an item: (steps * parts * 512, B*heads). */
__kernel void attn_pack(const __global ushort *restrict qkv, const __global ushort *restrict d_o, __global uint *restrict out, int n,
                        int heads, int keys)
{
    const int steps = (n + 15) / 16, id = (int)get_global_id(0), bh = (int)get_global_id(1), d = heads * 64, parts = keys ? 4 : 3;
    const int which = id / (steps * WORDS), at = id % (steps * WORDS), matrix = which % 2, ld = keys && matrix ? d : 3 * d;
    if (id >= steps * parts * WORDS) return;
    const __global ushort *from = (keys && matrix ? d_o : qkv) + (size_t)(bh / heads) * n * ld + bh % heads * 64;
    if (!keys) from += (1 + matrix) * d;
    out[(size_t)bh * steps * parts * WORDS + id] = which / 2 ? down_word(from, ld, at, n) : across_word(from, ld, at, n);
}

/* The lane's part of the product of two rows, which are left operands. */
inline float dot_part(part x, part y)
{
    float s = 0.0f;
    UNROLL for (int t = 0; t < 4; t++) {
        s = fma(from_word((ushort)x[t]), from_word((ushort)y[t]), s);
#if SG == 8
        s = fma(from_word((ushort)(x[t] >> 16)), from_word((ushort)(y[t] >> 16)), s);
#endif
    }
    return s;
}

/* Row r of acc * f to `to`; turn: turned back, as the sample's row `row`. */
inline void store_row(__global ushort *to, const float8 acc[ACROSS], int r, float f, int lane, int row, int turn P_TURN_BACK)
{
    float v[ACROSS];
    line w;
    UNROLL for (int j = 0; j < ACROSS; j++) v[j] = acc[j][r] * f;
#ifdef TURN
    if (turn && row >= skip)
        UNROLL for (int j = 0; j < ACROSS / 2; j++) {
            const float2 t = *(const __global float2 *)(table + (size_t)(row - skip) * 64 + 2 * (j * SG + lane)); /* cos, sin */
            const float x = v[j], y = v[j + ACROSS / 2];
            v[j] = x * t.x + y * t.y, v[j + ACROSS / 2] = y * t.x - x * t.y;
        }
#endif
    UNROLL for (int j = 0; j < ACROSS; j++) w[j] = to_word(v[j]);
    STORE_LINE(to, w);
}

/* s = a . tile^T for the step's rows, which lie across: blocks of SG rows. */
inline void scores(float8 s[PER_STEP], const operand a[4], const __global uint *across)
{
    UNROLL for (int b = 0; b < PER_STEP; b++)
        UNROLL for (int t = 0; t < 4; t++)
            s[b] = MAD(a[t], READ_BLOCK(across + (b * 4 + t) * BLOCK), t ? s[b] : (float8)(0.0f));
}

/* acc += p . tile, whose rows lie down. */
inline void accumulate(float8 acc[ACROSS], operand p, const __global uint *down)
{
    UNROLL for (int j = 0; j < ACROSS; j++) acc[j] = MAD(p, READ_BLOCK(down + j * BLOCK), acc[j]);
}

/* Items (ITEMS * ceil(N / ROWS), B*heads). packed: k, v across, k down. */
SUB_GROUP(ITEMS) __kernel void attn_dq(const __global ushort *restrict qkv, const __global ushort *restrict o,
                                       const __global ushort *restrict d_o, const __global float *restrict lse,
                                       __global float *restrict delta, __global ushort *restrict dqkv,
                                       const __global uint *restrict packed, int n, int heads, float scale P_TURN_BACK)
{
    const int lane = (int)get_sub_group_local_id(), bh = GROUP_ID(1, 1), d = heads * 64, steps = (n + 15) / 16;
    const int row0 = (GROUP_ID(0, ITEMS) * WG + (int)get_sub_group_id()) * 8;
    if (row0 >= n) return; /* whole sub-groups; there is no barrier */
    const size_t in = (size_t)(bh / heads) * n * 3 * d + bh % heads * 64, out = (size_t)(bh / heads) * n * d + bh % heads * 64;
    const float c = scale * LOG2E;

    operand q[4], g[4];
    float8 acc[ACROSS], low, dot; /* low: lse in base 2 */
    load_rows(q, qkv + in, 3 * d, row0, n);
    load_rows(g, d_o + out, d, row0, n);
    UNROLL for (int j = 0; j < ACROSS; j++) acc[j] = (float8)(0.0f);
    UNROLL for (int r = 0; r < 8; r++) {
        const int row = min(row0 + r, n - 1);
        const size_t at = out + (size_t)row * d;
        dot[r] = sub_group_reduce_add(dot_part(READ_PART(d_o + at), READ_PART(o + at)));
        low[r] = lse[(size_t)bh * n + row] * LOG2E;
        if (lane == 0) delta[(size_t)bh * n + row] = dot[r];
    }
    const __global uint *k = packed + (size_t)bh * steps * 3 * WORDS, *v = k + (size_t)steps * WORDS, *down = v + (size_t)steps * WORDS;
    for (int step = 0; step < steps; step++, k += WORDS, v += WORDS, down += WORDS) {
        float8 s[PER_STEP], ds[PER_STEP];
        scores(s, q, k);
        scores(ds, g, v);
        UNROLL for (int b = 0; b < PER_STEP; b++) {
            const bool is_key = step * 16 + b * SG + lane < n; /* else its probability may be infinite */
            ds[b] = is_key ? native_exp2(s[b] * c - low) * (ds[b] - dot) : (float8)(0.0f);
        }
        accumulate(acc, pack_scores(ds), down);
    }
    UNROLL for (int r = 0; r < 8; r++)
        if (row0 + r < n) store_row(dqkv + in + (size_t)(row0 + r) * 3 * d, acc, r, scale, lane, row0 + r, 1 A_TURN_BACK);
}

/* Items (ITEMS * ceil(N / ROWS), B*heads). packed: q, dO across, q, dO down. Queries from n on are zeros there, so they add nothing. */
SUB_GROUP(ITEMS) __kernel void attn_dkv(const __global ushort *restrict qkv, const __global float *restrict lse,
                                        const __global float *restrict delta, __global ushort *restrict dqkv,
                                        const __global uint *restrict packed, int n, int heads, float scale P_TURN_BACK)
{
    const int lane = (int)get_sub_group_local_id(), bh = GROUP_ID(1, 1), d = heads * 64, steps = (n + 15) / 16;
    const int row0 = (GROUP_ID(0, ITEMS) * WG + (int)get_sub_group_id()) * 8;
    if (row0 >= n) return; /* whole sub-groups; there is no barrier */
    const size_t in = (size_t)(bh / heads) * n * 3 * d + bh % heads * 64, next = (size_t)steps * WORDS;
    const float c = scale * LOG2E;

    operand k[4], v[4];
    float8 dk[ACROSS], dv[ACROSS];
    load_rows(k, qkv + in + d, 3 * d, row0, n);
    load_rows(v, qkv + in + 2 * d, 3 * d, row0, n);
    UNROLL for (int j = 0; j < ACROSS; j++) dk[j] = dv[j] = (float8)(0.0f);
    const __global uint *now = packed + (size_t)bh * 4 * next;
    for (int step = 0; step < steps; step++, now += WORDS) {
        float8 p[PER_STEP], ds[PER_STEP];
        scores(p, k, now);
        UNROLL for (int b = 0; b < PER_STEP; b++) {
            const int query = step * 16 + b * SG + lane;
            p[b] = native_exp2(p[b] * c - (query < n ? lse[(size_t)bh * n + query] * LOG2E : 0.0f));
        }
        accumulate(dv, pack_scores(p), now + 3 * next);
        scores(ds, v, now + next);
        UNROLL for (int b = 0; b < PER_STEP; b++) {
            const int query = min(step * 16 + b * SG + lane, n - 1);
            ds[b] = p[b] * (ds[b] - delta[(size_t)bh * n + query]);
        }
        accumulate(dk, pack_scores(ds), now + 2 * next);
    }
    UNROLL for (int r = 0; r < 8; r++) {
        __global ushort *to = dqkv + in + (size_t)(row0 + r) * 3 * d;
        if (row0 + r >= n) continue; /* the whole sub-group */
        store_row(to + d, dk, r, scale, lane, row0 + r, 1 A_TURN_BACK);
        store_row(to + 2 * d, dv, r, 1.0f, lane, row0 + r, 0 A_TURN_BACK);
    }
}
