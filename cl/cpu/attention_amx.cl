/* Attention on AMX tiles, for CPU devices: bfloat16 storage, products of bfloat16 summed in float32. Layouts as in
 * portable/attention.cl; HD is a multiple of 32.
 *
 * An item owns one head, or in the forward pass every splits-th block of its queries, so nothing is summed in an order that depends
 * on timing. Tiles of a matrix of tokens are wide, where the head's width is what a product sums over ([tokens / 16][KW]), or deep,
 * where tokens are ([HV][tokens / 32]). The backward pass works on S^T = K Q^T: a row is a key, so P^T and dS^T leave the exponential
 * as the tiles that dV and dK want on the left, dS^T also as those that dQ^T = K^T dS^T wants on the right.
 * TURN: the gradients of q and k are turned back as they are stored (tn_rope). */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "attention.h"
#include "tiles.h"
#ifdef TURN
#define TURN_WIDTH HD
#include "turn.h"
#endif
#define KW    (HD / 32)
#define BLOCK 32  /* queries, or keys, at once */
#define SPAN  640 /* keys whose scores are held at once in the forward pass */

/* ---- tiles of tokens; those from n on are zero ---- */

/* 16 tokens from t0 on, KW tiles: left ones as the rows lie, right ones transposed. */
inline void wide_tiles(__global uint *to, const __global ushort *src, int ld, int t0, int n, bool right)
{
    for (int k = 0; k < KW; k++) {
        uint16 t[16];
        UNROLL(r, 16) t[r] = first_pairs(src + (size_t)min(t0 + r, n - 1) * ld + 32 * k, t0 + r < n ? 32 : 0);
        if (right) transpose_pairs(t);
        tile_put(to + k * TILE, t);
    }
}

/* 32 tokens from t0 on, HV right tiles (left ones: transposed), `next` tiles apart. */
inline void deep_tiles(__global uint *to, int next, const __global ushort *src, int ld, int t0, int n, bool transposed)
{
    for (int k = 0; k < KW; k++) {
        uint16 t[2][16];
        UNROLL(r, 16)
        {
            const int a = t0 + 2 * r, b = a + 1;
            const uint16 x = first_pairs(src + (size_t)min(a, n - 1) * ld + 32 * k, a < n ? 32 : 0);
            const uint16 y = first_pairs(src + (size_t)min(b, n - 1) * ld + 32 * k, b < n ? 32 : 0);
            pair_rows(&t[0][r], &t[1][r], x, y);
        }
        UNROLL(s, 2)
        {
            if (transposed) transpose_pairs(t[s]);
            tile_put(to + (2 * k + s) * next * TILE, t[s]);
        }
    }
}

/* ---- forward ---- */

/* One item's scratch, in words: 16 of configuration; with T = ceil(n / 32), k wide and v deep [T * HV] tiles, q [2 * KW], the weights
 * [2][SPAN / 32]; scores [BLOCK][SPAN] and sums [BLOCK][HD] of float32. */
typedef struct {
    __global uint *k, *v, *q, *p;
    __global float *s, *sum;
} forward_parts;

inline forward_parts forward_carve(__global uint *at, int T)
{
    forward_parts p;
    p.k = at + 16;
    p.v = p.k + (size_t)T * HV * TILE;
    p.q = p.v + (size_t)T * HV * TILE;
    p.p = p.q + 2 * KW * TILE;
    p.s = (__global float *)(p.p + 2 * (SPAN / 32) * TILE);
    p.sum = p.s + BLOCK * SPAN;
    return p;
}

/* The scores of row i, of which nk are there, become weights 2^(score * to_log2 - m) in its tile; their sum. */
inline float weigh(const forward_parts *p, int i, int nk, float to_log2, float m)
{
    const __global float *row = p->s + i * SPAN;
    __global uint *to = p->p + (i / 16) * (SPAN / 32) * TILE;
    float16 a = (float16)(0.0f), b = a;
    for (int t = 0; 32 * t < nk; t++) {
        const float16 x = exp2_fast(fma(VEC(row, 2 * t), (float16)(to_log2), (float16)(-m)));
        const float16 y = exp2_fast(fma(VEC(row, 2 * t + 1), (float16)(to_log2), (float16)(-m)));
        a += x, b += y;
        PAIRS(to + t * TILE, i % 16) = round_row(x, y);
    }
    return sum16(a + b);
}

/* The largest of a row's nk scores; those up to the next multiple of 32 become NEG. */
inline float largest(__global float *row, int nk)
{
    const int whole = nk / 32 * 2;
    float16 m = (float16)(NEG);
    for (int v = 0; v < whole; v++) m = greater16(m, VEC(row, v));
    for (int v = whole; nk % 32 && v < whole + 2; v++) {
        VEC(row, v) = first_lanes(VEC(row, v), nk - 16 * v, NEG);
        m = greater16(m, VEC(row, v));
    }
    return max16(m);
}

/* The keys k0 .. k0 + nk - 1 for nq queries, whose largest score so far (in base 2) and sum of weights are in top and sum. */
inline void forward_span(const forward_parts *p, int T, int k0, int nk, int nq, float to_log2, float top[BLOCK], float sum[BLOCK])
{
    const int t0 = k0 / 32, nt = (nk + 31) / 32;
    for (int t = 0; t < nt; t++) {
        TILES_ZERO();
        TILES_PRODUCT(p->q, KW, p->k + (size_t)(t0 + t) * HV * TILE, KW, KW)
        TILES_STORE(p->s + 32 * t, SPAN);
    }
    for (int i = 0; i < nq; i++) {
        const float m = fmax(top[i], largest(p->s + i * SPAN, nk) * to_log2), fix = exp2(top[i] - m);
        sum[i] = sum[i] * fix + weigh(p, i, nk, to_log2, m);
        top[i] = m;
        if (k0) UNROLL(j, HV) VEC(p->sum + i * HD, j) = VEC(p->sum + i * HD, j) * fix;
    }
    for (int j = 0; j < HV; j += 2) {
        if (k0) TILES_LOAD(p->sum + 16 * j, HD);
        else TILES_ZERO();
        TILES_PRODUCT(p->p, SPAN / 32, p->v + ((size_t)j * T + t0) * TILE, T, nt)
        TILES_STORE(p->sum + 16 * j, HD);
    }
}

/* Items (splits, B * heads). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attn_forward(const __global ushort *qkv, __global ushort *o,
                                                                          __global float *lse, int n, int heads, float scale,
                                                                          int splits P_SCRATCH)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d, T = (n + 31) / 32;
    const __global ushort *q = qkv + (size_t)b * n * ld + (size_t)h * HD;
    const int slot = slot_take(busy, slots);
    __global uint *room = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats);
    const forward_parts p = forward_carve(room, T);
    tiles_begin(room);
    for (int t = 0; t < 2 * T; t++) wide_tiles(p.k + t * KW * TILE, q + d, ld, 16 * t, n, true);
    for (int t = 0; t < T; t++) deep_tiles(p.v + t * TILE, T, q + 2 * d, ld, 32 * t, n, false);
    for (int q0 = (int)get_global_id(0) * BLOCK; q0 < n; q0 += splits * BLOCK) {
        const int nq = min(BLOCK, n - q0);
        float top[BLOCK], sum[BLOCK];
        for (int i = 0; i < BLOCK; i++) top[i] = NEG, sum[i] = 0.0f;
        for (int i = 0; i < 2; i++) wide_tiles(p.q + i * KW * TILE, q, ld, q0 + 16 * i, n, false);
        for (int k = 0; k < n; k += SPAN) forward_span(&p, T, k, min(SPAN, n - k), nq, scale * LOG2E, top, sum);
        for (int i = 0; i < nq; i++) {
            const float inv = 1.0f / sum[i];
            UNROLL(j, HV) ROUND(1, o, ((size_t)b * n + q0 + i) * d + (size_t)h * HD + 16 * j, VEC(p.sum + i * HD, j) * inv);
            lse[(size_t)bh * n + q0 + i] = (top[i] + log2(sum[i])) * LN2;
        }
    }
    TILES_END();
    slot_leave(busy, slot);
}

/* ---- backward: keys outside, queries inside; five products, nothing made twice ---- */

/* One item's scratch, in words: 16 of configuration; with T = ceil(n / 32) and panels of `keys` keys, tiles: q and d_o wide and deep
 * [T * HV] each, k and v of a panel wide, k deep [keys / 16 * KW] each, P^T and dS^T [keys / 16][T], dS [2 T][keys / 32]; floats:
 * dq^T [HD][32 T], two blocks [BLOCK][BLOCK], sums [BLOCK][HD], delta and lse in base 2 [32 T]. */
typedef struct {
    __global uint *q_wide, *q_deep, *g_wide, *g_deep, *k_wide, *v_wide, *k_deep, *p, *s, *s_right;
    __global float *dq, *scores, *slopes, *sum, *delta, *lse;
} backward_parts;

inline backward_parts backward_carve(__global uint *at, int T, int keys)
{
    const size_t tokens = (size_t)T * HV * TILE, panel = (size_t)(keys / 16) * KW * TILE, weights = (size_t)(keys / 16) * T * TILE;
    backward_parts p;
    p.q_wide = at + 16;
    p.q_deep = p.q_wide + tokens;
    p.g_wide = p.q_deep + tokens;
    p.g_deep = p.g_wide + tokens;
    p.k_wide = p.g_deep + tokens;
    p.v_wide = p.k_wide + panel;
    p.k_deep = p.v_wide + panel;
    p.p = p.k_deep + panel;
    p.s = p.p + weights;
    p.s_right = p.s + weights;
    p.dq = (__global float *)(p.s_right + weights);
    p.scores = p.dq + (size_t)HD * 32 * T;
    p.slopes = p.scores + BLOCK * BLOCK;
    p.sum = p.slopes + BLOCK * BLOCK;
    p.delta = p.sum + BLOCK * HD;
    p.lse = p.delta + 32 * T;
    return p;
}

/* BLOCK keys, from the i-th 16 of a panel of nk on, with the c-th BLOCK queries: P^T = 2^(scores - lse), dS^T = P^T (v d_o^T - delta). */
inline void backward_block(const backward_parts *p, int T, int keys, int nk, int i, int c, float to_log2)
{
    TILES_ZERO();
    TILES_PRODUCT(p->k_wide + i * KW * TILE, KW, p->q_wide + (size_t)c * HV * TILE, KW, KW)
    TILES_STORE(p->scores, BLOCK);
    TILES_ZERO();
    TILES_PRODUCT(p->v_wide + i * KW * TILE, KW, p->g_wide + (size_t)c * HV * TILE, KW, KW)
    TILES_STORE(p->slopes, BLOCK);
    float16 lse[2], delta[2];
    UNROLL(v, 2) lse[v] = VEC(p->lse, 2 * c + v), delta[v] = VEC(p->delta, 2 * c + v);
    for (int r = 0; r < BLOCK; r += 2) {
        float16 ds[2][2];
        UNROLL(e, 2)
        {
            const int row = r + e;
            const size_t tile = ((size_t)(i + row / 16) * T + c) * TILE;
            float16 w[2];
            UNROLL(v, 2)
            {
                w[v] = exp2_fast(fma(VEC(p->scores, 2 * row + v), (float16)(to_log2), -lse[v]));
                if (16 * i + row >= nk) w[v] = (float16)(0.0f);
                ds[e][v] = w[v] * (VEC(p->slopes, 2 * row + v) - delta[v]);
            }
            PAIRS(p->p + tile, row % 16) = round_row(w[0], w[1]);
            PAIRS(p->s + tile, row % 16) = round_row(ds[e][0], ds[e][1]);
        }
        UNROLL(v, 2)
        PAIRS(p->s_right + ((size_t)(2 * c + v) * (keys / 32) + i / 2) * TILE, r / 2) = round_pairs(ds[0][v], ds[1][v]);
    }
}

/* BLOCK rows of sums over all queries: `left` tiles [2][T] times `deep` ones. */
inline void sum_over_queries(const backward_parts *p, const __global uint *left, const __global uint *deep, int T)
{
    for (int j = 0; j < HV; j += 2) {
        TILES_ZERO();
        TILES_PRODUCT(left, T, deep + (size_t)j * T * TILE, T, T)
        TILES_STORE(p->sum + 16 * j, HD);
    }
}

/* dq^T += k^T dS^T of a panel of `depth` tiles of keys. */
inline void add_dq(const backward_parts *p, int T, int keys, int depth)
{
    for (int j = 0; j < HV; j += 2)
        for (int c = 0; c < T; c++) {
            __global float *at = p->dq + (size_t)16 * j * 32 * T + 32 * c;
            TILES_LOAD(at, 32 * T);
            TILES_PRODUCT(p->k_deep + j * (keys / 32) * TILE, keys / 32, p->s_right + (size_t)2 * c * (keys / 32) * TILE, keys / 32,
                          depth)
            TILES_STORE(at, 32 * T);
        }
}

/* q and d_o as tiles, delta = sum o d_o, dq 0. o and d_o rows are d apart. */
inline void backward_begin(const backward_parts *p, const __global ushort *q, int ld, const __global ushort *o,
                           const __global ushort *d_o, int d, const __global float *lse, int n, int T)
{
    for (int t = 0; t < 2 * T; t++) {
        wide_tiles(p->q_wide + t * KW * TILE, q, ld, 16 * t, n, true);
        wide_tiles(p->g_wide + t * KW * TILE, d_o, d, 16 * t, n, true);
    }
    for (int t = 0; t < T; t++) {
        deep_tiles(p->q_deep + t * TILE, T, q, ld, 32 * t, n, false);
        deep_tiles(p->g_deep + t * TILE, T, d_o, d, 32 * t, n, false);
    }
    for (int i = 0; i < 32 * T; i++) {
        float16 s = (float16)(0.0f);
        if (i < n) UNROLL(j, HV) s = fma(LDV(1, o, (size_t)i * d + 16 * j), LDV(1, d_o, (size_t)i * d + 16 * j), s);
        p->delta[i] = sum16(s);
        p->lse[i] = i < n ? lse[i] * LOG2E : 0.0f;
    }
    for (int i = 0; i < HD * 2 * T; i++) VEC(p->dq, i) = (float16)(0.0f);
}

/* Items (1, B * heads). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attn_backward(const __global ushort *qkv, const __global ushort *o,
                                                                           const __global ushort *d_o, const __global float *lse,
                                                                           __global ushort *dqkv, int n, int heads, float scale,
                                                                           int keys P_SCRATCH P_TURN)
{
    const int bh = (int)get_global_id(1), b = bh / heads, h = bh % heads, d = heads * HD, ld = 3 * d, T = (n + 31) / 32;
    const size_t base = (size_t)b * n * ld + (size_t)h * HD, gbase = (size_t)b * n * d + (size_t)h * HD;
    const __global ushort *q = qkv + base;
    const int slot = slot_take(busy, slots);
    __global uint *room = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats);
    const backward_parts p = backward_carve(room, T, keys);
    tiles_begin(room);
    backward_begin(&p, q, ld, o + gbase, d_o + gbase, d, lse + (size_t)bh * n, n, T);
    for (int k0 = 0; k0 < n; k0 += keys) {
        const int nk = min(keys, n - k0), rows = (nk + 31) / 32 * 2;
        for (int i = 0; i < rows; i++) {
            wide_tiles(p.k_wide + i * KW * TILE, q + d, ld, k0 + 16 * i, n, false);
            wide_tiles(p.v_wide + i * KW * TILE, q + 2 * d, ld, k0 + 16 * i, n, false);
        }
        for (int i = 0; i < rows / 2; i++) deep_tiles(p.k_deep + i * TILE, keys / 32, q + d, ld, k0 + 32 * i, n, true);
        for (int i = 0; i < rows; i += 2)
            for (int c = 0; c < T; c++) backward_block(&p, T, keys, nk, i, c, scale * LOG2E);
        for (int i = 0; i < rows; i += 2)
            for (int of_v = 0; of_v < 2; of_v++) {
                sum_over_queries(&p, (of_v ? p.p : p.s) + (size_t)i * T * TILE, of_v ? p.g_deep : p.q_deep, T);
                for (int r = 0; r < BLOCK && 16 * i + r < nk; r++) {
                    float16 v[HV];
                    const int k = k0 + 16 * i + r;
                    UNROLL(j, HV) v[j] = VEC(p.sum + r * HD, j) * (of_v ? 1.0f : scale);
                    if (!of_v) TURN_BACK(v, k);
                    UNROLL(j, HV) ROUND(1, dqkv, base + (size_t)k * ld + (size_t)(1 + of_v) * d + 16 * j, v[j]);
                }
            }
        add_dq(&p, T, keys, rows / 2);
    }
    TILES_END();
    for (int i = 0; 16 * i < n; i++) {
        float16 x[HV][16];
        for (int j = 0; j < HV; j++) {
            UNROLL(r, 16) x[j][r] = VEC(p.dq + (size_t)(16 * j + r) * 32 * T, i);
            transpose16(x[j]);
        }
        for (int r = 0; r < 16 && 16 * i + r < n; r++) {
            float16 v[HV];
            UNROLL(j, HV) v[j] = x[j][r] * scale;
            TURN_BACK(v, 16 * i + r);
            UNROLL(j, HV) ROUND(1, dqkv, base + (size_t)(16 * i + r) * ld + 16 * j, v[j]);
        }
    }
    slot_leave(busy, slot);
}
